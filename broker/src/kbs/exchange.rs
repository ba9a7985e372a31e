//! From a message to a decision: the chain of proofs, without sockets.
//!
//! ```text
//! auth      Request ──────────► Challenge                          session opens
//! attest    Attestation ──────► Presented ─verify─► Verified<Claims>   nonce used up first; GPUs likewise
//! resource  path ─► KeyRules ─appraise, decide─► ReleasePermit
//!                  ─journal─► RecordedPermit ─key store─► JWE to the attested TEE key
//! ```
//! Each arrow takes the value before it; there is no other way to its end. All of this blocks (disk,
//! signatures) and is called off the async threads.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use adyton_attestation::challenge::Nonce;
use adyton_attestation::ear::{TokenAppraisal, TokenBinding, annotated_evidence};
use adyton_attestation::rcar::{
    AttestResponse, Attestation, ChallengeMessage, JweResponse, Presented, Request, ResourcePath,
    server,
};
use adyton_attestation::{
    Claims, EndorsementBundle, Reason, UnixTime, Verified, explain_gpu, explain_with,
    verify_cached, verify_gpu,
};

use super::init_data::refuse_unmeasured;
use super::reason;
use crate::audit::{AuditEntry, AuditEvent};
use crate::broker::{Broker, now};
use crate::decision::{DecisionId, Denied, KeyRequest, appraise_and_decide, claims_json};
use crate::endorsements::{Plan, RETRY, Unavailable};
use crate::journal::{DecisionRecord, Listed, Outcome};
use crate::keystore::WhichEpoch;
use crate::respond::{Chain, KbsRefusal};
use crate::session::{AttestedSession, OpenChallenge, SessionError, SessionId};

/// A reply together with the cookie that goes with it.
#[derive(Debug)]
pub struct WithCookie<T> {
    /// The body.
    pub body: T,
    /// The session's id from now on.
    pub id: SessionId,
    /// When the session ends.
    pub expires: UnixTime,
}

/// How a KBC showed its session on a request for a resource. The cookie counts first.
#[derive(Debug, Default)]
pub struct SessionProof {
    /// From the cookie.
    pub id: Option<SessionId>,
    /// From `Authorization: Bearer`.
    pub token: Option<String>,
}

/// Answers a Request with a Challenge.
///
/// # Errors
/// [`KbsRefusal::Request`], [`KbsRefusal::Unavailable`].
pub fn auth(broker: &Broker, body: &[u8]) -> Result<WithCookie<ChallengeMessage>, KbsRefusal> {
    let refused = |error| KbsRefusal::Request(Chain(&error).to_string());
    let request = Request::parse(body).map_err(refused)?;
    let nonce = Nonce::fresh().map_err(|_| KbsRefusal::Unavailable)?;
    let (challenge, awaiting) = server::on_request(&request, nonce).map_err(refused)?;
    let id = SessionId::fresh().ok_or(KbsRefusal::Unavailable)?;
    let started = Instant::now();
    let expires = broker.sessions.open(&id, awaiting, started);
    Ok(WithCookie { body: challenge, id, expires: wall(expires, started) })
}

/// An Attestation that answers a Challenge of ours, with what its Endorsements still lack.
#[derive(Debug)]
pub struct Answered {
    attestation: Attestation,
    presented: Presented,
    expires: Instant,
    plan: Plan,
}

/// An [`Answered`] with its Endorsements.
#[derive(Debug)]
pub struct Endorsed {
    attestation: Attestation,
    presented: Presented,
    expires: Instant,
    endorsements: Arc<EndorsementBundle>,
}

/// Takes an Attestation. Steps: 1. the session's Challenge is taken, for good; 2. the message answers
/// it; 3. what the bundle files lack for its Evidence is noted.
///
/// # Errors
/// [`KbsRefusal::Attestation`] with the reasons of the first step that fails.
pub fn present(
    broker: &Broker,
    peer: &str,
    id: Option<&SessionId>,
    body: &[u8],
) -> Result<Answered, KbsRefusal> {
    let refuse = |reasons| refuse_evidence(broker, peer, reasons);
    // 1.
    let id = id.ok_or(SessionError::Unknown);
    let taken = id.and_then(|id| broker.sessions.take_challenge(id, Instant::now()));
    let OpenChallenge { awaiting, expires } =
        taken.map_err(|error| refuse(vec![reason::of_session(error)]))?;
    // 2.
    let message_refused = |error| refuse(reason::of_message(&error));
    let attestation = Attestation::parse(body).map_err(message_refused)?;
    let presented = awaiting.on_attestation(&attestation).map_err(message_refused)?;
    // 3.
    let bundle = broker.trusted.endorsements.current();
    let plan = broker.supply.plan(bundle, &presented.evidence, &broker.trusted.anchors, now());
    let plan = plan.map_err(|error| refuse(error.reasons()))?;
    Ok(Answered { attestation, presented, expires, plan })
}

/// Gets what the Endorsements lack. The one step that waits for the network; nothing is held meanwhile.
///
/// # Errors
/// [`Unavailable`].
pub async fn endorse(broker: &Broker, answered: Answered) -> Result<Endorsed, Unavailable> {
    let Answered { attestation, presented, expires, plan } = answered;
    let endorsements = broker.supply.supply(plan).await?;
    Ok(Endorsed { attestation, presented, expires, endorsements })
}

/// Records that there is no verdict, for the lack of Endorsements.
pub fn without_endorsements(broker: &Broker, peer: &str, error: &Unavailable) -> KbsRefusal {
    refuse_for_now(broker, peer, error.reasons(), error.retry_after())
}

/// No verdict, because a vendor's statement is missing: the guest is asked to come again.
fn refuse_for_now(
    broker: &Broker,
    peer: &str,
    reasons: Vec<Reason>,
    retry_after: Duration,
) -> KbsRefusal {
    let Some(decision) = DecisionId::fresh() else {
        return KbsRefusal::Unavailable;
    };
    for reason in &reasons {
        tracing::warn!(
            decision = %decision,
            statement = reason.claim,
            expected = reason.expected,
            got = reason.got,
            remedy = reason.remedy,
            "endorsements are unavailable; the guest was asked to come again"
        );
    }
    let record = record_of(&decision, peer, Outcome::EvidenceRefused, reasons.clone());
    write_refusal(broker, &record);
    let retry_after = retry_after.as_secs();
    KbsRefusal::EndorsementsUnavailable { decision, reasons, retry_after }
}

/// Verifies an Attestation. Steps: 3. the Evidence is verified over our nonce and the TEE key; 4.
/// init-data, if sent, are the measured ones; 5. the result is signed, recorded, and kept under a new
/// session id.
///
/// # Errors
/// [`KbsRefusal::Attestation`] with the reasons of the first step that fails,
/// [`KbsRefusal::Unavailable`].
pub fn conclude(
    broker: &Broker,
    peer: &str,
    endorsed: Endorsed,
) -> Result<WithCookie<AttestResponse>, KbsRefusal> {
    let refuse = |reasons| refuse_evidence(broker, peer, reasons);
    let Endorsed { attestation, presented, expires, endorsements } = endorsed;
    let Presented { evidence, devices, expected, device_nonce, tee_key, init_data } = presented;
    // 3.
    let (anchors, at) = (&broker.trusted.anchors, now());
    let options = &broker.trusted.options;
    let cache = &broker.trusted.signatures;
    // The owner reads all that is wrong with guest and devices; the guest gets codes.
    let mut told = Vec::new();
    let verified = verify_cached(&evidence, &endorsements, anchors, &expected, at, options, cache)
        .map_err(|error| {
            told = explain_with(&error, &evidence, &endorsements, anchors, &expected, at, options);
        });
    let mut verified_devices = Vec::new();
    for device in &devices {
        match verify_gpu(device, anchors, &device_nonce, at) {
            Ok(device) => verified_devices.push(device),
            Err(error) => told.extend(explain_gpu(&error, device, anchors, &device_nonce, at)),
        }
    }
    let verified = match verified {
        Ok(verified) if told.is_empty() => verified,
        _ if told.iter().all(Reason::lacks_endorsements) => {
            return Err(refuse_for_now(broker, peer, told, RETRY));
        }
        _ => return Err(refuse(told)),
    };
    // 4.
    let init_data_digest = match &init_data {
        Some(sent) => {
            refuse_unmeasured(&sent.digest, verified.get())
                .map_err(|reason| refuse(vec![*reason]))?;
            Some(sent.digest.as_slice())
        }
        None => None,
    };
    // 5.
    let at = Instant::now();
    let wall_expires = wall(expires, at);
    let binding = TokenBinding { runtime_data: &attestation.runtime_data, init_data_digest };
    let appraisal = TokenAppraisal::ForEachKey;
    let signed = broker.trusted.tokens.sign(&verified, &binding, appraisal, (now(), wall_expires));
    let token = signed.map_err(|error| {
        tracing::error!(error = %Chain(&error), "the attestation result could not be signed");
        KbsRefusal::Unavailable
    })?;
    record_verified(broker, peer, &verified)?;
    let id = SessionId::fresh().ok_or(KbsRefusal::Unavailable)?;
    let annotated = annotated_evidence(verified.get(), &binding);
    let verified = Some(verified).into();
    let devices = verified_devices;
    let session = AttestedSession { verified, annotated, devices, tee_key, expires };
    broker.sessions.keep(&id, &token, session, at);
    Ok(WithCookie { body: AttestResponse { token }, id, expires: wall_expires })
}

/// Decides about one key and, if it may, encrypts it to the attested TEE key. Steps: 1. there is an
/// attested session; 2. there is such a key, and it is in force; 3. appraise and decide under its rules; 4. record;
/// 5. release.
///
/// # Errors
/// [`KbsRefusal::ResourcePath`], [`NotAttested`](KbsRefusal::NotAttested),
/// [`UnknownKey`](KbsRefusal::UnknownKey), [`Denied`](KbsRefusal::Denied),
/// [`Unavailable`](KbsRefusal::Unavailable).
pub fn resource(
    broker: &Broker,
    peer: &str,
    proof: &SessionProof,
    path: &str,
    epoch: WhichEpoch,
) -> Result<JweResponse, KbsRefusal> {
    let resource = ResourcePath::parse(path).map_err(|_| KbsRefusal::ResourcePath)?;
    // 1.
    let session = find_session(broker, proof).ok_or(KbsRefusal::NotAttested)?;
    let decision = DecisionId::fresh().ok_or(KbsRefusal::Unavailable)?;
    // 2.
    let found = broker.keys.find(&resource, epoch).map_err(|error| unavailable(&error))?;
    let Some(found) = found else {
        let asked = match epoch {
            WhichEpoch::Newest => resource.to_uri(),
            WhichEpoch::Exactly(epoch) => format!("{}?epoch={epoch}", resource.to_uri()),
        };
        let reasons = vec![reason::of_unknown_key(&asked)];
        let mut record = record_of(&decision, peer, Outcome::Denied, reasons.clone());
        record.kid = Some(asked);
        write_refusal(broker, &record);
        return Err(KbsRefusal::UnknownKey { decision, reasons });
    };
    if found.retired_at.is_some() {
        let newest = broker.keys.find(&resource, WhichEpoch::Newest);
        let newest = newest.map_err(|error| unavailable(&error))?;
        let kid = found.id.to_string();
        let reasons = vec![reason::of_retired_key(&kid, newest.map(|newest| newest.id.epoch()))];
        let mut record = record_of(&decision, peer, Outcome::Denied, reasons.clone());
        record.kid = Some(kid);
        write_refusal(broker, &record);
        return Err(KbsRefusal::Denied { decision, reasons });
    }
    let key = found.id;
    // 3.
    let rules = broker.policies.rules(&resource).map_err(|error| unavailable(&error))?;
    let tee_key = session.tee_key.clone();
    let query = match epoch {
        WhichEpoch::Newest => BTreeMap::new(),
        WhichEpoch::Exactly(epoch) => [("epoch".to_owned(), epoch.to_string())].into(),
    };
    let request = KeyRequest { decision: decision.clone(), resource, key, tee_key, query };
    let kid = request.key.to_string();
    // One decision at a time for a session: the claims are one value that goes round. If a panic
    // ever takes them, the session is over.
    let mut claims = session.verified.lock().unwrap_or_else(PoisonError::into_inner);
    let verified = claims.take().ok_or(KbsRefusal::NotAttested)?;
    let (permit, verified) = match appraise_and_decide(
        request,
        &rules,
        verified,
        &session.devices,
        &session.annotated,
        now(),
    ) {
        Ok(permitted) => permitted,
        Err(Denied { reasons, verified }) => {
            let mut record = record_of(&decision, peer, Outcome::Denied, reasons.clone());
            record.kid = Some(kid);
            record.claims = Some(claims_json(verified.get()));
            record.policy_digest = rules.policy_digest();
            *claims = Some(verified);
            drop(claims);
            write_refusal(broker, &record);
            return Err(KbsRefusal::Denied { decision, reasons });
        }
    };
    *claims = Some(verified);
    drop(claims);
    // 4.
    let mut record = record_of(&decision, peer, Outcome::Released, Vec::new());
    record.kid = Some(kid.clone());
    record.claims = Some(permit.claims().clone());
    record.policy_digest = Some(permit.policy_digest().to_owned());
    record.matched_reference_values = Some(permit.matched_reference_values().to_owned());
    let recorded = broker.journal.record_release(permit, &record).map_err(|error| {
        broker.metrics.journal_failure();
        tracing::error!(error = %Chain(&error), kid, "not released: the record could not be written");
        KbsRefusal::Unavailable
    })?;
    // 5.
    let reply = broker.keys.release(recorded, now()).map_err(|error| {
        let entry = AuditEntry::new(AuditEvent::KeyReleaseFailed, &kid, peer)
            .for_decision(decision.as_str());
        if let Err(error) = broker.journal.record(entry) {
            tracing::error!(error = %Chain(&error), kid, "a failed release was not recorded");
        }
        unavailable(&error)
    })?;
    broker.metrics.decision(Outcome::Released, &[]);
    tracing::info!(decision = %decision, kid, peer, "key released");
    Ok(reply)
}

fn find_session(broker: &Broker, proof: &SessionProof) -> Option<Arc<AttestedSession>> {
    let now = Instant::now();
    let by_cookie = proof.id.as_ref().and_then(|id| broker.sessions.by_id(id, now).ok());
    by_cookie.or_else(|| broker.sessions.by_token(proof.token.as_ref()?, now).ok())
}

fn refuse_evidence(broker: &Broker, peer: &str, reasons: Vec<Reason>) -> KbsRefusal {
    let Some(decision) = DecisionId::fresh() else {
        return KbsRefusal::Unavailable;
    };
    let record = record_of(&decision, peer, Outcome::EvidenceRefused, reasons.clone());
    write_refusal(broker, &record);
    KbsRefusal::Attestation { decision, reasons }
}

/// A refusal stands even when its record can't be written. What is not listed is not logged either:
/// a stranger who provokes refusals fills no disk.
fn write_refusal(broker: &Broker, record: &DecisionRecord) {
    broker.metrics.decision(record.outcome, &record.reasons);
    match broker.journal.record_refusal(record) {
        Ok(Listed::CountedOnly) => {}
        Ok(Listed::Yes) => {
            let codes: Vec<&str> = record.reasons.iter().map(|reason| &*reason.code).collect();
            tracing::warn!(
                decision = %record.id,
                outcome = record.outcome.as_str(),
                kid = record.kid,
                peer = record.peer,
                codes = codes.join(","),
                "refused"
            );
        }
        Err(error) => {
            broker.metrics.journal_failure();
            tracing::error!(error = %Chain(&error), "a refusal was not recorded");
        }
    }
}

fn record_verified(
    broker: &Broker,
    peer: &str,
    verified: &Verified<Claims>,
) -> Result<(), KbsRefusal> {
    let claims = claims_json(verified.get()).to_string();
    let digest = ring::digest::digest(&ring::digest::SHA256, claims.as_bytes());
    let entry = AuditEntry::new(AuditEvent::EvidenceVerified, "", peer)
        .with("claims-digest", hex::encode(digest));
    broker.journal.record_verified(entry).map(|_| ()).map_err(|error| {
        broker.metrics.journal_failure();
        unavailable(&error)
    })
}

fn record_of(
    id: &DecisionId,
    peer: &str,
    outcome: Outcome,
    reasons: Vec<Reason>,
) -> DecisionRecord {
    DecisionRecord {
        id: id.clone(),
        at: now(),
        outcome,
        kid: None,
        peer: peer.to_owned(),
        reasons,
        claims: None,
        policy_digest: None,
        matched_reference_values: None,
    }
}

fn unavailable(error: &(dyn std::error::Error + 'static)) -> KbsRefusal {
    tracing::error!(error = %Chain(error), "a request failed for a reason of our own");
    KbsRefusal::Unavailable
}

/// The wall clock's reading at a moment of the monotonic clock, for the peer's information only.
fn wall(at: Instant, seen_from: Instant) -> UnixTime {
    let left = at.saturating_duration_since(seen_from);
    now().plus_seconds(left.saturating_add(Duration::from_millis(999)).as_secs())
}
