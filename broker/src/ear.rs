//! The broker's signing key for Attestation Results, and the tokens that it signs.
//!
//! Role: output of the Verifier (RFC 9334 §4.2). In: [`Verified<Claims>`] and the runtime data that the
//! Evidence was bound to. Out: the KBS field `token`. Without `token.key_file` the key is made at start
//! and never stored, and nobody but this broker can tell whose tokens they are.
//! In this broker the token is an opaque name of the session; nothing in it is ever read back.

use std::path::Path;

use adyton_attestation::ear::{
    IssueError, TokenAppraisal, TokenBinding, TokenKey, TokenTimes, issue,
};
use adyton_attestation::{Claims, UnixTime, Verified};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::error::{Finding, StartupError};
use crate::secret_file;

/// `iss` of our tokens.
const ISSUER: &str = "adyton-broker";
/// Longest file with the key's certificates, in bytes.
const MAX_CERTIFICATE_FILE: u64 = 64 * 1024;
/// Most certificates in it; verifiers read no longer chains.
const MAX_CERTIFICATES: usize = 6;

/// Where the key that signs tokens comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenKeySource {
    /// Made at start, for as long as the process lives.
    Ephemeral,
    /// PEM files of an operator.
    Files {
        /// The P-256 key in PKCS#8, mode 0600.
        key_file: std::path::PathBuf,
        /// Its certificates, leaf first; they go into each token (`x5c`).
        certificate_file: std::path::PathBuf,
    },
}

/// Signs Attestation Results.
#[derive(Debug)]
pub struct TokenSigner(TokenKey);

impl TokenSigner {
    /// Makes a P-256 key that lives as long as this process.
    ///
    /// # Errors
    /// [`StartupError::KeyGeneration`].
    pub fn generate() -> Result<Self, StartupError> {
        let failed = |_| StartupError::KeyGeneration { what: "key that signs tokens" };
        TokenKey::generate().map(Self).map_err(failed)
    }

    /// Reads the key and its certificates.
    ///
    /// # Errors
    /// A finding for the first file that can't be used.
    pub fn load(key_file: &Path, certificate_file: &Path) -> Result<Self, Finding> {
        let of_key = |got: String| {
            let key = "configuration key `token.key_file`";
            let remedy = "make one with `openssl genpkey -algorithm EC -pkeyopt \
                          ec_paramgen_curve:P-256`, mode 0600";
            Finding::new(key, got, "a P-256 private key in PKCS#8, PEM", remedy)
        };
        let of_certificates = |got: String| {
            let key = "configuration key `token.certificate_file`";
            let expected = "1 to 6 certificates in PEM, the first one for `token.key_file`";
            Finding::new(key, got, expected, "correct the path, or have the key certified again")
        };
        let pem = secret_file::read(key_file).map_err(|error| error.finding())?;
        let document = PrivatePkcs8KeyDer::from_pem_slice(&pem)
            .map_err(|error| of_key(format!("{}: {error}", key_file.display())))?;
        let path = certificate_file.display();
        let refused = |what: &dyn std::fmt::Display| of_certificates(format!("{path}: {what}"));
        let size = std::fs::metadata(certificate_file).map_err(|error| refused(&error))?.len();
        if size > MAX_CERTIFICATE_FILE {
            return Err(refused(&format!("{size} bytes")));
        }
        let pem = std::fs::read(certificate_file).map_err(|error| refused(&error))?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let chain = chain.map_err(|error| refused(&error))?;
        if !(1..=MAX_CERTIFICATES).contains(&chain.len()) {
            return Err(refused(&format!("{} certificates", chain.len())));
        }
        let key = TokenKey::from_pkcs8(document.secret_pkcs8_der(), chain);
        key.map(Self).map_err(|error| match error {
            IssueError::OtherKey => refused(&error),
            _ => of_key(format!("{}: {error}", key_file.display())),
        })
    }

    /// Signs a token for verified claims.
    ///
    /// # Errors
    /// [`IssueError::Random`], [`IssueError::Json`].
    pub fn sign(
        &self,
        verified: &Verified<Claims>,
        binding: &TokenBinding<'_>,
        appraisal: TokenAppraisal<'_>,
        (issued, expires): (UnixTime, UnixTime),
    ) -> Result<String, IssueError> {
        let mut jti = [0; 16];
        getrandom::fill(&mut jti).map_err(|_| IssueError::Random)?;
        let times = TokenTimes { issued, expires };
        issue(&self.0, ISSUER, verified, binding, appraisal, times, jti)
    }
}
