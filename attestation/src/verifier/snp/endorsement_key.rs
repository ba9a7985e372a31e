//! Rungs S6 and S2: the certificate of the key that signed the report, and whose processor it is of.
//!
//! In: certificates from the sender and from the Verifier's bundle. Out: the one to try, with the
//! extensions that AMD puts into it.
//!
//! What a sender calls a certificate decides nothing. The report says which kind of key signed it, and
//! the certificate says in its own subject and issuer, which AMD's intermediate signed, which kind it is.

use der::Encode as _;
use der::asn1::ObjectIdentifier;

use crate::claims::{SigningKey, SnpProduct, SnpTcb};
use crate::endorsement::EndorsementBundle;
use crate::endorsement::amd::AmdCertificateKind;
use crate::endorsement::vek;
use crate::evidence::SnpEvidence;
use crate::evidence::snp::SnpReport;
use crate::verifier::chain::Link;
use crate::verifier::snp::SnpError;

/// The certificate of a VCEK or VLEK. Parsed, unverified.
#[derive(Clone, Debug)]
pub(super) struct EndorsementKey {
    pub(super) link: Link,
    pub(super) kind: SigningKey,
    /// The product in the issuer's name.
    issuer_product: SnpProduct,
    /// hwID, as it stands in the certificate.
    pub(super) hardware_id: Option<Vec<u8>>,
    /// cspID of a VLEK.
    pub(super) csp_id: Option<String>,
}

impl EndorsementKey {
    /// S6: the certificate that fits the report best. Which one is picked decides about no check.
    pub(super) fn choose(
        evidence: &SnpEvidence,
        endorsements: &EndorsementBundle,
    ) -> Result<Self, SnpError> {
        let report = evidence.report();
        //= attestation/SPEC.md#8
        //# A Verifier MUST take the kind of the signing key from the report, and MUST NOT take it from what a sender calls a certificate.
        let wanted = report
            .key_info
            .signing_key()
            .ok_or(SnpError::SigningKey { got: report.key_info.signing_key_bits() })?;
        let presented = evidence.certificates().iter().map(|(_, der)| der);
        // A bundle may have a thousand of them: what each is for was read once, and one is parsed.
        let own = endorsements
            .amd()
            .certificates()
            .filter_map(|own| Some((fit(own.kind(), wanted, report)?, own.der())))
            .max_by_key(|(fit, _)| *fit)
            .map(|(_, der)| der);
        let mut refusal = SnpError::NoEndorsementKey { wanted };
        let mut best: Option<((bool, bool, bool), Self)> = None;
        for der in presented.chain(own) {
            let key = match Self::parse(der) {
                Ok(Some(key)) => key,
                // An intermediate, a root.
                Ok(None) => continue,
                Err(error) => {
                    refusal = error;
                    continue;
                }
            };
            let fits = (key.kind == wanted, key.is_of_chip(report), key.is_of_firmware(report));
            if best.as_ref().is_none_or(|(fit, _)| *fit < fits) {
                best = Some((fits, key));
            }
        }
        let (_, key) = best.ok_or(refusal)?;
        if key.kind != wanted {
            return Err(SnpError::KeyKind { expected: wanted, got: key.kind });
        }
        Ok(key)
    }

    /// `None` for a certificate that is not of an endorsement key.
    fn parse(der: &[u8]) -> Result<Option<Self>, SnpError> {
        let unreadable = SnpError::Certificate { member: "the certificate itself" };
        let link = Link::parse(der).map_err(|_| unreadable)?;
        let kind = match vek::common_name(link.subject()).as_deref() {
            Some("SEV-VCEK") => SigningKey::Vcek,
            Some("SEV-VLEK") => SigningKey::Vlek,
            _ => return Ok(None),
        };
        let issuer = vek::common_name(link.issuer()).unwrap_or_else(|| "nobody".to_owned());
        let prefix = match kind {
            SigningKey::Vcek => "SEV-",
            SigningKey::Vlek => "SEV-VLEK-",
        };
        let issuer_product = issuer
            .strip_prefix(prefix)
            .and_then(|product| product.parse().ok())
            .ok_or(SnpError::KeyIssuer { kind, got: issuer.clone() })?;
        let hardware_id = vek::hardware_id(&link.certificate);
        let csp_id = vek::csp_id(&link.certificate);
        Ok(Some(Self { link, kind, issuer_product, hardware_id, csp_id }))
    }

    /// S2: processor, certificate and issuer are of one product line.
    pub(super) fn product(&self, report: &SnpReport) -> Result<SnpProduct, SnpError> {
        let differs = |what, expected, got| Err(SnpError::Product { what, expected, got });
        let product = self.issuer_product;
        let stated = vek::product_name(&self.link.certificate)
            .ok_or(SnpError::Certificate { member: "productName" })?;
        if SnpProduct::from_certificate(&stated) != Some(product) {
            return differs("productName of the certificate", product, stated);
        }
        match report.cpuid {
            Some(cpuid) if SnpProduct::from_cpuid(cpuid) == Some(product) => Ok(product),
            Some(cpuid) => differs("processor of the report", product, cpuid.to_string()),
            // Version 2 does not say; the byte order of its TCB versions does, as far as it goes.
            None if (report.tcb_layout() == SnpProduct::Turin)
                == (product == SnpProduct::Turin) =>
            {
                Ok(product)
            }
            None => differs("layout of the report", product, report.tcb_layout().to_string()),
        }
    }

    /// The security patch levels that the key is bound to.
    pub(super) fn tcb(&self, product: SnpProduct) -> Result<SnpTcb, SnpError> {
        vek::tcb(&self.link.certificate, product).map_err(|member| SnpError::Certificate { member })
    }

    fn is_of_chip(&self, report: &SnpReport) -> bool {
        match self.kind {
            SigningKey::Vlek => true,
            SigningKey::Vcek => self.hardware_id.as_deref().is_some_and(|id| {
                let len = self.issuer_product.chip_id_len();
                report.chip_id.0.get(..len) == Some(id)
            }),
        }
    }

    fn is_of_firmware(&self, report: &SnpReport) -> bool {
        let reported = SnpTcb::read(report.reported_tcb.0, self.issuer_product);
        self.tcb(self.issuer_product).ok().is_some_and(|tcb| reported == Some(tcb))
    }
}

/// How well a certificate of the bundle fits a report, by what it says it is for: kind, chip, firmware.
/// `None` for one that is not of an endorsement key.
fn fit(
    kind: &AmdCertificateKind,
    wanted: SigningKey,
    report: &SnpReport,
) -> Option<(bool, bool, bool)> {
    let is_of_firmware =
        |product, tcb| SnpTcb::read(report.reported_tcb.0, product).as_ref() == Some(tcb);
    match kind {
        AmdCertificateKind::Vcek { product, hardware_id, tcb } => {
            let chip = report.chip_id.0.get(..product.chip_id_len())?;
            let is_of_chip = hardware_id == chip;
            Some((wanted == SigningKey::Vcek, is_of_chip, is_of_firmware(*product, tcb)))
        }
        AmdCertificateKind::Vlek { product, tcb } => {
            Some((wanted == SigningKey::Vlek, true, is_of_firmware(*product, tcb)))
        }
        AmdCertificateKind::Root(_) | AmdCertificateKind::Intermediate(..) => None,
    }
}

/// Whether a certificate or list is signed as AMD signs: RSASSA-PSS with SHA-384, MGF1 of SHA-384 and a
/// salt of 48 bytes. AMD 57230, §3.1; RFC 4055, §3.1.
pub(in crate::verifier) fn is_amd_signature(
    algorithm: &x509_cert::spki::AlgorithmIdentifierOwned,
) -> bool {
    const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
    /// hashAlgorithm, maskGenAlgorithm, saltLength. AMD writes the default trailer field, too.
    const PARAMETERS: [u8; 50] = [
        0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02,
        0x05, 0x00, 0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01,
        0x01, 0x08, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02,
        0x05, 0x00, 0xa2, 0x03, 0x02,
    ];
    const SALT_48: [u8; 2] = [0x01, 0x30];
    const TRAILER: [u8; 5] = [0xa3, 0x03, 0x02, 0x01, 0x01];
    let Some(parameters) = algorithm.parameters.as_ref().and_then(|any| any.to_der().ok()) else {
        return false;
    };
    // After tag and length of the sequence.
    let Some(value) = parameters.get(2..) else { return false };
    let rest = value.strip_prefix(&PARAMETERS).and_then(|rest| rest.strip_prefix(&SALT_48));
    algorithm.oid == RSASSA_PSS
        && parameters.first() == Some(&0x30)
        && parameters.get(1).copied().map(usize::from) == Some(value.len())
        && rest.is_some_and(|rest| rest.is_empty() || rest == TRAILER)
}
