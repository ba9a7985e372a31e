//! What happens to one request: refused, answered here, or forwarded.

use std::sync::Arc;
use std::time::Instant;

use http::header::ALLOW;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::authorise::{ClientPolicy, authorise};
use super::client_identity::AuthenticatedClient;
use super::forward::forward;
use super::gate::{REFUSED_PATH, Refused};
use super::limits::Limits;
use super::patience::InFlight;
use super::respond::{ProxyError, ReplyBody, json_response, refuse};
use crate::metrics::Metrics;
use crate::report::{Question, Reporter};
use crate::upstream::Upstream;

/// Paths below it are ours and never forwarded.
pub const OUR_PATHS: &str = "/.well-known/adyton/";
/// Where clients ask for the attestation report.
pub const REPORT_PATH: &str = "/.well-known/adyton/attestation";

/// How a request came.
pub(super) enum Protocol {
    /// Through a gate, which may have refused it.
    Http1(Refused),
    /// HTTP/2.
    H2,
}

impl Protocol {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Http1(_) => "http/1.1",
            Self::H2 => "h2",
        }
    }
}

/// What every connection shares.
pub(super) struct Service {
    upstream: Upstream,
    reporter: Reporter,
    clients: ClientPolicy,
    limits: Arc<Limits>,
    metrics: Arc<Metrics>,
}

impl Service {
    pub(super) fn new(
        upstream: Upstream,
        reporter: Reporter,
        clients: ClientPolicy,
        limits: Arc<Limits>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { upstream, reporter, clients, limits, metrics }
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Answers one request, whatever happens.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        client: AuthenticatedClient,
        protocol: Protocol,
        in_flight: InFlight,
    ) -> Response<ReplyBody> {
        let begun = Instant::now();
        let refused = match &protocol {
            Protocol::Http1(refused) => Some(refused),
            Protocol::H2 => None,
        };
        let answered = self.route(request, client, refused, in_flight).await;
        let (mut response, code) = match answered {
            Ok(response) => (response, "ok"),
            Err(error) => {
                // A body that the gate broke off arrives here as broken; the reason is the gate's.
                let error = match (error, refused.and_then(Refused::violation)) {
                    (ProxyError::BodyBroken, Some(violation)) => ProxyError::Refused(violation),
                    (error, _) => error,
                };
                tracing::info!(
                    code = error.code(),
                    error = crate::error::chain(&error),
                    protocol = protocol.as_str(),
                    "request refused"
                );
                (refuse(&error), error.code())
            }
        };
        if matches!(protocol, Protocol::H2) {
            // RFC 9113 §8.2.2: no connection-specific fields.
            response.headers_mut().remove(http::header::CONNECTION);
        }
        self.metrics.request(protocol.as_str(), response.status(), code, begun.elapsed());
        response
    }

    async fn route(
        &self,
        request: Request<Incoming>,
        client: AuthenticatedClient,
        refused: Option<&Refused>,
        in_flight: InFlight,
    ) -> Result<Response<ReplyBody>, ProxyError> {
        let path = request.uri().path();
        // 1. What the gate refused comes as a request for this path.
        if path == REFUSED_PATH
            && let Some(violation) = refused.and_then(Refused::violation)
        {
            return Err(violation.into());
        }
        // 2. Who we are: every client of the CA may ask, before it says anything confidential.
        if path.starts_with(OUR_PATHS) {
            return self.report(&request, &client).await;
        }
        // 3. Everything else is the server's, for those who may.
        let permitted = authorise(request, &client, &self.clients)?;
        forward(permitted, &self.upstream, self.limits.max_body_bytes, in_flight).await
    }

    async fn report(
        &self,
        request: &Request<Incoming>,
        client: &AuthenticatedClient,
    ) -> Result<Response<ReplyBody>, ProxyError> {
        if request.uri().path() != REPORT_PATH {
            return Err(ProxyError::UnknownPath);
        }
        if request.method() != Method::GET {
            let mut response = refuse(&ProxyError::UnknownPath);
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            return Ok(response);
        }
        let question = Question::parse(request.uri().query().unwrap_or_default())?;
        let report = self.reporter.answer(question, client.exporter()).await;
        self.metrics.report(report.is_ok());
        Ok(json_response(StatusCode::OK, &report?))
    }
}
