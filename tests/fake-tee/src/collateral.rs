//! Endorsements for the simulated machine, in the shape that TDX verifiers take them.
//!
//! Role: Endorser. In: the PKI, the time, the [`Fault`]s. Out: one JSON object with the members
//! of `QuoteCollateralV3` (CRLs and signatures in hex, chains in PEM, signed JSON as text).

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::pki::{DAY, Identity, Pki, Scope, Window};
use crate::tcb::{FMSPC, OTHER_FMSPC, PCE_ID, TcbInfoSubject, qe_identity_json, tcb_info_json};

/// How long collateral is valid after it was issued; Intel's is too.
pub(crate) const LIFETIME: u64 = 30 * DAY;

/// Collateral is issued a little before it is asked for.
const ISSUED_BEFORE: u64 = 60 * 60;

/// The collateral at `now`; `other` is the PKI under another root, for the forgeries.
pub(crate) fn collateral(pki: &Pki, other: &Pki, now: u64, faults: &[Fault]) -> Value {
    let has = |fault| faults.contains(&fault);
    let issued = now.saturating_sub(ISSUED_BEFORE);
    let fresh = Window { issued, expires: issued + LIFETIME };
    let expired = Window {
        issued: now.saturating_sub(3 * LIFETIME),
        expires: now.saturating_sub(2 * LIFETIME),
    };
    let future = Window { issued: now + DAY, expires: now + DAY + LIFETIME };
    let unless_expired = |fault| {
        if has(fault) || has(Fault::ExpiredCollateral) { expired } else { fresh }
    };

    // Revocation lists.
    let mut root_revokes = Vec::new();
    if has(Fault::RevokedPckCa) {
        root_revokes.push(pki.pck_ca.serial());
    }
    if has(Fault::RevokedTcbSigner) {
        root_revokes.push(pki.tcb_signer.serial());
    }
    let root_crl = {
        let window = unless_expired(Fault::ExpiredRootCrl);
        pki.root.revocation_list(window, Scope::Everything, &root_revokes)
    };
    let pck_revokes = if has(Fault::RevokedPck) { vec![pki.pck.serial()] } else { Vec::new() };
    // Both PKIs use the same names, so a forged list differs by its signature only.
    let pck_crl_signer = if has(Fault::ForgedCrl) { &other.pck_ca } else { &pki.pck_ca };
    let pck_window = if has(Fault::FutureCrl) { future } else { unless_expired(Fault::ExpiredCrl) };
    let scope = if has(Fault::PartialCrl) { Scope::UserCertificates } else { Scope::Everything };
    let pck_crl = if has(Fault::MissingCrl) {
        Vec::new()
    } else if has(Fault::CrlOfOtherIssuer) {
        root_crl.clone()
    } else {
        pck_crl_signer.revocation_list(pck_window, scope, &pck_revokes)
    };

    // TCB info.
    let subject = TcbInfoSubject {
        id: if has(Fault::SgxTcbInfo) { "SGX" } else { "TDX" },
        fmspc: if has(Fault::WrongFmspc) { OTHER_FMSPC } else { FMSPC },
        pce_id: if has(Fault::WrongPceId) { [0, 1] } else { PCE_ID },
    };
    let tcb_window =
        if has(Fault::FutureTcbInfo) { future } else { unless_expired(Fault::ExpiredTcbInfo) };
    let mut tcb_info = tcb_info_json(subject, tcb_window);
    let tcb_issuer = if has(Fault::ForgedTcbInfo) { other } else { pki };
    let tcb_info_signature = tcb_issuer.tcb_signer.key.sign_raw(tcb_info.as_bytes());
    if has(Fault::TamperedTcbInfo) {
        tcb_info = tcb_info.replace("OutOfDate", "UpToDate");
    }

    // QE identity.
    let qe_id = if has(Fault::SgxQeIdentity) { "QE" } else { "TD_QE" };
    let qe_window = match has(Fault::FutureQeIdentity) {
        true => future,
        false => unless_expired(Fault::ExpiredQeIdentity),
    };
    let mut qe_identity = qe_identity_json(qe_id, qe_window);
    let qe_issuer = if has(Fault::ForgedQeIdentity) { other } else { pki };
    let qe_identity_signature = qe_issuer.tcb_signer.key.sign_raw(qe_identity.as_bytes());
    if has(Fault::TamperedQeIdentity) {
        qe_identity = qe_identity.replace("OutOfDate", "UpToDate");
    }

    json!({
        "pck_crl_issuer_chain": chain(&pki.pck_ca, &pki.root),
        "root_ca_crl": hex::encode(root_crl),
        "pck_crl": hex::encode(pck_crl),
        "tcb_info_issuer_chain": chain(&tcb_issuer.tcb_signer, &tcb_issuer.root),
        "tcb_info": tcb_info,
        "tcb_info_signature": hex::encode(tcb_info_signature),
        "qe_identity_issuer_chain": chain(&qe_issuer.tcb_signer, &qe_issuer.root),
        "qe_identity": qe_identity,
        "qe_identity_signature": hex::encode(qe_identity_signature),
    })
}

/// PEM of a certificate and of the root above it.
fn chain(leaf: &Identity, root: &Identity) -> String {
    leaf.pem() + &root.pem()
}
