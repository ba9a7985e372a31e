//! Trustee's routes for policies: what its clients send is taken, compiled, stored, asked and recorded.

use adyton_fake_tee::{Fault, TdProfile};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Guest, KEY_PATH, Reply, TestBroker};

const ATTESTATION: &str = "/kbs/v0/attestation-policy";
const RESOURCE: &str = "/kbs/v0/resource-policy";

const APPRAISES: &str = r#"package policy
import rego.v1
default hardware := 97
default executables := 33
trust_claims := {"hardware": hardware, "executables": executables}
hardware := 2 if input.tdx.quote.body.mr_td in query_reference_value("mr_td")
executables := 3 if input.tdx.quote.body.rtmr_2 in query_reference_value("rtmr_2")
"#;
const ALLOWS_AFFIRMING: &str = r#"package policy
import rego.v1
default allow := false
allow if input.submods.cpu0["ear.status"] == "affirming"
"#;
const DENIES: &str = "package policy\nimport rego.v1\ndefault allow := false\n";
const ALLOWS: &str = "package policy\nimport rego.v1\nallow := true\n";

/// The bodies that `kbs-client` sends.
fn attestation_body(id: &str, text: &str) -> String {
    json!({ "type": "rego", "policy_id": id, "policy": URL_SAFE_NO_PAD.encode(text) }).to_string()
}

fn resource_body(text: &str) -> String {
    json!({ "policy": URL_SAFE_NO_PAD.encode(text) }).to_string()
}

async fn set(broker: &TestBroker, path: &str, body: String) {
    let reply = broker.admin(Method::POST, path, body).await;
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, ""));
}

async fn ready() -> TestBroker {
    TestBroker::start().await.with_key_and_policy().await
}

/// Codes and claims of a denial, as the owner reads them.
async fn denied(broker: &TestBroker, guest: &Guest) -> Vec<String> {
    let reply = broker.ask(guest, KEY_PATH).await;
    let (status, variant, _) = reply.refusal();
    assert_eq!((status, variant.as_str()), (403, "PolicyDeny"));
    let decision = broker.decision(&reply).await;
    let reasons = decision["reasons"].as_array().expect("reasons").clone();
    let text = |reason: &Value, member: &str| reason[member].as_str().expect("text").to_owned();
    reasons.iter().map(|r| format!("{} {}", text(r, "code"), text(r, "claim"))).collect()
}

fn audit(broker: &TestBroker, event: &str) -> Vec<Value> {
    let log = std::fs::read_to_string(broker.state_dir().join("audit.jsonl")).expect("the log");
    let records = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let record = |line: Value| line.get("record").cloned().unwrap_or(line);
    records.map(record).filter(|record| record["event"] == event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_that_a_client_of_trustee_sends_count_from_the_next_decision_on() {
    let broker = ready().await;
    let guest = broker.attest().await;
    assert_eq!(broker.ask(&guest, KEY_PATH).await.status, 200);

    set(&broker, RESOURCE, resource_body(ALLOWS_AFFIRMING)).await;
    // Nobody appraises yet, so the status in the token is `none`.
    assert_eq!(denied(&broker, &guest).await, ["rego.denied kbs.resource-policy: allow"]);

    set(&broker, ATTESTATION, attestation_body("default_cpu", APPRAISES)).await;
    let reply = broker.ask(&guest, KEY_PATH).await;
    assert_eq!(reply.status, 200, "{}", reply.text());

    set(&broker, RESOURCE, resource_body(DENIES)).await;
    assert_eq!(denied(&broker, &guest).await, ["rego.denied kbs.resource-policy: allow"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn they_accept_nothing_that_the_release_policy_of_the_key_denies() {
    let broker = ready().await;
    set(&broker, RESOURCE, resource_body(ALLOWS)).await;
    set(&broker, ATTESTATION, attestation_body("default", APPRAISES)).await;
    let attested = broker.try_attest(&TdProfile::default(), &[Fault::OtherRtmr]).await;
    let Ok(guest) = attested else { panic!("genuine") };
    assert_eq!(denied(&broker, &guest).await, ["tdx.measurement.rtmr2 rtmr2"]);
    // And an attestation policy alone wants every claim affirming.
    let gone = broker.admin(Method::DELETE, RESOURCE, String::new()).await;
    assert_eq!(gone.status, 200);
    assert_eq!(
        denied(&broker, &guest).await,
        [
            "tdx.measurement.rtmr2 rtmr2",
            "rego.not-affirming kbs.attestation-policy.cpu: executables"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_set_is_listed_shown_and_taken_back() {
    let broker = ready().await;
    let list = async || broker.admin(Method::GET, RESOURCE, String::new()).await.json();
    let path = format!("{ATTESTATION}/default_cpu");
    let shown = async || broker.admin(Method::GET, &path, String::new()).await;
    assert_eq!(list().await, json!([]));
    assert_eq!(shown().await.status, 404);

    set(&broker, RESOURCE, resource_body(DENIES)).await;
    set(&broker, &path, attestation_body("default_cpu", APPRAISES)).await;
    assert_eq!(list().await, json!(["default"]));
    let sent: Value =
        serde_json::from_str(&attestation_body("default_cpu", APPRAISES)).expect("JSON");
    assert_eq!(shown().await.json(), sent);
    // They are no release policies.
    let policies = broker.admin(Method::GET, "/adyton/v1/policies", String::new()).await.json();
    assert_eq!(policies["policies"].as_array().map(Vec::len), Some(1));

    for path in [RESOURCE, &path] {
        assert_eq!(broker.admin(Method::DELETE, path, String::new()).await.status, 200);
    }
    assert_eq!(list().await, json!([]));
    assert_eq!(shown().await.status, 404);
    let guest = broker.attest().await;
    assert_eq!(broker.ask(&guest, KEY_PATH).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_can_not_be_used_or_is_never_asked_is_refused_and_not_stored() {
    let broker = ready().await;
    let member = |from: &str, to: &str| {
        let body = attestation_body("default_cpu", ALLOWS);
        assert!(body.contains(from));
        body.replace(from, to)
    };
    let padded = json!({ "policy": STANDARD.encode("package policy\n#?>?>") }).to_string();
    let not_text = json!({ "policy": URL_SAFE_NO_PAD.encode([0xff, 0xfe]) }).to_string();
    let long = format!("package policy\n# {}", "x".repeat(64 * 1024));
    for (path, body, told) in [
        (ATTESTATION, "{".to_owned(), "not the expected JSON"),
        (ATTESTATION, resource_body(ALLOWS), "missing field"),
        (ATTESTATION, member("\"rego\"", "\"cel\""), "not `rego`"),
        (ATTESTATION, member("\"type\"", "\"kind\""), "unknown field"),
        (ATTESTATION, attestation_body("default_switch", ALLOWS), "`default_gpu` and no other"),
        (ATTESTATION, attestation_body("../default_cpu", ALLOWS), "`default_gpu` and no other"),
        ("/kbs/v0/attestation-policy/mine", attestation_body("default_cpu", ALLOWS), "another one"),
        ("/kbs/v0/attestation-policy/default_cpu", attestation_body("mine", ALLOWS), "another one"),
        (RESOURCE, attestation_body("default_cpu", ALLOWS), "unknown field"),
        (RESOURCE, padded, "base64url without padding"),
        (RESOURCE, not_text, "UTF-8"),
        (RESOURCE, resource_body(""), "can't be parsed"),
        (RESOURCE, resource_body("package policy\nallow := {"), "can't be parsed"),
        (RESOURCE, resource_body("package other\nimport rego.v1\nallow := true"), "package"),
        (RESOURCE, resource_body("package policy\nimport rego.v1\nallow if allow"), "recursive"),
        (RESOURCE, resource_body("package policy\nallow := http.send({})"), "http.send"),
        (RESOURCE, resource_body(&long), "at most 65536"),
    ] {
        let reply = broker.admin(Method::POST, path, body.clone()).await;
        let error = reply.error();
        assert_eq!(
            (reply.status.as_u16(), error.variant()),
            (400, "ParsePolicyError"),
            "{body}: {}",
            reply.text()
        );
        assert!(reply.text().contains(told), "{told}: {}", reply.text());
    }
    let flood = broker.admin(Method::POST, RESOURCE, "x".repeat(1024 * 1024)).await;
    assert_eq!((flood.status.as_u16(), flood.error().variant()), (413, "SerdeError"));

    let list = broker.admin(Method::GET, RESOURCE, String::new()).await;
    assert_eq!(list.json(), json!([]), "nothing was stored");
    let guest = broker.attest().await;
    assert_eq!(broker.ask(&guest, KEY_PATH).await.status, 200, "and nothing is asked");
    assert_eq!(audit(&broker, "policy-set").len(), 1, "the release policy alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_administrators_set_them_and_only_on_their_listener() {
    let broker = ready().await;
    for (method, path) in [
        (Method::POST, ATTESTATION),
        (Method::POST, "/kbs/v0/attestation-policy/default_cpu"),
        (Method::GET, "/kbs/v0/attestation-policy/default_cpu"),
        (Method::DELETE, "/kbs/v0/attestation-policy/default_cpu"),
        (Method::POST, RESOURCE),
        (Method::GET, RESOURCE),
        (Method::DELETE, RESOURCE),
    ] {
        let refused = |reply: &Reply| (reply.status.as_u16(), reply.error().variant().to_owned());
        let body = resource_body(ALLOWS);
        for authorization in [None, Some("Bearer wrong".to_owned())] {
            let reply = broker.admin_with(method.clone(), path, body.clone(), authorization).await;
            assert_eq!(refused(&reply), (401, "AdminAuthAccess".to_owned()), "{method} {path}");
        }
        let reply = broker.kbs(method.as_str(), path, None, body.into_bytes()).await;
        assert_eq!(refused(&reply), (405, "AdminAuthAccess".to_owned()), "{method} {path}");
    }
    assert_eq!(audit(&broker, "policy-set").len(), 1, "the release policy alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_in_the_audit_log_and_releases_name_what_was_in_force() {
    let broker = ready().await;
    set(&broker, RESOURCE, resource_body(ALLOWS)).await;
    let guest = broker.attest().await;
    assert_eq!(broker.ask(&guest, KEY_PATH).await.status, 200);
    broker.admin(Method::DELETE, RESOURCE, String::new()).await;

    let changes = audit(&broker, "policy-set");
    assert_eq!(changes.len(), 3);
    let digest = &changes[1]["details"]["digest"];
    assert_eq!(changes[1]["subject"], "resource-policy/default");
    assert!(changes[1]["actor"].as_str().is_some_and(|actor| actor.starts_with("token@")));
    assert_eq!(changes[2]["details"]["digest"], "none: removed");
    let released = audit(&broker, "key-released");
    assert_eq!(&released[0]["details"]["policy-digest.kbs.resource-policy"], digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_there_after_a_restart() {
    let broker = ready().await;
    set(&broker, RESOURCE, resource_body(DENIES)).await;
    let (folder, tee, config) = broker.stop().await;
    let broker = TestBroker::start_in(folder, tee, config).await.expect("starts");
    let guest = broker.attest().await;
    assert_eq!(denied(&broker, &guest).await, ["rego.denied kbs.resource-policy: allow"]);
}
