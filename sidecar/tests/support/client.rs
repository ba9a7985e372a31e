//! TLS and HTTP clients for tests. They accept every server certificate and keep it: who the
//! sidecar is, is what the attestation report says.

use std::net::SocketAddr;
use std::sync::Arc;

use adyton_attestation::binding::EXPORTER_LABEL;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::pki::Leaf;
use super::within;

#[derive(Debug)]
struct AcceptEveryServer(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AcceptEveryServer {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
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

/// A TLS connection to the sidecar.
pub async fn connect(
    address: SocketAddr,
    identity: Option<&Leaf>,
    alpn: &[u8],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptEveryServer(provider)));
    let mut tls = match identity {
        None => builder.with_no_client_auth(),
        Some(leaf) => {
            let chain =
                vec![CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).expect("pem")];
            let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).expect("pem");
            builder.with_client_auth_cert(chain, key).expect("identity")
        }
    };
    tls.alpn_protocols = vec![alpn.to_vec()];
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").expect("name");
    TlsConnector::from(Arc::new(tls)).connect(name, tcp).await
}

pub async fn tls(address: SocketAddr, identity: &Leaf, alpn: &[u8]) -> TlsStream<TcpStream> {
    let versions = [&rustls::version::TLS13];
    within("connecting", connect(address, Some(identity), alpn, &versions)).await.expect("connects")
}

/// Sends raw bytes on a new connection and reads until the server closes it.
pub async fn raw(address: SocketAddr, identity: &Leaf, bytes: &[u8]) -> String {
    let mut stream = tls(address, identity, b"http/1.1").await;
    stream.write_all(bytes).await.expect("written");
    let mut answer = Vec::new();
    // The close may come without close_notify; what was read counts.
    let _ = within("the answer", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// What was seen of the server on one connection.
#[derive(Clone, Debug)]
pub struct Observed {
    pub leaf: CertificateDer<'static>,
    pub exporter: [u8; 32],
}

fn observe(stream: &TlsStream<TcpStream>) -> Observed {
    let connection = stream.get_ref().1;
    let leaf = connection.peer_certificates().and_then(<[_]>::first).expect("a certificate");
    let exporter =
        connection.export_keying_material([0; 32], EXPORTER_LABEL, None).expect("an exporter");
    Observed { leaf: leaf.clone().into_owned(), exporter }
}

/// An HTTP client on one connection.
pub enum Http {
    One(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
    Two(hyper::client::conn::http2::SendRequest<Full<Bytes>>),
}

impl Http {
    pub async fn one(address: SocketAddr, identity: &Leaf) -> (Self, Observed) {
        let stream = tls(address, identity, b"http/1.1").await;
        let observed = observe(&stream);
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("handshake");
        tokio::spawn(connection);
        (Self::One(sender), observed)
    }

    pub async fn two(address: SocketAddr, identity: &Leaf) -> (Self, Observed) {
        let stream = tls(address, identity, b"h2").await;
        let observed = observe(&stream);
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("handshake");
        tokio::spawn(connection);
        (Self::Two(sender), observed)
    }

    /// HTTP/2 whose streams may not carry a single byte to us.
    pub async fn two_with_a_closed_window(address: SocketAddr, identity: &Leaf) -> Self {
        let stream = tls(address, identity, b"h2").await;
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(0)
            .handshake(TokioIo::new(stream))
            .await
            .expect("handshake");
        tokio::spawn(connection);
        Self::Two(sender)
    }

    pub async fn try_send(
        &mut self,
        request: http::request::Builder,
        body: impl Into<Bytes>,
    ) -> hyper::Result<Response<Incoming>> {
        let mut request = request.body(Full::from(body.into())).expect("a request");
        match self {
            Self::One(sender) => {
                let host = "localhost:8443".parse().expect("a header");
                request.headers_mut().entry(http::header::HOST).or_insert(host);
                within("the connection", sender.ready()).await?;
                within("the response", sender.send_request(request)).await
            }
            Self::Two(sender) => {
                let uri = format!("https://localhost:8443{}", request.uri());
                *request.uri_mut() = uri.parse().expect("a URI");
                within("the response", sender.send_request(request)).await
            }
        }
    }

    pub async fn send(
        &mut self,
        request: http::request::Builder,
        body: impl Into<Bytes>,
    ) -> Response<Incoming> {
        self.try_send(request, body).await.expect("a response")
    }

    pub async fn get(&mut self, path: &str) -> Response<Incoming> {
        self.send(Request::get(path), Bytes::new()).await
    }
}

pub async fn json(response: Response<Incoming>) -> serde_json::Value {
    serde_json::from_slice(&bytes(response).await).expect("json")
}

pub async fn bytes(response: Response<Incoming>) -> Bytes {
    within("the body", response.into_body().collect()).await.expect("a body").to_bytes()
}

/// A plain GET, for the admin listener.
pub async fn plain_get(address: SocketAddr, path: &str) -> (u16, String) {
    let stream = TcpStream::connect(address).await.expect("connects");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("handshake");
    tokio::spawn(connection);
    let request = Request::get(path).header("host", "admin").body(Full::<Bytes>::default());
    let response =
        within("the admin answer", sender.send_request(request.expect("a request"))).await;
    let response = response.expect("a response");
    let status = response.status().as_u16();
    (status, String::from_utf8(bytes(response).await.to_vec()).expect("text"))
}
