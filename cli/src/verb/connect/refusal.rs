//! What a local program gets instead of an answer: a status and the reasons as JSON, in the shape that
//! OpenAI clients read.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::failure::{Exit, Failure};

/// OpenAI's clients repeat a 5xx by themselves, unless this says `false`.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Seconds after which a busy proxy may be asked again.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// A local request that is not answered by the sidecar.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    failure: Failure,
    by: By,
}

/// Who refused, which decides whether asking again can help and who should hear of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The gate: the local program is at fault.
    Gate,
    /// All connections are in use.
    Busy,
    /// The sidecar was not reached, or broke off.
    Transport,
    /// The sidecar was reached and refused: nothing was sent.
    Verification,
}

impl Refusal {
    /// The gate's word.
    pub(super) fn local(
        status: StatusCode,
        code: &'static str,
        message: &'static str,
        expected: &'static str,
        remedy: &'static str,
    ) -> Self {
        let failure = Failure::new(Exit::Usage, code, message).expected(expected).remedy(remedy);
        Self { status, failure, by: By::Gate }
    }

    /// No connection is free.
    pub(super) fn busy(connections: usize) -> Self {
        let failure = Failure::new(
            Exit::BrokerUnreachable,
            "connect.busy",
            "all connections to the sidecar are in use",
        )
        .expected(format!("at most {connections} requests at once"))
        .remedy("try again when one of them has ended");
        Self { status: StatusCode::SERVICE_UNAVAILABLE, failure, by: By::Busy }
    }

    /// There is no attested connection, or it broke.
    pub(super) fn upstream(failure: Failure) -> Self {
        let by = match failure.exit() {
            Exit::BrokerUnreachable | Exit::Internal => By::Transport,
            _ => By::Verification,
        };
        Self { status: StatusCode::BAD_GATEWAY, failure, by }
    }

    /// Its stable code.
    #[cfg(test)]
    pub(super) fn code(&self) -> &str {
        self.failure.code()
    }

    /// What the person at the terminal should hear of: everything but the slips of local programs.
    pub(super) fn into_news(self) -> Option<Failure> {
        match self.by {
            By::Gate | By::Busy => None,
            By::Transport | By::Verification => Some(self.failure),
        }
    }

    /// The reply. `error.message` says all of it, because most clients show nothing else.
    pub(super) fn reply(&self) -> Response<Full<Bytes>> {
        let mut document = self.failure.to_json();
        if let Some(error) = document.get_mut("error").and_then(Value::as_object_mut) {
            error.insert("type".into(), json!("adyton_connect"));
            error.insert("param".into(), Value::Null);
            error.insert("message".into(), json!(self.failure.sentence()));
        }
        let mut reply = Response::new(Full::from(format!("{document}\n")));
        *reply.status_mut() = self.status;
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self.by {
            By::Busy => headers.insert(RETRY_AFTER, RETRY_SECONDS),
            By::Gate | By::Verification => {
                headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"))
            }
            By::Transport => None,
        };
        reply
    }
}
