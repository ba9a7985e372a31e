//! AMD SEV-SNP attestation reports, read field by field into types.
//!
//! Role: Evidence (RFC 9334 §4.2). In: the 1184 bytes of a report, alone, in the KBS protocol's JSON
//! ([`kbs`]) or with a host's certificate table ([`certificates`]). Out: [`SnpEvidence`] with the exact
//! bytes that were signed beside the values in them. Nothing is verified here.
//!
//! Layout: AMD 56860 "SEV Secure Nested Paging Firmware ABI Specification", table ATTESTATION_REPORT.
//!
//! ```text
//!  0x000 version, guest SVN, policy, ids, VMPL, current TCB, platform, keys
//!  0x050 report data 64 · measurement 48 · host data 32 · ID key 48 · author key 48 · report ids
//!  0x180 reported TCB · (v3: family, model, stepping) · chip id 64 · committed TCB · versions
//!  0x1f0 launch TCB · (v5: mitigation vectors 16) · reserved
//!  0x2a0 r 72 · s 72 · reserved                                             0x4a0
//!  ◄──── signed ────►
//! ```
//! Against: reports of a version that nobody here knows, reserved bytes that carry something.

use crate::binding::ReportData;
use crate::claims::{
    ChipId, CpuId, FirmwareVersion, GuestPolicy, HostData, KeyInfo, LaunchId, Measurement,
    PlatformInfo, ReportId, SnpProduct,
};
use crate::reason::Reason;

pub mod certificates;
pub mod kbs;

pub use certificates::PresentedCertificates;

/// Length in bytes of a report.
pub const REPORT_LEN: usize = 1184;
/// Length in bytes of the part that is signed.
pub const SIGNED_LEN: usize = 0x2a0;

/// Why bytes or JSON are not an SNP report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnpFormatError {
    /// Another length.
    #[error("SNP report has {got} bytes, expected {REPORT_LEN}")]
    Length {
        /// Bytes that were given.
        got: usize,
    },
    /// Another version.
    #[error("SNP report version {got}; versions 2, 3 and 5 are supported")]
    Version {
        /// The version that the report states.
        got: u32,
    },
    /// A reserved byte that is not zero.
    #[error("reserved byte {offset:#05x} of the SNP report is {got:#04x}, expected zero")]
    Reserved {
        /// Its offset in the report.
        offset: usize,
        /// Its value.
        got: u8,
    },
    /// A member of the JSON form that is missing or of another form.
    #[error("{member} is not {expected}")]
    Member {
        /// The member.
        member: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// Both forms of the report are there, and they differ.
    #[error("attestation_report and attestation_report_raw are two different reports")]
    TwoReports,
    /// More bytes or certificates than [`limits`](crate::limits) allow.
    #[error("{what} is {got}; at most {limit} is read")]
    TooLarge {
        /// What was too large.
        what: &'static str,
        /// Its size in bytes, or the count.
        got: usize,
        /// The bound.
        limit: usize,
    },
    /// The host's certificate table does not describe itself.
    #[error("certificate table is refused: {reason}")]
    CertificateTable {
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl SnpFormatError {
    /// The rung that refused.
    #[must_use]
    pub fn rung(&self) -> &'static str {
        match self {
            Self::Reserved { .. } => "S16",
            _ => "S1",
        }
    }

    /// The refusal as a [`Reason`].
    #[must_use]
    pub fn reason(&self) -> Reason {
        const RECOLLECT: &str =
            "collect the Evidence again; if it came through a file, compare it with the original";
        const FIRMWARE: &str = "use SNP firmware whose reports have version 2, 3 or 5, or a release of Adyton that reads this version";
        let (code, claim, expected, got, remedy) = match self {
            Self::Length { got } => (
                "snp.report.length",
                "report",
                format!("{REPORT_LEN} bytes"),
                format!("{got} bytes"),
                RECOLLECT,
            ),
            Self::Version { got } => {
                ("snp.report.version", "version", "2, 3 or 5".to_owned(), got.to_string(), FIRMWARE)
            }
            Self::Reserved { offset, got } => (
                "snp.report.reserved",
                "reserved bytes",
                "zero".to_owned(),
                format!("{got:#04x} at offset {offset:#05x}"),
                FIRMWARE,
            ),
            Self::Member { member, expected } => (
                "snp.evidence.member",
                *member,
                (*expected).to_owned(),
                "something else".to_owned(),
                "send the report as the KBS protocol has it, or its 1184 bytes",
            ),
            Self::TwoReports => (
                "snp.evidence.two-reports",
                "attestation_report_raw",
                "the bytes of attestation_report".to_owned(),
                "another report".to_owned(),
                "send one of the two members",
            ),
            Self::TooLarge { what, got, limit } => (
                "snp.evidence.too-large",
                *what,
                format!("at most {limit}"),
                got.to_string(),
                RECOLLECT,
            ),
            Self::CertificateTable { reason } => (
                "snp.evidence.certificate-table",
                "certificate table",
                "entries within the table".to_owned(),
                (*reason).to_owned(),
                "let the host load its certificates again (SNP_SET_EXT_CONFIG), or none",
            ),
        };
        Reason::new(code, self.rung(), claim, (expected, got), remedy)
    }
}

/// An SNP report with its exact bytes, and the certificates that came with it. Unverified.
#[derive(Clone, Debug)]
pub struct SnpEvidence {
    raw: Box<[u8; REPORT_LEN]>,
    report: Box<SnpReport>,
    certificates: PresentedCertificates,
}

/// The format that the firmware wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReportVersion {
    /// Without the processor's family and model.
    V2,
    /// With them.
    V3,
    /// With mitigation vectors, too.
    V5,
}

impl ReportVersion {
    /// The number in the report.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
            Self::V5 => 5,
        }
    }
}

/// TCB_VERSION as written. Its byte order depends on the product, which a report alone may not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawTcb(pub [u8; 8]);

/// The fields of an SNP report. Unverified.
#[derive(Clone, Debug)]
pub struct SnpReport {
    /// Format of the report.
    pub version: ReportVersion,
    /// Security version of the guest, from its ID block.
    pub guest_svn: u32,
    /// What the guest allows the host to do.
    pub policy: GuestPolicy,
    /// From the ID block.
    pub family_id: LaunchId,
    /// From the ID block.
    pub image_id: LaunchId,
    /// Privilege level of who asked for the report.
    pub vmpl: u32,
    /// SIGNATURE_ALGO; 1 is ECDSA P-384 with SHA-384.
    pub signature_algorithm: u32,
    /// Firmware that runs now.
    pub current_tcb: RawTcb,
    /// How the machine is set up.
    pub platform_info: PlatformInfo,
    /// Which keys were used.
    pub key_info: KeyInfo,
    /// What the guest asked to have signed.
    pub report_data: ReportData,
    /// Launch digest.
    pub measurement: Measurement,
    /// What the host stated at launch.
    pub host_data: HostData,
    /// Digest of the ID key.
    pub id_key_digest: Measurement,
    /// Digest of the author key.
    pub author_key_digest: Measurement,
    /// Name of this running guest.
    pub report_id: ReportId,
    /// Name of its migration agent.
    pub report_id_ma: ReportId,
    /// Firmware that the signing key is bound to.
    pub reported_tcb: RawTcb,
    /// Processor, from version 3 on.
    pub cpuid: Option<CpuId>,
    /// Identity of the processor; zero where masked.
    pub chip_id: ChipId,
    /// Firmware below which there is no way back.
    pub committed_tcb: RawTcb,
    /// Version of the firmware that runs now.
    pub current_version: FirmwareVersion,
    /// Version below which there is no way back.
    pub committed_version: FirmwareVersion,
    /// Firmware at launch.
    pub launch_tcb: RawTcb,
    /// Mitigations at launch, in version 5.
    pub launch_mitigations: Option<u64>,
    /// Mitigations now, in version 5.
    pub current_mitigations: Option<u64>,
    /// `r` of the signature, little-endian, 72 bytes of which 48 may be used.
    pub signature_r: [u8; 72],
    /// `s` of the signature, likewise.
    pub signature_s: [u8; 72],
}

impl SnpReport {
    /// In which of AMD's two byte orders TCB versions are written. The report's own word where it has
    /// one, from version 3 on; else a chip id of 8 bytes tells Turin. Which key vouches for it is
    /// another question, and the Verifier's.
    #[must_use]
    pub fn tcb_layout(&self) -> SnpProduct {
        let is_turin = match self.cpuid {
            Some(cpuid) => cpuid.family >= 0x1a,
            None => !self.chip_id.is_zero() && self.chip_id.0.iter().skip(8).all(|byte| *byte == 0),
        };
        if is_turin { SnpProduct::Turin } else { SnpProduct::Genoa }
    }
}

impl SnpEvidence {
    /// Parses the raw report, without certificates.
    ///
    /// # Errors
    /// [`SnpFormatError::Length`], [`Version`](SnpFormatError::Version),
    /// [`Reserved`](SnpFormatError::Reserved), in this order.
    pub fn parse(raw: &[u8]) -> Result<Self, SnpFormatError> {
        let raw: Box<[u8; REPORT_LEN]> =
            raw.to_vec().try_into().map_err(|_| SnpFormatError::Length { got: raw.len() })?;
        let report = Box::new(read(&raw)?);
        Ok(Self { raw, report, certificates: PresentedCertificates::none() })
    }

    /// Parses what a guest device gives: the report, and the host's certificate table.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), then [`SnpFormatError::TooLarge`],
    /// [`CertificateTable`](SnpFormatError::CertificateTable).
    pub fn parse_extended(raw: &[u8], table: &[u8]) -> Result<Self, SnpFormatError> {
        let evidence = Self::parse(raw)?;
        Ok(evidence.with_certificates(PresentedCertificates::parse_table(table)?))
    }

    /// The same report with certificates beside it.
    #[must_use]
    pub fn with_certificates(self, certificates: PresentedCertificates) -> Self {
        Self { certificates, ..self }
    }

    /// The exact bytes of the report.
    #[must_use]
    pub fn raw(&self) -> &[u8; REPORT_LEN] {
        &self.raw
    }

    /// The bytes that the endorsement key signed.
    pub(crate) fn signed(&self) -> &[u8] {
        self.raw.first_chunk::<SIGNED_LEN>().map_or(&[], |signed| signed)
    }

    /// The fields of the report.
    #[must_use]
    pub fn report(&self) -> &SnpReport {
        &self.report
    }

    /// The certificates that came with the report. Nobody vouches for them.
    #[must_use]
    pub fn certificates(&self) -> &PresentedCertificates {
        &self.certificates
    }

    /// The 64 bytes that the guest asked to have signed. Unverified.
    #[must_use]
    pub fn report_data(&self) -> ReportData {
        self.report.report_data
    }
}

/// `N` bytes at a constant offset inside the report.
fn field<const N: usize>(raw: &[u8; REPORT_LEN], offset: usize) -> [u8; N] {
    // Every offset here is a constant that lies inside; zeros would be refused further up.
    raw.get(offset..).and_then(|from| from.first_chunk()).copied().unwrap_or([0; N])
}

fn read(raw: &[u8; REPORT_LEN]) -> Result<SnpReport, SnpFormatError> {
    let u32_at = |offset| u32::from_le_bytes(field(raw, offset));
    let u64_at = |offset| u64::from_le_bytes(field(raw, offset));
    let version = match u32_at(0x000) {
        2 => ReportVersion::V2,
        3 => ReportVersion::V3,
        5 => ReportVersion::V5,
        got => return Err(SnpFormatError::Version { got }),
    };
    reserved_is_zero(raw, version)?;
    let cpuid = match version {
        ReportVersion::V2 => None,
        ReportVersion::V3 | ReportVersion::V5 => {
            let [family, model, stepping] = field(raw, 0x188);
            Some(CpuId { family, model, stepping })
        }
    };
    let mitigations = |offset| match version {
        ReportVersion::V2 | ReportVersion::V3 => None,
        ReportVersion::V5 => Some(u64_at(offset)),
    };
    let firmware = |offset| {
        let [build, minor, major] = field(raw, offset);
        FirmwareVersion { major, minor, build }
    };
    Ok(SnpReport {
        version,
        guest_svn: u32_at(0x004),
        policy: GuestPolicy(u64_at(0x008)),
        family_id: LaunchId(field(raw, 0x010)),
        image_id: LaunchId(field(raw, 0x020)),
        vmpl: u32_at(0x030),
        signature_algorithm: u32_at(0x034),
        current_tcb: RawTcb(field(raw, 0x038)),
        platform_info: PlatformInfo(u64_at(0x040)),
        key_info: KeyInfo(u32_at(0x048)),
        report_data: ReportData(field(raw, 0x050)),
        measurement: Measurement(field(raw, 0x090)),
        host_data: HostData(field(raw, 0x0c0)),
        id_key_digest: Measurement(field(raw, 0x0e0)),
        author_key_digest: Measurement(field(raw, 0x110)),
        report_id: ReportId(field(raw, 0x140)),
        report_id_ma: ReportId(field(raw, 0x160)),
        reported_tcb: RawTcb(field(raw, 0x180)),
        cpuid,
        chip_id: ChipId(field(raw, 0x1a0)),
        committed_tcb: RawTcb(field(raw, 0x1e0)),
        current_version: firmware(0x1e8),
        committed_version: firmware(0x1ec),
        launch_tcb: RawTcb(field(raw, 0x1f0)),
        launch_mitigations: mitigations(0x1f8),
        current_mitigations: mitigations(0x200),
        signature_r: field(raw, 0x2a0),
        signature_s: field(raw, 0x2e8),
    })
}

/// S16: what a version reserves is zero. A later firmware that uses these bytes writes a later version.
fn reserved_is_zero(raw: &[u8; REPORT_LEN], version: ReportVersion) -> Result<(), SnpFormatError> {
    let after_cpuid = match version {
        ReportVersion::V2 => 0x188..0x1a0,
        ReportVersion::V3 | ReportVersion::V5 => 0x18b..0x1a0,
    };
    let before_signature = match version {
        ReportVersion::V2 | ReportVersion::V3 => 0x1f8..0x2a0,
        ReportVersion::V5 => 0x208..0x2a0,
    };
    let ranges = [
        0x04c..0x050,
        after_cpuid,
        0x1eb..0x1ec,
        0x1ef..0x1f0,
        before_signature,
        0x330..REPORT_LEN,
    ];
    for offset in ranges.into_iter().flatten() {
        match raw.get(offset) {
            Some(0) | None => {}
            Some(&got) => return Err(SnpFormatError::Reserved { offset, got }),
        }
    }
    Ok(())
}
