//! The whole broker with services instead of bundle files.

use adyton_attestation::rcar::RcarClient;
use adyton_attestation::{Tee, rcar::ChallengeMessage};
use adyton_broker::broker::now;
use adyton_fake_tee::{FakeTee, Fault, TdProfile};
use http::Method;

use super::vendor::{Act, Vendor, answering, pccs};
use crate::harness::{TestBroker, write_inputs};

/// A broker whose bundle files are these, and that asks the service at `url`.
async fn broker_with(tee: FakeTee, files: &str, url: &str, extra: &str) -> TestBroker {
    let folder = tempfile::tempdir().expect("folder");
    let inputs = write_inputs(folder.path(), &tee, &[]);
    let lines = inputs.lines().filter(|line| !line.starts_with("endorsements."));
    let inputs = lines.collect::<Vec<_>>().join("\n");
    let bundle = folder.path().join("bundle.json");
    let files = files.replace("BUNDLE", &format!("{:?}", bundle.display().to_string()));
    let config = format!(
        "{inputs}\n{extra}[endorsements]\nbundle_files = [{files}]\nintel_url = {url:?}\n\
         ca_file = {:?}\ntimeout_seconds = 1\n",
        folder.path().join("root.pem").display().to_string()
    );
    TestBroker::start_in(folder, tee, config).await.expect("the broker starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_is_verified_with_what_the_service_has_and_asked_for_once() {
    let tee = FakeTee::new(now().0);
    let vendor = Vendor::start(answering(pccs(&tee, now().0))).await;
    let broker = broker_with(tee, "", &vendor.url, "").await;
    broker.attest().await;
    broker.attest().await;
    assert_eq!(vendor.seen().len(), 4, "{:?}", vendor.seen());
    let page = broker.kbs("GET", "/metrics", None, Vec::new()).await.text();
    for line in [
        "adyton_endorsement_fetches_total{service=\"intel\",outcome=\"ok\"} 3",
        "adyton_endorsement_fetches_total{service=\"intel-root-crl\",outcome=\"ok\"} 1",
        "adyton_endorsement_lookups_total{result=\"fetched\"} 4",
        "adyton_endorsement_lookups_total{result=\"cached\"} 4",
    ] {
        assert!(page.contains(line), "{line} is not in {page}");
    }
    // A restart with the service gone.
    drop(vendor);
    let (folder, tee, config) = broker.stop().await;
    let broker = TestBroker::start_in(folder, tee, config).await.expect("starts again");
    broker.attest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_file_that_has_everything_is_enough() {
    let tee = FakeTee::new(now().0);
    let vendor = Vendor::start(|_, _| Act::status(500)).await;
    let broker = broker_with(tee, "BUNDLE", &vendor.url, "").await;
    broker.attest().await;
    assert_eq!(vendor.seen(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_endorsements_the_guest_is_asked_to_come_again_and_the_owner_reads_why() {
    let tee = FakeTee::new(now().0);
    let vendor = Vendor::start(|_, _| Act::status(500)).await;
    let broker = broker_with(tee, "", &vendor.url, "").await;
    let Err((reply, _)) = broker.try_attest(&TdProfile::default(), &[]).await else {
        panic!("attested without endorsements");
    };
    let (status, variant, codes) = reply.refusal();
    assert_eq!((status, variant.as_str()), (503, "AttestationError"));
    assert_eq!(codes, ["endorsements.unavailable"]);
    assert_eq!(reply.headers["retry-after"], "10");
    assert!(!reply.text().contains(&vendor.url), "{}", reply.text());

    let id = reply.error().adyton.expect("a decision").decision;
    let path = format!("/adyton/v1/decisions/{id}");
    let decision = broker.admin(Method::GET, &path, String::new()).await;
    let told = decision.text();
    assert!(told.contains(&format!("{}/tdx/certification/v4/tcb?fmspc=", vendor.url)), "{told}");
    assert!(told.contains("the service failed (status 500)"), "{told}");
    assert!(told.contains("remedy"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_chain_makes_us_ask_for_nothing() {
    let tee = FakeTee::new(now().0);
    let vendor = Vendor::start(answering(pccs(&tee, now().0))).await;
    let broker = broker_with(tee, "", &vendor.url, "").await;
    let Err((reply, _)) = broker.try_attest(&TdProfile::default(), &[Fault::OtherRoot]).await
    else {
        panic!("a forged chain was accepted");
    };
    assert_eq!(reply.refusal().2, ["tdx.pck-chain"]);
    assert_eq!(vendor.seen(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_hangs_keeps_nobody_else_waiting() {
    let tee = FakeTee::new(now().0);
    let vendor = Vendor::start(|_, _| Act::Hang).await;
    let extra = "limits.concurrent_verifications = 1\n";
    let broker = broker_with(tee, "", &vendor.url, extra).await;
    let profile = TdProfile::default();
    let hanging = broker.try_attest(&profile, &[]);
    let other = async {
        while vendor.seen().is_empty() {
            tokio::task::yield_now().await;
        }
        let (request, _) = RcarClient::start(Tee::Tdx);
        let body = serde_json::to_vec(&request).expect("JSON");
        let reply = broker.kbs("POST", "/kbs/v0/auth", None, body).await;
        ChallengeMessage::parse(&reply.body).expect("challenge");
        let cookie = reply.cookie();
        let refused = broker.kbs("POST", "/kbs/v0/attest", Some(&cookie), b"{}".to_vec()).await;
        (std::time::Instant::now(), refused.status)
    };
    let ((hung, at), (other_at, status)) =
        tokio::join!(async { (hanging.await, std::time::Instant::now()) }, other);
    assert_eq!(status, 401);
    assert!(other_at < at, "the other guest waited for the service");
    let Err((reply, _)) = hung else { panic!("attested without endorsements") };
    assert_eq!(reply.refusal().2, ["endorsements.unavailable"]);
}

#[test]
fn every_mistake_about_services_is_reported() {
    use adyton_broker::config::BrokerConfig;
    use std::path::Path;
    let text = "[endorsements]\nintel_url = \"http://pccs.example\"\namd_url = \"kds\"\n\
                intel_root_crl_url = \"https://a/b?c\"\nca_file = \"/none.pem\"\n\
                refresh_hours = 48\nmax_stale_hours = 24\ntimeout_seconds = 0\n";
    let findings = BrokerConfig::load(Some((Path::new("f"), text)), [], []).expect_err("mistakes");
    let steps: Vec<&str> = findings.iter().map(|finding| finding.step.as_str()).collect();
    for key in [
        "intel_url",
        "amd_url",
        "intel_root_crl_url",
        "ca_file",
        "max_stale_hours",
        "timeout_seconds",
    ] {
        assert!(
            steps.iter().any(|step| step.contains(&format!("endorsements.{key}`"))),
            "{steps:?}"
        );
    }
    assert_eq!(findings.len(), 6, "{findings:?}");
}
