//! X.509 paths and revocation lists, link by link.
//!
//! In: the chain that a quote or collateral carries, the anchor, the lists, the time. Out: the path
//! as certificates, or which link is wrong and how, so that people read more than "chain invalid".
//! What one certificate or list may say at all (RFC 5280: version, roles, critical extensions) is in
//! `profile.rs` beside this file.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_ASN1, ParsedPublicKey,
    RSA_PSS_2048_8192_SHA384, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::asn1::{AnyRef, BitString, ObjectIdentifier};
use der::{Decode as _, Reader as _, SliceReader};
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::ext::pkix::BasicConstraints;
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;

use crate::limits::{MAX_CERTIFICATE_LEN, MAX_CHAIN_CERTIFICATES, MAX_CRL_LEN};
use crate::unix_time::UnixTime;
use crate::verifier::signature_cache::{Object, Signatures, sha256};

/// RFC 5480 §2.1.1, RFC 3279 §2.3.1.
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// What is wrong with a certificate path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// Not PEM certificates, or too many or too large ones. Nothing is verified before this.
    #[error("not a chain of 1 to {} certificates in PEM", crate::limits::MAX_CHAIN_CERTIFICATES)]
    Encoding,
    /// A certificate is not valid yet.
    #[error("certificate {subject} is valid from {from}, now is {now}")]
    NotYetValid {
        /// The certificate's subject.
        subject: String,
        /// `notBefore`.
        from: UnixTime,
        /// The Verifier's time.
        now: UnixTime,
    },
    /// A certificate is not valid any more.
    #[error("certificate {subject} was valid until {until}, now is {now}")]
    Expired {
        /// The certificate's subject.
        subject: String,
        /// `notAfter`.
        until: UnixTime,
        /// The Verifier's time.
        now: UnixTime,
    },
    /// No certificate at hand has the name that a certificate gives as its issuer.
    #[error("certificate {subject} was issued by {issuer}, which is not trusted")]
    UnknownIssuer {
        /// The certificate's subject.
        subject: String,
        /// The issuer that it names.
        issuer: String,
    },
    /// A certificate's signature does not verify under its issuer's key.
    #[error("signature of certificate {subject} is invalid")]
    Signature {
        /// The certificate's subject.
        subject: String,
    },
    /// A certificate is in the chain and not on the way to the anchor. Nobody would look at it.
    #[error("certificate {subject} is not on the way to the trust anchor")]
    Foreign {
        /// The certificate's subject.
        subject: String,
    },
    /// A certificate signs others and is no CA, or the other way round, or the path is too long.
    #[error("certificate {subject} has another role in the chain than it is for")]
    Role {
        /// The certificate's subject.
        subject: String,
    },
    /// A certificate says what the vendor's never do, or what nobody here can follow.
    #[error("certificate {subject} is out of profile: {what}")]
    Profile {
        /// The certificate's subject.
        subject: String,
        /// What is out of profile.
        what: &'static str,
    },
}

/// Why revocation could not be ruled out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationError {
    /// Not a revocation list in DER.
    #[error("{list} is not a certificate revocation list in DER")]
    Encoding {
        /// Which list.
        list: &'static str,
    },
    /// The list of another authority.
    #[error("{list} was issued by {got}, expected {expected}")]
    Issuer {
        /// Which list.
        list: &'static str,
        /// The authority whose list is needed.
        expected: String,
        /// The authority that issued it.
        got: String,
    },
    /// The list's signature does not verify.
    #[error("signature of the {list} is invalid")]
    Signature {
        /// Which list.
        list: &'static str,
    },
    /// The list is not valid yet.
    #[error("{list} is valid from {from}, now is {now}")]
    NotYetValid {
        /// Which list.
        list: &'static str,
        /// `thisUpdate`.
        from: UnixTime,
        /// The Verifier's time.
        now: UnixTime,
    },
    /// The list has reached its `nextUpdate`, or has none.
    #[error("{list} was valid until {until}, now is {now}")]
    Expired {
        /// Which list.
        list: &'static str,
        /// `nextUpdate`; zero when the list has none.
        until: UnixTime,
        /// The Verifier's time.
        now: UnixTime,
    },
    /// The list says what the vendor's never do, or what nobody here can follow.
    #[error("{list} is out of profile: {what}")]
    Profile {
        /// Which list.
        list: &'static str,
        /// What is out of profile.
        what: &'static str,
    },
    /// The certificate is on the list.
    #[error("certificate {subject} with serial number {serial} is revoked")]
    Revoked {
        /// The certificate's subject.
        subject: String,
        /// Its serial number, hex.
        serial: String,
    },
}

/// A certificate with its exact bytes: names are read from the one, signatures checked over the other.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) certificate: Certificate,
    pub(crate) der: Vec<u8>,
    /// SHA-256 of `der`.
    digest: [u8; 32],
    /// The key for what it issued, and the key for what it signed otherwise, parsed when first used:
    /// roots and Endorsements live as long as the Verifier. `None` for a key of no known kind.
    issuing: OnceLock<Option<ParsedPublicKey>>,
    signing: OnceLock<Option<ParsedPublicKey>>,
}

/// A certificate chain as sent: leaf first, nothing verified.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) leaf: Link,
    /// Everything after the leaf.
    pub(crate) rest: Vec<Arc<Link>>,
}

impl Link {
    /// Parses one certificate in DER.
    pub(crate) fn parse(der: &[u8]) -> Result<Self, ChainError> {
        let certificate = Certificate::from_der(der).map_err(|_| ChainError::Encoding)?;
        Ok(Self {
            certificate,
            der: der.to_vec(),
            digest: sha256(der),
            issuing: OnceLock::new(),
            signing: OnceLock::new(),
        })
    }

    pub(crate) fn subject(&self) -> &Name {
        self.certificate.tbs_certificate().subject()
    }

    pub(crate) fn issuer(&self) -> &Name {
        self.certificate.tbs_certificate().issuer()
    }

    /// The uncompressed point of the certificate's key; empty when it does not end on a byte.
    pub(crate) fn public_key(&self) -> &[u8] {
        let key = &self.certificate.tbs_certificate().subject_public_key_info().subject_public_key;
        key.as_bytes().unwrap_or_default()
    }

    /// Whether its key, on P-256, made a raw signature `r ‖ s` over bytes with this SHA-256.
    pub(crate) fn has_signed(&self, sha256: &[u8; 32], signature: &[u8]) -> bool {
        let signed = || {
            let key = self.signing.get_or_init(|| {
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.public_key()).ok()
            });
            let digest = Digest::import_less_safe(sha256, &SHA256).ok()?;
            key.as_ref()?.verify_digest_sig(&digest, signature).ok()
        };
        signed().is_some()
    }

    /// Whether its key made the signature of a certificate or list over its first part, as received. The
    /// issuer's key decides about the algorithm, never the signed object: P-256 with SHA-256 for Intel,
    /// RSA-PSS 4096 with SHA-384 for AMD, P-384 with SHA-384 for NVIDIA.
    fn has_issued(&self, der: &[u8], signature: &BitString) -> bool {
        let issued = || {
            // `None` for a bit string that does not end on a byte: no signature does.
            let signature = signature.as_bytes()?;
            let outer = AnyRef::from_der(der).ok()?;
            let signed = SliceReader::new(outer.value()).ok()?.tlv_bytes().ok()?;
            Some(self.has_made(signed, signature))
        };
        issued().unwrap_or(false)
    }

    /// Whether its key made a signature, in the form that certificates have, over these bytes.
    fn has_made(&self, signed: &[u8], signature: &[u8]) -> bool {
        let key = self
            .issuing
            .get_or_init(|| ParsedPublicKey::new(self.algorithm()?, self.public_key()).ok());
        key.as_ref().is_some_and(|key| key.verify_sig(signed, signature).is_ok())
    }

    /// The one signature algorithm that goes with the certificate's key.
    fn algorithm(&self) -> Option<&'static dyn VerificationAlgorithm> {
        let key = self.certificate.tbs_certificate().subject_public_key_info();
        if key.algorithm.oid == RSA_ENCRYPTION {
            return Some(&RSA_PSS_2048_8192_SHA384);
        }
        let curve = key.algorithm.parameters.as_ref()?.decode_as::<ObjectIdentifier>().ok()?;
        match (key.algorithm.oid, curve) {
            (EC_PUBLIC_KEY, SECP256R1) => Some(&ECDSA_P256_SHA256_ASN1),
            (EC_PUBLIC_KEY, SECP384R1) => Some(&ECDSA_P384_SHA384_ASN1),
            _ => None,
        }
    }

    /// The subject for people, bounded: it comes from outside and ends up in logs.
    pub(crate) fn name(&self) -> String {
        shortened(self.subject())
    }

    pub(crate) fn signed_by(
        &self,
        issuer: &Self,
        signatures: &Signatures<'_>,
    ) -> Result<(), ChainError> {
        let compute = || issuer.has_issued(&self.der, self.certificate.signature());
        match signatures.verify(issuer.digest(), Object::X509(&self.digest), compute) {
            true => Ok(()),
            false => Err(ChainError::Signature { subject: self.name() }),
        }
    }

    /// SHA-256 of the certificate. A remembered signature is remembered for the issuer's whole
    /// certificate, which holds key and algorithm.
    pub(crate) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    pub(crate) fn within_validity(&self, now: UnixTime) -> Result<(), ChainError> {
        let validity = self.certificate.tbs_certificate().validity();
        let from = unix_time(&validity.not_before);
        let until = unix_time(&validity.not_after);
        if now < from {
            return Err(ChainError::NotYetValid { subject: self.name(), from, now });
        }
        if until < now {
            return Err(ChainError::Expired { subject: self.name(), until, now });
        }
        Ok(())
    }

    /// `notAfter`.
    pub(crate) fn not_after(&self) -> UnixTime {
        unix_time(&self.certificate.tbs_certificate().validity().not_after)
    }

    pub(crate) fn is_ca(&self) -> bool {
        matches!(
            self.certificate.tbs_certificate().get_extension::<BasicConstraints>(),
            Ok(Some((_, BasicConstraints { ca: true, .. })))
        )
    }
}

impl Chain {
    /// Parses a PEM chain, with every bound checked before anything is kept. The text is certificates and
    /// white space and nothing else: PEM readers skip what they don't know, and what is skipped here
    /// might be read there. Chains in quotes may end in a NUL.
    pub(crate) fn parse_pem(pem: &[u8]) -> Result<Self, ChainError> {
        Self::parse_pem_above(pem, &[])
    }

    /// As [`parse_pem`](Self::parse_pem); a certificate above the leaf that is one of `known`, byte for
    /// byte, is not parsed again.
    pub(crate) fn parse_pem_above(pem: &[u8], known: &[Arc<Link>]) -> Result<Self, ChainError> {
        let mut rest = pem.strip_suffix(&[0]).unwrap_or(pem).trim_ascii();
        let mut next = || {
            let (der, after) = pem_block(rest).ok_or(ChainError::Encoding)?;
            rest = after.trim_ascii_start();
            Ok((der, rest.is_empty()))
        };
        let (leaf, mut is_last) = next()?;
        let mut above = Vec::new();
        while !is_last {
            if above.len().saturating_add(1) == MAX_CHAIN_CERTIFICATES {
                return Err(ChainError::Encoding);
            }
            let der;
            (der, is_last) = next()?;
            above.push(match known.iter().find(|link| link.der == der) {
                Some(link) => Arc::clone(link),
                None => Arc::new(Link::parse(&der)?),
            });
        }
        Ok(Self { leaf: Link::parse(&leaf)?, rest: above })
    }

    /// Climbs from the leaf to the anchor. Gives back the intermediate certificates on the way.
    pub(crate) fn verify(&self, anchor: &Link, now: UnixTime) -> Result<Vec<&Link>, ChainError> {
        self.verify_with(anchor, now, &Signatures::default())
    }

    /// As [`verify`](Self::verify), with signatures that were found good before.
    pub(crate) fn verify_with(
        &self,
        anchor: &Link,
        now: UnixTime,
        signatures: &Signatures<'_>,
    ) -> Result<Vec<&Link>, ChainError> {
        let mut intermediates = Vec::new();
        let mut current = &self.leaf;
        loop {
            current.within_validity(now)?;
            if current.issuer() == anchor.subject() {
                current.signed_by(anchor, signatures)?;
                // RFC 5280 leaves the dates of an anchor to the reader. Vendors end their roots, too.
                anchor.within_validity(now)?;
                return Ok(intermediates);
            }
            let next = self
                .rest
                .iter()
                .find(|candidate| candidate.subject() == current.issuer())
                .filter(|_| intermediates.len() < MAX_CHAIN_CERTIFICATES)
                .ok_or_else(|| ChainError::UnknownIssuer {
                    subject: current.name(),
                    issuer: shortened(current.issuer()),
                })?;
            if !next.is_ca() {
                return Err(ChainError::Role { subject: next.name() });
            }
            current.signed_by(next, signatures)?;
            intermediates.push(next);
            current = next;
        }
    }

    /// Refuses certificates that no path would use: everything in a chain is on the way from the leaf
    /// to the anchor, or is the anchor itself, byte for byte.
    pub(crate) fn refuse_foreign(&self, anchor: &Link) -> Result<(), ChainError> {
        let mut current = &self.leaf;
        for link in &self.rest {
            let is_next = link.subject() == current.issuer();
            let is_above_anchor = current.subject() == anchor.subject();
            let is_imitation = link.subject() == anchor.subject() && link.der != anchor.der;
            if !is_next || is_above_anchor || is_imitation {
                return Err(ChainError::Foreign { subject: link.name() });
            }
            current = link;
        }
        Ok(())
    }

    /// As [`verify`](Self::verify), for a signer of documents: the anchor itself must have issued it, and
    /// nothing else is in the chain but copies of the anchor, byte for byte.
    pub(crate) fn verify_direct(
        &self,
        anchor: &Link,
        now: UnixTime,
        signatures: &Signatures<'_>,
    ) -> Result<(), ChainError> {
        if !self.verify_with(anchor, now, signatures)?.is_empty() {
            return Err(ChainError::Role { subject: self.leaf.name() });
        }
        match self.rest.iter().find(|link| link.der != anchor.der) {
            None => Ok(()),
            Some(foreign) => Err(ChainError::Foreign { subject: foreign.name() }),
        }
    }
}

/// The certificate at the start of a PEM text, and the text after it. Base64 has one form only: padded,
/// and with nothing in the bits that are left over.
fn pem_block(pem: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    const END: &[u8] = b"-----END CERTIFICATE-----";
    // Four characters for three bytes, and a line end after every one of them at the worst.
    const MAX_BODY_LEN: usize = MAX_CERTIFICATE_LEN / 3 * 4 * 2;
    let body = pem.strip_prefix(BEGIN)?;
    let end = body.iter().take(MAX_BODY_LEN).position(|byte| *byte == b'-')?;
    let (base64, after) = body.split_at_checked(end)?;
    let after = after.strip_prefix(END)?;
    let mut packed = Vec::with_capacity(base64.len());
    for line in base64.split(u8::is_ascii_whitespace) {
        packed.extend_from_slice(line);
    }
    let der = STANDARD.decode(&packed).ok()?;
    (der.len() <= MAX_CERTIFICATE_LEN).then_some((der, after))
}

/// A certificate revocation list, parsed once and not verified.
#[derive(Clone, Debug)]
pub(crate) struct UnverifiedList {
    /// Which list, for people.
    list: &'static str,
    parsed: CertificateList,
    der: Vec<u8>,
    digest: [u8; 32],
    /// Serial numbers on it, sorted.
    serials: Vec<SerialNumber>,
}

/// A certificate revocation list, verified against its issuer at a time.
pub(crate) struct RevocationList<'a> {
    list: Cow<'a, UnverifiedList>,
}

impl UnverifiedList {
    /// Parses a list. `list` names it for people.
    pub(crate) fn parse(list: &'static str, der: &[u8]) -> Result<Self, RevocationError> {
        if der.len() > MAX_CRL_LEN {
            return Err(RevocationError::Encoding { list });
        }
        let parsed: CertificateList =
            CertificateList::from_der(der).map_err(|_| RevocationError::Encoding { list })?;
        let entries = parsed.tbs_cert_list.revoked_certificates.iter().flatten();
        let mut serials: Vec<_> = entries.map(|entry| entry.serial_number.clone()).collect();
        serials.sort();
        Ok(Self { list, parsed, der: der.to_vec(), digest: sha256(der), serials })
    }

    /// The list as it was parsed.
    pub(in crate::verifier) fn parsed(&self) -> &CertificateList {
        &self.parsed
    }

    /// Its `nextUpdate`; zero when it has none.
    pub(crate) fn next_update(&self) -> UnixTime {
        self.parsed.tbs_cert_list.next_update.as_ref().map_or(UnixTime(0), unix_time)
    }

    /// Refuses a certificate that is on the list, whoever made the list and whenever it counts.
    pub(crate) fn refuse_listed(&self, link: &Link) -> Result<(), RevocationError> {
        let serial = link.certificate.tbs_certificate().serial_number();
        match self.serials.binary_search(serial) {
            Err(_) => Ok(()),
            Ok(_) => Err(RevocationError::Revoked {
                subject: link.name(),
                serial: hex::encode(serial.as_bytes()),
            }),
        }
    }

    /// Checks that `issuer` made it and that it is current.
    pub(crate) fn verify(
        &self,
        issuer: &Link,
        now: UnixTime,
        signatures: &Signatures<'_>,
    ) -> Result<RevocationList<'_>, RevocationError> {
        self.refuse_unless(issuer, now, signatures)?;
        Ok(RevocationList { list: Cow::Borrowed(self) })
    }

    fn refuse_unless(
        &self,
        issuer: &Link,
        now: UnixTime,
        signatures: &Signatures<'_>,
    ) -> Result<(), RevocationError> {
        let list = self.list;
        let tbs = &self.parsed.tbs_cert_list;
        if &tbs.issuer != issuer.subject() {
            return Err(RevocationError::Issuer {
                list,
                expected: issuer.name(),
                got: shortened(&tbs.issuer),
            });
        }
        let compute = || issuer.has_issued(&self.der, &self.parsed.signature);
        if !signatures.verify(issuer.digest(), Object::X509(&self.digest), compute) {
            return Err(RevocationError::Signature { list });
        }
        let from = unix_time(&tbs.this_update);
        if now < from {
            return Err(RevocationError::NotYetValid { list, from, now });
        }
        let until = self.next_update();
        // By nextUpdate the next list is out: at that second this one counts no more.
        if until <= now {
            return Err(RevocationError::Expired { list, until, now });
        }
        Ok(())
    }
}

impl RevocationList<'_> {
    /// Refuses a certificate that is on the list.
    pub(crate) fn refuse_listed(&self, link: &Link) -> Result<(), RevocationError> {
        self.list.refuse_listed(link)
    }
}

fn unix_time(time: &x509_cert::time::Time) -> UnixTime {
    UnixTime(time.to_unix_duration().as_secs())
}

fn shortened(name: &Name) -> String {
    name.to_string().chars().take(200).collect()
}

#[cfg(test)]
mod tests;
