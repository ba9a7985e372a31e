//! Files of the person at the keyboard: bounded reading, secrets with their permissions, atomic writing.
//!
//! Job: the only file IO of the CLI besides sealing. In: paths. Out: bytes. Must not: read without a bound,
//! read a secret that others can read, leave a half-written file.
//! Against: a world-readable key or token file; a device or an endless pipe given as input; a crash between
//! the first and the last byte of a saved certificate.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};

/// Permission bits that give a secret file to somebody besides its owner.
const OTHERS_MAY: u32 = 0o077;

/// Why a file was not read or written.
#[derive(Debug, Error)]
pub enum FileError {
    /// Opening or reading failed.
    #[error("the {what} {} could not be read", path.display())]
    Read {
        /// What the file is, for the message.
        what: &'static str,
        /// The path as given.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// A folder, device, socket or pipe where a file was expected.
    #[error("the {what} {} is not a regular file", path.display())]
    NotAFile {
        /// What the file is.
        what: &'static str,
        /// The path as given.
        path: PathBuf,
    },
    /// More bytes than such a file can have.
    #[error("the {what} {} is too long", path.display())]
    TooLong {
        /// What the file is.
        what: &'static str,
        /// The path as given.
        path: PathBuf,
        /// The bound in bytes.
        limit: u64,
    },
    /// A secret that others can read or write.
    #[error("the {what} {} can be read by others", path.display())]
    Exposed {
        /// What the file is.
        what: &'static str,
        /// The path as given.
        path: PathBuf,
        /// The permission bits found.
        mode: u32,
    },
    /// Writing failed; nothing appeared under the name.
    #[error("the {what} {} could not be written", path.display())]
    Write {
        /// What the file is.
        what: &'static str,
        /// The path as given.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        let message = error.to_string();
        match &error {
            FileError::Read { source, .. } => {
                let remedy = match source.kind() {
                    io::ErrorKind::NotFound => "check the path",
                    io::ErrorKind::PermissionDenied => "run as the user who owns the file",
                    _ => "check the file and the disk",
                };
                Self::new(Exit::Usage, "file.unreadable", message)
                    .got(source.to_string())
                    .expected("a readable file")
                    .remedy(remedy)
            }
            FileError::NotAFile { .. } => Self::new(Exit::Usage, "file.not-a-file", message)
                .expected("a regular file")
                .remedy("name the file itself"),
            FileError::TooLong { limit, .. } => {
                Self::new(Exit::Malformed, "file.too-long", message)
                    .got(format!("more than {limit} bytes"))
                    .expected(format!("at most {limit} bytes"))
                    .remedy("check that this is the file you meant")
            }
            FileError::Exposed { path, mode, .. } => {
                Self::new(Exit::Usage, "file.permissions", message)
                    .got(format!("mode {mode:04o}"))
                    .expected("mode 0600 or stricter")
                    .remedy(format!(
                        "chmod 600 {}; if others could read it, replace the secret",
                        path.display()
                    ))
            }
            FileError::Write { source, .. } => {
                Self::new(Exit::Internal, "file.unwritable", message)
                    .got(source.to_string())
                    .remedy("check the folder, its permissions and the room on the disk")
            }
        }
    }
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// [`FileError::Read`], [`FileError::NotAFile`], [`FileError::TooLong`], in this order.
pub fn read(what: &'static str, path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let file = open(what, path)?;
    let mut bytes = Vec::new();
    fill(what, path, file, limit, &mut bytes)?;
    Ok(bytes)
}

/// Looks whether a file that another library will open by its name is a regular one of at most `limit` bytes.
///
/// # Errors
/// As [`read`].
pub fn within(what: &'static str, path: &Path, limit: u64) -> Result<(), FileError> {
    let file = open(what, path)?;
    let unreadable = |source| FileError::Read { what, path: path.to_owned(), source };
    match file.metadata().map_err(unreadable)?.len() {
        len if len > limit => Err(FileError::TooLong { what, path: path.to_owned(), limit }),
        _ => Ok(()),
    }
}

/// Reads a secret of at most `limit` bytes into memory that is wiped, from a file only its owner can read.
/// The permissions are those of the opened file, not of its name.
///
/// # Errors
/// As [`read`], and [`FileError::Exposed`] before a byte is read.
pub fn read_secret(
    what: &'static str,
    path: &Path,
    limit: u64,
) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let file = open(what, path)?;
    let metadata = file.metadata().map_err(|source| FileError::Read {
        what,
        path: path.to_owned(),
        source,
    })?;
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS_MAY != 0 {
        return Err(FileError::Exposed { what, path: path.to_owned(), mode });
    }
    // Reserved in full, so that growing never leaves a copy behind.
    let capacity = usize::try_from(limit).unwrap_or(0).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    fill(what, path, file, limit, &mut bytes)?;
    Ok(bytes)
}

/// Writes a file so that its name shows either the old or all of the new content.
///
/// # Errors
/// [`FileError::Write`]; the temporary file is removed.
pub fn write_atomically(what: &'static str, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let fail = |source| FileError::Write { what, path: path.to_owned(), source };
    let name =
        path.file_name().ok_or_else(|| fail(io::Error::from(io::ErrorKind::InvalidInput)))?;
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(|error| fail(io::Error::other(error.to_string())))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", hex::encode(random)));
    let temporary = path.with_file_name(hidden);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|source| {
        let _ = fs::remove_file(&temporary);
        fail(source)
    })
}

fn open(what: &'static str, path: &Path) -> Result<File, FileError> {
    let unreadable = |source| FileError::Read { what, path: path.to_owned(), source };
    // Looked at before opening, because opening a pipe without a writer would wait for ever.
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(FileError::NotAFile { what, path: path.to_owned() });
    }
    File::open(path).map_err(unreadable)
}

fn fill(
    what: &'static str,
    path: &Path,
    file: File,
    limit: u64,
    bytes: &mut Vec<u8>,
) -> Result<(), FileError> {
    let read = file
        .take(limit.saturating_add(1))
        .read_to_end(bytes)
        .map_err(|source| FileError::Read { what, path: path.to_owned(), source })?;
    if read as u64 > limit {
        return Err(FileError::TooLong { what, path: path.to_owned(), limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_that_others_can_read_is_refused_with_its_mode() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("token");
        fs::write(&path, "secret").expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
        let refused = read_secret("token", &path, 64);
        assert!(matches!(refused, Err(FileError::Exposed { mode: 0o640, .. })), "{refused:?}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        assert_eq!(read_secret("token", &path, 64).expect("readable").as_slice(), b"secret");
    }

    #[test]
    fn a_file_over_its_bound_is_refused() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("big");
        fs::write(&path, [0u8; 65]).expect("write");
        assert!(matches!(read("file", &path, 64), Err(FileError::TooLong { limit: 64, .. })));
    }

    #[test]
    fn a_folder_is_not_a_file() {
        let folder = tempfile::tempdir().expect("temporary folder");
        assert!(matches!(read("file", folder.path(), 64), Err(FileError::NotAFile { .. })));
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let target = folder.path().join("taken");
        fs::create_dir(&target).expect("folder in the way");
        fs::write(target.join("child"), "").expect("child");
        let failed = write_atomically("certificate", &target, b"pem");
        assert!(matches!(failed, Err(FileError::Write { .. })), "{failed:?}");
        let names: Vec<_> = fs::read_dir(folder.path()).expect("list").flatten().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }
}
