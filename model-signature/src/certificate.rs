//! Certificates of signers: whether they lead to a root, may sign, and whom they name.
//!
//! In: the bundle's certificates, roots, a time. Out: the leaf's key and its names. Paths are built and
//! verified by webpki (RFC 5280: signatures, dates, roles, critical extensions, name constraints).
//! A signer's own PKI gives no proof of *when* something was signed, so its path is verified as of the
//! moment from which the leaf is valid: an expired leaf does not unsign a model. To end a signer, take
//! the root away or name the key instead.
//!
//! Against: certificates of other authorities, of other purposes, and authorities that sign for themselves.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::time::Duration;

use der::Decode as _;
use der::asn1::ObjectIdentifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_cert::Certificate;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage as KeyUsageBits, SubjectAltName};

use crate::bundle::excerpt;
use crate::identity::Identity;
use crate::key::{KeyFormatError, PublicKey};
use crate::limits::{MAX_ROOTS, MAX_TRUST_FILE_BYTES};
use crate::time::Seconds;

/// id-kp-codeSigning, RFC 5280 §4.2.1.12.
const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
const CODE_SIGNING_DER: &[u8] = &[0x2B, 6, 1, 5, 5, 7, 3, 3];
/// The provider's URL in certificates of Fulcio: as DER text, and in the older form as it is.
const ISSUER_V2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.8");
const ISSUER_V1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.1");
/// The type of a user name in certificates of Fulcio.
const OTHER_NAME_USER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.7");

const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    webpki::aws_lc_rs::ECDSA_P256_SHA256,
    webpki::aws_lc_rs::ECDSA_P256_SHA384,
    webpki::aws_lc_rs::ECDSA_P384_SHA256,
    webpki::aws_lc_rs::ECDSA_P384_SHA384,
    webpki::aws_lc_rs::ECDSA_P521_SHA512,
    webpki::aws_lc_rs::ED25519,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA256,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA384,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA512,
];

/// Why the certificate of a signer was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Not a certificate in DER.
    #[error("the signer's certificate is not X.509 in DER")]
    Encoding,
    /// Its key is of a kind that the format does not have.
    #[error("the key of the signer's certificate was refused")]
    Key(#[source] KeyFormatError),
    /// It does not lead to a root that is trusted, or not at that time.
    #[error("the certificate of `{subject}` does not lead to a trusted root ({reason})")]
    Path {
        /// The leaf's subject.
        subject: String,
        /// What webpki says.
        reason: String,
    },
    /// It is for something else.
    #[error("the certificate of `{subject}` is not for {purpose}")]
    Usage {
        /// The leaf's subject.
        subject: String,
        /// What it lacks.
        purpose: &'static str,
    },
    /// It names nobody, several, or in a way that is not known.
    #[error("the certificate names no single identity and issuer")]
    NoIdentity,
    /// It names somebody else.
    #[error("the certificate is for `{got}`; expected `{expected}`")]
    Identity {
        /// Whom the caller trusts.
        expected: Box<Identity>,
        /// Whom it names.
        got: Box<Identity>,
    },
}

/// Authorities that may certify signers.
#[derive(Clone)]
pub struct Roots(Vec<TrustAnchor<'static>>);

impl std::fmt::Debug for Roots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Roots").field(&self.0.len()).finish()
    }
}

impl Roots {
    /// From a PEM file of certificates; `None` when it holds none, too many, or one that is none.
    #[must_use]
    pub fn from_pem(pem: &[u8]) -> Option<Self> {
        if pem.len() > MAX_TRUST_FILE_BYTES {
            return None;
        }
        let mut anchors = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            anchors.push(anchor(&certificate.ok()?)?);
            if anchors.len() > MAX_ROOTS {
                return None;
            }
        }
        (!anchors.is_empty()).then_some(Self(anchors))
    }

    pub(crate) fn from_der(der: &[u8]) -> Option<Self> {
        Some(Self(vec![anchor(&CertificateDer::from(der))?]))
    }
}

fn anchor(certificate: &CertificateDer<'_>) -> Option<TrustAnchor<'static>> {
    webpki::anchor_from_trusted_cert(certificate).ok().map(|anchor| anchor.to_owned())
}

/// A leaf that was parsed; what it says counts when its path was verified.
pub(crate) struct Leaf {
    pub(crate) der: Vec<u8>,
    parsed: Certificate,
    pub(crate) key: PublicKey,
}

impl Leaf {
    pub(crate) fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        let parsed = Certificate::from_der(der).map_err(|_| CertificateError::Encoding)?;
        let spki = parsed.tbs_certificate().subject_public_key_info();
        let spki = der::Encode::to_der(spki).map_err(|_| CertificateError::Encoding)?;
        let key = PublicKey::from_spki(&spki).map_err(CertificateError::Key)?;
        Ok(Self { der: der.to_vec(), parsed, key })
    }

    /// For messages and reports.
    pub(crate) fn subject(&self) -> String {
        excerpt(&self.parsed.tbs_certificate().subject().to_string())
    }

    pub(crate) fn not_before(&self) -> Seconds {
        let validity = self.parsed.tbs_certificate().validity();
        Seconds(validity.not_before.to_unix_duration().as_secs())
    }

    /// Verifies the path to one of the roots at a time. The issuer's SubjectPublicKeyInfo comes back.
    pub(crate) fn verify_path(
        &self,
        intermediates: &[Vec<u8>],
        roots: &Roots,
        at: Seconds,
    ) -> Result<Vec<u8>, CertificateError> {
        let refused = |error: webpki::Error| CertificateError::Path {
            subject: self.subject(),
            reason: error.to_string(),
        };
        let leaf = CertificateDer::from(self.der.as_slice());
        let leaf = EndEntityCert::try_from(&leaf).map_err(refused)?;
        let intermediates: Vec<_> =
            intermediates.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let usage = KeyUsage::required_if_present(CODE_SIGNING_DER);
        let at = UnixTime::since_unix_epoch(Duration::from_secs(at.0));
        let path = leaf
            .verify_for_usage(ALGORITHMS, &roots.0, &intermediates, at, usage, None, None)
            .map_err(refused)?;
        Ok(path.issuer_spki().as_ref().to_vec())
    }

    /// Refuses a certificate that is not for signing: it must say so by key usage or extended key usage, and
    /// neither may say otherwise.
    pub(crate) fn verify_usage(&self, extended: Extended) -> Result<(), CertificateError> {
        let refused = |purpose| CertificateError::Usage { subject: self.subject(), purpose };
        let tbs = self.parsed.tbs_certificate();
        let bits = tbs.get_extension::<KeyUsageBits>();
        let bits = bits.map_err(|_| CertificateError::Encoding)?.map(|(_, bits)| bits);
        let purposes = tbs.get_extension::<ExtendedKeyUsage>();
        let purposes = purposes.map_err(|_| CertificateError::Encoding)?.map(|(_, all)| all.0);
        if bits.is_some_and(|bits| !bits.digital_signature()) {
            return Err(refused("digital signatures"));
        }
        match purposes {
            Some(all) if !all.contains(&CODE_SIGNING) => Err(refused("code signing")),
            None if extended == Extended::Required || bits.is_none() => {
                Err(refused("code signing"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whom keyless signing certified.
    pub(crate) fn identity(&self) -> Result<Identity, CertificateError> {
        let none = || CertificateError::NoIdentity;
        let names = self.parsed.tbs_certificate().get_extension::<SubjectAltName>();
        let (_, SubjectAltName(names)) = names.map_err(|_| none())?.ok_or_else(none)?;
        let [name] = names.as_slice() else {
            return Err(none());
        };
        let identity = match name {
            GeneralName::Rfc822Name(text) => text.to_string(),
            GeneralName::UniformResourceIdentifier(text) => text.to_string(),
            GeneralName::OtherName(other) if other.type_id == OTHER_NAME_USER => {
                other.value.decode_as::<String>().map_err(|_| none())?
            }
            _ => return Err(none()),
        };
        Ok(Identity { identity, issuer: self.issuer().ok_or_else(none)? })
    }

    fn issuer(&self) -> Option<String> {
        let value = |oid| self.extension(oid);
        match value(ISSUER_V2) {
            Some(der) => String::from_der(der).ok(),
            None => Some(std::str::from_utf8(value(ISSUER_V1)?).ok()?.to_owned()),
        }
    }

    /// The value of the one extension of this kind.
    pub(crate) fn extension(&self, oid: ObjectIdentifier) -> Option<&[u8]> {
        let all = self.parsed.tbs_certificate().extensions()?;
        let mut found = all.iter().filter(|extension| extension.extn_id == oid);
        match (found.next(), found.next()) {
            (Some(only), None) => Some(only.extn_value.as_bytes()),
            _ => None,
        }
    }
}

/// Whether a certificate must name code signing, or only not name other purposes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extended {
    Required,
    IfPresent,
}
