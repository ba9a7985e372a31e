//! The TDX ladder as a record: every rung with what came of it.
//!
//! For people and for stored Evidence. In: what [`verify`](super::verify) takes, but no expected report
//! data. Out: a [`Ladder`]. It runs the same rungs and gives no proof.

use crate::claims::{Claims, EventLogClaims};
use crate::evidence::TdxEvidence;
use crate::verifier::event_log;
use crate::verifier::ladder::{Ladder, LeftTo, NotApplicable, Outcome};
use crate::verifier::tdx::pck::PckCertificate;
use crate::verifier::tdx::{Climb, RUNGS, pck, select, signatures, td};
use crate::verifier::{Grounds, VerifyError, VerifyOptions};

/// Climbs every rung that can be climbed and records each outcome.
pub(in crate::verifier) fn replay(evidence: &TdxEvidence, grounds: Grounds<'_>) -> Ladder {
    let Grounds { endorsements, anchors, now, options, signatures } = grounds;
    let mut ladder = Ladder::unclimbed(&TITLES, before);
    // A quote with anything but zeros after it was never parsed into `TdxEvidence`.
    ladder.set("T14", Outcome::Passed);
    ladder.set("T1", outcome("T1", td::header(evidence)));
    let pck = match PckCertificate::parse(evidence, anchors) {
        Ok(pck) => pck,
        Err(refusal) => {
            ladder.set(refusal.rung(), Outcome::Failed(refusal.reason()));
            of_the_quote(&mut ladder, evidence, &options);
            return ladder;
        }
    };
    let endorsements = match select(endorsements, &pck, now) {
        Ok(endorsements) => endorsements,
        Err(refusal) => {
            ladder.set("T16", Outcome::Failed(refusal.reason()));
            ladder.set("T2", outcome("T2", pck::verify_path(&pck, now, &signatures)));
            ladder.set("T6", outcome("T6", signatures::qe_report(evidence, &pck, &signatures)));
            of_the_quote(&mut ladder, evidence, &options);
            return ladder;
        }
    };
    ladder.set("T16", Outcome::Passed);
    let climb = Climb { evidence, pck, endorsements, now, options, signatures };
    for (id, check) in &RUNGS {
        ladder.set(id, outcome(id, check(&climb)));
    }
    event_log(&mut ladder, evidence);
    name_waivers(&mut ladder, evidence, &options);
    if ladder.all_passed() {
        ladder.claims = climb.claims().ok().map(|claims| Claims::Tdx(Box::new(claims)));
    }
    ladder
}

fn outcome(id: &str, checked: Result<(), VerifyError>) -> Outcome {
    match checked {
        Ok(()) => Outcome::Passed,
        Err(error) if error.rung() == id => Outcome::Failed(error.reason()),
        // A rung stands on a lower one, which failed and has its own record.
        Err(_) => Outcome::NotReached,
    }
}

/// The rungs in the order of the climb, with their titles.
const TITLES: [(&str, &str); 18] = [
    ("T14", "nothing but zero padding after the quote"),
    ("T1", "quote of version 4 or 5, ECDSA P-256, TDX, Intel's quoting enclave"),
    ("T16", "the Verifier has endorsements for this platform type"),
    ("T2", "PCK certificate leads to a trusted root"),
    ("T3", "nothing in the chain is revoked, and the lists are current"),
    ("T4", "TCB info is signed, current, and for this platform"),
    ("T5", "QE identity is signed, current, and describes this quoting enclave"),
    ("T6", "QE report is signed by the PCK key and commits to the attestation key"),
    ("T7", "quote is signed by the attestation key"),
    ("T8", "a TCB level covers the platform and is not revoked"),
    ("T9", "TD is neither debuggable nor migratable, no reserved bit is set"),
    ("T10", "XFAM has known components only"),
    ("T12", "no service TD is bound"),
    ("T13", "event log replays to the registers"),
    ("T18", "report data are what the Verifier expected"),
    ("T11", "measurements match reference values"),
    ("T15", "collateral is young enough"),
    ("T17", "platform is on the list of allowed ones"),
];

/// Rungs that look at the quote alone.
fn of_the_quote(ladder: &mut Ladder, evidence: &TdxEvidence, options: &VerifyOptions) {
    ladder.set("T7", outcome("T7", signatures::quote_signature(evidence)));
    ladder.set("T9", outcome("T9", td::attributes(evidence, options).map(drop)));
    ladder.set("T10", outcome("T10", td::xfam(evidence)));
    ladder.set("T12", outcome("T12", td::service_td(evidence)));
    event_log(ladder, evidence);
    name_waivers(ladder, evidence, options);
}

/// T13, with the absence of a log named.
fn event_log(ladder: &mut Ladder, evidence: &TdxEvidence) {
    let outcome = match event_log::replay(evidence) {
        Ok(EventLogClaims::Absent) => Outcome::NotApplicable(NotApplicable::NoEventLog),
        Ok(EventLogClaims::Replayed { .. }) => Outcome::Passed,
        Err(refusal) => Outcome::Failed(refusal.reason()),
    };
    ladder.set("T13", outcome);
}

/// T9 passed and would not have without an option that weakens it: the record says so.
fn name_waivers(ladder: &mut Ladder, evidence: &TdxEvidence, options: &VerifyOptions) {
    let strict = td::attributes(evidence, &VerifyOptions::default());
    if let (Err(refusal), Ok(_)) = (strict, td::attributes(evidence, options)) {
        ladder.set("T9", Outcome::Waived(refusal.reason()));
    }
}

/// What stands beside a rung before it is climbed.
fn before(id: &str) -> Outcome {
    match id {
        "T18" => Outcome::LeftTo(LeftTo::Challenge),
        "T11" | "T15" | "T17" => Outcome::LeftTo(LeftTo::Appraisal),
        _ => Outcome::NotReached,
    }
}
