//! Why a rung of the Azure vTPM ladder refused.

use crate::reason::Reason;
use crate::verifier::refusal::{binding_remedy, told_binding};

/// A refusal of the Azure vTPM ladder. Every variant belongs to one rung in `SPEC.md`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AzureError {
    /// A1: the hardware's report does not commit to the var-data.
    #[error("the {report} does not commit to the var-data")]
    VarData {
        /// Which of the hardware's reports.
        report: &'static str,
        /// SHA-256 of the var-data and 32 zero bytes, hex.
        expected: String,
        /// Report data of the hardware's report, hex.
        got: String,
    },
    /// A2: the attestation key did not sign the quote.
    #[error("signature of the TPM quote is invalid")]
    QuoteSignature,
    /// A2: the quote is over other PCRs than 0 to 23 of the SHA-256 bank.
    #[error("TPM quote is over {got}, expected sha256:ffffff")]
    PcrSelection {
        /// What it is over: banks with bitmaps in hex.
        got: String,
    },
    /// A2: the digest in the quote is not that of the PCR values that came with it.
    #[error("TPM quote is over other PCR values than those given")]
    PcrDigest {
        /// SHA-256 of the given values, hex.
        expected: String,
        /// The digest in the quote, hex.
        got: String,
    },
    /// A3: the var-data do not repeat the quote's qualifying data, so the hardware's report is not
    /// of this challenge.
    #[error("user data under the hardware's report are not those of this challenge")]
    UserData {
        /// Qualifying data of the quote, hex.
        expected: String,
        /// `user-data` of the var-data, hex, or that there are none.
        got: String,
    },
    /// A5: the TPM quoted other qualifying data than this Verifier expected.
    #[error("qualifying data of the TPM quote differ from what was expected")]
    ReportData {
        /// What the Verifier expected.
        expected: Vec<u8>,
        /// What the quote carries.
        got: Vec<u8>,
    },
}

const RECOLLECT: &str =
    "collect the Evidence again; if it came through a file, compare it with the original";
const CHALLENGE: &str = "ask for new Evidence over a new challenge; if it happens again, somebody answers with Evidence made for another purpose";

impl AzureError {
    /// The rung that refused.
    #[must_use]
    pub fn rung(&self) -> &'static str {
        match self {
            Self::VarData { .. } => "A1",
            Self::QuoteSignature | Self::PcrSelection { .. } | Self::PcrDigest { .. } => "A2",
            Self::UserData { .. } => "A3",
            Self::ReportData { .. } => "A5",
        }
    }

    /// The refusal as a [`Reason`].
    #[must_use]
    pub fn reason(&self) -> Reason {
        let (code, claim, expected, got, remedy) = match self {
            Self::VarData { report, expected, got } => {
                ("azure.var-data", *report, expected.clone(), got.clone(), RECOLLECT)
            }
            Self::QuoteSignature => (
                "azure.quote.signature",
                "TPM quote",
                "a valid signature of the key HCLAkPub in the var-data".to_owned(),
                "a signature over other bytes or by another key".to_owned(),
                RECOLLECT,
            ),
            Self::PcrSelection { got } => (
                "azure.quote.pcr-selection",
                "pcrSelect",
                "sha256:ffffff (PCRs 0 to 23, and no other bank)".to_owned(),
                got.clone(),
                "let the guest quote all 24 PCRs of the SHA-256 bank",
            ),
            Self::PcrDigest { expected, got } => (
                "azure.quote.pcr-digest",
                "pcrDigest",
                expected.clone(),
                got.clone(),
                "collect the Evidence again: a PCR may have been extended between quoting and reading",
            ),
            Self::UserData { expected, got } => (
                "azure.user-data",
                "user-data",
                format!("{expected}, and whatever follows"),
                got.clone(),
                CHALLENGE,
            ),
            Self::ReportData { expected, got } => (
                "azure.report-data",
                "extraData",
                told_binding(expected),
                told_binding(got),
                binding_remedy(expected, got),
            ),
        };
        Reason::new(code, self.rung(), claim, (expected, got), remedy)
    }
}
