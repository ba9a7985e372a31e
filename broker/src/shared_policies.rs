//! Policies in Rego that are asked about every key, as Trustee has them: one for attestations of TEEs, one
//! for those of GPUs, one for resources.
//!
//! In: texts in Rego, through the KBS's own admin routes. Out: [`SharedRules`] for the next decision. They
//! are asked in addition to the release policy of a key: they can deny what it accepts, and accept nothing
//! that it denies. Without any, nothing is added.
//! Against: a policy that is stored and never asked (an id that nobody evaluates is refused), and one that
//! is found out not to parse when a guest waits for its key.

use std::collections::BTreeMap;
use std::sync::Arc;

use adyton_attestation::appraisal::RegoRules;
use adyton_rego::{PolicyNames, RegoPolicy, RegoRefusal};

use crate::audit::{AuditEntry, AuditEvent};
use crate::journal::{Journal, JournalError};
use crate::store::{Row, StoreError, Table};

/// How reasons call them.
pub const NAMES: PolicyNames = PolicyNames {
    attestation: "kbs.attestation-policy.cpu",
    gpu: "kbs.attestation-policy.gpu",
    resource: "kbs.resource-policy",
};

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedPolicy {
    /// Claims of the TEE in, trustworthiness vector out. Trustee's id `default_cpu`.
    Cpu,
    /// Claims of a GPU in, trustworthiness vector out. Trustee's id `default_gpu`.
    Gpu,
    /// Token and path in, `allow` out.
    Resource,
}

/// Why one was not stored or not read.
#[derive(Debug, thiserror::Error)]
pub enum SharedPolicyError {
    /// The text can't be used.
    #[error("the policy was refused")]
    Rego(#[from] RegoRefusal),
    /// The change could not be recorded.
    #[error("the policy was not changed")]
    Journal(#[from] JournalError),
    /// The store refused.
    #[error("the policy could not be read")]
    Store(#[from] StoreError),
}

/// Access to the stored texts.
#[derive(Clone, Debug)]
pub struct SharedPolicies {
    journal: Arc<Journal>,
}

/// What is asked about every key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SharedRules {
    cpu: Option<String>,
    gpu: Option<String>,
    resource: Option<String>,
}

impl SharedPolicy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Gpu, Self::Resource];

    /// The attestation policy with this id of Trustee's, if this broker ever asks one. `default` is its
    /// older name for `default_cpu`.
    pub fn attestation(id: &str) -> Option<Self> {
        match id {
            "default_cpu" | "default" => Some(Self::Cpu),
            "default_gpu" => Some(Self::Gpu),
            _ => None,
        }
    }

    /// Trustee's id.
    pub fn id(self) -> &'static str {
        match self {
            Self::Cpu => "default_cpu",
            Self::Gpu => "default_gpu",
            Self::Resource => "default",
        }
    }

    /// The row's name, and the subject in the audit log. No key's URI looks like it.
    pub fn row(self) -> &'static str {
        match self {
            Self::Cpu => "attestation-policy/default_cpu",
            Self::Gpu => "attestation-policy/default_gpu",
            Self::Resource => "resource-policy/default",
        }
    }
}

impl SharedPolicies {
    /// They live in the journal's store.
    pub fn new(journal: Arc<Journal>) -> Self {
        Self { journal }
    }

    /// Stores a policy that parses, over an older one. It counts from the next decision on.
    ///
    /// # Errors
    /// In this order: [`SharedPolicyError::Rego`], [`Journal`](SharedPolicyError::Journal),
    /// [`Store`](SharedPolicyError::Store).
    pub fn set(
        &self,
        which: SharedPolicy,
        text: &str,
        actor: &str,
    ) -> Result<RegoPolicy, SharedPolicyError> {
        let policy = RegoPolicy::parse(text)?;
        let entry = AuditEntry::new(AuditEvent::PolicySet, which.row(), actor)
            .with("digest", policy.digest());
        self.journal.change(entry, |rows| {
            rows.put(Table::Policies, Row::new(which.row()), text.as_bytes())?;
            Ok::<_, SharedPolicyError>(())
        })?;
        Ok(policy)
    }

    /// Takes a policy back: keys have their own left.
    ///
    /// # Errors
    /// [`SharedPolicyError::Journal`], [`Store`](SharedPolicyError::Store).
    pub fn remove(&self, which: SharedPolicy, actor: &str) -> Result<(), SharedPolicyError> {
        let entry = AuditEntry::new(AuditEvent::PolicySet, which.row(), actor)
            .with("digest", "none: removed");
        self.journal.change(entry, |rows| {
            rows.remove(Table::Policies, Row::new(which.row()))?;
            Ok::<_, SharedPolicyError>(())
        })
    }

    /// The text of a policy, if there is one.
    ///
    /// # Errors
    /// [`SharedPolicyError::Store`].
    pub fn text(&self, which: SharedPolicy) -> Result<Option<String>, SharedPolicyError> {
        let stored = self.journal.store().value(Table::Policies, Row::new(which.row()))?;
        Ok(stored.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// What is asked about every key, now.
    ///
    /// # Errors
    /// [`SharedPolicyError::Store`]; nothing may be released then.
    pub fn rules(&self) -> Result<SharedRules, SharedPolicyError> {
        Ok(SharedRules {
            cpu: self.text(SharedPolicy::Cpu)?,
            gpu: self.text(SharedPolicy::Gpu)?,
            resource: self.text(SharedPolicy::Resource)?,
        })
    }
}

impl SharedRules {
    /// The texts as the interpreter takes them; `None` when there are none.
    pub fn rego(&self) -> Option<RegoRules> {
        let none = self.cpu.is_none() && self.gpu.is_none() && self.resource.is_none();
        (!none).then(|| RegoRules {
            attestation: self.cpu.clone(),
            gpu: self.gpu.clone(),
            resource: self.resource.clone(),
            reference: BTreeMap::new(),
        })
    }

    /// SHA-256 of each text, by the name that reasons use: for the records.
    pub fn digests(&self) -> BTreeMap<&'static str, String> {
        let named = [
            (NAMES.attestation, &self.cpu),
            (NAMES.gpu, &self.gpu),
            (NAMES.resource, &self.resource),
        ];
        let present = named.into_iter().filter_map(|(name, text)| Some((name, text.as_ref()?)));
        present
            .map(|(name, text)| {
                let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
                (name, hex::encode(digest))
            })
            .collect()
    }
}
