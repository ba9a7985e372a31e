//! Every bound of the endpoint, in one place, checked before memory is taken.
//!
//! In: nothing. Out: constants. Against: neighbours in the pod that send endless heads, open connections
//! without end, or read so slowly that they hold what others need.

use std::time::Duration;

/// Largest request head, in bytes: request line, header fields, empty line.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Most header fields of one request.
pub const MAX_HEADERS: usize = 64;

/// Longest request target, in bytes. A key of 1024 bytes takes 3072 with every byte escaped.
pub const MAX_TARGET_BYTES: usize = 8 * 1024;

/// Most query parameters of one request.
pub const MAX_QUERY_PARAMETERS: usize = 32;

/// Longest bucket name, in bytes, as S3 has it.
pub const MAX_BUCKET_BYTES: usize = 63;

/// Most keys and common prefixes of one page of a listing, as S3 has it.
pub const MAX_KEYS: usize = 1000;

/// How far a signature's time may be from ours, in seconds, as S3 has it.
pub const MAX_SKEW_SECONDS: u64 = 15 * 60;

/// Longest life of a presigned request, in seconds. S3 allows a week; here nobody needs it.
pub const MAX_PRESIGNED_SECONDS: u64 = 60 * 60;

/// Most connections at once.
pub const MAX_CONNECTIONS: usize = 256;

/// Most bodies that are sent at once; others wait for their turn.
pub const MAX_READS: usize = 64;

/// How long a request waits for its turn before it is told to come again.
pub const TURN_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection without a request.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// From a head's first byte to its last.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// A client that takes nothing in the middle of an answer.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Plaintext that nobody asked for during this time is wiped.
pub const LINGER: Duration = Duration::from_secs(2);
