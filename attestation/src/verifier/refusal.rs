//! What a refusal says to the model owner: claim, expected, got, remedy.
//!
//! One arm for each variant of [`VerifyError`]; codes are stable and listed in `SPEC.md`.

use crate::binding::BindingForm;
use crate::claims::{AnchorUsed, Fmspc};
use crate::reason::Reason;
use crate::verifier::chain::{ChainError, RevocationError};
use crate::verifier::error::{Document, VerifyError};

const REFETCH: &str = "fetch the collateral for this platform type again and give it to the Verifier as a bundle file";
const RECOLLECT: &str =
    "collect the Evidence again; if it came through a file, compare it with the original";
const CLOCK: &str = "compare the Verifier's clock (or the given time) with the validity; if that is right, fetch the collateral again";
const FIRMWARE: &str = "update BIOS, microcode and TDX module of the host, then launch the TD anew";
const LAUNCH: &str = "launch the TD with other attributes; a TD that is not closed gets no key";
const OTHER_ROOT: &str = "Evidence from genuine hardware leads to the vendor's root; a simulated TEE is believed only when its root is listed in insecure_extra_roots";

struct Told {
    code: &'static str,
    claim: String,
    expected: String,
    got: String,
    remedy: &'static str,
}

fn told(
    code: &'static str,
    claim: impl Into<String>,
    expected: impl Into<String>,
    got: impl Into<String>,
    remedy: &'static str,
) -> Told {
    Told { code, claim: claim.into(), expected: expected.into(), got: got.into(), remedy }
}

impl VerifyError {
    /// The refusal as one [`Reason`].
    pub(in crate::verifier) fn reason(&self) -> Reason {
        let Told { code, claim, expected, got, remedy } = match self {
            Self::Evidence(error) => return error.reason(),
            Self::Snp(error) => return error.reason(),
            Self::Azure(error) => return error.reason(),
            Self::EventLog(refusal) => return refusal.reason(),
            Self::QeVendor { got } => told(
                "tdx.quote.qe-vendor",
                "QE vendor id",
                "939a7233f79c4ca9940a0db3957f0607 (Intel)",
                hex::encode(got),
                "use a quoting service with Intel's TD quoting enclave",
            ),
            Self::PckChain { anchor, source } => {
                chain("PCK certificate", anchor, source, "tdx.pck-chain")
            }
            Self::PckExtension { member } => told(
                "tdx.pck-chain.extension",
                *member,
                "present and of its fixed length",
                "missing or malformed",
                RECOLLECT,
            ),
            Self::Revocation { subject, source } => revocation(subject, source),
            Self::NoEndorsements { fmspc, available } => told(
                "tdx.endorsements.missing",
                "endorsements",
                format!("collateral for platform type {fmspc}"),
                listed(available),
                REFETCH,
            ),
            Self::DocumentKind { document, expected, got } => {
                told(document.codes().kind, document.to_string(), *expected, got, REFETCH)
            }
            Self::DocumentNotYetValid { document, issued, now } => told(
                document.codes().not_yet_valid,
                document.to_string(),
                format!("issued before {now}"),
                format!("issued at {issued}"),
                CLOCK,
            ),
            Self::DocumentExpired { document, next_update, now } => told(
                document.codes().expired,
                document.to_string(),
                format!("valid at {now}"),
                format!("valid until {next_update}"),
                CLOCK,
            ),
            Self::DocumentSigner { document, anchor, source } => {
                chain(&format!("signer of the {document}"), anchor, source, document.codes().signer)
            }
            Self::DocumentSignature { document } => told(
                document.codes().signature,
                document.to_string(),
                "a valid signature of its issuer",
                "a signature over other bytes",
                REFETCH,
            ),
            Self::PceId { expected, got } => {
                told("tdx.tcb-info.pce-id", "PCE id", expected, got, REFETCH)
            }
            Self::QeIdentity { field, expected, got } => told(
                "tdx.qe-identity.mismatch",
                format!("QE {field}"),
                expected,
                got,
                "use a quoting service with Intel's current TD quoting enclave",
            ),
            Self::QeReportSignature => told(
                "tdx.qe-report.signature",
                "QE report",
                "a valid signature of the PCK key",
                "a signature over other bytes or by another key",
                RECOLLECT,
            ),
            Self::QeReportData => told(
                "tdx.qe-report.data",
                "QE report data",
                "the digest of the attestation key, then zeros",
                "something else",
                RECOLLECT,
            ),
            Self::QuoteSignature => told(
                "tdx.quote.signature",
                "quote",
                "a valid signature of the attestation key",
                "a signature over other bytes or by another key",
                RECOLLECT,
            ),
            Self::NoMatchingTcbLevel { got, evaluation } => told(
                "tdx.tcb.no-level",
                "TCB",
                format!("at least the lowest level of TCB evaluation {evaluation}"),
                got,
                FIRMWARE,
            ),
            Self::TdxModule { field, expected, got } => {
                told("tdx.tcb.module", format!("TDX module {field}"), expected, got, FIRMWARE)
            }
            Self::TcbRevoked => {
                told("tdx.tcb.revoked", "TCB status", "any but Revoked", "Revoked", FIRMWARE)
            }
            Self::Debug { attributes } => told(
                "tdx.td-attributes.debug",
                "TD attributes",
                "DEBUG = 0",
                format!("DEBUG = 1 ({attributes})"),
                LAUNCH,
            ),
            Self::Migratable { attributes } => told(
                "tdx.td-attributes.migratable",
                "TD attributes",
                "MIGRATABLE = 0",
                format!("MIGRATABLE = 1 ({attributes})"),
                LAUNCH,
            ),
            Self::SeptVeDisable { attributes } => told(
                "tdx.td-attributes.sept-ve-disable",
                "TD attributes",
                "SEPT_VE_DISABLE = 1",
                format!("SEPT_VE_DISABLE = 0 ({attributes})"),
                LAUNCH,
            ),
            Self::ReservedAttributes { attributes, bits } => told(
                "tdx.td-attributes.reserved",
                "TD attributes",
                "no profiling, service or reserved bit",
                format!("bits {bits:#x} ({attributes})"),
                LAUNCH,
            ),
            Self::Xfam { xfam, bits } => told(
                "tdx.xfam",
                "XFAM",
                "x87 and SSE, and known components only",
                format!("wrong bits {bits:#x} ({xfam})"),
                LAUNCH,
            ),
            Self::ServiceTd { got } => told(
                "tdx.service-td",
                "MRSERVICETD",
                "zero",
                got.to_string(),
                "launch the TD without a service TD (migration TD)",
            ),
            Self::ReportData { expected, got } => told(
                "tdx.report-data",
                "report data",
                told_binding(&expected.0),
                told_binding(&got.0),
                binding_remedy(&expected.0, &got.0),
            ),
        };
        Reason::new(code, self.rung(), claim, (expected, got), remedy)
    }
}

/// Report data with the binding that their form shows, so that a reader sees at once whether this is an
/// old answer or one that was made for something else.
pub(in crate::verifier) fn told_binding(bytes: &[u8]) -> String {
    format!("{} ({})", hex::encode(bytes), BindingForm::of(bytes))
}

/// What to do about report data that differ.
pub(in crate::verifier) fn binding_remedy(expected: &[u8], got: &[u8]) -> &'static str {
    match (BindingForm::of(expected), BindingForm::of(got)) {
        (_, BindingForm::Unbound) => {
            "let the attester hand the report data of this challenge to the hardware; it handed none"
        }
        (expected, got) if expected == got => {
            "ask for new Evidence over a new challenge: this answers another one (an old answer, a relayed one, or one over another key)"
        }
        _ => {
            "ask for Evidence for this purpose: this was made for another (key release, attestation endpoint and RA-TLS never satisfy each other)"
        }
    }
}

/// Reason codes of one document.
struct DocumentCodes {
    kind: &'static str,
    not_yet_valid: &'static str,
    expired: &'static str,
    signer: &'static str,
    signature: &'static str,
}

impl Document {
    fn codes(self) -> &'static DocumentCodes {
        match self {
            Self::TcbInfo => &DocumentCodes {
                kind: "tdx.tcb-info.kind",
                not_yet_valid: "tdx.tcb-info.not-yet-valid",
                expired: "tdx.tcb-info.expired",
                signer: "tdx.tcb-info.signer",
                signature: "tdx.tcb-info.signature",
            },
            Self::QeIdentity => &DocumentCodes {
                kind: "tdx.qe-identity.kind",
                not_yet_valid: "tdx.qe-identity.not-yet-valid",
                expired: "tdx.qe-identity.expired",
                signer: "tdx.qe-identity.signer",
                signature: "tdx.qe-identity.signature",
            },
        }
    }
}

fn chain(claim: &str, anchor: &AnchorUsed, source: &ChainError, code: &'static str) -> Told {
    let (expected, remedy) = match source {
        ChainError::NotYetValid { now, .. } | ChainError::Expired { now, .. } => {
            (format!("every certificate valid at {now}"), CLOCK)
        }
        ChainError::UnknownIssuer { .. } | ChainError::Signature { .. } => {
            (format!("a chain to the {anchor}"), OTHER_ROOT)
        }
        ChainError::Encoding
        | ChainError::Foreign { .. }
        | ChainError::Role { .. }
        | ChainError::Profile { .. } => {
            (format!("a chain of certificates to the {anchor}"), RECOLLECT)
        }
    };
    told(code, claim, expected, source.to_string(), remedy)
}

fn revocation(subject: &str, source: &RevocationError) -> Told {
    let (code, expected, remedy) = match source {
        RevocationError::Revoked { .. } => (
            "tdx.revocation.revoked",
            "not revoked",
            "the vendor has withdrawn trust: move the workload to another platform and find out why",
        ),
        RevocationError::Expired { .. } => ("tdx.revocation.expired", "a current list", CLOCK),
        RevocationError::NotYetValid { .. } => {
            ("tdx.revocation.not-yet-valid", "a current list", CLOCK)
        }
        RevocationError::Encoding { .. } => {
            ("tdx.revocation.missing", "a revocation list", REFETCH)
        }
        RevocationError::Issuer { .. } => {
            ("tdx.revocation.issuer", "the list of the certificate's issuer", REFETCH)
        }
        RevocationError::Profile { .. } => {
            ("tdx.revocation.profile", "a whole list in the vendor's profile", REFETCH)
        }
        RevocationError::Signature { .. } => {
            ("tdx.revocation.signature", "a list that its issuer signed", REFETCH)
        }
    };
    told(code, subject, expected, source.to_string(), remedy)
}

fn listed(available: &[Fmspc]) -> String {
    if available.is_empty() {
        return "an empty bundle".to_owned();
    }
    let types: Vec<String> = available.iter().map(Fmspc::to_string).collect();
    format!("collateral for {}", types.join(", "))
}
