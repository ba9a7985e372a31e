//! The client's side of the attestation endpoint: who is at the other end of this TLS connection?
//!
//! Role: Relying Party with its own Verifier (RFC 9334 §5). In: what this side saw of its own
//! connection ([`ObservedConnection`]), the body of one reply, Endorsements and roots ([`PeerTrust`]),
//! the time. Out: a [`VerifiedPeer`], or every reason against. It opens no connection and asks no
//! clock; `adyton-client` does. SPEC.md §2.3, §13.
//!
//! ```text
//!                        strong                                 weak, asked for by name
//! begin           ChannelExchange                          RelayableExchange
//!   GET target()         │ answer(body)                           │
//! parse           ChannelAnswer                            RelayableAnswer        an allegation
//!                        │ verify(trust, now)                     │
//! verify          VerifiedPeer                             RelayablePeer
//!                        │ appraise(expectations, now)            │
//! appraise        AcceptedPeer                             AttestationResult
//! ```
//! The two columns never meet: nothing turns a [`RelayablePeer`] into a [`VerifiedPeer`].
//!
//! Against: replay (a nonce of our own, used once), another server (its key), relay of a genuine
//! answer (the exporter value), and at the last step another instance than the one meant (pins).
//! Not against: a TEE whose attestation key was extracted and that claims to be what it is not. Only a
//! pin of the machine ([`Pins`]) tells it from the one that was meant.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use crate::endorsement::EndorsementBundle;
use crate::verifier::{TrustAnchors, VerifyOptions};

mod exchange;
mod expectation;
mod instance;
mod proof;

pub use exchange::{
    ATTESTATION_PATH, ChannelAnswer, ChannelExchange, MAX_REPORT_LEN, RelayableAnswer,
    RelayableExchange,
};
pub use expectation::{Expectations, ExpectedDigest};
pub use instance::{Instance, Machine, PinParseError, PinnedInstance, Pins};
pub use proof::{AcceptedPeer, PeerRefusal, RelayablePeer, VerifiedPeer};

/// What this side saw of one TLS 1.3 connection, after the handshake. Never taken from the peer.
///
/// Whoever fills this in has to have checked that the connection is TLS 1.3, that the handshake was a
/// whole one (no resumption, no early data), and that the key signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObservedConnection {
    /// SHA-256 of the DER SubjectPublicKeyInfo of the peer's leaf certificate.
    pub peer_spki_sha256: [u8; 32],
    /// 32 bytes of the exporter under [`EXPORTER_LABEL`](crate::EXPORTER_LABEL), without a context.
    pub exporter: [u8; 32],
}

/// What a Relying Party verifies against. Its own, never the peer's.
#[derive(Clone, Debug)]
pub struct PeerTrust {
    /// Vendor statements.
    pub endorsements: EndorsementBundle,
    /// Vendor roots, and any `insecure_` extra ones.
    pub anchors: TrustAnchors,
    /// What is let through that the Verifier would refuse; by default nothing. What was shows in the
    /// claims, and the appraisal refuses it unless the policy accepts it, too.
    pub options: VerifyOptions,
}

impl PeerTrust {
    /// With nothing loosened.
    #[must_use]
    pub fn strict(endorsements: EndorsementBundle, anchors: TrustAnchors) -> Self {
        Self { endorsements, anchors, options: VerifyOptions::default() }
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
mod tests;
