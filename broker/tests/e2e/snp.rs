//! The main job on AMD hardware: an accepted SNP guest gets its key, others get the reason why not.

use adyton_attestation::Tee;
use adyton_attestation::rcar::{AttestResponse, ChallengeMessage, RcarClient, TeeKeyPair};
use adyton_broker::broker::now;
use adyton_fake_tee::{FakeKey, FakeProduct, FakeSnp, FakeTee, SnpFault, SnpProfile};
use http::Method;

use crate::harness::{Guest, KEY, KEY_PATH, Reply, TestBroker, kid_json, unwrap_key};

/// A broker that has Endorsements of the machine, its Reference Values, a key and a policy.
async fn broker(machine: &FakeSnp) -> TestBroker {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name);
    let (root, bundle, state) = (path("root.pem"), path("bundle.json"), path("state"));
    std::fs::write(&root, machine.root_pem()).expect("root");
    std::fs::write(&bundle, machine.endorsement_bundle(now().0, None).to_string()).expect("bundle");
    let config = format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nstate_dir = {state:?}\n\
         endorsements.bundle_files = [{bundle:?}]\nverifier.insecure_extra_roots = [{root:?}]\n"
    );
    let unused = FakeTee::new(now().0);
    let broker = TestBroker::start_in(folder, unused, config).await.expect("starts");
    let created = broker.admin(Method::POST, "/adyton/v1/keys", kid_json(KEY)).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let values = SnpProfile::default().reference_values();
    let set = broker.admin(Method::PUT, "/adyton/v1/reference-values", values).await;
    assert_eq!(set.status, 200, "{}", set.text());
    let tcb = SnpProfile::default().tcb;
    let policy = format!(
        "key = {KEY:?}\nminimum_model_version = 3\n[appraisal]\n\
         reference_values = [\"fake-snp\"]\n[appraisal.snp.minimum_tcb.Genoa]\n\
         bootloader = {}\ntee = {}\nsnp = {}\nmicrocode = {}\n",
        tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode
    );
    let set = broker.admin(Method::PUT, "/adyton/v1/policies", policy).await;
    assert_eq!(set.status, 200, "{}", set.text());
    broker
}

/// RCAR up to the reply of `/attest`.
async fn attest(
    broker: &TestBroker,
    machine: &FakeSnp,
    fault: Option<SnpFault>,
) -> Result<Guest, Reply> {
    let (request, awaiting) = RcarClient::start(Tee::Snp);
    let body = serde_json::to_vec(&request).expect("JSON");
    let reply = broker.kbs("POST", "/kbs/v0/auth", None, body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let challenge = ChallengeMessage::parse(&reply.body).expect("challenge");
    let key = TeeKeyPair::generate().expect("key");
    let (report_data, awaiting) = awaiting.on_challenge(&challenge, key).expect("bound");
    let evidence = machine.evidence(&SnpProfile::default(), report_data.0, fault);
    let (attestation, awaiting) = awaiting.with_evidence(evidence);
    let body = serde_json::to_vec(&attestation).expect("JSON");
    let reply = broker.kbs("POST", "/kbs/v0/attest", Some(&reply.cookie()), body).await;
    if reply.status != 200 {
        return Err(reply);
    }
    let attested = awaiting.on_token(AttestResponse::parse(&reply.body).expect("token"));
    Ok(Guest { cookie: reply.cookie(), attested })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_snp_guest_gets_the_key_with_either_kind_of_endorsement_key() {
    for kind in [FakeKey::Vcek, FakeKey::Vlek] {
        let machine = FakeSnp::new(now().0, FakeProduct::Genoa, kind);
        let broker = broker(&machine).await;
        let Ok(guest) = attest(&broker, &machine, None).await else { panic!("{kind:?}") };
        let unwrapped = unwrap_key(&guest, &broker.ask(&guest, KEY_PATH).await);
        assert_eq!(unwrapped.plaintext.len(), 32);
        assert_eq!(unwrapped.minimum_model_version, Some(3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_snp_guest_with_a_fault_gets_no_key_and_the_reason() {
    let machine = FakeSnp::new(now().0, FakeProduct::Genoa, FakeKey::Vcek);
    let broker = broker(&machine).await;
    let mut shown = 0;
    for &(fault, _, code) in SnpFault::ALL {
        let concerns_evidence = !matches!(
            fault,
            // Of the Endorsements, or lost in the JSON form.
            SnpFault::OtherRoot
                | SnpFault::Pkcs1Intermediate
                | SnpFault::FlippedIntermediateSignature
                | SnpFault::IntermediateIsNoCa
                | SnpFault::ExpiredAsk
                | SnpFault::NoList
                | SnpFault::ExpiredList
                | SnpFault::FutureList
                | SnpFault::TamperedList
                | SnpFault::ListOfOtherRoot
                | SnpFault::Pkcs1List
                | SnpFault::RevokedAsk
                | SnpFault::Truncated
                | SnpFault::ReservedTail
        );
        // Lost in the JSON form: the signature is over them, and no longer holds.
        let code = match fault {
            SnpFault::ReservedByte
            | SnpFault::ReservedReportedTcb
            | SnpFault::ReservedCurrentTcb
            | SnpFault::ReservedCommittedTcb
            | SnpFault::ReservedLaunchTcb => "snp.report.signature",
            _ => code,
        };
        // Asked for by no line of this broker's policy.
        let is_asked_for = !code.starts_with("snp.mitigations")
            && (!code.starts_with("snp.platform") || fault == SnpFault::NoAliasCheck);
        let of_this_machine = fault.machine() == (FakeProduct::Genoa, FakeKey::Vcek);
        if !concerns_evidence || !is_asked_for || !of_this_machine {
            continue;
        }
        let refused = match attest(&broker, &machine, Some(fault)).await {
            Err(reply) => {
                assert!(!fault.is_for_appraisal(), "{fault:?}: {}", reply.text());
                reply
            }
            Ok(guest) => broker.ask(&guest, KEY_PATH).await,
        };
        assert_eq!(refused.refusal().2, [code], "{fault:?}: {}", refused.text());
        shown += 1;
    }
    println!("{shown} faults");
    assert!(shown > 50, "{shown}");
}
