//! Verbs that speak to the broker, against a stub of its admin listener.

mod stand;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use stand::{Answer, Exchange, Stand};

const KID: &str = "kbs:///acme/model-key/llama";

fn ok(body: Value) -> Answer {
    (200, body.to_string())
}

fn refusal(status: u16, code: &str) -> Answer {
    let body =
        json!({"error": {"code": code, "message": "said by the stub", "remedy": "ask the stub"}});
    (status, body.to_string())
}

/// The stub's whole admin API.
fn admin(exchange: &Exchange) -> Answer {
    if exchange.headers.get("authorization").map(String::as_str) != Some("Bearer token-of-the-test")
    {
        return refusal(401, "admin.unauthenticated");
    }
    let path = exchange.target.split('?').next().unwrap_or_default();
    match (exchange.method.as_str(), path) {
        ("POST", "/adyton/v1/keys") => match exchange.json()["kid"].as_str() {
            Some("kbs:///acme/model-key/taken") => refusal(409, "key.exists"),
            Some(kid) => (
                201,
                json!({"kid": kid, "epoch": 1, "created_at": "2026-11-23T13:00:00Z"}).to_string(),
            ),
            None => refusal(400, "request"),
        },
        ("GET", "/adyton/v1/keys") => ok(json!({"keys": [
            {"kid": KID, "epoch": 2, "created_at": "2026-11-23T13:00:00Z", "policy": true},
            {"kid": "kbs:///a/b/c", "epoch": 1, "created_at": "2026-11-23T14:00:00Z", "policy": false},
        ]})),
        ("PUT", "/adyton/v1/policies") => ok(json!({"kid": KID, "digest": "ab".repeat(32)})),
        ("GET", "/adyton/v1/policies") => match exchange.query("kid").as_deref() {
            None => ok(json!({"policies": [{"kid": KID, "digest": "ab".repeat(32)}]})),
            Some(KID) => {
                ok(json!({"kid": KID, "digest": "ab".repeat(32), "toml": "key = \"x\"\n"}))
            }
            Some(_) => refusal(404, "policy.not-found"),
        },
        ("PUT", "/adyton/v1/reference-values") => {
            let text = String::from_utf8(exchange.body.clone()).expect("UTF-8");
            let table: toml::Table = text.parse().expect("TOML");
            ok(json!({"name": table["name"].as_str(), "digest": "cd".repeat(32)}))
        }
        ("GET", "/adyton/v1/reference-values") => ok(json!({"reference_values": [
            {"name": "llama-pod", "digest": "cd".repeat(32), "toml": reference_values()},
        ]})),
        ("GET", "/adyton/v1/decisions") => ok(json!({"decisions": [decision()]})),
        ("GET", "/adyton/v1/decisions/d-1") => ok(decision()),
        _ => refusal(404, "not-found"),
    }
}

fn decision() -> Value {
    json!({
        "id": "d-1", "at": "2026-11-23T13:00:00Z", "outcome": "denied", "kid": KID,
        "reasons": [{"code": "tdx.measurement.mrtd", "rung": "policy", "claim": "mrtd",
            "expected": "91eb", "got": "ffff", "remedy": "add it"}],
    })
}

fn reference_values() -> String {
    format!("name = \"llama-pod\"\ntee = \"tdx\"\nmrtd = [\"{}\"]\n", "91".repeat(48))
}

#[test]
fn key_create_shows_the_new_key_and_says_what_is_missing() {
    let (stand, _server) = Stand::with_broker(admin);
    let ran = stand.run(&["key", "create", KID]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        ran.out,
        format!("✓ key created\n  key      {KID}\n  epoch    1\n  created  2026-11-23T13:00:00Z\n")
    );
    assert!(ran.err.contains("release policy"), "{}", ran.err);
}

#[test]
fn json_output_is_the_result_alone() {
    let (stand, _server) = Stand::with_broker(admin);
    let ran = stand.run(&["key", "create", KID, "--output", "json"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(ran.json(), json!({"kid": KID, "epoch": 1, "created_at": "2026-11-23T13:00:00Z"}));
}

#[test]
fn key_list_marks_keys_that_no_policy_releases() {
    let (stand, _server) = Stand::with_broker(admin);
    let ran = stand.run(&["key", "list"]);
    assert_eq!(
        ran.out,
        "KEY                          EPOCH  CREATED               STATE     RELEASE POLICY\n\
         kbs:///acme/model-key/llama  2      2026-11-23T13:00:00Z  in force  yes\n\
         kbs:///a/b/c                 1      2026-11-23T14:00:00Z  in force  none: never released\n"
    );
}

#[test]
fn colour_is_written_only_when_asked_for() {
    let (stand, _server) = Stand::with_broker(admin);
    assert!(!stand.run(&["key", "list"]).out.contains('\u{1b}'));
    assert!(stand.run(&["key", "list", "--color", "always"]).out.contains("\u{1b}[32myes"));
}

#[test]
fn a_name_that_is_no_key_uri_is_refused_before_anything_is_sent() {
    let (stand, server) = Stand::with_broker(admin);
    let ran = stand.run(&["key", "create", "acme/llama"]);
    assert_eq!(ran.code, 2);
    assert_eq!(ran.err.lines().next(), Some("error[key.uri]: the key's name is not a key URI"));
    assert!(ran.err.contains("got       acme/llama\n"), "{}", ran.err);
    assert!(ran.err.contains("expected  kbs:///REPOSITORY/TYPE/TAG"), "{}", ran.err);
    assert!(server.requests().is_empty());
}

#[test]
fn a_key_that_exists_is_refused_in_the_brokers_words() {
    let (stand, _server) = Stand::with_broker(admin);
    let ran = stand.run(&["key", "create", "kbs:///acme/model-key/taken", "--output", "json"]);
    assert_eq!(ran.code, 2);
    let error = ran.error();
    assert_eq!(error["code"], "broker.conflict");
    assert_eq!(error["got"], "said by the stub (key.exists, 409)");
    assert_eq!(error["expected"], "a name that is not in use");
}

#[test]
fn content_that_the_broker_refuses_comes_back_with_the_brokers_remedy() {
    let (stand, _server) = Stand::with_broker(|_| refusal(422, "policy.malformed"));
    let template = stand.run(&["policy", "template", "--kid", KID]);
    stand.write("release.toml", template.out.as_bytes());
    let ran = stand.run(&["policy", "apply", "release.toml", "--output", "json"]);
    assert_eq!(ran.code, 30);
    let error = ran.error();
    assert_eq!(error["code"], "broker.bad-request");
    assert_eq!(error["remedy"], "ask the stub");
}

#[test]
fn a_broker_that_is_busy_ends_with_13() {
    let (stand, _server) = Stand::with_broker(|_| (503, String::new()));
    let ran = stand.run(&["key", "list", "--output", "json"]);
    assert_eq!(ran.code, 13);
    assert_eq!(ran.error()["code"], "broker.busy");
}

#[test]
fn a_wrong_admin_token_ends_with_11_and_is_not_shown() {
    let (stand, _server) = Stand::with_broker(admin);
    stand.write_secret("admin-token", b"another-token-9f2c\n");
    let ran = stand.run(&["key", "list", "--output", "json"]);
    assert_eq!(ran.code, 11);
    assert_eq!(ran.error()["code"], "broker.unauthenticated");
    assert!(!format!("{ran:?}").contains("another-token-9f2c"));
}

#[test]
fn a_token_file_that_others_can_read_is_refused_before_anything_is_sent() {
    let (stand, server) = Stand::with_broker(admin);
    fs::set_permissions(stand.path("admin-token"), fs::Permissions::from_mode(0o644))
        .expect("chmod");
    let ran = stand.run(&["key", "list", "--output", "json"]);
    assert_eq!(ran.code, 2);
    let error = ran.error();
    assert_eq!(
        (error["code"].as_str(), error["got"].as_str()),
        (Some("file.permissions"), Some("mode 0644"))
    );
    assert!(server.requests().is_empty());
}

#[test]
fn a_broker_of_another_ca_is_refused_and_never_sees_the_token() {
    let (stand, server) = Stand::with_broker(admin);
    let other = stand::Authority::new("another CA");
    stand.write("ca.pem", other.pem.as_bytes());
    let ran = stand.run(&["key", "list", "--output", "json"]);
    assert_eq!(ran.code, 13);
    let error = ran.error();
    assert_eq!(error["code"], "broker.certificate-unknown");
    assert!(error["remedy"].as_str().is_some_and(|said| said.contains("--broker-ca")), "{error}");
    assert!(server.requests().is_empty());
}

#[test]
fn an_admin_certificate_stands_in_for_the_token() {
    let (stand, server) = Stand::with_mutual_tls(|_| ok(json!({"keys": []})));
    let ran = stand.run(&["key", "list"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert!(!requests[0].headers.contains_key("authorization"));
}

#[test]
fn an_admin_certificate_of_another_ca_is_refused() {
    let (stand, server) = Stand::with_mutual_tls(|_| ok(json!({"keys": []})));
    let other = stand::Authority::new("another CA");
    let (certificate, key, _) = other.issue(&["owner"], rcgen::ExtendedKeyUsagePurpose::ClientAuth);
    stand.write("owner.pem", certificate.as_bytes());
    stand.write_secret("owner.key", key.as_bytes());
    let ran = stand.run(&["key", "list", "--output", "json"]);
    assert_eq!(ran.code, 13, "{ran:?}");
    assert_eq!(ran.error()["code"], "broker.client-certificate");
    assert!(server.requests().is_empty());
}

#[test]
fn a_broker_under_another_name_is_refused() {
    let (stand, server) = Stand::with_mutual_tls(|_| ok(json!({"keys": []})));
    let by_address = server.url.replace("localhost", "127.0.0.1");
    let ran = stand.run_at(&by_address, &["key", "list", "--output", "json"]);
    assert_eq!(ran.code, 13, "{ran:?}");
    assert_eq!(ran.error()["code"], "broker.certificate-name");
}

#[test]
fn a_broker_that_is_not_there_ends_with_13() {
    let (stand, server) = Stand::with_broker(admin);
    drop(server);
    let ran = stand.run(&["key", "list", "--output", "json"]);
    assert_eq!(ran.code, 13);
    assert_eq!(ran.error()["code"], "broker.unreachable");
}

#[test]
fn settings_come_from_the_configuration_file_and_the_environment() {
    let (stand, server) = Stand::with_broker(admin);
    let bare = Stand::new();
    let config = format!(
        "broker = \"https://unused.invalid\"\nbroker_ca = \"{}\"\nadmin_token_file = \"{}\"\n",
        stand.path("ca.pem").display(),
        stand.path("admin-token").display()
    );
    let folder = bare.path(".config/adyton");
    fs::create_dir_all(&folder).expect("folder");
    fs::write(folder.join("config.toml"), config).expect("write");
    let ran = bare.run_with(&["key", "list"], &[("ADYTON_BROKER", &server.url)]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn without_settings_the_flag_the_variable_and_the_key_are_named() {
    let ran = Stand::new().run(&["key", "list"]);
    assert_eq!(ran.code, 2);
    assert_eq!(
        ran.err,
        "error[broker.settings]: the broker's URL was not given\n  expected  --broker URL, or ADYTON_BROKER, \
         or `broker` in the configuration file\n  remedy    add --broker URL\n"
    );
}

#[test]
fn a_policy_with_a_slip_is_refused_with_its_line_before_anything_is_sent() {
    let (stand, server) = Stand::with_broker(admin);
    stand.write(
        "release.toml",
        b"key = \"kbs:///acme/model-key/llama\"\n\n[appraisal]\nreference_value = [\"x\"]\n",
    );
    let ran = stand.run(&["policy", "apply", "release.toml"]);
    assert_eq!(ran.code, 30);
    assert!(
        ran.err.starts_with("error[policy.syntax]: the release policy release.toml is not valid\n")
    );
    assert!(ran.err.contains("line 4"), "{}", ran.err);
    assert!(ran.err.contains("4 | reference_value = [\"x\"]"), "{}", ran.err);
    assert!(server.requests().is_empty());
}

#[test]
fn the_policy_template_can_be_applied_as_it_is() {
    let (stand, server) = Stand::with_broker(admin);
    let template = stand.run(&["policy", "template", "--kid", KID]);
    stand.write("release.toml", template.out.as_bytes());
    let ran = stand.run(&["policy", "apply", "release.toml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let sent = server.requests();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].headers.get("content-type").map(String::as_str), Some("application/toml"));
    assert_eq!(sent[0].body, template.out.into_bytes());
}

#[test]
fn policy_show_prints_the_policy_itself() {
    let (stand, _server) = Stand::with_broker(admin);
    let ran = stand.run(&["policy", "show", KID]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "key = \"x\"\n"));
    let ran = stand.run(&["policy", "show"]);
    assert_eq!(
        ran.out,
        format!("KEY                          DIGEST\n{KID}  abababababab…ababab\n")
    );
}

#[test]
fn a_policy_that_is_not_there_is_not_found() {
    let (stand, _server) = Stand::with_broker(admin);
    let ran = stand.run(&["policy", "show", "kbs:///a/b/none", "--output", "json"]);
    assert_eq!(ran.code, 2);
    assert_eq!(ran.error()["code"], "broker.not-found");
}

#[test]
fn reference_values_are_added_under_the_given_name() {
    let (stand, server) = Stand::with_broker(admin);
    stand.write("set.toml", reference_values().as_bytes());
    let ran =
        stand.run(&["reference-values", "add", "set.toml", "--name", "other", "--output=json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.json()["name"], "other");
    assert!(!server.requests().is_empty());
}

#[test]
fn a_measurement_of_another_length_is_refused_before_anything_is_sent() {
    let (stand, server) = Stand::with_broker(admin);
    stand.write("set.toml", b"name = \"x\"\ntee = \"tdx\"\nmrtd = [\"00\"]\n");
    let ran = stand.run(&["reference-values", "add", "set.toml"]);
    assert_eq!(ran.code, 30);
    assert!(ran.err.contains("error[reference-values.syntax]"), "{}", ran.err);
    assert!(ran.err.contains("line 3"), "{}", ran.err);
    assert!(server.requests().is_empty());
}

#[test]
fn reference_values_list_counts_registers() {
    let (stand, _server) = Stand::with_broker(admin);
    let ran = stand.run(&["reference-values", "list"]);
    assert_eq!(
        ran.out,
        "NAME       TEE  REGISTERS  DIGEST\nllama-pod  tdx  mrtd 1     cdcdcdcdcdcd…cdcdcd\n"
    );
}

#[test]
fn explain_shows_the_reasons_and_lists_decisions() {
    let (stand, server) = Stand::with_broker(admin);
    let ran = stand.run(&["explain", "d-1"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("✗ tdx.measurement.mrtd (policy)\n"), "{}", ran.out);
    assert!(ran.out.contains("expected  91eb\n"), "{}", ran.out);
    let ran = stand.run(&["explain", "--limit", "5"]);
    assert!(ran.out.contains("d-1       2026-11-23T13:00:00Z  denied"), "{}", ran.out);
    let targets: Vec<String> =
        server.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/adyton/v1/decisions/d-1", "/adyton/v1/decisions?limit=5"]);
}

#[test]
fn a_reply_of_another_shape_is_malformed() {
    let (stand, _server) = Stand::with_broker(|_| (200, "<html>".to_owned()));
    let ran = stand.run(&["key", "list", "--output", "json"]);
    assert_eq!(ran.code, 30);
    assert_eq!(ran.error()["code"], "broker.reply");
}

#[test]
fn a_reply_without_end_is_cut_off() {
    let (stand, _server) = Stand::with_broker(|_| (200, " ".repeat(9 * 1024 * 1024)));
    let ran = stand.run(&["key", "list", "--output", "json"]);
    assert_eq!(ran.code, 30);
    assert_eq!(ran.error()["code"], "broker.reply-too-long");
}
