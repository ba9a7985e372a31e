//! The SNP ladder as a record: every rung with what came of it.
//!
//! For people and for stored Evidence. In: what [`verify`](super::verify) takes, but no expected report
//! data. Out: a [`Ladder`]. It runs the same rungs and gives no proof.

use crate::claims::{Claims, SnpRevocation};
use crate::endorsement::EndorsementBundle;
use crate::evidence::SnpEvidence;
use crate::unix_time::UnixTime;
use crate::verifier::ladder::{Ladder, Outcome};
use crate::verifier::signature_cache::Signatures;
use crate::verifier::snp::{Climb, RUNGS, SnpError, chain, report};
use crate::verifier::{TrustAnchors, VerifyOptions};

/// Climbs every rung that can be climbed and records each outcome.
pub(in crate::verifier) fn replay(
    evidence: &SnpEvidence,
    endorsements: &EndorsementBundle,
    anchors: &TrustAnchors,
    now: UnixTime,
    options: &VerifyOptions,
) -> Ladder {
    let mut ladder = Ladder::unclimbed(&TITLES, before);
    // Reserved bytes that carry something were never parsed into `SnpEvidence`.
    ladder.set("S16", Outcome::Passed);
    let signatures = Signatures::default();
    let climb = match Climb::prepare(evidence, endorsements, anchors, now, *options, signatures) {
        Ok(climb) => climb,
        Err(refusal) => {
            prepare_failed(&mut ladder, evidence, &refusal);
            return ladder;
        }
    };
    for id in ["S1", "S6", "S2"] {
        ladder.set(id, Outcome::Passed);
    }
    for (id, check) in &RUNGS {
        ladder.set(id, outcome(id, check(&climb)));
    }
    if matches!(chain::revocation(&climb), Ok((SnpRevocation::InsecureWaived, _))) {
        let missing = SnpError::NoRevocationList { product: climb.product };
        ladder.set("S5", Outcome::Waived(missing.reason()));
    }
    let policy = evidence.report().policy;
    if policy.debug_allowed() && report::guest_policy(&climb).is_ok() {
        ladder.set("S12", Outcome::Waived(SnpError::Debug { policy: policy.0 }.reason()));
    }
    if ladder.all_passed() {
        ladder.claims = climb.claims().ok().map(|claims| Claims::Snp(Box::new(claims)));
    }
    ladder
}

fn outcome(id: &str, checked: Result<(), SnpError>) -> Outcome {
    match checked {
        Ok(()) => Outcome::Passed,
        Err(error) if error.rung() == id => Outcome::Failed(error.reason()),
        // A rung stands on a lower one, which failed and has its own record.
        Err(_) => Outcome::NotReached,
    }
}

/// The rungs in the order of the climb, with their titles.
const TITLES: [(&str, &str); 18] = [
    ("S16", "nothing stands in reserved bytes and bits"),
    ("S1", "report of version 2, 3 or 5, signed with ECDSA P-384"),
    ("S6", "certificate is of the kind of key that the report names"),
    ("S2", "processor, certificate and issuer are of one product"),
    ("S3", "endorsement key leads to the product's root"),
    ("S4", "certificates are valid now"),
    ("S5", "intermediate is not revoked, and the list is current"),
    ("S7", "endorsement key is of this chip, or of a named cloud"),
    ("S8", "endorsement key is bound to the reported firmware"),
    ("S9", "reported, committed and current firmware are in order"),
    ("S11", "report is signed by the endorsement key"),
    ("S12", "guest is neither debuggable nor migratable"),
    ("S18", "report data are what the Verifier expected"),
    ("S10", "firmware is at least what the policy wants"),
    ("S13", "privilege level is an allowed one"),
    ("S14", "measurement, host data and keys match reference values"),
    ("S15", "machine is set up as the policy wants"),
    ("S17", "mitigations are in force"),
];

/// S16, S1, S6 or S2 failed while picking; what came before it in the climb has passed.
fn prepare_failed(ladder: &mut Ladder, evidence: &SnpEvidence, refusal: &SnpError) {
    let failed = refusal.rung();
    if report::format(evidence).is_ok() {
        for id in ["S1", "S6", "S2"].into_iter().take_while(|id| *id != failed) {
            ladder.set(id, Outcome::Passed);
        }
    }
    ladder.set(failed, Outcome::Failed(refusal.reason()));
}

/// What stands beside a rung before it is climbed.
fn before(id: &str) -> Outcome {
    let why = match id {
        "S18" => "no challenge: stored Evidence can't prove freshness",
        "S10" | "S13" | "S14" | "S15" | "S17" => "decided by the appraisal policy",
        _ => return Outcome::NotReached,
    };
    Outcome::NotApplicable(why.to_owned())
}
