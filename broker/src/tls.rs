//! TLS of both listeners: certificates from files, or from a CA of our own.
//!
//! In: the configuration and the state folder. Out: rustls configurations. Without configured files
//! a CA is made on first start (`tls/ca.pem`, `tls/ca.key` 0600); the server's own key and
//! certificate are made anew at each start and stay in memory. KBS clients may use TLS 1.2 or 1.3
//! (CoCo guests come with older OpenSSL); administrators use 1.3. No tickets, no resumption.
//! Against: a key that does not belong to its certificate, key files that others can read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::{AdminAuthentication, ClientCertificates, TlsSource, TokenAuthentication};
use crate::error::Finding;
use crate::secret_file::{self, SecretFileError};

/// How long our own CA is valid, and a server certificate from it, in days.
const CA_DAYS: i64 = 3650;
const SERVER_DAYS: i64 = 825;

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A key file was refused.
    #[error("a TLS key file was refused")]
    SecretFile(#[from] SecretFileError),
    /// A file can't be read or written.
    #[error("{} could not be {action}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file has no certificate, or a broken one.
    #[error("{} is not a PEM file of certificates", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file has no private key, or a broken one.
    #[error("{} is not a PEM file of a private key", path.display())]
    Key {
        /// The file. What is wrong is not repeated: the parser's text may quote the file.
        path: PathBuf,
    },
    /// Certificate and key do not belong together.
    #[error("the key {} does not belong to the certificate {}", key.display(), certificate.display())]
    Mismatch {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// The CA's certificate is there and its key is not, or the other way round.
    #[error("of the broker's own CA, {} is missing", missing.display())]
    HalfCa {
        /// The missing file.
        missing: PathBuf,
    },
    /// A certificate can't be made.
    #[error("a certificate could not be made")]
    Issue(#[from] rcgen::Error),
    /// rustls refused the configuration.
    #[error("the TLS library refused the configuration")]
    Rustls(#[from] rustls::Error),
    /// The administrators' CA can't be used to verify clients.
    #[error("the administrators' CA can't be used")]
    ClientCa(#[from] rustls::server::VerifierBuilderError),
}

impl TlsError {
    /// What is wrong and what to do, for the operator.
    pub fn finding(&self) -> Finding {
        let step = "TLS";
        match self {
            Self::SecretFile(error) => Finding { step: "TLS key file".into(), ..error.finding() },
            Self::Io { path, action, source } => Finding::new(
                step,
                path.display().to_string(),
                format!("a file that can be {action} ({source})"),
                "correct the path or its permissions",
            ),
            Self::Certificate { path, source } => Finding::new(
                step,
                path.display().to_string(),
                format!("certificates in PEM, leaf first ({source})"),
                "point the configuration at the certificate chain",
            ),
            Self::Key { path } => Finding::new(
                step,
                path.display().to_string(),
                "one private key in PEM (PKCS#8, PKCS#1 or SEC1)",
                "point the configuration at the key of the certificate",
            ),
            Self::Mismatch { certificate, key } => Finding::new(
                step,
                format!("{} with {}", certificate.display(), key.display()),
                "a certificate and its own private key",
                "correct one of the two paths",
            ),
            Self::HalfCa { missing } => Finding::new(
                step,
                missing.display().to_string(),
                "both ca.pem and ca.key of the broker's own CA",
                "restore the file, or remove both to have a new CA made (clients must then trust it)",
            ),
            Self::Issue(source) => Finding::new(
                step,
                "the broker's own certificate",
                format!("valid server_names ({source})"),
                "correct server_names",
            ),
            Self::Rustls(source) => Finding::new(
                step,
                "server certificate",
                format!("a certificate that the TLS library accepts ({source})"),
                "use an ECDSA, RSA or Ed25519 certificate, X.509 version 3",
            ),
            Self::ClientCa(source) => Finding::new(
                "configuration key `admin.client_ca_file`",
                "the CA file",
                format!("at least one CA certificate ({source})"),
                "point the key at the CA of the administrators' certificates",
            ),
        }
    }
}

/// The server certificate with its key, and how clients can trust it.
#[derive(Debug)]
pub struct ServerIdentity {
    key: Arc<CertifiedKey>,
    /// What clients should trust: our own CA, or the configured chain.
    pub trust_file: PathBuf,
}

impl ServerIdentity {
    /// Loads the configured certificate, or makes one under our own CA.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(
        source: &TlsSource,
        server_names: &[String],
        state_dir: &Path,
    ) -> Result<Self, TlsError> {
        match source {
            TlsSource::SelfMade => self_made(server_names, &state_dir.join("tls")),
            TlsSource::Files { certificate_file, key_file } => {
                from_files(certificate_file, key_file)
            }
        }
    }

    /// TLS for the KBS listener.
    ///
    /// # Errors
    /// [`TlsError::Rustls`].
    pub fn kbs_config(&self) -> Result<ServerConfig, TlsError> {
        let versions = &[&rustls::version::TLS13, &rustls::version::TLS12];
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)?
            .with_no_client_auth();
        Ok(hardened(builder.with_cert_resolver(self.resolver())))
    }

    /// TLS for the admin listener: 1.3 only; client certificates are verified where configured.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn admin_config(
        &self,
        authentication: &AdminAuthentication,
    ) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?;
        let builder = match &authentication.client_certificates {
            ClientCertificates::Off => builder.with_no_client_auth(),
            ClientCertificates::IssuedBy(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots.add(certificate)?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
                let verifier = match authentication.token {
                    TokenAuthentication::Off => verifier,
                    // Without a certificate the token decides, in the admin API.
                    TokenAuthentication::File(_) => verifier.allow_unauthenticated(),
                };
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        Ok(hardened(builder.with_cert_resolver(self.resolver())))
    }

    fn resolver(&self) -> Arc<dyn rustls::server::ResolvesServerCert> {
        Arc::new(rustls::sign::SingleCertAndKey::from(Arc::clone(&self.key)))
    }
}

/// Certificates of a PEM file, at least one.
///
/// # Errors
/// [`TlsError::Io`], [`TlsError::Certificate`].
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = fs::read(path).map_err(|source| TlsError::Io {
        path: path.to_owned(),
        action: "read",
        source,
    })?;
    let refused = |source: Box<dyn std::error::Error + Send + Sync>| TlsError::Certificate {
        path: path.to_owned(),
        source,
    };
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| refused(error.into()))?;
    if certificates.is_empty() {
        return Err(refused("it has none".into()));
    }
    Ok(certificates)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn hardened(mut config: ServerConfig) -> ServerConfig {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    config
}

fn from_files(certificate_file: &Path, key_file: &Path) -> Result<ServerIdentity, TlsError> {
    let chain = certificates(certificate_file)?;
    let pem = secret_file::read(key_file)?;
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| TlsError::Key { path: key_file.to_owned() })?;
    let key = certified(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => TlsError::Mismatch {
            certificate: certificate_file.to_owned(),
            key: key_file.to_owned(),
        },
        other => TlsError::Rustls(other),
    })?;
    Ok(ServerIdentity { key, trust_file: certificate_file.to_owned() })
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, rustls::Error> {
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match()?;
    Ok(Arc::new(certified))
}

fn self_made(server_names: &[String], folder: &Path) -> Result<ServerIdentity, TlsError> {
    let trust_file = folder.join("ca.pem");
    let ca = own_ca(folder, &trust_file, &folder.join("ca.key"))?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(server_names)?;
    params.distinguished_name = named("Adyton broker");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    valid_for(&mut params, SERVER_DAYS);
    let certificate = params.signed_by(&key, &ca)?;
    let key_der = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let key = certified(vec![certificate.der().clone()], key_der)?;
    Ok(ServerIdentity { key, trust_file })
}

fn own_ca(
    folder: &Path,
    certificate_file: &Path,
    key_file: &Path,
) -> Result<Issuer<'static, KeyPair>, TlsError> {
    let io_error = |path: &Path, action| {
        let path = path.to_owned();
        move |source| TlsError::Io { path, action, source }
    };
    match (certificate_file.exists(), key_file.exists()) {
        (true, true) => {
            let pem =
                fs::read_to_string(certificate_file).map_err(io_error(certificate_file, "read"))?;
            let key_pem = secret_file::read(key_file)?;
            let key_error = || TlsError::Key { path: key_file.to_owned() };
            let key_pem = std::str::from_utf8(&key_pem).map_err(|_| key_error())?;
            let key = KeyPair::from_pem(key_pem).map_err(|_| key_error())?;
            let leaf = PrivateKeyDer::Pkcs8(key.serialize_der().into());
            certified(certificates(certificate_file)?, leaf).map_err(|_| TlsError::Mismatch {
                certificate: certificate_file.to_owned(),
                key: key_file.to_owned(),
            })?;
            Ok(Issuer::from_ca_cert_pem(&pem, key)?)
        }
        (true, false) => Err(TlsError::HalfCa { missing: key_file.to_owned() }),
        // A first start that was interrupted leaves the key alone; nobody trusts that CA yet.
        (false, has_key) => {
            crate::state_dir::create_private(folder).map_err(io_error(folder, "written"))?;
            if has_key {
                fs::remove_file(key_file).map_err(io_error(key_file, "written"))?;
            }
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
            let mut params = CertificateParams::default();
            params.distinguished_name = named("Adyton broker CA");
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            valid_for(&mut params, CA_DAYS);
            let certificate = params.self_signed(&key)?;
            let pem = zeroize::Zeroizing::new(key.serialize_pem());
            secret_file::create(key_file, pem.as_bytes())?;
            crate::state_dir::write_whole(certificate_file, certificate.pem().as_bytes())
                .map_err(io_error(certificate_file, "written"))?;
            Ok(Issuer::new(params, key))
        }
    }
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// From yesterday, for clocks that are behind, until `days` from today.
fn valid_for(params: &mut CertificateParams, days: i64) {
    let today = jiff::tz::TimeZone::UTC.to_datetime(jiff::Timestamp::now()).date();
    let date = |date: jiff::civil::Date| {
        let month = u8::try_from(date.month()).unwrap_or(1);
        let day = u8::try_from(date.day()).unwrap_or(1);
        rcgen::date_time_ymd(i32::from(date.year()), month, day)
    };
    let shifted = |days: i64| today.saturating_add(jiff::Span::new().days(days));
    params.not_before = date(shifted(-1));
    params.not_after = date(shifted(days));
}

#[cfg(test)]
mod tests;
