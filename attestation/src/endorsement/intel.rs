//! Intel's collateral for one platform type: TCB info, QE identity, CRLs and their chains.
//!
//! In: the JSON object that PCCS clients store (`QuoteCollateralV3`): PEM chains, hex CRLs and
//! signatures, and the *exact text* of the two signed JSON documents, which is kept as is because
//! that text is what Intel signed. Out: [`IntelEndorsements`], parsed once: certificates, lists and
//! documents as values beside the exact bytes, so that a verification parses nothing of it again. A
//! chain or list that can't be parsed is kept as that error and refused at its rung, if it is used.
//! Nothing is verified here.
//!
//! A `pck_certificate_chain` member is read and thrown away: other verifiers let it replace the chain
//! inside the quote, and collateral that is stored per platform type must not choose the platform.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::claims::Fmspc;
use crate::endorsement::EndorsementError;
use crate::endorsement::item::{EndorsementItem, ItemKind, Validity};
use crate::endorsement::x509::{chain_validity, crl_issuer, crl_validity};
use crate::limits::{MAX_CERTIFICATE_CHAIN_LEN, MAX_CRL_LEN, MAX_TCB_JSON_LEN};
use crate::unix_time::UnixTime;
use crate::verifier::chain::{Chain, ChainError, RevocationError, UnverifiedList};
use crate::verifier::signature_cache::sha256;

mod qe_identity;
mod tcb_info;

pub(crate) use qe_identity::QeIdentity;
pub(crate) use tcb_info::{
    IsvLevel, LevelStatus, ModuleIdentity, Tcb, TcbInfo, TcbLevel, TdxModule,
};

/// The wire form: `QuoteCollateralV3` as JSON, byte strings in hex.
//
//= attestation/SPEC.md#5
//# A reader MUST refuse unknown members, and MUST ignore `pck_certificate_chain`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CollateralJson {
    pub(super) pck_crl_issuer_chain: String,
    pub(super) root_ca_crl: String,
    pub(super) pck_crl: String,
    pub(super) tcb_info_issuer_chain: String,
    pub(super) tcb_info: String,
    pub(super) tcb_info_signature: String,
    pub(super) qe_identity_issuer_chain: String,
    pub(super) qe_identity: String,
    pub(super) qe_identity_signature: String,
    #[serde(default)]
    #[expect(dead_code, reason = "accepted in files and never used, see the module's text")]
    pub(super) pck_certificate_chain: Option<String>,
}

/// The two lists, for people.
pub(crate) const ROOT_LIST: &str = "root CA's revocation list";
pub(crate) const PCK_LIST: &str = "PCK CA's revocation list";

/// Intel's statements about one platform type. Parsed, unverified.
#[derive(Clone, Debug)]
pub struct IntelEndorsements {
    collateral: Collateral,
    tcb_info: Signed<TcbInfo>,
    qe_identity: Signed<QeIdentity>,
    root_list: Result<UnverifiedList, RevocationError>,
    pck_list: Result<UnverifiedList, RevocationError>,
}

/// The exact texts and bytes, as they were given.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Collateral {
    pck_crl_issuer_chain: String,
    root_ca_crl: Vec<u8>,
    pck_crl: Vec<u8>,
    tcb_info_issuer_chain: String,
    tcb_info: String,
    tcb_info_signature: Vec<u8>,
    qe_identity_issuer_chain: String,
    qe_identity: String,
    qe_identity_signature: Vec<u8>,
}

/// A document with what its signature is verified with. Unverified.
#[derive(Clone, Debug)]
pub(crate) struct Signed<T> {
    /// What the text says.
    pub(crate) parsed: T,
    /// SHA-256 of the exact text.
    pub(crate) digest: [u8; 32],
    /// `r ‖ s` over it, as given.
    pub(crate) signature: Vec<u8>,
    /// The signer's chain, or why it is none.
    pub(crate) signer: Result<Chain, ChainError>,
}

/// Validity that a signed JSON document states about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentDates {
    /// `issueDate`.
    pub issued: UnixTime,
    /// `nextUpdate`.
    pub next_update: UnixTime,
}

impl IntelEndorsements {
    pub(super) fn from_json(wire: CollateralJson) -> Result<Self, EndorsementError> {
        bounded("pck_crl_issuer_chain", &wire.pck_crl_issuer_chain, MAX_CERTIFICATE_CHAIN_LEN)?;
        bounded("tcb_info_issuer_chain", &wire.tcb_info_issuer_chain, MAX_CERTIFICATE_CHAIN_LEN)?;
        bounded(
            "qe_identity_issuer_chain",
            &wire.qe_identity_issuer_chain,
            MAX_CERTIFICATE_CHAIN_LEN,
        )?;
        bounded("tcb_info", &wire.tcb_info, MAX_TCB_JSON_LEN)?;
        bounded("qe_identity", &wire.qe_identity, MAX_TCB_JSON_LEN)?;
        bounded("root_ca_crl", &wire.root_ca_crl, MAX_CRL_LEN.saturating_mul(2))?;
        bounded("pck_crl", &wire.pck_crl, MAX_CRL_LEN.saturating_mul(2))?;
        bounded("tcb_info_signature", &wire.tcb_info_signature, 128)?;
        bounded("qe_identity_signature", &wire.qe_identity_signature, 128)?;

        let collateral = Collateral {
            pck_crl_issuer_chain: wire.pck_crl_issuer_chain,
            root_ca_crl: unhex("root_ca_crl", &wire.root_ca_crl)?,
            pck_crl: unhex("pck_crl", &wire.pck_crl)?,
            tcb_info_issuer_chain: wire.tcb_info_issuer_chain,
            tcb_info: wire.tcb_info,
            tcb_info_signature: unhex("tcb_info_signature", &wire.tcb_info_signature)?,
            qe_identity_issuer_chain: wire.qe_identity_issuer_chain,
            qe_identity: wire.qe_identity,
            qe_identity_signature: unhex("qe_identity_signature", &wire.qe_identity_signature)?,
        };
        //= attestation/SPEC.md#1
        //# A Verifier MUST NOT use a certificate chain inside collateral in place of the quote's.
        let tcb_info: TcbInfo = parsed("tcb_info", &collateral.tcb_info, "TCB info JSON")?;
        let qe_identity: QeIdentity =
            parsed("qe_identity", &collateral.qe_identity, "QE identity JSON")?;
        let signer = |pem: &str| Chain::parse_pem(pem.as_bytes());
        Ok(Self {
            tcb_info: Signed {
                parsed: tcb_info,
                digest: sha256(collateral.tcb_info.as_bytes()),
                signature: collateral.tcb_info_signature.clone(),
                signer: signer(&collateral.tcb_info_issuer_chain),
            },
            qe_identity: Signed {
                parsed: qe_identity,
                digest: sha256(collateral.qe_identity.as_bytes()),
                signature: collateral.qe_identity_signature.clone(),
                signer: signer(&collateral.qe_identity_issuer_chain),
            },
            root_list: UnverifiedList::parse(ROOT_LIST, &collateral.root_ca_crl),
            pck_list: UnverifiedList::parse(PCK_LIST, &collateral.pck_crl),
            collateral,
        })
    }

    /// The wire form again, without a PCK certificate chain.
    pub(super) fn to_json(&self) -> Value {
        let c = &self.collateral;
        json!({
            "pck_crl_issuer_chain": c.pck_crl_issuer_chain,
            "root_ca_crl": hex::encode(&c.root_ca_crl),
            "pck_crl": hex::encode(&c.pck_crl),
            "tcb_info_issuer_chain": c.tcb_info_issuer_chain,
            "tcb_info": c.tcb_info,
            "tcb_info_signature": hex::encode(&c.tcb_info_signature),
            "qe_identity_issuer_chain": c.qe_identity_issuer_chain,
            "qe_identity": c.qe_identity,
            "qe_identity_signature": hex::encode(&c.qe_identity_signature),
        })
    }

    pub(crate) fn tcb_info(&self) -> &Signed<TcbInfo> {
        &self.tcb_info
    }

    pub(crate) fn qe_identity(&self) -> &Signed<QeIdentity> {
        &self.qe_identity
    }

    /// The root's revocation list, or why it is none.
    pub(crate) fn root_list(&self) -> &Result<UnverifiedList, RevocationError> {
        &self.root_list
    }

    /// The PCK CA's revocation list, or why it is none.
    pub(crate) fn pck_list(&self) -> &Result<UnverifiedList, RevocationError> {
        &self.pck_list
    }

    /// Whether the other is the same, byte for byte.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        self.collateral == other.collateral
    }

    /// The time in which all of it counts; `None` when a date can't be read.
    #[must_use]
    pub fn validity(&self) -> Option<Validity> {
        let mut items = self.items().into_iter().map(|item| item.validity);
        let first = items.next()??;
        items.try_fold(first, |so_far, one| Some(so_far.intersect(one?)))
    }

    /// Each document, list and chain with its own dates.
    #[must_use]
    pub fn items(&self) -> Vec<EndorsementItem> {
        let c = &self.collateral;
        let tee = if self.is_tdx() { "TDX" } else { "SGX" };
        let platform = format!("{} {tee}", self.fmspc());
        let dated = |dates: DocumentDates| {
            Some(Validity { issued: dates.issued, expires: dates.next_update })
        };
        let list = |kind, der: &[u8]| {
            let issuer = crl_issuer(der).unwrap_or_else(|| "(unreadable)".to_owned());
            EndorsementItem::new(kind, issuer, crl_validity(der), der)
        };
        let chain = |subject: &str, pem: &str| {
            let validity = chain_validity(pem.as_bytes());
            EndorsementItem::new(ItemKind::IntelSignerChain, subject, validity, pem.as_bytes())
        };
        vec![
            EndorsementItem::new(
                ItemKind::IntelTcbInfo,
                platform,
                dated(self.tcb_info_dates()),
                c.tcb_info.as_bytes(),
            ),
            EndorsementItem::new(
                ItemKind::IntelQeIdentity,
                shortened(&self.qe_identity.parsed.id),
                dated(self.qe_identity_dates()),
                c.qe_identity.as_bytes(),
            ),
            list(ItemKind::IntelPckCrl, &c.pck_crl),
            list(ItemKind::IntelRootCrl, &c.root_ca_crl),
            chain("TCB info", &c.tcb_info_issuer_chain),
            chain("QE identity", &c.qe_identity_issuer_chain),
            chain("PCK revocation list", &c.pck_crl_issuer_chain),
        ]
    }

    /// The platform type that the TCB info is for.
    #[must_use]
    pub fn fmspc(&self) -> Fmspc {
        Fmspc(self.tcb_info.parsed.fmspc)
    }

    /// Whether the TCB info is for TDX (SGX has one of its own for the same platform type).
    #[must_use]
    pub fn is_tdx(&self) -> bool {
        self.tcb_info.parsed.id == "TDX"
    }

    /// Validity of the TCB info.
    #[must_use]
    pub fn tcb_info_dates(&self) -> DocumentDates {
        let TcbInfo { issue_date, next_update, .. } = self.tcb_info.parsed;
        DocumentDates { issued: issue_date, next_update }
    }

    /// Validity of the QE identity.
    #[must_use]
    pub fn qe_identity_dates(&self) -> DocumentDates {
        let QeIdentity { issue_date, next_update, .. } = self.qe_identity.parsed;
        DocumentDates { issued: issue_date, next_update }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(32).collect()
}

fn bounded(what: &'static str, text: &str, limit: usize) -> Result<(), EndorsementError> {
    if text.len() > limit {
        return Err(EndorsementError::TooLarge { what, got: text.len(), limit });
    }
    Ok(())
}

fn unhex(member: &'static str, text: &str) -> Result<Vec<u8>, EndorsementError> {
    hex::decode(text).map_err(|_| EndorsementError::Member { member, expected: "hex" })
}

fn parsed<'a, T: Deserialize<'a>>(
    member: &'static str,
    text: &'a str,
    expected: &'static str,
) -> Result<T, EndorsementError> {
    serde_json::from_str(text).map_err(|_| EndorsementError::Member { member, expected })
}
