//! What can go wrong while sealing and opening, by layer.
//!
//! Each error says which file, what was expected and what was found; [`OpenError::remedy`] and
//! [`SealError::remedy`] say what to do, and [`OpenError::layer`] which check caught it. No error
//! holds a key or plaintext. `Display` prints its own level; the causes are in `source()`.

use std::io;
use std::path::PathBuf;

use crate::chunked::{ChunkError, CommitmentMismatch};
use crate::formats::FormatError;
use crate::header::HeaderError;
use crate::key::{KeyError, KeyId, ModelId};
use crate::manifest::{MacMismatch, ManifestError};
use crate::measure::NotAccepted;
use crate::path::{ModelPath, PathError};
use crate::recipient::RecipientError;
use crate::storage::StorageError;
use crate::target::TargetError;

/// The check that refused, in the order in which a reader makes them. The test vectors name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layer {
    /// The files that hold the sealed model could not be read.
    Storage,
    /// `model.json` is not a manifest of this format within its bounds.
    Manifest,
    /// No recipient for the key, or a recipient that does not open with it.
    Recipient,
    /// The manifest's MAC.
    Mac,
    /// The caller's requirements: name, version, id.
    Requirement,
    /// The target folder.
    Target,
    /// An object's presence, kind and length.
    Object,
    /// An object's header and padding.
    Header,
    /// An object's commitment.
    Commitment,
    /// Object and manifest entry belong together: salt, commitment, digest of the tag table.
    Binding,
    /// A chunk's tag.
    Chunk,
    /// What the plaintext is.
    Format,
    /// What the caller says to the digests of the plaintext.
    Acceptance,
    /// What the caller asked for does not exist.
    Request,
    /// Memory or randomness for keys.
    Key,
}

impl Layer {
    /// The word in vectors, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Storage => "storage",
            Self::Manifest => "manifest",
            Self::Recipient => "recipient",
            Self::Mac => "mac",
            Self::Requirement => "requirement",
            Self::Target => "target",
            Self::Object => "object",
            Self::Header => "header",
            Self::Commitment => "commitment",
            Self::Binding => "binding",
            Self::Chunk => "chunk",
            Self::Format => "format",
            Self::Acceptance => "acceptance",
            Self::Request => "request",
            Self::Key => "key",
        }
    }
}

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why one sealed object was refused.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// Not there.
    #[error("the object is missing")]
    Missing,
    /// Not a regular file: a link, a folder, a device.
    #[error("the object is not a regular file")]
    NotAFile,
    /// Shorter or longer than the authenticated manifest says.
    #[error("the object has {got} bytes; expected {expected}")]
    Length {
        /// What the manifest's size makes.
        expected: u64,
        /// What there is.
        got: u64,
    },
    /// The header is not sound.
    #[error("the header was refused")]
    Header(#[from] HeaderError),
    /// The bytes between ciphertext and tag table are not zero.
    #[error("the padding before the tag table is not zero")]
    Padding,
    /// The header's commitment does not fit key, salt, model and path.
    #[error("the object was not sealed for this model, path and key")]
    Commitment(#[from] CommitmentMismatch),
    /// A sound object, but not the one the manifest lists.
    #[error("the object's {field} differs from the manifest's")]
    NotListed {
        /// What differs: `salt`, `commitment` or `tag table`.
        field: &'static str,
    },
    /// A chunk is not what was sealed at its place.
    #[error("a chunk was refused")]
    Chunk(#[from] ChunkError),
    /// The bytes could not be had.
    #[error("the object could not be read")]
    Storage(#[source] StorageError),
}

impl From<StorageError> for ObjectError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Missing => Self::Missing,
            StorageError::NotAFile => Self::NotAFile,
            other => Self::Storage(other),
        }
    }
}

impl ObjectError {
    fn layer(&self) -> Layer {
        match self {
            Self::Missing | Self::NotAFile | Self::Length { .. } => Layer::Object,
            Self::Header(_) | Self::Padding => Layer::Header,
            Self::Commitment(_) => Layer::Commitment,
            Self::NotListed { .. } => Layer::Binding,
            Self::Chunk(_) => Layer::Chunk,
            Self::Storage(_) => Layer::Storage,
        }
    }
}

/// What the caller required of an authentic manifest, and it is not so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequirementError {
    /// Another model.
    #[error("the sealed model is `{got}`; expected `{expected}`")]
    Name {
        /// The configured name.
        expected: String,
        /// The manifest's.
        got: String,
    },
    /// An older version than may be served: a rollback.
    #[error("the sealed model is version {got}; expected at least {minimum}")]
    Version {
        /// The highest of the configured and the broker's minimum.
        minimum: u64,
        /// The manifest's.
        got: u64,
    },
    /// Another sealing of the model.
    #[error("the sealed model has the id {got}; expected {expected}")]
    ModelId {
        /// The configured id.
        expected: ModelId,
        /// The manifest's.
        got: ModelId,
    },
}

/// Why a sealed model was not opened. After it no plaintext of the model is in the target.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The place or its manifest could not be read.
    #[error("could not {action} `{location}`")]
    Storage {
        /// What was tried.
        action: &'static str,
        /// On what: a path, or a URL without credentials.
        location: String,
        /// What the storage said.
        #[source]
        source: StorageError,
    },
    /// `model.json` was refused before any key was used.
    #[error("the manifest `{location}` was refused")]
    Manifest {
        /// The manifest: a path, or a URL without credentials.
        location: String,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// The manifest lists no recipient for the key.
    #[error("no recipient for `{wanted}`; the model is sealed for {}", list(.listed))]
    NoRecipient {
        /// The key at hand.
        wanted: KeyId,
        /// The keys that would do.
        listed: Vec<KeyId>,
    },
    /// The recipient does not open with the key.
    #[error("the content key was not released by the recipient")]
    Recipient(#[from] RecipientError),
    /// The manifest is not authentic.
    #[error("the manifest is not authentic")]
    Mac(#[from] MacMismatch),
    /// The manifest is authentic, and not the one that is wanted.
    #[error("the sealed model is not the one that is required")]
    Requirement(#[from] RequirementError),
    /// An object was refused.
    #[error("the object of `{path}` was refused")]
    Object {
        /// The plaintext file it holds.
        path: ModelPath,
        /// Why.
        #[source]
        source: ObjectError,
    },
    /// The plaintext is authentic, and not something that may be served.
    #[error("the contents of `{path}` were refused")]
    Format {
        /// The file.
        path: ModelPath,
        /// Why.
        #[source]
        source: FormatError,
    },
    /// The plaintext is authentic, and not what the caller expected by its digests.
    #[error("the contents of the model were not accepted")]
    NotAccepted {
        /// What the caller said.
        #[source]
        source: NotAccepted,
    },
    /// The target folder was refused or failed.
    #[error("the target was refused or failed")]
    Target(#[from] TargetError),
    /// Opening failed, and wiping what had been written failed too.
    #[error("plaintext may be left in the target: wiping failed after another error ({first})")]
    NotWiped {
        /// Why opening failed.
        first: Box<OpenError>,
        /// Why wiping failed.
        #[source]
        source: TargetError,
    },
    /// What was staged belongs to another manifest than the one that was unlocked.
    #[error("the staged model has the manifest {got}; expected {expected}")]
    StagedAnother {
        /// SHA-256 of the unlocked manifest, hexadecimal.
        expected: String,
        /// SHA-256 of the manifest by which it was staged.
        got: String,
    },
    /// The threads that read the sealed model ended without a reason of the storage's.
    #[error("the sealed model was not read to its end")]
    StagingEnded {
        /// What is known.
        #[source]
        source: io::Error,
    },
    /// The manifest lists no such file.
    #[error("the model has no file `{path}`")]
    NoSuchFile {
        /// The path asked for, cut to a readable length.
        path: String,
    },
    /// A range that does not lie in the file.
    #[error(
        "the range of {len} bytes at {offset} does not lie within the {size} bytes of `{path}`"
    )]
    Range {
        /// The file.
        path: ModelPath,
        /// First byte asked for.
        offset: u64,
        /// Bytes asked for.
        len: u64,
        /// Bytes there are.
        size: u64,
    },
    /// No protected memory or randomness for a key.
    #[error("no place for a key")]
    Key(#[from] KeyError),
}

fn list(kids: &[KeyId]) -> String {
    kids.iter().map(|kid| format!("`{kid}`")).collect::<Vec<_>>().join(", ")
}

impl OpenError {
    /// The check that refused.
    pub fn layer(&self) -> Layer {
        match self {
            Self::Storage { .. } => Layer::Storage,
            Self::Manifest { .. } => Layer::Manifest,
            Self::NoRecipient { .. } | Self::Recipient(_) => Layer::Recipient,
            Self::Mac(_) => Layer::Mac,
            Self::Requirement(_) => Layer::Requirement,
            Self::Object { source, .. } => source.layer(),
            Self::Format { .. } => Layer::Format,
            Self::NotAccepted { .. } => Layer::Acceptance,
            Self::Target(_) | Self::NotWiped { .. } => Layer::Target,
            Self::StagingEnded { .. } => Layer::Storage,
            Self::NoSuchFile { .. } | Self::Range { .. } | Self::StagedAnother { .. } => {
                Layer::Request
            }
            Self::Key(_) => Layer::Key,
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Storage { source, .. } => source.remedy(),
            Self::Manifest { source, .. } => source.remedy(),
            Self::NoRecipient { .. } => {
                "ask for one of the listed keys, or add a recipient for this key to the manifest"
            }
            Self::Recipient(RecipientError::Key(source)) | Self::Key(source) => source.remedy(),
            Self::Recipient(_) => {
                "the broker's key has this name but other bytes, or the manifest was edited; \
                 fetch the sealed model again and compare the key's epoch"
            }
            Self::Mac(_) => "the manifest was edited after sealing; fetch the sealed model again",
            Self::Requirement(RequirementError::Version { .. }) => {
                "fetch the current version; an older one is refused because that is how a rollback looks"
            }
            Self::Requirement(_) => {
                "point the configuration at the right model, or correct the required name or id"
            }
            Self::Object { source, .. } => match source {
                ObjectError::Storage(source) => source.remedy(),
                _ => "the object was damaged or exchanged in storage; fetch the sealed model again",
            },
            Self::Format { source, .. } => source.remedy(),
            Self::NotAccepted { .. } => "see the cause",
            Self::Target(source) => source.remedy(),
            Self::NotWiped { .. } => "restart the pod: that gives the memory back",
            Self::StagedAnother { .. } => "stage the model that is to be opened, and nothing else",
            Self::StagingEnded { .. } => "see the cause; opening may be tried again",
            Self::NoSuchFile { .. } => "list the files of the manifest",
            Self::Range { .. } => "ask for a range within the file",
        }
    }
}

/// Why a model was not sealed. After it the output folder is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A file or folder could not be read or written.
    #[error("could not {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The source holds something that is neither a file nor a folder.
    #[error("`{path}` is {kind}; expected regular files and folders only")]
    NotAFile {
        /// Which.
        path: PathBuf,
        /// What it is instead.
        kind: &'static str,
    },
    /// The source folder has no files.
    #[error("`{path}` holds no files")]
    Empty {
        /// The source.
        path: PathBuf,
    },
    /// A name in the source breaks a rule of the format.
    #[error("a file of the source cannot be named in a sealed model")]
    Path(#[from] PathError),
    /// A file of the source is something that is not sealed.
    #[error("`{path}` was refused")]
    Format {
        /// The file.
        path: ModelPath,
        /// Why.
        #[source]
        source: FormatError,
    },
    /// A file changed while it was being sealed.
    #[error("`{path}` changed while it was being sealed")]
    SourceChanged {
        /// The file.
        path: ModelPath,
    },
    /// The output is not empty.
    #[error("`{path}` exists and is not an empty folder")]
    OutputExists {
        /// The output.
        path: PathBuf,
    },
    /// The output lies in the source or the other way round.
    #[error("the output `{out}` and the source `{source_folder}` lie within each other")]
    Overlap {
        /// The source.
        source_folder: PathBuf,
        /// The output.
        out: PathBuf,
    },
    /// The manifest would break a rule of the format.
    #[error("the manifest would be refused")]
    Manifest(#[from] ManifestError),
    /// A recipient was not made for this job's content key and model id.
    #[error("there are no recipients; nobody could open the model")]
    NoRecipients,
    /// A chunk could not be sealed: the file is larger than the construction allows.
    #[error("a chunk of `{path}` could not be sealed")]
    Chunk {
        /// The file.
        path: ModelPath,
        /// Which chunk.
        #[source]
        source: ChunkError,
    },
    /// No protected memory or randomness for a key.
    #[error("no place for a key")]
    Key(#[from] KeyError),
}

impl SealError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Io { .. } => {
                "make the source readable and the folder above the output writable, with room for the model"
            }
            Self::NotAFile { .. } => {
                "copy the model with links resolved (`cp -rL`) and seal the copy"
            }
            Self::Empty { .. } => "name the folder that holds the model's files",
            Self::Path(source) => source.remedy(),
            Self::Format { source, .. } => source.remedy(),
            Self::SourceChanged { .. } => "seal again when nobody writes to the source",
            Self::OutputExists { .. } => "name a new folder, or remove the old one first",
            Self::Overlap { .. } => "name an output beside the source",
            Self::Manifest(source) => source.remedy(),
            Self::NoRecipients => "create a model key in the broker and make a recipient for it",
            Self::Chunk { .. } => "split the file; at most 4 PiB fit into one",
            Self::Key(source) => source.remedy(),
        }
    }
}
