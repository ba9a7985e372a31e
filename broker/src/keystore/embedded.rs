//! Model keys in the embedded store, sealed under its root key.

use std::sync::Arc;

use adyton_attestation::UnixTime;
use adyton_attestation::rcar::{JweExtras, JweResponse, ResourcePath, jwe};
use adyton_sealed_weights::{ContentKey, KeyId, ModelId, ModelKey, Recipient};

use super::{KeyRecord, KeyStore, KeyStoreError, WhichEpoch};
use crate::audit::{AuditEntry, AuditEvent};
use crate::journal::{Journal, RecordedPermit};
use crate::store::{Row, Table};

/// First epoch of every key.
const FIRST_EPOCH: u32 = 1;

/// The key store in the broker's own file.
#[derive(Debug)]
pub struct EmbeddedKeyStore {
    journal: Arc<Journal>,
}

impl EmbeddedKeyStore {
    /// Keys live in the journal's store.
    pub fn new(journal: Arc<Journal>) -> Self {
        Self { journal }
    }

    fn load(&self, id: &KeyId) -> Result<ModelKey, KeyStoreError> {
        let row = Row { name: id.uri(), epoch: id.epoch() };
        let stored = self.journal.store().value(Table::Keys, row)?;
        let mut bytes = stored.ok_or_else(|| KeyStoreError::Unknown { kid: id.to_string() })?;
        Ok(ModelKey::from_bytes(&mut bytes, id.clone())?)
    }
}

impl KeyStore for EmbeddedKeyStore {
    fn create(&self, resource: &ResourcePath, actor: &str) -> Result<KeyRecord, KeyStoreError> {
        let id = KeyId::new(&resource.to_uri(), FIRST_EPOCH)?;
        let created_at = jiff::Timestamp::now().to_string();
        let key = ModelKey::generate(id.clone())?;
        let entry = AuditEntry::new(AuditEvent::KeyCreated, id.to_string(), actor);
        self.journal.change(entry, |rows| {
            let row = Row { name: id.uri(), epoch: id.epoch() };
            if rows.contains(Table::Keys, row)? {
                return Err(KeyStoreError::Exists { uri: id.uri().to_owned() });
            }
            rows.put(Table::Keys, row, key.key_bytes_for_wrapping().as_slice())?;
            rows.put(Table::KeyMetadata, row, created_at.as_bytes())?;
            Ok(())
        })?;
        Ok(KeyRecord { id, created_at })
    }

    fn list(&self) -> Result<Vec<KeyRecord>, KeyStoreError> {
        let store = self.journal.store();
        let mut records = Vec::new();
        for (uri, epoch) in store.rows(Table::Keys)? {
            let id = KeyId::new(&uri, epoch)?;
            let row = Row { name: &uri, epoch };
            let created_at = store
                .value(Table::KeyMetadata, row)?
                .ok_or_else(|| KeyStoreError::Unknown { kid: id.to_string() })?;
            let created_at = String::from_utf8_lossy(&created_at).into_owned();
            records.push(KeyRecord { id, created_at });
        }
        Ok(records)
    }

    fn find(
        &self,
        resource: &ResourcePath,
        epoch: WhichEpoch,
    ) -> Result<Option<KeyId>, KeyStoreError> {
        let uri = resource.to_uri();
        let rows = self.journal.store().rows(Table::Keys)?;
        let epochs = rows.into_iter().filter(|(name, _)| *name == uri).map(|(_, epoch)| epoch);
        let found = match epoch {
            WhichEpoch::Newest => epochs.max(),
            WhichEpoch::Exactly(wanted) => epochs.into_iter().find(|epoch| *epoch == wanted),
        };
        found.map(|epoch| KeyId::new(&uri, epoch)).transpose().map_err(KeyStoreError::from)
    }

    fn release(&self, permit: RecordedPermit, now: UnixTime) -> Result<JweResponse, KeyStoreError> {
        let permit = permit.permit();
        if permit.until() <= now {
            return Err(KeyStoreError::PermitEnded { until: permit.until() });
        }
        let request = permit.request();
        let key = self.load(&request.key)?;
        let extras = JweExtras {
            resource: Some(request.resource.clone()),
            minimum_model_version: Some(permit.minimum_model_version()),
        };
        let secret = key.key_bytes_for_wrapping();
        Ok(jwe::encrypt(&request.tee_key, secret.as_slice(), &extras)?)
    }

    fn wrap_content_key(
        &self,
        key: &KeyId,
        model: &ModelId,
        content_key: &ContentKey,
        actor: &str,
    ) -> Result<Recipient, KeyStoreError> {
        let model_key = self.load(key)?;
        let recipient = Recipient::wrap(&model_key, model, content_key)?;
        let entry = AuditEntry::new(AuditEvent::RecipientWrapped, key.to_string(), actor)
            .with("model-id", model.to_string());
        self.journal.change(entry, |_| Ok::<_, KeyStoreError>(()))?;
        Ok(recipient)
    }
}
