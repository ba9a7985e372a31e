//! Evidence of NVIDIA devices: a signed SPDM measurement report and its certificate chain.
//!
//! Role: Evidence (RFC 9334 §4.2) of a device beside the TEE's own. In: the `nvidia` member of the KBS
//! protocol's `additional_evidence`, or the list that NVIDIA's SDK writes. Out: [`GpuEvidence`], one
//! for each device, with the exact bytes that were signed. Nothing is verified here.
//! Against: lengths that lie, more devices than a machine has, text that calls itself another
//! architecture (the Verifier reads that off the certificates).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::limits::{MAX_CERTIFICATE_CHAIN_LEN, MAX_DEVICES, MAX_SPDM_REPORT_LEN};
use crate::reason::Reason;

pub mod spdm;

pub use spdm::{MeasurementReport, OpaqueField, SpdmError};

/// A generation of NVIDIA devices, as the sender names it. The Verifier holds it against the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GpuArchitecture {
    /// H100, H200 and their like; verified locally.
    Hopper,
    /// B200 and their like; read, and refused by the Verifier.
    Blackwell,
    /// Third-generation NVSwitch; read, and refused by the Verifier.
    Ls10,
}

impl GpuArchitecture {
    const ALL: [Self; 3] = [Self::Hopper, Self::Blackwell, Self::Ls10];

    /// NVIDIA's word, in capitals as the KBS protocol has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hopper => "HOPPER",
            Self::Blackwell => "BLACKWELL",
            Self::Ls10 => "LS10",
        }
    }
}

/// Why bytes or JSON are not Evidence of an NVIDIA device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GpuFormatError {
    /// A member is missing or of another form.
    #[error("{member} is not {expected}")]
    Member {
        /// The member.
        member: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// More bytes or devices than [`limits`](crate::limits) allow, counted before anything is decoded.
    #[error("{what} is {got}; at most {limit} is read")]
    TooLarge {
        /// What was too large.
        what: &'static str,
        /// Its size in bytes, or the count.
        got: usize,
        /// The bound.
        limit: usize,
    },
    /// An architecture that this release has never heard of.
    #[error("architecture {got:?} is unknown; known are HOPPER, BLACKWELL and LS10")]
    Architecture {
        /// What the sender says, shortened.
        got: String,
    },
    /// The measurement report does not parse.
    #[error("measurement report is malformed")]
    Report(#[from] SpdmError),
}

impl GpuFormatError {
    /// The rung that refused.
    #[must_use]
    pub fn rung(&self) -> &'static str {
        "G1"
    }

    /// The refusal as a [`Reason`].
    #[must_use]
    pub fn reason(&self) -> Reason {
        const RECOLLECT: &str = "collect the device Evidence again with NVIDIA's attestation SDK";
        let (code, claim, expected, got) = match self {
            Self::Member { member, expected } => (
                "gpu.evidence.member",
                *member,
                (*expected).to_owned(),
                "something else".to_owned(),
            ),
            Self::TooLarge { what, got, limit } => {
                ("gpu.evidence.too-large", *what, format!("at most {limit}"), got.to_string())
            }
            Self::Architecture { got } => (
                "gpu.evidence.architecture",
                "arch",
                GpuArchitecture::ALL.map(GpuArchitecture::as_str).join(", "),
                got.clone(),
            ),
            Self::Report(error) => (
                "gpu.report.malformed",
                "SPDM report",
                "a measurement report".to_owned(),
                error.to_string(),
            ),
        };
        Reason::new(code, self.rung(), claim, (expected, got), RECOLLECT)
    }
}

/// Evidence of one device. Unverified.
#[derive(Clone, Debug)]
pub struct GpuEvidence {
    architecture: GpuArchitecture,
    report: MeasurementReport,
    chain_pem: Vec<u8>,
}

impl GpuEvidence {
    /// Parses the value of the `nvidia` member of `additional_evidence`,
    /// `{"device_evidence_list":[{"arch":…,"evidence":…,"certificate":…}]}`, or the bare list that
    /// NVIDIA's SDK writes. `evidence` is hex or base64, `certificate` the base64 of a PEM chain, leaf
    /// first. Other members are ignored: nothing that the sender says of a device is a claim.
    ///
    /// # Errors
    /// The first device's [`GpuFormatError`] in the order of its variants.
    pub fn parse_list(value: &Value) -> Result<Vec<Self>, GpuFormatError> {
        let list = value.get("device_evidence_list").unwrap_or(value);
        let devices = list.as_array().ok_or(GpuFormatError::Member {
            member: "device_evidence_list",
            expected: "a list of devices",
        })?;
        bounded("number of devices", devices.len(), MAX_DEVICES)?;
        if devices.is_empty() {
            return Err(GpuFormatError::Member {
                member: "device_evidence_list",
                expected: "a list with at least one device",
            });
        }
        devices.iter().map(Self::parse_device).collect()
    }

    fn parse_device(device: &Value) -> Result<Self, GpuFormatError> {
        let text = |member: &'static str| {
            device
                .get(member)
                .and_then(Value::as_str)
                .ok_or(GpuFormatError::Member { member, expected: "a string" })
        };
        let arch = text("arch")?;
        let architecture = GpuArchitecture::ALL
            .into_iter()
            .find(|known| known.as_str() == arch)
            .ok_or_else(|| GpuFormatError::Architecture { got: arch.chars().take(32).collect() })?;
        let report = decode("evidence", text("evidence")?, MAX_SPDM_REPORT_LEN)?;
        let chain_pem = decode("certificate", text("certificate")?, MAX_CERTIFICATE_CHAIN_LEN)?;
        Self::from_parts(architecture, &report, chain_pem)
    }

    /// One device from the bytes of its report and its PEM chain, leaf first.
    ///
    /// # Errors
    /// [`GpuFormatError::TooLarge`], [`Report`](GpuFormatError::Report).
    pub fn from_parts(
        architecture: GpuArchitecture,
        report: &[u8],
        chain_pem: Vec<u8>,
    ) -> Result<Self, GpuFormatError> {
        bounded("evidence", report.len(), MAX_SPDM_REPORT_LEN)?;
        bounded("certificate", chain_pem.len(), MAX_CERTIFICATE_CHAIN_LEN)?;
        Ok(Self { architecture, report: MeasurementReport::parse(report)?, chain_pem })
    }

    /// The architecture that the sender names.
    #[must_use]
    pub fn architecture(&self) -> GpuArchitecture {
        self.architecture
    }

    /// The report.
    #[must_use]
    pub fn report(&self) -> &MeasurementReport {
        &self.report
    }

    pub(crate) fn chain_pem(&self) -> &[u8] {
        &self.chain_pem
    }
}

fn bounded(what: &'static str, got: usize, limit: usize) -> Result<(), GpuFormatError> {
    if got > limit {
        return Err(GpuFormatError::TooLarge { what, got, limit });
    }
    Ok(())
}

/// Hex, which KBS clients send for reports, or base64.
fn decode(member: &'static str, text: &str, limit: usize) -> Result<Vec<u8>, GpuFormatError> {
    // Two characters a byte are the most that either needs.
    bounded(member, text.len(), limit.saturating_mul(2))?;
    let is_hex = text.len().is_multiple_of(2) && text.bytes().all(|b| b.is_ascii_hexdigit());
    let bytes = if is_hex { hex::decode(text).ok() } else { STANDARD.decode(text).ok() };
    let bytes = bytes.ok_or(GpuFormatError::Member { member, expected: "hex or padded base64" })?;
    bounded(member, bytes.len(), limit)?;
    Ok(bytes)
}
