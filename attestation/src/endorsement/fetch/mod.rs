//! What to ask the vendors' services for, and what their answers mean. No IO.
//!
//! Role: between Endorser and Verifier. In: parsed Evidence, the operator's [`Services`], answers as
//! bytes. Out: [`Statement`]s that are missing, the URL of each, and from an answer a [`Part`] or the
//! [`AnswerError`] that says what was wrong with it. Whoever has sockets (the broker, the CLI) sends
//! the requests and keeps the answers.
//! Against: Evidence that chooses where Endorsements come from. Its fields select *which* statement is
//! asked for, as fixed-length numbers that are written in digits; hosts and paths are the operator's
//! and ours. And against answers of another kind, size or subject than was asked for.
//!
//! ```text
//! Evidence ─► wanted ─► [Statement] ─► Services::url ─► (IO) ─► Answer ─► Statement::read ─► Part
//!                                                                 [Part] ─► assemble ─► EndorsementBundle
//! ```

use std::fmt;

use crate::claims::{ChipId, Fmspc, SnpProduct, SnpTcb};

pub(super) mod amd;
mod answer;
mod intel;
mod part;
mod service;
mod wanted;

pub use amd::AmdSigner;
pub use answer::{Answer, AnswerError, retry_after_seconds};
pub use intel::PckCa;
pub use part::{Part, SignedList, SignedText, assemble};
pub use service::{BaseUrl, Scheme, Service, Services, UrlError};
pub use wanted::{missing, wanted, wanted_for_fmspc};

/// One vendor statement that a service can be asked for. Displayed as a short unique name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Statement {
    /// Revocation list of a CA that certifies platforms.
    IntelPckCrl(PckCa),
    /// Revocation list of Intel's root.
    IntelRootCrl,
    /// TCB info of TDX for a platform type.
    IntelTcbInfo(Fmspc),
    /// Identity of the quoting enclave for TDX.
    IntelQeIdentity,
    /// ASK or ASVK and ARK of a product.
    AmdChain(SnpProduct, AmdSigner),
    /// Revocation list of a product's ARK.
    AmdCrl(SnpProduct),
    /// Certificate of one processor at one TCB.
    AmdVcek {
        /// The product.
        product: SnpProduct,
        /// The processor.
        chip_id: ChipId,
        /// The TCB that the report states.
        tcb: SnpTcb,
    },
}

impl Statement {
    /// The service that is asked.
    #[must_use]
    pub fn service(&self) -> Service {
        match self {
            Self::IntelPckCrl(_) | Self::IntelTcbInfo(_) | Self::IntelQeIdentity => Service::Intel,
            Self::IntelRootCrl => Service::IntelRootCrl,
            Self::AmdChain(..) | Self::AmdCrl(_) => Service::Amd,
            Self::AmdVcek { .. } => Service::AmdVcek,
        }
    }

    /// Path and query at the service, relative to the operator's base URL.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::IntelPckCrl(ca) => {
                format!("/sgx/certification/v4/pckcrl?ca={}&encoding=der", ca.as_str())
            }
            Self::IntelRootCrl => "/sgx/certification/v4/rootcacrl".to_owned(),
            Self::IntelTcbInfo(fmspc) => {
                // PCCS compares the text; upper case is what its own client sends.
                format!("/tdx/certification/v4/tcb?fmspc={}", hex::encode_upper(fmspc.0))
            }
            Self::IntelQeIdentity => "/tdx/certification/v4/qe/identity".to_owned(),
            Self::AmdChain(product, signer) => {
                format!("/{}/v1/{}/cert_chain", signer.as_str(), product.as_str())
            }
            Self::AmdCrl(product) => format!("/vcek/v1/{}/crl", product.as_str()),
            Self::AmdVcek { product, chip_id, tcb } => amd::vcek_path(*product, chip_id, *tcb),
        }
    }

    /// Names of the response headers that may carry the issuer chain, URL-encoded PEM; the first that
    /// is there counts. Empty when the answer is complete without.
    #[must_use]
    pub fn chain_headers(&self) -> &'static [&'static str] {
        match self {
            Self::IntelPckCrl(_) => &["SGX-PCK-CRL-Issuer-Chain"],
            Self::IntelTcbInfo(_) => &["TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"],
            Self::IntelQeIdentity => &["SGX-Enclave-Identity-Issuer-Chain"],
            Self::IntelRootCrl | Self::AmdChain(..) | Self::AmdCrl(_) | Self::AmdVcek { .. } => &[],
        }
    }

    /// Whether the vendor issues a new one while the old still counts. What doesn't change is asked
    /// for again only near its end.
    #[must_use]
    pub fn is_reissued(&self) -> bool {
        match self {
            Self::IntelPckCrl(_)
            | Self::IntelRootCrl
            | Self::IntelTcbInfo(_)
            | Self::IntelQeIdentity
            | Self::AmdCrl(_) => true,
            Self::AmdChain(..) | Self::AmdVcek { .. } => false,
        }
    }

    /// Reads an answer. What comes back is of the right kind and about what was asked; no signature
    /// was verified.
    ///
    /// # Errors
    /// By status: [`AnswerError::Throttled`], [`NotFound`](AnswerError::NotFound),
    /// [`Redirect`](AnswerError::Redirect), [`Status`](AnswerError::Status). Then by contents:
    /// [`TooLarge`](AnswerError::TooLarge), [`NoChain`](AnswerError::NoChain),
    /// [`Contents`](AnswerError::Contents), [`Subject`](AnswerError::Subject).
    pub fn read(&self, answer: &Answer) -> Result<Part, AnswerError> {
        answer.refuse_failure()?;
        match self {
            Self::IntelPckCrl(ca) => intel::pck_crl(*ca, answer),
            Self::IntelRootCrl => intel::root_crl(answer),
            Self::IntelTcbInfo(fmspc) => intel::tcb_info(*fmspc, answer),
            Self::IntelQeIdentity => intel::qe_identity(answer),
            Self::AmdChain(product, signer) => amd::chain(*product, *signer, answer),
            Self::AmdCrl(product) => amd::crl(*product, answer),
            Self::AmdVcek { product, chip_id, tcb } => amd::vcek(*product, chip_id, *tcb, answer),
        }
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IntelPckCrl(ca) => write!(f, "intel-pck-crl/{}", ca.as_str()),
            Self::IntelRootCrl => f.write_str("intel-root-crl"),
            Self::IntelTcbInfo(fmspc) => write!(f, "intel-tcb-info/{fmspc}"),
            Self::IntelQeIdentity => f.write_str("intel-qe-identity/TD_QE"),
            Self::AmdChain(product, signer) => {
                write!(f, "amd-chain/{}/{}", product.as_str(), signer.as_str())
            }
            Self::AmdCrl(product) => write!(f, "amd-crl/{}", product.as_str()),
            Self::AmdVcek { product, chip_id, tcb } => {
                write!(f, "amd-vcek/{product}/{chip_id}/{}", amd::word(*tcb))
            }
        }
    }
}
