//! Gets the model key: shows the broker Evidence, and unwraps what it releases.
//!
//! Role: KBC, the client of the KBS protocol. In: a [`Hardened`] process, an Attester, the broker's
//! address. Out: [`Released`], the model key in locked memory. The messages and the cryptography
//! are [`rcar`](adyton_attestation::rcar)'s; here are sockets, retries and the Attester's thread.
//!
//! ```text
//! Hardened ─ attest ─► Attested ─ release ─► Released
//!            │ POST /auth    ◄─ nonce           │ GET /resource/…  ◄─ JWE to the TEE key
//!            │ Attester      ◄─ Evidence        ▼
//!            │ POST /attest  ◄─ token        TeeKeyPair dropped
//! ```
//! A round that breaks off is begun anew with a new nonce and a new TEE key: a nonce answers one
//! Attestation. Against: a broker that is not ours (its CA is pinned), replay, a key for another
//! resource.

mod error;
mod kbs;
mod retry;

use std::sync::Arc;

use adyton_attestation::attester::{Attester, detect};
use adyton_attestation::rcar::{
    AttestResponse, ChallengeMessage, JweResponse, RcarClient, ResourceBinding, ResourcePath,
    TeeKeyPair, Unwrapped,
};
use adyton_model_store::Credentials;
use adyton_sealed_weights::{KeyId, ModelKey};

pub use error::{ReleaseError, ReleaseStep};
pub use kbs::Kbc;
use kbs::{Epoch, Session};
use retry::Retry;

use crate::config::{AttesterChoice, AttesterConfig};
use crate::hygiene::Hardened;
use crate::metrics::Metrics;
use crate::phase::PhaseBoard;

/// Who watches a release: for probes and metrics.
#[derive(Debug, Clone)]
pub struct Watchers {
    /// Learns why the phase takes long.
    pub board: Arc<PhaseBoard>,
    /// Counts exchanges.
    pub metrics: Arc<Metrics>,
}

/// The broker has accepted our Evidence for a TEE key that lives here. It does not prove that any
/// key will be released.
pub struct Attested {
    hardened: Hardened,
    attester: Arc<dyn Attester>,
    rcar: adyton_attestation::rcar::Attested,
    session: Session,
}

/// The model key was released to this TEE.
pub struct Released {
    hardened: Hardened,
    attester: Arc<dyn Attester>,
    model_key: ModelKey,
    minimum_version: u64,
}

impl Released {
    fn assertion(
        hardened: Hardened,
        attester: Arc<dyn Attester>,
        model_key: ModelKey,
        minimum_version: u64,
    ) -> Self {
        Self { hardened, attester, model_key, minimum_version }
    }

    /// What it is made of. Model versions below the number are refused, says the key's owner; it is
    /// 0 when the broker says nothing.
    pub(crate) fn into_parts(self) -> (Hardened, Arc<dyn Attester>, ModelKey, u64) {
        (self.hardened, self.attester, self.model_key, self.minimum_version)
    }
}

/// Finds the source of Evidence.
///
/// # Errors
/// [`ReleaseError::Attester`]: no TEE, or not the one that was configured.
pub async fn find_attester(config: AttesterConfig) -> Result<Arc<dyn Attester>, ReleaseError> {
    let found = tokio::task::spawn_blocking(move || -> Result<Arc<dyn Attester>, _> {
        let AttesterConfig { choice, places } = config;
        Ok(Arc::from(match choice {
            AttesterChoice::Auto => {
                let detected = detect(&places)?;
                for tried in &detected.tried {
                    tracing::info!(
                        source = tried.source,
                        outcome = tried.outcome,
                        "looked for a TEE"
                    );
                }
                detected.attester
            }
            AttesterChoice::Only(source) => source.open(&places)?,
        }))
    });
    let attester = found.await.map_err(ReleaseError::Task)?.map_err(ReleaseError::Attester)?;
    tracing::info!(attester = attester.name(), tee = attester.tee().as_str(), "evidence source");
    Ok(attester)
}

/// Shows the broker Evidence until it accepts it, refuses it, or cannot be reached for too long.
///
/// # Errors
/// [`ReleaseError`]; only what [`ReleaseError::may_be_retried`] says was retried.
pub async fn attest(
    hardened: Hardened,
    attester: Arc<dyn Attester>,
    kbc: &Kbc,
    watchers: &Watchers,
) -> Result<Attested, ReleaseError> {
    let mut retry = Retry::new(kbc.retry_for(), watchers);
    loop {
        match round(&attester, kbc).await {
            Ok((rcar, session)) => {
                watchers.metrics.broker_attempt("ok");
                return Ok(Attested::assertion(hardened, attester, rcar, session));
            }
            Err(error) => retry.after(error).await?,
        }
    }
}

async fn round(
    attester: &Arc<dyn Attester>,
    kbc: &Kbc,
) -> Result<(adyton_attestation::rcar::Attested, Session), ReleaseError> {
    let protocol = |step| move |source| ReleaseError::Protocol { step, source };
    // 1. Request and Challenge.
    let (request, awaiting_challenge) = RcarClient::start(attester.tee());
    let (body, session) = kbc.auth(&request).await?;
    let challenge = ChallengeMessage::parse(&body).map_err(protocol(ReleaseStep::Auth))?;
    // 2. A TEE key for this round, and Evidence that commits to it and to the nonce.
    let tee_key = TeeKeyPair::generate().map_err(ReleaseError::TeeKey)?;
    let (report_data, awaiting_evidence) = awaiting_challenge
        .on_challenge(&challenge, tee_key)
        .map_err(protocol(ReleaseStep::Auth))?;
    let source = Arc::clone(attester);
    let evidence = tokio::task::spawn_blocking(move || source.collect(&report_data))
        .await
        .map_err(ReleaseError::Task)?
        .map_err(ReleaseError::Attester)?;
    // 3. Attestation and Response.
    let (attestation, awaiting_token) = awaiting_evidence.with_evidence(evidence);
    let (body, session) = kbc.attest(&attestation, session).await?;
    let token = AttestResponse::parse(&body).map_err(protocol(ReleaseStep::Attest))?;
    Ok((awaiting_token.on_token(token), session))
}

impl Attested {
    fn assertion(
        hardened: Hardened,
        attester: Arc<dyn Attester>,
        rcar: adyton_attestation::rcar::Attested,
        session: Session,
    ) -> Self {
        Self { hardened, attester, rcar, session }
    }

    /// Asks for the credentials of the model's store, in the same session and with the same TEE key.
    ///
    /// They are no proof of anything, and open nothing that is not sealed.
    ///
    /// # Errors
    /// As [`release`](Self::release); [`ReleaseError::Credentials`] for a resource that holds none.
    pub async fn store_credentials(
        &self,
        resource: &ResourcePath,
        kbc: &Kbc,
        watchers: &Watchers,
    ) -> Result<Credentials, ReleaseError> {
        let mut unwrapped = self.resource(resource, Epoch::Newest, kbc, watchers).await?;
        let credentials = Credentials::take(&mut unwrapped.plaintext)
            .map_err(|source| ReleaseError::Credentials { uri: resource.to_uri(), source })?;
        watchers.metrics.broker_attempt("ok");
        tracing::info!(resource = %resource, ?credentials, "credentials of the store were released");
        Ok(credentials)
    }

    async fn resource(
        &self,
        resource: &ResourcePath,
        epoch: Epoch,
        kbc: &Kbc,
        watchers: &Watchers,
    ) -> Result<Unwrapped, ReleaseError> {
        let mut retry = Retry::new(kbc.retry_for(), watchers);
        let body = loop {
            match kbc.resource(resource, epoch, &self.session).await {
                Ok(body) => break body,
                Err(error) => retry.after(error).await?,
            }
        };
        let reply = JweResponse::parse(&body)
            .map_err(|source| ReleaseError::Protocol { step: ReleaseStep::Resource, source })?;
        self.rcar
            .unwrap(resource, &reply)
            .map_err(|source| ReleaseError::Unwrap { uri: resource.to_uri(), source })
    }

    /// Asks for the key and unwraps it; the TEE key is gone afterwards.
    ///
    /// # Errors
    /// [`ReleaseError`]; only what [`ReleaseError::may_be_retried`] says was retried.
    pub async fn release(
        self,
        kid: &KeyId,
        kbc: &Kbc,
        watchers: &Watchers,
    ) -> Result<Released, ReleaseError> {
        let resource = ResourcePath::from_uri(kid.uri()).map_err(ReleaseError::Resource)?;
        let epoch = Epoch::Exactly(kid.epoch());
        let mut unwrapped = self.resource(&resource, epoch, kbc, watchers).await?;
        if unwrapped.resource == ResourceBinding::NotStated {
            // Not fatal: a wrong key is refused by the key commitment of the model's recipient.
            tracing::warn!(%resource, "the KBS does not say which resource it sent");
        }
        let model_key = ModelKey::from_bytes(&mut unwrapped.plaintext, kid.clone())
            .map_err(ReleaseError::Key)?;
        watchers.metrics.broker_attempt("ok");
        let minimum_version = unwrapped.minimum_model_version.unwrap_or(0);
        Ok(Released::assertion(self.hardened, self.attester, model_key, minimum_version))
    }
}
