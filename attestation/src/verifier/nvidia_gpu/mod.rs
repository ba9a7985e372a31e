//! The NVIDIA GPU ladder: rungs G1 to G6 of `SPEC.md`, for device Evidence bound to the TEE's nonce.
//!
//! ```text
//!  parsed report ─ G1 architecture ─► G2 chain to NVIDIA's root, of that architecture
//!        │                                │
//!        G3 signature of the report ◄─────┘ leaf key
//!        G4 firmware id of leaf and report are one
//!        G5 nonce ─► Verified<GpuClaims>          (G6 measurements, versions, chips: appraisal)
//! ```
//! Against: devices that are none, reports of another machine or moment, firmware that the
//! certificate does not speak for. A GPU says nothing about the machine that it is in: what binds both
//! is that one nonce went into both, so its Evidence never stands alone.

use subtle::ConstantTimeEq as _;

use crate::claims::{GpuClaims, GpuRevocation, Measurement, Nvdec0};
use crate::evidence::nvidia_gpu::{GpuArchitecture, GpuEvidence, MeasurementReport, OpaqueField};
use crate::reason::Reason;
use crate::unix_time::UnixTime;
use crate::verifier::{TrustAnchors, Verified};

mod certificate;
mod error;

pub use error::GpuError;

use certificate::{DeviceChain, UnverifiedLeaf};

/// `NVDEC0_STATUS`: the decoder is disabled.
const NVDEC0_DISABLED: u8 = 0x55;

/// Verifies the Evidence of one GPU against NVIDIA's root at a time.
///
/// `nonce` is what the Verifier expects in the report: the first 32 bytes of the report data that the
/// KBS protocol computes for devices ([`device_nonce`](crate::rcar::canonical::device_nonce)). The
/// result proves that a genuine Hopper GPU in this firmware state signed its measurements over it. It
/// does not prove that they are acceptable, nor which machine the GPU is in.
///
/// # Errors
/// The first rung that fails.
pub fn verify_gpu(
    evidence: &GpuEvidence,
    anchors: &TrustAnchors,
    nonce: &[u8; 32],
    now: UnixTime,
) -> Result<Verified<GpuClaims>, GpuError> {
    // G1.
    architecture(evidence)?;
    // G2.
    let chain = DeviceChain::verify(evidence.chain_pem(), anchors, now)?;
    // G3.
    let report = evidence.report();
    chain.verify_report(report)?;
    // G4.
    let firmware_id = same_firmware_id(report, chain.firmware_id)?;
    let claims = claims(report, &chain, firmware_id)?;
    // G5, last: only what the device signed is worth comparing.
    same_nonce(report, nonce)?;
    Ok(Verified::assertion(claims))
}

/// Everything that speaks against the Evidence of one GPU that was refused: the refusal's own reason,
/// then every other rung that fails, as [`explain`](super::explain()) does it for a TEE. The chain is not
/// trusted for being looked at: this leads to no proof, and a guest must not see it.
#[must_use]
pub fn explain_gpu(
    refusal: &GpuError,
    evidence: &GpuEvidence,
    anchors: &TrustAnchors,
    nonce: &[u8; 32],
    now: UnixTime,
) -> Vec<Reason> {
    let report = evidence.report();
    let of_the_leaf = |leaf: UnverifiedLeaf| {
        let firmware_id = leaf.firmware_id().and_then(|id| same_firmware_id(report, id));
        [leaf.signed(report), firmware_id.map(drop)]
    };
    let failures = [architecture(evidence)]
        .into_iter()
        .chain([DeviceChain::verify(evidence.chain_pem(), anchors, now).map(drop)])
        .chain(UnverifiedLeaf::parse(evidence.chain_pem()).into_iter().flat_map(of_the_leaf))
        .chain([same_nonce(report, nonce)])
        .filter_map(Result::err)
        .map(|failure| failure.reason());
    let mut reasons = vec![refusal.reason()];
    for reason in failures {
        // One fault is told once, in the words of the refusal.
        if reasons.iter().all(|told| told.code != reason.code) {
            reasons.push(reason);
        }
    }
    reasons
}

/// G1. The other architectures sign with other roots of firmware and have other manifests; what was
/// not tried on real reports is not accepted.
fn architecture(evidence: &GpuEvidence) -> Result<(), GpuError> {
    match evidence.architecture() {
        GpuArchitecture::Hopper => Ok(()),
        other @ (GpuArchitecture::Blackwell | GpuArchitecture::Ls10) => {
            Err(GpuError::Architecture { got: other })
        }
    }
}

/// G4: the firmware that the report states is the one that the certificate speaks for.
fn same_firmware_id(report: &MeasurementReport, certified: [u8; 48]) -> Result<[u8; 48], GpuError> {
    let stated = firmware_id(report)?;
    if certified != stated {
        return Err(GpuError::FirmwareId {
            expected: Measurement(certified),
            got: Measurement(stated),
        });
    }
    Ok(stated)
}

/// G5: the device answered this nonce.
fn same_nonce(report: &MeasurementReport, nonce: &[u8; 32]) -> Result<(), GpuError> {
    if bool::from(report.nonce().ct_eq(nonce)) {
        return Ok(());
    }
    Err(GpuError::Nonce { expected: hex::encode(nonce), got: hex::encode(report.nonce()) })
}

fn firmware_id(report: &MeasurementReport) -> Result<[u8; 48], GpuError> {
    required(report, OpaqueField::FirmwareId, "firmware id")?
        .try_into()
        .map_err(|_| GpuError::Field { field: "firmware id" })
}

fn claims(
    report: &MeasurementReport,
    chain: &DeviceChain,
    firmware_id: [u8; 48],
) -> Result<GpuClaims, GpuError> {
    let part = |field, name| text(required(report, field, name)?, name);
    let board = [
        part(OpaqueField::Project, "project")?,
        part(OpaqueField::ProjectSku, "project SKU")?,
        part(OpaqueField::ChipSku, "chip SKU")?,
    ]
    .join(" ");
    let nvdec0 = match required(report, OpaqueField::Nvdec0Status, "NVDEC0 status")? {
        [NVDEC0_DISABLED] => Nvdec0::Disabled,
        [_] => Nvdec0::Enabled,
        _ => return Err(GpuError::Field { field: "NVDEC0 status" }),
    };
    Ok(GpuClaims {
        chip_serial: chain.chip_serial.clone(),
        measurements: report.measurements().iter().copied().map(Measurement).collect(),
        driver_version: part(OpaqueField::DriverVersion, "driver version")?,
        vbios_version: vbios_version(required(
            report,
            OpaqueField::VbiosVersion,
            "VBIOS version",
        )?)?,
        firmware_id: Measurement(firmware_id),
        board,
        nvdec0,
        revocation: GpuRevocation::NotPublishedOffline,
        endorsements_expire: chain.expires,
        root: chain.root.clone(),
    })
}

fn required<'a>(
    report: &'a MeasurementReport,
    field: OpaqueField,
    name: &'static str,
) -> Result<&'a [u8], GpuError> {
    report.field(field).ok_or(GpuError::Field { field: name })
}

/// Text of a device: printable ASCII without spaces, ended by zeros.
fn text(bytes: &[u8], field: &'static str) -> Result<String, GpuError> {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
    let text = bytes.get(..end).unwrap_or_default();
    if text.is_empty() || !text.iter().all(u8::is_ascii_graphic) {
        return Err(GpuError::Field { field });
    }
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// Eight bytes: a little-endian word, then the OEM revision. As NVIDIA writes it: `96.00.9f.00.01`.
fn vbios_version(bytes: &[u8]) -> Result<String, GpuError> {
    match bytes {
        [d, c, b, a, oem, 0, 0, 0] => Ok(format!("{a:02x}.{b:02x}.{c:02x}.{d:02x}.{oem:02x}")),
        _ => Err(GpuError::Field { field: "VBIOS version" }),
    }
}
