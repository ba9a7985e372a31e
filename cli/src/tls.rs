//! TLS client configurations: a pinned CA for the broker, a provisional one for a sidecar.
//!
//! Job: builds `rustls` configurations, TLS 1.3 only, no session tickets, no early data. In: PEM files.
//! Out: [`ClientConfig`]s. Must not: fall back to system roots, or let a provisional connection be mistaken
//! for a trusted one: what [`provisional`] accepts is trusted only after its attestation report was verified.
//! Against: a certificate of some public CA standing in for the broker's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use adyton_client::{ClientError, ClientIdentity as Presented, provisional_config};
use rustls::client::{Resumption, WantsClientCert};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::version::TLS13;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

use crate::failure::{Exit, Failure};
use crate::file::{self, FileError};

/// The longest PEM file that is read.
const PEM_LIMIT: u64 = 256 * 1024;

/// A client certificate chain and its key, as files.
#[derive(Clone, Debug)]
pub struct ClientIdentity {
    /// PEM chain, leaf first.
    pub certificate: PathBuf,
    /// PEM key, mode 0600.
    pub key: PathBuf,
}

/// Why a configuration could not be built.
#[derive(Debug, Error)]
pub enum TlsFileError {
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file holds no certificate or key.
    #[error("the {what} {} holds no {wanted} in PEM", path.display())]
    NoPem {
        /// What the file is.
        what: &'static str,
        /// The path as given.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// A certificate or key that TLS cannot use.
    #[error("the {what} {} cannot be used", path.display())]
    Unusable {
        /// What the file is.
        what: &'static str,
        /// The path as given.
        path: PathBuf,
        /// What rustls says.
        #[source]
        source: rustls::Error,
    },
}

impl From<TlsFileError> for Failure {
    fn from(error: TlsFileError) -> Self {
        let message = error.to_string();
        match error {
            TlsFileError::File(error) => error.into(),
            TlsFileError::NoPem { wanted, .. } => Self::new(Exit::Malformed, "tls.pem", message)
                .expected(format!("a PEM block with a {wanted}"))
                .remedy("check that certificate and key files were not exchanged"),
            TlsFileError::Unusable { source, .. } => {
                Self::new(Exit::Malformed, "tls.unusable", message)
                    .remedy(
                        "check that certificate and key belong together and are X.509 v3 / PKCS#8",
                    )
                    .caused_by(&source)
            }
        }
    }
}

/// A configuration that trusts exactly the CAs of `ca_file`.
///
/// # Errors
/// [`TlsFileError`] for either file.
pub fn pinned(
    ca_file: &Path,
    identity: Option<&ClientIdentity>,
) -> Result<Arc<ClientConfig>, TlsFileError> {
    let what = "broker CA file";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(what, ca_file)? {
        roots.add(certificate).map_err(|source| TlsFileError::Unusable {
            what,
            path: ca_file.to_owned(),
            source,
        })?;
    }
    let builder = versions(Arc::new(aws_lc_rs::default_provider()))
        .map_err(|source| TlsFileError::Unusable { what, path: ca_file.to_owned(), source })?;
    finish(builder.with_root_certificates(roots), identity)
}

/// A configuration for a connection that an attestation report is going to vouch for, see
/// [`adyton_client::provisional_config`].
///
/// # Errors
/// [`TlsFileError`] for the client's files.
pub fn provisional(identity: Option<&ClientIdentity>) -> Result<Arc<ClientConfig>, TlsFileError> {
    let (path, presented) = match identity {
        None => (PathBuf::new(), Presented::Anonymous),
        Some(identity) => (
            identity.certificate.clone(),
            Presented::Certificate {
                chain: certificates("client certificate", &identity.certificate)?,
                key: private_key("client key", &identity.key)?,
            },
        ),
    };
    provisional_config(&presented).map_err(|error| TlsFileError::Unusable {
        what: "client certificate",
        path,
        source: match error {
            ClientError::Tls(source) => source,
            other => rustls::Error::General(other.to_string()),
        },
    })
}

fn versions(
    provider: Arc<CryptoProvider>,
) -> Result<ConfigBuilder<ClientConfig, rustls::WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13])
}

fn finish(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    identity: Option<&ClientIdentity>,
) -> Result<Arc<ClientConfig>, TlsFileError> {
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = certificates("client certificate", &identity.certificate)?;
            let key = private_key("client key", &identity.key)?;
            builder.with_client_auth_cert(chain, key).map_err(|source| TlsFileError::Unusable {
                what: "client certificate",
                path: identity.certificate.clone(),
                source,
            })?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Every connection proves itself anew: a resumed one would carry an older proof.
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(Arc::new(config))
}

fn certificates(
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let bytes = file::read(what, path, PEM_LIMIT)?;
    let missing = || TlsFileError::NoPem { what, path: path.to_owned(), wanted: "certificate" };
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(|_| missing())?;
    if found.is_empty() { Err(missing()) } else { Ok(found) }
}

fn private_key(what: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    let bytes = file::read_secret(what, path, PEM_LIMIT)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| TlsFileError::NoPem {
        what,
        path: path.to_owned(),
        wanted: "private key",
    })
}
