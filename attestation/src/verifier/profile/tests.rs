//! Certificates and lists that say one thing more or less than a vendor's do. Their own signatures are
//! sound, or not looked at.

use der::Encode as _;
use der::asn1::OctetString;
use rcgen::{
    BasicConstraints as Constraints, CertificateParams, CertificateRevocationListParams,
    CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, RevokedCertParams, SerialNumber, date_time_ymd,
};
use x509_cert::crl::CertificateList;

use super::*;

const CA: Role = Role::Ca { below: 0 };
const LIST: &str = "list";

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn leaf() -> CertificateParams {
    let mut params = params("leaf");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

fn ca() -> CertificateParams {
    let mut params = params("CA");
    params.is_ca = IsCa::Ca(Constraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn der_of(params: &CertificateParams) -> Vec<u8> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("random bytes");
    params.self_signed(&key).expect("well-formed").der().to_vec()
}

fn judged(params: &CertificateParams, role: Role) -> Result<(), ChainError> {
    let link = Link::parse(&der_of(params)).expect("a certificate");
    certificate(&link, role, Algorithm::EcdsaSha256)
}

fn refusal(params: &CertificateParams, role: Role) -> &'static str {
    match judged(params, role) {
        Err(ChainError::Profile { what, .. }) => what,
        Err(ChainError::Role { .. }) => "role",
        other => panic!("{other:?}"),
    }
}

fn extra(critical: bool) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![0x05, 0x00]);
    extension.set_criticality(critical);
    extension
}

#[test]
fn a_leaf_and_a_ca_fit_their_roles() {
    assert_eq!(judged(&leaf(), Role::Leaf), Ok(()));
    assert_eq!(judged(&ca(), CA), Ok(()));
    let mut silent = leaf();
    silent.is_ca = IsCa::NoCa;
    silent.key_usages.clear();
    assert_eq!(judged(&silent, Role::Leaf), Ok(()), "AMD's keys have neither extension");
}

#[test]
fn a_certificate_of_another_role_is_refused() {
    assert_eq!(refusal(&ca(), Role::Leaf), "role");
    assert_eq!(refusal(&leaf(), CA), "role");
    let mut silent = ca();
    silent.is_ca = IsCa::NoCa;
    assert_eq!(refusal(&silent, CA), "role");
}

#[test]
fn a_key_for_something_else_is_refused() {
    let mut encrypts = leaf();
    encrypts.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    assert_eq!(refusal(&encrypts, Role::Leaf), "key is not for signatures");
    let mut lists_only = ca();
    lists_only.key_usages = vec![KeyUsagePurpose::CrlSign];
    assert_eq!(refusal(&lists_only, CA), "key is not for signing certificates");
    lists_only.key_usages.clear();
    assert_eq!(refusal(&lists_only, CA), "key is not for signing certificates");
    for (mut params, role) in [(leaf(), Role::Leaf), (ca(), CA)] {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        assert_eq!(refusal(&params, role), "key is restricted to an extended usage");
    }
}

#[test]
fn a_path_is_as_long_as_the_ca_allows() {
    let mut params = ca();
    for (allowed, below, fits) in [(0, 0, true), (0, 1, false), (1, 1, true), (1, 2, false)] {
        params.is_ca = IsCa::Ca(Constraints::Constrained(allowed));
        let role = Role::Ca { below };
        match fits {
            true => assert_eq!(judged(&params, role), Ok(())),
            false => {
                assert_eq!(refusal(&params, role), "path is longer than the certificate allows");
            }
        }
    }
    params.is_ca = IsCa::Ca(Constraints::Unconstrained);
    assert_eq!(judged(&params, Role::Ca { below: 5 }), Ok(()));
}

#[test]
fn a_critical_extension_that_nothing_here_knows_is_refused() {
    for (mut params, role) in [(leaf(), Role::Leaf), (ca(), CA)] {
        params.custom_extensions = vec![extra(false)];
        assert_eq!(judged(&params, role), Ok(()));
        params.custom_extensions = vec![extra(true)];
        assert_eq!(refusal(&params, role), "it has a critical extension that nothing here knows");
    }
}

#[test]
fn an_extension_that_is_there_twice_is_refused() {
    let mut params = leaf();
    params.custom_extensions = vec![extra(false), extra(false)];
    assert_eq!(refusal(&params, Role::Leaf), "it has an extension twice");
    // keyCertSign beside the digitalSignature that the certificate has already.
    let mut usage = CustomExtension::from_oid_content(&[2, 5, 29, 15], vec![3, 2, 2, 0b100]);
    usage.set_criticality(true);
    params.custom_extensions = vec![usage];
    assert_eq!(refusal(&params, Role::Leaf), "it has an extension twice");
}

#[test]
fn a_malformed_role_is_refused() {
    let mut params = leaf();
    params.key_usages.clear();
    params.custom_extensions =
        vec![CustomExtension::from_oid_content(&[2, 5, 29, 15], vec![0x05, 0x00])];
    assert_eq!(refusal(&params, Role::Leaf), "key usage is malformed");
    params.is_ca = IsCa::NoCa;
    params.custom_extensions =
        vec![CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x05, 0x00])];
    assert_eq!(refusal(&params, Role::Leaf), "basic constraints are malformed");
}

#[test]
fn a_certificate_of_another_version_is_refused() {
    const VERSION_3: [u8; 5] = [0xa0, 3, 2, 1, 2];
    let mut der = der_of(&leaf());
    let at = der.windows(5).position(|bytes| bytes == VERSION_3).expect("a version");
    der[at + 4] = 1;
    let link = Link::parse(&der).expect("a certificate of version 2");
    let refused = certificate(&link, Role::Leaf, Algorithm::EcdsaSha256);
    assert!(matches!(refused, Err(ChainError::Profile { what: "version is not 3", .. })));
}

#[test]
fn each_vendor_has_one_algorithm_inside_and_out() {
    let p256 = Link::parse(&der_of(&leaf())).expect("a certificate");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("random bytes");
    let p384 = Link::parse(leaf().self_signed(&key).expect("well-formed").der()).expect("one");
    for (link, fits) in [(&p256, Algorithm::EcdsaSha256), (&p384, Algorithm::EcdsaSha384)] {
        for algorithm in [Algorithm::EcdsaSha256, Algorithm::EcdsaSha384, Algorithm::RsaPssSha384] {
            match (certificate(link, Role::Leaf, algorithm), algorithm == fits) {
                (Ok(()), true) => {}
                (Err(ChainError::Profile { what, .. }), false) => {
                    assert!(what.starts_with("signature algorithm is not"), "{what}");
                }
                (got, _) => panic!("{algorithm:?}: {got:?}"),
            }
        }
    }
    // The outer algorithm is not under the signature: ecdsa-with-SHA256, its last number changed.
    let mut der = der_of(&leaf());
    let oid = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    let last = der.windows(8).rposition(|bytes| bytes == oid).expect("the outer algorithm");
    der[last + 7] = 0x03;
    let two = Link::parse(&der).expect("a certificate");
    for algorithm in [Algorithm::EcdsaSha256, Algorithm::EcdsaSha384] {
        let refused = certificate(&two, Role::Leaf, algorithm);
        assert!(matches!(refused, Err(ChainError::Profile { .. })), "{algorithm:?}");
    }
}

/// A list of the CA's with one entry, and the CA.
fn issued(change: impl FnOnce(&mut CertificateRevocationListParams)) -> (CertificateList, Link) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("random bytes");
    let params = ca();
    let issuer = params.self_signed(&key).expect("well-formed");
    let mut wanted = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 1, 1),
        next_update: date_time_ymd(2027, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(7),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    change(&mut wanted);
    let list = wanted.signed_by(&Issuer::from_params(&params, &key)).expect("well-formed");
    let list = der::Decode::from_der(list.der()).expect("a list");
    (list, Link::parse(issuer.der()).expect("a certificate"))
}

fn refused_list(parsed: &CertificateList, issuer: &Link) -> Option<&'static str> {
    let der = parsed.to_der().expect("encodes");
    let unverified = UnverifiedList::parse(LIST, &der).expect("a list");
    match list(LIST, &unverified, issuer, Algorithm::EcdsaSha256) {
        Ok(()) => None,
        Err(RevocationError::Profile { list: LIST, what }) => Some(what),
        Err(other) => panic!("{other:?}"),
    }
}

fn extension(oid: &str, critical: bool) -> Extension {
    Extension {
        extn_id: ObjectIdentifier::new_unwrap(oid),
        critical,
        extn_value: OctetString::new([0x02, 0x01, 0x01]).expect("short"),
    }
}

#[test]
fn a_whole_list_fits() {
    let (sound, issuer) = issued(|_| {});
    assert_eq!(refused_list(&sound, &issuer), None);
}

#[test]
fn a_list_of_a_part_is_refused() {
    let (partial, issuer) = issued(|wanted| {
        wanted.issuing_distribution_point = Some(CrlIssuingDistributionPoint {
            distribution_point: CrlDistributionPoint { uris: vec!["http://crl".to_owned()] },
            scope: Some(CrlScope::UserCertsOnly),
        });
    });
    let part = Some("it covers a part of the certificates only");
    assert_eq!(refused_list(&partial, &issuer), part);
    for critical in [false, true] {
        let (mut delta, issuer) = issued(|_| {});
        let extensions = delta.tbs_cert_list.crl_extensions.get_or_insert_default();
        extensions.push(extension("2.5.29.27", critical));
        assert_eq!(refused_list(&delta, &issuer), part);
    }
}

#[test]
fn a_list_that_nothing_here_can_follow_is_refused() {
    let (mut unknown, issuer) = issued(|_| {});
    unknown.tbs_cert_list.crl_extensions.get_or_insert_default().push(extension("1.2.3", true));
    let expected = Some("it has a critical extension that nothing here knows");
    assert_eq!(refused_list(&unknown, &issuer), expected);

    let (mut twice, issuer) = issued(|_| {});
    let extensions = twice.tbs_cert_list.crl_extensions.get_or_insert_default();
    extensions.extend([extension("1.2.3", false), extension("1.2.3", false)]);
    assert_eq!(refused_list(&twice, &issuer), Some("it has an extension twice"));

    // certificateIssuer of an indirect list: the entry is about another authority's certificate.
    let (mut entry, issuer) = issued(|_| {});
    for one in entry.tbs_cert_list.revoked_certificates.iter_mut().flatten() {
        one.crl_entry_extensions = Some(vec![extension("2.5.29.29", true)]);
    }
    assert_eq!(refused_list(&entry, &issuer), Some("an entry has a critical extension"));
}

#[test]
fn a_list_of_another_version_or_of_two_algorithms_is_refused() {
    let (mut old, issuer) = issued(|_| {});
    old.tbs_cert_list.version = Version::V1;
    assert_eq!(refused_list(&old, &issuer), Some("version is not 2"));
    let (mut two, issuer) = issued(|_| {});
    two.signature_algorithm.oid = ECDSA_WITH_SHA384;
    assert_eq!(refused_list(&two, &issuer), Some(Algorithm::EcdsaSha256.wanted()));
}

#[test]
fn a_list_of_a_ca_that_may_not_sign_lists_is_refused() {
    let (sound, _) = issued(|_| {});
    for usages in [vec![KeyUsagePurpose::KeyCertSign], vec![]] {
        let mut params = ca();
        params.key_usages = usages;
        let issuer = Link::parse(&der_of(&params)).expect("a certificate");
        let expected = Some("its issuer's key is not for signing lists");
        assert_eq!(refused_list(&sound, &issuer), expected);
    }
}
