//! Whose tokens are believed: certificates that an operator names, and keys by their id.
//!
//! In: PEM certificates, a JWK set. Out: the key that may have signed a token, or why none may. A key
//! in a token's header is an allegation until a chain from a configured certificate names it.
//! Names and extended key usages in the leaf are not looked at, as in Trustee: everybody who holds a
//! certificate under a configured CA can sign tokens, so name a CA that issues nothing else, or the
//! signer's certificate itself.
//! Against: keys that vouch for themselves, expired certificates, leaves that play CA.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime as PkiTime};
use serde::Deserialize;

use crate::ear::TokenRefusal;
use crate::ear::key::{Algorithm, Jwk, SignerKey};
use crate::limits::{
    MAX_ANCHOR_LEN, MAX_CERTIFICATE_LEN, MAX_CHAIN_CERTIFICATES, MAX_TOKEN_ANCHORS,
    MAX_TOKEN_KEYS_LEN,
};
use crate::unix_time::UnixTime;
use crate::verifier::chain::{ChainError, Link};

/// Signatures that CAs may make. Leaves are always EC, see [`SignerKey::of_certificate`].
const CA_ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    webpki::ring::ECDSA_P256_SHA256,
    webpki::ring::ECDSA_P384_SHA384,
    webpki::ring::RSA_PKCS1_2048_8192_SHA256,
    webpki::ring::RSA_PKCS1_2048_8192_SHA384,
    webpki::ring::RSA_PKCS1_2048_8192_SHA512,
];

/// The signers whose tokens are believed. Starts empty, and then believes nobody.
#[derive(Clone, Debug, Default)]
pub struct TokenAnchors {
    certificates: Vec<CertificateDer<'static>>,
    keys: BTreeMap<String, SignerKey>,
}

/// Why a file names no signers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenAnchorsError {
    /// Too long, no certificate, or one that can't be parsed.
    #[error("not 1 to {MAX_TOKEN_ANCHORS} certificates in PEM")]
    Pem,
    /// Too long, or not `{"keys":[…]}`.
    #[error("not a JWK set")]
    JwkSet,
    /// A key without an id, with an id that is there already, or not EC for ES256 or ES384.
    #[error("key {n} of the JWK set is not usable: {member}")]
    Key {
        /// Its number, from 0.
        n: usize,
        /// The member at fault.
        member: &'static str,
    },
}

impl TokenAnchors {
    /// Adds certificates: CAs, or a signer's own certificate.
    ///
    /// # Errors
    /// [`TokenAnchorsError::Pem`].
    pub fn with_pem(mut self, pem: &[u8]) -> Result<Self, TokenAnchorsError> {
        if pem.len() > MAX_ANCHOR_LEN.saturating_mul(MAX_TOKEN_ANCHORS) {
            return Err(TokenAnchorsError::Pem);
        }
        let before = self.certificates.len();
        for der in CertificateDer::pem_slice_iter(pem) {
            let der = der.map_err(|_| TokenAnchorsError::Pem)?;
            let usable = der.len() <= MAX_CERTIFICATE_LEN
                && self.certificates.len() < MAX_TOKEN_ANCHORS
                && Link::parse(&der).is_ok();
            if !usable {
                return Err(TokenAnchorsError::Pem);
            }
            self.certificates.push(der);
        }
        match self.certificates.len() > before {
            true => Ok(self),
            false => Err(TokenAnchorsError::Pem),
        }
    }

    /// Adds the keys of a JWK set; a token names one of them with `kid`.
    ///
    /// # Errors
    /// [`TokenAnchorsError::JwkSet`], [`Key`](TokenAnchorsError::Key).
    pub fn with_jwk_set(mut self, json: &[u8]) -> Result<Self, TokenAnchorsError> {
        #[derive(Deserialize)]
        struct JwkSet {
            keys: Vec<Jwk>,
        }
        if json.len() > MAX_TOKEN_KEYS_LEN {
            return Err(TokenAnchorsError::JwkSet);
        }
        let set: JwkSet = serde_json::from_slice(json).map_err(|_| TokenAnchorsError::JwkSet)?;
        if set.keys.is_empty() || set.keys.len() > MAX_TOKEN_ANCHORS {
            return Err(TokenAnchorsError::JwkSet);
        }
        for (n, jwk) in set.keys.iter().enumerate() {
            let refused = |member| TokenAnchorsError::Key { n, member };
            let kid = jwk.kid.clone().filter(|kid| !kid.is_empty()).ok_or(refused("kid"))?;
            let tried = [Algorithm::Es256, Algorithm::Es384]
                .map(|algorithm| SignerKey::from_jwk(jwk, algorithm));
            let key = tried.into_iter().find_map(Result::ok).ok_or(refused("kty, crv, x, y"))?;
            if self.keys.insert(kid, key).is_some() {
                return Err(refused("kid"));
            }
        }
        Ok(self)
    }

    /// Whether nobody is believed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty() && self.keys.is_empty()
    }

    /// The configured key of this id, for this algorithm.
    pub(super) fn key(&self, kid: &str, algorithm: Algorithm) -> Result<&SignerKey, TokenRefusal> {
        let unknown = || TokenRefusal::UnknownKid { kid: kid.chars().take(80).collect() };
        self.keys.get(kid).filter(|key| key.algorithm() == algorithm).ok_or_else(unknown)
    }

    /// Whether the key itself is in the JWK set, under any id.
    pub(super) fn has_key(&self, key: &SignerKey) -> bool {
        self.keys.values().any(|known| known == key)
    }

    /// Follows `x5c` (leaf first, order of the rest free) to a configured certificate. The leaf is for
    /// `key`, every certificate is valid at `now`, and whoever signs another is a CA.
    ///
    //= attestation/SPEC.md#12
    //# A key in a token's header MUST NOT be used unless a certificate chain in `x5c` leads from it to a configured certificate at the verifier's time.
    pub(super) fn vouch(
        &self,
        x5c: &[String],
        key: &SignerKey,
        now: UnixTime,
    ) -> Result<(), TokenRefusal> {
        if !(1..=MAX_CHAIN_CERTIFICATES).contains(&x5c.len()) {
            return Err(TokenRefusal::Chain);
        }
        let mut chain = Vec::new();
        for text in x5c {
            // Base64 has four characters for three bytes.
            if text.len() > MAX_CERTIFICATE_LEN.saturating_mul(2) {
                return Err(TokenRefusal::Chain);
            }
            // RFC 7515 §4.1.6: base64, not base64url.
            let der = STANDARD.decode(text).map_err(|_| TokenRefusal::Chain)?;
            chain.push(CertificateDer::from(der));
        }
        let (leaf, rest) = chain.split_first().ok_or(TokenRefusal::Chain)?;
        let link = Link::parse(leaf).map_err(|_| TokenRefusal::Chain)?;
        if SignerKey::of_certificate(&link).as_ref() != Some(key) {
            return Err(TokenRefusal::OtherKey);
        }
        let untrusted = |detail: String| TokenRefusal::Untrusted { detail };
        // The signer's own certificate is configured: nobody needs to vouch for it.
        if self.certificates.contains(leaf) {
            return link.within_validity(now).map_err(|error| untrusted(error.to_string()));
        }
        let mut anchors = Vec::new();
        for der in &self.certificates {
            // A path library looks at an anchor's name and key only, not at its dates and role.
            let valid = Link::parse(der).and_then(|anchor| {
                anchor.within_validity(now)?;
                match anchor.is_ca() {
                    true => Ok(()),
                    false => Err(ChainError::Role { subject: anchor.name() }),
                }
            });
            if valid.is_ok() {
                anchors.extend(webpki::anchor_from_trusted_cert(der).ok());
            }
        }
        let certificate = webpki::EndEntityCert::try_from(leaf)
            .map_err(|error| untrusted(format!("{error:?}")))?;
        certificate
            .verify_for_usage(
                CA_ALGORITHMS,
                &anchors,
                rest,
                PkiTime::since_unix_epoch(std::time::Duration::from_secs(now.0)),
                AnyUse,
                None,
                None,
            )
            .map(|_| ())
            .map_err(|error| untrusted(format!("{error:?}")))
    }
}

/// No certificate profile for token signers exists, so no use is asked for.
struct AnyUse;

impl webpki::ExtendedKeyUsageValidator for AnyUse {
    fn validate(&self, _uses: webpki::KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}
