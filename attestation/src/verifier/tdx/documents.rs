//! Intel's two signed JSON documents: TCB info (rung T4) and QE identity (rung T5).
//!
//! Each rung has two halves: what the document states about itself, which costs nothing and comes
//! first, and its signature by a certificate that the anchor issued.

use crate::endorsement::intel::{DocumentDates, Signed};
use crate::unix_time::UnixTime;
use crate::verifier::error::{Document, VerifyError};
use crate::verifier::profile::{self, Algorithm, Role};
use crate::verifier::signature_cache::Object;
use crate::verifier::tdx::signatures::QeReport;
use crate::verifier::tdx::{Climb, tcb};

/// T4, first half: TCB info for TDX, of version 3, current, and for the PCE in the PCK certificate.
pub(super) fn tcb_info_statement(climb: &Climb<'_>) -> Result<(), VerifyError> {
    let info = &climb.endorsements.tcb_info().parsed;
    if (info.id.as_str(), info.version, info.tcb_type) != ("TDX", 3, 0) {
        let id = shortened(&info.id);
        return Err(VerifyError::DocumentKind {
            document: Document::TcbInfo,
            expected: "TDX version 3, TCB type 0",
            got: format!("{id} version {}, TCB type {}", info.version, info.tcb_type),
        });
    }
    current(Document::TcbInfo, climb.endorsements.tcb_info_dates(), climb.now)?;
    let pce_id = climb.pck.platform.pce_id;
    if info.pce_id != pce_id {
        return Err(VerifyError::PceId {
            expected: hex::encode(info.pce_id),
            got: hex::encode(pce_id),
        });
    }
    Ok(())
}

/// T4, second half: signed by a certificate that the anchor issued.
pub(super) fn tcb_info_signature(climb: &Climb<'_>) -> Result<(), VerifyError> {
    signed(climb, Document::TcbInfo, climb.endorsements.tcb_info())
}

/// T5, first half: identity of the TD quoting enclave, current, and the QE report is of that enclave.
pub(super) fn qe_identity_statement(climb: &Climb<'_>) -> Result<(), VerifyError> {
    let identity = &climb.endorsements.qe_identity().parsed;
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
    if tcb::isv_level(&identity.tcb_levels, report.isvsvn).is_none() {
        return differs("ISVSVN", tcb::lowest(&identity.tcb_levels), report.isvsvn.to_string());
    }
    Ok(())
}

/// T5, second half: signed by a certificate that the anchor issued.
pub(super) fn qe_identity_signature(climb: &Climb<'_>) -> Result<(), VerifyError> {
    signed(climb, Document::QeIdentity, climb.endorsements.qe_identity())
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

fn signed<T>(climb: &Climb<'_>, document: Document, signed: &Signed<T>) -> Result<(), VerifyError> {
    let anchor = &climb.pck.anchor;
    let refused =
        |source| VerifyError::DocumentSigner { document, anchor: anchor.used.clone(), source };
    let chain = signed.signer.as_ref().map_err(|source| refused(source.clone()))?;
    chain.verify_direct(&anchor.link, climb.now, &climb.signatures).map_err(refused)?;
    profile::certificate(&chain.leaf, Role::Leaf, Algorithm::EcdsaSha256).map_err(refused)?;

    let compute = || chain.leaf.has_signed(&signed.digest, &signed.signature);
    let object = Object::Detached(&signed.digest, &signed.signature);
    match climb.signatures.verify(chain.leaf.digest(), object, compute) {
        true => Ok(()),
        false => Err(VerifyError::DocumentSignature { document }),
    }
}

fn masked<const N: usize>(value: &[u8; N], mask: &[u8; N]) -> [u8; N] {
    std::array::from_fn(|i| value[i] & mask[i])
}

fn shortened(text: &str) -> String {
    text.chars().take(32).collect()
}
