//! Why there is no attested connection.

use std::io;
use std::time::Duration;

use adyton_attestation::challenge::NonceError;
use adyton_attestation::peer::PeerRefusal;
use adyton_attestation::{Reason, ReportError};
use http::StatusCode;
use thiserror::Error;

/// Why a step of this crate failed. [`reasons`](Self::reasons) has the trust decisions in detail.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No TCP connection.
    #[error("{authority} could not be reached")]
    Unreachable {
        /// Where.
        authority: String,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// A step took too long.
    #[error("{authority} did not answer within {} s ({step})", after.as_secs())]
    TimedOut {
        /// Where.
        authority: String,
        /// Which step.
        step: &'static str,
        /// The bound.
        after: Duration,
    },
    /// The handshake failed, or our own certificate cannot be used.
    #[error("no TLS connection")]
    Tls(#[source] rustls::Error),
    /// The connection broke, or the peer speaks something else than TLS and HTTP.
    #[error("the connection broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No proof can be bound to such a connection.
    #[error("nothing can be bound to this TLS connection: {what}")]
    NotBindable {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The client certificate or key is not PEM.
    #[error("the client identity holds no {what} in PEM")]
    Identity {
        /// What was looked for.
        what: &'static str,
    },
    /// The system has no random bytes.
    #[error(transparent)]
    Nonce(#[from] NonceError),
    /// The endpoint answered with another status than 200.
    #[error("the attestation endpoint answered {status}: {body}")]
    Status {
        /// The status.
        status: StatusCode,
        /// Start of the body, printable characters only.
        body: String,
    },
    /// The reply is longer than any report.
    #[error("the reply has more than {limit} bytes")]
    ReplyTooLong {
        /// The bound in bytes.
        limit: usize,
    },
    /// The report does not parse or does not verify on this connection.
    #[error("the attestation report was refused")]
    Report(#[source] ReportError),
    /// The peer is genuine, and not what was expected.
    #[error("a genuine TEE, but not the one that was expected")]
    Refused(#[source] PeerRefusal),
    /// This machine's clock stands before 1970.
    #[error("this machine's clock stands before 1970")]
    Clock,
}

impl ClientError {
    /// The reasons of a trust decision; empty when it did not come to one.
    #[must_use]
    pub fn reasons(&self) -> Vec<Reason> {
        match self {
            Self::Report(error) => error.reasons(),
            Self::Refused(refusal) => refusal.reasons.clone(),
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Tls(_)
            | Self::Broken(_)
            | Self::NotBindable { .. }
            | Self::Identity { .. }
            | Self::Nonce(_)
            | Self::Status { .. }
            | Self::ReplyTooLong { .. }
            | Self::Clock => Vec::new(),
        }
    }

    /// Finds rustls's own word in a transport error, because it tells more.
    pub(crate) fn transport(source: Box<dyn std::error::Error + Send + Sync>) -> Self {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(source.as_ref());
        while let Some(current) = next {
            if let Some(tls) = current.downcast_ref::<rustls::Error>() {
                return Self::Tls(tls.clone());
            }
            // io::Error hides the error it wraps from `source()`.
            next = match current.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
                Some(inner) => Some(inner),
                None => current.source(),
            };
        }
        Self::Broken(source)
    }
}
