//! What a client reads when a request fails: one function from every error to its response.
//!
//! The body has the shape that clients of the OpenAI API parse, and says whose fault it is and
//! what to do. It never carries a measurement, a key, a path of this machine, or what the inference
//! server said.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use serde_json::json;

use super::forward::ForwardedBody;
use super::framing::Violation;

/// Why the proxy does not give the client what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The request has a shape on which parsers disagree, or exceeds a bound of its head.
    #[error(transparent)]
    Refused(#[from] Violation),
    /// The body is larger than allowed.
    #[error("the request body is larger than {limit} bytes")]
    BodyTooLarge {
        /// Allowed bytes.
        limit: u64,
    },
    /// The body ended early or stalled.
    #[error("the request body did not arrive")]
    BodyBroken,
    /// WebSocket and other upgrades.
    #[error("protocol upgrades are not offered")]
    UpgradeRefused,
    /// The client's certificate is genuine and not on the list.
    #[error("this client may not use this model")]
    ClientNotPermitted,
    /// A path below `/.well-known/adyton/` that is none of ours, or a method it does not have.
    #[error("there is nothing at this path")]
    UnknownPath,
    /// The attestation endpoint was asked wrongly.
    #[error("{reason}")]
    BadQuestion {
        /// Which parameter, and what it must be.
        reason: &'static str,
    },
    /// Too many attestation reports are being made.
    #[error("too many attestation reports are being made")]
    ReportsBusy,
    /// The platform gave no Evidence.
    #[error("the platform gave no evidence")]
    NoEvidence,
    /// Nobody listens at the server's address.
    #[error("the inference server does not accept connections")]
    UpstreamDown,
    /// The server's address did not answer in time.
    #[error("the inference server did not accept the connection in time")]
    UpstreamConnectTimeout,
    /// The server took the request and said nothing.
    #[error("the inference server did not answer in time")]
    UpstreamSilent,
    /// The server closed the connection, or said something that is not HTTP.
    #[error("the inference server broke off before its answer")]
    UpstreamBroke(#[source] hyper::Error),
    /// The server changed to a protocol that nobody offered it.
    #[error("the inference server switched protocols without being asked")]
    UpstreamSwitched,
    /// A request could not be written down again.
    #[error("the request could not be forwarded")]
    NotForwardable(#[source] http::Error),
}

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Client,
    Upstream,
    Sidecar,
}

struct Facts {
    status: StatusCode,
    fault: Fault,
    code: &'static str,
    remedy: &'static str,
}

impl ProxyError {
    fn facts(&self) -> Facts {
        let facts = |status, fault, code, remedy| Facts { status, fault, code, remedy };
        match self {
            Self::Refused(violation) => refused(*violation),
            Self::BodyTooLarge { .. } => facts(
                StatusCode::PAYLOAD_TOO_LARGE,
                Fault::Client,
                "body_too_large",
                "send less, or ask the operator to raise limits.max_body_bytes",
            ),
            Self::BodyBroken => facts(
                StatusCode::BAD_REQUEST,
                Fault::Client,
                "body_incomplete",
                "send the whole body without long pauses",
            ),
            Self::UpgradeRefused => facts(
                StatusCode::NOT_IMPLEMENTED,
                Fault::Client,
                "upgrade_not_supported",
                "use plain HTTP requests; responses may be streamed",
            ),
            Self::ClientNotPermitted => facts(
                StatusCode::FORBIDDEN,
                Fault::Client,
                "client_not_permitted",
                "ask the operator to add a name of your certificate to clients.allowed_sans",
            ),
            Self::UnknownPath => facts(
                StatusCode::NOT_FOUND,
                Fault::Client,
                "unknown_path",
                "the attestation report is at GET /.well-known/adyton/attestation?nonce=…",
            ),
            Self::BadQuestion { .. } => facts(
                StatusCode::BAD_REQUEST,
                Fault::Client,
                "bad_attestation_question",
                "ask with nonce=<32 random bytes, base64url without padding> and, if wanted, \
                 bind=certificate or bind=exporter",
            ),
            Self::ReportsBusy => facts(
                StatusCode::SERVICE_UNAVAILABLE,
                Fault::Sidecar,
                "attestation_busy",
                "ask again in a second",
            ),
            Self::NoEvidence => facts(
                StatusCode::SERVICE_UNAVAILABLE,
                Fault::Sidecar,
                "attestation_unavailable",
                "ask again later; the reason is in the sidecar's log",
            ),
            Self::UpstreamDown => facts(
                StatusCode::BAD_GATEWAY,
                Fault::Upstream,
                "upstream_down",
                "it may still be starting: look at /readyz and at the inference server's log",
            ),
            Self::UpstreamConnectTimeout => facts(
                StatusCode::GATEWAY_TIMEOUT,
                Fault::Upstream,
                "upstream_connect_timeout",
                "look at the inference server's log; it may be overloaded",
            ),
            Self::UpstreamSilent => facts(
                StatusCode::GATEWAY_TIMEOUT,
                Fault::Upstream,
                "upstream_timeout",
                "ask for less, or ask the operator to raise upstream.first_byte_timeout_seconds",
            ),
            Self::UpstreamBroke(_) => facts(
                StatusCode::BAD_GATEWAY,
                Fault::Upstream,
                "upstream_broke_off",
                "look at the inference server's log; it may have crashed or run out of memory",
            ),
            Self::UpstreamSwitched => facts(
                StatusCode::BAD_GATEWAY,
                Fault::Upstream,
                "upstream_switched_protocols",
                "use a path of the inference server that speaks plain HTTP",
            ),
            Self::NotForwardable(_) => facts(
                StatusCode::BAD_REQUEST,
                Fault::Client,
                "not_forwardable",
                "check the request's path and headers",
            ),
        }
    }

    /// Stable code for metrics and logs.
    pub fn code(&self) -> &'static str {
        self.facts().code
    }
}

fn refused(violation: Violation) -> Facts {
    let (status, remedy) = match violation {
        Violation::HeadTooLarge | Violation::TooManyHeaders => (
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "send fewer or shorter headers, or ask the operator to raise limits.max_head_bytes and \
             limits.max_headers",
        ),
        Violation::HeadTooSlow => (StatusCode::REQUEST_TIMEOUT, "send the head in one go"),
        Violation::BareLineFeed
        | Violation::BareCarriageReturn
        | Violation::ControlByte
        | Violation::RequestLine
        | Violation::Version
        | Violation::Method
        | Violation::Target
        | Violation::TargetHostMismatch
        | Violation::HeaderLine
        | Violation::SpaceBeforeColon
        | Violation::ObsoleteFold
        | Violation::Host
        | Violation::ContentLength
        | Violation::DuplicateLength
        | Violation::BothLengths
        | Violation::TransferEncoding
        | Violation::FramingUnderscore
        | Violation::UpgradeH2c
        | Violation::ChunkSize
        | Violation::ChunkEnd => (
            StatusCode::BAD_REQUEST,
            "send a well-formed HTTP/1.1 or HTTP/2 request; a proxy between may have changed it",
        ),
    };
    Facts { status, fault: Fault::Client, code: violation.code(), remedy }
}

/// The response for an error. The connection is closed after a framing violation.
pub fn refuse(error: &ProxyError) -> Response<ReplyBody> {
    let Facts { status, fault, code, remedy } = error.facts();
    let (kind, fault) = match fault {
        Fault::Client => ("invalid_request_error", "client"),
        Fault::Upstream => ("upstream_error", "upstream"),
        Fault::Sidecar => ("server_error", "sidecar"),
    };
    let message = format!("{error}; {remedy}");
    let body = json!({
        "error": { "message": message, "type": kind, "code": code, "fault": fault }
    });
    let mut response = json_response(status, &body);
    let headers = response.headers_mut();
    match error {
        ProxyError::Refused(_) => {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        ProxyError::ReportsBusy | ProxyError::UpstreamDown => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    response
}

/// A response of our own.
pub fn json_response(status: StatusCode, body: &serde_json::Value) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::Ours(Full::from(body.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A body of ours, or the server's as it comes.
#[derive(Debug)]
pub enum ReplyBody {
    /// Small, complete.
    Ours(Full<Bytes>),
    /// Streamed.
    Forwarded(ForwardedBody),
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Ours(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Forwarded(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Ours(body) => body.is_end_stream(),
            Self::Forwarded(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Ours(body) => body.size_hint(),
            Self::Forwarded(body) => body.size_hint(),
        }
    }
}
