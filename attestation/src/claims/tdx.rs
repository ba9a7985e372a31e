//! Claims about a TDX platform that are choices, not registers.

use std::fmt;

use serde::{Serialize, Serializer};

use super::PlatformInstanceId;

/// The shape of TD_ATTRIBUTES that rung T9 accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttributesProfile {
    /// SEPT_VE_DISABLE is set: the host can't inject #VE on pages that it took away.
    Standard,
    /// All attributes are zero, as in Azure's TDs, where a paravisor stands between host and guest. Let
    /// through because [`ParavisorTds::InsecureAccept`](crate::ParavisorTds::InsecureAccept) asked for
    /// it. What a #VE does is then the paravisor's doing: it has to be among the measurements (MRTD)
    /// that the owner knows.
    AzureParavisor,
}

impl fmt::Display for AttributesProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Standard => "standard",
            Self::AzureParavisor => "azure-paravisor",
        })
    }
}

/// Identity of an installation of a platform: it changes when the machine is registered anew, which
/// the PPID does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlatformInstance {
    /// The certificate of a single-package platform, which has none.
    NotStated,
    /// The id.
    Stated(PlatformInstanceId),
}

impl Serialize for PlatformInstance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for PlatformInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStated => f.write_str("not-stated"),
            Self::Stated(id) => write!(f, "{id}"),
        }
    }
}

/// What the PCK certificate states about the platform's setup. Intel "PCK Certificate and CRL Profile
/// Specification", §1.3.5, configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PckFlags {
    /// Packages can be added to the platform later. Set on every machine with several sockets.
    pub dynamic_platform: PckFlag,
    /// The vendor's registration service keeps the platform's root keys.
    pub cached_keys: PckFlag,
    /// Hyper-threading is on: another TD may share a core.
    pub smt_enabled: PckFlag,
}

/// One statement of the PCK certificate about the platform.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PckFlag {
    /// The certificate doesn't say, as those of the PCK Processor CA.
    #[default]
    NotStated,
    /// It is not so.
    Clear,
    /// It is so.
    Set,
}

impl fmt::Display for PckFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotStated => "not-stated",
            Self::Clear => "clear",
            Self::Set => "set",
        })
    }
}
