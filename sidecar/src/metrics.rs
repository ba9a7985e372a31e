//! Counters for the operator: `adyton_…`, in the OpenMetrics text format.
//!
//! Labels have few values, none from a client: nothing here can be made to grow.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::phase::{Phase, PhaseSnapshot};
use crate::upstream::Standing;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    protocol: &'static str,
    status: u16,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct S3Labels {
    operation: &'static str,
    status: u16,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    phase: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SettingLabels {
    setting: String,
}

/// All metrics of this process.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<RequestLabels, Counter>,
    response_head: Histogram,
    open: Gauge,
    refused_connections: Counter,
    reports: Family<OutcomeLabels, Counter>,
    broker_attempts: Family<OutcomeLabels, Counter>,
    s3_requests: Family<S3Labels, Counter>,
    s3_sent_bytes: Counter,
    phase: Family<PhaseLabels, Gauge>,
    staged_bytes: Gauge,
    required_bytes: Gauge,
    available_bytes: Gauge,
    huge_pages: Gauge,
    huge_pages_given: Gauge,
    huge_pages_missed: Gauge,
    opened_bytes: Gauge,
    model_bytes: Gauge,
    upstream_up: Gauge,
    upstream_exposed: Gauge,
}

/// Counts a connection until it is dropped.
#[derive(Debug)]
pub struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// All metrics at zero; `insecure` settings are shown as long as the process lives.
    pub fn new(insecure: &[String]) -> Arc<Self> {
        let mut registry = Registry::with_prefix("adyton");
        let metrics = Self {
            requests: Family::default(),
            // 1 ms to 65 s.
            response_head: Histogram::new(exponential_buckets(0.001, 2.0, 17)),
            open: Gauge::default(),
            refused_connections: Counter::default(),
            reports: Family::default(),
            broker_attempts: Family::default(),
            s3_requests: Family::default(),
            s3_sent_bytes: Counter::default(),
            phase: Family::default(),
            staged_bytes: Gauge::default(),
            required_bytes: Gauge::default(),
            available_bytes: Gauge::default(),
            huge_pages: Gauge::default(),
            huge_pages_given: Gauge::default(),
            huge_pages_missed: Gauge::default(),
            opened_bytes: Gauge::default(),
            model_bytes: Gauge::default(),
            upstream_up: Gauge::default(),
            upstream_exposed: Gauge::default(),
            registry: Mutex::new(Registry::default()),
        };
        let settings = Family::<SettingLabels, Gauge>::default();
        for setting in insecure {
            settings.get_or_create(&SettingLabels { setting: setting.clone() }).set(1);
        }
        registry.register("requests", "Requests on the mTLS port", metrics.requests.clone());
        registry.register_with_unit(
            "response_head",
            "Time from a request's head to its response's head",
            Unit::Seconds,
            metrics.response_head.clone(),
        );
        registry.register("connections", "Open connections", metrics.open.clone());
        registry.register(
            "connections_refused",
            "Connections refused in or after the TLS handshake",
            metrics.refused_connections.clone(),
        );
        registry.register(
            "attestation_reports",
            "Answers of the attestation endpoint",
            metrics.reports.clone(),
        );
        registry.register(
            "broker_attempts",
            "Exchanges with the broker",
            metrics.broker_attempts.clone(),
        );
        registry.register(
            "s3_requests",
            "Requests on the S3 endpoint",
            metrics.s3_requests.clone(),
        );
        registry.register_with_unit(
            "s3_sent",
            "Bytes that the S3 endpoint sent",
            Unit::Bytes,
            metrics.s3_sent_bytes.clone(),
        );
        registry.register("phase", "1 for the current phase", metrics.phase.clone());
        metrics.register_target(&mut registry);
        registry.register_with_unit(
            "weights_opened",
            "Plaintext opened so far",
            Unit::Bytes,
            metrics.opened_bytes.clone(),
        );
        registry.register_with_unit(
            "weights",
            "Plaintext of the whole model",
            Unit::Bytes,
            metrics.model_bytes.clone(),
        );
        registry.register(
            "upstream_up",
            "1 when the inference server can be used",
            metrics.upstream_up.clone(),
        );
        registry.register(
            "upstream_exposed",
            "1 when the inference server can be reached past the sidecar",
            metrics.upstream_exposed.clone(),
        );
        registry.register("insecure", "Settings that weaken security", settings);
        *metrics.registry.lock().unwrap_or_else(PoisonError::into_inner) = registry;
        Arc::new(metrics)
    }

    fn register_target(&self, registry: &mut Registry) {
        for (name, help, gauge) in [
            ("weights_staged", "Ciphertext read into the target so far", &self.staged_bytes),
            ("target_required", "Memory that the model needs", &self.required_bytes),
            ("target_available", "Memory there was for it", &self.available_bytes),
        ] {
            registry.register_with_unit(name, help, Unit::Bytes, gauge.clone());
        }
        for (name, help, gauge) in [
            ("target_huge_pages", "1 when the target gives huge pages", &self.huge_pages),
            ("huge_pages_given", "Huge pages given while opening", &self.huge_pages_given),
            ("huge_pages_missed", "Huge pages that were not there", &self.huge_pages_missed),
        ] {
            registry.register(name, help, gauge.clone());
        }
    }

    fn set_target(&self, now: &PhaseSnapshot) {
        let set = |gauge: &Gauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.staged_bytes, now.staged);
        if let Some(target) = &now.target {
            set(&self.required_bytes, target.required_bytes);
            set(&self.available_bytes, target.available_bytes);
            set(&self.huge_pages, u64::from(target.huge_pages));
        }
        if let Some(count) = now.huge_pages {
            set(&self.huge_pages_given, count.given);
            set(&self.huge_pages_missed, count.missed);
        }
    }

    /// A request was answered.
    pub fn request(
        &self,
        protocol: &'static str,
        status: StatusCode,
        code: &'static str,
        head_after: Duration,
    ) {
        let labels = RequestLabels { protocol, status: status.as_u16(), code };
        self.requests.get_or_create(&labels).inc();
        self.response_head.observe(head_after.as_secs_f64());
    }

    /// A connection was accepted.
    pub fn connection_opened(&self) -> OpenConnection {
        self.open.inc();
        OpenConnection(self.open.clone())
    }

    /// A connection was refused before its first request.
    pub fn connection_refused(&self) {
        self.refused_connections.inc();
    }

    /// The attestation endpoint answered a well-formed question.
    pub fn report(&self, made: bool) {
        let outcome = if made { "made" } else { "failed" };
        self.reports.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// An exchange with the broker ended: `ok`, `retry` or `refused`.
    pub fn broker_attempt(&self, outcome: &'static str) {
        self.broker_attempts.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// A request on the S3 endpoint was answered with `bytes`, its head included.
    pub fn s3_answer(&self, operation: &'static str, status: u16, code: &'static str, bytes: u64) {
        self.s3_requests.get_or_create(&S3Labels { operation, status, code }).inc();
        self.s3_sent_bytes.inc_by(bytes);
    }

    /// The whole text.
    pub(crate) fn render(&self, now: &PhaseSnapshot, upstream: &Standing) -> Response<Full<Bytes>> {
        for phase in Phase::ALL {
            let labels = PhaseLabels { phase: phase.as_str() };
            self.phase.get_or_create(&labels).set(i64::from(phase == now.phase));
        }
        self.set_target(now);
        self.opened_bytes.set(i64::try_from(now.bytes).unwrap_or(i64::MAX));
        self.model_bytes.set(i64::try_from(now.total).unwrap_or(i64::MAX));
        self.upstream_up.set(i64::from(matches!(upstream, Standing::Up)));
        self.upstream_exposed.set(i64::from(matches!(upstream, Standing::Exposed { .. })));
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a String does not fail.
        let _ = encode(&mut text, &registry);
        let mut response = crate::admin::text(StatusCode::OK, text);
        response.headers_mut().insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8"),
        );
        response
    }
}
