//! The last proof before the port opens, and what is left when it closes.
//!
//! A [`Ready`] cannot be made but from [`Exposed`] weights, and those come only at the end of the
//! ladder: hardened process, accepted Evidence, released key, authentic manifest, authentic
//! chunks (or, where ranges are opened on the fly, each chunk authenticated when it is read). [`proxy::serve`](crate::proxy::serve) takes it by value; a port without it cannot be
//! opened. It does not prove that the inference server is up; `/readyz` says that.

use std::sync::Arc;

use adyton_attestation::attester::Attester;
use adyton_attestation::report::{Protections, ReportedModel};

use crate::config::Config;
use crate::expose::Exposed;
use crate::phase::PhaseBoard;
use crate::weights::WeightsError;

/// Proof that this process may serve its model.
pub struct Ready {
    exposed: Exposed,
    config_digest: [u8; 32],
    insecure: Vec<String>,
    board: Arc<PhaseBoard>,
}

impl Ready {
    fn assertion(
        exposed: Exposed,
        config_digest: [u8; 32],
        insecure: Vec<String>,
        board: Arc<PhaseBoard>,
    ) -> Self {
        Self { exposed, config_digest, insecure, board }
    }

    /// Ready, with these weights, under this configuration.
    pub fn new(exposed: Exposed, config: &Config, board: Arc<PhaseBoard>) -> Self {
        Self::assertion(exposed, config.digest(), config.insecure(), board)
    }

    /// Where Evidence comes from.
    pub fn attester(&self) -> Arc<dyn Attester> {
        self.exposed.weights().attester()
    }

    /// The board that follows this process.
    pub fn board(&self) -> Arc<PhaseBoard> {
        Arc::clone(&self.board)
    }

    /// SHA-256 of the exact bytes of the manifest that was authenticated.
    pub fn manifest_digest(&self) -> [u8; 32] {
        self.exposed.weights().manifest_digest()
    }

    /// SHA-256 of the effective configuration.
    pub fn config_digest(&self) -> [u8; 32] {
        self.config_digest
    }

    /// Name, version, id and key of the model.
    pub fn model(&self) -> &ReportedModel {
        self.exposed.weights().model()
    }

    /// How this process protects its secrets.
    pub fn protections(&self) -> &Protections {
        self.exposed.weights().protections()
    }

    /// The `insecure_` settings in force.
    pub fn insecure(&self) -> &[String] {
        &self.insecure
    }

    /// The port is closed; what is left is to be wiped.
    pub(crate) fn drained(self) -> Drained {
        Drained(self.exposed)
    }
}

/// Weights that nobody serves any more.
#[must_use = "plaintext stays in memory until it is wiped"]
pub struct Drained(Exposed);

impl Drained {
    /// Stops what exposes it, then overwrites and removes the plaintext.
    ///
    /// # Errors
    /// [`WeightsError::Wipe`] when something could not be removed.
    pub fn wipe(self) -> Result<(), WeightsError> {
        self.0.wipe()
    }
}
