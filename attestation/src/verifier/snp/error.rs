//! Why a rung of the SNP ladder refused.

use std::fmt;

use crate::binding::ReportData;
use crate::claims::{ChipId, FirmwareVersion, Measurement, SigningKey, SnpProduct, SnpTcb};
use crate::reason::Reason;
use crate::verifier::chain::{ChainError, RevocationError};
use crate::verifier::refusal::{binding_remedy, told_binding};

/// Which of a report's firmware versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// What runs now.
    Current,
    /// What the signing key is bound to.
    Reported,
    /// Below which there is no way back.
    Committed,
    /// What ran at launch.
    Launch,
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Current => "current",
            Self::Reported => "reported",
            Self::Committed => "committed",
            Self::Launch => "launch",
        })
    }
}

/// A refusal of the SNP ladder. Every variant belongs to one rung in `SPEC.md`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnpError {
    /// S1: another signature algorithm.
    #[error("report is signed with algorithm {got}, 1 (ECDSA P-384 with SHA-384) is supported")]
    Algorithm {
        /// SIGNATURE_ALGO.
        got: u32,
    },
    /// S16: bits are set whose meaning this release does not know.
    #[error("{field} of the report has reserved bits {bits:#x} set")]
    ReservedBits {
        /// The field.
        field: &'static str,
        /// The offending bits.
        bits: u64,
    },
    /// S16: a TCB version carries something in bytes that its product reserves.
    #[error("{which} TCB version has reserved bytes that are not zero")]
    TcbReserved {
        /// Which TCB version.
        which: Firmware,
        /// Its bytes.
        got: [u8; 8],
    },
    /// S6: the report names no signing key, or one of a kind that nobody knows.
    #[error("report names signing key {got}, 0 (VCEK) or 1 (VLEK) is supported")]
    SigningKey {
        /// Bits 4:2 of KEY_INFO.
        got: u32,
    },
    /// S6: no certificate of an endorsement key is at hand.
    #[error("no certificate of the {wanted} is at hand")]
    NoEndorsementKey {
        /// The kind that the report names.
        wanted: SigningKey,
    },
    /// S6: the only certificate is of a key of the other kind.
    #[error("report was signed by a {expected}, the certificate is of a {got}")]
    KeyKind {
        /// The kind that the report names.
        expected: SigningKey,
        /// The kind in the certificate's subject.
        got: SigningKey,
    },
    /// S6: the certificate was issued by somebody who does not issue keys of this kind.
    #[error("certificate of the {kind} was issued by {got}")]
    KeyIssuer {
        /// The kind in the certificate's subject.
        kind: SigningKey,
        /// Common name of the issuer.
        got: String,
    },
    /// S6, S7, S8: a certificate lacks what every certificate of its kind has.
    #[error("certificate of the endorsement key has no readable {member}")]
    Certificate {
        /// What is missing.
        member: &'static str,
    },
    /// S2: processor, certificate and issuer are not of one product.
    #[error("{what} is {got}, expected {expected}")]
    Product {
        /// What differs.
        what: &'static str,
        /// The product in the issuer's name.
        expected: SnpProduct,
        /// What is there.
        got: String,
    },
    /// S3: no intermediate of the issuer's name is at hand.
    #[error("no {} of {product} is at hand", kind.intermediate())]
    NoIntermediate {
        /// The kind of the endorsement key.
        kind: SigningKey,
        /// The product.
        product: SnpProduct,
    },
    /// S3: a certificate is not signed as AMD signs.
    #[error("certificate {subject} is not signed with RSASSA-PSS, SHA-384 and a salt of 48 bytes")]
    SignatureAlgorithm {
        /// The certificate's subject.
        subject: String,
    },
    /// S3: the certificates do not lead to the root of the product.
    #[error("certificates do not lead to the root of {product}")]
    Chain {
        /// The product.
        product: SnpProduct,
        /// What is wrong.
        #[source]
        source: ChainError,
    },
    /// S4: a certificate does not count at this time.
    #[error("a certificate is not valid now")]
    Validity {
        /// Which, and since or until when.
        #[source]
        source: ChainError,
    },
    /// S5: the Verifier has no revocation list.
    #[error("no revocation list of {product} is at hand")]
    NoRevocationList {
        /// The product.
        product: SnpProduct,
    },
    /// S5: the revocation list is unusable, or says no.
    #[error("revocation of the intermediate key of {product} could not be ruled out")]
    Revocation {
        /// The product.
        product: SnpProduct,
        /// What is wrong.
        #[source]
        source: RevocationError,
    },
    /// S7: a VCEK signed, and the report hides the chip.
    #[error("chip id is masked in a report that a VCEK signed")]
    MaskedChip,
    /// S7: the certificate is of another chip.
    #[error("VCEK is of another chip than the report")]
    Chip {
        /// hwID of the certificate, hex.
        expected: String,
        /// CHIP_ID of the report.
        got: ChipId,
    },
    /// S8: the certificate is of other firmware.
    #[error("endorsement key is bound to other firmware than the report states")]
    KeyFirmware {
        /// Patch levels in the certificate.
        expected: SnpTcb,
        /// REPORTED_TCB.
        got: SnpTcb,
    },
    /// S9: versions contradict each other.
    #[error("{} {component} is higher than {}", low.0, high.0)]
    FirmwareOrder {
        /// The component.
        component: &'static str,
        /// What may not be higher.
        low: (Firmware, String),
        /// What it is compared with.
        high: (Firmware, String),
    },
    /// S11: a number of the signature is out of bounds.
    #[error("{part} of the report's signature is refused: {reason}")]
    SignatureEncoding {
        /// `r` or `s`.
        part: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// S11: the report is not signed by the endorsement key.
    #[error("signature of the report is invalid")]
    ReportSignature,
    /// S12: the bit that every policy has is missing.
    #[error("guest policy lacks bit 17, which is always one")]
    PolicyBit17 {
        /// The policy.
        policy: u64,
    },
    /// S12: the host can read the guest.
    #[error("guest is debuggable")]
    Debug {
        /// The policy.
        policy: u64,
    },
    /// S12: a migration agent can take the guest elsewhere.
    #[error("guest is migratable")]
    Migratable {
        /// The policy.
        policy: u64,
    },
    /// S12: the firmware is older than the guest accepts; it would not have launched it.
    #[error("guest policy wants firmware {}.{} or newer, the report states {got}", expected.0, expected.1)]
    AbiVersion {
        /// Major and minor version in the policy.
        expected: (u8, u8),
        /// The firmware's version.
        got: FirmwareVersion,
    },
    /// S12: a digest of an author key, and no author key.
    #[error("report has the digest of an author key that was not used")]
    AuthorKey {
        /// The digest.
        got: Measurement,
    },
    /// S18: the guest signed other report data than this Verifier expected.
    #[error("report data differ from what was expected")]
    ReportData {
        /// What the Verifier expected.
        expected: Box<ReportData>,
        /// What the report carries.
        got: Box<ReportData>,
    },
}

impl SnpError {
    /// The rung that refused.
    #[must_use]
    pub fn rung(&self) -> &'static str {
        match self {
            Self::Algorithm { .. } => "S1",
            Self::ReservedBits { .. } | Self::TcbReserved { .. } => "S16",
            Self::SigningKey { .. }
            | Self::NoEndorsementKey { .. }
            | Self::KeyKind { .. }
            | Self::KeyIssuer { .. } => "S6",
            Self::Certificate { member } => match *member {
                "hwID" | "cspID" => "S7",
                "productName" => "S2",
                "the certificate itself" => "S6",
                _ => "S8",
            },
            Self::Product { .. } => "S2",
            Self::NoIntermediate { .. } | Self::SignatureAlgorithm { .. } | Self::Chain { .. } => {
                "S3"
            }
            Self::Validity { .. } => "S4",
            Self::NoRevocationList { .. } | Self::Revocation { .. } => "S5",
            Self::MaskedChip | Self::Chip { .. } => "S7",
            Self::KeyFirmware { .. } => "S8",
            Self::FirmwareOrder { .. } => "S9",
            Self::SignatureEncoding { .. } | Self::ReportSignature => "S11",
            Self::PolicyBit17 { .. }
            | Self::Debug { .. }
            | Self::Migratable { .. }
            | Self::AbiVersion { .. }
            | Self::AuthorKey { .. } => "S12",
            Self::ReportData { .. } => "S18",
        }
    }

    /// The refusal as a [`Reason`].
    #[must_use]
    pub fn reason(&self) -> Reason {
        let (code, claim, expected, got, remedy) = self.told();
        Reason::new(code, self.rung(), claim, (expected, got), remedy)
    }

    fn told(&self) -> (&'static str, String, String, String, &'static str) {
        const RECOLLECT: &str =
            "collect the Evidence again; if it came through a file, compare it with the original";
        const RELEASE: &str =
            "use a release of Adyton that knows this firmware's reports, or other firmware";
        const FETCH: &str = "fetch the certificate for this chip and TCB from AMD's key distribution service, or let the host load it (SNP_SET_EXT_CONFIG)";
        const LISTS: &str = "fetch AMD's revocation list for this product again and give it to the Verifier as a bundle file";
        const GENUINE: &str = "Evidence from genuine hardware leads to AMD's root; a simulated TEE is believed only when its root is listed in insecure_extra_roots";
        const CLOCK: &str = "compare the Verifier's clock (or the given time) with the validity; if that is right, fetch the certificates again";
        const LAUNCH: &str =
            "launch the guest with another policy; a guest that is not closed gets no key";
        let pair = |claim: &str, expected: String, got: String| (claim.to_owned(), expected, got);
        let (code, (claim, expected, got), remedy) = match self {
            Self::Algorithm { got } => (
                "snp.report.algorithm",
                pair("signature algorithm", "1 (ECDSA P-384, SHA-384)".into(), got.to_string()),
                RELEASE,
            ),
            Self::ReservedBits { field, bits } => (
                "snp.report.reserved-bits",
                pair(field, "no reserved bit set".into(), format!("{bits:#x}")),
                RELEASE,
            ),
            Self::TcbReserved { which, got } => (
                "snp.report.reserved-tcb",
                pair(&format!("{which} TCB"), "reserved bytes zero".into(), hex::encode(got)),
                RELEASE,
            ),
            Self::SigningKey { got } => (
                "snp.key.signing-key",
                pair("SIGNING_KEY", "0 (VCEK) or 1 (VLEK)".into(), got.to_string()),
                "let the guest ask for a signed report",
            ),
            Self::NoEndorsementKey { wanted } => (
                "snp.key.missing",
                pair("endorsement key", format!("a certificate of the {wanted}"), "none".into()),
                FETCH,
            ),
            Self::KeyKind { expected, got } => (
                "snp.key.kind",
                pair("endorsement key", expected.to_string(), got.to_string()),
                FETCH,
            ),
            Self::KeyIssuer { kind, got } => (
                "snp.key.issuer",
                pair(
                    "issuer of the endorsement key",
                    format!("the {} of a known product", kind.intermediate()),
                    got.clone(),
                ),
                GENUINE,
            ),
            Self::Certificate { member } => (
                "snp.key.certificate",
                pair(member, "as AMD writes it".into(), "missing or malformed".into()),
                FETCH,
            ),
            Self::Product { what, expected, got } => {
                ("snp.product", pair(what, expected.to_string(), got.clone()), FETCH)
            }
            Self::NoIntermediate { kind, product } => (
                "snp.chain.intermediate",
                pair(
                    "intermediate certificate",
                    format!("the {} of {product}", kind.intermediate()),
                    "none".into(),
                ),
                "fetch the chain from AMD's key distribution service and give it to the Verifier as a bundle file",
            ),
            Self::SignatureAlgorithm { subject } => (
                "snp.chain.algorithm",
                pair(
                    "certificate signature",
                    "RSASSA-PSS, SHA-384, salt 48".into(),
                    format!("another one on {subject}"),
                ),
                GENUINE,
            ),
            Self::Chain { product, source } => (
                "snp.chain",
                pair(
                    "certificate chain",
                    format!("a chain to the root of {product}"),
                    source.to_string(),
                ),
                GENUINE,
            ),
            Self::Validity { source } => (
                "snp.chain.validity",
                pair("certificates", "valid now".into(), source.to_string()),
                CLOCK,
            ),
            Self::NoRevocationList { product } => (
                "snp.revocation.missing",
                pair("revocation list", format!("the list of {product}'s root"), "none".into()),
                LISTS,
            ),
            Self::Revocation { source, .. } => (
                revocation_code(source),
                pair("revocation list", "current, and without this key".into(), source.to_string()),
                LISTS,
            ),
            Self::MaskedChip => (
                "snp.chip.masked",
                pair("chip id", "the chip's id".into(), "masked".into()),
                "unmask the chip id on the host (MASK_CHIP_ID), or use a VLEK",
            ),
            Self::Chip { expected, got } => {
                ("snp.chip", pair("chip id", expected.clone(), got.to_string()), FETCH)
            }
            Self::KeyFirmware { expected, got } => (
                "snp.key.firmware",
                pair("reported TCB", expected.to_string(), got.to_string()),
                FETCH,
            ),
            Self::FirmwareOrder { component, low, high } => (
                "snp.firmware.order",
                pair(
                    component,
                    format!("{} not above {} ({})", low.0, high.0, high.1),
                    low.1.clone(),
                ),
                RECOLLECT,
            ),
            Self::SignatureEncoding { part, reason } => (
                "snp.report.signature-encoding",
                pair(
                    part,
                    "a number from 1 to n − 1, little-endian in 48 bytes".into(),
                    (*reason).to_owned(),
                ),
                RECOLLECT,
            ),
            Self::ReportSignature => (
                "snp.report.signature",
                pair("report", "a signature of the endorsement key".into(), "another".into()),
                RECOLLECT,
            ),
            Self::PolicyBit17 { policy } => (
                "snp.policy.bit-17",
                pair("guest policy", "bit 17 set".into(), format!("{policy:#x}")),
                LAUNCH,
            ),
            Self::Debug { policy } => (
                "snp.policy.debug",
                pair("guest policy", "DEBUG = 0".into(), format!("{policy:#x}")),
                LAUNCH,
            ),
            Self::Migratable { policy } => (
                "snp.policy.migrate-ma",
                pair("guest policy", "MIGRATE_MA = 0".into(), format!("{policy:#x}")),
                LAUNCH,
            ),
            Self::AbiVersion { expected, got } => (
                "snp.policy.abi",
                pair(
                    "firmware version",
                    format!("at least {}.{}", expected.0, expected.1),
                    got.to_string(),
                ),
                RECOLLECT,
            ),
            Self::AuthorKey { got } => (
                "snp.author-key",
                pair("author key digest", "zero without an author key".into(), got.to_string()),
                RECOLLECT,
            ),
            Self::ReportData { expected, got } => (
                "snp.report-data",
                pair("report data", told_binding(&expected.0), told_binding(&got.0)),
                binding_remedy(&expected.0, &got.0),
            ),
        };
        (code, claim, expected, got, remedy)
    }
}

fn revocation_code(error: &RevocationError) -> &'static str {
    match error {
        RevocationError::Encoding { .. } => "snp.revocation.missing",
        RevocationError::Issuer { .. } => "snp.revocation.issuer",
        RevocationError::Signature { .. } => "snp.revocation.signature",
        RevocationError::NotYetValid { .. } => "snp.revocation.not-yet-valid",
        RevocationError::Expired { .. } => "snp.revocation.expired",
        RevocationError::Profile { .. } => "snp.revocation.profile",
        RevocationError::Revoked { .. } => "snp.revocation.revoked",
    }
}
