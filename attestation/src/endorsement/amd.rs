//! AMD's statements about processors: intermediate keys (ASK, ASVK), revocation lists, VCEKs and VLEKs.
//!
//! In: certificates and lists in DER. Out: [`AmdEndorsements`], sorted by what each certificate says it
//! is for, so that the Verifier finds the one that a report needs. Nothing is verified here, and what a
//! certificate says decides nothing but which one is tried.

use std::fmt;
use std::sync::Arc;

use der::Decode as _;
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;

use crate::claims::{ChipId, SnpProduct, SnpTcb};
use crate::endorsement::EndorsementError;
use crate::endorsement::fetch::AmdSigner;
use crate::endorsement::fetch::amd::hardware_id as hardware_id_of;
use crate::endorsement::item::Validity;
use crate::endorsement::vek;
use crate::endorsement::x509::{certificate_validity, crl_validity};
use crate::limits::{MAX_CERTIFICATE_LEN, MAX_CRL_LEN, MAX_ENDORSEMENT_ENTRIES};

/// What one of AMD's certificates says that it is. Its names and extensions, unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AmdCertificateKind {
    /// ARK: the root of a product. Never an anchor because it is here.
    Root(SnpProduct),
    /// ASK or ASVK of a product.
    Intermediate(SnpProduct, AmdSigner),
    /// VCEK: one processor at one TCB.
    Vcek {
        /// The product.
        product: SnpProduct,
        /// hwID, without an OCTET STRING around it.
        hardware_id: Vec<u8>,
        /// The TCB.
        tcb: SnpTcb,
    },
    /// VLEK: the processors of a cloud at one TCB.
    Vlek {
        /// The product.
        product: SnpProduct,
        /// The TCB.
        tcb: SnpTcb,
    },
}

impl fmt::Display for AmdCertificateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(product) => write!(f, "ARK of {}", product.as_str()),
            Self::Intermediate(product, AmdSigner::Vcek) => {
                write!(f, "ASK of {}", product.as_str())
            }
            Self::Intermediate(product, AmdSigner::Vlek) => {
                write!(f, "ASVK of {}", product.as_str())
            }
            Self::Vcek { product, hardware_id, tcb } => {
                let id: String = hex::encode(hardware_id).chars().take(132).collect();
                write!(f, "VCEK of {} {id} {tcb}", product.as_str())
            }
            Self::Vlek { product, tcb } => write!(f, "VLEK of {} {tcb}", product.as_str()),
        }
    }
}

/// One certificate with its exact bytes.
#[derive(Clone, Debug)]
pub struct AmdCertificate {
    kind: AmdCertificateKind,
    der: Vec<u8>,
    validity: Validity,
}

/// The revocation list of one product's ARK, with its exact bytes.
#[derive(Clone, Debug)]
pub struct AmdRevocationList {
    product: SnpProduct,
    der: Vec<u8>,
    validity: Option<Validity>,
}

/// AMD's statements. Parsed, unverified.
#[derive(Clone, Debug, Default)]
pub struct AmdEndorsements {
    certificates: Vec<Arc<AmdCertificate>>,
    lists: Vec<Arc<AmdRevocationList>>,
}

impl AmdCertificate {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// [`EndorsementError::TooLarge`], [`Member`](EndorsementError::Member) when it is not a certificate
    /// of AMD's for SEV-SNP.
    pub fn parse(der: Vec<u8>) -> Result<Self, EndorsementError> {
        bounded("AMD certificate", der.len(), MAX_CERTIFICATE_LEN)?;
        let wrong = || EndorsementError::Member {
            member: "amd.certificates",
            expected: "an ARK, ASK, ASVK, VCEK or VLEK in DER",
        };
        let certificate = Certificate::from_der(&der).map_err(|_| wrong())?;
        let kind = kind(&certificate).ok_or_else(wrong)?;
        let validity = certificate_validity(&der).ok_or_else(wrong)?;
        Ok(Self { kind, der, validity })
    }

    /// What it says that it is.
    #[must_use]
    pub fn kind(&self) -> &AmdCertificateKind {
        &self.kind
    }

    /// Its exact bytes, DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Its dates.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Whether it says that it is the VCEK of a processor at a TCB.
    pub(super) fn is_vcek_of(&self, of: SnpProduct, chip_id: ChipId, at: SnpTcb) -> bool {
        match &self.kind {
            AmdCertificateKind::Vcek { product, hardware_id, tcb } => {
                *product == of && *tcb == at && hardware_id == hardware_id_of(of, &chip_id)
            }
            AmdCertificateKind::Root(_)
            | AmdCertificateKind::Intermediate(..)
            | AmdCertificateKind::Vlek { .. } => false,
        }
    }
}

impl AmdRevocationList {
    /// Reads a list in DER.
    ///
    /// # Errors
    /// [`EndorsementError::TooLarge`], [`Member`](EndorsementError::Member) when it is not the list of an
    /// ARK.
    pub fn parse(der: Vec<u8>) -> Result<Self, EndorsementError> {
        bounded("AMD revocation list", der.len(), MAX_CRL_LEN)?;
        let wrong = || EndorsementError::Member {
            member: "amd.revocation_lists",
            expected: "the revocation list of an ARK in DER",
        };
        let list: CertificateList = CertificateList::from_der(&der).map_err(|_| wrong())?;
        let issuer = vek::common_name(&list.tbs_cert_list.issuer).ok_or_else(wrong)?;
        let product = issuer.strip_prefix("ARK-").and_then(SnpProduct::from_certificate);
        let product = product.ok_or_else(wrong)?;
        let validity = crl_validity(&der);
        Ok(Self { product, der, validity })
    }

    /// The product whose ARK it says it is of.
    #[must_use]
    pub fn product(&self) -> SnpProduct {
        self.product
    }

    /// Its exact bytes, DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Its dates; `None` when it has no `nextUpdate`.
    #[must_use]
    pub fn validity(&self) -> Option<Validity> {
        self.validity
    }
}

impl AmdEndorsements {
    /// Adds a certificate, unless it is there byte for byte.
    ///
    /// # Errors
    /// [`EndorsementError::TooLarge`] when there are as many as allowed.
    pub fn add_certificate(&mut self, certificate: AmdCertificate) -> Result<(), EndorsementError> {
        self.share_certificate(Arc::new(certificate))
    }

    /// Adds a list, unless it is there byte for byte.
    ///
    /// # Errors
    /// [`EndorsementError::TooLarge`] when there are as many as allowed.
    pub fn add_list(&mut self, list: AmdRevocationList) -> Result<(), EndorsementError> {
        self.share_list(Arc::new(list))
    }

    /// Adds everything of `other` that is not there byte for byte.
    ///
    /// # Errors
    /// [`EndorsementError::TooLarge`] when together they are more than allowed.
    pub fn merge(mut self, other: Self) -> Result<Self, EndorsementError> {
        for certificate in other.certificates {
            self.share_certificate(certificate)?;
        }
        for list in other.lists {
            self.share_list(list)?;
        }
        Ok(self)
    }

    /// All certificates, in the order of the file.
    pub fn certificates(&self) -> impl Iterator<Item = &AmdCertificate> {
        self.certificates.iter().map(|certificate| &**certificate)
    }

    /// All revocation lists, in the order of the file.
    pub fn lists(&self) -> impl Iterator<Item = &AmdRevocationList> {
        self.lists.iter().map(|list| &**list)
    }

    /// ASKs or ASVKs of a product, of any date.
    pub fn intermediates(
        &self,
        product: SnpProduct,
        signer: AmdSigner,
    ) -> impl Iterator<Item = &AmdCertificate> {
        self.certificates()
            .filter(move |c| c.kind == AmdCertificateKind::Intermediate(product, signer))
    }

    /// VCEKs of a processor at a TCB, of any date.
    pub fn vceks(
        &self,
        product: SnpProduct,
        chip_id: ChipId,
        tcb: SnpTcb,
    ) -> impl Iterator<Item = &AmdCertificate> {
        self.certificates().filter(move |certificate| certificate.is_vcek_of(product, chip_id, tcb))
    }

    /// VLEKs of a product at a TCB, of any date. There is one for each cloud.
    pub fn vleks(&self, product: SnpProduct, tcb: SnpTcb) -> impl Iterator<Item = &AmdCertificate> {
        self.certificates().filter(move |c| c.kind == AmdCertificateKind::Vlek { product, tcb })
    }

    /// Revocation lists of a product, of any date.
    pub fn lists_of(&self, product: SnpProduct) -> impl Iterator<Item = &AmdRevocationList> {
        self.lists().filter(move |list| list.product == product)
    }

    /// Keeps what these say.
    pub(super) fn retain(
        mut self,
        certificate: impl Fn(&AmdCertificate) -> bool,
        list: impl Fn(&AmdRevocationList) -> bool,
    ) -> Self {
        self.certificates.retain(|one| certificate(one));
        self.lists.retain(|one| list(one));
        self
    }

    fn share_certificate(&mut self, one: Arc<AmdCertificate>) -> Result<(), EndorsementError> {
        if self.certificates.iter().all(|known| known.der != one.der) {
            let count = self.certificates.len().saturating_add(1);
            bounded("number of AMD certificates", count, MAX_ENDORSEMENT_ENTRIES)?;
            self.certificates.push(one);
        }
        Ok(())
    }

    fn share_list(&mut self, one: Arc<AmdRevocationList>) -> Result<(), EndorsementError> {
        if self.lists.iter().all(|known| known.der != one.der) {
            let count = self.lists.len().saturating_add(1);
            bounded("number of AMD revocation lists", count, MAX_ENDORSEMENT_ENTRIES)?;
            self.lists.push(one);
        }
        Ok(())
    }
}

fn kind(certificate: &Certificate) -> Option<AmdCertificateKind> {
    let tbs = certificate.tbs_certificate();
    let (subject, issuer) = (vek::common_name(tbs.subject())?, vek::common_name(tbs.issuer())?);
    let of_issuer = |prefix| SnpProduct::from_certificate(issuer.strip_prefix(prefix)?);
    if subject == "SEV-VCEK" {
        let product = of_issuer("SEV-")?;
        return Some(AmdCertificateKind::Vcek {
            product,
            hardware_id: vek::hardware_id(certificate)?,
            tcb: vek::tcb(certificate, product).ok()?,
        });
    }
    if subject == "SEV-VLEK" {
        let product = of_issuer("SEV-VLEK-")?;
        let tcb = vek::tcb(certificate, product).ok()?;
        return Some(AmdCertificateKind::Vlek { product, tcb });
    }
    if let Some(product) = subject.strip_prefix("ARK-") {
        return SnpProduct::from_certificate(product).map(AmdCertificateKind::Root);
    }
    let (product, signer) = match subject.strip_prefix("SEV-VLEK-") {
        Some(product) => (product, AmdSigner::Vlek),
        None => (subject.strip_prefix("SEV-")?, AmdSigner::Vcek),
    };
    Some(AmdCertificateKind::Intermediate(SnpProduct::from_certificate(product)?, signer))
}

fn bounded(what: &'static str, got: usize, limit: usize) -> Result<(), EndorsementError> {
    if got > limit {
        return Err(EndorsementError::TooLarge { what, got, limit });
    }
    Ok(())
}
