//! OCI registries, as one of somebody else speaks it: pushed, pulled, spoiled on the way.

mod stand;

use std::sync::{Arc, Mutex};

use adyton_model_store::oci::{Digest, Manifest};
use adyton_model_store::{
    Access, Credentials, Existing, Fault, PushError, PushReport, Source, StoreError, StoreSettings,
    Tags, push,
};
use adyton_sealed_weights::{NoProgress, Storage, StorageError};
use stand::model::Model;
use stand::objects::{self, Server};
use stand::registry::Registry;
use stand::{Answer, Gate, Request, Spoil, fault_of, is_refused, is_unavailable};

struct Stand {
    registry: Registry,
    gate: Gate,
    settings: StoreSettings,
    model: Model,
}

impl Stand {
    fn new() -> Option<Self> {
        let registry = Registry::start("")?;
        let gate = Gate::before_server(registry.address);
        let settings = settings(&gate);
        Some(Self { registry, gate, settings, model: Model::seal() })
    }

    fn push(&self, to: &str) -> Result<PushReport, PushError> {
        let to = stand::source(to);
        push(&self.model.sealed(), &to, &self.settings, Existing::Keep, &NoProgress)
    }

    fn pushed(&self) -> Source {
        self.push("oci://registry.example/acme/x:v1").expect("pushed").source
    }

    fn storage(&self, of: &Source) -> Arc<dyn Storage> {
        of.storage(&self.settings).expect("storage")
    }

    fn read(&self, of: &Source) -> Result<(), StorageError> {
        let object = self.storage(of).open("weights.dat.sealed")?;
        let mut buffer = vec![0; 1 << 20];
        object.read_exact_at(4096, &mut buffer)?;
        let whole = std::fs::read(self.model.sealed().join("weights.dat.sealed")).expect("read");
        assert!(whole[4096..4096 + buffer.len()] == buffer, "other bytes");
        Ok(())
    }
}

fn settings(gate: &Gate) -> StoreSettings {
    StoreSettings { endpoint: Some(gate.url().parse().expect("a URL")), ..stand::settings() }
}

/// A registry in memory, with one manifest that is named by `digest`.
fn registry_with(manifest: &[u8], digest: Digest) -> (Gate, Source) {
    let name = format!("v2/acme/x/manifests/{digest}");
    let objects = objects::of(&[(name.as_str(), manifest.to_vec())]);
    let gate = Gate::before(objects::behind(objects, Server::Conditional));
    (gate, stand::source(&format!("oci://registry.example/acme/x@{digest}")))
}

#[test]
fn a_model_that_was_pushed_to_a_registry_opens_by_its_digest() {
    let Some(stand) = Stand::new() else { return };
    let report = stand.push("oci://registry.example/acme/x:v1").expect("pushed");
    assert_eq!((report.sent, report.skipped), (4, 0));
    let address = report.source.to_string();
    assert!(address.starts_with("oci://registry.example/acme/x@sha256:"), "{address}");
    stand.model.opens_from(stand.storage(&stand::source(&address)));
}

#[test]
fn what_is_in_the_registry_already_is_not_sent_again() {
    let Some(stand) = Stand::new() else { return };
    let first = stand.pushed();
    let report = stand.push("oci://registry.example/acme/x").expect("pushed");
    assert_eq!((report.sent, report.skipped, report.source), (0, 4, first));
}

#[test]
fn a_tag_without_a_digest_is_refused_unless_it_is_allowed() {
    let Some(stand) = Stand::new() else { return };
    stand.pushed();
    for address in ["oci://registry.example/acme/x:v1", "oci://registry.example/acme/x"] {
        let refused = stand::source(address).storage(&stand.settings);
        assert!(matches!(refused, Err(StoreError::Tag { .. })), "{refused:?}");
    }
    let settings = StoreSettings { tags: Tags::InsecureAllow, ..stand.settings.clone() };
    let source = stand::source("oci://registry.example/acme/x:v1");
    stand.model.opens_from(source.storage(&settings).expect("storage"));
}

#[test]
fn faults_on_the_way_are_recovered_from() {
    let Some(stand) = Stand::new() else { return };
    let source = stand.pushed();
    for spoil in [
        Spoil::Drip,
        Spoil::Status(500, vec![]),
        Spoil::Status(503, vec![("Retry-After", "0".to_owned())]),
        Spoil::Status(416, vec![]),
        Spoil::CutAfter(500_000),
        Spoil::ContentRange("bytes 0-1048575/9480192"),
        Spoil::ShorterBy(7),
    ] {
        stand.gate.spoil_part(spoil.clone());
        stand.read(&source).unwrap_or_else(|error| panic!("{spoil:?}: {error:?}"));
    }
}

#[test]
fn a_chunk_that_failed_is_sent_again_from_where_the_upload_stands() {
    let Some(stand) = Stand::new() else { return };
    stand.gate.spoil(|r| r.method == "PATCH", Spoil::Status(503, vec![]));
    let source = stand.pushed();
    stand.model.opens_from(stand.storage(&source));
}

#[test]
fn a_push_that_was_broken_off_left_no_artifact() {
    let Some(stand) = Stand::new() else { return };
    stand.gate.spoil(|r| r.target.contains("/manifests/"), Spoil::Status(403, vec![]));
    let error = stand.push("oci://registry.example/acme/x:v1").expect_err("broken off");
    assert!(matches!(&error, PushError::Fault { source, .. } if source.code() == "refused"));
    let settings = StoreSettings { tags: Tags::InsecureAllow, ..stand.settings.clone() };
    let storage = stand::source("oci://registry.example/acme/x:v1").storage(&settings);
    let read = storage.expect("storage").read_small("model.json", 1 << 20);
    assert!(matches!(read, Err(StorageError::Missing)), "{read:?}");
}

#[test]
fn another_manifest_than_the_digest_names_is_not_taken() {
    let (gate, source) = registry_with(b"{}", Digest::of(b"another"));
    let storage = source.storage(&settings(&gate)).expect("storage");
    let error = storage.open("x.sealed").expect_err("another");
    assert!(is_unavailable(&error, "digest"), "{error:?}");
    assert!(matches!(fault_of(&error), Fault::Digest { expected, .. }
        if *expected == Digest::of(b"another").to_string()));
}

#[test]
fn an_artifact_of_another_kind_is_refused() {
    let manifest = br#"{"schemaVersion":2,"layers":[],"mediaType":"application/x"}"#;
    let (gate, source) = registry_with(manifest, Digest::of(manifest));
    let storage = source.storage(&settings(&gate)).expect("storage");
    let error = storage.open("x.sealed").expect_err("another kind");
    assert!(is_refused(&error, "not-a-sealed-model"), "{error:?}");
    assert_eq!(gate.log().len(), 1);
}

#[test]
fn a_manifest_without_end_is_cut_off_and_not_taken() {
    let manifest = vec![b' '; 5 << 20];
    let (gate, source) = registry_with(&manifest, Digest::of(&manifest));
    let storage = source.storage(&settings(&gate)).expect("storage");
    let error = storage.open("x.sealed").expect_err("too large");
    assert!(is_unavailable(&error, "digest"), "{error:?}");
}

#[test]
fn a_small_object_with_other_bytes_than_its_digest_names_is_not_taken() {
    let Some(stand) = Stand::new() else { return };
    let source = stand.pushed();
    let storage = stand.storage(&source);
    let genuine = storage.read_small("model.json", 1 << 20).expect("read");
    let behind = stand.registry.address;
    let liar = Gate::before(Arc::new(move |request: &Request| {
        let mut answer = stand::forward(behind, request);
        if request.target.contains("/blobs/") {
            answer.body[0] ^= 1;
        }
        answer
    }));
    let storage = source.storage(&settings(&liar)).expect("storage");
    let error = storage.read_small("model.json", 1 << 20).expect_err("other bytes");
    assert!(is_unavailable(&error, "digest"), "{error:?}");
    assert!(!genuine.is_empty());
}

#[test]
fn a_token_is_asked_for_once_where_the_registry_says() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let tokens = Gate::before(Arc::new(move |request: &Request| {
        log.lock().expect("lock").push(request.clone());
        Answer { body: br#"{"token":"t0ken"}"#.to_vec(), ..Answer::new(200) }
    }));
    let auth = format!("auth: {{silly: {{realm: {}/token, service: acme}}}}\n", tokens.url());
    let Some(registry) = Registry::start(&auth) else { return };
    let gate = Gate::before_server(registry.address);
    let text = b"username = u5er\npassword = 5ecret";
    let credentials = Credentials::take(&mut text.to_vec()).expect("credentials");
    let access = Access::Credentials(Arc::new(credentials));
    let settings = StoreSettings { access, ..settings(&gate) };
    let model = Model::seal();
    let to = stand::source("oci://registry.example/acme/x:v1");
    let report =
        push(&model.sealed(), &to, &settings, Existing::Keep, &NoProgress).expect("pushed");
    model.opens_from(report.source.storage(&settings).expect("storage"));

    let asked = asked.lock().expect("lock");
    assert!(asked.iter().all(|r| r.field("authorization") == Some("Basic dTVlcjo1ZWNyZXQ=")));
    assert!(asked[0].target.starts_with("/token?service=acme&scope=repository%3Aacme%2Fx%3A"));
    // The password is for the token service alone.
    let shown: Vec<_> =
        gate.log().iter().filter_map(|r| r.field("authorization").map(str::to_owned)).collect();
    assert!(!shown.is_empty() && shown.iter().all(|value| value == "Bearer t0ken"), "{shown:?}");
}

#[test]
fn a_registry_that_wants_a_password_and_gets_none_refuses() {
    let behind = |_: &Request| Answer::new(401).field("WWW-Authenticate", "Basic realm=\"x\"");
    let gate = Gate::before(Arc::new(behind));
    let source = stand::source(&format!("oci://registry.example/acme/x@{}", Digest::of(b"")));
    let storage = source.storage(&settings(&gate)).expect("storage");
    let error = storage.open("x.sealed").expect_err("refused");
    assert!(is_refused(&error, "refused"), "{error:?}");
    assert_eq!(gate.log().len(), 1);
}

#[test]
fn the_same_model_always_makes_the_same_artifact() {
    let Some(stand) = Stand::new() else { return };
    let first = stand.pushed();
    let second = stand.push("oci://registry.example/other/name").expect("pushed").source;
    let digest = |source: &Source| source.to_string().split_once('@').map(|(_, d)| d.to_owned());
    assert_eq!(digest(&first), digest(&second));
    let manifest = stand
        .gate
        .log()
        .into_iter()
        .find(|r| r.method == "PUT" && r.target.contains("/manifests/"))
        .expect("a manifest");
    let manifest = Manifest::parse(&manifest.body).expect("a sealed model");
    let mut names: Vec<_> = manifest.layers().map(|(name, _)| name.to_owned()).collect();
    names.sort();
    let mut expected = stand.model.names();
    expected.sort();
    assert_eq!(names, expected);
}
