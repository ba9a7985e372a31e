//! Endorsements: statements of the hardware vendor about platforms, as values with validity.
//!
//! Role: Endorser's output, input of the Verifier (RFC 9334 §4.2). In: files that the Verifier chose
//! (a bundle), never anything that came with Evidence. Out: [`EndorsementBundle`], parsed and bounded
//! but not verified: every signature and date in it is checked by the
//! [`verifier`](crate::verifier), each time.
//! Against: an attester that brings the vendor statements it likes; stale lists that hide a
//! revocation.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

pub mod amd;
mod amd_json;
pub mod bundle;
pub mod fetch;
pub mod intel;
pub mod item;
pub(crate) mod vek;
mod x509;

pub use amd::AmdEndorsements;
pub use bundle::EndorsementBundle;
pub use intel::IntelEndorsements;
pub use item::{EndorsementItem, Freshness, ItemKind, Validity};

/// Why a file is not a bundle of Endorsements.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndorsementError {
    /// More bytes or entries than [`limits`](crate::limits) allow.
    #[error("{what} is {got}; at most {limit} is read")]
    TooLarge {
        /// What was too large.
        what: &'static str,
        /// Its size in bytes, or the count.
        got: usize,
        /// The bound.
        limit: usize,
    },
    /// Not JSON of the expected shape.
    #[error("not an endorsement bundle")]
    Json(#[from] serde_json::Error),
    /// A bundle of a version that this release does not read.
    #[error("bundle version {got}; versions 1 and 2 are supported")]
    Version {
        /// The version that the file states.
        got: u64,
    },
    /// A member whose contents are not what its name says.
    #[error("{member} is not {expected}")]
    Member {
        /// Member of the collateral object.
        member: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

impl EndorsementError {
    /// What a person can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Version { .. } => {
                "use a release of Adyton that reads this version, or make the bundle anew"
            }
            Self::TooLarge { .. } | Self::Json(_) | Self::Member { .. } => {
                "fetch the collateral again (QuoteCollateralV3 JSON, or a bundle of version 2; `adyton endorsements fetch` makes one)"
            }
        }
    }
}
