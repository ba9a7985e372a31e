//! The table `[rego]` of a release policy: which of its policies say no.

use std::collections::BTreeMap;

use adyton_attestation::appraisal::RegoRules;
use adyton_attestation::ear::{TokenAppraisal, TokenTimes, TrustVector, payload, submod};
use adyton_attestation::rcar::ResourcePath;
use adyton_attestation::{Claims, GpuClaims, Reason, ReferenceValues, UnixTime, Verified};
use serde_json::{Value, json};

use crate::appraisal::{Appraised, appraise};
use crate::policy::RegoPolicy;
use crate::references::references;
use crate::refusal::RegoRefusal;
use crate::resource::{ResourceRequest, allow};
use crate::{event_log, gpu};

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
    /// GPUs beside the TEE.
    pub devices: &'a [Verified<GpuClaims>],
    /// The time.
    pub now: UnixTime,
}

/// How reasons call the policies: a key has its own, and there may be some for all keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyNames {
    /// The attestation policy.
    pub attestation: &'static str,
    /// The attestation policy for GPUs.
    pub gpu: &'static str,
    /// The resource policy.
    pub resource: &'static str,
}

impl PolicyNames {
    /// Those in the release policy of a key.
    pub const OF_THE_KEY: Self =
        Self { attestation: "rego.attestation", gpu: "rego.gpu", resource: "rego.resource" };
}

/// Asks the policies of a release policy's `[rego]`.
///
/// # Errors
/// As [`judge_as`].
pub fn judge(rules: &RegoRules, subject: &Subject<'_>) -> Result<(), Vec<Reason>> {
    judge_as(PolicyNames::OF_THE_KEY, rules, subject)
}

/// Asks an attestation policy, one for devices and a resource policy together.
///
/// Each attestation policy gives a vector. Without a resource policy every claim of it must be affirming or no
/// claim; with one, `allow` decides and sees the vectors in its input. A device that no policy appraised has
/// status `none` there.
/// Steps: 1. all texts parse; 2. attestation policies; 3. resource policy.
///
/// # Errors
/// Every reason against, never none.
pub fn judge_as(
    names: PolicyNames,
    rules: &RegoRules,
    subject: &Subject<'_>,
) -> Result<(), Vec<Reason>> {
    // 1.
    let mut reasons = Vec::new();
    let mut parsed = |text: &Option<String>, name: &str| {
        let policy = text.as_deref().map(RegoPolicy::parse).transpose();
        policy.map_err(|refusal| reasons.push(refusal.reason(name)))
    };
    let attestation = parsed(&rules.attestation, names.attestation);
    let gpu = parsed(&rules.gpu, names.gpu);
    let resource = parsed(&rules.resource, names.resource);
    let (Ok(attestation), Ok(gpu), Ok(resource)) = (attestation, gpu, resource) else {
        return Err(reasons);
    };
    if attestation.is_none() && gpu.is_none() && resource.is_none() {
        return Err(vec![RegoRefusal::Undefined { rule: "policy" }.reason("rego")]);
    }
    // 2.
    let mut evidence = subject.evidence.clone();
    event_log::add(&mut evidence, subject.claims);
    remove_nulls(&mut evidence);
    let references = references(subject.references, &rules.reference);
    let asked = |policy: &Option<RegoPolicy>, name: &str, evidence: &Value| match policy {
        Some(policy) => match appraise(policy, evidence, &references) {
            Ok(appraised) => Ok(Some(appraised)),
            // A resource policy would judge a vector that there is not.
            Err(refusal) => Err(vec![refusal.reason(name)]),
        },
        None => Ok(None),
    };
    let cpu = Appraisal { appraised: asked(&attestation, names.attestation, &evidence)?, evidence };
    let mut gpus = Vec::new();
    for device in subject.devices {
        let evidence = gpu::annotated(device.get());
        gpus.push(Appraisal { appraised: asked(&gpu, names.gpu, &evidence)?, evidence });
    }
    // 3.
    if let Some(policy) = resource {
        let token = token(subject, cpu, gpus);
        let request = ResourceRequest { path: subject.resource, query: subject.query.clone() };
        let allowed = allow(&policy, &token, &request);
        return allowed.map_err(|refusal| vec![refusal.reason(names.resource)]);
    }
    let each = gpus.iter().map(|gpu| (names.gpu, gpu));
    let worse: Vec<Reason> = std::iter::once((names.attestation, &cpu))
        .chain(each)
        .filter_map(|(name, appraisal)| {
            Some((name, appraisal.appraised.as_ref()?.affirming().err()?))
        })
        .flat_map(|(name, refusals)| refusals.into_iter().map(move |refusal| refusal.reason(name)))
        .collect();
    if worse.is_empty() { Ok(()) } else { Err(worse) }
}

/// One piece of Evidence, and what a policy found in it, if there is one.
struct Appraisal {
    appraised: Option<Appraised>,
    evidence: Value,
}

/// Trustee's name for the policy that is asked when no other is named.
const POLICY_ID: &str = "default";

/// The claims of the token that the appraisal would be issued as.
fn token(subject: &Subject<'_>, cpu: Appraisal, gpus: Vec<Appraisal>) -> Value {
    let appraisal = match &cpu.appraised {
        Some(appraised) => TokenAppraisal::By {
            policy_id: POLICY_ID,
            vector: appraised.vector,
            identifiers: appraised.identifiers.as_ref(),
        },
        None => TokenAppraisal::ForEachKey,
    };
    let cpu = ("cpu0".to_owned(), submod(subject.claims, cpu.evidence, appraisal));
    let gpus = gpus.into_iter().enumerate().map(|(n, gpu)| (format!("gpu{n}"), gpu_submod(gpu)));
    let submods = std::iter::once(cpu).chain(gpus).collect();
    let times = TokenTimes { issued: subject.now, expires: subject.now };
    payload("adyton-broker", submods, times, [0; 16])
}

fn gpu_submod(Appraisal { appraised, evidence }: Appraisal) -> Value {
    let (vector, policy_id) = match appraised {
        Some(appraised) => (appraised.vector, POLICY_ID),
        None => (TrustVector::default(), "adyton.not-appraised"),
    };
    json!({
        "ear.status": vector.status(),
        "ear.trustworthiness-vector": vector,
        "ear.appraisal-policy-id": policy_id,
        "ear.veraison.annotated-evidence": evidence,
    })
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
