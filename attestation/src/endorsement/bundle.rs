//! The file that Endorsements travel in.
//!
//! In: one JSON file, either `{"version":1,"tdx":[…]}` or one bare `QuoteCollateralV3` object as
//! PCCS clients store it. Out: [`EndorsementBundle`], from which the Verifier picks by FMSPC.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::claims::Fmspc;
use crate::endorsement::intel::CollateralJson;
use crate::endorsement::{
    AmdEndorsements, EndorsementError, IntelEndorsements, NvidiaEndorsements,
};
use crate::limits::{MAX_ENDORSEMENT_BUNDLE_LEN, MAX_ENDORSEMENT_ENTRIES};
use crate::unix_time::UnixTime;

/// Endorsements of any number of platform types. Unverified.
#[derive(Clone, Debug, Default)]
pub struct EndorsementBundle {
    tdx: Vec<IntelEndorsements>,
    amd: AmdEndorsements,
    nvidia: NvidiaEndorsements,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BundleJson {
    version: u64,
    #[serde(default)]
    tdx: Vec<CollateralJson>,
}

impl EndorsementBundle {
    /// Parses a bundle or one bare collateral object.
    ///
    /// # Errors
    /// [`EndorsementError::TooLarge`], [`Json`](EndorsementError::Json),
    /// [`Version`](EndorsementError::Version), [`Member`](EndorsementError::Member), in this order.
    pub fn parse(bytes: &[u8]) -> Result<Self, EndorsementError> {
        limit("bundle", bytes.len(), MAX_ENDORSEMENT_BUNDLE_LEN)?;
        let value: Value = serde_json::from_slice(bytes).map_err(EndorsementError::Json)?;
        let entries = if value.get("version").is_some() {
            let bundle: BundleJson =
                serde_json::from_value(value).map_err(EndorsementError::Json)?;
            if bundle.version != 1 {
                return Err(EndorsementError::Version { got: bundle.version });
            }
            bundle.tdx
        } else {
            vec![serde_json::from_value(value).map_err(EndorsementError::Json)?]
        };
        limit("number of platform types", entries.len(), MAX_ENDORSEMENT_ENTRIES)?;
        let tdx =
            entries.into_iter().map(IntelEndorsements::from_json).collect::<Result<_, _>>()?;
        Ok(Self { tdx, ..Self::default() })
    }

    /// A bundle without Endorsements: every verification against it fails at rung T16.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Adds all entries of `other`.
    ///
    /// # Errors
    /// [`EndorsementError::TooLarge`] when together they are more than the limit.
    pub fn merge(mut self, other: Self) -> Result<Self, EndorsementError> {
        let count = self.tdx.len().saturating_add(other.tdx.len());
        limit("number of platform types", count, MAX_ENDORSEMENT_ENTRIES)?;
        self.tdx.extend(other.tdx);
        Ok(self)
    }

    /// The bundle as JSON text of version 1.
    #[must_use]
    pub fn to_json(&self) -> String {
        let tdx: Vec<Value> = self.tdx.iter().map(IntelEndorsements::to_json).collect();
        json!({ "version": 1, "tdx": tdx }).to_string()
    }

    /// Number of platform types.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tdx.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tdx.is_empty()
    }

    /// All entries, in the order of the file.
    pub fn entries(&self) -> impl Iterator<Item = &IntelEndorsements> {
        self.tdx.iter()
    }

    /// AMD's statements.
    #[must_use]
    pub fn amd(&self) -> &AmdEndorsements {
        &self.amd
    }

    /// NVIDIA's statements.
    #[must_use]
    pub fn nvidia(&self) -> &NvidiaEndorsements {
        &self.nvidia
    }

    /// The entry for a platform type that fits `now` best: TDX before SGX, one that is valid before
    /// one that isn't, then the newest. Which one is chosen decides about no check: all of them run
    /// on it.
    pub(crate) fn select(&self, fmspc: Fmspc, now: UnixTime) -> Option<&IntelEndorsements> {
        self.tdx.iter().filter(|entry| entry.fmspc() == fmspc).max_by_key(|entry| {
            let dates = entry.tcb_info_dates();
            let valid = dates.issued <= now && now <= dates.next_update;
            (entry.is_tdx(), valid, dates.issued)
        })
    }
}

fn limit(what: &'static str, got: usize, limit: usize) -> Result<(), EndorsementError> {
    if got > limit {
        return Err(EndorsementError::TooLarge { what, got, limit });
    }
    Ok(())
}
