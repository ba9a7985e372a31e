//! The one ioctl of `/dev/sev-guest` that gives a report together with the host's certificates.
//!
//! In: an open device, 64 bytes, a VMPL. Out: the report's bytes, the host's certificate table as
//! bytes. Nothing is parsed here: the table comes from the untrusted host, and code that walks it
//! should not stand next to raw pointers.
//!
//! Kernel ABI: `include/uapi/linux/sev-guest.h`, `Documentation/virt/coco/sev-guest.rst`.
//! This is the only file of the crate with unsafe code (docs/decisions/0009); `tests/tcb` checks it.
#![allow(
    unsafe_code,
    reason = "an ioctl takes pointers; there is no safe interface to this device"
)]

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use rustix::ioctl::{Updater, ioctl, opcode};

use crate::limits::MAX_CERTIFICATE_TABLE_LEN;

/// Bytes of the response buffer of SNP_GET_REPORT, `struct snp_report_resp`.
const RESPONSE_LEN: usize = 4000;
/// `MSG_VERSION`: the one version of guest messages that the kernel speaks.
const MESSAGE_VERSION: u8 = 1;

/// `struct snp_report_req`.
#[repr(C)]
struct ReportRequest {
    user_data: [u8; 64],
    vmpl: u32,
    reserved: [u8; 28],
}

/// `struct snp_ext_report_req`. The table's address goes to the kernel as a number.
#[repr(C)]
struct ExtendedReportRequest {
    report: ReportRequest,
    certs_address: u64,
    certs_len: u32,
}

/// `struct snp_guest_request_ioctl`.
#[repr(C)]
struct GuestRequest {
    message_version: u8,
    request: u64,
    response: u64,
    /// Low half: error of the secure processor. High half: error of the host.
    exit_info: u64,
}

/// SNP_GET_EXT_REPORT: `_IOWR('S', 2, struct snp_guest_request_ioctl)`.
const GET_EXTENDED_REPORT: rustix::ioctl::Opcode = opcode::read_write::<GuestRequest>(b'S', 0x2);

/// A page-aligned buffer: the kernel refuses a table that is not a multiple of its pages.
#[repr(C, align(4096))]
struct CertificateTable([u8; MAX_CERTIFICATE_TABLE_LEN]);

/// What the device gave, as bytes.
pub(super) struct ExtendedReport {
    /// `struct snp_report_resp`: status, size, reserved bytes, report.
    pub(super) response: Vec<u8>,
    /// The host's certificate table, or the zeros that were there before.
    pub(super) table: Vec<u8>,
}

/// Why the device gave nothing.
#[derive(Debug)]
pub(super) struct DeviceError {
    pub(super) source: io::Error,
    /// The error that the secure processor gave, zero for none.
    pub(super) firmware: u32,
    /// The error that the host gave, zero for none.
    pub(super) host: u32,
}

/// The device, or what stands in for it in a test.
pub(super) trait GuestDevice: Send + Sync {
    fn extended_report(
        &self,
        user_data: &[u8; 64],
        vmpl: u32,
    ) -> Result<ExtendedReport, DeviceError>;
}

/// `/dev/sev-guest`.
pub(super) struct SevGuest(File);

impl SevGuest {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).open(path).map(Self)
    }
}

impl GuestDevice for SevGuest {
    fn extended_report(
        &self,
        user_data: &[u8; 64],
        vmpl: u32,
    ) -> Result<ExtendedReport, DeviceError> {
        let mut response = vec![0_u8; RESPONSE_LEN];
        let mut table = Box::new(CertificateTable([0; MAX_CERTIFICATE_TABLE_LEN]));
        let mut request = ExtendedReportRequest {
            report: ReportRequest { user_data: *user_data, vmpl, reserved: [0; 28] },
            certs_address: table.0.as_mut_ptr().expose_provenance() as u64,
            // A constant far below 4 GiB.
            certs_len: MAX_CERTIFICATE_TABLE_LEN as u32,
        };
        let mut guest_request = GuestRequest {
            message_version: MESSAGE_VERSION,
            request: (&raw mut request).expose_provenance() as u64,
            response: response.as_mut_ptr().expose_provenance() as u64,
            exit_info: 0,
        };
        // SAFETY: `Updater` is told the type that SNP_GET_EXT_REPORT takes; a test compares opcode and
        // sizes with the kernel's. The three buffers whose addresses stand in the structures
        // are owned by this function, live until it returns and are as long as the kernel may write:
        // 4000 bytes of response, `certs_len` bytes of table, the request itself.
        let done = unsafe {
            let update = Updater::<GET_EXTENDED_REPORT, GuestRequest>::new(&mut guest_request);
            ioctl(&self.0, update)
        };
        done.map_err(|errno| DeviceError {
            source: errno.into(),
            firmware: guest_request.exit_info as u32,
            host: (guest_request.exit_info >> 32) as u32,
        })?;
        Ok(ExtendedReport { response, table: table.0.to_vec() })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics has failed")]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    #[test]
    fn structures_and_opcode_are_those_of_the_kernel() {
        assert_eq!(size_of::<ReportRequest>(), 96);
        assert_eq!(size_of::<ExtendedReportRequest>(), 112);
        assert_eq!(offset_of!(ExtendedReportRequest, certs_address), 96);
        assert_eq!(offset_of!(ExtendedReportRequest, certs_len), 104);
        assert_eq!(size_of::<GuestRequest>(), 32);
        assert_eq!(offset_of!(GuestRequest, request), 8);
        assert_eq!(GET_EXTENDED_REPORT, 0xC020_5302);
        assert_eq!(MAX_CERTIFICATE_TABLE_LEN % 4096, 0);
    }

    #[test]
    fn a_file_that_is_no_guest_device_is_refused_by_the_kernel() {
        const ENOTTY: i32 = 25;
        let device = SevGuest::open(Path::new("/dev/null")).unwrap();
        let error = device.extended_report(&[1; 64], 0).err().unwrap();
        assert_eq!(error.source.raw_os_error(), Some(ENOTTY));
        assert_eq!((error.firmware, error.host), (0, 0));
    }
}
