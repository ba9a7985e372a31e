//! From the sealed model and its key to plaintext in memory, and back to nothing.
//!
//! ```text
//! SealedModel (an allegation) ─┐
//! Released (the key) ──────────┴─ unlock ─► Unlocked ─ open ─► LoadedWeights ─ wipe ─► nothing
//! ```
//! The format and its checks are [`adyton_sealed_weights`]'s; here is the order, on whose behalf,
//! and where to. Keys are dropped, and so zeroed, as soon as the last chunk is open.
//! Against: an exchanged, edited or older model; plaintext on a disk; leftovers of a crash.

mod error;
mod source;
mod tmpfs;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use adyton_attestation::attester::Attester;
use adyton_attestation::report::{Protections, ReportedModel};
use adyton_sealed_weights::{
    OpenError, OpenOptions, OpenedModel, Requirements, SealedModel, SwapPolicy, UnlockedModel,
};

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

pub use error::WeightsError;
pub use source::{choose_key, load};
pub(crate) use tmpfs::is_busy;
pub use tmpfs::{remove_leftovers, sweep};

use crate::config::{ExpectedName, ModelConfig, Readers};
use crate::hygiene::{Hardened, Swap};
use crate::phase::{Phase, PhaseBoard};
use crate::release::Released;
use crate::shutdown::Shutdown;

/// How long an opening that was broken off is waited for.
const ABANDON: Duration = Duration::from_secs(5);
const SWEEP_EVERY: Duration = Duration::from_millis(50);

/// A sealed model whose manifest is authentic, recent enough, and the one that was asked for.
pub struct Unlocked {
    hardened: Hardened,
    attester: Arc<dyn Attester>,
    model: UnlockedModel,
    reported: ReportedModel,
}

/// Plaintext in the target, every chunk of it authenticated; the keys are gone.
pub struct LoadedWeights {
    hardened: Hardened,
    attester: Arc<dyn Attester>,
    opened: OpenedModel,
    manifest_digest: [u8; 32],
    reported: ReportedModel,
}

/// Authenticates the manifest with the released key. The model key ends here; what is left is the
/// content key of this one model.
///
/// # Errors
/// [`WeightsError::Open`]: not for this key, edited, another name, or older than the higher of the
/// configured and the broker's minimum.
pub fn unlock(
    sealed: &SealedModel,
    released: Released,
    config: &ModelConfig,
) -> Result<Unlocked, WeightsError> {
    let (hardened, attester, model_key, minimum_version) = released.into_parts();
    let name = match &config.name {
        ExpectedName::AnyUnderThisKey => None,
        ExpectedName::Exactly(name) => Some(name.clone()),
    };
    let minimum_version = minimum_version.max(config.minimum_version);
    let requirements = Requirements { name, minimum_version, model_id: None };
    let model = sealed.unlock(&model_key, &requirements).map_err(WeightsError::Open)?;
    let manifest = model.manifest();
    let reported = ReportedModel {
        name: manifest.name().to_owned(),
        version: manifest.version(),
        id: manifest.model_id().to_string(),
        kid: model_key.id().to_string(),
    };
    tracing::info!(
        model = reported.name,
        version = reported.version,
        id = reported.id,
        kid = reported.kid,
        minimum_version,
        "manifest is authentic"
    );
    Ok(Unlocked::assertion(hardened, attester, model, reported))
}

impl Unlocked {
    fn assertion(
        hardened: Hardened,
        attester: Arc<dyn Attester>,
        model: UnlockedModel,
        reported: ReportedModel,
    ) -> Self {
        Self { hardened, attester, model, reported }
    }

    /// Opens every file into the target, on threads of its own, unless `shutdown` comes first.
    ///
    /// # Errors
    /// [`WeightsError::Open`]: the target is not memory, has no room, or an object is not what was
    /// sealed; [`WeightsError::Interrupted`]. Nothing is left in the target then. It must be polled
    /// to its end: dropped earlier, its threads go on.
    pub async fn open(
        self,
        config: &ModelConfig,
        swap: Swap,
        board: &Arc<PhaseBoard>,
        shutdown: &Shutdown,
    ) -> Result<LoadedWeights, WeightsError> {
        let Self { hardened, attester, model, reported } = self;
        let (file_mode, folder_mode) = match config.readers {
            Readers::Owner => (0o600, 0o700),
            Readers::Group => (0o640, 0o750),
            Readers::Everyone => (0o644, 0o755),
        };
        let options = OpenOptions {
            threads: config.threads.get(),
            swap: match swap {
                Swap::Refuse => SwapPolicy::Refuse,
                Swap::InsecureAllow => SwapPolicy::InsecureAllow,
            },
            file_mode,
            folder_mode,
            ..OpenOptions::default()
        };
        let target: PathBuf = config.target.clone();
        let progress = Arc::clone(board);
        board.enter(Phase::Opening);
        let manifest_digest = model.manifest_digest();
        let mut opening = tokio::task::spawn_blocking(move || {
            // `model` holds the content key; it ends with this closure, before anybody is served.
            model.open_with(&target, &options, progress.as_ref())
        });
        let opened = tokio::select! {
            opened = &mut opening => opened.map_err(WeightsError::Task)?.map_err(WeightsError::Open)?,
            () = shutdown.requested() => return Err(abandon(opening, &config.target).await),
        };
        tracing::info!(
            path = %opened.path().display(),
            files = opened.files(),
            bytes = opened.bytes(),
            "weights are open, keys are gone"
        );
        Ok(LoadedWeights::assertion(hardened, attester, opened, manifest_digest, reported))
    }
}

/// Takes the ground from under an opening that cannot be interrupted, until it has ended or
/// [`ABANDON`] is over; the process ends next, and with it what the threads still hold.
async fn abandon(
    mut opening: JoinHandle<Result<OpenedModel, OpenError>>,
    target: &Path,
) -> WeightsError {
    tracing::info!("the opening is broken off");
    let deadline = Instant::now() + ABANDON;
    loop {
        let folder = target.to_owned();
        let swept = tokio::task::spawn_blocking(move || sweep(&folder)).await;
        let swept = swept.map_err(WeightsError::Task).and_then(|swept| swept);
        match (timeout(SWEEP_EVERY, &mut opening).await, swept) {
            (Ok(Ok(Ok(opened))), _) => {
                // It was faster. The folder may be swept already; `startup` looks once more.
                let _ = tokio::task::spawn_blocking(move || opened.wipe()).await;
                return WeightsError::Interrupted;
            }
            (Ok(_), Ok(())) => return WeightsError::Interrupted,
            (Ok(_), Err(error)) => return error,
            (Err(_), swept) if Instant::now() >= deadline => {
                return swept.err().unwrap_or(WeightsError::Interrupted);
            }
            (Err(_), _) => {}
        }
    }
}

impl LoadedWeights {
    fn assertion(
        hardened: Hardened,
        attester: Arc<dyn Attester>,
        opened: OpenedModel,
        manifest_digest: [u8; 32],
        reported: ReportedModel,
    ) -> Self {
        Self { hardened, attester, opened, manifest_digest, reported }
    }

    pub(crate) fn attester(&self) -> Arc<dyn Attester> {
        Arc::clone(&self.attester)
    }

    pub(crate) fn manifest_digest(&self) -> [u8; 32] {
        self.manifest_digest
    }

    pub(crate) fn model(&self) -> &ReportedModel {
        &self.reported
    }

    pub(crate) fn protections(&self) -> &Protections {
        self.hardened.protections()
    }

    /// Overwrites and removes the plaintext.
    ///
    /// # Errors
    /// [`WeightsError::Wipe`]
    pub fn wipe(self) -> Result<(), WeightsError> {
        self.opened.wipe().map_err(WeightsError::Wipe)
    }
}
