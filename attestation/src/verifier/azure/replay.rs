//! The Azure vTPM ladder as a record: every rung with what came of it, the hardware's included.
//!
//! For people and for stored Evidence. In: what [`verify`](super::verify) takes, but no expected report
//! data. Out: a [`Ladder`]. It runs the same rungs and gives no proof.

use crate::claims::{AzureHardwareClaims, Claims};
use crate::evidence::AzureEvidence;
use crate::evidence::azure::{AzureEvidenceVersion, AzureHardware};
use crate::verifier::azure::{AzureError, claims, rungs};
use crate::verifier::ladder::{Ladder, LeftTo, NotApplicable, Outcome, RungOutcome};
use crate::verifier::{Grounds, snp, tdx};

/// Climbs every rung that can be climbed and records each outcome.
pub(in crate::verifier) fn replay(evidence: &AzureEvidence, grounds: Grounds<'_>) -> Ladder {
    let hardware = match evidence.hardware() {
        AzureHardware::Snp(evidence) => snp::replay(evidence, grounds),
        AzureHardware::Tdx(evidence) => tdx::replay(evidence, grounds),
    };
    let mut rungs = vec![rung(
        "A1",
        "hardware's report commits to the var-data",
        outcome(rungs::var_data(evidence)),
    )];
    rungs.extend(hardware.rungs.into_iter().map(|mut rung| {
        if REPORT_DATA_RUNGS.contains(&rung.id) {
            rung.outcome = Outcome::NotApplicable(NotApplicable::ComparedByA1);
        }
        rung
    }));
    rungs.extend([
        rung(
            "A2",
            "TPM quote is signed by the key in the var-data, over PCRs 0 to 23",
            outcome(rungs::quote(evidence)),
        ),
        rung("A3", "hardware's report is of the quote's challenge", user_data(evidence)),
        rung(
            "A5",
            "qualifying data are what the Verifier expected",
            Outcome::LeftTo(LeftTo::Challenge),
        ),
        rung("A4", "PCRs and paravisor match reference values", Outcome::LeftTo(LeftTo::Appraisal)),
    ]);
    let mut ladder = Ladder { rungs, claims: None };
    if ladder.all_passed() {
        ladder.claims = hardware.claims.and_then(hardware_claims).map(|h| claims(evidence, h));
    }
    ladder
}

/// Rungs of the hardware's ladders that compare report data with a challenge.
const REPORT_DATA_RUNGS: [&str; 2] = ["T18", "S18"];

fn rung(id: &'static str, title: &'static str, outcome: Outcome) -> RungOutcome {
    RungOutcome { id, title, outcome }
}

fn outcome(checked: Result<(), AzureError>) -> Outcome {
    match checked {
        Ok(()) => Outcome::Passed,
        Err(error) => Outcome::Failed(error.reason()),
    }
}

fn user_data(evidence: &AzureEvidence) -> Outcome {
    match evidence.version() {
        AzureEvidenceVersion::V1 => Outcome::NotApplicable(NotApplicable::NotStatedInVersion1),
        AzureEvidenceVersion::V2 => outcome(rungs::user_data(evidence)),
    }
}

fn hardware_claims(claims: Claims) -> Option<AzureHardwareClaims> {
    match claims {
        Claims::Snp(claims) => Some(AzureHardwareClaims::Snp(claims)),
        Claims::Tdx(claims) => Some(AzureHardwareClaims::Tdx(claims)),
        Claims::AzSnpVtpm(_) | Claims::AzTdxVtpm(_) => None,
    }
}
