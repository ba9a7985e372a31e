//! The keys of a sealed model and their names.
//!
//! In: 32 bytes from the broker or from the random number generator. Out: values that only this
//! crate's cipher looks into. A *model key* belongs to an owner and lives in the broker; a *content
//! key* belongs to one version of one sealed model and is sealed to model keys (SPEC.md §4).
//! Keys have no `Clone`, no `Serialize`, and a `Debug` that shows their name at most.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, Zeroizing};

use crate::limits::MAX_KEY_URI_BYTES;
use crate::locked_memory::{LockedMemory, LockedMemoryError};

/// Length of every key of the format, in bytes.
pub const KEY_LEN: usize = 32;

const URI_PREFIX: &str = "kbs:///";
const EPOCH_QUERY: &str = "?epoch=";

/// Why a key or the name of a key was refused.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key has the wrong number of bytes.
    #[error("a key of {got} bytes; expected {KEY_LEN}")]
    Length {
        /// Bytes given.
        got: usize,
    },
    /// No protected memory.
    #[error("no protected memory for a key")]
    Memory(#[from] LockedMemoryError),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random(#[source] getrandom::Error),
    /// Not a KBS resource URI with three segments.
    #[error(
        "`{got}` is not a key URI; expected `kbs:///<repository>/<type>/<tag>`, each of letters, digits, `_`, `-`, `.` and not starting with a dot"
    )]
    Uri {
        /// The text given, cut to a readable length.
        got: String,
    },
    /// No epoch, or not a number from 1 to 4294967295.
    #[error("`{got}` has no valid epoch; expected `?epoch=<1..4294967295>` after the key URI")]
    Epoch {
        /// The text given, cut to a readable length.
        got: String,
    },
    /// Not 32 lower-case hexadecimal digits.
    #[error("a model id is 32 lower-case hexadecimal digits; got {got:?}")]
    ModelId {
        /// The text given, cut to a readable length.
        got: String,
    },
}

impl KeyError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Length { .. } => {
                "ask the broker for the key again; its resource is exactly 32 bytes"
            }
            Self::Memory(source) => source.remedy(),
            Self::Random(_) => "wait until the system's random number generator is seeded",
            Self::Uri { .. } => "name the key like `kbs:///acme/model-key/kjv`",
            Self::Epoch { .. } => {
                "name the key with its epoch, like `kbs:///acme/model-key/kjv?epoch=1`"
            }
            Self::ModelId { .. } => "copy the id from `adyton inspect`",
        }
    }
}

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(KeyError::Random)?;
    Ok(bytes)
}

/// Names one version of one sealed model: 16 random bytes, made when it was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ModelId(pub [u8; 16]);

impl ModelId {
    /// A fresh random id.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<Self, KeyError> {
        random().map(Self)
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for ModelId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut id = [0; 16];
        let lower = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match hex::decode_to_slice(text, &mut id) {
            Ok(()) if lower => Ok(Self(id)),
            Ok(()) | Err(_) => Err(KeyError::ModelId { got: excerpt(text) }),
        }
    }
}

/// Names a model key: its KBS resource URI and its epoch, which rises with every rotation.
///
/// The text form, used in manifests and in the key derivation, is
/// `kbs:///<repository>/<type>/<tag>?epoch=<n>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId {
    uri: String,
    epoch: u32,
}

impl KeyId {
    /// From a URI without query and an epoch from 1.
    ///
    /// # Errors
    /// [`KeyError::Uri`], [`KeyError::Epoch`].
    pub fn new(uri: &str, epoch: u32) -> Result<Self, KeyError> {
        let refused = || KeyError::Uri { got: excerpt(uri) };
        if uri.len() > MAX_KEY_URI_BYTES {
            return Err(refused());
        }
        let path = uri.strip_prefix(URI_PREFIX).ok_or_else(refused)?;
        if path.split('/').count() != 3 || !path.split('/').all(is_segment) {
            return Err(refused());
        }
        if epoch == 0 {
            return Err(KeyError::Epoch { got: format!("{}?epoch=0", excerpt(uri)) });
        }
        Ok(Self { uri: uri.to_owned(), epoch })
    }

    /// The KBS resource URI, `kbs:///<repository>/<type>/<tag>`, without the epoch.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// `<repository>/<type>/<tag>`: the path of the resource below `/kbs/v0/resource/`.
    pub fn resource_path(&self) -> &str {
        self.uri.strip_prefix(URI_PREFIX).unwrap_or(&self.uri)
    }

    /// Rises by one with every rotation of the key; 1 at first.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }
}

/// The path rule of the KBS: letters, digits, `_`, `-`, `.`, and not a dot at the start.
fn is_segment(segment: &str) -> bool {
    !segment.is_empty()
        && !segment.starts_with('.')
        && segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

/// Enough of a text from outside to recognise it, without control characters.
pub(crate) fn excerpt(text: &str) -> String {
    let mut short: String =
        text.chars().take(96).map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect();
    if short.len() < text.len() && text.chars().nth(96).is_some() {
        short.push('…');
    }
    short
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{EPOCH_QUERY}{}", self.uri, self.epoch)
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let refused = || KeyError::Epoch { got: excerpt(text) };
        let (uri, epoch) = text.split_once(EPOCH_QUERY).ok_or_else(refused)?;
        let parsed: u32 = epoch.parse().map_err(|_| refused())?;
        // One text per key: `epoch=+1` and `epoch=01` would be other contexts for the same key.
        if parsed.to_string() != epoch {
            return Err(refused());
        }
        Self::new(uri, parsed)
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for ModelId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ModelId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An owner's key for models: 32 random bytes in protected memory, with their name.
pub struct ModelKey {
    id: KeyId,
    bytes: LockedMemory,
}

impl ModelKey {
    /// Takes a key over from where the broker's answer was unwrapped; `bytes` are zeroed.
    ///
    /// # Errors
    /// [`KeyError::Length`], [`KeyError::Memory`]; `bytes` are zeroed in these cases too.
    pub fn from_bytes(bytes: &mut [u8], id: KeyId) -> Result<Self, KeyError> {
        take(bytes).map(|bytes| Self { id, bytes })
    }

    /// A fresh random key.
    ///
    /// # Errors
    /// [`KeyError::Memory`], [`KeyError::Random`].
    pub fn generate(id: KeyId) -> Result<Self, KeyError> {
        generate().map(|bytes| Self { id, bytes })
    }

    /// The key's name.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// A copy that the broker stores or wraps to an attested TEE key. Keep it short-lived.
    pub fn key_bytes_for_wrapping(&self) -> Zeroizing<[u8; KEY_LEN]> {
        copy(&self.bytes)
    }

    pub(crate) fn expose(&self) -> &[u8] {
        self.bytes.expose()
    }
}

impl fmt::Debug for ModelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The key of one version of one sealed model: 32 random bytes in protected memory.
pub struct ContentKey {
    bytes: LockedMemory,
}

impl ContentKey {
    /// Takes a key over; `bytes` are zeroed.
    ///
    /// # Errors
    /// [`KeyError::Length`], [`KeyError::Memory`]; `bytes` are zeroed in these cases too.
    pub fn from_bytes(bytes: &mut [u8]) -> Result<Self, KeyError> {
        take(bytes).map(|bytes| Self { bytes })
    }

    /// A fresh random key.
    ///
    /// # Errors
    /// [`KeyError::Memory`], [`KeyError::Random`].
    pub fn generate() -> Result<Self, KeyError> {
        generate().map(|bytes| Self { bytes })
    }

    /// A copy to be wrapped to the broker, which makes a recipient of it. Keep it short-lived.
    pub fn content_key_for_wrapping(&self) -> Zeroizing<[u8; KEY_LEN]> {
        copy(&self.bytes)
    }

    pub(crate) fn expose(&self) -> &[u8] {
        self.bytes.expose()
    }
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentKey").finish_non_exhaustive()
    }
}

fn take(bytes: &mut [u8]) -> Result<LockedMemory, KeyError> {
    if bytes.len() != KEY_LEN {
        let got = bytes.len();
        bytes.zeroize();
        return Err(KeyError::Length { got });
    }
    Ok(LockedMemory::take(bytes)?)
}

fn generate() -> Result<LockedMemory, KeyError> {
    let mut memory = LockedMemory::zeroed(KEY_LEN)?;
    // System calls cannot write into memfd_secret pages on every kernel, so through a wiped buffer.
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    getrandom::fill(bytes.as_mut()).map_err(KeyError::Random)?;
    memory.expose_mut().copy_from_slice(bytes.as_ref());
    Ok(memory)
}

fn copy(memory: &LockedMemory) -> Zeroizing<[u8; KEY_LEN]> {
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    bytes.copy_from_slice(memory.expose());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_id_keeps_its_text_form() {
        let text = "kbs:///acme/model-key/kjv?epoch=7";
        let id: KeyId = text.parse().unwrap();
        assert_eq!((id.uri(), id.epoch()), ("kbs:///acme/model-key/kjv", 7));
        assert_eq!(id.resource_path(), "acme/model-key/kjv");
        assert_eq!(id.to_string(), text);
    }

    #[test]
    fn a_key_uri_outside_the_kbs_path_rule_is_refused() {
        for uri in [
            "",
            "kbs://",
            "kbs:///a/b",
            "kbs:///a/b/c/d",
            "kbs:///a//c",
            "kbs:///a/.b/c",
            "kbs:///a/b/..",
            "kbs://host/a/b/c",
            "https:///a/b/c",
            "kbs:///a/b/c d",
            "kbs:///a/b/ç",
            "kbs:///a/b/c\n",
        ] {
            assert!(matches!(KeyId::new(uri, 1), Err(KeyError::Uri { .. })), "{uri:?}");
        }
    }

    #[test]
    fn an_epoch_has_one_spelling() {
        for epoch in ["", "0", "01", "+1", "-1", "1 ", "4294967296", "1&epoch=2", "1?epoch=1"] {
            let text = format!("kbs:///a/b/c?epoch={epoch}");
            assert!(matches!(text.parse::<KeyId>(), Err(KeyError::Epoch { .. })), "{text:?}");
        }
    }

    #[test]
    fn a_key_of_another_length_is_refused_and_its_source_is_zero() {
        let mut bytes = [1; 31];
        assert!(matches!(ContentKey::from_bytes(&mut bytes), Err(KeyError::Length { got: 31 })));
        assert_eq!(bytes, [0; 31]);
    }

    #[test]
    fn a_model_id_is_lower_case_hex() {
        assert!("00112233445566778899aabbccddeeff".parse::<ModelId>().is_ok());
        for text in ["00112233445566778899AABBCCDDEEFF", "0011", ""] {
            assert!(matches!(text.parse::<ModelId>(), Err(KeyError::ModelId { .. })));
        }
    }

    #[test]
    fn debug_shows_a_name_and_no_key() {
        let id: KeyId = "kbs:///a/b/c?epoch=1".parse().unwrap();
        let key = ModelKey::from_bytes(&mut [0xEE; 32], id).unwrap();
        let shown = format!("{key:?}");
        assert!(
            shown.contains("kbs:///a/b/c") && !shown.contains("238") && !shown.contains("ee, ")
        );
    }
}
