//! Attested connections to one sidecar: made one by one, used by one request at a time, kept while their
//! Attestation Results hold.
//!
//! In: what the caller trusts and expects. Out: a [`Lease`] of an [`AttestedConnection`]. A connection is
//! reused only by its owner, this value, and only before its result expires; none is made again behind
//! anybody's back: a new one is attested like the first. Against: a sidecar that was replaced between two
//! requests; a quote for every request, which real hardware makes in seconds.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adyton_attestation::UnixTime;
use adyton_client::{
    AttestedConnection, Expectations, ExpectedDigest, PeerTrust, Pins, ProvisionalConnection,
};
use rustls::ClientConfig;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ConnectArgs;
use super::refusal::Refusal;
use crate::failure::{Exit, Failure};
use crate::https::{self, Address, Party};
use crate::table::Facts;
use crate::tls::{self, ClientIdentity};
use crate::verb::Context;
use crate::verb::rules::{Rules, references};
use crate::verb::verify::{insecure, now, transport_failure};

/// Requests at once, each on a connection of its own.
const MAX_IN_USE: usize = 64;
/// Attested connections kept without a request.
const MAX_IDLE: usize = 16;
/// How long a request waits for a connection before it is told that all are in use.
const PATIENCE: Duration = Duration::from_secs(10);

/// One sidecar and everything that its connections are compared with.
#[derive(Debug)]
pub(super) struct Upstream {
    address: Address,
    config: Arc<ClientConfig>,
    trust: PeerTrust,
    expectations: Expectations,
    idle: Mutex<Vec<AttestedConnection>>,
    in_use: Arc<Semaphore>,
    /// One attestation at a time: a TEE makes one quote after the other anyway.
    attesting: Semaphore,
}

/// An attested connection that one request may use.
#[derive(Debug)]
pub(super) struct Lease {
    upstream: Arc<Upstream>,
    connection: AttestedConnection,
    _in_use: OwnedSemaphorePermit,
}

/// Where a leased connection came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Attested for this request.
    Fresh,
    /// Attested earlier; the server may have closed it just now.
    Kept,
}

impl Upstream {
    /// Reads everything that the flags name.
    ///
    /// # Errors
    /// [`Failure`] of the URL, then of the first file that can't be used.
    pub(super) fn read(args: &ConnectArgs, context: &mut Context<'_>) -> Result<Self, Failure> {
        let address = Address::parse(Party::Sidecar, &args.url)?;
        let expectations = expectations(args)?;
        let trust = args.trust.load(context)?;
        let identity = match (&args.client_cert, &args.client_key) {
            (Some(certificate), Some(key)) => {
                Some(ClientIdentity { certificate: certificate.clone(), key: key.clone() })
            }
            _ => None,
        };
        Ok(Self {
            address,
            config: tls::provisional(identity.as_ref())?,
            trust,
            expectations,
            idle: Mutex::default(),
            in_use: Arc::new(Semaphore::new(MAX_IN_USE)),
            attesting: Semaphore::new(1),
        })
    }

    /// `host:port` of the sidecar.
    pub(super) fn authority(&self) -> &str {
        self.address.authority()
    }

    /// A connection, attested now or earlier, whose result holds.
    ///
    /// # Errors
    /// [`Refusal`]: busy, not reached, or refused with every reason. Nothing of a request was sent.
    pub(super) async fn lease(self: &Arc<Self>) -> Result<(Lease, Origin), Refusal> {
        let waited = tokio::time::timeout(PATIENCE, Arc::clone(&self.in_use).acquire_owned()).await;
        // The semaphore is never closed.
        let Ok(Ok(permit)) = waited else { return Err(Refusal::busy(MAX_IN_USE)) };
        let (connection, origin) = self.connection().await.map_err(Refusal::upstream)?;
        let lease = Lease { upstream: Arc::clone(self), connection, _in_use: permit };
        Ok((lease, origin))
    }

    async fn connection(&self) -> Result<(AttestedConnection, Origin), Failure> {
        let at = now()?;
        if let Some(kept) = self.take_idle(at) {
            return Ok((kept, Origin::Kept));
        }
        let _turn = self.attesting.acquire().await;
        // While we waited for our turn, another request may have ended.
        if let Some(kept) = self.take_idle(at) {
            return Ok((kept, Origin::Kept));
        }
        Ok((self.attest().await?, Origin::Fresh))
    }

    /// The one place where connections come from: TLS, one nonce, the exporter value, the ladder, the
    /// expectations. Until it returns, nothing but the question who is there was sent.
    pub(super) async fn attest(&self) -> Result<AttestedConnection, Failure> {
        let failure = |error| transport_failure(&self.address, error);
        let stream = https::connect(&self.address, Arc::clone(&self.config)).await?;
        let connection = ProvisionalConnection::over(stream, self.authority());
        let connection = connection.await.map_err(failure)?;
        connection.attest(&self.trust, &self.expectations, now()?).await.map_err(failure)
    }

    /// Keeps a connection for the next request.
    pub(super) fn keep(&self, connection: AttestedConnection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE && !connection.is_closed() {
            idle.push(connection);
        }
    }

    fn take_idle(&self, at: UnixTime) -> Option<AttestedConnection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|kept| holds(kept, at));
        idle.pop()
    }

    /// Who is at the other end, for people and for programs.
    pub(super) fn introduce(&self, connection: &AttestedConnection) -> (Facts, Value) {
        let (peer, url) = (connection.peer(), format!("https://{}", self.authority()));
        let (report, result, instance) = (peer.report(), peer.result(), peer.instance());
        let weak = insecure(report, &self.trust);
        let mut facts = Facts::new();
        facts.add("sidecar", &url);
        facts.add("model", format!("{} version {}", report.model.name, report.model.version));
        facts.add("measurements", format!("`{}`", result.matched_reference_values()));
        facts.add("machine", instance.machine.to_string());
        facts.add("binding", "channel: each connection by its own exporter value");
        for said in &weak {
            facts.add("INSECURE", said);
        }
        let document = json!({
            "url": url,
            "tee": report.tee,
            "binding": report.binding.as_str(),
            "reference_values": result.matched_reference_values(),
            "model": report.model,
            "manifest_digest": hex::encode(report.manifest_digest),
            "config_digest": hex::encode(report.config_digest),
            "machine": instance.machine.pin().map(|pin| pin.to_string()),
            "certificate_spki_sha256": hex::encode(instance.spki_sha256),
            "attested_at": result.appraised_at(),
            "expires": result.expires(),
            "insecure": weak,
        });
        (facts, document)
    }
}

impl Lease {
    pub(super) fn connection(&mut self) -> &mut AttestedConnection {
        &mut self.connection
    }

    /// The answer was read to its end: the connection is free. A lease that is dropped instead closes it,
    /// because what is still under way on it belongs to another request.
    pub(super) fn done(self) {
        self.upstream.keep(self.connection);
    }
}

/// An Attestation Result must not be used after its lifetime (attestation/SPEC.md 6).
fn holds(connection: &AttestedConnection, at: UnixTime) -> bool {
    !connection.is_closed() && at < connection.peer().result().expires()
}

fn expectations(args: &ConnectArgs) -> Result<Expectations, Failure> {
    let mut expected = Expectations::of_software(references(&args.reference_values)?);
    if let Some(path) = &args.policy {
        let policy = match Rules::load(path, None)? {
            Rules::Release(policy) if policy.rego.is_none() => policy,
            Rules::Release(_) | Rules::Rego { .. } | Rules::Strict => {
                return Err(Failure::new(
                    Exit::Unsupported,
                    "connect.rego",
                    format!("{} has rules in Rego", path.display()),
                )
                .expected("a release policy with typed rules only")
                .remedy("leave the rules in Rego to the broker, or ask them once: adyton verify"));
            }
        };
        expected.minimum_model_version = policy.minimum_model_version;
        expected.policy = policy.appraisal;
    }
    if let Some(digest) = args.manifest_digest {
        expected.manifest_digest = ExpectedDigest::Exactly(digest);
    }
    if let Some(digest) = args.config_digest {
        expected.config_digest = ExpectedDigest::Exactly(digest);
    }
    if !args.pin.is_empty() {
        expected.pins = Pins::OneOf(args.pin.clone());
    }
    Ok(expected)
}
