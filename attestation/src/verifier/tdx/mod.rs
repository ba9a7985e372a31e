//! The TDX ladder: rungs T1 to T18 of `SPEC.md`.
//!
//! ```text
//!  parsed quote ─ T14 T1 ─► PCK certificate ─ T16 ─► Endorsements for its FMSPC
//!        │                        │                        │
//!        │                        T2 chain, T3 lists ◄─────┤
//!        │                        │                        T4 TCB info, T5 QE identity
//!        T6 QE report ◄───────────┘                        │
//!        T7 quote signature          T8 TCB level ◄────────┘
//!        T9 attributes  T10 XFAM  T12 service TD
//!        T18 report data ─► claims          (T11 T13 T15 T17: appraisal)
//! ```
//!
//! The library and the cheap rungs are asked first, which is all that good Evidence costs. When any
//! of them refuses, the rungs are climbed one by one from the bottom, to name the lowest that fails.
//! That second climb can change the words of a refusal, never a refusal into a success.

use subtle::ConstantTimeEq as _;

use crate::binding::ReportData;
use crate::claims::{Claims, TdxClaims};
use crate::endorsement::{EndorsementBundle, IntelEndorsements};
use crate::evidence::TdxEvidence;
use crate::unix_time::UnixTime;
use crate::verifier::ladder::{Ladder, Outcome, RungOutcome};
use crate::verifier::{TrustAnchors, VerifyError, VerifyOptions};

mod documents;
mod library;
pub(super) mod pck;
mod signatures;
mod tcb;
mod td;

use pck::PckCertificate;

/// Everything that the rungs look at, picked and parsed, not verified.
struct Climb<'a> {
    evidence: &'a TdxEvidence,
    pck: PckCertificate,
    endorsements: &'a IntelEndorsements,
    now: UnixTime,
    options: VerifyOptions,
}

/// One rung that needs everything: id and check.
type Rung = (&'static str, fn(&Climb<'_>) -> Result<(), VerifyError>);

/// The rungs of [`Climb`], from the bottom. T14 and T1 come before, T18 after.
const RUNGS: [Rung; 10] = [
    ("T2", |climb| {
        climb.pck.verify_chain(climb.now)?;
        climb.pck.refuse_foreign()
    }),
    ("T3", pck::verify_revocation),
    ("T4", |climb| {
        documents::tcb_info_statement(climb)?;
        documents::tcb_info_signature(climb)
    }),
    ("T5", |climb| {
        documents::qe_identity_statement(climb)?;
        documents::qe_identity_signature(climb)
    }),
    ("T6", |climb| {
        signatures::qe_report_signature(climb.evidence, &climb.pck)?;
        signatures::qe_report_commitment(climb.evidence)
    }),
    ("T7", |climb| signatures::quote_signature(climb.evidence)),
    ("T8", tcb::tcb_level),
    ("T9", |climb| td::attributes(climb.evidence, &climb.options)),
    ("T10", |climb| td::xfam(climb.evidence)),
    ("T12", |climb| td::service_td(climb.evidence)),
];

impl<'a> Climb<'a> {
    /// T1, T2 as far as parsing goes, T16.
    fn prepare(
        evidence: &'a TdxEvidence,
        endorsements: &'a EndorsementBundle,
        anchors: &TrustAnchors,
        now: UnixTime,
        options: VerifyOptions,
    ) -> Result<Self, VerifyError> {
        td::header(evidence)?;
        let pck = PckCertificate::parse(evidence, anchors)?;
        let endorsements =
            endorsements
                .select(pck.fmspc, now)
                .ok_or_else(|| VerifyError::NoEndorsements {
                    fmspc: pck.fmspc,
                    available: endorsements
                        .entries()
                        .take(8)
                        .map(IntelEndorsements::fmspc)
                        .collect(),
                })?;
        Ok(Self {
            evidence,
            pck,
            endorsements,
            now,
            options,
        })
    }

    /// The whole ladder but T18, at the cost of the library and a few comparisons.
    fn quick(&self) -> Result<TdxClaims, VerifyError> {
        self.pck.refuse_foreign()?;
        documents::tcb_info_statement(self)?;
        documents::qe_identity_statement(self)?;
        signatures::qe_report_commitment(self.evidence)?;
        td::attributes(self.evidence, &self.options)?;
        td::xfam(self.evidence)?;
        td::service_td(self.evidence)?;
        library::verify(self)
    }

    /// The lowest rung that fails.
    fn first_failure(&self) -> Option<VerifyError> {
        RUNGS.iter().find_map(|(_, check)| check(self).err())
    }
}

pub(super) fn verify(
    evidence: &TdxEvidence,
    endorsements: &EndorsementBundle,
    anchors: &TrustAnchors,
    expected: &ReportData,
    now: UnixTime,
    options: &VerifyOptions,
) -> Result<TdxClaims, VerifyError> {
    let climb = Climb::prepare(evidence, endorsements, anchors, now, *options)?;
    let claims = climb
        .quick()
        .map_err(|refusal| climb.first_failure().unwrap_or(refusal))?;
    // T18, last: only what hardware signed is worth comparing.
    //= attestation/SPEC.md#1
    //# A Verifier MUST compare all 64 bytes of the report data in constant time.
    if !bool::from(claims.report_data.0.ct_eq(&expected.0)) {
        return Err(VerifyError::ReportData {
            expected: hex::encode(expected.0),
            got: hex::encode(claims.report_data.0),
        });
    }
    Ok(claims)
}

pub(super) fn replay(
    evidence: &TdxEvidence,
    endorsements: &EndorsementBundle,
    anchors: &TrustAnchors,
    now: UnixTime,
) -> Ladder {
    let mut record = Record::new();
    // A quote with anything but zeros after it was never parsed into `TdxEvidence`.
    record.set("T14", Outcome::Passed);
    let climb = match Climb::prepare(
        evidence,
        endorsements,
        anchors,
        now,
        VerifyOptions::default(),
    ) {
        Ok(climb) => climb,
        Err(refusal) => {
            record.prepare_failed(&refusal);
            record.independent(evidence);
            return record.finish(None);
        }
    };
    record.set("T1", Outcome::Passed);
    record.set("T16", Outcome::Passed);
    match climb.quick() {
        Ok(claims) => {
            RUNGS
                .iter()
                .for_each(|(id, _)| record.set(id, Outcome::Passed));
            record.finish(Some(Claims::Tdx(Box::new(claims))))
        }
        Err(refusal) => {
            for (id, check) in &RUNGS {
                record.set(id, outcome(check(&climb)));
            }
            record.refused_by_library(&refusal);
            record.finish(None)
        }
    }
}

fn outcome(checked: Result<(), VerifyError>) -> Outcome {
    match checked {
        Ok(()) => Outcome::Passed,
        Err(error) => Outcome::Failed(error.reason()),
    }
}

/// The rungs in the order of the climb, with their titles.
const TITLES: [(&str, &str); 18] = [
    ("T14", "nothing but zero padding after the quote"),
    (
        "T1",
        "quote of version 4 or 5, ECDSA P-256, TDX, Intel's quoting enclave",
    ),
    (
        "T16",
        "the Verifier has endorsements for this platform type",
    ),
    ("T2", "PCK certificate leads to a trusted root"),
    (
        "T3",
        "nothing in the chain is revoked, and the lists are current",
    ),
    ("T4", "TCB info is signed, current, and for this platform"),
    (
        "T5",
        "QE identity is signed, current, and describes this quoting enclave",
    ),
    (
        "T6",
        "QE report is signed by the PCK key and commits to the attestation key",
    ),
    ("T7", "quote is signed by the attestation key"),
    ("T8", "a TCB level covers the platform and is not revoked"),
    (
        "T9",
        "TD is neither debuggable nor migratable, no reserved bit is set",
    ),
    ("T10", "XFAM has known components only"),
    ("T12", "no service TD is bound"),
    ("T18", "report data are what the Verifier expected"),
    ("T11", "measurements match reference values"),
    ("T13", "event log replays to the registers"),
    ("T15", "collateral is young enough"),
    ("T17", "platform is on the list of allowed ones"),
];

struct Record {
    rungs: Vec<RungOutcome>,
}

impl Record {
    fn new() -> Self {
        let rungs = TITLES
            .iter()
            .map(|&(id, title)| RungOutcome {
                id,
                title,
                outcome: before(id),
            })
            .collect();
        Self { rungs }
    }

    fn set(&mut self, id: &str, outcome: Outcome) {
        if let Some(rung) = self.rungs.iter_mut().find(|rung| rung.id == id) {
            rung.outcome = outcome;
        }
    }

    /// T1, T2 or T16 failed while parsing; what came before it has passed.
    fn prepare_failed(&mut self, refusal: &VerifyError) {
        let failed = refusal.rung();
        if failed != "T1" {
            self.set("T1", Outcome::Passed);
        }
        self.set(failed, Outcome::Failed(refusal.reason()));
    }

    /// Rungs that look at the quote alone.
    fn independent(&mut self, evidence: &TdxEvidence) {
        self.set("T7", outcome(signatures::quote_signature(evidence)));
        self.set(
            "T9",
            outcome(td::attributes(evidence, &VerifyOptions::default())),
        );
        self.set("T10", outcome(td::xfam(evidence)));
        self.set("T12", outcome(td::service_td(evidence)));
    }

    /// When every rung passed and the library refused all the same, say so and fail.
    fn refused_by_library(&mut self, refusal: &VerifyError) {
        if self
            .rungs
            .iter()
            .all(|rung| !matches!(rung.outcome, Outcome::Failed(_)))
        {
            self.rungs.push(RungOutcome {
                id: "T0",
                title: "verification library agrees",
                outcome: Outcome::Failed(refusal.reason()),
            });
        }
    }

    fn finish(self, claims: Option<Claims>) -> Ladder {
        Ladder {
            rungs: self.rungs,
            claims,
        }
    }
}

/// What stands beside a rung before it is climbed.
fn before(id: &str) -> Outcome {
    let why = match id {
        "T18" => "no challenge: stored Evidence can't prove freshness",
        "T11" | "T15" | "T17" => "decided by the appraisal policy",
        "T13" => "no claim is made from the event log",
        _ => return Outcome::NotReached,
    };
    Outcome::NotApplicable(why.to_owned())
}
