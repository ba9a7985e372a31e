//! The S3 exposure in a real sidecar: it answers when the weights are there, and leaves nothing.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use adyton_s3_exposure::signature::{Credentials, UnixSeconds, client};
use support::client::plain_get;
use support::world::{World, set};

fn exposing(world: &World, folder: &Path, mode: &str) -> toml::Table {
    let mut config = world.config();
    config.insert("expose".into(), toml::Table::new().into());
    set(&mut config, "expose", "kind", "s3");
    set(&mut config, "expose", "mode", mode);
    set(&mut config, "expose", "listen", "127.0.0.1:0");
    set(&mut config, "expose", "client_folder", folder.display().to_string());
    config
}

/// What the inference server finds in the folder: the endpoint and the credentials.
fn found(folder: &Path) -> (SocketAddr, Credentials) {
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).expect("there");
    let value = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.trim_start_matches([' ', '=']).to_owned()
    };
    let url = value(&text("s3.env"), "AWS_ENDPOINT_URL");
    let address = url.strip_prefix("http://").expect("a URL").parse().expect("an address");
    let credentials = text("credentials");
    let mut secret = value(&credentials, "aws_secret_access_key").into_bytes();
    let key = value(&credentials, "aws_access_key_id");
    (address, Credentials::from_parts(&key, &mut secret).expect("memory"))
}

fn get(address: SocketAddr, target: &str, credentials: Option<&Credentials>) -> String {
    let mut head = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    if let Some(credentials) = credentials {
        let time = UnixSeconds::now().to_basic();
        head.push_str(&format!(
            "X-Amz-Date: {time}\r\nX-Amz-Content-Sha256: UNSIGNED-PAYLOAD\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential={}/{}/us-east-1/s3/aws4_request,\
             SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature={}\r\n",
            credentials.access_key(),
            &time[..8],
            "0".repeat(64),
        ));
    }
    head.push_str("\r\n");
    if let Some(credentials) = credentials {
        let signature = client::signature(head.as_bytes(), credentials).expect("signed");
        head = head.replace(&"0".repeat(64), &signature);
    }
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answered");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_is_read_over_s3_and_nothing_is_left_at_the_end() {
    for mode in ["sendfile", "fly"] {
        let world = World::new().await;
        let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
        let (sidecar, _) = world.serving_with(&exposing(&world, folder.path(), mode)).await;
        let (address, credentials) = found(folder.path());
        let listed = get(address, "/adyton?list-type=2", Some(&credentials));
        assert!(listed.contains("<Key>model/model.safetensors</Key>"), "{mode}: {listed}");
        let header = get(address, "/adyton/model/model.safetensors", Some(&credentials));
        assert!(header.starts_with("HTTP/1.1 200") && header.contains("\"weight\""), "{mode}");
        let refused = get(address, "/adyton/model/model.safetensors", None);
        assert!(refused.starts_with("HTTP/1.1 403"), "{mode}: {refused}");
        let opened = if mode == "fly" { 0 } else { 1 };
        assert_eq!(world.left_in_target().iter().filter(|name| *name == "model").count(), opened);
        let (_, metrics) = plain_get(sidecar.admin().await, "/metrics").await;
        let counted = r#"s3_requests_total{operation="GetObject",status="200",code="ok"} 1"#;
        assert!(metrics.contains(counted), "{metrics}");

        sidecar.terminate();
        let ended = sidecar.end().await;
        assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
        world.assert_target_is_clean();
        assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 0, "{mode}");
        assert!(TcpStream::connect(address).is_err(), "{mode}: it still listens");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_is_not_authentic_is_told_to_the_operator_and_not_sent() {
    let world = World::new().await;
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let (mut sidecar, _) = world.serving_with(&exposing(&world, folder.path(), "fly")).await;
    let (address, credentials) = found(folder.path());
    let object = world.sealed().join("model.safetensors.sealed");
    let mut bytes = std::fs::read(&object).expect("readable");
    bytes[4096] ^= 1;
    // In place: the sidecar may have it open.
    std::fs::write(&object, bytes).expect("written");
    let answer = get(address, "/adyton/model/model.safetensors", Some(&credentials));
    assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
    let line = sidecar.log_line(|line| !line["fault"].is_null()).await;
    assert_eq!(line["level"], "ERROR");
    assert!(line["fault"].as_str().is_some_and(|fault| fault.contains("model.safetensors")));
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_of_the_section_are_told_at_once() {
    let world = World::new().await;
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let refused = |key: &str, value: toml::Value| {
        let mut config = exposing(&world, folder.path(), "fly");
        set(&mut config, "expose", key, value);
        let error = adyton_sidecar::config::Config::from_toml(&config.to_string(), [])
            .expect_err("a mistake");
        error.problems().iter().map(|problem| problem.key.clone()).collect::<Vec<_>>()
    };
    for (key, value) in [
        ("kind", "fuse".into()),
        ("mode", "slow".into()),
        ("listen", "0.0.0.0:9000".into()),
        ("listen", "unix:relative".into()),
        ("bucket", "No".into()),
        ("readable_by", "everyone".into()),
        ("pool_mib", 3.into()),
        ("pool_mib", 65.into()),
        ("client_folder", env!("CARGO_MANIFEST_DIR").into()),
        ("client_folder", "".into()),
    ] {
        assert_eq!(refused(key, value), [format!("expose.{key}")], "{key}");
    }
    assert_eq!(refused("prefix", "a//b".into()), ["expose.bucket"]);
}
