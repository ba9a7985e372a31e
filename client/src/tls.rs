//! The provisional TLS configuration, and what is read off a finished handshake.
//!
//! TLS 1.3 only: its exporter needs no extended master secret to be unique (RFC 9266 §3), and its
//! handshake signature covers the whole transcript. No tickets, no early data: a resumed connection
//! would stand on the proof of another one.

use std::sync::Arc;

use adyton_attestation::EXPORTER_LABEL;
use adyton_attestation::peer::ObservedConnection;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConnection, Resumption, WantsClientCert};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::ParsedCertificate;
use rustls::version::TLS13;
use rustls::{ClientConfig, ConfigBuilder, HandshakeKind, ProtocolVersion};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::error::ClientError;

/// Who we are to the server.
#[derive(Debug)]
pub enum ClientIdentity {
    /// Nobody in particular. Sidecars refuse that unless they were told otherwise.
    Anonymous,
    /// A certificate chain, leaf first, with the leaf's key.
    Certificate {
        /// The chain.
        chain: Vec<CertificateDer<'static>>,
        /// The key.
        key: PrivateKeyDer<'static>,
    },
}

impl ClientIdentity {
    /// Reads a certificate chain and its key.
    ///
    /// # Errors
    /// [`ClientError::Identity`] when one of them holds no such PEM block.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, ClientError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_| ClientError::Identity { what: "certificate" })?;
        if chain.is_empty() {
            return Err(ClientError::Identity { what: "certificate" });
        }
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| ClientError::Identity { what: "private key" })?;
        Ok(Self::Certificate { chain, key })
    }
}

/// A configuration that accepts every server certificate whose key signs the handshake.
///
/// Nothing is known of the server afterwards but its key. Only a [`ProvisionalConnection`] may come
/// of it, which sends nothing but the question who is there.
///
/// [`ProvisionalConnection`]: crate::ProvisionalConnection
///
/// # Errors
/// [`ClientError::Tls`] when certificate and key do not fit.
pub fn provisional_config(identity: &ClientIdentity) -> Result<Arc<ClientConfig>, ClientError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(AwaitingReport { provider: Arc::clone(&provider) });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(ClientError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    finish(builder, identity)
}

/// Adds the client's identity, and what every configuration of this crate has in common.
pub(crate) fn finish(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    identity: &ClientIdentity,
) -> Result<Arc<ClientConfig>, ClientError> {
    let mut config = match identity {
        ClientIdentity::Anonymous => builder.with_no_client_auth(),
        ClientIdentity::Certificate { chain, key } => builder
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(ClientError::Tls)?,
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(Arc::new(config))
}

/// What this side saw of a finished handshake. Whatever configuration it was made with, the
/// connection itself is looked at: it must be TLS 1.3, a whole handshake, without early data.
pub(crate) fn observe(
    connection: &ClientConnection,
) -> Result<(ObservedConnection, CertificateDer<'static>), ClientError> {
    //= attestation/SPEC.md#2.2
    //# A caller MUST use the exporter of TLS 1.3, after a whole handshake and without early data.
    if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return Err(ClientError::NotBindable { what: "it is not TLS 1.3" });
    }
    match connection.handshake_kind() {
        Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest) => {}
        Some(HandshakeKind::Resumed) => {
            return Err(ClientError::NotBindable { what: "it was resumed from another one" });
        }
        // An unfinished handshake, or a kind that a later rustls adds.
        _ => return Err(ClientError::NotBindable { what: "its handshake is not a whole one" }),
    }
    if connection.is_early_data_accepted() {
        return Err(ClientError::NotBindable { what: "it carried early data" });
    }
    let certificate = connection
        .peer_certificates()
        .and_then(<[_]>::first)
        .ok_or(ClientError::NotBindable { what: "the server sent no certificate" })?
        .clone()
        .into_owned();
    let exporter = connection
        .export_keying_material([0_u8; 32], EXPORTER_LABEL, None)
        .map_err(ClientError::Tls)?;
    let peer_spki_sha256 = spki_sha256(&certificate).map_err(ClientError::Tls)?;
    Ok((ObservedConnection { peer_spki_sha256, exporter }, certificate))
}

/// SHA-256 of a certificate's SubjectPublicKeyInfo, the value that Evidence commits to and that
/// `spki:` pins.
///
/// # Errors
/// rustls's word for a certificate that is not X.509 v3.
pub fn spki_sha256(certificate: &CertificateDer<'_>) -> Result<[u8; 32], rustls::Error> {
    let spki = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    let digest = ring::digest::digest(&ring::digest::SHA256, spki.as_ref());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    Ok(bytes)
}

/// What rustls asks every verifier of certificates about signatures, for a type with a field `provider`:
/// those of TLS 1.3 by its algorithms, and none of TLS 1.2.
macro_rules! tls13_signatures_only {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &rustls_pki_types::CertificateDer<'_>,
            _signature: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            // TLS 1.2 is not offered, so a peer that gets here does not follow the protocol.
            Err(rustls::PeerMisbehaved::SelectedTls12UsingTls13VersionExtension.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &rustls_pki_types::CertificateDer<'_>,
            signature: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    };
}
pub(crate) use tls13_signatures_only;

/// Accepts every certificate, checks every handshake signature.
#[derive(Debug)]
struct AwaitingReport {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AwaitingReport {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    tls13_signatures_only!();
}
