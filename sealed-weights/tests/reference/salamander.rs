//! An "invisible salamander": one ciphertext and tag that AES-256-GCM accepts under two keys.
//!
//! GCM's tag is a polynomial in a secret point, plus a mask. Two keys give two polynomials that are
//! linear in the ciphertext, so one free block makes their values meet.

use aes_gcm::aes::Aes256;
use aes_gcm::aes::cipher::{BlockCipherEncrypt, KeyInit};

use super::Message;

/// A chunk of two blocks, of which the first was solved for, and the tag that fits under both.
pub fn two_key_chunk(one: &Message, two: &Message) -> (Vec<u8>, [u8; 16]) {
    let second_block = *b"a block at choice";
    let second = u128::from_be_bytes(second_block[..16].try_into().unwrap());
    // No associated data, 256 bits of ciphertext.
    let lengths = 256_u128;
    // tag = c1·H³ + c2·H² + lengths·H + mask
    let fixed =
        |point: u128, mask: u128| mul(second, mul(point, point)) ^ mul(lengths, point) ^ mask;
    let ((h1, m1), (h2, m2)) = (point_and_mask(one), point_and_mask(two));
    let cubes = (mul(h1, mul(h1, h1)), mul(h2, mul(h2, h2)));
    let first = mul(fixed(h1, m1) ^ fixed(h2, m2), inverse(cubes.0 ^ cubes.1));
    let tag = mul(first, cubes.0) ^ fixed(h1, m1);
    let chunk = [first.to_be_bytes(), second.to_be_bytes()].concat();
    (chunk, tag.to_be_bytes())
}

/// The hash point E(0) and the mask E(nonce ‖ 1) of the message's first chunk.
fn point_and_mask(message: &Message) -> (u128, u128) {
    let aes = Aes256::new_from_slice(&message.key).unwrap();
    let encrypt = |block: [u8; 16]| {
        let mut block = block.into();
        aes.encrypt_block(&mut block);
        u128::from_be_bytes(block.into())
    };
    let mut counter = [0; 16];
    counter[..12].copy_from_slice(&message.nonce(0));
    counter[15] = 1;
    (encrypt([0; 16]), encrypt(counter))
}

/// Multiplication in GCM's field: bit 0 is the most significant, x^128 = 1 + x + x^2 + x^7.
fn mul(a: u128, mut b: u128) -> u128 {
    let mut product = 0;
    for bit in 0..128 {
        if a >> (127 - bit) & 1 == 1 {
            product ^= b;
        }
        b = (b >> 1) ^ if b & 1 == 1 { 0xE1 << 120 } else { 0 };
    }
    product
}

/// a^(2^128 - 2).
fn inverse(a: u128) -> u128 {
    let mut power = a;
    let mut result = 1 << 127;
    for _ in 1..128 {
        power = mul(power, power);
        result = mul(result, power);
    }
    result
}
