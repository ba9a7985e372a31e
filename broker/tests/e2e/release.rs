//! The main job: an accepted TEE gets its key, and everything about it is on record.

use adyton_attestation::rcar::{JweExtras, ResourcePath, TeePublicKey, jwe};
use adyton_broker::audit::verify_chain;
use adyton_sealed_weights::{ContentKey, KeyId, ModelId, ModelKey, Recipient};
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::harness::{KEY, KEY_PATH, TestBroker, unwrap_key};

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_td_gets_the_key_and_the_minimum_version() {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    let guest = broker.attest().await;
    let unwrapped = unwrap_key(&guest, &broker.ask(&guest, KEY_PATH).await);
    assert_eq!(unwrapped.plaintext.len(), 32);
    assert_eq!(unwrapped.minimum_model_version, Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_the_same_for_every_td_and_after_a_restart() {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    let (first, second) = (broker.attest().await, broker.attest().await);
    let key = unwrap_key(&first, &broker.ask(&first, KEY_PATH).await).plaintext;
    assert_eq!(unwrap_key(&second, &broker.ask(&second, KEY_PATH).await).plaintext, key);
    let (folder, tee, config) = broker.stop().await;
    let broker = TestBroker::start_in(folder, tee, config).await.expect("starts again");
    let third = broker.attest().await;
    assert_eq!(unwrap_key(&third, &broker.ask(&third, KEY_PATH).await).plaintext, key);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attested_session_may_ask_again_and_for_another_key() {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    let other = "kbs:///acme/model-key/other";
    broker.admin(Method::POST, "/adyton/v1/keys", json!({ "kid": other }).to_string()).await;
    let guest = broker.attest().await;
    let denied = broker.ask(&guest, "acme/model-key/other").await;
    assert_eq!(denied.refusal().2, ["policy.missing"]);
    broker.set_policy(other, "").await;
    assert_eq!(broker.ask(&guest, "acme/model-key/other").await.status, 200);
    assert_eq!(broker.ask(&guest, KEY_PATH).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_found_by_its_epoch_and_by_no_other() {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    let guest = broker.attest().await;
    let newest = unwrap_key(&guest, &broker.ask(&guest, KEY_PATH).await).plaintext;
    let first = broker.ask(&guest, &format!("{KEY_PATH}?epoch=1")).await;
    assert_eq!(unwrap_key(&guest, &first).plaintext, newest);
    let second = broker.ask(&guest, &format!("{KEY_PATH}?epoch=2")).await;
    assert_eq!((second.refusal().0, second.refusal().2), (404, vec!["key.unknown".into()]));
    for epoch in ["0", "x", "", "-1", "4294967296"] {
        let reply = broker.ask(&guest, &format!("{KEY_PATH}?epoch={epoch}")).await;
        assert_eq!(reply.refusal(), (404, "InvalidRequestPath".into(), vec![]), "{epoch}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_opens_what_the_cookie_opens() {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    let guest = broker.attest().await;
    let ask = |token: String| {
        let request = Request::get(format!("/kbs/v0/resource/{KEY_PATH}"))
            .header("host", "localhost")
            .header("authorization", format!("Bearer {token}"))
            .body(Full::default())
            .expect("request");
        broker.kbs_request(request)
    };
    let reply = ask(guest.attested.token().to_owned()).await;
    unwrap_key(&guest, &reply);
    let forged = ask(format!("{}A", guest.attested.token())).await;
    assert_eq!(forged.refusal(), (401, "TokenNotFound".into(), vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_in_the_decision_log_and_in_an_unbroken_audit_chain() {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    let guest = broker.attest().await;
    let reply = broker.ask(&guest, KEY_PATH).await;
    let key = hex::encode(&*unwrap_key(&guest, &reply).plaintext);

    let decisions = broker.admin(Method::GET, "/adyton/v1/decisions?limit=1", String::new()).await;
    let decision = decisions.json()["decisions"][0].clone();
    assert_eq!(decision["outcome"], "released");
    assert_eq!(decision["kid"], format!("{KEY}?epoch=1"));
    assert_eq!(decision["reasons"], json!([]));
    assert_eq!(decision["matched_reference_values"], "fake-td");
    assert_eq!(decision["claims"]["tcb_status"], "UpToDate");

    let log = std::fs::read_to_string(broker.state_dir().join("audit.jsonl")).expect("audit log");
    let summary = verify_chain(log.as_bytes(), 0).expect("unbroken");
    let last: Value = serde_json::from_str(log.lines().last().expect("a line")).expect("JSON");
    let record = &last["record"];
    assert_eq!(record["seq"], summary.head.seq);
    assert_eq!(record["event"], "key-released");
    assert_eq!(record["decision"], decision["id"]);
    assert_eq!(record["details"]["claim.mrtd"], decision["claims"]["mrtd"]);
    assert!(!log.contains(&key) && !decision.to_string().contains(&key));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_key_wrapped_by_the_broker_opens_with_the_released_key() {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    let reply = broker.admin(Method::GET, "/adyton/v1/wrapping-key", String::new()).await;
    let wrapping_key: TeePublicKey = serde_json::from_value(reply.json()).expect("JWK");
    let content_key = ContentKey::generate().expect("key");
    let model_id = ModelId::generate().expect("id");
    let extras = JweExtras {
        resource: Some(ResourcePath::parse(KEY_PATH).expect("path")),
        minimum_model_version: None,
    };
    let jwe = jwe::encrypt(&wrapping_key, content_key.content_key_for_wrapping().as_ref(), &extras)
        .expect("encrypted");
    let body = json!({ "kid": KEY, "model_id": model_id, "content_key": jwe }).to_string();
    let reply = broker.admin(Method::POST, "/adyton/v1/recipients", body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let recipient: Recipient =
        serde_json::from_value(reply.json()["recipient"].clone()).expect("recipient");

    let guest = broker.attest().await;
    let mut released = unwrap_key(&guest, &broker.ask(&guest, KEY_PATH).await).plaintext;
    let id = KeyId::new(KEY, 1).expect("id");
    let model_key = ModelKey::from_bytes(&mut released, id).expect("key");
    let opened = recipient.unwrap(&model_key, &model_id).expect("opens");
    let (opened, content_key) =
        (opened.content_key_for_wrapping(), content_key.content_key_for_wrapping());
    assert_eq!(opened, content_key);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_equal_attestations_at_once_one_is_accepted() {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    let (cookie, attestation, _) = broker.prepared().await;
    let replies = (0..16).map(|_| broker.send_attestation(Some(&cookie), &attestation));
    let mut accepted = 0;
    for reply in join_all(replies).await {
        accepted += usize::from(reply.status == 200);
    }
    assert_eq!(accepted, 1);
}

/// Polls all futures together.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let std::task::Poll::Ready(done) = future.as_mut().poll(context)
            {
                *output = Some(done);
            }
        }
        match outputs.iter().all(Option::is_some) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    outputs.into_iter().flatten().collect()
}
