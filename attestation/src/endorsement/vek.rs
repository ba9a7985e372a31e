//! What AMD writes into the certificate of an endorsement key (VCEK, VLEK): names and extensions.
//!
//! In: a parsed certificate. Out: its fields, as they stand there. Read by the bundle, which sorts
//! certificates by them, and by the Verifier, which compares them; neither believes them for being read.
//!
//! Layout: AMD 57230, tables 8 to 11.

use der::Decode as _;
use der::asn1::{Ia5StringRef, ObjectIdentifier, OctetStringRef};
use x509_cert::Certificate;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::Name;

use crate::claims::{SnpProduct, SnpTcb};

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const PRODUCT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.2");
const BOOTLOADER_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.1");
const TEE_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.2");
const SNP_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.3");
const MICROCODE_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.8");
const FMC_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.9");
const HARDWARE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4");
const CSP_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.5");

/// The first common name, bounded: it comes from outside and ends up in logs.
pub(crate) fn common_name(name: &Name) -> Option<String> {
    let found = name.iter().find(|part: &&AttributeTypeAndValue| part.oid == COMMON_NAME)?;
    let text = std::str::from_utf8(found.value.value()).ok()?;
    Some(text.chars().take(64).collect())
}

/// productName, bounded.
pub(crate) fn product_name(certificate: &Certificate) -> Option<String> {
    let name = Ia5StringRef::from_der(extension(certificate, PRODUCT_NAME)?).ok()?;
    Some(name.as_str().chars().take(64).collect())
}

/// The security patch levels that the key is bound to, or the name of the first that can't be read.
/// Turin has one more than the others.
pub(crate) fn tcb(certificate: &Certificate, product: SnpProduct) -> Result<SnpTcb, &'static str> {
    let level = |oid, member| {
        extension(certificate, oid).and_then(|value| u8::from_der(value).ok()).ok_or(member)
    };
    Ok(SnpTcb {
        fmc: match product {
            SnpProduct::Milan | SnpProduct::Genoa => None,
            SnpProduct::Turin => Some(level(FMC_SPL, "fmcSPL")?),
        },
        bootloader: level(BOOTLOADER_SPL, "blSPL")?,
        tee: level(TEE_SPL, "teeSPL")?,
        snp: level(SNP_SPL, "snpSPL")?,
        microcode: level(MICROCODE_SPL, "ucodeSPL")?,
    })
}

/// hwID. It stands bare in the extension, or wrapped once more into an OCTET STRING.
pub(crate) fn hardware_id(certificate: &Certificate) -> Option<Vec<u8>> {
    let value = extension(certificate, HARDWARE_ID)?;
    Some(match <&OctetStringRef>::from_der(value) {
        Ok(wrapped) if value.len() != 64 && value.len() != 8 => wrapped.as_bytes().to_vec(),
        _ => value.to_vec(),
    })
}

/// cspID, an IA5String: text of one cloud, bounded.
pub(crate) fn csp_id(certificate: &Certificate) -> Option<String> {
    let value = extension(certificate, CSP_ID)?;
    let text = Ia5StringRef::from_der(value).map_or_else(
        |_| String::from_utf8_lossy(value).into_owned(),
        |text| text.as_str().to_owned(),
    );
    Some(text.chars().filter(|c| !c.is_control()).take(128).collect())
}

fn extension(certificate: &Certificate, oid: ObjectIdentifier) -> Option<&[u8]> {
    let mut all = certificate.tbs_certificate().extensions()?.iter();
    all.find(|extension| extension.extn_id == oid).map(|found| found.extn_value.as_bytes())
}
