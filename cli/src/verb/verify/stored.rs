//! Evidence in a file, climbed rung by rung. Shows what would hold; proves nothing about now.

use std::path::Path;

use adyton_attestation::{Evidence, Ladder, Reason, replay_with};
use serde_json::json;

use super::{EVIDENCE_LIMIT, VerifyArgs, now, picture};
use crate::console::{Paint, Tone, printable};
use crate::failure::{Exit, Failure};
use crate::file;
use crate::verb::Context;
use crate::verb::rules::{Grounds, Rules, Verdict, references};
use crate::verb::trust::insecure;

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
        trust: args.trust.load(context)?,
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
    let (trust, at) = (&grounds.trust, grounds.at);
    let mut ladder =
        replay_with(&evidence, &trust.endorsements, &trust.anchors, at, &trust.options);
    let passed = ladder.all_passed();
    // Claims that did not verify are not worth an opinion.
    let verdict = rules.as_ref().filter(|_| passed).map(|rules| rules.verdict(&evidence, &grounds));
    if let (Some(verdict), Some(rules)) = (&verdict, &rules) {
        rules.settle(&mut ladder, verdict);
    }

    let paint = context.console.paint();
    let mut text = format!("Evidence {}, verified for {at}\n\n", path.display());
    text.push_str(&picture::rungs(&ladder, paint));
    if let Some(claims) = &ladder.claims {
        text.push('\n');
        text.push_str(&picture::claims(claims, paint));
    }
    text.push('\n');
    let insecure = insecure(trust);
    for line in &insecure {
        text.push_str(&format!("{}\n", paint.text(Tone::Warn, &format!("INSECURE: {line}"))));
    }
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
        "insecure": insecure,
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
    let lacking = !reasons.is_empty() && reasons.iter().all(Reason::lacks_endorsements);
    let (exit, code, message) = if lacking {
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
