//! Why a rung of the GPU ladder refused.

use crate::claims::{AnchorUsed, Measurement};
use crate::evidence::nvidia_gpu::{GpuArchitecture, GpuFormatError};
use crate::reason::Reason;
use crate::verifier::chain::ChainError;

/// A refusal of the GPU ladder. Every variant belongs to one rung in `SPEC.md`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// G1: the bytes are no device Evidence that this release reads.
    #[error("device evidence is malformed")]
    Format(#[from] GpuFormatError),
    /// G1: an architecture that is read and not verified.
    #[error("{} devices are not verified locally", got.as_str())]
    Architecture {
        /// The architecture that the sender names.
        got: GpuArchitecture,
    },
    /// G2: the certificates do not lead to the trust anchor.
    #[error("device certificate chain does not lead to the {anchor}")]
    Chain {
        /// The anchor that it was verified against.
        anchor: AnchorUsed,
        /// What is wrong with the chain.
        #[source]
        source: ChainError,
    },
    /// G2: the chain is of another kind of device.
    #[error("device is certified by {got}, expected {expected}")]
    Identity {
        /// The architecture that the sender names.
        architecture: GpuArchitecture,
        /// Common name of that architecture's authority.
        expected: &'static str,
        /// Common name in the chain.
        got: String,
    },
    /// G2: a certificate lacks what every device certificate has.
    #[error("device certificates have no readable {member}")]
    Certificate {
        /// What is missing.
        member: &'static str,
    },
    /// G3: the report is not signed by the leaf's key.
    #[error("signature of the measurement report is invalid")]
    Signature,
    /// G4: the certificate speaks for other firmware than the report.
    #[error("report states another firmware id than its certificate")]
    FirmwareId {
        /// The firmware id in the leaf certificate.
        expected: Measurement,
        /// The firmware id in the report.
        got: Measurement,
    },
    /// G4: the report lacks a field that every claim needs, or it is malformed.
    #[error("measurement report has no readable {field}")]
    Field {
        /// The field.
        field: &'static str,
    },
    /// G5: the device signed another nonce.
    #[error("nonce differs from what was expected")]
    Nonce {
        /// What the Verifier expected, hex.
        expected: String,
        /// What the report carries, hex.
        got: String,
    },
}

impl GpuError {
    /// The rung that refused.
    #[must_use]
    pub fn rung(&self) -> &'static str {
        match self {
            Self::Format(error) => error.rung(),
            Self::Architecture { .. } => "G1",
            Self::Chain { .. } | Self::Identity { .. } | Self::Certificate { .. } => "G2",
            Self::Signature => "G3",
            Self::FirmwareId { .. } | Self::Field { .. } => "G4",
            Self::Nonce { .. } => "G5",
        }
    }

    /// The refusal as a [`Reason`].
    #[must_use]
    pub fn reason(&self) -> Reason {
        const RECOLLECT: &str =
            "collect the device Evidence again, over the nonce of this exchange";
        const GENUINE: &str = "use a genuine Hopper GPU in confidential mode; a simulated device is believed only when its root is listed in insecure_extra_roots";
        let (code, claim, expected, got, remedy) = match self {
            Self::Format(error) => return error.reason(),
            Self::Architecture { got } => (
                "gpu.architecture",
                "architecture",
                "HOPPER".to_owned(),
                got.as_str().to_owned(),
                "this release has NVIDIA's identity authority, firmware id form and manifests of Hopper only; attest other devices with NVIDIA's remote service, or leave them out",
            ),
            Self::Chain { anchor, source } => (
                "gpu.chain",
                "device certificates",
                format!("a chain to the {anchor}"),
                source.to_string(),
                GENUINE,
            ),
            Self::Identity { expected, got, .. } => (
                "gpu.chain.identity",
                "device certificates",
                (*expected).to_owned(),
                got.clone(),
                "send the architecture that the device has",
            ),
            Self::Certificate { member } => (
                "gpu.chain.member",
                *member,
                "a certificate as Hopper devices carry it".to_owned(),
                "none".to_owned(),
                GENUINE,
            ),
            Self::Signature => (
                "gpu.report.signature",
                "measurement report",
                "a signature of the leaf's key".to_owned(),
                "another signature".to_owned(),
                RECOLLECT,
            ),
            Self::FirmwareId { expected, got } => (
                "gpu.firmware-id",
                "firmware id",
                expected.to_string(),
                got.to_string(),
                "collect report and certificates of one and the same device again",
            ),
            Self::Field { field } => (
                "gpu.report.field",
                *field,
                "a field as Hopper devices report it".to_owned(),
                "none".to_owned(),
                "update driver and VBIOS of the device",
            ),
            Self::Nonce { expected, got } => {
                ("gpu.nonce", "nonce", expected.clone(), got.clone(), RECOLLECT)
            }
        };
        Reason::new(code, self.rung(), claim, (expected, got), remedy)
    }
}
