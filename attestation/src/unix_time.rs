//! Time as an argument.
//!
//! This crate never asks a clock: whoever does (a broker, the CLI) hands the answer in. So every
//! decision can be repeated later with the same time and the same outcome.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Seconds since 1970-01-01T00:00:00Z, leap seconds not counted. Written as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// Parses an RFC 3339 timestamp such as `2025-06-21T10:00:00Z`; fractions are cut off.
    /// `None` when it isn't one or lies before 1970.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let at: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(at.as_second()).ok().map(Self)
    }

    /// The time `seconds` later; the end of time when that would overflow.
    #[must_use]
    pub fn plus_seconds(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0).ok().and_then(|s| jiff::Timestamp::from_second(s).ok()) {
            Some(at) => write!(f, "{at}"),
            None => write!(f, "{} seconds after 1970", self.0),
        }
    }
}

impl Serialize for UnixTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UnixTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse_rfc3339(&text).ok_or_else(|| {
            de::Error::custom("expected an RFC 3339 timestamp, such as 2025-06-21T10:00:00Z")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_and_read_as_rfc_3339() {
        let at = UnixTime(1_750_500_000);
        assert_eq!(at.to_string(), "2025-06-21T10:00:00Z");
        assert_eq!(UnixTime::parse_rfc3339("2025-06-21T10:00:00Z"), Some(at));
        assert_eq!(UnixTime::parse_rfc3339("2025-06-21"), None);
        assert_eq!(UnixTime::parse_rfc3339("1969-12-31T23:59:59Z"), None);
    }
}
