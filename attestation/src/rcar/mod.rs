//! RCAR: Request, Challenge, Attestation, Response, as the KBS protocol 0.4.0 fixes them.
//!
//! Role: the messages between the Attester's KBC and the Verifier's KBS, without sockets, clocks
//! or async. Each step takes the last one by value, so a nonce answers one Attestation and a
//! secret can only be unwrapped by the key that was attested.
//!
//! ```text
//! KBC  RcarClient::start ─ Request ──────────────► server::on_request          KBS
//!      AwaitingChallenge ◄──────────── Challenge ─ AwaitingAttestation
//!        on_challenge ─► report data ─► Attester
//!      AwaitingEvidence::with_evidence ─ Attestation ─► on_attestation ─► Presented
//!      AwaitingToken ◄────────────────── token ─   (verify, appraise, decide: not here)
//!      Attested::unwrap ◄────────────────── JWE ─  jwe::encrypt(tee key, secret)
//! ```
//! It must not appraise: what [`Presented`] holds is an allegation. SPEC.md §3.
//! Against: replay, a swapped TEE key, replies for another resource, downgraded algorithms.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

pub mod canonical;
pub mod client;
pub mod jwe;
pub mod limits;
pub mod message;
pub mod resource;
pub mod server;
pub mod tee_key;
#[cfg(test)]
mod tests;

pub use client::{Attested, AwaitingChallenge, AwaitingEvidence, AwaitingToken, RcarClient};
pub use jwe::{JweError, JweExtras, ResourceBinding, Unwrapped};
pub use message::{
    AttestResponse, Attestation, ChallengeMessage, ErrorInformation, InitData, JweResponse,
    Request, RuntimeData, TeeEvidence,
};
pub(crate) use message::{bounded_json, excess_of_structure};
pub use resource::{ResourcePath, ResourcePathError};
pub use server::{AwaitingAttestation, Presented, on_request};
pub use tee_key::{TeeKeyError, TeeKeyPair, TeePublicKey};

use thiserror::Error;

use crate::evidence::nvidia_gpu::GpuFormatError;
use crate::evidence::{EvidenceError, UnsupportedTee};

/// The one version of the protocol that is spoken. There is no negotiation.
pub const PROTOCOL_VERSION: &str = "0.4.0";

/// Why a message of RCAR was refused.
#[derive(Debug, Error)]
pub enum RcarError {
    /// A body is longer than its bound and was not parsed.
    #[error("the {message} has {got} bytes, allowed are {limit}")]
    TooLong {
        /// Which message.
        message: &'static str,
        /// Its length in bytes.
        got: usize,
        /// The bound in bytes.
        limit: usize,
    },
    /// A body has more objects, arrays or elements than any message of the protocol needs.
    #[error("the {message} has {got} objects, arrays or elements, allowed are {limit}")]
    TooManyMembers {
        /// Which message.
        message: &'static str,
        /// How many there are.
        got: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A body is not the JSON that the protocol fixes.
    #[error("the {message} is not what KBS protocol {PROTOCOL_VERSION} fixes")]
    Json {
        /// Which message.
        message: &'static str,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// The peer speaks another version. The text is the one KBS clients look for.
    #[error(
        "KBS Client Protocol Version Mismatch: expect ={PROTOCOL_VERSION} while the request is {got}"
    )]
    Version {
        /// The version that was asked for, shortened.
        got: String,
    },
    /// The TEE of the Request is unknown, not supported, or a sample.
    #[error("the TEE of the request is refused")]
    Tee(#[source] UnsupportedTee),
    /// The Challenge asks for a digest other than SHA-384.
    #[error("the KBS selected the digest {got}; expected sha384, which it uses for this TEE")]
    HashAlgorithm {
        /// What was selected, shortened.
        got: String,
    },
    /// The nonce of the Challenge is empty or too long.
    #[error("the challenge's nonce has {got} bytes, expected 1 to {}", limits::MAX_NONCE_TEXT)]
    NonceLength {
        /// Its length in bytes.
        got: usize,
    },
    /// The Attestation answers another Challenge.
    #[error(
        "the attestation's nonce is not the one of this session; a nonce is used once, start again \
         with a Request"
    )]
    Nonce,
    /// The text with the Evidence of devices is not a JSON object, or too long.
    #[error(
        "additional_evidence is not the JSON text of an object with a member for each kind of device"
    )]
    AdditionalEvidence,
    /// The Attestation carries Evidence of a kind of device for which there is no Verifier here.
    #[error(
        "additional_evidence has a member {got:?}, which this KBS cannot verify; supported: nvidia"
    )]
    DeviceKind {
        /// The kind, shortened.
        got: String,
    },
    /// Evidence of a device does not parse.
    #[error("the evidence of an additional device does not parse")]
    DeviceEvidence(#[source] GpuFormatError),
    /// The init-data are not TOML, too long, or name an unknown digest.
    #[error("the init-data are refused: {reason}")]
    InitData {
        /// What is wrong with them.
        reason: &'static str,
    },
    /// The Evidence does not parse.
    #[error("the evidence does not parse")]
    Evidence(#[source] EvidenceError),
}
