//! What a certificate or revocation list of Intel's may say at all.
//!
//! In: one parsed certificate or list. Out: nothing, or what is out of profile. RFC 5280 §4.2 wants a
//! critical extension that a reader does not know refused, a path length kept and each key used only
//! for what it is for; Intel's "PCK Certificate and CRL Profile Specification" §1.3 and §2 narrow that
//! to ECDSA with SHA-256 and two extensions. Signatures and dates are [`chain`](super::chain)'s.
//! Against: a platform's own certificate that issues another; a list that covers only some reasons or
//! only some certificates and so looks clean; a certificate whose outer algorithm is not the signed one.

use der::asn1::ObjectIdentifier;
use x509_cert::certificate::Version;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};
use x509_cert::spki::AlgorithmIdentifierOwned;

use crate::verifier::chain::{ChainError, Link, RevocationError, UnverifiedList};

/// RFC 5758 §3.2.
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
/// RFC 5280 §4.2.1.9, §4.2.1.3: what path and role are read from.
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
/// RFC 5280 §4.2.1.12. A key for something else is not for this.
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
/// RFC 5280 §5.2.4, §5.2.5: lists that are parts of a list.
const DELTA_LIST: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.27");
const DISTRIBUTION_POINT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");

/// What a certificate is used for in the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The end of the path: it signs documents or reports.
    Leaf,
    /// It issued another certificate in the path.
    Ca {
        /// CA certificates between it and the leaf.
        below: usize,
    },
}

/// Refuses a certificate that may not be used in this role.
pub(super) fn certificate(link: &Link, role: Role) -> Result<(), ChainError> {
    let tbs = link.certificate.tbs_certificate();
    let refused = |what| Err(ChainError::Profile { subject: link.name(), what });
    if tbs.version() != Version::V3 {
        return refused("version is not 3");
    }
    if !is_ecdsa(link.certificate.signature_algorithm(), tbs.signature()) {
        return refused("signature algorithm is not ECDSA with SHA-256 inside and out");
    }
    let extensions = tbs.extensions().map(Vec::as_slice).unwrap_or_default();
    if let Some(what) = first_unknown(extensions, &[BASIC_CONSTRAINTS, KEY_USAGE]) {
        return refused(what);
    }
    if extensions.iter().any(|extension| extension.extn_id == EXTENDED_KEY_USAGE) {
        return refused("key is restricted to an extended usage");
    }
    let constraints = match tbs.get_extension::<BasicConstraints>() {
        Ok(constraints) => constraints.map(|(_, constraints)| constraints),
        Err(_) => return refused("basic constraints are malformed or given twice"),
    };
    let usage = match tbs.get_extension::<KeyUsage>() {
        Ok(usage) => usage.map(|(_, usage)| usage),
        Err(_) => return refused("key usage is malformed or given twice"),
    };
    match role {
        Role::Leaf => {
            if constraints.is_some_and(|constraints| constraints.ca) {
                return Err(ChainError::Role { subject: link.name() });
            }
            if usage.is_some_and(|usage| !usage.digital_signature()) {
                return refused("key is not for signatures");
            }
        }
        Role::Ca { below } => {
            let Some(constraints) = constraints.filter(|constraints| constraints.ca) else {
                return Err(ChainError::Role { subject: link.name() });
            };
            if constraints.path_len_constraint.is_some_and(|len| usize::from(len) < below) {
                return refused("path is longer than the certificate allows");
            }
            if !usage.is_some_and(|usage| usage.key_cert_sign()) {
                return refused("key is not for signing certificates");
            }
        }
    }
    Ok(())
}

/// Refuses a list that is not a whole one, or whose issuer may not sign lists.
pub(super) fn list(
    name: &'static str,
    list: &UnverifiedList,
    issuer: &Link,
) -> Result<(), RevocationError> {
    let refused = |what| Err(RevocationError::Profile { list: name, what });
    let tbs = &list.parsed().tbs_cert_list;
    if tbs.version != Version::V2 {
        return refused("version is not 2");
    }
    if !is_ecdsa(&list.parsed().signature_algorithm, &tbs.signature) {
        return refused("signature algorithm is not ECDSA with SHA-256 inside and out");
    }
    let extensions = tbs.crl_extensions.as_deref().unwrap_or_default();
    if let Some(what) = first_unknown(extensions, &[]) {
        return refused(what);
    }
    let partial = [DELTA_LIST, DISTRIBUTION_POINT];
    if extensions.iter().any(|extension| partial.contains(&extension.extn_id)) {
        return refused("it covers a part of the certificates only");
    }
    let mut entries = tbs.revoked_certificates.iter().flatten();
    let is_critical = |extension: &Extension| extension.critical;
    if entries.any(|entry| entry.crl_entry_extensions.iter().flatten().any(is_critical)) {
        return refused("an entry has a critical extension");
    }
    let usage = issuer.certificate.tbs_certificate().get_extension::<KeyUsage>();
    match usage {
        Ok(Some((_, usage))) if usage.crl_sign() => Ok(()),
        _ => refused("its issuer's key is not for signing lists"),
    }
}

fn is_ecdsa(outer: &AlgorithmIdentifierOwned, signed: &AlgorithmIdentifierOwned) -> bool {
    outer == signed && outer.oid == ECDSA_WITH_SHA256 && outer.parameters.is_none()
}

/// What is wrong with the first extension that this reader can't follow.
fn first_unknown(extensions: &[Extension], known: &[ObjectIdentifier]) -> Option<&'static str> {
    let unknown = |extension: &Extension| extension.critical && !known.contains(&extension.extn_id);
    extensions.iter().any(unknown).then_some("it has a critical extension that nothing here knows")
}
