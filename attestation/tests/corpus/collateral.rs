//! Intel's collateral as an attacker without keys has it: documents, signatures, chains, lists.

use adyton_attestation::{Evidence, ReportData};
use adyton_fake_tee::{FakeTee, TdProfile};

use crate::NOW;
use crate::case::{Coverage, Expected, Judge, UNREADABLE, bundle, judged, run_bytes};

const TCB_INFO: &[&str] = &[
    UNREADABLE,
    "tdx.endorsements.missing",
    "tdx.tcb-info.kind",
    "tdx.tcb-info.expired",
    "tdx.tcb-info.not-yet-valid",
    "tdx.tcb-info.pce-id",
    "tdx.tcb-info.signature",
];
const QE_IDENTITY: &[&str] = &[
    UNREADABLE,
    "tdx.qe-identity.kind",
    "tdx.qe-identity.expired",
    "tdx.qe-identity.not-yet-valid",
    "tdx.qe-identity.mismatch",
    "tdx.qe-identity.signature",
];
const LIST: &[&str] = &[
    "tdx.revocation.missing",
    "tdx.revocation.issuer",
    "tdx.revocation.signature",
    "tdx.revocation.not-yet-valid",
    "tdx.revocation.expired",
    "tdx.revocation.profile",
    "tdx.revocation.revoked",
];

/// How a member of `QuoteCollateralV3` is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Hex,
    /// PEM, of which the last byte means nothing: a line feed or a NUL.
    Pem,
}

#[test]
fn every_defect_in_collateral_is_refused_with_a_code_of_its_member() {
    let tee = FakeTee::from_seed([23; 32], NOW);
    let sound = tee.collateral(NOW, &[]);
    let quote = tee.quote(&TdProfile::default(), [3; 64]);
    let judge = Judge::of(tee.root_der());
    for (kind, member, form, codes) in [
        ("TCB info", "tcb_info", Form::Text, TCB_INFO),
        ("QE identity", "qe_identity", Form::Text, QE_IDENTITY),
        ("signature of the TCB info", "tcb_info_signature", Form::Hex, &["tdx.tcb-info.signature"]),
        (
            "signature of the QE identity",
            "qe_identity_signature",
            Form::Hex,
            &["tdx.qe-identity.signature"],
        ),
        ("root CRL", "root_ca_crl", Form::Hex, LIST),
        ("PCK CRL", "pck_crl", Form::Hex, LIST),
        ("chain of the TCB info", "tcb_info_issuer_chain", Form::Pem, &["tdx.tcb-info.signer"]),
        (
            "chain of the QE identity",
            "qe_identity_issuer_chain",
            Form::Pem,
            &["tdx.qe-identity.signer"],
        ),
    ] {
        let text = sound[member].as_str().expect("text");
        let bytes = match form {
            Form::Text | Form::Pem => text.as_bytes().to_vec(),
            Form::Hex => hex::decode(text).expect("hex"),
        };
        let last = bytes.len() - 1;
        let field = judged(kind, 0..bytes.len(), move |at, new| {
            if form == Form::Pem && at == last && new == 0 {
                return Expected::Claim;
            }
            Expected::Refused(codes)
        });
        run_bytes(kind, &bytes, Coverage::Whole, &[field], |bytes| {
            let mut collateral = sound.clone();
            collateral[member] = match form {
                Form::Hex => hex::encode(bytes).into(),
                // JSON is text: what is none is refused before it is anybody's member.
                Form::Text | Form::Pem => match std::str::from_utf8(bytes) {
                    Ok(text) => text.into(),
                    Err(_) => return Err(codes[0].to_owned()),
                },
            };
            let endorsements = bundle(&collateral.to_string())?;
            let evidence = Evidence::parse_file(&quote);
            judge.judge(evidence, &endorsements, &ReportData([3; 64]))
        });
    }
}
