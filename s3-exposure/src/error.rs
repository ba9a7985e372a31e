//! Why a request is refused, as S3 says it: a status, a code, and a message that says what to do.
//!
//! In: what was wrong. Out: [`Refusal`], one variant each. What the client sees is its `Display`; it
//! holds nothing that the client did not send, and no secret.

use crate::limits::{
    MAX_HEAD_BYTES, MAX_HEADERS, MAX_PRESIGNED_SECONDS, MAX_QUERY_PARAMETERS, MAX_SKEW_SECONDS,
    MAX_TARGET_BYTES,
};

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The head is longer than [`MAX_HEAD_BYTES`].
    #[error(
        "the request head is longer than {MAX_HEAD_BYTES} bytes; send fewer or shorter header fields"
    )]
    HeadTooLarge,
    /// More than [`MAX_HEADERS`] fields.
    #[error("more than {MAX_HEADERS} header fields; send fewer")]
    TooManyHeaders,
    /// The target is longer than [`MAX_TARGET_BYTES`].
    #[error("a request target of {got} bytes; expected at most {MAX_TARGET_BYTES}")]
    TargetTooLong {
        /// Its length.
        got: usize,
    },
    /// Not HTTP/1.1 as RFC 9112 has it.
    #[error("not a request of HTTP/1.1: {what}")]
    Malformed {
        /// Which rule it breaks.
        what: &'static str,
    },
    /// Another version than 1.1.
    #[error("expected HTTP/1.1; switch the client to that version")]
    Version,
    /// A request with a body, or the promise of one.
    #[error(
        "this endpoint only reads: a request has no body; remove Content-Length and Transfer-Encoding"
    )]
    Body,
    /// A header field that stands twice.
    #[error("the header field {name} stands more than once; send it once")]
    Duplicate {
        /// Its name.
        name: String,
    },
    /// Neither GET nor HEAD.
    #[error("{got} is not allowed: this endpoint only reads; use GET or HEAD")]
    Method {
        /// The method.
        got: String,
    },
    /// The target is no path and no absolute `http` URI.
    #[error("the request target cannot be read: {what}")]
    Uri {
        /// Which rule it breaks.
        what: &'static str,
    },
    /// More than [`MAX_QUERY_PARAMETERS`], or one of them twice.
    #[error(
        "the query cannot be read: {what}; expected at most {MAX_QUERY_PARAMETERS} different parameters"
    )]
    Query {
        /// Which rule it breaks.
        what: &'static str,
    },
    /// The absolute target names another authority than Host.
    #[error(
        "the request target is for {target}, the Host field says {host}; they must be the same"
    )]
    HostMismatch {
        /// Authority in the target.
        target: String,
        /// Value of Host.
        host: String,
    },
    /// A Host that is not ours.
    #[error(
        "the Host {got} is not this endpoint; expected {expected}, or a bucket's name and a dot before it"
    )]
    Host {
        /// Value of Host.
        got: String,
        /// What we answer to.
        expected: String,
    },
    /// No signature at all.
    #[error(
        "anonymous requests are refused; sign with the credentials file that the sidecar wrote (signature version 4)"
    )]
    Unsigned,
    /// Signed in another way.
    #[error(
        "expected the algorithm AWS4-HMAC-SHA256; configure the client for signature version 4"
    )]
    Algorithm,
    /// Signed in a header and in the query.
    #[error("the request is signed in its header and in its query; sign it once")]
    SignedTwice,
    /// The Authorization field or the `X-Amz-` parameters do not have their form.
    #[error("the signature cannot be read: {what}")]
    Authorization {
        /// Which rule it breaks.
        what: &'static str,
    },
    /// A session token, which this endpoint never gives.
    #[error(
        "this endpoint gives no session tokens; use the credentials file that the sidecar wrote"
    )]
    SecurityToken,
    /// An access key that is not ours.
    #[error(
        "this access key is not known; the key changes with each start: read the credentials file again"
    )]
    AccessKey,
    /// No time, or one that is not of the form `20260131T235959Z`.
    #[error("expected the time of signing in X-Amz-Date, as 20260131T235959Z")]
    Date,
    /// The time of signing is too far from ours.
    #[error(
        "signed {seconds} s away from the time here; expected at most {MAX_SKEW_SECONDS} s: correct the clock or sign again"
    )]
    Skew {
        /// The difference.
        seconds: u64,
    },
    /// A presigned request after its time.
    #[error("this presigned request has expired; sign again")]
    Expired,
    /// A presigned request for a time that is not allowed.
    #[error("expected X-Amz-Expires from 1 to {MAX_PRESIGNED_SECONDS}")]
    Expires,
    /// A digest of a body other than none.
    #[error(
        "expected X-Amz-Content-Sha256 to be UNSIGNED-PAYLOAD or the digest of no bytes: requests here have no body"
    )]
    Payload,
    /// A header field that must be signed.
    #[error("the header field {name} must be among the signed ones, and be there; sign it")]
    NotSigned {
        /// Its name.
        name: String,
    },
    /// The signature is not the one that our secret makes.
    #[error(
        "the signature does not match; check the secret key, and that nothing changes the request on its way"
    )]
    Signature,
    /// A part of S3 that is not here.
    #[error("{what} is not implemented by this endpoint; leave it out")]
    NotImplemented {
        /// Which.
        what: String,
    },
    /// A parameter that cannot be read.
    #[error("the argument {name} cannot be read; expected {expected}")]
    Argument {
        /// Its name.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// Another bucket than ours.
    #[error("there is no bucket of this name; expected {expected}")]
    NoSuchBucket {
        /// Ours.
        expected: String,
    },
    /// A key that the model does not have.
    #[error("the model has no file under this key; list the bucket to see what it has")]
    NoSuchKey,
    /// No byte of the range lies within the object.
    #[error("the range begins after the object's last byte; it has {size} bytes")]
    Range {
        /// Bytes of the object.
        size: u64,
    },
    /// `If-Match` or `If-Unmodified-Since` does not hold.
    #[error(
        "the condition {header} does not hold; the object is another one than the client knows"
    )]
    Precondition {
        /// Which.
        header: &'static str,
    },
    /// Too much at once.
    #[error("too many {what} at once; wait and try again")]
    Busy {
        /// Of what.
        what: &'static str,
    },
    /// A chunk is not authentic, or cannot be read. The operator's log says which.
    #[error("the object cannot be read; the sidecar's log says why")]
    Internal,
}

impl Refusal {
    /// The status and the code by which S3's clients know it.
    pub fn status_and_code(&self) -> (u16, &'static str) {
        match self {
            Self::HeadTooLarge | Self::TooManyHeaders => (400, "RequestHeaderSectionTooLarge"),
            Self::TargetTooLong { .. } => (414, "RequestURITooLong"),
            Self::Malformed { .. } | Self::Duplicate { .. } | Self::HostMismatch { .. } => {
                (400, "BadRequest")
            }
            Self::Version => (505, "HttpVersionNotSupported"),
            Self::Body | Self::Host { .. } | Self::SignedTwice => (400, "InvalidRequest"),
            Self::Method { .. } => (405, "MethodNotAllowed"),
            Self::Uri { .. } => (400, "InvalidURI"),
            Self::Query { .. } | Self::Argument { .. } => (400, "InvalidArgument"),
            Self::Unsigned | Self::Date | Self::Expired | Self::NotSigned { .. } => {
                (403, "AccessDenied")
            }
            Self::Algorithm => (400, "InvalidRequest"),
            Self::Authorization { .. } => (400, "AuthorizationHeaderMalformed"),
            Self::SecurityToken => (400, "InvalidToken"),
            Self::AccessKey => (403, "InvalidAccessKeyId"),
            Self::Skew { .. } => (403, "RequestTimeTooSkewed"),
            Self::Expires => (400, "AuthorizationQueryParametersError"),
            Self::Payload => (400, "XAmzContentSHA256Mismatch"),
            Self::Signature => (403, "SignatureDoesNotMatch"),
            Self::NotImplemented { .. } => (501, "NotImplemented"),
            Self::NoSuchBucket { .. } => (404, "NoSuchBucket"),
            Self::NoSuchKey => (404, "NoSuchKey"),
            Self::Range { .. } => (416, "InvalidRange"),
            Self::Precondition { .. } => (412, "PreconditionFailed"),
            Self::Busy { .. } => (503, "SlowDown"),
            Self::Internal => (500, "InternalError"),
        }
    }

    /// Whether what follows on the connection can still be told apart from this request.
    pub(crate) fn ends_connection(&self) -> bool {
        matches!(
            self,
            Self::HeadTooLarge
                | Self::TooManyHeaders
                | Self::TargetTooLong { .. }
                | Self::Malformed { .. }
                | Self::Duplicate { .. }
                | Self::HostMismatch { .. }
                | Self::Version
                | Self::Body
                | Self::Method { .. }
                | Self::Uri { .. }
                | Self::Query { .. }
        )
    }
}
