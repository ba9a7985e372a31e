//! Attestation policies: claims in, a trustworthiness vector out.
//!
//! `input` is the annotated Evidence, `data.reference` the Reference Values, which
//! `query_reference_value` gives, too. The result is the rule `trust_claims`, an object, or where there
//! is none the rules `executables`, `hardware`, `configuration` and so on, as in Trustee's older
//! policies.

use adyton_attestation::ear::{Tier, TrustVector};
use serde_json::{Map, Value, json};

use crate::engine::evaluate;
use crate::policy::RegoPolicy;
use crate::refusal::RegoRefusal;

/// What an attestation policy found.
#[derive(Clone, Debug, PartialEq)]
pub struct Appraised {
    /// The vector. Its worst tier is the status.
    pub vector: TrustVector,
    /// `ear.trustee.identifiers` of the rule `extensions`, when the policy has one.
    pub identifiers: Option<Value>,
}

impl Appraised {
    /// Each claim that is worse than affirming; one refusal for the whole when nothing is claimed.
    ///
    /// # Errors
    /// [`RegoRefusal::NotAffirming`] for each, or [`RegoRefusal::Undefined`].
    pub fn affirming(&self) -> Result<(), Vec<RegoRefusal>> {
        let claims = TrustVector::NAMES.into_iter().zip(self.vector.claims());
        let worse: Vec<RegoRefusal> = claims
            .map(|(claim, value)| (claim, value, Tier::of(value)))
            .filter(|(_, _, tier)| *tier > Tier::Affirming)
            .map(|(claim, value, tier)| RegoRefusal::NotAffirming { claim, value, tier })
            .collect();
        if !worse.is_empty() {
            return Err(worse);
        }
        match self.vector.status() {
            Tier::Affirming => Ok(()),
            Tier::None | Tier::Warning | Tier::Contraindicated => {
                Err(vec![RegoRefusal::Undefined { rule: "trust_claims" }])
            }
        }
    }
}

/// Appraises annotated Evidence under a policy.
///
/// # Errors
/// [`RegoRefusal`]: evaluation, then a claim that is no number from -128 to 127, is unknown, or is
/// missing altogether.
pub fn appraise(
    policy: &RegoPolicy,
    evidence: &Value,
    references: &Value,
) -> Result<Appraised, RegoRefusal> {
    let data = json!({ "reference": references });
    let document = evaluate(policy, evidence, &data, references)?;
    let claims = match document.get("trust_claims") {
        Some(Value::Object(claims)) => claims.clone(),
        Some(other) => return Err(kind("trust_claims", "an object", other)),
        None => rules(&document),
    };
    if claims.is_empty() {
        return Err(RegoRefusal::Undefined { rule: "trust_claims" });
    }
    let mut vector = TrustVector::default();
    for (name, value) in &claims {
        let number = value.as_i64().and_then(|number| i8::try_from(number).ok());
        let number = number.ok_or_else(|| kind(name, "a number from -128 to 127", value))?;
        let claim = match name.as_str() {
            "instance-identity" => &mut vector.instance_identity,
            "configuration" => &mut vector.configuration,
            "executables" => &mut vector.executables,
            "file-system" => &mut vector.file_system,
            "hardware" => &mut vector.hardware,
            "runtime-opaque" => &mut vector.runtime_opaque,
            "storage-opaque" => &mut vector.storage_opaque,
            "sourced-data" => &mut vector.sourced_data,
            other => {
                return Err(RegoRefusal::UnknownClaim { name: other.chars().take(80).collect() });
            }
        };
        *claim = number;
    }
    Ok(Appraised { vector, identifiers: identifiers(&document) })
}

/// The claims as rules of their own, with underscores.
fn rules(document: &Value) -> Map<String, Value> {
    TrustVector::NAMES
        .iter()
        .filter_map(|name| {
            let value = document.get(name.replace('-', "_"))?;
            Some(((*name).to_owned(), value.clone()))
        })
        .collect()
}

fn identifiers(document: &Value) -> Option<Value> {
    let extensions = document.get("extensions")?.as_array()?;
    let named = extensions.iter().find(|extension| {
        extension.get("name").and_then(Value::as_str) == Some("ear.trustee.identifiers")
    })?;
    named.get("value").cloned()
}

pub(crate) fn kind(rule: &str, expected: &'static str, got: &Value) -> RegoRefusal {
    RegoRefusal::Kind {
        rule: rule.chars().take(80).collect(),
        expected,
        got: got.to_string().chars().take(120).collect(),
    }
}
