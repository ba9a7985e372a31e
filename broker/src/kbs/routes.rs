//! HTTP around the exchange: paths, methods, cookies, bounds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde::Deserialize;
use serde_json::json;

use super::exchange::{self, SessionProof, WithCookie};
use crate::broker::{Broker, now};
use crate::http::{BodyError, Peer, whole_body};
use crate::keystore::WhichEpoch;
use crate::respond::{KbsRefusal, json};
use crate::session::{COOKIE_NAME, SessionId};

/// Largest body of `POST /attest`, in bytes: 2 MiB, as in Trustee.
pub const MAX_ATTESTATION_BYTES: usize = 2 * 1024 * 1024;
/// Largest body of `POST /auth`, in bytes.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// What stands before the path of a resource.
const RESOURCE_PREFIX: &str = "/kbs/v0/resource/";
/// Longest bearer token that is looked up, in bytes.
const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// The routes of the KBS listener.
pub fn router(broker: Arc<Broker>, request_timeout: Duration) -> Router {
    Router::new()
        .route("/kbs/v0/auth", post(auth))
        .route("/kbs/v0/attest", post(attest))
        .route("/kbs/v0/resource/{*path}", get(resource))
        // Set on the admin listener; a client that asks here should not take it for a wrong path.
        .route("/kbs/v0/attestation-policy", any(|| async { KbsRefusal::Method }))
        .route("/kbs/v0/attestation-policy/{id}", any(|| async { KbsRefusal::Method }))
        .route("/kbs/v0/resource-policy", any(|| async { KbsRefusal::Method }))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .fallback(|| async { KbsRefusal::UnknownEndpoint })
        .method_not_allowed_fallback(|| async { KbsRefusal::Method })
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
    let endpoint = match request.uri().path() {
        "/kbs/v0/auth" => "auth",
        "/kbs/v0/attest" => "attest",
        "/healthz" => "healthz",
        "/metrics" => "metrics",
        path if path.starts_with(RESOURCE_PREFIX) => "resource",
        _ => "other",
    };
    let started = Instant::now();
    let response = match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => KbsRefusal::Timeout.into_response(),
    };
    broker.metrics.request(endpoint, response.status().as_u16(), started.elapsed());
    response
}

async fn auth(State(broker): State<Arc<Broker>>, body: Body) -> Result<Response, KbsRefusal> {
    let body = whole(body, MAX_REQUEST_BYTES).await?;
    let reply = blocking(move || exchange::auth(&broker, &body)).await?;
    Ok(with_cookie(&reply))
}

async fn attest(
    State(broker): State<Arc<Broker>>,
    peer: Peer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, KbsRefusal> {
    let id = session_cookie(&headers);
    let body = whole(body, MAX_ATTESTATION_BYTES).await?;
    let (at, from) = (Arc::clone(&broker), peer.clone());
    let answered =
        in_turn(&broker, move || exchange::present(&at, from.as_str(), id.as_ref(), &body)).await?;
    // The turn is over: a service that hangs keeps nobody else from being verified.
    let endorsed = match exchange::endorse(&broker, answered).await {
        Ok(endorsed) => endorsed,
        Err(error) => {
            let (at, from) = (Arc::clone(&broker), peer.clone());
            return blocking(move || {
                Err(exchange::without_endorsements(&at, from.as_str(), &error))
            })
            .await;
        }
    };
    let (at, from) = (Arc::clone(&broker), peer);
    let reply = in_turn(&broker, move || exchange::conclude(&at, from.as_str(), endorsed)).await?;
    Ok(with_cookie(&reply))
}

async fn resource(
    State(broker): State<Arc<Broker>>,
    peer: Peer,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, KbsRefusal> {
    // The path as it was sent: a decoded `%2F` would make another resource of it.
    let epoch = wanted_epoch(uri.query()).ok_or(KbsRefusal::ResourcePath)?;
    let path = uri.path().strip_prefix(RESOURCE_PREFIX).unwrap_or_default().to_owned();
    let proof = SessionProof { id: session_cookie(&headers), token: bearer_token(&headers) };
    let reply =
        blocking(move || exchange::resource(&broker, peer.as_str(), &proof, &path, epoch)).await?;
    Ok(json(StatusCode::OK, &reply))
}

#[derive(Deserialize)]
pub(super) struct Verbosity {
    pub(super) verbose: Option<String>,
}

pub(super) async fn healthz(
    State(broker): State<Arc<Broker>>,
    Query(query): Query<Verbosity>,
) -> Response {
    let usable = broker.journal.is_usable();
    let status = if usable { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if query.verbose.is_none() {
        return status.into_response();
    }
    let roots = broker.trusted.anchors.insecure_extra_roots();
    let loosened = broker.trusted.options.loosened().into_iter();
    let loosened = loosened.map(|what| format!("{}: {}", what.setting(), what.gives_away()));
    let insecure: Vec<String> = roots
        .iter()
        .map(|sha256| format!("insecure_extra_roots: {sha256} can forge any evidence"))
        .chain(loosened)
        .collect();
    let sessions = broker.sessions.counts(Instant::now());
    let body = json!({
        "audit": if usable { "writable" } else { "failed; restart after repair" },
        "endorsements": broker.trusted.endorsements.current().len(),
        "insecure": insecure,
        "sessions": { "attested": sessions.attested, "challenged": sessions.challenges },
        "status": if usable { "ok" } else { "failed" },
        "time": now(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    json(status, &body)
}

async fn metrics(State(broker): State<Arc<Broker>>) -> Response {
    let page = broker.metrics.page(broker.sessions.counts(Instant::now()));
    let media_type =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    ([(CONTENT_TYPE, media_type)], page).into_response()
}

/// The whole body, if it fits.
async fn whole(body: Body, limit: usize) -> Result<bytes::Bytes, KbsRefusal> {
    whole_body(body, limit).await.map_err(|error| match error {
        BodyError::TooLarge => KbsRefusal::TooLarge { limit },
        BodyError::Broken => KbsRefusal::Body,
    })
}

/// Runs work that strangers can cause; so many at a time as the configuration allows.
async fn in_turn<T: Send + 'static>(
    broker: &Broker,
    work: impl FnOnce() -> Result<T, KbsRefusal> + Send + 'static,
) -> Result<T, KbsRefusal> {
    let turns = Arc::clone(&broker.verifications);
    let turn = turns.acquire_owned().await.map_err(|_| KbsRefusal::Unavailable)?;
    blocking(move || {
        // The turn ends with the work, also when nobody waits for the reply any more.
        let _turn = turn;
        work()
    })
    .await
}

/// Runs work that waits for the disk or computes off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KbsRefusal> + Send + 'static,
) -> Result<T, KbsRefusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => {
            tracing::error!("a request ended in a panic");
            Err(KbsRefusal::Unavailable)
        }
    }
}

fn with_cookie<T: serde::Serialize>(reply: &WithCookie<T>) -> Response {
    let mut response = json(StatusCode::OK, &reply.body);
    let expires = i64::try_from(reply.expires.0).ok();
    let expires = expires.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let expires = expires.unwrap_or(jiff::Timestamp::MAX).strftime("%a, %d %b %Y %H:%M:%S GMT");
    let id = reply.id.as_str();
    let cookie =
        format!("{COOKIE_NAME}={id}; Expires={expires}; Secure; HttpOnly; SameSite=Strict");
    if let Ok(mut value) = HeaderValue::from_str(&cookie) {
        value.set_sensitive(true);
        response.headers_mut().insert(SET_COOKIE, value);
    }
    response
}

/// The session id of the first cookie of our name. A second one is not looked at: a planted cookie
/// can't be told from the real one, and either is only a name.
fn session_cookie(headers: &HeaderMap) -> Option<SessionId> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    let (_, id) = pairs.find(|(name, _)| name.trim() == COOKIE_NAME)?;
    SessionId::parse(id.trim())
}

/// `epoch=<n>` of the query; other parameters are ignored, as a KBS forwards them to whom it may
/// concern. `None` when it is given and is no epoch.
fn wanted_epoch(query: Option<&str>) -> Option<WhichEpoch> {
    let mut pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    match pairs.find(|(name, _)| *name == "epoch") {
        None => Some(WhichEpoch::Newest),
        Some((_, number)) => number.parse().ok().filter(|n| *n > 0).map(WhichEpoch::Exactly),
    }
}

fn bearer_token(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let fits = scheme.eq_ignore_ascii_case("bearer") && token.len() <= MAX_TOKEN_BYTES;
    fits.then(|| token.trim().to_owned())
}
