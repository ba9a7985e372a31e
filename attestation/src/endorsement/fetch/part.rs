//! What was read from answers, and the bundle that several of them make.

use super::amd::AmdSigner;
use super::answer::AnswerError;
use crate::claims::SnpProduct;
use crate::endorsement::intel::CollateralJson;
use crate::endorsement::item::{Freshness, ItemKind, Validity};
use crate::endorsement::x509::{certificate_validity, chain_validity, crl_validity};
use crate::endorsement::{EndorsementBundle, EndorsementError, IntelEndorsements, amd_json};
use crate::unix_time::UnixTime;
use crate::verifier::{TrustAnchors, vouch};

/// A revocation list with the chain of its issuer, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedList {
    pub(super) der: Vec<u8>,
    pub(super) chain: String,
}

/// A signed JSON document, its exact text, with the chain of its signer, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedText {
    pub(super) text: String,
    pub(super) signature: String,
    pub(super) chain: String,
}

/// One vendor statement as it was answered. Parsed as far as its subject and dates; unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Revocation list of a PCK CA.
    IntelPckCrl(SignedList),
    /// Revocation list of Intel's root, DER.
    IntelRootCrl(Vec<u8>),
    /// TCB info.
    IntelTcbInfo(SignedText),
    /// QE identity.
    IntelQeIdentity(SignedText),
    /// Intermediate and root certificate of a product.
    AmdChain {
        /// The product.
        product: SnpProduct,
        /// What the intermediate signs.
        signer: AmdSigner,
        /// DER, intermediate first.
        certificates: Vec<Vec<u8>>,
    },
    /// Revocation list of a product's ARK.
    AmdCrl {
        /// The product.
        product: SnpProduct,
        /// DER.
        der: Vec<u8>,
    },
    /// Certificate of a processor.
    AmdVcek {
        /// The product.
        product: SnpProduct,
        /// DER.
        der: Vec<u8>,
    },
}

impl Part {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> ItemKind {
        match self {
            Self::IntelPckCrl(_) => ItemKind::IntelPckCrl,
            Self::IntelRootCrl(_) => ItemKind::IntelRootCrl,
            Self::IntelTcbInfo(_) => ItemKind::IntelTcbInfo,
            Self::IntelQeIdentity(_) => ItemKind::IntelQeIdentity,
            Self::AmdChain { .. } => ItemKind::AmdChain,
            Self::AmdCrl { .. } => ItemKind::AmdCrl,
            Self::AmdVcek { .. } => ItemKind::AmdVcek,
        }
    }

    /// The time in which it and the chain beside it count; `None` when that can't be read.
    #[must_use]
    pub fn validity(&self) -> Option<Validity> {
        match self {
            Self::IntelPckCrl(list) => {
                Some(crl_validity(&list.der)?.intersect(chain_validity(list.chain.as_bytes())?))
            }
            Self::IntelRootCrl(der) | Self::AmdCrl { der, .. } => crl_validity(der),
            Self::IntelTcbInfo(signed) | Self::IntelQeIdentity(signed) => Some(
                document_validity(&signed.text)?
                    .intersect(chain_validity(signed.chain.as_bytes())?),
            ),
            Self::AmdChain { certificates, .. } => {
                let mut all = certificates.iter().map(|der| certificate_validity(der));
                let first = all.next()??;
                all.try_fold(first, |so_far, one| Some(so_far.intersect(one?)))
            }
            Self::AmdVcek { der, .. } => certificate_validity(der),
        }
    }

    /// Checks that it was signed by whom it should be, under a root that is trusted. For whoever keeps parts:
    /// what a service sends in place of a vendor's statement must not take the place of one. It proves
    /// nothing that the Verifier would not look at again, and says nothing of its dates.
    ///
    /// A certificate of a processor is held against AMD's own intermediates. Where extra roots are trusted
    /// it may stand under one that is not at hand here, and is left to the Verifier.
    ///
    /// # Errors
    /// [`AnswerError::Unsigned`].
    pub fn vouched(&self, anchors: &TrustAnchors, now: UnixTime) -> Result<(), AnswerError> {
        let vouched = match self {
            Self::IntelPckCrl(list) => {
                vouch::intel_list_of_ca(&list.der, list.chain.as_bytes(), anchors, now)
            }
            Self::IntelRootCrl(der) => vouch::intel_list_of_root(der, anchors, now),
            Self::IntelTcbInfo(signed) | Self::IntelQeIdentity(signed) => {
                let SignedText { text, signature, chain } = signed;
                vouch::intel_document(text, signature, chain.as_bytes(), anchors, now)
            }
            Self::AmdChain { product, certificates, .. } => {
                vouch::amd_chain(*product, certificates, anchors)
            }
            Self::AmdCrl { product, der } => vouch::amd_list(*product, der, anchors, now),
            Self::AmdVcek { product, der } => vouch::amd_vcek(*product, der, anchors),
        };
        vouched.map_err(|detail| AnswerError::Unsigned { detail })
    }

    /// Whether it counts at `now`, and for how long.
    #[must_use]
    pub fn freshness(&self, now: UnixTime) -> Freshness {
        Freshness::at(self.kind(), self.validity(), now)
    }
}

/// Makes a bundle of parts. TCB infos need the other three of Intel's parts beside them; one without
/// them makes no entry, and the Verifier then says that none is there.
///
/// # Errors
/// [`EndorsementError`] of the part that can't be used.
pub fn assemble<'a>(
    parts: impl IntoIterator<Item = &'a Part>,
) -> Result<EndorsementBundle, EndorsementError> {
    let mut tcb_infos = Vec::new();
    let (mut pck_crl, mut root_crl, mut qe_identity) = (None, None, None);
    let mut certificates = Vec::new();
    let mut lists = Vec::new();
    for part in parts {
        match part {
            Part::IntelPckCrl(list) => pck_crl = Some(list),
            Part::IntelRootCrl(der) => root_crl = Some(der),
            Part::IntelTcbInfo(signed) => tcb_infos.push(signed),
            Part::IntelQeIdentity(signed) => qe_identity = Some(signed),
            Part::AmdChain { certificates: chain, .. } => certificates.extend(chain),
            Part::AmdVcek { der, .. } => certificates.push(der),
            Part::AmdCrl { der, .. } => lists.push(der),
        }
    }
    let mut bundle = EndorsementBundle::from(amd_json::from_der(&certificates, &lists)?);
    if let (Some(pck_crl), Some(root_crl), Some(qe_identity)) = (pck_crl, root_crl, qe_identity) {
        for tcb_info in tcb_infos {
            let entry = IntelEndorsements::from_json(CollateralJson {
                pck_crl_issuer_chain: pck_crl.chain.clone(),
                root_ca_crl: hex::encode(root_crl),
                pck_crl: hex::encode(&pck_crl.der),
                tcb_info_issuer_chain: tcb_info.chain.clone(),
                tcb_info: tcb_info.text.clone(),
                tcb_info_signature: tcb_info.signature.clone(),
                qe_identity_issuer_chain: qe_identity.chain.clone(),
                qe_identity: qe_identity.text.clone(),
                qe_identity_signature: qe_identity.signature.clone(),
                pck_certificate_chain: None,
            })?;
            bundle = bundle.merge(EndorsementBundle::from(entry))?;
        }
    }
    Ok(bundle)
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct DatesJson {
    issue_date: String,
    next_update: String,
}

fn document_validity(text: &str) -> Option<Validity> {
    let DatesJson { issue_date, next_update } = serde_json::from_str(text).ok()?;
    Some(Validity {
        issued: UnixTime::parse_rfc3339(&issue_date)?,
        expires: UnixTime::parse_rfc3339(&next_update)?,
    })
}
