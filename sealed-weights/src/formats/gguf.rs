//! Skeleton.
use super::ReadAt;
/// Why.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// Read.
    #[error("read")]
    Read(#[from] std::io::Error),
}
/// Verifies.
pub(crate) fn verify<R: ReadAt + ?Sized>(_contents: &R) -> Result<(), GgufError> {
    Ok(())
}
/// Magic.
pub(crate) fn has_magic<R: ReadAt + ?Sized>(_contents: &R) -> std::io::Result<bool> {
    Ok(false)
}
