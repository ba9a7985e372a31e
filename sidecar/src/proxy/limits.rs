//! Every bound on what a client can take from the proxy, in one value.

use std::time::Duration;

/// Bounds for all connections of the mTLS port. Every field comes from `[limits]`.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once; further ones wait in the kernel's backlog.
    pub max_connections: usize,
    /// Bytes of one request body; more is a 413.
    pub max_body_bytes: u64,
    /// Bytes of one request head, and of its trailers; more is a 431.
    pub max_head_bytes: usize,
    /// Header fields of one request; more is a 431.
    pub max_headers: usize,
    /// HTTP/2 streams at once on one connection.
    pub max_concurrent_streams: u32,
    /// Attestation reports being made or waited for; more is a 503.
    pub max_pending_reports: usize,
    /// From accept to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a request head to its last; longer is a 408.
    pub header_read_timeout: Duration,
    /// A client that sends or takes nothing in the middle of a message is cut off.
    pub stall_timeout: Duration,
    /// A connection without a request is closed.
    pub idle_timeout: Duration,
    /// What a drain may take.
    pub drain_timeout: Duration,
}

/// HTTP/2: streams that a client opened and reset before we looked at them.
pub const MAX_PENDING_RESETS: usize = 20;
/// HTTP/2: streams that we reset because of the client.
pub const MAX_ERROR_RESETS: usize = 64;
/// HTTP/2: bytes of responses held for a client that does not take them, each stream.
pub const MAX_SEND_BUFFER: usize = 256 * 1024;
/// HTTP/2: control frames (SETTINGS, PING, PRIORITY, WINDOW_UPDATE, RST_STREAM, empty DATA) that a
/// client may send at once.
pub const CONTROL_FRAME_BURST: u32 = 2_000;
/// HTTP/2: control frames that a client earns back each second.
pub const CONTROL_FRAMES_PER_SECOND: u32 = 200;
/// HTTP/2: control frames that each of our own writes earns the client: it must answer them.
pub const CONTROL_FRAMES_PER_WRITE: u32 = 4;
/// Connections to the inference server kept open without a request.
pub const MAX_IDLE_UPSTREAM: usize = 64;
