//! Claims of an Azure confidential VM: what its vTPM quoted, over what the hardware reported.

use serde::{Serialize, Serializer};

use crate::binding::ReportData;
use crate::claims::{Pcr, SnpClaims, TdxClaims, report_data_as_hex};
use crate::evidence::azure::PCR_COUNT;
use crate::evidence::hcl::SecureBoot;

/// Claims of an Azure confidential VM.
///
/// The guest's software is in the PCRs alone: the hardware measured the paravisor, which runs the
/// vTPM. Whoever controls the paravisor controls the PCRs, so its measurement counts as much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AzureClaims {
    /// What the hardware reported about the VM with its paravisor.
    pub hardware: AzureHardwareClaims,
    /// The TPM quote's qualifying data, zero-padded; what the Verifier expected.
    #[serde(serialize_with = "report_data_as_hex")]
    pub report_data: ReportData,
    /// 1 or 2. In version 2 the hardware's report is as fresh as the quote.
    pub evidence_version: u8,
    /// PCRs 0 to 23 of the SHA-256 bank. In JSON an object with the members `0` to `23`.
    #[serde(serialize_with = "by_index")]
    pub pcrs: [Pcr; PCR_COUNT],
    /// Azure's id of the machine, under the hardware's report, when it is stated.
    pub vm_unique_id: Option<String>,
    /// Whether the machine was started with secure boot, under the hardware's report.
    pub secure_boot: SecureBoot,
    /// Version of the vTPM's firmware; its maker defines the meaning.
    pub tpm_firmware_version: u64,
    /// Resets of the vTPM: boots of the machine.
    pub tpm_reset_count: u32,
    /// Restarts and resumes of the vTPM since its last reset.
    pub tpm_restart_count: u32,
}

/// The hardware's claims under an Azure vTPM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "hardware", rename_all = "lowercase")]
pub enum AzureHardwareClaims {
    /// SEV-SNP.
    Snp(Box<SnpClaims>),
    /// TDX.
    Tdx(Box<TdxClaims>),
}

fn by_index<S: Serializer>(pcrs: &[Pcr; PCR_COUNT], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pcrs.iter().enumerate())
}
