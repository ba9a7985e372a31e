//! The ladder from a started process to an open port, and down again.
//!
//! ```text
//! 0 Config      main                      every mistake reported before anything is bound
//! 1 Hardened    hygiene::harden           (main, before the first thread)
//! 2 SealedModel weights::load             an allegation; says which key to ask for
//! 3 Attested    release::attest           phase attesting
//! 4 Released    Attested::release         phase key-released
//! 5 Unlocked    weights::unlock           manifest authentic, not a rollback
//! 6 LoadedWeights Unlocked::open          phase opening
//! 7 Ready       Ready::new
//! 8 Drained     proxy::serve              phases ready, draining
//! 9 (nothing)   Drained::wipe             phase wiped
//! ```
//! Each step takes the last one's proof by value. A refusal at any step, and SIGTERM at any step,
//! end in step 9: no plaintext is left in the target.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::admin::{Admin, AdminError, View};
use crate::config::Config;
use crate::error::SidecarError;
use crate::hygiene::Hardened;
use crate::metrics::Metrics;
use crate::phase::{Phase, PhaseBoard};
use crate::proxy::{self, Terms};
use crate::ready::Ready;
use crate::ready_file::ReadyFile;
use crate::release::{self, Kbc, Watchers};
use crate::shutdown::Shutdown;
use crate::upstream::Upstream;
use crate::weights::{self, Unlocked, WeightsError};

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
    let unlocked = tokio::select! {
        biased;
        unlocked = unlock(&config, hardened, &watchers) => Some(unlocked),
        () = shutdown.requested() => None,
    };
    let outcome = match unlocked {
        Some(Ok(unlocked)) => {
            let stage = Stage { config, upstream, metrics, shutdown, ready_file };
            stage.open_and_serve(unlocked, &board).await
        }
        Some(Err(error)) => Err(error),
        None => Ok(()),
    };
    if let Err(SidecarError::Weights(error)) = &outcome
        && weights::is_busy(error)
    {
        // What lies there is another sidecar's, and being served.
        return outcome;
    }
    let wiped = wipe(&target).await;
    match &wiped {
        Ok(()) => board.enter(Phase::Wiped),
        // Said here, because an earlier refusal would hide it from the caller.
        Err(error) if outcome.is_err() => crate::error::report(error),
        Err(_) => {}
    }
    outcome.and(wiped)
}

/// Steps 2 to 5. Nothing confidential is in the target yet, so it may be broken off anywhere.
async fn unlock(
    config: &Config,
    hardened: Hardened,
    watchers: &Watchers,
) -> Result<Unlocked, SidecarError> {
    // 2. What is there to open, and with whose key?
    let model = config.model.clone();
    let (sealed, kid) = blocking(move || {
        weights::remove_leftovers(&model.target)?;
        let sealed = weights::load(&model)?;
        let kid = weights::choose_key(&sealed, &model.key)?;
        Ok((sealed, kid))
    })
    .await?;
    // 3. Show the broker who we are.
    let attester = release::find_attester(config.attester.clone()).await?;
    let kbc = Kbc::new(config.broker.clone())?;
    let attested = release::attest(hardened, attester, &kbc, watchers).await?;
    // 4. Get the key.
    let released = attested.release(&kid, &kbc, watchers).await?;
    watchers.board.enter(Phase::KeyReleased);
    // 5. Is the manifest what its owner sealed?
    let model = config.model.clone();
    blocking(move || weights::unlock(&sealed, released, &model)).await
}

/// What the upper half of the ladder stands on.
struct Stage {
    config: Config,
    upstream: Upstream,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    ready_file: Option<ReadyFile>,
}

impl Stage {
    /// Steps 6 to 8, and the orderly half of 9.
    async fn open_and_serve(
        self,
        unlocked: Unlocked,
        board: &Arc<PhaseBoard>,
    ) -> Result<(), SidecarError> {
        let Self { config, upstream, metrics, shutdown, mut ready_file } = self;
        // 6. Open it into memory.
        let loaded = match unlocked.open(&config.model, config.swap, board, &shutdown).await {
            Ok(loaded) => loaded,
            Err(WeightsError::Interrupted) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        // 7. Nothing stands against serving.
        let ready = Ready::new(loaded, &config, Arc::clone(board));
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
