//! The owner's sets of Reference Values, by name.
//!
//! In: TOML of one set, through the admin API. Out: parsed sets. What is stored is the text that the
//! owner sent, so that it comes back as it was; it is parsed before it is stored and again at use.

use std::sync::Arc;

use adyton_attestation::{ReferenceValueError, ReferenceValues};

use crate::audit::{AuditEntry, AuditEvent};
use crate::journal::{Journal, JournalError};
use crate::store::{Row, StoreError, Table};

/// Why a set was not stored or not read.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceValueStoreError {
    /// The text is not a set of Reference Values.
    #[error("the reference values were refused")]
    Malformed(#[from] ReferenceValueError),
    /// The change could not be recorded.
    #[error("the reference values were not set")]
    Journal(#[from] JournalError),
    /// The store refused.
    #[error("the reference values could not be read")]
    Store(#[from] StoreError),
}

/// One stored set.
#[derive(Clone, Debug)]
pub struct StoredReferenceValues {
    /// The set.
    pub values: ReferenceValues,
    /// The owner's text.
    pub toml: String,
}

/// Access to the stored sets.
#[derive(Clone, Debug)]
pub struct ReferenceValueStore {
    journal: Arc<Journal>,
}

impl ReferenceValueStore {
    /// Sets live in the journal's store.
    pub fn new(journal: Arc<Journal>) -> Self {
        Self { journal }
    }

    /// Stores a set under its own name, over an older one.
    ///
    /// # Errors
    /// [`ReferenceValueStoreError::Malformed`], [`Journal`](ReferenceValueStoreError::Journal),
    /// [`Store`](ReferenceValueStoreError::Store).
    pub fn set(
        &self,
        toml: &str,
        actor: &str,
    ) -> Result<ReferenceValues, ReferenceValueStoreError> {
        let values = ReferenceValues::parse_toml(toml)?;
        let entry = AuditEntry::new(AuditEvent::ReferenceValuesSet, values.name(), actor)
            .with("digest", values.digest());
        self.journal.change(entry, |rows| {
            rows.put(Table::ReferenceValues, Row::new(values.name()), toml.as_bytes())?;
            Ok::<_, ReferenceValueStoreError>(())
        })?;
        Ok(values)
    }

    /// The set with this name, if there is one.
    ///
    /// # Errors
    /// [`ReferenceValueStoreError::Store`], [`Malformed`](ReferenceValueStoreError::Malformed).
    pub fn named(
        &self,
        name: &str,
    ) -> Result<Option<StoredReferenceValues>, ReferenceValueStoreError> {
        let Some(bytes) = self.journal.store().value(Table::ReferenceValues, Row::new(name))?
        else {
            return Ok(None);
        };
        let toml = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Some(StoredReferenceValues { values: ReferenceValues::parse_toml(&toml)?, toml }))
    }

    /// All sets, by name.
    ///
    /// # Errors
    /// As [`named`](Self::named).
    pub fn all(&self) -> Result<Vec<StoredReferenceValues>, ReferenceValueStoreError> {
        let mut all = Vec::new();
        for (name, _) in self.journal.store().rows(Table::ReferenceValues)? {
            all.extend(self.named(&name)?);
        }
        Ok(all)
    }
}
