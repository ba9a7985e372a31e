//! The simulated vTPM: TPMS_ATTEST and its signature. TPM 2.0 Library, Part 2; numbers are big-endian.

use ring::rand::SystemRandom;
use ring::signature::{
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};

use crate::azure::profile::{AzureProfile, QuoteSigner};
use crate::keys::sha256;

const ATTESTATION_KEY: &[u8] = include_bytes!("keys/attestation_key.der");
const OTHER_KEY: &[u8] = include_bytes!("keys/other_key.der");

impl AzureProfile {
    /// TPMS_ATTEST (§10.12.12) of type quote.
    pub fn attest(&self) -> Vec<u8> {
        let sized = |bytes: &[u8]| {
            let len = u16::try_from(bytes.len()).expect("short");
            [&len.to_be_bytes(), bytes].concat()
        };
        let digest = sha256(self.pcrs.as_flattened()).to_vec();
        let count = u32::try_from(self.selections.len()).expect("few");
        [
            self.magic.to_be_bytes().to_vec(),
            self.attest_type.to_be_bytes().to_vec(),
            // qualifiedSigner: a name of SHA-256.
            sized(&[0x0b; 34]),
            sized(&self.extra_data),
            // clockInfo: clock, resetCount, restartCount; safe.
            vec![0; 16],
            vec![1],
            // firmwareVersion.
            vec![0x20; 8],
            count.to_be_bytes().to_vec(),
            self.selections.concat(),
            sized(self.pcr_digest.as_ref().unwrap_or(&digest)),
        ]
        .concat()
    }
}

impl QuoteSigner {
    pub(super) fn sign(self, message: &[u8]) -> Vec<u8> {
        let (der, encoding): (_, &'static dyn RsaEncoding) = match self {
            Self::AttestationKey => (ATTESTATION_KEY, &RSA_PKCS1_SHA256),
            Self::OtherKey => (OTHER_KEY, &RSA_PKCS1_SHA256),
            Self::OtherHash => (ATTESTATION_KEY, &RSA_PKCS1_SHA384),
            Self::OtherPadding => (ATTESTATION_KEY, &RSA_PSS_SHA256),
        };
        let key = key(der);
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(encoding, &SystemRandom::new(), message, &mut signature).expect("random bytes");
        signature
    }
}

/// The modulus of the attestation key, 256 bytes.
pub(super) fn attestation_modulus() -> Vec<u8> {
    modulus(ATTESTATION_KEY)
}

/// The modulus of a key that the vTPM doesn't have.
pub(super) fn other_modulus() -> Vec<u8> {
    modulus(OTHER_KEY)
}

/// RSAPublicKey, DER: nine bytes of headers before the modulus, five of exponent after it.
fn modulus(der: &[u8]) -> Vec<u8> {
    key(der).public().as_ref()[9..265].to_vec()
}

fn key(der: &[u8]) -> RsaKeyPair {
    RsaKeyPair::from_der(der).expect("an RSA key of 2048 bits")
}
