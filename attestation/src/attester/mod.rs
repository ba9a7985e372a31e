//! Where Evidence comes from: the only IO of this crate.
//!
//! Role: Attester. In: 64 bytes of report data. Out: Evidence in the form of the KBS protocol, in
//! which exactly those 64 bytes were found again. Blocking `std` IO; an async caller puts it on a
//! thread of its own. Detection tries the real sources in a fixed order and says what it found;
//! it never falls back to anything fake.
//! Against: Evidence over another caller's data (races, a lying host), sample Evidence.

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use crate::binding::ReportData;
use crate::evidence::{Evidence, EvidenceError, SnpEvidence, Tee};

mod azure;
mod coco;
mod detect;
mod imds;
mod loopback_http;
mod sev_guest;
mod tpm;
mod tsm;

pub use azure::{AzVtpmAttester, AzureAttesterError, DEFAULT_TPM_PATH};
pub use coco::CocoAttester;
pub use detect::{Detected, DetectionOptions, Source, Tried, detect};
pub use imds::DEFAULT_IMDS_URL;
pub use sev_guest::SevGuestAttester;
pub use tpm::TpmError;
pub use tsm::TsmAttester;

/// A source of Evidence.
pub trait Attester: Send + Sync {
    /// The TEE whose Evidence this source gives.
    fn tee(&self) -> Tee;

    /// Short name for logs: `tsm`, `sev-guest`, `az-vtpm`, `coco`.
    fn name(&self) -> &'static str;

    /// Collects Evidence over `report_data`: the value of `primary_evidence` in the KBS protocol.
    ///
    /// # Errors
    /// Those of the source; [`AttesterError::Evidence`] when it does not parse and
    /// [`AttesterError::ReportData`] when it commits to something else.
    fn collect(&self, report_data: &ReportData) -> Result<Value, AttesterError>;

    /// Extends a runtime measurement, so that later Evidence differs from earlier Evidence.
    ///
    /// # Errors
    /// [`AttesterError::NoEvents`] where the source has no such measurement, else those of the
    /// source. What was released before stays released: the caller decides how much that matters.
    fn extend_event(&self, event: &RuntimeEvent<'_>) -> Result<(), AttesterError> {
        let _ = event;
        Err(AttesterError::NoEvents { attester: self.name() })
    }
}

/// One entry for the log behind a runtime measurement. Public: it may appear in event logs.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct RuntimeEvent<'a> {
    /// Who defines the operation, such as a reversed domain name. No white space.
    pub domain: &'a str,
    /// What happened. No white space.
    pub operation: &'a str,
    /// About what. One line.
    pub content: &'a str,
}

impl RuntimeEvent<'_> {
    /// `<domain> <operation> <content>`, which only one event can produce.
    fn line(&self) -> Result<String, AttesterError> {
        let word = |text: &str| !text.is_empty() && !text.contains(char::is_whitespace);
        let one_line = !self.content.contains(char::is_control);
        if word(self.domain) && word(self.operation) && one_line {
            Ok(format!("{} {} {}", self.domain, self.operation, self.content))
        } else {
            Err(AttesterError::Event)
        }
    }
}

/// Why there is no Evidence.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AttesterError {
    /// No source was found.
    #[error(
        "no TEE was found, tried {}; run inside a TDX or SEV-SNP guest, with \
         /sys/kernel/config/tsm mounted, /dev/sev-guest handed in, or the CoCo guest API enabled",
        list(tried)
    )]
    NoTee {
        /// What was tried, in order, and why it was not taken.
        tried: Vec<Tried>,
    },
    /// The URL of the CoCo guest API is not `http://` with an address on loopback.
    #[error(
        "`{got}` is not an http:// URL with a loopback address; the guest API is at \
         http://127.0.0.1:8006"
    )]
    Url {
        /// What was configured, shortened.
        got: String,
    },
    /// The CoCo guest API does not answer at all.
    #[error(
        "the CoCo guest API at {address} does not answer; outside a CoCo guest there is none, in \
         one it is enabled with the kernel parameter agent.guest_components_rest_api=all"
    )]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The CoCo guest API refuses callers that are not on loopback of the pod (403).
    #[error("the CoCo guest API refused {path} (403); call it from within the pod, over loopback")]
    Forbidden {
        /// The path that was asked for.
        path: &'static str,
    },
    /// The CoCo guest API runs without the attestation endpoints (404).
    #[error(
        "the CoCo guest API has no {path} (404); it runs without the attestation endpoints, start \
         the guest with the kernel parameter agent.guest_components_rest_api=all"
    )]
    NotEnabled {
        /// The path that was asked for.
        path: &'static str,
    },
    /// The CoCo guest API answered with another status.
    #[error("the CoCo guest API answered {path} with {status}: {detail}")]
    Status {
        /// The path that was asked for.
        path: &'static str,
        /// The status code.
        status: u16,
        /// Start of the body, printable characters only.
        detail: String,
    },
    /// The answer is not HTTP/1.1, not complete, or longer than allowed.
    #[error("the answer of the CoCo guest API to {path} is refused: {reason}")]
    Http {
        /// The path that was asked for.
        path: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The answer is not JSON.
    #[error("the answer of the CoCo guest API to {path} is not JSON")]
    Json {
        /// The path that was asked for.
        path: &'static str,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// The platform is of another TEE.
    #[error("{attester}: the platform is {got}; supported are tdx, snp and their Azure forms")]
    Unsupported {
        /// The source that said so.
        attester: &'static str,
        /// What it said, shortened.
        got: String,
    },
    /// A step with configfs-tsm failed.
    #[error("configfs-tsm: {step} {path} failed; {remedy}")]
    Tsm {
        /// What was done.
        step: &'static str,
        /// To which file.
        path: String,
        /// What to do about it.
        remedy: &'static str,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// An attribute of configfs-tsm holds something else than the kernel documents.
    #[error("configfs-tsm: {path} is refused: {reason}")]
    TsmAttribute {
        /// Which file.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Somebody else wrote to our private report item.
    #[error(
        "configfs-tsm: generation {got} where {expected} was expected; another process writes to \
         the same report item"
    )]
    TsmGeneration {
        /// What our own writes add up to.
        expected: u64,
        /// What the kernel counted.
        got: u64,
    },
    /// The vTPM of an Azure confidential VM gives no Evidence.
    #[error("az-vtpm")]
    Azure(#[from] AzureAttesterError),
    /// A step with the SNP guest device failed.
    #[error("sev-guest: could not {step} {path}; {remedy}")]
    SevGuest {
        /// What was done.
        step: &'static str,
        /// The device.
        path: String,
        /// What to do about it.
        remedy: &'static str,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// The secure processor's answer is not a report.
    #[error("sev-guest: the response is refused: {reason}")]
    SevGuestResponse {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The system has no random bytes to give.
    #[error("the system's random number generator failed")]
    Random,
    /// The Evidence does not parse.
    #[error("{attester}: the evidence does not parse")]
    Evidence {
        /// The source that gave it.
        attester: &'static str,
        /// Where and why.
        #[source]
        source: EvidenceError,
    },
    /// The Evidence commits to other report data than was asked for.
    #[error("{attester}: asked for evidence over {}, got it over {}", hex::encode(.expected.0), hex::encode(.got.0))]
    ReportData {
        /// The source that gave it.
        attester: &'static str,
        /// What was asked for.
        expected: Box<ReportData>,
        /// What the Evidence carries.
        got: Box<ReportData>,
    },
    /// The event would be ambiguous in a log.
    #[error("an event's domain and operation are words, its content is one line")]
    Event,
    /// The source cannot extend runtime measurements.
    #[error("{attester} cannot extend runtime measurements here")]
    NoEvents {
        /// The source.
        attester: &'static str,
    },
}

/// Evidence of an SNP guest from the report's bytes and the host's certificate table.
fn snp_evidence(
    attester: &'static str,
    report: &[u8],
    table: &[u8],
) -> Result<Value, AttesterError> {
    let parsed = SnpEvidence::parse_extended(report, table)
        .map_err(|error| AttesterError::Evidence { attester, source: error.into() })?;
    Ok(parsed.to_kbs())
}

/// Parses what a source gave and compares the report data in it with those asked for.
fn confirm(
    attester: &'static str,
    tee: Tee,
    primary_evidence: Value,
    expected: &ReportData,
) -> Result<Value, AttesterError> {
    let evidence = Evidence::parse_kbs(tee, &primary_evidence)
        .map_err(|source| AttesterError::Evidence { attester, source })?;
    let got = evidence.report_data();
    //= attestation/SPEC.md#4
    //# An Attester MUST compare the report data inside the Evidence with those it asked for.
    if got == *expected {
        return Ok(primary_evidence);
    }
    Err(AttesterError::ReportData { attester, expected: Box::new(*expected), got: Box::new(got) })
}

fn list(tried: &[Tried]) -> String {
    tried.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
