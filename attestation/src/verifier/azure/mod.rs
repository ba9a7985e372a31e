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
use crate::evidence::AzureEvidence;
use crate::evidence::azure::{AzureEvidenceVersion, AzureHardware};
use crate::reason::Reason;
use crate::verifier::{Grounds, VerifyError, snp, tdx};

mod error;
mod replay;
mod rungs;

pub use error::AzureError;
pub(super) use replay::replay;

/// Climbs every rung, the whole ladder of the hardware among them, over the report data of A1.
pub(super) fn verify(
    evidence: &AzureEvidence,
    expected: &ReportData,
    grounds: Grounds<'_>,
) -> Result<Claims, VerifyError> {
    rungs::var_data(evidence)?;
    //= attestation/SPEC.md#9
    //# A Verifier MUST climb the whole ladder of the hardware under a vTPM.
    let committed = rungs::commitment(evidence.hcl());
    let hardware = match evidence.hardware() {
        AzureHardware::Snp(snp) => {
            AzureHardwareClaims::Snp(Box::new(snp::verify(snp, &committed, grounds)?))
        }
        AzureHardware::Tdx(tdx) => {
            AzureHardwareClaims::Tdx(Box::new(tdx::verify(tdx, &committed, grounds)?))
        }
    };
    rungs::quote(evidence)?;
    rungs::user_data(evidence)?;
    // A5, last: only what the TPM signed is worth comparing.
    rungs::report_data(evidence, expected)?;
    Ok(claims(evidence, hardware))
}

/// A5 by itself, for explanations: the qualifying data as a reason, when they are not the expected ones.
pub(super) fn other_report_data(evidence: &AzureEvidence, expected: &ReportData) -> Option<Reason> {
    rungs::report_data(evidence, expected).err().map(|refusal| refusal.reason())
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
