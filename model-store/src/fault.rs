//! What can go wrong between us and a store, and whether asking again may help.
//!
//! ```text
//! bytes on a wire ─► Fault ─┬─ may be retried ─► Retry ─► … ─► StorageError::Unavailable
//!                           └─ final ─► StorageError::{Missing, Changed, Refused}
//! ```
//! Against: a store that keeps us busy for ever with answers that are never right; a refusal that is
//! asked for again and again; what a server says in an error, unbounded and unprintable, in our logs.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use adyton_sealed_weights::StorageError;
use http::StatusCode;

/// Most characters of a server's own words that are kept.
const MAX_SAID: usize = 240;

/// The reason of one failed exchange.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// 404, 410.
    #[error("there is no such object")]
    Missing,
    /// Another ETag, length, date or version than when the object was opened; 412.
    #[error("the object changed: {what}")]
    Changed {
        /// What is different.
        what: &'static str,
    },
    /// No connection.
    #[error("{authority} could not be reached")]
    Unreachable {
        /// Host and port.
        authority: String,
        /// Why.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The TLS certificate leads to no root that we trust, or is for another name.
    #[error("the certificate of {authority} is not trusted")]
    NotTrusted {
        /// Host and port.
        authority: String,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// TCP and TLS took too long.
    #[error("{authority} did not finish a handshake within {seconds} s")]
    ConnectTimeout {
        /// Host and port.
        authority: String,
        /// The bound.
        seconds: u64,
    },
    /// The request went out, and no response began.
    #[error("no response began within {seconds} s")]
    FirstByteTimeout {
        /// The bound.
        seconds: u64,
    },
    /// Nothing came in the middle of a body.
    #[error("nothing came for {seconds} s in the middle of a response")]
    Stalled {
        /// The bound.
        seconds: u64,
    },
    /// The connection broke, or what came is not HTTP.
    #[error("the connection broke")]
    Broke(#[source] Arc<dyn Error + Send + Sync>),
    /// A body ended early.
    #[error("the response ended after {got} of {wanted} bytes")]
    Cut {
        /// Bytes that came.
        got: u64,
        /// Bytes that were promised.
        wanted: u64,
    },
    /// A body went on after its end.
    #[error("more than the {wanted} bytes of the range came")]
    TooLong {
        /// Bytes that were asked for.
        wanted: u64,
    },
    /// 5xx, 429, 408: the server would do it, later.
    #[error("the server is not able to answer now (status {status}): {said}")]
    Busy {
        /// Status of the response.
        status: u16,
        /// Beginning of its body.
        said: String,
        /// When the server wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// Any other status that is no success.
    #[error("the server refused (status {status}): {said}")]
    Refused {
        /// Status of the response.
        status: u16,
        /// Beginning of its body.
        said: String,
    },
    /// 416, for a range inside the object that was opened.
    #[error("the server has no bytes in that range")]
    NotSatisfiable,
    /// A 206 about something else.
    #[error("the server answered bytes {got} to a request for bytes {wanted}")]
    WrongRange {
        /// What was asked for.
        wanted: String,
        /// `Content-Range` or `Content-Length` of the response.
        got: String,
    },
    /// A 200 to a request for a range.
    #[error("the server does not serve ranges")]
    NoRanges,
    /// A redirect where none is followed, one too many, or one that leaves TLS.
    #[error("the server sends us elsewhere ({status}): {to}")]
    Redirected {
        /// Status of the response.
        status: u16,
        /// Where to, without its query.
        to: String,
    },
    /// `http://` beyond this machine.
    #[error("{authority} would be asked without TLS")]
    PlainHttp {
        /// Host and port.
        authority: String,
    },
    /// A name that this kind of store cannot have.
    #[error("the name `{name}` cannot be stored there")]
    Name {
        /// The object's name.
        name: String,
    },
    /// Content that is not what its digest says.
    #[error("the digest is {got}; expected {expected}")]
    Digest {
        /// What was asked for.
        expected: String,
        /// What came.
        got: String,
    },
    /// An artifact of another kind.
    #[error("it is not a sealed model: {what}")]
    NotASealedModel {
        /// What is wrong with it.
        what: String,
    },
    /// A file of this machine, in a push.
    #[error("the file cannot be read or written")]
    Local(#[source] Arc<std::io::Error>),
    /// A response that means nothing.
    #[error("the response is not sound: {what}")]
    Unsound {
        /// What is wrong with it.
        what: String,
    },
}

impl Fault {
    pub(crate) fn local(error: std::io::Error) -> Self {
        Self::Local(Arc::new(error))
    }

    /// A name that stays, for logs and tests.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Changed { .. } => "changed",
            Self::Unreachable { .. } => "unreachable",
            Self::NotTrusted { .. } => "certificate",
            Self::ConnectTimeout { .. } => "connect-timeout",
            Self::FirstByteTimeout { .. } => "first-byte-timeout",
            Self::Stalled { .. } => "stalled",
            Self::Broke(_) => "broke",
            Self::Cut { .. } => "cut",
            Self::TooLong { .. } => "too-long",
            Self::Busy { .. } => "busy",
            Self::Refused { .. } => "refused",
            Self::NotSatisfiable => "not-satisfiable",
            Self::WrongRange { .. } => "wrong-range",
            Self::NoRanges => "no-ranges",
            Self::Redirected { .. } => "redirected",
            Self::PlainHttp { .. } => "plain-http",
            Self::Name { .. } => "name",
            Self::Digest { .. } => "digest",
            Self::NotASealedModel { .. } => "not-a-sealed-model",
            Self::Local(_) => "local",
            Self::Unsound { .. } => "unsound",
        }
    }

    /// May the same request succeed a moment later?
    pub fn may_be_retried(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::ConnectTimeout { .. }
            | Self::FirstByteTimeout { .. }
            | Self::Stalled { .. }
            | Self::Broke(_)
            | Self::Cut { .. }
            | Self::TooLong { .. }
            | Self::Busy { .. }
            | Self::NotSatisfiable
            | Self::WrongRange { .. }
            | Self::Digest { .. }
            | Self::Unsound { .. } => true,
            Self::Missing
            | Self::Changed { .. }
            | Self::NotTrusted { .. }
            | Self::Refused { .. }
            | Self::NoRanges
            | Self::Redirected { .. }
            | Self::PlainHttp { .. }
            | Self::NotASealedModel { .. }
            | Self::Local(_)
            | Self::Name { .. } => false,
        }
    }

    /// What the store's user sees.
    pub(crate) fn into_storage_error(self) -> StorageError {
        match self {
            Self::Missing => StorageError::Missing,
            Self::Changed { .. } => StorageError::Changed,
            lasting if lasting.may_be_retried() => {
                StorageError::Unavailable { source: Box::new(lasting) }
            }
            last => StorageError::Refused { source: Box::new(last) },
        }
    }

    /// The fault of a status that is no success; `said` is the beginning of the body.
    pub(crate) fn of_status(
        status: StatusCode,
        said: &[u8],
        retry_after: Option<Duration>,
    ) -> Self {
        let said = printable(said);
        match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => Self::Missing,
            StatusCode::PRECONDITION_FAILED => Self::Changed { what: "its ETag" },
            StatusCode::RANGE_NOT_SATISFIABLE => Self::NotSatisfiable,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Self::Busy { status: status.as_u16(), said, retry_after }
            }
            _ if status.is_server_error() => {
                Self::Busy { status: status.as_u16(), said, retry_after }
            }
            _ => Self::Refused { status: status.as_u16(), said },
        }
    }

    /// The fault somewhere below `error`, if it is ours.
    pub(crate) fn within(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(fault) = error.downcast_ref::<Self>() {
                return Some(fault.clone());
            }
            next = error.source();
        }
        None
    }
}

/// One line of what a server said.
pub(crate) fn printable(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let words: Vec<&str> = text.split_whitespace().collect();
    let line: String = words
        .join(" ")
        .chars()
        .map(|char| if char.is_control() { '.' } else { char })
        .take(MAX_SAID)
        .collect();
    if line.is_empty() { "it does not say why".to_owned() } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_decides_whether_to_ask_again() {
        for (status, code, again) in [
            (404, "missing", false),
            (410, "missing", false),
            (412, "changed", false),
            (416, "not-satisfiable", true),
            (408, "busy", true),
            (429, "busy", true),
            (500, "busy", true),
            (503, "busy", true),
            (400, "refused", false),
            (401, "refused", false),
            (403, "refused", false),
            (304, "refused", false),
        ] {
            let fault = Fault::of_status(StatusCode::from_u16(status).unwrap(), b"", None);
            assert_eq!((fault.code(), fault.may_be_retried()), (code, again), "{status}");
        }
    }

    #[test]
    fn what_a_server_says_becomes_one_short_printable_line() {
        let said = [b"<Code>\x1b[31mNo\r\n".as_slice(), &[b'x'; 4096]].concat();
        let Fault::Refused { said, .. } = Fault::of_status(StatusCode::FORBIDDEN, &said, None)
        else {
            panic!("refused");
        };
        assert!(said.starts_with("<Code>.[31mNo x") && said.chars().count() == MAX_SAID);
    }

    #[test]
    fn a_fault_is_found_below_the_errors_of_libraries() {
        use object_store::client::{HttpError, HttpErrorKind};
        let inner = HttpError::new(HttpErrorKind::Unknown, Fault::Cut { got: 1, wanted: 2 });
        let outer = object_store::Error::Generic { store: "x", source: Box::new(inner) };
        assert_eq!(Fault::within(&outer).map(|fault| fault.code()), Some("cut"));
        assert!(Fault::within(&std::io::Error::other("x")).is_none());
    }
}
