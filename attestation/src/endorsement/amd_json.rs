//! AMD's part of a bundle file: how [`AmdEndorsements`] are written and listed.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::claims::SnpProduct;
use crate::endorsement::amd::{AmdCertificate, AmdCertificateKind, AmdRevocationList};
use crate::endorsement::bundle::Entries;
use crate::endorsement::item::{EndorsementItem, ItemKind, Validity};
use crate::endorsement::{AmdEndorsements, EndorsementError};
use crate::unix_time::UnixTime;

/// The wire form: DER in hex. What each is for stands in it, and nowhere else.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AmdJson {
    #[serde(default)]
    certificates: Entries<String>,
    #[serde(default)]
    revocation_lists: Entries<String>,
}

impl AmdJson {
    pub(super) fn parse(self) -> Result<AmdEndorsements, EndorsementError> {
        let unhex = |member| {
            move |text: String| {
                hex::decode(text).map_err(|_| EndorsementError::Member { member, expected: "hex" })
            }
        };
        let mut amd = AmdEndorsements::default();
        for text in self.certificates.0 {
            amd.add_certificate(AmdCertificate::parse(unhex("amd.certificates")(text)?)?)?;
        }
        for text in self.revocation_lists.0 {
            amd.add_list(AmdRevocationList::parse(unhex("amd.revocation_lists")(text)?)?)?;
        }
        Ok(amd)
    }
}

pub(super) fn to_json(amd: &AmdEndorsements) -> Value {
    let certificates: Vec<String> = amd.certificates().map(|c| hex::encode(c.der())).collect();
    let lists: Vec<String> = amd.lists().map(|list| hex::encode(list.der())).collect();
    json!({ "certificates": certificates, "revocation_lists": lists })
}

pub(super) fn items(amd: &AmdEndorsements) -> Vec<EndorsementItem> {
    let certificate = |one: &AmdCertificate| {
        let (kind, subject) = (item_kind(one.kind()), one.kind().to_string());
        EndorsementItem::new(kind, subject, Some(one.validity()), one.der())
    };
    let list = |one: &AmdRevocationList| {
        let subject = format!("ARK-{}", one.product().as_str());
        EndorsementItem::new(ItemKind::AmdCrl, subject, one.validity(), one.der())
    };
    amd.certificates().map(certificate).chain(amd.lists().map(list)).collect()
}

fn item_kind(kind: &AmdCertificateKind) -> ItemKind {
    match kind {
        AmdCertificateKind::Root(_) | AmdCertificateKind::Intermediate(..) => ItemKind::AmdChain,
        AmdCertificateKind::Vcek { .. } => ItemKind::AmdVcek,
        AmdCertificateKind::Vlek { .. } => ItemKind::AmdVlek,
    }
}

/// Without what has expired, and without lists for which a newer one that counts is there.
pub(super) fn pruned(amd: AmdEndorsements, now: UnixTime) -> AmdEndorsements {
    let lists: Vec<(SnpProduct, Option<Validity>)> =
        amd.lists().map(|list| (list.product(), list.validity())).collect();
    amd.retain(
        |certificate| now < certificate.validity().expires,
        |list| {
            list.validity().is_some_and(|validity| {
                let is_newer = |other: &Validity| {
                    other.issued <= now && validity.issued < other.issued && now < other.expires
                };
                let mut others = lists.iter().filter(|(product, _)| *product == list.product());
                now < validity.expires
                    && !others.any(|(_, other)| other.as_ref().is_some_and(is_newer))
            })
        },
    )
}

pub(super) fn from_der(
    certificates: &[&Vec<u8>],
    lists: &[&Vec<u8>],
) -> Result<AmdEndorsements, EndorsementError> {
    let mut amd = AmdEndorsements::default();
    for der in certificates {
        amd.add_certificate(AmdCertificate::parse((*der).clone())?)?;
    }
    for der in lists {
        amd.add_list(AmdRevocationList::parse((*der).clone())?)?;
    }
    Ok(amd)
}
