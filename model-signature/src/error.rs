//! Why a signature was refused, by what was looked at.

use crate::bundle::BundleError;
use crate::certificate::CertificateError;
use crate::sct::SctError;
use crate::statement::{Coverage, StatementError};
use crate::transparency::LogError;

/// Why a model counts as not signed. `Display` prints its own level; causes are in `source()`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// `model.sig` is not a bundle that is read.
    #[error("the signature bundle was refused")]
    Bundle(#[from] BundleError),
    /// Signed with a bare key, and a certificate is trusted.
    #[error("the bundle has a bare key; expected a certificate")]
    Material,
    /// The signer's certificate was refused.
    #[error("the signer's certificate was refused")]
    Certificate(#[from] CertificateError),
    /// No log of certificates vouches for it.
    #[error("no certificate log vouches for the signer")]
    Sct(#[from] SctError),
    /// No log of signatures vouches for it.
    #[error("no transparency log vouches for the signature")]
    Log(#[from] LogError),
    /// Not the signer's signature over this statement.
    #[error("the signature is not the trusted signer's over this statement")]
    Signature,
    /// The signed statement is not a list of files that can be compared.
    #[error("the signed statement was refused")]
    Statement(#[from] StatementError),
    /// The signed list is not what was opened.
    #[error("the model is not the one that was signed")]
    Coverage(#[from] Coverage),
}

impl SignatureError {
    /// Stable, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Bundle(_) => "signature.bundle",
            Self::Material => "signature.material",
            Self::Certificate(CertificateError::Identity { .. }) => "signature.identity",
            Self::Certificate(_) => "signature.certificate",
            Self::Sct(_) => "signature.certificate-log",
            Self::Log(_) => "signature.transparency-log",
            Self::Signature => "signature.invalid",
            Self::Statement(_) => "signature.statement",
            Self::Coverage(_) => "signature.other-model",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Bundle(_) => {
                "fetch model.sig again; write it with model_signing or `adyton sign`"
            }
            Self::Material => "trust the signer's key (key_file), or sign with a certificate",
            Self::Certificate(CertificateError::Identity { .. }) => {
                "ask the owner who signs; correct identity and issuer if that is the right one"
            }
            Self::Certificate(_) => {
                "sign with a certificate for code signing under a trusted root, or trust its root"
            }
            Self::Sct(_) | Self::Log(LogError::UnknownLog { .. }) => {
                "renew the trust root file; if it is current, the certificate is not to be believed"
            }
            Self::Log(LogError::NoTime { .. } | LogError::Kind { .. }) => {
                "sign with a log that promises a time (Rekor v1), or with a key or certificate"
            }
            Self::Log(_) => {
                "fetch model.sig again; if it stays so, it was put together from several"
            }
            Self::Signature => {
                "compare the trusted key with the signer's; if it is the right one, model.sig was edited"
            }
            Self::Statement(error) => error.remedy(),
            Self::Coverage(error) => error.remedy(),
        }
    }
}
