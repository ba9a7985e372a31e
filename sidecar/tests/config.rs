//! Configurations with mistakes: all told at once, with what to do, before anything is bound.

mod support;

use std::os::unix::fs::PermissionsExt;

use adyton_sidecar::config::{Config, ConfigError};
use support::world::{World, set};

fn load(config: &toml::Table) -> Result<Config, ConfigError> {
    Config::from_toml(&config.to_string(), [])
}

fn mistakes(config: &toml::Table) -> Vec<(String, String)> {
    let error = load(config).expect_err("mistakes");
    for problem in error.problems() {
        assert!(!problem.expected.is_empty() && !problem.remedy.is_empty(), "{problem}");
    }
    error.problems().iter().map(|problem| (problem.key.clone(), problem.value.clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_mistakes_are_told_at_once() {
    let world = World::new().await;
    let mut config = world.config();
    config.insert("listen".into(), "here".into());
    set(&mut config, "attester", "kind", "sample");
    set(&mut config, "broker", "url", "http://broker");
    set(&mut config, "broker", "ca_file", "/nowhere/ca.pem");
    set(&mut config, "model", "source", "/nowhere");
    set(&mut config, "model", "target", "/");
    set(&mut config, "model", "key", "kbs:///too/short");
    set(&mut config, "upstream", "address", "http://10.0.0.1:80");
    set(
        &mut config,
        "tls",
        "client_ca_file",
        world.sealed().join("model.json").display().to_string(),
    );
    set(&mut config, "tls", "key_file", "/nowhere/key.pem");
    set(&mut config, "limits", "max_connections", 0);
    let found: Vec<String> = mistakes(&config).into_iter().map(|(key, _)| key).collect();
    assert_eq!(
        found,
        [
            "listen",
            "attester.kind",
            "broker.ca_file",
            "broker.url",
            "model.source",
            "model.target",
            "model.key",
            "upstream.address",
            "tls.client_ca_file",
            "tls.certificate_file",
            "limits.max_connections",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_keys_and_sections_are_mistakes() {
    let world = World::new().await;
    let mut config = world.config();
    set(&mut config, "limits", "max_bodies", 1);
    assert!(mistakes(&config)[0].1.contains("max_bodies"));
    let mut config = world.config();
    config.insert("proxy".into(), toml::Table::new().into());
    assert!(mistakes(&config)[0].1.contains("proxy"));
    let environment = [("ADYTON_SIDECAR__TLS__CLIENT_CA".to_owned(), "x".to_owned())];
    let error = Config::from_toml(&world.config().to_string(), environment).expect_err("unknown");
    assert!(error.problems()[0].value.contains("client_ca"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_on_a_disk_is_refused() {
    let world = World::new().await;
    let mut config = world.config();
    let disk = env!("CARGO_MANIFEST_DIR");
    set(&mut config, "model", "target", disk);
    let found = mistakes(&config);
    assert_eq!(found.len(), 1);
    assert!(found[0].1.contains("file system of type"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_that_everybody_can_read_is_refused() {
    let world = World::new().await;
    let leaf = world.client_ca.server();
    let (certificate, key) = (world.path("cert.pem"), world.path("key.pem"));
    std::fs::write(&certificate, &leaf.certificate).expect("written");
    std::fs::write(&key, &leaf.key).expect("written");
    let mut config = world.config();
    set(&mut config, "tls", "certificate_file", certificate.display().to_string());
    set(&mut config, "tls", "key_file", key.display().to_string());
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    assert!(mistakes(&config)[0].1.contains("mode 0644"));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    load(&config).expect("accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_clients_are_accepted_is_part_of_the_digest() {
    let world = World::new().await;
    let before = load(&world.config()).expect("accepted").digest();
    assert_eq!(load(&world.config()).expect("accepted").digest(), before);
    let other = support::pki::Ca::new("other");
    std::fs::write(world.path("client-ca.pem"), other.pem()).expect("written");
    assert_ne!(load(&world.config()).expect("accepted").digest(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_end_the_program_with_2_before_a_port_is_bound() {
    let world = World::new().await;
    let mut config = world.config();
    set(&mut config, "broker", "url", "ftp://x");
    set(&mut config, "model", "minimum_version", 1);
    set(&mut config, "model", "threads", 5000);
    let ended = world.start_with(&config).end().await;
    assert_eq!(ended.code, Some(2));
    let told = ended.refusals();
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[0]["value"].as_str().expect("text").starts_with("broker.url = "));
    assert!(!world.path("ready.json").exists());
}

#[test]
fn an_insecure_setting_is_shown() {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    runtime.block_on(async {
        let world = World::new().await;
        let mut config = world.config();
        config.insert("insecure_allow_swap".into(), true.into());
        assert_eq!(load(&config).expect("accepted").insecure(), ["insecure_allow_swap"]);
        let (sidecar, _proxy) = world.serving_with(&config).await;
        let readyz = sidecar.readyz(|status, _| status == 200).await;
        assert_eq!(readyz["insecure"][0], "insecure_allow_swap");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_in_a_certificate_needs_a_key_born_here_and_a_short_life() {
    let world = World::new().await;
    let mut config = world.config();
    set(&mut config, "tls", "evidence_in_certificate", true);
    // Not set: 30 days, which no Verifier would take.
    assert_eq!(mistakes(&config), [("tls.certificate_days".to_owned(), "30".to_owned())]);
    set(&mut config, "tls", "certificate_days", 6);
    load(&config).expect("six days");
    set(&mut config, "tls", "certificate_file", "/nowhere/server.pem");
    set(&mut config, "tls", "key_file", "/nowhere/server.key");
    let found: Vec<String> = mistakes(&config).into_iter().map(|(key, _)| key).collect();
    assert_eq!(found, ["tls.evidence_in_certificate"]);
}

/// Mistakes with `model.source` and one key of `[model.store]`.
async fn store_mistakes(source: &str, key: &str, value: toml::Value) -> Vec<(String, String)> {
    let world = World::new().await;
    let mut config = world.config();
    set(&mut config, "model", "source", source);
    let mut store = toml::Table::new();
    store.insert(key.to_owned(), value);
    set(&mut config, "model", "store", store);
    if load(&config).is_ok() { Vec::new() } else { mistakes(&config) }
}

#[tokio::test(flavor = "multi_thread")]
async fn places_that_cannot_be_reached_as_configured_are_mistakes() {
    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let region = ("region", toml::Value::from("eu-central-1"));
    for (source, (key, value), expected, said) in [
        ("ftp://host/x", region.clone(), "model.source", "ftp://"),
        ("s3://UPPER/x", region.clone(), "model.source", "not a bucket"),
        ("https://user:5ecret@host/x", region.clone(), "model.source", "not shown"),
        ("oci://host/x:v1", region.clone(), "model.source", "no digest"),
        ("az://models/x", region.clone(), "model.source", "account"),
        ("s3://models/x", ("endpoint", "s3://x".into()), "model.store.endpoint", "s3://x"),
        ("s3://models/x", ("ca_file", "/nowhere".into()), "model.store.ca_file", "/nowhere"),
        (
            "s3://models/x",
            ("credentials_file", "/nowhere".into()),
            "model.store.credentials_file",
            "/nowhere",
        ),
        (
            "s3://models/x",
            ("credentials_kid", "acme/x".into()),
            "model.store.credentials_kid",
            "acme/x",
        ),
        ("s3://models/x", ("max_requests", 0.into()), "model.store.max_requests", "0"),
        ("s3://models/x", ("secret_access_key", "x".into()), "(file)", "secret_access_key"),
    ] {
        let found = store_mistakes(source, key, value).await;
        assert_eq!(found.len(), 1, "{source}: {found:?}");
        assert!(found[0].0 == expected && found[0].1.contains(said), "{source}: {found:?}");
        assert!(!found[0].1.contains("5ecret"));
    }
    for source in
        ["s3://models/x".to_owned(), "gs://models/x".to_owned(), format!("oci://host/x@{DIGEST}")]
    {
        let found = store_mistakes(&source, "region", "eu-central-1".into()).await;
        assert_eq!(found, [], "{source}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_weakens_the_way_to_the_store_is_told() {
    let world = World::new().await;
    let environment = [
        ("ADYTON_SIDECAR__MODEL__SOURCE", "oci://registry.example/x:v1"),
        ("ADYTON_SIDECAR__MODEL__STORE__INSECURE_ALLOW_TAG", "true"),
        ("ADYTON_SIDECAR__MODEL__STORE__INSECURE_ALLOW_HTTP", "true"),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = Config::from_toml(&world.config().to_string(), environment).expect("sound");
    assert_eq!(
        config.insecure().into_iter().filter(|name| name.starts_with("model")).collect::<Vec<_>>(),
        ["model.store.insecure_allow_http", "model.store.insecure_allow_tag"]
    );
}
