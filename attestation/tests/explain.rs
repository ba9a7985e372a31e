//! A refusal is explained with every rung that fails, and never turned into anything else.

use adyton_attestation::evidence::nvidia_gpu::GpuEvidence;
use adyton_attestation::{
    EndorsementBundle, Evidence, Reason, ReportData, TrustAnchors, UnixTime, explain, explain_gpu,
    verify, verify_gpu,
};
use adyton_fake_tee::{
    FakeGpu, FakeKey, FakeProduct, FakeSnp, FakeTee, Fault, GpuFault, SnpFault, SnpProfile,
    TdProfile,
};

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

/// All reasons against an SNP report without certificates beside it, with one fault in the report and
/// one in the bundle, that is expected to sign other report data.
fn explained_snp(report: SnpFault, list: Option<SnpFault>) -> Vec<Reason> {
    let machine = FakeSnp::new(NOW, FakeProduct::Genoa, FakeKey::Vcek);
    let profile = SnpProfile::default();
    let evidence = match list {
        // With its certificate.
        Some(_) => Evidence::parse_kbs(
            adyton_attestation::Tee::Snp,
            &machine.evidence(&profile, REPORT_DATA, Some(report)),
        ),
        None => Evidence::parse_file(&machine.report(&profile, REPORT_DATA, Some(report))),
    };
    let evidence = evidence.expect("parses");
    let bundle = machine.endorsement_bundle(NOW, list).to_string();
    let bundle = EndorsementBundle::parse(bundle.as_bytes()).expect("a bundle");
    let anchors =
        TrustAnchors::vendor().with_insecure_extra_root(&machine.root_der()).expect("a root");
    let (expected, now) = (ReportData([0xee; 64]), UnixTime(NOW));
    let refusal = verify(&evidence, &bundle, &anchors, &expected, now).expect_err("refused");
    explain(&refusal, &evidence, &bundle, &anchors, &expected, now)
}

#[test]
fn three_defects_of_an_snp_guest_are_all_told() {
    assert_eq!(
        codes(&explained_snp(SnpFault::Debug, Some(SnpFault::ExpiredList))),
        ["snp.revocation.expired", "snp.policy.debug", "snp.report-data"]
    );
}

#[test]
fn rungs_of_the_report_are_told_without_any_certificate() {
    assert_eq!(
        codes(&explained_snp(SnpFault::Debug, None)),
        ["snp.key.missing", "snp.policy.debug", "snp.report-data"]
    );
}

#[test]
fn a_report_of_an_unknown_form_is_held_against_every_other_rung_as_well() {
    assert_eq!(
        codes(&explained_snp(SnpFault::ReservedPolicyBit, Some(SnpFault::RevokedAsk))),
        ["snp.report.reserved-bits", "snp.revocation.revoked", "snp.report-data"]
    );
}

#[test]
fn report_data_are_told_with_the_binding_that_was_expected_and_the_one_that_was_there() {
    let rcar = ReportData::from_runtime_data_digest(&[0x5a; 48]).0;
    let (_, reasons) = explained(&[], rcar);
    let [reason] = &reasons[..] else { panic!("{reasons:?}") };
    assert!(reason.expected.contains("as RCAR binds"), "{reason}");
    assert!(reason.got.contains("as the attestation endpoint or RA-TLS binds"), "{reason}");
    assert!(reason.remedy.contains("made for another"), "{reason}");

    let told = explained_snp(SnpFault::Debug, None);
    let told = told.iter().find(|reason| reason.code == "snp.report-data").expect("told");
    assert!(told.remedy.contains("an old answer"), "{told}");
}

#[test]
fn three_defects_of_a_device_are_all_told() {
    let gpu = FakeGpu::new(NOW);
    let (made_over, expected) = ([0x42; 32], [0x43; 32]);
    let json = gpu.evidence(made_over, Some(GpuFault::FlippedMeasurement));
    let device = GpuEvidence::parse_list(&json).expect("parses").remove(0);
    // Nobody trusts the simulated root here.
    let (anchors, now) = (TrustAnchors::vendor(), UnixTime(NOW));
    let refusal = verify_gpu(&device, &anchors, &expected, now).expect_err("refused");
    assert_eq!(
        codes(&explain_gpu(&refusal, &device, &anchors, &expected, now)),
        ["gpu.chain", "gpu.report.signature", "gpu.nonce"]
    );
}
