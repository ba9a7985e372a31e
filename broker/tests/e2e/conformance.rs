//! Replies as raw JSON and raw headers: exactly the members that the KBS protocol fixes.

use adyton_fake_tee::{Fault, TdProfile};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::harness::{KEY_PATH, Reply, TestBroker};

fn members(value: &Value) -> Vec<&str> {
    let mut names: Vec<&str> =
        value.as_object().expect("an object").keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

fn assert_cookie_shape(reply: &Reply) {
    let cookies: Vec<_> = reply.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies.len(), 1);
    let line = cookies[0].to_str().expect("visible ASCII");
    let parts: Vec<&str> = line.split("; ").collect();
    let [id, expires, "Secure", "HttpOnly", "SameSite=Strict"] = parts[..] else {
        panic!("{line}");
    };
    let id = id.strip_prefix("kbs-session-id=").expect("the name");
    assert_eq!(id.len(), 32);
    assert!(id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{id}");
    // Mon, 23 Nov 2026 07:05:00 GMT
    let date = expires.strip_prefix("Expires=").expect("Expires");
    assert_eq!((date.len(), &date[3..5], &date[25..]), (29, ", ", " GMT"), "{date}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_has_a_nonce_and_an_empty_string() {
    let broker = TestBroker::start().await;
    let request = br#"{"version":"0.4.0","tee":"tdx","extra-params":{"supported-hash-algorithms":["sha256","sha384","sha512","sm3"]}}"#;
    let reply = broker.kbs("POST", "/kbs/v0/auth", None, request.to_vec()).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers["content-type"], "application/json");
    assert_cookie_shape(&reply);
    let body = reply.json();
    assert_eq!(members(&body), ["extra-params", "nonce"]);
    assert_eq!(body["extra-params"], "");
    let nonce = body["nonce"].as_str().expect("text");
    assert_eq!(nonce.len(), 44);
    assert_eq!(STANDARD.decode(nonce).expect("standard base64").len(), 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_attestation_gives_a_token_and_a_new_session_id() {
    let broker = TestBroker::start().await;
    let (cookie, attestation, _) = broker.prepared().await;
    let reply = broker.send_attestation(Some(&cookie), &attestation).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers["content-type"], "application/json");
    assert_cookie_shape(&reply);
    assert_ne!(reply.cookie(), cookie);
    assert_eq!(members(&reply.json()), ["token"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_an_ear_whose_signature_verifies() {
    let broker = TestBroker::start().await;
    let (cookie, attestation, _) = broker.prepared().await;
    let reply = broker.send_attestation(Some(&cookie), &attestation).await.json();
    let token = reply["token"].as_str().expect("text");
    let parts: Vec<&str> = token.split('.').collect();
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).expect("base64url");
    let header: Value = serde_json::from_slice(&decode(parts[0])).expect("JSON");
    assert_eq!(members(&header), ["alg", "jwk", "typ"]);
    assert_eq!((&header["alg"], &header["typ"]), (&json!("ES256"), &json!("JWT")));
    assert_eq!(members(&header["jwk"]), ["alg", "crv", "kty", "x", "y"]);

    let mut point = vec![4];
    point.extend(decode(header["jwk"]["x"].as_str().expect("text")));
    point.extend(decode(header["jwk"]["y"].as_str().expect("text")));
    let key =
        ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_FIXED, point);
    let signed = format!("{}.{}", parts[0], parts[1]);
    key.verify(signed.as_bytes(), &decode(parts[2])).expect("the signature verifies");

    let claims: Value = serde_json::from_slice(&decode(parts[1])).expect("JSON");
    assert_eq!(
        members(&claims),
        ["ear.verifier-id", "eat_profile", "exp", "iat", "iss", "jti", "submods"]
    );
    let lifetime = claims["exp"].as_u64().expect("exp") - claims["iat"].as_u64().expect("iat");
    assert!((299..=301).contains(&lifetime), "{lifetime}");
    let cpu = &claims["submods"]["cpu0"];
    assert_eq!(cpu["ear.status"], "none");
    assert_eq!(cpu["ear.trustworthiness-vector"]["hardware"], 2);
    assert_eq!(cpu["ear.trustworthiness-vector"]["executables"], 0);
    let evidence = &cpu["ear.veraison.annotated-evidence"];
    // Where a KBS looks for the TEE key.
    assert_eq!(
        evidence["runtime_data_claims"]["tee-pubkey"],
        serde_json::to_value(&attestation.runtime_data.tee_pubkey).expect("JSON")
    );
    assert_eq!(evidence["runtime_data_claims"]["nonce"], attestation.runtime_data.nonce);
    assert_eq!(evidence["tdx"]["tcb_status"], "UpToDate");
    assert_eq!(evidence["report_data"].as_str().expect("text").len(), 128);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_is_a_flattened_jwe_with_a_compact_sorted_header() {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    let guest = broker.attest().await;
    let reply = broker.ask(&guest, KEY_PATH).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers["content-type"], "application/json");
    assert!(!reply.headers.contains_key("set-cookie"));
    let body = reply.json();
    assert_eq!(members(&body), ["ciphertext", "encrypted_key", "iv", "protected", "tag"]);
    let decode =
        |name: &str| URL_SAFE_NO_PAD.decode(body[name].as_str().expect("text")).expect("base64url");
    let lengths = ["ciphertext", "encrypted_key", "iv", "tag"].map(|name| decode(name).len());
    assert_eq!(lengths, [32, 40, 12, 16]);
    let header = String::from_utf8(decode("protected")).expect("text");
    let start = format!(
        r#"{{"alg":"ECDH-ES+A256KW","enc":"A256GCM","adyton.minimum-model-version":3,"adyton.resource":"{KEY_PATH}","epk":{{"crv":"P-256","kty":"EC","x":""#
    );
    assert!(header.starts_with(&start), "{header}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_the_protocols_error_body() {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    let guest = broker.attest().await;

    let Err((refused, _)) = broker.try_attest(&TdProfile::default(), &[Fault::DebugTd]).await
    else {
        panic!("a debug TD was accepted");
    };
    let body = refused.json();
    assert_eq!(members(&body), ["adyton", "detail", "type"]);
    assert_eq!(members(&body["adyton"]), ["codes", "decision"]);
    let prefix = "https://github.com/confidential-containers/kbs/errors/";
    assert_eq!(body["type"], format!("{prefix}AttestationError"));
    assert_eq!(body["detail"], "Attestation error: RCAR handshake Attest failed");

    let unknown = broker.kbs("GET", "/kbs/v0/nothing/here", None, Vec::new()).await;
    assert_eq!(unknown.status, 404);
    assert_eq!(
        unknown.json(),
        json!({ "type": format!("{prefix}PluginNotFound"), "detail": "Plugin not found" })
    );

    let path = format!("/kbs/v0/resource/{KEY_PATH}");
    let write = broker.kbs("POST", &path, Some(&guest.cookie), b"x".to_vec()).await;
    assert_eq!(write.refusal(), (405, "AdminAuthAccess".into(), vec![]));

    let without = broker.kbs("GET", &path, None, Vec::new()).await;
    assert_eq!(without.status, 401);
    assert_eq!(
        without.json(),
        json!({ "type": format!("{prefix}TokenNotFound"), "detail": "Attestation Token not found" })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_empty_and_verbose_health_shows_what_is_insecure() {
    let broker = TestBroker::start().await;
    let health = broker.kbs("GET", "/healthz", None, Vec::new()).await;
    assert_eq!((health.status.as_u16(), health.body.len()), (200, 0));
    let verbose = broker.kbs("GET", "/healthz?verbose", None, Vec::new()).await.json();
    assert_eq!(verbose["status"], "ok");
    assert_eq!(verbose["endorsements"], 1);
    let insecure = verbose["insecure"][0].as_str().expect("one entry");
    assert!(insecure.starts_with("insecure_extra_roots: "), "{insecure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_requests_decisions_sessions_and_insecure_settings() {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    let guest = broker.attest().await;
    broker.ask(&guest, KEY_PATH).await;
    broker.ask(&guest, "acme/model-key/none").await;
    let page = broker.kbs("GET", "/metrics", None, Vec::new()).await.text();
    for line in [
        r#"adyton_requests_total{endpoint="attest",status="200"} 1"#,
        r#"adyton_decisions_total{outcome="released",code=""} 1"#,
        r#"adyton_decisions_total{outcome="denied",code="key.unknown"} 1"#,
        r#"adyton_sessions{state="attested"} 1"#,
        r#"adyton_insecure_settings{setting="insecure_extra_roots"} 1"#,
        r#"adyton_request_duration_seconds_count{endpoint="resource"} 2"#,
        "# EOF",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
}
