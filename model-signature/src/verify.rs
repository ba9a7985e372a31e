//! From a bundle to a proof: the signer is the one that is trusted, and the list is what was opened.
//!
//! [`SignedStatement`] and [`SignedModel`] have no other birth than here.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::fmt;

use serde::Serialize;

use crate::bundle::{Bundle, Material};
use crate::certificate::{CertificateError, Extended, Leaf, Roots};
use crate::error::SignatureError;
use crate::identity::Identity;
use crate::key::{PublicKey, sha256};
use crate::statement::{Coverage, FileDigests, Hashing, Statement};
use crate::trusted_root::TrustedRoot;
use crate::{sct, transparency};

/// Whom the caller trusts to sign.
#[derive(Debug, Clone)]
pub enum Trust {
    /// The holder of this key.
    Key(PublicKey),
    /// Whoever has a certificate for signing under one of these roots.
    Roots(Roots),
    /// This identity, as certified and recorded under this trust root.
    Keyless {
        /// Authorities and logs.
        root: Box<TrustedRoot>,
        /// Who, and by whose word.
        identity: Identity,
    },
}

/// Who signed, as it was verified: for reports, logs and policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Signer {
    /// The holder of a key.
    Key {
        /// SHA-256 of its SubjectPublicKeyInfo, hex.
        spki_sha256: String,
    },
    /// The holder of a certificate.
    Certificate {
        /// Its subject.
        subject: String,
        /// SHA-256 of the certificate, hex.
        sha256: String,
    },
    /// An identity.
    Identity {
        /// Mail address, URI of a workflow, or user name.
        identity: String,
        /// URL of the OpenID Connect provider.
        issuer: String,
    },
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { spki_sha256 } => write!(f, "the key {spki_sha256}"),
            Self::Certificate { subject, .. } => write!(f, "{subject}"),
            Self::Identity { identity, issuer } => write!(f, "{identity} (by {issuer})"),
        }
    }
}

/// A list of files that a trusted signer signed. It says nothing about the files that are there.
#[derive(Debug, Clone)]
pub struct SignedStatement {
    signer: Signer,
    statement: Statement,
    statement_sha256: [u8; 32],
}

impl SignedStatement {
    fn assertion(signer: Signer, statement: Statement, payload: &[u8]) -> Self {
        Self { signer, statement, statement_sha256: sha256(payload) }
    }

    /// Who signed.
    #[must_use]
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// SHA-256 of the statement's exact bytes.
    #[must_use]
    pub fn statement_sha256(&self) -> [u8; 32] {
        self.statement_sha256
    }

    /// How the files are to be hashed.
    #[must_use]
    pub fn hashing(&self) -> Hashing {
        self.statement.hashing
    }

    /// How many files are signed.
    #[must_use]
    pub fn files(&self) -> usize {
        self.statement.files()
    }

    /// Compares the signed list with the files that were opened: the same names, no more and no fewer,
    /// each with the signed digest.
    ///
    /// # Errors
    /// [`Coverage`] with the first file that differs.
    pub fn covers(self, measured: &[FileDigests]) -> Result<SignedModel, Coverage> {
        self.statement.compare(measured)?;
        Ok(SignedModel::assertion(self))
    }
}

/// Proof that every opened file, and nothing else, was signed by a trusted signer.
#[derive(Debug, Clone)]
pub struct SignedModel {
    signer: Signer,
    statement_sha256: [u8; 32],
}

impl SignedModel {
    fn assertion(statement: SignedStatement) -> Self {
        Self { signer: statement.signer, statement_sha256: statement.statement_sha256 }
    }

    /// Who signed.
    #[must_use]
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// SHA-256 of the statement's exact bytes.
    #[must_use]
    pub fn statement_sha256(&self) -> [u8; 32] {
        self.statement_sha256
    }
}

/// Verifies a bundle for a trusted signer. 1. The material fits what is trusted. 2. The signer is that one.
/// 3. The signature is the signer's. 4. The statement is a list of files.
///
/// # Errors
/// [`SignatureError`] of the first step that fails.
pub fn verify(bundle: &Bundle, trust: &Trust) -> Result<SignedStatement, SignatureError> {
    let (key, signer) = match (trust, &bundle.material) {
        // The bundle's hint of the key decides nothing: the signature does.
        (Trust::Key(key), Material::Key) => {
            let signer = Signer::Key { spki_sha256: hex::encode(key.spki_sha256()) };
            (key.clone(), signer)
        }
        // A certificate over the trusted key adds nothing to it.
        (Trust::Key(key), Material::Certificates(chain)) => {
            let leaf = leaf(chain)?;
            if leaf.key != *key {
                return Err(SignatureError::Signature);
            }
            let signer = Signer::Key { spki_sha256: hex::encode(key.spki_sha256()) };
            (key.clone(), signer)
        }
        (Trust::Roots(roots), Material::Certificates(chain)) => by_certificate(chain, roots)?,
        (Trust::Keyless { root, identity }, Material::Certificates(chain)) => {
            keyless(bundle, chain, root, identity)?
        }
        (Trust::Roots(_) | Trust::Keyless { .. }, Material::Key) => {
            return Err(SignatureError::Material);
        }
    };
    // 3.
    if !key.verifies(&bundle.signed_bytes(), &bundle.signature) {
        return Err(SignatureError::Signature);
    }
    // 4.
    let statement = Statement::parse(&bundle.payload)?;
    Ok(SignedStatement::assertion(signer, statement, &bundle.payload))
}

fn leaf(chain: &[Vec<u8>]) -> Result<Leaf, CertificateError> {
    Leaf::parse(chain.first().map(Vec::as_slice).unwrap_or_default())
}

fn by_certificate(chain: &[Vec<u8>], roots: &Roots) -> Result<(PublicKey, Signer), SignatureError> {
    let leaf = leaf(chain)?;
    leaf.verify_usage(Extended::IfPresent)?;
    leaf.verify_path(chain.get(1..).unwrap_or_default(), roots, leaf.not_before())?;
    let sha256 = hex::encode(sha256(&leaf.der));
    let signer = Signer::Certificate { subject: leaf.subject(), sha256 };
    Ok((leaf.key, signer))
}

/// The log says when; then the certificate's path, its timestamp and its identity count at that time.
fn keyless(
    bundle: &Bundle,
    chain: &[Vec<u8>],
    root: &TrustedRoot,
    expected: &Identity,
) -> Result<(PublicKey, Signer), SignatureError> {
    let leaf = leaf(chain)?;
    let at = transparency::verify(bundle, &leaf.der, &root.signature_logs)?;
    leaf.verify_usage(Extended::Required)?;
    let mut refused = None;
    let mut issuer = None;
    for authority in root.authorities.iter().filter(|authority| authority.valid.contains(at)) {
        match leaf.verify_path(&authority.intermediates, &authority.root, at) {
            Ok(spki) => {
                issuer = Some(spki);
                break;
            }
            Err(error) => refused = Some(error),
        }
    }
    let issuer = match (issuer, refused) {
        (Some(issuer), _) => issuer,
        (None, Some(error)) => return Err(error.into()),
        (None, None) => {
            let reason = format!("no authority of the trust root counted at {at}");
            return Err(CertificateError::Path { subject: leaf.subject(), reason }.into());
        }
    };
    sct::verify(&leaf, &issuer, &root.certificate_logs)?;
    let got = leaf.identity()?;
    if got != *expected {
        let expected = Box::new(expected.clone());
        return Err(CertificateError::Identity { expected, got: Box::new(got) }.into());
    }
    let signer = Signer::Identity { identity: got.identity, issuer: got.issuer };
    Ok((leaf.key, signer))
}
