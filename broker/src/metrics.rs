//! What is counted and timed, for Prometheus.
//!
//! Labels have few values, all of them ours: endpoints, statuses, outcomes and reason codes. Nothing
//! that a client chooses becomes a label.

use std::fmt;
use std::time::Duration;

use adyton_attestation::{Loosened, Reason};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::endorsements::Counters;
use crate::journal::Outcome;
use crate::session::SessionCounts;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    endpoint: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabels {
    endpoint: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    outcome: &'static str,
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SettingLabels {
    setting: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabels {
    listener: &'static str,
}

/// Most reason codes that get a counter of their own.
const MAX_CODES: usize = 200;

type Latency = Family<EndpointLabels, Histogram, fn() -> Histogram>;

/// All metrics of the broker.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    latency: Latency,
    decisions: Family<DecisionLabels, Counter>,
    codes: std::sync::Mutex<std::collections::BTreeSet<String>>,
    sessions: Family<StateLabels, Gauge>,
    journal_failures: Counter,
    refused_connections: Family<ListenerLabels, Counter>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Registers all metrics. `insecure_extra_roots` is how many roots are trusted beside the
    /// vendors', `loosened` what else weakens the Verifier.
    pub fn new(
        insecure_extra_roots: usize,
        loosened: &[Loosened],
        endorsements: &Counters,
    ) -> Self {
        let mut registry = Registry::with_prefix("adyton");
        endorsements.register(&mut registry);
        let requests = Family::default();
        registry.register("requests", "Requests, by endpoint and status", requests.clone());
        let latency: Latency = Family::new_with_constructor(histogram);
        registry.register(
            "request_duration_seconds",
            "Time from the head of a request to its reply",
            latency.clone(),
        );
        let decisions = Family::default();
        registry.register(
            "decisions",
            "Decisions, by outcome; refusals once for each reason code",
            decisions.clone(),
        );
        let sessions = Family::default();
        registry.register("sessions", "RCAR sessions that are alive", sessions.clone());
        let journal_failures = Counter::default();
        registry.register(
            "journal_failures",
            "Records that could not be written; what they reported did not happen",
            journal_failures.clone(),
        );
        let insecure: Family<SettingLabels, Gauge> = Family::default();
        registry.register(
            "insecure_settings",
            "Settings that weaken security, with how often they are used; 0 is good",
            insecure.clone(),
        );
        let refused_connections = Family::default();
        registry.register(
            "refused_connections",
            "Connections that ended before a request: too many, or the TLS handshake failed",
            refused_connections.clone(),
        );
        let roots = i64::try_from(insecure_extra_roots).unwrap_or(i64::MAX);
        insecure.get_or_create(&SettingLabels { setting: "insecure_extra_roots" }).set(roots);
        // The broker has no setting for debuggable guests, so there is nothing to show for it.
        for what in [Loosened::ParavisorTds, Loosened::AmdRevocation] {
            let label = SettingLabels { setting: what.setting() };
            insecure.get_or_create(&label).set(i64::from(loosened.contains(&what)));
        }
        let codes = std::sync::Mutex::default();
        Self {
            registry,
            requests,
            latency,
            decisions,
            codes,
            sessions,
            journal_failures,
            refused_connections,
        }
    }

    /// Counts a request.
    pub fn request(&self, endpoint: &'static str, status: u16, took: Duration) {
        self.requests.get_or_create(&RequestLabels { endpoint, status }).inc();
        self.latency.get_or_create(&EndpointLabels { endpoint }).observe(took.as_secs_f64());
    }

    /// Counts a decision, once for each of its codes.
    pub fn decision(&self, outcome: Outcome, reasons: &[Reason]) {
        let outcome = outcome.as_str();
        if reasons.is_empty() {
            let labels = DecisionLabels { outcome, code: String::new() };
            self.decisions.get_or_create(&labels).inc();
        }
        for reason in reasons {
            let code = self.bounded(&reason.code);
            self.decisions.get_or_create(&DecisionLabels { outcome, code }).inc();
        }
    }

    /// Counts a record that could not be written.
    pub fn journal_failure(&self) {
        self.journal_failures.inc();
    }

    /// Counts a connection that was refused.
    pub fn refused_connection(&self, listener: &'static str) {
        self.refused_connections.get_or_create(&ListenerLabels { listener }).inc();
    }

    /// The page for Prometheus.
    pub fn page(&self, sessions: SessionCounts) -> String {
        let states = [("challenged", sessions.challenges), ("attested", sessions.attested)];
        for (state, count) in states {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.sessions.get_or_create(&StateLabels { state }).set(count);
        }
        let mut page = String::new();
        match encode(&mut page, &self.registry) {
            Ok(()) => page,
            Err(fmt::Error) => String::from("# EOF\n"),
        }
    }

    /// Codes come from our own libraries; the bound is there in case one is ever made at run time.
    fn bounded(&self, code: &str) -> String {
        let mut codes = self.codes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if codes.contains(code) || codes.len() < MAX_CODES {
            codes.insert(code.to_owned());
            code.to_owned()
        } else {
            "other".to_owned()
        }
    }
}

fn histogram() -> Histogram {
    Histogram::new([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0])
}
