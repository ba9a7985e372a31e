//! Ciphertext on its way into the target, while Evidence and key are still on theirs.
//!
//! In: a sealed model, which is an allegation. Out: [`Staging`], which says which key to ask for and holds
//! the target. It is evidence of nothing: [`Unlocked::open`](super::Unlocked::open) takes it by value together
//! with the authentic manifest, and makes every check on what was staged. A refusal before that ends in
//! [`Staging::discard`]: what was read is wiped, although it is ciphertext, because the memory is the model's.
//! Against: time that a start loses to reading when the key is there.

use std::path::PathBuf;
use std::sync::Arc;

use adyton_sealed_weights::{KeyId, OpenOptions, Progress, SealedModel, StagedModel, SwapPolicy};
use tokio::time::timeout;

use super::{
    ABANDON, FromBroker, WeightsError, abandon, choose_key, huge_pages, load, remove_leftovers,
    tmpfs,
};
use crate::config::{ModelConfig, Opening, Readers};
use crate::hygiene::Swap;
use crate::phase::{HugePageCount, PhaseBoard};
use crate::shutdown::Shutdown;

/// What became of the ciphertext.
pub(super) enum Staged {
    /// On its way into the target.
    InTarget(StagedModel),
    /// Left where it lies: ranges are read when they are asked for.
    OnDemand,
}

/// A sealed model that is being read into the target, and the key to ask for.
pub struct Staging {
    pub(super) sealed: Arc<SealedModel>,
    pub(super) staged: Staged,
    /// The kernel's counts before the first byte was read.
    pub(super) before: Option<HugePageCount>,
    kid: KeyId,
    target: PathBuf,
}

impl Staging {
    /// Finds the model and its key, clears the target, and begins to read. What reading meets later is
    /// told when it is opened.
    ///
    /// # Errors
    /// In this order: [`WeightsError::Wipe`] (another sidecar uses the target),
    /// [`WeightsError::CredentialsFile`], [`WeightsError::Credentials`], [`WeightsError::Store`],
    /// [`WeightsError::Open`] (manifest), [`WeightsError::NoRecipient`], [`WeightsError::Open`] (target:
    /// not memory, swap, no room); [`WeightsError::Interrupted`].
    pub async fn begin(
        config: &ModelConfig,
        credentials: FromBroker,
        swap: Swap,
        board: &Arc<PhaseBoard>,
        shutdown: &Shutdown,
    ) -> Result<Self, WeightsError> {
        let (model, watching, until) = (config.clone(), Arc::clone(board), shutdown.clone());
        let mut beginning = tokio::task::spawn_blocking(move || {
            Self::begin_blocking(&model, &credentials, swap, &watching, &until)
        });
        tokio::select! {
            begun = &mut beginning => begun.map_err(WeightsError::Task)?,
            () = shutdown.requested() => {
                // Not swept: until it has begun, the target may be another sidecar's.
                if let Ok(begun) = timeout(ABANDON, beginning).await {
                    let _ = tokio::task::spawn_blocking(move || drop(begun)).await;
                }
                Err(WeightsError::Interrupted)
            }
        }
    }

    fn begin_blocking(
        config: &ModelConfig,
        credentials: &FromBroker,
        swap: Swap,
        board: &Arc<PhaseBoard>,
        shutdown: &Shutdown,
    ) -> Result<Self, WeightsError> {
        remove_leftovers(&config.target)?;
        let sealed = load(config, credentials)?;
        let kid = choose_key(&sealed, &config.key)?;
        if config.opening == Opening::IntoTarget {
            board.target(tmpfs::look_at(&config.target, sealed.required_bytes())?);
        }
        if shutdown.is_requested() {
            return Err(WeightsError::Interrupted);
        }
        let before = huge_pages::count();
        let staged = match config.opening {
            Opening::OnDemand => Staged::OnDemand,
            Opening::IntoTarget => {
                let progress = Arc::new(StagingProgress(Arc::clone(board)));
                let staged = sealed.stage(&config.target, &options(config, swap), progress);
                Staged::InTarget(staged.map_err(WeightsError::Open)?)
            }
        };
        let (sealed, target) = (Arc::new(sealed), config.target.clone());
        Ok(Self { sealed, staged, before, kid, target })
    }

    /// The key that opens it, says its manifest.
    pub fn kid(&self) -> &KeyId {
        &self.kid
    }

    /// Ends the reading and removes what was read; storage that does not answer is not waited for.
    ///
    /// # Errors
    /// [`WeightsError::Wipe`] when something could not be removed.
    pub async fn discard(self, board: &PhaseBoard) -> Result<(), WeightsError> {
        let Self { staged: Staged::InTarget(staged), target, .. } = self else { return Ok(()) };
        let discarding = tokio::task::spawn_blocking(move || staged.discard());
        tracing::info!(staged_bytes = board.snapshot().staged, "what was staged is discarded");
        match abandon(discarding, &target).await {
            WeightsError::Interrupted => Ok(()),
            error => Err(error),
        }
    }
}

/// How this configuration stages and opens.
pub(super) fn options(config: &ModelConfig, swap: Swap) -> OpenOptions {
    let (file_mode, folder_mode) = match config.readers {
        Readers::Owner => (0o600, 0o700),
        Readers::Group => (0o640, 0o750),
        Readers::Everyone => (0o644, 0o755),
    };
    OpenOptions {
        threads: config.threads.get(),
        swap: match swap {
            Swap::Refuse => SwapPolicy::Refuse,
            Swap::InsecureAllow => SwapPolicy::InsecureAllow,
        },
        file_mode,
        folder_mode,
        ..OpenOptions::default()
    }
}

/// Bytes of ciphertext that were read; what is opened is counted apart.
struct StagingProgress(Arc<PhaseBoard>);

impl Progress for StagingProgress {
    fn total(&self, _claimed: u64) {}

    fn advance(&self, bytes: u64) {
        self.0.staged(bytes);
    }
}
