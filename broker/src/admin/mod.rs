//! The owner's API: keys, policies, Reference Values, decisions. On its own listener.
//!
//! In: JSON or TOML from an authenticated administrator. Out: JSON; errors are
//! `{"error":{"code","message","remedy"}}`. No reply has a key in it: model keys are made inside and
//! leave only towards an attested TEE. Every change is in the audit log before it has effect.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;

use crate::broker::Broker;
use crate::http::{BodyError, whole_body};
use crate::respond::AdminRefusal;

pub mod authentication;
mod decisions;
mod kbs_policies;
mod keys;
mod rules;

pub use authentication::{Administrators, TokenFileError};

/// Largest body, in bytes.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The routes of the admin listener.
pub fn router(
    broker: Arc<Broker>,
    administrators: Arc<Administrators>,
    request_timeout: Duration,
) -> Router {
    Router::new()
        .route("/adyton/v1/keys", get(keys::list).post(keys::create))
        .route("/adyton/v1/keys/rotate", post(keys::rotate))
        .route("/adyton/v1/keys/retire", post(keys::retire))
        .route("/adyton/v1/manifests", post(keys::rewrap))
        .route("/adyton/v1/wrapping-key", get(keys::wrapping_key))
        .route("/adyton/v1/recipients", post(keys::wrap_content_key))
        .route("/adyton/v1/policies", get(rules::policies).put(rules::set_policy))
        .route(
            "/adyton/v1/reference-values",
            get(rules::reference_values).put(rules::set_reference_values),
        )
        .route("/kbs/v0/attestation-policy", post(kbs_policies::set_attestation_policy))
        .route(
            "/kbs/v0/attestation-policy/{id}",
            get(kbs_policies::attestation_policy)
                .post(kbs_policies::set_named_attestation_policy)
                .delete(kbs_policies::remove_attestation_policy),
        )
        .route(
            "/kbs/v0/resource-policy",
            get(kbs_policies::resource_policies)
                .post(kbs_policies::set_resource_policy)
                .delete(kbs_policies::remove_resource_policy),
        )
        .route("/adyton/v1/decisions", get(decisions::list))
        .route("/adyton/v1/decisions/{id}", get(decisions::one))
        .fallback(|| async { no_such_path() })
        .method_not_allowed_fallback(|| async { no_such_method() })
        .layer(middleware::from_fn_with_state(administrators, authentication::required))
        .layer(middleware::from_fn_with_state(
            (Arc::clone(&broker), request_timeout),
            bounded_and_counted,
        ))
        .with_state(broker)
}

async fn bounded_and_counted(
    State((broker, limit)): State<(Arc<Broker>, Duration)>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let response = match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => AdminRefusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            "the request took too long",
            "try again; see limits.request_timeout_seconds",
        )
        .into_response(),
    };
    broker.metrics.request("admin", response.status().as_u16(), started.elapsed());
    response
}

/// The whole body, if it fits.
async fn whole(body: Body, limit: usize) -> Result<bytes::Bytes, AdminRefusal> {
    whole_body(body, limit).await.map_err(|error| match error {
        BodyError::TooLarge => AdminRefusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body.too-large",
            format!("the body is longer than {limit} bytes"),
            "send less",
        ),
        BodyError::Broken => malformed("the body did not arrive whole", "send it again"),
    })
}

/// The whole body as text.
async fn text(body: Body) -> Result<String, AdminRefusal> {
    let bytes = whole(body, MAX_BODY_BYTES).await?;
    String::from_utf8(bytes.to_vec())
        .map_err(|_| malformed("the body is not UTF-8 text", "send TOML"))
}

/// The whole body as JSON of a type.
async fn json_body<T: serde::de::DeserializeOwned>(body: Body) -> Result<T, AdminRefusal> {
    json_body_up_to(body, MAX_BODY_BYTES).await
}

/// The same for a route whose body may be longer.
async fn json_body_up_to<T: serde::de::DeserializeOwned>(
    body: Body,
    limit: usize,
) -> Result<T, AdminRefusal> {
    let bytes = whole(body, limit).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        malformed(&format!("the body is not the expected JSON: {error}"), "correct it")
    })
}

/// Runs work that waits for the disk off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AdminRefusal> + Send + 'static,
) -> Result<T, AdminRefusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(AdminRefusal::internal(&error)),
    }
}

fn malformed(message: &str, remedy: &str) -> AdminRefusal {
    AdminRefusal::new(StatusCode::BAD_REQUEST, "body.malformed", message, remedy)
}

fn no_such_path() -> AdminRefusal {
    AdminRefusal::new(
        StatusCode::NOT_FOUND,
        "path.unknown",
        "there is nothing at this path",
        "see the paths below /adyton/v1/; guests use the other listener",
    )
}

fn no_such_method() -> AdminRefusal {
    AdminRefusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method.unknown",
        "this path does not take this method",
        "use the method that the header `allow` names",
    )
}
