//! The table `[rego]` of a release policy: which of its policies say no.

use std::collections::BTreeMap;

use adyton_attestation::appraisal::RegoRules;
use adyton_attestation::ear::{TokenAppraisal, TokenTimes, payload, submod};
use adyton_attestation::rcar::ResourcePath;
use adyton_attestation::{Claims, Reason, ReferenceValues, UnixTime};
use serde_json::{Map, Value};

use crate::appraisal::{Appraised, appraise};
use crate::policy::RegoPolicy;
use crate::references::references;
use crate::resource::{ResourceRequest, allow};

/// What is judged: verified claims, and what they are asked for.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// The claims.
    pub claims: &'a Claims,
    /// The same in Trustee's layout, with what they are bound to
    /// ([`annotated_evidence`](adyton_attestation::ear::annotated_evidence)).
    pub evidence: &'a Value,
    /// The resource that is asked for.
    pub resource: &'a ResourcePath,
    /// The query of the request, by name.
    pub query: BTreeMap<String, String>,
    /// The sets of Reference Values that the release policy names.
    pub references: &'a [ReferenceValues],
    /// The time.
    pub now: UnixTime,
}

/// Asks the policies of a release policy's `[rego]`.
///
/// The attestation policy, if there is one, gives a vector. Without a resource policy every claim of
/// it must be affirming or no claim; with one, `allow` decides and sees the vector in its input.
/// Steps: 1. both texts parse; 2. attestation policy; 3. resource policy.
///
/// # Errors
/// Every reason against, never none.
pub fn judge(rules: &RegoRules, subject: &Subject<'_>) -> Result<(), Vec<Reason>> {
    // 1.
    let attestation = rules.attestation.as_deref().map(RegoPolicy::parse).transpose();
    let resource = rules.resource.as_deref().map(RegoPolicy::parse).transpose();
    let mut reasons = Vec::new();
    let attestation = attestation.map_err(|refusal| reasons.push(refusal.reason(ATTESTATION)));
    let resource = resource.map_err(|refusal| reasons.push(refusal.reason(RESOURCE)));
    let (Ok(attestation), Ok(resource)) = (attestation, resource) else {
        return Err(reasons);
    };
    if attestation.is_none() && resource.is_none() {
        return Err(vec![crate::RegoRefusal::Undefined { rule: "policy" }.reason("rego")]);
    }
    // 2.
    let mut evidence = subject.evidence.clone();
    remove_nulls(&mut evidence);
    let references = references(subject.references, &rules.reference);
    let appraised = match &attestation {
        Some(policy) => match appraise(policy, &evidence, &references) {
            Ok(appraised) => Some(appraised),
            // A resource policy would judge a vector that there is not.
            Err(refusal) => return Err(vec![refusal.reason(ATTESTATION)]),
        },
        None => None,
    };
    // 3.
    let Some(policy) = resource else {
        let verdict = appraised.as_ref().map(Appraised::affirming);
        return match verdict {
            Some(Err(refusals)) => {
                Err(refusals.iter().map(|refusal| refusal.reason(ATTESTATION)).collect())
            }
            Some(Ok(())) | None => Ok(()),
        };
    };
    let token = token(subject, evidence, appraised.as_ref());
    let request = ResourceRequest { path: subject.resource, query: subject.query.clone() };
    allow(&policy, &token, &request).map_err(|refusal| vec![refusal.reason(RESOURCE)])
}

const ATTESTATION: &str = "rego.attestation";
const RESOURCE: &str = "rego.resource";

/// The claims of the token that the appraisal would be issued as.
fn token(subject: &Subject<'_>, evidence: Value, appraised: Option<&Appraised>) -> Value {
    let appraisal = match appraised {
        Some(appraised) => TokenAppraisal::By {
            policy_id: "default",
            vector: appraised.vector,
            identifiers: appraised.identifiers.as_ref(),
        },
        None => TokenAppraisal::ForEachKey,
    };
    let submod = submod(subject.claims, evidence, appraisal);
    let submods = Map::from_iter([("cpu0".to_owned(), submod)]);
    let times = TokenTimes { issued: subject.now, expires: subject.now };
    payload("adyton-broker", submods, times, [0; 16])
}

/// A claim that is null is one that there is not. In Rego `null == null` holds, so it must not reach a
/// policy as a value.
fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(remove_nulls);
        }
        Value::Array(elements) => elements.iter_mut().for_each(remove_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
