//! What is being read, and what is open: the values that hold a target, or memory, until they are dropped.
//!
//! In: the work of [`stage`](crate::stage) and [`opening`](crate::opening). Out: [`StagedModel`] and
//! [`StagedMemory`], which prove nothing; [`OpenedModel`] and [`OpenedMemory`], whose every byte is authentic.
//! Dropping any of them wipes what it holds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::mapped::Region;
use crate::path::ModelPath;
use crate::stage::Staged;
use crate::target::{Target, TargetError};

/// Ciphertext on its way into a target. An allegation: nobody has looked at it.
///
/// It holds the target's lock. Dropping it ends the reading and removes what was read, as
/// [`discard`](Self::discard) does, which also says when that fails.
#[derive(Debug)]
#[must_use = "dropping a staged model discards it"]
pub struct StagedModel(pub(crate) Staged);

impl StagedModel {
    /// Waits until everything is read, or reading has failed.
    pub fn wait(&self) {
        self.0.wait();
    }

    /// Ends the reading, after the pieces that are being read, and wipes the target.
    ///
    /// # Errors
    /// [`TargetError::Io`] with the first file that could not be removed; the others are.
    pub fn discard(self) -> Result<(), TargetError> {
        match self.0.end().0 {
            Some(destination) => destination.wipe(),
            None => Ok(()),
        }
    }
}

/// As [`StagedModel`], in memory of this process.
#[derive(Debug)]
#[must_use = "dropping a staged model discards it"]
pub struct StagedMemory(pub(crate) Staged);

impl StagedMemory {
    /// Waits until everything is read, or reading has failed.
    pub fn wait(&self) {
        self.0.wait();
    }
}

/// Plaintext in the target: every chunk authenticated, every format verified.
///
/// It holds the target's lock. Dropping it wipes the plaintext as well as [`wipe`](Self::wipe) does,
/// which also says when that fails: keep it for as long as the model is served.
#[derive(Debug)]
#[must_use = "dropping an opened model wipes it"]
pub struct OpenedModel {
    target: Option<Arc<Target>>,
    path: PathBuf,
    files: usize,
    bytes: u64,
}

impl OpenedModel {
    pub(crate) fn assertion(target: Arc<Target>, files: usize, bytes: u64) -> Self {
        Self { path: target.model_path(), target: Some(target), files, bytes }
    }

    /// `<target>/model`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of files.
    pub fn files(&self) -> usize {
        self.files
    }

    /// Bytes of plaintext.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Overwrites and removes the plaintext.
    ///
    /// # Errors
    /// [`TargetError::Io`] with the first file that could not be overwritten or removed; the others are.
    pub fn wipe(mut self) -> Result<(), TargetError> {
        self.target.take().map_or(Ok(()), |target| target.wipe_model())
    }
}

impl Drop for OpenedModel {
    fn drop(&mut self) {
        if let Some(target) = self.target.take() {
            let _ = target.wipe_model();
        }
    }
}

/// Plaintext in memory of this process, huge pages where the kernel gives them, not in core files: every chunk
/// authenticated, every format verified. Dropping it wipes it.
#[derive(Debug)]
pub struct OpenedMemory {
    files: Vec<((ModelPath, u64), Region)>,
}

impl OpenedMemory {
    pub(crate) fn assertion(files: Vec<((ModelPath, u64), Region)>) -> Self {
        Self { files }
    }

    /// The files' paths, in the manifest's order.
    pub fn paths(&self) -> impl Iterator<Item = &ModelPath> {
        self.files.iter().map(|((path, _), _)| path)
    }

    /// The plaintext of a file.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        let ((_, len), region) = self.files.iter().find(|((at, _), _)| at.as_str() == path)?;
        region.bytes().get(..usize::try_from(*len).ok()?)
    }

    /// Bytes of plaintext.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|((_, len), _)| len).sum()
    }
}
