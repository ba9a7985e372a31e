//! Tokens: issued ones verify, and each fault is refused under its own code.

use adyton_attestation::ear::{
    ExpectedIssuer, ExpectedTeeKey, PROFILE, Tier, TokenAnchors, TokenAnchorsError, TokenAppraisal,
    TokenBinding, TokenKey, TokenRefusal, TokenRules, TokenTimes, TrustVector, VerifiedToken,
    issue, verify,
};
use adyton_attestation::rcar::{RuntimeData, TeeKeyPair, TeePublicKey};
use adyton_attestation::{
    Claims, EndorsementBundle, Evidence, ReportData, TrustAnchors, UnixTime, Verified,
};
use adyton_fake_tee::{FakeTee, TdProfile};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, IsCa, Issuer,
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SigningKey as _,
};
use serde_json::{Value, json};

mod real;

use real::vectors;

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "verifier.example";

/// A certificate authority, or a signer under one.
struct Party {
    certificate: Certificate,
    params: CertificateParams,
    key: KeyPair,
}

fn params(name: &str, ca: Option<BasicConstraints>) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    params.is_ca = match ca {
        Some(constraints) => IsCa::Ca(constraints),
        None => IsCa::ExplicitNoCa,
    };
    let at = |year| rcgen::date_time_ymd(year, 1, 1);
    (params.not_before, params.not_after) = (at(2020), at(2040));
    params
}

fn root(name: &str) -> Party {
    self_signed(params(name, Some(BasicConstraints::Unconstrained)))
}

fn self_signed(params: CertificateParams) -> Party {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key");
    let certificate = params.self_signed(&key).expect("certificate");
    Party { certificate, params, key }
}

impl Party {
    fn issues(&self, params: CertificateParams) -> Party {
        self.issues_for(params, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key"))
    }

    fn issues_for(&self, params: CertificateParams, key: KeyPair) -> Party {
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).expect("certificate");
        Party { certificate, params, key }
    }

    fn x5c(&self) -> String {
        STANDARD.encode(self.certificate.der())
    }

    fn jwk(&self) -> Value {
        let point = self.key.public_key_raw();
        let (x, y) = point[1..].split_at(point.len() / 2);
        let (crv, alg) = match point.len() {
            65 => ("P-256", "ES256"),
            _ => ("P-384", "ES384"),
        };
        let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
        json!({ "kty": "EC", "crv": crv, "alg": alg, "x": x, "y": y })
    }

    /// Signs any header and payload, however wrong.
    fn token(&self, header: &Value, payload: &Value) -> String {
        let [header, payload] =
            [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let input = format!("{header}.{payload}");
        let der = self.key.sign(input.as_bytes()).expect("signature");
        let size = self.key.public_key_raw().len() / 2;
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(fixed(&der, size)))
    }
}

/// r ‖ s out of SEQUENCE { INTEGER r, INTEGER s }.
fn fixed(der: &[u8], size: usize) -> Vec<u8> {
    let mut rest = &der[2..];
    let mut out = Vec::new();
    for _ in 0..2 {
        let (number, after) = rest[2..].split_at(usize::from(rest[1]));
        let number = &number[number.len().saturating_sub(size)..];
        out.extend(std::iter::repeat_n(0, size - number.len()));
        out.extend(number);
        rest = after;
    }
    out
}

fn payload() -> Value {
    json!({
        "eat_profile": PROFILE,
        "iat": NOW,
        "exp": NOW + 300,
        "iss": ISSUER,
        "submods": { "cpu0": {
            "ear.status": "affirming",
            "ear.trustworthiness-vector": { "hardware": 2, "executables": 3 },
        } },
    })
}

fn header(signer: &Party, chain: &[&Party]) -> Value {
    let mut jwk = signer.jwk();
    let alg = jwk["alg"].clone();
    jwk["x5c"] = chain.iter().map(|party| party.x5c()).collect();
    json!({ "typ": "JWT", "alg": alg, "jwk": jwk })
}

fn trusting(roots: &[&Party]) -> TokenAnchors {
    roots.iter().fold(TokenAnchors::default(), |anchors, root| {
        anchors.with_pem(root.certificate.pem().as_bytes()).expect("anchors")
    })
}

fn refusal(token: &str, anchors: &TokenAnchors) -> TokenRefusal {
    verify(token, anchors, &TokenRules::default(), UnixTime(NOW)).expect_err("refused")
}

fn accepted(token: &str, anchors: &TokenAnchors) -> VerifiedToken {
    verify(token, anchors, &TokenRules::default(), UnixTime(NOW)).expect("accepted")
}

fn verified() -> Verified<Claims> {
    let tee = FakeTee::from_seed([7; 32], NOW);
    let data = [0x5a; 64];
    let evidence = Evidence::parse_file(&tee.quote(&TdProfile::default(), data)).expect("quote");
    let bundle = tee.endorsement_bundle(NOW, &[]).to_string();
    let bundle = EndorsementBundle::parse(bundle.as_bytes()).expect("bundle");
    let anchors =
        TrustAnchors::vendor().with_insecure_extra_root(tee.root_pem().as_bytes()).expect("root");
    let expected = ReportData(data);
    adyton_attestation::verify(&evidence, &bundle, &anchors, &expected, UnixTime(NOW))
        .expect("verified")
}

fn issued(key: &TokenKey, tee_pubkey: &TeePublicKey, appraisal: TokenAppraisal<'_>) -> String {
    let runtime_data = RuntimeData { nonce: "bm9uY2U=".to_owned(), tee_pubkey: tee_pubkey.clone() };
    let binding = TokenBinding { runtime_data: &runtime_data, init_data_digest: Some(&[1, 2]) };
    let times = TokenTimes { issued: UnixTime(NOW), expires: UnixTime(NOW + 300) };
    issue(key, ISSUER, &verified(), &binding, appraisal, times, [9; 16]).expect("issued")
}

#[test]
fn an_issued_token_verifies_and_carries_what_trustee_policies_look_for() {
    let root = root("root");
    let signer = root.issues(params("signer", None));
    let chain = vec![signer.certificate.der().clone()];
    let key = TokenKey::from_pkcs8(&signer.key.serialize_der(), chain).expect("key");
    let tee_key = TeeKeyPair::generate().expect("key").public().clone();
    let vector = TrustVector { hardware: 2, executables: 3, ..TrustVector::default() };
    let identifiers = json!({ "validated": {} });
    let appraisal =
        TokenAppraisal::By { policy_id: "default", vector, identifiers: Some(&identifiers) };
    let token = issued(&key, &tee_key, appraisal);
    let rules = TokenRules {
        issuer: ExpectedIssuer::Named(ISSUER),
        tee_key: ExpectedTeeKey::Is(&tee_key),
        ..TokenRules::default()
    };
    let token = verify(&token, &trusting(&[&root]), &rules, UnixTime(NOW)).expect("accepted");
    assert_eq!((token.issuer(), token.expires()), (ISSUER, UnixTime(NOW + 300)));
    assert!(token.is_affirming());
    let cpu = &token.submods()["cpu0"];
    assert_eq!((cpu.status, cpu.vector), (Tier::Affirming, vector));
    assert_eq!(cpu.policy_id.as_deref(), Some("default"));
    let evidence = &cpu.annotated_evidence;
    let mrtd = evidence["adyton"]["mrtd"].as_str().expect("hex");
    assert_eq!(evidence["tdx"]["quote"]["body"]["mr_td"], mrtd);
    assert_eq!(evidence["tdx"]["td_attributes"]["debug"], false);
    assert_eq!(evidence["init_data"], "0102");
    assert_eq!(token.payload()["submods"]["cpu0"]["ear.trustee.identifiers"], identifiers);
}

#[test]
fn a_token_without_an_appraisal_is_never_affirming() {
    let key = TokenKey::generate().expect("key");
    let tee_key = TeeKeyPair::generate().expect("key").public().clone();
    let token = issued(&key, &tee_key, TokenAppraisal::ForEachKey);
    let mut jwk = key.jwk();
    jwk["kid"] = "ours".into();
    let set = json!({ "keys": [jwk] }).to_string();
    let anchors = TokenAnchors::default().with_jwk_set(set.as_bytes()).expect("set");
    let token = accepted(&token, &anchors);
    assert!(!token.is_affirming());
    assert_eq!(token.submods()["cpu0"].status, Tier::None);
}

#[test]
fn a_token_of_a_key_that_nobody_vouches_for_is_refused() {
    let key = TokenKey::generate().expect("key");
    let tee_key = TeeKeyPair::generate().expect("key").public().clone();
    let token = issued(&key, &tee_key, TokenAppraisal::ForEachKey);
    assert_eq!(refusal(&token, &TokenAnchors::default()), TokenRefusal::SelfAsserted);
    assert_eq!(refusal(&token, &trusting(&[&root("root")])), TokenRefusal::SelfAsserted);
}

#[test]
fn a_chain_for_another_key_is_refused_when_the_key_is_loaded() {
    let root = root("root");
    let [signer, other] = ["a", "b"].map(|name| root.issues(params(name, None)));
    let chain = vec![other.certificate.der().clone()];
    let refused = TokenKey::from_pkcs8(&signer.key.serialize_der(), chain).expect_err("refused");
    assert_eq!(refused, adyton_attestation::ear::IssueError::OtherKey);
}

#[test]
fn every_algorithm_but_es256_and_es384_is_refused_before_any_key_is_looked_at() {
    let signer = root("signer");
    for alg in ["none", "None", "HS256", "HS384", "RS256", "PS256", "ES512", "ES256K", "EdDSA", ""]
    {
        let mut header = header(&signer, &[&signer]);
        header["alg"] = alg.into();
        let refused = refusal(&signer.token(&header, &payload()), &trusting(&[&signer]));
        assert_eq!(refused, TokenRefusal::Algorithm { got: alg.to_owned() });
    }
}

#[test]
fn a_header_with_one_fault_is_refused_under_its_own_name() {
    let root = root("root");
    let signer = root.issues(params("signer", None));
    let other = root.issues(params("other", None));
    let anchors = trusting(&[&root]);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut header = header(&signer, &[&signer]);
        change(&mut header);
        refusal(&signer.token(&header, &payload()), &anchors)
    };
    let jwk = |member| TokenRefusal::Jwk { member };
    assert_eq!(with(&|h| h["crit"] = json!(["exp"])), TokenRefusal::Critical);
    assert_eq!(with(&|h| drop(h.as_object_mut().map(|h| h.remove("jwk")))), TokenRefusal::NoKey);
    assert_eq!(with(&|h| h["jwk"]["d"] = "AA".into()), jwk("d, k"));
    assert_eq!(with(&|h| h["jwk"]["k"] = "AA".into()), jwk("d, k"));
    assert_eq!(with(&|h| h["jwk"]["kty"] = "RSA".into()), jwk("kty"));
    assert_eq!(with(&|h| h["jwk"]["kty"] = "oct".into()), jwk("kty"));
    assert_eq!(with(&|h| h["jwk"]["alg"] = "HS256".into()), jwk("alg"));
    assert_eq!(with(&|h| h["jwk"]["crv"] = "P-384".into()), jwk("crv"));
    assert_eq!(with(&|h| h["jwk"]["x"] = "".into()), jwk("x"));
    assert_eq!(with(&|h| h["jwk"]["y"] = URL_SAFE_NO_PAD.encode([1; 33]).into()), jwk("y"));
    assert_eq!(with(&|h| h["jwk"]["x5c"] = Value::Null), TokenRefusal::SelfAsserted);
    assert_eq!(with(&|h| h["jwk"]["x5c"] = json!([])), TokenRefusal::Chain);
    assert_eq!(with(&|h| h["jwk"]["x5c"] = json!(["%"])), TokenRefusal::Chain);
    let seven: Vec<String> = (0..7).map(|_| signer.x5c()).collect();
    assert_eq!(with(&|h| h["jwk"]["x5c"] = json!(seven)), TokenRefusal::Chain);
    assert_eq!(with(&|h| h["jwk"]["x5c"] = json!([other.x5c()])), TokenRefusal::OtherKey);
    let named = with(&|h| *h = json!({ "alg": "ES256", "kid": "k1" }));
    assert_eq!(named, TokenRefusal::UnknownKid { kid: "k1".to_owned() });
}

#[test]
fn a_token_that_is_no_jws_is_refused() {
    let anchors = TokenAnchors::default();
    for text in ["", "a", "a.b", "a.b.c.d", "%.e30.AA", "e30=.e30.AA"] {
        assert_eq!(refusal(text, &anchors), TokenRefusal::Compact, "{text}");
    }
    let long = "a".repeat(600_000);
    assert_eq!(refusal(&long, &anchors).code(), "token.too-long");
    assert_eq!(refusal("W10.e30.AA", &anchors).code(), "token.malformed");
    let many = URL_SAFE_NO_PAD.encode(format!("{{\"a\":[{}]}}", "[],".repeat(5000) + "[]"));
    assert_eq!(refusal(&format!("{many}.e30.AA"), &anchors).code(), "token.malformed");
}

#[test]
fn any_flipped_bit_of_the_signed_part_or_the_signature_is_refused() {
    let root = root("root");
    let signer = root.issues(params("signer", None));
    let token = signer.token(&header(&signer, &[&signer]), &payload());
    let anchors = trusting(&[&root]);
    accepted(&token, &anchors);
    for n in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[n] = if bytes[n] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).expect("ASCII");
        assert!(verify(&changed, &anchors, &TokenRules::default(), UnixTime(NOW)).is_err(), "{n}");
    }
    let end = token.rfind('.').expect("a dot");
    let other = format!("{}.{}", &token[..end], URL_SAFE_NO_PAD.encode([1; 64]));
    assert_eq!(refusal(&other, &anchors), TokenRefusal::Signature);
}

/// The seven cases of Trustee's tests for keys with chains, with EC keys, and some more.
#[test]
fn a_key_counts_only_with_a_chain_to_a_trusted_certificate() {
    let top = root("root");
    let stranger = root("stranger");
    let decoy = root("decoy");
    let ca = |length| params(&format!("ca-{length}"), Some(BasicConstraints::Constrained(length)));
    let leaf = top.issues(params("leaf", None));
    let outer = top.issues(ca(1));
    let inner = outer.issues(ca(0));
    let deep = inner.issues(params("deep", None));
    let token = |signer: &Party, chain: &[&Party]| signer.token(&header(signer, chain), &payload());

    // 01, 05, 06, 07: a leaf under the root; intermediates, in any order, with certificates beside.
    accepted(&token(&leaf, &[&leaf]), &trusting(&[&top]));
    accepted(&token(&deep, &[&deep, &inner, &outer]), &trusting(&[&top]));
    accepted(&token(&deep, &[&deep, &outer, &inner]), &trusting(&[&decoy, &top]));
    accepted(&token(&deep, &[&deep, &outer, &inner, &decoy]), &trusting(&[&decoy, &top]));
    // The signer's own certificate is configured.
    accepted(&token(&leaf, &[&leaf]), &trusting(&[&leaf]));

    // 02: another key. 03: no chain. 04: another root.
    assert_eq!(refusal(&token(&leaf, &[&deep]), &trusting(&[&top])), TokenRefusal::OtherKey);
    let mut bare = header(&leaf, &[]);
    bare["jwk"].as_object_mut().expect("jwk").remove("x5c");
    let bare = leaf.token(&bare, &payload());
    assert_eq!(refusal(&bare, &trusting(&[&top])), TokenRefusal::SelfAsserted);
    let untrusted = |token: String, anchors: &[&Party]| {
        assert_eq!(refusal(&token, &trusting(anchors)).code(), "token.untrusted");
    };
    untrusted(token(&leaf, &[&leaf]), &[&stranger]);
    untrusted(token(&deep, &[&deep, &outer]), &[&top]);
    // The root in the token does not vouch for itself.
    untrusted(token(&leaf, &[&leaf, &top]), &[&stranger]);

    // A leaf plays CA; a CA is too far up; a leaf is configured as if it were a CA.
    let forged = leaf.issues(params("forged", None));
    untrusted(token(&forged, &[&forged, &leaf]), &[&top]);
    untrusted(token(&forged, &[&forged]), &[&leaf]);
    let too_deep = inner.issues(ca(0)).issues(params("too deep", None));
    untrusted(token(&too_deep, &[&too_deep, &inner, &outer]), &[&top]);

    // Dates: of the leaf, of the anchor, of a configured leaf.
    let mut old = params("old", None);
    old.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let old_leaf = top.issues(old);
    untrusted(token(&old_leaf, &[&old_leaf]), &[&top]);
    untrusted(token(&old_leaf, &[&old_leaf]), &[&old_leaf]);
    let mut old = params("old root", Some(BasicConstraints::Unconstrained));
    old.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let old_root = self_signed(old);
    let under = old_root.issues(params("leaf", None));
    untrusted(token(&under, &[&under]), &[&old_root]);
}

#[test]
fn p384_signs_with_es384_and_with_nothing_else() {
    let root = root("root");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("key");
    let signer = root.issues_for(params("signer", None), key);
    let anchors = trusting(&[&root]);
    accepted(&signer.token(&header(&signer, &[&signer]), &payload()), &anchors);
    let mut other = header(&signer, &[&signer]);
    other["alg"] = "ES256".into();
    let refused = refusal(&signer.token(&other, &payload()), &anchors);
    assert_eq!(refused, TokenRefusal::Jwk { member: "alg" });
}

#[test]
fn a_configured_key_is_found_by_its_id_and_used_for_its_own_algorithm_only() {
    let signer = root("signer");
    let mut jwk = signer.jwk();
    jwk["kid"] = "k1".into();
    let set = json!({ "keys": [jwk] }).to_string();
    let anchors = TokenAnchors::default().with_jwk_set(set.as_bytes()).expect("set");
    accepted(&signer.token(&json!({ "alg": "ES256", "kid": "k1" }), &payload()), &anchors);
    for header in [json!({ "alg": "ES256", "kid": "k2" }), json!({ "alg": "ES384", "kid": "k1" })] {
        let refused = refusal(&signer.token(&header, &payload()), &anchors);
        assert_eq!(refused.code(), "token.unknown-kid");
    }
}

#[test]
fn files_that_name_no_signers_are_refused() {
    let none = TokenAnchors::default;
    assert!(none().is_empty());
    assert_eq!(none().with_pem(b"").err(), Some(TokenAnchorsError::Pem));
    let key = root("x").key.serialize_pem();
    assert_eq!(none().with_pem(key.as_bytes()).err(), Some(TokenAnchorsError::Pem));
    for text in ["", "{}", "{\"keys\":[]}"] {
        assert_eq!(none().with_jwk_set(text.as_bytes()).err(), Some(TokenAnchorsError::JwkSet));
    }
    let jwk = root("x").jwk();
    let mut twice = jwk.clone();
    twice["kid"] = "k".into();
    let rsa = json!({ "kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB" });
    for (keys, n, member) in [
        (json!([jwk]), 0, "kid"),
        (json!([twice, twice]), 1, "kid"),
        (json!([twice, rsa]), 1, "kty, crv, x, y"),
    ] {
        let set = json!({ "keys": keys }).to_string();
        let refused = none().with_jwk_set(set.as_bytes()).err();
        assert_eq!(refused, Some(TokenAnchorsError::Key { n, member }));
    }
}

/// What the verifier says to a payload with one change, from a signer that it trusts.
fn judged(rules: &TokenRules<'_>, change: impl Fn(&mut Value)) -> Result<(), TokenRefusal> {
    let signer = root("signer");
    let mut payload = payload();
    change(&mut payload);
    let token = signer.token(&header(&signer, &[&signer]), &payload);
    verify(&token, &trusting(&[&signer]), rules, UnixTime(NOW)).map(|_| ())
}

#[test]
fn a_payload_with_one_fault_is_refused_under_its_own_name() {
    let code = |change: &dyn Fn(&mut Value)| {
        judged(&TokenRules::default(), change).map_err(|refusal| refusal.code())
    };
    assert_eq!(code(&|_| ()), Ok(()));
    for member in ["eat_profile", "iat", "exp", "submods"] {
        let removed = code(&|p| drop(p.as_object_mut().map(|p| p.remove(member))));
        assert_eq!(removed, Err("token.malformed"), "{member}");
    }
    assert_eq!(code(&|p| p["exp"] = "soon".into()), Err("token.malformed"));
    assert_eq!(code(&|p| p["exp"] = (-1).into()), Err("token.malformed"));
    assert_eq!(code(&|p| p["eat_profile"] = "x".into()), Err("token.profile"));
    // Time: the end counts to the second, the beginning with a minute of leeway.
    assert_eq!(code(&|p| p["exp"] = (NOW + 1).into()), Ok(()));
    assert_eq!(code(&|p| p["exp"] = NOW.into()), Err("token.expired"));
    assert_eq!(code(&|p| p["iat"] = (NOW + 60).into()), Ok(()));
    assert_eq!(code(&|p| p["iat"] = (NOW + 61).into()), Err("token.not-yet-valid"));
    assert_eq!(code(&|p| p["nbf"] = (NOW + 61).into()), Err("token.not-yet-valid"));
    assert_eq!(code(&|p| p["exp"] = (NOW + 3600).into()), Ok(()));
    assert_eq!(code(&|p| p["exp"] = (NOW + 3601).into()), Err("token.lifetime"));
    // Appraisals.
    assert_eq!(code(&|p| p["submods"] = json!({})), Err("token.submods"));
    let many: serde_json::Map<String, Value> =
        (0..65).map(|n| (format!("gpu{n}"), json!({ "ear.status": "none" }))).collect();
    assert_eq!(code(&|p| p["submods"] = many.clone().into()), Err("token.submods"));
    let cpu = |member: &'static str, value: Value| {
        code(&move |p| p["submods"]["cpu0"][member] = value.clone())
    };
    assert_eq!(cpu("ear.status", "warning".into()), Ok(()));
    assert_eq!(cpu("ear.status", "trusted".into()), Err("token.malformed"));
    let vector = "ear.trustworthiness-vector";
    assert_eq!(cpu(vector, json!({ "hardware": 97 })), Err("token.status"));
    assert_eq!(cpu(vector, json!({ "hardware": 200 })), Err("token.malformed"));
    assert_eq!(cpu(vector, json!({ "luck": 2 })), Err("token.malformed"));
}

#[test]
fn another_issuer_than_the_expected_one_is_refused() {
    let rules = TokenRules { issuer: ExpectedIssuer::Named("other"), ..TokenRules::default() };
    for change in [(|_: &mut Value| ()) as fn(&mut Value), |p| p["iss"] = Value::Null] {
        assert_eq!(judged(&rules, change).expect_err("refused").code(), "token.issuer");
    }
}

#[test]
fn a_token_bound_to_another_tee_key_or_to_none_is_refused() {
    let [ours, theirs] = [(); 2].map(|()| TeeKeyPair::generate().expect("key").public().clone());
    let rules = TokenRules { tee_key: ExpectedTeeKey::Is(&ours), ..TokenRules::default() };
    let place = |payload: &mut Value, key: &TeePublicKey| {
        payload["submods"]["cpu0"]["ear.veraison.annotated-evidence"] =
            json!({ "runtime_data_claims": { "tee-pubkey": key } });
    };
    assert_eq!(judged(&rules, |p| place(p, &ours)), Ok(()));
    assert_eq!(judged(&rules, |p| p["cnf"] = json!({ "jwk": ours })), Ok(()));
    for change in [
        &(|_: &mut Value| ()) as &dyn Fn(&mut Value),
        &|p| place(p, &theirs),
        &|p| p["tee-pubkey"] = "x".into(),
        // Ours in one place and another key in the next is not ours.
        &|p| {
            place(p, &ours);
            p["cnf"] = json!({ "jwk": theirs });
        },
    ] {
        assert_eq!(judged(&rules, change).expect_err("refused").code(), "token.tee-key");
    }
}

#[test]
fn every_refusal_says_what_was_expected_and_what_to_do() {
    let anchors = TokenAnchors::default();
    for text in ["", "e30.e30.AA", "eyJhbGciOiJub25lIn0.e30.AA", "eyJhbGciOiJFUzI1NiJ9.e30.AA"] {
        let reason = refusal(text, &anchors).reason();
        for text in [&reason.rung, &reason.claim, &reason.expected, &reason.got, &reason.remedy] {
            assert!(!text.is_empty(), "{reason:?}");
        }
        assert!(reason.code.starts_with("token."), "{reason:?}");
    }
}

#[test]
fn a_vector_is_as_good_as_its_worst_claim() {
    for (claim, tier) in [
        (0, Tier::None),
        (1, Tier::None),
        (-1, Tier::None),
        (2, Tier::Affirming),
        (31, Tier::Affirming),
        (-2, Tier::Affirming),
        (-32, Tier::Affirming),
        (32, Tier::Warning),
        (95, Tier::Warning),
        (-33, Tier::Warning),
        (-96, Tier::Warning),
        (96, Tier::Contraindicated),
        (127, Tier::Contraindicated),
        (-97, Tier::Contraindicated),
        (-128, Tier::Contraindicated),
    ] {
        assert_eq!(Tier::of(claim), tier, "{claim}");
        let vector = TrustVector { hardware: 2, file_system: claim, ..TrustVector::default() };
        assert_eq!(vector.status(), tier.max(Tier::Affirming), "{claim}");
    }
    assert_eq!(TrustVector::default().status(), Tier::None);
}

#[test]
fn tokens_of_a_real_trustee_verify_when_their_key_is_configured_and_not_otherwise() {
    let Some(folder) = vectors() else { return };
    let mut seen = 0;
    for entry in std::fs::read_dir(folder.join("kbs-exchange")).expect("folder") {
        let text = std::fs::read(entry.expect("entry").path()).expect("file");
        let recorded: Value = serde_json::from_slice(&text).expect("JSON");
        let token = recorded["token"].as_str().expect("token");
        let head = URL_SAFE_NO_PAD.decode(token.split('.').next().expect("part")).expect("base64");
        let mut jwk = serde_json::from_slice::<Value>(&head).expect("JSON")["jwk"].take();
        jwk["kid"] = "recorded".into();
        let set = json!({ "keys": [jwk] }).to_string();
        let anchors = TokenAnchors::default().with_jwk_set(set.as_bytes()).expect("set");
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("part")).expect("b64");
        let payload: Value = serde_json::from_slice(&payload).expect("JSON");
        let at = UnixTime(payload["iat"].as_u64().expect("iat"));
        let rules = TokenRules {
            issuer: ExpectedIssuer::Named("CoCo-Attestation-Service"),
            ..TokenRules::default()
        };
        let verified = verify(token, &anchors, &rules, at).expect("a genuine token");
        assert_eq!(verified.submods()["cpu0"].status, Tier::Affirming);
        // The device of one of them is a sample, which Trustee's policy refuses.
        let devices = verified.submods().len() - 1;
        assert_eq!(verified.is_affirming(), devices == 0);
        let unknown = verify(token, &TokenAnchors::default(), &rules, at).expect_err("refused");
        assert_eq!(unknown, TokenRefusal::SelfAsserted);
        let late = verify(token, &anchors, &rules, at.plus_seconds(300)).expect_err("refused");
        assert_eq!(late.code(), "token.expired");
        // The recorded TEE key is the one in the token, where it is a kind that we take.
        if let Ok(key) = serde_json::from_value::<TeePublicKey>(recorded["tee_pubkey"].clone()) {
            let rules = TokenRules { tee_key: ExpectedTeeKey::Is(&key), ..rules };
            verify(token, &anchors, &rules, at).expect("bound to its key");
        }
        seen += 1;
    }
    assert_eq!(seen, 4);
}

#[test]
fn rsa_keys_are_refused_with_and_without_a_good_chain() {
    let Some(folder) = vectors() else { return };
    let signer = root("signer");
    for n in 1..=7 {
        let file = |kind: &str| folder.join(format!("trustee/jwk/scenario0{n}-{kind}"));
        let jwk = std::fs::read(file("jwk.json")).expect("file");
        let jwk: Value = serde_json::from_slice(&jwk).expect("JSON");
        let trust = std::fs::read(file("trust.pem")).expect("file");
        let anchors = TokenAnchors::default().with_pem(&trust).expect("anchors");
        for (alg, code) in [("RS256", "token.algorithm"), ("ES256", "token.jwk")] {
            let header = json!({ "typ": "JWT", "alg": alg, "jwk": jwk });
            let refused = refusal(&signer.token(&header, &payload()), &anchors);
            assert_eq!(refused.code(), code, "scenario {n}");
        }
    }
}

#[test]
fn a_recorded_self_signed_signer_is_trusted_only_when_it_is_configured() {
    let Some(folder) = vectors() else { return };
    let set = std::fs::read(folder.join("trustee/jwk/expected-jwks.json")).expect("file");
    let set: Value = serde_json::from_slice(&set).expect("JSON");
    let header = json!({ "alg": "ES256", "jwk": set["keys"][0] });
    // Its private key is not at hand, so the signature is where a trusted one ends.
    let token = root("x").token(&header, &payload());
    let der = STANDARD.decode(set["keys"][0]["x5c"][0].as_str().expect("x5c")).expect("base64");
    let body = STANDARD.encode(der);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    let anchors = TokenAnchors::default().with_pem(pem.as_bytes()).expect("anchors");
    assert_eq!(refusal(&token, &anchors), TokenRefusal::Signature);
    assert_eq!(refusal(&token, &trusting(&[&root("x")])).code(), "token.untrusted");
}
