//! `adyton token verify` on tokens of the library's own issuer.

mod stand;

use adyton_attestation::ear::{
    TokenAppraisal, TokenBinding, TokenKey, TokenTimes, TrustVector, issue,
};
use adyton_attestation::rcar::{RuntimeData, TeeKeyPair};
use adyton_attestation::{EndorsementBundle, Evidence, ReportData, TrustAnchors, UnixTime, verify};
use adyton_fake_tee::{FakeTee, TdProfile};
use stand::{Ran, Stand};

const NOW: u64 = 1_800_000_000;

/// A token that a key in `jwks.json` signed, and the key of somebody else in `other.json`.
fn stand(appraisal: TokenAppraisal<'_>) -> Stand {
    let tee = FakeTee::from_seed([7; 32], NOW);
    let quote = Evidence::parse_file(&tee.quote(&TdProfile::default(), [0x5a; 64])).expect("quote");
    let bundle = tee.endorsement_bundle(NOW, &[]).to_string();
    let bundle = EndorsementBundle::parse(bundle.as_bytes()).expect("bundle");
    let anchors =
        TrustAnchors::vendor().with_insecure_extra_root(tee.root_pem().as_bytes()).expect("root");
    let expected = ReportData([0x5a; 64]);
    let verified = verify(&quote, &bundle, &anchors, &expected, UnixTime(NOW)).expect("verified");
    let tee_pubkey = TeeKeyPair::generate().expect("key").public().clone();
    let runtime_data = RuntimeData { nonce: "bm9uY2U=".to_owned(), tee_pubkey };
    let binding = TokenBinding { runtime_data: &runtime_data, init_data_digest: None };
    let times = TokenTimes { issued: UnixTime(NOW), expires: UnixTime(NOW + 300) };
    let key = TokenKey::generate().expect("key");
    let token = issue(&key, "adyton-broker", &verified, &binding, appraisal, times, [1; 16]);
    let stand = Stand::new();
    stand.write("token.jwt", format!("{}\n", token.expect("issued")).as_bytes());
    for (name, key) in [("jwks.json", key), ("other.json", TokenKey::generate().expect("key"))] {
        let mut jwk = key.jwk();
        jwk["kid"] = "k".into();
        stand.write(name, serde_json::json!({ "keys": [jwk] }).to_string().as_bytes());
    }
    stand
}

fn run(stand: &Stand, at: u64, words: &[&str]) -> Ran {
    let at = at.to_string();
    stand.run(&[&["token", "verify", "token.jwt", "--at", &at], words].concat())
}

#[test]
fn a_token_of_a_trusted_signer_is_shown_with_its_appraisals() {
    let vector = TrustVector { hardware: 2, executables: 3, ..TrustVector::default() };
    let appraisal = TokenAppraisal::By { policy_id: "default", vector, identifiers: None };
    let stand = stand(appraisal);
    let ran = run(&stand, NOW, &["--jwk-set", "jwks.json", "--issuer", "adyton-broker"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("affirming (executables 3, hardware 2)"), "{}", ran.out);
    let ran = run(&stand, NOW, &["--jwk-set", "jwks.json", "--output", "json"]);
    assert_eq!(ran.json()["affirming"], true);
    assert_eq!(ran.json()["submods"]["cpu0"]["ear.status"], "affirming");
}

#[test]
fn a_token_without_an_appraisal_is_not_said_to_be_vouched_for() {
    let stand = stand(TokenAppraisal::ForEachKey);
    let ran = run(&stand, NOW, &["--jwk-set", "jwks.json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("does not vouch for all of it"), "{}", ran.out);
}

#[test]
fn a_refused_token_says_why_and_shows_no_claims() {
    let stand = stand(TokenAppraisal::ForEachKey);
    for (at, words, code) in [
        (NOW, ["--jwk-set", "other.json"], "token.self-asserted-key"),
        (NOW + 300, ["--jwk-set", "jwks.json"], "token.expired"),
    ] {
        let ran = run(&stand, at, &[&words[..], &["--output", "json"]].concat());
        assert_eq!(ran.code, 10, "{ran:?}");
        assert_eq!(ran.error()["reasons"][0]["code"], code);
        assert!(ran.out.is_empty(), "{}", ran.out);
    }
    let ran = run(&stand, NOW, &["--jwk-set", "jwks.json", "--issuer", "another"]);
    assert!(ran.err.contains("token.issuer"), "{}", ran.err);
}

#[test]
fn signers_have_to_be_named() {
    let stand = stand(TokenAppraisal::ForEachKey);
    assert_eq!(run(&stand, NOW, &[]).code, 2);
    assert_eq!(run(&stand, NOW, &["--ca", "jwks.json"]).code, 30);
}
