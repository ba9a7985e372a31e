//! Claims of an AMD SEV-SNP guest and of the processor under it.

use serde::Serialize;

use crate::binding::ReportData;
use crate::claims::{AnchorUsed, Measurement, hex_bytes, report_data_as_hex};
use crate::unix_time::UnixTime;

mod policy;
mod processor;

pub use policy::{GuestPolicy, KeyInfo, PlatformInfo, SigningKey};
pub use processor::{CpuId, FirmwareVersion, SnpProduct, SnpTcb, TcbComponent, UnknownSnpProduct};

hex_bytes! {
    /// CHIP_ID: identifies one physical processor. Milan and Genoa use 64 bytes, Turin the first 8.
    /// Zero where the owner of the machine masks it.
    ChipId, 64
}
hex_bytes! {
    /// HOST_DATA: 32 bytes that the host fixed at launch; CoCo puts the digest of init-data there.
    HostData, 32
}
hex_bytes! {
    /// FAMILY_ID or IMAGE_ID: 16 bytes that the guest owner's signed ID block states.
    LaunchId, 16
}
hex_bytes! {
    /// REPORT_ID: the firmware's random name of a running guest, or of its migration agent.
    ReportId, 32
}

/// Claims of an AMD SEV-SNP guest.
///
/// Layout source: AMD 56860, table ATTESTATION_REPORT. Whether they are *good* is up to the
/// appraisal: genuine claims of an old or badly configured machine look just like this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnpClaims {
    /// Version of the report: 2, 3 or 5.
    pub report_version: u32,
    /// Product line whose root the signatures lead to.
    pub product: SnpProduct,
    /// Family, model and stepping of the processor. `None` in reports of version 2.
    pub cpuid: Option<CpuId>,
    /// Launch digest of the guest's initial memory.
    pub measurement: Measurement,
    /// What the host stated at launch and could not change since.
    pub host_data: HostData,
    /// The 64 bytes that the guest chose; equal to what the Verifier expected.
    #[serde(serialize_with = "report_data_as_hex")]
    pub report_data: ReportData,
    /// Privilege level of the software that asked for the report; 0 is the most privileged.
    pub vmpl: u32,
    /// What the guest's owner allows the host to do.
    pub policy: GuestPolicy,
    /// How the machine is set up.
    pub platform_info: PlatformInfo,
    /// Which keys were used.
    pub key_info: KeyInfo,
    /// Security version of the guest, as its owner's ID block states it.
    pub guest_svn: u32,
    /// Family of the guest, as its owner's ID block states it; zero without one.
    pub family_id: LaunchId,
    /// Image of the guest, as its owner's ID block states it; zero without one.
    pub image_id: LaunchId,
    /// SHA-384 of the key that signed the ID block; zero without one.
    pub id_key_digest: Measurement,
    /// SHA-384 of the key that certified the ID key; zero unless `key_info.author_key_enabled`.
    pub author_key_digest: Measurement,
    /// Name of this running guest.
    pub report_id: ReportId,
    /// Name of its migration agent; all ones without one.
    pub report_id_ma: ReportId,
    /// Versions of the firmware that runs now.
    pub current_tcb: SnpTcb,
    /// Versions that the signing key is bound to; equal to those in the key's certificate.
    pub reported_tcb: SnpTcb,
    /// Versions below which the machine can't be rolled back.
    pub committed_tcb: SnpTcb,
    /// `current_tcb` when the guest was launched.
    pub launch_tcb: SnpTcb,
    /// Version of the SNP firmware that runs now.
    pub current_version: FirmwareVersion,
    /// Version of the SNP firmware below which the machine can't be rolled back.
    pub committed_version: FirmwareVersion,
    /// Mitigations that were in force when the guest was launched. Reports of version 5.
    pub launch_mitigations: Option<u64>,
    /// Mitigations that are in force now. Reports of version 5.
    pub current_mitigations: Option<u64>,
    /// Identity of the processor; zero where masked, which only VLEK-signed reports may have.
    pub chip_id: ChipId,
    /// Cloud provider that the VLEK was made for. `None` in reports that a VCEK signed.
    pub csp_id: Option<String>,
    /// Whether the intermediate key was looked up in a current revocation list.
    pub revocation: SnpRevocation,
    /// Earliest end of validity among the certificates and lists used.
    pub endorsements_expire: UnixTime,
    /// Where the chain of signatures ended.
    pub root: AnchorUsed,
}

/// Whether AMD's revocation list was consulted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SnpRevocation {
    /// A list of the root that was current at the time of verification doesn't have the key.
    Checked,
    /// No current list was at hand and the operator waived it. A revoked intermediate key would not
    /// have been noticed.
    InsecureWaived,
}
