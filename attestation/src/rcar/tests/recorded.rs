//! Exchanges that others recorded: a real KBS (outside this repository, where present), and replies
//! made by OpenSSL (`tests/vectors/rcar`).

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::ReportData;
use crate::rcar::canonical::{primary_report_data, primary_runtime_data, sha384};
use crate::rcar::message::{ChallengeMessage, JweResponse};
use crate::rcar::{JweError, ResourceBinding, ResourcePath, TeeKeyError, TeeKeyPair, TeePublicKey};

/// Recorded exchanges, or why they are skipped.
fn exchanges() -> Vec<(String, Value)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let vectors = std::env::var_os("ADYTON_VECTORS")
        .map_or_else(|| root.join("vectors"), PathBuf::from)
        .join("kbs-exchange");
    if !vectors.is_dir() {
        let required = std::env::var_os("ADYTON_VECTORS_REQUIRED").is_some();
        assert!(!required, "recorded vectors are required here and missing");
        println!("skipped: no recorded KBS exchanges at {}", vectors.display());
        return Vec::new();
    }
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&vectors).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let exchanges: Vec<_> = files
        .iter()
        .map(|file| {
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            (name, serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap())
        })
        .collect();
    assert_eq!(exchanges.len(), 4, "more recorded exchanges? raise this number");
    exchanges
}

fn from_pem(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(body).unwrap()
}

fn any_resource() -> ResourcePath {
    ResourcePath::parse("default/key/1").unwrap()
}

fn is_rsa(exchange: &Value) -> bool {
    exchange["tee_pubkey"]["kty"] == "RSA"
}

#[test]
fn the_hash_input_of_a_real_kbs_is_reproduced_to_the_byte() {
    for (name, exchange) in exchanges().iter().filter(|(_, e)| !is_rsa(e)) {
        let challenge: ChallengeMessage =
            serde_json::from_value(exchange["challenge"].clone()).unwrap();
        let key: TeePublicKey = serde_json::from_value(exchange["tee_pubkey"].clone()).unwrap();
        let additional = exchange["additional_evidence"].as_str().unwrap();
        let text = primary_runtime_data(&challenge.nonce, &key, additional);
        assert_eq!(text, exchange["hash_input"].as_str().unwrap(), "{name}");
        let digest = hex::encode(sha384(&text));
        assert_eq!(digest, exchange["report_data_sha384_hex"].as_str().unwrap(), "{name}");
        let mut padded = hex::decode(digest).unwrap();
        padded.extend_from_slice(&[0; 16]);
        assert_eq!(
            primary_report_data(&challenge.nonce, &key, additional),
            ReportData(padded.try_into().unwrap()),
            "{name}"
        );
    }
}

#[test]
fn replies_of_a_real_kbs_are_decrypted() {
    for (name, exchange) in exchanges().iter().filter(|(_, e)| !is_rsa(e)) {
        let der = from_pem(exchange["tee_private_pkcs8_pem"].as_str().unwrap());
        let pair = TeeKeyPair::from_pkcs8(&der).unwrap();
        let jwk = serde_json::to_value(pair.public()).unwrap();
        assert_eq!(jwk, exchange["tee_pubkey"], "{name}");
        let reply = JweResponse::parse(exchange["resource_response"].to_string().as_bytes());
        let secret = pair.decrypt(&reply.unwrap(), &any_resource()).unwrap();
        let expected = exchange["plaintext"].as_str().unwrap();
        assert_eq!(secret.plaintext.as_slice(), expected.as_bytes(), "{name}");
        assert_eq!(secret.resource, ResourceBinding::NotStated);
        assert_eq!(secret.minimum_model_version, None);
    }
}

#[test]
fn rsa_is_refused_on_both_sides_with_the_reason() {
    for (_, exchange) in exchanges().iter().filter(|(_, e)| is_rsa(e)) {
        let jwk = exchange["tee_pubkey"].as_object().unwrap();
        let got = "RSA".to_owned();
        assert_eq!(TeePublicKey::from_jwk(jwk), Err(TeeKeyError::KeyType { got }));
        let der = from_pem(exchange["tee_private_pkcs8_pem"].as_str().unwrap());
        assert_eq!(TeeKeyPair::from_pkcs8(&der).err(), Some(TeeKeyError::Pkcs8));
        let reply = serde_json::from_value(exchange["resource_response"].clone()).unwrap();
        let pair = TeeKeyPair::generate().unwrap();
        assert!(matches!(
            pair.decrypt(&reply, &any_resource()),
            Err(JweError::KeyAlgorithm { got }) if got == "RSA-OAEP-256"
        ));
    }
}

fn openssl_cases() -> Vec<Value> {
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("../../../tests/vectors/rcar/replies.json")).unwrap();
    assert_eq!(cases.len(), 5, "added a case? raise this number");
    cases
}

fn openssl_pair(case: &Value) -> TeeKeyPair {
    let der = STANDARD.decode(case["tee_private_pkcs8"].as_str().unwrap()).unwrap();
    TeeKeyPair::from_pkcs8(&der).unwrap()
}

#[test]
fn hash_inputs_of_another_implementation_are_reproduced() {
    for case in openssl_cases() {
        let key = openssl_pair(&case).public();
        assert_eq!(serde_json::to_value(&key).unwrap(), case["tee_pubkey"], "{}", case["name"]);
        let additional = case["additional_evidence"].as_str().unwrap();
        let text = primary_runtime_data(case["nonce"].as_str().unwrap(), &key, additional);
        assert_eq!(text, case["hash_input"].as_str().unwrap(), "{}", case["name"]);
        assert_eq!(hex::encode(sha384(&text)), case["sha384"].as_str().unwrap());
    }
}

#[test]
fn replies_of_another_implementation_are_decrypted() {
    for case in openssl_cases() {
        let reply = serde_json::from_value(case["reply"].clone()).unwrap();
        let asked = case["resource"].as_str().unwrap_or("default/key/1");
        let asked = ResourcePath::parse(asked).unwrap();
        let secret = openssl_pair(&case).decrypt(&reply, &asked).unwrap();
        assert_eq!(secret.plaintext.as_slice(), case["plaintext"].as_str().unwrap().as_bytes());
        assert_eq!(secret.minimum_model_version, case["minimum_model_version"].as_u64());
        let stated = case["resource"].is_string();
        assert_eq!(secret.resource == ResourceBinding::Confirmed, stated, "{}", case["name"]);
    }
}

/// A CoCo client computes the AAD from the header that it serialises again: alg, enc, then all
/// other members sorted, compact. Ours must survive that.
#[test]
fn our_header_is_the_one_that_a_coco_client_serialises_again() {
    for case in openssl_cases() {
        let key = openssl_pair(&case).public();
        let extras = crate::rcar::JweExtras {
            resource: case["resource"].as_str().map(|path| ResourcePath::parse(path).unwrap()),
            minimum_model_version: case["minimum_model_version"].as_u64(),
        };
        let reply = crate::rcar::jwe::encrypt(&key, b"secret", &extras).unwrap();
        let header = String::from_utf8(URL_SAFE_NO_PAD.decode(&reply.protected).unwrap()).unwrap();
        let parsed: Value = serde_json::from_str(&header).unwrap();
        let mut names: Vec<&String> =
            parsed.as_object().unwrap().keys().filter(|n| *n != "alg" && *n != "enc").collect();
        names.sort();
        let mut again = format!("{{\"alg\":{},\"enc\":{}", parsed["alg"], parsed["enc"]);
        for name in names {
            let value = match parsed[name.as_str()].as_object() {
                None => parsed[name.as_str()].to_string(),
                Some(epk) => {
                    assert_eq!(epk.len(), 4);
                    format!(
                        "{{\"crv\":{},\"kty\":{},\"x\":{},\"y\":{}}}",
                        epk["crv"], epk["kty"], epk["x"], epk["y"]
                    )
                }
            };
            again.push_str(&format!(",\"{name}\":{value}"));
        }
        again.push('}');
        assert_eq!(header, again);
        assert_eq!(parsed["alg"], "ECDH-ES+A256KW");
        assert_eq!(parsed["enc"], "A256GCM");
    }
}
