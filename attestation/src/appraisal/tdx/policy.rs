//! The table `[appraisal.tdx]` of a release policy.

use serde::{Deserialize, Serialize};

use crate::appraisal::PolicyError;

/// Rules for TDX trust domains. The default is strict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TdxPolicy {
    /// Accept TDs whose attributes are all zero, as Azure's are under their paravisor. Without
    /// SEPT_VE_DISABLE the host can inject #VE on pages that it took away; what then happens is the
    /// paravisor's doing. Default: false.
    pub insecure_accept_paravisor_tds: bool,
}

impl TdxPolicy {
    /// Refuses values that cannot be meant.
    ///
    /// # Errors
    /// [`PolicyError::Value`].
    pub fn validate(&self) -> Result<(), PolicyError> {
        Ok(())
    }
}
