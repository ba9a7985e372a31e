//! HTTP as stores are asked with it: one client, whose every wait and every answer is bounded.
//!
//! ```text
//! request ─► permit (TLS, or loopback) ─► connect ─► head ─► status, range ─► PacedBody
//! ```
//! HTTP/1.1 on connections that are kept; more at once means more connections. No proxy is read from the
//! environment, no redirect is followed unless the caller asks for it, nothing is decompressed.

mod body;
mod connect;
mod exchange;
mod outgoing;
mod redirect;
mod roots;

pub(crate) use body::PacedBody;
pub(crate) use exchange::{ContentRange, Transport, content_length, judge, wanted};
pub(crate) use outgoing::Outgoing;
pub use roots::RootsError;
