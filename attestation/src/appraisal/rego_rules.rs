//! The table `[rego]` of a release policy: policies in Rego that must agree, too.
//!
//! In: TOML. Out: texts within bounds. This crate has no interpreter; `adyton-rego` has it, and every
//! program that decides by a [`ReleasePolicy`](crate::ReleasePolicy) asks it. The rules stand beside
//! `[appraisal]` and never in its place.
//!
//! ```toml
//! [rego]
//! attestation = """
//! package policy
//! import rego.v1
//! default hardware := 97
//! hardware := 2 if input.tdx.quote.body.mr_td in query_reference_value("mr_td")
//! """
//! resource = """
//! package policy
//! import rego.v1
//! default allow := false
//! allow if input.submods.cpu0["ear.status"] == "affirming"
//! """
//!
//! [rego.reference]
//! snp_bootloader = [4, 5]
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::appraisal::PolicyError;
use crate::limits::{MAX_REFERENCE_ALTERNATIVES, MAX_REGO_LEN};

/// Policies in Rego, in Trustee's shape.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegoRules {
    /// An attestation policy: claims in, trustworthiness vector out. Without a `resource` policy the
    /// vector must be affirming.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attestation: Option<String>,
    /// An attestation policy for each GPU beside the TEE, as Trustee's `default_gpu`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// A resource policy: token and path in, `allow` out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Reference Values for `query_reference_value` and `data.reference`, besides those of the named
    /// sets, which are there under Trustee's names (`mr_td`, `rtmr_1`, `snp_launch_measurement`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reference: BTreeMap<String, Value>,
}

impl RegoRules {
    /// Refuses a table that decides nothing, and texts that are too long.
    ///
    /// # Errors
    /// [`PolicyError::Value`].
    pub fn validate(&self) -> Result<(), PolicyError> {
        let refused = |key, got: String, expected| Err(PolicyError::Value { key, got, expected });
        if self.attestation.is_none() && self.gpu.is_none() && self.resource.is_none() {
            return refused(
                "rego",
                "a table without a policy".to_owned(),
                "`attestation`, `gpu`, `resource` or several of them",
            );
        }
        for (key, text) in [
            ("rego.attestation", &self.attestation),
            ("rego.gpu", &self.gpu),
            ("rego.resource", &self.resource),
        ] {
            let got = text.as_ref().map_or(0, String::len);
            if got > MAX_REGO_LEN {
                return refused(key, format!("{got} bytes"), "at most 64 KiB");
            }
        }
        if self.reference.len() > MAX_REFERENCE_ALTERNATIVES {
            return refused(
                "rego.reference",
                self.reference.len().to_string(),
                "at most 256 names",
            );
        }
        Ok(())
    }
}
