//! Claims of an NVIDIA GPU.

use serde::Serialize;

use crate::claims::{AnchorUsed, Measurement};
use crate::unix_time::UnixTime;

/// Claims of one NVIDIA GPU in confidential mode.
///
/// Names follow the opaque fields of the report; layout in
/// [`spdm`](crate::evidence::nvidia_gpu::spdm).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GpuClaims {
    /// Serial number in the subject of the chip's own certificate authority: names the chip.
    pub chip_serial: String,
    /// SHA-384 measurements of firmware and configuration; the first one has index 1.
    pub measurements: Vec<Measurement>,
    /// Driver version, as the device reports it.
    pub driver_version: String,
    /// VBIOS version, as the device reports it.
    pub vbios_version: String,
    /// Firmware id; equal to the one in the leaf certificate.
    pub firmware_id: Measurement,
    /// Project and SKUs of the board, which name the VBIOS manifest: `1010 0200 882`.
    pub board: String,
    /// Whether the first video decoder is disabled; then measurement 35 has no meaning.
    pub nvdec0: Nvdec0,
    /// Whether the vendor has revoked a certificate of the chain.
    pub revocation: GpuRevocation,
    /// Earliest end of validity among the certificates used.
    pub endorsements_expire: UnixTime,
    /// Where the chain of signatures ended.
    pub root: AnchorUsed,
}

/// State of the first video decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nvdec0 {
    /// Measurement 35 counts.
    Enabled,
    /// The device does not measure it.
    Disabled,
}

/// What is known about revocation of the device's certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GpuRevocation {
    /// NVIDIA publishes it by OCSP only, and this Verifier works offline. An owner denies devices by
    /// their `chip_serial` in the policy.
    NotPublishedOffline,
}
