//! The bytes that both sides of RCAR hash: runtime data in RFC 8785 form.
//!
//! Role: KBC and KBS alike. In: the nonce string, the TEE key, the additional-evidence string.
//! Out: the exact text, its SHA-384, and the report data. The text is written member by member in
//! sorted order; no map of a JSON library decides it. Against: a binding that holds in one
//! implementation and not in the other.

use ring::digest::{SHA384, digest};

use super::TeePublicKey;
use crate::binding::ReportData;

/// Hash input for the primary Evidence:
/// `{"additional-evidence":…,"nonce":…,"tee-pubkey":{…}}`.
#[must_use]
pub fn primary_runtime_data(
    nonce: &str,
    tee_pubkey: &TeePublicKey,
    additional_evidence: &str,
) -> String {
    let mut text = String::from("{\"additional-evidence\":");
    push_string(&mut text, additional_evidence);
    text.push(',');
    push_nonce_and_key(&mut text, nonce, tee_pubkey);
    text
}

/// Hash input for Evidence of a device: `{"nonce":…,"tee-pubkey":{…}}`.
#[must_use]
pub fn device_runtime_data(nonce: &str, tee_pubkey: &TeePublicKey) -> String {
    let mut text = String::from("{");
    push_nonce_and_key(&mut text, nonce, tee_pubkey);
    text
}

/// SHA-384 of a text.
#[must_use]
pub fn sha384(text: &str) -> [u8; 48] {
    let mut out = [0; 48];
    for (to, from) in out.iter_mut().zip(digest(&SHA384, text.as_bytes()).as_ref()) {
        *to = *from;
    }
    out
}

/// Report data that Evidence of a CPU TEE must carry: 48 bytes of digest, 16 zero bytes.
#[must_use]
pub fn primary_report_data(
    nonce: &str,
    tee_pubkey: &TeePublicKey,
    additional_evidence: &str,
) -> ReportData {
    let text = primary_runtime_data(nonce, tee_pubkey, additional_evidence);
    ReportData::from_runtime_data_digest(&sha384(&text))
}

/// Nonce that Evidence of an NVIDIA device must carry: the first 32 bytes of the digest.
#[must_use]
pub fn device_nonce(nonce: &str, tee_pubkey: &TeePublicKey) -> [u8; 32] {
    let digest = sha384(&device_runtime_data(nonce, tee_pubkey));
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(digest) {
        *to = from;
    }
    out
}

fn push_nonce_and_key(text: &mut String, nonce: &str, tee_pubkey: &TeePublicKey) {
    text.push_str("\"nonce\":");
    push_string(text, nonce);
    text.push_str(",\"tee-pubkey\":");
    text.push_str(&tee_pubkey.canonical_jwk());
    text.push('}');
}

/// RFC 8785 §3.2.2.2: two-character escapes where JSON has them, `\u00xx` in lower case for the
/// other control characters, everything else as it is.
fn push_string(text: &mut String, value: &str) {
    const HEX: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\u{8}' => text.push_str("\\b"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\u{c}' => text.push_str("\\f"),
            '\r' => text.push_str("\\r"),
            '\0'..='\u{1f}' => {
                let code = c as usize;
                text.push_str("\\u00");
                text.extend(HEX.get(code >> 4));
                text.extend(HEX.get(code & 0xf));
            }
            _ => text.push(c),
        }
    }
    text.push('"');
}
