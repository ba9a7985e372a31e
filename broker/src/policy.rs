//! The owner's release policies, one for each key, and what they need to be applied.
//!
//! In: TOML of one policy, through the admin API. Out: [`KeyRules`] for a key. A key without a policy
//! is released to nobody.

use std::sync::Arc;

use adyton_attestation::rcar::ResourcePath;
use adyton_attestation::{PolicyError, ReleasePolicy};
use adyton_rego::{RegoPolicy, RegoRefusal};

use crate::audit::{AuditEntry, AuditEvent};
use crate::decision::KeyRules;
use crate::journal::{Journal, JournalError};
use crate::reference_values::{ReferenceValueStore, ReferenceValueStoreError};
use crate::shared_policies::{SharedPolicies, SharedPolicy, SharedPolicyError};
use crate::store::{Row, StoreError, Table};

/// Why a policy was not stored or not read.
#[derive(Debug, thiserror::Error)]
pub enum PolicyStoreError {
    /// The text is not a release policy.
    #[error("the release policy was refused")]
    Malformed(#[from] PolicyError),
    /// The key's name breaks the path rule of the KBS.
    #[error("`key` of the release policy is not kbs:///<repository>/<type>/<tag>")]
    Key(#[source] adyton_attestation::rcar::ResourcePathError),
    /// The policy asks for what this broker never does.
    #[error("`insecure_allow_debug` is not offered: whoever runs the host reads a debug TD")]
    DebugNotOffered,
    /// A policy in Rego can't be used.
    #[error("`rego` of the release policy was refused")]
    Rego(#[source] RegoRefusal),
    /// The change could not be recorded.
    #[error("the release policy was not set")]
    Journal(#[from] JournalError),
    /// The store refused.
    #[error("the release policy could not be read")]
    Store(#[from] StoreError),
    /// The policy's Reference Values could not be read.
    #[error("the reference values of the release policy could not be read")]
    ReferenceValues(#[from] ReferenceValueStoreError),
    /// The policies for all keys could not be read.
    #[error("the policies for all keys could not be read")]
    Shared(#[from] SharedPolicyError),
}

/// One stored policy.
#[derive(Clone, Debug)]
pub struct StoredPolicy {
    /// The policy.
    pub policy: ReleasePolicy,
    /// The owner's text.
    pub toml: String,
}

/// Access to the stored policies.
#[derive(Clone, Debug)]
pub struct PolicyStore {
    journal: Arc<Journal>,
    references: ReferenceValueStore,
    shared: SharedPolicies,
}

impl PolicyStore {
    /// Policies live in the journal's store.
    pub fn new(
        journal: Arc<Journal>,
        references: ReferenceValueStore,
        shared: SharedPolicies,
    ) -> Self {
        Self { journal, references, shared }
    }

    /// Stores a policy for the key that it names, over an older one.
    ///
    /// # Errors
    /// In this order: [`PolicyStoreError::Malformed`], [`Key`](PolicyStoreError::Key),
    /// [`DebugNotOffered`](PolicyStoreError::DebugNotOffered), [`Rego`](PolicyStoreError::Rego), then
    /// journal and store.
    pub fn set(&self, toml: &str, actor: &str) -> Result<ReleasePolicy, PolicyStoreError> {
        let policy = ReleasePolicy::parse_toml(toml)?;
        let resource = ResourcePath::from_uri(&policy.key).map_err(PolicyStoreError::Key)?;
        // Evidence is verified before anybody knows for which key, and strictly; a policy that
        // hopes for less would only seem to work.
        if policy.appraisal.insecure_allow_debug {
            return Err(PolicyStoreError::DebugNotOffered);
        }
        if let Some(rego) = &policy.rego {
            for text in [&rego.attestation, &rego.gpu, &rego.resource].into_iter().flatten() {
                RegoPolicy::parse(text).map_err(PolicyStoreError::Rego)?;
            }
        }
        let entry = AuditEntry::new(AuditEvent::PolicySet, resource.to_uri(), actor)
            .with("digest", policy.digest());
        self.journal.change(entry, |rows| {
            rows.put(Table::Policies, Row::new(&resource.to_uri()), toml.as_bytes())?;
            Ok::<_, PolicyStoreError>(())
        })?;
        Ok(policy)
    }

    /// The policy of a key, if there is one.
    ///
    /// # Errors
    /// [`PolicyStoreError::Store`], [`Malformed`](PolicyStoreError::Malformed).
    pub fn for_key(
        &self,
        resource: &ResourcePath,
    ) -> Result<Option<StoredPolicy>, PolicyStoreError> {
        let row = resource.to_uri();
        let Some(bytes) = self.journal.store().value(Table::Policies, Row::new(&row))? else {
            return Ok(None);
        };
        let toml = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Some(StoredPolicy { policy: ReleasePolicy::parse_toml(&toml)?, toml }))
    }

    /// All policies, by key.
    ///
    /// # Errors
    /// As [`for_key`](Self::for_key).
    pub fn all(&self) -> Result<Vec<StoredPolicy>, PolicyStoreError> {
        let mut all = Vec::new();
        let shared = SharedPolicy::ALL.map(SharedPolicy::row);
        for (uri, _) in self.journal.store().rows(Table::Policies)? {
            if shared.contains(&uri.as_str()) {
                continue;
            }
            let resource = ResourcePath::from_uri(&uri).map_err(PolicyStoreError::Key)?;
            all.extend(self.for_key(&resource)?);
        }
        Ok(all)
    }

    /// Everything that decides about a key.
    ///
    /// # Errors
    /// [`PolicyStoreError`]; nothing may be released then.
    pub fn rules(&self, resource: &ResourcePath) -> Result<KeyRules, PolicyStoreError> {
        let Some(stored) = self.for_key(resource)? else {
            return Ok(KeyRules::NoPolicy);
        };
        let mut references = Vec::new();
        let mut unknown_references = Vec::new();
        let appraisal = &stored.policy.appraisal;
        let gpus = &appraisal.gpu.reference_values;
        for name in appraisal.reference_values.iter().chain(gpus) {
            match self.references.named(name)? {
                Some(set) => references.push(set.values),
                None => unknown_references.push(name.clone()),
            }
        }
        let policy = Box::new(stored.policy);
        let shared = self.shared.rules()?;
        Ok(KeyRules::Policy { policy, references, unknown_references, shared })
    }
}
