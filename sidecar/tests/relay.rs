//! Men in the middle against the real sidecar, with real TLS and the client library that ships.
//!
//! ```text
//! client ══TLS══► relay (the host's) ══TLS══► sidecar in the TEE
//! ```
//! What each of them gets, at which level: docs/guides/clients.md has the table that these tests fill.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use adyton_attestation::ReportError;
use adyton_attestation::binding::{BindingLevel, ChannelBinding, EXPORTER_LABEL, ReportBinding};
use adyton_attestation::challenge::Nonce;
use adyton_attestation::claims::Ppid;
use adyton_attestation::peer::{RelayableExchange, VerifiedPeer};
use adyton_attestation::report::AttestationReport;
use adyton_attestation::verifier::VerifyError;
use adyton_client::ra_tls::{self, AtHandshake, RaTlsRules, RaTlsVerifier};
use adyton_client::{
    AttestedConnection, ClientError, ClientIdentity, EndorsementBundle, Expectations,
    ExpectedDigest, Machine, PeerTrust, PinnedInstance, Pins, ProvisionalConnection,
    ReferenceValues, ServerAddress, TrustAnchors, connect, now, relayable, spki_sha256,
};
use adyton_fake_tee::{FakeTee, TdProfile};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use support::client::Http;
use support::pki::{Ca, Leaf};
use support::within;
use support::world::{World, set};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What a client was given by people it trusts.
struct Client {
    trust: PeerTrust,
    expectations: Expectations,
    identity: ClientIdentity,
}

impl Client {
    fn of(world: &World) -> Self {
        let bundle = serde_json::to_vec(&world.bundle).expect("json");
        let references = ReferenceValues::parse_toml(&world.reference_values).expect("a set");
        Self {
            trust: PeerTrust::strict(
                EndorsementBundle::parse(&bundle).expect("a bundle"),
                TrustAnchors::vendor()
                    .with_insecure_extra_root(world.tee_root.as_bytes())
                    .expect("a root"),
            ),
            expectations: Expectations::of_software(vec![references]),
            identity: ClientIdentity::from_pem(
                world.client.certificate.as_bytes(),
                world.client.key.as_bytes(),
            )
            .expect("an identity"),
        }
    }

    fn pinning(mut self, pin: PinnedInstance) -> Self {
        self.expectations.pins = Pins::OneOf(vec![pin]);
        self
    }

    async fn open(&self, server: SocketAddr) -> ProvisionalConnection {
        let address = ServerAddress::parse(&format!("https://{server}")).expect("an address");
        within("connecting", connect(&address, &self.identity)).await.expect("connects")
    }

    async fn attest(&self, server: SocketAddr) -> Result<AttestedConnection, ClientError> {
        let now = now().expect("a clock");
        let connection = self.open(server).await;
        within("attesting", connection.attest(&self.trust, &self.expectations, now)).await
    }

    async fn verify(&self, server: SocketAddr) -> VerifiedPeer {
        let answered = within("asking", self.open(server).await.ask()).await.expect("a report");
        answered.verify(&self.trust, now().expect("a clock")).expect("genuine").into_peer()
    }
}

fn codes(error: &ClientError) -> Vec<String> {
    error.reasons().into_iter().map(|reason| reason.code.into_owned()).collect()
}

fn is_other_report_data(error: &ClientError) -> bool {
    let ClientError::Report(ReportError::Verify { source, .. }) = error else { return false };
    matches!(**source, VerifyError::ReportData { .. })
}

/// A TLS server of the host's, with this certificate. `answer` gets each request and the exporter
/// value of the host's connection with the client.
async fn middle<F, A>(certificate: &Leaf, answer: F) -> SocketAddr
where
    F: Fn(Request<Incoming>, [u8; 32]) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Full<Bytes>>> + Send,
{
    let chain = vec![CertificateDer::from_pem_slice(certificate.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, answer) = (acceptor.clone(), answer.clone());
            tokio::spawn(async move {
                // A client that refuses our certificate goes away.
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                let exporter =
                    tls.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, None).unwrap();
                let service = service_fn(move |request| {
                    let reply = answer(request, exporter);
                    async move { Ok::<_, hyper::Error>(reply.await) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(tls), service)
                    .await;
            });
        }
    });
    address
}

/// A relay: passes every request on to the genuine sidecar, on a connection of its own, as a client
/// that the sidecar admits (another tenant will do).
async fn relay(certificate: &Leaf, sidecar: SocketAddr, tenant: Leaf) -> SocketAddr {
    let tenant = Arc::new(tenant);
    middle(certificate, move |request, _| {
        let tenant = Arc::clone(&tenant);
        async move {
            let (mut genuine, _) = Http::one(sidecar, &tenant).await;
            let response = genuine.get(&request.uri().to_string()).await;
            let status = response.status();
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            let mut reply = Response::new(Full::new(body));
            *reply.status_mut() = status;
            reply
        }
    })
    .await
}

/// A man in the middle with a genuine TEE of his own. It answers for itself and for nobody else:
/// its key, its exporter value. Everything else it copies from the sidecar's report.
async fn own_tee(
    certificate: &Leaf,
    machine: FakeTee,
    copied: AttestationReport,
    claims_to_be: Option<[u8; 32]>,
) -> SocketAddr {
    let leaf = CertificateDer::from_pem_slice(certificate.certificate.as_bytes()).unwrap();
    let own_key = spki_sha256(&leaf).unwrap();
    let machine = Arc::new(machine);
    middle(certificate, move |request, exporter| {
        let mut report = copied.clone();
        let query = request.uri().query().expect("a question").to_owned();
        let nonce = query.split('&').find_map(|pair| pair.strip_prefix("nonce=")).expect("a nonce");
        let spki_sha256 = claims_to_be.unwrap_or(own_key);
        let binding = ReportBinding {
            nonce: &Nonce::parse_base64url(nonce).expect("a nonce"),
            spki_sha256,
            manifest_digest: report.manifest_digest,
            config_digest: report.config_digest,
            channel: ChannelBinding::Exporter(exporter),
        };
        let data = binding.report_data().0;
        report.nonce = nonce.to_owned();
        report.spki_sha256 = spki_sha256;
        report.binding = BindingLevel::Channel;
        report.evidence = machine.primary_evidence(&TdProfile::default(), data, &[]);
        let body = serde_json::to_vec(&report).expect("json");
        async move { Response::new(Full::from(body)) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sidecar_itself_is_accepted_and_pinned_by_machine_and_key() {
    let world = World::new().await;
    let (_sidecar, proxy) = world.serving().await;
    let client = Client::of(&world).pinning(PinnedInstance::Ppid(Ppid(world.ppid)));
    let attested = client.attest(proxy).await.expect("the sidecar itself");
    let instance = attested.peer().instance();
    assert_eq!(instance.machine, Machine::Ppid(Ppid(world.ppid)));
    let pin = PinnedInstance::ServingKey(instance.spki_sha256);
    let mut again = Client::of(&world).pinning(pin).attest(proxy).await.expect("the same key");
    let request = Request::get("/v1/models").body(Full::default()).expect("a request");
    let reply = again.send(request).await.expect("a reply");
    assert_eq!(reply.status(), 200);
    assert_eq!(world.server.seen().len(), 1, "only what was sent after attestation got through");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_with_its_own_certificate_fails_at_both_levels() {
    let world = World::new().await;
    let (_sidecar, proxy) = world.serving().await;
    let host = Ca::new("the host").server();
    let relay = relay(&host, proxy, world.client_ca.client("mallory")).await;
    let client = Client::of(&world);

    let refused = client.attest(relay).await.expect_err("the relay's key is not the TEE's");
    assert_eq!(codes(&refused), ["report.serving-key"]);

    let answered = relayable::ask(client.open(relay).await).await.expect("relayed");
    let refused = answered.verify(&client.trust, now().unwrap()).expect_err("another key");
    assert!(matches!(refused.error, ReportError::ServingKey { .. }), "{refused:?}");
}

/// The diversion attack (CVE-2026-33697): the serving key is known outside of the TEE.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_with_the_stolen_serving_key_passes_at_level_certificate_and_fails_at_channel() {
    let world = World::new().await;
    // The key came in a file, so it could be taken; a key that is born in the sidecar cannot.
    let serving = Ca::new("serving CA").server();
    std::fs::write(world.path("serving.pem"), &serving.certificate).expect("written");
    std::fs::write(world.path("serving.key"), &serving.key).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(world.path("serving.key"), mode).expect("mode");
    let mut config = world.config();
    for (key, file) in [("certificate_file", "serving.pem"), ("key_file", "serving.key")] {
        set(&mut config, "tls", key, world.path(file).display().to_string());
    }
    let (_sidecar, proxy) = world.serving_with(&config).await;
    let relay = relay(&serving, proxy, world.client_ca.client("mallory")).await;
    let client = Client::of(&world);

    // Passes, with the TEE's own claims, at the level whose name says so.
    let answered = relayable::ask(client.open(relay).await).await.expect("relayed");
    let peer = answered.verify(&client.trust, now().unwrap()).expect("certificate level passes");
    assert_eq!(peer.level(), BindingLevel::Certificate);
    assert_eq!(peer.level().as_str(), "certificate");
    assert_eq!(peer.instance().machine, Machine::Ppid(Ppid(world.ppid)));
    peer.appraise(&client.expectations, now().unwrap()).expect("and nothing else tells");

    // Neither pin helps: it is the right machine's Evidence over the right key.
    let leaf = CertificateDer::from_pem_slice(serving.certificate.as_bytes()).unwrap();
    let stolen = PinnedInstance::ServingKey(spki_sha256(&leaf).unwrap());
    let client = client.pinning(stolen);
    let refused = client.attest(relay).await.expect_err("another connection");
    assert!(is_other_report_data(&refused), "{refused:?}");
    // And the sidecar itself still passes.
    client.attest(proxy).await.expect("no relay between");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_rewrites_the_answer_fails() {
    let world = World::new().await;
    let (_sidecar, proxy) = world.serving().await;
    let host = Ca::new("the host").server();
    let leaf = CertificateDer::from_pem_slice(host.certificate.as_bytes()).unwrap();
    let own_key = spki_sha256(&leaf).unwrap();
    let tenant = Arc::new(world.client_ca.client("mallory"));
    // Says that the Evidence is over the relay's key, or was made at the level that was asked for.
    let relay = middle(&host, move |request, _| {
        let tenant = Arc::clone(&tenant);
        async move {
            let (mut genuine, _) = Http::one(proxy, &tenant).await;
            let asked = request.uri().to_string().replace("bind=exporter", "bind=certificate");
            let body = genuine.get(&asked).await.into_body().collect().await.unwrap().to_bytes();
            let mut report = AttestationReport::parse(&body).expect("a report");
            report.spki_sha256 = own_key;
            report.binding = BindingLevel::Channel;
            Response::new(Full::from(serde_json::to_vec(&report).expect("json")))
        }
    })
    .await;
    let refused = Client::of(&world).attest(relay).await.expect_err("the report data say else");
    assert!(is_other_report_data(&refused), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_man_in_the_middle_with_a_genuine_tee_can_only_present_himself() {
    let world = World::new().await;
    let (_sidecar, proxy) = world.serving().await;
    let client = Client::of(&world);
    let genuine = client.verify(proxy).await;
    let copied = genuine.report().clone();
    let victim_key = genuine.instance().spki_sha256;
    let host = Ca::new("the host").server();
    let (his, his_ppid) = (world.other_machine.sibling(2), world.other_machine.sibling(2).ppid());
    let middle = own_tee(&host, his, copied.clone(), None).await;

    // He is a genuine TEE at the end of this connection, and that is all that is verified: his own
    // machine, his own key. Measurements and digests he can copy if his TEE runs the same software,
    // or if its attestation key is in his hands.
    let peer = client.verify(middle).await;
    assert_eq!(peer.level(), BindingLevel::Channel);
    assert_eq!(peer.instance().machine, Machine::Ppid(Ppid(his_ppid)));
    assert_ne!(peer.instance(), genuine.instance());
    client.attest(middle).await.expect("no pin: any genuine instance of the software is as good");

    // The victim's machine pinned, or its key: he is not it.
    let pinned = Client::of(&world).pinning(PinnedInstance::Ppid(Ppid(world.ppid)));
    let refused = pinned.attest(middle).await.expect_err("another machine");
    assert_eq!(codes(&refused), ["instance.machine"]);
    let pinned = Client::of(&world).pinning(PinnedInstance::ServingKey(victim_key));
    let refused = pinned.attest(middle).await.expect_err("another key");
    assert_eq!(codes(&refused), ["instance.serving-key"]);

    // Having his TEE sign the victim's key does not help: the connection has his.
    let liar = own_tee(&host, world.other_machine.sibling(2), copied, Some(victim_key)).await;
    let refused = client.attest(liar).await.expect_err("not the key of this connection");
    assert_eq!(codes(&refused), ["report.serving-key"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_genuine_tee_with_another_model_or_configuration_is_not_the_expected_one() {
    let world = World::new().await;
    let (_sidecar, proxy) = world.serving().await;
    let mut client = Client::of(&world);
    let mut copied = client.verify(proxy).await.report().clone();
    client.expectations.manifest_digest = ExpectedDigest::Exactly(copied.manifest_digest);
    client.expectations.config_digest = ExpectedDigest::Exactly(copied.config_digest);
    client.attest(proxy).await.expect("the expected model and configuration");

    let host = Ca::new("the host").server();
    copied.manifest_digest = [1; 32];
    copied.config_digest = [2; 32];
    let middle = own_tee(&host, world.other_machine.sibling(2), copied, None).await;
    let refused = client.attest(middle).await.expect_err("what his TEE commits to differs");
    assert_eq!(codes(&refused), ["model.manifest-digest", "config.digest"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_made_for_one_connection_is_not_taken_on_another_of_the_same_client() {
    let world = World::new().await;
    let (_sidecar, proxy) = world.serving().await;
    let client = Client::of(&world);
    let (one, two) = (client.open(proxy).await, client.open(proxy).await);
    assert_eq!(one.observed().peer_spki_sha256, two.observed().peer_spki_sha256);
    assert_ne!(one.observed().exporter, two.observed().exporter);
    // At level certificate both connections are the same one, as far as anybody can tell.
    let exchange = RelayableExchange::begin(one.observed()).expect("random");
    let (mut elsewhere, _) = Http::one(proxy, &world.client).await;
    let body = elsewhere.get(&exchange.target()).await.into_body().collect().await.unwrap();
    let answer = exchange.answer(&body.to_bytes()).expect("a report");
    let peer = answer.verify(&client.trust, now().unwrap()).expect("relayable");
    assert_eq!(peer.level(), BindingLevel::Certificate);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_with_evidence_is_what_an_ra_tls_client_admits() {
    let world = World::new().await;
    let mut config = world.config();
    set(&mut config, "tls", "evidence_in_certificate", true);
    set(&mut config, "tls", "certificate_days", 6);
    let (_sidecar, proxy) = world.serving_with(&config).await;
    let Client { trust, expectations, identity } = Client::of(&world);
    let at_handshake = AtHandshake::Appraise(Box::new(expectations));
    let verifier = Arc::new(RaTlsVerifier::new(trust, RaTlsRules::default(), at_handshake));
    let tls = ra_tls::client_config(Arc::clone(&verifier), &identity).expect("a configuration");
    let connect = async |address: SocketAddr| {
        let tcp = TcpStream::connect(address).await.expect("connects");
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::clone(&tls)).connect(name, tcp).await
    };
    let stream = within("the handshake", connect(proxy)).await.expect("admitted");
    let peer = verifier.peer_of(stream.get_ref().1, now().unwrap()).expect("the sidecar");
    assert_eq!(peer.level(), BindingLevel::Certificate);
    assert_eq!(peer.instance().machine, Machine::Ppid(Ppid(world.ppid)));
    // The endpoint behind the same certificate gives the stronger proof.
    let client = Client::of(&world).pinning(PinnedInstance::ServingKey(peer.binding().spki_sha256));
    client.attest(proxy).await.expect("the same key");

    // A relay's certificate carries none.
    let host = Ca::new("the host").server();
    let relay = relay(&host, proxy, world.client_ca.client("mallory")).await;
    let refused = within("the handshake", connect(relay)).await.expect_err("no Evidence");
    let source = refused.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let refusal = ra_tls::refusal_in(source.expect("a TLS error")).expect("our verifier's word");
    assert_eq!(refusal.reasons()[0].code, "ra-tls.missing");
}
