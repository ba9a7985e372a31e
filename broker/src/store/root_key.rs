//! The key under which every value of the store is sealed, and its file.
//!
//! 32 random bytes, made 0600 on first start. Whoever reads it reads every model key: back it up
//! apart from the store. It is used only to derive one key per sealed value.

use std::path::Path;

use ring::hkdf::{HKDF_SHA256, Salt};
use zeroize::{Zeroize, Zeroizing};

use crate::secret_file::{self, SecretFileError};

/// Length of the root key, in bytes.
const ROOT_KEY_LEN: usize = 32;

pub(super) struct RootKey(Box<[u8; ROOT_KEY_LEN]>);

impl Drop for RootKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl RootKey {
    pub(super) fn load(path: &Path) -> Result<Self, SecretFileError> {
        let bytes = secret_file::read(path)?;
        let mut key = Self(Box::new([0; ROOT_KEY_LEN]));
        if bytes.len() != ROOT_KEY_LEN {
            return Err(SecretFileError::Length {
                path: path.to_owned(),
                expected: "exactly 32 bytes",
                got: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            });
        }
        key.0.copy_from_slice(&bytes);
        Ok(key)
    }

    pub(super) fn create(path: &Path) -> Result<Self, SecretFileError> {
        let mut key = Self(Box::new([0; ROOT_KEY_LEN]));
        getrandom::fill(key.0.as_mut_slice()).map_err(|error| SecretFileError::Io {
            path: path.to_owned(),
            action: "filled with random bytes",
            source: std::io::Error::other(error),
        })?;
        secret_file::create(path, key.0.as_slice())?;
        Ok(key)
    }

    /// A key for one sealed value: HKDF-SHA256 with the value's salt and its context as info.
    pub(super) fn derive(&self, salt: &[u8], context: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        let info = [context];
        let prk = Salt::new(HKDF_SHA256, salt).extract(self.0.as_slice());
        let mut key = Zeroizing::new([0; 32]);
        prk.expand(&info, HKDF_SHA256).ok()?.fill(key.as_mut_slice()).ok()?;
        Some(key)
    }
}
