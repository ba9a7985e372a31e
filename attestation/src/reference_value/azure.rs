//! Reference Values of an Azure confidential VM.

use serde::Deserialize;

use crate::claims::Measurement;
use crate::evidence::Tee;
use crate::limits::MAX_REFERENCE_ALTERNATIVES;
use crate::reference_value::{ReferenceValueError, limit, write_list};

/// One named set of Reference Values for an Azure confidential VM. Each claim has a list of alternatives.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureReferenceValues {
    /// Name that policies refer to.
    pub name: String,
    /// `az-snp-vtpm` or `az-tdx-vtpm`.
    pub tee: Tee,
    /// Accepted launch digests.
    #[serde(default)]
    pub measurement: Vec<Measurement>,
}

impl AzureReferenceValues {
    pub(super) fn within_limits(&self) -> Result<(), ReferenceValueError> {
        limit("measurement", self.measurement.len(), MAX_REFERENCE_ALTERNATIVES)
    }

    pub(super) fn write_registers(&self, out: &mut String) {
        write_list(out, "measurement", &self.measurement);
    }
}
