//! Attestation Results as tokens: an EAR in a JWT, issued and verified.
//!
//! Role: the Attestation Result (RFC 9334 §4.2) on its way from a Verifier to a Relying Party;
//! draft-ietf-rats-ear inside RFC 7519, with the member names that Trustee writes, so that either
//! side can be a Trustee. [`issue()`] takes verified claims and a key, [`verify()`] takes a token and the
//! signers that an operator trusts.
//!
//! ```text
//!  Verified<Claims> ─ issue ─► token ─ verify ─► VerifiedToken       (a signer said so, and when)
//!        │                       ▲        ▲
//!        └─ annotated_evidence   │        └ TokenAnchors: certificates, JWK set
//!                                └ TokenKey, TokenAppraisal
//! ```
//! A [`VerifiedToken`] is what somebody else's Verifier concluded. It is no
//! [`Verified<Claims>`](crate::Verified), and nothing makes one of it.
//! Against: `alg` chosen by the sender, keys that vouch for themselves, tokens of another signer,
//! another time or another TEE key.

mod anchors;
mod annotated;
mod error;
mod issue;
mod key;
mod vector;
mod verify;

pub use anchors::{TokenAnchors, TokenAnchorsError};
pub use annotated::{TokenBinding, annotated_claims, annotated_evidence};
pub use error::TokenRefusal;
pub use issue::{IssueError, TokenAppraisal, TokenKey, TokenTimes, issue, payload, submod};
pub use vector::{Tier, TrustVector};
pub use verify::{ExpectedIssuer, ExpectedTeeKey, Submod, TokenRules, VerifiedToken, verify};

/// The profile that Trustee's tokens name (`eat_profile`), which CoCo guests and brokers know.
pub const PROFILE: &str = "tag:github.com,2024:confidential-containers/Trustee";
