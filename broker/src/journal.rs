//! Writes down what was decided, on disk, before it has effect.
//!
//! In: a [`ReleasePermit`], a refusal, or an owner's change. Out: for a permit a [`RecordedPermit`],
//! which is the only thing that a key store releases for. Audit log and store are written under one
//! lock: the change is prepared in a transaction, the audit record goes to disk, then the transaction
//! with the log's new head commits. So an effect without a record can't exist, and a log without its
//! end, or a store that is an old copy, is noticed on the next start.
//! Refusals cost nothing to provoke, so their records are rationed; what was left out is counted.
//! Against: releases that nobody can find out about; a disk filled by strangers; cut-off logs.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use adyton_attestation::{Reason, UnixTime};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::audit::{AUDIT_FILE, AuditEntry, AuditError, AuditEvent, AuditLog, Head};
use crate::decision::{DecisionId, ReleasePermit};
use crate::error::StartupError;
use crate::store::{Row, RowWriter, Store, StoreError, Table};

const HEAD: Row<'static> = Row::new("audit-head");
/// Records of refusals that may be written at once, and how fast the ration grows again: at most some
/// 8,600 records and 3 MB a day, so that strangers can't fill the disk that releases need.
const REFUSAL_BURST: u32 = 200;
const REFUSAL_INTERVAL: Duration = Duration::from_secs(10);

/// How a decision came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The key was released.
    Released,
    /// The key was not released.
    Denied,
    /// The Evidence was refused, so no key was asked for.
    EvidenceRefused,
}

impl Outcome {
    /// The word in records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Denied => "denied",
            Self::EvidenceRefused => "evidence-refused",
        }
    }
}

/// A decision as the owner sees it, with everything that led to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// The id that the guest got.
    pub id: DecisionId,
    /// When, by the broker's clock.
    pub at: UnixTime,
    /// How it came out.
    pub outcome: Outcome,
    /// The key with its epoch, when one was asked for.
    pub kid: Option<String>,
    /// Address of the peer.
    pub peer: String,
    /// Every reason against; empty when the key was released.
    pub reasons: Vec<Reason>,
    /// The claims, when the Evidence was verified.
    pub claims: Option<Value>,
    /// SHA-256 of the release policy, when there was one.
    pub policy_digest: Option<String>,
    /// The set of Reference Values that matched.
    pub matched_reference_values: Option<String>,
}

/// Why nothing was written, so that nothing may happen.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The audit log refused.
    #[error("the audit record could not be written")]
    Audit(#[from] AuditError),
    /// The store refused.
    #[error("the store could not be written")]
    Store(#[from] StoreError),
    /// A decision record can't be expressed.
    #[error("the decision can't be written down")]
    Record(#[from] serde_json::Error),
}

/// A [`ReleasePermit`] whose audit record is on disk.
#[derive(Debug)]
pub struct RecordedPermit(ReleasePermit);

impl RecordedPermit {
    /// The only birth of a `RecordedPermit`: where the record was flushed and committed.
    fn assertion(permit: ReleasePermit) -> Self {
        Self(permit)
    }

    /// What was permitted and recorded.
    pub fn permit(&self) -> &ReleasePermit {
        &self.0
    }
}

/// Whether a refusal got a record of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// It is in the audit log and in the decision log.
    Yes,
    /// There were too many; it is only counted.
    CountedOnly,
}

/// The audit log together with the decision log and the store they live beside.
#[derive(Debug)]
pub struct Journal {
    store: Arc<Store>,
    decisions_kept: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    log: AuditLog,
    ration: Ration,
}

impl Journal {
    /// Verifies the audit log against the store and goes on from there.
    ///
    /// # Errors
    /// [`StartupError::Store`], [`StartupError::Audit`].
    pub fn open(
        store: Arc<Store>,
        state_dir: &Path,
        decisions_kept: u64,
    ) -> Result<Self, StartupError> {
        let known = match store.value(Table::Meta, HEAD)? {
            Some(bytes) => decode_head(&bytes)
                .ok_or(StoreError::Form { table: Table::Meta.name(), row: HEAD.name.into() })?,
            None => Head::EMPTY,
        };
        let (log, torn) = AuditLog::open(&state_dir.join(AUDIT_FILE), known)?;
        let inner = Mutex::new(Inner { log, ration: Ration::new(Instant::now()) });
        let journal = Self { store, decisions_kept, inner };
        if let Some(torn) = torn {
            tracing::warn!(bytes = torn.bytes, "a torn last line of the audit log was cut off");
            let entry = AuditEntry::new(AuditEvent::TornLineRemoved, "", "broker")
                .with("bytes", torn.bytes.to_string());
            journal.record(entry)?;
        }
        Ok(journal)
    }

    /// Records that a key is about to leave.
    ///
    /// # Errors
    /// [`JournalError`]; the permit is gone and nothing may be released.
    pub fn record_release(
        &self,
        permit: ReleasePermit,
        record: &DecisionRecord,
    ) -> Result<RecordedPermit, JournalError> {
        let request = permit.request();
        let mut entry =
            AuditEntry::new(AuditEvent::KeyReleased, request.key.to_string(), &record.peer)
                .for_decision(request.decision.as_str())
                .with("policy-digest", permit.policy_digest())
                .with("reference-values", permit.matched_reference_values())
                .with("minimum-model-version", permit.minimum_model_version().to_string())
                .with("tee-key", tee_key_thumbprint(&permit));
        for (name, digest) in permit.shared_policies() {
            entry = entry.with(&format!("policy-digest.{name}"), digest);
        }
        for (name, value) in claim_texts(permit.claims()) {
            entry = entry.with(&name, value);
        }
        let mut inner = self.lock();
        self.write_omitted(&mut inner)?;
        self.commit(&mut inner, entry, |rows, head| self.put_decision(rows, head, record))?;
        Ok(RecordedPermit::assertion(permit))
    }

    /// Records a refusal, unless there were too many of late.
    ///
    /// # Errors
    /// [`JournalError`]. The refusal stands in any case.
    pub fn record_refusal(&self, record: &DecisionRecord) -> Result<Listed, JournalError> {
        let event = match record.outcome {
            Outcome::EvidenceRefused => AuditEvent::EvidenceRefused,
            Outcome::Denied | Outcome::Released => AuditEvent::KeyDenied,
        };
        let codes: Vec<&str> = record.reasons.iter().map(|reason| &*reason.code).collect();
        let subject = record.kid.clone().unwrap_or_default();
        let entry = AuditEntry::new(event, subject, &record.peer)
            .for_decision(record.id.as_str())
            .with("codes", codes.join(","));
        let mut inner = self.lock();
        if !inner.ration.take(Instant::now()) {
            return Ok(Listed::CountedOnly);
        }
        self.write_omitted(&mut inner)?;
        self.commit(&mut inner, entry, |rows, head| self.put_decision(rows, head, record))?;
        Ok(Listed::Yes)
    }

    /// Records that Evidence was verified, unless there was too much of late.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn record_verified(&self, entry: AuditEntry) -> Result<Listed, JournalError> {
        let mut inner = self.lock();
        if !inner.ration.take(Instant::now()) {
            return Ok(Listed::CountedOnly);
        }
        self.write_omitted(&mut inner)?;
        self.commit(&mut inner, entry, |_, _| Ok::<_, JournalError>(()))?;
        Ok(Listed::Yes)
    }

    /// Records an event that changes nothing in the store.
    ///
    /// # Errors
    /// [`StartupError::Audit`], [`StartupError::Store`].
    pub fn record(&self, entry: AuditEntry) -> Result<(), StartupError> {
        let mut inner = self.lock();
        let written = self.commit(&mut inner, entry, |_, _| Ok::<_, JournalError>(()));
        written.map_err(|error| match error {
            JournalError::Audit(error) => error.into(),
            JournalError::Store(error) => error.into(),
            JournalError::Record(_) => AuditError::Failed.into(),
        })
    }

    /// Makes a change of the owner's together with its record. When `change` refuses, there is
    /// neither.
    ///
    /// # Errors
    /// What `change` says, or [`JournalError`] as `E`.
    pub fn change<T, E>(
        &self,
        entry: AuditEntry,
        change: impl FnOnce(&RowWriter<'_>) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<JournalError> + From<StoreError>,
    {
        let mut inner = self.lock();
        self.commit(&mut inner, entry, |rows, _| change(rows))
    }

    /// The newest decisions, newest first.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn decisions(&self, limit: usize) -> Result<Vec<DecisionRecord>, JournalError> {
        let values = self.store.last_values(Table::Decisions, limit)?;
        values.iter().map(|value| Ok(serde_json::from_slice(value)?)).collect()
    }

    /// The decision with this id, if it is still kept.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn decision(&self, id: &str) -> Result<Option<DecisionRecord>, JournalError> {
        let Some(number) = self.store.value(Table::DecisionIds, Row::new(id))? else {
            return Ok(None);
        };
        let number = String::from_utf8_lossy(&number);
        match self.store.value(Table::Decisions, Row::new(&number))? {
            Some(value) => Ok(Some(serde_json::from_slice(&value)?)),
            None => Ok(None),
        }
    }

    /// Whether records can still be written, as far as is known.
    pub fn is_usable(&self) -> bool {
        self.lock().log.is_usable()
    }

    /// As after a failed write to the disk.
    #[cfg(test)]
    pub(crate) fn refuse_from_now_on(&self) {
        self.lock().log.fail();
    }

    /// The store beside the log.
    pub fn store(&self) -> &Store {
        &self.store
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while the lock was held leaves log and store in an order that the next start
        // accepts, and `commit` marks the log before it can be half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// 1. prepare the change; 2. record to disk; 3. commit the change with the log's new head.
    fn commit<T, E>(
        &self,
        inner: &mut Inner,
        entry: AuditEntry,
        change: impl FnOnce(&RowWriter<'_>, Head) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<JournalError> + From<StoreError>,
    {
        let before = inner.log.head();
        let next = Head { seq: before.seq.saturating_add(1), ..before };
        let result = self.store.write(|rows| {
            let done = change(rows, next)?;
            let head = inner.log.append(now_text(), entry).map_err(JournalError::from)?;
            rows.put(Table::Meta, HEAD, &encode_head(head))?;
            Ok(done)
        });
        // The record is on disk and its effect is not: nothing more until a restart compares them.
        if result.is_err() && inner.log.head() != before {
            inner.log.fail();
        }
        result
    }

    fn write_omitted(&self, inner: &mut Inner) -> Result<(), JournalError> {
        let omitted = std::mem::take(&mut inner.ration.omitted);
        if omitted == 0 {
            return Ok(());
        }
        let entry = AuditEntry::new(AuditEvent::RefusalsNotListed, "", "broker")
            .with("count", omitted.to_string());
        self.commit(inner, entry, |_, _| Ok(()))
    }

    fn put_decision(
        &self,
        rows: &RowWriter<'_>,
        head: Head,
        record: &DecisionRecord,
    ) -> Result<(), JournalError> {
        // The number of the audit record orders the decisions; 20 digits sort as numbers do.
        let number = format!("{:020}", head.seq);
        rows.put(Table::Decisions, Row::new(&number), &serde_json::to_vec(record)?)?;
        rows.put(Table::DecisionIds, Row::new(record.id.as_str()), number.as_bytes())?;
        rows.keep_last(Table::Decisions, self.decisions_kept, |old| {
            match serde_json::from_slice::<DecisionRecord>(old) {
                Ok(old) => rows.remove(Table::DecisionIds, Row::new(old.id.as_str())),
                // A record of another release: its id row stays behind and finds nothing.
                Err(_) => Ok(()),
            }
        })?;
        Ok(())
    }
}

/// A bucket of permissions to write a refusal.
#[derive(Debug)]
struct Ration {
    left: u32,
    refilled: Instant,
    omitted: u64,
}

impl Ration {
    fn new(now: Instant) -> Self {
        Self { left: REFUSAL_BURST, refilled: now, omitted: 0 }
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.refilled).as_millis();
        let grown = passed / REFUSAL_INTERVAL.as_millis();
        if grown > 0 {
            let grown = u32::try_from(grown).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(grown).min(REFUSAL_BURST);
            self.refilled = now;
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => {
                self.omitted = self.omitted.saturating_add(1);
                false
            }
        }
    }
}

/// The broker's clock, as text.
fn now_text() -> String {
    jiff::Timestamp::now().to_string()
}

fn encode_head(head: Head) -> [u8; 40] {
    let mut bytes = [0; 40];
    let (seq, hash) = bytes.split_at_mut(8);
    seq.copy_from_slice(&head.seq.to_be_bytes());
    hash.copy_from_slice(&head.hash);
    bytes
}

fn decode_head(bytes: &[u8]) -> Option<Head> {
    let (seq, hash) = bytes.split_first_chunk::<8>()?;
    Some(Head { seq: u64::from_be_bytes(*seq), hash: hash.try_into().ok()? })
}

/// SHA-256 of the TEE key's coordinates as JWK members, hex: which key got the secret.
fn tee_key_thumbprint(permit: &ReleasePermit) -> String {
    let (x, y) = permit.request().tee_key.coordinates();
    let text = format!("{x}.{y}");
    hex::encode(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()))
}

/// Members of the claims that are texts or numbers, for the audit record.
fn claim_texts(claims: &Value) -> Vec<(String, String)> {
    let Value::Object(members) = claims else {
        return Vec::new();
    };
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    members.iter().map(|(name, value)| (format!("claim.{name}"), text(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(folder: &Path, kept: u64) -> Journal {
        let store = Arc::new(Store::open(folder).expect("store"));
        Journal::open(store, folder, kept).expect("journal")
    }

    fn refusal() -> DecisionRecord {
        DecisionRecord {
            id: DecisionId::fresh().expect("random"),
            at: UnixTime(1_800_000_000),
            outcome: Outcome::Denied,
            kid: Some("kbs:///a/b/c?epoch=1".into()),
            peer: "127.0.0.1:9".into(),
            reasons: Vec::new(),
            claims: None,
            policy_digest: None,
            matched_reference_values: None,
        }
    }

    #[test]
    fn a_refusal_is_found_by_its_id_after_a_restart() {
        let folder = tempfile::tempdir().expect("folder");
        let record = refusal();
        {
            let journal = journal(folder.path(), 10);
            assert_eq!(journal.record_refusal(&record).expect("written"), Listed::Yes);
        }
        let journal = journal(folder.path(), 10);
        let found = journal.decision(record.id.as_str()).expect("readable").expect("kept");
        assert_eq!(found.id, record.id);
        assert!(journal.decision("00").expect("readable").is_none());
    }

    #[test]
    fn only_the_newest_decisions_are_kept() {
        let folder = tempfile::tempdir().expect("folder");
        let journal = journal(folder.path(), 2);
        let records = [refusal(), refusal(), refusal()];
        for record in &records {
            journal.record_refusal(record).expect("written");
        }
        let kept = journal.decisions(10).expect("readable");
        let ids: Vec<_> = kept.iter().map(|record| record.id.clone()).collect();
        assert_eq!(ids, [records[2].id.clone(), records[1].id.clone()]);
        assert!(journal.decision(records[0].id.as_str()).expect("readable").is_none());
        assert_eq!(journal.store.rows(Table::DecisionIds).expect("rows").len(), 2);
    }

    #[test]
    fn a_cut_off_audit_log_stops_the_next_start() {
        let folder = tempfile::tempdir().expect("folder");
        journal(folder.path(), 10).record_refusal(&refusal()).expect("written");
        std::fs::write(folder.path().join(AUDIT_FILE), b"").expect("emptied");
        let store = Arc::new(Store::open(folder.path()).expect("store"));
        let error = Journal::open(store, folder.path(), 10).expect_err("cut off");
        let truncated = matches!(error, StartupError::Audit(AuditError::Truncated { .. }));
        assert!(truncated, "{error:?}");
        assert_eq!(error.exit_code(), 14);
    }

    #[test]
    fn a_store_replaced_by_an_empty_one_stops_the_next_start() {
        let folder = tempfile::tempdir().expect("folder");
        {
            let journal = journal(folder.path(), 10);
            journal.record_refusal(&refusal()).expect("written");
            journal.record_refusal(&refusal()).expect("written");
        }
        std::fs::remove_file(folder.path().join(crate::store::STORE_FILE)).expect("removed");
        let store = Arc::new(Store::open(folder.path()).expect("store"));
        let error = Journal::open(store, folder.path(), 10).expect_err("old copy");
        let older = matches!(error, StartupError::Audit(AuditError::StoreIsOlder { .. }));
        assert!(older, "{error:?}");
    }

    #[test]
    fn a_change_that_refuses_leaves_no_record() {
        let folder = tempfile::tempdir().expect("folder");
        let journal = journal(folder.path(), 10);
        let entry = AuditEntry::new(AuditEvent::KeyCreated, "", "");
        let result: Result<(), JournalError> =
            journal.change(entry, |_| Err(StoreError::Random.into()));
        assert!(matches!(result, Err(JournalError::Store(StoreError::Random))));
        assert_eq!(journal.lock().log.head(), Head::EMPTY);
        assert!(journal.is_usable());
    }

    #[test]
    fn refusals_beyond_the_ration_are_counted_and_the_count_is_recorded() {
        let start = Instant::now();
        let mut ration = Ration::new(start);
        let written = (0..1000).filter(|_| ration.take(start)).count();
        assert_eq!(written, 200);
        assert_eq!(ration.omitted, 800);
        assert!(ration.take(start + REFUSAL_INTERVAL));
        assert!(!ration.take(start + REFUSAL_INTERVAL));
    }
}
