//! Model keys in the embedded store, sealed under its root key.

use std::sync::Arc;

use adyton_attestation::UnixTime;
use adyton_attestation::rcar::{JweExtras, JweResponse, ResourcePath, jwe};
use adyton_sealed_weights::{ContentKey, KeyId, Manifest, ModelId, ModelKey, Recipient};

use super::{KeyRecord, KeyStore, KeyStoreError, RecipientChange, WhichEpoch};
use crate::audit::{AuditEntry, AuditEvent};
use crate::journal::{Journal, RecordedPermit};
use crate::store::{Row, StoreError, Table};

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

    /// A key that may be released and sealed to.
    fn load_in_force(&self, id: &KeyId) -> Result<ModelKey, KeyStoreError> {
        if self.text(Table::RetiredKeys, id)?.is_some() {
            return Err(KeyStoreError::Retired { kid: id.to_string() });
        }
        self.load(id)
    }

    fn record(&self, id: KeyId) -> Result<KeyRecord, KeyStoreError> {
        let unknown = || KeyStoreError::Unknown { kid: id.to_string() };
        let created_at = self.text(Table::KeyMetadata, &id)?.ok_or_else(unknown)?;
        let retired_at = self.text(Table::RetiredKeys, &id)?;
        Ok(KeyRecord { id, created_at, retired_at })
    }

    fn text(&self, table: Table, id: &KeyId) -> Result<Option<String>, StoreError> {
        let value = self.journal.store().value(table, row(id))?;
        Ok(value.map(|text| String::from_utf8_lossy(&text).into_owned()))
    }

    fn newest(&self, uri: &str) -> Result<Option<u32>, StoreError> {
        let rows = self.journal.store().rows(Table::Keys)?;
        Ok(rows.into_iter().filter(|(name, _)| name == uri).map(|(_, epoch)| epoch).max())
    }

    /// Makes a key and records it, unless there is one of this name and epoch.
    fn make(&self, id: KeyId, event: AuditEvent, actor: &str) -> Result<KeyRecord, KeyStoreError> {
        let created_at = jiff::Timestamp::now().to_string();
        let key = ModelKey::generate(id.clone())?;
        let entry = AuditEntry::new(event, id.to_string(), actor);
        self.journal.change(entry, |rows| {
            if rows.contains(Table::Keys, row(&id))? {
                return Err(KeyStoreError::Exists { uri: id.uri().to_owned() });
            }
            rows.put(Table::Keys, row(&id), key.key_bytes_for_wrapping().as_slice())?;
            rows.put(Table::KeyMetadata, row(&id), created_at.as_bytes())?;
            Ok(())
        })?;
        Ok(KeyRecord { id, created_at, retired_at: None })
    }
}

fn row(id: &KeyId) -> Row<'_> {
    Row { name: id.uri(), epoch: id.epoch() }
}

impl KeyStore for EmbeddedKeyStore {
    fn create(&self, resource: &ResourcePath, actor: &str) -> Result<KeyRecord, KeyStoreError> {
        let id = KeyId::new(&resource.to_uri(), FIRST_EPOCH)?;
        self.make(id, AuditEvent::KeyCreated, actor)
    }

    fn list(&self) -> Result<Vec<KeyRecord>, KeyStoreError> {
        let rows = self.journal.store().rows(Table::Keys)?;
        rows.into_iter().map(|(uri, epoch)| self.record(KeyId::new(&uri, epoch)?)).collect()
    }

    fn find(
        &self,
        resource: &ResourcePath,
        epoch: WhichEpoch,
    ) -> Result<Option<KeyRecord>, KeyStoreError> {
        let uri = resource.to_uri();
        let rows = self.journal.store().rows(Table::Keys)?;
        let epochs = rows.into_iter().filter(|(name, _)| *name == uri).map(|(_, epoch)| epoch);
        let found = match epoch {
            WhichEpoch::Newest => epochs.max(),
            WhichEpoch::Exactly(wanted) => epochs.into_iter().find(|epoch| *epoch == wanted),
        };
        found.map(|epoch| self.record(KeyId::new(&uri, epoch)?)).transpose()
    }

    fn rotate(&self, resource: &ResourcePath, actor: &str) -> Result<KeyRecord, KeyStoreError> {
        let uri = resource.to_uri();
        let newest = self.newest(&uri)?;
        let newest = newest.ok_or_else(|| KeyStoreError::Unknown { kid: uri.clone() })?;
        let next = newest.checked_add(1).ok_or(KeyStoreError::NoEpochLeft { uri: uri.clone() })?;
        // Of two at once the second is refused, because the first has made this epoch.
        self.make(KeyId::new(&uri, next)?, AuditEvent::KeyRotated, actor)
    }

    fn retire(&self, key: &KeyId, actor: &str) -> Result<KeyRecord, KeyStoreError> {
        let record = self.record(key.clone())?;
        if record.retired_at.is_some() {
            return Ok(record);
        }
        if self.newest(key.uri())? == Some(key.epoch()) {
            return Err(KeyStoreError::Newest { kid: key.to_string() });
        }
        let retired_at = jiff::Timestamp::now().to_string();
        let entry = AuditEntry::new(AuditEvent::KeyRetired, key.to_string(), actor);
        self.journal.change(entry, |rows| {
            rows.put(Table::RetiredKeys, row(key), retired_at.as_bytes())?;
            Ok::<_, KeyStoreError>(())
        })?;
        Ok(KeyRecord { retired_at: Some(retired_at), ..record })
    }

    fn release(&self, permit: RecordedPermit, now: UnixTime) -> Result<JweResponse, KeyStoreError> {
        let permit = permit.permit();
        if permit.until() <= now {
            return Err(KeyStoreError::PermitEnded { until: permit.until() });
        }
        let request = permit.request();
        let key = self.load_in_force(&request.key)?;
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
        let model_key = self.load_in_force(key)?;
        let recipient = Recipient::wrap(&model_key, model, content_key)?;
        let entry = AuditEntry::new(AuditEvent::RecipientWrapped, key.to_string(), actor)
            .with("model-id", model.to_string());
        self.journal.change(entry, |_| Ok::<_, KeyStoreError>(()))?;
        Ok(recipient)
    }

    fn rewrap(
        &self,
        manifest: Manifest,
        change: &RecipientChange,
        actor: &str,
    ) -> Result<Manifest, KeyStoreError> {
        // Whichever is here, a retired one too: the content key goes nowhere.
        let mut ours = None;
        for recipient in manifest.recipients() {
            match self.load(recipient.kid()) {
                Ok(key) => {
                    ours = Some(key);
                    break;
                }
                Err(KeyStoreError::Unknown { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        let listed = || manifest.recipients().iter().map(|r| r.kid().clone()).collect();
        let ours = ours.ok_or_else(|| KeyStoreError::NoKeyFor { listed: listed() })?;
        let unlocked = manifest.unlock(&ours)?;
        let model_id = unlocked.manifest().model_id();
        let wrap = |kid: &KeyId| {
            let key = self.load_in_force(kid)?;
            Ok::<_, KeyStoreError>(Recipient::wrap(&key, &model_id, unlocked.content_key())?)
        };
        let added = change.add.iter().map(wrap).collect::<Result<Vec<_>, _>>()?;
        let changed = unlocked.with_recipients(added, &change.remove)?;
        let names =
            |kids: &[KeyId]| kids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let entry = AuditEntry::new(AuditEvent::RecipientsChanged, ours.id().to_string(), actor)
            .with("model-id", model_id.to_string())
            .with("added", names(&change.add))
            .with("removed", names(&change.remove));
        self.journal.change(entry, |_| Ok::<_, KeyStoreError>(()))?;
        Ok(changed)
    }
}
