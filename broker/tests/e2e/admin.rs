//! The owner's API: who may use it, and what it takes and gives.

use std::path::Path;

use adyton_fake_tee::{FakeTee, TdProfile};
use http::{Method, Request};
use http_body_util::Full;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;

use crate::harness::{KEY, TestBroker, client_config, kid_json, send, write_inputs};

const PATHS: [(Method, &str); 11] = [
    (Method::GET, "/adyton/v1/keys"),
    (Method::POST, "/adyton/v1/keys"),
    (Method::GET, "/adyton/v1/wrapping-key"),
    (Method::POST, "/adyton/v1/recipients"),
    (Method::POST, "/adyton/v1/keys/rotate"),
    (Method::POST, "/adyton/v1/keys/retire"),
    (Method::POST, "/adyton/v1/manifests"),
    (Method::PUT, "/adyton/v1/policies"),
    (Method::PUT, "/adyton/v1/reference-values"),
    (Method::GET, "/adyton/v1/decisions"),
    (Method::GET, "/not/there"),
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_answered_without_the_right_token() {
    let broker = TestBroker::start().await;
    let token = std::fs::read_to_string(broker.state_dir().join("admin-token")).expect("token");
    let token = token.trim();
    for authorization in [
        None,
        Some("Bearer wrong".to_owned()),
        Some("Bearer ".to_owned()),
        Some(format!("Basic {token}")),
        Some(format!("Bearer {token}0")),
        Some(format!("Bearer {}", &token[1..])),
    ] {
        for (method, path) in PATHS {
            let reply = broker.admin_with(method, path, kid_json(KEY), authorization.clone()).await;
            assert_eq!(reply.status, 401, "{path} {authorization:?}");
            assert_eq!(reply.json()["error"]["code"], "unauthenticated");
        }
    }
    let keys = broker.admin(Method::GET, "/adyton/v1/keys", String::new()).await;
    assert_eq!(keys.json(), json!({ "keys": [] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_is_not_on_the_kbs_listener() {
    let broker = TestBroker::start().await;
    let reply = broker.kbs("GET", "/adyton/v1/keys", None, Vec::new()).await;
    assert_eq!(reply.refusal(), (404, "PluginNotFound".into(), vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_created_once_and_listed_without_its_bytes() {
    let broker = TestBroker::start().await;
    let created = broker.admin(Method::POST, "/adyton/v1/keys", kid_json(KEY)).await;
    assert_eq!(created.status, 201);
    let created = created.json();
    assert_eq!((&created["kid"], &created["epoch"]), (&json!(KEY), &json!(1)));
    let again = broker.admin(Method::POST, "/adyton/v1/keys", kid_json(KEY)).await;
    assert_eq!(again.status, 409);
    let error = &again.json()["error"];
    assert_eq!(error["code"], "key.exists");
    assert!(!error["remedy"].as_str().expect("text").is_empty());
    let keys = broker.admin(Method::GET, "/adyton/v1/keys", String::new()).await.json();
    let at = &created["created_at"];
    assert_eq!(
        keys,
        json!({ "keys": [{ "kid": KEY, "epoch": 1, "created_at": at, "policy": false }] })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_bodies_are_refused_with_a_code() {
    let broker = TestBroker::start().await;
    let long = "x".repeat(1024 * 1024 + 1);
    for (method, path, body, status, code) in [
        (Method::POST, "/adyton/v1/keys", kid_json("kbs:///a/b"), 400, "kid.malformed"),
        (Method::POST, "/adyton/v1/keys", kid_json("kbs:///a/b/c?epoch=1"), 400, "kid.malformed"),
        (Method::POST, "/adyton/v1/keys", "{}".into(), 400, "body.malformed"),
        (Method::POST, "/adyton/v1/keys", long.clone(), 413, "body.too-large"),
        (Method::PUT, "/adyton/v1/policies", "key = 1".into(), 400, "policy.malformed"),
        (
            Method::PUT,
            "/adyton/v1/policies",
            format!("key = {KEY:?}\nextra = 1\n[appraisal]\nreference_values = [\"a\"]"),
            400,
            "policy.malformed",
        ),
        (
            Method::PUT,
            "/adyton/v1/policies",
            format!(
                "key = {KEY:?}\n[appraisal]\nreference_values = [\"a\"]\ninsecure_allow_debug = true"
            ),
            400,
            "policy.debug-not-offered",
        ),
        (
            Method::PUT,
            "/adyton/v1/reference-values",
            "name = 1".into(),
            400,
            "reference-values.malformed",
        ),
        (
            Method::PUT,
            "/adyton/v1/reference-values",
            "\u{fffd}".into(),
            400,
            "reference-values.malformed",
        ),
        (Method::GET, "/adyton/v1/policies?kid=kbs:///a/b/c", String::new(), 404, "policy.unknown"),
        (Method::GET, "/adyton/v1/decisions/0011", String::new(), 404, "decision.unknown"),
        (Method::DELETE, "/adyton/v1/keys", String::new(), 405, "method.unknown"),
        (Method::GET, "/adyton/v2/keys", String::new(), 404, "path.unknown"),
    ] {
        let reply = broker.admin(method.clone(), path, body).await;
        let error = reply.json()["error"].clone();
        assert_eq!(
            (reply.status.as_u16(), error["code"].as_str()),
            (status, Some(code)),
            "{error}"
        );
        assert!(!error["message"].as_str().expect("text").is_empty());
        assert!(!error["remedy"].as_str().expect("text").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_key_for_another_kid_or_another_broker_is_refused() {
    use adyton_attestation::rcar::{JweExtras, ResourcePath, TeeKeyPair, TeePublicKey, jwe};
    let broker = TestBroker::start().await.with_key_and_policy().await;
    let reply = broker.admin(Method::GET, "/adyton/v1/wrapping-key", String::new()).await;
    let ours: TeePublicKey = serde_json::from_value(reply.json()).expect("JWK");
    let other = TeeKeyPair::generate().expect("key").public();
    let (right, wrong) = ("acme/model-key/kjv", "acme/model-key/other");
    for (key, path, bytes) in [(&other, right, 32), (&ours, wrong, 32), (&ours, right, 31)] {
        let resource = Some(ResourcePath::parse(path).expect("path"));
        let extras = JweExtras { resource, minimum_model_version: None };
        let jwe = jwe::encrypt(key, &vec![7; bytes], &extras).expect("encrypted");
        let body = json!({ "kid": KEY, "model_id": "00".repeat(16), "content_key": jwe });
        let reply = broker.admin(Method::POST, "/adyton/v1/recipients", body.to_string()).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["error"]["code"]),
            (400, &json!("body.malformed"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_and_reference_values_come_back_as_they_were_written() {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    let path = format!("/adyton/v1/policies?kid={KEY}");
    let shown = broker.admin(Method::GET, &path, String::new()).await.json();
    assert_eq!(shown["kid"], KEY);
    assert!(shown["toml"].as_str().expect("text").contains("minimum_model_version = 3"));
    let all = broker.admin(Method::GET, "/adyton/v1/policies", String::new()).await.json();
    assert_eq!(all["policies"][0]["digest"], shown["digest"]);
    let sets = broker.admin(Method::GET, "/adyton/v1/reference-values", String::new()).await.json();
    let set = &sets["reference_values"][0];
    assert_eq!(set["name"], "fake-td");
    assert_eq!(set["toml"], broker.tee.reference_values(&TdProfile::default()));
    let keys = broker.admin(Method::GET, "/adyton/v1/keys", String::new()).await.json();
    assert_eq!(keys["keys"][0]["policy"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_of_the_admin_ca_is_enough_and_another_is_not() {
    let folder = tempfile::tempdir().expect("folder");
    let (ca, identity) = certificates(folder.path(), "right");
    let (_, stranger) = certificates(folder.path(), "wrong");
    let tee = FakeTee::new(adyton_broker::broker::now().0);
    let config = format!(
        "{}admin.client_ca_file = {ca:?}\nadmin.authentication = [\"client-certificate\"]\n",
        write_inputs(folder.path(), &tee, &[])
    );
    let broker = TestBroker::start_in(folder, tee, config).await.expect("starts");
    assert!(broker.endpoints.token_file.is_none());
    let url = broker.endpoints.admin.clone().expect("bound");
    let ask = async |identity: Option<(&Path, &Path)>| {
        let config = client_config(&broker.endpoints.ca_file, identity);
        let request = Request::get("/adyton/v1/keys").header("host", "localhost");
        send(&url, config, request.body(Full::default()).expect("request")).await
    };
    let reply = ask(Some((&identity.0, &identity.1))).await.expect("a reply");
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(ask(Some((&stranger.0, &stranger.1))).await.is_err());
    assert!(ask(None).await.is_err());
}

/// A CA and a client certificate from it, as PEM files.
fn certificates(
    folder: &Path,
    name: &str,
) -> (std::path::PathBuf, (std::path::PathBuf, std::path::PathBuf)) {
    let ca_key = KeyPair::generate().expect("key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).expect("CA");
    let key = KeyPair::generate().expect("key");
    let leaf = CertificateParams::new(vec!["admin".to_owned()]).expect("name");
    let leaf = leaf.signed_by(&key, &Issuer::new(params, ca_key)).expect("certificate");
    let file = |kind: &str, text: String| {
        let path = folder.join(format!("{name}-{kind}.pem"));
        std::fs::write(&path, text).expect("written");
        path
    };
    let ca = file("ca", ca.pem());
    (ca, (file("leaf", leaf.pem()), file("key", key.serialize_pem())))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_authentication_the_admin_api_is_not_bound() {
    let broker = TestBroker::start_with("admin.authentication = []\n").await;
    assert!(broker.endpoints.admin.is_none());
    assert!(!broker.state_dir().join("admin-token").exists());
    assert_eq!(broker.kbs("GET", "/healthz", None, Vec::new()).await.status, 200);
}
