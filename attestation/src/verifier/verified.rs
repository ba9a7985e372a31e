//! The proof that the ladder was climbed.

/// A `T` whose chain, signatures, dates, revocation and report data were verified.
///
/// Holding one proves that hardware with a certified key signed the value, over the report data that
/// this Verifier expected, and that nothing in the chain was expired or revoked at the time that was
/// given. It does not prove that the claims are *good*: that is [`appraise`](crate::appraise).
///
/// There is no other way to get one: no `Default`, no `Deserialize`, no `Clone`.
#[derive(Debug)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// The only birth of a `Verified`. Called where the last rung of a ladder has passed.
    pub(in crate::verifier) fn assertion(inner: T) -> Self {
        Self(inner)
    }

    /// The verified value.
    pub fn get(&self) -> &T {
        &self.0
    }
}
