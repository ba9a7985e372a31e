//! Azure confidential VM Evidence: a TPM quote, the paravisor's HCL report, the hardware's report.
//!
//! Role: Evidence (RFC 9334 §4.2). In: the KBS protocol's JSON for `az-snp-vtpm` and `az-tdx-vtpm`,
//! versions 1 and 2. Out: [`AzureEvidence`], parsed, unverified.
//!
//! ```text
//!  { "version": 2,
//!    "tpm_quote": { "message":   hex of TPMS_ATTEST          ─► evidence::tpm
//!                   "signature": hex of 256 bytes, by the key in the var-data
//!                   "pcrs":      24 × hex of 32 bytes }
//!    "hcl_report": base64url ─► evidence::hcl ─► SNP report or TDREPORT, var-data
//!    "vcek":       base64url of DER (SNP)   |   "td_quote": base64url ─► evidence::tdx }
//! ```
//! Against: the parts of several machines put together (the [`verifier`](crate::verifier) holds each
//! against the next), an old form that binds less than the current one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::Value;

use crate::binding::ReportData;
use crate::evidence::hcl::{HclFormatError, HclHardwareReport, HclReport};
use crate::evidence::snp::certificates::{CertificateLabel, PresentedCertificates};
use crate::evidence::tpm::{TpmAttest, TpmFormatError, TpmSignature};
use crate::evidence::{EvidenceError, SnpEvidence, SnpFormatError, TdxEvidence, Tee};
use crate::limits::{MAX_CERTIFICATE_LEN, MAX_HCL_REPORT_LEN, MAX_QUOTE_LEN, MAX_TPM_ATTEST_LEN};
use crate::reason::Reason;

/// PCRs of one bank on a PC (TCG PC Client Platform TPM Profile, §4.6).
pub const PCR_COUNT: usize = 24;

/// Why JSON is not Azure vTPM Evidence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AzureFormatError {
    /// Another version, or none as in the oldest form.
    #[error("Azure vTPM Evidence of {got}; versions 1 and 2 are supported")]
    Version {
        /// What the Evidence states, shortened.
        got: String,
    },
    /// A member is missing or of another form.
    #[error("{member} is not {expected}")]
    Member {
        /// The member.
        member: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// More bytes than [`limits`](crate::limits) allow.
    #[error("{member} has {got} bytes; at most {limit} are read")]
    TooLarge {
        /// The member.
        member: &'static str,
        /// Its size in bytes, at least.
        got: usize,
        /// The bound in bytes.
        limit: usize,
    },
    /// Another number of PCRs.
    #[error("{got} PCRs; expected {PCR_COUNT}")]
    PcrCount {
        /// PCRs that were given.
        got: usize,
    },
    /// The HCL report is of another TEE than the Evidence.
    #[error("HCL report carries the report of {got}, the Evidence is {expected}")]
    ReportType {
        /// The TEE that the Evidence claims.
        expected: Tee,
        /// The hardware that the HCL report is of.
        got: &'static str,
    },
    /// Not an HCL report.
    #[error("HCL report is malformed")]
    Hcl(#[from] HclFormatError),
    /// Not a TPM's quote.
    #[error("TPM quote is malformed")]
    Tpm(#[from] TpmFormatError),
    /// The SNP report inside the HCL report.
    #[error("SNP report in the HCL report is malformed")]
    Snp(#[from] SnpFormatError),
    /// The quote of the TD.
    #[error("TD quote is malformed")]
    TdQuote(#[source] Box<EvidenceError>),
}

const RECOLLECT: &str =
    "collect the Evidence again; if it came through a file, compare it with the original";
const UPDATE: &str = "update the attestation agent in the guest: current ones send version 2";

impl AzureFormatError {
    /// The rung that refused: `A2` for the TPM's structures, the hardware's for its report, `A1` for
    /// the rest.
    #[must_use]
    pub fn rung(&self) -> &'static str {
        match self {
            Self::Tpm(_) | Self::PcrCount { .. } => "A2",
            Self::Snp(error) => error.rung(),
            Self::TdQuote(error) => error.rung(),
            Self::Version { .. }
            | Self::Member { .. }
            | Self::TooLarge { .. }
            | Self::ReportType { .. }
            | Self::Hcl(_) => "A1",
        }
    }

    /// The refusal as a [`Reason`].
    #[must_use]
    pub fn reason(&self) -> Reason {
        let (code, claim, expected, got) = match self {
            Self::Snp(error) => return error.reason(),
            Self::TdQuote(error) => match error.reasons().into_iter().next() {
                Some(reason) => return reason,
                None => {
                    ("azure.evidence.member", "td_quote", "a quote".to_owned(), error.to_string())
                }
            },
            Self::Hcl(error) => error.parts(),
            Self::Tpm(error) => error.parts(),
            Self::Version { got } => {
                ("azure.evidence.version", "version", "1 or 2".to_owned(), got.clone())
            }
            Self::Member { member, expected } => (
                "azure.evidence.member",
                *member,
                (*expected).to_owned(),
                "something else".to_owned(),
            ),
            Self::TooLarge { member, got, limit } => (
                "azure.evidence.too-large",
                *member,
                format!("at most {limit} bytes"),
                format!("{got} bytes"),
            ),
            Self::PcrCount { got } => {
                ("azure.evidence.pcrs", "pcrs", format!("{PCR_COUNT} values"), got.to_string())
            }
            Self::ReportType { expected, got } => (
                "azure.evidence.report-type",
                "HCL report",
                format!("the report of {expected}"),
                format!("the report of {got}"),
            ),
        };
        let remedy = match self {
            Self::Version { .. } => UPDATE,
            _ => RECOLLECT,
        };
        Reason::new(code, self.rung(), claim, (expected, got), remedy)
    }
}

/// The form in which a guest sends the Evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AzureEvidenceVersion {
    /// The report data are in the TPM quote alone.
    V1,
    /// The report data are in the TPM quote, and in the var-data that the hardware's report covers.
    V2,
}

/// What an Azure confidential VM sends. Unverified.
#[derive(Clone, Debug)]
pub struct AzureEvidence {
    version: AzureEvidenceVersion,
    quote: Box<TpmQuote>,
    hcl: Box<HclReport>,
    hardware: AzureHardware,
}

/// A quote of the vTPM, with the PCR values that it is said to be over. Unverified.
#[derive(Clone, Debug)]
pub struct TpmQuote {
    /// TPMS_ATTEST as signed.
    pub message: Vec<u8>,
    /// The same, parsed.
    pub attest: TpmAttest,
    /// The signature over the message.
    pub signature: TpmSignature,
    /// Values of PCRs 0 to 23.
    pub pcrs: [[u8; 32]; PCR_COUNT],
}

/// The hardware's own Evidence about the machine. Unverified.
#[derive(Clone, Debug)]
pub enum AzureHardware {
    /// The SNP report in the HCL report, with the VCEK that came beside it.
    Snp(Box<SnpEvidence>),
    /// The quote that was made of the TDREPORT in the HCL report.
    Tdx(Box<TdxEvidence>),
}

impl AzureEvidence {
    /// Parses the value of `primary_evidence` in the KBS protocol. Unknown members are ignored, as
    /// Trustee does.
    ///
    /// # Errors
    /// [`AzureFormatError::Version`] first; then the TPM quote, the HCL report, and the hardware's
    /// Evidence, each with [`Member`](AzureFormatError::Member) and
    /// [`TooLarge`](AzureFormatError::TooLarge) for its text and its own variant for its bytes.
    pub fn parse_kbs(tee: Tee, primary_evidence: &Value) -> Result<Self, AzureFormatError> {
        let version = version(primary_evidence)?;
        let quote = TpmQuote::parse(primary_evidence.get("tpm_quote").unwrap_or(&Value::Null))?;
        let hcl = base64url(primary_evidence, "hcl_report", MAX_HCL_REPORT_LEN)?;
        let hcl = HclReport::parse(&hcl)?;
        let mismatch = |got| Err(AzureFormatError::ReportType { expected: tee, got });
        let hardware = match (tee, hcl.hardware()) {
            (Tee::AzSnpVtpm, HclHardwareReport::Snp(report)) => {
                let vcek = base64url(primary_evidence, "vcek", MAX_CERTIFICATE_LEN)?;
                AzureHardware::Snp(Box::new(snp(report.as_slice(), &vcek)?))
            }
            (Tee::AzTdxVtpm, HclHardwareReport::Tdx(_)) => {
                let quote = base64url(primary_evidence, "td_quote", MAX_QUOTE_LEN)?;
                let evidence = TdxEvidence::parse(&quote)
                    .map_err(|error| AzureFormatError::TdQuote(Box::new(error)))?;
                AzureHardware::Tdx(Box::new(evidence))
            }
            (Tee::AzTdxVtpm | Tee::Tdx | Tee::Snp, HclHardwareReport::Snp(_)) => {
                return mismatch("SEV-SNP");
            }
            (Tee::AzSnpVtpm | Tee::Tdx | Tee::Snp, HclHardwareReport::Tdx(_)) => {
                return mismatch("TDX");
            }
        };
        Ok(Self { version, quote: Box::new(quote), hcl: Box::new(hcl), hardware })
    }

    /// The TEE that this Evidence claims to come from.
    #[must_use]
    pub fn tee(&self) -> Tee {
        match self.hardware {
            AzureHardware::Snp(_) => Tee::AzSnpVtpm,
            AzureHardware::Tdx(_) => Tee::AzTdxVtpm,
        }
    }

    /// The form in which it was sent.
    #[must_use]
    pub fn version(&self) -> AzureEvidenceVersion {
        self.version
    }

    /// The vTPM's quote.
    #[must_use]
    pub fn quote(&self) -> &TpmQuote {
        &self.quote
    }

    /// The paravisor's report.
    #[must_use]
    pub fn hcl(&self) -> &HclReport {
        &self.hcl
    }

    /// The hardware's Evidence.
    #[must_use]
    pub fn hardware(&self) -> &AzureHardware {
        &self.hardware
    }

    /// The qualifying data of the TPM quote, zero-padded. Unverified.
    #[must_use]
    pub fn report_data(&self) -> ReportData {
        let mut data = [0; 64];
        for (to, from) in data.iter_mut().zip(&self.quote.attest.extra_data) {
            *to = *from;
        }
        ReportData(data)
    }
}

impl TpmQuote {
    fn parse(quote: &Value) -> Result<Self, AzureFormatError> {
        let message = hex_member(quote, "tpm_quote.message", "message", MAX_TPM_ATTEST_LEN)?;
        let signature = hex_member(quote, "tpm_quote.signature", "signature", MAX_TPM_ATTEST_LEN)?;
        let attest = TpmAttest::parse(&message)?;
        let signature = TpmSignature::from_raw(&signature)?;
        let expected = "24 values of 32 bytes in hex";
        let refused = AzureFormatError::Member { member: "tpm_quote.pcrs", expected };
        let Some(values) = quote.get("pcrs").and_then(Value::as_array) else {
            return Err(refused);
        };
        if values.len() != PCR_COUNT {
            return Err(AzureFormatError::PcrCount { got: values.len() });
        }
        let mut pcrs = [[0; 32]; PCR_COUNT];
        for (pcr, value) in pcrs.iter_mut().zip(values) {
            let digits = value.as_str().ok_or_else(|| refused.clone())?;
            hex::decode_to_slice(digits, pcr).map_err(|_| refused.clone())?;
        }
        Ok(Self { message, attest, signature, pcrs })
    }
}

fn version(evidence: &Value) -> Result<AzureEvidenceVersion, AzureFormatError> {
    match evidence.get("version") {
        Some(stated) => match stated.as_u64() {
            Some(1) => Ok(AzureEvidenceVersion::V1),
            Some(2) => Ok(AzureEvidenceVersion::V2),
            _ => {
                let got = format!("version {stated}").chars().take(64).collect();
                Err(AzureFormatError::Version { got })
            }
        },
        None if evidence.is_object() => {
            Err(AzureFormatError::Version { got: "the oldest form, without a version".to_owned() })
        }
        None => Err(AzureFormatError::Member { member: "evidence", expected: "a JSON object" }),
    }
}

/// The SNP report with the certificate that came beside it.
fn snp(report: &[u8], vcek: &[u8]) -> Result<SnpEvidence, SnpFormatError> {
    let vcek = PresentedCertificates::one(CertificateLabel::Vcek, vcek)?;
    Ok(SnpEvidence::parse(report)?.with_certificates(vcek))
}

fn hex_member(
    quote: &Value,
    path: &'static str,
    member: &str,
    limit: usize,
) -> Result<Vec<u8>, AzureFormatError> {
    let refused = AzureFormatError::Member { member: path, expected: "hex" };
    let digits = quote.get(member).and_then(Value::as_str).ok_or_else(|| refused.clone())?;
    bounded(path, digits.len().div_ceil(2), limit)?;
    hex::decode(digits).map_err(|_| refused)
}

fn base64url(
    evidence: &Value,
    member: &'static str,
    limit: usize,
) -> Result<Vec<u8>, AzureFormatError> {
    let refused = AzureFormatError::Member { member, expected: "padded base64url" };
    let text = evidence.get(member).and_then(Value::as_str).ok_or_else(|| refused.clone())?;
    // Three bytes a group of four characters: an upper bound before anything is decoded.
    let most = text.len().div_ceil(4).saturating_mul(3);
    bounded(member, most, limit.saturating_add(3))?;
    let bytes = URL_SAFE.decode(text).map_err(|_| refused)?;
    bounded(member, bytes.len(), limit)?;
    Ok(bytes)
}

fn bounded(member: &'static str, got: usize, limit: usize) -> Result<(), AzureFormatError> {
    if got > limit {
        return Err(AzureFormatError::TooLarge { member, got, limit });
    }
    Ok(())
}

/// How report data travel in a TPM quote: without the 16 zero bytes that pad a SHA-384 digest, and
/// whole where there are none. No two report data give the same bytes.
//
//= attestation/SPEC.md#9
//# Qualifying data MUST be the 48 bytes before a tail of 16 zero bytes, or all 64 bytes where the tail is not zero.
#[must_use]
pub fn qualifying_data(report_data: &ReportData) -> &[u8] {
    match report_data.0.split_last_chunk::<16>() {
        Some((digest, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])) => digest,
        _ => &report_data.0,
    }
}
