//! Certificates with one fault each, and the matrix of purposes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use adyton_fake_tee::{FakeTee, Fault, TdProfile};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, CustomExtension, KeyPair, PublicKeyData as _, date_time_ymd};
use serde_json::{Value, json};

use super::verify::{RaTlsError, RaTlsRules, verify_certificate};
use super::*;
use crate::attester::{Attester, AttesterError};
use crate::binding::{BindingLevel, ChannelBinding, ReportBinding};
use crate::challenge::Nonce;
use crate::endorsement::EndorsementBundle;
use crate::evidence::Tee;
use crate::limits::{MAX_RA_TLS_EXTENSION_LEN, MAX_RA_TLS_VALIDITY_SECONDS};
use crate::peer::{Expectations, ExpectedDigest, PeerTrust, PinnedInstance, Pins};
use crate::reference_value::ReferenceValues;
use crate::verifier::{TrustAnchors, VerifyError};

const NOW: UnixTime = UnixTime(1_800_000_000);
const HOUR: u64 = 3600;

fn tee() -> FakeTee {
    FakeTee::from_seed([7; 32], NOW.0)
}

fn trust() -> PeerTrust {
    let bundle = tee().endorsement_bundle(NOW.0, &[]).to_string();
    PeerTrust::strict(
        EndorsementBundle::parse(bundle.as_bytes()).unwrap(),
        TrustAnchors::vendor().with_insecure_extra_root(tee().root_pem().as_bytes()).unwrap(),
    )
}

/// A simulated TEE as a source of Evidence; with a log, as CoCo's is.
struct Machine(FakeTee, Vec<Fault>);

impl Attester for Machine {
    fn tee(&self) -> Tee {
        Tee::Tdx
    }

    fn name(&self) -> &'static str {
        "test"
    }

    fn collect(&self, report_data: &ReportData) -> Result<Value, AttesterError> {
        let profile = TdProfile::default().with_faults(&self.1);
        let mut evidence = self.0.primary_evidence(&profile, report_data.0, &self.1);
        evidence["cc_eventlog"] = json!(URL_SAFE_NO_PAD.encode([0; 100_000]));
        Ok(evidence)
    }
}

fn spki_sha256(key: &KeyPair) -> [u8; 32] {
    ring::digest::digest(&ring::digest::SHA256, &key.subject_public_key_info())
        .as_ref()
        .try_into()
        .unwrap()
}

fn binding(key: &KeyPair) -> RaTlsBinding {
    RaTlsBinding {
        spki_sha256: spki_sha256(key),
        not_before: UnixTime(NOW.0 - HOUR),
        not_after: UnixTime(NOW.0 + HOUR),
    }
}

fn extension(value: Vec<u8>) -> CustomExtension {
    CustomExtension::from_oid_content(&EXTENSION_OID, value)
}

/// A self-signed leaf of `key` with these dates and extensions.
fn leaf(key: &KeyPair, dates: &RaTlsBinding, extensions: Vec<CustomExtension>) -> Vec<u8> {
    let mut params = CertificateParams::default();
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(dates.not_before.0);
    params.not_after = epoch + Duration::from_secs(dates.not_after.0);
    params.custom_extensions = extensions;
    params.self_signed(key).unwrap().der().to_vec()
}

fn good_value(key: &KeyPair) -> Vec<u8> {
    extension_over(&binding(key), &Machine(tee(), vec![])).unwrap()
}

fn good(key: &KeyPair) -> Vec<u8> {
    leaf(key, &binding(key), vec![extension(good_value(key))])
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

fn verified(leaf: &[u8]) -> Result<RaTlsPeer, RaTlsError> {
    verify_certificate(leaf, &trust(), RaTlsRules::default(), NOW)
}

fn code(leaf: &[u8]) -> String {
    let reasons = verified(leaf).unwrap_err().reasons();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert!(!reasons[0].remedy.is_empty());
    reasons[0].code.clone().into_owned()
}

fn expectations() -> Expectations {
    let text = tee().reference_values(&TdProfile::default());
    Expectations::of_software(vec![ReferenceValues::parse_toml(&text).unwrap()])
}

#[test]
fn the_hash_input_is_the_documented_one() {
    let binding =
        RaTlsBinding { spki_sha256: [1; 32], not_before: UnixTime(2), not_after: UnixTime(3) };
    let mut input = Vec::new();
    let dates = [2_u64.to_be_bytes(), 3_u64.to_be_bytes()];
    for frame in [&b"adyton.ra-tls.v1"[..], &[1; 32], &dates[0], &dates[1]] {
        input.extend_from_slice(&u32::try_from(frame.len()).unwrap().to_be_bytes());
        input.extend_from_slice(frame);
    }
    let expected = ring::digest::digest(&ring::digest::SHA512, &input);
    assert_eq!(binding.report_data().0.as_slice(), expected.as_ref());
}

#[test]
fn an_issued_certificate_verifies_at_level_certificate_and_is_accepted() {
    let key = key();
    let peer = verified(&good(&key)).unwrap();
    assert_eq!(peer.level(), BindingLevel::Certificate);
    assert_eq!(peer.binding(), binding(&key));
    peer.appraise(&expectations(), NOW).unwrap();
}

#[test]
fn the_extension_is_a_json_record_of_the_conceptual_message_wrapper() {
    let value = good_value(&key());
    // UTF8String, long form.
    assert_eq!(value[..2], [0x0c, 0x82]);
    let record: Value = serde_json::from_slice(&value[4..]).unwrap();
    assert_eq!(record[0], "application/vnd.adyton.evidence+json");
    assert_eq!(record[2], 4);
    let payload = URL_SAFE_NO_PAD.decode(record[1].as_str().unwrap()).unwrap();
    let payload: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(payload["tee"], "tdx");
    assert_eq!(payload["evidence"]["cc_eventlog"], Value::Null, "logs do not fit");
    println!("extension with a TDX quote: {} bytes", value.len());
}

#[test]
fn a_certificate_without_twice_or_critically_with_the_extension_is_refused() {
    let key = key();
    let at = binding(&key);
    assert_eq!(code(&leaf(&key, &at, vec![])), "ra-tls.missing");
    let other = CustomExtension::from_oid_content(&[2, 23, 133, 5, 4, 8], good_value(&key));
    assert_eq!(code(&leaf(&key, &at, vec![other])), "ra-tls.missing");
    let twice = vec![extension(good_value(&key)), extension(good_value(&key))];
    assert_eq!(code(&leaf(&key, &at, twice)), "ra-tls.repeated");
    let mut critical = extension(good_value(&key));
    critical.set_criticality(true);
    assert_eq!(code(&leaf(&key, &at, vec![critical])), "ra-tls.critical");
}

#[test]
fn an_oversized_certificate_or_extension_is_refused_before_it_is_parsed() {
    assert!(matches!(
        verified(&vec![0x30; crate::limits::MAX_RA_TLS_CERTIFICATE_LEN + 1]),
        Err(RaTlsError::TooLong { .. })
    ));
    let key = key();
    let large = extension(vec![0; MAX_RA_TLS_EXTENSION_LEN + 1]);
    assert_eq!(code(&leaf(&key, &binding(&key), vec![large])), "ra-tls.extension-too-long");
    let largest = extension(vec![0; MAX_RA_TLS_EXTENSION_LEN]);
    assert_eq!(code(&leaf(&key, &binding(&key), vec![largest])), "ra-tls.extension");
    assert_eq!(code(b"no certificate"), "ra-tls.certificate");
}

#[test]
fn evidence_over_another_key_or_other_dates_is_refused() {
    let (key, other) = (key(), key());
    let refused = |leaf: &[u8]| match verified(leaf) {
        Err(RaTlsError::Verify(error)) => matches!(error, VerifyError::ReportData { .. }),
        outcome => panic!("{outcome:?}"),
    };
    // Somebody copies the extension into a certificate of his own key.
    assert!(refused(&leaf(&other, &binding(&other), vec![extension(good_value(&key))])));
    // A thief of the key gives the Evidence another life.
    let at = binding(&key);
    for stretched in [
        RaTlsBinding { not_after: UnixTime(at.not_after.0 + 1), ..at },
        RaTlsBinding { not_before: UnixTime(at.not_before.0 + 1), ..at },
    ] {
        assert!(refused(&leaf(&key, &stretched, vec![extension(good_value(&key))])));
    }
}

#[test]
fn dates_are_kept_and_long_validity_is_refused() {
    let key = key();
    let certificate = good(&key);
    let at =
        |now: u64| verify_certificate(&certificate, &trust(), RaTlsRules::default(), UnixTime(now));
    assert!(matches!(at(NOW.0 - HOUR - 1), Err(RaTlsError::NotYetValid { .. })));
    assert!(matches!(at(NOW.0 + HOUR + 1), Err(RaTlsError::Expired { .. })));
    at(NOW.0 + HOUR).unwrap();
    let strict = RaTlsRules { longest_validity_seconds: 2 * HOUR - 1 };
    assert!(matches!(
        verify_certificate(&certificate, &trust(), strict, NOW),
        Err(RaTlsError::Validity { got: 7200, limit: 7199 })
    ));
    // Honest Evidence over a whole year is refused all the same, and none is made.
    let year = RaTlsBinding { not_after: UnixTime(NOW.0 + 365 * 24 * HOUR), ..binding(&key) };
    let evidence = Machine(tee(), vec![]).collect(&year.report_data()).unwrap();
    let evidence = json!({ "quote": evidence["quote"] });
    let value = CertificateEvidence { tee: Tee::Tdx, evidence }.to_value().unwrap();
    assert_eq!(code(&leaf(&key, &year, vec![extension(value)])), "ra-tls.validity");
    assert!(year.not_after.0 - year.not_before.0 > MAX_RA_TLS_VALIDITY_SECONDS);
    for refused in [year, RaTlsBinding { not_after: UnixTime(0), ..binding(&key) }] {
        let issued = extension_over(&refused, &Machine(tee(), vec![]));
        assert!(matches!(issued, Err(IssueError::Validity)), "{issued:?}");
    }
}

#[test]
fn a_refused_rung_shows_its_own_reason() {
    let key = key();
    for (fault, rung) in [(Fault::DebugTd, "T9"), (Fault::OtherRoot, "T2")] {
        let value = extension_over(&binding(&key), &Machine(tee(), vec![fault])).unwrap();
        let refused = verified(&leaf(&key, &binding(&key), vec![extension(value)])).unwrap_err();
        let reasons = refused.reasons();
        assert_eq!(reasons[0].rung, rung, "{reasons:?}");
    }
}

/// No report data of one purpose are those of another, whatever the inputs have in common.
#[test]
fn evidence_made_for_one_purpose_never_serves_another() {
    let key = key();
    let (spki, nonce) = (spki_sha256(&key), Nonce::from_bytes([9; 32]));
    let endpoint = |channel| ReportBinding {
        nonce: &nonce,
        spki_sha256: spki,
        manifest_digest: [2; 32],
        config_digest: [3; 32],
        channel,
    };
    let rcar_key = crate::rcar::TeeKeyPair::generate().unwrap().public();
    let purposes = [
        ("endpoint, certificate", endpoint(ChannelBinding::Certificate).report_data()),
        ("endpoint, channel", endpoint(ChannelBinding::Exporter([4; 32])).report_data()),
        ("rcar", crate::rcar::canonical::primary_report_data(&nonce.to_base64url(), &rcar_key, "")),
        ("the key alone", ReportData::from_runtime_data_digest(&[0; 48])),
        ("ra-tls", binding(&key).report_data()),
    ];
    for (made_for, data) in &purposes {
        let evidence = tee().primary_evidence(&TdProfile::default(), data.0, &[]);
        let parsed = crate::Evidence::parse_kbs(Tee::Tdx, &evidence).unwrap();
        for (shown_for, expected) in &purposes {
            let trust = trust();
            let (endorsements, anchors) = (&trust.endorsements, &trust.anchors);
            let outcome = crate::verify(&parsed, endorsements, anchors, expected, NOW);
            assert_eq!(outcome.is_ok(), made_for == shown_for, "{made_for} for {shown_for}");
        }
        let value = CertificateEvidence { tee: Tee::Tdx, evidence }.to_value().unwrap();
        let outcome = verified(&leaf(&key, &binding(&key), vec![extension(value)]));
        assert_eq!(outcome.is_ok(), *made_for == "ra-tls", "{made_for} in a certificate");
    }
}

#[test]
fn each_way_of_being_no_wrapper_is_refused_as_what_it_is() {
    type Is = fn(&ExtensionError) -> bool;
    let utf8 =
        |text: &str| der::Encode::to_der(&der::asn1::Utf8StringRef::new(text).unwrap()).unwrap();
    let payload = URL_SAFE_NO_PAD.encode(r#"{"tee":"tdx","evidence":{}}"#);
    let record =
        |kind: &str, value: &str, rest: &str| utf8(&format!("[\"{kind}\",\"{value}\"{rest}]"));
    let good = record(MEDIA_TYPE, &payload, ",4");
    CertificateEvidence::parse(&good).unwrap();
    let mut printable = good.clone();
    printable[0] = 0x13;
    let mut longer = good.clone();
    longer.push(0);
    let is_der: Is = |error| matches!(error, ExtensionError::Der);
    let is_record: Is = |error| matches!(error, ExtensionError::Record(_));
    let is_base64: Is = |error| matches!(error, ExtensionError::Base64);
    let is_payload: Is = |error| matches!(error, ExtensionError::Payload(_));
    let message = |json: &str| record(MEDIA_TYPE, &URL_SAFE_NO_PAD.encode(json), ",4");
    let cases: Vec<(Vec<u8>, Is)> = vec![
        (Vec::new(), is_der),
        (good[..good.len() - 1].to_vec(), is_der),
        (printable, is_der),
        (longer, is_der),
        (vec![0x0c, 0x01, 0xff], is_der),
        (utf8("{}"), is_record),
        (record(MEDIA_TYPE, &payload, ""), is_record),
        (record(MEDIA_TYPE, &payload, ",4,5"), is_record),
        (record(MEDIA_TYPE, &payload, ",-1"), is_record),
        (record(MEDIA_TYPE, &payload, ",\"4\""), is_record),
        (record("text/plain", &payload, ",4"), |e| matches!(e, ExtensionError::MediaType { .. })),
        (record(MEDIA_TYPE, &payload, ",5"), |e| matches!(e, ExtensionError::Indicator { got: 5 })),
        (record(MEDIA_TYPE, &format!("{payload}="), ",4"), is_base64),
        (record(MEDIA_TYPE, "+/+/", ",4"), is_base64),
        (message("{"), is_payload),
        (message(r#"{"evidence":{}}"#), is_payload),
        (message(r#"{"tee":"sample","evidence":{}}"#), is_payload),
        (message(r#"{"tee":"tdx","evidence":{},"also":1}"#), is_payload),
    ];
    for (bytes, is) in cases {
        let refused = CertificateEvidence::parse(&bytes).unwrap_err();
        assert!(is(&refused), "{}: {refused:?}", String::from_utf8_lossy(&bytes));
    }
    let key = key();
    let empty = extension(message(r#"{"tee":"tdx","evidence":{}}"#));
    assert!(matches!(
        verified(&leaf(&key, &binding(&key), vec![empty])),
        Err(RaTlsError::Evidence(_))
    ));
}

#[test]
fn an_expectation_that_a_certificate_cannot_meet_is_a_reason_against() {
    let key = key();
    let exactly = ExpectedDigest::Exactly([0; 32]);
    let codes = |expectations: Expectations| -> Vec<String> {
        let refused = verified(&good(&key)).unwrap().appraise(&expectations, NOW).unwrap_err();
        refused.reasons.into_iter().map(|r| format!("{} {}", r.code, r.claim)).collect()
    };
    assert_eq!(
        codes(Expectations {
            manifest_digest: exactly,
            config_digest: exactly,
            minimum_model_version: 1,
            ..expectations()
        }),
        [
            "ra-tls.not-stated manifest_digest",
            "ra-tls.not-stated config_digest",
            "ra-tls.not-stated model.version"
        ]
    );
    let pins = Pins::OneOf(vec![PinnedInstance::ServingKey([0; 32])]);
    assert_eq!(codes(Expectations { pins, ..expectations() }), ["instance.serving-key instance"]);
}

#[test]
fn evidence_that_fits_into_no_certificate_is_not_issued() {
    struct Huge(AtomicBool);
    impl Attester for Huge {
        fn tee(&self) -> Tee {
            Tee::Tdx
        }
        fn name(&self) -> &'static str {
            "huge"
        }
        fn collect(&self, _: &ReportData) -> Result<Value, AttesterError> {
            self.0.store(true, Ordering::Relaxed);
            Ok(json!({ "quote": "A".repeat(MAX_RA_TLS_EXTENSION_LEN) }))
        }
    }
    let huge = Huge(AtomicBool::new(false));
    let issued = extension_over(&binding(&key()), &huge);
    assert!(matches!(issued, Err(IssueError::Extension(ExtensionError::TooLong { .. }))));
    assert!(huge.0.load(Ordering::Relaxed));
}
