//! What a certificate or revocation list of a vendor's may say at all.
//!
//! In: one parsed certificate or list, the vendor's one algorithm. Out: nothing, or what is out of
//! profile. RFC 5280 §4.2 wants a critical extension that a reader does not know refused, no extension
//! twice, a path length kept and each key used only for what it is for; Intel's "PCK Certificate and CRL
//! Profile Specification" §1.3 and §2, AMD 57230 §3.1 and NVIDIA's device certificates narrow that to one
//! algorithm each and two critical extensions. Signatures and dates are [`chain`](super::chain)'s.
//! Against: a platform's own certificate that issues another; a list that covers only some reasons or
//! only some certificates and so looks clean; a certificate whose outer algorithm is not the signed one;
//! a statement made twice, of which two readers take another one each.

use der::asn1::ObjectIdentifier;
use x509_cert::certificate::Version;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};
use x509_cert::spki::AlgorithmIdentifierOwned;

use crate::verifier::chain::{ChainError, Link, RevocationError, UnverifiedList};
use crate::verifier::snp::is_amd_signature;

/// RFC 5758 §3.2.
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_WITH_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
/// RFC 5280 §4.2.1.9, §4.2.1.3: what path and role are read from.
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
/// RFC 5280 §4.2.1.12. A key for something else is not for this.
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
/// RFC 5280 §5.2.4, §5.2.5: lists that are parts of a list.
const DELTA_LIST: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.27");
const DISTRIBUTION_POINT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");

/// The one way in which a vendor signs certificates and lists, inside and out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// Intel: ECDSA with SHA-256.
    EcdsaSha256,
    /// NVIDIA: ECDSA with SHA-384.
    EcdsaSha384,
    /// AMD: RSASSA-PSS with SHA-384, MGF1 of SHA-384 and a salt of 48 bytes.
    RsaPssSha384,
}

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
pub(super) fn certificate(link: &Link, role: Role, algorithm: Algorithm) -> Result<(), ChainError> {
    let tbs = link.certificate.tbs_certificate();
    let refused = |what| Err(ChainError::Profile { subject: link.name(), what });
    if tbs.version() != Version::V3 {
        return refused("version is not 3");
    }
    if !algorithm.is_of(link.certificate.signature_algorithm(), tbs.signature()) {
        return refused(algorithm.wanted());
    }
    let extensions = tbs.extensions().map(Vec::as_slice).unwrap_or_default();
    if let Some(what) = unfit(extensions, &[BASIC_CONSTRAINTS, KEY_USAGE]) {
        return refused(what);
    }
    if extensions.iter().any(|extension| extension.extn_id == EXTENDED_KEY_USAGE) {
        return refused("key is restricted to an extended usage");
    }
    let constraints = match tbs.get_extension::<BasicConstraints>() {
        Ok(constraints) => constraints.map(|(_, constraints)| constraints),
        Err(_) => return refused("basic constraints are malformed"),
    };
    let usage = match tbs.get_extension::<KeyUsage>() {
        Ok(usage) => usage.map(|(_, usage)| usage),
        Err(_) => return refused("key usage is malformed"),
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
    algorithm: Algorithm,
) -> Result<(), RevocationError> {
    let refused = |what| Err(RevocationError::Profile { list: name, what });
    let tbs = &list.parsed().tbs_cert_list;
    if tbs.version != Version::V2 {
        return refused("version is not 2");
    }
    if !algorithm.is_of(&list.parsed().signature_algorithm, &tbs.signature) {
        return refused(algorithm.wanted());
    }
    let extensions = tbs.crl_extensions.as_deref().unwrap_or_default();
    let partial = [DELTA_LIST, DISTRIBUTION_POINT];
    if extensions.iter().any(|extension| partial.contains(&extension.extn_id)) {
        return refused("it covers a part of the certificates only");
    }
    if let Some(what) = unfit(extensions, &[]) {
        return refused(what);
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

impl Algorithm {
    fn is_of(self, outer: &AlgorithmIdentifierOwned, signed: &AlgorithmIdentifierOwned) -> bool {
        let is = |oid| outer.oid == oid && outer.parameters.is_none();
        outer == signed
            && match self {
                Self::EcdsaSha256 => is(ECDSA_WITH_SHA256),
                Self::EcdsaSha384 => is(ECDSA_WITH_SHA384),
                Self::RsaPssSha384 => is_amd_signature(outer),
            }
    }

    fn wanted(self) -> &'static str {
        match self {
            Self::EcdsaSha256 => "signature algorithm is not ECDSA with SHA-256 inside and out",
            Self::EcdsaSha384 => "signature algorithm is not ECDSA with SHA-384 inside and out",
            Self::RsaPssSha384 => "signature algorithm is not AMD's RSASSA-PSS inside and out",
        }
    }
}

/// What is wrong with extensions that this reader can't follow, or could follow in two ways.
fn unfit(extensions: &[Extension], known: &[ObjectIdentifier]) -> Option<&'static str> {
    let unknown = |extension: &Extension| extension.critical && !known.contains(&extension.extn_id);
    if extensions.iter().any(unknown) {
        return Some("it has a critical extension that nothing here knows");
    }
    let mut ids: Vec<&ObjectIdentifier> = extensions.iter().map(|one| &one.extn_id).collect();
    ids.sort_unstable();
    let is_pair = |pair: &[&ObjectIdentifier]| matches!(pair, [one, next] if one == next);
    ids.windows(2).any(is_pair).then_some("it has an extension twice")
}

#[cfg(test)]
mod tests;
