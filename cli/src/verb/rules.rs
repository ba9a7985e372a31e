//! A policy in a file, asked about verified claims: what the broker would say.
//!
//! Role: the appraisal of a Relying Party, without a broker. In: a release policy (TOML) or one policy in
//! Rego, Reference Values, recorded Evidence. Out: a [`Verdict`] with every reason. Must not: call
//! recorded Evidence fresh; nothing is released on its word.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use adyton_attestation::appraisal::RegoRules;
use adyton_attestation::ear::annotated_claims;
use adyton_attestation::peer::PeerTrust;
use adyton_attestation::rcar::ResourcePath;
use adyton_attestation::{
    AppraisalPolicy, Claims, Evidence, Ladder, Reason, ReferenceValues, ReleasePolicy, UnixTime,
    Verified, appraise, explain_with, verify_with,
};
use adyton_rego::{RegoPolicy, Subject, judge};
use serde_json::Value;

use super::key_uri;
use super::policy::{self, POLICY_LIMIT, text_file};
use super::reference_values::{self, REFERENCE_VALUES_LIMIT};
use crate::failure::{Exit, Failure};

/// Which rules are asked.
#[derive(Clone, Debug)]
pub enum Rules {
    /// A release policy: typed rules, and those in Rego if it has any.
    Release(Box<ReleasePolicy>),
    /// One policy in Rego, for one key. The typed rules, which a broker asks as well, are not.
    Rego {
        /// The policy.
        rules: Box<RegoRules>,
        /// The key that is asked for.
        resource: ResourcePath,
    },
    /// No policy: strict rules, and any of the given sets of Reference Values.
    Strict,
}

/// What came of one piece of Evidence.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Genuine, and the rules accept it.
    Accepted {
        /// The set of Reference Values that matched; none under a policy in Rego alone.
        reference_values: Option<String>,
    },
    /// Genuine, and the rules refuse it.
    Denied(Vec<Reason>),
    /// Not genuine, or no longer verifiable.
    NotVerified(Vec<Reason>),
}

impl Verdict {
    /// One word for tables and JSON.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Denied(_) => "denied",
            Self::NotVerified(_) => "not-verified",
        }
    }

    /// The reasons against; none when it is accepted.
    pub fn reasons(&self) -> &[Reason] {
        match self {
            Self::Accepted { .. } => &[],
            Self::Denied(reasons) | Self::NotVerified(reasons) => reasons,
        }
    }
}

/// What every verdict rests on besides rules and Evidence.
#[derive(Debug)]
pub struct Grounds {
    /// Endorsements, roots, and what is loosened.
    pub trust: PeerTrust,
    /// Reference Values.
    pub references: Vec<ReferenceValues>,
    /// The time.
    pub at: UnixTime,
}

impl Rules {
    /// Reads a policy file: Rego when its name ends in `.rego`, else TOML.
    ///
    /// # Errors
    /// [`Failure`] of the file, the syntax, or a resource policy in Rego without `--kid`.
    pub fn load(path: &Path, kid: Option<&str>) -> Result<Self, Failure> {
        let text = text_file("policy", path, POLICY_LIMIT)?;
        if path.extension().is_none_or(|ending| ending != "rego") {
            let policy = ReleasePolicy::parse_toml(&text)
                .map_err(|error| policy::unreadable(&path.display(), &error))?;
            parse_rego(policy.rego.as_ref(), path)?;
            return Ok(Self::Release(Box::new(policy)));
        }
        // A resource policy is one with a rule `allow`; Trustee keeps the two kinds apart likewise.
        let is_resource =
            text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == "allow");
        let mut rules = RegoRules::default();
        let resource = match (is_resource, kid) {
            (true, Some(kid)) => {
                rules.resource = Some(text);
                key_uri(kid)?
            }
            (true, None) => {
                return Err(Failure::new(
                    Exit::Usage,
                    "policy.kid",
                    format!("{} is a resource policy, which decides about one key", path.display()),
                )
                .expected("the key that is asked for")
                .remedy("add --kid kbs:///REPOSITORY/TYPE/TAG"));
            }
            (false, kid) => {
                rules.attestation = Some(text);
                key_uri(kid.unwrap_or("kbs:///any/key/any"))?
            }
        };
        parse_rego(Some(&rules), path)?;
        Ok(Self::Rego { rules: Box::new(rules), resource })
    }

    /// Verifies recorded Evidence over its own report data, then asks the rules.
    pub fn verdict(&self, evidence: &Evidence, grounds: &Grounds) -> Verdict {
        let expected = evidence.report_data();
        let (PeerTrust { endorsements, anchors, options }, at) = (&grounds.trust, grounds.at);
        match verify_with(evidence, endorsements, anchors, &expected, at, options) {
            Ok(verified) => self.judge(verified, &grounds.references, at),
            Err(refusal) => {
                let told =
                    explain_with(&refusal, evidence, endorsements, anchors, &expected, at, options);
                Verdict::NotVerified(told)
            }
        }
    }

    /// Enters a verdict into the record of a climb, beside the rungs that were left to the appraisal.
    pub fn settle(&self, ladder: &mut Ladder, verdict: &Verdict) {
        match (self, verdict) {
            // Nobody got as far as the appraisal.
            (_, Verdict::NotVerified(_)) => {}
            (Self::Rego { .. }, Verdict::Accepted { .. } | Verdict::Denied(_)) => {
                ladder.settle_rego_alone();
            }
            (Self::Release(_) | Self::Strict, Verdict::Accepted { .. } | Verdict::Denied(_)) => {
                ladder.settle_appraisal(verdict.reasons());
            }
        }
    }

    /// Asks the rules about verified claims.
    pub fn judge(
        &self,
        verified: Verified<Claims>,
        references: &[ReferenceValues],
        at: UnixTime,
    ) -> Verdict {
        let typed =
            |verified, policy: &AppraisalPolicy| match appraise(verified, references, policy, at) {
                Ok(result) => Ok(Some(result.matched_reference_values().to_owned())),
                Err(refusal) => Err(refusal.reasons),
            };
        let (matched, objections) = match self {
            Self::Strict => {
                let named = references.iter().map(|set| set.name().to_owned()).collect();
                let policy =
                    AppraisalPolicy { reference_values: named, ..AppraisalPolicy::default() };
                (typed(verified, &policy), Ok(()))
            }
            Self::Release(policy) => {
                let named: Vec<ReferenceValues> = references
                    .iter()
                    .filter(|set| policy.appraisal.reference_values.iter().any(|n| n == set.name()))
                    .cloned()
                    .collect();
                let objections = match (&policy.rego, ResourcePath::from_uri(&policy.key)) {
                    (None, _) => Ok(()),
                    (Some(rego), Ok(resource)) => ask(rego, verified.get(), &resource, &named, at),
                    // The parser has refused such a policy.
                    (Some(_), Err(_)) => Err(Vec::new()),
                };
                (typed(verified, &policy.appraisal), objections)
            }
            Self::Rego { rules, resource } => {
                (Ok(None), ask(rules, verified.get(), resource, references, at))
            }
        };
        match (matched, objections) {
            (Ok(reference_values), Ok(())) => Verdict::Accepted { reference_values },
            (matched, objections) => {
                let mut reasons: Vec<Reason> = matched.err().into_iter().flatten().collect();
                reasons.extend(objections.err().into_iter().flatten());
                Verdict::Denied(reasons)
            }
        }
    }
}

fn ask(
    rules: &RegoRules,
    claims: &Claims,
    resource: &ResourcePath,
    references: &[ReferenceValues],
    now: UnixTime,
) -> Result<(), Vec<Reason>> {
    // Nonce and TEE key of recorded Evidence are not known; a policy that asks for them says no.
    let evidence = Value::Object(annotated_claims(claims));
    let query = BTreeMap::new();
    let devices = &[];
    judge(
        rules,
        &Subject { claims, evidence: &evidence, resource, query, references, devices, now },
    )
}

/// Parses the texts in Rego, so that a slip is a malformed file and not a denial for everybody.
pub(super) fn parse_rego(rules: Option<&RegoRules>, path: &Path) -> Result<(), Failure> {
    let texts =
        rules.into_iter().flat_map(|rules| [&rules.attestation, &rules.gpu, &rules.resource]);
    for text in texts.flatten() {
        RegoPolicy::parse(text).map_err(|refusal| {
            let reason = refusal.reason("rego");
            Failure::new(
                Exit::Malformed,
                "policy.rego",
                format!("the policy in Rego in {} cannot be used", path.display()),
            )
            .reasons(vec![reason])
        })?;
    }
    Ok(())
}

/// Reads sets of Reference Values.
///
/// # Errors
/// [`Failure`] of the first file that can't be used.
pub fn references(paths: &[PathBuf]) -> Result<Vec<ReferenceValues>, Failure> {
    let read = |path: &PathBuf| {
        let text = text_file("Reference Values file", path, REFERENCE_VALUES_LIMIT)?;
        ReferenceValues::parse_toml(&text)
            .map_err(|error| reference_values::unreadable(&path.display(), &error))
    };
    paths.iter().map(read).collect()
}
