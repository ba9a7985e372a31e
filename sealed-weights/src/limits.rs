//! Every bound of the format, in one place, checked before memory is taken.
//!
//! In: nothing. Out: constants that SPEC.md §8 repeats. Against: sizes made up by whoever stores
//! the sealed model (a header that says `u64::MAX`, a manifest of a terabyte, a million files).

/// Largest `model.json` that is read, in bytes.
pub const MAX_MANIFEST_BYTES: u64 = 16 * 1024 * 1024;

/// Most files in one sealed model.
pub const MAX_FILES: usize = 32_768;

/// Most recipients in one manifest.
pub const MAX_RECIPIENTS: usize = 64;

/// Longest path of a file in a model, in bytes of UTF-8.
pub const MAX_PATH_BYTES: usize = 1024;

/// Longest component of a path, in bytes: `NAME_MAX` (255) less `.sealed`.
pub const MAX_COMPONENT_BYTES: usize = 255 - 7;

/// Most components of a path.
pub const MAX_PATH_DEPTH: usize = 32;

/// Longest model name, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// Longest URI of a key, in bytes.
pub const MAX_KEY_URI_BYTES: usize = 512;

/// Most chunks of one message: c2sp.org/chunked-encryption stops at 2^38 (4 PiB).
pub const MAX_CHUNKS: u64 = 1 << 38;

/// Largest file, in bytes of plaintext: the last chunk is short, so 2^52 - 1.
pub const MAX_FILE_BYTES: u64 = MAX_CHUNKS * crate::chunked::CHUNK_LEN as u64 - 1;

/// Largest integer in a manifest: what every JSON implementation keeps exactly (2^53 - 1).
pub const MAX_JSON_INTEGER: u64 = (1 << 53) - 1;

/// Largest safetensors header that is parsed, in bytes.
pub const MAX_SAFETENSORS_HEADER_BYTES: u64 = 32 * 1024 * 1024;

/// Most tensors in one safetensors or GGUF file.
pub const MAX_TENSORS: u64 = 1 << 20;

/// Most dimensions of a tensor.
pub const MAX_TENSOR_DIMENSIONS: usize = 8;

/// Most key-value pairs in a GGUF header.
pub const MAX_GGUF_METADATA: u64 = 1 << 16;

/// Longest string in a GGUF header, in bytes.
pub const MAX_GGUF_STRING_BYTES: u64 = 8 * 1024 * 1024;

/// Most elements of an array in a GGUF header (a vocabulary).
pub const MAX_GGUF_ARRAY_LEN: u64 = 1 << 23;

/// Deepest nesting of arrays in a GGUF header.
pub const MAX_GGUF_ARRAY_DEPTH: u32 = 4;

/// Largest GGUF header (metadata and tensor descriptions), in bytes.
pub const MAX_GGUF_HEADER_BYTES: u64 = 256 * 1024 * 1024;

/// Most threads that seal or open one model.
pub const MAX_THREADS: usize = 256;
