//! Azure confidential VM Evidence: a TPM quote, the paravisor's HCL report, the hardware's report.
//!
//! Role: Evidence (RFC 9334 §4.2). In: the KBS protocol's JSON for `az-snp-vtpm` and `az-tdx-vtpm`.
//! Out: [`AzureEvidence`], parsed, unverified.

use serde_json::Value;

use crate::binding::ReportData;
use crate::evidence::Tee;
use crate::reason::Reason;

/// Why JSON is not Azure vTPM Evidence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AzureFormatError {
    /// A member is missing or of another form.
    #[error("{member} is not {expected}")]
    Member {
        /// The member.
        member: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

impl AzureFormatError {
    /// The rung that refused.
    #[must_use]
    pub fn rung(&self) -> &'static str {
        "A1"
    }

    /// The refusal as a [`Reason`].
    #[must_use]
    pub fn reason(&self) -> Reason {
        let Self::Member { member, expected } = self;
        Reason {
            code: "azure.evidence.member".into(),
            rung: self.rung().to_owned(),
            claim: (*member).to_owned(),
            expected: (*expected).to_owned(),
            got: "something else".to_owned(),
            remedy: "collect the Evidence again".to_owned(),
        }
    }
}

/// What an Azure confidential VM sends. Unverified.
#[derive(Clone, Debug)]
pub struct AzureEvidence {
    tee: Tee,
}

impl AzureEvidence {
    /// Parses the value of `primary_evidence` in the KBS protocol.
    ///
    /// # Errors
    /// [`AzureFormatError`].
    pub fn parse_kbs(_tee: Tee, _primary_evidence: &Value) -> Result<Self, AzureFormatError> {
        Err(AzureFormatError::Member { member: "hcl_report", expected: "an HCL report" })
    }

    /// The TEE that this Evidence claims to come from.
    #[must_use]
    pub fn tee(&self) -> Tee {
        self.tee
    }

    /// The qualifying data of the TPM quote, zero-padded. Unverified.
    #[must_use]
    pub fn report_data(&self) -> ReportData {
        ReportData([0; 64])
    }
}
