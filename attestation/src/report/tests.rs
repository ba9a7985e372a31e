//! Reports of a fake TEE: what verifies, and each fault at its step.

use adyton_fake_tee::{FakeTee, Fault, TdProfile};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::endorsement::EndorsementBundle;
use crate::verifier::TrustAnchors;

const NOW: u64 = 1_800_000_000;
const SPKI: [u8; 32] = [1; 32];
const EXPORTER: [u8; 32] = [4; 32];

fn tee() -> FakeTee {
    FakeTee::from_seed([6; 32], NOW)
}

fn nonce() -> Nonce {
    Nonce::from_bytes([0xfe; 32])
}

/// The report of a sidecar that serves with the key `SPKI`.
fn report(channel: ChannelBinding) -> AttestationReport {
    let nonce = nonce();
    let binding = ReportBinding {
        nonce: &nonce,
        spki_sha256: SPKI,
        manifest_digest: [2; 32],
        config_digest: [3; 32],
        channel,
    };
    let data = binding.report_data().0;
    AttestationReport {
        version: REPORT_VERSION,
        tee: Tee::Tdx,
        nonce: nonce.to_base64url(),
        binding: channel.level(),
        evidence: tee().primary_evidence(&TdProfile::default(), data, &[]),
        spki_sha256: SPKI,
        manifest_digest: [2; 32],
        config_digest: [3; 32],
        model: ReportedModel {
            name: "kjv".to_owned(),
            version: 1,
            id: "00".repeat(16),
            kid: "kbs:///acme/model-key/kjv?epoch=1".to_owned(),
        },
        protections: Protections {
            key_memory: KeyMemory::MemfdSecret,
            dumpable: false,
            core_files: false,
            swap: false,
        },
        phase: "ready".to_owned(),
        insecure: Vec::new(),
        software: "adyton-sidecar 0.1.0".to_owned(),
    }
}

fn verified(
    report: &AttestationReport,
    exporter: Option<[u8; 32]>,
) -> Result<VerifiedReport, ReportError> {
    let bundle = tee().endorsement_bundle(NOW, &[]).to_string();
    let bundle = EndorsementBundle::parse(bundle.as_bytes()).unwrap();
    let anchors = TrustAnchors::vendor().with_insecure_extra_root(tee().root_der()).unwrap();
    let trust = PeerTrust::strict(bundle, anchors);
    verify_report(report, &nonce(), SPKI, exporter, &trust, UnixTime(NOW))
}

fn is_other_report_data(result: &Result<VerifiedReport, ReportError>) -> bool {
    let Err(ReportError::Verify { source, .. }) = result else { return false };
    matches!(**source, VerifyError::ReportData { .. })
}

#[test]
fn a_report_verifies_at_the_level_that_was_asked_for() {
    let certificate = verified(&report(ChannelBinding::Certificate), None).unwrap();
    assert_eq!(certificate.level(), BindingLevel::Certificate);
    let channel = verified(&report(ChannelBinding::Exporter(EXPORTER)), Some(EXPORTER)).unwrap();
    assert_eq!(channel.level(), BindingLevel::Channel);
    assert!(matches!(channel.into_verified().get(), Claims::Tdx(_)));
}

#[test]
fn a_report_survives_the_wire_in_its_documented_form() {
    let report = report(ChannelBinding::Exporter(EXPORTER));
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(AttestationReport::parse(text.as_bytes()).unwrap(), report);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["binding"], "channel");
    assert_eq!(value["tee"], "tdx");
    assert_eq!(value["spki_sha256"], "01".repeat(32));
    assert_eq!(value["protections"]["key_memory"], "memfd_secret");
    assert_eq!(value["nonce"].as_str().unwrap().len(), 43);
}

#[test]
fn an_answer_to_another_nonce_is_refused() {
    let mut replayed = report(ChannelBinding::Certificate);
    replayed.nonce = Nonce::from_bytes([7; 32]).to_base64url();
    assert!(matches!(verified(&replayed, None), Err(ReportError::Nonce)));
    // The same bytes in another encoding are refused too: one form, one comparison.
    replayed.nonce = nonce().to_base64();
    assert!(matches!(verified(&replayed, None), Err(ReportError::Nonce)));
}

#[test]
fn old_evidence_under_a_new_nonce_is_refused() {
    let mut stale = report(ChannelBinding::Certificate);
    let old = ReportBinding {
        nonce: &Nonce::from_bytes([7; 32]),
        spki_sha256: SPKI,
        manifest_digest: [2; 32],
        config_digest: [3; 32],
        channel: ChannelBinding::Certificate,
    };
    let data = old.report_data().0;
    stale.evidence = tee().primary_evidence(&TdProfile::default(), data, &[]);
    assert!(is_other_report_data(&verified(&stale, None)));
}

#[test]
fn a_report_for_another_serving_key_is_refused() {
    let mut other = report(ChannelBinding::Certificate);
    other.spki_sha256 = [9; 32];
    let refused = verified(&other, None);
    assert!(matches!(
        &refused,
        Err(ReportError::ServingKey { expected, got })
            if *expected == "01".repeat(32) && *got == "09".repeat(32)
    ));
}

#[test]
fn a_report_of_another_level_is_refused() {
    let certificate = report(ChannelBinding::Certificate);
    assert!(matches!(
        verified(&certificate, Some(EXPORTER)),
        Err(ReportError::Level { asked: BindingLevel::Channel, got: BindingLevel::Certificate })
    ));
    let channel = report(ChannelBinding::Exporter(EXPORTER));
    assert!(matches!(
        verified(&channel, None),
        Err(ReportError::Level { asked: BindingLevel::Certificate, got: BindingLevel::Channel })
    ));
}

#[test]
fn a_relayed_report_is_refused_at_level_channel() {
    let relayed = report(ChannelBinding::Exporter([5; 32]));
    assert!(is_other_report_data(&verified(&relayed, Some(EXPORTER))));
    let mut renamed = report(ChannelBinding::Certificate);
    renamed.binding = BindingLevel::Channel;
    assert!(is_other_report_data(&verified(&renamed, Some(EXPORTER))));
}

#[test]
fn changed_digests_are_refused() {
    let mut changed = report(ChannelBinding::Certificate);
    changed.manifest_digest = [9; 32];
    assert!(is_other_report_data(&verified(&changed, None)));
    let mut changed = report(ChannelBinding::Certificate);
    changed.config_digest = [9; 32];
    assert!(is_other_report_data(&verified(&changed, None)));
}

#[test]
fn evidence_made_for_rcar_is_no_report() {
    let key = crate::rcar::TeeKeyPair::generate().unwrap().public();
    let data = crate::rcar::canonical::primary_report_data(&nonce().to_base64url(), &key, "");
    let mut other = report(ChannelBinding::Certificate);
    other.evidence = tee().primary_evidence(&TdProfile::default(), data.0, &[]);
    assert!(is_other_report_data(&verified(&other, None)));
}

#[test]
fn a_report_from_an_unknown_root_is_refused() {
    let bundle = tee().endorsement_bundle(NOW, &[]).to_string();
    let bundle = EndorsementBundle::parse(bundle.as_bytes()).unwrap();
    let report = report(ChannelBinding::Certificate);
    let vendor = PeerTrust::strict(bundle, TrustAnchors::vendor());
    let refused = verify_report(&report, &nonce(), SPKI, None, &vendor, UnixTime(NOW));
    let Err(ReportError::Verify { source, told }) = refused else { panic!("{refused:?}") };
    assert!(matches!(*source, VerifyError::PckChain { .. }), "{source:?}");
    // A caller reads all that is wrong: nothing of it leads to the vendor's root.
    let codes: Vec<&str> = told.iter().map(|reason| reason.code.as_ref()).collect();
    assert_eq!(codes[0], "tdx.pck-chain");
    assert!(codes.contains(&"tdx.tcb-info.signer") && codes.contains(&"tdx.qe-identity.signer"));
}

#[test]
fn a_debuggable_td_is_refused() {
    let good = report(ChannelBinding::Certificate);
    let data = Evidence::parse_kbs(Tee::Tdx, &good.evidence).unwrap().report_data();
    let profile = TdProfile::default().with_faults(&[Fault::DebugTd]);
    let mut debug = good;
    debug.evidence = tee().primary_evidence(&profile, data.0, &[]);
    let Err(ReportError::Verify { source: error, .. }) = verified(&debug, None) else {
        panic!("a debuggable TD was accepted");
    };
    assert_eq!(error.rung(), "T9");
}

#[test]
fn another_version_is_refused_before_its_members() {
    let body = br#"{"version":2,"something":"else"}"#;
    assert!(matches!(AttestationReport::parse(body), Err(ReportError::Version { got: 2 })));
    let mut other = report(ChannelBinding::Certificate);
    other.version = 0;
    assert!(matches!(verified(&other, None), Err(ReportError::Version { got: 0 })));
}

#[test]
fn malformed_reports_are_refused() {
    let good = serde_json::to_value(report(ChannelBinding::Certificate)).unwrap();
    for (member, value) in [
        ("spki_sha256", json!("01")),
        ("spki_sha256", json!("zz".repeat(32))),
        ("manifest_digest", json!("01".repeat(33))),
        ("config_digest", Value::Null),
        ("binding", json!("exporter")),
        ("binding", json!("Channel")),
        ("tee", json!("sample")),
        ("nonce", json!(1)),
        ("insecure", json!("")),
    ] {
        let mut changed = good.clone();
        changed[member] = value;
        let refused = AttestationReport::parse(changed.to_string().as_bytes());
        assert!(matches!(refused, Err(ReportError::Json(_))), "{member}: {refused:?}");
    }
    let mut changed = report(ChannelBinding::Certificate);
    changed.evidence = json!({ "quote": "" });
    assert!(matches!(verified(&changed, None), Err(ReportError::Evidence(_))));
}

#[test]
fn a_report_beyond_the_bound_is_not_parsed() {
    let body = vec![b' '; MAX_EVIDENCE_FILE_LEN + 1];
    assert!(matches!(AttestationReport::parse(&body), Err(ReportError::TooLong { .. })));
    // Within the length, and a hundred times that in memory.
    let objects = vec!["{}"; crate::rcar::limits::MAX_CONTAINERS].join(",");
    let mut report = serde_json::to_value(report(ChannelBinding::Certificate)).unwrap();
    report["evidence"] = serde_json::from_str(&format!("[{objects}]")).unwrap();
    let refused = AttestationReport::parse(report.to_string().as_bytes());
    assert!(matches!(refused, Err(ReportError::TooManyMembers { .. })));
}

#[test]
fn every_refusal_has_a_reason_with_a_remedy() {
    let refusals = [
        ReportError::TooLong { got: 2, limit: 1 },
        ReportError::TooManyMembers { got: 2, limit: 1 },
        AttestationReport::parse(b"{").unwrap_err(),
        ReportError::Version { got: 2 },
        ReportError::Nonce,
        ReportError::ServingKey { expected: "a".to_owned(), got: "b".to_owned() },
        ReportError::Level { asked: BindingLevel::Channel, got: BindingLevel::Certificate },
        verified(&report(ChannelBinding::Exporter([5; 32])), Some(EXPORTER)).unwrap_err(),
    ];
    for refusal in refusals {
        let reasons = refusal.reasons();
        assert!(!reasons.is_empty());
        for reason in reasons {
            assert!(!reason.code.is_empty() && !reason.remedy.is_empty(), "{reason}");
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bodies_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = AttestationReport::parse(&bytes);
        let mut framed = br#"{"version":1,"nonce":""#.to_vec();
        framed.extend_from_slice(&bytes);
        let _ = AttestationReport::parse(&framed);
    }
}
