//! Derives every key of the simulated vendor from one seed.
//!
//! A fake TEE is 32 bytes of seed and a date of birth. All P-256 keys come out of that seed, and
//! signatures are deterministic (RFC 6979), so that two processes which share a state folder have
//! the same root, byte for byte. In: the seed, a name. Out: [`SigningKey`].
//! These keys protect nothing. No product crate may use this module.

use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey as EcdsaKey};
use ring::digest;

/// A P-256 key of the simulated vendor or of the simulated Quoting Enclave.
pub(crate) struct SigningKey {
    key: EcdsaKey,
    /// SEC 1 uncompressed point, `04 ‖ x ‖ y`.
    point: [u8; 65],
}

impl SigningKey {
    /// The key called `name` under `seed`.
    pub(crate) fn derive(seed: &[u8; 32], name: &str) -> Self {
        // A digest is not a scalar of P-256 about once in 2^32; the counter covers that.
        let key = (0_u32..)
            .find_map(|counter| {
                let mut input = seed.to_vec();
                input.extend_from_slice(&counter.to_be_bytes());
                input.extend_from_slice(name.as_bytes());
                EcdsaKey::from_slice(&sha256(&input)).ok()
            })
            .expect("some counter gives a valid scalar");
        let encoded = key.verifying_key().to_sec1_point(false);
        let point =
            encoded.as_bytes().try_into().expect("an uncompressed P-256 point has 65 bytes");
        Self { key, point }
    }

    /// The public key as the quote carries it: `x ‖ y`, 64 bytes.
    pub(crate) fn raw_public_key(&self) -> [u8; 64] {
        self.point[1..].try_into().expect("65 bytes without the first are 64")
    }

    /// ECDSA with SHA-256 as `r ‖ s`, the form of quotes and of the vendor's JSON.
    pub(crate) fn sign_raw(&self, message: &[u8]) -> [u8; 64] {
        let signature: Signature = self.key.sign(message);
        signature.to_bytes().into()
    }
}

impl rcgen::PublicKeyData for &SigningKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for &SigningKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: Signature = self.key.sign(message);
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// SHA-384, the digest behind every simulated measurement.
pub(crate) fn sha384(bytes: &[u8]) -> [u8; 48] {
    digest::digest(&digest::SHA384, bytes).as_ref().try_into().expect("SHA-384 has 48 bytes")
}
