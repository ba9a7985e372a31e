//! What one simulated TD looks like: every field of its report, to be set at will.
//!
//! Role: Attester's target environment (RFC 9334 §3.1). In: choices of a test. Out: the body of a
//! TD report. Nothing here is measured; the values are SHA-384 digests of their own names.

use crate::event_log::FakeEventLog;
use crate::fault::Fault;
use crate::keys::{sha256, sha384};
use crate::tcb;

/// TD attribute DEBUG.
pub const ATTRIBUTE_DEBUG: u64 = 1 << 0;
/// TD attribute PERF_PROFILING.
pub const ATTRIBUTE_PERF_PROFILING: u64 = 1 << 5;
/// TD attribute SEPT_VE_DISABLE; set in every sound TD.
pub const ATTRIBUTE_SEPT_VE_DISABLE: u64 = 1 << 28;
/// TD attribute MIGRATABLE.
pub const ATTRIBUTE_MIGRATABLE: u64 = 1 << 29;

/// Which quote format carries the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuoteFormat {
    /// Version 4 with a TDX 1.0 report: what clouds give today.
    V4,
    /// Version 5 with body type 2, a TDX 1.0 report.
    V5Td10,
    /// Version 5 with body type 3, a TDX 1.5 report.
    V5Td15,
    /// Version 5 with body type 4, a TDX 1.5 report with extensions.
    V5Td15Ex,
}

impl QuoteFormat {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::V4, Self::V5Td10, Self::V5Td15, Self::V5Td15Ex];
}

/// Every field of a TD report but the report data. Measurements have 48 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TdProfile {
    /// Name of its reference values.
    pub name: String,
    /// Quote format.
    pub format: QuoteFormat,
    /// TDX module ISVSVN, module version, microcode SVN, zeros.
    pub tee_tcb_svn: [u8; 16],
    /// Measurement of the TDX module.
    pub mrseam: [u8; 48],
    /// Signer of the TDX module: zeros for the vendor's.
    pub mrsignerseam: [u8; 48],
    /// Attributes of the TDX module.
    pub seamattributes: [u8; 8],
    /// TD attributes, see the constants.
    pub td_attributes: u64,
    /// Extended features the TD may use.
    pub xfam: u64,
    /// Measurement of the TD's initial memory (firmware).
    pub mrtd: [u8; 48],
    /// Owner-defined configuration; CoCo puts the init-data digest here.
    pub mrconfigid: [u8; 48],
    /// Owner's id.
    pub mrowner: [u8; 48],
    /// Owner's configuration.
    pub mrownerconfig: [u8; 48],
    /// Runtime measurement registers 0 to 3.
    pub rtmrs: [[u8; 48]; 4],
    /// Current TCB after a module update; TDX 1.5 reports only.
    pub tee_tcb_svn2: [u8; 16],
    /// Service TD binding; TDX 1.5 reports only.
    pub mrservicetd: [u8; 48],
    /// Service TD binding at creation; TDX 1.5 reports with extensions only.
    pub initial_service_td: [u8; 48],
    /// Service TD binding as it is now; TDX 1.5 reports with extensions only.
    pub current_service_td: [u8; 48],
    /// Pads the quote with zeros to this many bytes, as one cloud does (8000); 0 pads nothing.
    pub pad_to: usize,
    /// The event log that goes with the quote; see [`with_event_log`](Self::with_event_log).
    pub event_log: Option<FakeEventLog>,
}

impl Default for TdProfile {
    /// The TD called "fake-td": up to date, not debuggable, all measurements distinct.
    fn default() -> Self {
        let measured = |register: &str| sha384(format!("adyton fake-td {register}").as_bytes());
        Self {
            name: "fake-td".to_owned(),
            format: QuoteFormat::V4,
            tee_tcb_svn: tcb::TEE_TCB_SVN,
            mrseam: measured("mrseam"),
            mrsignerseam: [0; 48],
            seamattributes: [0; 8],
            td_attributes: ATTRIBUTE_SEPT_VE_DISABLE,
            // x87, SSE, AVX, AVX-512, PKRU, AMX: what current clouds allow.
            xfam: 0x0006_02e7,
            mrtd: measured("mrtd"),
            mrconfigid: measured("init-data"),
            mrowner: [0; 48],
            mrownerconfig: [0; 48],
            rtmrs: [measured("rtmr0"), measured("rtmr1"), measured("rtmr2"), measured("rtmr3")],
            tee_tcb_svn2: tcb::TEE_TCB_SVN,
            mrservicetd: [0; 48],
            initial_service_td: [0; 48],
            current_service_td: [0; 48],
            pad_to: 0,
            event_log: None,
        }
    }
}

impl TdProfile {
    /// The same TD with the faults that concern the TD itself.
    pub fn with_faults(mut self, faults: &[Fault]) -> Self {
        for fault in faults {
            self.apply(*fault);
        }
        self
    }

    /// The same TD after this boot: the log goes with its quotes, and the registers are what it adds up to.
    #[must_use]
    pub fn with_event_log(mut self, log: FakeEventLog) -> Self {
        self.rtmrs = log.rtmrs();
        self.event_log = Some(log);
        self
    }

    fn apply(&mut self, fault: Fault) {
        match fault {
            Fault::StaleTcb => self.tee_tcb_svn[2] = tcb::STALE_SVN,
            Fault::RevokedTcb => self.tee_tcb_svn[2] = tcb::REVOKED_SVN,
            Fault::NoTcbLevel => self.tee_tcb_svn[2] = tcb::LEVELLESS_SVN,
            Fault::StaleTdxModule => self.tee_tcb_svn[0] = tcb::STALE_MODULE_SVN,
            Fault::UnknownTdxModule => self.tee_tcb_svn[1] = tcb::UNKNOWN_MODULE_VERSION,
            Fault::OtherModuleSigner => self.mrsignerseam = [0x5e; 48],
            Fault::DebugTd => self.td_attributes |= ATTRIBUTE_DEBUG,
            Fault::ProfiledTd => self.td_attributes |= ATTRIBUTE_PERF_PROFILING,
            Fault::ReservedTdAttribute => self.td_attributes |= 1 << 8,
            Fault::MigratableTd => self.td_attributes |= ATTRIBUTE_MIGRATABLE,
            Fault::SeptVeEnabled => self.td_attributes &= !ATTRIBUTE_SEPT_VE_DISABLE,
            Fault::UnknownBodyType | Fault::WrongBodySize if self.format == QuoteFormat::V4 => {
                self.format = QuoteFormat::V5Td10;
            }
            Fault::OversizedQuote => self.pad_to = 1024 * 1024,
            Fault::XfamWithoutSse => self.xfam &= !(1 << 1),
            Fault::UnknownXfam => self.xfam |= 1 << 40,
            Fault::OtherMeasurement => self.mrtd = another(&self.mrtd),
            Fault::OtherRtmr => self.rtmrs[2] = another(&self.rtmrs[2]),
            Fault::OtherConfigId => self.mrconfigid = another(&self.mrconfigid),
            Fault::OtherOwner => self.mrowner = another(&self.mrowner),
            Fault::OtherSeam => self.mrseam = another(&self.mrseam),
            Fault::ServiceTd => {
                self.format = QuoteFormat::V5Td15;
                self.mrservicetd = another(&self.mrservicetd);
            }
            Fault::InitialServiceTd => {
                self.format = QuoteFormat::V5Td15Ex;
                self.initial_service_td = another(&self.initial_service_td);
            }
            Fault::LaterServiceTd => {
                self.format = QuoteFormat::V5Td15Ex;
                self.current_service_td = another(&self.current_service_td);
            }
            _ => {}
        }
    }

    /// The TD report: 584 bytes, as a TDX 1.5 report 648, with extensions 885.
    pub(crate) fn report(&self, report_data: &[u8; 64]) -> Vec<u8> {
        let mut report = Vec::with_capacity(885);
        report.extend(self.tee_tcb_svn);
        report.extend(self.mrseam);
        report.extend(self.mrsignerseam);
        report.extend(self.seamattributes);
        report.extend(self.td_attributes.to_le_bytes());
        report.extend(self.xfam.to_le_bytes());
        report.extend(self.mrtd);
        report.extend(self.mrconfigid);
        report.extend(self.mrowner);
        report.extend(self.mrownerconfig);
        report.extend(self.rtmrs.as_flattened());
        report.extend(report_data);
        if matches!(self.format, QuoteFormat::V5Td15 | QuoteFormat::V5Td15Ex) {
            report.extend(self.tee_tcb_svn2);
            report.extend(self.mrservicetd);
        }
        if self.format == QuoteFormat::V5Td15Ex {
            // VM index 0, TD id, device information: an unpartitioned TD without devices.
            report.push(0);
            report.extend(sha256(b"adyton fake-td instance"));
            report.extend([0; 48]);
            // Service TDs at creation and their attributes; TCB at creation and where it was captured.
            report.extend(self.initial_service_td);
            report.extend([0; 8]);
            report.extend(tcb::COMPONENT_SVNS);
            report.extend(self.tee_tcb_svn);
            report.extend(tcb::FMSPC);
            report.extend([0; 6]);
            // Service TDs now, and their attributes.
            report.extend(self.current_service_td);
            report.extend([0; 8]);
        }
        report
    }
}

/// A different measurement that no profile starts with.
fn another(measurement: &[u8; 48]) -> [u8; 48] {
    sha384(measurement)
}
