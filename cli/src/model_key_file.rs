//! A model key in a file, for people without a broker.
//!
//! Job: 32 bytes (raw, or 64 hex digits) from a file that only its owner can read, straight into protected
//! memory. Must not: print it, accept another length, read a file that others can read.

use std::path::Path;

use adyton_sealed_weights::{KeyId, ModelKey};
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};
use crate::file;

/// Length of a model key in bytes.
const KEY_LEN: usize = 32;

/// A raw key, or its hex with a line break.
const FILE_LIMIT: u64 = 2 * KEY_LEN as u64 + 2;

/// Reads the key that `path` holds and gives it the name `id`.
///
/// # Errors
/// [`Failure`] for the file, its permissions, its length, or missing protected memory.
pub fn read(path: &Path, id: KeyId) -> Result<ModelKey, Failure> {
    let wrong_length = |got: String| {
        Failure::new(
            Exit::Malformed,
            "model-key.length",
            format!("the model key file {} does not hold a key", path.display()),
        )
        .got(got)
        .expected("32 bytes, or 64 hex digits")
        .remedy("make one: (umask 077; head -c 32 /dev/urandom > FILE)")
    };
    let bytes = match file::read_secret("model key file", path, FILE_LIMIT) {
        Ok(bytes) => bytes,
        Err(file::FileError::TooLong { .. }) => {
            return Err(wrong_length(format!("more than {FILE_LIMIT} bytes")));
        }
        Err(error) => return Err(error.into()),
    };
    let mut key = Zeroizing::new([0_u8; KEY_LEN]);
    if bytes.len() == KEY_LEN {
        key.copy_from_slice(&bytes);
    } else {
        hex::decode_to_slice(bytes.trim_ascii(), key.as_mut_slice()).map_err(|_| {
            wrong_length(format!("{} bytes that are not a key in hex", bytes.len()))
        })?;
    }
    ModelKey::from_bytes(key.as_mut_slice(), id).map_err(|error| {
        Failure::new(Exit::Internal, "model-key.memory", "there is no protected memory for the key")
            .remedy(error.remedy())
            .caused_by(&error)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn key_file(content: &[u8], mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("model.key");
        fs::write(&path, content).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        (folder, path)
    }

    fn id() -> KeyId {
        KeyId::new("kbs:///a/b/c", 1).expect("good id")
    }

    #[test]
    fn raw_and_hex_hold_the_same_key() {
        let (_raw_folder, raw) = key_file(&[0xab; 32], 0o600);
        let (_hex_folder, hex) = key_file(format!("{}\n", "ab".repeat(32)).as_bytes(), 0o400);
        for path in [raw, hex] {
            let key = read(&path, id()).expect("a key");
            assert_eq!(*key.key_bytes_for_wrapping(), [0xab; 32]);
        }
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        for content in [&[1_u8; 31][..], &[1; 33], &[b'a'; 66], &[b'a'; 70]] {
            let (_folder, path) = key_file(content, 0o600);
            let failure = read(&path, id()).expect_err("refused");
            assert_eq!(failure.code(), "model-key.length", "{}", content.len());
        }
    }

    #[test]
    fn a_key_that_the_group_can_read_is_refused() {
        let (_folder, path) = key_file(&[1; 32], 0o640);
        assert_eq!(read(&path, id()).expect_err("refused").code(), "file.permissions");
    }
}
