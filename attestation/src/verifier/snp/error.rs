//! Why a rung of the SNP ladder refused.

use crate::reason::Reason;

/// A refusal of the SNP ladder. Every variant belongs to one rung in `SPEC.md`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnpError {
    /// The ladder is not built.
    #[error("SNP Evidence is not verified by this release")]
    NotBuilt,
}

impl SnpError {
    /// The rung that refused.
    #[must_use]
    pub fn rung(&self) -> &'static str {
        "S1"
    }

    /// The refusal as a [`Reason`].
    #[must_use]
    pub fn reason(&self) -> Reason {
        Reason {
            code: "snp.not-built".into(),
            rung: self.rung().to_owned(),
            claim: "tee".to_owned(),
            expected: "another TEE".to_owned(),
            got: "snp".to_owned(),
            remedy: "use another TEE".to_owned(),
        }
    }
}
