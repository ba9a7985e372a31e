//! Keys that sign models: ECDSA on P-256, P-384 and P-521, and Ed25519.
//!
//! In: PEM. Out: values that verify, or sign. ECDSA goes with the digest of the curve's size, as the format
//! fixes it. A signing key is P-256 here; its bytes stay in the library's own memory and are never shown.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1,
    ECDSA_P521_SHA512_ASN1, ED25519, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::Decode as _;
use der::asn1::ObjectIdentifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use crate::limits::MAX_TRUST_FILE_BYTES;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const ED25519_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// Why a key was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFormatError {
    /// Not a key in PEM.
    #[error("the file holds no public key in PEM (SubjectPublicKeyInfo)")]
    NoPublicKey,
    /// Not a private key in PEM.
    #[error("the file holds no unencrypted P-256 private key in PEM (PKCS #8)")]
    NoPrivateKey,
    /// A key of a kind that the format does not have, or that is not a point of its curve.
    #[error("the key is {got}; expected ECDSA on P-256, P-384 or P-521, or Ed25519")]
    Kind {
        /// The algorithm's object identifiers.
        got: String,
    },
    /// The library made no signature.
    #[error("no signature could be made with the key")]
    Signing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    P256,
    P384,
    P521,
    Ed25519,
}

/// A key that verifies signatures over statements.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: Kind,
    /// As the algorithm takes it, without its SubjectPublicKeyInfo.
    bits: Vec<u8>,
    spki_sha256: [u8; 32],
}

impl PublicKey {
    /// From a PEM file with `BEGIN PUBLIC KEY`.
    ///
    /// # Errors
    /// [`KeyFormatError::NoPublicKey`], [`Kind`](KeyFormatError::Kind).
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyFormatError> {
        if pem.len() > MAX_TRUST_FILE_BYTES {
            return Err(KeyFormatError::NoPublicKey);
        }
        let spki = SubjectPublicKeyInfoDer::from_pem_slice(pem)
            .map_err(|_| KeyFormatError::NoPublicKey)?;
        Self::from_spki(&spki)
    }

    /// From a SubjectPublicKeyInfo in DER.
    pub(crate) fn from_spki(der: &[u8]) -> Result<Self, KeyFormatError> {
        let spki =
            SubjectPublicKeyInfoRef::from_der(der).map_err(|_| KeyFormatError::NoPublicKey)?;
        let curve = spki.algorithm.parameters_oid().ok();
        let kind = match (spki.algorithm.oid, curve) {
            (EC_PUBLIC_KEY, Some(P256)) => Kind::P256,
            (EC_PUBLIC_KEY, Some(P384)) => Kind::P384,
            (EC_PUBLIC_KEY, Some(P521)) => Kind::P521,
            (ED25519_OID, None) => Kind::Ed25519,
            (algorithm, curve) => {
                let curve = curve.map_or(String::new(), |curve| format!(" with {curve}"));
                return Err(KeyFormatError::Kind { got: format!("{algorithm}{curve}") });
            }
        };
        let bits = spki.subject_public_key.as_bytes().ok_or(KeyFormatError::NoPublicKey)?;
        Ok(Self { kind, bits: bits.to_vec(), spki_sha256: sha256(der) })
    }

    /// Whether the holder of this key signed `message`.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match self.kind {
            Kind::P256 => &ECDSA_P256_SHA256_ASN1,
            Kind::P384 => &ECDSA_P384_SHA384_ASN1,
            Kind::P521 => &ECDSA_P521_SHA512_ASN1,
            Kind::Ed25519 => &ED25519,
        };
        UnparsedPublicKey::new(algorithm, &self.bits).verify(message, signature).is_ok()
    }

    /// SHA-256 of the SubjectPublicKeyInfo: how configurations and reports name the key.
    #[must_use]
    pub fn spki_sha256(&self) -> [u8; 32] {
        self.spki_sha256
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey")
            .field("kind", &self.kind)
            .field("spki_sha256", &hex::encode(self.spki_sha256))
            .finish()
    }
}

/// An ECDSA P-256 key that signs statements.
pub struct SigningKey(EcdsaKeyPair);

impl SigningKey {
    /// From a PEM file with `BEGIN PRIVATE KEY`.
    ///
    /// # Errors
    /// [`KeyFormatError::NoPrivateKey`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyFormatError> {
        let refused = || KeyFormatError::NoPrivateKey;
        if pem.len() > MAX_TRUST_FILE_BYTES {
            return Err(refused());
        }
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| refused())?;
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der.secret_pkcs8_der())
            .map(Self)
            .map_err(|_| refused())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyFormatError> {
        let signature = self.0.sign(&SystemRandom::new(), message);
        signature.map(|s| s.as_ref().to_vec()).map_err(|_| KeyFormatError::Signing)
    }

    /// The public half as SubjectPublicKeyInfo in DER.
    fn spki(&self) -> Result<PublicKeyX509Der<'static>, KeyFormatError> {
        self.0.public_key().as_der().map_err(|_| KeyFormatError::Signing)
    }

    /// The key that verifies what this one signs.
    ///
    /// # Errors
    /// [`KeyFormatError::Signing`] when the library cannot express it.
    pub fn public_key(&self) -> Result<PublicKey, KeyFormatError> {
        PublicKey::from_spki(self.spki()?.as_ref())
    }

    /// The public half as a PEM text.
    pub(crate) fn public_pem(&self) -> Result<String, KeyFormatError> {
        let text = STANDARD.encode(self.spki()?.as_ref());
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        // 64 characters a line, as RFC 7468 §2 has it: the text's digest is the bundle's hint.
        for (at, c) in text.chars().enumerate() {
            if at > 0 && at % 64 == 0 {
                pem.push('\n');
            }
            pem.push(c);
        }
        pem.push_str("\n-----END PUBLIC KEY-----\n");
        Ok(pem)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").finish_non_exhaustive()
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}
