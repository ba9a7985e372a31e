//! Evidence from `/dev/sev-guest`, for SNP guests whose kernel has no configfs-tsm (Linux < 6.7).
//!
//! Role: Attester. In: report data. Out: KBS Evidence with the report and the certificates that the
//! host gave (SNP_GET_EXT_REPORT). Layout of the response: AMD 56860, table MSG_REPORT_RSP.
//!
//! The device is asked once for each report and never again after a failure: when the protocol between
//! guest and secure processor breaks, the kernel disables the guest's key until the next boot, and a
//! host that is busy was already waited for by the kernel, for up to a minute.
//! Against: a host whose certificate table lies about lengths, a report over other data.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::{Attester, AttesterError, confirm, snp_evidence};
use crate::binding::ReportData;
use crate::evidence::Tee;
use crate::evidence::snp::REPORT_LEN;

mod device;

use device::{DeviceError, GuestDevice, SevGuest};

/// Where Linux has it.
pub const DEFAULT_DEVICE: &str = "/dev/sev-guest";

pub(super) const NAME: &str = "sev-guest";
/// The VMPL that the report states. A guest without a paravisor runs at 0.
const VMPL: u32 = 0;
/// Status, size and reserved bytes before the report. AMD 56860, table MSG_REPORT_RSP.
const RESPONSE_HEADER_LEN: usize = 32;

/// `/dev/sev-guest` as a source of Evidence.
pub struct SevGuestAttester {
    path: PathBuf,
    device: Box<dyn GuestDevice>,
    /// The secure processor answers one request of a guest at a time.
    one_at_a_time: Mutex<()>,
}

impl SevGuestAttester {
    /// Opens the device. That alone says which platform this is: no other has it.
    ///
    /// # Errors
    /// [`AttesterError::SevGuest`] when it is missing or may not be opened.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, AttesterError> {
        let path = path.into();
        let device = SevGuest::open(&path).map_err(|source| failed("open", &path, source))?;
        Ok(Self::with(path, Box::new(device)))
    }

    fn with(path: PathBuf, device: Box<dyn GuestDevice>) -> Self {
        Self { path, device, one_at_a_time: Mutex::new(()) }
    }

    fn report(&self, response: &[u8]) -> Result<Vec<u8>, AttesterError> {
        let word = |at: usize| {
            let bytes = response.get(at..at.saturating_add(4))?;
            bytes.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes))
        };
        let refused = |reason| AttesterError::SevGuestResponse { reason };
        match word(0) {
            Some(0) => {}
            Some(0x16) => {
                return Err(refused("the secure processor refuses the parameters (0x16)"));
            }
            Some(0x27) => {
                return Err(refused(
                    "the secure processor has no key of the kind asked for (0x27); the host must \
                     configure VCEK or VLEK",
                ));
            }
            _ => return Err(refused("the secure processor answered with an error")),
        }
        if word(4) != u32::try_from(REPORT_LEN).ok() {
            return Err(refused("the report in it has another size than 1184 bytes"));
        }
        let end = RESPONSE_HEADER_LEN.saturating_add(REPORT_LEN);
        let report = response.get(RESPONSE_HEADER_LEN..end);
        report.map(<[u8]>::to_vec).ok_or_else(|| refused("it ends inside the report"))
    }
}

impl Attester for SevGuestAttester {
    fn tee(&self) -> Tee {
        Tee::Snp
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn collect(&self, report_data: &ReportData) -> Result<Value, AttesterError> {
        let answer = {
            // The lock guards no data, so a panic of another thread leaves nothing half-done.
            let _turn = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
            self.device
                .extended_report(report_data.as_bytes(), VMPL)
                .map_err(|error| device_failed(&self.path, error))?
        };
        let report = self.report(&answer.response)?;
        let evidence = snp_evidence(NAME, &report, &answer.table)?;
        confirm(NAME, Tee::Snp, evidence, report_data)
    }
}

fn device_failed(path: &Path, error: DeviceError) -> AttesterError {
    /// `SNP_GUEST_VMM_ERR_INVALID_LEN`, `SNP_GUEST_VMM_ERR_BUSY`.
    const INVALID_LEN: u32 = 1;
    const BUSY: u32 = 2;
    let DeviceError { source, firmware, host } = error;
    let remedy = match (host, firmware) {
        (INVALID_LEN, _) => "the host's certificate table is larger than the kernel takes (16 KiB)",
        (BUSY, _) => "the host limits how often a guest may ask; ask again in a minute",
        (0, 0) => return failed("ask", path, source),
        _ => "see the kernel log of the guest; after a failure of the protocol it must be rebooted",
    };
    AttesterError::SevGuest { step: "ask", path: path.display().to_string(), remedy, source }
}

fn failed(step: &'static str, path: &Path, source: io::Error) -> AttesterError {
    let remedy = match source.kind() {
        io::ErrorKind::NotFound => {
            "hand the guest's /dev/sev-guest to the container (Linux 5.19 or newer, module sev_guest)"
        }
        io::ErrorKind::PermissionDenied => "run as uid 0 of the guest, with the device allowed",
        _ => "see the kernel log of the guest",
    };
    AttesterError::SevGuest { step, path: path.display().to_string(), remedy, source }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
mod tests;
