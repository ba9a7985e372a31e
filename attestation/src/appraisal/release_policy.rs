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
use crate::appraisal::{AppraisalPolicy, PolicyError, RegoRules};
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
    /// Policies in Rego that must agree as well. Whoever decides by this policy asks them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rego: Option<RegoRules>,
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
        if let Some(rego) = &policy.rego {
            rego.validate()?;
        }
        Ok(policy)
    }

    /// SHA-256 over the policy's meaning, not over the file's layout; lower-case hex.
    #[must_use]
    pub fn digest(&self) -> String {
        digest_of(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appraisal::Register;
    use crate::claims::TcbStatus;

    const SMALLEST: &str =
        "key = \"kbs:///acme/model-key/kjv\"\n\n[appraisal]\nreference_values = [\"kjv\"]\n";

    fn refusal(text: &str) -> PolicyError {
        ReleasePolicy::parse_toml(text).expect_err("refused")
    }

    #[test]
    fn the_defaults_are_strict() {
        let policy = ReleasePolicy::parse_toml(SMALLEST).expect("a policy");
        assert_eq!(policy.minimum_model_version, 0);
        let rules = policy.appraisal;
        assert_eq!(rules.reference_values, ["kjv"]);
        assert_eq!(rules.tcb_status, [TcbStatus::UpToDate].into());
        assert_eq!(rules.registers, Register::ALL.into());
        assert_eq!(rules.max_collateral_age_days, 30);
        assert!(rules.accepted_advisories.is_empty() && !rules.insecure_allow_debug);
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_name() {
        for text in
            [format!("{SMALLEST}allow_debug = true\n"), format!("minimum_version = 1\n{SMALLEST}")]
        {
            let PolicyError::Toml(source) = refusal(&text) else { panic!("TOML") };
            assert!(source.to_string().contains("unknown field"), "{source}");
        }
    }

    #[test]
    fn a_policy_without_rules_for_claims_is_an_error() {
        let text = "key = \"kbs:///acme/model-key/kjv\"";
        let PolicyError::Toml(source) = refusal(text) else { panic!("TOML") };
        assert!(source.to_string().contains("appraisal"), "{source}");
    }

    #[test]
    fn a_value_that_cannot_be_meant_is_an_error_with_its_key() {
        for (text, expected) in [
            (SMALLEST.replace("kbs:///", "https://"), "key"),
            (SMALLEST.replace("\"kjv\"", "\"k j v\""), "appraisal.reference_values"),
            (format!("{SMALLEST}registers = [\"rtmr0\"]\n"), "appraisal.registers"),
            (format!("{SMALLEST}tcb_status = []\n"), "appraisal.tcb_status"),
            (
                format!("{SMALLEST}result_lifetime_seconds = 0\n"),
                "appraisal.result_lifetime_seconds",
            ),
        ] {
            let PolicyError::Value { key, .. } = refusal(&text) else { panic!("{text}") };
            assert_eq!(key, expected);
        }
    }

    #[test]
    fn revoked_is_no_status_that_a_policy_can_accept() {
        let text = format!("{SMALLEST}tcb_status = [\"Revoked\"]\n");
        assert!(matches!(refusal(&text), PolicyError::Toml(_)));
    }

    #[test]
    fn the_digest_is_of_the_meaning_and_not_of_the_layout() {
        let policy = ReleasePolicy::parse_toml(SMALLEST).expect("a policy");
        let spelt_out =
            SMALLEST.replace("[appraisal]", "# strict\n[appraisal]\ntcb_status = [\"UpToDate\"]");
        let same = ReleasePolicy::parse_toml(&spelt_out).expect("a policy");
        assert_eq!(policy.digest(), same.digest());
        let looser = format!("{SMALLEST}insecure_allow_debug = true\n");
        let looser = ReleasePolicy::parse_toml(&looser).expect("a policy");
        assert_ne!(policy.digest(), looser.digest());
    }
}
