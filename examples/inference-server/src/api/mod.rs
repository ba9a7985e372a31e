//! The OpenAI HTTP API: routes, and what each does.
//!
//! In: HTTP requests. Out: JSON, or server-sent events for `"stream": true`. It turns requests into
//! [`Job`](crate::job::Job)s and [`Event`](crate::job::Event)s into answers, and computes nothing.
//!
//! | route | what |
//! |---|---|
//! | `POST /v1/completions` | continue a text |
//! | `POST /v1/chat/completions` | answer a conversation |
//! | `GET /v1/models`, `GET /v1/models/{name}` | the one model |
//! | `GET /health` | 200 when a completion would be computed, 503 before |

pub mod answer;
pub mod error;
pub mod request;
mod run;
pub mod stream;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::engine::Engine;
use crate::limits::{MAX_BODY_BYTES, MAX_QUEUE};
use answer::{Heading, Kind};
use error::ApiError;

/// What every request shares.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

struct Shared {
    model_name: String,
    loaded: OnceLock<Loaded>,
    /// Completions computed now.
    slots: Arc<Semaphore>,
    /// Completions computed now and those that wait.
    places: Arc<Semaphore>,
}

struct Loaded {
    engine: Arc<Engine>,
    since: u64,
}

impl Api {
    /// An API without a model yet, which computes `concurrency` completions at a time.
    pub fn new(model_name: String, concurrency: usize) -> Self {
        Self(Arc::new(Shared {
            model_name,
            loaded: OnceLock::new(),
            slots: Arc::new(Semaphore::new(concurrency)),
            places: Arc::new(Semaphore::new(concurrency + MAX_QUEUE)),
        }))
    }

    /// Puts the model in place. From now on /health answers 200. A second model is ignored.
    pub fn serve_model(&self, engine: Engine) {
        let loaded = Loaded { engine: Arc::new(engine), since: unix_time() };
        if self.0.loaded.set(loaded).is_err() {
            tracing::warn!("a model is served already; the second was dropped");
        }
    }

    /// The routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/v1/models", get(models))
            .route("/v1/models/{*name}", get(model))
            .route("/v1/completions", post(completions))
            .route("/v1/chat/completions", post(chat_completions))
            .fallback(|request: Request| async move {
                ApiError::no_such_route(request.method(), request.uri().path())
            })
            .method_not_allowed_fallback(|request: Request| async move {
                ApiError::wrong_method(request.method(), request.uri().path())
            })
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .layer(axum::middleware::from_fn(log_request))
            // After the layer, so not in the log: the sidecar asks often.
            .route("/health", get(health))
            .with_state(self)
    }

    fn loaded(&self) -> Result<&Loaded, ApiError> {
        self.0.loaded.get().ok_or_else(ApiError::still_loading)
    }

    fn described(&self, loaded: &Loaded) -> serde_json::Value {
        json!({
            "id": self.0.model_name,
            "object": "model",
            "created": loaded.since,
            "owned_by": "adyton-example-server",
            "max_model_len": loaded.engine.context(),
        })
    }

    fn heading(&self, kind: Kind) -> Result<Heading, ApiError> {
        let number = getrandom::u64().map_err(|_| ApiError::internal())?;
        Ok(Heading {
            kind,
            id: format!("{}-{number:016x}", kind.id_prefix()),
            created: unix_time(),
            model: self.0.model_name.clone(),
        })
    }
}

async fn health(State(api): State<Api>) -> Result<Response, ApiError> {
    api.loaded()?;
    Ok(Json(json!({ "status": "ok", "model": api.0.model_name })).into_response())
}

async fn models(State(api): State<Api>) -> Result<Response, ApiError> {
    let data = [api.described(api.loaded()?)];
    Ok(Json(json!({ "object": "list", "data": data })).into_response())
}

async fn model(State(api): State<Api>, Path(name): Path<String>) -> Result<Response, ApiError> {
    let loaded = api.loaded()?;
    if name != api.0.model_name {
        return Err(ApiError::no_such_model(&name, &api.0.model_name));
    }
    Ok(Json(api.described(loaded)).into_response())
}

async fn completions(
    State(api): State<Api>,
    body: Result<Bytes, BodyRejection>,
) -> Result<Response, ApiError> {
    let loaded = api.loaded()?;
    let wanted = request::completion(&read(body)?, &api.0.model_name, &loaded.engine)?;
    let heading = api.heading(Kind::Completion)?;
    run::run(&api, &loaded.engine, wanted, heading).await
}

async fn chat_completions(
    State(api): State<Api>,
    body: Result<Bytes, BodyRejection>,
) -> Result<Response, ApiError> {
    let loaded = api.loaded()?;
    let wanted = request::chat(&read(body)?, &api.0.model_name, &loaded.engine)?;
    let heading = api.heading(Kind::Chat)?;
    run::run(&api, &loaded.engine, wanted, heading).await
}

type BodyRejection = axum::extract::rejection::BytesRejection;

fn read(body: Result<Bytes, BodyRejection>) -> Result<Bytes, ApiError> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::body_too_large(),
        _ => ApiError::unreadable_body(),
    })
}

/// One line a request: never the prompt or the answer. For a stream, the time is that to its head.
async fn log_request(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // Set by the sidecar from the client's certificate, and by nobody else.
    let client =
        request.headers().get("x-adyton-client-subject").and_then(|name| name.to_str().ok());
    let client = client.map(str::to_owned);
    let response = next.run(request).await;
    tracing::info!(
        %method, path, client, status = response.status().as_u16(),
        milliseconds = began.elapsed().as_millis() as u64, "request"
    );
    response
}

/// Seconds since 1970; 0 on a machine whose clock stands before that.
fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
