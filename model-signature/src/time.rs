//! Seconds since 1970, and the window in which a key or an authority of a trust root counts.

use std::fmt;

/// Seconds since 1970, from a statement that was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seconds(pub(crate) u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0).ok().and_then(|s| jiff::Timestamp::from_second(s).ok()) {
            Some(time) => write!(f, "{time}"),
            None => write!(f, "{} s after 1970", self.0),
        }
    }
}

/// From when until when, both included; an end may be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) start: Seconds,
    pub(crate) end: Option<Seconds>,
}

impl Window {
    pub(crate) fn contains(&self, at: Seconds) -> bool {
        self.start <= at && self.end.is_none_or(|end| at <= end)
    }
}

/// RFC 3339, whole seconds; a fraction at the end of a window is within it.
pub(crate) fn parse_rfc3339(text: &str) -> Option<Seconds> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_second()).ok().map(Seconds)
}
