//! Sealed models that lie elsewhere, with the real binary: reached, refused, with credentials of the broker.

mod support;

use support::kbs::Fault;
use support::store::Store;
use support::world::{CANARY, World, set};

const CREDENTIALS_PATH: &str = "acme/credentials/store";
const TOKEN: &str = "t0ken-9c41";

fn config(world: &World, store: &Store) -> toml::Table {
    let mut config = world.config();
    set(&mut config, "model", "source", store.url());
    config
}

fn in_store(config: &mut toml::Table, key: &str, value: impl Into<toml::Value>) {
    let model = config["model"].as_table_mut().expect("a section");
    let store = model.entry("store").or_insert_with(|| toml::Table::new().into());
    store.as_table_mut().expect("a section").insert(key.to_owned(), value.into());
}

fn by_kid(world: &World, store: &Store) -> toml::Table {
    let mut config = config(world, store);
    in_store(&mut config, "credentials_kid", format!("kbs:///{CREDENTIALS_PATH}"));
    config
}

/// Waits for the opened model, and ends the sidecar; its log, as text.
async fn opens(world: &World, config: &toml::Table) -> String {
    let (sidecar, _proxy) = world.serving_with(config).await;
    let opened = world.target.path().join("model/config.json");
    assert!(std::fs::read_to_string(opened).expect("opened").contains(CANARY));
    sidecar.terminate();
    let ended = sidecar.end().await;
    assert_eq!(ended.code, Some(0));
    world.assert_target_is_clean();
    format!("{:?}", ended.log)
}

/// The code of the refusal, and how the sidecar ended.
async fn refused(world: &World, config: &toml::Table) -> (String, Option<i32>) {
    let ended = world.start_with(config).end().await;
    world.assert_target_is_clean();
    let [refusal] = ended.refusals().try_into().expect("one refusal");
    (refusal["code"].as_str().expect("text").to_owned(), ended.code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_on_a_web_server_is_opened() {
    let world = World::new().await;
    let store = Store::start(&world.sealed(), None);
    opens(&world, &config(&world, &store)).await;
    assert!(store.served() >= 5);
    assert_eq!(world.kbs.requests(), ["auth", "attest", "resource"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_released_in_the_same_session_as_the_key_and_told_to_nobody() {
    let world = World::new().await;
    let store = Store::start(&world.sealed(), Some(TOKEN));
    world.kbs.put_key(CREDENTIALS_PATH, format!("bearer_token = {TOKEN}\n").as_bytes());
    let log = opens(&world, &by_kid(&world, &store)).await;
    assert_eq!(world.kbs.requests(), ["auth", "attest", "resource", "resource"]);
    assert!(log.contains("credentials of the store were released"), "{log}");
    assert!(!log.contains(TOKEN), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_in_a_file_are_used_and_told_to_nobody() {
    let world = World::new().await;
    let store = Store::start(&world.sealed(), Some(TOKEN));
    let file = world.path("credentials");
    std::fs::write(&file, format!("bearer_token = {TOKEN}")).expect("written");
    let mut config = config(&world, &store);
    in_store(&mut config, "credentials_file", file.display().to_string());
    let log = opens(&world, &config).await;
    assert!(!log.contains(TOKEN), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_the_broker_does_not_release_end_the_start_before_the_store_is_asked() {
    let world = World::new().await;
    let store = Store::start(&world.sealed(), Some(TOKEN));
    let refusal = Fault::refusal(401, "PolicyDeny", "01J", &["policy.denied"]);
    world.kbs.next("resource", [refusal]);
    let (_, code) = refused(&world, &by_kid(&world, &store)).await;
    assert_eq!(code, Some(11));
    assert_eq!(store.served(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_that_is_no_credentials_is_refused() {
    let world = World::new().await;
    let store = Store::start(&world.sealed(), Some(TOKEN));
    world.kbs.put_key(CREDENTIALS_PATH, b"just a secret");
    let found = refused(&world, &by_kid(&world, &store)).await;
    assert_eq!(found, ("release.credentials".to_owned(), Some(30)));
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_another_kind_are_refused_before_the_store_is_asked() {
    let world = World::new().await;
    let store = Store::start(&world.sealed(), Some(TOKEN));
    world.kbs.put_key(CREDENTIALS_PATH, b"access_key_id = A\nsecret_access_key = B\n");
    let found = refused(&world, &by_kid(&world, &store)).await;
    assert_eq!(found, ("weights.store".to_owned(), Some(2)));
    assert_eq!(store.served(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_is_told_apart_from_one_that_is_not_there() {
    let world = World::new().await;
    let store = Store::start(&world.sealed(), Some(TOKEN));
    let found = refused(&world, &config(&world, &store)).await;
    assert_eq!(found, ("weights.store-refused".to_owned(), Some(2)));

    let mut config = world.config();
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let nobody = port.local_addr().expect("address");
    drop(port);
    set(&mut config, "model", "source", format!("http://{nobody}/x"));
    in_store(&mut config, "attempts", 1);
    let found = refused(&world, &config).await;
    assert_eq!(found, ("weights.store-unavailable".to_owned(), Some(1)));
    assert!(world.kbs.requests().is_empty(), "nobody was asked for a key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_was_cut_where_it_lies_is_an_integrity_failure() {
    let world = World::new().await;
    let object = world.sealed().join("model.safetensors.sealed");
    let bytes = std::fs::read(&object).expect("read");
    std::fs::write(&object, &bytes[..bytes.len() - 1]).expect("written");
    let store = Store::start(&world.sealed(), None);
    let found = refused(&world, &config(&world, &store)).await;
    assert_eq!(found, ("weights.object-not-authentic".to_owned(), Some(14)));
}
