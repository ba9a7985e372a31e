//! Where plaintext may go: a memory-backed folder with room, used by one opener at a time.
//!
//! In: a path from the configuration. Out: facts ([`TargetCheck`]) and a decision
//! ([`TargetPolicy`], [`SwapPolicy`]), made before a byte of plaintext is written; and the wiping
//! of everything that was.
//!
//! Against: a host that mounts a disk where memory was asked for, swap, a half-opened model left
//! behind by a crash, symbolic links planted in the target.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Which file systems may receive plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetPolicy {
    /// tmpfs and ramfs only.
    #[default]
    MemoryBackedOnly,
    /// Any: plaintext may reach a disk. For tests.
    InsecureAnyFilesystem,
}

/// What active swap means for the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SwapPolicy {
    /// Swap that could take pages of the target is a refusal.
    #[default]
    Refuse,
    /// Plaintext may reach a swap device.
    InsecureAllow,
}

/// Why a target was refused, or could not be wiped.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The file system is not in memory.
    #[error(
        "`{path}` is on a file system of type {filesystem:#x}; expected tmpfs (0x1021994) or ramfs (0x858458f6)"
    )]
    NotMemoryBacked {
        /// The target.
        path: PathBuf,
        /// `f_type` of statfs.
        filesystem: u64,
    },
    /// Pages of the target could be written to a swap device.
    #[error(
        "`{path}` could be swapped out to {device}; expected no active swap, or a tmpfs mounted with `noswap`"
    )]
    Swap {
        /// The target.
        path: PathBuf,
        /// The first active swap device or file.
        device: String,
    },
    /// Too little room.
    #[error("`{path}` has room for {available} bytes; expected at least {required}")]
    NoRoom {
        /// The target.
        path: PathBuf,
        /// Bytes needed, with page rounding and a margin.
        required: u64,
        /// Bytes there are: the smaller of the file system's and the machine's free memory.
        available: u64,
    },
    /// `<target>/model` is there already.
    #[error("`{path}` exists already; expected a target without an opened model")]
    ModelPresent {
        /// The model's folder.
        path: PathBuf,
    },
    /// Another opener holds the target.
    #[error("another process is using the target `{path}`")]
    Busy {
        /// The target.
        path: PathBuf,
    },
    /// An operation on the target failed.
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
}

impl TargetError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NotMemoryBacked { .. } => {
                "mount a memory-backed folder there (`emptyDir: {medium: Memory}`, tmpfs)"
            }
            Self::Swap { .. } => {
                "switch swap off (`swapoff -a`), or mount the target with `noswap`"
            }
            Self::NoRoom { .. } => {
                "give the machine more memory (half of it is the usual limit of a tmpfs), or seal a smaller model"
            }
            Self::ModelPresent { .. } => {
                "wipe the target first; a model there belongs to an earlier start"
            }
            Self::Busy { .. } => "end the other process, or give this one a target of its own",
            Self::Io { .. } => "make the target a folder that this process may write to",
        }
    }
}

/// The facts about a target, as the kernel tells them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetCheck {
    /// The target.
    pub path: PathBuf,
    /// `f_type` of statfs.
    pub filesystem: u64,
    /// Whether that is tmpfs or ramfs.
    pub memory_backed: bool,
    /// Free bytes: the smaller of what the file system and what the machine have left.
    pub available_bytes: u64,
    /// An active swap device that could take pages of the target, if there is one.
    pub swap: Option<String>,
}

impl TargetCheck {
    /// Asks the kernel.
    ///
    /// # Errors
    /// [`TargetError::Io`].
    pub fn probe(_target: &Path) -> Result<Self, TargetError> {
        Err(TargetError::Busy {
            path: PathBuf::new(),
        })
    }

    /// Decides.
    ///
    /// # Errors
    /// In this order: [`TargetError::NotMemoryBacked`], [`TargetError::Swap`], [`TargetError::NoRoom`].
    pub fn enforce(
        &self,
        _filesystems: TargetPolicy,
        _swap: SwapPolicy,
        _required: u64,
    ) -> Result<(), TargetError> {
        Ok(())
    }
}

/// Wipes and removes everything an opener put into `target`: the opened model and what a crash left.
///
/// # Errors
/// [`TargetError::Busy`] while an opened model is in use, [`TargetError::Io`].
pub fn wipe_target(_target: &Path) -> Result<(), TargetError> {
    Err(TargetError::Busy {
        path: PathBuf::new(),
    })
}

pub(crate) struct Target {
    pub(crate) _dir: File,
}
