//! Why the Verifier refused: one variant for each way in which a rung can fail.
//!
//! `Display` says what happened at this level; [`VerifyError::reasons`] says it for the model owner,
//! with what was expected, what was there and what to do.

use crate::binding::ReportData;
use crate::claims::{AnchorUsed, Fmspc, Measurement, TdAttributes, Xfam};
use crate::evidence::EvidenceError;
use crate::reason::Reason;
use crate::unix_time::UnixTime;
use crate::verifier::EventLogRefusal;
use crate::verifier::azure::AzureError;
use crate::verifier::chain::{ChainError, RevocationError};
use crate::verifier::snp::SnpError;

/// A refusal of the Verifier. Every variant belongs to one rung of the ladder in `SPEC.md`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// T1 and T14: the bytes are no Evidence that this release reads.
    #[error("evidence is malformed")]
    Evidence(#[from] EvidenceError),
    /// A rung of the SNP ladder.
    #[error(transparent)]
    Snp(#[from] SnpError),
    /// A rung of the Azure vTPM ladder.
    #[error(transparent)]
    Azure(#[from] AzureError),
    /// T1: the quoting enclave is not Intel's.
    #[error("quoting enclave of an unknown vendor")]
    QeVendor {
        /// Vendor id in the quote header.
        got: [u8; 16],
    },
    /// T2: the PCK certificate does not lead to the trust anchor.
    #[error("PCK certificate chain does not lead to the {anchor}")]
    PckChain {
        /// The anchor that it was verified against.
        anchor: AnchorUsed,
        /// What is wrong with the chain.
        #[source]
        source: ChainError,
    },
    /// T2: the PCK certificate lacks Intel's platform extension, or it is malformed.
    #[error("PCK certificate has no readable SGX extension")]
    PckExtension {
        /// The member of the extension.
        member: &'static str,
    },
    /// T3: a revocation list is unusable, or says no.
    #[error("revocation of {subject} could not be ruled out")]
    Revocation {
        /// The certificate in question.
        subject: &'static str,
        /// What is wrong.
        #[source]
        source: RevocationError,
    },
    /// T16: the Verifier has no Endorsements for this platform type.
    #[error("no endorsements for platform type {fmspc}")]
    NoEndorsements {
        /// The platform type in the PCK certificate.
        fmspc: Fmspc,
        /// Platform types that the bundle has, at most eight.
        available: Vec<Fmspc>,
    },
    /// T4, T5: a signed document is of another kind or version.
    #[error("{document} is {got}, expected {expected}")]
    DocumentKind {
        /// Which document.
        document: Document,
        /// Accepted ids and versions.
        expected: &'static str,
        /// What it says of itself.
        got: String,
    },
    /// T4, T5: a signed document is not valid yet.
    #[error("{document} is issued in the future")]
    DocumentNotYetValid {
        /// Which document.
        document: Document,
        /// `issueDate`.
        issued: UnixTime,
        /// The Verifier's time.
        now: UnixTime,
    },
    /// T4, T5: a signed document is past its `nextUpdate`.
    #[error("{document} has expired")]
    DocumentExpired {
        /// Which document.
        document: Document,
        /// `nextUpdate`.
        next_update: UnixTime,
        /// The Verifier's time.
        now: UnixTime,
    },
    /// T4, T5: the signer of a document does not lead to the trust anchor.
    #[error("signer of the {document} does not lead to the {anchor}")]
    DocumentSigner {
        /// Which document.
        document: Document,
        /// The anchor that it was verified against.
        anchor: AnchorUsed,
        /// What is wrong with the chain.
        #[source]
        source: ChainError,
    },
    /// T4, T5: the signature over a document is wrong.
    #[error("signature of the {document} is invalid")]
    DocumentSignature {
        /// Which document.
        document: Document,
    },
    /// T4: the TCB info is for another PCE than the PCK certificate states.
    #[error("TCB info is for PCE {expected}, the PCK certificate states {got}")]
    PceId {
        /// `pceId` of the TCB info.
        expected: String,
        /// PCE id of the PCK certificate.
        got: String,
    },
    /// T5: the quoting enclave is not the one that the QE identity describes.
    #[error("quoting enclave's {field} is not that of the QE identity")]
    QeIdentity {
        /// Field of the QE report.
        field: &'static str,
        /// What the QE identity states.
        expected: String,
        /// What the QE report states.
        got: String,
    },
    /// T6: the QE report is not signed by the PCK key.
    #[error("signature of the QE report is invalid")]
    QeReportSignature,
    /// T6: the QE report does not commit to the attestation key.
    #[error("QE report does not commit to the attestation key")]
    QeReportData,
    /// T7: header and body are not signed by the attestation key.
    #[error("signature of the quote is invalid")]
    QuoteSignature,
    /// T8: no TCB level of the vendor covers this platform's versions.
    #[error("no TCB level covers this platform")]
    NoMatchingTcbLevel {
        /// Security versions of the platform, as text.
        got: String,
        /// TCB evaluation data number of the TCB info.
        evaluation: u32,
    },
    /// T8: the TDX module is unknown to the vendor, or not the one that it describes.
    #[error("TDX module's {field} is not that of the TCB info")]
    TdxModule {
        /// Field that differs.
        field: &'static str,
        /// What the TCB info states.
        expected: String,
        /// What the quote states.
        got: String,
    },
    /// T8: the vendor has revoked this TCB level. Always fatal, no policy admits it.
    #[error("TCB level is revoked")]
    TcbRevoked,
    /// T9: the host can read this TD.
    #[error("TD is debuggable")]
    Debug {
        /// The attributes.
        attributes: TdAttributes,
    },
    /// T9: the TD may be migrated.
    #[error("TD is migratable")]
    Migratable {
        /// The attributes.
        attributes: TdAttributes,
    },
    /// T9: SEPT_VE_DISABLE is off, so the host can raise #VE on pages that it took away.
    #[error("TD runs without SEPT_VE_DISABLE")]
    SeptVeDisable {
        /// The attributes.
        attributes: TdAttributes,
    },
    /// T9: bits are set that must be zero, or whose meaning this release does not know.
    #[error("TD attributes have reserved or profiling bits set")]
    ReservedAttributes {
        /// The attributes.
        attributes: TdAttributes,
        /// The offending bits.
        bits: u64,
    },
    /// T10: XFAM has bits that are not allowed, or lacks those that are fixed to one.
    #[error("XFAM is out of bounds")]
    Xfam {
        /// The mask.
        xfam: Xfam,
        /// The offending bits.
        bits: u64,
    },
    /// T12: a service TD is bound to this TD and could reach into it.
    #[error("a service TD is bound")]
    ServiceTd {
        /// MRSERVICETD.
        got: Measurement,
    },
    /// T13: the event log beside the quote proves nothing.
    #[error(transparent)]
    EventLog(#[from] EventLogRefusal),
    /// T18: the TEE signed other report data than this Verifier expected.
    #[error("report data differ from what was expected")]
    ReportData {
        /// What the Verifier expected.
        expected: Box<ReportData>,
        /// What the quote carries.
        got: Box<ReportData>,
    },
}

/// A JSON document that Intel signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// TCB info of a platform type; rung T4.
    TcbInfo,
    /// Identity of the quoting enclave; rung T5.
    QeIdentity,
}

impl std::fmt::Display for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TcbInfo => "TCB info",
            Self::QeIdentity => "QE identity",
        })
    }
}

impl Document {
    fn rung(self) -> &'static str {
        match self {
            Self::TcbInfo => "T4",
            Self::QeIdentity => "T5",
        }
    }
}

impl VerifyError {
    /// The rung that refused.
    #[must_use]
    pub fn rung(&self) -> &'static str {
        match self {
            Self::Evidence(error) => error.rung(),
            Self::Snp(error) => error.rung(),
            Self::Azure(error) => error.rung(),
            Self::QeVendor { .. } => "T1",
            Self::PckChain { .. } | Self::PckExtension { .. } => "T2",
            Self::Revocation { .. } => "T3",
            Self::PceId { .. } => "T4",
            Self::DocumentKind { document, .. }
            | Self::DocumentNotYetValid { document, .. }
            | Self::DocumentExpired { document, .. }
            | Self::DocumentSigner { document, .. }
            | Self::DocumentSignature { document } => document.rung(),
            Self::QeIdentity { .. } => "T5",
            Self::QeReportSignature | Self::QeReportData => "T6",
            Self::QuoteSignature => "T7",
            Self::NoMatchingTcbLevel { .. } | Self::TdxModule { .. } | Self::TcbRevoked => "T8",
            Self::Debug { .. }
            | Self::Migratable { .. }
            | Self::SeptVeDisable { .. }
            | Self::ReservedAttributes { .. } => "T9",
            Self::Xfam { .. } => "T10",
            Self::ServiceTd { .. } => "T12",
            Self::EventLog(_) => "T13",
            Self::NoEndorsements { .. } => "T16",
            Self::ReportData { .. } => "T18",
        }
    }

    /// The refusal as [`Reason`]s for the owner. Never empty.
    #[must_use]
    pub fn reasons(&self) -> Vec<Reason> {
        vec![self.reason()]
    }
}
