//! The main job on AMD hardware: an accepted SNP guest gets its key, others get the reason why not.

use adyton_attestation::Tee;
use adyton_attestation::rcar::{AttestResponse, ChallengeMessage, RcarClient, TeeKeyPair};
use adyton_broker::broker::now;
use adyton_fake_tee::{FakeKey, FakeProduct, FakeSnp, FakeTee, SnpFault, SnpProfile};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;

use crate::harness::{Guest, KEY, KEY_PATH, Reply, TestBroker, kid_json, unwrap_key};

/// A broker that has Endorsements of the machine, its Reference Values, a key and a policy.
async fn broker(machine: &FakeSnp) -> TestBroker {
    broker_with(machine, None, "", "").await
}

/// The same with a fault in the Endorsements, and more lines of configuration and policy.
async fn broker_with(
    machine: &FakeSnp,
    fault: Option<SnpFault>,
    configured: &str,
    accepted: &str,
) -> TestBroker {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name);
    let (root, bundle, state) = (path("root.pem"), path("bundle.json"), path("state"));
    std::fs::write(&root, machine.root_pem()).expect("root");
    std::fs::write(&bundle, machine.endorsement_bundle(now().0, fault).to_string())
        .expect("bundle");
    let config = format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nstate_dir = {state:?}\n\
         endorsements.bundle_files = [{bundle:?}]\nverifier.insecure_extra_roots = [{root:?}]\n\
         {configured}"
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
         reference_values = [\"fake-snp\"]\n[appraisal.snp]\n{accepted}\
         [appraisal.snp.minimum_tcb.Genoa]\n\
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
        // The last two are lost in the JSON form.
        let concerns_evidence = !fault.is_in_endorsements()
            && !matches!(fault, SnpFault::Truncated | SnpFault::ReservedTail);
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

#[tokio::test(flavor = "multi_thread")]
async fn without_a_statement_of_amd_the_guest_is_asked_to_come_again() {
    let machine = FakeSnp::new(now().0, FakeProduct::Genoa, FakeKey::Vcek);
    let unlisted = broker_with(&machine, Some(SnpFault::NoList), "", "").await;
    let sound = broker(&machine).await;
    for (broker, of_the_guest, code) in [
        (&unlisted, None, "snp.revocation.missing"),
        (&sound, Some(SnpFault::NoCertificate), "snp.key.missing"),
    ] {
        let Err(reply) = attest(broker, &machine, of_the_guest).await else { panic!("{code}") };
        assert_eq!(reply.status, 503, "{}", reply.text());
        assert_eq!(reply.refusal().2, [code]);
        let seconds = reply.headers["retry-after"].to_str().expect("text");
        assert!(seconds.parse::<u64>().is_ok_and(|seconds| seconds > 0), "{seconds}");
    }
    // What is wrong with the Evidence besides is a verdict, and waiting does not mend it.
    let Err(reply) = attest(&unlisted, &machine, Some(SnpFault::Debug)).await else {
        panic!("a debuggable guest")
    };
    assert_eq!(reply.status, 401, "{}", reply.text());
    assert_eq!(reply.refusal().2, ["snp.revocation.missing", "snp.policy.debug"]);
}

/// The claims of the guest's token, as text. Whether it verifies is shown elsewhere.
fn token_claims(guest: &Guest) -> String {
    let claims = guest.attested.token().split('.').nth(1).expect("three parts");
    String::from_utf8(URL_SAFE_NO_PAD.decode(claims).expect("base64url")).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn where_amds_lists_are_waived_broker_and_policy_both_have_to_say_so() {
    let machine = FakeSnp::new(now().0, FakeProduct::Genoa, FakeKey::Vcek);
    let waived = "verifier.insecure_amd_revocation = \"waive\"\n";
    let fault = Some(SnpFault::NoList);

    let strict = broker_with(&machine, fault, waived, "").await;
    let Ok(guest) = attest(&strict, &machine, None).await else { panic!("verified") };
    let refused = strict.ask(&guest, KEY_PATH).await;
    assert_eq!(refused.refusal().2, ["snp.revocation.waived"], "{}", refused.text());

    let accepted = "insecure_accept_waived_revocation = true\n";
    let broker = broker_with(&machine, fault, waived, accepted).await;
    let Ok(guest) = attest(&broker, &machine, None).await else { panic!("verified") };
    unwrap_key(&guest, &broker.ask(&guest, KEY_PATH).await);
    // The token says it, and so do health and metrics.
    let claims = token_claims(&guest);
    assert!(claims.contains("\"revocation\":\"insecure-waived\""), "{claims}");
    let health = broker.kbs("GET", "/healthz?verbose", None, Vec::new()).await.text();
    assert!(health.contains("insecure_amd_revocation: "), "{health}");
    let metrics = broker.kbs("GET", "/metrics", None, Vec::new()).await.text();
    let shown = r#"adyton_insecure_settings{setting="insecure_amd_revocation"} 1"#;
    assert!(metrics.contains(shown), "{metrics}");

    // A key that is on a list is refused, waived or not.
    let revoked = broker_with(&machine, Some(SnpFault::RevokedAsk), waived, accepted).await;
    let Err(reply) = attest(&revoked, &machine, None).await else { panic!("a revoked key") };
    assert_eq!(reply.refusal().2, ["snp.revocation.revoked"]);
}
