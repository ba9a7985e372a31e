//! Parses Evidence: what a TEE signed, before anybody has checked it.
//!
//! Role: conceptual message Evidence (RFC 9334 §4.2). In: bytes from a guest, a file or an
//! attestation report. Out: [`Evidence`], an allegation: its fields are read out but nothing is
//! known about who wrote them. The exact signed bytes stay beside the parsed values, and signatures
//! are checked over those. No check here needs a key, a clock or a vendor; those belong to the
//! [`verifier`](crate::verifier).
//! Against: parser differentials, memory exhaustion, panics on hostile bytes, sample Evidence that
//! is taken for real.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use crate::binding::ReportData;
use crate::evidence::reader::Shortage;
use crate::limits::{MAX_EVENT_LOG_LEN, MAX_EVIDENCE_FILE_LEN, MAX_QUOTE_LEN};
use crate::reason::Reason;

pub mod azure;
pub mod event_log;
pub mod hcl;
pub mod nvidia_gpu;
pub(crate) mod reader;
pub mod snp;
pub mod tdx;
pub mod tpm;

pub use azure::{AzureEvidence, AzureFormatError};
pub use snp::{SnpEvidence, SnpFormatError};
pub use tdx::TdxEvidence;

/// A TEE that Adyton can verify. Sample and device TEEs of KBS aren't here on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Tee {
    /// Intel TDX; `tdx` in the KBS protocol.
    Tdx,
    /// AMD SEV-SNP; `snp` in the KBS protocol.
    Snp,
    /// AMD SEV-SNP under Azure's paravisor, quoted by its vTPM; `az-snp-vtpm`.
    AzSnpVtpm,
    /// Intel TDX under Azure's paravisor, quoted by its vTPM; `az-tdx-vtpm`.
    AzTdxVtpm,
}

impl Tee {
    /// Every TEE that Adyton can verify.
    pub const ALL: [Self; 4] = [Self::Tdx, Self::Snp, Self::AzSnpVtpm, Self::AzTdxVtpm];

    /// The KBS protocol's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tdx => "tdx",
            Self::Snp => "snp",
            Self::AzSnpVtpm => "az-snp-vtpm",
            Self::AzTdxVtpm => "az-tdx-vtpm",
        }
    }
}

impl fmt::Display for Tee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A TEE name that Adyton doesn't verify.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("TEE {name:?} is not supported; supported: tdx, snp, az-snp-vtpm, az-tdx-vtpm")]
pub struct UnsupportedTee {
    /// The name that was given, shortened to 64 characters.
    pub name: String,
}

impl FromStr for Tee {
    type Err = UnsupportedTee;

    fn from_str(name: &str) -> Result<Self, UnsupportedTee> {
        Self::ALL
            .into_iter()
            .find(|tee| tee.as_str() == name)
            .ok_or_else(|| UnsupportedTee { name: name.chars().take(64).collect() })
    }
}

impl Serialize for Tee {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Tee {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Why bytes are not Evidence. Every variant belongs to a rung: see [`EvidenceError::rung`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// More bytes than [`limits`](crate::limits) allow, counted before anything is parsed.
    #[error("{what} has {got} bytes; at most {limit} are read")]
    TooLarge {
        /// What was too large.
        what: &'static str,
        /// Its size in bytes.
        got: usize,
        /// The bound in bytes.
        limit: usize,
    },
    /// The bytes end inside a field.
    #[error("ends inside {field}: {needed} bytes needed, {left} left")]
    Truncated {
        /// The field that was being read.
        field: &'static str,
        /// Its length in bytes.
        needed: usize,
        /// Bytes that were left.
        left: usize,
    },
    /// Another quote version.
    #[error("quote version {got}; TDX quotes of version 4 and 5 are supported")]
    Version {
        /// The version that the quote states.
        got: u16,
    },
    /// Another attestation key type.
    #[error("attestation key type {got}; 2 (ECDSA P-256) is supported")]
    AttestationKeyType {
        /// The type that the quote states.
        got: u16,
    },
    /// Not a TDX quote.
    #[error("TEE type {got:#010x}; 0x00000081 (TDX) is supported")]
    TeeType {
        /// The type that the quote states.
        got: u32,
    },
    /// A version 5 body of an unknown type.
    #[error("quote body type {got}; 2 (TD 1.0), 3 (TD 1.5) and 4 (TD 1.5 ex) are supported")]
    BodyType {
        /// The type that the quote states.
        got: u16,
    },
    /// A version 5 body whose stated size is not that of its type.
    #[error("quote body of type {body_type} has {expected} bytes, the quote states {got}")]
    BodySize {
        /// The body type.
        body_type: u16,
        /// Bytes that the type has.
        expected: u32,
        /// Bytes that the quote states.
        got: u32,
    },
    /// Certification data of another type.
    #[error("{what} is of certification data type {got}, expected {expected}")]
    CertificationType {
        /// Which of the two nested structures.
        what: &'static str,
        /// The type that is supported there.
        expected: u16,
        /// The type that the quote states.
        got: u16,
    },
    /// Bytes are left inside a structure that states its own length.
    #[error("{left} bytes are left over inside {structure}")]
    Leftover {
        /// The structure.
        structure: &'static str,
        /// Bytes left over.
        left: usize,
    },
    /// Bytes after the quote that are not zero padding.
    #[error("byte {offset} after the quote is not zero padding")]
    TrailingBytes {
        /// Offset of the first such byte from the start of the quote.
        offset: usize,
    },
    /// The text around the quote is not what it should be.
    #[error("{what} is not {expected}")]
    Encoding {
        /// The member or file.
        what: &'static str,
        /// The expected encoding.
        expected: &'static str,
    },
    /// A TEE that is not supported.
    #[error(transparent)]
    Tee(#[from] UnsupportedTee),
    /// Not an SNP report in any of its forms.
    #[error(transparent)]
    Snp(#[from] SnpFormatError),
    /// Not Azure vTPM Evidence.
    #[error(transparent)]
    Azure(#[from] AzureFormatError),
}

impl From<Shortage> for EvidenceError {
    fn from(Shortage { field, needed, left }: Shortage) -> Self {
        Self::Truncated { field, needed, left }
    }
}

impl EvidenceError {
    /// The rung that refused: `T14` for bytes around the quote, `T1` for the rest.
    #[must_use]
    pub fn rung(&self) -> &'static str {
        match self {
            Self::TrailingBytes { .. } | Self::Leftover { .. } => "T14",
            Self::Snp(error) => error.rung(),
            Self::Azure(error) => error.rung(),
            _ => "T1",
        }
    }

    /// The refusal as [`Reason`]s, always exactly one.
    #[must_use]
    pub fn reasons(&self) -> Vec<Reason> {
        vec![self.reason()]
    }

    /// The refusal as a [`Reason`].
    pub(crate) fn reason(&self) -> Reason {
        const DAMAGED: &str = "collect the Evidence again; if it came through a file, compare its length with the original";
        const PLATFORM: &str =
            "use a TDX guest whose quoting service makes DCAP quotes of version 4 or 5";
        let (code, claim, expected, got, remedy) = match self {
            Self::Snp(error) => return error.reason(),
            Self::Azure(error) => return error.reason(),
            Self::TooLarge { what, got, limit } => (
                "evidence.too-large",
                *what,
                format!("at most {limit} bytes"),
                format!("{got} bytes"),
                DAMAGED,
            ),
            Self::Truncated { field, needed, left } => (
                "evidence.truncated",
                *field,
                format!("{needed} bytes"),
                format!("{left} bytes"),
                DAMAGED,
            ),
            Self::Version { got } => {
                ("tdx.quote.version", "version", "4 or 5".into(), got.to_string(), PLATFORM)
            }
            Self::AttestationKeyType { got } => (
                "tdx.quote.attestation-key-type",
                "attestation key type",
                "2 (ECDSA P-256)".into(),
                got.to_string(),
                PLATFORM,
            ),
            Self::TeeType { got } => (
                "tdx.quote.tee-type",
                "TEE type",
                "0x00000081 (TDX)".into(),
                format!("{got:#010x}"),
                "send TDX Evidence; SGX and other TEEs are not supported",
            ),
            Self::BodyType { got } => {
                ("tdx.quote.body-type", "body type", "2, 3 or 4".into(), got.to_string(), PLATFORM)
            }
            Self::BodySize { expected, got, .. } => {
                ("tdx.quote.body-size", "body size", expected.to_string(), got.to_string(), DAMAGED)
            }
            Self::CertificationType { what, expected, got } => (
                "tdx.quote.certification-type",
                *what,
                expected.to_string(),
                got.to_string(),
                "configure the platform's quoting service to put the PCK certificate chain into quotes",
            ),
            Self::Leftover { structure, left } => (
                "tdx.quote.leftover",
                *structure,
                "no bytes left over".into(),
                format!("{left} bytes left over"),
                DAMAGED,
            ),
            Self::TrailingBytes { offset } => (
                "tdx.quote.trailing-bytes",
                "padding",
                "zero bytes only".into(),
                format!("another byte at offset {offset}"),
                DAMAGED,
            ),
            Self::Encoding { what, expected } => (
                "evidence.encoding",
                *what,
                (*expected).to_owned(),
                "something else".into(),
                "send Evidence in the form of the KBS protocol, or a quote as raw bytes or hex",
            ),
            Self::Tee(UnsupportedTee { name }) => (
                "evidence.tee",
                "tee",
                Tee::ALL.map(Tee::as_str).join(", "),
                name.clone(),
                "run in a supported TEE; sample and device TEEs never release a key",
            ),
        };
        Reason::new(code, self.rung(), claim, (expected, got), remedy)
    }
}

/// Evidence, parsed and unverified.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Evidence {
    /// From an Intel TDX trust domain.
    Tdx(TdxEvidence),
    /// From an AMD SEV-SNP guest.
    Snp(SnpEvidence),
    /// From an Azure confidential VM: a TPM quote and the hardware's report over the TPM's key.
    Azure(AzureEvidence),
}

impl Evidence {
    /// Parses the value of `primary_evidence` in the KBS protocol. For `tdx`:
    /// `{"cc_eventlog": <base64 or null>, "quote": <base64>}`; other members are ignored, as Trustee does.
    ///
    /// # Errors
    /// [`EvidenceError::Encoding`] when a member is missing or not standard base64,
    /// [`TooLarge`](EvidenceError::TooLarge), then what [`TdxEvidence::parse`] refuses.
    pub fn parse_kbs(tee: Tee, primary_evidence: &Value) -> Result<Self, EvidenceError> {
        match tee {
            Tee::Tdx => parse_kbs_tdx(primary_evidence),
            Tee::Snp => Ok(Self::Snp(SnpEvidence::parse_kbs(primary_evidence)?)),
            Tee::AzSnpVtpm | Tee::AzTdxVtpm => {
                Ok(Self::Azure(AzureEvidence::parse_kbs(tee, primary_evidence)?))
            }
        }
    }

    /// Parses a file with Evidence in any form that people have at hand: a raw quote, its hex text,
    /// KBS JSON as for [`parse_kbs`](Self::parse_kbs), or an Adyton attestation report (its
    /// `evidence` member).
    ///
    /// # Errors
    /// [`EvidenceError::TooLarge`] first, [`Encoding`](EvidenceError::Encoding) when it is none of
    /// these, then what the form's own parser refuses.
    pub fn parse_file(bytes: &[u8]) -> Result<Self, EvidenceError> {
        bounded("Evidence file", bytes.len(), MAX_EVIDENCE_FILE_LEN)?;
        match std::str::from_utf8(bytes).map(str::trim) {
            Ok(text) if text.starts_with('{') => parse_json_file(text),
            Ok(text) if text.len() > 64 && is_hex(text) => {
                let digits = text.strip_prefix("0x").unwrap_or(text);
                let quote = hex::decode(digits).map_err(|_| EvidenceError::Encoding {
                    what: "Evidence file",
                    expected: "hex with an even number of digits",
                })?;
                parse_raw(&quote)
            }
            _ => parse_raw(bytes),
        }
    }

    /// The 64 bytes that the TEE was asked to sign. Unverified.
    #[must_use]
    pub fn report_data(&self) -> ReportData {
        match self {
            Self::Tdx(evidence) => evidence.quote().body.report_data,
            Self::Snp(evidence) => evidence.report_data(),
            Self::Azure(evidence) => evidence.report_data(),
        }
    }

    /// The TEE that this Evidence claims to come from.
    #[must_use]
    pub fn tee(&self) -> Tee {
        match self {
            Self::Tdx(_) => Tee::Tdx,
            Self::Snp(_) => Tee::Snp,
            Self::Azure(evidence) => evidence.tee(),
        }
    }
}

fn bounded(what: &'static str, got: usize, limit: usize) -> Result<(), EvidenceError> {
    if got > limit {
        return Err(EvidenceError::TooLarge { what, got, limit });
    }
    Ok(())
}

fn is_hex(text: &str) -> bool {
    text.strip_prefix("0x").unwrap_or(text).bytes().all(|b| b.is_ascii_hexdigit())
}

fn parse_json_file(text: &str) -> Result<Evidence, EvidenceError> {
    let value: Value = serde_json::from_str(text)
        .map_err(|_| EvidenceError::Encoding { what: "Evidence file", expected: "JSON" })?;
    match value.get("evidence") {
        Some(evidence) => {
            let tee = value
                .get("tee")
                .and_then(Value::as_str)
                .ok_or(EvidenceError::Encoding { what: "tee", expected: "the name of a TEE" })?;
            Evidence::parse_kbs(tee.parse()?, evidence)
        }
        None => Evidence::parse_kbs(tee_by_members(&value), &value),
    }
}

/// A report or quote without a wrapper. An SNP report has exactly its length; all else is a quote.
fn parse_raw(bytes: &[u8]) -> Result<Evidence, EvidenceError> {
    if bytes.len() == snp::REPORT_LEN {
        return Ok(Evidence::Snp(SnpEvidence::parse(bytes)?));
    }
    Ok(Evidence::Tdx(TdxEvidence::parse(bytes)?))
}

/// Which TEE's members a bare KBS object has. Files only: in the protocol the Request names the TEE.
fn tee_by_members(value: &Value) -> Tee {
    let has = |member: &str| value.get(member).is_some();
    // The oldest form of `az-snp-vtpm` has `report`, `vcek`, and an object as `quote`.
    if has("hcl_report") && has("td_quote") {
        Tee::AzTdxVtpm
    } else if has("hcl_report") || has("vcek") {
        Tee::AzSnpVtpm
    } else if has("attestation_report") || has("attestation_report_raw") {
        Tee::Snp
    } else {
        Tee::Tdx
    }
}

fn parse_kbs_tdx(primary_evidence: &Value) -> Result<Evidence, EvidenceError> {
    let quote = primary_evidence
        .get("quote")
        .and_then(Value::as_str)
        .ok_or(EvidenceError::Encoding { what: "quote", expected: "a base64 string" })?;
    let quote = base64_bounded("quote", quote, MAX_QUOTE_LEN)?;
    let evidence = TdxEvidence::parse(&quote)?;
    match primary_evidence.get("cc_eventlog") {
        None | Some(Value::Null) => Ok(Evidence::Tdx(evidence)),
        Some(Value::String(log)) => {
            let log = base64_bounded("cc_eventlog", log, MAX_EVENT_LOG_LEN)?;
            Ok(Evidence::Tdx(evidence.with_event_log(log)))
        }
        Some(_) => Err(EvidenceError::Encoding {
            what: "cc_eventlog",
            expected: "a base64 string or null",
        }),
    }
}

fn base64_bounded(what: &'static str, text: &str, limit: usize) -> Result<Vec<u8>, EvidenceError> {
    // Three bytes a group of four characters: an upper bound before anything is decoded.
    bounded(what, text.len().div_ceil(4).saturating_mul(3), limit.saturating_add(3))?;
    let bytes = STANDARD
        .decode(text)
        .map_err(|_| EvidenceError::Encoding { what, expected: "standard base64 with padding" })?;
    bounded(what, bytes.len(), limit)?;
    Ok(bytes)
}
