//! Files that say whom to trust for signatures: trust roots of sigstore, keys, roots.

use adyton_model_signature::{PublicKey, Roots, SigningKey, TrustedRoot};
use serde_json::json;

/// Whatever it is, it is read or refused; as a private key nothing but one in PEM passes.
pub fn run(data: &[u8]) {
    let _ = TrustedRoot::parse(data);
    let _ = Roots::from_pem(data);
    let _ = PublicKey::from_pem(data);
    if SigningKey::from_pem(data).is_ok() {
        let text = String::from_utf8_lossy(data);
        assert!(text.contains("PRIVATE KEY"), "a private key out of nothing");
    }
}

/// A trust root with one of each, and the keys in it as PEM.
pub fn seeds() -> Vec<Vec<u8>> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use rcgen::PublicKeyData as _;
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec![]).expect("parameters");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = params.self_signed(&key).expect("a root");
    let log = json!({
        "publicKey": {
            "rawBytes": STANDARD.encode(key.subject_public_key_info()),
            "validFor": { "start": "2026-01-01T00:00:00Z", "end": "2027-01-01T00:00:00.999Z" },
        },
        "logId": { "keyId": "AAAA" },
    });
    let trust = json!({
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "tlogs": [log],
        "ctlogs": [log],
        "certificateAuthorities": [{
            "certChain": { "certificates": [{ "rawBytes": STANDARD.encode(root.der()) }] },
        }],
    });
    vec![
        trust.to_string().into_bytes(),
        json!({ "trustedRoot": trust }).to_string().into_bytes(),
        root.pem().into_bytes(),
        key.serialize_pem().into_bytes(),
        key.public_key_pem().into_bytes(),
    ]
}
