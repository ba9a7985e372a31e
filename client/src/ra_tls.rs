//! RA-TLS for rustls: a verifier of servers and of clients, for either side of a connection.
//!
//! Role: Relying Party inside a TLS stack. In: the leaf that a peer shows, [`PeerTrust`], rules. Out:
//! the handshake goes on or fails, and afterwards [`RaTlsVerifier::peer_of`] gives the proof. Level
//! `certificate`, with all that this leaves open: see [`RaTlsPeer`]. Where the client can ask the
//! attestation endpoint, [`connect`](crate::connect) is stronger.
//!
//! Checked: one extension, its Evidence over the leaf's key and dates, the dates, that the leaf stands
//! alone, and that its key signed this TLS 1.3 handshake. Not checked: names.
//! The verifier keeps nothing between connections: what a handshake found out is found out again from
//! the finished connection, so that no proof can end up at the wrong one.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use adyton_client::ra_tls::{self, AtHandshake, RaTlsRules, RaTlsVerifier};
//! # use adyton_client::{ClientIdentity, Expectations, PeerTrust, now};
//! # fn tls(_: Arc<rustls::ClientConfig>) -> rustls::ClientConnection { unreachable!() }
//! # fn f(trust: PeerTrust, expected: Expectations, identity: ClientIdentity) -> Result<(), Box<dyn std::error::Error>> {
//! let at_handshake = AtHandshake::Appraise(Box::new(expected));
//! let verifier = Arc::new(RaTlsVerifier::new(trust, RaTlsRules::default(), at_handshake));
//! let connection = tls(ra_tls::client_config(Arc::clone(&verifier), &identity)?);
//! // … after the handshake:
//! let peer = verifier.peer_of(&connection, now()?)?;
//! println!("a key of {}", peer.instance().machine);
//! # Ok(())
//! # }
//! ```

use std::sync::Arc;

use adyton_attestation::peer::{Expectations, PeerRefusal, PeerTrust};
use adyton_attestation::ra_tls::verify_certificate;
pub use adyton_attestation::ra_tls::{RaTlsError, RaTlsPeer, RaTlsRules};
use adyton_attestation::{Reason, UnixTime};
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, CommonState, DistinguishedName, HandshakeKind, OtherError,
    ProtocolVersion, ServerConfig,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use thiserror::Error;

use crate::error::ClientError;
use crate::tls::{ClientIdentity, finish, tls13_signatures_only};

/// What the handshake itself decides, beyond that the Evidence is genuine.
#[derive(Debug)]
pub enum AtHandshake {
    /// Every genuine TEE gets through the handshake; the application appraises [`RaTlsPeer`] before
    /// it sends anything.
    GenuineOnly,
    /// Only peers that meet these get through.
    Appraise(Box<Expectations>),
}

/// Verifies peers by the Evidence in their certificates. One value serves any number of connections.
#[derive(Debug)]
pub struct RaTlsVerifier {
    trust: PeerTrust,
    rules: RaTlsRules,
    at_handshake: AtHandshake,
    provider: Arc<CryptoProvider>,
}

/// Why a peer was refused. In a failed handshake it is inside [`rustls::Error`]: [`refusal_in`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RaTlsRefusal {
    /// The certificate or its Evidence.
    #[error(transparent)]
    Certificate(#[from] RaTlsError),
    /// More certificates than the leaf, which nobody would look at.
    #[error(
        "the leaf comes with {got} more certificates; a certificate with evidence stands alone"
    )]
    Chain {
        /// How many more.
        got: usize,
    },
    /// Genuine, and not what was expected.
    #[error("a genuine TEE, but not the one that was expected")]
    Expectations(#[source] PeerRefusal),
    /// Nothing can be said about such a connection.
    #[error("nothing can be said about this TLS connection: {what}")]
    Connection {
        /// What is wrong with it.
        what: &'static str,
    },
}

impl RaTlsVerifier {
    /// A verifier with rustls's aws-lc-rs provider.
    #[must_use]
    pub fn new(trust: PeerTrust, rules: RaTlsRules, at_handshake: AtHandshake) -> Self {
        Self { trust, rules, at_handshake, provider: Arc::new(aws_lc_rs::default_provider()) }
    }

    /// The peer of a finished handshake that was made with this verifier. Verified once more, for
    /// `now`.
    ///
    /// # Errors
    /// [`RaTlsRefusal::Connection`] for an unfinished, resumed or TLS 1.2 connection, else as in the
    /// handshake.
    pub fn peer_of(
        &self,
        connection: &CommonState,
        now: UnixTime,
    ) -> Result<RaTlsPeer, RaTlsRefusal> {
        let wrong = |what| RaTlsRefusal::Connection { what };
        if connection.is_handshaking() {
            return Err(wrong("its handshake is not finished"));
        }
        if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            return Err(wrong("it is not TLS 1.3"));
        }
        match connection.handshake_kind() {
            Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest) => {}
            // Resumed, or a kind that a later rustls adds.
            _ => return Err(wrong("its handshake is not a whole one")),
        }
        match connection.peer_certificates() {
            Some([leaf, rest @ ..]) => self.verify(leaf, rest.len(), now),
            Some([]) | None => Err(wrong("the peer showed no certificate")),
        }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        more: usize,
        now: UnixTime,
    ) -> Result<RaTlsPeer, RaTlsRefusal> {
        if more > 0 {
            return Err(RaTlsRefusal::Chain { got: more });
        }
        Ok(verify_certificate(leaf, &self.trust, self.rules, now)?)
    }

    /// What the handshake asks: verified, and appraised if that was wanted.
    fn admit(
        &self,
        leaf: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        now: rustls_pki_types::UnixTime,
    ) -> Result<(), rustls::Error> {
        let now = UnixTime(now.as_secs());
        let admitted =
            self.verify(leaf, more.len(), now).and_then(|peer| match &self.at_handshake {
                AtHandshake::GenuineOnly => Ok(()),
                AtHandshake::Appraise(expectations) => {
                    peer.appraise(expectations, now).map(|_| ()).map_err(RaTlsRefusal::Expectations)
                }
            });
        admitted.map_err(|refusal| {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(
                refusal,
            ))))
        })
    }
}

impl RaTlsRefusal {
    /// The refusal as reasons with what was expected, what was there and what to do; empty for what is
    /// no trust decision.
    #[must_use]
    pub fn reasons(&self) -> Vec<Reason> {
        match self {
            Self::Certificate(error) => error.reasons(),
            Self::Expectations(refusal) => refusal.reasons.clone(),
            Self::Chain { .. } | Self::Connection { .. } => Vec::new(),
        }
    }
}

/// The refusal of a [`RaTlsVerifier`] in the error of a failed handshake, if that is why it failed.
#[must_use]
pub fn refusal_in(error: &rustls::Error) -> Option<&RaTlsRefusal> {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(source))) => {
            source.downcast_ref()
        }
        _ => None,
    }
}

/// A client's configuration that admits servers by their Evidence: TLS 1.3, nothing resumed.
///
/// # Errors
/// [`ClientError::Tls`] when the client's certificate and key do not fit.
pub fn client_config(
    verifier: Arc<RaTlsVerifier>,
    identity: &ClientIdentity,
) -> Result<Arc<ClientConfig>, ClientError> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(&verifier.provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(ClientError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    finish(builder, identity)
}

/// A server's configuration that admits clients by their Evidence: TLS 1.3, no tickets, no early data.
///
/// # Errors
/// [`ClientError::Tls`] when certificate and key do not fit.
pub fn server_config(
    verifier: Arc<RaTlsVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, ClientError> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&verifier.provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(ClientError::Tls)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(ClientError::Tls)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

impl ServerCertVerifier for RaTlsVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: rustls_pki_types::UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.admit(end_entity, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    tls13_signatures_only!();
}

impl ClientCertVerifier for RaTlsVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: rustls_pki_types::UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.admit(end_entity, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    tls13_signatures_only!();
}
