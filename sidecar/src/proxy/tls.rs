//! The TLS of the serving port: 1.3 only, client certificates required, nothing resumed.
//!
//! In: roots of the clients, our certificate or the wish for one. Out: an acceptor and the digest
//! of the public key that the attestation report commits to. A key that is born here never leaves
//! this process; RFC 8446 0-RTT and session tickets are off, so every connection has its own
//! handshake, its own client authentication and its own exporter value.
//! Against: downgrade, replayed early data, an identity resumed after its certificate is gone.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adyton_attestation::UnixTime;
use adyton_attestation::attester::Attester;
use adyton_attestation::ra_tls::{EXTENSION_OID, RaTlsBinding, extension_over};
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    KeyPair, PublicKeyData as _,
};
use rustls::RootCertStore;
use rustls::server::{NoServerSessionStorage, ServerConfig, WebPkiClientVerifier};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use super::ServeError;
use super::client_identity::{self, spki_sha256};
use crate::config::{EvidenceInCertificate, ServingCertificate, TlsConfig};

/// Application protocols, in the order of our preference.
pub const ALPN_H2: &[u8] = b"h2";
/// HTTP/1.1 of ALPN.
pub const ALPN_HTTP1: &[u8] = b"http/1.1";

/// Our clock and the client's may differ by this much.
const CLOCK_SLACK: Duration = Duration::from_secs(3600);

/// An acceptor and whose key it proves.
#[derive(Clone)]
pub struct ServingTls {
    acceptor: TlsAcceptor,
    spki_sha256: [u8; 32],
}

impl ServingTls {
    /// Prepares TLS; binds nothing. Blocks while `attester` makes Evidence, if the certificate is to
    /// carry some.
    ///
    /// # Errors
    /// [`ServeError::Certificate`] when key and certificate do not fit, or cannot be made.
    pub fn new(config: &TlsConfig, attester: &dyn Attester) -> Result<Self, ServeError> {
        let (chain, key) = match &config.certificate {
            ServingCertificate::BornHere { server_names, days, evidence } => {
                let attester = match evidence {
                    EvidenceInCertificate::LeftOut => None,
                    EvidenceInCertificate::Included => Some(attester),
                };
                born_here(server_names, *days, attester)?
            }
            ServingCertificate::Files { chain, key_file } => {
                let key = PrivateKeyDer::from_pem_file(key_file)
                    .map_err(|error| ServeError::certificate("tls.key_file", error))?;
                (chain.clone(), key)
            }
        };
        let leaf = chain
            .first()
            .ok_or_else(|| ServeError::certificate("tls.certificate_file", "no certificate"))?;
        let spki_sha256 = spki_sha256(leaf)
            .map_err(|error| ServeError::certificate("tls.certificate_file", error))?;

        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        for root in &config.client_roots {
            roots
                .add(root.clone())
                .map_err(|error| ServeError::certificate("tls.client_ca_file", error))?;
        }
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|error| ServeError::certificate("tls.client_ca_file", error))?;
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| ServeError::certificate("tls", error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|error| ServeError::certificate("tls.certificate_file", error))?;
        tls.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
        tls.session_storage = Arc::new(NoServerSessionStorage {});
        tls.send_tls13_tickets = 0;
        tls.max_early_data_size = 0;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(tls)), spki_sha256 })
    }

    /// Accepts connections.
    pub fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// SHA-256 of the DER SubjectPublicKeyInfo of our leaf certificate.
    pub fn spki_sha256(&self) -> [u8; 32] {
        self.spki_sha256
    }
}

type ChainAndKey = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A P-256 key and its self-signed certificate. What vouches for it is the attestation report, and
/// Evidence in the certificate itself if an `attester` is given.
fn born_here(
    server_names: &[String],
    days: u16,
    attester: Option<&dyn Attester>,
) -> Result<ChainAndKey, ServeError> {
    let refused = |error: rcgen::Error| ServeError::certificate("tls.server_names", error);
    let key = KeyPair::generate().map_err(refused)?;
    let mut params = CertificateParams::new(server_names.to_vec()).map_err(refused)?;
    // Whole seconds, as certificates have them: Evidence commits to both dates.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|error| ServeError::certificate("tls.certificate_days", error))?
        .as_secs();
    let not_before = now.saturating_sub(CLOCK_SLACK.as_secs());
    let not_after = now.saturating_add(u64::from(days) * 86_400);
    params.not_before = (UNIX_EPOCH + Duration::from_secs(not_before)).into();
    params.not_after = (UNIX_EPOCH + Duration::from_secs(not_after)).into();
    if let Some(attester) = attester {
        let binding = RaTlsBinding {
            spki_sha256: client_identity::sha256(&key.subject_public_key_info()),
            not_before: UnixTime(not_before),
            not_after: UnixTime(not_after),
        };
        let value = extension_over(&binding, attester)
            .map_err(|error| ServeError::certificate("tls.evidence_in_certificate", error))?;
        params.custom_extensions = vec![CustomExtension::from_oid_content(&EXTENSION_OID, value)];
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "adyton-sidecar");
    let certificate = params.self_signed(&key).map_err(refused)?;
    let pkcs8 = Zeroizing::new(key.serialize_der());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pkcs8.to_vec()));
    Ok((vec![certificate.der().clone()], key))
}
