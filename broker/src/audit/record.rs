//! What one audit record says.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditEvent {
    /// The broker opened the log.
    BrokerStarted,
    /// The broker stopped in good order.
    BrokerStopped,
    /// A torn last line was cut off.
    TornLineRemoved,
    /// Evidence was verified; a session is attested.
    EvidenceVerified,
    /// Evidence was refused.
    EvidenceRefused,
    /// A key is about to leave, encrypted to the attested TEE key.
    KeyReleased,
    /// A key whose release was recorded could not be encrypted and did not leave.
    KeyReleaseFailed,
    /// A key was asked for and not released.
    KeyDenied,
    /// A model key was made.
    KeyCreated,
    /// A model key got a new epoch.
    KeyRotated,
    /// An epoch of a model key was ended: it is released to nobody any more.
    KeyRetired,
    /// A manifest got other recipients.
    RecipientsChanged,
    /// A content key was wrapped under a model key for a sealed model.
    RecipientWrapped,
    /// A release policy was set.
    PolicySet,
    /// A set of Reference Values was set.
    ReferenceValuesSet,
    /// Refusals were too many to be written one by one.
    RefusalsNotListed,
}

impl fmt::Display for AuditEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// What a caller wants to have recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// What happened.
    pub event: AuditEvent,
    /// To what: a key URI, the name of a set, or empty.
    pub subject: String,
    /// Because of whom: an administrator's name or a peer's address.
    pub actor: String,
    /// Id of the decision in the decision log, or empty.
    pub decision: String,
    /// Digests, codes and numbers, by name.
    pub details: BTreeMap<String, String>,
}

impl AuditEntry {
    /// An entry without details.
    pub fn new(event: AuditEvent, subject: impl Into<String>, actor: impl Into<String>) -> Self {
        Self {
            event,
            subject: subject.into(),
            actor: actor.into(),
            decision: String::new(),
            details: BTreeMap::new(),
        }
    }

    /// Adds one detail.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// Names the decision.
    #[must_use]
    pub fn for_decision(mut self, id: impl Into<String>) -> Self {
        self.decision = id.into();
        self
    }
}

/// One record as it is hashed. Members stand in alphabetical order and the JSON is compact: that is
/// its canonical form, and the only one that verifies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRecord {
    /// Because of whom.
    pub actor: String,
    /// When, RFC 3339 in UTC, by the broker's clock.
    pub at: String,
    /// Id of the decision, or empty.
    pub decision: String,
    /// Digests, codes and numbers.
    pub details: BTreeMap<String, String>,
    /// What happened.
    pub event: AuditEvent,
    /// Running number, from 1.
    pub seq: u64,
    /// To what.
    pub subject: String,
}
