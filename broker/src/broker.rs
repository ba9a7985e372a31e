//! Everything that both listeners share, opened in the order in which it can be refused.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use adyton_attestation::rcar::TeeKeyPair;
use adyton_attestation::{SignatureCache, TrustAnchors, UnixTime, VerifyOptions};
use tokio::sync::Semaphore;

use crate::audit::{AuditEntry, AuditEvent};
use crate::config::BrokerConfig;
use crate::ear::{TokenKeySource, TokenSigner};
use crate::endorsements::cache::DiskCache;
use crate::endorsements::client::Client;
use crate::endorsements::{BundleFiles, Counters, Fetcher, Supply};
use crate::error::{Finding, StartupError};
use crate::journal::Journal;
use crate::keystore::{EmbeddedKeyStore, KeyStore};
use crate::metrics::Metrics;
use crate::policy::PolicyStore;
use crate::reference_values::ReferenceValueStore;
use crate::session::SessionTable;
use crate::shared_policies::SharedPolicies;
use crate::store::Store;

/// What was read from the files that the configuration names: the Verifier's side of trust.
#[derive(Debug)]
pub struct TrustedInputs {
    /// Vendor roots, and insecure extra ones.
    pub anchors: TrustAnchors,
    /// What the Verifier lets through that it would refuse.
    pub options: VerifyOptions,
    /// Good signatures of the vendors, computed once for all TDs of a platform type.
    pub signatures: SignatureCache,
    /// Vendors' Endorsements.
    pub endorsements: BundleFiles,
    /// Asks the services of Endorsements; `None` when none is configured.
    pub client: Option<Client>,
    /// Signs Attestation Results.
    pub tokens: TokenSigner,
}

impl TrustedInputs {
    /// Reads roots, Endorsements and the key for tokens.
    ///
    /// # Errors
    /// A finding for each file that can't be used.
    pub fn load(config: &BrokerConfig) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let options = config.verify_options;
        let mut anchors = TrustAnchors::vendor();
        for path in &config.insecure_extra_roots {
            let key = "configuration key `verifier.insecure_extra_roots`";
            let refused = |why: String| {
                let expected = format!("an X.509 certificate in PEM or DER ({why})");
                let remedy = "correct the path; production needs no extra roots at all";
                Finding::new(key, path.display().to_string(), expected, remedy)
            };
            let read = std::fs::read(path).map_err(|error| refused(error.to_string()));
            let added = read.and_then(|bytes| {
                let extended = anchors.clone().with_insecure_extra_root(&bytes);
                extended.map_err(|error| refused(error.to_string()))
            });
            match added {
                Ok(extended) => anchors = extended,
                Err(finding) => findings.push(finding),
            }
        }
        let tokens = match &config.token_key {
            TokenKeySource::Ephemeral => TokenSigner::generate().map_err(|error| error.findings()),
            TokenKeySource::Files { key_file, certificate_file } => {
                TokenSigner::load(key_file, certificate_file).map_err(|finding| vec![finding])
            }
        };
        let endorsements = BundleFiles::load(config.endorsement_bundle_files.clone())
            .map_err(|errors| errors.iter().map(|error| error.finding()).collect::<Vec<_>>());
        let client = match config.fetch.services.is_empty() {
            true => Ok(None),
            false => Client::new(config.fetch.ca_file.as_deref(), config.fetch.timeouts).map(Some),
        };
        match (tokens, endorsements, client) {
            (Ok(tokens), Ok(endorsements), Ok(client)) if findings.is_empty() => Ok(Self {
                anchors,
                options,
                signatures: SignatureCache::new(),
                endorsements,
                client,
                tokens,
            }),
            (tokens, endorsements, client) => {
                findings.extend(client.err());
                findings.extend(tokens.err().into_iter().flatten());
                findings.extend(endorsements.err().into_iter().flatten());
                Err(findings)
            }
        }
    }
}

/// The broker without its listeners.
pub struct Broker {
    /// RCAR sessions.
    pub sessions: SessionTable,
    /// Audit log and decision log.
    pub journal: Arc<Journal>,
    /// Model keys.
    pub keys: Box<dyn KeyStore>,
    /// Release policies.
    pub policies: PolicyStore,
    /// Policies that are asked about every key.
    pub shared: SharedPolicies,
    /// Reference Values.
    pub references: ReferenceValueStore,
    /// Roots and Endorsements.
    pub trusted: TrustedInputs,
    /// Gets the Endorsements that the bundle files lack.
    pub supply: Supply,
    /// The key to which the owner's CLI encrypts content keys; lives as long as this process.
    pub wrapping_key: TeeKeyPair,
    /// Counters.
    pub metrics: Metrics,
    /// Bounds the work that strangers can cause.
    pub verifications: Arc<Semaphore>,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").finish_non_exhaustive()
    }
}

impl Broker {
    /// Opens store and audit log and makes the keys of this process.
    ///
    /// # Errors
    /// In this order: [`StartupError::Store`], [`Audit`](StartupError::Audit),
    /// [`KeyGeneration`](StartupError::KeyGeneration), [`Configuration`](StartupError::Configuration)
    /// for the folder of fetched Endorsements.
    pub fn open(config: &BrokerConfig, trusted: TrustedInputs) -> Result<Self, StartupError> {
        let store = Arc::new(Store::open(&config.state_dir)?);
        let journal = Arc::new(Journal::open(store, &config.state_dir, config.decisions_kept)?);
        let references = ReferenceValueStore::new(Arc::clone(&journal));
        let shared = SharedPolicies::new(Arc::clone(&journal));
        let policies = PolicyStore::new(Arc::clone(&journal), references.clone(), shared.clone());
        let keys = Box::new(EmbeddedKeyStore::new(Arc::clone(&journal)));
        let wrapping_key = TeeKeyPair::generate()
            .map_err(|_| StartupError::KeyGeneration { what: "wrapping key" })?;
        let extra_roots = trusted.anchors.insecure_extra_roots();
        let counters = Counters::default();
        let loosened = trusted.options.loosened();
        let metrics = Metrics::new(extra_roots.len(), &loosened, &counters);
        let supply = supply(config, &trusted, counters)
            .map_err(|finding| StartupError::Configuration(vec![finding]))?;
        for loosened in &loosened {
            tracing::warn!(
                setting = loosened.setting(),
                "INSECURE: this broker {}",
                loosened.gives_away()
            );
        }
        for sha256 in &extra_roots {
            tracing::warn!(
                sha256,
                "INSECURE: this root is trusted beside the vendors'; whoever holds its key can \
                 forge any evidence and get any key"
            );
        }
        let settings: Vec<&str> = loosened.iter().map(|what| what.setting()).collect();
        let started = AuditEntry::new(AuditEvent::BrokerStarted, "", "broker")
            .with("version", env!("CARGO_PKG_VERSION"))
            .with("insecure-extra-roots", extra_roots.join(","))
            .with("insecure-settings", settings.join(","));
        journal.record(started)?;
        Ok(Self {
            sessions: SessionTable::new(config.session),
            journal,
            keys,
            policies,
            shared,
            references,
            trusted,
            supply,
            wrapping_key,
            metrics,
            verifications: Arc::new(Semaphore::new(config.limits.concurrent_verifications)),
        })
    }

    /// Records that the broker stops in good order.
    pub fn close(&self) {
        let entry = AuditEntry::new(AuditEvent::BrokerStopped, "", "broker");
        if let Err(error) = self.journal.record(entry) {
            tracing::error!(error = %crate::respond::Chain(&error), "the stop was not recorded");
        }
    }
}

/// A supply with a fetcher, when there is a client for it.
fn supply(
    config: &BrokerConfig,
    trusted: &TrustedInputs,
    counters: Counters,
) -> Result<Supply, Finding> {
    let Some(client) = trusted.client.clone() else {
        return Ok(Supply::new(None, counters));
    };
    let fetch = &config.fetch;
    let disk = DiskCache::open(fetch.cache_dir.clone(), fetch.rules.max_entries);
    let disk = disk.map_err(|error| {
        Finding::new(
            "configuration key `endorsements.cache_dir`",
            fetch.cache_dir.display().to_string(),
            format!("a folder that can be made and written to ({error})"),
            "choose a folder of the broker's user",
        )
    })?;
    let clock = Arc::new(now);
    let services = fetch.services.clone();
    let anchors = trusted.anchors.clone();
    let rules = fetch.rules;
    let fetcher = Fetcher::new(services, client, disk, anchors, rules, clock, counters.clone());
    Ok(Supply::new(Some(Arc::new(fetcher)), counters))
}

/// The broker's clock: certificates and lifetimes are compared with it. Sessions use a monotonic
/// one.
pub fn now() -> UnixTime {
    // A clock before 1970 makes every certificate not yet valid, so nothing is accepted.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime(since.as_secs())
}
