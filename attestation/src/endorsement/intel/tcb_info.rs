//! TCB info: Intel's list of TCB levels of one platform type.
//!
//! In: the JSON text that Intel signed. Out: [`TcbInfo`] with versions as numbers and registers as
//! bytes, and the levels in the order in which they are tried. The text itself is kept elsewhere,
//! because it is what the signature is over. Unknown members are passed over, as Intel adds some from
//! time to time; an unknown *value* of a known member is an error.
//! Source: Intel PCS API v4, "Get TDX TCB Info", schema version 3.

use std::cmp::Reverse;

use serde::{Deserialize, Deserializer, de};

use crate::limits::{MAX_ADVISORIES, MAX_TCB_LEVELS, MAX_TDX_MODULES};
use crate::unix_time::UnixTime;

/// TCB info, parsed, unverified.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TcbInfo {
    /// `TDX`, or `SGX` for the other TEE on the same machine.
    pub(crate) id: String,
    pub(crate) version: u32,
    pub(crate) issue_date: UnixTime,
    pub(crate) next_update: UnixTime,
    #[serde(deserialize_with = "hex_bytes")]
    pub(crate) fmspc: [u8; 6],
    #[serde(deserialize_with = "hex_bytes")]
    pub(crate) pce_id: [u8; 2],
    /// How levels are composed; 0 is the only way that is defined.
    pub(crate) tcb_type: u32,
    pub(crate) tcb_evaluation_data_number: u32,
    /// Absent for SGX.
    #[serde(default)]
    pub(crate) tdx_module: Option<ModuleIdentity>,
    #[serde(default, deserialize_with = "at_most_modules")]
    pub(crate) tdx_module_identities: Vec<TdxModule>,
    /// Highest versions first, whatever the file's order.
    #[serde(deserialize_with = "sorted_levels")]
    pub(crate) tcb_levels: Vec<TcbLevel>,
}

/// Who signs a TDX module, and its attributes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ModuleIdentity {
    #[serde(deserialize_with = "hex_bytes")]
    pub(crate) mrsigner: [u8; 48],
    #[serde(deserialize_with = "hex_bytes")]
    pub(crate) attributes: [u8; 8],
    #[serde(deserialize_with = "hex_bytes")]
    pub(crate) attributes_mask: [u8; 8],
}

/// One major version of the TDX module with its levels.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TdxModule {
    /// `TDX_` and the version in two hex digits.
    pub(crate) id: String,
    #[serde(flatten)]
    pub(crate) identity: ModuleIdentity,
    #[serde(deserialize_with = "at_most_levels")]
    pub(crate) tcb_levels: Vec<IsvLevel>,
}

/// One level of the platform: versions that it needs, and what Intel says of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TcbLevel {
    pub(crate) tcb: Tcb,
    pub(crate) tcb_date: UnixTime,
    pub(crate) tcb_status: LevelStatus,
    #[serde(rename = "advisoryIDs", default, deserialize_with = "at_most_advisories")]
    pub(crate) advisory_ids: Vec<String>,
}

/// Least security version numbers. The order of the fields is the order of levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct Tcb {
    #[serde(rename = "sgxtcbcomponents", deserialize_with = "components")]
    pub(crate) sgx: [u8; 16],
    #[serde(rename = "pcesvn")]
    pub(crate) pce_svn: u16,
    /// Absent for SGX. A level without them covers no TD.
    #[serde(rename = "tdxtcbcomponents", default, deserialize_with = "some_components")]
    pub(crate) tdx: Option<[u8; 16]>,
}

/// One level of a TDX module or quoting enclave.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IsvLevel {
    pub(crate) tcb: IsvTcb,
    pub(crate) tcb_date: UnixTime,
    pub(crate) tcb_status: LevelStatus,
    #[serde(rename = "advisoryIDs", default, deserialize_with = "at_most_advisories")]
    pub(crate) advisory_ids: Vec<String>,
}

/// Least security version number of an enclave or module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct IsvTcb {
    pub(crate) isvsvn: u16,
}

/// What Intel says of a level. A word that is not here makes the document unreadable: guessing what
/// a new one means could only be wrong in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum LevelStatus {
    UpToDate,
    #[serde(rename = "SWHardeningNeeded")]
    SwHardeningNeeded,
    ConfigurationNeeded,
    #[serde(rename = "ConfigurationAndSWHardeningNeeded")]
    ConfigurationAndSwHardeningNeeded,
    OutOfDate,
    OutOfDateConfigurationNeeded,
    Revoked,
}

#[derive(Deserialize)]
struct Component {
    svn: u8,
}

/// `N` bytes in hex, either case.
pub(super) fn hex_bytes<'de, D: Deserializer<'de>, const N: usize>(
    deserializer: D,
) -> Result<[u8; N], D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    let mut bytes = [0; N];
    hex::decode_to_slice(text.as_bytes(), &mut bytes)
        .map_err(|_| de::Error::custom(format_args!("expected {N} bytes in hex")))?;
    Ok(bytes)
}

fn components<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 16], D::Error> {
    let components = <[Component; 16]>::deserialize(deserializer)?;
    Ok(components.map(|component| component.svn))
}

fn some_components<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<[u8; 16]>, D::Error> {
    components(deserializer).map(Some)
}

fn sorted_levels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TcbLevel>, D::Error> {
    let mut levels: Vec<TcbLevel> = at_most(MAX_TCB_LEVELS, "TCB levels", deserializer)?;
    // Stable: of two levels with the same versions the file's first one counts.
    levels.sort_by_key(|level| Reverse(level.tcb));
    Ok(levels)
}

pub(super) fn at_most_levels<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<IsvLevel>, D::Error> {
    at_most(MAX_TCB_LEVELS, "TCB levels", deserializer)
}

fn at_most_modules<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TdxModule>, D::Error> {
    at_most(MAX_TDX_MODULES, "TDX modules", deserializer)
}

fn at_most_advisories<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    at_most(MAX_ADVISORIES, "advisories", deserializer)
}

/// The text is bounded before it is parsed, so a list of more than this is small as well; it is
/// refused because nothing that looks like it comes from Intel.
fn at_most<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    limit: usize,
    what: &'static str,
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let list = Vec::deserialize(deserializer)?;
    if list.len() > limit {
        return Err(de::Error::custom(format_args!("more than {limit} {what}")));
    }
    Ok(list)
}
