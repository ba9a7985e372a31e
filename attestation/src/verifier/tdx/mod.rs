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
use crate::claims::TdxClaims;
use crate::endorsement::{EndorsementBundle, IntelEndorsements};
use crate::evidence::TdxEvidence;
use crate::unix_time::UnixTime;
use crate::verifier::{TrustAnchors, VerifyError, VerifyOptions};

mod documents;
mod library;
mod pck;
mod replay;
mod signatures;
mod tcb;
mod td;

use pck::PckCertificate;
pub(crate) use pck::platform;
pub(super) use replay::replay;

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
            endorsements.select(pck.fmspc, now).ok_or_else(|| VerifyError::NoEndorsements {
                fmspc: pck.fmspc,
                available: endorsements.entries().take(8).map(IntelEndorsements::fmspc).collect(),
            })?;
        Ok(Self { evidence, pck, endorsements, now, options })
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
    let claims = climb.quick().map_err(|refusal| climb.first_failure().unwrap_or(refusal))?;
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
