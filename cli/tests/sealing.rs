//! Sealing and inspecting, without a broker and with a stub of one.

mod stand;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use adyton_attestation::rcar::{JweResponse, ResourcePath, TeeKeyPair};
use adyton_sealed_weights::{
    ContentKey, KeyId, ModelId, ModelKey, NoProgress, OpenOptions, Recipient, Requirements,
    SealedModel, SwapPolicy, TargetPolicy,
};
use serde_json::json;
use stand::{Answer, Exchange, Stand};

const KID: &str = "kbs:///acme/model-key/llama";

fn model(stand: &Stand) {
    let folder = stand.path("llama");
    fs::create_dir_all(folder.join("sub")).expect("folder");
    fs::write(folder.join("config.json"), b"{\"architectures\":[\"Llama\"]}").expect("write");
    fs::write(folder.join("sub/tokenizer.json"), vec![b' '; 70_000]).expect("write");
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("list")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The plaintext of `sub/tokenizer.json`, through the library.
fn opened(folder: &Path, key: &ModelKey) -> Vec<u8> {
    let sealed = SealedModel::load(folder).expect("a sealed model");
    let unlocked = sealed.unlock(key, &Requirements::default()).expect("the right key");
    let target = tempfile::tempdir().expect("temporary folder");
    let options = OpenOptions {
        filesystems: TargetPolicy::InsecureAnyFilesystem,
        swap: SwapPolicy::InsecureAllow,
        ..OpenOptions::default()
    };
    let opened = unlocked.open_with(target.path(), &options, &NoProgress).expect("opens");
    fs::read(opened.path().join("sub/tokenizer.json")).expect("plaintext")
}

#[test]
fn a_model_sealed_under_a_key_file_is_inspected_and_opens_again() {
    let stand = Stand::new();
    model(&stand);
    stand.write_secret("model.key", &[7; 32]);
    let ran = stand.run(&[
        "seal",
        "llama",
        "out",
        "--name",
        "acme/llama",
        "--version",
        "3",
        "--kid",
        KID,
        "--model-key-file",
        "model.key",
    ]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    assert!(ran.out.starts_with("✓ sealed\n  model       acme/llama version 3\n"), "{}", ran.out);
    assert!(ran.out.contains(&format!("opens with  {KID}?epoch=1\n")), "{}", ran.out);

    let ran = stand.run(&["inspect", "out"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.starts_with("! Nothing below is authenticated"), "{}", ran.out);
    assert!(ran.out.contains("FILE                SIZE      FORMAT\n"), "{}", ran.out);
    assert!(ran.out.contains("sub/tokenizer.json  68.4 KiB  "), "{}", ran.out);

    let ran = stand.run(&["inspect", "out", "--model-key-file", "model.key", "--output", "json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.json()["authenticated"], true);
    assert_eq!(ran.json()["version"], 3);

    let key = ModelKey::from_bytes(&mut [7; 32], KeyId::new(KID, 1).expect("id")).expect("key");
    assert_eq!(opened(&stand.path("out"), &key), vec![b' '; 70_000]);
}

#[test]
fn an_edited_manifest_does_not_authenticate() {
    let stand = Stand::new();
    model(&stand);
    stand.write_secret("model.key", &[7; 32]);
    stand.run(&[
        "seal",
        "llama",
        "out",
        "--name",
        "llama",
        "--version",
        "3",
        "--kid",
        KID,
        "--model-key-file",
        "model.key",
    ]);
    let path = stand.path("out/model.json");
    let text = fs::read_to_string(&path).expect("manifest");
    let edited =
        text.replace("\"version\":3", "\"version\":4").replace("\"version\": 3", "\"version\": 4");
    assert_ne!(text, edited);
    fs::write(&path, edited).expect("write");
    let ran = stand.run(&["inspect", "out", "--model-key-file", "model.key", "--output", "json"]);
    assert_eq!(ran.code, 14, "{ran:?}");
    assert_eq!(ran.error()["code"], "sealed-model.mac");
    assert_eq!(ran.out, "");
}

#[test]
fn another_key_does_not_authenticate() {
    let stand = Stand::new();
    model(&stand);
    stand.write_secret("model.key", &[7; 32]);
    stand.write_secret("other.key", &[8; 32]);
    stand.run(&[
        "seal",
        "llama",
        "out",
        "--name",
        "llama",
        "--version",
        "1",
        "--kid",
        KID,
        "--model-key-file",
        "model.key",
    ]);
    let ran = stand.run(&["inspect", "out", "--model-key-file", "other.key", "--output", "json"]);
    assert_eq!(ran.code, 14, "{ran:?}");
    assert_eq!(ran.error()["code"], "sealed-model.recipient");
}

#[test]
fn a_pickle_is_refused_by_name_and_nothing_is_written() {
    let stand = Stand::new();
    model(&stand);
    fs::write(stand.path("llama/weights.bin"), b"\x80\x04\x95.").expect("write");
    stand.write_secret("model.key", &[7; 32]);
    let before = names(stand.folder.path());
    let ran = stand.run(&[
        "seal",
        "llama",
        "out",
        "--name",
        "llama",
        "--version",
        "1",
        "--kid",
        KID,
        "--model-key-file",
        "model.key",
        "--output",
        "json",
    ]);
    assert_eq!(ran.code, 20, "{ran:?}");
    let error = ran.error();
    assert_eq!(error["code"], "seal.format-not-allowed");
    assert!(
        error["remedy"].as_str().is_some_and(|said| said.contains("--allow-format pickle")),
        "{error}"
    );
    assert_eq!(names(stand.folder.path()), before);
}

#[test]
fn an_output_that_exists_is_left_alone() {
    let stand = Stand::new();
    model(&stand);
    stand.write_secret("model.key", &[7; 32]);
    fs::create_dir(stand.path("out")).expect("folder");
    fs::write(stand.path("out/mine"), b"mine").expect("write");
    let ran = stand.run(&[
        "seal",
        "llama",
        "out",
        "--name",
        "llama",
        "--version",
        "1",
        "--kid",
        KID,
        "--model-key-file",
        "model.key",
        "--output",
        "json",
    ]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert_eq!(ran.error()["code"], "seal.output-exists");
    assert_eq!(names(&stand.path("out")), ["mine"]);
}

#[test]
fn a_key_file_is_the_key_of_one_name() {
    let stand = Stand::new();
    model(&stand);
    stand.write_secret("model.key", &[7; 32]);
    let ran = stand.run(&[
        "seal",
        "llama",
        "out",
        "--name",
        "llama",
        "--version",
        "1",
        "--kid",
        KID,
        "--kid",
        "kbs:///a/b/c",
        "--model-key-file",
        "model.key",
        "--output",
        "json",
    ]);
    assert_eq!(ran.code, 2);
    assert_eq!(ran.error()["code"], "key.count");
}

/// A broker that holds one model key and makes recipients of it.
fn keeper(seen: Arc<Mutex<Vec<[u8; 32]>>>) -> impl Fn(&Exchange) -> Answer + Send + Sync {
    let wrapping = TeeKeyPair::generate().expect("a wrapping key");
    move |exchange| match (exchange.method.as_str(), exchange.target.as_str()) {
        ("GET", "/adyton/v1/wrapping-key") => (200, json!(wrapping.public()).to_string()),
        ("POST", "/adyton/v1/recipients") => {
            let body = exchange.json();
            let kid = body["kid"].as_str().expect("kid").to_owned();
            if kid == "kbs:///acme/model-key/none" {
                let said = json!({"error": {"code": "key.not-found", "message": "no such key"}});
                return (404, said.to_string());
            }
            let jwe: JweResponse =
                serde_json::from_value(body["content_key"].clone()).expect("a JWE");
            let path = ResourcePath::from_uri(&kid).expect("a key URI");
            let unwrapped = wrapping.decrypt(&jwe, &path).expect("for us and this key");
            let mut content: [u8; 32] =
                unwrapped.plaintext.as_slice().try_into().expect("32 bytes");
            seen.lock().expect("not poisoned").push(content);
            let id: ModelId = body["model_id"].as_str().expect("id").parse().expect("a model id");
            let key =
                ModelKey::from_bytes(&mut [9; 32], KeyId::new(&kid, 4).expect("id")).expect("key");
            let content = ContentKey::from_bytes(&mut content).expect("a content key");
            let recipient = Recipient::wrap(&key, &id, &content).expect("a recipient");
            (200, json!({ "recipient": recipient }).to_string())
        }
        _ => (404, "{}".to_owned()),
    }
}

#[test]
fn a_model_sealed_with_a_broker_opens_with_the_brokers_key() {
    let seen = Arc::default();
    let (stand, server) = Stand::with_broker(keeper(Arc::clone(&seen)));
    model(&stand);
    let ran =
        stand.run(&["seal", "llama", "out", "--name", "llama", "--version", "1", "--kid", KID]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let key = ModelKey::from_bytes(&mut [9; 32], KeyId::new(KID, 4).expect("id")).expect("key");
    assert_eq!(opened(&stand.path("out"), &key).len(), 70_000);

    // The content key went over the wire to the wrapping key only, and into no output.
    let content = hex::encode(seen.lock().expect("not poisoned")[0]);
    for request in server.requests() {
        assert!(!hex::encode(&request.body).contains(&content));
    }
    assert!(!format!("{ran:?}").contains(&content));
}

#[test]
fn a_key_that_the_broker_does_not_have_stops_before_sealing() {
    let (stand, _server) = Stand::with_broker(keeper(Arc::default()));
    model(&stand);
    let before = names(stand.folder.path());
    let ran = stand.run(&[
        "seal",
        "llama",
        "out",
        "--name",
        "llama",
        "--version",
        "1",
        "--kid",
        "kbs:///acme/model-key/none",
        "--output",
        "json",
    ]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert_eq!(ran.error()["code"], "broker.not-found");
    assert_eq!(names(stand.folder.path()), before);
}
