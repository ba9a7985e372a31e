//! Intel's two signed JSON documents: TCB info (rung T4) and QE identity (rung T5).
//!
//! Each rung has two halves: what the document states about itself, which costs nothing and is
//! always checked here, and its signature, which the verification library checks and which is
//! checked here only to find out what it refused.

use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

use crate::endorsement::intel::DocumentDates;
use crate::unix_time::UnixTime;
use crate::verifier::chain::Chain;
use crate::verifier::error::{Document, VerifyError};
use crate::verifier::tdx::Climb;
use crate::verifier::tdx::signatures::QeReport;

/// T4, first half: TCB info for TDX, of version 3, current, and for the PCE in the PCK certificate.
pub(super) fn tcb_info_statement(climb: &Climb<'_>) -> Result<(), VerifyError> {
    let info = climb.endorsements.tcb_info();
    if (info.id.as_str(), info.version) != ("TDX", 3) {
        return Err(VerifyError::DocumentKind {
            document: Document::TcbInfo,
            expected: "TDX version 3",
            got: format!("{} version {}", shortened(&info.id), info.version),
        });
    }
    current(Document::TcbInfo, climb.endorsements.tcb_info_dates(), climb.now)?;
    let pce_id = hex::encode(&climb.pck.pce_id);
    if !info.pce_id.eq_ignore_ascii_case(&pce_id) {
        return Err(VerifyError::PceId { expected: shortened(&info.pce_id), got: pce_id });
    }
    Ok(())
}

/// T4, second half: signed by a certificate that the anchor issued.
pub(super) fn tcb_info_signature(climb: &Climb<'_>) -> Result<(), VerifyError> {
    let collateral = climb.endorsements.collateral();
    signed(
        climb,
        Document::TcbInfo,
        &collateral.tcb_info_issuer_chain,
        &collateral.tcb_info,
        &collateral.tcb_info_signature,
    )
}

/// T5, first half: identity of the TD quoting enclave, current, and the QE report is of that enclave.
pub(super) fn qe_identity_statement(climb: &Climb<'_>) -> Result<(), VerifyError> {
    let identity = climb.endorsements.qe_identity();
    if identity.id != "TD_QE" || !(2..=3).contains(&identity.version) {
        return Err(VerifyError::DocumentKind {
            document: Document::QeIdentity,
            expected: "TD_QE version 2 or 3",
            got: format!("{} version {}", shortened(&identity.id), identity.version),
        });
    }
    current(Document::QeIdentity, climb.endorsements.qe_identity_dates(), climb.now)?;

    let report = QeReport::read(&climb.evidence.quote().signature.qe_report);
    let differs = |field, expected, got| Err(VerifyError::QeIdentity { field, expected, got });
    if report.mrsigner != identity.mrsigner {
        return differs("MRSIGNER", hex::encode(identity.mrsigner), hex::encode(report.mrsigner));
    }
    if report.isvprodid != identity.isvprodid {
        return differs("ISVPRODID", identity.isvprodid.to_string(), report.isvprodid.to_string());
    }
    let miscselect = masked(&report.miscselect, &identity.miscselect_mask);
    if miscselect != masked(&identity.miscselect, &identity.miscselect_mask) {
        return differs("MISCSELECT", hex::encode(identity.miscselect), hex::encode(miscselect));
    }
    let attributes = masked(&report.attributes, &identity.attributes_mask);
    if attributes != masked(&identity.attributes, &identity.attributes_mask) {
        return differs("ATTRIBUTES", hex::encode(identity.attributes), hex::encode(attributes));
    }
    if report.is_debug() {
        return differs("ATTRIBUTES.DEBUG", "0".into(), "1".into());
    }
    if !identity.tcb_levels.iter().any(|level| level.tcb.isvsvn <= report.isvsvn) {
        let lowest = identity.tcb_levels.iter().map(|level| level.tcb.isvsvn).min();
        return differs(
            "ISVSVN",
            lowest.map_or_else(|| "none is listed".into(), |svn| format!("at least {svn}")),
            report.isvsvn.to_string(),
        );
    }
    Ok(())
}

/// T5, second half: signed by a certificate that the anchor issued.
pub(super) fn qe_identity_signature(climb: &Climb<'_>) -> Result<(), VerifyError> {
    let collateral = climb.endorsements.collateral();
    signed(
        climb,
        Document::QeIdentity,
        &collateral.qe_identity_issuer_chain,
        &collateral.qe_identity,
        &collateral.qe_identity_signature,
    )
}

fn current(document: Document, dates: DocumentDates, now: UnixTime) -> Result<(), VerifyError> {
    let DocumentDates { issued, next_update } = dates;
    if now < issued {
        return Err(VerifyError::DocumentNotYetValid { document, issued, now });
    }
    if next_update < now {
        return Err(VerifyError::DocumentExpired { document, next_update, now });
    }
    Ok(())
}

fn signed(
    climb: &Climb<'_>,
    document: Document,
    chain_pem: &str,
    text: &str,
    signature: &[u8],
) -> Result<(), VerifyError> {
    let refused = |source| VerifyError::DocumentSigner {
        document,
        anchor: climb.pck.anchor.used.clone(),
        source,
    };
    let chain = Chain::parse_pem(chain_pem.as_bytes()).map_err(refused)?;
    chain.verify_direct(&climb.pck.anchor_link, climb.now).map_err(refused)?;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, chain.leaf.public_key())
        .verify(text.as_bytes(), signature)
        .map_err(|_| VerifyError::DocumentSignature { document })
}

fn masked<const N: usize>(value: &[u8; N], mask: &[u8; N]) -> [u8; N] {
    std::array::from_fn(|i| value[i] & mask[i])
}

fn shortened(text: &str) -> String {
    text.chars().take(32).collect()
}
