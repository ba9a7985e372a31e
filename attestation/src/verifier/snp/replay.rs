//! The SNP ladder as a record: every rung with what came of it.
//!
//! For people and for stored Evidence. In: what [`verify`](super::verify) takes, but no expected report
//! data. Out: a [`Ladder`]. It runs the same rungs and gives no proof.

use crate::claims::{Claims, SnpRevocation};
use crate::evidence::SnpEvidence;
use crate::verifier::Grounds;
use crate::verifier::ladder::{Ladder, LeftTo, Outcome};
use crate::verifier::snp::endorsement_key::EndorsementKey;
use crate::verifier::snp::{Climb, RUNGS, SnpError, Tcbs, chain, report};

/// Climbs every rung that can be climbed and records each outcome.
pub(in crate::verifier) fn replay(evidence: &SnpEvidence, grounds: Grounds<'_>) -> Ladder {
    let mut ladder = Ladder::unclimbed(&TITLES, before);
    let options = grounds.options;
    let Some(climb) = pick(&mut ladder, evidence, grounds) else {
        return ladder;
    };
    for (id, check) in &RUNGS {
        ladder.set(id, outcome(id, check(&climb)));
    }
    if matches!(chain::revocation(&climb), Ok((SnpRevocation::InsecureWaived, _))) {
        let missing = SnpError::NoRevocationList { product: climb.product };
        ladder.set("S5", Outcome::Waived(missing.reason()));
    }
    let policy = evidence.report().policy;
    if policy.debug_allowed() && report::guest_policy(evidence, &options).is_ok() {
        ladder.set("S12", Outcome::Waived(SnpError::Debug { policy: policy.0 }.reason()));
    }
    if ladder.all_passed() {
        ladder.claims = climb.claims().ok().map(|claims| Claims::Snp(Box::new(claims)));
    }
    ladder
}

/// S16, S1, S6 and S2, each by itself. Where no climb can be made of what they leave, the rungs that
/// stand on less are climbed here.
fn pick<'a>(
    ladder: &mut Ladder,
    evidence: &'a SnpEvidence,
    grounds: Grounds<'a>,
) -> Option<Climb<'a>> {
    ladder.set("S1", outcome("S1", report::algorithm(evidence)));
    // Reserved bytes that carry something were never parsed into `SnpEvidence`.
    ladder.set("S16", outcome("S16", report::reserved_bits(evidence)));
    let key = picked(ladder, "S6", EndorsementKey::choose(evidence, grounds.endorsements));
    let product = key.as_ref().and_then(|key| picked(ladder, "S2", key.product(evidence.report())));
    let tcb = product.and_then(|product| match Tcbs::read(evidence.report(), product) {
        Ok(tcb) => Some(tcb),
        Err(refusal) => {
            ladder.set("S16", Outcome::Failed(refusal.reason()));
            None
        }
    });
    match (key, product, tcb) {
        (Some(key), Some(product), Some(tcb)) => {
            Some(Climb::of(evidence, grounds, key, product, tcb))
        }
        (key, ..) => {
            if let Some(key) = key {
                ladder.set("S11", outcome("S11", report::signature(evidence, &key)));
            }
            ladder.set("S12", outcome("S12", report::guest_policy(evidence, &grounds.options)));
            None
        }
    }
}

/// What was picked at a rung, with the outcome in the record. A refusal names its own rung: a
/// certificate without a readable productName is no reason against its kind.
fn picked<T>(ladder: &mut Ladder, id: &str, picked: Result<T, SnpError>) -> Option<T> {
    match picked {
        Ok(value) => {
            ladder.set(id, Outcome::Passed);
            Some(value)
        }
        Err(refusal) => {
            ladder.set(refusal.rung(), Outcome::Failed(refusal.reason()));
            None
        }
    }
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

/// What stands beside a rung before it is climbed.
fn before(id: &str) -> Outcome {
    match id {
        "S18" => Outcome::LeftTo(LeftTo::Challenge),
        "S10" | "S13" | "S14" | "S15" | "S17" => Outcome::LeftTo(LeftTo::Appraisal),
        _ => Outcome::NotReached,
    }
}
