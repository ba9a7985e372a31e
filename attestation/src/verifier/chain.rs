//! X.509 paths and revocation lists, link by link.
//!
//! In: the chain that a quote or collateral carries, the anchor, the lists, the time. Out: the path
//! as certificates, or which link is wrong and how. The verification library makes the same checks
//! and is asked first; what is here finds out *which* link it refused, so that people read more than
//! "chain invalid". Nothing here can turn the library's no into a yes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::{Decode as _, Encode as _};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::ext::pkix::BasicConstraints;
use x509_cert::name::Name;

use crate::limits::{MAX_CERTIFICATE_LEN, MAX_CHAIN_CERTIFICATES, MAX_CRL_LEN};
use crate::unix_time::UnixTime;

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
    /// The certificate is on the list.
    #[error("certificate {subject} with serial number {serial} is revoked")]
    Revoked {
        /// The certificate's subject.
        subject: String,
        /// Its serial number, hex.
        serial: String,
    },
}

/// A certificate chain as sent: leaf first, nothing verified.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) leaf: Certificate,
    pub(crate) leaf_der: Vec<u8>,
    /// Everything after the leaf.
    pub(crate) rest: Vec<Certificate>,
    pub(crate) rest_der: Vec<Vec<u8>>,
}

impl Chain {
    /// Parses a PEM chain, with every bound checked before anything is kept.
    pub(crate) fn parse_pem(pem: &[u8]) -> Result<Self, ChainError> {
        let mut certificates = Vec::new();
        let mut ders = Vec::new();
        for der in CertificateDer::pem_slice_iter(pem) {
            let der = der.map_err(|_| ChainError::Encoding)?;
            if ders.len() == MAX_CHAIN_CERTIFICATES || der.len() > MAX_CERTIFICATE_LEN {
                return Err(ChainError::Encoding);
            }
            certificates.push(Certificate::from_der(&der).map_err(|_| ChainError::Encoding)?);
            ders.push(der.to_vec());
        }
        if !is_nothing_but(pem, &ders) {
            return Err(ChainError::Encoding);
        }
        let mut certificates = certificates.into_iter();
        let mut ders = ders.into_iter();
        let (Some(leaf), Some(leaf_der)) = (certificates.next(), ders.next()) else {
            return Err(ChainError::Encoding);
        };
        Ok(Self { leaf, leaf_der, rest: certificates.collect(), rest_der: ders.collect() })
    }

    /// Climbs from the leaf to the anchor. Gives back the intermediate certificates on the way.
    pub(crate) fn verify(
        &self,
        anchor: &Certificate,
        now: UnixTime,
    ) -> Result<Vec<&Certificate>, ChainError> {
        let mut intermediates = Vec::new();
        let mut current = &self.leaf;
        loop {
            within_validity(current, now)?;
            let issuer = current.tbs_certificate().issuer();
            if issuer == anchor.tbs_certificate().subject() {
                signed_by(current, anchor)?;
                return Ok(intermediates);
            }
            let next = self
                .rest
                .iter()
                .find(|candidate| candidate.tbs_certificate().subject() == issuer)
                .filter(|_| intermediates.len() < MAX_CHAIN_CERTIFICATES)
                .ok_or_else(|| ChainError::UnknownIssuer {
                    subject: subject(current),
                    issuer: shortened(issuer),
                })?;
            if !is_ca(next) {
                return Err(ChainError::Role { subject: subject(next) });
            }
            signed_by(current, next)?;
            intermediates.push(next);
            current = next;
        }
    }

    /// Refuses certificates that no path would use: everything in a chain is on the way from the leaf
    /// to the anchor, or is the anchor itself, byte for byte.
    pub(crate) fn refuse_foreign(
        &self,
        anchor: &Certificate,
        anchor_der: &[u8],
    ) -> Result<(), ChainError> {
        let anchor_name = anchor.tbs_certificate().subject();
        let mut current = &self.leaf;
        for (certificate, der) in self.rest.iter().zip(&self.rest_der) {
            let name = certificate.tbs_certificate().subject();
            let is_next = name == current.tbs_certificate().issuer();
            let is_above_anchor = current.tbs_certificate().subject() == anchor_name;
            let is_imitation = name == anchor_name && der != anchor_der;
            if !is_next || is_above_anchor || is_imitation {
                return Err(ChainError::Foreign { subject: subject(certificate) });
            }
            current = certificate;
        }
        Ok(())
    }

    /// As [`verify`](Self::verify), for a signer of documents: the anchor itself must have issued it.
    pub(crate) fn verify_direct(
        &self,
        anchor: &Certificate,
        now: UnixTime,
    ) -> Result<(), ChainError> {
        match self.verify(anchor, now)?.is_empty() {
            true => Ok(()),
            false => Err(ChainError::Role { subject: subject(&self.leaf) }),
        }
    }
}

/// Whether the text is these certificates and white space, and nothing else: PEM readers skip what
/// they don't know, and what is skipped here might be read there. Chains in quotes may end in a NUL.
fn is_nothing_but(pem: &[u8], ders: &[Vec<u8>]) -> bool {
    let pem = pem.strip_suffix(&[0]).unwrap_or(pem);
    let given = pem.iter().filter(|byte| !byte.is_ascii_whitespace());
    let blocks = ders.iter().flat_map(|der| {
        let base64 = STANDARD.encode(der);
        format!("-----BEGINCERTIFICATE-----{base64}-----ENDCERTIFICATE-----").into_bytes()
    });
    given.copied().eq(blocks)
}

/// A certificate revocation list, verified against its issuer at a time.
pub(crate) struct RevocationList {
    list: CertificateList,
}

impl RevocationList {
    /// Parses a list and checks that `issuer` made it and that it is current.
    pub(crate) fn verify(
        list: &'static str,
        der: &[u8],
        issuer: &Certificate,
        now: UnixTime,
    ) -> Result<Self, RevocationError> {
        if der.len() > MAX_CRL_LEN {
            return Err(RevocationError::Encoding { list });
        }
        let parsed: CertificateList =
            CertificateList::from_der(der).map_err(|_| RevocationError::Encoding { list })?;
        let tbs = &parsed.tbs_cert_list;
        if &tbs.issuer != issuer.tbs_certificate().subject() {
            return Err(RevocationError::Issuer {
                list,
                expected: subject(issuer),
                got: shortened(&tbs.issuer),
            });
        }
        let signed = tbs.to_der().map_err(|_| RevocationError::Encoding { list })?;
        public_key(issuer)
            .verify(&signed, parsed.signature.raw_bytes())
            .map_err(|_| RevocationError::Signature { list })?;
        let from = unix_time(&tbs.this_update);
        if now < from {
            return Err(RevocationError::NotYetValid { list, from, now });
        }
        let until = tbs.next_update.as_ref().map_or(UnixTime(0), unix_time);
        // By nextUpdate the next list is out: at that second this one counts no more.
        if until <= now {
            return Err(RevocationError::Expired { list, until, now });
        }
        Ok(Self { list: parsed })
    }

    /// Refuses a certificate that is on the list.
    pub(crate) fn refuse_listed(&self, certificate: &Certificate) -> Result<(), RevocationError> {
        let serial = certificate.tbs_certificate().serial_number();
        let listed = self
            .list
            .tbs_cert_list
            .revoked_certificates
            .iter()
            .flatten()
            .any(|entry| &entry.serial_number == serial);
        match listed {
            false => Ok(()),
            true => Err(RevocationError::Revoked {
                subject: subject(certificate),
                serial: hex::encode(serial.as_bytes()),
            }),
        }
    }
}

/// The key of a certificate, for ECDSA P-256 with SHA-256, the only algorithm of Intel's PKI.
pub(crate) fn public_key(certificate: &Certificate) -> UnparsedPublicKey<Vec<u8>> {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public_key_bytes(certificate))
}

/// The uncompressed point of a certificate's key.
pub(crate) fn public_key_bytes(certificate: &Certificate) -> Vec<u8> {
    certificate.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes().to_vec()
}

fn signed_by(certificate: &Certificate, issuer: &Certificate) -> Result<(), ChainError> {
    let invalid = || ChainError::Signature { subject: subject(certificate) };
    let signed = certificate.tbs_certificate().to_der().map_err(|_| invalid())?;
    public_key(issuer)
        .verify(&signed, certificate.signature().raw_bytes())
        .map_err(|_| invalid())
}

fn within_validity(certificate: &Certificate, now: UnixTime) -> Result<(), ChainError> {
    let validity = certificate.tbs_certificate().validity();
    let from = unix_time(&validity.not_before);
    let until = unix_time(&validity.not_after);
    if now < from {
        return Err(ChainError::NotYetValid { subject: subject(certificate), from, now });
    }
    if until < now {
        return Err(ChainError::Expired { subject: subject(certificate), until, now });
    }
    Ok(())
}

fn is_ca(certificate: &Certificate) -> bool {
    matches!(
        certificate.tbs_certificate().get_extension::<BasicConstraints>(),
        Ok(Some((_, BasicConstraints { ca: true, .. })))
    )
}

fn unix_time(time: &x509_cert::time::Time) -> UnixTime {
    UnixTime(time.to_unix_duration().as_secs())
}

fn subject(certificate: &Certificate) -> String {
    shortened(certificate.tbs_certificate().subject())
}

/// A name for people, bounded: it comes from outside and ends up in logs.
fn shortened(name: &Name) -> String {
    name.to_string().chars().take(200).collect()
}
