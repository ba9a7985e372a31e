//! The release policy of one key: what an owner writes, as one TOML file.
//!
//! Role: the Relying Party's rules about one secret. In: TOML. Out: [`ReleasePolicy`]. A missing
//! `[appraisal]` table, an unknown key or a name that can't be meant are errors, never defaults.
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

use crate::appraisal::policy::digest_of;
use crate::appraisal::{AppraisalPolicy, PolicyError};
use crate::limits::MAX_POLICY_LEN;
use crate::rcar::ResourcePath;

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
    /// [`PolicyError::TooLarge`], [`Toml`](PolicyError::Toml), [`Value`](PolicyError::Value), in
    /// this order.
    pub fn parse_toml(text: &str) -> Result<Self, PolicyError> {
        if text.len() > MAX_POLICY_LEN {
            return Err(PolicyError::TooLarge { got: text.len(), limit: MAX_POLICY_LEN });
        }
        let policy: Self = toml::from_str(text).map_err(|e| PolicyError::Toml(Box::new(e)))?;
        if ResourcePath::from_uri(&policy.key).is_err() {
            return Err(PolicyError::Value {
                key: "key",
                got: policy.key.chars().take(200).collect(),
                expected: "a KBS resource URI, kbs:///<repository>/<type>/<tag>",
            });
        }
        policy.appraisal.validate()?;
        Ok(policy)
    }

    /// SHA-256 over the policy's meaning, not over the file's layout; lower-case hex.
    #[must_use]
    pub fn digest(&self) -> String {
        digest_of(self)
    }
}
