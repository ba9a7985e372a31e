//! From the sealed model and its key to plaintext in memory, and back to nothing.
//!
//! ```text
//! Staging (an allegation, ciphertext on its way) ─┬───────────────┐
//! Released (the key) ─────────────────────────────┴─ unlock ─► Unlocked ─ open ─► LoadedWeights ─ wipe ─► nothing
//! ```
//! The format and its checks are [`adyton_sealed_weights`]'s; here is the order, on whose behalf,
//! and where to. Keys are dropped, and so zeroed, as soon as the last chunk is open.
//! Against: an exchanged, edited or older model; plaintext on a disk; leftovers of a crash.

mod error;
mod huge_pages;
mod source;
mod staging;
mod tmpfs;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adyton_attestation::attester::Attester;
use adyton_attestation::report::{Protections, ReportedModel};
use adyton_s3_exposure::{ObjectSource, OpenedFiles, SealedRanges};
use adyton_sealed_weights::{OpenedModel, Requirements, SealedModel, UnlockedModel};

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

pub use error::WeightsError;
pub use source::{FromBroker, choose_key, load};
use staging::Staged;
pub use staging::Staging;
pub(crate) use tmpfs::is_busy;
pub use tmpfs::{remove_leftovers, sweep};

use crate::config::{ExpectedName, ModelConfig, Reading};
use crate::expose::ExposeError;
use crate::hygiene::Hardened;
use crate::phase::{Phase, PhaseBoard};
use crate::release::Released;
use crate::shutdown::Shutdown;

/// How long threads that were told to end are waited for.
const ABANDON: Duration = Duration::from_secs(5);
const SWEEP_EVERY: Duration = Duration::from_millis(50);

/// A sealed model whose manifest is authentic, recent enough, and the one that was asked for.
pub struct Unlocked {
    hardened: Hardened,
    attester: Arc<dyn Attester>,
    model: UnlockedModel,
    reported: ReportedModel,
}

/// Plaintext in the target, every chunk of it authenticated, the keys gone; or, where ranges are opened on
/// demand, an authentic manifest and the one key that opens its files.
pub struct LoadedWeights {
    hardened: Hardened,
    attester: Arc<dyn Attester>,
    held: Held,
    /// Paths and sizes, in the order of the manifest.
    files: Vec<(String, u64)>,
    manifest_digest: [u8; 32],
    reported: ReportedModel,
}

/// What is there to be served.
enum Held {
    /// Plaintext in the target.
    Opened(OpenedModel),
    /// The means to open ranges; no plaintext.
    OnDemand(Box<UnlockedModel>),
    /// The S3 endpoint has what was here.
    Lent,
}

/// Authenticates the manifest with the released key. The model key ends here; what is left is the
/// content key of this one model. What was staged is not looked at.
///
/// # Errors
/// [`WeightsError::Open`]: not for this key, edited, another name, or older than the higher of the
/// configured and the broker's minimum.
pub async fn unlock(
    staging: &Staging,
    released: Released,
    config: &ModelConfig,
) -> Result<Unlocked, WeightsError> {
    let (sealed, config) = (Arc::clone(&staging.sealed), config.clone());
    let unlocking = tokio::task::spawn_blocking(move || unlock_sealed(&sealed, released, &config));
    unlocking.await.map_err(WeightsError::Task)?
}

fn unlock_sealed(
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

    /// Opens what was staged, in place, on threads of its own, unless `shutdown` comes first; waits for
    /// what has still to be read.
    ///
    /// # Errors
    /// [`WeightsError::Open`]: the storage or the target failed, or an object is not what was
    /// sealed; [`WeightsError::Interrupted`]. Nothing is left in the target then. It must be polled
    /// to its end: dropped earlier, its threads go on.
    pub async fn open(
        self,
        staging: Staging,
        config: &ModelConfig,
        board: &Arc<PhaseBoard>,
        shutdown: &Shutdown,
    ) -> Result<LoadedWeights, WeightsError> {
        let Self { hardened, attester, model, reported } = self;
        let manifest_digest = model.manifest_digest();
        let files = model.manifest().files().iter();
        let files: Vec<_> = files.map(|file| (file.path().to_string(), file.size())).collect();
        let Staging { staged, before, .. } = staging;
        let staged = match staged {
            Staged::InTarget(staged) => staged,
            Staged::OnDemand => {
                tracing::info!(
                    files = files.len(),
                    "the model stays sealed, ranges are opened on demand"
                );
                let held = Held::OnDemand(Box::new(model));
                let loaded = LoadedWeights::assertion(
                    hardened,
                    attester,
                    held,
                    files,
                    manifest_digest,
                    reported,
                );
                return Ok(loaded);
            }
        };
        let (threads, progress) = (config.threads.get(), Arc::clone(board));
        let (begun, staged_bytes) = (Instant::now(), board.snapshot().staged);
        board.enter(Phase::Opening);
        let mut opening = tokio::task::spawn_blocking(move || {
            // `model` holds the content key; it ends with this closure, before anybody is served.
            model.open_staged(staged, threads, progress.as_ref())
        });
        let opened = tokio::select! {
            opened = &mut opening => opened.map_err(WeightsError::Task)?.map_err(WeightsError::Open)?,
            () = shutdown.requested() => return Err(abandon(opening, &config.target).await),
        };
        let pages = huge_pages::since(before, huge_pages::count());
        if let Some(pages) = pages {
            board.huge_pages(pages);
        }
        tracing::info!(
            path = %opened.path().display(),
            files = opened.files(),
            bytes = opened.bytes(),
            seconds = begun.elapsed().as_secs_f64(),
            staged_before_the_key = staged_bytes,
            huge_pages_given = pages.map(|pages| pages.given),
            huge_pages_missed = pages.map(|pages| pages.missed),
            "weights are open, keys are gone"
        );
        let held = Held::Opened(opened);
        Ok(LoadedWeights::assertion(hardened, attester, held, files, manifest_digest, reported))
    }
}

/// Takes the ground from under threads that cannot be interrupted, until they have ended or
/// [`ABANDON`] is over; the process ends next, and with it what they still hold.
async fn abandon<T: Send + 'static>(mut work: JoinHandle<T>, target: &Path) -> WeightsError {
    let deadline = Instant::now() + ABANDON;
    loop {
        if let Ok(done) = timeout(SWEEP_EVERY, &mut work).await {
            // What it made is wiped where it is dropped. The folder may be swept already; `startup`
            // looks once more.
            let _ = tokio::task::spawn_blocking(move || drop(done)).await;
            return WeightsError::Interrupted;
        }
        let folder = target.to_owned();
        let swept = tokio::task::spawn_blocking(move || sweep(&folder)).await;
        let swept = swept.map_err(WeightsError::Task).and_then(|swept| swept);
        if Instant::now() >= deadline {
            return swept.err().unwrap_or(WeightsError::Interrupted);
        }
    }
}

impl LoadedWeights {
    fn assertion(
        hardened: Hardened,
        attester: Arc<dyn Attester>,
        held: Held,
        files: Vec<(String, u64)>,
        manifest_digest: [u8; 32],
        reported: ReportedModel,
    ) -> Self {
        Self { hardened, attester, held, files, manifest_digest, reported }
    }

    /// Paths and sizes, in the order of the manifest.
    pub(crate) fn files(&self) -> &[(String, u64)] {
        &self.files
    }

    /// What the S3 endpoint reads from. Blocking.
    ///
    /// # Errors
    /// [`ExposeError::Pool`], [`ExposeError::Opened`].
    pub(crate) fn lend(&mut self, reading: Reading) -> Result<Box<dyn ObjectSource>, ExposeError> {
        let pool_bytes = match reading {
            Reading::OnTheFly { pool_bytes } => pool_bytes,
            Reading::OpenedFiles => 0,
        };
        match std::mem::replace(&mut self.held, Held::Lent) {
            Held::OnDemand(model) => Ok(Box::new(SealedRanges::new(*model, pool_bytes)?)),
            Held::Opened(opened) => {
                let files = OpenedFiles::new(opened.path(), self.files.clone());
                self.held = Held::Opened(opened);
                Ok(Box::new(files.map_err(ExposeError::Opened)?))
            }
            Held::Lent => Err(ExposeError::Opened(std::io::Error::other("they are lent already"))),
        }
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
        match self.held {
            Held::Opened(opened) => opened.wipe().map_err(WeightsError::Wipe),
            // Nothing was written; what was opened was wiped where it was.
            Held::OnDemand(_) | Held::Lent => Ok(()),
        }
    }
}
