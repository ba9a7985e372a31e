//! Bytes of a peer neither panic nor exhaust a parser, and messages survive the wire.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::pair;
use crate::rcar::limits::{MAX_BODY, MAX_CONTAINERS, MAX_ELEMENTS, MAX_RESPONSE};
use crate::rcar::{
    AttestResponse, Attestation, ChallengeMessage, ErrorInformation, InitData, JweResponse,
    RcarError, Request, ResourcePath, RuntimeData, TeeEvidence, TeePublicKey,
};

fn parse_everything(bytes: &[u8]) {
    let _ = Request::parse(bytes);
    let _ = ChallengeMessage::parse(bytes);
    let _ = Attestation::parse(bytes);
    let _ = AttestResponse::parse(bytes);
    let _ = ErrorInformation::parse(bytes);
    if let Ok(reply) = JweResponse::parse(bytes) {
        let _ = pair().0.decrypt(&reply, &ResourcePath::parse("a/b/c").unwrap());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = ResourcePath::parse(text);
        let _ = ResourcePath::from_uri(text);
    }
}

fn attestation() -> Attestation {
    Attestation {
        init_data: Some(InitData {
            format: "toml".into(),
            body: "algorithm = \"sha384\"\n".into(),
        }),
        runtime_data: RuntimeData { nonce: "nonce".into(), tee_pubkey: pair().1 },
        tee_evidence: TeeEvidence {
            primary_evidence: json!({ "quote": "AAAA" }),
            additional_evidence: String::new(),
        },
    }
}

#[test]
fn a_body_of_more_objects_than_any_message_needs_is_refused_before_it_becomes_memory() {
    let objects = format!("[{}]", vec!["{}"; MAX_CONTAINERS].join(","));
    assert!(matches!(
        Attestation::parse(objects.as_bytes()),
        Err(RcarError::TooManyMembers { limit: MAX_CONTAINERS, .. })
    ));
    let numbers = format!("[{}]", vec!["0"; MAX_ELEMENTS + 2].join(","));
    assert!(matches!(
        Attestation::parse(numbers.as_bytes()),
        Err(RcarError::TooManyMembers { limit: MAX_ELEMENTS, .. })
    ));
}

#[test]
fn brackets_inside_a_string_are_text() {
    let text = format!("{{\"token\":\"{}\\\"{}\"}}", "[".repeat(5000), "{,".repeat(5000));
    let token = AttestResponse::parse(text.as_bytes()).expect("a long token").token;
    assert!(token.contains("[[[") && token.ends_with("{,"));
}

#[test]
fn member_names_are_those_of_the_protocol() {
    let text = serde_json::to_string(&attestation()).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let names = |value: &Value| {
        let mut names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    };
    assert_eq!(names(&value), ["init-data", "runtime-data", "tee-evidence"]);
    assert_eq!(names(&value["init-data"]), ["body", "format"]);
    assert_eq!(names(&value["runtime-data"]), ["nonce", "tee-pubkey"]);
    assert_eq!(names(&value["tee-evidence"]), ["additional_evidence", "primary_evidence"]);
    let request: Request =
        serde_json::from_str(r#"{"version":"0.4.0","tee":"tdx","extra-params":""}"#).unwrap();
    assert_eq!(names(&serde_json::to_value(request).unwrap()), ["extra-params", "tee", "version"]);
    let challenge = r#"{"nonce":"x","extra-params":""}"#;
    let parsed: ChallengeMessage = serde_json::from_str(challenge).unwrap();
    assert_eq!(serde_json::to_string(&parsed).unwrap(), challenge);
}

#[test]
fn members_that_the_protocol_requires_are_required() {
    let full = serde_json::to_value(attestation()).unwrap();
    for (outer, inner) in [
        ("runtime-data", "nonce"),
        ("runtime-data", "tee-pubkey"),
        ("tee-evidence", "primary_evidence"),
        ("tee-evidence", "additional_evidence"),
    ] {
        let mut cut = full.clone();
        cut[outer].as_object_mut().unwrap().remove(inner);
        let result = Attestation::parse(cut.to_string().as_bytes());
        assert!(matches!(result, Err(RcarError::Json { message: "attestation", .. })), "{inner}");
    }
    for absent in [r#"{"version":"0.4.0","tee":"tdx"}"#, r#"{"tee":"tdx","extra-params":{}}"#] {
        let result = Request::parse(absent.as_bytes());
        assert!(matches!(result, Err(RcarError::Json { message: "request", .. })));
    }
}

#[test]
fn init_data_may_be_null_or_absent() {
    let mut value = serde_json::to_value(attestation()).unwrap();
    value["init-data"] = Value::Null;
    assert_eq!(Attestation::parse(value.to_string().as_bytes()).unwrap().init_data, None);
    value.as_object_mut().unwrap().remove("init-data");
    assert_eq!(Attestation::parse(value.to_string().as_bytes()).unwrap().init_data, None);
}

#[test]
fn a_refused_key_says_why_in_the_error() {
    let mut value = serde_json::to_value(attestation()).unwrap();
    value["runtime-data"]["tee-pubkey"] = json!({
        "kty": "RSA", "alg": "RSA1_5", "n": "AQAB", "e": "AQAB",
    });
    match Attestation::parse(value.to_string().as_bytes()) {
        Err(RcarError::Json { source, .. }) => {
            assert!(source.to_string().contains("TEE keys of type RSA are refused"), "{source}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn bodies_beyond_their_bound_are_not_parsed() {
    let body = vec![b' '; MAX_BODY + 1];
    let (got, limit) = (MAX_BODY + 1, MAX_BODY);
    assert!(matches!(
        Attestation::parse(&body),
        Err(RcarError::TooLong { message: "attestation", got: g, limit: l }) if (g, l) == (got, limit)
    ));
    let body = vec![b' '; MAX_RESPONSE + 1];
    assert!(matches!(
        JweResponse::parse(&body),
        Err(RcarError::TooLong { message: "resource reply", .. })
    ));
}

#[test]
fn deep_nesting_is_refused() {
    let deep = format!(
        r#"{{"version":"0.4.0","tee":"tdx","extra-params":{}{}}}"#,
        "[".repeat(1000),
        "]".repeat(1000)
    );
    let result = Request::parse(deep.as_bytes());
    assert!(matches!(result, Err(RcarError::Json { message: "request", .. })));
}

#[test]
fn an_error_reply_keeps_its_form_and_our_member_is_optional() {
    let plain = ErrorInformation::new("PolicyDeny", "Access denied by policy");
    assert_eq!(
        serde_json::to_string(&plain).unwrap(),
        r#"{"type":"https://github.com/confidential-containers/kbs/errors/PolicyDeny","detail":"Access denied by policy"}"#
    );
    assert_eq!(plain.variant(), "PolicyDeny");
    let refusal = plain.with_refusal("d-1", vec!["tdx.measurement.mrtd".to_owned()]);
    let body = serde_json::to_vec(&refusal).unwrap();
    assert_eq!(ErrorInformation::parse(&body).unwrap(), refusal);
}

#[test]
fn init_data_have_the_digest_of_their_whole_body() {
    let body = "version = \"0.1.0\"\nalgorithm = \"sha384\"\n[data]\n\"a\" = \"b\"\n";
    let init_data = InitData { format: "toml".into(), body: body.into() };
    let expected = ring::digest::digest(&ring::digest::SHA384, body.as_bytes());
    assert_eq!(init_data.digest().unwrap(), expected.as_ref());
    for (format, body, reason) in [
        ("json", "{}", "the format must be toml"),
        ("toml", "algorithm", "the body is not TOML with a member `algorithm`"),
        ("toml", "version = 1", "the body is not TOML with a member `algorithm`"),
        ("toml", "algorithm = \"md5\"", "the algorithm must be sha256, sha384 or sha512"),
    ] {
        let init_data = InitData { format: format.into(), body: body.into() };
        assert!(
            matches!(init_data.digest(), Err(RcarError::InitData { reason: r }) if r == reason)
        );
    }
}

#[test]
fn a_token_does_not_show_in_debug_output() {
    let response = AttestResponse { token: "eyJ".to_owned() };
    assert!(!format!("{response:?}").contains("eyJ"));
}

fn json_like() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        "[a-z-]{0,8}",
        Just("version".to_owned()),
        Just("tee".to_owned()),
        Just("extra-params".to_owned()),
        Just("nonce".to_owned()),
        Just("runtime-data".to_owned()),
        Just("tee-pubkey".to_owned()),
        Just("protected".to_owned()),
        Just("kty".to_owned()),
    ];
    let leaf = prop_oneof![
        any::<Option<bool>>().prop_map(|v| json!(v)),
        any::<i64>().prop_map(|v| json!(v)),
        ".{0,24}".prop_map(|v| json!(v)),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::vec((name.clone(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
    .prop_map(|value| value.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        parse_everything(&bytes);
    }

    #[test]
    fn arbitrary_json_does_not_panic(text in json_like()) {
        parse_everything(text.as_bytes());
        let _ = serde_json::from_str::<TeePublicKey>(&text);
    }

    #[test]
    fn arbitrary_replies_do_not_panic(
        header in json_like(),
        protected in ".{0,64}",
        rest in "[A-Za-z0-9_-]{0,80}",
        plain in any::<bool>(),
    ) {
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(header);
        let reply = JweResponse {
            protected: if plain { protected } else { encoded },
            encrypted_key: rest.clone(),
            iv: rest.clone(),
            ciphertext: rest.clone(),
            tag: rest,
            aad: None,
        };
        prop_assert!(pair().0.decrypt(&reply, &ResourcePath::parse("a/b/c").unwrap()).is_err());
    }

    #[test]
    fn canonical_text_is_json_that_reads_back(nonce in ".{0,40}", additional in any::<String>()) {
        let key = pair().1;
        let text = crate::rcar::canonical::primary_runtime_data(&nonce, &key, &additional);
        let value: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(value["nonce"].as_str(), Some(nonce.as_str()));
        prop_assert_eq!(value["additional-evidence"].as_str(), Some(additional.as_str()));
        let back: TeePublicKey = serde_json::from_value(value["tee-pubkey"].clone()).unwrap();
        prop_assert_eq!(back, key);
    }
}
