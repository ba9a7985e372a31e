//! Which statements a piece of Evidence needs, and which of them a bundle lacks.

use super::Statement;
use super::amd::AmdSigner;
use super::intel::PckCa;
use crate::claims::{Fmspc, SigningKey, SnpProduct, SnpTcb};
use crate::endorsement::amd::{AmdCertificate, AmdCertificateKind};
use crate::endorsement::{EndorsementBundle, IntelEndorsements, Validity};
use crate::evidence::azure::AzureHardware;
use crate::evidence::{Evidence, SnpEvidence, TdxEvidence};
use crate::unix_time::UnixTime;
use crate::verifier::{TrustAnchors, VerifyError, tdx_platform};

/// The statements that the Verifier will look for in a bundle.
///
/// A quote's PCK chain is verified first: nobody makes us ask for the platform types that they make
/// up. A report's signature can't be, because its key is what is asked for.
///
/// # Errors
/// Those of rung T2.
pub fn wanted(
    evidence: &Evidence,
    anchors: &TrustAnchors,
    now: UnixTime,
) -> Result<Vec<Statement>, VerifyError> {
    match evidence {
        Evidence::Tdx(tdx) => of_tdx(tdx, anchors, now),
        Evidence::Snp(snp) => Ok(of_snp(snp)),
        Evidence::Azure(azure) => match azure.hardware() {
            AzureHardware::Tdx(tdx) => of_tdx(tdx, anchors, now),
            AzureHardware::Snp(snp) => Ok(of_snp(snp)),
        },
    }
}

/// The statements for a platform type of Intel's.
#[must_use]
pub fn wanted_for_fmspc(fmspc: Fmspc, ca: PckCa) -> Vec<Statement> {
    vec![
        Statement::IntelTcbInfo(fmspc),
        Statement::IntelQeIdentity,
        Statement::IntelPckCrl(ca),
        Statement::IntelRootCrl,
    ]
}

fn of_tdx(
    tdx: &TdxEvidence,
    anchors: &TrustAnchors,
    now: UnixTime,
) -> Result<Vec<Statement>, VerifyError> {
    let platform = tdx_platform(tdx, anchors, now)?;
    // A CA of another name has a list that no service of Intel's serves; the Verifier says so.
    let ca = PckCa::of_issuer(&platform.issuer).unwrap_or(PckCa::Platform);
    Ok(wanted_for_fmspc(platform.fmspc, ca))
}

/// What a report needs. Its product is the one that its processor says; a report of version 2 says none,
/// and is asked for only when a certificate beside it or its short chip id does.
fn of_snp(snp: &SnpEvidence) -> Vec<Statement> {
    let report = snp.report();
    // Labels are the sender's; what a certificate is for stands in it.
    let presented: Vec<AmdCertificate> = snp
        .certificates()
        .iter()
        .filter_map(|(_, der)| AmdCertificate::parse(der.to_vec()).ok())
        .collect();
    let of_certificate = || {
        presented.iter().find_map(|certificate| match certificate.kind() {
            AmdCertificateKind::Vcek { product, .. } | AmdCertificateKind::Vlek { product, .. } => {
                Some(*product)
            }
            AmdCertificateKind::Root(_) | AmdCertificateKind::Intermediate(..) => None,
        })
    };
    let product = match (report.cpuid, report.tcb_layout()) {
        (Some(cpuid), _) => SnpProduct::from_cpuid(cpuid),
        (None, SnpProduct::Turin) => Some(SnpProduct::Turin),
        (None, SnpProduct::Milan | SnpProduct::Genoa) => of_certificate(),
    };
    let (Some(product), Some(signing_key)) = (product, report.key_info.signing_key()) else {
        return Vec::new();
    };
    let signer = match signing_key {
        SigningKey::Vcek => AmdSigner::Vcek,
        SigningKey::Vlek => AmdSigner::Vlek,
    };
    let mut wanted = vec![Statement::AmdChain(product, signer), Statement::AmdCrl(product)];
    // No service gives out VLEKs, and a masked chip id names no processor. A certificate that came with
    // the report is as good as the KDS's: the same signatures are verified.
    let tcb = SnpTcb::read(report.reported_tcb.0, product);
    if let (AmdSigner::Vcek, Some(tcb), false) = (signer, tcb, report.chip_id.is_zero()) {
        let chip_id = report.chip_id;
        let is_presented = presented.iter().any(|one| one.is_vcek_of(product, chip_id, tcb));
        if !is_presented {
            wanted.push(Statement::AmdVcek { product, chip_id, tcb });
        }
    }
    wanted
}

/// Those of the statements that a bundle does not have in a form that counts at `now`. An entry of
/// Intel's is one whole: when a part of it has expired, all of it is wanted again.
#[must_use]
pub fn missing(wanted: &[Statement], bundle: &EndorsementBundle, now: UnixTime) -> Vec<Statement> {
    let intel_counts =
        |fmspc: Fmspc| counts(bundle.select(fmspc, now).and_then(IntelEndorsements::validity), now);
    let intel_is_there = wanted.iter().all(|statement| match statement {
        Statement::IntelTcbInfo(fmspc) => intel_counts(*fmspc),
        Statement::IntelPckCrl(_)
        | Statement::IntelRootCrl
        | Statement::IntelQeIdentity
        | Statement::AmdChain(..)
        | Statement::AmdCrl(_)
        | Statement::AmdVcek { .. } => true,
    });
    let is_missing = |statement: &&Statement| match statement {
        Statement::IntelTcbInfo(_)
        | Statement::IntelPckCrl(_)
        | Statement::IntelRootCrl
        | Statement::IntelQeIdentity => !intel_is_there,
        Statement::AmdChain(product, signer) => {
            let mut all = bundle.amd().intermediates(*product, *signer);
            !all.any(|certificate| counts(Some(certificate.validity()), now))
        }
        Statement::AmdCrl(product) => {
            let mut all = bundle.amd().lists_of(*product);
            !all.any(|list| counts(list.validity(), now))
        }
        Statement::AmdVcek { product, chip_id, tcb } => {
            let mut all = bundle.amd().vceks(*product, *chip_id, *tcb);
            !all.any(|certificate| counts(Some(certificate.validity()), now))
        }
    };
    wanted.iter().filter(is_missing).cloned().collect()
}

fn counts(validity: Option<Validity>, now: UnixTime) -> bool {
    validity.is_some_and(|validity| validity.issued <= now && now < validity.expires)
}
