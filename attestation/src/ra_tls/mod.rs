//! RA-TLS: Evidence inside a TLS certificate.
//!
//! Role: [`issue`] for the Attester, [`verify`] for the Relying Party. In: a TLS key's digest and the
//! certificate's dates, or a leaf certificate. Out: the extension's bytes, or a [`RaTlsPeer`]. SPEC.md
//! §13.
//!
//! ```text
//! report data  SHA-512(frames: "adyton.ra-tls.v1", SHA-256(SPKI), notBefore, notAfter)
//! extension    2.23.133.5.4.9, not critical: UTF8String
//!              ["application/vnd.adyton.evidence+json","<base64url>",4]     RATS CMW, JSON record
//! payload      {"tee":"tdx","evidence":{…}}                                 as in the KBS protocol
//! ```
//!
//! There is no nonce. The Evidence is as fresh as the certificate is young, and so both dates are
//! part of what it commits to: a thief of the key cannot give it a longer life. The dates are by the
//! guest's clock, which a host can set; see [`RaTlsRules`].
//!
//! Always level [`Certificate`](crate::BindingLevel::Certificate): whoever has the key, or is believed
//! to, can show the certificate. It can be relayed (CVE-2026-33697). Use [`peer`](crate::peer) where
//! the client can ask; use this where all that a stack lets one look at is the certificate.
//! Against: a certificate without a TEE behind its key, Evidence made for another purpose or key, a
//! stretched validity.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use crate::binding::{ReportData, framed};
use crate::unix_time::UnixTime;

mod extension;
pub mod issue;
pub mod verify;

pub use extension::{CertificateEvidence, ExtensionError, MEDIA_TYPE};
pub use issue::{IssueError, extension_over};
pub use verify::{RaTlsError, RaTlsPeer, RaTlsRules, verify_certificate};

/// Object identifier of the extension: TCG DICE, `tcg-dice-conceptual-message-wrapper`, as arcs.
pub const EXTENSION_OID: [u64; 6] = [2, 23, 133, 5, 4, 9];

/// First frame of the hash input.
const LABEL: &[u8] = b"adyton.ra-tls.v1";

/// What the Evidence in a certificate commits to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaTlsBinding {
    /// SHA-256 of the certificate's SubjectPublicKeyInfo (DER).
    pub spki_sha256: [u8; 32],
    /// The certificate's `notBefore`.
    pub not_before: UnixTime,
    /// The certificate's `notAfter`.
    pub not_after: UnixTime,
}

impl RaTlsBinding {
    /// SHA-512 over the frames `label, key digest, notBefore, notAfter`, dates as big-endian `u64`
    /// seconds since 1970.
    #[must_use]
    pub fn report_data(&self) -> ReportData {
        framed(&[
            LABEL,
            &self.spki_sha256,
            &self.not_before.0.to_be_bytes(),
            &self.not_after.0.to_be_bytes(),
        ])
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
