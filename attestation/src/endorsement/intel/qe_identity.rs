//! QE identity: Intel's description of its TD quoting enclave.
//!
//! In: the JSON text that Intel signed. Out: [`QeIdentity`] with registers as bytes.
//! Source: Intel PCS API v4, "Get TD QE Identity".

use serde::Deserialize;

use super::tcb_info::{IsvLevel, at_most_levels, hex_bytes};
use crate::unix_time::UnixTime;

/// QE identity, parsed, unverified.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QeIdentity {
    /// `TD_QE`, or `QE` for that of SGX.
    pub(crate) id: String,
    pub(crate) version: u32,
    pub(crate) issue_date: UnixTime,
    pub(crate) next_update: UnixTime,
    pub(crate) tcb_evaluation_data_number: u32,
    #[serde(deserialize_with = "hex_bytes")]
    pub(crate) miscselect: [u8; 4],
    #[serde(deserialize_with = "hex_bytes")]
    pub(crate) miscselect_mask: [u8; 4],
    #[serde(deserialize_with = "hex_bytes")]
    pub(crate) attributes: [u8; 16],
    #[serde(deserialize_with = "hex_bytes")]
    pub(crate) attributes_mask: [u8; 16],
    #[serde(deserialize_with = "hex_bytes")]
    pub(crate) mrsigner: [u8; 32],
    pub(crate) isvprodid: u16,
    #[serde(deserialize_with = "at_most_levels")]
    pub(crate) tcb_levels: Vec<IsvLevel>,
}
