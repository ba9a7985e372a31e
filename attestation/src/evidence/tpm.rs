//! TPM 2.0 structures of a quote, read field by field into types.
//!
//! Role: Evidence (RFC 9334 §4.2). In: bytes that a TPM signed, and its signature. Out:
//! [`TpmAttest`], [`TpmSignature`]; nothing is verified here. Layout: TCG "Trusted Platform Module
//! Library, Part 2: Structures", revision 1.59; numbers are big-endian.
//!
//! ```text
//!  TPMS_ATTEST   magic u32 ‖ type u16 ‖ qualifiedSigner TPM2B ‖ extraData TPM2B
//!                ‖ clockInfo (clock u64 ‖ resetCount u32 ‖ restartCount u32 ‖ safe u8)
//!                ‖ firmwareVersion u64 ‖ TPMS_QUOTE_INFO
//!  QUOTE_INFO    count u32 ‖ count × (hash u16 ‖ size u8 ‖ bitmap) ‖ pcrDigest TPM2B
//!  TPM2B         size u16 ‖ bytes
//! ```
//! Against: lengths that lie, bytes that nobody accounts for, an attestation of another kind that is
//! taken for a quote.

use crate::evidence::reader::{self, Shortage};
use crate::limits::{
    MAX_TPM_ATTEST_LEN, MAX_TPM_DIGEST_LEN, MAX_TPM_EXTRA_DATA_LEN, MAX_TPM_NAME_LEN,
    MAX_TPM_PCR_SELECT_LEN, MAX_TPM_PCR_SELECTIONS,
};

/// `TPM_GENERATED_VALUE` (§10.12.1): no other signature of a restricted key begins with it.
pub const TPM_GENERATED: u32 = 0xff54_4347;
/// `TPM_ST_ATTEST_QUOTE` (§6.9, table 20).
pub const TPM_ST_ATTEST_QUOTE: u16 = 0x8018;
/// `TPM_ALG_SHA256` (§6.3, table 9).
pub const TPM_ALG_SHA256: u16 = 0x000b;
/// `TPM_ALG_RSASSA` (§6.3, table 9).
pub const TPM_ALG_RSASSA: u16 = 0x0014;
/// Bytes of an RSA-2048 signature.
pub const RSA_2048_SIGNATURE_LEN: usize = 256;

/// Why bytes are not the TPM structure that they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TpmFormatError {
    /// More bytes than [`limits`](crate::limits) allow.
    #[error("{field} has {got} bytes; at most {limit} are read")]
    TooLarge {
        /// What was too large.
        field: &'static str,
        /// Its size in bytes, or the count.
        got: usize,
        /// The bound.
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
    /// Bytes are left over after the structure.
    #[error("{left} bytes are left over after the {structure}")]
    Leftover {
        /// The structure.
        structure: &'static str,
        /// Bytes left over.
        left: usize,
    },
    /// No TPM made this structure.
    #[error("magic {got:#010x}; 0xff544347 marks what a TPM made")]
    Magic {
        /// What the structure begins with.
        got: u32,
    },
    /// An attestation of another kind.
    #[error("attestation of type {got:#06x}; 0x8018 (quote) is supported")]
    AttestationType {
        /// The type that the structure states.
        got: u16,
    },
    /// `safe` of the clock is neither YES nor NO.
    #[error("clockInfo.safe is {got}; 0 and 1 are defined")]
    Safe {
        /// What the structure states.
        got: u8,
    },
    /// A signature by other algorithms.
    #[error("signature of algorithms {scheme:#06x}, {hash:#06x}; RSASSA with SHA-256 is supported")]
    SignatureAlgorithm {
        /// `sigAlg`.
        scheme: u16,
        /// `hash`.
        hash: u16,
    },
    /// An RSA signature of another length.
    #[error("signature has {got} bytes; RSA-2048 makes 256")]
    SignatureLength {
        /// Bytes that were given.
        got: usize,
    },
}

impl From<Shortage> for TpmFormatError {
    fn from(Shortage { field, needed, left }: Shortage) -> Self {
        Self::Truncated { field, needed, left }
    }
}

impl TpmFormatError {
    /// The refusal's code, the claim, what was expected and what was there.
    pub(super) fn parts(&self) -> (&'static str, &'static str, String, String) {
        match self {
            Self::TooLarge { field, got, limit } => {
                ("azure.quote.too-large", field, format!("at most {limit}"), got.to_string())
            }
            Self::Truncated { field, needed, left } => {
                ("azure.quote.truncated", field, format!("{needed} bytes"), format!("{left} bytes"))
            }
            Self::Leftover { structure, left } => (
                "azure.quote.leftover",
                structure,
                "no bytes left over".to_owned(),
                format!("{left} bytes left over"),
            ),
            Self::Magic { got } => (
                "azure.quote.magic",
                "magic",
                format!("{TPM_GENERATED:#010x}"),
                format!("{got:#010x}"),
            ),
            Self::AttestationType { got } => (
                "azure.quote.type",
                "type",
                format!("{TPM_ST_ATTEST_QUOTE:#06x} (quote)"),
                format!("{got:#06x}"),
            ),
            Self::Safe { got } => {
                ("azure.quote.clock", "clockInfo.safe", "0 or 1".to_owned(), got.to_string())
            }
            Self::SignatureAlgorithm { scheme, hash } => (
                "azure.quote.signature-algorithm",
                "signature",
                "RSASSA with SHA-256".to_owned(),
                format!("{scheme:#06x} with {hash:#06x}"),
            ),
            Self::SignatureLength { got } => (
                "azure.quote.signature-length",
                "signature",
                format!("{RSA_2048_SIGNATURE_LEN} bytes"),
                format!("{got} bytes"),
            ),
        }
    }
}

/// What a TPM signs when it quotes its PCRs: TPMS_ATTEST (§10.12.12) of type quote. Unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmAttest {
    /// Name of the signing key, qualified with its parents.
    pub qualified_signer: Vec<u8>,
    /// What the caller asked to have signed along.
    pub extra_data: Vec<u8>,
    /// The TPM's clock.
    pub clock: TpmClock,
    /// Version of the TPM's firmware; its maker defines the meaning.
    pub firmware_version: u64,
    /// Which PCRs the digest is over.
    pub selections: Vec<PcrSelection>,
    /// Digest over the selected PCRs.
    pub pcr_digest: Vec<u8>,
}

/// TPMS_CLOCK_INFO (§10.11.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TpmClock {
    /// Milliseconds that the TPM was powered.
    pub milliseconds: u64,
    /// Resets of the TPM, which is to say boots of the machine.
    pub reset_count: u32,
    /// Restarts and resumes.
    pub restart_count: u32,
    /// Whether no greater clock was reported before.
    pub safe: ClockSafety,
}

/// `safe` of TPMS_CLOCK_INFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockSafety {
    /// The clock has never gone back.
    Safe,
    /// It may have, after an unorderly shutdown.
    Unsafe,
}

/// TPMS_PCR_SELECTION (§10.6.2): PCRs of one bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcrSelection {
    /// The bank's hash algorithm, a `TPM_ALG_ID`.
    pub hash: u16,
    /// Bit i of byte j selects PCR 8j + i.
    pub bitmap: Vec<u8>,
}

impl TpmAttest {
    /// Parses TPMS_ATTEST; every byte belongs to a field.
    ///
    /// # Errors
    /// [`TpmFormatError::TooLarge`] first, then in the order of the fields
    /// [`Truncated`](TpmFormatError::Truncated), [`Magic`](TpmFormatError::Magic),
    /// [`AttestationType`](TpmFormatError::AttestationType), [`Safe`](TpmFormatError::Safe), at last
    /// [`Leftover`](TpmFormatError::Leftover).
    pub fn parse(bytes: &[u8]) -> Result<Self, TpmFormatError> {
        bounded("TPMS_ATTEST", bytes.len(), MAX_TPM_ATTEST_LEN)?;
        let mut input = TpmReader::new(bytes);
        let magic = input.u32("magic")?;
        if magic != TPM_GENERATED {
            return Err(TpmFormatError::Magic { got: magic });
        }
        let kind = input.u16("type")?;
        if kind != TPM_ST_ATTEST_QUOTE {
            return Err(TpmFormatError::AttestationType { got: kind });
        }
        let attest = Self {
            qualified_signer: input.sized("qualifiedSigner", MAX_TPM_NAME_LEN)?.to_vec(),
            extra_data: input.sized("extraData", MAX_TPM_EXTRA_DATA_LEN)?.to_vec(),
            clock: TpmClock {
                milliseconds: input.u64("clock")?,
                reset_count: input.u32("resetCount")?,
                restart_count: input.u32("restartCount")?,
                safe: match input.u8("safe")? {
                    0 => ClockSafety::Unsafe,
                    1 => ClockSafety::Safe,
                    got => return Err(TpmFormatError::Safe { got }),
                },
            },
            firmware_version: input.u64("firmwareVersion")?,
            selections: read_selections(&mut input)?,
            pcr_digest: input.sized("pcrDigest", MAX_TPM_DIGEST_LEN)?.to_vec(),
        };
        input.finish("TPMS_ATTEST")?;
        Ok(attest)
    }
}

/// An RSASSA signature with SHA-256 by an RSA-2048 key. Unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmSignature(pub [u8; RSA_2048_SIGNATURE_LEN]);

impl TpmSignature {
    /// Takes the signature's bytes alone, as the KBS protocol carries them for Azure.
    ///
    /// # Errors
    /// [`TpmFormatError::SignatureLength`].
    pub fn from_raw(bytes: &[u8]) -> Result<Self, TpmFormatError> {
        bytes.try_into().map(Self).map_err(|_| TpmFormatError::SignatureLength { got: bytes.len() })
    }

    /// Parses TPMT_SIGNATURE (§11.3.4): `sigAlg u16 ‖ hash u16 ‖ TPM2B_PUBLIC_KEY_RSA`.
    ///
    /// # Errors
    /// [`TpmFormatError::Truncated`], [`SignatureAlgorithm`](TpmFormatError::SignatureAlgorithm),
    /// [`Leftover`](TpmFormatError::Leftover),
    /// [`SignatureLength`](TpmFormatError::SignatureLength).
    pub fn parse(bytes: &[u8]) -> Result<Self, TpmFormatError> {
        let mut input = TpmReader::new(bytes);
        let (scheme, hash) = (input.u16("sigAlg")?, input.u16("hash")?);
        if (scheme, hash) != (TPM_ALG_RSASSA, TPM_ALG_SHA256) {
            return Err(TpmFormatError::SignatureAlgorithm { scheme, hash });
        }
        let signature = input.sized("signature", MAX_TPM_ATTEST_LEN)?;
        input.finish("TPMT_SIGNATURE")?;
        Self::from_raw(signature)
    }
}

/// Reads TPML_PCR_SELECTION (§10.9.7).
pub(crate) fn read_selections(
    input: &mut TpmReader<'_>,
) -> Result<Vec<PcrSelection>, TpmFormatError> {
    let count = usize::try_from(input.u32("pcrSelect count")?).unwrap_or(usize::MAX);
    bounded("pcrSelect count", count, MAX_TPM_PCR_SELECTIONS)?;
    (0..count)
        .map(|_| {
            let hash = input.u16("pcrSelect hash")?;
            let len = usize::from(input.u8("pcrSelect size")?);
            bounded("pcrSelect bitmap", len, MAX_TPM_PCR_SELECT_LEN)?;
            Ok(PcrSelection { hash, bitmap: input.bytes("pcrSelect bitmap", len)?.to_vec() })
        })
        .collect()
}

/// Big-endian fields, and structures that state their own length.
pub(crate) type TpmReader<'a> = reader::Reader<'a, TpmFormatError>;

impl<'a> TpmReader<'a> {
    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, TpmFormatError> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, TpmFormatError> {
        self.array(field).map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, TpmFormatError> {
        self.array(field).map(u64::from_be_bytes)
    }

    /// A TPM2B: its size, at most `limit`, and as many bytes.
    pub(crate) fn sized(
        &mut self,
        field: &'static str,
        limit: usize,
    ) -> Result<&'a [u8], TpmFormatError> {
        let len = usize::from(self.u16(field)?);
        bounded(field, len, limit)?;
        self.bytes(field, len)
    }

    pub(crate) fn finish(&self, structure: &'static str) -> Result<(), TpmFormatError> {
        match self.rest().len() {
            0 => Ok(()),
            left => Err(TpmFormatError::Leftover { structure, left }),
        }
    }
}

fn bounded(field: &'static str, got: usize, limit: usize) -> Result<(), TpmFormatError> {
    if got > limit {
        return Err(TpmFormatError::TooLarge { field, got, limit });
    }
    Ok(())
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
mod tests;
