//! Connections to which nothing can be bound, whatever configuration made them.

use std::sync::Arc;

use adyton_client::{ClientError, ClientIdentity, ProvisionalConnection, provisional_config};
use rcgen::KeyPair;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme, SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Somebody's own, careless configuration.
#[derive(Debug)]
struct Careless(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Careless {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn careless(versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Careless(provider)))
        .with_no_client_auth();
    config.enable_early_data = true;
    config
}

fn server(versions: &[&'static SupportedProtocolVersion]) -> Arc<ServerConfig> {
    let key = KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = params.self_signed(&key).unwrap().der().clone();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    config.max_early_data_size = 1024;
    Arc::new(config)
}

/// A handshake and one byte, after which tickets have arrived.
async fn handshake(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
) -> std::io::Result<TlsStream<DuplexStream>> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let served = tokio::spawn(async move {
        let mut tls = TlsAcceptor::from(server).accept(far).await?;
        tls.write_all(b"!").await?;
        tls.flush().await?;
        std::io::Result::Ok(tls)
    });
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = TlsConnector::from(client).connect(name, near).await?;
    tls.read_exact(&mut [0]).await?;
    drop(served.await.unwrap()?);
    Ok(tls)
}

async fn refusal(stream: TlsStream<DuplexStream>) -> &'static str {
    match ProvisionalConnection::over(stream, "localhost:1").await {
        Err(ClientError::NotBindable { what }) => what,
        outcome => panic!("{outcome:?}"),
    }
}

#[tokio::test]
async fn tls_1_2_is_not_offered_and_not_taken_over() {
    let versions = [&rustls::version::TLS12];
    let ours = provisional_config(&ClientIdentity::Anonymous).unwrap();
    handshake(ours, server(&versions)).await.expect_err("our configuration has TLS 1.3 only");

    let stream = handshake(Arc::new(careless(&versions)), server(&versions)).await.unwrap();
    assert_eq!(refusal(stream).await, "it is not TLS 1.3");
}

#[tokio::test]
async fn a_resumed_connection_is_not_taken_over() {
    let versions = [&rustls::version::TLS13];
    let (client, server) = (Arc::new(careless(&versions)), server(&versions));
    let first = handshake(Arc::clone(&client), Arc::clone(&server)).await.unwrap();
    ProvisionalConnection::over(first, "localhost:1").await.expect("a whole handshake");
    let second = handshake(client, server).await.unwrap();
    assert_eq!(refusal(second).await, "it was resumed from another one");
}

#[tokio::test]
async fn our_own_configuration_never_resumes() {
    let versions = [&rustls::version::TLS13];
    let (client, server) =
        (provisional_config(&ClientIdentity::Anonymous).unwrap(), server(&versions));
    for _ in 0..2 {
        let stream = handshake(Arc::clone(&client), Arc::clone(&server)).await.unwrap();
        ProvisionalConnection::over(stream, "localhost:1").await.expect("a whole handshake");
    }
}
