//! Appraisal of azure claims.

use serde::{Deserialize, Serialize};

use crate::appraisal::{AppraisalPolicy, PolicyError, reason};
use crate::claims::AzureClaims;
use crate::reason::Reason;
use crate::reference_value::ReferenceValues;
use crate::unix_time::UnixTime;

/// The table `[appraisal.azure]` of a release policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AzurePolicy {}

impl AzurePolicy {
    /// Refuses values that cannot be meant.
    ///
    /// # Errors
    /// [`PolicyError::Value`].
    pub fn validate(&self) -> Result<(), PolicyError> {
        Ok(())
    }
}

/// The name of the matching set, or every reason against.
pub(super) fn appraise(
    _claims: &AzureClaims,
    _references: &[ReferenceValues],
    _policy: &AppraisalPolicy,
    _now: UnixTime,
) -> Result<String, Vec<Reason>> {
    Err(vec![reason(
        "reference-values.none-named",
        "policy",
        "tee",
        ("a TEE that this release appraises", "azure"),
        "use another TEE",
    )])
}
