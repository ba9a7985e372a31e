//! Files that hold a secret: made 0600, read only while nobody else can read them.
//!
//! Used for the store's root key, the admin token and TLS keys. A file that its group or the world
//! may read or write is refused, and so is one that belongs to somebody else. A new file appears
//! under its name only when it is complete and on disk, so a crash leaves no short key behind.
//! Against: a copied key, a key planted by another user of the machine.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::error::Finding;

/// Longest secret file that is read, in bytes. A PEM key is below 16 KiB.
const MAX_SECRET_FILE_BYTES: u64 = 64 * 1024;

/// Why a secret file was refused.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// There is no such file.
    #[error("{} does not exist", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Something is there, but it is a folder, a socket or a device.
    #[error("{} is not a regular file", path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// Group or world may read or write it.
    #[error("{} has mode {mode:04o}", path.display())]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs neither to this process's user nor to root.
    #[error("{} belongs to user {owner}", path.display())]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// The owner's user id.
        owner: u32,
    },
    /// It has another length than the secret has.
    #[error("{} is {got} bytes long", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// What was expected, in words.
        expected: &'static str,
        /// Its length.
        got: u64,
    },
    /// The system refused to read or write it.
    #[error("{} could not be {action}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl SecretFileError {
    /// What is wrong and what to do, for the operator.
    pub fn finding(&self) -> Finding {
        let step = "secret file";
        match self {
            Self::Missing { path } => Finding::new(
                step,
                path.display().to_string(),
                "an existing file",
                "restore the file from its backup or correct the path",
            ),
            Self::NotRegular { path } => Finding::new(
                step,
                path.display().to_string(),
                "a regular file",
                "point the configuration at a file",
            ),
            Self::OpenToOthers { path, mode } => Finding::new(
                step,
                format!("{} (mode {mode:04o})", path.display()),
                "a file that only its owner can read and write (mode 0600 or 0400)",
                format!(
                    "treat the secret as known to others and replace it, or run: chmod 600 {}",
                    path.display()
                ),
            ),
            Self::ForeignOwner { path, owner } => Finding::new(
                step,
                format!("{} (owner {owner})", path.display()),
                "a file that belongs to the user the broker runs as, or to root",
                format!("run: chown <broker user> {}", path.display()),
            ),
            Self::Length { path, expected, got } => Finding::new(
                step,
                format!("{} ({got} bytes)", path.display()),
                *expected,
                "restore the file from its backup",
            ),
            Self::Io { path, action, source } => Finding::new(
                step,
                path.display().to_string(),
                format!("a file that can be {action} ({source})"),
                "check the path and the permissions of its folders",
            ),
        }
    }
}

/// Reads a secret file after checking that nobody else can.
///
/// # Errors
/// [`SecretFileError`]: missing, not a regular file, open to others, foreign owner, longer than
/// 64 KiB, unreadable. The checks are made on the opened file, not on its name.
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let io_error = |source| SecretFileError::Io { path: path.to_owned(), action: "read", source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(SecretFileError::Missing { path: path.to_owned() });
        }
        Err(error) => return Err(io_error(error)),
    };
    let metadata = file.metadata().map_err(io_error)?;
    if !metadata.is_file() {
        return Err(SecretFileError::NotRegular { path: path.to_owned() });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SecretFileError::OpenToOthers { path: path.to_owned(), mode });
    }
    let owner = metadata.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(SecretFileError::ForeignOwner { path: path.to_owned(), owner });
    }
    let got = metadata.len();
    if got > MAX_SECRET_FILE_BYTES {
        let expected = "at most 65536 bytes";
        return Err(SecretFileError::Length { path: path.to_owned(), expected, got });
    }
    // The capacity is taken at once: a growing buffer would leave copies of the secret behind.
    let capacity = usize::try_from(got).unwrap_or(0).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(got).read_to_end(&mut bytes).map_err(io_error)?;
    Ok(bytes)
}

/// Makes a new secret file, mode 0600, durable when this returns. Never overwrites.
///
/// # Errors
/// [`SecretFileError::Io`], also when the file exists already.
pub fn create(path: &Path, secret: &[u8]) -> Result<(), SecretFileError> {
    let io_error =
        |source| SecretFileError::Io { path: path.to_owned(), action: "written", source };
    let mut suffix = [0_u8; 8];
    getrandom::fill(&mut suffix).map_err(|error| io_error(io::Error::other(error)))?;
    let unfinished = path.with_extension(format!("{}.new", hex::encode(suffix)));
    let written = (|| {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(secret)?;
        file.sync_all()?;
        // A link fails where a rename would silently replace an existing key.
        fs::hard_link(&unfinished, path)
    })();
    // The unfinished name goes in either case; what matters is reported by `written`.
    let removed = fs::remove_file(&unfinished);
    written.map_err(io_error)?;
    removed.map_err(io_error)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new("."))).and_then(|f| f.sync_all()).map_err(io_error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_new_secret_file_is_0600_and_reads_back() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("secret");
        create(&path, b"a secret").expect("created");
        assert_eq!(fs::metadata(&path).expect("metadata").mode() & 0o777, 0o600);
        assert_eq!(read(&path).expect("read").as_slice(), b"a secret");
        assert_eq!(fs::read_dir(folder.path()).expect("listing").count(), 1);
    }

    #[test]
    fn an_existing_secret_file_is_never_overwritten() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("secret");
        create(&path, b"first").expect("created");
        assert!(matches!(create(&path, b"second"), Err(SecretFileError::Io { .. })));
        assert_eq!(read(&path).expect("read").as_slice(), b"first");
    }

    #[test]
    fn every_permission_bit_for_others_is_refused() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("secret");
        create(&path, b"secret").expect("created");
        for bit in 0..6 {
            let mode = 0o600 | (1 << bit);
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
            match read(&path) {
                Err(SecretFileError::OpenToOthers { mode: seen, .. }) => assert_eq!(seen, mode),
                other => panic!("mode {mode:o} gave {other:?}"),
            }
        }
    }

    #[test]
    fn a_folder_is_not_a_secret_file() {
        let folder = tempfile::tempdir().expect("temporary folder");
        assert!(matches!(read(folder.path()), Err(SecretFileError::NotRegular { .. })));
    }

    #[test]
    fn an_endless_file_is_refused_before_it_is_read() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("secret");
        create(&path, b"").expect("created");
        OpenOptions::new().write(true).open(&path).and_then(|f| f.set_len(1 << 40)).expect("len");
        assert!(matches!(read(&path), Err(SecretFileError::Length { .. })));
    }
}
