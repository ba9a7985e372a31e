//! Skeleton.
use crate::error::OpenError;

/// Reads authenticated plaintext of one file at any offset.
#[derive(Debug)]
pub struct RangeReader {}

impl RangeReader {
    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        0
    }

    /// Fills `buffer` with the plaintext at `offset`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn read_at(&self, _offset: u64, _buffer: &mut [u8]) -> Result<(), OpenError> {
        Ok(())
    }
}
