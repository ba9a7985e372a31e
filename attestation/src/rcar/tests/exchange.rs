//! Both sides of RCAR against each other, and each step refusing one fault.

use adyton_fake_tee::{FakeGpu, FakeTee, TdProfile};
use serde_json::{Value, json};

use super::pair;
use crate::challenge::Nonce;
use crate::evidence::{EvidenceError, Tee, UnsupportedTee};
use crate::rcar::canonical::{device_runtime_data, primary_runtime_data};
use crate::rcar::limits::{MAX_CONTAINERS, MAX_ELEMENTS, MAX_NONCE_TEXT};
use crate::rcar::{
    AttestResponse, Attestation, AwaitingAttestation, ChallengeMessage, InitData, JweExtras,
    RcarClient, RcarError, Request, ResourcePath, jwe, on_request,
};
use crate::{ReportData, TrustAnchors, UnixTime, VerifyError, verify};

const NOW: u64 = 1_800_000_000;

fn tee() -> FakeTee {
    FakeTee::from_seed([3; 32], NOW)
}

fn evidence(report_data: &ReportData) -> Value {
    tee().primary_evidence(&TdProfile::default(), report_data.0, &[])
}

fn nonce() -> Nonce {
    Nonce::from_bytes([0xfb; 32])
}

/// A Request of ours, the Challenge to it, and both sides' states.
fn challenged() -> (ChallengeMessage, AwaitingAttestation, super::super::AwaitingChallenge) {
    let (request, client) = RcarClient::start(Tee::Tdx);
    let (challenge, server) = on_request(&request, nonce()).unwrap();
    (challenge, server, client)
}

/// A sound Attestation and the server that awaits it.
fn attestation() -> (Attestation, AwaitingAttestation) {
    let (challenge, server, client) = challenged();
    let (report_data, client) = client.on_challenge(&challenge, pair().0).unwrap();
    let (attestation, _) = client.with_evidence(evidence(&report_data));
    (attestation, server)
}

/// What the peer would have received.
fn over_the_wire(attestation: &Attestation) -> Attestation {
    Attestation::parse(&serde_json::to_vec(attestation).unwrap()).unwrap()
}

#[test]
fn a_secret_reaches_the_attested_key_and_no_other() {
    let (challenge, server, client) = challenged();
    let (report_data, client) = client.on_challenge(&challenge, pair().0).unwrap();
    let (attestation, client) = client.with_evidence(evidence(&report_data));
    let presented = server.on_attestation(&over_the_wire(&attestation)).unwrap();
    assert_eq!(presented.expected, report_data);

    let anchors = TrustAnchors::vendor().with_insecure_extra_root(tee().root_der()).unwrap();
    let bundle = tee().endorsement_bundle(NOW, &[]).to_string();
    let bundle = crate::EndorsementBundle::parse(bundle.as_bytes()).unwrap();
    let now = UnixTime(NOW);
    verify(&presented.evidence, &bundle, &anchors, &presented.expected, now).unwrap();

    let resource = ResourcePath::parse("acme/model-key/kjv").unwrap();
    let extras = JweExtras { resource: Some(resource.clone()), minimum_model_version: Some(2) };
    let reply = jwe::encrypt(&presented.tee_key, b"model key", &extras).unwrap();
    let attested = client.on_token(AttestResponse { token: "t".to_owned() });
    let secret = attested.unwrap(&resource, &reply).unwrap();
    assert_eq!(secret.plaintext.as_slice(), b"model key");
    assert_eq!(secret.minimum_model_version, Some(2));
    assert_eq!(attested.tee_public_key(), presented.tee_key);
    assert!(pair().0.decrypt(&reply, &resource).is_err());
}

#[test]
fn evidence_for_another_key_does_not_verify() {
    let (mut attestation, server) = attestation();
    attestation.runtime_data.tee_pubkey = pair().1;
    let presented = server.on_attestation(&attestation).unwrap();
    let anchors = TrustAnchors::vendor().with_insecure_extra_root(tee().root_der()).unwrap();
    let bundle = tee().endorsement_bundle(NOW, &[]).to_string();
    let bundle = crate::EndorsementBundle::parse(bundle.as_bytes()).unwrap();
    let refused: Result<_, VerifyError> =
        verify(&presented.evidence, &bundle, &anchors, &presented.expected, UnixTime(NOW));
    assert!(matches!(refused, Err(VerifyError::ReportData { .. })), "{refused:?}");
}

#[test]
fn the_request_is_what_the_protocol_fixes() {
    let (request, _) = RcarClient::start(Tee::Tdx);
    let value = serde_json::to_value(&request).unwrap();
    assert_eq!(value["version"], "0.4.0");
    assert_eq!(value["tee"], "tdx");
    assert_eq!(value["extra-params"]["supported-hash-algorithms"], json!(["sha384"]));
}

#[test]
fn the_challenge_is_what_the_protocol_fixes() {
    let (challenge, ..) = challenged();
    let text = serde_json::to_string(&challenge).unwrap();
    let nonce = nonce().to_base64();
    assert_eq!(text, format!("{{\"nonce\":\"{nonce}\",\"extra-params\":\"\"}}"));
}

#[test]
fn only_one_version_is_spoken() {
    for version in ["0.1.1", "0.4", "0.4.1", "0.5.0", "1.0.0", " 0.4.0", "0.4.0-rc1", ""] {
        let (mut request, _) = RcarClient::start(Tee::Tdx);
        request.version = version.to_owned();
        let refused = on_request(&request, nonce()).unwrap_err();
        assert!(matches!(&refused, RcarError::Version { got } if got == version));
        assert_eq!(
            refused.to_string(),
            format!(
                "KBS Client Protocol Version Mismatch: expect =0.4.0 while the request is {version}"
            )
        );
    }
}

#[test]
fn sample_and_unknown_tees_are_refused_by_name() {
    for tee in ["sample", "sampledevice", "nvidia", "TDX", "", "tdx "] {
        let request = Request { version: "0.4.0".into(), tee: tee.into(), extra_params: "".into() };
        assert!(matches!(
            on_request(&request, nonce()),
            Err(RcarError::Tee(UnsupportedTee { name })) if name == tee
        ));
    }
}

#[test]
fn the_answer_to_another_challenge_is_refused() {
    let (sound, _) = attestation();
    let padded = format!("{} ", nonce().to_base64());
    let cases = [
        Nonce::from_bytes([1; 32]).to_base64(),
        // The same bytes in another encoding are another nonce: it is compared as a string.
        nonce().to_base64url(),
        padded,
        String::new(),
    ];
    for other in cases {
        let (request, _) = RcarClient::start(Tee::Tdx);
        let (_, server) = on_request(&request, nonce()).unwrap();
        let mut attestation = sound.clone();
        attestation.runtime_data.nonce = other;
        assert!(matches!(server.on_attestation(&attestation), Err(RcarError::Nonce)));
    }
}

#[test]
fn the_expected_report_data_come_from_our_nonce_and_the_parsed_key() {
    let (attestation, server) = attestation();
    // Members in another order on the wire, and white space: the binding is the same.
    let key = serde_json::to_value(&attestation.runtime_data.tee_pubkey).unwrap();
    let text = format!(
        r#"{{ "tee-evidence": {}, "runtime-data": {{ "tee-pubkey": {{ "y": {}, "x": {}, "alg": {}, "kty": {}, "crv": {} }}, "nonce": {} }} }}"#,
        serde_json::to_string(&attestation.tee_evidence).unwrap(),
        key["y"],
        key["x"],
        key["alg"],
        key["kty"],
        key["crv"],
        json!(attestation.runtime_data.nonce),
    );
    let presented = server.on_attestation(&Attestation::parse(text.as_bytes()).unwrap()).unwrap();
    assert_eq!(presented.evidence.report_data(), presented.expected);
}

#[test]
fn evidence_of_devices_that_nobody_verifies_is_refused_rather_than_ignored() {
    for (text, refused) in [
        (r#"{"sampledevice":{}}"#, "kind"),
        (r#"{"nvidia":{},"tpm":{}}"#, "kind"),
        ("[]", "text"),
        ("{", "text"),
        (r#"{"nvidia":{}}"#, "evidence"),
        (r#"{"nvidia":{"device_evidence_list":[]}}"#, "evidence"),
    ] {
        let (mut attestation, server) = attestation();
        attestation.tee_evidence.additional_evidence = text.to_owned();
        let error = server.on_attestation(&attestation).expect_err("refused");
        let kind = match error {
            RcarError::DeviceKind { .. } => "kind",
            RcarError::AdditionalEvidence => "text",
            RcarError::DeviceEvidence(_) => "evidence",
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(kind, refused, "{text}");
    }
}

#[test]
fn evidence_of_devices_that_would_fill_the_memory_is_refused_before_it_is_read() {
    for (element, count, limit) in
        [("{}", MAX_CONTAINERS, MAX_CONTAINERS), ("0", MAX_ELEMENTS + 2, MAX_ELEMENTS)]
    {
        let (mut sent, server) = attestation();
        let elements = vec![element; count].join(",");
        sent.tee_evidence.additional_evidence = format!("{{\"nvidia\":[{elements}]}}");
        // Within the bounds of the body, in which it is one string.
        let arrived = over_the_wire(&sent);
        assert!(
            matches!(
                server.on_attestation(&arrived),
                Err(RcarError::TooManyMembers { message: "additional_evidence", limit: l, .. })
                    if l == limit
            ),
            "{element}"
        );
    }
}

#[test]
fn evidence_of_gpus_goes_into_the_report_data_and_has_a_nonce_of_its_own() {
    let (mut attestation, server) = attestation();
    let gpus = json!({ "nvidia": FakeGpu::new(1_800_000_000).evidence([7; 32], None) });
    attestation.tee_evidence.additional_evidence = gpus.to_string();
    let nonce = attestation.runtime_data.nonce.clone();
    let presented = server.on_attestation(&attestation).expect("parses");
    assert_eq!(presented.devices.len(), 1);
    // The Evidence was made without devices: its report data are not the expected ones now.
    assert_ne!(presented.evidence.report_data(), presented.expected);
    let key = attestation.runtime_data.tee_pubkey.canonical_jwk();
    let text = format!("{{\"nonce\":\"{nonce}\",\"tee-pubkey\":{key}}}");
    let digest = ring::digest::digest(&ring::digest::SHA384, text.as_bytes());
    assert_eq!(presented.device_nonce, digest.as_ref()[..32]);
}

#[test]
fn evidence_that_does_not_parse_is_refused() {
    for primary in [json!({ "svn": "1", "report_data": "AAAA" }), json!(""), Value::Null] {
        let (mut attestation, server) = attestation();
        attestation.tee_evidence.primary_evidence = primary;
        assert!(matches!(
            server.on_attestation(&attestation),
            Err(RcarError::Evidence(EvidenceError::Encoding { what: "quote", .. }))
        ));
    }
}

#[test]
fn init_data_are_presented_with_their_digest_or_refused() {
    let body = "algorithm = \"sha256\"\n".to_owned();
    let (mut sent, server) = attestation();
    sent.init_data = Some(InitData { format: "toml".into(), body });
    let presented = server.on_attestation(&over_the_wire(&sent)).unwrap();
    assert_eq!(presented.init_data.unwrap().digest.len(), 32);
    let (mut sent, server) = attestation();
    sent.init_data = Some(InitData { format: "json".into(), body: "{}".into() });
    assert!(matches!(server.on_attestation(&sent), Err(RcarError::InitData { .. })));
}

#[test]
fn a_client_with_init_data_sends_them() {
    let (challenge, _, client) = challenged();
    let (report_data, client) = client.on_challenge(&challenge, pair().0).unwrap();
    let init_data = InitData { format: "toml".into(), body: "algorithm = \"sha384\"".into() };
    let client = client.with_init_data(init_data.clone());
    let (attestation, _) = client.with_evidence(evidence(&report_data));
    assert_eq!(attestation.init_data, Some(init_data));
}

#[test]
fn a_digest_that_the_kbs_selects_must_be_ours() {
    for (extra, accepted) in [
        (json!(""), true),
        (json!({}), true),
        (json!({ "selected-hash-algorithm": "sha384" }), true),
        (json!({ "selected-hash-algorithm": "SHA384" }), true),
        (json!({ "selected-hash-algorithm": "sha512" }), false),
        (json!({ "selected-hash-algorithm": 384 }), false),
        (json!({ "selected-hash-algorithm": null }), false),
    ] {
        let (_, client) = RcarClient::start(Tee::Tdx);
        let challenge = ChallengeMessage { nonce: "n".into(), extra_params: extra.clone() };
        match client.on_challenge(&challenge, pair().0) {
            Ok(_) => assert!(accepted, "{extra}"),
            Err(RcarError::HashAlgorithm { .. }) => assert!(!accepted, "{extra}"),
            Err(other) => panic!("{extra}: {other}"),
        }
    }
}

#[test]
fn a_nonce_without_bounds_is_not_answered() {
    for got in [0, MAX_NONCE_TEXT + 1] {
        let (_, client) = RcarClient::start(Tee::Tdx);
        let challenge = ChallengeMessage { nonce: "n".repeat(got), extra_params: "".into() };
        assert!(matches!(
            client.on_challenge(&challenge, pair().0),
            Err(RcarError::NonceLength { got: g }) if g == got
        ));
    }
}

#[test]
fn runtime_data_of_a_device_leave_the_additional_evidence_out() {
    let key = pair().1;
    let primary = primary_runtime_data("n", &key, "");
    let device = device_runtime_data("n", &key);
    assert_eq!(primary, device.replacen('{', "{\"additional-evidence\":\"\",", 1));
}
