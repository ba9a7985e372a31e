//! Bundles that the Python package wrote, bundles of ours, and what is wrong with edited ones.

use adyton_model_signature::{
    Bundle, BundleError, CertificateError, Coverage, FileDigests, Hashing, KeyFormatError,
    PublicKey, Roots, SignatureError, SignedStatement, Signer, SigningKey, StatementError, Trust,
    sign, verify,
};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

fn vector(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).expect("the vector")
}

fn bundle(name: &str) -> Bundle {
    Bundle::parse(&vector(name)).expect("a bundle")
}

fn key(name: &str) -> Trust {
    Trust::Key(PublicKey::from_pem(&vector(name)).expect("a key"))
}

fn roots() -> Trust {
    Trust::Roots(Roots::from_pem(&vector("root.pem")).expect("a root"))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("32 bytes")
}

/// The model of the vectors, as it would be measured.
fn measured(hashing: Hashing) -> Vec<FileDigests> {
    let part: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    [("config.json", b"{}".to_vec()), ("weights/part.dat", part)]
        .into_iter()
        .map(|(path, bytes)| FileDigests {
            path: path.to_owned(),
            size: bytes.len() as u64,
            sha256: match hashing {
                Hashing::Files => vec![sha256(&bytes)],
                Hashing::Shards(size) => bytes.chunks(size.get() as usize).map(sha256).collect(),
            },
        })
        .collect()
}

fn statement() -> SignedStatement {
    verify(&bundle("p256.sig"), &key("p256.pem")).expect("signed")
}

fn refused(bundle: &Bundle, trust: &Trust) -> SignatureError {
    verify(bundle, trust).expect_err("the bundle must be refused")
}

#[test]
fn what_the_python_package_signed_verifies_with_each_kind_of_key() {
    for name in ["p256", "p384", "p521"] {
        let signed = verify(&bundle(&format!("{name}.sig")), &key(&format!("{name}.pem")));
        let signed = signed.expect(name);
        assert_eq!((signed.files(), signed.hashing()), (2, Hashing::Files));
        assert!(matches!(signed.signer(), Signer::Key { .. }));
        signed.covers(&measured(Hashing::Files)).expect("the signed model");
    }
}

#[test]
fn a_chain_to_a_trusted_root_verifies_and_names_the_signer() {
    let signed = verify(&bundle("certificate.sig"), &roots()).expect("signed");
    let Signer::Certificate { subject, .. } = signed.signer() else {
        panic!("{:?}", signed.signer());
    };
    assert_eq!(subject, "CN=Model Owner");
    signed.covers(&measured(Hashing::Files)).expect("the signed model");
}

#[test]
fn shards_are_compared_one_by_one() {
    let signed = verify(&bundle("shards.sig"), &key("p256.pem")).expect("signed");
    let hashing = signed.hashing();
    assert_eq!(hashing, Hashing::Shards(65_536.try_into().expect("not zero")));
    signed.clone().covers(&measured(hashing)).expect("the signed model");
    let mut other = measured(hashing);
    other[1].sha256[2][0] ^= 1;
    let refused = signed.clone().covers(&other).expect_err("another shard");
    assert!(matches!(refused, Coverage::Different { path, .. } if path == "weights/part.dat"));
    let mut longer = measured(hashing);
    longer[1].size += 1;
    let refused = signed.covers(&longer).expect_err("another size");
    assert!(matches!(refused, Coverage::Size { expected: 200_000, got: 200_001, .. }));
}

#[test]
fn a_digest_that_is_not_computed_is_refused_by_its_name() {
    let SignatureError::Statement(StatementError::Algorithm { got, .. }) =
        refused(&bundle("blake3.sig"), &key("p256.pem"))
    else {
        panic!("another refusal");
    };
    assert_eq!(got, "blake3");
}

#[test]
fn another_key_and_an_edited_payload_are_refused() {
    assert!(matches!(refused(&bundle("p256.sig"), &key("p384.pem")), SignatureError::Signature));
    let edited = edit("p256.sig", |bundle| {
        let payload = bundle["dsseEnvelope"]["payload"].as_str().expect("a text").to_owned();
        let payload = STANDARD.decode(payload).expect("base64");
        let payload = String::from_utf8(payload).expect("text").replace("config", "confic");
        bundle["dsseEnvelope"]["payload"] = json!(STANDARD.encode(payload));
    });
    assert!(matches!(refused(&edited, &key("p256.pem")), SignatureError::Signature));
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let other = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec![]).expect("parameters");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let other = params.self_signed(&other).expect("a root").pem();
    let other = Trust::Roots(Roots::from_pem(other.as_bytes()).expect("roots"));
    let error = refused(&bundle("certificate.sig"), &other);
    assert!(matches!(error, SignatureError::Certificate(CertificateError::Path { .. })));
}

#[test]
fn a_chain_without_its_intermediate_is_refused() {
    let cut = edit("certificate.sig", |bundle| {
        let chain = &mut bundle["verificationMaterial"]["x509CertificateChain"]["certificates"];
        chain.as_array_mut().expect("a list").truncate(1);
    });
    let error = refused(&cut, &roots());
    assert!(matches!(error, SignatureError::Certificate(CertificateError::Path { .. })));
}

#[test]
fn a_bare_key_does_not_satisfy_a_root() {
    assert!(matches!(refused(&bundle("p256.sig"), &roots()), SignatureError::Material));
}

/// A leaf of an authority of the test's own, with these key usages, over a statement signed with it.
fn own_certificate(
    usages: Vec<rcgen::KeyUsagePurpose>,
    extended: Vec<rcgen::ExtendedKeyUsagePurpose>,
) -> (Bundle, Trust) {
    let root_key = rcgen::KeyPair::generate().expect("a key");
    let mut root = rcgen::CertificateParams::new(vec![]).expect("parameters");
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root_certificate = root.self_signed(&root_key).expect("a root");
    let issuer = rcgen::Issuer::from_params(&root, &root_key);
    let leaf_key = rcgen::KeyPair::generate().expect("a key");
    let mut leaf = rcgen::CertificateParams::new(vec![]).expect("parameters");
    leaf.key_usages = usages;
    leaf.extended_key_usages = extended;
    let leaf = leaf.signed_by(&leaf_key, &issuer).expect("a leaf");
    let signing = SigningKey::from_pem(leaf_key.serialize_pem().as_bytes()).expect("a key");
    let bytes = sign(&signing, "m", &[("a".to_owned(), [7; 32])], &[]).expect("signed");
    let mut value: Value = serde_json::from_slice(&bytes).expect("JSON");
    value["verificationMaterial"] = json!({
        "x509CertificateChain": { "certificates": [{ "rawBytes": STANDARD.encode(leaf.der()) }] },
        "tlogEntries": [],
    });
    let bundle = Bundle::parse(value.to_string().as_bytes()).expect("a bundle");
    let roots = Roots::from_pem(root_certificate.pem().as_bytes()).expect("roots");
    (bundle, Trust::Roots(roots))
}

#[test]
fn a_certificate_must_be_for_signing_and_for_nothing_else() {
    use rcgen::{ExtendedKeyUsagePurpose as E, KeyUsagePurpose as K};
    for (usages, extended, sound) in [
        (vec![K::DigitalSignature], vec![], true),
        (vec![], vec![E::CodeSigning], true),
        (vec![K::DigitalSignature], vec![E::CodeSigning], true),
        (vec![], vec![], false),
        (vec![K::KeyEncipherment], vec![E::CodeSigning], false),
        (vec![K::DigitalSignature], vec![E::ServerAuth], false),
    ] {
        let (bundle, trust) = own_certificate(usages.clone(), extended.clone());
        match verify(&bundle, &trust) {
            Ok(_) => assert!(sound, "{usages:?} {extended:?}"),
            Err(SignatureError::Certificate(CertificateError::Usage { .. })) => {
                assert!(!sound, "{usages:?} {extended:?}");
            }
            Err(error) => panic!("{usages:?} {extended:?}: {error:?}"),
        }
    }
}

#[test]
fn the_list_must_be_the_model_no_more_and_no_less() {
    let all = measured(Hashing::Files);
    let mut extra = all.clone();
    extra.push(FileDigests { path: "x".to_owned(), size: 0, sha256: vec![sha256(b"")] });
    assert!(matches!(
        statement().covers(&extra),
        Err(Coverage::Unsigned { path }) if path == "x"
    ));
    assert!(matches!(
        statement().covers(&all[..1]),
        Err(Coverage::Missing { path }) if path == "weights/part.dat"
    ));
    let mut other = all.clone();
    other[0].sha256[0][31] ^= 1;
    assert!(matches!(
        statement().covers(&other),
        Err(Coverage::Different { path, .. }) if path == "config.json"
    ));
}

fn edit(name: &str, change: impl FnOnce(&mut Value)) -> Bundle {
    Bundle::parse(edited(name, change).as_bytes()).expect("a bundle")
}

fn edited(name: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut value = serde_json::from_slice(&vector(name)).expect("JSON");
    change(&mut value);
    value.to_string()
}

#[test]
fn a_bundle_outside_its_form_is_refused_before_any_signature() {
    type Edit = fn(&mut Value);
    type Is = fn(&BundleError) -> bool;
    let cases: [(Edit, Is); 9] = [
        (
            |b| b["mediaType"] = json!("application/vnd.dev.sigstore.bundle+json;version=0.2"),
            |e| matches!(e, BundleError::MediaType { .. }),
        ),
        (
            |b| b["dsseEnvelope"]["payloadType"] = json!("text/plain"),
            |e| matches!(e, BundleError::PayloadType { .. }),
        ),
        (
            |b| b["dsseEnvelope"]["signatures"] = json!([]),
            |e| matches!(e, BundleError::Signatures { got: 0 }),
        ),
        (
            |b| {
                let one = b["dsseEnvelope"]["signatures"][0].clone();
                b["dsseEnvelope"]["signatures"] = json!([one, one]);
            },
            |e| matches!(e, BundleError::Signatures { got: 2 }),
        ),
        (
            |b| b["dsseEnvelope"]["payload"] = json!("***"),
            |e| matches!(e, BundleError::Encoding { member: "payload" }),
        ),
        (
            |b| b["dsseEnvelope"]["signatures"][0]["sig"] = json!(""),
            |e| matches!(e, BundleError::Encoding { member: "sig" }),
        ),
        (
            |b| b["verificationMaterial"] = json!({}),
            |e| matches!(e, BundleError::Material { got: 0 }),
        ),
        (
            |b| b["verificationMaterial"]["certificate"] = json!({ "rawBytes": "AAAA" }),
            |e| matches!(e, BundleError::Material { got: 2 }),
        ),
        (|b| b["dsseEnvelope"] = json!(null), |e| matches!(e, BundleError::Json(_))),
    ];
    for (number, (change, is)) in cases.into_iter().enumerate() {
        let error = Bundle::parse(edited("p256.sig", change).as_bytes()).expect_err("refused");
        assert!(is(&error), "case {number}: {error:?}");
    }
    let twice = edited("p256.sig", |_| {}).replacen("{", r#"{"mediaType":"a","#, 1);
    assert!(matches!(Bundle::parse(twice.as_bytes()), Err(BundleError::Json(_))));
    let certificates = vec![json!({ "rawBytes": "AAAA" }); 9];
    let long = edited("certificate.sig", |b| {
        b["verificationMaterial"]["x509CertificateChain"]["certificates"] = json!(certificates);
    });
    let error = Bundle::parse(long.as_bytes()).expect_err("refused");
    assert!(matches!(error, BundleError::TooMany { member: "certificates", got: 9, .. }));
    let huge = vec![b' '; adyton_model_signature::limits::MAX_BUNDLE_BYTES + 1];
    assert!(matches!(Bundle::parse(&huge), Err(BundleError::TooLarge { .. })));
}

/// A key of the test's own, and a bundle with any payload signed by it.
fn signed_payload(change: impl FnOnce(&mut Value)) -> (Bundle, Trust) {
    let pair = rcgen::KeyPair::generate().expect("a key");
    let pem = pair.serialize_pem();
    let signing = SigningKey::from_pem(pem.as_bytes()).expect("a key");
    let files = [("a".to_owned(), [1; 32]), ("b".to_owned(), [2; 32])];
    let bytes = sign(&signing, "m", &files, &[]).expect("signed");
    let mut value: Value = serde_json::from_slice(&bytes).expect("JSON");
    let payload = STANDARD.decode(value["dsseEnvelope"]["payload"].as_str().expect("a text"));
    let mut statement = serde_json::from_slice(&payload.expect("base64")).expect("JSON");
    change(&mut statement);
    let payload = statement.to_string();
    let kind = "application/vnd.in-toto+json";
    let message = format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len());
    value["dsseEnvelope"]["payload"] = json!(STANDARD.encode(&payload));
    value["dsseEnvelope"]["signatures"][0]["sig"] =
        json!(STANDARD.encode(rcgen::SigningKey::sign(&pair, message.as_bytes()).expect("signed")));
    let bundle = Bundle::parse(value.to_string().as_bytes()).expect("a bundle");
    (bundle, Trust::Key(signing.public_key().expect("a key")))
}

#[test]
fn a_statement_of_another_kind_is_refused_though_its_signature_is_good() {
    type Edit = fn(&mut Value);
    type Is = fn(&StatementError) -> bool;
    let cases: [(Edit, Is); 13] = [
        (
            |s| s["_type"] = json!("https://in-toto.io/Statement/v0.1"),
            |e| matches!(e, StatementError::Type { .. }),
        ),
        (
            |s| s["predicateType"] = json!("https://model_signing/Digests/v0.1"),
            |e| matches!(e, StatementError::Predicate { .. }),
        ),
        (
            |s| s["predicateType"] = json!("https://slsa.dev/provenance/v1"),
            |e| matches!(e, StatementError::Predicate { .. }),
        ),
        (|s| s["subject"] = json!([]), |e| matches!(e, StatementError::Subject { got: 0 })),
        (
            |s| s["predicate"]["serialization"]["method"] = json!("tree"),
            |e| matches!(e, StatementError::Method { .. }),
        ),
        (
            |s| s["predicate"]["serialization"]["hash_type"] = json!("blake2b"),
            |e| matches!(e, StatementError::Algorithm { .. }),
        ),
        (
            |s| {
                s["predicate"]["serialization"]["method"] = json!("shards");
                s["predicate"]["serialization"]["shard_size"] = json!(65536.5);
            },
            |e| matches!(e, StatementError::ShardSize { .. }),
        ),
        (
            |s| s["predicate"]["resources"] = json!([]),
            |e| matches!(e, StatementError::Resources { got: 0 }),
        ),
        (
            |s| s["predicate"]["resources"][0]["algorithm"] = json!("sha512"),
            |e| matches!(e, StatementError::Algorithm { .. }),
        ),
        (
            |s| s["predicate"]["resources"][0]["digest"] = json!("00"),
            |e| matches!(e, StatementError::Digest { .. }),
        ),
        (
            |s| s["predicate"]["resources"][1]["name"] = json!("a"),
            |e| matches!(e, StatementError::Name { problem: "occurs twice", .. }),
        ),
        (
            |s| s["subject"][0]["digest"]["sha256"] = json!("ab"),
            |e| matches!(e, StatementError::Root { .. }),
        ),
        (|s| s["predicate"] = json!(1), |e| matches!(e, StatementError::Json(_))),
    ];
    for (number, (change, is)) in cases.into_iter().enumerate() {
        let (bundle, trust) = signed_payload(change);
        match refused(&bundle, &trust) {
            SignatureError::Statement(error) => assert!(is(&error), "case {number}: {error:?}"),
            other => panic!("case {number}: {other:?}"),
        }
    }
}

#[test]
fn shards_must_join_from_the_beginning_of_a_file() {
    for (names, sound) in [
        (["a:0:65536", "a:65536:65537"], true),
        (["a:b:0:9", "c:0:1"], true),
        (["a:0:65536", "a:65537:65538"], false),
        (["a:0:65537", "b:0:1"], false),
        (["a:0:0", "b:0:1"], false),
        (["a:65536:65537", "b:0:1"], false),
        (["a:0:9", "a:9:10"], false),
        (["a:0:9", "a:0:9"], false),
        (["a", "b:0:1"], false),
        (["a:0:-1", "b:0:1"], false),
    ] {
        let (bundle, trust) = signed_payload(|s| {
            s["predicate"]["serialization"]["method"] = json!("shards");
            s["predicate"]["serialization"]["shard_size"] = json!(65536.0);
            for (at, name) in names.iter().enumerate() {
                s["predicate"]["resources"][at]["name"] = json!(name);
                s["predicate"]["resources"][at]["algorithm"] = json!("sha256-sharded-65536");
            }
        });
        match verify(&bundle, &trust) {
            Ok(_) => assert!(sound, "{names:?}"),
            Err(SignatureError::Statement(StatementError::Name { .. })) => {
                assert!(!sound, "{names:?}");
            }
            Err(error) => panic!("{names:?}: {error:?}"),
        }
    }
}

#[test]
fn what_we_sign_we_verify_and_its_files_are_in_order_of_their_components() {
    let key = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    let key = SigningKey::from_pem(key.as_bytes()).expect("a key");
    let names = ["a.txt", "a/b", "a-b", "B"];
    let files: Vec<_> =
        names.iter().map(|name| ((*name).to_owned(), sha256(name.as_bytes()))).collect();
    let bytes = sign(&key, "m", &files, &["model.sig"]).expect("signed");
    let trust = Trust::Key(key.public_key().expect("a key"));
    let signed = verify(&Bundle::parse(&bytes).expect("a bundle"), &trust).expect("signed");
    let measured: Vec<_> = files
        .iter()
        .map(|(path, digest)| FileDigests { path: path.clone(), size: 1, sha256: vec![*digest] })
        .collect();
    signed.covers(&measured).expect("the signed model");
    let value: Value = serde_json::from_slice(&bytes).expect("JSON");
    let payload = STANDARD.decode(value["dsseEnvelope"]["payload"].as_str().expect("a text"));
    let payload: Value = serde_json::from_slice(&payload.expect("base64")).expect("JSON");
    let listed: Vec<_> = payload["predicate"]["resources"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|resource| resource["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(listed, ["B", "a", "a-b", "a.txt"].map(|n| if n == "a" { "a/b" } else { n }));
}

#[test]
fn files_that_hold_no_key_of_a_known_kind_are_refused() {
    assert_eq!(PublicKey::from_pem(b"no PEM").err(), Some(KeyFormatError::NoPublicKey));
    assert_eq!(SigningKey::from_pem(b"no PEM").err(), Some(KeyFormatError::NoPrivateKey));
    assert_eq!(SigningKey::from_pem(&vector("p256.pem")).err(), Some(KeyFormatError::NoPrivateKey));
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
    let p384 = p384.serialize_pem();
    assert_eq!(SigningKey::from_pem(p384.as_bytes()).err(), Some(KeyFormatError::NoPrivateKey));
    assert!(Roots::from_pem(b"").is_none());
    assert!(Roots::from_pem(&vector("p256.pem")).is_none());
}
