//! A refusal is explained with every rung that fails, and never turned into anything else.

use adyton_attestation::{
    EndorsementBundle, Evidence, Reason, ReportData, TrustAnchors, UnixTime, explain, verify,
};
use adyton_fake_tee::{FakeTee, Fault, TdProfile};

const NOW: u64 = 1_800_000_000;
const REPORT_DATA: [u8; 64] = [0x5a; 64];

/// The refusal's own code and all reasons, for Evidence with these faults that is expected to sign
/// `expected`.
fn explained(faults: &[Fault], expected: [u8; 64]) -> (String, Vec<Reason>) {
    let tee = FakeTee::from_seed([7; 32], NOW);
    let profile = TdProfile::default().with_faults(faults);
    let quote = tee.faulty_quote(&profile, REPORT_DATA, faults);
    let evidence = Evidence::parse_file(&quote).expect("parses");
    let bundle = tee.endorsement_bundle(NOW, faults).to_string();
    let bundle = EndorsementBundle::parse(bundle.as_bytes()).expect("a bundle");
    let anchors =
        TrustAnchors::vendor().with_insecure_extra_root(tee.root_pem().as_bytes()).expect("a root");
    let (expected, now) = (ReportData(expected), UnixTime(NOW));
    let refusal = verify(&evidence, &bundle, &anchors, &expected, now).expect_err("refused");
    let own = refusal.reasons().first().expect("a reason").code.to_string();
    (own, explain(&refusal, &evidence, &bundle, &anchors, &expected, now))
}

fn codes(reasons: &[Reason]) -> Vec<&str> {
    reasons.iter().map(|reason| reason.code.as_ref()).collect()
}

#[test]
fn every_failing_rung_is_told_and_the_refusals_own_comes_first() {
    let faults = [Fault::RevokedPck, Fault::ExpiredQeIdentity, Fault::DebugTd];
    let (own, reasons) = explained(&faults, [0xee; 64]);
    assert_eq!(own, "tdx.revocation.revoked");
    assert_eq!(
        codes(&reasons),
        [
            "tdx.revocation.revoked",
            "tdx.qe-identity.expired",
            "tdx.td-attributes.debug",
            "tdx.report-data",
        ]
    );
}

#[test]
fn a_single_fault_is_told_once() {
    for (fault, code) in [
        (Fault::DebugTd, "tdx.td-attributes.debug"),
        (Fault::BadQuoteSignature, "tdx.quote.signature"),
        (Fault::ExpiredTcbInfo, "tdx.tcb-info.expired"),
    ] {
        assert_eq!(codes(&explained(&[fault], REPORT_DATA).1), [code], "{fault}");
    }
}

#[test]
fn other_report_data_alone_are_told_once() {
    assert_eq!(codes(&explained(&[], [0xee; 64]).1), ["tdx.report-data"]);
}

#[test]
fn rungs_of_the_quote_are_told_without_any_endorsements() {
    let (own, reasons) = explained(&[Fault::WrongFmspc, Fault::DebugTd], [0xee; 64]);
    assert_eq!(own, "tdx.endorsements.missing");
    assert_eq!(
        codes(&reasons),
        ["tdx.endorsements.missing", "tdx.td-attributes.debug", "tdx.report-data"]
    );
}
