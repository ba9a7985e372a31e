//! What the parsers of Evidence and Endorsements read, and what each refuses, by its variant.

use std::sync::LazyLock;

use adyton_attestation::evidence::tdx::{EventLog, QuoteVersion};
use adyton_attestation::evidence::{EvidenceError, UnsupportedTee};
use adyton_attestation::limits::{MAX_EVENT_LOG_LEN, MAX_EVIDENCE_FILE_LEN, MAX_QUOTE_LEN};
use adyton_attestation::{
    AnchorError, EndorsementBundle, EndorsementError, Evidence, Tee, TrustAnchors,
};
use adyton_fake_tee::{FakeTee, QuoteFormat, TdProfile};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

const NOW: u64 = 1_800_000_000;

static TEE: LazyLock<FakeTee> = LazyLock::new(|| FakeTee::from_seed([5; 32], NOW));

fn quote(format: QuoteFormat) -> Vec<u8> {
    TEE.quote(&TdProfile { format, ..TdProfile::default() }, [0x5a; 64])
}

fn refusal(bytes: &[u8]) -> EvidenceError {
    Evidence::parse_file(bytes).map(|_| ()).expect_err("refused")
}

fn kbs_refusal(value: &Value) -> EvidenceError {
    Evidence::parse_kbs(Tee::Tdx, value).map(|_| ()).expect_err("refused")
}

fn with(mut bytes: Vec<u8>, at: usize, new: &[u8]) -> Vec<u8> {
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

#[test]
fn each_quote_format_is_read_as_what_it_is() {
    for (format, version, has_td15) in [
        (QuoteFormat::V4, QuoteVersion::V4, false),
        (QuoteFormat::V5Td10, QuoteVersion::V5, false),
        (QuoteFormat::V5Td15, QuoteVersion::V5, true),
    ] {
        let bytes = quote(format);
        let Ok(Evidence::Tdx(evidence)) = Evidence::parse_file(&bytes) else { panic!("a quote") };
        assert_eq!(evidence.quote().version, version);
        assert_eq!(evidence.quote().body.generation.td15().is_some(), has_td15);
        assert_eq!(evidence.raw(), bytes);
        assert_eq!(evidence.event_log(), &EventLog::Absent);
    }
}

#[test]
fn one_quote_is_the_same_in_every_wrapping() {
    let bytes = quote(QuoteFormat::V4);
    let kbs = json!({ "cc_eventlog": null, "quote": STANDARD.encode(&bytes) });
    let report = json!({ "version": 1, "tee": "tdx", "evidence": kbs });
    let hex_text = hex::encode(&bytes);
    for wrapped in [
        bytes.clone(),
        hex_text.clone().into_bytes(),
        format!("0x{hex_text}\n").into_bytes(),
        kbs.to_string().into_bytes(),
        report.to_string().into_bytes(),
    ] {
        let Ok(Evidence::Tdx(evidence)) = Evidence::parse_file(&wrapped) else {
            panic!("{}", String::from_utf8_lossy(&wrapped[..40]))
        };
        assert_eq!(evidence.raw(), bytes);
    }
}

#[test]
fn a_quote_cut_inside_any_field_names_the_field() {
    // The last byte of each field of a version 4 quote, by offset.
    for (len, field) in [
        (0, "version"),
        (1, "version"),
        (3, "attestation key type"),
        (7, "TEE type"),
        (9, "QE SVN"),
        (11, "PCE SVN"),
        (27, "QE vendor id"),
        (47, "user data"),
        (63, "TEE_TCB_SVN"),
        (111, "MRSEAM"),
        (159, "MRSIGNERSEAM"),
        (167, "SEAMATTRIBUTES"),
        (175, "TDATTRIBUTES"),
        (183, "XFAM"),
        (231, "MRTD"),
        (279, "MRCONFIGID"),
        (327, "MROWNER"),
        (375, "MROWNERCONFIG"),
        (423, "RTMR0"),
        (471, "RTMR1"),
        (519, "RTMR2"),
        (567, "RTMR3"),
        (631, "REPORTDATA"),
        (635, "signature length"),
        (1000, "signature"),
    ] {
        let refusal = refusal(&quote(QuoteFormat::V4)[..len]);
        let EvidenceError::Truncated { field: got, .. } = refusal else { panic!("{refusal:?}") };
        assert_eq!(got, field, "cut to {len} bytes");
    }
}

#[test]
fn lengths_that_lie_are_refused_before_anything_is_copied() {
    let huge = u32::MAX.to_le_bytes();
    let v4 = quote(QuoteFormat::V4);
    // Signature length, outer and inner certification data, QE authentication data.
    let auth_len = usize::from(u16::from_le_bytes([v4[1218], v4[1219]]));
    for (at, field) in [
        (632, "signature"),
        (766, "certification data"),
        (1220 + auth_len + 2, "PCK certification data"),
    ] {
        let refusal = refusal(&with(v4.clone(), at, &huge));
        let EvidenceError::Truncated { field: got, needed, .. } = refusal else {
            panic!("{refusal:?}")
        };
        assert_eq!((got, needed), (field, 0xffff_ffff));
    }
    let refusal = refusal(&with(v4.clone(), 1218, &[0xff, 0xff]));
    let EvidenceError::Truncated { field, .. } = refusal else { panic!("{refusal:?}") };
    assert_eq!(field, "QE authentication data");
}

#[test]
fn bytes_left_inside_a_structure_are_refused() {
    let v4 = quote(QuoteFormat::V4);
    let length = u32::from_le_bytes([v4[632], v4[633], v4[634], v4[635]]);
    let mut longer = with(v4, 632, &(length + 1).to_le_bytes());
    longer.push(0);
    assert_eq!(refusal(&longer), EvidenceError::Leftover { structure: "signature", left: 1 });
}

#[test]
fn unknown_types_inside_a_quote_are_refused() {
    let v5 = quote(QuoteFormat::V5Td15);
    assert_eq!(refusal(&with(v5.clone(), 48, &[1, 0])), EvidenceError::BodyType { got: 1 });
    assert_eq!(refusal(&with(v5.clone(), 48, &[5, 0])), EvidenceError::BodyType { got: 5 });
    assert_eq!(
        refusal(&with(v5, 50, &584_u32.to_le_bytes())),
        EvidenceError::BodySize { body_type: 3, expected: 648, got: 584 }
    );
    let v4 = quote(QuoteFormat::V4);
    assert_eq!(
        refusal(&with(v4.clone(), 764, &[5, 0])),
        EvidenceError::CertificationType { what: "certification data", expected: 6, got: 5 }
    );
    // Encrypted PPID in place of a chain: nothing to verify with.
    let auth_len = usize::from(u16::from_le_bytes([v4[1218], v4[1219]]));
    assert_eq!(
        refusal(&with(v4, 1220 + auth_len, &[3, 0])),
        EvidenceError::CertificationType { what: "PCK certification data", expected: 5, got: 3 }
    );
}

#[test]
fn sizes_are_counted_before_anything_is_parsed() {
    let mut padded = quote(QuoteFormat::V4);
    padded.resize(MAX_QUOTE_LEN, 0);
    assert!(Evidence::parse_file(&padded).is_ok());
    padded.push(0);
    assert_eq!(
        refusal(&padded),
        EvidenceError::TooLarge { what: "quote", got: MAX_QUOTE_LEN + 1, limit: MAX_QUOTE_LEN }
    );
    let file = vec![b'{'; MAX_EVIDENCE_FILE_LEN + 1];
    assert!(matches!(refusal(&file), EvidenceError::TooLarge { what: "Evidence file", .. }));
    let log = STANDARD.encode(vec![0; MAX_EVENT_LOG_LEN + 1]);
    let quote = STANDARD.encode(quote(QuoteFormat::V4));
    assert!(matches!(
        kbs_refusal(&json!({ "cc_eventlog": log, "quote": quote })),
        EvidenceError::TooLarge { what: "cc_eventlog", .. }
    ));
}

#[test]
fn kbs_evidence_is_read_as_the_protocol_says() {
    let bytes = quote(QuoteFormat::V4);
    let quote = STANDARD.encode(&bytes);
    let value = json!({ "cc_eventlog": STANDARD.encode("log"), "quote": quote, "later": 1 });
    let Ok(Evidence::Tdx(evidence)) = Evidence::parse_kbs(Tee::Tdx, &value) else {
        panic!("evidence")
    };
    assert_eq!(evidence.event_log(), &EventLog::Present(b"log".to_vec()));

    for (value, what) in [
        (json!(null), "quote"),
        (json!({ "cc_eventlog": null }), "quote"),
        (json!({ "quote": 7 }), "quote"),
        (json!({ "quote": URL_SAFE_NO_PAD.encode([0xff; 100]) }), "quote"),
        (json!({ "quote": quote, "cc_eventlog": 7 }), "cc_eventlog"),
        (json!({ "quote": quote, "cc_eventlog": "?" }), "cc_eventlog"),
    ] {
        let refusal = kbs_refusal(&value);
        let EvidenceError::Encoding { what: got, .. } = refusal else { panic!("{refusal:?}") };
        assert_eq!(got, what);
    }
}

#[test]
fn sample_evidence_has_no_way_in() {
    for name in ["sample", "sampledevice", "nvidia", "", "TDX"] {
        let refusal = name.parse::<Tee>().expect_err("not supported");
        assert_eq!(refusal, UnsupportedTee { name: name.to_owned() });
        assert!(refusal.to_string().ends_with("supported: tdx, snp, az-snp-vtpm, az-tdx-vtpm"));
    }
    let report = json!({ "tee": "sample", "evidence": { "svn": "1", "report_data": "" } });
    assert!(matches!(refusal(report.to_string().as_bytes()), EvidenceError::Tee(_)));
    assert!(serde_json::from_str::<Tee>("\"sample\"").is_err());
    assert_eq!(serde_json::to_string(&Tee::Tdx).expect("a string"), "\"tdx\"");
}

// ---- Endorsements ----

fn bundle_refusal(value: &Value) -> EndorsementError {
    EndorsementBundle::parse(value.to_string().as_bytes()).expect_err("refused")
}

#[test]
fn a_bundle_is_read_in_both_forms() {
    let bare = TEE.collateral(NOW, &[]);
    let whole = json!({ "version": 1, "tdx": [bare, bare] });
    for (value, len) in [(bare, 1), (whole, 2), (json!({ "version": 1, "tdx": [] }), 0)] {
        let bundle = EndorsementBundle::parse(value.to_string().as_bytes()).expect("a bundle");
        assert_eq!(bundle.len(), len);
        assert!(bundle.entries().all(|entry| entry.fmspc().0 == TEE.fmspc() && entry.is_tdx()));
    }
    assert!(EndorsementBundle::empty().is_empty());
}

#[test]
fn a_bundle_that_is_not_one_is_refused_by_its_member() {
    let sound = TEE.collateral(NOW, &[]);
    let changed = |member: &str, value: &str| {
        let mut collateral = sound.clone();
        collateral[member] = value.into();
        bundle_refusal(&collateral)
    };
    assert!(matches!(
        bundle_refusal(&json!({ "version": 3 })),
        EndorsementError::Version { got: 3 }
    ));
    assert!(matches!(
        bundle_refusal(&json!({ "version": 1, "snp": [] })),
        EndorsementError::Json(_)
    ));
    assert!(matches!(bundle_refusal(&json!([])), EndorsementError::Json(_)));
    for (member, value) in [
        ("pck_crl", "xy"),
        ("tcb_info_signature", "0"),
        ("tcb_info", "{}"),
        ("qe_identity", "not JSON"),
    ] {
        let refusal = changed(member, value);
        let EndorsementError::Member { member: got, .. } = refusal else { panic!("{refusal:?}") };
        assert_eq!(got, member);
    }
    let long = "a".repeat(40_000);
    assert!(matches!(
        changed("tcb_info_issuer_chain", &long),
        EndorsementError::TooLarge { what: "tcb_info_issuer_chain", .. }
    ));
    let mut unknown = sound.clone();
    unknown["more"] = 1.into();
    assert!(matches!(bundle_refusal(&unknown), EndorsementError::Json(_)));
}

#[test]
fn dates_that_are_none_are_refused() {
    let mut collateral = TEE.collateral(NOW, &[]);
    let text = collateral["tcb_info"].as_str().expect("text");
    let mut info: Value = serde_json::from_str(text).expect("JSON");
    info["nextUpdate"] = "soon".into();
    collateral["tcb_info"] = info.to_string().into();
    assert!(matches!(
        bundle_refusal(&collateral),
        EndorsementError::Member { member: "tcb_info", .. }
    ));
}

// ---- Trust anchors ----

#[test]
fn an_anchor_is_read_as_pem_and_as_der() {
    let pem = TrustAnchors::vendor().with_insecure_extra_root(TEE.root_pem().as_bytes());
    let der = TrustAnchors::vendor().with_insecure_extra_root(TEE.root_der());
    assert_eq!(pem.expect("PEM").insecure_extra_roots(), der.expect("DER").insecure_extra_roots());
    assert!(TrustAnchors::vendor().insecure_extra_roots().is_empty());
}

#[test]
fn a_file_that_is_no_certificate_is_no_anchor() {
    let refusal = TrustAnchors::vendor().with_insecure_extra_root(b"root").expect_err("text");
    assert!(matches!(refusal, AnchorError::Certificate(_)));
    let long = vec![0x30; 20_000];
    let refusal = TrustAnchors::vendor().with_insecure_extra_root(&long).expect_err("long");
    assert!(matches!(refusal, AnchorError::TooLarge { .. }));
}
