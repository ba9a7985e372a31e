//! Decides whether one key may go to one attested TEE, and says why not.
//!
//! Role: Relying Party (RFC 9334 §4.1), Appraisal Policy for Attestation Results. In: an
//! [`AttestationResult`] by value, the [`ReleasePolicy`] of the key. Out: a [`ReleasePermit`], which
//! nothing else can make, or every reason against. No IO, no clock.
//! Against: a key released under another key's policy, to another TEE key, or later than decided.

use std::collections::BTreeMap;
use std::fmt;

use adyton_attestation::rcar::{ResourcePath, TeePublicKey};
use adyton_attestation::{
    AttestationResult, Claims, GpuClaims, Reason, ReferenceValues, ReleasePolicy, UnixTime,
    Verified, appraise_with_devices,
};
use adyton_rego::{Subject, judge, judge_as};
use adyton_sealed_weights::KeyId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::shared_policies::{self, SharedRules};

/// Names one decision, for the guest, the owner and the audit log: 20 random hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DecisionId(String);

impl DecisionId {
    /// A fresh id. `None` when the system has no random bytes.
    pub fn fresh() -> Option<Self> {
        let mut bytes = [0; 10];
        getrandom::fill(&mut bytes).ok()?;
        Some(Self(hex::encode(bytes)))
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is asked: this key, for whoever holds this TEE key.
#[derive(Clone, Debug)]
pub struct KeyRequest {
    /// Id of the decision to be made.
    pub decision: DecisionId,
    /// The resource that was asked for.
    pub resource: ResourcePath,
    /// The key behind it, with its current epoch.
    pub key: KeyId,
    /// The key that was bound into the verified Evidence.
    pub tee_key: TeePublicKey,
    /// The query of the request, by name, for policies that look at it.
    pub query: BTreeMap<String, String>,
}

/// Permission to release one key, once, to one TEE key.
///
/// Holding one proves that the claims of the TEE met the release policy of this key. It is used up
/// by [`Journal::record_release`](crate::journal::Journal::record_release), which gives the only
/// thing that the key store accepts.
#[derive(Debug)]
pub struct ReleasePermit {
    request: KeyRequest,
    minimum_model_version: u64,
    policy_digest: String,
    matched_reference_values: String,
    shared: BTreeMap<&'static str, String>,
    claims: Value,
    until: UnixTime,
}

impl ReleasePermit {
    /// The only birth of a `ReleasePermit`: where [`decide`] found no reason against.
    fn assertion(
        request: KeyRequest,
        policy: &ReleasePolicy,
        shared: &SharedRules,
        result: &AttestationResult,
    ) -> Self {
        Self {
            request,
            minimum_model_version: policy.minimum_model_version,
            policy_digest: policy.digest(),
            matched_reference_values: result.matched_reference_values().to_owned(),
            shared: shared.digests(),
            claims: claims_json(result.claims()),
            until: result.expires(),
        }
    }

    /// What was asked and is permitted.
    pub fn request(&self) -> &KeyRequest {
        &self.request
    }

    /// The lowest model version that the owner still allows to be opened with the key.
    pub fn minimum_model_version(&self) -> u64 {
        self.minimum_model_version
    }

    /// Digest of the release policy that was met, SHA-256, hex.
    pub fn policy_digest(&self) -> &str {
        &self.policy_digest
    }

    /// Name of the set of Reference Values that matched.
    pub fn matched_reference_values(&self) -> &str {
        &self.matched_reference_values
    }

    /// Digests of the policies for all keys that agreed, SHA-256, hex, by name.
    pub fn shared_policies(&self) -> &BTreeMap<&'static str, String> {
        &self.shared
    }

    /// The claims, for the records.
    pub fn claims(&self) -> &Value {
        &self.claims
    }

    /// When the permission ends.
    pub fn until(&self) -> UnixTime {
        self.until
    }
}

/// A refusal with every reason. Carries the claims back, so that another key can be asked for.
#[derive(Debug)]
pub struct Denied {
    /// Why, never empty.
    pub reasons: Vec<Reason>,
    /// The claims, still verified.
    pub verified: Verified<Claims>,
}

/// What the owner has set for a key.
#[derive(Clone, Debug)]
pub enum KeyRules {
    /// No release policy: nobody gets the key.
    NoPolicy,
    /// A policy, and those of its sets of Reference Values that exist.
    Policy {
        /// The key's release policy.
        policy: Box<ReleasePolicy>,
        /// The sets that the policy names and that are known.
        references: Vec<ReferenceValues>,
        /// Names in the policy for which there is no set.
        unknown_references: Vec<String>,
        /// What is asked about every key.
        shared: SharedRules,
    },
}

impl KeyRules {
    /// SHA-256 of the release policy, hex, when there is one.
    pub fn policy_digest(&self) -> Option<String> {
        match self {
            Self::NoPolicy => None,
            Self::Policy { policy, .. } => Some(policy.digest()),
        }
    }
}

/// Appraises the claims under the rules of the key, then decides.
///
/// Steps: 1. there is a policy; 2. all its Reference Values exist; 3. its policies in Rego agree, and
/// those for all keys ([`judge_as`]); 4. the claims meet its typed rules ([`appraise_with_devices`]); 5. [`decide`].
/// `annotated` are the claims as Rego sees them.
///
/// # Errors
/// [`Denied`] from the first step that fails, with all its reasons; those of 3 and 4 together.
pub fn appraise_and_decide(
    request: KeyRequest,
    rules: &KeyRules,
    verified: Verified<Claims>,
    devices: &[Verified<GpuClaims>],
    annotated: &Value,
    now: UnixTime,
) -> Result<(ReleasePermit, Verified<Claims>), Denied> {
    // 1.
    let (policy, references, unknown, shared) = match rules {
        KeyRules::NoPolicy => {
            let reasons = vec![no_policy(&request.resource)];
            return Err(Denied { reasons, verified });
        }
        KeyRules::Policy { policy, references, unknown_references, shared } => {
            (policy, references, unknown_references, shared)
        }
    };
    // 2.
    if !unknown.is_empty() {
        let reasons = unknown.iter().map(|name| unknown_reference(name)).collect();
        return Err(Denied { reasons, verified });
    }
    // 3.
    let subject = Subject {
        claims: verified.get(),
        evidence: annotated,
        resource: &request.resource,
        query: request.query.clone(),
        references,
        devices,
        now,
    };
    let of_key = policy.rego.as_ref().map(|rules| judge(rules, &subject));
    let of_all = shared.rego().map(|rules| judge_as(shared_policies::NAMES, &rules, &subject));
    let objected = [of_key, of_all].into_iter().flatten().filter_map(Result::err).flatten();
    let objections: Vec<Reason> = objected.collect();
    // 4. Asked whatever the other said, so that the owner reads all that is wrong.
    let appraised = appraise_with_devices(verified, devices, references, &policy.appraisal, now);
    let result = match appraised {
        Ok(result) if objections.is_empty() => result,
        Ok(result) => {
            return Err(Denied { reasons: objections, verified: result.into_verified() });
        }
        Err(refusal) => {
            let mut reasons = refusal.reasons;
            reasons.extend(objections);
            if reasons.is_empty() {
                reasons.push(unexplained());
            }
            return Err(Denied { reasons, verified: refusal.verified });
        }
    };
    // 5.
    decide(request, policy, shared, result, now)
}

/// Decides about one key for accepted claims.
///
/// # Errors
/// [`Denied`] when the policy is another key's, or the result has ended.
pub fn decide(
    request: KeyRequest,
    policy: &ReleasePolicy,
    shared: &SharedRules,
    result: AttestationResult,
    now: UnixTime,
) -> Result<(ReleasePermit, Verified<Claims>), Denied> {
    let mut reasons = Vec::new();
    let asked = request.resource.to_uri();
    if policy.key != asked || request.key.uri() != asked {
        reasons.push(other_key(&asked, &policy.key));
    }
    if result.expires() <= now {
        reasons.push(ended(&result, now));
    }
    if !reasons.is_empty() {
        return Err(Denied { reasons, verified: result.into_verified() });
    }
    let permit = ReleasePermit::assertion(request, policy, shared, &result);
    Ok((permit, result.into_verified()))
}

/// The claims as JSON, for records. They always serialise; if not, the record says so.
pub fn claims_json(claims: &Claims) -> Value {
    serde_json::to_value(claims).unwrap_or_else(|error| Value::String(error.to_string()))
}

fn reason(
    code: &'static str,
    claim: &str,
    expected: String,
    got: String,
    remedy: String,
) -> Reason {
    let (rung, claim) = ("policy".to_owned(), claim.to_owned());
    Reason::new(code, rung, claim, (expected, got), remedy)
}

fn no_policy(resource: &ResourcePath) -> Reason {
    reason(
        "policy.missing",
        "release policy",
        format!("a release policy for {}", resource.to_uri()),
        "none".to_owned(),
        "write one and set it with `adyton policy apply`; without a policy no key is released"
            .to_owned(),
    )
}

fn unknown_reference(name: &str) -> Reason {
    reason(
        "policy.reference-values-missing",
        "reference_values",
        format!("a set of reference values named {name}"),
        "none".to_owned(),
        "add it with `adyton reference-values add`, or correct the name in the policy".to_owned(),
    )
}

fn other_key(asked: &str, policy: &str) -> Reason {
    reason(
        "policy.other-key",
        "key",
        asked.to_owned(),
        policy.to_owned(),
        "set the policy again with `adyton policy apply`".to_owned(),
    )
}

fn ended(result: &AttestationResult, now: UnixTime) -> Reason {
    reason(
        "policy.result-ended",
        "lifetime of the appraisal",
        format!("an end after {now}"),
        result.expires().to_string(),
        "renew the endorsements, or raise result_lifetime_seconds in the policy".to_owned(),
    )
}

fn unexplained() -> Reason {
    reason(
        "policy.refused",
        "claims",
        "claims that the policy accepts".to_owned(),
        "others".to_owned(),
        "compare the claims in the decision with the policy and its reference values".to_owned(),
    )
}
