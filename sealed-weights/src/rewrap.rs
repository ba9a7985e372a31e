//! Gives a sealed model other recipients: a key of a new epoch, a second owner, one recipient fewer.
//!
//! In: a manifest and one of the model keys that open it. Out: a manifest with the same files, the same content
//! key and a new MAC. Objects are neither read nor written: it takes as long as the manifest takes to parse.
//! The content key does not leave this crate's protected memory.
//!
//! What it cannot do is to take back what a recipient had: whoever opened the old manifest may have kept the
//! content key. docs/decisions/0018 says what ends a key instead.
//!
//! Against: a new MAC over a manifest that somebody edited, which is why the old one is verified first.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use crate::error::OpenError;
use crate::key::{ContentKey, KeyId, ModelKey};
use crate::manifest::{Manifest, ManifestError};
use crate::recipient::Recipient;

/// A manifest that is authentic, and its content key. It proves nothing about objects.
#[derive(Debug)]
pub struct UnlockedManifest {
    manifest: Manifest,
    content_key: ContentKey,
}

/// Why recipients were not changed.
#[derive(Debug, thiserror::Error)]
pub enum RewrapError {
    /// To be removed, and not there.
    #[error("the model has no recipient `{kid}`")]
    NotListed {
        /// The key.
        kid: KeyId,
    },
    /// To be added, and there already.
    #[error("the model has a recipient `{kid}` already")]
    Listed {
        /// The key.
        kid: KeyId,
    },
    /// None would be left, or too many.
    #[error("the manifest cannot have these recipients")]
    Manifest(#[from] ManifestError),
}

impl Manifest {
    /// Releases the content key to whoever holds one of the model keys, and verifies the MAC with it.
    ///
    /// # Errors
    /// In this order: [`OpenError::NoRecipient`], [`OpenError::Recipient`], [`OpenError::Mac`].
    pub fn unlock(self, model_key: &ModelKey) -> Result<UnlockedManifest, OpenError> {
        let content_key = self.release(model_key)?;
        Ok(UnlockedManifest { manifest: self, content_key })
    }

    pub(crate) fn release(&self, model_key: &ModelKey) -> Result<ContentKey, OpenError> {
        let recipients = self.recipients();
        let recipient = recipients
            .iter()
            .find(|recipient| recipient.kid() == model_key.id())
            .ok_or_else(|| OpenError::NoRecipient {
                wanted: model_key.id().clone(),
                listed: recipients.iter().map(|recipient| recipient.kid().clone()).collect(),
            })?;
        let content_key = recipient.unwrap(model_key, &self.model_id())?;
        self.authenticate(&content_key)?;
        Ok(content_key)
    }
}

impl UnlockedManifest {
    /// The authentic manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The content key, to make a recipient for another model key of it.
    pub fn content_key(&self) -> &ContentKey {
        &self.content_key
    }

    /// The manifest with some recipients more and some fewer. One that is added stands before the older
    /// epochs of its key, or else at the end.
    ///
    /// # Errors
    /// In this order: [`RewrapError::NotListed`], [`RewrapError::Listed`], [`RewrapError::Manifest`].
    pub fn with_recipients(
        &self,
        add: Vec<Recipient>,
        remove: &[KeyId],
    ) -> Result<Manifest, RewrapError> {
        let mut recipients = self.manifest.recipients().to_vec();
        if let Some(kid) = remove.iter().find(|kid| recipients.iter().all(|r| r.kid() != *kid)) {
            return Err(RewrapError::NotListed { kid: kid.clone() });
        }
        for recipient in add {
            let kid = recipient.kid();
            if recipients.iter().any(|listed| listed.kid() == kid) {
                return Err(RewrapError::Listed { kid: kid.clone() });
            }
            let older = recipients.iter().position(|listed| listed.kid().uri() == kid.uri());
            recipients.insert(older.unwrap_or(recipients.len()), recipient);
        }
        recipients.retain(|recipient| !remove.contains(recipient.kid()));
        Ok(self.manifest.with_recipients(recipients, &self.content_key)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::FileFormat;
    use crate::key::ModelId;
    use crate::manifest::{Draft, FileEntry};
    use crate::path::ModelPath;

    fn key(name: &str, epoch: u32) -> ModelKey {
        let id = KeyId::new(&format!("kbs:///a/b/{name}"), epoch).unwrap();
        let byte = name.as_bytes()[0] ^ u8::try_from(epoch).unwrap();
        ModelKey::from_bytes(&mut [byte; 32], id).unwrap()
    }

    fn manifest(keys: &[ModelKey]) -> Manifest {
        let (content_key, model_id) = (ContentKey::generate().unwrap(), ModelId([3; 16]));
        let file = FileEntry {
            path: ModelPath::parse("config.json").unwrap(),
            size: 2,
            format: FileFormat::Other,
            salt: [1; 24],
            commitment: [2; 32],
            tag_table_sha256: [3; 32],
        };
        let recipients = keys.iter().map(|key| Recipient::wrap(key, &model_id, &content_key));
        let draft = Draft {
            name: "a".into(),
            version: 1,
            model_id,
            allowed_formats: vec![],
            files: vec![file],
            recipients: recipients.collect::<Result<_, _>>().unwrap(),
        };
        Manifest::seal(draft, &content_key).unwrap()
    }

    fn wrapped(unlocked: &UnlockedManifest, key: &ModelKey) -> Recipient {
        Recipient::wrap(key, &unlocked.manifest().model_id(), unlocked.content_key()).unwrap()
    }

    fn kids(manifest: &Manifest) -> Vec<String> {
        manifest
            .recipients()
            .iter()
            .map(|recipient| {
                let kid = recipient.kid().to_string();
                kid.trim_start_matches("kbs:///a/b/").to_owned()
            })
            .collect()
    }

    #[test]
    fn a_rotated_key_takes_the_place_of_its_older_epoch_and_opens() {
        let old = manifest(&[key("x", 1), key("y", 1)]);
        let unlocked = old.clone().unlock(&key("x", 1)).unwrap();
        let add = vec![wrapped(&unlocked, &key("x", 2))];
        let new = unlocked.with_recipients(add, &[key("x", 1).id().clone()]).unwrap();
        assert_eq!(kids(&new), ["x?epoch=2", "y?epoch=1"]);
        let again = Manifest::parse(&new.to_json().unwrap()).unwrap();
        assert_eq!(again.files(), old.files());
        let opened = again.clone().unlock(&key("x", 2)).unwrap();
        assert_eq!(opened.content_key().expose(), unlocked.content_key().expose());
        assert!(matches!(again.unlock(&key("x", 1)), Err(OpenError::NoRecipient { .. })));
    }

    #[test]
    fn both_epochs_may_stand_beside_each_other_the_newer_one_first() {
        let unlocked = manifest(&[key("y", 1), key("x", 1)]).unlock(&key("x", 1)).unwrap();
        let add = vec![wrapped(&unlocked, &key("x", 2)), wrapped(&unlocked, &key("z", 1))];
        let new = unlocked.with_recipients(add, &[]).unwrap();
        assert_eq!(kids(&new), ["y?epoch=1", "x?epoch=2", "x?epoch=1", "z?epoch=1"]);
        for key in [key("y", 1), key("x", 2), key("x", 1), key("z", 1)] {
            new.clone().unlock(&key).unwrap();
        }
    }

    #[test]
    fn an_edited_manifest_gets_no_new_mac() {
        let text = String::from_utf8(manifest(&[key("x", 1)]).to_json().unwrap()).unwrap();
        let edited = text.replace("\"version\": 1", "\"version\": 2");
        assert_ne!(edited, text);
        let edited = Manifest::parse(edited.as_bytes()).unwrap();
        assert!(matches!(edited.unlock(&key("x", 1)), Err(OpenError::Mac(_))));
    }

    #[test]
    fn what_is_not_there_what_is_there_and_nobody_are_refused() {
        let unlocked = manifest(&[key("x", 1)]).unlock(&key("x", 1)).unwrap();
        let (x, y) = (key("x", 1), key("y", 1));
        assert!(matches!(
            unlocked.with_recipients(vec![], &[y.id().clone()]),
            Err(RewrapError::NotListed { kid }) if kid == *y.id()
        ));
        assert!(matches!(
            unlocked.with_recipients(vec![wrapped(&unlocked, &x)], &[]),
            Err(RewrapError::Listed { kid }) if kid == *x.id()
        ));
        assert!(matches!(
            unlocked.with_recipients(vec![], &[x.id().clone()]),
            Err(RewrapError::Manifest(ManifestError::Bound { field: "recipients", .. }))
        ));
    }
}
