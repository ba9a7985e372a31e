//! The Azure vTPM ladder of `SPEC.md` §9.
//!
//! ```text
//!  HCL report ─ var-data ─ A1 ─► hardware report ─ S… or T… ─► vendor's root
//!                  │
//!                  └ HCLAkPub ─ A2 ─► TPM quote ─► 24 PCRs      (A4: appraisal)
//!                  └ user-data ─ A3 ─► qualifying data ─ A5 ─► expected report data
//! ```
//! Role: Verifier. In: parsed Evidence and what the hardware's ladder needs. Out: claims of the vTPM
//! over those of the hardware, or the first rung that failed.
//! Against: a TPM quote by a key that no TEE holds, PCR values under other numbers than they were
//! quoted with, parts of several machines put together, a hardware report from before the challenge.

use crate::binding::ReportData;
use crate::claims::{AzureClaims, AzureHardwareClaims, Claims, Pcr};
use crate::endorsement::EndorsementBundle;
use crate::evidence::AzureEvidence;
use crate::evidence::azure::{AzureEvidenceVersion, AzureHardware};
use crate::unix_time::UnixTime;
use crate::verifier::{SignatureCache, TrustAnchors, VerifyError, VerifyOptions, snp, tdx};

mod error;
mod replay;
mod rungs;

pub use error::AzureError;
pub(super) use replay::replay;

pub(super) fn verify(
    evidence: &AzureEvidence,
    endorsements: &EndorsementBundle,
    anchors: &TrustAnchors,
    expected: &ReportData,
    now: UnixTime,
    options: &VerifyOptions,
) -> Result<Claims, VerifyError> {
    climb(evidence, expected, |committed| match evidence.hardware() {
        AzureHardware::Snp(snp) => snp::verify(snp, endorsements, anchors, committed, now, options)
            .map(|claims| AzureHardwareClaims::Snp(Box::new(claims))),
        AzureHardware::Tdx(tdx) => tdx::verify(tdx, endorsements, anchors, committed, now, options)
            .map(|claims| AzureHardwareClaims::Tdx(Box::new(claims))),
    })
}

/// As [`verify`], with a memory of good signatures for the hardware's ladder.
pub(super) fn verify_cached(
    evidence: &AzureEvidence,
    endorsements: &EndorsementBundle,
    anchors: &TrustAnchors,
    expected: &ReportData,
    now: UnixTime,
    options: &VerifyOptions,
    cache: &SignatureCache,
) -> Result<Claims, VerifyError> {
    climb(evidence, expected, |committed| match evidence.hardware() {
        AzureHardware::Snp(snp) => {
            snp::verify_cached(snp, endorsements, anchors, committed, now, options, cache)
                .map(|claims| AzureHardwareClaims::Snp(Box::new(claims)))
        }
        AzureHardware::Tdx(tdx) => {
            tdx::verify_cached(tdx, endorsements, anchors, committed, now, options, cache)
                .map(|claims| AzureHardwareClaims::Tdx(Box::new(claims)))
        }
    })
}

/// All rungs, with the hardware's ladder over the report data that it is given.
fn climb(
    evidence: &AzureEvidence,
    expected: &ReportData,
    hardware: impl FnOnce(&ReportData) -> Result<AzureHardwareClaims, VerifyError>,
) -> Result<Claims, VerifyError> {
    rungs::var_data(evidence)?;
    //= attestation/SPEC.md#9
    //# A Verifier MUST climb the whole ladder of the hardware under a vTPM.
    let hardware = hardware(&rungs::commitment(evidence.hcl()))?;
    rungs::quote(evidence)?;
    rungs::user_data(evidence)?;
    // A5, last: only what the TPM signed is worth comparing.
    rungs::report_data(evidence, expected)?;
    Ok(claims(evidence, hardware))
}

/// What the vTPM says, over what the hardware says.
fn claims(evidence: &AzureEvidence, hardware: AzureHardwareClaims) -> Claims {
    let attest = &evidence.quote().attest;
    let var_data = evidence.hcl().var_data();
    let claims = Box::new(AzureClaims {
        report_data: evidence.report_data(),
        evidence_version: match evidence.version() {
            AzureEvidenceVersion::V1 => 1,
            AzureEvidenceVersion::V2 => 2,
        },
        pcrs: evidence.quote().pcrs.map(Pcr),
        vm_unique_id: var_data.vm_unique_id.clone(),
        secure_boot: var_data.secure_boot,
        tpm_firmware_version: attest.firmware_version,
        tpm_reset_count: attest.clock.reset_count,
        tpm_restart_count: attest.clock.restart_count,
        hardware,
    });
    match claims.hardware {
        AzureHardwareClaims::Snp(_) => Claims::AzSnpVtpm(claims),
        AzureHardwareClaims::Tdx(_) => Claims::AzTdxVtpm(claims),
    }
}
