//! The trustworthiness vector: eight numbers that say what a Verifier found.
//!
//! draft-ietf-rats-ar4si §2.3. Each claim is a number from -128 to 127; ranges of numbers are tiers,
//! and the worst tier of the vector is the status of the whole.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use serde::{Deserialize, Serialize};

/// What a range of numbers means, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Nothing is claimed.
    None,
    /// The Verifier vouches for it.
    Affirming,
    /// Something deserves attention.
    Warning,
    /// Something is wrong.
    Contraindicated,
}

impl Tier {
    /// The tier of one claim.
    #[must_use]
    pub fn of(claim: i8) -> Self {
        match claim {
            -1..=1 => Self::None,
            2..=31 | -32..=-2 => Self::Affirming,
            32..=95 | -96..=-33 => Self::Warning,
            96..=127 | -128..=-97 => Self::Contraindicated,
        }
    }

    /// The word in a token.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Affirming => "affirming",
            Self::Warning => "warning",
            Self::Contraindicated => "contraindicated",
        }
    }
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The eight claims. The default claims nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TrustVector {
    /// Who the Attester is.
    pub instance_identity: i8,
    /// How it is configured.
    pub configuration: i8,
    /// What was loaded and runs.
    pub executables: i8,
    /// Its file systems.
    pub file_system: i8,
    /// Hardware and firmware.
    pub hardware: i8,
    /// Whether its memory is hidden from others.
    pub runtime_opaque: i8,
    /// Whether what it stores is hidden from others.
    pub storage_opaque: i8,
    /// Data from elsewhere.
    pub sourced_data: i8,
}

impl TrustVector {
    /// The names of the claims, as in a token.
    pub const NAMES: [&'static str; 8] = [
        "instance-identity",
        "configuration",
        "executables",
        "file-system",
        "hardware",
        "runtime-opaque",
        "storage-opaque",
        "sourced-data",
    ];

    /// The claims in the order of [`NAMES`](Self::NAMES).
    #[must_use]
    pub fn claims(&self) -> [i8; 8] {
        [
            self.instance_identity,
            self.configuration,
            self.executables,
            self.file_system,
            self.hardware,
            self.runtime_opaque,
            self.storage_opaque,
            self.sourced_data,
        ]
    }

    /// The worst tier of all claims: the status of an appraisal that claims nothing else.
    #[must_use]
    pub fn status(&self) -> Tier {
        self.claims().into_iter().map(Tier::of).max().unwrap_or(Tier::Contraindicated)
    }
}
