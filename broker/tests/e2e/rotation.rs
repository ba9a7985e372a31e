//! A key's next epoch, manifests that follow it, and the end of the old one.

use adyton_attestation::rcar::{JweExtras, ResourcePath, TeePublicKey, jwe};
use adyton_sealed_weights::{
    KeyId, Manifest, ModelKey, NoProgress, OpenError, OpenOptions, Recipient, Requirements,
    SealJob, SealOptions, SealedModel, SwapPolicy, TargetPolicy,
};
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Guest, KEY, KEY_PATH, Reply, TestBroker, kid_json, unwrap_key};

async fn rotate(broker: &TestBroker) -> Reply {
    broker.admin(Method::POST, "/adyton/v1/keys/rotate", kid_json(KEY)).await
}

async fn retire(broker: &TestBroker, kid: &str) -> Reply {
    broker.admin(Method::POST, "/adyton/v1/keys/retire", kid_json(kid)).await
}

async fn rewrap(broker: &TestBroker, manifest: &str, add: Value, remove: Value) -> Reply {
    let body = json!({ "manifest": manifest, "add": add, "remove": remove }).to_string();
    broker.admin(Method::POST, "/adyton/v1/manifests", body).await
}

fn code(reply: &Reply) -> (u16, String) {
    let code = reply.json()["error"]["code"].as_str().expect("a code").to_owned();
    (reply.status.as_u16(), code)
}

/// The model key of this epoch, as an attested guest gets it.
async fn released(broker: &TestBroker, guest: &Guest, epoch: u32) -> ModelKey {
    let reply = broker.ask(guest, &format!("{KEY_PATH}?epoch={epoch}")).await;
    let mut bytes = unwrap_key(guest, &reply).plaintext;
    ModelKey::from_bytes(&mut bytes, KeyId::new(KEY, epoch).expect("id")).expect("key")
}

/// A model of one file, sealed to the broker's newest epoch.
async fn sealed(broker: &TestBroker) -> TempDir {
    let folder = tempfile::tempdir().expect("folder");
    let source = folder.path().join("plain");
    std::fs::create_dir(&source).expect("folder");
    std::fs::write(source.join("config.json"), b"{\"a\":1}").expect("file");
    let options = SealOptions { name: "kjv".into(), version: 3, allow_formats: vec![], threads: 1 };
    let job = SealJob::new(&source, &folder.path().join("sealed"), options).expect("a job");
    let reply = broker.admin(Method::GET, "/adyton/v1/wrapping-key", String::new()).await;
    let wrapping_key: TeePublicKey = serde_json::from_value(reply.json()).expect("JWK");
    let resource = Some(ResourcePath::parse(KEY_PATH).expect("path"));
    let extras = JweExtras { resource, minimum_model_version: None };
    let content_key = jwe::encrypt(&wrapping_key, job.content_key_for_wrapping().as_ref(), &extras);
    let content_key = content_key.expect("encrypted");
    let body = json!({ "kid": KEY, "model_id": job.model_id(), "content_key": content_key });
    let reply = broker.admin(Method::POST, "/adyton/v1/recipients", body.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let recipient: Recipient =
        serde_json::from_value(reply.json()["recipient"].clone()).expect("recipient");
    job.run(vec![recipient], &NoProgress).expect("sealed");
    folder
}

fn opened(folder: &TempDir, key: &ModelKey) -> Result<Vec<u8>, OpenError> {
    let model = SealedModel::load(&folder.path().join("sealed"))?;
    let target = tempfile::tempdir().expect("folder");
    let options = OpenOptions {
        filesystems: TargetPolicy::InsecureAnyFilesystem,
        swap: SwapPolicy::InsecureAllow,
        ..OpenOptions::default()
    };
    let unlocked = model.unlock(key, &Requirements::default())?;
    let opened = unlocked.open_with(target.path(), &options, &NoProgress)?;
    Ok(std::fs::read(opened.path().join("config.json")).expect("plaintext"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_has_new_bytes_and_the_old_epoch_stays_in_force() {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    let made = rotate(&broker).await;
    assert_eq!((made.status.as_u16(), &made.json()["epoch"]), (201, &json!(2)));
    let guest = broker.attest().await;
    let newest = unwrap_key(&guest, &broker.ask(&guest, KEY_PATH).await).plaintext;
    let second = broker.ask(&guest, &format!("{KEY_PATH}?epoch=2")).await;
    assert_eq!(unwrap_key(&guest, &second).plaintext, newest);
    let first = broker.ask(&guest, &format!("{KEY_PATH}?epoch=1")).await;
    assert_ne!(unwrap_key(&guest, &first).plaintext, newest);
    let unknown = kid_json("kbs:///acme/model-key/other");
    let refused = broker.admin(Method::POST, "/adyton/v1/keys/rotate", unknown).await;
    assert_eq!(code(&refused), (404, "key.unknown".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_epoch_is_released_to_nobody_and_seals_nothing_also_after_a_restart() {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    rotate(&broker).await;
    let guest = broker.attest().await;
    released(&broker, &guest, 1).await;
    let retired = retire(&broker, &format!("{KEY}?epoch=1")).await;
    assert_eq!(retired.status, 200, "{}", retired.text());
    let again = retire(&broker, &format!("{KEY}?epoch=1")).await;
    assert_eq!(again.json()["retired_at"], retired.json()["retired_at"]);

    let (folder, tee, config) = broker.stop().await;
    let broker = TestBroker::start_in(folder, tee, config).await.expect("starts again");
    let guest = broker.attest().await;
    let refused = broker.ask(&guest, &format!("{KEY_PATH}?epoch=1")).await;
    assert_eq!((refused.refusal().0, refused.refusal().2), (403, vec!["key.retired".into()]));
    let reason = &broker.decision(&refused).await["reasons"][0];
    assert_eq!(reason["got"], format!("{KEY}?epoch=1"));
    assert!(reason["expected"].as_str().expect("text").ends_with("the newest is 2"), "{reason}");
    released(&broker, &guest, 2).await;

    let model = sealed(&broker).await;
    let text = std::fs::read_to_string(model.path().join("sealed/model.json")).expect("manifest");
    let refused = rewrap(&broker, &text, json!([format!("{KEY}?epoch=1")]), json!([])).await;
    assert_eq!(code(&refused), (409, "key.retired".into()));
    let log = std::fs::read_to_string(broker.state_dir().join("audit.jsonl")).expect("audit log");
    assert!(log.contains("\"key-rotated\"") && log.contains("\"key-retired\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_epoch_and_one_that_is_not_there_are_not_retired() {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    let newest = retire(&broker, &format!("{KEY}?epoch=1")).await;
    assert_eq!(code(&newest), (409, "key.newest".into()));
    let unknown = retire(&broker, &format!("{KEY}?epoch=2")).await;
    assert_eq!(code(&unknown), (404, "key.unknown".into()));
    assert_eq!(code(&retire(&broker, KEY).await), (400, "body.malformed".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_follows_a_rotation_and_its_objects_stay_as_they_are() {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    let model = sealed(&broker).await;
    let guest = broker.attest().await;
    let old_key = released(&broker, &guest, 1).await;
    let object = model.path().join("sealed/config.json.sealed");
    let before = std::fs::read(&object).expect("object");
    assert_eq!(opened(&model, &old_key).expect("opens"), b"{\"a\":1}");

    rotate(&broker).await;
    let path = model.path().join("sealed/model.json");
    let text = std::fs::read_to_string(&path).expect("manifest");
    // Without an epoch: the newest.
    let reply = rewrap(&broker, &text, json!([KEY]), json!([format!("{KEY}?epoch=1")])).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let changed = reply.json()["manifest"].as_str().expect("text").to_owned();
    std::fs::write(&path, &changed).expect("written");

    let new_key = released(&broker, &guest, 2).await;
    assert_eq!(opened(&model, &new_key).expect("opens"), b"{\"a\":1}");
    assert!(matches!(opened(&model, &old_key), Err(OpenError::NoRecipient { .. })));
    assert_eq!(std::fs::read(&object).expect("object"), before);

    // A retired epoch still re-wraps: no model is lost by forgetting one.
    assert_eq!(retire(&broker, &format!("{KEY}?epoch=1")).await.status, 200);
    let late = rewrap(&broker, &text, json!([KEY]), json!([format!("{KEY}?epoch=1")])).await;
    assert_eq!(late.status, 200, "{}", late.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_recipient_is_added_and_removed_and_both_are_on_record() {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    let other = "kbs:///acme/model-key/dr";
    broker.admin(Method::POST, "/adyton/v1/keys", kid_json(other)).await;
    let model = sealed(&broker).await;
    let text = std::fs::read_to_string(model.path().join("sealed/model.json")).expect("manifest");
    let kids = |reply: &Reply| {
        let text = reply.json()["manifest"].as_str().expect("text").to_owned();
        let manifest = Manifest::parse(text.as_bytes()).expect("manifest");
        let kids = manifest.recipients().iter().map(|r| r.kid().to_string());
        (kids.collect::<Vec<_>>(), text)
    };
    let (both, text) = kids(&rewrap(&broker, &text, json!([other]), json!([])).await);
    assert_eq!(both, [format!("{KEY}?epoch=1"), format!("{other}?epoch=1")]);
    let (one, _) = kids(&rewrap(&broker, &text, json!([]), json!([both[0]])).await);
    assert_eq!(one, both[1..]);
    let none = rewrap(&broker, &text, json!([]), json!(both)).await;
    assert_eq!(code(&none), (409, "manifest.recipients".into()));
    let log = std::fs::read_to_string(broker.state_dir().join("audit.jsonl")).expect("audit log");
    assert_eq!(log.matches("\"recipients-changed\"").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_was_edited_or_is_somebody_elses_gets_no_new_mac() {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    let model = sealed(&broker).await;
    let text = std::fs::read_to_string(model.path().join("sealed/model.json")).expect("manifest");
    let add = json!([KEY]);
    for (edited, status, expected) in [
        (text.replace("\"version\": 3", "\"version\": 4"), 422, "manifest.mac"),
        (text.replace("model-key/kjv", "model-key/other"), 422, "manifest.no-key"),
        (text.replace("\"salt\"", "\"Salt\""), 400, "body.malformed"),
        (" ".repeat(34 << 20), 413, "body.too-large"),
    ] {
        assert_ne!(edited, text);
        let reply = rewrap(&broker, &edited, add.clone(), json!([])).await;
        assert_eq!(code(&reply), (status, expected.into()));
    }
    // There already, at the newest epoch.
    let reply = rewrap(&broker, &text, add, json!([])).await;
    assert_eq!(code(&reply), (409, "manifest.recipients".into()));
}
