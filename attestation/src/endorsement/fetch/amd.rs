//! AMD's answers. "Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification"
//! (AMD 57230).

use std::fmt;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::answer::{Answer, AnswerError};
use super::part::Part;
use crate::endorsement::amd::{AmdCertificate, AmdCertificateKind, AmdRevocationList};
use crate::limits::MAX_CHAIN_CERTIFICATES;

/// A name under which the KDS answers. Parts with another code name answer under that of their
/// silicon: Bergamo and Siena under Genoa.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KdsProduct {
    /// Zen 3.
    Milan,
    /// Zen 4, and Zen 4c (Bergamo, Siena).
    Genoa,
    /// Zen 5 and 5c.
    Turin,
}

impl KdsProduct {
    /// The product in the KDS's paths and in the names of certificates.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// The product of a code name, in any case.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "milan" => Some(Self::Milan),
            "genoa" | "bergamo" | "siena" => Some(Self::Genoa),
            "turin" => Some(Self::Turin),
            _ => None,
        }
    }

    /// The product of a processor's family and model, as CPUID and reports of version 3 and newer
    /// state them.
    #[must_use]
    pub fn of_cpuid(family: u8, model: u8) -> Option<Self> {
        match (family, model) {
            (0x19, 0x00..=0x0F) => Some(Self::Milan),
            // Genoa, and Bergamo and Siena.
            (0x19, 0x10..=0x1F | 0xA0..=0xAF) => Some(Self::Genoa),
            (0x1A, 0x00..=0x11) => Some(Self::Turin),
            (_, _) => None,
        }
    }
}

/// Which of AMD's intermediate keys signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AmdSigner {
    /// ASK: certificates of processors.
    Vcek,
    /// ASVK: certificates that clouds load.
    Vlek,
}

impl AmdSigner {
    /// The key in the KDS's paths.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vcek => "vcek",
            Self::Vlek => "vlek",
        }
    }
}

/// CHIP_ID of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChipId(pub [u8; 64]);

impl ChipId {
    /// The bytes that name a processor of a product: Turin's are the first eight.
    pub(in crate::endorsement) fn hardware_id(&self, product: KdsProduct) -> &[u8] {
        match product {
            KdsProduct::Milan | KdsProduct::Genoa => &self.0,
            KdsProduct::Turin => self.0.first_chunk::<8>().map_or(&self.0, |head| &head[..]),
        }
    }
}

/// Security patch levels of a report's REPORTED_TCB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AmdTcb {
    /// FMC, which Turin has.
    pub fmc: Option<u8>,
    /// Boot loader.
    pub bootloader: u8,
    /// PSP operating system.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode.
    pub microcode: u8,
}

impl fmt::Display for AmdTcb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(fmc) = self.fmc {
            write!(f, "fmc{fmc}-")?;
        }
        write!(f, "bl{}-tee{}-snp{}-ucode{}", self.bootloader, self.tee, self.snp, self.microcode)
    }
}

pub(super) fn vcek_path(product: KdsProduct, chip_id: &ChipId, tcb: AmdTcb) -> String {
    let fmc = tcb.fmc.map_or_else(String::new, |fmc| format!("fmcSPL={fmc:02}&"));
    format!(
        "/vcek/v1/{}/{}?{fmc}blSPL={:02}&teeSPL={:02}&snpSPL={:02}&ucodeSPL={:02}",
        product.as_str(),
        hex::encode(chip_id.hardware_id(product)),
        tcb.bootloader,
        tcb.tee,
        tcb.snp,
        tcb.microcode
    )
}

pub(super) fn chain(
    product: KdsProduct,
    signer: AmdSigner,
    answer: &Answer,
) -> Result<Part, AnswerError> {
    const EXPECTED: &str = "a PEM chain of two certificates of AMD's";
    let wrong = || AnswerError::contents(EXPECTED, &answer.body);
    let mut certificates = Vec::new();
    for der in CertificateDer::pem_slice_iter(&answer.body) {
        let der = der.map_err(|_| wrong())?;
        if certificates.len() == MAX_CHAIN_CERTIFICATES {
            return Err(wrong());
        }
        certificates.push(AmdCertificate::parse(der.to_vec()).map_err(|_| wrong())?);
    }
    let [intermediate, root] = certificates.as_slice() else {
        return Err(wrong());
    };
    about(intermediate, &AmdCertificateKind::Intermediate(product, signer))?;
    about(root, &AmdCertificateKind::Root(product))?;
    let certificates = certificates.iter().map(|one| one.der().to_vec()).collect();
    Ok(Part::AmdChain { product, signer, certificates })
}

pub(super) fn crl(product: KdsProduct, answer: &Answer) -> Result<Part, AnswerError> {
    let wrong = |_| AnswerError::contents("the revocation list of an ARK in DER", &answer.body);
    let list = AmdRevocationList::parse(answer.body.clone()).map_err(wrong)?;
    if list.product() != product {
        let named = |product: KdsProduct| format!("ARK-{}", product.as_str());
        return Err(AnswerError::Subject { expected: named(product), got: named(list.product()) });
    }
    Ok(Part::AmdCrl { product, der: answer.body.clone() })
}

pub(super) fn vcek(
    product: KdsProduct,
    chip_id: &ChipId,
    tcb: AmdTcb,
    answer: &Answer,
) -> Result<Part, AnswerError> {
    let wrong = |_| AnswerError::contents("a VCEK in DER", &answer.body);
    let certificate = AmdCertificate::parse(answer.body.clone()).map_err(wrong)?;
    // Raw bytes in new certificates, an OCTET STRING in others: in both they are the last.
    let expected = chip_id.hardware_id(product);
    let hardware_id = match certificate.kind() {
        AmdCertificateKind::Vcek { hardware_id, .. } if hardware_id.ends_with(expected) => {
            hardware_id
        }
        AmdCertificateKind::Vcek { .. }
        | AmdCertificateKind::Root(_)
        | AmdCertificateKind::Intermediate(..)
        | AmdCertificateKind::Vlek { .. } => expected,
    };
    let wanted = AmdCertificateKind::Vcek { product, hardware_id: hardware_id.to_vec(), tcb };
    about(&certificate, &wanted)?;
    Ok(Part::AmdVcek { product, der: answer.body.clone() })
}

/// Whether a certificate is of the kind that was asked for.
fn about(got: &AmdCertificate, expected: &AmdCertificateKind) -> Result<(), AnswerError> {
    if got.kind() == expected {
        return Ok(());
    }
    Err(AnswerError::Subject { expected: expected.to_string(), got: got.kind().to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bergamo_and_siena_are_asked_for_under_genoa() {
        for name in ["Genoa", "bergamo", "Siena"] {
            assert_eq!(KdsProduct::of_name(name), Some(KdsProduct::Genoa), "{name}");
        }
        assert_eq!(KdsProduct::of_cpuid(0x19, 0xA0), Some(KdsProduct::Genoa));
        assert_eq!(KdsProduct::of_cpuid(0x19, 0x11), Some(KdsProduct::Genoa));
        assert_eq!(KdsProduct::of_cpuid(0x19, 0x01), Some(KdsProduct::Milan));
        assert_eq!(KdsProduct::of_cpuid(0x1A, 0x02), Some(KdsProduct::Turin));
        assert_eq!(KdsProduct::of_cpuid(0x17, 0x31), None);
        assert_eq!(KdsProduct::of_name("../../etc"), None);
    }

    #[test]
    fn a_vcek_is_asked_for_by_processor_and_tcb() {
        let chip_id = ChipId(std::array::from_fn(|i| u8::try_from(i).unwrap_or(0)));
        let tcb = AmdTcb { fmc: None, bootloader: 3, tee: 0, snp: 8, microcode: 115 };
        let id = hex::encode(chip_id.0);
        assert_eq!(
            vcek_path(KdsProduct::Milan, &chip_id, tcb),
            format!("/vcek/v1/Milan/{id}?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115")
        );
        let tcb = AmdTcb { fmc: Some(1), ..tcb };
        assert_eq!(
            vcek_path(KdsProduct::Turin, &chip_id, tcb),
            "/vcek/v1/Turin/0001020304050607?fmcSPL=01&blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115"
        );
    }
}
