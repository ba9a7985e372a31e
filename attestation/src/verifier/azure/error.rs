//! Why a rung of the Azure vTPM ladder refused.

use crate::reason::Reason;

/// A refusal of the Azure vTPM ladder. Every variant belongs to one rung in `SPEC.md`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AzureError {
    /// The ladder is not built.
    #[error("Azure vTPM Evidence is not verified by this release")]
    NotBuilt,
}

impl AzureError {
    /// The rung that refused.
    #[must_use]
    pub fn rung(&self) -> &'static str {
        "A1"
    }

    /// The refusal as a [`Reason`].
    #[must_use]
    pub fn reason(&self) -> Reason {
        Reason {
            code: "azure.not-built".into(),
            rung: self.rung().to_owned(),
            claim: "tee".to_owned(),
            expected: "another TEE".to_owned(),
            got: "azure".to_owned(),
            remedy: "use another TEE".to_owned(),
        }
    }
}
