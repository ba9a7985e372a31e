//! Resource policies: a token and a path in, yes or no out.
//!
//! `input` is the token's claims, with Trustee's newer `trust_context` beside them; `data` has
//! `plugin`, `resource-path` and `query`. Only `allow == true` is a yes.

use std::collections::BTreeMap;

use adyton_attestation::rcar::ResourcePath;
use serde_json::{Value, json};

use crate::appraisal::kind;
use crate::engine::evaluate;
use crate::policy::RegoPolicy;
use crate::refusal::RegoRefusal;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct ResourceRequest<'a> {
    /// The resource.
    pub path: &'a ResourcePath,
    /// The query of the URL, by name.
    pub query: BTreeMap<String, String>,
}

/// Whether a policy lets the holder of a token have a resource. `token` are the claims of an EAR.
///
/// # Errors
/// [`RegoRefusal`]: evaluation, then `allow` undefined, no boolean, or false.
pub fn allow(
    policy: &RegoPolicy,
    token: &Value,
    request: &ResourceRequest<'_>,
) -> Result<(), RegoRefusal> {
    let path = request.path.to_string();
    let data = json!({
        "plugin": "resource",
        "resource-path": path.split('/').collect::<Vec<_>>(),
        "query": request.query,
    });
    let document = evaluate(policy, &with_trust_context(token), &data, &json!({}))?;
    match document.get("allow") {
        Some(Value::Bool(true)) => Ok(()),
        Some(Value::Bool(false)) => Err(RegoRefusal::Denied),
        Some(other) => Err(kind("allow", "true", other)),
        None => Err(RegoRefusal::Undefined { rule: "allow" }),
    }
}

/// The token with Trustee's summary of it, which its newer default policy reads.
fn with_trust_context(token: &Value) -> Value {
    let submods = token.get("submods").and_then(Value::as_object);
    let each = || submods.into_iter().flatten().map(|(_, submod)| submod);
    let is_affirming =
        |submod: &Value| submod.get("ear.status").and_then(Value::as_str) == Some("affirming");
    let verified = each().next().is_some() && each().all(is_affirming);
    let evidence = |submod: &Value| submod.get("ear.veraison.annotated-evidence").cloned();
    let tee_types: Vec<&str> = each()
        .filter_map(|submod| submod.get("ear.veraison.annotated-evidence")?.as_object())
        .flat_map(|evidence| evidence.keys())
        .map(String::as_str)
        .filter(|name| ["tdx", "snp", "az-snp-vtpm", "az-tdx-vtpm", "nvidia"].contains(name))
        .collect();
    let policies: Vec<&Value> =
        each().filter_map(|submod| submod.get("ear.appraisal-policy-id")).collect();
    let tee_key = each()
        .filter_map(evidence)
        .find_map(|evidence| evidence.pointer("/runtime_data_claims/tee-pubkey").cloned());
    let mut context = json!({
        "attestation_summary": {
            "tee_type": tee_types,
            "policy_ids": policies,
            "issuer": token.get("iss").cloned().unwrap_or_default(),
            "verification_result": verified,
            "claims": token,
        },
    });
    if let (Some(key), Some(members)) = (tee_key, context.as_object_mut()) {
        members.insert("tee_pubkey".to_owned(), key);
    }
    let mut input = token.clone();
    if let Some(members) = input.as_object_mut() {
        members.insert("trust_context".to_owned(), context);
    }
    input
}
