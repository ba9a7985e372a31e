//! Every bound of a bundle and of what it is verified against, checked before memory is taken.

/// Largest `model.sig`, in bytes.
pub const MAX_BUNDLE_BYTES: usize = 32 * 1024 * 1024;

/// Largest file with keys, certificates or a trust root, in bytes.
pub const MAX_TRUST_FILE_BYTES: usize = 1024 * 1024;

/// Most files or shards in one statement.
pub const MAX_RESOURCES: usize = 1 << 18;

/// Longest name of a resource, in bytes.
pub const MAX_RESOURCE_NAME_BYTES: usize = 2048;

/// Most certificates of a bundle.
pub const MAX_CHAIN_CERTIFICATES: usize = 8;

/// Largest certificate, in bytes of DER.
pub const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;

/// Most certificates in a file of roots.
pub const MAX_ROOTS: usize = 256;

/// Most logs and authorities of each kind in a trust root.
pub const MAX_TRUSTED: usize = 64;

/// Most hashes of an inclusion proof: a tree has fewer than 2^63 leaves.
pub const MAX_PROOF_HASHES: usize = 64;

/// Largest log entry, in bytes.
pub const MAX_LOG_BODY_BYTES: usize = 128 * 1024;

/// Largest checkpoint, in bytes.
pub const MAX_CHECKPOINT_BYTES: usize = 8 * 1024;

/// Most signed certificate timestamps of one certificate.
pub const MAX_SCTS: usize = 16;

/// Smallest shard that a statement may be cut into, in bytes.
pub const MIN_SHARD_BYTES: u64 = 64 * 1024;
