//! Why there is no plaintext, or why it could not be removed.

use std::path::PathBuf;

use adyton_model_store::{CredentialsError, StoreError};
use adyton_sealed_weights::{Layer, ObjectError, OpenError, StorageError, TargetError};

use crate::error::{Exit, Refusal, chain};

/// What can go wrong with the weights.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The manifest lists no recipient for the key that is configured.
    #[error("the manifest has no recipient for {wanted}; it has {}", .listed.join(", "))]
    NoRecipient {
        /// The configured key.
        wanted: String,
        /// The recipients that are there.
        listed: Vec<String>,
    },
    /// The place of the sealed model cannot be asked at all.
    #[error("the place of the sealed model cannot be used")]
    Store(#[source] StoreError),
    /// The file of the store's credentials cannot be read.
    #[error("{} cannot be read", path.display())]
    CredentialsFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The store's credentials are none.
    #[error("the store's credentials cannot be used")]
    Credentials(#[source] CredentialsError),
    /// The sealed model was refused, or the target was.
    #[error("the sealed model was refused in layer {}", .0.layer())]
    Open(#[source] OpenError),
    /// The opening thread ended badly.
    #[error("the opening thread ended badly")]
    Task(#[source] tokio::task::JoinError),
    /// The process was asked to end before the weights were open.
    #[error("the opening was broken off")]
    Interrupted,
    /// Plaintext may be left.
    #[error("plaintext could not be removed")]
    Wipe(#[source] TargetError),
}

impl WeightsError {
    /// For the person who must mend it.
    pub fn refusal(&self) -> Refusal {
        let (code, step, expected, remedy, exit) = match self {
            Self::NoRecipient { .. } => (
                "weights.no-recipient",
                "unlock",
                "a recipient for model.key",
                "correct model.key, or add a recipient for this key to the sealed model",
                Exit::IntegrityFailure,
            ),
            Self::Store(error) => (
                "weights.store",
                "source",
                "a place that can be asked with the settings of [model.store]",
                error.remedy(),
                Exit::Usage,
            ),
            Self::CredentialsFile { .. } => (
                "weights.credentials-file",
                "source",
                "a readable file of `name = value` lines",
                "correct model.store.credentials_file, or its mode",
                Exit::Usage,
            ),
            Self::Credentials(error) => (
                "weights.credentials",
                "source",
                "`name = value` lines that the store understands",
                error.remedy(),
                Exit::Usage,
            ),
            Self::Open(error) => opening(error),
            Self::Task(_) => (
                "weights.task",
                "open",
                "threads that run to their end",
                "look at the container's memory and process limits",
                Exit::Internal,
            ),
            Self::Interrupted => (
                "weights.interrupted",
                "open",
                "time to open the weights",
                "start the sidecar again",
                Exit::Internal,
            ),
            Self::Wipe(error) => {
                ("weights.wipe", "wipe", "an empty target", error.remedy(), Exit::Internal)
            }
        };
        Refusal {
            code,
            step,
            value: chain(self),
            expected: expected.to_owned(),
            remedy: remedy.to_owned(),
            decision: None,
            codes: Vec::new(),
            exit,
        }
    }
}

type Row = (&'static str, &'static str, &'static str, &'static str, Exit);

/// Whose fault it is that bytes could not be had.
fn storage(error: &OpenError) -> (&'static str, &'static str, &'static str, Exit) {
    let cause = match error {
        OpenError::Storage { source, .. }
        | OpenError::Object { source: ObjectError::Storage(source), .. } => Some(source),
        _ => None,
    };
    match cause {
        Some(StorageError::Unavailable { .. }) => {
            ("weights.store-unavailable", "load", "a store that answers soundly", Exit::Internal)
        }
        Some(StorageError::Refused { .. }) => {
            ("weights.store-refused", "load", "a store that lets us read the model", Exit::Usage)
        }
        Some(StorageError::Changed) => (
            "weights.store-changed",
            "load",
            "objects that stay what they are while they are read",
            Exit::IntegrityFailure,
        ),
        _ => ("weights.storage", "load", "readable files", Exit::Usage),
    }
}

fn opening(error: &OpenError) -> Row {
    let remedy = error.remedy();
    let (code, step, expected, exit) = match error.layer() {
        Layer::Storage => storage(error),
        Layer::Manifest => (
            "weights.manifest-malformed",
            "load",
            "a manifest of sealed models, version 1",
            Exit::MalformedInput,
        ),
        Layer::Recipient => (
            "weights.recipient",
            "unlock",
            "a recipient that opens with the released key",
            Exit::IntegrityFailure,
        ),
        Layer::Mac => (
            "weights.manifest-not-authentic",
            "unlock",
            "the manifest as it was sealed",
            Exit::IntegrityFailure,
        ),
        Layer::Requirement => (
            "weights.not-the-required-model",
            "unlock",
            "the model's configured name, and at least the minimum version",
            Exit::IntegrityFailure,
        ),
        Layer::Target => (
            "weights.target",
            "open",
            "a memory-backed folder with room, ours alone",
            match error {
                OpenError::Target(TargetError::NotMemoryBacked { .. }) => Exit::Usage,
                OpenError::Target(_) => Exit::Unsupported,
                _ => Exit::Internal,
            },
        ),
        Layer::Object | Layer::Header | Layer::Commitment | Layer::Binding | Layer::Chunk => (
            "weights.object-not-authentic",
            "open",
            "every object as it was sealed",
            Exit::IntegrityFailure,
        ),
        Layer::Format => (
            "weights.format",
            "open",
            "files that do not run code when loaded",
            Exit::IntegrityFailure,
        ),
        Layer::Acceptance => (
            "weights.other-than-signed",
            "open",
            "exactly the files that were signed",
            Exit::IntegrityFailure,
        ),
        Layer::Request | Layer::Key => {
            ("weights.internal", "open", "memory and randomness for keys", Exit::Internal)
        }
    };
    (code, step, expected, remedy, exit)
}
