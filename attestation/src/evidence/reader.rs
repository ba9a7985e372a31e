//! Takes fields off the front of bytes from outside. Lengths are compared before anything is copied.
//!
//! In: bytes of a sender. Out: fields, or a [`Shortage`] that names the one in which they ended, as the
//! format's own error. Each format adds what it has besides: byte order, nested lengths.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::marker::PhantomData;

/// The bytes end inside a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    /// The field that was being read.
    pub(crate) field: &'static str,
    /// Its length in bytes.
    pub(crate) needed: usize,
    /// Bytes that were left.
    pub(crate) left: usize,
}

/// What was not read yet. `E` is the error of the format.
pub(crate) struct Reader<'a, E> {
    rest: &'a [u8],
    error: PhantomData<E>,
}

impl<'a, E: From<Shortage>> Reader<'a, E> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, error: PhantomData }
    }

    /// Everything that was not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], E> {
        let left = self.rest.len();
        let (head, rest) =
            self.rest.split_first_chunk::<N>().ok_or(Shortage { field, needed: N, left })?;
        self.rest = rest;
        Ok(*head)
    }

    /// The next `needed` bytes.
    pub(crate) fn bytes(&mut self, field: &'static str, needed: usize) -> Result<&'a [u8], E> {
        let left = self.rest.len();
        let (head, rest) =
            self.rest.split_at_checked(needed).ok_or(Shortage { field, needed, left })?;
        self.rest = rest;
        Ok(head)
    }

    /// The next byte.
    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, E> {
        self.array(field).map(u8::from_le_bytes)
    }

    /// As many of the next bytes as a length field says; more than any slice has on a machine whose
    /// `usize` is shorter.
    pub(crate) fn bytes_u32(&mut self, field: &'static str, needed: u32) -> Result<&'a [u8], E> {
        self.bytes(field, usize::try_from(needed).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_off_the_front_and_a_shortage_names_its_field() {
        let mut input: Reader<'_, Shortage> = Reader::new(&[1, 2, 3, 4]);
        assert_eq!(input.u8("one"), Ok(1));
        assert_eq!(input.array("two"), Ok([2, 3]));
        let short = Shortage { field: "three", needed: 2, left: 1 };
        assert_eq!(input.bytes("three", 2), Err(short));
        assert_eq!(input.array::<2>("three"), Err(short));
        // What did not fit was not taken.
        assert_eq!(input.bytes("three", 1), Ok(&[4][..]));
        assert!(input.rest().is_empty());
        let huge = Shortage { field: "four", needed: u32::MAX as usize, left: 0 };
        assert_eq!(input.bytes_u32("four", u32::MAX), Err(huge));
    }
}
