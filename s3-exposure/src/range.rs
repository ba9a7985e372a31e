//! The Range field (RFC 9110 §14.2), one range of bytes.
//!
//! In: the field's value and the object's size. Out: the bytes that are meant. S3 has one range per request, and
//! so do its clients; several are refused, and so is what cannot be read, instead of being ignored.

use std::ops::Range;

use crate::error::Refusal;

/// A range as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// `bytes=a-b`, both included.
    FromTo(u64, u64),
    /// `bytes=a-`
    From(u64),
    /// `bytes=-n`: the last `n` bytes.
    Last(u64),
}

impl ByteRange {
    /// Reads `bytes=…`.
    ///
    /// # Errors
    /// [`Refusal::NotImplemented`] for several ranges, [`Refusal::Argument`] for everything else.
    pub fn parse(value: &str) -> Result<Self, Refusal> {
        let wrong = || Refusal::Argument { name: "Range", expected: "bytes=from-to" };
        let spec = value.strip_prefix("bytes=").ok_or_else(wrong)?;
        if spec.contains(',') {
            return Err(Refusal::NotImplemented { what: "a request for several ranges".into() });
        }
        let (from, to) = spec.split_once('-').ok_or_else(wrong)?;
        let number = |text: &str| -> Result<u64, Refusal> {
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(wrong());
            }
            text.parse().map_err(|_| wrong())
        };
        match (from, to) {
            ("", to) => Ok(Self::Last(number(to)?)),
            (from, "") => Ok(Self::From(number(from)?)),
            (from, to) => {
                let (from, to) = (number(from)?, number(to)?);
                if from <= to { Ok(Self::FromTo(from, to)) } else { Err(wrong()) }
            }
        }
    }

    /// The bytes of an object of `size` bytes that are meant; at least one.
    ///
    /// # Errors
    /// [`Refusal::Range`] when there are none.
    pub fn within(self, size: u64) -> Result<Range<u64>, Refusal> {
        let range = match self {
            Self::FromTo(from, to) => from..size.min(to.saturating_add(1)),
            Self::From(from) => from..size,
            Self::Last(count) => size.saturating_sub(count)..size,
        };
        if range.is_empty() { Err(Refusal::Range { size }) } else { Ok(range) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_at_the_end_of_the_object() {
        for (value, expected) in [
            ("bytes=0-0", 0..1),
            ("bytes=0-99", 0..100),
            ("bytes=0-18446744073709551615", 0..100),
            ("bytes=99-", 99..100),
            ("bytes=-1", 99..100),
            ("bytes=-1000", 0..100),
        ] {
            assert_eq!(ByteRange::parse(value).unwrap().within(100), Ok(expected), "{value}");
        }
    }

    #[test]
    fn a_range_without_a_byte_is_refused() {
        for (value, size) in
            [("bytes=100-", 100), ("bytes=100-200", 100), ("bytes=-0", 100), ("bytes=0-", 0)]
        {
            let range = ByteRange::parse(value).unwrap();
            assert_eq!(range.within(size), Err(Refusal::Range { size }), "{value}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=1",
            "bytes=2-1",
            "bytes=+1-2",
            "bytes= 1-2",
            "bytes=a-",
            "bytes=-18446744073709551616",
            "items=0-1",
            "Bytes=0-1",
            "bytes=1--2",
        ] {
            assert!(matches!(ByteRange::parse(value), Err(Refusal::Argument { .. })), "{value}");
        }
    }

    #[test]
    fn several_ranges_are_refused() {
        let several = ByteRange::parse("bytes=0-1,5-6");
        assert!(matches!(several, Err(Refusal::NotImplemented { .. })));
    }
}
