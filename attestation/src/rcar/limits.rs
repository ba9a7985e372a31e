//! Bounds on what a peer of RCAR may send, enforced before memory is taken.

/// Longest body of a Request, Challenge or Attestation in bytes (2 MiB, as the KBS has it).
pub const MAX_BODY: usize = 2 * 1024 * 1024;
/// Most objects and arrays in a body. Each may become a map of hundreds of bytes, a hundred times its
/// own length; a real Attestation has about a dozen.
pub const MAX_CONTAINERS: usize = 4096;
/// Most members and elements in a body, for the same reason: each may become a value of its own.
pub const MAX_ELEMENTS: usize = 65_536;
/// Longest secret in one reply, in bytes.
pub const MAX_SECRET: usize = 1024 * 1024;
/// Longest body of a resource reply: the secret in base64, and room for the other members.
pub const MAX_RESPONSE: usize = MAX_SECRET / 3 * 4 + 16 * 1024;
/// Longest `protected` member, in characters.
pub const MAX_PROTECTED: usize = 4 * 1024;
/// Longest nonce string that a client answers, in bytes. The KBS sends 44.
pub const MAX_NONCE_TEXT: usize = 512;
/// Longest init-data body, in bytes.
pub const MAX_INIT_DATA: usize = 512 * 1024;
/// Longest of the three segments of a resource path, in bytes.
pub const MAX_PATH_SEGMENT: usize = 128;
