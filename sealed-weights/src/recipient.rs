//! A recipient: the content key, sealed to one model key.
//!
//! In: a model key, a model id, a content key. Out: a few base64 fields of `model.json`, and back.
//! Adding or replacing a recipient rewrites the manifest, never the weights. Unwrapping proves
//! that the model key is the one the recipient was made for (commitment and tag).
//!
//! Against: a recipient moved to another model or renamed to another key (both are in the context).
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::chunked::{
    COMMITMENT_LEN, ChunkError, CommitmentMismatch, MessageCipher, SALT_LEN, TAG_LEN,
};
use crate::key::{ContentKey, KEY_LEN, KeyError, KeyId, ModelId, ModelKey, random};

const CONTEXT: &[u8] = b"adyton.sealed-model.v1.recipient\0";

/// Why a recipient could not be made or unwrapped.
#[derive(Debug, thiserror::Error)]
pub enum RecipientError {
    /// The model key has another name than the recipient.
    #[error("the recipient is for `{expected}`; the key is `{got}`")]
    OtherKey {
        /// The key the recipient names.
        expected: KeyId,
        /// The key given.
        got: KeyId,
    },
    /// The bytes of the key, the model id or the recipient are not those it was made with.
    #[error("the recipient for `{kid}` was not made with this key for this model")]
    Commitment {
        /// The key the recipient names.
        kid: KeyId,
        /// The mismatch.
        #[source]
        source: CommitmentMismatch,
    },
    /// The sealed content key was edited.
    #[error("the sealed content key for `{kid}` is not authentic")]
    Sealed {
        /// The key the recipient names.
        kid: KeyId,
        /// The chunk that failed: always the first.
        #[source]
        source: ChunkError,
    },
    /// No memory or randomness for a key.
    #[error("no place for a key")]
    Key(#[from] KeyError),
}

/// The content key of a sealed model, sealed to one model key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipient {
    kid: KeyId,
    #[serde(with = "base64_bytes")]
    salt: [u8; SALT_LEN],
    #[serde(with = "base64_bytes")]
    commitment: [u8; COMMITMENT_LEN],
    #[serde(with = "base64_bytes")]
    sealed_key: [u8; KEY_LEN + TAG_LEN],
}

impl Recipient {
    /// Seals `content_key` of model `model_id` to `model_key`, under that key's own name.
    ///
    /// # Errors
    /// [`RecipientError::Key`] when there is no randomness.
    //= sealed-weights/SPEC.md#4.2
    //# context = "adyton.sealed-model.v1.recipient" ‖ 0x00 ‖ model id ‖ kid
    pub fn wrap(
        model_key: &ModelKey,
        model_id: &ModelId,
        content_key: &ContentKey,
    ) -> Result<Self, RecipientError> {
        let kid = model_key.id().clone();
        let salt = random()?;
        let (cipher, commitment) =
            MessageCipher::derive(model_key.expose(), &salt, &context(model_id, &kid));
        let mut sealed_key = [0; KEY_LEN + TAG_LEN];
        let mut secret = content_key.content_key_for_wrapping();
        let tag = cipher
            .seal(0, secret.as_mut())
            .map_err(|source| RecipientError::Sealed { kid: kid.clone(), source })?;
        let (key_half, tag_half) = sealed_key.split_at_mut(KEY_LEN);
        key_half.copy_from_slice(secret.as_ref());
        tag_half.copy_from_slice(&tag);
        Ok(Self { kid, salt, commitment, sealed_key })
    }

    /// The content key again.
    ///
    /// # Errors
    /// In this order: [`RecipientError::OtherKey`], [`RecipientError::Commitment`] (wrong key bytes,
    /// wrong model, edited fields), [`RecipientError::Sealed`], [`RecipientError::Key`].
    pub fn unwrap(
        &self,
        model_key: &ModelKey,
        model_id: &ModelId,
    ) -> Result<ContentKey, RecipientError> {
        let kid = || self.kid.clone();
        if model_key.id() != &self.kid {
            return Err(RecipientError::OtherKey { expected: kid(), got: model_key.id().clone() });
        }
        let cipher = MessageCipher::derive_committed(
            model_key.expose(),
            &self.salt,
            &context(model_id, &self.kid),
            &self.commitment,
        )
        .map_err(|source| RecipientError::Commitment { kid: kid(), source })?;
        let (sealed, tag) = self.sealed_key.split_at(KEY_LEN);
        let mut secret = Zeroizing::new([0; KEY_LEN]);
        secret.copy_from_slice(sealed);
        let mut tag_bytes = [0; TAG_LEN];
        tag_bytes.copy_from_slice(tag);
        cipher
            .open(0, secret.as_mut(), &tag_bytes)
            .map_err(|source| RecipientError::Sealed { kid: kid(), source })?;
        Ok(ContentKey::from_bytes(secret.as_mut())?)
    }

    /// The name of the key it was sealed to.
    pub fn kid(&self) -> &KeyId {
        &self.kid
    }
}

fn context(model_id: &ModelId, kid: &KeyId) -> Vec<u8> {
    [CONTEXT, &model_id.0, kid.to_string().as_bytes()].concat()
}

/// Fixed-length bytes as standard base64 with padding, one spelling each.
pub(crate) mod base64_bytes {
    use base64::Engine as _;

    use super::{Deserialize, Deserializer, STANDARD, Serializer};

    pub(crate) fn serialize<S: Serializer, const N: usize>(
        bytes: &[u8; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[u8; N], D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong =
            || serde::de::Error::custom(format_args!("expected {N} bytes as padded base64"));
        let bytes = STANDARD.decode(&text).map_err(|_| wrong())?;
        bytes.try_into().map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8, epoch: u32) -> ModelKey {
        ModelKey::from_bytes(&mut [byte; 32], KeyId::new("kbs:///a/b/c", epoch).unwrap()).unwrap()
    }

    #[test]
    fn a_content_key_comes_back_from_its_recipient() {
        let content = ContentKey::generate().unwrap();
        let id = ModelId([3; 16]);
        let recipient = Recipient::wrap(&key(1, 1), &id, &content).unwrap();
        let again = recipient.unwrap(&key(1, 1), &id).unwrap();
        assert_eq!(again.expose(), content.expose());
    }

    #[test]
    fn another_key_epoch_or_model_is_refused() {
        let content = ContentKey::generate().unwrap();
        let id = ModelId([3; 16]);
        let recipient = Recipient::wrap(&key(1, 1), &id, &content).unwrap();
        assert!(matches!(
            recipient.unwrap(&key(2, 1), &id),
            Err(RecipientError::Commitment { .. })
        ));
        assert!(matches!(recipient.unwrap(&key(1, 2), &id), Err(RecipientError::OtherKey { .. })));
        assert!(matches!(
            recipient.unwrap(&key(1, 1), &ModelId([4; 16])),
            Err(RecipientError::Commitment { .. })
        ));
    }

    #[test]
    fn an_edited_sealed_key_is_refused() {
        let content = ContentKey::generate().unwrap();
        let id = ModelId([3; 16]);
        let mut recipient = Recipient::wrap(&key(1, 1), &id, &content).unwrap();
        for byte in 0..recipient.sealed_key.len() {
            recipient.sealed_key[byte] ^= 0x80;
            assert!(matches!(
                recipient.unwrap(&key(1, 1), &id),
                Err(RecipientError::Sealed { .. })
            ));
            recipient.sealed_key[byte] ^= 0x80;
        }
    }
}
