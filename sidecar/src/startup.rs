//! The ladder from a started process to an open port, and down again.
//!
//! ```text
//! 0 Config      main                      every mistake reported before anything is bound
//! 1 Hardened    hygiene::harden           (main, before the first thread)
//! 2 Staging     Staging::begin            an allegation; says which key to ask for, is read meanwhile
//! 3 Attested    release::attest           phase attesting
//! 4 Released    Attested::release         phase key-released
//! 5 Unlocked    weights::unlock           manifest authentic, not a rollback
//! 6 LoadedWeights Unlocked::open(Staging) phase opening
//! 7 Exposed     expose::expose            the S3 endpoint, if any, answers
//!   Ready       Ready::new
//! 8 Drained     proxy::serve              phases ready, draining
//! 9 (nothing)   Drained::wipe             phase wiped
//! ```
//! Each step takes the last one's proof by value. A refusal at any step, and SIGTERM at any step,
//! end in step 9: no plaintext is left in the target.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::admin::{Admin, AdminError, View};
use crate::config::{Config, StoreCredentials};
use crate::error::SidecarError;
use crate::expose;
use crate::hygiene::Hardened;
use crate::metrics::Metrics;
use crate::phase::{Phase, PhaseBoard};
use crate::proxy::{self, Terms};
use crate::ready::Ready;
use crate::ready_file::ReadyFile;
use crate::release::{self, Attested, Kbc, Watchers};
use crate::shutdown::Shutdown;
use crate::upstream::Upstream;
use crate::weights::{self, FromBroker, Staging, Unlocked, WeightsError};

/// Runs the sidecar to its end. `Ok` after SIGTERM or SIGINT, with everything wiped.
///
/// # Errors
/// [`SidecarError`]: why the ladder could not be climbed; everything is wiped then, too.
pub async fn run(
    config: Config,
    hardened: Hardened,
    ready_file: Option<PathBuf>,
) -> Result<(), SidecarError> {
    let shutdown = Shutdown::on_signals().map_err(SidecarError::Process)?;
    let insecure = config.insecure();
    for setting in &insecure {
        tracing::warn!(setting, "a setting that weakens security is on");
    }
    let metrics = Metrics::new(&insecure);
    let board = Arc::new(PhaseBoard::default());
    let upstream = Upstream::new(config.upstream.clone());

    let admin = Admin::bind(config.admin_listen).await?;
    let admin_address = admin.address();
    tokio::spawn(admin.serve(View {
        board: Arc::clone(&board),
        upstream: upstream.clone(),
        metrics: Arc::clone(&metrics),
        protections: hardened.protections().clone(),
        insecure,
    }));
    tokio::spawn(upstream.clone().watch());
    tracing::info!(
        admin = %admin_address,
        config_digest = hex::encode(config.digest()),
        config = %config.effective(),
        "started"
    );
    let ready_file = ready_file
        .map(|path| ReadyFile::begin(&path, admin_address))
        .transpose()
        .map_err(AdminError::ReadyFile)?;

    let target = config.model.target.clone();
    let watchers = Watchers { board: Arc::clone(&board), metrics: Arc::clone(&metrics) };
    let standing = tokio::select! {
        biased;
        standing = store_credentials(&config, hardened, &watchers) => standing?,
        () = shutdown.requested() => return Ok(()),
    };
    let (standing, credentials) = standing;
    // 2. What is there to open, is there room, and with whose key? Reading begins.
    let begun = Staging::begin(&config.model, credentials, config.swap, &board, &shutdown).await;
    let staging = match begun {
        Ok(staging) => staging,
        // Nothing of ours is in the target; what is there may be another sidecar's, and being served.
        Err(WeightsError::Interrupted) => return Ok(()),
        Err(refusal) => return Err(refusal.into()),
    };
    let ladder = Ladder { config, upstream, metrics, shutdown, ready_file };
    let outcome = match ladder.climb(standing, staging, &watchers).await {
        Err(SidecarError::Weights(WeightsError::Interrupted)) => Ok(()),
        outcome => outcome,
    };
    let wiped = wipe(&target).await;
    match &wiped {
        Ok(()) => board.enter(Phase::Wiped),
        // Said here, because an earlier refusal would hide it from the caller.
        Err(error) if outcome.is_err() => crate::error::report(error),
        Err(_) => {}
    }
    outcome.and(wiped)
}

/// What the ladder stands on.
struct Ladder {
    config: Config,
    upstream: Upstream,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    ready_file: Option<ReadyFile>,
}

impl Ladder {
    async fn climb(
        self,
        standing: Standing,
        staging: Staging,
        watchers: &Watchers,
    ) -> Result<(), SidecarError> {
        let Self { config, shutdown, .. } = &self;
        // 3 to 5 may be broken off anywhere: nothing confidential is in the target yet.
        let unlocked = tokio::select! {
            biased;
            unlocked = unlock(config, standing, &staging, watchers) => unlocked,
            () = shutdown.requested() => Err(WeightsError::Interrupted.into()),
        };
        let unlocked = match unlocked {
            Ok(unlocked) => unlocked,
            Err(refusal) => {
                // Whatever cannot be removed is found, and told, in step 9.
                let _ = staging.discard(&watchers.board).await;
                return Err(refusal);
            }
        };
        self.open_and_serve(unlocked, staging, &watchers.board).await
    }

    /// Steps 6 to 8, and the orderly half of 9.
    async fn open_and_serve(
        self,
        unlocked: Unlocked,
        staging: Staging,
        board: &Arc<PhaseBoard>,
    ) -> Result<(), SidecarError> {
        let Self { config, upstream, metrics, shutdown, mut ready_file } = self;
        // 6. Open it where it was staged.
        let loaded = unlocked.open(staging, &config.model, board, &shutdown).await?;
        // 7. Let the inference server read it. Nothing stands against serving then.
        let exposed = expose::expose(loaded, &config.expose, &metrics).await?;
        let ready = Ready::new(exposed, &config, Arc::clone(board));
        // 8. Serve until told to end.
        let terms = Terms { tls: config.tls, clients: config.clients, limits: config.limits };
        let tell = |address: SocketAddr| {
            if let Some(file) = &mut ready_file
                && let Err(error) = file.serving(address)
            {
                tracing::warn!(%error, "the ready file cannot be written");
            }
        };
        let served =
            proxy::serve(config.listen, ready, upstream, terms, metrics, shutdown, tell).await;
        let (outcome, drained) = match served {
            Ok(drained) => (Ok(()), drained),
            Err((error, drained)) => (Err(error.into()), drained),
        };
        // 9. And leave nothing.
        let wiped = blocking(move || drained.wipe()).await;
        outcome.and(wiped)
    }
}

/// How far the ladder was climbed when the model is looked for.
enum Standing {
    Hardened(Hardened),
    /// The broker was shown Evidence already, for the store's credentials.
    Attested(Attested),
}

/// Step 3 before step 2, where the place of the model wants credentials that the broker holds.
async fn store_credentials(
    config: &Config,
    hardened: Hardened,
    watchers: &Watchers,
) -> Result<(Standing, FromBroker), SidecarError> {
    match &config.model.store.credentials {
        StoreCredentials::Nobody | StoreCredentials::File(_) => {
            Ok((Standing::Hardened(hardened), FromBroker::NotAskedFor))
        }
        StoreCredentials::Broker(resource) => {
            // What a crash left does not wait for a broker.
            let target = config.model.target.clone();
            blocking(move || weights::remove_leftovers(&target)).await?;
            let (attested, kbc) = attest(config, hardened, watchers).await?;
            let credentials = attested.store_credentials(resource, &kbc, watchers).await?;
            Ok((Standing::Attested(attested), FromBroker::Released(Arc::new(credentials))))
        }
    }
}

async fn attest(
    config: &Config,
    hardened: Hardened,
    watchers: &Watchers,
) -> Result<(Attested, Kbc), SidecarError> {
    let attester = release::find_attester(config.attester.clone()).await?;
    let kbc = Kbc::new(config.broker.clone())?;
    Ok((release::attest(hardened, attester, &kbc, watchers).await?, kbc))
}

/// Steps 3 to 5.
async fn unlock(
    config: &Config,
    standing: Standing,
    staging: &Staging,
    watchers: &Watchers,
) -> Result<Unlocked, SidecarError> {
    // 3. Show the broker who we are.
    let (attested, kbc) = match standing {
        Standing::Hardened(hardened) => attest(config, hardened, watchers).await?,
        Standing::Attested(attested) => (attested, Kbc::new(config.broker.clone())?),
    };
    // 4. Get the key.
    let released = attested.release(staging.kid(), &kbc, watchers).await?;
    watchers.board.enter(Phase::KeyReleased);
    // 5. Is the manifest what its owner sealed?
    Ok(weights::unlock(staging, released, &config.model).await?)
}

/// Step 9 from wherever the ladder ended. An opening that was broken off may still hold the target;
/// then it is swept all the same.
async fn wipe(target: &Path) -> Result<(), SidecarError> {
    let target = target.to_owned();
    blocking(move || match weights::remove_leftovers(&target) {
        Err(error) if weights::is_busy(&error) => weights::sweep(&target),
        outcome => outcome,
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, WeightsError> + Send + 'static,
) -> Result<T, SidecarError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(WeightsError::Task)??)
}
