//! What a bundle holds, item by item, with the validity that each states about itself.
//!
//! In: an Endorsement's own dates and the time. Out: [`EndorsementItem`]s for lists and alarms, and
//! [`Freshness`], the one staleness rule. It is about *renewal*: nothing here makes an expired
//! document count, the Verifier compares every date again by itself.

use std::fmt;

use ring::digest::{SHA256, digest};
use serde::Serialize;

use crate::unix_time::UnixTime;

/// Seconds of a day.
const DAY: u64 = 86_400;

/// What an item of a bundle is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ItemKind {
    /// Intel's list of TCB levels of one platform type.
    IntelTcbInfo,
    /// Intel's description of its quoting enclave.
    IntelQeIdentity,
    /// Revocation list of the CA that certifies platforms.
    IntelPckCrl,
    /// Revocation list of Intel's root.
    IntelRootCrl,
    /// Certificates that signed one of Intel's documents or lists.
    IntelSignerChain,
    /// AMD's ASK or ASVK with the ARK above it.
    AmdChain,
    /// Revocation list of an ARK.
    AmdCrl,
    /// Certificate of one processor at one TCB.
    AmdVcek,
    /// Certificate that AMD gave to a cloud for its processors at one TCB.
    AmdVlek,
    /// Reference integrity manifest of a driver or VBIOS.
    NvidiaRim,
    /// Certificates of a GPU or of a manifest's signer.
    NvidiaCertificate,
}

impl ItemKind {
    /// The kind in one word, as in JSON and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IntelTcbInfo => "intel-tcb-info",
            Self::IntelQeIdentity => "intel-qe-identity",
            Self::IntelPckCrl => "intel-pck-crl",
            Self::IntelRootCrl => "intel-root-crl",
            Self::IntelSignerChain => "intel-signer-chain",
            Self::AmdChain => "amd-chain",
            Self::AmdCrl => "amd-crl",
            Self::AmdVcek => "amd-vcek",
            Self::AmdVlek => "amd-vlek",
            Self::NvidiaRim => "nvidia-rim",
            Self::NvidiaCertificate => "nvidia-certificate",
        }
    }

    /// How many seconds before its end an item is stale, so that there is time to get the next one:
    /// 7 days for Intel's documents and lists, which live for 30 days; 30 days for everything that
    /// lives for a year or more.
    //
    //= attestation/SPEC.md#11
    //# An item is stale from its end less its grace, or from half of its life if that is later.
    #[must_use]
    pub fn grace_seconds(self) -> u64 {
        match self {
            Self::IntelTcbInfo | Self::IntelQeIdentity | Self::IntelPckCrl | Self::IntelRootCrl => {
                7 * DAY
            }
            Self::IntelSignerChain
            | Self::AmdChain
            | Self::AmdCrl
            | Self::AmdVcek
            | Self::AmdVlek
            | Self::NvidiaRim
            | Self::NvidiaCertificate => 30 * DAY,
        }
    }
}

impl fmt::Display for ItemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// From when until when an item says that it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Validity {
    /// `issueDate`, `thisUpdate` or `notBefore`; the latest of a chain.
    pub issued: UnixTime,
    /// `nextUpdate` or `notAfter`; the earliest of a chain.
    pub expires: UnixTime,
}

impl Validity {
    /// The time in which both count.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        Self { issued: self.issued.max(other.issued), expires: self.expires.min(other.expires) }
    }
}

/// Whether an item counts now, and for how long it still will.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Freshness {
    /// It counts, and its end is far.
    Fresh,
    /// It counts, and its end is within the grace of its kind: the next one should be got now.
    StaleWithinGrace,
    /// It does not count yet.
    NotYetValid,
    /// It counts no more.
    Expired,
    /// It states no dates that can be read. The Verifier refuses it when it is used.
    Unreadable,
}

impl Freshness {
    /// The rule: a function of the item's own dates, its kind and the time.
    #[must_use]
    pub fn at(kind: ItemKind, validity: Option<Validity>, now: UnixTime) -> Self {
        let Some(Validity { issued, expires }) = validity else {
            return Self::Unreadable;
        };
        if now < issued {
            return Self::NotYetValid;
        }
        if expires <= now {
            return Self::Expired;
        }
        let half = expires.0.saturating_sub(issued.0) / 2;
        let grace = kind.grace_seconds().min(half);
        if expires.0.saturating_sub(now.0) <= grace { Self::StaleWithinGrace } else { Self::Fresh }
    }

    /// Whether the item counts.
    #[must_use]
    pub fn counts(self) -> bool {
        match self {
            Self::Fresh | Self::StaleWithinGrace => true,
            Self::NotYetValid | Self::Expired | Self::Unreadable => false,
        }
    }

    /// The state in one word, as in JSON and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::StaleWithinGrace => "stale-within-grace",
            Self::NotYetValid => "not-yet-valid",
            Self::Expired => "expired",
            Self::Unreadable => "unreadable",
        }
    }
}

/// One vendor statement in a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndorsementItem {
    /// What it is.
    pub kind: ItemKind,
    /// What it is about: a platform type, a product, a processor.
    pub subject: String,
    /// From when until when it says that it counts; `None` when that can't be read.
    #[serde(flatten)]
    pub validity: Option<Validity>,
    /// SHA-256 of its exact bytes, hex.
    pub sha256: String,
}

impl EndorsementItem {
    pub(super) fn new(
        kind: ItemKind,
        subject: impl Into<String>,
        validity: Option<Validity>,
        bytes: &[u8],
    ) -> Self {
        let sha256 = hex::encode(digest(&SHA256, bytes));
        Self { kind, subject: subject.into(), validity, sha256 }
    }

    /// Whether it counts at `now`.
    #[must_use]
    pub fn freshness(&self, now: UnixTime) -> Freshness {
        Freshness::at(self.kind, self.validity, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_stale_before_its_end_and_expired_at_it() {
        let at = |day: u64| UnixTime(day * DAY);
        let month = Some(Validity { issued: at(100), expires: at(130) });
        let state = |now| Freshness::at(ItemKind::IntelTcbInfo, month, now);
        assert_eq!(state(UnixTime(100 * DAY - 1)), Freshness::NotYetValid);
        assert_eq!(state(at(100)), Freshness::Fresh);
        assert_eq!(state(UnixTime(123 * DAY - 1)), Freshness::Fresh);
        assert_eq!(state(at(123)), Freshness::StaleWithinGrace);
        assert_eq!(state(UnixTime(130 * DAY - 1)), Freshness::StaleWithinGrace);
        assert_eq!(state(at(130)), Freshness::Expired);
        assert_eq!(Freshness::at(ItemKind::IntelTcbInfo, None, at(1)), Freshness::Unreadable);
    }

    #[test]
    fn the_grace_is_at_most_half_of_a_life() {
        let at = |day: u64| UnixTime(day * DAY);
        let short = Some(Validity { issued: at(0), expires: at(10) });
        let state = |now| Freshness::at(ItemKind::AmdVcek, short, now);
        assert_eq!(state(at(4)), Freshness::Fresh);
        assert_eq!(state(at(5)), Freshness::StaleWithinGrace);
    }
}
