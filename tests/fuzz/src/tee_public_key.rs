//! TEE public keys as JWK.

use adyton_attestation::rcar::{TeeKeyPair, TeePublicKey};

/// PKCS#8 around a P-256 scalar, RFC 5915 without the public half.
const PKCS8_P256: [u8; 35] = [
    0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01,
    0x01, 0x04, 0x20,
];
/// The same around a P-521 scalar.
const PKCS8_P521: [u8; 32] = [
    0x30, 0x60, 0x02, 0x01, 0x00, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23, 0x04, 0x49, 0x30, 0x47, 0x02, 0x01, 0x01, 0x04, 0x42,
];

/// A P-256 key that everybody knows, so that a corpus on disk stays valid.
pub(crate) fn fixed_key() -> TeeKeyPair {
    let pkcs8 = [&PKCS8_P256[..], &[0x11; 32]].concat();
    TeeKeyPair::from_pkcs8(&pkcs8).expect("a P-256 key")
}

/// A P-521 key that everybody knows.
pub(crate) fn fixed_p521_key() -> TeeKeyPair {
    let pkcs8 = [&PKCS8_P521[..], &[0, 0], &[0x11; 64]].concat();
    TeeKeyPair::from_pkcs8(&pkcs8).expect("a P-521 key")
}

/// Parses; what is written again is the same key and has the five members, no more.
pub fn run(data: &[u8]) {
    let Ok(key) = serde_json::from_slice::<TeePublicKey>(data) else {
        return;
    };
    let jwk = serde_json::to_value(&key).expect("a key serialises");
    let again: TeePublicKey = serde_json::from_value(jwk.clone()).expect("our own JWK parses");
    assert_eq!(again, key);
    let mut members: Vec<&str> = jwk.as_object().expect("an object").keys().map(|name| &**name).collect();
    members.sort_unstable();
    assert_eq!(members, ["alg", "crv", "kty", "x", "y"]);
}

/// A key on each curve, and keys that must be refused.
pub fn seeds() -> Vec<Vec<u8>> {
    let [p256, p521] = [fixed_key(), fixed_p521_key()]
        .map(|key| serde_json::to_value(key.public()).expect("a key serialises"));
    let with = |member: &str, value: &str| {
        let mut jwk = p256.clone();
        jwk[member] = value.into();
        jwk
    };
    let refused = [
        with("crv", "P-384"),
        with("alg", "ECDH-ES"),
        with("x", "AA"),
        with("d", "AA"),
        serde_json::json!({ "kty": "RSA", "alg": "RSA1_5", "n": "AQAB", "e": "AQAB" }),
    ];
    [p256.clone(), p521]
        .into_iter()
        .chain(refused)
        .map(|value| value.to_string().into_bytes())
        .collect()
}
