//! Claims: what verified Evidence says about a TEE, as values.
//!
//! Role: output of the Verifier, input of the appraisal (RFC 9334 §4.2). A `Claims` value by itself
//! proves nothing, anybody can write one; only [`Verified<Claims>`](crate::Verified) says that
//! hardware signed it. Every register is a type of its own length, written as lower-case hex in the
//! byte order of the quote, so that no two can be swapped and no length can be wrong.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::binding::ReportData;
use crate::evidence::Tee;
use crate::unix_time::UnixTime;

mod azure;
mod event_log;
mod gpu;
mod snp;
mod tdx;

pub use azure::{AzureClaims, AzureHardwareClaims};
pub use event_log::{ApplicationEvent, EventClaim, EventContent, EventLogClaims, Rtmr};
pub use gpu::{GpuClaims, GpuRevocation, Nvdec0};
pub use snp::{
    ChipId, CpuId, FirmwareVersion, GuestPolicy, HostData, KeyInfo, LaunchId, PlatformInfo,
    ReportId, SigningKey, SnpClaims, SnpProduct, SnpRevocation, SnpTcb, TcbComponent,
    UnknownSnpProduct,
};
pub use tdx::{AttributesProfile, PckFlag, PckFlags, PlatformInstance};

/// A text was not the expected number of bytes in hex.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} bytes as {} hex digits, got {got} characters that are not that", expected * 2)]
pub struct HexError {
    /// Bytes that the register has.
    pub expected: usize,
    /// Characters that were given.
    pub got: usize,
}

macro_rules! hex_bytes {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Whether every byte is zero.
            #[must_use]
            pub fn is_zero(&self) -> bool {
                self.0.iter().all(|byte| *byte == 0)
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::claims::HexError;

            fn from_str(text: &str) -> Result<Self, $crate::claims::HexError> {
                let mut bytes = [0; $len];
                hex::decode_to_slice(text, &mut bytes)
                    .map_err(|_| $crate::claims::HexError { expected: $len, got: text.len() })?;
                Ok(Self(bytes))
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text: String = ::serde::Deserialize::deserialize(deserializer)?;
                text.parse().map_err(::serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use hex_bytes;

hex_bytes! {
    /// A SHA-384 measurement register of a TD: MRTD, an RTMR, MRCONFIGID and their like.
    Measurement, 48
}
hex_bytes! {
    /// TD_ATTRIBUTES as signed, little-endian. Intel TDX Module ABI, table TD_ATTRIBUTES.
    TdAttributes, 8
}
hex_bytes! {
    /// XFAM: the CPU state components that the TD may use, as signed, little-endian.
    Xfam, 8
}
hex_bytes! {
    #[derive(Default)]
    /// TEE_TCB_SVN: security version numbers of the TDX module and its loader.
    TeeTcbSvn, 16
}
hex_bytes! {
    /// FMSPC: family, model, stepping, platform and custom SKU; names the Endorsements to use.
    Fmspc, 6
}
hex_bytes! {
    /// PPID: identifies one physical platform. The same for every TD on it.
    Ppid, 16
}
hex_bytes! {
    /// Identifies one installation of a platform.
    PlatformInstanceId, 16
}

hex_bytes! {
    /// A PCR of a TPM's SHA-256 bank.
    Pcr, 32
}

impl TdAttributes {
    /// DEBUG (bit 0): the host can read and write the TD's memory.
    pub const DEBUG: u64 = 1;
    /// SEPT_VE_DISABLE (bit 28): the host can't inject #VE on pages that it took away.
    pub const SEPT_VE_DISABLE: u64 = 1 << 28;
    /// MIGRATABLE (bit 29): the TD may be moved by a migration TD.
    pub const MIGRATABLE: u64 = 1 << 29;

    /// The attributes as the number that the bit positions refer to.
    #[must_use]
    pub fn bits(&self) -> u64 {
        u64::from_le_bytes(self.0)
    }

    /// Whether the TD is debuggable from outside and so keeps no secret.
    #[must_use]
    pub fn is_debug(&self) -> bool {
        self.bits() & Self::DEBUG != 0
    }

    /// Whether the TD may be migrated.
    #[must_use]
    pub fn is_migratable(&self) -> bool {
        self.bits() & Self::MIGRATABLE != 0
    }
}

impl Xfam {
    /// The mask as the number that the bit positions refer to.
    #[must_use]
    pub fn bits(&self) -> u64 {
        u64::from_le_bytes(self.0)
    }
}

/// How current the platform's firmware is, in Intel's words: the TCB level that the vendor's TCB
/// info assigns to the security version numbers in Evidence, merged with that of the quoting
/// enclave and the TDX module. `Revoked` isn't here: it is always fatal, in the Verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TcbStatus {
    /// Everything at the latest level.
    UpToDate,
    /// Current, but software in the TD needs mitigations of its own.
    #[serde(rename = "SWHardeningNeeded")]
    SwHardeningNeeded,
    /// Current, but the platform may be configured unsafely.
    ConfigurationNeeded,
    /// Both of the two before.
    #[serde(rename = "ConfigurationAndSWHardeningNeeded")]
    ConfigurationAndSwHardeningNeeded,
    /// Firmware with published vulnerabilities.
    OutOfDate,
    /// Firmware with published vulnerabilities, and perhaps configured unsafely.
    OutOfDateConfigurationNeeded,
    /// The module was updated under the running TD, which was launched on an old one.
    #[serde(rename = "TDRelaunchAdvised")]
    TdRelaunchAdvised,
    /// The same, and the platform may be configured unsafely.
    #[serde(rename = "TDRelaunchAdvisedConfigurationNeeded")]
    TdRelaunchAdvisedConfigurationNeeded,
}

impl TcbStatus {
    /// Intel's word for the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UpToDate => "UpToDate",
            Self::SwHardeningNeeded => "SWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::ConfigurationAndSwHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::OutOfDate => "OutOfDate",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            Self::TdRelaunchAdvised => "TDRelaunchAdvised",
            Self::TdRelaunchAdvisedConfigurationNeeded => "TDRelaunchAdvisedConfigurationNeeded",
        }
    }
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The trust anchor that the chain of signatures ended in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum AnchorUsed {
    /// The hardware vendor's root, built into this crate.
    Vendor,
    /// A root that the operator added. Whoever holds its key can make any Evidence; say so wherever
    /// a result is shown.
    InsecureExtra {
        /// SHA-256 of the root certificate's DER, lower-case hex.
        sha256: String,
    },
}

impl fmt::Display for AnchorUsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vendor => f.write_str("vendor root"),
            Self::InsecureExtra { sha256 } => write!(f, "INSECURE extra root {sha256}"),
        }
    }
}

/// The validity of the Endorsements that were used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CollateralWindow {
    /// The older `issueDate` of TCB info and QE identity.
    pub issued: UnixTime,
    /// The earliest end of validity among TCB info, QE identity, both CRLs and every certificate.
    pub expires: UnixTime,
}

/// Claims of one TEE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "tee", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Claims {
    /// An Intel TDX trust domain.
    Tdx(Box<TdxClaims>),
    /// An AMD SEV-SNP guest.
    Snp(Box<SnpClaims>),
    /// An Azure confidential VM on SEV-SNP.
    AzSnpVtpm(Box<AzureClaims>),
    /// An Azure confidential VM on TDX.
    AzTdxVtpm(Box<AzureClaims>),
}

impl Claims {
    /// The TEE that they are of.
    #[must_use]
    pub fn tee(&self) -> Tee {
        match self {
            Self::Tdx(_) => Tee::Tdx,
            Self::Snp(_) => Tee::Snp,
            Self::AzSnpVtpm(_) => Tee::AzSnpVtpm,
            Self::AzTdxVtpm(_) => Tee::AzTdxVtpm,
        }
    }

    /// The bytes that the TEE was asked to sign.
    #[must_use]
    pub fn report_data(&self) -> &ReportData {
        match self {
            Self::Tdx(claims) => &claims.report_data,
            Self::Snp(claims) => &claims.report_data,
            Self::AzSnpVtpm(claims) | Self::AzTdxVtpm(claims) => &claims.report_data,
        }
    }

    /// Where the chain of signatures ended.
    #[must_use]
    pub fn root(&self) -> &AnchorUsed {
        match self {
            Self::Tdx(claims) => &claims.root,
            Self::Snp(claims) => &claims.root,
            Self::AzSnpVtpm(claims) | Self::AzTdxVtpm(claims) => match &claims.hardware {
                AzureHardwareClaims::Snp(claims) => &claims.root,
                AzureHardwareClaims::Tdx(claims) => &claims.root,
            },
        }
    }

    /// The earliest end of validity among the Endorsements that were used.
    #[must_use]
    pub fn endorsements_expire(&self) -> UnixTime {
        match self {
            Self::Tdx(claims) => claims.collateral.expires,
            Self::Snp(claims) => claims.endorsements_expire,
            Self::AzSnpVtpm(claims) | Self::AzTdxVtpm(claims) => match &claims.hardware {
                AzureHardwareClaims::Snp(claims) => claims.endorsements_expire,
                AzureHardwareClaims::Tdx(claims) => claims.collateral.expires,
            },
        }
    }
}

/// Claims of an Intel TDX trust domain and of the platform under it.
///
/// Layout source: Intel TDX DCAP quoting library API, quote body TD10/TD15/TD15ex; names as there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TdxClaims {
    /// Measurement of the TD's initial contents (firmware).
    pub mrtd: Measurement,
    /// Run-time register 0: firmware configuration, ACPI tables.
    pub rtmr0: Measurement,
    /// Run-time register 1: boot loader, kernel.
    pub rtmr1: Measurement,
    /// Run-time register 2: kernel command line, initrd, root file system digest.
    pub rtmr2: Measurement,
    /// Run-time register 3: left to software in the TD.
    pub rtmr3: Measurement,
    /// Configuration that the host stated at launch and could not change since (init-data digest).
    pub mrconfigid: Measurement,
    /// Owner of the TD, as the host stated it.
    pub mrowner: Measurement,
    /// Owner's configuration, as the host stated it.
    pub mrownerconfig: Measurement,
    /// Measurement of the TDX module.
    pub mrseam: Measurement,
    /// Attributes of the TD. DEBUG, MIGRATABLE and reserved bits are zero unless debug was admitted.
    pub td_attributes: TdAttributes,
    /// Whether the attributes are those of a closed TD, or were let through at zero on request.
    pub attributes_profile: AttributesProfile,
    /// CPU state components that the TD may use.
    pub xfam: Xfam,
    /// Security version numbers of the TDX module at launch.
    pub tee_tcb_svn: TeeTcbSvn,
    /// The 64 bytes that the TD chose; equal to what the Verifier expected.
    #[serde(serialize_with = "report_data_as_hex")]
    pub report_data: ReportData,
    /// What the event log beside the quote says, as far as the registers above prove it.
    pub event_log: EventLogClaims,
    /// How current the platform is. A claim, not a decision: the appraisal policy decides.
    pub tcb_status: TcbStatus,
    /// The vendor's `tcbDate` of that level: the oldest among platform, TDX module and quoting enclave.
    pub tcb_date: UnixTime,
    /// Vendor advisories that apply at this TCB level, sorted.
    pub advisory_ids: Vec<String>,
    /// Platform type, from the PCK certificate.
    pub fmspc: Fmspc,
    /// Platform identity, from the PCK certificate.
    pub ppid: Ppid,
    /// This installation of the platform, from the PCK certificate.
    pub platform_instance: PlatformInstance,
    /// How the platform is set up, from the PCK certificate.
    pub pck_flags: PckFlags,
    /// Edition of the vendor's evaluation: the lower of TCB info and QE identity.
    pub tcb_evaluation_data_number: u32,
    /// Validity of the Endorsements used.
    pub collateral: CollateralWindow,
    /// Where the chain of signatures ended.
    pub root: AnchorUsed,
}

pub(crate) fn report_data_as_hex<S: Serializer>(
    value: &ReportData,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(value.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_of_another_length_is_refused() {
        assert_eq!("00".parse::<Fmspc>(), Err(HexError { expected: 6, got: 2 }));
        assert_eq!("zz0000000000".parse::<Fmspc>(), Err(HexError { expected: 6, got: 12 }));
        let fmspc: Fmspc = "b0C06f000000".parse().expect("six bytes");
        assert_eq!(fmspc.to_string(), "b0c06f000000");
    }

    #[test]
    fn every_tcb_status_is_written_in_intels_word() {
        use TcbStatus as S;
        for status in [
            S::UpToDate,
            S::SwHardeningNeeded,
            S::ConfigurationNeeded,
            S::ConfigurationAndSwHardeningNeeded,
            S::OutOfDate,
            S::OutOfDateConfigurationNeeded,
            S::TdRelaunchAdvised,
            S::TdRelaunchAdvisedConfigurationNeeded,
        ] {
            assert_eq!(serde_json::to_value(status).expect("a string"), status.as_str());
        }
    }
}
