//! What is counted about Endorsements. Labels are words of ours.

use adyton_attestation::endorsement::fetch::Service;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FetchLabels {
    service: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LookupLabels {
    result: &'static str,
}

/// Where a statement came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// A bundle file had all that a verification needed.
    BundleFile,
    /// Memory had it.
    Cached,
    /// Disk or the service had it.
    Fetched,
    /// It could not be renewed, and the older one is used.
    StaleIfError,
    /// Nobody had it.
    Failed,
}

impl Lookup {
    fn as_str(self) -> &'static str {
        match self {
            Self::BundleFile => "bundle-file",
            Self::Cached => "cached",
            Self::Fetched => "fetched",
            Self::StaleIfError => "stale-if-error",
            Self::Failed => "failed",
        }
    }
}

/// The counters; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    fetches: Family<FetchLabels, Counter>,
    lookups: Family<LookupLabels, Counter>,
}

impl Counters {
    /// Makes them part of the metrics page.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "endorsement_fetches",
            "Requests to services of Endorsements, by service and outcome",
            self.fetches.clone(),
        );
        registry.register(
            "endorsement_lookups",
            "Endorsements that verifications needed, by where they came from",
            self.lookups.clone(),
        );
    }

    /// Counts a request.
    pub fn fetched(&self, service: Service, outcome: &'static str) {
        self.fetches.get_or_create(&FetchLabels { service: service.as_str(), outcome }).inc();
    }

    /// Counts a lookup.
    pub fn lookup(&self, lookup: Lookup) {
        self.lookups.get_or_create(&LookupLabels { result: lookup.as_str() }).inc();
    }

    /// How often a lookup ended so; for tests.
    pub fn lookups(&self, lookup: Lookup) -> u64 {
        self.lookups.get_or_create(&LookupLabels { result: lookup.as_str() }).get()
    }
}
