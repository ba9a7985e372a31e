#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]

mod exchange;
mod jwe;
mod keys;
mod parsers;
mod recorded;
mod wycheproof;

use super::{JweResponse, TeeKeyPair, TeePublicKey};

/// The members of a reply as mutable references, by name.
fn members(reply: &mut JweResponse) -> [(&'static str, &mut String); 5] {
    [
        ("protected", &mut reply.protected),
        ("encrypted_key", &mut reply.encrypted_key),
        ("iv", &mut reply.iv),
        ("ciphertext", &mut reply.ciphertext),
        ("tag", &mut reply.tag),
    ]
}

fn pair() -> (TeeKeyPair, TeePublicKey) {
    let pair = TeeKeyPair::generate().unwrap();
    let public = pair.public();
    (pair, public)
}
