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
