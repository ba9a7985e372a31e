//! The file that Endorsements travel in.
//!
//! Role: carries the Endorsers' statements to the Verifier. In: one JSON file of version 2, of the
//! older version 1, or one bare `QuoteCollateralV3` object as PCCS clients store it. Out:
//! [`EndorsementBundle`], from which the Verifier picks by platform type, product or processor; a
//! list of what is in it with dates; a file again.
//! It verifies nothing, fetches nothing and knows no clock.
//! Against: files that are large, deep or full of entries, read before anybody has looked at them.
//!
//! ```text
//! {"version": 2, "intel": [collateral per platform type …], "amd": {…}, "nvidia": {…}}
//! ```

use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::claims::Fmspc;
use crate::endorsement::amd_json::{self, AmdJson};
use crate::endorsement::intel::CollateralJson;
use crate::endorsement::item::EndorsementItem;
use crate::endorsement::{AmdEndorsements, EndorsementError, IntelEndorsements};
use crate::limits::{MAX_ENDORSEMENT_BUNDLE_LEN, MAX_ENDORSEMENT_ENTRIES};
use crate::unix_time::UnixTime;

/// Endorsements of any number of platform types, products and processors. Unverified.
#[derive(Clone, Debug, Default)]
pub struct EndorsementBundle {
    intel: Vec<Arc<IntelEndorsements>>,
    amd: AmdEndorsements,
}

/// What decides how the rest of a file is read; everything else is skipped without being kept.
#[derive(Deserialize)]
struct VersionJson {
    version: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BundleV1Json {
    #[serde(rename = "version")]
    _version: u64,
    #[serde(default)]
    tdx: Entries<CollateralJson>,
}

//= attestation/SPEC.md#11
//# A reader MUST refuse a version or a member that it does not know.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BundleV2Json {
    #[serde(rename = "version")]
    _version: u64,
    #[serde(default)]
    intel: Entries<CollateralJson>,
    #[serde(default)]
    amd: AmdJson,
    #[serde(default, rename = "nvidia")]
    _nvidia: Reserved,
}

/// A member that is there and has nothing in it yet (docs/decisions/0033).
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reserved {}

impl EndorsementBundle {
    /// Parses a bundle of version 2 or 1, or one bare collateral object.
    ///
    /// # Errors
    /// [`EndorsementError::TooLarge`] for the length, [`Json`](EndorsementError::Json) (also for more
    /// entries than [`limits`](crate::limits) allow), [`Version`](EndorsementError::Version),
    /// [`TooLarge`](EndorsementError::TooLarge) or [`Member`](EndorsementError::Member) for a member,
    /// in this order.
    pub fn parse(bytes: &[u8]) -> Result<Self, EndorsementError> {
        limit("bundle", bytes.len(), MAX_ENDORSEMENT_BUNDLE_LEN)?;
        // Two passes, the first of which keeps nothing: no tree of values is ever built from a file
        // that may be hostile. Both stop at 128 levels.
        let VersionJson { version } = serde_json::from_slice(bytes)?;
        match version {
            None => Self::default().with_intel([serde_json::from_slice(bytes)?]),
            Some(1) => {
                let file: BundleV1Json = serde_json::from_slice(bytes)?;
                Self::default().with_intel(file.tdx.0)
            }
            Some(2) => {
                let BundleV2Json { intel, amd, .. } = serde_json::from_slice(bytes)?;
                let bundle = Self::default().with_intel(intel.0)?;
                Ok(Self { amd: amd.parse()?, ..bundle })
            }
            Some(got) => Err(EndorsementError::Version { got }),
        }
    }

    fn with_intel(
        mut self,
        entries: impl IntoIterator<Item = CollateralJson>,
    ) -> Result<Self, EndorsementError> {
        for entry in entries {
            self.intel.push(Arc::new(IntelEndorsements::from_json(entry)?));
        }
        Ok(self)
    }

    /// A bundle without Endorsements: every verification against it fails.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Adds everything of `other` that is not there already, byte for byte. Nothing replaces
    /// anything: which of two entries counts is decided when one is picked, see
    /// [`pruned`](Self::pruned).
    ///
    /// # Errors
    /// [`EndorsementError::TooLarge`] when together they are more than the limit.
    pub fn merge(mut self, other: Self) -> Result<Self, EndorsementError> {
        for entry in other.intel {
            if !self.intel.iter().any(|known| known.same_as(&entry)) {
                self.intel.push(entry);
                limit("number of platform types", self.intel.len(), MAX_ENDORSEMENT_ENTRIES)?;
            }
        }
        let amd = self.amd.merge(other.amd)?;
        Ok(Self { intel: self.intel, amd })
    }

    /// The bundle as JSON text of version 2.
    #[must_use]
    pub fn to_json(&self) -> String {
        let intel: Vec<Value> = self.entries().map(IntelEndorsements::to_json).collect();
        let amd = amd_json::to_json(&self.amd);
        json!({ "version": 2, "intel": intel, "amd": amd, "nvidia": {} }).to_string()
    }

    /// Every vendor statement in it, with its kind, subject, dates and digest, in the order of the
    /// file. A list that several entries share is named once.
    #[must_use]
    pub fn items(&self) -> Vec<EndorsementItem> {
        let mut items: Vec<EndorsementItem> = Vec::new();
        let all = self.entries().flat_map(IntelEndorsements::items);
        let all = all.chain(amd_json::items(&self.amd));
        let mut seen = std::collections::BTreeSet::new();
        for item in all {
            if seen.insert((item.kind, item.subject.clone(), item.sha256.clone())) {
                items.push(item);
            }
        }
        items
    }

    /// The bundle without what has expired at `now`, and without entries for which a newer one that
    /// counts is there.
    #[must_use]
    pub fn pruned(self, now: UnixTime) -> Self {
        let expired = |entry: &IntelEndorsements| {
            entry.validity().is_none_or(|validity| validity.expires <= now)
        };
        let living: Vec<_> = self.intel.into_iter().filter(|entry| !expired(entry)).collect();
        let superseded = |entry: &IntelEndorsements| {
            let newer = |other: &&Arc<IntelEndorsements>| {
                let issued = other.tcb_info_dates().issued;
                other.fmspc() == entry.fmspc()
                    && other.is_tdx() == entry.is_tdx()
                    && issued <= now
                    && issued > entry.tcb_info_dates().issued
            };
            living.iter().any(|other| newer(&other))
        };
        let intel = living.iter().filter(|entry| !superseded(entry)).cloned().collect();
        let amd = amd_json::pruned(self.amd, now);
        Self { intel, amd }
    }

    /// Number of entries: platform types of Intel, and items of AMD.
    #[must_use]
    pub fn len(&self) -> usize {
        self.intel.len().saturating_add(amd_json::items(&self.amd).len())
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Intel's entries, in the order of the file.
    pub fn entries(&self) -> impl Iterator<Item = &IntelEndorsements> {
        self.intel.iter().map(|entry| &**entry)
    }

    /// AMD's statements.
    #[must_use]
    pub fn amd(&self) -> &AmdEndorsements {
        &self.amd
    }

    /// The entry for a platform type that fits `now` best: TDX before SGX, one that is valid before
    /// one that isn't, then the newest. Which one is chosen decides about no check: all of them run
    /// on it.
    pub(crate) fn select(&self, fmspc: Fmspc, now: UnixTime) -> Option<&IntelEndorsements> {
        self.entries().filter(|entry| entry.fmspc() == fmspc).max_by_key(|entry| {
            let dates = entry.tcb_info_dates();
            let valid = dates.issued <= now && now <= dates.next_update;
            (entry.is_tdx(), valid, dates.issued)
        })
    }
}

impl From<IntelEndorsements> for EndorsementBundle {
    fn from(entry: IntelEndorsements) -> Self {
        Self { intel: vec![Arc::new(entry)], ..Self::default() }
    }
}

impl From<AmdEndorsements> for EndorsementBundle {
    fn from(amd: AmdEndorsements) -> Self {
        Self { amd, ..Self::default() }
    }
}

/// A list of at most [`MAX_ENDORSEMENT_ENTRIES`], refused at the first entry too many.
#[derive(Debug)]
pub(super) struct Entries<T>(pub(super) Vec<T>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(EntriesVisitor(PhantomData))
    }
}

struct EntriesVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
    type Value = Entries<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a list of at most {MAX_ENDORSEMENT_ENTRIES} entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(entry) = entries.next_element()? {
            if all.len() == MAX_ENDORSEMENT_ENTRIES {
                return Err(A::Error::invalid_length(all.len().saturating_add(1), &self));
            }
            all.push(entry);
        }
        Ok(Entries(all))
    }
}

fn limit(what: &'static str, got: usize, limit: usize) -> Result<(), EndorsementError> {
    if got > limit {
        return Err(EndorsementError::TooLarge { what, got, limit });
    }
    Ok(())
}
