//! The one place where an outcome becomes an HTTP reply.
//!
//! In: a [`KbsRefusal`] or an [`AdminRefusal`]. Out: status and body. A guest learns a variant of the
//! protocol, reason codes and the id of the decision; expected values, measurements and causes are
//! for the owner (admin API, log). Refusals that stand for good are 403 and 404, which CoCo clients
//! do not retry; everything else is 401 as in Trustee, except what is our own fault (5xx).

use adyton_attestation::Reason;
use adyton_attestation::rcar::ErrorInformation;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use crate::decision::DecisionId;

/// Why a KBC got no success.
#[derive(Debug)]
pub enum KbsRefusal {
    /// The path is not that of an endpoint.
    UnknownEndpoint,
    /// The endpoint does not take this method; keys and policies are set on the admin listener.
    Method,
    /// The path of the resource breaks the path rule.
    ResourcePath,
    /// The Request was refused; the text says why.
    Request(String),
    /// The Attestation was refused.
    Attestation {
        /// The decision, when one was recorded.
        decision: DecisionId,
        /// Why.
        reasons: Vec<Reason>,
    },
    /// Endorsements for the Evidence can't be had now. No verdict; the guest should come again.
    EndorsementsUnavailable {
        /// The decision that was recorded.
        decision: DecisionId,
        /// Why.
        reasons: Vec<Reason>,
        /// When to come again, in seconds.
        retry_after: u64,
    },
    /// There is no attested session.
    NotAttested,
    /// There is no such key.
    UnknownKey {
        /// The decision that was recorded.
        decision: DecisionId,
        /// Why.
        reasons: Vec<Reason>,
    },
    /// The key's policy says no.
    Denied {
        /// The decision that was recorded.
        decision: DecisionId,
        /// Why.
        reasons: Vec<Reason>,
    },
    /// No valid admin token or client certificate.
    NotAdministrator,
    /// A policy for all keys was refused; the text says why.
    Policy(String),
    /// The body is longer than the endpoint takes.
    TooLarge {
        /// The bound in bytes.
        limit: usize,
    },
    /// The body did not arrive whole.
    Body,
    /// The request took too long.
    Timeout,
    /// Nothing can be decided now, and it is not the guest's fault.
    Unavailable,
}

impl KbsRefusal {
    fn parts(&self) -> (StatusCode, ErrorInformation) {
        let codes = |reasons: &[Reason]| {
            let mut codes: Vec<String> =
                reasons.iter().map(|reason| reason.code.clone().into_owned()).collect();
            codes.dedup();
            codes
        };
        match self {
            Self::UnknownEndpoint => {
                (StatusCode::NOT_FOUND, ErrorInformation::new("PluginNotFound", "Plugin not found"))
            }
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                ErrorInformation::new(
                    "AdminAuthAccess",
                    "Not offered here; see the admin listener",
                ),
            ),
            Self::ResourcePath => (
                StatusCode::NOT_FOUND,
                ErrorInformation::new("InvalidRequestPath", "Invalid request path"),
            ),
            Self::Request(why) => {
                let detail = format!("Attestation error: RCAR handshake Auth failed: {why}");
                (StatusCode::UNAUTHORIZED, ErrorInformation::new("AttestationError", detail))
            }
            Self::Attestation { decision, reasons } => (
                StatusCode::UNAUTHORIZED,
                ErrorInformation::new(
                    "AttestationError",
                    "Attestation error: RCAR handshake Attest failed",
                )
                .with_refusal(decision.as_str(), codes(reasons)),
            ),
            Self::EndorsementsUnavailable { decision, reasons, .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorInformation::new(
                    "AttestationError",
                    "Endorsements are unavailable; try later",
                )
                .with_refusal(decision.as_str(), codes(reasons)),
            ),
            Self::NotAttested => (
                StatusCode::UNAUTHORIZED,
                ErrorInformation::new("TokenNotFound", "Attestation Token not found"),
            ),
            Self::UnknownKey { decision, reasons } => (
                StatusCode::NOT_FOUND,
                ErrorInformation::new(
                    "PluginInternalError",
                    "Plugin internal error: no such resource",
                )
                .with_refusal(decision.as_str(), codes(reasons)),
            ),
            Self::Denied { decision, reasons } => (
                StatusCode::FORBIDDEN,
                ErrorInformation::new("PolicyDeny", "Access denied by policy")
                    .with_refusal(decision.as_str(), codes(reasons)),
            ),
            Self::NotAdministrator => (
                StatusCode::UNAUTHORIZED,
                ErrorInformation::new(
                    "AdminAuthAccess",
                    "Admin auth error: no valid admin token or client certificate",
                ),
            ),
            Self::Policy(why) => {
                let detail = format!("Policy refused: {why}");
                (StatusCode::BAD_REQUEST, ErrorInformation::new("ParsePolicyError", detail))
            }
            Self::TooLarge { limit } => (
                StatusCode::PAYLOAD_TOO_LARGE,
                ErrorInformation::new(
                    "SerdeError",
                    format!("The body is longer than {limit} bytes"),
                ),
            ),
            Self::Body => (
                StatusCode::BAD_REQUEST,
                ErrorInformation::new("SerdeError", "The body did not arrive whole"),
            ),
            Self::Timeout => (
                StatusCode::REQUEST_TIMEOUT,
                ErrorInformation::new("PluginInternalError", "The request took too long"),
            ),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorInformation::new("PluginInternalError", "Plugin internal error"),
            ),
        }
    }
}

impl IntoResponse for KbsRefusal {
    fn into_response(self) -> Response {
        let (status, body) = self.parts();
        let mut response = json(status, &body);
        let seconds = match &self {
            Self::EndorsementsUnavailable { retry_after, .. } => *retry_after,
            _ => 5,
        };
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Why an administrator got no success.
#[derive(Clone, Debug)]
pub struct AdminRefusal {
    /// HTTP status.
    pub status: StatusCode,
    /// Stable, for programs.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl AdminRefusal {
    /// A refusal from its parts.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { status, code, message: message.into(), remedy: remedy.into() }
    }

    /// Our own fault. The cause goes to the log, not to the client.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = %Chain(error), "an admin request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the broker could not do it",
            "read the broker's log; restart it when the disk works again",
        )
    }
}

#[derive(Serialize)]
struct AdminErrorBody<'a> {
    error: AdminError<'a>,
}

#[derive(Serialize)]
struct AdminError<'a> {
    code: &'a str,
    message: &'a str,
    remedy: &'a str,
}

impl IntoResponse for AdminRefusal {
    fn into_response(self) -> Response {
        let error = AdminError { code: self.code, message: &self.message, remedy: &self.remedy };
        json(self.status, &AdminErrorBody { error })
    }
}

/// A JSON reply. Nothing of ours may be cached.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let Ok(bytes) = serde_json::to_vec(body) else {
        // Our own types always serialise; if one ever doesn't, an empty 500 is the honest answer.
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An error with its sources on one line, for the log.
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut error = self.0;
        write!(f, "{error}")?;
        while let Some(source) = error.source() {
            write!(f, ": {source}")?;
            error = source;
        }
        Ok(())
    }
}
