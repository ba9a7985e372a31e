//! Attestation Results as tokens, as anybody may send them.

use adyton_attestation::UnixTime;
use adyton_attestation::ear::{TokenAnchors, TokenRules, verify};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

/// When the seeds are valid.
const NOW: u64 = 1_800_000_000;
/// The generator of P-256: a key on the curve whose private half signs no seed.
const X: &str = "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY";
const Y: &str = "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU";

/// Verifies against nobody and against one configured key; neither signed anything.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let set = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "k", "x": X, "y": Y }] });
    let known = TokenAnchors::default().with_jwk_set(set.to_string().as_bytes()).expect("a key");
    for anchors in [TokenAnchors::default(), known] {
        let refused = verify(&text, &anchors, &TokenRules::default(), UnixTime(NOW))
            .expect_err("nobody signed this");
        let reason = refused.reason();
        assert!(reason.code.starts_with("token.") && !reason.remedy.is_empty());
    }
}

/// Tokens that go as far as the key, the chain and the signature.
pub fn seeds() -> Vec<Vec<u8>> {
    let jwk = |more: serde_json::Value| {
        let mut jwk = json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "x": X, "y": Y });
        jwk["x5c"] = more;
        json!({ "alg": "ES256", "typ": "JWT", "jwk": jwk })
    };
    let headers = [
        jwk(json!(null)),
        jwk(json!(["MIIB"])),
        json!({ "alg": "ES256", "kid": "k" }),
        json!({ "alg": "ES384", "kid": "k" }),
        json!({ "alg": "none" }),
        json!({ "alg": "HS256", "kid": "k" }),
    ];
    let payload = json!({
        "eat_profile": adyton_attestation::ear::PROFILE,
        "iat": NOW,
        "exp": NOW + 300,
        "submods": { "cpu0": { "ear.status": "none" } },
    });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signature = URL_SAFE_NO_PAD.encode([1; 64]);
    headers
        .iter()
        .map(|header| format!("{}.{}.{signature}", part(header), part(&payload)).into_bytes())
        .collect()
}
