//! Every bound on what comes from outside, in one place.
//!
//! Against: a model folder or a request that makes the server take more memory or time than it has.

use std::time::Duration;

/// Most bytes of `config.json`, `generation_config.json` or `tokenizer_config.json`.
pub const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// Most bytes of `tokenizer.json`.
pub const MAX_TOKENIZER_BYTES: u64 = 64 << 20;
/// Most bytes of all weights together. They are held as 32-bit floats, so up to twice this in memory.
pub const MAX_WEIGHT_BYTES: u64 = 8 << 30;
/// Most safetensors files in a folder.
pub const MAX_WEIGHT_FILES: usize = 256;
/// Most layers of a model.
pub const MAX_LAYERS: usize = 256;
/// Widest hidden or intermediate size of a model.
pub const MAX_WIDTH: usize = 65_536;
/// Most tokens in a vocabulary.
pub const MAX_VOCABULARY: usize = 1 << 20;
/// Most tokens of prompt and completion together, whatever the model says it can do: attention over
/// the prompt takes memory quadratic in its length.
pub const MAX_CONTEXT: usize = 4096;

/// Most bytes of a request body.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// Most messages in one conversation.
pub const MAX_MESSAGES: usize = 1024;
/// Most stop strings of one request, as in the OpenAI API.
pub const MAX_STOPS: usize = 4;
/// Most bytes of one stop string.
pub const MAX_STOP_BYTES: usize = 256;
/// Steps a chat template may take; a template comes with the model, so it is not ours.
pub const TEMPLATE_FUEL: u64 = 1_000_000;
/// Requests that may wait for their turn beyond those being served.
pub const MAX_QUEUE: usize = 64;
/// Pieces of text that may lie between the model and a slow reader before the model waits.
pub const STREAM_DEPTH: usize = 32;
/// How long running answers may take to finish after SIGTERM.
pub const DRAIN: Duration = Duration::from_secs(10);
