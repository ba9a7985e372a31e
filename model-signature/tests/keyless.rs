//! Keyless signatures, made by an authority and logs of the test's own, each with one thing wrong.
//!
//! The forms are those of real bundles: Fulcio's certificates with an embedded timestamp of a certificate
//! log, Rekor's entries of kind `dsse 0.0.1` with promise, proof and checkpoint.

use adyton_model_signature::{
    Bundle, CertificateError, Identity, LogError, SctError, SignatureError, Signer, SigningKey,
    Trust, TrustRootError, TrustedRoot, sign, verify,
};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::{Decode as _, Encode as _};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType, SerialNumber, SigningKey as _,
};
use serde_json::{Value, json};

/// 2026-01-01T00:00:00Z: when the certificate begins. It counts for ten minutes.
const BEGIN: i64 = 1_767_225_600;
const WHO: &str = "owner@example.com";
const ISSUER: &str = "https://issuer.example.com";

/// Everything that can go wrong, right.
struct Case {
    names: Vec<SanType>,
    extended: Vec<ExtendedKeyUsagePurpose>,
    issuer: Option<&'static str>,
    sct: Sct,
    sct_signer: Option<KeyPair>,
    payload_signer: Option<KeyPair>,
    integrated: i64,
    change_body: fn(&mut Value),
    checkpoint_signer: Option<KeyPair>,
    checkpoint_size: u64,
    change_bundle: fn(&mut Value),
    change_root: fn(&mut Value),
    identity: Identity,
}

#[derive(PartialEq)]
enum Sct {
    Sound,
    Missing,
    Torn,
    OtherTime,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            names: vec![SanType::Rfc822Name(WHO.try_into().expect("ASCII"))],
            extended: vec![ExtendedKeyUsagePurpose::CodeSigning],
            issuer: Some(ISSUER),
            sct: Sct::Sound,
            sct_signer: None,
            payload_signer: None,
            integrated: BEGIN + 5,
            change_body: |_| {},
            checkpoint_signer: None,
            checkpoint_size: 2,
            change_bundle: |_| {},
            change_root: |_| {},
            identity: Identity { identity: WHO.to_owned(), issuer: ISSUER.to_owned() },
        }
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("32 bytes")
}

fn authority(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::new(vec![]).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, hex::encode(key.public_key_raw()));
    params
}

fn at(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).expect("a time").to_string()
}

impl Case {
    fn leaf_params(&self) -> CertificateParams {
        let mut params = CertificateParams::new(vec![]).expect("parameters");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.serial_number = Some(SerialNumber::from(7_u64));
        let time = |text: i64| {
            rcgen::date_time_ymd(2026, 1, 1) + std::time::Duration::from_secs((text - BEGIN) as u64)
        };
        params.not_before = time(BEGIN);
        params.not_after = time(BEGIN + 600);
        params.subject_alt_names = self.names.clone();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = self.extended.clone();
        if let Some(issuer) = self.issuer {
            let text = issuer.to_owned().to_der().expect("DER");
            let oid = [1, 3, 6, 1, 4, 1, 57264, 1, 8];
            params.custom_extensions.push(CustomExtension::from_oid_content(&oid, text));
        }
        params
    }

    /// The leaf, with the timestamp of a certificate log over what it is without it.
    fn leaf(
        &self,
        leaf: &KeyPair,
        issuer: &Issuer<'_, &KeyPair>,
        issuer_key: &KeyPair,
        ct: &KeyPair,
    ) -> Vec<u8> {
        let mut params = self.leaf_params();
        let before = params.signed_by(leaf, issuer).expect("a certificate");
        if self.sct == Sct::Missing {
            return before.der().to_vec();
        }
        let tbs = x509_cert::Certificate::from_der(before.der()).expect("a certificate");
        let tbs = tbs.tbs_certificate().to_der().expect("DER");
        let time = match self.sct {
            Sct::OtherTime => 1_000,
            _ => BEGIN as u64 * 1_000,
        };
        let mut signed = vec![0, 0];
        signed.extend(time.to_be_bytes());
        signed.extend([0, 1]);
        signed.extend(sha256(&issuer_key.subject_public_key_info()));
        signed.extend(&(tbs.len() as u32).to_be_bytes()[1..]);
        signed.extend(tbs);
        signed.extend([0, 0]);
        let signature = self.sct_signer.as_ref().unwrap_or(ct).sign(&signed).expect("signed");
        let mut sct = vec![0];
        sct.extend(sha256(&ct.subject_public_key_info()));
        sct.extend(time.to_be_bytes());
        sct.extend([0, 0, 4, 3]);
        sct.extend((signature.len() as u16).to_be_bytes());
        sct.extend(signature);
        if self.sct == Sct::Torn {
            sct.pop();
        }
        let mut list = ((sct.len() + 2) as u16).to_be_bytes().to_vec();
        list.extend((sct.len() as u16).to_be_bytes());
        list.extend(sct);
        let list = der::asn1::OctetString::new(list).expect("octets").to_der().expect("DER");
        let oid = [1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];
        params.custom_extensions.push(CustomExtension::from_oid_content(&oid, list));
        params.signed_by(leaf, issuer).expect("a certificate").der().to_vec()
    }

    /// What the log records of the bundle, and how it vouches for it.
    fn log_entry(&self, bundle: &Value, leaf: &[u8], rekor: &KeyPair) -> Value {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let payload = STANDARD.decode(text(&bundle["dsseEnvelope"]["payload"])).expect("base64");
        let pem = format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            STANDARD.encode(leaf)
        );
        let mut body = json!({
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": { "algorithm": "sha256", "value": "00" },
                "payloadHash": { "algorithm": "sha256", "value": hex::encode(sha256(&payload)) },
                "signatures": [{
                    "signature": bundle["dsseEnvelope"]["signatures"][0]["sig"],
                    "verifier": STANDARD.encode(pem),
                }],
            },
        });
        (self.change_body)(&mut body);
        let body = body.to_string();
        let id = sha256(&rekor.subject_public_key_info());
        let promised = format!(
            r#"{{"body":"{}","integratedTime":{},"logID":"{}","logIndex":9}}"#,
            STANDARD.encode(&body),
            self.integrated,
            hex::encode(id)
        );
        // A tree of two: this entry, and another before it.
        let own = sha256(&[b"\0", body.as_bytes()].concat());
        let other = sha256(b"\0other");
        let root = STANDARD.encode(sha256(&[&b"\x01"[..], &other, &own].concat()));
        let text = format!("log.example.com - 1\n{}\n{root}\n", self.checkpoint_size);
        let signer = self.checkpoint_signer.as_ref().unwrap_or(rekor);
        let signature = signer.sign(text.as_bytes()).expect("signed");
        let signature = STANDARD.encode([&id[..4], &signature].concat());
        json!({
            "logIndex": "9",
            "logId": { "keyId": STANDARD.encode(id) },
            "kindVersion": { "kind": "dsse", "version": "0.0.1" },
            "integratedTime": self.integrated.to_string(),
            "inclusionPromise": {
                "signedEntryTimestamp":
                    STANDARD.encode(rekor.sign(promised.as_bytes()).expect("signed")),
            },
            "inclusionProof": {
                "logIndex": "1",
                "rootHash": root,
                "treeSize": "2",
                "hashes": [STANDARD.encode(other)],
                "checkpoint": {
                    "envelope": format!("{text}\n\u{2014} log.example.com {signature}\n"),
                },
            },
            "canonicalizedBody": STANDARD.encode(body),
        })
    }

    fn run(&self) -> Result<Signer, SignatureError> {
        let (root_key, middle_key, leaf_key, ct, rekor) = (key(), key(), key(), key(), key());
        let root = authority(&root_key);
        let root_certificate = root.self_signed(&root_key).expect("a root");
        let middle = authority(&middle_key);
        let root_issuer = Issuer::from_params(&root, &root_key);
        let middle_certificate = middle.signed_by(&middle_key, &root_issuer).expect("signed");
        let middle_issuer = Issuer::from_params(&middle, &middle_key);
        let leaf = self.leaf(&leaf_key, &middle_issuer, &middle_key, &ct);

        let signer = self.payload_signer.as_ref().unwrap_or(&leaf_key).serialize_pem();
        let signer = SigningKey::from_pem(signer.as_bytes()).expect("a key");
        let bundle = sign(&signer, "m", &[("a".to_owned(), [7; 32])], &[]).expect("signed");
        let mut bundle: Value = serde_json::from_slice(&bundle).expect("JSON");
        let entry = self.log_entry(&bundle, &leaf, &rekor);
        bundle["verificationMaterial"] = json!({
            "certificate": { "rawBytes": STANDARD.encode(&leaf) },
            "tlogEntries": [entry],
        });
        (self.change_bundle)(&mut bundle);

        let log = |key: &KeyPair| {
            let spki = key.subject_public_key_info();
            json!({
                "publicKey": {
                    "rawBytes": STANDARD.encode(&spki),
                    "validFor": { "start": at(BEGIN - 1000), "end": at(BEGIN + 1_000_000) },
                },
                "logId": { "keyId": STANDARD.encode(sha256(&spki)) },
            })
        };
        let mut trust = json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(&rekor)],
            "ctlogs": [log(&ct)],
            "certificateAuthorities": [{
                "certChain": { "certificates": [
                    { "rawBytes": STANDARD.encode(middle_certificate.der()) },
                    { "rawBytes": STANDARD.encode(root_certificate.der()) },
                ] },
                "validFor": { "start": at(BEGIN - 1000) },
            }],
        });
        (self.change_root)(&mut trust);
        let root = TrustedRoot::parse(trust.to_string().as_bytes()).expect("a trust root");
        let trust = Trust::Keyless { root: Box::new(root), identity: self.identity.clone() };
        let bundle = Bundle::parse(bundle.to_string().as_bytes()).expect("a bundle");
        verify(&bundle, &trust).map(|signed| signed.signer().clone())
    }
}

fn log_refusal(case: &Case) -> LogError {
    match case.run() {
        Err(SignatureError::Log(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn certificate_refusal(case: &Case) -> CertificateError {
    match case.run() {
        Err(SignatureError::Certificate(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn sct_refusal(case: &Case) -> SctError {
    match case.run() {
        Err(SignatureError::Sct(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sound_signature_names_identity_and_issuer() {
    let signer = Case::default().run().expect("signed");
    assert_eq!(signer, Signer::Identity { identity: WHO.to_owned(), issuer: ISSUER.to_owned() });
    let workflow = "https://ci.example.com/acme/model/.workflows/release";
    let names = vec![SanType::URI(workflow.try_into().expect("ASCII"))];
    let identity = Identity { identity: workflow.to_owned(), issuer: ISSUER.to_owned() };
    Case { names, identity, ..Case::default() }.run().expect("signed by a workflow");
}

#[test]
fn a_trust_configuration_of_a_client_is_read_as_its_trust_root() {
    let wrap = |root: &mut Value| *root = json!({ "mediaType": "x", "trustedRoot": root });
    Case { change_root: wrap, ..Case::default() }.run().expect("signed");
}

#[test]
fn somebody_else_and_another_issuer_are_refused() {
    for (identity, issuer) in [("other@example.com", ISSUER), (WHO, "https://other.example.com")] {
        let identity = Identity { identity: identity.to_owned(), issuer: issuer.to_owned() };
        let error = certificate_refusal(&Case { identity, ..Case::default() });
        assert!(matches!(error, CertificateError::Identity { .. }), "{error:?}");
    }
}

#[test]
fn a_certificate_that_names_nobody_or_several_is_refused() {
    let one = || SanType::Rfc822Name(WHO.try_into().expect("ASCII"));
    for names in
        [vec![], vec![one(), one()], vec![SanType::DnsName("a.b".try_into().expect("a name"))]]
    {
        let error = certificate_refusal(&Case { names, ..Case::default() });
        assert!(matches!(error, CertificateError::NoIdentity), "{error:?}");
    }
    let error = certificate_refusal(&Case { issuer: None, ..Case::default() });
    assert!(matches!(error, CertificateError::NoIdentity), "{error:?}");
}

#[test]
fn a_certificate_that_does_not_name_code_signing_is_refused() {
    let error = certificate_refusal(&Case { extended: vec![], ..Case::default() });
    assert!(matches!(error, CertificateError::Usage { .. }), "{error:?}");
}

#[test]
fn an_authority_that_is_not_trusted_then_or_at_all_is_refused() {
    let ended: fn(&mut Value) = |root| {
        root["certificateAuthorities"][0]["validFor"]["end"] = json!(at(BEGIN - 1));
    };
    let other: fn(&mut Value) = |root| {
        let key = key();
        let other = authority(&key).self_signed(&key).expect("a root");
        let other = json!([{ "rawBytes": STANDARD.encode(other.der()) }]);
        root["certificateAuthorities"][0]["certChain"]["certificates"] = other;
    };
    for change_root in [ended, other] {
        let error = certificate_refusal(&Case { change_root, ..Case::default() });
        assert!(matches!(error, CertificateError::Path { .. }), "{error:?}");
    }
}

#[test]
fn a_signature_after_the_certificate_ended_is_refused() {
    for integrated in [BEGIN + 601, BEGIN - 1] {
        let error = certificate_refusal(&Case { integrated, ..Case::default() });
        assert!(matches!(error, CertificateError::Path { .. }), "{error:?}");
    }
}

#[test]
fn a_certificate_that_no_known_log_has_seen_is_refused() {
    let refusal = |sct| sct_refusal(&Case { sct, ..Case::default() });
    assert_eq!(refusal(Sct::Missing), SctError::Missing);
    assert_eq!(refusal(Sct::Torn), SctError::Malformed);
    assert_eq!(refusal(Sct::OtherTime), SctError::UnknownLog);
    let forged = Case { sct_signer: Some(key()), ..Case::default() };
    assert_eq!(sct_refusal(&forged), SctError::Signature);
    let unknown: fn(&mut Value) = |root| root["ctlogs"] = root["tlogs"].clone();
    assert_eq!(
        sct_refusal(&Case { change_root: unknown, ..Case::default() }),
        SctError::UnknownLog
    );
}

#[test]
fn an_entry_that_is_missing_or_of_another_kind_is_refused() {
    let refusal = |change_bundle| log_refusal(&Case { change_bundle, ..Case::default() });
    assert_eq!(
        refusal(|b| b["verificationMaterial"]["tlogEntries"] = json!([])),
        LogError::Missing
    );
    assert!(matches!(
        refusal(|b| {
            b["verificationMaterial"]["tlogEntries"][0]["kindVersion"]["kind"] = json!("intoto");
        }),
        LogError::Kind { .. }
    ));
    let no_promise = |b: &mut Value| {
        b["verificationMaterial"]["tlogEntries"][0]["inclusionPromise"] = json!(null);
        b["verificationMaterial"]["timestampVerificationData"] =
            json!({ "rfc3161Timestamps": [{ "signedTimestamp": "AAAA" }] });
    };
    assert_eq!(refusal(no_promise), LogError::NoTime { timestamps: 1 });
}

#[test]
fn a_log_that_is_not_trusted_then_or_at_all_is_refused() {
    let ended: fn(&mut Value) =
        |root| root["tlogs"][0]["publicKey"]["validFor"]["end"] = json!(at(BEGIN));
    let other: fn(&mut Value) = |root| root["tlogs"] = root["ctlogs"].clone();
    for change_root in [ended, other] {
        let error = log_refusal(&Case { change_root, ..Case::default() });
        assert!(matches!(error, LogError::UnknownLog { .. }), "{error:?}");
    }
}

#[test]
fn a_time_or_a_place_that_the_log_did_not_promise_is_refused() {
    for change_bundle in [
        (|b| b["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = json!("1767225607"))
            as fn(&mut Value),
        |b| b["verificationMaterial"]["tlogEntries"][0]["logIndex"] = json!("8"),
        |b| b["verificationMaterial"]["tlogEntries"][0]["canonicalizedBody"] = json!("AAAA"),
    ] {
        assert_eq!(log_refusal(&Case { change_bundle, ..Case::default() }), LogError::Promise);
    }
}

#[test]
fn an_entry_that_is_not_proven_to_be_in_the_signed_tree_is_refused() {
    let refusal = |change_bundle| log_refusal(&Case { change_bundle, ..Case::default() });
    assert_eq!(
        refusal(|b| b["verificationMaterial"]["tlogEntries"][0]["inclusionProof"] = json!(null)),
        LogError::NoProof
    );
    assert_eq!(
        refusal(|b| {
            b["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["hashes"] = json!([]);
        }),
        LogError::Proof
    );
    assert_eq!(
        refusal(|b| {
            b["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["logIndex"] = json!("0");
        }),
        LogError::Proof
    );
    let forged = Case { checkpoint_signer: Some(key()), ..Case::default() };
    assert_eq!(log_refusal(&forged), LogError::Checkpoint);
    let other_size = Case { checkpoint_size: 3, ..Case::default() };
    assert_eq!(log_refusal(&other_size), LogError::Checkpoint);
}

#[test]
fn an_entry_about_something_else_is_refused() {
    for (change_body, what) in [
        ((|body| body["kind"] = json!("hashedrekord")) as fn(&mut Value), "kind of thing"),
        (|body| body["spec"]["payloadHash"]["value"] = json!("00"), "payload"),
        (|body| body["spec"]["payloadHash"]["algorithm"] = json!("sha512"), "payload"),
        (|body| body["spec"]["signatures"] = json!([]), "number of signatures"),
        (|body| body["spec"]["signatures"][0]["signature"] = json!("AAAA"), "signature"),
        (|body| body["spec"]["signatures"][0]["verifier"] = json!("AAAA"), "certificate"),
    ] {
        let error = log_refusal(&Case { change_body, ..Case::default() });
        assert_eq!(error, LogError::Body(what));
    }
}

#[test]
fn a_signature_by_another_key_than_the_certified_one_is_refused() {
    let case = Case { payload_signer: Some(key()), ..Case::default() };
    assert!(matches!(case.run(), Err(SignatureError::Signature)));
}

#[test]
fn a_bare_key_is_no_identity() {
    let bare: fn(&mut Value) = |b| b["verificationMaterial"] = json!({ "publicKey": {} });
    let case = Case { change_bundle: bare, ..Case::default() };
    assert!(matches!(case.run(), Err(SignatureError::Material)));
}

#[test]
fn a_trust_root_outside_its_form_is_refused() {
    let kind = "application/vnd.dev.sigstore.trustedroot+json;version=0.1";
    let refusal =
        |value: Value| TrustedRoot::parse(value.to_string().as_bytes()).expect_err("refused");
    assert!(matches!(refusal(json!({ "mediaType": "x" })), TrustRootError::MediaType { .. }));
    assert!(matches!(refusal(json!([])), TrustRootError::Json(_)));
    assert!(matches!(
        refusal(json!({ "mediaType": kind })),
        TrustRootError::Count { list: "certificateAuthorities", got: 0 }
    ));
    let authority = json!({ "certChain": { "certificates": [{ "rawBytes": "AAAA" }] } });
    assert!(matches!(
        refusal(json!({ "mediaType": kind, "certificateAuthorities": [authority] })),
        TrustRootError::Entry { list: "certificateAuthorities" }
    ));
    let huge = vec![b' '; adyton_model_signature::limits::MAX_TRUST_FILE_BYTES + 1];
    assert!(matches!(TrustedRoot::parse(&huge), Err(TrustRootError::TooLarge { .. })));
}
