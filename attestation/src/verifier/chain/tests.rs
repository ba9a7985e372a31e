//! Paths link by link, in a PKI of four certificates made for each test.

use rcgen::{
    BasicConstraints as Constraints, CertificateParams, DnType, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P256_SHA256, date_time_ymd,
};

use super::*;

mod wycheproof;

/// 2026-07-01.
const NOW: UnixTime = UnixTime(1_782_864_000);

struct Node {
    params: CertificateParams,
    key: KeyPair,
    link: Link,
}

fn node(name: &str, is_ca: IsCa, until: i32, issuer: Option<&Node>) -> Node {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = is_ca;
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("random bytes");
    let certificate = match issuer {
        None => params.self_signed(&key),
        Some(issuer) => params.signed_by(&key, &Issuer::from_params(&issuer.params, &issuer.key)),
    };
    let link = Link::parse(certificate.expect("well-formed").der()).expect("a certificate");
    Node { params, key, link }
}

fn ca(name: &str, until: i32, issuer: Option<&Node>) -> Node {
    node(name, IsCa::Ca(Constraints::Unconstrained), until, issuer)
}

fn chain(leaf: &Node, rest: &[&Node]) -> Chain {
    let rest = rest.iter().map(|node| Arc::new(node.link.clone())).collect();
    Chain { leaf: leaf.link.clone(), rest }
}

/// Root, authority, leaf.
fn path() -> [Node; 3] {
    let root = ca("root", 2046, None);
    let authority = ca("authority", 2036, Some(&root));
    let leaf = node("leaf", IsCa::ExplicitNoCa, 2030, Some(&authority));
    [root, authority, leaf]
}

#[test]
fn a_path_is_climbed_to_the_anchor() {
    let [root, authority, leaf] = path();
    let chain = chain(&leaf, &[&authority, &root]);
    let between = chain.verify(&root.link, NOW).expect("a path");
    assert_eq!(between.iter().map(|link| link.name()).collect::<Vec<_>>(), ["CN=authority"]);
    assert_eq!(chain.refuse_foreign(&root.link), Ok(()));
}

#[test]
fn no_certificate_of_a_path_counts_beyond_its_dates_the_anchor_included() {
    let root = ca("root", 2028, None);
    let authority = ca("authority", 2036, Some(&root));
    let leaf = node("leaf", IsCa::ExplicitNoCa, 2030, Some(&authority));
    let chain = chain(&leaf, &[&authority]);
    let at = |year| {
        let until = node("clock", IsCa::NoCa, year, None).link.not_after();
        (chain.verify(&root.link, until).map(|_| ()), UnixTime(until.0 + 1))
    };
    let (on_the_last_second, next) = at(2028);
    assert_eq!(on_the_last_second, Ok(()));
    assert!(
        matches!(chain.verify(&root.link, next), Err(ChainError::Expired { subject, .. }) if subject == "CN=root")
    );
    for (year, first) in [(2031, "CN=leaf"), (2037, "CN=leaf")] {
        let (refused, _) = at(year);
        assert!(matches!(refused, Err(ChainError::Expired { subject, .. }) if subject == first));
    }
    let early = UnixTime(0);
    assert!(matches!(
        chain.verify(&root.link, early),
        Err(ChainError::NotYetValid { now, .. }) if now == early
    ));
}

#[test]
fn a_certificate_that_is_no_ca_issues_nothing() {
    let [root, _, _] = path();
    let authority = node("authority", IsCa::NoCa, 2036, Some(&root));
    let leaf = node("leaf", IsCa::ExplicitNoCa, 2030, Some(&authority));
    let refused = chain(&leaf, &[&authority]).verify(&root.link, NOW).map(|_| ());
    assert_eq!(refused, Err(ChainError::Role { subject: "CN=authority".to_owned() }));
}

#[test]
fn an_authority_of_the_right_name_and_another_key_vouches_for_nothing() {
    let [root, _, leaf] = path();
    let imitation = ca("authority", 2036, Some(&root));
    let refused = chain(&leaf, &[&imitation]).verify(&root.link, NOW).map(|_| ());
    assert_eq!(refused, Err(ChainError::Signature { subject: "CN=leaf".to_owned() }));
}

#[test]
fn two_authorities_that_issued_each_other_lead_nowhere() {
    let [root, ..] = path();
    let named = ca("b", 2036, None);
    let a = ca("a", 2036, Some(&named));
    // The same name and key, issued by the other: every signature on the way holds, and there is no end.
    let again = named.params.signed_by(&named.key, &Issuer::from_params(&a.params, &a.key));
    let link = Link::parse(again.expect("well-formed").der()).expect("a certificate");
    let b = Node { link, ..named };
    let leaf = node("leaf", IsCa::ExplicitNoCa, 2030, Some(&a));
    let refused = chain(&leaf, &[&a, &b]).verify(&root.link, NOW).map(|_| ());
    assert!(matches!(refused, Err(ChainError::UnknownIssuer { .. })), "{refused:?}");
}

#[test]
fn a_certificate_beside_the_path_is_foreign() {
    let [root, authority, leaf] = path();
    let stranger = ca("stranger", 2036, None);
    let imitation = ca("root", 2046, None);
    for (rest, foreign) in [
        (vec![&authority, &stranger], "CN=stranger"),
        (vec![&stranger, &authority], "CN=stranger"),
        (vec![&authority, &imitation], "CN=root"),
        (vec![&authority, &root, &root], "CN=root"),
    ] {
        assert_eq!(
            chain(&leaf, &rest).refuse_foreign(&root.link),
            Err(ChainError::Foreign { subject: foreign.to_owned() })
        );
    }
}

#[test]
fn a_signer_of_documents_is_issued_by_the_anchor_itself() {
    let [root, authority, leaf] = path();
    let direct = node("signer", IsCa::ExplicitNoCa, 2030, Some(&root));
    let signatures = Signatures::default();
    let verdict = |chain: Chain| chain.verify_direct(&root.link, NOW, &signatures);
    assert_eq!(verdict(chain(&direct, &[])), Ok(()));
    assert_eq!(verdict(chain(&direct, &[&root])), Ok(()));
    assert_eq!(
        verdict(chain(&leaf, &[&authority])),
        Err(ChainError::Role { subject: "CN=leaf".to_owned() })
    );
    assert_eq!(
        verdict(chain(&direct, &[&root, &authority])),
        Err(ChainError::Foreign { subject: "CN=authority".to_owned() })
    );
}
