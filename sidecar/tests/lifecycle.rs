//! The ladder up and down with the real binary: refusals with their exit codes, retries, drain.

mod support;

use std::collections::HashSet;

use bytes::Bytes;
use http_body_util::BodyExt;
use support::client::{Http, plain_get};
use support::kbs::Fault;
use support::pki::Ca;
use support::within;
use support::world::{CANARY, KEY_PATH, World, flip, set};

#[tokio::test(flavor = "multi_thread")]
async fn a_ready_sidecar_has_opened_the_model_and_wipes_it_at_the_end() {
    let world = World::new().await;
    let (sidecar, _proxy) = world.serving().await;
    let opened = world.target.path().join("model/config.json");
    assert!(std::fs::read_to_string(opened).expect("opened").contains(CANARY));
    let readyz = sidecar.readyz(|status, _| status == 200).await;
    assert_eq!(readyz["bytes"], readyz["total"]);
    assert!(readyz["total"].as_u64().expect("a number") > 100_000);
    assert_eq!(readyz["staged"], readyz["total"]);
    assert_eq!(readyz["protections"]["dumpable"], false);
    let admin = sidecar.admin().await;
    assert_eq!(plain_get(admin, "/startupz").await.0, 200);
    assert_eq!(plain_get(admin, "/livez").await.0, 200);
    sidecar.terminate();
    let ended = sidecar.end().await;
    assert_eq!(ended.code, Some(0));
    world.assert_target_is_clean();
    let phases: Vec<&str> = ended
        .log
        .iter()
        .filter(|line| line["message"] == "phase")
        .filter_map(|line| line["phase"].as_str())
        .collect();
    assert_eq!(phases, ["key-released", "opening", "ready", "draining", "wiped"]);
    assert!(!format!("{:?}", ended.log).contains(CANARY));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_running_answers_finish_and_takes_nothing_new() {
    let world = World::new().await;
    let (mut sidecar, proxy) = world.serving().await;
    let admin = sidecar.admin().await;
    let mut streams = Vec::new();
    for http2 in [false, true] {
        let (mut client, _) = match http2 {
            false => Http::one(proxy, &world.client).await,
            true => Http::two(proxy, &world.client).await,
        };
        let (tokens, _ended) = world.server.stream();
        let mut body = client.get("/stream").await.into_body();
        tokens.send(Bytes::from("a")).expect("streams");
        within("a chunk", body.frame()).await.expect("a frame").expect("data");
        streams.push((client, tokens, body));
    }
    sidecar.terminate();
    sidecar.log_line(|line| line["message"] == "draining").await;
    let (status, text) = plain_get(admin, "/readyz").await;
    assert_eq!((status, text.as_str()), (503, "phase is draining\n"));
    tokio::net::TcpStream::connect(proxy).await.expect_err("the port is closed");
    for (client, tokens, mut body) in streams {
        tokens.send(Bytes::from("b")).expect("still streams");
        let frame = within("a chunk", body.frame()).await.expect("a frame").expect("no error");
        assert_eq!(frame.into_data().expect("data"), "b");
        drop(tokens);
        let rest = within("the end", body.collect()).await.expect("a whole body").to_bytes();
        assert!(rest.is_empty(), "{rest:?}");
        drop(client);
    }
    assert_eq!(sidecar.end().await.code, Some(0));
    world.assert_target_is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_does_not_wait_for_ever() {
    let world = World::new().await;
    let mut config = world.config();
    set(&mut config, "limits", "drain_timeout_seconds", 1);
    let (sidecar, proxy) = world.serving_with(&config).await;
    let (mut client, _) = Http::one(proxy, &world.client).await;
    let (_tokens, _ended) = world.server.stream();
    let _response = client.get("/stream").await;
    sidecar.terminate();
    assert_eq!(sidecar.end().await.code, Some(0));
    world.assert_target_is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_while_attesting_ends_with_0() {
    let world = World::new().await;
    world.kbs.next("attest", [Fault::Hang]);
    let mut sidecar = world.start();
    sidecar.log_line(|line| line["message"] == "evidence source").await;
    let admin = sidecar.admin().await;
    assert_eq!(plain_get(admin, "/readyz").await.0, 503);
    assert_eq!(plain_get(admin, "/startupz").await.0, 503);
    sidecar.terminate();
    assert_eq!(sidecar.end().await.code, Some(0));
    world.assert_target_is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn ciphertext_is_read_while_the_broker_thinks_and_sigterm_leaves_nothing_of_it() {
    let bytes = 20 << 20;
    let world = World::with_weights(bytes).await;
    world.kbs.next("attest", [Fault::Hang]);
    let sidecar = world.start();
    let readyz = sidecar
        .readyz(|_, body| body["staged"].as_u64().is_some_and(|staged| staged > bytes as u64))
        .await;
    assert_eq!(readyz["phase"], "attesting");
    assert_eq!(readyz["bytes"], 0, "nothing is opened without a key");
    let target = &readyz["target"];
    assert!(target["required_bytes"].as_u64().expect("a number") > bytes as u64);
    assert!(target["available_bytes"].as_u64() > target["required_bytes"].as_u64());
    assert!(target["pages"].as_str().expect("text").contains("pages"));
    let metrics = plain_get(sidecar.admin().await, "/metrics").await.1;
    for name in ["weights_staged_bytes", "target_required_bytes", "target_huge_pages"] {
        assert!(metrics.contains(&format!("\nadyton_{name} ")), "{name}: {metrics}");
    }
    let left = world.left_in_target();
    assert!(left.len() == 1 && left[0].starts_with(".opening-"), "{left:?}");
    sidecar.terminate();
    assert_eq!(sidecar.end().await.code, Some(0));
    world.assert_target_is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_broker_discards_what_was_staged() {
    let world = World::with_weights(20 << 20).await;
    let busy = || Fault::Status(503, String::new());
    let denied = Fault::refusal(403, "PolicyDeny", "d-17", &["tdx.measurement.mrtd"]);
    world.kbs.next("attest", [busy(), busy(), denied]);
    let ended = world.start().end().await;
    assert_eq!(ended.code, Some(11));
    ended.refusal("release.policy-denied");
    let discarded = ended.log.iter().find(|line| line["message"] == "what was staged is discarded");
    let staged = discarded.expect("discarded")["staged_bytes"].as_u64().expect("a number");
    assert!(staged > 0, "the broker was faster than the first 2 MiB");
    world.assert_target_is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_has_no_room_is_refused_before_the_broker_is_asked() {
    let world = World::new().await;
    let file = world.sealed().join("model.json");
    let text = std::fs::read_to_string(&file).expect("read");
    let mut manifest: serde_json::Value = serde_json::from_str(&text).expect("json");
    manifest["files"][0]["size"] = (1_u64 << 50).into();
    std::fs::write(&file, manifest.to_string()).expect("written");
    let ended = world.start().end().await;
    assert_eq!(ended.code, Some(20), "{:#?}", ended.log);
    let refusal = ended.refusal("weights.target");
    let value = refusal["value"].as_str().expect("text");
    assert!(value.contains("has room for") && value.contains("expected at least"), "{value}");
    assert!(world.kbs.requests().is_empty());
    world.assert_target_is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_while_opening_leaves_nothing_and_ends_with_0() {
    let world = World::with_weights(200 << 20).await;
    let mut sidecar = world.start();
    sidecar.log_line(|line| line["phase"] == "opening").await;
    sidecar.terminate();
    let ended = sidecar.end().await;
    assert_eq!(ended.code, Some(0));
    world.assert_target_is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_is_removed_at_the_next_start() {
    let world = World::new().await;
    let half = world.target.path().join(".opening-0123456789abcdef");
    std::fs::create_dir(&half).expect("folder");
    std::fs::write(half.join("weights"), CANARY).expect("written");
    let mut config = world.config();
    set(&mut config, "broker", "retry_for_seconds", 0);
    world.kbs.next("auth", [Fault::Status(503, String::new())]);
    let ended = world.start_with(&config).end().await;
    ended.refusal("attest.broker-busy");
    world.assert_target_is_clean();
}

/// One fault each: what is wrong, the refusal's code, the exit code.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_sidecar_on_the_same_target_is_refused_and_spares_what_is_served() {
    let world = World::new().await;
    let (_first, _proxy) = world.serving().await;
    let ended = world.start().end().await;
    assert_eq!(ended.code, Some(1), "{:?}", ended.log);
    let opened = world.target.path().join("model/config.json");
    assert!(std::fs::read_to_string(opened).expect("still opened").contains(CANARY));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_brokers_decisions_are_final_and_told() {
    let denied =
        |status, variant| Fault::refusal(status, variant, "d-17", &["tdx.measurement.mrtd"]);
    for (endpoint, fault, code, exit) in [
        ("auth", denied(401, "AttestationError"), "attest.request-refused", 10),
        ("attest", denied(401, "AttestationError"), "attest.evidence-refused", 10),
        ("attest", denied(403, "PolicyDeny"), "release.policy-denied", 11),
        ("resource", denied(403, "PolicyDeny"), "release.policy-denied", 11),
        ("resource", denied(401, "PolicyDeny"), "release.policy-denied", 11),
        ("resource", denied(404, "PluginInternalError"), "release.key-not-found", 11),
    ] {
        let world = World::new().await;
        world.kbs.next(endpoint, [fault]);
        let ended = world.start().end().await;
        assert_eq!(ended.code, Some(exit), "{code}: {:#?}", ended.log);
        let refusal = ended.refusal(code);
        assert_eq!(refusal["decision"], "d-17");
        assert_eq!(refusal["codes"], "tdx.measurement.mrtd");
        for member in ["step", "value", "expected", "remedy"] {
            assert!(!refusal[member].as_str().expect(member).is_empty(), "{member}");
        }
        let asked = world.kbs.requests();
        assert_eq!(asked.iter().filter(|asked| *asked == endpoint).count(), 1, "{asked:?}");
        world.assert_target_is_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_time_may_mend_is_tried_again_with_a_new_nonce() {
    let world = World::new().await;
    let busy = |status| Fault::Status(status, String::new());
    world.kbs.next("auth", [busy(503), Fault::Drop]);
    world.kbs.next("attest", [busy(429), busy(500)]);
    world.kbs.next("resource", [Fault::Drop, busy(502)]);
    let (mut sidecar, _proxy) = world.serving().await;
    let asked = world.kbs.requests();
    // A round that breaks off is begun anew; the key is asked for in the same session.
    let expected =
        "auth auth auth attest auth attest auth attest resource resource resource".split(' ');
    assert_eq!(asked, expected.collect::<Vec<_>>());
    let pauses: Vec<f64> =
        sidecar.log.iter().filter_map(|line| line["pause_seconds"].as_f64()).collect();
    assert_eq!(pauses.len(), 6);
    let different: HashSet<String> = pauses.iter().map(f64::to_string).collect();
    assert!(different.len() > 2, "no jitter: {pauses:?}");
    sidecar.terminate();
    sidecar.log_line(|line| line["phase"] == "wiped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stays_away_is_given_up_in_time() {
    let world = World::new().await;
    let mut config = world.config();
    set(&mut config, "broker", "retry_for_seconds", 1);
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = free.local_addr().expect("address");
    drop(free);
    set(&mut config, "broker", "url", format!("https://{address}"));
    let ended = world.start_with(&config).end().await;
    assert_eq!(ended.code, Some(13));
    let refusal = ended.refusal("attest.broker-unreachable");
    assert!(refusal["value"].as_str().expect("text").contains("refused"), "{refusal}");
    world.assert_target_is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_broker_certificate_is_not_asked_twice() {
    let world = World::new().await;
    std::fs::write(world.path("broker-ca.pem"), Ca::new("another").pem()).expect("written");
    let ended = world.start().end().await;
    assert_eq!(ended.code, Some(13));
    let refusal = ended.refusal("attest.broker-certificate-unknown");
    assert!(refusal["remedy"].as_str().expect("text").contains("broker.ca_file"), "{refusal}");
    assert!(ended.log.iter().all(|line| line["pause_seconds"].is_null()), "retried");
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_that_are_not_the_protocols_are_refused() {
    for (endpoint, bytes, code, exit) in [
        ("auth", b"<html>".to_vec(), "attest.protocol", 30),
        ("auth", vec![b'x'; 3 << 20], "attest.broker-unreachable", 13),
        ("attest", b"{}".to_vec(), "attest.protocol", 30),
        ("resource", b"{}".to_vec(), "attest.protocol", 30),
    ] {
        let world = World::new().await;
        let mut config = world.config();
        set(&mut config, "broker", "retry_for_seconds", 0);
        world.kbs.next(endpoint, [Fault::Bytes(bytes)]);
        let ended = world.start_with(&config).end().await;
        assert_eq!(ended.code, Some(exit), "{:#?}", ended.log);
        ended.refusal(code);
        world.assert_target_is_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_the_sealed_model_is_an_integrity_failure_and_leaves_nothing() {
    let object = "model.safetensors.sealed";
    type Break = fn(&World);
    let faults: [(Break, &str, i32); 8] = [
        (|world| world.kbs.put_key(KEY_PATH, &[9; 32]), "weights.recipient", 14),
        (|world| world.kbs.put_key(KEY_PATH, &[9; 31]), "release.key", 14),
        (
            |world| flip(&world.sealed().join("model.safetensors.sealed"), 50_000),
            "weights.object-not-authentic",
            14,
        ),
        (
            |world| {
                let file = world.sealed().join("model.safetensors.sealed");
                let bytes = std::fs::read(&file).expect("read");
                std::fs::write(&file, &bytes[..bytes.len() - 4096]).expect("written");
            },
            "weights.object-not-authentic",
            14,
        ),
        (
            |world| {
                let file = world.sealed().join("config.json.sealed");
                std::fs::remove_file(file).expect("removed");
            },
            "weights.object-not-authentic",
            14,
        ),
        (
            |world| {
                let file = world.sealed().join("model.json");
                let text = std::fs::read_to_string(&file).expect("read");
                let edited = text.replace("\"tiny\"", "\"tinx\"");
                assert_ne!(edited, text);
                std::fs::write(&file, edited).expect("written");
            },
            "weights.manifest-not-authentic",
            14,
        ),
        (
            |world| std::fs::write(world.sealed().join("model.json"), "{}").expect("written"),
            "weights.manifest-malformed",
            30,
        ),
        (|world| world.kbs.minimum_version(4), "weights.not-the-required-model", 14),
    ];
    for (break_it, code, exit) in faults {
        let world = World::new().await;
        assert!(world.sealed().join(object).exists());
        break_it(&world);
        let ended = world.start().end().await;
        assert_eq!(ended.code, Some(exit), "{code}: {:#?}", ended.log);
        let refusal = ended.refusal(code);
        assert!(!refusal["remedy"].as_str().expect("text").is_empty());
        world.assert_target_is_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requirements_of_the_configuration_are_held_against_the_manifest() {
    for (key, value, said) in [
        ("name", toml::Value::from("another"), "another"),
        ("minimum_version", toml::Value::from(4), "at least 4"),
    ] {
        let world = World::new().await;
        let mut config = world.config();
        set(&mut config, "model", key, value);
        let ended = world.start_with(&config).end().await;
        assert_eq!(ended.code, Some(14));
        let refusal = ended.refusal("weights.not-the-required-model");
        assert!(refusal["value"].as_str().expect("text").contains(said), "{refusal}");
        world.assert_target_is_clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_no_recipient_names_is_refused_before_the_broker_is_asked() {
    let world = World::new().await;
    let mut config = world.config();
    set(&mut config, "model", "key", "kbs:///acme/model-key/other");
    let ended = world.start_with(&config).end().await;
    assert_eq!(ended.code, Some(14));
    ended.refusal("weights.no-recipient");
    assert!(world.kbs.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_tee_there_is_no_fallback() {
    let world = World::new().await;
    let mut config = world.config();
    set(&mut config, "attester", "kind", "auto");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = free.local_addr().expect("address");
    drop(free);
    set(&mut config, "attester", "coco_url", format!("http://{address}"));
    set(&mut config, "attester", "tsm_path", "/nowhere/tsm");
    let ended = world.start_with(&config).end().await;
    assert_eq!(ended.code, Some(20));
    let refusal = ended.refusal("attest.no-evidence");
    assert!(refusal["value"].as_str().expect("text").contains("no TEE was found"), "{refusal}");
    assert!(world.kbs.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_told_and_the_weights_are_wiped() {
    let world = World::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let mut config = world.config();
    let address = taken.local_addr().expect("address").to_string();
    config.insert("listen".into(), address.into());
    let ended = world.start_with(&config).end().await;
    assert_eq!(ended.code, Some(2));
    ended.refusal("serve.bind");
    world.assert_target_is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_is_hardened_before_it_asks_for_anything() {
    let world = World::new().await;
    let (sidecar, _proxy) = world.serving().await;
    let proc = format!("/proc/{}", sidecar.pid());
    let limits = std::fs::read_to_string(format!("{proc}/limits")).expect("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a line");
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    let status = std::fs::read_to_string(format!("{proc}/status")).expect("status");
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
}
