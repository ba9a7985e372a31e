//! AMD's answers. "Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification"
//! (AMD 57230).

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::answer::{Answer, AnswerError};
use super::part::Part;
use crate::claims::{ChipId, SnpProduct, SnpTcb};
use crate::endorsement::amd::{AmdCertificate, AmdCertificateKind, AmdRevocationList};
use crate::limits::MAX_CHAIN_CERTIFICATES;

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

/// The bytes of CHIP_ID that name a processor of a product.
pub(in crate::endorsement) fn hardware_id(product: SnpProduct, chip_id: &ChipId) -> &[u8] {
    chip_id.0.get(..product.chip_id_len()).unwrap_or(&chip_id.0)
}

/// A TCB as one word, for names of statements.
pub(super) fn word(tcb: SnpTcb) -> String {
    let fmc = tcb.fmc.map_or_else(String::new, |fmc| format!("fmc{fmc}-"));
    let SnpTcb { bootloader, tee, snp, microcode, .. } = tcb;
    format!("{fmc}bl{bootloader}-tee{tee}-snp{snp}-ucode{microcode}")
}

pub(super) fn vcek_path(product: SnpProduct, chip_id: &ChipId, tcb: SnpTcb) -> String {
    let fmc = tcb.fmc.map_or_else(String::new, |fmc| format!("fmcSPL={fmc:02}&"));
    format!(
        "/vcek/v1/{}/{}?{fmc}blSPL={:02}&teeSPL={:02}&snpSPL={:02}&ucodeSPL={:02}",
        product.as_str(),
        hex::encode(hardware_id(product, chip_id)),
        tcb.bootloader,
        tcb.tee,
        tcb.snp,
        tcb.microcode
    )
}

pub(super) fn chain(
    product: SnpProduct,
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

pub(super) fn crl(product: SnpProduct, answer: &Answer) -> Result<Part, AnswerError> {
    let wrong = |_| AnswerError::contents("the revocation list of an ARK in DER", &answer.body);
    let list = AmdRevocationList::parse(answer.body.clone()).map_err(wrong)?;
    if list.product() != product {
        let named = |product: SnpProduct| format!("ARK-{}", product.as_str());
        return Err(AnswerError::Subject { expected: named(product), got: named(list.product()) });
    }
    Ok(Part::AmdCrl { product, der: answer.body.clone() })
}

pub(super) fn vcek(
    product: SnpProduct,
    chip_id: &ChipId,
    tcb: SnpTcb,
    answer: &Answer,
) -> Result<Part, AnswerError> {
    let wrong = |_| AnswerError::contents("a VCEK in DER", &answer.body);
    let certificate = AmdCertificate::parse(answer.body.clone()).map_err(wrong)?;
    let hardware_id = hardware_id(product, chip_id).to_vec();
    let wanted = AmdCertificateKind::Vcek { product, hardware_id, tcb };
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
    use crate::claims::CpuId;

    #[test]
    fn bergamo_and_siena_are_asked_for_under_genoa() {
        for name in ["Genoa", "Bergamo", "Siena"] {
            assert_eq!(SnpProduct::from_certificate(name), Some(SnpProduct::Genoa), "{name}");
        }
        let of = |family, model| SnpProduct::from_cpuid(CpuId { family, model, stepping: 1 });
        assert_eq!(of(0x19, 0xA0), Some(SnpProduct::Genoa));
        assert_eq!(of(0x19, 0x11), Some(SnpProduct::Genoa));
        assert_eq!(SnpProduct::from_certificate("../../etc"), None);
    }

    #[test]
    fn a_vcek_is_asked_for_by_processor_and_tcb() {
        let chip_id = ChipId(std::array::from_fn(|i| u8::try_from(i).unwrap_or(0)));
        let tcb = SnpTcb { fmc: None, bootloader: 3, tee: 0, snp: 8, microcode: 115 };
        let id = hex::encode(chip_id.0);
        assert_eq!(
            vcek_path(SnpProduct::Milan, &chip_id, tcb),
            format!("/vcek/v1/Milan/{id}?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115")
        );
        let tcb = SnpTcb { fmc: Some(1), ..tcb };
        assert_eq!(
            vcek_path(SnpProduct::Turin, &chip_id, tcb),
            "/vcek/v1/Turin/0001020304050607?fmcSPL=01&blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115"
        );
    }
}
