//! The admin listener: probes and metrics for the node, in clear, nothing confidential.
//!
//! | path | 200 when | else |
//! |---|---|---|
//! | `/livez` | the process answers | – |
//! | `/startupz` | the weights were opened | 503 |
//! | `/readyz` | phase `ready`, server up, not reachable past us | 503 with the reason |
//! | `/readyz?verbose` | as `/readyz`, with the phase, bytes and protections as JSON | |
//! | `/metrics` | always | – |
//!
//! It reads the [`PhaseBoard`] and decides nothing.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adyton_attestation::report::Protections;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::error::{Exit, Refusal};
use crate::metrics::Metrics;
use crate::phase::{Phase, PhaseBoard};
use crate::upstream::Upstream;

/// Probes and one or two scrapers need few.
const MAX_CONNECTIONS: usize = 64;
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(5);
/// A probe's connection is short; nothing legitimate lasts longer.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(300);

/// Why there is no admin listener.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The port is taken or forbidden.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The ready file cannot be written.
    #[error("cannot write the ready file")]
    ReadyFile(#[source] io::Error),
}

impl AdminError {
    /// For the person who must mend it.
    pub fn refusal(&self) -> Refusal {
        let (code, value, expected, remedy) = match self {
            Self::Bind { address, source } => (
                "admin.bind",
                format!("admin_listen = {address}: {source}"),
                "a free port that this user may bind",
                "choose another port, or stop what listens there",
            ),
            Self::ReadyFile(source) => (
                "admin.ready-file",
                format!("--ready-file: {source}"),
                "a file that can be written",
                "give a path in a folder that this user may write to",
            ),
        };
        Refusal {
            code,
            step: "admin",
            value,
            expected: expected.to_owned(),
            remedy: remedy.to_owned(),
            decision: None,
            codes: Vec::new(),
            exit: Exit::Usage,
        }
    }
}

/// What the admin listener can see.
#[derive(Debug, Clone)]
pub struct View {
    /// Phase and progress.
    pub board: Arc<PhaseBoard>,
    /// The inference server.
    pub upstream: Upstream,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// How this process protects its secrets.
    pub protections: Protections,
    /// The `insecure_` settings in force.
    pub insecure: Vec<String>,
}

/// An open admin listener.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

impl Admin {
    /// Opens the listener.
    ///
    /// # Errors
    /// [`AdminError::Bind`]
    pub async fn bind(address: SocketAddr) -> Result<Self, AdminError> {
        let refused = |source| AdminError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the process ends.
    pub async fn serve(self, view: View) {
        let view = Arc::new(view);
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let view = Arc::clone(&view);
            tokio::spawn(async move {
                let answer = service_fn(move |request| {
                    let response = view.answer(&request);
                    async move { Ok::<_, Infallible>(response) }
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADER_READ_TIMEOUT)
                    .max_buf_size(16 * 1024)
                    .serve_connection(TokioIo::new(stream), answer);
                let _ = tokio::time::timeout(CONNECTION_LIFETIME, connection).await;
                drop(slot);
            });
        }
    }
}

impl View {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n".into());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "ok\n".into()),
            "/startupz" if self.board.weights_were_opened() => text(StatusCode::OK, "ok\n".into()),
            "/startupz" => text(StatusCode::SERVICE_UNAVAILABLE, self.phase_line()),
            "/readyz" => self.readyz(request.uri().query() == Some("verbose")),
            "/metrics" => self.metrics.render(&self.board.snapshot(), &self.upstream.standing()),
            _ => text(
                StatusCode::NOT_FOUND,
                "try /livez /startupz /readyz /readyz?verbose /metrics\n".into(),
            ),
        }
    }

    fn phase_line(&self) -> String {
        let now = self.board.snapshot();
        let waiting = now.waiting_for.map(|what| format!(", waiting for: {what}"));
        format!("phase {}{}\n", now.phase.as_str(), waiting.unwrap_or_default())
    }

    fn readyz(&self, verbose: bool) -> Response<Full<Bytes>> {
        let now = self.board.snapshot();
        let trouble = self.upstream.standing().trouble();
        let reason = if now.phase == Phase::Ready {
            trouble.clone()
        } else {
            let waiting = now.waiting_for.as_ref().map(|what| format!(": {what}"));
            Some(format!("phase is {}{}", now.phase.as_str(), waiting.unwrap_or_default()))
        };
        let status =
            if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        if !verbose {
            return text(status, reason.map_or("ok\n".into(), |reason| format!("{reason}\n")));
        }
        let body = json!({
            "ready": reason.is_none(),
            "phase": now.phase,
            "bytes": now.bytes,
            "total": now.total,
            "staged": now.staged,
            "target": now.target,
            "huge_pages": now.huge_pages,
            "upstream": if trouble.is_none() { "up" } else { "down" },
            "reason": reason,
            "waiting_for": now.waiting_for,
            "protections": self.protections,
            "insecure": self.insecure,
        });
        let mut response = text(status, format!("{body}\n"));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

pub(crate) fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
