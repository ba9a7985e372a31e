//! Errors in the shape of the OpenAI API, so that its client libraries raise the right exception.
//!
//! One constructor an error; each says what was wrong, what was expected and what to do.

use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Value, json};

use crate::job::Refusal;
use crate::limits;

/// An answer other than success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// For people.
    pub message: String,
    /// The OpenAI API's class of error, such as `invalid_request_error`.
    pub class: &'static str,
    /// The request's member that is at fault.
    pub param: Option<String>,
    /// For programs.
    pub code: Option<&'static str>,
}

const INVALID: &str = "invalid_request_error";

impl ApiError {
    /// The `error` object of an answer's body, or of an event in a stream.
    pub fn body(&self) -> Value {
        let Self { message, class, param, code, .. } = self;
        json!({ "error": { "message": message, "type": class, "param": param, "code": code } })
    }

    fn invalid(
        status: StatusCode,
        message: String,
        param: Option<&str>,
        code: Option<&'static str>,
    ) -> Self {
        Self { status, message, class: INVALID, param: param.map(str::to_owned), code }
    }

    fn ours(status: StatusCode, message: &str, code: &'static str) -> Self {
        Self {
            status,
            message: message.to_owned(),
            class: "server_error",
            param: None,
            code: Some(code),
        }
    }

    /// A member has a value that is not accepted; `message` says which are.
    pub fn value(param: &str, message: String) -> Self {
        Self::invalid(StatusCode::BAD_REQUEST, message, Some(param), Some("invalid_value"))
    }

    /// A member that has to be there is not.
    pub fn missing(param: &str) -> Self {
        let message = format!("you must provide `{param}`");
        Self::invalid(
            StatusCode::BAD_REQUEST,
            message,
            Some(param),
            Some("missing_required_parameter"),
        )
    }

    /// A member of the API that this server does not implement, set to other than its default.
    pub fn unsupported(param: &str, expected: &str) -> Self {
        let message = format!(
            "`{param}` is not supported by this server; leave it out or set it to {expected}"
        );
        Self::invalid(StatusCode::BAD_REQUEST, message, Some(param), Some("unsupported_parameter"))
    }

    /// A member that the API does not have.
    pub fn unknown(param: &str) -> Self {
        // A name can be as long as the body; the first of it is enough to find it.
        let shown: String = param.chars().take(64).collect();
        let message = format!("unrecognized request argument supplied: {shown}");
        Self::invalid(StatusCode::BAD_REQUEST, message, Some(&shown), Some("unknown_parameter"))
    }

    /// The body is not JSON, or not of the right form.
    pub fn malformed(reason: &serde_json::Error) -> Self {
        let message = format!("the body is not a valid request: {reason}");
        Self::invalid(StatusCode::BAD_REQUEST, message, None, Some("invalid_json"))
    }

    /// The body could not be read to its end.
    pub fn unreadable_body() -> Self {
        let message = "the body could not be read to its end".to_owned();
        Self::invalid(StatusCode::BAD_REQUEST, message, None, Some("unreadable_body"))
    }

    /// The body is over the bound.
    pub fn body_too_large() -> Self {
        let message = format!(
            "the body has more than {} bytes, the most this server reads",
            limits::MAX_BODY_BYTES
        );
        Self::invalid(StatusCode::PAYLOAD_TOO_LARGE, message, None, Some("request_too_large"))
    }

    /// A path that the API does not have.
    pub fn no_such_route(method: &Method, path: &str) -> Self {
        let message = format!(
            "unknown request URL: {method} {path}; see /v1/models, /v1/completions, /v1/chat/completions"
        );
        Self::invalid(StatusCode::NOT_FOUND, message, None, Some("unknown_url"))
    }

    /// A path of the API with a method it does not have.
    pub fn wrong_method(method: &Method, path: &str) -> Self {
        let message = format!("{path} does not take {method}");
        Self::invalid(StatusCode::METHOD_NOT_ALLOWED, message, None, Some("method_not_supported"))
    }

    /// Another model was asked for.
    pub fn no_such_model(name: &str, served: &str) -> Self {
        let shown: String = name.chars().take(64).collect();
        let message =
            format!("the model `{shown}` does not exist here; this server has `{served}`");
        Self::invalid(StatusCode::NOT_FOUND, message, Some("model"), Some("model_not_found"))
    }

    /// The model folder is not open yet.
    pub fn still_loading() -> Self {
        Self::ours(
            StatusCode::SERVICE_UNAVAILABLE,
            "the model is not loaded yet; try again soon",
            "model_loading",
        )
    }

    /// Too many requests wait already.
    pub fn overloaded() -> Self {
        Self::ours(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many requests are waiting; try again soon",
            "overloaded",
        )
    }

    /// A fault of this server; the cause is in its log.
    pub fn internal() -> Self {
        Self::ours(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the completion failed; the server's log says why",
            "internal_error",
        )
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::Empty | Refusal::UnknownToken { .. } => Self::value("prompt", message),
            Refusal::ContextLength { .. } => Self::invalid(
                StatusCode::BAD_REQUEST,
                message,
                None,
                Some("context_length_exceeded"),
            ),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
