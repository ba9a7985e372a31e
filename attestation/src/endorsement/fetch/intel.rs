//! Intel's answers. "Intel SGX and TDX Provisioning Certification Service API", version 4.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::{Answer, AnswerError};
use super::part::{Part, SignedList, SignedText};
use crate::claims::Fmspc;
use crate::endorsement::intel::{QeIdentity, TcbInfo};
use crate::endorsement::x509::{crl_issuer, crl_validity};
use crate::limits::MAX_CRL_LEN;

/// The CA that certified a platform; each has a revocation list of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PckCa {
    /// Platforms of several sockets, which is what TDX runs on.
    Platform,
    /// Single processors.
    Processor,
}

impl PckCa {
    /// The parameter `ca` of the service.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Processor => "processor",
        }
    }

    /// What the common name of the CA contains.
    fn name(self) -> &'static str {
        match self {
            Self::Platform => "PCK Platform CA",
            Self::Processor => "PCK Processor CA",
        }
    }

    /// The CA by its name in a certificate or list.
    pub(super) fn of_issuer(issuer: &str) -> Option<Self> {
        [Self::Platform, Self::Processor].into_iter().find(|ca| issuer.contains(ca.name()))
    }
}

#[derive(Deserialize)]
struct TcbInfoJson<'a> {
    #[serde(borrow, rename = "tcbInfo")]
    document: &'a RawValue,
    signature: String,
}

#[derive(Deserialize)]
struct QeIdentityJson<'a> {
    #[serde(borrow, rename = "enclaveIdentity")]
    document: &'a RawValue,
    signature: String,
}

pub(super) fn pck_crl(ca: PckCa, answer: &Answer) -> Result<Part, AnswerError> {
    let chain = answer.chain("SGX-PCK-CRL-Issuer-Chain")?;
    let (der, issuer) = revocation_list(answer)?;
    if PckCa::of_issuer(&issuer) != Some(ca) {
        return Err(AnswerError::Subject { expected: ca.name().to_owned(), got: issuer });
    }
    Ok(Part::IntelPckCrl(SignedList { der, chain }))
}

pub(super) fn root_crl(answer: &Answer) -> Result<Part, AnswerError> {
    let (der, issuer) = revocation_list(answer)?;
    if PckCa::of_issuer(&issuer).is_some() {
        return Err(AnswerError::Subject { expected: "Intel's root CA".to_owned(), got: issuer });
    }
    Ok(Part::IntelRootCrl(der))
}

pub(super) fn tcb_info(fmspc: Fmspc, answer: &Answer) -> Result<Part, AnswerError> {
    const EXPECTED: &str = "TCB info JSON of version 4";
    let chain = answer.chain("TCB-Info-Issuer-Chain")?;
    let wrong = || AnswerError::contents(EXPECTED, &answer.body);
    let TcbInfoJson { document, signature } =
        serde_json::from_slice(&answer.body).map_err(|_| wrong())?;
    let info: TcbInfo = serde_json::from_str(document.get()).map_err(|_| wrong())?;
    let got = format!("{} {}", info.id, Fmspc(info.fmspc));
    let expected = format!("TDX {fmspc}");
    if got != expected {
        return Err(AnswerError::Subject { expected, got: shortened(&got) });
    }
    Ok(Part::IntelTcbInfo(SignedText { text: document.get().to_owned(), signature, chain }))
}

pub(super) fn qe_identity(answer: &Answer) -> Result<Part, AnswerError> {
    const EXPECTED: &str = "QE identity JSON of version 4";
    let chain = answer.chain("SGX-Enclave-Identity-Issuer-Chain")?;
    let wrong = || AnswerError::contents(EXPECTED, &answer.body);
    let QeIdentityJson { document, signature } =
        serde_json::from_slice(&answer.body).map_err(|_| wrong())?;
    let identity: QeIdentity = serde_json::from_str(document.get()).map_err(|_| wrong())?;
    if identity.id != "TD_QE" {
        let got = shortened(&identity.id);
        return Err(AnswerError::Subject { expected: "TD_QE".to_owned(), got });
    }
    Ok(Part::IntelQeIdentity(SignedText { text: document.get().to_owned(), signature, chain }))
}

/// A list in DER, or in hex as PCCS sends the one of the root; and its issuer.
fn revocation_list(answer: &Answer) -> Result<(Vec<u8>, String), AnswerError> {
    const EXPECTED: &str = "a revocation list in DER or hex";
    let wrong = || AnswerError::contents(EXPECTED, &answer.body);
    let der = match answer.body.first() {
        Some(0x30) if crl_validity(&answer.body).is_some() => answer.body.clone(),
        _ => hex::decode(answer.body.trim_ascii()).map_err(|_| wrong())?,
    };
    if der.len() > MAX_CRL_LEN {
        return Err(AnswerError::TooLarge { what: "the revocation list", limit: MAX_CRL_LEN });
    }
    if crl_validity(&der).is_none() {
        return Err(wrong());
    }
    let issuer = crl_issuer(&der).ok_or_else(wrong)?;
    Ok((der, issuer))
}

fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}
