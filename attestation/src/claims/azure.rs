//! Claims of an Azure confidential VM: what its vTPM quoted, over what the hardware reported.

use serde::Serialize;

use crate::binding::ReportData;
use crate::claims::{SnpClaims, TdxClaims, report_data_as_hex};

/// Claims of an Azure confidential VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AzureClaims {
    /// What the hardware reported about the VM with its paravisor.
    pub hardware: AzureHardwareClaims,
    /// The TPM quote's qualifying data, zero-padded; what the Verifier expected.
    #[serde(serialize_with = "report_data_as_hex")]
    pub report_data: ReportData,
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
