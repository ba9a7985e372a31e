//! The exchange without sockets: what only a test inside the crate can bring about.

use std::path::Path;
use std::sync::Arc;

use adyton_attestation::Tee;
use adyton_attestation::rcar::{RcarClient, ResourcePath, TeeKeyPair};
use adyton_fake_tee::{FakeTee, TdProfile};
use axum::extract::State;

use super::exchange::{SessionProof, auth, conclude, endorse, present, resource};
use crate::broker::{Broker, TrustedInputs, now};
use crate::config::BrokerConfig;
use crate::keystore::WhichEpoch;
use crate::respond::KbsRefusal;

const PATH: &str = "acme/model-key/kjv";

/// A broker with one key that the TEE may have.
fn broker(folder: &Path, tee: &FakeTee) -> Broker {
    let root = folder.join("root.pem");
    let bundle = folder.join("bundle.json");
    std::fs::write(&root, tee.root_pem()).expect("written");
    std::fs::write(&bundle, tee.endorsement_bundle(now().0, &[]).to_string()).expect("written");
    let text = format!(
        "state_dir = {folder:?}\nendorsements.bundle_files = [{bundle:?}]\n\
         verifier.insecure_extra_roots = [{root:?}]\n"
    );
    let config = BrokerConfig::load(Some((Path::new("f"), &text)), [], []).expect("valid");
    let broker = Broker::open(&config, TrustedInputs::load(&config).expect("good")).expect("open");
    let path = ResourcePath::parse(PATH).expect("path");
    broker.keys.create(&path, "test").expect("created");
    let values = tee.reference_values(&TdProfile::default());
    broker.references.set(&values, "test").expect("set");
    let policy =
        format!("key = \"kbs:///{PATH}\"\n[appraisal]\nreference_values = [\"fake-td\"]\n");
    broker.policies.set(&policy, "test").expect("set");
    broker
}

fn attested(broker: &Broker, tee: &FakeTee) -> SessionProof {
    let (request, awaiting) = RcarClient::start(Tee::Tdx);
    let request = serde_json::to_vec(&request).expect("JSON");
    let challenge = auth(broker, &request).expect("challenge");
    let key = TeeKeyPair::generate().expect("key");
    let (report_data, awaiting) = awaiting.on_challenge(&challenge.body, key).expect("bound");
    let evidence = tee.primary_evidence(&TdProfile::default(), report_data.0, &[]);
    let (attestation, _) = awaiting.with_evidence(evidence);
    let body = serde_json::to_vec(&attestation).expect("JSON");
    let answered = present(broker, "peer", Some(&challenge.id), &body).expect("an answer");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    let endorsed = runtime.block_on(endorse(broker, answered)).expect("nothing is fetched");
    let reply = conclude(broker, "peer", endorsed).expect("accepted");
    SessionProof { id: Some(reply.id), token: None }
}

#[test]
fn without_a_writable_audit_log_nothing_is_released() {
    let folder = tempfile::tempdir().expect("folder");
    let tee = FakeTee::new(now().0);
    let broker = broker(folder.path(), &tee);
    let proof = attested(&broker, &tee);
    resource(&broker, "peer", &proof, PATH, WhichEpoch::Newest).expect("released");
    let decisions = broker.journal.decisions(10).expect("readable").len();

    broker.journal.refuse_from_now_on();
    let refusal = resource(&broker, "peer", &proof, PATH, WhichEpoch::Newest);
    assert!(matches!(refusal, Err(KbsRefusal::Unavailable)), "{refusal:?}");
    assert!(!broker.journal.is_usable());
    assert_eq!(broker.journal.decisions(10).expect("readable").len(), decisions);
    let page = broker.metrics.page(broker.sessions.counts(std::time::Instant::now()));
    assert!(page.contains("adyton_journal_failures_total 1"), "{page}");
}

#[tokio::test]
async fn a_broker_that_cannot_record_is_not_healthy() {
    let folder = tempfile::tempdir().expect("folder");
    let broker = Arc::new(broker(folder.path(), &FakeTee::new(now().0)));
    let health = async || {
        let query = super::routes::Verbosity { verbose: None };
        let reply =
            super::routes::healthz(State(Arc::clone(&broker)), axum::extract::Query(query)).await;
        reply.status().as_u16()
    };
    assert_eq!(health().await, 200);
    broker.journal.refuse_from_now_on();
    assert_eq!(health().await, 503);
}
