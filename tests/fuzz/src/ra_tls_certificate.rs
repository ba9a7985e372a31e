//! A leaf certificate with Evidence in it, and the wrapper in its extension (RA-TLS).

use std::sync::LazyLock;

use adyton_attestation::evidence::Tee;
use adyton_attestation::peer::PeerTrust;
use adyton_attestation::ra_tls::{
    CertificateEvidence, EXTENSION_OID, RaTlsBinding, RaTlsRules, verify_certificate,
};
use adyton_attestation::{EndorsementBundle, TrustAnchors, UnixTime};
use adyton_fake_tee::TdProfile;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, CustomExtension, KeyPair, PublicKeyData as _, date_time_ymd};

use crate::genuine::{NOW, REPORT_DATA, TEE};

/// What the machine signed, as wrappers and in certificates.
struct Genuine {
    trust: PeerTrust,
    leaf: Vec<u8>,
    binding: RaTlsBinding,
    wrapper: Vec<u8>,
    elsewhere: Vec<u8>,
}

static GENUINE: LazyLock<Genuine> = LazyLock::new(|| {
    // PKCS#8 of an Ed25519 key (RFC 8410 §7) with a fixed seed, so that a corpus on disk stays valid.
    let pkcs8 = hex::decode("302e020100300506032b657004220420").expect("hex");
    let pkcs8 = [&pkcs8[..], &[0xad; 32]].concat();
    let key = KeyPair::try_from(&pkcs8[..]).expect("a key");
    let digest = ring::digest::digest(&ring::digest::SHA256, &key.subject_public_key_info());
    let binding = RaTlsBinding {
        spki_sha256: digest.as_ref().try_into().expect("32 bytes"),
        not_before: UnixTime(NOW - 3600),
        not_after: UnixTime(NOW + 3600),
    };
    let wrapped = |data| {
        let evidence = TEE.primary_evidence(&TdProfile::default(), data, &[]);
        CertificateEvidence { tee: Tee::Tdx, evidence }.to_value().expect("it fits")
    };
    let wrapper = wrapped(binding.report_data().0);
    let mut params = CertificateParams::default();
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + std::time::Duration::from_secs(binding.not_before.0);
    params.not_after = epoch + std::time::Duration::from_secs(binding.not_after.0);
    params.custom_extensions =
        vec![CustomExtension::from_oid_content(&EXTENSION_OID, wrapper.clone())];
    let bundle = TEE.endorsement_bundle(NOW, &[]).to_string();
    Genuine {
        trust: PeerTrust::strict(
            EndorsementBundle::parse(bundle.as_bytes()).expect("a bundle"),
            TrustAnchors::vendor()
                .with_insecure_extra_root(TEE.root_pem().as_bytes())
                .expect("a root"),
        ),
        leaf: params.self_signed(&key).expect("a certificate").der().to_vec(),
        binding,
        wrapper,
        elsewhere: wrapped(REPORT_DATA),
    }
});

/// What parses as a wrapper reads the same when it is written again; what verifies as a certificate
/// is about the one key and the dates that the machine signed.
pub fn run(data: &[u8]) {
    if let Ok(wrapped) = CertificateEvidence::parse(data) {
        let again = wrapped.to_value().expect("what fitted once fits again");
        let again = CertificateEvidence::parse(&again).expect("what we write we read");
        assert_eq!(wrapped, again);
    }
    let rules = RaTlsRules::default();
    if let Ok(peer) = verify_certificate(data, &GENUINE.trust, rules, UnixTime(NOW)) {
        assert_eq!(peer.binding(), GENUINE.binding, "a key or a date that nobody signed");
    }
}

/// The genuine certificate and its wrapper, a wrapper made for another purpose, and malformed ones.
pub fn seeds() -> Vec<Vec<u8>> {
    let text = |record: &str| {
        let mut value = vec![0x0c, u8::try_from(record.len()).expect("a short one")];
        value.extend_from_slice(record.as_bytes());
        value
    };
    let payload = URL_SAFE_NO_PAD.encode(r#"{"tee":"tdx","evidence":{}}"#);
    vec![
        GENUINE.leaf.clone(),
        GENUINE.wrapper.clone(),
        GENUINE.elsewhere.clone(),
        text(&format!(r#"["application/vnd.adyton.evidence+json","{payload}",4]"#)),
        text(r#"["text/plain","",4]"#),
        text("[]"),
    ]
}
