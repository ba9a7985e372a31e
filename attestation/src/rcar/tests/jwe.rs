//! Replies: what is refused, and at which step.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{members, pair};
use crate::rcar::jwe::{encrypt, seal_with_header};
use crate::rcar::limits::MAX_SECRET;
use crate::rcar::tee_key::Curve;
use crate::rcar::{
    JweError, JweExtras, JweResponse, ResourceBinding, ResourcePath, TeeKeyError, TeeKeyPair,
    Unwrapped,
};

fn asked() -> ResourcePath {
    ResourcePath::parse("acme/model-key/kjv").unwrap()
}

fn ours() -> JweExtras {
    JweExtras { resource: Some(asked()), minimum_model_version: Some(3) }
}

/// Seals under a header that the closure changes, and opens it again.
fn with_header(change: impl FnOnce(&mut Value)) -> Result<Unwrapped, JweError> {
    let (pair, public) = pair();
    let reply = seal_with_header(&public, b"secret", |epk| {
        let mut header = json!({
            "alg": "ECDH-ES+A256KW",
            "enc": "A256GCM",
            "epk": { "crv": epk.crv, "kty": epk.kty, "x": epk.x, "y": epk.y },
        });
        change(&mut header);
        Ok(header.to_string().into_bytes())
    });
    pair.decrypt(&reply.unwrap(), &asked())
}

fn with_header_text(change: impl FnOnce(String) -> String) -> Result<Unwrapped, JweError> {
    let (pair, public) = pair();
    let reply = seal_with_header(&public, b"secret", |epk| {
        let epk = serde_json::to_string(&epk).map_err(JweError::Header)?;
        Ok(change(epk).into_bytes())
    });
    pair.decrypt(&reply.unwrap(), &asked())
}

#[test]
fn a_secret_arrives_with_what_was_said_about_it() {
    for curve in [Curve::P256, Curve::P521] {
        let pair = TeeKeyPair::generate_on(curve).unwrap();
        let reply = encrypt(&pair.public(), b"thirty-two bytes of a model key!", &ours()).unwrap();
        let secret = pair.decrypt(&reply, &asked()).unwrap();
        assert_eq!(secret.plaintext.as_slice(), b"thirty-two bytes of a model key!");
        assert_eq!(secret.minimum_model_version, Some(3));
        assert_eq!(secret.resource, ResourceBinding::Confirmed);
    }
}

#[test]
fn every_changed_byte_of_a_reply_is_refused() {
    let (pair, public) = pair();
    let reply = encrypt(&public, b"a model key", &ours()).unwrap();
    let lengths = members(&mut reply.clone()).map(|(_, text)| text.len());
    for (at, length) in lengths.into_iter().enumerate() {
        for position in 0..length {
            let mut changed = reply.clone();
            let (name, text) = &mut members(&mut changed)[at];
            let mut bytes = std::mem::take(*text).into_bytes();
            bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
            **text = String::from_utf8(bytes).unwrap();
            assert!(pair.decrypt(&changed, &asked()).is_err(), "{name} at {position}");
        }
    }
}

#[test]
fn every_changed_bit_behind_the_encoding_is_refused_at_its_step() {
    let (pair, public) = pair();
    let reply = encrypt(&public, b"a model key", &ours()).unwrap();
    for at in 1..5 {
        let length = URL_SAFE_NO_PAD.decode(&*members(&mut reply.clone())[at].1).unwrap().len();
        for bit in 0..length * 8 {
            let mut changed = reply.clone();
            let (name, text) = &mut members(&mut changed)[at];
            let mut bytes = URL_SAFE_NO_PAD.decode(&**text).unwrap();
            bytes[bit / 8] ^= 1 << (bit % 8);
            **text = URL_SAFE_NO_PAD.encode(bytes);
            let error = pair.decrypt(&changed, &asked()).unwrap_err();
            match *name {
                "encrypted_key" => assert!(matches!(error, JweError::WrappedKey), "bit {bit}"),
                name => assert!(matches!(error, JweError::Content), "{name} bit {bit}"),
            }
        }
    }
}

#[test]
fn a_reply_for_another_key_is_refused() {
    let reply = encrypt(&pair().1, b"secret", &ours()).unwrap();
    assert!(matches!(pair().0.decrypt(&reply, &asked()), Err(JweError::WrappedKey)));
}

#[test]
fn a_reply_on_another_curve_is_refused() {
    let other = TeeKeyPair::generate_on(Curve::P521).unwrap();
    let reply = encrypt(&other.public(), b"secret", &ours()).unwrap();
    assert!(matches!(
        pair().0.decrypt(&reply, &asked()),
        Err(JweError::Curve { got: "P-521", expected: "P-256" })
    ));
}

#[test]
fn a_reply_for_another_resource_is_refused() {
    let (pair, public) = pair();
    let other = ResourcePath::parse("acme/model-key/other").unwrap();
    let extras = JweExtras { resource: Some(other.clone()), minimum_model_version: None };
    let reply = encrypt(&public, b"secret", &extras).unwrap();
    assert!(matches!(
        pair.decrypt(&reply, &asked()),
        Err(JweError::Resource { asked: a, got }) if *a == asked() && *got == other
    ));
}

#[test]
fn a_foreign_reply_says_nothing_about_its_resource() {
    let secret = with_header(|_| {}).unwrap();
    assert_eq!(secret.resource, ResourceBinding::NotStated);
    assert_eq!(secret.minimum_model_version, None);
}

#[test]
fn algorithms_off_the_list_are_refused() {
    for alg in ["none", "dir", "ECDH-ES", "ECDH-ES+A128KW", "RSA1_5", "A256KW", "ecdh-es+a256kw"] {
        assert!(matches!(
            with_header(|header| header["alg"] = json!(alg)),
            Err(JweError::KeyAlgorithm { got }) if got == alg
        ));
    }
    for enc in ["A128GCM", "A192GCM", "A256CBC-HS512", "none", ""] {
        assert!(matches!(
            with_header(|header| header["enc"] = json!(enc)),
            Err(JweError::ContentAlgorithm { got }) if got == enc
        ));
    }
}

#[test]
fn header_members_that_change_the_meaning_are_refused() {
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("zip", json!("DEF")),
        ("apu", json!("QWxpY2U")),
        ("apv", json!("Qm9i")),
        ("b64", json!(false)),
        ("adyton.valid-until", json!(1)),
        ("adyton.", json!(null)),
    ] {
        assert!(matches!(
            with_header(|header| header[name] = value),
            Err(JweError::Member { member }) if member == name
        ));
    }
}

#[test]
fn header_members_without_meaning_here_are_ignored() {
    assert!(with_header(|header| header["kid"] = json!("1")).is_ok());
}

#[test]
fn malformed_headers_are_refused() {
    let header =
        |epk: &str| format!("{{\"alg\":\"ECDH-ES+A256KW\",\"enc\":\"A256GCM\",\"epk\":{epk}}}");
    assert!(with_header_text(|epk| header(&epk)).is_ok());
    let cases: [(&str, &dyn Fn(String) -> String); 9] = [
        ("not JSON", &|epk| header(&epk).replace('}', "")),
        ("an array", &|_| "[]".to_owned()),
        ("empty", &|_| String::new()),
        ("text after it", &|epk| header(&epk) + "x"),
        ("alg twice", &|epk| header(&epk).replacen('{', "{\"alg\":\"ECDH-ES+A256KW\",", 1)),
        ("epk twice", &|epk| header(&epk).replacen('{', &format!("{{\"epk\":{epk},"), 1)),
        ("alg missing", &|epk| header(&epk).replace("\"alg\":\"ECDH-ES+A256KW\",", "")),
        ("private half", &|epk| header(&epk).replacen("{\"crv\"", "{\"d\":\"AA\",\"crv\"", 1)),
        ("version below zero", &|epk| {
            header(&epk).replacen('{', "{\"adyton.minimum-model-version\":-1,", 1)
        }),
    ];
    for (name, change) in cases {
        let result = with_header_text(change);
        assert!(matches!(result, Err(JweError::Header(_))), "{name}: {result:?}");
    }
    assert!(matches!(
        with_header(|header| header["adyton.resource"] = json!("../../etc")),
        Err(JweError::Header(_))
    ));
}

#[test]
fn ephemeral_keys_are_refused_for_their_reason() {
    let zero = "A".repeat(43);
    let with = |member: &str, value: &str| match with_header(|header| {
        header["epk"][member] = json!(value);
    }) {
        Err(JweError::EphemeralKey(reason)) => reason,
        other => panic!("{member} {value}: {other:?}"),
    };
    assert_eq!(with("x", &zero), TeeKeyError::Point { curve: "P-256" });
    assert_eq!(with("y", &zero), TeeKeyError::Point { curve: "P-256" });
    assert_eq!(with("kty", "OKP"), TeeKeyError::KeyType { got: "OKP".to_owned() });
    assert_eq!(with("crv", "P-384"), TeeKeyError::Curve { got: "P-384".to_owned() });
    let short = TeeKeyError::CoordinateLength { member: "x", got: 31, expected: 32 };
    assert_eq!(with("x", &URL_SAFE_NO_PAD.encode([1; 31])), short);
    let missing = with_header(|header| {
        header.as_object_mut().unwrap().remove("epk");
    });
    assert!(matches!(missing, Err(JweError::EphemeralKey(TeeKeyError::Member { member: "epk" }))));
}

#[test]
fn a_point_on_the_twist_is_refused() {
    // x = 1 lies on the twist of P-256, not on the curve: no y fits.
    let mut one = [0; 32];
    one[31] = 1;
    let x = URL_SAFE_NO_PAD.encode(one);
    for y in [[0; 32], [1; 32], one] {
        let result = with_header(|header| {
            header["epk"]["x"] = json!(x);
            header["epk"]["y"] = json!(URL_SAFE_NO_PAD.encode(y));
        });
        assert!(matches!(
            result,
            Err(JweError::EphemeralKey(TeeKeyError::Point { curve: "P-256" }))
        ));
    }
}

#[test]
fn cut_and_extended_members_are_refused() {
    let (pair, public) = pair();
    let reply = encrypt(&public, b"secret", &ours()).unwrap();
    for (at, name, expected, lengths) in [
        (1, "encrypted_key", 40, [0, 32, 39, 41, 48]),
        (2, "iv", 12, [0, 8, 11, 13, 16]),
        (4, "tag", 16, [0, 4, 12, 15, 17]),
    ] {
        for length in lengths {
            let mut changed = reply.clone();
            let text = &mut members(&mut changed)[at].1;
            let mut bytes = URL_SAFE_NO_PAD.decode(&**text).unwrap();
            bytes.resize(length, 0);
            **text = URL_SAFE_NO_PAD.encode(bytes);
            assert!(matches!(
                pair.decrypt(&changed, &asked()),
                Err(JweError::Length { member, got, expected: e })
                    if (member, got, e) == (name, length, expected)
            ));
        }
    }
}

#[test]
fn a_cut_ciphertext_is_refused() {
    let (pair, public) = pair();
    let mut reply = encrypt(&public, b"secret", &ours()).unwrap();
    reply.ciphertext = String::new();
    assert!(matches!(pair.decrypt(&reply, &asked()), Err(JweError::Content)));
}

#[test]
fn members_beyond_their_bound_are_not_decoded() {
    let (pair, public) = pair();
    let reply = encrypt(&public, b"secret", &ours()).unwrap();
    let huge = "A".repeat(MAX_SECRET * 4 / 3 + 16);
    for at in 0..5 {
        let mut changed = reply.clone();
        let (name, text) = &mut members(&mut changed)[at];
        **text = huge.clone();
        let name = *name;
        assert!(matches!(
            pair.decrypt(&changed, &asked()),
            Err(JweError::TooLong { member, .. }) if member == name
        ));
    }
}

#[test]
fn members_in_another_encoding_are_refused() {
    let (pair, public) = pair();
    let reply = encrypt(&public, b"secret", &ours()).unwrap();
    for at in 0..5 {
        for change in [
            |t: &str| format!("{t}="),
            |t: &str| format!("{t}\n"),
            |t: &str| format!("+{}", &t[1..]),
        ] {
            let mut changed = reply.clone();
            let (name, text) = &mut members(&mut changed)[at];
            **text = change(text);
            let name = *name;
            assert!(matches!(
                pair.decrypt(&changed, &asked()),
                Err(JweError::Base64 { member }) if member == name
            ));
        }
    }
}

#[test]
fn additional_authenticated_data_are_refused() {
    let (pair, public) = pair();
    for aad in [json!("AAAA"), json!(""), json!({})] {
        let mut reply = encrypt(&public, b"secret", &ours()).unwrap();
        reply.aad = Some(aad);
        assert!(matches!(pair.decrypt(&reply, &asked()), Err(JweError::Aad)));
    }
}

#[test]
fn a_secret_that_is_too_long_is_not_encrypted() {
    let got = MAX_SECRET + 1;
    let result = encrypt(&pair().1, &vec![0; got], &ours());
    assert!(matches!(result, Err(JweError::SecretTooLong { got: g }) if g == got));
}

#[test]
fn the_longest_secret_fits_into_a_reply() {
    let (pair, public) = pair();
    let reply = encrypt(&public, &vec![7; MAX_SECRET], &ours()).unwrap();
    let body = serde_json::to_vec(&reply).unwrap();
    let secret = pair.decrypt(&JweResponse::parse(&body).unwrap(), &asked()).unwrap();
    assert_eq!(secret.plaintext.len(), MAX_SECRET);
}

#[test]
fn two_replies_share_neither_iv_nor_key() {
    let (_, public) = pair();
    let one = encrypt(&public, b"secret", &ours()).unwrap();
    let two = encrypt(&public, b"secret", &ours()).unwrap();
    assert_ne!(one.iv, two.iv);
    assert_ne!(one.encrypted_key, two.encrypted_key);
    assert_ne!(one.protected, two.protected);
}

#[test]
fn what_is_unwrapped_does_not_show_the_secret() {
    let (pair, public) = pair();
    let reply = encrypt(&public, b"secret", &ours()).unwrap();
    let shown = format!("{:?}", pair.decrypt(&reply, &asked()).unwrap());
    assert!(!shown.contains("115") && !shown.contains("secret"), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_secret_arrives(
        secret in proptest::collection::vec(any::<u8>(), 0..200),
        version in proptest::option::of(any::<u64>()),
        resource in proptest::option::of("[a-z0-9_-]{1,9}/[a-z0-9_-]{1,9}/[a-z0-9_-][a-z.]{0,9}"),
    ) {
        let (pair, public) = pair();
        let resource = resource.map(|path| ResourcePath::parse(&path).unwrap());
        let asked = resource.clone().unwrap_or_else(asked);
        let extras = JweExtras { resource, minimum_model_version: version };
        let reply = encrypt(&public, &secret, &extras).unwrap();
        let got = pair.decrypt(&reply, &asked).unwrap();
        prop_assert_eq!(got.plaintext.as_slice(), secret.as_slice());
        prop_assert_eq!(got.minimum_model_version, version);
    }
}
