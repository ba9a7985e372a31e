//! Every way to be refused, with its status, its codes, and what the owner reads about it.

use std::time::{Duration, Instant};

use adyton_attestation::rcar::InitData;
use adyton_broker::config::BrokerConfig;
use adyton_broker::session::{SessionError, SessionId};
use adyton_fake_tee::{Fault, TdProfile};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{KEY, KEY_PATH, TestBroker, kid_json, write_inputs};

const ATTESTATION_ERROR: &str = "AttestationError";

/// Attests with a fault and expects a refusal of the Evidence with these codes.
async fn assert_evidence_refused(faults: &[Fault], code: &str) {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    let profile = TdProfile::default();
    let Err((reply, _)) = broker.try_attest(&profile, faults).await else {
        panic!("{faults:?} was accepted");
    };
    let (status, variant, codes) = reply.refusal();
    assert_eq!((status, variant.as_str()), (401, ATTESTATION_ERROR));
    assert!(codes.iter().any(|got| got == code), "{code} is not among {codes:?}");
    let decision = broker.decision(&reply).await;
    assert_eq!(decision["outcome"], "evidence-refused");
    assert_reasons_are_useful(&decision);
}

/// Attests with a fault that leaves the Evidence genuine, asks for the key, and expects a denial.
async fn assert_denied(faults: &[Fault], code: &str) {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    let guest = match broker.try_attest(&TdProfile::default(), faults).await {
        Ok(guest) => guest,
        Err((reply, _)) => panic!("{}", reply.text()),
    };
    let reply = broker.ask(&guest, KEY_PATH).await;
    let (status, variant, codes) = reply.refusal();
    assert_eq!((status, variant.as_str()), (403, "PolicyDeny"));
    assert!(codes.iter().any(|got| got == code), "{code} is not among {codes:?}");
    let decision = broker.decision(&reply).await;
    assert_eq!(decision["outcome"], "denied");
    assert_eq!(decision["kid"], format!("{KEY}?epoch=1"));
    assert!(decision["claims"]["mrtd"].is_string());
    assert_reasons_are_useful(&decision);
    // The guest learns codes, and neither what was expected nor what was there.
    let told = reply.text();
    for reason in decision["reasons"].as_array().expect("reasons") {
        for secret in ["expected", "got"] {
            let value = reason[secret].as_str().expect("text");
            assert!(value.len() < 12 || !told.contains(value), "{told}");
        }
    }
}

fn assert_reasons_are_useful(decision: &Value) {
    let reasons = decision["reasons"].as_array().expect("reasons");
    assert!(!reasons.is_empty());
    for reason in reasons {
        for member in ["code", "rung", "claim", "expected", "got", "remedy"] {
            let text = reason[member].as_str().expect("text");
            assert!(!text.is_empty(), "{member} is empty in {reason}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_measurement_is_denied() {
    assert_denied(&[Fault::OtherMeasurement], "tdx.measurement.mrtd").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_rtmr_is_denied() {
    assert_denied(&[Fault::OtherRtmr], "tdx.measurement.rtmr2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_tcb_is_denied() {
    assert_denied(&[Fault::StaleTcb], "tdx.tcb.status").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debug_td_is_refused() {
    assert_evidence_refused(&[Fault::DebugTd], "tdx.td-attributes.debug").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_over_other_report_data_is_refused() {
    assert_evidence_refused(&[Fault::WrongReportData], "tdx.report-data").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_lists_every_fault_of_the_evidence() {
    let faults = [Fault::DebugTd, Fault::WrongReportData];
    for code in ["tdx.td-attributes.debug", "tdx.report-data"] {
        assert_evidence_refused(&faults, code).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_under_an_unknown_root_is_refused() {
    assert_evidence_refused(&[Fault::OtherRoot], "tdx.pck-chain").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_signature_is_refused() {
    assert_evidence_refused(&[Fault::BadQuoteSignature], "tdx.quote.signature").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_platform_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let tee = adyton_fake_tee::FakeTee::new(adyton_broker::broker::now().0);
    let config = write_inputs(folder.path(), &tee, &[Fault::RevokedPck]);
    let broker = TestBroker::start_in(folder, tee, config).await.expect("starts");
    let Err((reply, _)) = broker.try_attest(&TdProfile::default(), &[]).await else {
        panic!("a revoked platform was accepted");
    };
    assert_eq!(reply.refusal().0, 401);
    let reasons = broker.decision(&reply).await["reasons"].to_string();
    assert!(reasons.contains("revo"), "{reasons}");
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_without_endorsements_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let tee = adyton_fake_tee::FakeTee::new(adyton_broker::broker::now().0);
    let config = write_inputs(folder.path(), &tee, &[]);
    let config =
        config.lines().filter(|line| !line.starts_with("endorsements")).collect::<Vec<_>>();
    let broker = TestBroker::start_in(folder, tee, config.join("\n")).await.expect("starts");
    let Err((reply, _)) = broker.try_attest(&TdProfile::default(), &[]).await else {
        panic!("accepted without endorsements");
    };
    // Nothing is wrong with the guest: it may ask again when the vendor's statements are there.
    let (status, _, codes) = reply.refusal();
    assert_eq!(status, 503);
    assert_eq!(codes.len(), 1, "{codes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_a_policy_is_denied() {
    let broker = TestBroker::start().await;
    broker.admin(Method::POST, "/adyton/v1/keys", kid_json(KEY)).await;
    let guest = broker.attest().await;
    let reply = broker.ask(&guest, KEY_PATH).await;
    assert_eq!(reply.refusal(), (403, "PolicyDeny".into(), vec!["policy.missing".into()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_names_unknown_reference_values_denies() {
    let broker = TestBroker::start().await;
    broker.admin(Method::POST, "/adyton/v1/keys", kid_json(KEY)).await;
    broker.set_policy(KEY, "").await;
    let guest = broker.attest().await;
    let reply = broker.ask(&guest, KEY_PATH).await;
    assert_eq!(reply.refusal().2, ["policy.reference-values-missing"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_not_found() {
    let broker = TestBroker::start().await;
    let guest = broker.attest().await;
    let reply = broker.ask(&guest, "acme/model-key/none").await;
    let expected = (404, "PluginInternalError".into(), vec!["key.unknown".into()]);
    assert_eq!(reply.refusal(), expected);
    assert_eq!(broker.decision(&reply).await["reasons"][0]["got"], "kbs:///acme/model-key/none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_breaks_the_rule_is_not_found() {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    let guest = broker.attest().await;
    for path in [
        "acme/model-key",
        "acme/model-key/kjv/x",
        ".acme/model-key/kjv",
        "acme/model-key%2Fkjv",
        "acme%2Fmodel-key/kjv",
        "acme/model-key/",
    ] {
        let reply = broker.ask(&guest, path).await;
        assert_eq!(reply.refusal(), (404, "InvalidRequestPath".into(), vec![]), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_session_nothing_is_attested_or_released() {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    let (cookie, attestation, _) = broker.prepared().await;
    let unknown = "kbs-session-id=00000000000000000000000000000000";
    for cookie in [None, Some(unknown), Some("kbs-session-id=../../etc"), Some("other=1")] {
        let reply = broker.send_attestation(cookie, &attestation).await;
        let expected = (401, ATTESTATION_ERROR.into(), vec!["session.unknown".into()]);
        assert_eq!(reply.refusal(), expected, "{cookie:?}");
    }
    let path = format!("/kbs/v0/resource/{KEY_PATH}");
    for cookie in [None, Some(unknown), Some(cookie.as_str())] {
        let reply = broker.kbs("GET", &path, cookie, Vec::new()).await;
        assert_eq!(reply.refusal(), (401, "TokenNotFound".into(), vec![]), "{cookie:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_attestation_is_refused() {
    let broker = TestBroker::start().await;
    let (cookie, attestation, _) = broker.prepared().await;
    let first = broker.send_attestation(Some(&cookie), &attestation).await;
    assert_eq!(first.status, 200);
    let again = broker.send_attestation(Some(&cookie), &attestation).await;
    assert_eq!(again.refusal().2, ["session.unknown"]);
    let with_new_cookie = broker.send_attestation(Some(&first.cookie()), &attestation).await;
    assert_eq!(with_new_cookie.refusal().2, ["session.already-attested"]);
    let other_session = broker.prepared().await.0;
    let in_other_session = broker.send_attestation(Some(&other_session), &attestation).await;
    assert_eq!(in_other_session.refusal().2, ["rcar.nonce"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_attestation_uses_the_nonce_up() {
    let broker = TestBroker::start().await;
    let (cookie, attestation, _) = broker.prepared().await;
    let broken = broker.kbs("POST", "/kbs/v0/attest", Some(&cookie), b"{}".to_vec()).await;
    assert_eq!(broken.refusal().2, ["rcar.malformed"]);
    let reply = broker.send_attestation(Some(&cookie), &attestation).await;
    assert_eq!(reply.refusal().2, ["session.unknown"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_for_another_tee_key_is_refused() {
    let broker = TestBroker::start().await;
    let (cookie, mut attestation, _) = broker.prepared().await;
    let (_, other, _) = broker.prepared().await;
    attestation.runtime_data.tee_pubkey = other.runtime_data.tee_pubkey;
    let reply = broker.send_attestation(Some(&cookie), &attestation).await;
    assert_eq!(reply.refusal().2, ["tdx.report-data"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn init_data_that_were_not_measured_are_refused() {
    let broker = TestBroker::start().await;
    let (cookie, mut attestation, _) = broker.prepared().await;
    let body = "version = \"0.1.0\"\nalgorithm = \"sha384\"\n[data]\n".to_owned();
    attestation.init_data = Some(InitData { format: "toml".into(), body });
    let reply = broker.send_attestation(Some(&cookie), &attestation).await;
    assert_eq!(reply.refusal().2, ["tdx.init-data.digest"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_session_is_refused() {
    // A session that ends when it begins: no test waits for a clock.
    let ended = |config: &mut BrokerConfig| config.session.timeout = Duration::ZERO;
    let broker = TestBroker::start_changed(ended).await;
    let (cookie, attestation, _) = broker.prepared().await;
    let reply = broker.send_attestation(Some(&cookie), &attestation).await;
    assert_eq!(reply.refusal().2, ["session.expired"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attested_session_ends_with_its_challenge() {
    let broker = TestBroker::start().await;
    let guest = broker.attest().await;
    let id = guest.cookie.strip_prefix("kbs-session-id=").and_then(SessionId::parse).expect("id");
    let sessions = &broker.running.sessions;
    let at = |seconds| Instant::now() + Duration::from_secs(seconds);
    assert!(sessions.by_id(&id, at(0)).is_ok());
    assert_eq!(sessions.by_id(&id, at(301)).err(), Some(SessionError::Expired));
    let token = guest.attested.token();
    assert_eq!(sessions.by_token(token, at(301)).err(), Some(SessionError::Expired));
    assert_eq!(sessions.counts(at(301)).attested, 0);
    assert_eq!(sessions.by_token(token, at(0)).err(), Some(SessionError::Unknown));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_not_of_the_protocol_are_refused_with_the_reason() {
    let broker = TestBroker::start().await;
    for (body, word) in [
        (json!({"version": "0.1.1", "tee": "tdx", "extra-params": ""}), "Version Mismatch"),
        (json!({"version": "0.4.0", "tee": "sample", "extra-params": ""}), "sample"),
        (json!({"version": "0.4.0", "tee": "tdx"}), "extra-params"),
        (json!([]), "request"),
    ] {
        let reply = broker.kbs("POST", "/kbs/v0/auth", None, body.to_string().into_bytes()).await;
        let error = reply.error();
        assert_eq!((reply.status.as_u16(), error.variant()), (401, ATTESTATION_ERROR));
        let start = "Attestation error: RCAR handshake Auth failed: ";
        assert!(error.detail.starts_with(start) && error.detail.contains(word), "{}", error.detail);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn oversize_bodies_are_refused_and_the_broker_lives_on() {
    let broker = TestBroker::start().await;
    let (cookie, attestation, _) = broker.prepared().await;
    let body = vec![b' '; 2 * 1024 * 1024 + 1];
    let reply = broker.kbs("POST", "/kbs/v0/attest", Some(&cookie), body).await;
    assert_eq!(reply.refusal(), (413, "SerdeError".into(), vec![]));
    let reply = broker.kbs("POST", "/kbs/v0/auth", None, vec![b' '; 64 * 1024 + 1]).await;
    assert_eq!(reply.refusal(), (413, "SerdeError".into(), vec![]));
    // Refused before the session was looked at: the nonce is still good.
    assert_eq!(broker.send_attestation(Some(&cookie), &attestation).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn deeply_nested_json_is_refused() {
    let broker = TestBroker::start().await;
    let (cookie, ..) = broker.prepared().await;
    let body = vec![b'['; 1000];
    let reply = broker.kbs("POST", "/kbs/v0/attest", Some(&cookie), body).await;
    assert_eq!(reply.refusal().2, ["rcar.malformed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tampered_key_row_is_not_released_and_the_failure_is_on_record() {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    let (folder, tee, config) = broker.stop().await;
    edit_key_row(&folder.path().join("state/store.redb"), |sealed| sealed[50] ^= 1);
    let broker = TestBroker::start_in(folder, tee, config).await.expect("starts");
    let guest = broker.attest().await;
    let reply = broker.ask(&guest, KEY_PATH).await;
    assert_eq!(reply.refusal(), (503, "PluginInternalError".into(), vec![]));
    let log = std::fs::read_to_string(broker.state_dir().join("audit.jsonl")).expect("audit log");
    assert!(log.lines().last().expect("a line").contains("key-release-failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn key_rows_that_were_swapped_are_not_released() {
    let broker = TestBroker::start().await.with_key_and_policy().await;
    let other = "kbs:///acme/model-key/kjw";
    broker.admin(Method::POST, "/adyton/v1/keys", kid_json(other)).await;
    let (folder, tee, config) = broker.stop().await;
    swap_key_rows(&folder.path().join("state/store.redb"));
    let broker = TestBroker::start_in(folder, tee, config).await.expect("starts");
    let guest = broker.attest().await;
    assert_eq!(broker.ask(&guest, KEY_PATH).await.refusal().0, 503);
}

const KEYS: redb::TableDefinition<'static, &[u8], &[u8]> = redb::TableDefinition::new("keys");

/// Edits the sealed value of the first key, as somebody with the file would.
fn edit_key_row(path: &std::path::Path, edit: impl FnOnce(&mut Vec<u8>)) {
    let database = redb::Database::open(path).expect("store");
    let write = database.begin_write().expect("transaction");
    {
        let mut rows = write.open_table(KEYS).expect("table");
        let (key, mut value) = first_rows(&rows).remove(0);
        edit(&mut value);
        rows.insert(key.as_slice(), value.as_slice()).expect("written");
    }
    write.commit().expect("commit");
}

fn swap_key_rows(path: &std::path::Path) {
    let database = redb::Database::open(path).expect("store");
    let write = database.begin_write().expect("transaction");
    {
        let mut rows = write.open_table(KEYS).expect("table");
        let found = first_rows(&rows);
        rows.insert(found[0].0.as_slice(), found[1].1.as_slice()).expect("written");
        rows.insert(found[1].0.as_slice(), found[0].1.as_slice()).expect("written");
    }
    write.commit().expect("commit");
}

fn first_rows(
    rows: &impl redb::ReadableTable<&'static [u8], &'static [u8]>,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let rows = rows.iter().expect("rows");
    rows.map(|row| row.map(|(k, v)| (k.value().to_vec(), v.value().to_vec())).expect("row"))
        .collect()
}
