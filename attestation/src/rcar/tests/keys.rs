//! TEE keys: what a JWK must be, and that pairs survive being kept.

use serde_json::{Map, Value, json};

use super::pair;
use crate::rcar::tee_key::Curve;
use crate::rcar::{TeeKeyError, TeeKeyPair, TeePublicKey};

fn jwk(key: &TeePublicKey) -> Map<String, Value> {
    serde_json::to_value(key).unwrap().as_object().unwrap().clone()
}

fn parse_with(member: &str, value: Value) -> Result<TeePublicKey, TeeKeyError> {
    let mut jwk = jwk(&pair().1);
    jwk.insert(member.to_owned(), value);
    TeePublicKey::from_jwk(&jwk)
}

#[test]
fn a_jwk_has_exactly_the_members_of_the_protocol_in_its_order() {
    for curve in [Curve::P256, Curve::P521] {
        let key = TeeKeyPair::generate_on(curve).unwrap().public();
        let text = serde_json::to_string(&key).unwrap();
        let (x, y) = key.coordinates();
        let crv = curve.as_str();
        let expected = format!(
            "{{\"kty\":\"EC\",\"crv\":\"{crv}\",\"alg\":\"ECDH-ES+A256KW\",\"x\":\"{x}\",\"y\":\"{y}\"}}"
        );
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<TeePublicKey>(&text).unwrap(), key);
    }
}

#[test]
fn a_pair_survives_pkcs8() {
    for curve in [Curve::P256, Curve::P521] {
        let pair = TeeKeyPair::generate_on(curve).unwrap();
        let again = TeeKeyPair::from_pkcs8(&pair.to_pkcs8().unwrap()).unwrap();
        assert_eq!(again.public(), pair.public());
    }
}

#[test]
fn a_document_that_is_no_private_key_is_refused() {
    let der = pair().0.to_pkcs8().unwrap();
    let cut = &der[..der.len() - 1];
    for bytes in [&b""[..], b"\x30\x80", &[0; 64], cut] {
        assert_eq!(TeeKeyPair::from_pkcs8(bytes).err(), Some(TeeKeyError::Pkcs8));
    }
}

#[test]
fn a_key_that_left_its_tee_is_refused() {
    for member in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        assert_eq!(parse_with(member, json!("AQAB")), Err(TeeKeyError::Private), "{member}");
    }
}

#[test]
fn members_that_would_not_be_bound_are_refused() {
    for member in ["kid", "use", "key_ops", "x5c", "KTY", ""] {
        assert_eq!(parse_with(member, json!("sig")), Err(TeeKeyError::UnknownMember), "{member}");
    }
}

#[test]
fn other_kinds_of_key_are_refused_by_name() {
    let kty = |got: &str| TeeKeyError::KeyType { got: got.to_owned() };
    let crv = |got: &str| TeeKeyError::Curve { got: got.to_owned() };
    let alg = |got: &str| TeeKeyError::Algorithm { got: got.to_owned() };
    for (member, value, error) in [
        ("kty", "RSA", kty("RSA")),
        ("kty", "OKP", kty("OKP")),
        ("kty", "ec", kty("ec")),
        ("crv", "P-384", crv("P-384")),
        ("crv", "secp256k1", crv("secp256k1")),
        ("crv", "p-256", crv("p-256")),
        ("alg", "ECDH-ES", alg("ECDH-ES")),
        ("alg", "ECDH-ES+A128KW", alg("ECDH-ES+A128KW")),
        ("alg", "RSA1_5", alg("RSA1_5")),
        ("alg", "none", alg("none")),
        ("alg", "", alg("")),
    ] {
        assert_eq!(parse_with(member, json!(value)), Err(error), "{member} {value}");
    }
}

#[test]
fn a_missing_member_is_named() {
    for member in ["kty", "crv", "alg", "x", "y"] {
        let mut jwk = jwk(&pair().1);
        jwk.remove(member);
        assert_eq!(TeePublicKey::from_jwk(&jwk), Err(TeeKeyError::Member { member }));
        jwk.insert(member.to_owned(), json!(1));
        assert_eq!(TeePublicKey::from_jwk(&jwk), Err(TeeKeyError::Member { member }));
    }
}

#[test]
fn coordinates_of_another_length_are_refused() {
    let encode = |bytes: &[u8]| {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
    };
    for got in [0, 1, 31, 33, 66, 192] {
        let expected = TeeKeyError::CoordinateLength { member: "y", got, expected: 32 };
        assert_eq!(parse_with("y", json!(encode(&vec![0; got]))), Err(expected));
    }
    let long = "A".repeat(100_000);
    let expected = TeeKeyError::CoordinateLength { member: "x", got: 100_000, expected: 32 };
    assert_eq!(parse_with("x", json!(long)), Err(expected));
}

#[test]
fn coordinates_in_another_encoding_are_refused() {
    let (x, _) = pair().1.coordinates();
    // The last of 43 characters carries four bits; `B` sets one that must be zero.
    let not_canonical = format!("{}B", &x[..42]);
    for text in [format!("{x}="), format!("+{}", &x[1..]), format!(" {}", &x[1..]), not_canonical] {
        assert_eq!(
            parse_with("x", json!(text)),
            Err(TeeKeyError::Base64 { member: "x" }),
            "{text}"
        );
    }
}

#[test]
fn points_off_the_curve_are_refused() {
    let off = TeeKeyError::Point { curve: "P-256" };
    let zero = "A".repeat(43);
    // p of P-256 itself: a coordinate that is not reduced.
    let p = "_____wAAAAEAAAAAAAAAAAAAAAD_______________8";
    for member in ["x", "y"] {
        let (_, other) = pair();
        let (x, y) = other.coordinates();
        let foreign = if member == "x" { x } else { y };
        for value in [zero.as_str(), p, &foreign] {
            assert_eq!(parse_with(member, json!(value)), Err(off.clone()), "{member} {value}");
        }
    }
    // (0, 0) stands for the identity in some libraries.
    let mut jwk = jwk(&pair().1);
    jwk.insert("x".to_owned(), json!(zero));
    jwk.insert("y".to_owned(), json!(zero));
    assert_eq!(TeePublicKey::from_jwk(&jwk), Err(off));
}

#[test]
fn a_key_of_one_curve_does_not_parse_as_the_other() {
    let refused = TeeKeyError::CoordinateLength { member: "x", got: 32, expected: 66 };
    assert_eq!(parse_with("crv", json!("P-521")), Err(refused));
}
