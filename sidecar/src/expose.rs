//! How the inference server gets the weights: as files, which needs nothing more, or over S3.
//!
//! ```text
//!  LoadedWeights ─ expose ─► Exposed ─ Ready::new ─► …          Exposed ─ wipe ─► nothing
//! ```
//! In: [`LoadedWeights`]. Out: [`Exposed`], without which there is no [`Ready`](crate::ready::Ready). It ends in the
//! other order: first the endpoint stops, then the plaintext under it is wiped. The endpoint itself is
//! [`adyton_s3_exposure`]'s. Against: weights that are served while they are wiped; credentials that outlive them.

use std::sync::Arc;

use adyton_s3_exposure::catalogue::CatalogueError;
use adyton_s3_exposure::client_files::ClientFilesError;
use adyton_s3_exposure::signature::{CredentialsError, UnixSeconds};
use adyton_s3_exposure::socket::ListenError;
use adyton_s3_exposure::source::PoolError;
use adyton_s3_exposure::{
    Answered, Catalogue, ClientFiles, Credentials, Exposure, Listener, Observer, Stopped,
};

use crate::config::{ExposeConfig, S3Config};
use crate::error::{Exit, Refusal, chain};
use crate::metrics::Metrics;
use crate::weights::{LoadedWeights, WeightsError};

/// Weights that the inference server can read.
pub struct Exposed {
    // Dropped first: nobody reads what is being wiped.
    endpoint: Running,
    weights: LoadedWeights,
}

/// What runs beside the files.
enum Running {
    /// Nothing: the files are all there is.
    Files,
    /// The S3 endpoint, and what its clients were handed.
    S3 { exposure: Exposure, client_files: ClientFiles },
}

/// Why the weights could not be exposed.
#[derive(Debug, thiserror::Error)]
pub enum ExposeError {
    /// The bucket or its prefix.
    #[error("the bucket cannot be shown")]
    Catalogue(#[from] CatalogueError),
    /// The socket.
    #[error("the S3 endpoint cannot listen")]
    Listen(#[from] ListenError),
    /// Locked memory for opened blocks.
    #[error("there is no memory for opened blocks")]
    Pool(#[from] PoolError),
    /// The opened files.
    #[error("the opened files cannot be read")]
    Opened(#[source] std::io::Error),
    /// The pair of keys.
    #[error("no credentials could be made")]
    Credentials(#[from] CredentialsError),
    /// The files that clients are handed.
    #[error("the credentials cannot be handed over")]
    ClientFiles(#[from] ClientFilesError),
    /// The accepting thread.
    #[error("the S3 endpoint cannot be started")]
    Start(#[source] std::io::Error),
    /// The blocking task ended badly.
    #[error("the task that exposes the weights ended badly")]
    Task(#[source] tokio::task::JoinError),
}

impl ExposeError {
    /// For the person who must mend it.
    pub fn refusal(&self) -> Refusal {
        let (code, expected, remedy, exit) = match self {
            Self::Catalogue(_) => (
                "expose.bucket",
                "a bucket and a prefix that S3 clients take",
                "correct expose.bucket and expose.prefix",
                Exit::Usage,
            ),
            Self::Listen(_) => (
                "expose.listen",
                "a free loopback port, or a path for a Unix socket",
                "choose another expose.listen, or end who has it",
                Exit::Internal,
            ),
            Self::Pool(_) => (
                "expose.pool",
                "locked memory of expose.pool_mib",
                "raise RLIMIT_MEMLOCK of this container, or lower expose.pool_mib",
                Exit::Unsupported,
            ),
            Self::Credentials(_) => (
                "expose.credentials",
                "randomness and locked memory for a pair of keys",
                "raise RLIMIT_MEMLOCK of this container by 64 KiB",
                Exit::Internal,
            ),
            Self::ClientFiles(_) => (
                "expose.client-folder",
                "a folder that this user can write to",
                "give expose.client_folder to this user",
                Exit::Usage,
            ),
            Self::Opened(_) | Self::Start(_) | Self::Task(_) => (
                "expose.internal",
                "threads and file descriptors",
                "look at the limits on threads and file descriptors of this container",
                Exit::Internal,
            ),
        };
        Refusal {
            code,
            step: "expose",
            value: chain(self),
            expected: expected.to_owned(),
            remedy: remedy.to_owned(),
            decision: None,
            codes: Vec::new(),
            exit,
        }
    }
}

/// Exposes loaded weights as the configuration says. On an error nothing listens, and the weights are wiped.
///
/// # Errors
/// [`ExposeError`]
pub async fn expose(
    weights: LoadedWeights,
    config: &ExposeConfig,
    metrics: &Arc<Metrics>,
) -> Result<Exposed, ExposeError> {
    let config = match config {
        ExposeConfig::Files => return Ok(Exposed::assertion(weights, Running::Files)),
        ExposeConfig::S3(config) => config.clone(),
    };
    let metrics = Arc::clone(metrics);
    let starting = tokio::task::spawn_blocking(move || start(weights, &config, metrics));
    starting.await.map_err(ExposeError::Task)?
}

fn start(
    mut weights: LoadedWeights,
    config: &S3Config,
    metrics: Arc<Metrics>,
) -> Result<Exposed, ExposeError> {
    let files = weights.files().to_vec();
    let files = files.iter().map(|(path, size)| (path.as_str(), *size));
    let digest = weights.manifest_digest();
    let catalogue =
        Catalogue::new(&config.bucket, &config.prefix, files, &digest, UnixSeconds::now())?;
    let listener = Listener::bind(config.listen.clone())?;
    let source = weights.lend(config.reading)?;
    let credentials = Arc::new(Credentials::generate()?);
    let bound = listener.endpoint().clone();
    let url = match config.prefix.as_str() {
        "" => format!("s3://{}/", config.bucket),
        prefix => format!("s3://{}/{prefix}/", config.bucket),
    };
    let observer = Arc::new(Watching(metrics));
    let exposure = Exposure::start(listener, catalogue, source, Arc::clone(&credentials), observer)
        .map_err(ExposeError::Start)?;
    // Last: who finds the files finds an endpoint that answers.
    let folder = &config.client_folder;
    let client_files = ClientFiles::write(folder, config.readers, &credentials, &bound, &url)?;
    tracing::info!(
        endpoint = %bound,
        model = url,
        client_folder = %folder.display(),
        "weights are served over S3"
    );
    Ok(Exposed::assertion(weights, Running::S3 { exposure, client_files }))
}

impl Exposed {
    fn assertion(weights: LoadedWeights, endpoint: Running) -> Self {
        Self { weights, endpoint }
    }

    pub(crate) fn weights(&self) -> &LoadedWeights {
        &self.weights
    }

    /// Stops the endpoint, then overwrites and removes the plaintext. Blocking.
    ///
    /// # Errors
    /// [`WeightsError::Wipe`]
    pub fn wipe(self) -> Result<(), WeightsError> {
        match self.endpoint {
            Running::Files => {}
            Running::S3 { exposure, client_files } => {
                drop(client_files);
                if let Stopped::StillReading { connections } = exposure.stop() {
                    tracing::warn!(
                        connections,
                        "storage does not answer; its readers end with the process"
                    );
                }
            }
        }
        self.weights.wipe()
    }
}

/// Counts answers, and tells the operator what clients are not told.
struct Watching(Arc<Metrics>);

impl Observer for Watching {
    fn answered(&self, answered: &Answered) {
        let code = answered.code.unwrap_or("ok");
        self.0.s3_answer(answered.operation, answered.status, code, answered.bytes);
        match (&answered.fault, answered.code) {
            (Some(fault), _) => tracing::error!(
                operation = answered.operation,
                fault = chain(fault),
                "a part of the model cannot be served"
            ),
            (None, Some(code)) => tracing::debug!(
                operation = answered.operation,
                status = answered.status,
                code,
                "an S3 request was refused"
            ),
            (None, None) => {}
        }
    }
}
