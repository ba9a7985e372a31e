//! `/dev/sev-guest` against a stand-in for kernel, secure processor and host, with faults of each.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::device::ExtendedReport;
use super::*;
use crate::attester::tsm::tests::snp_report;
use crate::evidence::Evidence;
use crate::limits::MAX_CERTIFICATE_TABLE_LEN;

const EIO: i32 = 5;

enum Answer {
    Report,
    OtherReportData,
    Status(u32),
    Size(u32),
    Short,
    Fails { firmware: u32, host: u32 },
    LyingTable,
}

struct FakeDevice {
    answer: Answer,
    asked: AtomicUsize,
}

impl GuestDevice for std::sync::Arc<FakeDevice> {
    fn extended_report(
        &self,
        user_data: &[u8; 64],
        vmpl: u32,
    ) -> Result<ExtendedReport, DeviceError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut data = *user_data;
        let (mut status, mut size) = (0, 1184);
        let mut table = vec![0; MAX_CERTIFICATE_TABLE_LEN];
        match self.answer {
            Answer::Fails { firmware, host } => {
                let source = io::Error::from_raw_os_error(EIO);
                return Err(DeviceError { source, firmware, host });
            }
            Answer::OtherReportData => data[0] ^= 1,
            Answer::Status(code) => status = code,
            Answer::Size(other) => size = other,
            Answer::LyingTable => table[..24].fill(0xff),
            Answer::Report | Answer::Short => {}
        }
        let mut response = [status.to_le_bytes(), size.to_le_bytes()].concat();
        response.extend([0; 24]);
        response.extend(snp_report(data, u8::try_from(vmpl).unwrap()));
        response.resize(4000, 0);
        if matches!(self.answer, Answer::Short) {
            response.truncate(1000);
        }
        Ok(ExtendedReport { response, table })
    }
}

fn asked() -> ReportData {
    ReportData(std::array::from_fn(|at| at as u8))
}

fn collect(answer: Answer) -> Result<Value, AttesterError> {
    let device = std::sync::Arc::new(FakeDevice { answer, asked: AtomicUsize::new(0) });
    let attester = SevGuestAttester::with("/dev/sev-guest".into(), Box::new(device.clone()));
    let result = attester.collect(&asked());
    assert_eq!(device.asked.load(Ordering::Relaxed), 1, "the device was asked again");
    result
}

#[test]
fn evidence_carries_the_report_data_at_vmpl_0() {
    let evidence = collect(Answer::Report).unwrap();
    assert_eq!(evidence["attestation_report"]["vmpl"], 0);
    assert_eq!(Evidence::parse_kbs(Tee::Snp, &evidence).unwrap().report_data(), asked());
}

#[test]
fn evidence_over_other_report_data_is_refused() {
    assert!(matches!(
        collect(Answer::OtherReportData),
        Err(AttesterError::ReportData { attester: "sev-guest", .. })
    ));
}

#[test]
fn a_response_that_is_no_report_is_refused_with_what_is_wrong() {
    for (answer, part) in [
        (Answer::Status(0x16), "parameters"),
        (Answer::Status(0x27), "VCEK or VLEK"),
        (Answer::Status(1), "error"),
        (Answer::Size(1183), "1184"),
        (Answer::Short, "inside the report"),
    ] {
        let error = collect(answer).unwrap_err();
        let AttesterError::SevGuestResponse { reason } = error else { panic!("{error:?}") };
        assert!(reason.contains(part), "{reason}");
    }
}

#[test]
fn a_device_that_fails_is_not_asked_again_and_says_what_to_do() {
    for (firmware, host, part) in
        [(0, 1, "16 KiB"), (0, 2, "in a minute"), (0x1f, 0, "rebooted"), (0, 0, "kernel log")]
    {
        let error = collect(Answer::Fails { firmware, host }).unwrap_err();
        let AttesterError::SevGuest { step: "ask", remedy, .. } = error else {
            panic!("{error:?}")
        };
        assert!(remedy.contains(part), "{remedy}");
    }
}

#[test]
fn a_certificate_table_that_lies_is_refused() {
    assert!(matches!(
        collect(Answer::LyingTable),
        Err(AttesterError::Evidence { attester: "sev-guest", .. })
    ));
}

#[test]
fn a_machine_without_the_device_says_what_to_hand_in() {
    let dir = tempfile::tempdir().unwrap();
    let error = SevGuestAttester::new(dir.path().join("sev-guest")).err().unwrap();
    assert!(matches!(
        &error,
        AttesterError::SevGuest { step: "open", source, .. }
            if source.kind() == io::ErrorKind::NotFound
    ));
    assert!(error.to_string().contains("/dev/sev-guest"), "{error}");
}
