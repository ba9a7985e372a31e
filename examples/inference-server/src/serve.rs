//! From options to a server that ends on a signal: bind, tell, load, serve, drain.
//!
//! The socket is bound before the model is there, so that whoever starts both this server and the
//! sidecar can tell the one where the other is. Until the model is loaded every answer is 503.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::api::Api;
use crate::engine::{Engine, EngineError};
use crate::folder::{FolderError, ModelFolder};
use crate::limits::DRAIN;
use crate::listen::{Bound, ListenError, Reach};
use crate::options::Options;

/// Why the server ended other than by a signal.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket could not be bound.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The folder did not appear.
    #[error("{} did not appear within {seconds} s; is the sidecar ready? raise --wait-seconds", path.display())]
    NoModel {
        /// The folder.
        path: PathBuf,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The folder's content is not served.
    #[error("the model in {} is not served", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<FolderError>,
    },
    /// The model could not be built.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The model's name cannot be told from the folder.
    #[error("{} has no last part to name the model after; add --model-name", .0.display())]
    NoName(PathBuf),
    /// A file or socket of ours failed.
    #[error("{what}")]
    Io {
        /// What was done.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl ServeError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Listen(ListenError::NotLoopback(_)) | Self::NoName(_) => 2,
            Self::NoModel { .. } | Self::Folder { .. } => 30,
            Self::Listen(_) | Self::Engine(_) | Self::Io { .. } => 1,
        }
    }
}

/// Serves until SIGTERM or SIGINT, then lets running answers finish within [`DRAIN`].
///
/// # Errors
/// In the order of the steps: name, socket, ready file, model.
pub async fn serve(options: Options) -> Result<(), ServeError> {
    // Signals first: one that comes while the model is loaded must end the server as well.
    let mut stopped = stop_signal()?;
    let name = model_name(&options)?;
    let reach = if options.allow_non_loopback { Reach::Anywhere } else { Reach::Loopback };
    let bound = Bound::to(&options.listen, reach).await?;
    let url =
        bound.url().map_err(|source| ServeError::Io { what: "cannot tell the address", source })?;
    if let Some(path) = &options.ready_file {
        write_ready_file(path, &url)
            .map_err(|source| ServeError::Io { what: "cannot write the ready file", source })?;
    }
    tracing::info!(url, model = name, "listening");

    let api = Api::new(name, options.concurrency.into());
    let socket = match &bound {
        Bound::Unix(_, path) => Some(path.clone()),
        Bound::Tcp(_) => None,
    };
    let http = http(bound, api.clone(), stopped.clone());
    let load = load(&options, &api, stopped.clone());
    let ended = tokio::select! {
        ended = async { tokio::try_join!(http, load).map(|_| ()) } => ended,
        () = drained(&mut stopped) => Ok(()),
    };
    if let Some(path) = socket {
        // Gone already, perhaps; the next server replaces it anyway.
        let _ = fs::remove_file(path);
    }
    tracing::info!("stopped");
    ended
}

async fn http(
    bound: Bound,
    api: Api,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), ServeError> {
    let router = api.router();
    let until = async move {
        // An error means that the signal handler is gone: then stopping is right too.
        let _ = stopped.wait_for(|stopped| *stopped).await;
        tracing::info!("draining");
    };
    let served = match bound {
        Bound::Tcp(listener) => axum::serve(listener, router).with_graceful_shutdown(until).await,
        Bound::Unix(listener, _) => {
            axum::serve(listener, router).with_graceful_shutdown(until).await
        }
    };
    served.map_err(|source| ServeError::Io { what: "the listener failed", source })
}

/// Waits for the folder and puts its model in place. The folder is complete when it appears: the
/// sidecar renames it into place as its last step.
async fn load(
    options: &Options,
    api: &Api,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), ServeError> {
    let path = options.model.clone();
    let until = Instant::now() + Duration::from_secs(options.wait_seconds);
    while !path.join("config.json").exists() {
        // A folder without the file is malformed, not late, when nobody asked to wait.
        if Instant::now() >= until {
            if path.is_dir() {
                break;
            }
            return Err(ServeError::NoModel { path, seconds: options.wait_seconds });
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
        }
    }
    let began = Instant::now();
    let api = api.clone();
    let loading = tokio::task::spawn_blocking(move || {
        let folder = ModelFolder::read(&path)
            .map_err(|source| ServeError::Folder { path, source: Box::new(source) })?;
        api.serve_model(Engine::new(folder)?);
        Ok(())
    });
    loading.await.unwrap_or_else(|broken| {
        Err(ServeError::Io { what: "loading broke off", source: broken.into() })
    })?;
    tracing::info!(milliseconds = began.elapsed().as_millis() as u64, "model loaded");
    Ok(())
}

/// Ends [`DRAIN`] after the signal, for answers that do not end by themselves.
async fn drained(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
    tokio::time::sleep(DRAIN).await;
    tracing::warn!("some answers did not finish in time and were cut off");
}

fn stop_signal() -> Result<watch::Receiver<bool>, ServeError> {
    let handler = |kind| {
        signal(kind).map_err(|source| ServeError::Io { what: "cannot handle signals", source })
    };
    let (mut terminate, mut interrupt) =
        (handler(SignalKind::terminate())?, handler(SignalKind::interrupt())?);
    let (sender, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        sender.send_replace(true);
        sender.closed().await;
    });
    Ok(stopped)
}

fn model_name(options: &Options) -> Result<String, ServeError> {
    if let Some(name) = &options.model_name {
        return Ok(name.clone());
    }
    let name =
        options.model.file_name().ok_or_else(|| ServeError::NoName(options.model.clone()))?;
    Ok(name.to_string_lossy().into_owned())
}

/// Written beside and renamed, so that a reader never sees half of it.
fn write_ready_file(path: &Path, url: &str) -> io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    fs::write(&part, serde_json::json!({ "url": url }).to_string())?;
    fs::rename(&part, path)
}
