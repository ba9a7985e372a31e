//! Endorsements for the Verifier: an operator's bundle files, then what was fetched, then the vendors.
//!
//! Role: supplies the Verifier. In: parsed Evidence, the time. Out: one bundle with what the Evidence
//! needs, or why it can't be had now. Fields of the Evidence select *what* is asked for; *where* is the
//! operator's configuration. It believes no document: signatures are the Verifier's work.
//!
//! ```text
//! Evidence ─► plan: what does the bundle lack? ─nothing─► bundle           (blocks, no network)
//!                       │
//!                       ▼
//!                     supply ─► Fetcher: memory, disk, service ─► Parts     (async)
//!                       │
//!                       ▼
//!                     bundle + Parts ─► Verifier
//! ```
//! Without configured services nothing is ever asked, and the files alone decide.

use std::sync::Arc;
use std::time::Duration;

use adyton_attestation::endorsement::fetch::{Statement, assemble, missing, wanted};
use adyton_attestation::{
    EndorsementBundle, Evidence, Reason, TrustAnchors, UnixTime, VerifyError,
};

pub mod cache;
pub mod client;
pub mod counters;
pub mod fetcher;
pub mod files;
pub mod pace;

pub use counters::{Counters, Lookup};
pub use fetcher::{FetchCause, FetchError, Fetcher};
pub use files::{BundleFileError, BundleFiles};

use crate::respond::Chain;

/// What a guest may wait before it comes again, when nothing better is known.
pub const RETRY: Duration = Duration::from_secs(10);

/// What a verification needs and the bundle files do not have.
#[derive(Debug)]
pub struct Plan {
    bundle: Arc<EndorsementBundle>,
    missing: Vec<Statement>,
}

/// Gets what a [`Plan`] lacks.
#[derive(Clone, Debug)]
pub struct Supply {
    fetcher: Option<Arc<Fetcher>>,
    counters: Counters,
}

/// Endorsements that can't be had now. Not a verdict about the Evidence.
#[derive(Debug)]
pub struct Unavailable {
    errors: Vec<Arc<FetchError>>,
}

impl Unavailable {
    /// One reason per statement, for the owner. A guest sees the code.
    pub fn reasons(&self) -> Vec<Reason> {
        let reason = |error: &Arc<FetchError>| {
            Reason::new(
                "endorsements.unavailable",
                "endorsements",
                error.statement.to_string(),
                (format!("an answer from {}", error.url), Chain(&error.cause).to_string()),
                error.cause.remedy(),
            )
        };
        self.errors.iter().map(reason).collect()
    }

    /// When the guest should come again.
    pub fn retry_after(&self) -> Duration {
        let of = |error: &Arc<FetchError>| match &error.cause {
            FetchCause::QueueFull(full) => full.retry_after,
            FetchCause::Client(_)
            | FetchCause::Answer(_)
            | FetchCause::Outdated(_)
            | FetchCause::Waiting(_) => RETRY,
        };
        self.errors.iter().map(of).max().unwrap_or(RETRY).max(Duration::from_secs(1))
    }
}

impl Supply {
    /// With a fetcher, or with files alone.
    pub fn new(fetcher: Option<Arc<Fetcher>>, counters: Counters) -> Self {
        Self { fetcher, counters }
    }

    /// Looks what the Evidence needs and the bundle does not have. Verifies the PCK chain of a quote, so
    /// that nobody makes us ask for platform types that Intel never certified.
    ///
    /// # Errors
    /// Those of rung T2, when there is a fetcher.
    pub fn plan(
        &self,
        bundle: Arc<EndorsementBundle>,
        evidence: &Evidence,
        anchors: &TrustAnchors,
        now: UnixTime,
    ) -> Result<Plan, VerifyError> {
        let Some(fetcher) = &self.fetcher else {
            return Ok(Plan { bundle, missing: Vec::new() });
        };
        let wanted = wanted(evidence, anchors, now)?;
        let mut missing = missing(&wanted, &bundle, now);
        // What no configured service has is for the Verifier to miss, by its own name.
        missing.retain(|statement| fetcher.can_ask(statement));
        if missing.is_empty() {
            self.counters.lookup(Lookup::BundleFile);
        }
        Ok(Plan { bundle, missing })
    }

    /// Gets what is missing, all of it at the same time.
    ///
    /// # Errors
    /// [`Unavailable`] with every statement that can't be had.
    pub async fn supply(&self, plan: Plan) -> Result<Arc<EndorsementBundle>, Unavailable> {
        let Plan { bundle, missing } = plan;
        let (Some(fetcher), false) = (&self.fetcher, missing.is_empty()) else {
            return Ok(bundle);
        };
        let gets: Vec<_> = missing
            .into_iter()
            .map(|statement| {
                let fetcher = Arc::clone(fetcher);
                tokio::spawn(async move { fetcher.get(&statement).await })
            })
            .collect();
        let mut parts = Vec::new();
        let mut errors = Vec::new();
        for get in gets {
            match get.await {
                Ok(Ok(part)) => parts.push(part),
                Ok(Err(error)) => errors.push(error),
                Err(error) => {
                    tracing::error!(%error, "getting an endorsement ended in a panic");
                    return Err(Unavailable { errors });
                }
            }
        }
        if !errors.is_empty() {
            return Err(Unavailable { errors });
        }
        let merged = assemble(parts.iter().map(|part| &**part))
            .and_then(|fetched| EndorsementBundle::clone(&bundle).merge(fetched));
        match merged {
            Ok(merged) => Ok(Arc::new(merged)),
            Err(error) => {
                // Every part was read before; together they are too many for the files' bundle, or a
                // member is malformed in a way that only the whole shows. The Verifier says what lacks.
                tracing::error!(error = %Chain(&error), "fetched endorsements could not be used");
                Ok(bundle)
            }
        }
    }
}
