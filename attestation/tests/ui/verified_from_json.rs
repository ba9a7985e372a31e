//! `Verified` can't be read from bytes.

use adyton_attestation::Verified;

fn forge(text: &str) -> Verified<String> {
    serde_json::from_str(text).expect("forged")
}

fn main() {}
