//! The attestation endpoint, verified as a client would: same connection, own nonce, own roots.

mod support;

use adyton_attestation::binding::BindingLevel;
use adyton_attestation::challenge::Nonce;
use adyton_attestation::peer::PeerTrust;
use adyton_attestation::report::{AttestationReport, ReportError, verify_report};
use adyton_attestation::{EndorsementBundle, TrustAnchors, UnixTime};
use adyton_sidecar::proxy::client_identity::spki_sha256;
use http::Request;
use support::client::{Http, Observed, bytes, json};
use support::world::{MODEL_VERSION, World};

fn now() -> UnixTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixTime(since.expect("after 1970").as_secs())
}

async fn ask(client: &mut Http, nonce: &Nonce, bind: &str) -> AttestationReport {
    let nonce = nonce.to_base64url();
    let path = format!("/.well-known/adyton/attestation?nonce={nonce}&bind={bind}");
    let response = client.get(&path).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["cache-control"], "no-store");
    AttestationReport::parse(&bytes(response).await).expect("a report")
}

struct Verifier(PeerTrust);

impl Verifier {
    fn new(world: &World) -> Self {
        let bundle = serde_json::to_vec(&world.bundle).expect("json");
        Self(PeerTrust::strict(
            EndorsementBundle::parse(&bundle).expect("a bundle"),
            TrustAnchors::vendor()
                .with_insecure_extra_root(world.tee_root.as_bytes())
                .expect("a root"),
        ))
    }

    fn verify(
        &self,
        report: &AttestationReport,
        nonce: &Nonce,
        observed: &Observed,
        exporter: Option<[u8; 32]>,
    ) -> Result<BindingLevel, ReportError> {
        let spki = spki_sha256(&observed.leaf).expect("a certificate");
        verify_report(report, nonce, spki, exporter, &self.0, now())
            .map(|verified| verified.level())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_verifies_at_both_levels_on_both_protocols() {
    let world = World::new().await;
    let (_sidecar, proxy) = world.serving().await;
    let verifier = Verifier::new(&world);
    for http2 in [false, true] {
        let (mut client, observed) = match http2 {
            false => Http::one(proxy, &world.client).await,
            true => Http::two(proxy, &world.client).await,
        };
        let nonce = Nonce::fresh().expect("random");
        let report = ask(&mut client, &nonce, "certificate").await;
        let level = verifier.verify(&report, &nonce, &observed, None).expect("verifies");
        assert_eq!(level, BindingLevel::Certificate);
        assert_eq!((report.model.name.as_str(), report.model.version), ("tiny", MODEL_VERSION));
        assert_eq!(report.phase, "ready");
        assert!(report.insecure.is_empty());
        assert!(!report.protections.dumpable && !report.protections.core_files);

        let report = ask(&mut client, &nonce, "exporter").await;
        let exporter = Some(observed.exporter);
        let level = verifier.verify(&report, &nonce, &observed, exporter).expect("verifies");
        assert_eq!(level, BindingLevel::Channel);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_another_connection_or_nonce_does_not_verify() {
    let world = World::new().await;
    let (_sidecar, proxy) = world.serving().await;
    let verifier = Verifier::new(&world);
    let (mut client, observed) = Http::two(proxy, &world.client).await;
    let (_other, elsewhere) = Http::two(proxy, &world.client).await;
    let nonce = Nonce::fresh().expect("random");

    // Relayed from one connection to another: only the channel level notices.
    let report = ask(&mut client, &nonce, "exporter").await;
    let relayed = verifier.verify(&report, &nonce, &elsewhere, Some(elsewhere.exporter));
    assert!(matches!(relayed, Err(ReportError::Verify { .. })), "{relayed:?}");
    // Replayed under another nonce.
    let other_nonce = Nonce::fresh().expect("random");
    let replayed = verifier.verify(&report, &other_nonce, &observed, Some(observed.exporter));
    assert!(matches!(replayed, Err(ReportError::Nonce)), "{replayed:?}");
    // A weaker report does not pass for a stronger one.
    let weaker = ask(&mut client, &nonce, "certificate").await;
    let passed_off = verifier.verify(&weaker, &nonce, &observed, Some(observed.exporter));
    assert!(matches!(passed_off, Err(ReportError::Level { .. })), "{passed_off:?}");
    // What was measured and what is said must agree.
    let mut edited = ask(&mut client, &nonce, "exporter").await;
    edited.config_digest[0] ^= 1;
    let edited = verifier.verify(&edited, &nonce, &observed, Some(observed.exporter));
    assert!(matches!(edited, Err(ReportError::Verify { .. })), "{edited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_digest_in_a_report_is_the_one_check_config_prints() {
    let world = World::new().await;
    let (_sidecar, proxy) = world.serving().await;
    let (mut client, _) = Http::one(proxy, &world.client).await;
    let report = ask(&mut client, &Nonce::fresh().expect("random"), "certificate").await;
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_adyton-sidecar"))
        .arg("check-config")
        .arg("--config")
        .arg(world.path("sidecar.toml"))
        .output()
        .expect("runs");
    assert!(output.status.success());
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).expect("json");
    assert_eq!(shown["config_digest"], hex::encode(report.config_digest));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_questions_are_a_400_and_nothing_below_our_path_is_forwarded() {
    let world = World::new().await;
    let (_sidecar, proxy) = world.serving().await;
    let (mut client, _) = Http::two(proxy, &world.client).await;
    let nonce = Nonce::from_bytes([7; 32]).to_base64url();
    for query in [
        String::new(),
        "?nonce=".into(),
        format!("?nonce={}", &nonce[1..]),
        format!("?nonce={nonce}A"),
        format!("?nonce={nonce}%3D"),
        format!("?nonce={nonce}&bind=none"),
        format!("?nonce={nonce}&nonce={nonce}"),
    ] {
        let response = client.get(&format!("/.well-known/adyton/attestation{query}")).await;
        assert_eq!(response.status(), 400, "{query}");
        assert_eq!(json(response).await["error"]["code"], "bad_attestation_question");
    }
    for path in ["/.well-known/adyton/", "/.well-known/adyton/refused", "/.well-known/adyton/x"] {
        assert_eq!(client.get(path).await.status(), 404, "{path}");
    }
    let post = Request::post(format!("/.well-known/adyton/attestation?nonce={nonce}"));
    assert_eq!(client.send(post, "").await.status(), 405);
    assert!(world.server.seen().is_empty());
}
