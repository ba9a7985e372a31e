//! The verification library behind the ladder, and the claims that come out of it.
//!
//! `dcap-qvl`, pinned, with ring. It verifies every signature, chain, list and date and matches the
//! TCB level in one call; its refusals are texts, so the ladder finds the rung by itself. Nothing
//! that it accepts is accepted for that alone: the rungs that it lacks are climbed as well.

use dcap_qvl::configs::RingConfig;
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{QuoteClaims, QuotePolicy, TcbStatus as VendorStatus};

use crate::claims::{CollateralWindow, TcbStatus, TdxClaims};
use crate::unix_time::UnixTime;
use crate::verifier::DebugGuests;
use crate::verifier::error::VerifyError;
use crate::verifier::tdx::Climb;

/// Runs the library over the whole quote.
pub(super) fn verify(climb: &Climb<'_>) -> Result<TdxClaims, VerifyError> {
    let refused = |error: anyhow::Error| VerifyError::Library {
        detail: format!("{error:#}").chars().take(300).collect(),
    };
    let verifier = QuoteVerifier::<RingConfig>::new_with_config(climb.pck.anchor.der.clone())
        .allow_debug(match climb.options.debug_guests {
            DebugGuests::Refuse => false,
            DebugGuests::InsecureLeaveToAppraisal => true,
        });
    // No policy of the library's: which status, age and platform are acceptable is our appraisal's.
    let policy = QuotePolicy::claims_only(climb.now.0);
    let verified = verifier
        .verify_with_policy(
            climb.evidence.raw(),
            climb.endorsements.collateral(),
            climb.now.0,
            &policy,
        )
        .map_err(refused)?;
    claims(climb, verified)
}

fn claims(climb: &Climb<'_>, verified: QuoteClaims) -> Result<TdxClaims, VerifyError> {
    // The library parsed the quote and the certificate on its own: both parsers have to have seen
    // the same, or one of them reads what the other did not verify.
    let body = &climb.evidence.quote().body;
    let seen = verified.report.as_td10().map(|td| {
        (td.mr_td, td.rt_mr0, td.rt_mr1, td.rt_mr2, td.rt_mr3, td.mr_config_id, td.report_data)
    });
    let ours = (
        body.mrtd.0,
        body.rtmr[0].0,
        body.rtmr[1].0,
        body.rtmr[2].0,
        body.rtmr[3].0,
        body.mrconfigid.0,
        body.report_data.0,
    );
    let pck = &verified.platform.pck;
    if seen != Some(ours) || pck.fmspc != climb.pck.fmspc.0 || pck.ppid != climb.pck.ppid.0 {
        return Err(VerifyError::Library {
            detail: "two parsers read different values from the same bytes".into(),
        });
    }

    let mut advisory_ids = verified.tcb.advisory_ids;
    advisory_ids.sort();
    advisory_ids.dedup();
    let tcb_info = climb.endorsements.tcb_info_dates();
    let qe_identity = climb.endorsements.qe_identity_dates();
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
        xfam: body.xfam,
        tee_tcb_svn: body.tee_tcb_svn,
        report_data: body.report_data,
        tcb_status: status(verified.tcb.status)?,
        advisory_ids,
        fmspc: climb.pck.fmspc,
        ppid: climb.pck.ppid,
        tcb_evaluation_data_number: verified.tcb.eval_data_number,
        collateral: CollateralWindow {
            issued: tcb_info.issued.min(qe_identity.issued),
            expires: UnixTime(verified.earliest_expiration_date),
        },
        //= attestation/SPEC.md#1
        //# A Verifier MUST show the use of an anchor other than the vendor's in its claims (`root`).
        root: climb.pck.anchor.used.clone(),
    })
}

fn status(vendor: VendorStatus) -> Result<TcbStatus, VerifyError> {
    Ok(match vendor {
        VendorStatus::UpToDate => TcbStatus::UpToDate,
        VendorStatus::SWHardeningNeeded => TcbStatus::SwHardeningNeeded,
        VendorStatus::ConfigurationNeeded => TcbStatus::ConfigurationNeeded,
        VendorStatus::ConfigurationAndSWHardeningNeeded => {
            TcbStatus::ConfigurationAndSwHardeningNeeded
        }
        VendorStatus::OutOfDate => TcbStatus::OutOfDate,
        VendorStatus::OutOfDateConfigurationNeeded => TcbStatus::OutOfDateConfigurationNeeded,
        VendorStatus::TDRelaunchAdvised => TcbStatus::TdRelaunchAdvised,
        VendorStatus::TDRelaunchAdvisedConfigurationNeeded => {
            TcbStatus::TdRelaunchAdvisedConfigurationNeeded
        }
        VendorStatus::Revoked => return Err(VerifyError::TcbRevoked),
    })
}
