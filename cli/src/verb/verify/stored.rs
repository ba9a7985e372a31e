//! Evidence in a file, climbed rung by rung. Shows what would hold; proves nothing about now.

use std::path::Path;

use adyton_attestation::verifier::Outcome;
use adyton_attestation::{Evidence, Ladder, Reason, replay};
use serde_json::json;

use super::{EVIDENCE_LIMIT, VerifyArgs, anchors, endorsements, now, picture};
use crate::console::{Paint, Tone, printable};
use crate::failure::{Exit, Failure};
use crate::file;
use crate::verb::Context;
use crate::verb::rules::{Grounds, Rules, Verdict, references};

pub(super) fn run(
    path: &Path,
    args: &VerifyArgs,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let bytes = file::read("Evidence file", path, EVIDENCE_LIMIT)?;
    let evidence = Evidence::parse_file(&bytes).map_err(|error| {
        Failure::new(
            Exit::Malformed,
            "evidence.malformed",
            format!("the Evidence in {} cannot be read", path.display()),
        )
        .expected(
            "a TDX quote (raw or hex), the KBS's evidence JSON, or a saved attestation report",
        )
        .remedy("check that the file is complete")
        .caused_by(&error)
    })?;
    let grounds = Grounds {
        endorsements: endorsements(&args.bundle)?,
        anchors: anchors(&args.insecure_extra_root, context)?,
        references: references(&args.reference_values)?,
        at: match args.at {
            Some(at) => at,
            None => now()?,
        },
    };
    let rules = match &args.policy {
        Some(path) => Some(Rules::load(path, args.kid.as_deref())?),
        None if !grounds.references.is_empty() => Some(Rules::Strict),
        None => None,
    };
    let (anchors, at) = (&grounds.anchors, grounds.at);
    let mut ladder = replay(&evidence, &grounds.endorsements, anchors, at);
    let passed = ladder.all_passed();
    // Claims that did not verify are not worth an opinion.
    let verdict = rules.filter(|_| passed).map(|rules| rules.verdict(&evidence, &grounds));
    if let Some(verdict) = &verdict {
        settle(&mut ladder, verdict);
    }

    let paint = context.console.paint();
    let mut text = format!("Evidence {}, verified for {at}\n\n", path.display());
    text.push_str(&picture::rungs(&ladder, paint));
    if let Some(claims) = &ladder.claims {
        text.push('\n');
        text.push_str(&picture::claims(claims, paint));
    }
    text.push('\n');
    text.push_str(&closing(&ladder, passed, verdict.as_ref(), paint));
    let json = json!({
        "verified": passed,
        "genuine": passed && ladder.claims.as_ref().is_some_and(picture::is_genuine),
        "fresh": null,
        "tee": evidence.tee().as_str(),
        "at": at,
        "report_data": hex::encode(evidence.report_data().0),
        "rungs": ladder.rungs,
        "claims": ladder.claims,
        "insecure": anchors.insecure_extra_roots(),
        "appraisal": verdict.as_ref().map_or("not-asked", Verdict::word),
        "reasons": verdict.as_ref().map(Verdict::reasons).unwrap_or_default(),
    });
    context.console.result(&text, &json)?;
    match verdict {
        _ if !passed => Err(refusal(&ladder)),
        None | Some(Verdict::Accepted { .. }) => Ok(()),
        Some(Verdict::NotVerified(reasons)) => Err(rejected(reasons)),
        Some(Verdict::Denied(reasons)) => Err(Failure::new(
            Exit::PolicyDenied,
            "appraisal.refused",
            "genuine Evidence, but not what the policy accepts",
        )
        .reasons(reasons)),
    }
}

/// Puts what the rules said beside the rungs that were left to them.
fn settle(ladder: &mut Ladder, verdict: &Verdict) {
    for rung in &mut ladder.rungs {
        let left_to_rules = matches!(&rung.outcome,
            Outcome::NotApplicable(why) if why == "decided by the appraisal policy");
        if !left_to_rules {
            continue;
        }
        let own = verdict.reasons().iter().find(|reason| reason.rung == rung.id);
        rung.outcome = match (own, verdict) {
            (Some(reason), _) => Outcome::Failed(reason.clone()),
            (None, Verdict::Accepted { reference_values: None }) => {
                Outcome::NotApplicable("a policy in Rego was asked alone".to_owned())
            }
            (None, Verdict::Accepted { .. } | Verdict::Denied(_)) => Outcome::Passed,
            (None, Verdict::NotVerified(_)) => Outcome::NotReached,
        };
    }
}

fn closing(ladder: &Ladder, passed: bool, verdict: Option<&Verdict>, paint: Paint) -> String {
    let (good, bad) = (paint.text(Tone::Good, "✓"), paint.text(Tone::Bad, "✗"));
    let Some(claims) = ladder.claims.as_ref().filter(|_| passed) else {
        return format!("{bad} Refused.\n");
    };
    let what = picture::what(claims);
    let unfresh = "Freshness and binding cannot be shown by a file";
    match verdict {
        None => {
            format!("{good} {what} signed this. {unfresh}; measurements were not compared.\n")
        }
        Some(Verdict::Accepted { reference_values: Some(set) }) => {
            format!("{good} {what} signed this, and it is `{}`. {unfresh}.\n", printable(set))
        }
        Some(Verdict::Accepted { reference_values: None }) => format!(
            "{good} {what} signed this, and the policy in Rego accepts it; a broker asks typed rules, too. {unfresh}.\n"
        ),
        Some(Verdict::Denied(_) | Verdict::NotVerified(_)) => {
            format!("{bad} {what} signed this, but it is not what the policy accepts.\n")
        }
    }
}

/// The refusal of a ladder: 12 when only Endorsements are missing, else 10.
pub(super) fn refusal(ladder: &Ladder) -> Failure {
    rejected(ladder.reasons())
}

/// A refusal with its reasons, and the exit code that they call for.
pub(super) fn rejected(reasons: Vec<Reason>) -> Failure {
    // Rung T16 asks whether there are Endorsements for the platform at all.
    let missing = |reason: &Reason| reason.rung == "T16";
    let (exit, code, message) = if !reasons.is_empty() && reasons.iter().all(missing) {
        (
            Exit::EndorsementsUnavailable,
            "endorsements.missing",
            "there are no Endorsements for this platform",
        )
    } else {
        (Exit::EvidenceRejected, "evidence.rejected", "the Evidence was refused")
    };
    let remedy = match exit {
        Exit::EndorsementsUnavailable => {
            "give the vendor's Endorsements for this platform with --bundle FILE"
        }
        _ => "",
    };
    Failure::new(exit, code, message).remedy(remedy).reasons(reasons)
}
