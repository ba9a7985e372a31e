//! The challenge: 32 random bytes that make Evidence fresh.
//!
//! Role: made by the Verifier (or by a client), answered by the Attester. In: the system's random
//! number generator, or 32 bytes from the peer. Out: a [`Nonce`] that goes into the report data.
//! It must not be reused: who hands one out takes it back by value.
//! Against: replayed Evidence.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

/// Length of a [`Nonce`] in bytes.
pub const NONCE_LEN: usize = 32;

/// 32 bytes that one side picked at random so that the other side's answer must be new.
///
/// Comparison takes the same time wherever two nonces differ. A nonce is public.
#[derive(Clone)]
pub struct Nonce([u8; NONCE_LEN]);

/// Why there is no [`Nonce`].
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NonceError {
    /// The system has no random bytes to give.
    #[error("the system's random number generator failed")]
    Random(#[source] getrandom::Error),
    /// The text is not base64 of the expected alphabet and padding.
    #[error("the nonce is not base64")]
    Base64(#[source] base64::DecodeError),
    /// The text is base64 of another number of bytes.
    #[error("the nonce has {got} bytes, expected {NONCE_LEN}")]
    Length {
        /// How many bytes were found.
        got: usize,
    },
}

impl Nonce {
    /// Takes 32 bytes that came from elsewhere (a peer, a test) as a nonce.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; NONCE_LEN]) -> Self {
        Self(bytes)
    }

    /// Draws a new nonce from the system's random number generator.
    ///
    /// # Errors
    /// [`NonceError::Random`] when the system has no random bytes.
    pub fn fresh() -> Result<Self, NonceError> {
        let mut bytes = [0; NONCE_LEN];
        getrandom::fill(&mut bytes).map_err(NonceError::Random)?;
        Ok(Self(bytes))
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; NONCE_LEN] {
        &self.0
    }

    /// Standard base64 with padding, 44 characters: the form of the RCAR Challenge.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// URL-safe base64 without padding, 43 characters: the form of the attestation endpoint.
    #[must_use]
    pub fn to_base64url(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Parses the form of [`to_base64`](Self::to_base64).
    ///
    /// # Errors
    /// [`NonceError::Base64`], then [`NonceError::Length`].
    pub fn parse_base64(text: &str) -> Result<Self, NonceError> {
        Self::parse(text, &STANDARD)
    }

    /// Parses the form of [`to_base64url`](Self::to_base64url).
    ///
    /// # Errors
    /// [`NonceError::Base64`], then [`NonceError::Length`].
    pub fn parse_base64url(text: &str) -> Result<Self, NonceError> {
        Self::parse(text, &URL_SAFE_NO_PAD)
    }

    fn parse(text: &str, engine: &impl base64::Engine) -> Result<Self, NonceError> {
        // 64 characters hold 48 bytes; nothing longer can be a nonce, so nothing longer is decoded.
        if text.len() > 64 {
            return Err(NonceError::Length { got: text.len() / 4 * 3 });
        }
        let bytes = engine.decode(text).map_err(NonceError::Base64)?;
        let got = bytes.len();
        let bytes = bytes.try_into().map_err(|_| NonceError::Length { got })?;
        Ok(Self(bytes))
    }
}

impl PartialEq for Nonce {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Nonce {}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({})", hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_nonces_differ() {
        assert_ne!(Nonce::fresh().unwrap(), Nonce::fresh().unwrap());
    }

    #[test]
    fn both_text_forms_give_the_nonce_back() {
        let nonce = Nonce::from_bytes([0xfb; NONCE_LEN]);
        assert_eq!(Nonce::parse_base64(&nonce.to_base64()), Ok(nonce.clone()));
        assert_eq!(Nonce::parse_base64url(&nonce.to_base64url()), Ok(nonce.clone()));
        assert_eq!(nonce.to_base64().len(), 44);
        assert_eq!(nonce.to_base64url().len(), 43);
    }

    #[test]
    fn a_nonce_of_another_length_is_refused() {
        let short = STANDARD.encode([1; 31]);
        assert_eq!(Nonce::parse_base64(&short), Err(NonceError::Length { got: 31 }));
        let long = "A".repeat(4096);
        assert_eq!(Nonce::parse_base64(&long), Err(NonceError::Length { got: 3072 }));
    }

    #[test]
    fn the_url_form_does_not_take_the_standard_alphabet() {
        let standard = STANDARD.encode([0xff; NONCE_LEN]);
        assert!(matches!(Nonce::parse_base64url(&standard), Err(NonceError::Base64(_))));
    }
}
