//! Where a sealed model lies: a folder here, and whatever else implements [`Storage`].
//!
//! In: names of a sealed model's parts (`model.json`, `<path>.sealed`). Out: bytes, within the bounds
//! that the caller names. Nothing that comes out is trusted: every byte is an allegation until the
//! manifest's MAC, a digest or a tag speaks for it. All calls block, and are made by several threads.
//!
//! Against: links and pipes in the place of objects, small parts that are not small, an object that is
//! exchanged between two reads.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Where a sealed model lies. Blocking; shared by threads.
pub trait Storage: Send + Sync + fmt::Debug {
    /// For messages: a path, or a URL without credentials.
    fn location(&self) -> String;

    /// How many reads at once serve it best; 0 means as many as there are CPUs. Storage with more is
    /// read by threads of its own, beside those that open.
    fn concurrency(&self) -> usize {
        0
    }

    /// The whole of a small object (`model.json`, `model.sig`, `aibom.cdx.json`).
    ///
    /// # Errors
    /// [`StorageError::TooLarge`] for more than `limit` bytes, before it takes memory for them;
    /// every other [`StorageError`].
    fn read_small(&self, name: &str, limit: u64) -> Result<Vec<u8>, StorageError>;

    /// Opens one object and pins what it is (an inode, an ETag, a digest).
    ///
    /// # Errors
    /// [`StorageError`]
    fn open(&self, name: &str) -> Result<Box<dyn StoredObject>, StorageError>;
}

/// One object that was opened. Every read is of the same object, or fails with
/// [`StorageError::Changed`].
#[expect(clippy::len_without_is_empty, reason = "an object without a header is no object")]
pub trait StoredObject: Send + Sync + fmt::Debug {
    /// Bytes of the object when it was opened.
    fn len(&self) -> u64;

    /// Fills `buffer` with the bytes at `offset`.
    ///
    /// # Errors
    /// [`StorageError`]; what `buffer` then holds is not specified.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError>;
}

/// Why storage did not give what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Not there.
    #[error("there is no such object")]
    Missing,
    /// Something else than a file: a link, a folder, a device.
    #[error("it is not a regular file")]
    NotAFile,
    /// Another object, or another length, than when it was opened.
    #[error("the object changed while it was being read")]
    Changed,
    /// A small object that is not small.
    #[error("it has at least {got} bytes; expected at most {limit}")]
    TooLarge {
        /// The bound.
        limit: u64,
        /// Its length, or as much of it as was seen.
        got: u64,
    },
    /// The system could not read it.
    #[error("it could not be read")]
    Read(#[source] io::Error),
    /// The storage said no, and would say no again: credentials, rights, a range it does not serve.
    #[error("the storage refused")]
    Refused {
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The storage could not be reached, or did not answer soundly, after all retries.
    #[error("the storage is not available")]
    Unavailable {
        /// The last failure.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StorageError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Missing => "name the place that holds `model.json`, and upload all its objects",
            Self::NotAFile => "put the object itself in the place of the link or folder",
            Self::Changed => "open again when nobody writes to the sealed model",
            Self::TooLarge { .. } => {
                "fetch the sealed model again; what is there was not made by this software"
            }
            Self::Read(_) => "make it readable for this process; see the cause",
            Self::Refused { .. } => "correct the address, or the credentials and their rights",
            Self::Unavailable { .. } => "see the cause; opening may be tried again",
        }
    }
}

/// A sealed model in a folder of this machine.
#[derive(Debug)]
pub struct FolderStorage {
    path: PathBuf,
    folder: OwnedFd,
}

impl FolderStorage {
    /// Opens the folder; whatever is mounted or linked over its path later has no effect.
    ///
    /// # Errors
    /// [`StorageError::Missing`], [`StorageError::NotAFile`], [`StorageError::Read`].
    pub fn new(path: &Path) -> Result<Self, StorageError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty()).map_err(failure)?;
        Ok(Self { path: path.to_owned(), folder })
    }

    /// Opens a regular file below the folder without following a link in any component.
    fn find(&self, name: &str) -> Result<FolderObject, StorageError> {
        let mut parent: Option<OwnedFd> = None;
        let mut components = name.split('/').peekable();
        while let Some(component) = components.next() {
            // Names come from manifests, whose paths have no such components; here it costs a line.
            if matches!(component, "" | "." | "..") {
                return Err(StorageError::Missing);
            }
            let at = parent.as_ref().unwrap_or(&self.folder);
            if components.peek().is_some() {
                parent = Some(open_at(at, component, OFlags::DIRECTORY)?);
                continue;
            }
            let file = File::from(open_at(at, component, OFlags::empty())?);
            let metadata = file.metadata().map_err(StorageError::Read)?;
            if !metadata.is_file() {
                return Err(StorageError::NotAFile);
            }
            return Ok(FolderObject { file, len: metadata.len() });
        }
        Err(StorageError::Missing)
    }
}

impl Storage for FolderStorage {
    fn location(&self) -> String {
        self.path.display().to_string()
    }

    fn read_small(&self, name: &str, limit: u64) -> Result<Vec<u8>, StorageError> {
        let FolderObject { file, len } = self.find(name)?;
        if len > limit {
            return Err(StorageError::TooLarge { limit, got: len });
        }
        let mut bytes = Vec::new();
        // One byte more than allowed: the file may grow between the look and the read.
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(StorageError::Read)?;
        match bytes.len() as u64 {
            got if got > limit => Err(StorageError::TooLarge { limit, got }),
            _ => Ok(bytes),
        }
    }

    fn open(&self, name: &str) -> Result<Box<dyn StoredObject>, StorageError> {
        Ok(Box::new(self.find(name)?))
    }
}

/// A file: its inode is pinned, its bytes are not, which is why they are read once.
#[derive(Debug)]
struct FolderObject {
    file: File,
    len: u64,
}

impl StoredObject for FolderObject {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        self.file.read_exact_at(buffer, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => StorageError::Changed,
            _ => StorageError::Read(error),
        })
    }
}

fn open_at(folder: &OwnedFd, name: &str, flags: OFlags) -> Result<OwnedFd, StorageError> {
    // Non-blocking: a pipe in the place of an object must not stop the reader.
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::openat(folder, name, flags, Mode::empty()).map_err(failure)
}

fn failure(error: Errno) -> StorageError {
    match error {
        Errno::NOENT => StorageError::Missing,
        Errno::LOOP | Errno::NOTDIR | Errno::NXIO => StorageError::NotAFile,
        other => StorageError::Read(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, FolderStorage) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::fs::write(folder.path().join("sub/small"), b"1234").unwrap();
        let storage = FolderStorage::new(folder.path()).unwrap();
        (folder, storage)
    }

    #[test]
    fn a_small_object_is_read_up_to_its_limit() {
        let (_folder, storage) = folder();
        assert_eq!(storage.read_small("sub/small", 4).unwrap(), b"1234");
        assert!(matches!(
            storage.read_small("sub/small", 3),
            Err(StorageError::TooLarge { limit: 3, got: 4 })
        ));
    }

    #[test]
    fn links_and_folders_are_no_objects_and_names_do_not_leave_the_folder() {
        let (folder, storage) = folder();
        std::os::unix::fs::symlink("sub/small", folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink("sub", folder.path().join("linked")).unwrap();
        for name in ["link", "linked/small", "sub", "sub/small/x"] {
            assert!(matches!(storage.open(name), Err(StorageError::NotAFile)), "{name}");
        }
        for name in ["", ".", "..", "../x", "sub/../sub/small", "/etc/passwd", "sub//small", "no"] {
            assert!(matches!(storage.open(name), Err(StorageError::Missing)), "{name}");
        }
    }

    #[test]
    fn an_object_that_was_cut_after_it_was_opened_has_changed() {
        let (folder, storage) = folder();
        let object = storage.open("sub/small").unwrap();
        std::fs::write(folder.path().join("sub/small"), b"1").unwrap();
        assert_eq!(object.len(), 4);
        assert!(matches!(object.read_exact_at(0, &mut [0; 4]), Err(StorageError::Changed)));
    }

    #[test]
    fn a_folder_that_is_not_there_is_missing() {
        let (folder, _) = folder();
        let storage = FolderStorage::new(&folder.path().join("none"));
        assert!(matches!(storage, Err(StorageError::Missing)));
    }
}
