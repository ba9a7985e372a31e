//! Policies in Rego beside the typed rules of a key: both must agree, and every reason is told.

use adyton_fake_tee::{Fault, TdProfile};
use http::Method;
use serde_json::Value;

use crate::harness::{KEY, KEY_PATH, TestBroker};

/// A release policy for the key with this in its table `[rego]`.
fn release_policy(rego: &str) -> String {
    format!("key = {KEY:?}\n[appraisal]\nreference_values = [\"fake-td\"]\n[rego]\n{rego}\n")
}

async fn broker_with(rego: &str) -> TestBroker {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    let set = broker.admin(Method::PUT, "/adyton/v1/policies", release_policy(rego)).await;
    assert_eq!(set.status, 200, "{}", set.text());
    broker
}

/// The codes and claims of the reasons in the owner's record of a denial.
async fn denied(broker: &TestBroker, faults: &[Fault]) -> Vec<String> {
    let guest = match broker.try_attest(&TdProfile::default(), faults).await {
        Ok(guest) => guest,
        Err((reply, _)) => panic!("{}", reply.text()),
    };
    let reply = broker.ask(&guest, KEY_PATH).await;
    let (status, variant, codes) = reply.refusal();
    assert_eq!((status, variant.as_str()), (403, "PolicyDeny"));
    let decision = broker.decision(&reply).await;
    let reasons = decision["reasons"].as_array().expect("reasons").clone();
    assert_eq!(codes.len(), reasons.len());
    let text = |reason: &Value, member: &str| reason[member].as_str().expect("text").to_owned();
    reasons.iter().map(|r| format!("{} {}", text(r, "code"), text(r, "claim"))).collect()
}

const ATTESTATION: &str = r#"
attestation = '''
package policy
import rego.v1
default hardware := 97
default executables := 33
trust_claims := {"hardware": hardware, "executables": executables}
hardware := 2 if {
	input.tdx.quote.body.mr_td in query_reference_value("mr_td")
	input.tdx.tcb_status == "UpToDate"
}
executables := 3 if input.tdx.quote.body.rtmr_2 in data.reference.rtmr_2
'''
"#;

const RESOURCE: &str = r#"
resource = '''
package policy
import rego.v1
default allow := false
allow if {
	data["resource-path"] == ["acme", "model-key", "kjv"]
	input.submods.cpu0["ear.status"] == "affirming"
	input.submods.cpu0["ear.veraison.annotated-evidence"].runtime_data_claims["tee-pubkey"].kty == "EC"
}
'''
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_released_when_typed_rules_and_both_policies_agree() {
    let broker = broker_with(&format!("{ATTESTATION}{RESOURCE}")).await;
    let guest = broker.attest().await;
    let reply = broker.ask(&guest, KEY_PATH).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_in_rego_denies_what_the_typed_rules_accept() {
    let denying = "resource = '''package policy\nimport rego.v1\ndefault allow := false'''";
    let broker = broker_with(denying).await;
    assert_eq!(denied(&broker, &[]).await, ["rego.denied rego.resource: allow"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_in_rego_accepts_nothing_that_the_typed_rules_deny() {
    let open = "resource = '''package policy\nimport rego.v1\nallow := true'''";
    let broker = broker_with(open).await;
    assert_eq!(denied(&broker, &[Fault::OtherRtmr]).await, ["tdx.measurement.rtmr2 rtmr2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reasons_of_both_are_told_together() {
    let broker = broker_with(ATTESTATION).await;
    assert_eq!(
        denied(&broker, &[Fault::OtherRtmr]).await,
        ["tdx.measurement.rtmr2 rtmr2", "rego.not-affirming rego.attestation: executables"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_can_not_be_used_is_refused_when_it_is_set() {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    for (rego, code, told) in [
        ("resource = '''package policy\nallow := {'''", "policy.rego", "parsed"),
        ("resource = '''package other'''", "policy.rego", "package"),
        (
            "attestation = '''package policy\nhardware := rand.intn(\"a\", 3)'''",
            "policy.rego",
            "rand",
        ),
        ("", "policy.malformed", "without a policy"),
        ("allow = '''package policy'''", "policy.malformed", "unknown field"),
    ] {
        let refused = broker.admin(Method::PUT, "/adyton/v1/policies", release_policy(rego)).await;
        assert_eq!(refused.status, 400, "{rego}");
        let error = refused.json()["error"].clone();
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].as_str().expect("text").contains(told), "{error}");
    }
    // The policy from before is still in force.
    let guest = broker.attest().await;
    assert_eq!(broker.ask(&guest, KEY_PATH).await.status, 200);
}
