//! Evidence in a file, climbed rung by rung. Shows what would hold; proves nothing about now.

use std::path::Path;

use adyton_attestation::{Evidence, Ladder, Reason, replay};
use serde_json::json;

use super::{VerifyArgs, anchors, endorsements, now, picture};
use crate::console::{Paint, Tone};
use crate::failure::{Exit, Failure};
use crate::file;
use crate::verb::Context;

/// The longest Evidence file: quote, event log, and JSON around them.
const EVIDENCE_LIMIT: u64 = 8 * 1024 * 1024;

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
    let endorsements = endorsements(args)?;
    let anchors = anchors(args, context)?;
    let at = match args.at {
        Some(at) => at,
        None => now()?,
    };
    let ladder = replay(&evidence, &endorsements, &anchors, at);
    let passed = ladder.all_passed();

    let paint = context.console.paint();
    let mut text = format!("Evidence {}, verified for {at}\n\n", path.display());
    text.push_str(&picture::rungs(&ladder, paint));
    if let Some(claims) = &ladder.claims {
        text.push('\n');
        text.push_str(&picture::claims(claims, paint));
    }
    text.push('\n');
    text.push_str(&verdict(&ladder, paint));
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
    });
    context.console.result(&text, &json)?;
    if passed { Ok(()) } else { Err(refusal(&ladder)) }
}

fn verdict(ladder: &Ladder, paint: Paint) -> String {
    match &ladder.claims {
        Some(claims) if ladder.all_passed() => format!(
            "{} {} signed this. Freshness and binding cannot be shown by a file; measurements were not compared.\n",
            paint.text(Tone::Good, "✓"),
            picture::what(claims)
        ),
        _ => format!("{} Refused.\n", paint.text(Tone::Bad, "✗")),
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
