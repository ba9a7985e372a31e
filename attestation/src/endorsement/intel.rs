//! Intel's collateral for one platform type: TCB info, QE identity, CRLs and their chains.
//!
//! In: the JSON object that PCCS clients store (`QuoteCollateralV3`): PEM chains, hex CRLs and
//! signatures, and the *exact text* of the two signed JSON documents, which is kept as is because
//! that text is what Intel signed. Out: [`IntelEndorsements`], with the few members parsed that
//! choose and date it. Nothing is verified here.
//!
//! A `pck_certificate_chain` member is read and thrown away: the library below would let it replace
//! the chain inside the quote, and collateral that is stored per platform type must not choose the
//! platform.

use dcap_qvl::{QeIdentity, QuoteCollateralV3, TcbInfo};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::claims::Fmspc;
use crate::endorsement::EndorsementError;
use crate::endorsement::item::{EndorsementItem, ItemKind, Validity};
use crate::endorsement::x509::{chain_validity, crl_issuer, crl_validity};
use crate::limits::{MAX_CERTIFICATE_CHAIN_LEN, MAX_CRL_LEN, MAX_TCB_JSON_LEN};
use crate::unix_time::UnixTime;

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

/// Intel's statements about one platform type. Parsed, unverified.
#[derive(Clone, Debug)]
pub struct IntelEndorsements {
    collateral: QuoteCollateralV3,
    tcb_info: TcbInfo,
    qe_identity: QeIdentity,
    fmspc: Fmspc,
    tcb_info_dates: DocumentDates,
    qe_identity_dates: DocumentDates,
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

        let collateral = QuoteCollateralV3 {
            pck_crl_issuer_chain: wire.pck_crl_issuer_chain,
            root_ca_crl: unhex("root_ca_crl", &wire.root_ca_crl)?,
            pck_crl: unhex("pck_crl", &wire.pck_crl)?,
            tcb_info_issuer_chain: wire.tcb_info_issuer_chain,
            tcb_info: wire.tcb_info,
            tcb_info_signature: unhex("tcb_info_signature", &wire.tcb_info_signature)?,
            qe_identity_issuer_chain: wire.qe_identity_issuer_chain,
            qe_identity: wire.qe_identity,
            qe_identity_signature: unhex("qe_identity_signature", &wire.qe_identity_signature)?,
            //= attestation/SPEC.md#1
            //# A Verifier MUST NOT use a certificate chain inside collateral in place of the quote's.
            pck_certificate_chain: None,
        };
        let tcb_info: TcbInfo = serde_json::from_str(&collateral.tcb_info).map_err(|_| {
            EndorsementError::Member { member: "tcb_info", expected: "TCB info JSON" }
        })?;
        let qe_identity: QeIdentity =
            serde_json::from_str(&collateral.qe_identity).map_err(|_| {
                EndorsementError::Member { member: "qe_identity", expected: "QE identity JSON" }
            })?;
        let fmspc = tcb_info.fmspc.parse().map_err(|_| EndorsementError::Member {
            member: "tcb_info.fmspc",
            expected: "six bytes in hex",
        })?;
        let tcb_info_dates = dates("tcb_info dates", &tcb_info.issue_date, &tcb_info.next_update)?;
        let qe_identity_dates =
            dates("qe_identity dates", &qe_identity.issue_date, &qe_identity.next_update)?;
        Ok(Self { collateral, tcb_info, qe_identity, fmspc, tcb_info_dates, qe_identity_dates })
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

    /// The collateral in the library's form, without a PCK certificate chain.
    pub(crate) fn collateral(&self) -> &QuoteCollateralV3 {
        &self.collateral
    }

    pub(crate) fn tcb_info(&self) -> &TcbInfo {
        &self.tcb_info
    }

    pub(crate) fn qe_identity(&self) -> &QeIdentity {
        &self.qe_identity
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
        let platform = format!("{} {tee}", self.fmspc);
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
                dated(self.tcb_info_dates),
                c.tcb_info.as_bytes(),
            ),
            EndorsementItem::new(
                ItemKind::IntelQeIdentity,
                shortened(&self.qe_identity.id),
                dated(self.qe_identity_dates),
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
        self.fmspc
    }

    /// Whether the TCB info is for TDX (SGX has one of its own for the same platform type).
    #[must_use]
    pub fn is_tdx(&self) -> bool {
        self.tcb_info.id == "TDX"
    }

    /// Validity of the TCB info.
    #[must_use]
    pub fn tcb_info_dates(&self) -> DocumentDates {
        self.tcb_info_dates
    }

    /// Validity of the QE identity.
    #[must_use]
    pub fn qe_identity_dates(&self) -> DocumentDates {
        self.qe_identity_dates
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

fn dates(
    member: &'static str,
    issued: &str,
    next_update: &str,
) -> Result<DocumentDates, EndorsementError> {
    let parse = |text| {
        UnixTime::parse_rfc3339(text)
            .ok_or(EndorsementError::Member { member, expected: "RFC 3339 timestamps" })
    };
    Ok(DocumentDates { issued: parse(issued)?, next_update: parse(next_update)? })
}
