//! RA-TLS over real sockets, both ways, with a certificate of one fault each.

use std::sync::Arc;
use std::time::Duration;

use adyton_attestation::BindingLevel;
use adyton_attestation::claims::Ppid;
use adyton_attestation::evidence::Tee;
use adyton_attestation::ra_tls::{CertificateEvidence, EXTENSION_OID, RaTlsBinding};
use adyton_client::ra_tls::{
    AtHandshake, RaTlsRefusal, RaTlsRules, RaTlsVerifier, client_config, refusal_in, server_config,
};
use adyton_client::{
    ClientIdentity, EndorsementBundle, Expectations, Machine, PeerTrust, PinnedInstance, Pins,
    ReferenceValues, TrustAnchors, UnixTime, now,
};
use adyton_fake_tee::{FakeTee, Fault, TdProfile};
use rcgen::{CertificateParams, CustomExtension, KeyPair, PublicKeyData as _, date_time_ymd};
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, CommonState, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const HOUR: u64 = 3600;

struct World {
    vendor: FakeTee,
    now: UnixTime,
}

/// A TLS identity.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    NoExtension,
    Oversized,
    Twice,
    Critical,
    OtherKey,
    Expired,
    Debug,
    Chain,
}

impl World {
    fn new() -> Self {
        let now = now().expect("a clock");
        Self { vendor: FakeTee::new(now.0), now }
    }

    fn verifier(&self, at_handshake: AtHandshake) -> Arc<RaTlsVerifier> {
        let bundle = self.vendor.endorsement_bundle(self.now.0, &[]).to_string();
        let trust = PeerTrust::strict(
            EndorsementBundle::parse(bundle.as_bytes()).unwrap(),
            TrustAnchors::vendor()
                .with_insecure_extra_root(self.vendor.root_pem().as_bytes())
                .unwrap(),
        );
        Arc::new(RaTlsVerifier::new(trust, RaTlsRules::default(), at_handshake))
    }

    fn expectations(&self) -> Expectations {
        let text = self.vendor.reference_values(&TdProfile::default());
        Expectations::of_software(vec![ReferenceValues::parse_toml(&text).unwrap()])
    }

    fn identity(&self, machine: &FakeTee, flaw: Flaw) -> Identity {
        let key = KeyPair::generate().unwrap();
        let digest = ring::digest::digest(&ring::digest::SHA256, &key.subject_public_key_info());
        let hours_ahead = if flaw == Flaw::Expired { -1 } else { 1 };
        let binding = RaTlsBinding {
            spki_sha256: match flaw {
                Flaw::OtherKey => [0; 32],
                _ => digest.as_ref().try_into().unwrap(),
            },
            not_before: UnixTime(self.now.0 - 2 * HOUR),
            not_after: UnixTime(self.now.0.saturating_add_signed(hours_ahead * 3600)),
        };
        let faults: &[Fault] = if flaw == Flaw::Debug { &[Fault::DebugTd] } else { &[] };
        let profile = TdProfile::default().with_faults(faults);
        let evidence = machine.primary_evidence(&profile, binding.report_data().0, faults);
        let value = CertificateEvidence { tee: Tee::Tdx, evidence }.to_value().unwrap();
        let value = if flaw == Flaw::Oversized { vec![0; 49 * 1024] } else { value };
        let mut extension = CustomExtension::from_oid_content(&EXTENSION_OID, value);
        extension.set_criticality(flaw == Flaw::Critical);
        let epoch = date_time_ymd(1970, 1, 1);
        let mut params = CertificateParams::default();
        params.not_before = epoch + Duration::from_secs(binding.not_before.0);
        params.not_after = epoch + Duration::from_secs(binding.not_after.0);
        params.custom_extensions = match flaw {
            Flaw::NoExtension => vec![],
            Flaw::Twice => vec![extension.clone(), extension],
            _ => vec![extension],
        };
        let leaf = params.self_signed(&key).unwrap().der().clone();
        let chain = if flaw == Flaw::Chain { vec![leaf.clone(), leaf] } else { vec![leaf] };
        Identity { chain, key: PrivateKeyDer::Pkcs8(key.serialize_der().into()) }
    }
}

impl Identity {
    fn client(self) -> ClientIdentity {
        ClientIdentity::Certificate { chain: self.chain, key: self.key }
    }

    fn shown(self) -> Arc<Shows> {
        Shows::with_key(self.chain, &self.key)
    }
}

/// Shows a certificate without looking at it; rustls would refuse to load some of them.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl Shows {
    fn with_key(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'static>) -> Arc<Self> {
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(key).unwrap();
        Arc::new(Self(Arc::new(CertifiedKey::new(chain, key))))
    }
}

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A server that admits any client and shows this identity.
fn open_server(shows: Arc<Shows>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(shows);
    Arc::new(config)
}

/// One handshake over TCP, and one byte each way; `look` sees the finished connection of each side.
async fn meet<C, S>(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    look_client: impl FnOnce(&CommonState) -> C,
    look_server: impl FnOnce(&CommonState) -> S + Send + 'static,
) -> (Result<C, rustls::Error>, Result<S, rustls::Error>)
where
    S: Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut tls = TlsAcceptor::from(server).accept(tcp).await.map_err(tls_error)?;
        let seen = look_server(tls.get_ref().1);
        tls.write_all(b"!").await.map_err(tls_error)?;
        tls.shutdown().await.map_err(tls_error)?;
        Ok(seen)
    });
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let met = async {
        let mut tls = TlsConnector::from(client).connect(name, tcp).await.map_err(tls_error)?;
        // In TLS 1.3 a refusal of the client's certificate arrives with the first byte.
        tls.read_exact(&mut [0]).await.map_err(tls_error)?;
        Ok(look_client(tls.get_ref().1))
    };
    let met = tokio::time::timeout(Duration::from_secs(20), met).await.expect("in time");
    (met, served.await.unwrap())
}

fn tls_error(error: std::io::Error) -> rustls::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => tls.clone(),
        None => rustls::Error::General(error.to_string()),
    }
}

fn code(error: &rustls::Error) -> String {
    match refusal_in(error) {
        Some(RaTlsRefusal::Chain { got }) => format!("chain {got}"),
        Some(refusal) => refusal.reasons()[0].code.clone().into_owned(),
        None => format!("{error:?}"),
    }
}

const FLAWS: &[(Flaw, &str)] = &[
    (Flaw::NoExtension, "ra-tls.missing"),
    (Flaw::Oversized, "ra-tls.extension-too-long"),
    (Flaw::Twice, "ra-tls.repeated"),
    (Flaw::Critical, "ra-tls.critical"),
    (Flaw::OtherKey, "tdx.report-data"),
    (Flaw::Expired, "ra-tls.expired"),
    (Flaw::Debug, "tdx.td-attributes.debug"),
    (Flaw::Chain, "chain 1"),
];

#[tokio::test]
async fn two_tees_verify_each_other() {
    let world = World::new();
    let other = world.vendor.sibling(1);
    let verifier = world.verifier(AtHandshake::Appraise(Box::new(world.expectations())));
    let server = world.identity(&world.vendor, Flaw::None);
    let client = world.identity(&other, Flaw::None).client();
    let server = server_config(Arc::clone(&verifier), server.chain, server.key).unwrap();
    let client = client_config(Arc::clone(&verifier), &client).unwrap();
    let (here, there, now) = (Arc::clone(&verifier), verifier, world.now);
    let (server_seen, client_seen) = meet(
        client,
        server,
        move |tls| here.peer_of(tls, now).expect("the server"),
        move |tls| there.peer_of(tls, now).expect("the client"),
    )
    .await;
    let (server_seen, client_seen) = (server_seen.unwrap(), client_seen.unwrap());
    assert_eq!(server_seen.level(), BindingLevel::Certificate);
    assert_eq!(server_seen.instance().machine, Machine::Ppid(Ppid(world.vendor.ppid())));
    assert_eq!(client_seen.instance().machine, Machine::Ppid(Ppid(other.ppid())));
    server_seen.appraise(&world.expectations(), now).expect("as in the handshake");
}

#[tokio::test]
async fn a_server_with_any_flaw_is_refused_by_the_client_with_its_reason() {
    let world = World::new();
    let verifier = world.verifier(AtHandshake::GenuineOnly);
    for (flaw, expected) in FLAWS {
        let server = open_server(world.identity(&world.vendor, *flaw).shown());
        let client = client_config(Arc::clone(&verifier), &ClientIdentity::Anonymous).unwrap();
        let (refused, alerted) = meet(client, server, |_| (), |_| ()).await;
        assert_eq!(code(&refused.expect_err(expected)), *expected);
        alerted.expect_err("the server is told");
    }
}

#[tokio::test]
async fn a_client_with_any_flaw_is_refused_by_the_server_with_its_reason() {
    let world = World::new();
    let verifier = world.verifier(AtHandshake::GenuineOnly);
    for (flaw, expected) in FLAWS {
        let own = world.identity(&world.vendor, Flaw::None);
        let server = server_config(Arc::clone(&verifier), own.chain, own.key).unwrap();
        let client = client_config(Arc::clone(&verifier), &ClientIdentity::Anonymous).unwrap();
        let mut client = ClientConfig::clone(&client);
        client.client_auth_cert_resolver = world.identity(&world.vendor, *flaw).shown();
        let (alerted, refused) = meet(Arc::new(client), server, |_| (), |_| ()).await;
        assert_eq!(code(&refused.expect_err(expected)), *expected);
        alerted.expect_err("the client is told");
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let world = World::new();
    let verifier = world.verifier(AtHandshake::GenuineOnly);
    let own = world.identity(&world.vendor, Flaw::None);
    let server = server_config(Arc::clone(&verifier), own.chain, own.key).unwrap();
    let client = client_config(verifier, &ClientIdentity::Anonymous).unwrap();
    let (_, refused) = meet(client, server, |_| (), |_| ()).await;
    assert_eq!(refused.expect_err("anonymous"), rustls::Error::NoCertificatesPresented);
}

/// The certificate is public: anybody can show it. Only its key makes it an identity.
#[tokio::test]
async fn a_copied_certificate_without_its_key_is_refused() {
    let world = World::new();
    let genuine = world.identity(&world.vendor, Flaw::None);
    let own = KeyPair::generate().unwrap();
    let own = PrivateKeyDer::Pkcs8(own.serialize_der().into());
    let server = open_server(Shows::with_key(genuine.chain, &own));
    let verifier = world.verifier(AtHandshake::GenuineOnly);
    let client = client_config(verifier, &ClientIdentity::Anonymous).unwrap();
    let (refused, _) = meet(client, server, |_| (), |_| ()).await;
    let expected = rustls::Error::InvalidCertificate(rustls::CertificateError::BadSignature);
    assert_eq!(refused.expect_err("another key signed"), expected);
}

/// What level `certificate` leaves open: whoever has the key passes, wherever he is.
#[tokio::test]
async fn whoever_has_the_key_passes_and_the_level_says_so() {
    let world = World::new();
    let stolen = world.identity(&world.vendor, Flaw::None);
    let verifier = world.verifier(AtHandshake::Appraise(Box::new(world.expectations())));
    let client = client_config(Arc::clone(&verifier), &ClientIdentity::Anonymous).unwrap();
    let now = world.now;
    let look = move |tls: &CommonState| verifier.peer_of(tls, now).expect("genuine Evidence");
    let (peer, _) = meet(client, open_server(stolen.shown()), look, |_| ()).await;
    assert_eq!(peer.unwrap().level(), BindingLevel::Certificate);
}

#[tokio::test]
async fn a_handshake_with_expectations_refuses_another_machine() {
    let world = World::new();
    let mut expectations = world.expectations();
    expectations.pins = Pins::OneOf(vec![PinnedInstance::Ppid(Ppid(world.vendor.ppid()))]);
    let verifier = world.verifier(AtHandshake::Appraise(Box::new(expectations)));
    let client = client_config(Arc::clone(&verifier), &ClientIdentity::Anonymous).unwrap();
    let server = open_server(world.identity(&world.vendor, Flaw::None).shown());
    meet(Arc::clone(&client), server, |_| (), |_| ()).await.0.expect("the pinned machine");
    let server = open_server(world.identity(&world.vendor.sibling(1), Flaw::None).shown());
    let refused = meet(client, server, |_| (), |_| ()).await.0.expect_err("another machine");
    assert_eq!(code(&refused), "instance.machine");
}
