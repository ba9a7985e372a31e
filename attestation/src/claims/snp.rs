//! Claims of an AMD SEV-SNP guest and of the processor under it.

use serde::Serialize;

use crate::binding::ReportData;
use crate::claims::{AnchorUsed, Measurement, report_data_as_hex};
use crate::unix_time::UnixTime;

/// Claims of an AMD SEV-SNP guest.
///
/// Layout source: AMD 56860, table ATTESTATION_REPORT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnpClaims {
    /// Launch digest of the guest's initial memory.
    pub measurement: Measurement,
    /// The 64 bytes that the guest chose; equal to what the Verifier expected.
    #[serde(serialize_with = "report_data_as_hex")]
    pub report_data: ReportData,
    /// Earliest end of validity among the certificates and lists used.
    pub endorsements_expire: UnixTime,
    /// Where the chain of signatures ended.
    pub root: AnchorUsed,
}
