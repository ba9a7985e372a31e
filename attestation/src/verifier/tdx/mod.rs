//! The TDX ladder: rungs T1 to T18 of `SPEC.md`.
//!
//! ```text
//!  parsed quote ─ T14 T1 ─► PCK certificate ─ T16 ─► Endorsements for its FMSPC
//!        │                        │                        │
//!        │                        T2 chain, T3 lists ◄─────┤
//!        │                        │                        T4 TCB info, T5 QE identity
//!        T6 QE report ◄───────────┘                        │
//!        T7 quote signature          T8 TCB level ◄────────┘
//!        T9 attributes  T10 XFAM  T12 service TD  T13 event log
//!        T18 report data ─► claims          (T11 T15 T17: appraisal)
//! ```
//!
//! Each rung is one function over a [`Climb`]; a verification runs them from the bottom and stops at
//! the first that refuses, a replay runs all of them. There is no other way to claims. Endorsements
//! come parsed, and no signature is computed twice.

use subtle::ConstantTimeEq as _;

use crate::binding::ReportData;
use crate::claims::{CollateralWindow, TdxClaims};
use crate::endorsement::{EndorsementBundle, IntelEndorsements};
use crate::evidence::TdxEvidence;
use crate::unix_time::UnixTime;
use crate::verifier::chain::UnverifiedList;
use crate::verifier::event_log;
use crate::verifier::signature_cache::Signatures;
use crate::verifier::{Grounds, VerifyError, VerifyOptions};

mod documents;
mod pck;
mod pck_extension;
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
    signatures: Signatures<'a>,
}

/// One rung that needs everything: id and check.
type Rung = (&'static str, fn(&Climb<'_>) -> Result<(), VerifyError>);

/// The rungs of [`Climb`], from the bottom. T14 and T1 come before, T18 after.
const RUNGS: [Rung; 11] = [
    ("T2", |climb| pck::verify_path(&climb.pck, climb.now, &climb.signatures)),
    ("T3", pck::verify_revocation),
    ("T4", |climb| {
        documents::tcb_info_statement(climb)?;
        documents::tcb_info_signature(climb)
    }),
    ("T5", |climb| {
        documents::qe_identity_statement(climb)?;
        documents::qe_identity_signature(climb)
    }),
    ("T6", |climb| signatures::qe_report(climb.evidence, &climb.pck, &climb.signatures)),
    ("T7", |climb| signatures::quote_signature(climb.evidence)),
    ("T8", |climb| tcb::verdict(climb).map(drop)),
    ("T9", |climb| td::attributes(climb.evidence, &climb.options).map(drop)),
    ("T10", |climb| td::xfam(climb.evidence)),
    ("T12", |climb| td::service_td(climb.evidence)),
    ("T13", |climb| Ok(event_log::replay(climb.evidence).map(drop)?)),
];

impl<'a> Climb<'a> {
    /// T1, T2 as far as parsing goes, T16.
    fn prepare(evidence: &'a TdxEvidence, grounds: Grounds<'a>) -> Result<Self, VerifyError> {
        let Grounds { endorsements, anchors, now, options, signatures } = grounds;
        td::header(evidence)?;
        let pck = PckCertificate::parse(evidence, anchors)?;
        let endorsements = select(endorsements, &pck, now)?;
        Ok(Self { evidence, pck, endorsements, now, options, signatures })
    }

    /// What follows when every rung has passed. The three that decide about claims are asked again.
    fn claims(&self) -> Result<TdxClaims, VerifyError> {
        let body = &self.evidence.quote().body;
        let platform = &self.pck.platform;
        let tcb = tcb::verdict(self)?;
        let attributes_profile = td::attributes(self.evidence, &self.options)?;
        let tcb_info = &self.endorsements.tcb_info().parsed;
        let qe_identity = &self.endorsements.qe_identity().parsed;
        Ok(TdxClaims {
            mrtd: body.mrtd,
            rtmr0: body.rtmr[0],
            rtmr1: body.rtmr[1],
            rtmr2: body.rtmr[2],
            rtmr3: body.rtmr[3],
            mrconfigid: body.mrconfigid,
            mrowner: body.mrowner,
            mrownerconfig: body.mrownerconfig,
            mrseam: body.mrseam,
            td_attributes: body.td_attributes,
            attributes_profile,
            xfam: body.xfam,
            tee_tcb_svn: body.tee_tcb_svn,
            report_data: body.report_data,
            event_log: event_log::replay(self.evidence)?,
            tcb_status: tcb.status,
            tcb_date: tcb.tcb_date,
            advisory_ids: tcb.advisory_ids,
            fmspc: platform.fmspc,
            ppid: platform.ppid,
            platform_instance: platform.instance,
            pck_flags: platform.flags,
            tcb_evaluation_data_number: tcb_info
                .tcb_evaluation_data_number
                .min(qe_identity.tcb_evaluation_data_number),
            collateral: CollateralWindow {
                issued: tcb_info.issue_date.min(qe_identity.issue_date),
                expires: self.expires(),
            },
            //= attestation/SPEC.md#1
            //# A Verifier MUST show the use of an anchor other than the vendor's in its claims (`root`).
            root: self.pck.anchor.used.clone(),
        })
    }

    /// The earliest end of validity among everything that was verified.
    fn expires(&self) -> UnixTime {
        let pck = &self.pck;
        let tcb_info = self.endorsements.tcb_info();
        let qe_identity = self.endorsements.qe_identity();
        let documents = [tcb_info.parsed.next_update, qe_identity.parsed.next_update];
        let lists = [self.endorsements.root_list(), self.endorsements.pck_list()];
        let signers = [&tcb_info.signer, &qe_identity.signer];
        let certificates = [&pck.anchor.link as &_, &pck.chain.leaf]
            .into_iter()
            .chain(pck.chain.rest.iter().map(|link| &**link))
            .chain(signers.into_iter().flatten().map(|chain| &chain.leaf));
        let ends = documents
            .into_iter()
            .chain(lists.into_iter().flatten().map(UnverifiedList::next_update))
            .chain(certificates.map(|link| link.not_after()));
        ends.min().unwrap_or(UnixTime(0))
    }
}

/// T16: the entry for the platform type that the PCK certificate states.
fn select<'a>(
    endorsements: &'a EndorsementBundle,
    pck: &PckCertificate,
    now: UnixTime,
) -> Result<&'a IntelEndorsements, VerifyError> {
    let fmspc = pck.platform.fmspc;
    endorsements.select(fmspc, now).ok_or_else(|| VerifyError::NoEndorsements {
        fmspc,
        available: endorsements.entries().take(8).map(IntelEndorsements::fmspc).collect(),
    })
}

/// Climbs from the bottom to the claims; the first rung that fails ends it. `expected` is what the
/// caller wants the TD to have signed: a challenge, or on Azure the digest of the vTPM's data.
pub(super) fn verify(
    evidence: &TdxEvidence,
    expected: &ReportData,
    grounds: Grounds<'_>,
) -> Result<TdxClaims, VerifyError> {
    let climb = Climb::prepare(evidence, grounds)?;
    for (_, check) in &RUNGS {
        check(&climb)?;
    }
    let claims = climb.claims()?;
    // T18, last: only what hardware signed is worth comparing.
    //= attestation/SPEC.md#1
    //# A Verifier MUST compare all 64 bytes of the report data in constant time.
    if !bool::from(claims.report_data.0.ct_eq(&expected.0)) {
        return Err(VerifyError::ReportData {
            expected: Box::new(*expected),
            got: Box::new(claims.report_data),
        });
    }
    climb.signatures.keep();
    Ok(claims)
}
