//! The attestation report: what a sidecar answers to a client that asks who it is.
//!
//! Role: made by the Attester at `GET /.well-known/adyton/attestation`, verified by a client as
//! Relying Party. In: the report, the nonce the client sent, what it saw of the TLS connection,
//! Endorsements, roots, time. Out: [`VerifiedReport`]. It does not appraise: whether these
//! measurements are the expected ones is for [`appraise`](crate::appraise). SPEC.md §2.3.
//!
//! The hardware signs a commitment to the nonce, the serving key, the manifest and configuration
//! digests and the channel. The other members (`model`, `protections`, `phase`, `insecure`,
//! `software`) are statements of the attested software: as good as its measurements, and at level
//! `certificate` as good as the connection.
//! Against: replay (nonce), another server's key (key digest), relay of a genuine answer (channel).
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use serde::{Deserialize, Serialize};
use serde_json::Value;
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use crate::binding::{BindingLevel, ChannelBinding, ReportBinding};
use crate::challenge::Nonce;
use crate::claims::Claims;
use crate::evidence::{Evidence, EvidenceError, Tee};
use crate::limits::MAX_EVIDENCE_FILE_LEN;
use crate::peer::PeerTrust;
use crate::reason::Reason;
use crate::unix_time::UnixTime;
use crate::verifier::{Verified, VerifyError, explain_with, verify_with};

/// The one version of the report that is written and read.
pub const REPORT_VERSION: u32 = 1;

/// Answer of `GET /.well-known/adyton/attestation`. Unverified until [`verify_report`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttestationReport {
    /// [`REPORT_VERSION`].
    pub version: u32,
    /// The TEE whose Evidence this is.
    pub tee: Tee,
    /// The caller's nonce, unpadded base64url of 32 bytes.
    pub nonce: String,
    /// How far the Evidence is bound to the connection.
    pub binding: BindingLevel,
    /// The Evidence in the form of the KBS protocol's `primary_evidence`.
    pub evidence: Value,
    /// SHA-256 of the serving certificate's SubjectPublicKeyInfo, hex.
    #[serde(with = "hex_digest")]
    pub spki_sha256: [u8; 32],
    /// SHA-256 of the exact bytes of the sealed model's manifest, hex.
    #[serde(with = "hex_digest")]
    pub manifest_digest: [u8; 32],
    /// SHA-256 of the sidecar's effective configuration, hex.
    #[serde(with = "hex_digest")]
    pub config_digest: [u8; 32],
    /// Which model is served.
    pub model: ReportedModel,
    /// How the process protects its secrets.
    pub protections: Protections,
    /// Phase of the sidecar: `ready`, `draining` …
    pub phase: String,
    /// Every setting in force that weakens security, empty in production.
    pub insecure: Vec<String>,
    /// Name and version of the software.
    pub software: String,
}

/// The model that a sidecar says it serves. The manifest digest commits to all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedModel {
    /// Name in the manifest.
    pub name: String,
    /// Monotonic version in the manifest.
    pub version: u64,
    /// Model id, hex of 16 bytes.
    pub id: String,
    /// URI and epoch of the model key.
    pub kid: String,
}

/// How the process protects its secrets, as far as it knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protections {
    /// What kind of memory holds the keys.
    pub key_memory: KeyMemory,
    /// Whether another process of the same user could attach or read its memory.
    pub dumpable: bool,
    /// Whether a crash would write a core file.
    pub core_files: bool,
    /// Whether the guest has swap switched on.
    pub swap: bool,
}

/// What kind of memory holds the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyMemory {
    /// `memfd_secret`: not mapped in the kernel, hidden even from root of the guest.
    MemfdSecret,
    /// Locked pages that are left out of core files.
    Mlock,
}

/// A report whose Evidence was verified over the caller's nonce and connection.
///
/// Proves that genuine hardware signed a commitment to this nonce, serving key, manifest digest and
/// configuration digest, and at [`BindingLevel::Channel`] to this very connection. It does not
/// prove that the measurements are the expected ones.
#[derive(Debug)]
pub struct VerifiedReport {
    verified: Verified<Claims>,
    level: BindingLevel,
}

impl VerifiedReport {
    /// The only birth of a `VerifiedReport`, where every comparison of [`verify_report`] has passed.
    fn assertion(verified: Verified<Claims>, level: BindingLevel) -> Self {
        Self { verified, level }
    }

    /// How far the Evidence is bound to the connection.
    #[must_use]
    pub fn level(&self) -> BindingLevel {
        self.level
    }

    /// The verified claims.
    #[must_use]
    pub fn verified(&self) -> &Verified<Claims> {
        &self.verified
    }

    /// The verified claims by value, as [`appraise`](crate::appraise) takes them.
    #[must_use]
    pub fn into_verified(self) -> Verified<Claims> {
        self.verified
    }
}

/// Why a report was refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// It is longer than its bound and was not parsed.
    #[error("the report has {got} bytes, allowed are {limit}")]
    TooLong {
        /// Its length in bytes.
        got: usize,
        /// The bound in bytes.
        limit: usize,
    },
    /// It has more objects, arrays or elements than any report needs, and was not parsed: each may
    /// become a hundred times its own length.
    #[error("the report has {got} objects, arrays or elements, allowed are {limit}")]
    TooManyMembers {
        /// How many there are.
        got: usize,
        /// How many there may be.
        limit: usize,
    },
    /// It is not JSON with the members of a report.
    #[error("the report is malformed")]
    Json(#[source] serde_json::Error),
    /// It has another version.
    #[error("the report has version {got}, expected {REPORT_VERSION}")]
    Version {
        /// The version found.
        got: u32,
    },
    /// It answers another nonce.
    #[error("the report answers another nonce than the one that was sent")]
    Nonce,
    /// It speaks of another serving key than the connection has.
    #[error("the report is for serving key {got}, the connection has {expected}")]
    ServingKey {
        /// SHA-256 of the key that the connection has, hex.
        expected: String,
        /// SHA-256 of the key in the report, hex.
        got: String,
    },
    /// It has another level of binding than the caller asked for.
    #[error("the report is bound at level {got}, asked for was {asked}")]
    Level {
        /// The level that the caller asked for by giving an exporter value or none.
        asked: BindingLevel,
        /// The level of the report.
        got: BindingLevel,
    },
    /// The Evidence does not parse.
    #[error("the evidence of the report does not parse")]
    Evidence(#[source] EvidenceError),
    /// The Evidence does not verify over this nonce, key, digests and channel.
    #[error("the evidence of the report does not verify")]
    Verify {
        /// The rung that refused.
        #[source]
        source: Box<VerifyError>,
        /// Every rung that fails, that one first. For showing; never empty.
        told: Vec<Reason>,
    },
}

impl AttestationReport {
    /// Parses the body of the answer.
    ///
    /// # Errors
    /// [`ReportError::TooLong`], [`TooManyMembers`](ReportError::TooManyMembers),
    /// [`Json`](ReportError::Json), [`Version`](ReportError::Version).
    pub fn parse(body: &[u8]) -> Result<Self, ReportError> {
        /// Looked at first: another version may have other members.
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        if body.len() > MAX_EVIDENCE_FILE_LEN {
            return Err(ReportError::TooLong { got: body.len(), limit: MAX_EVIDENCE_FILE_LEN });
        }
        if let Some((got, limit)) = crate::rcar::excess_of_structure(body) {
            return Err(ReportError::TooManyMembers { got, limit });
        }
        let head: Head = serde_json::from_slice(body).map_err(ReportError::Json)?;
        if head.version != REPORT_VERSION {
            return Err(ReportError::Version { got: head.version });
        }
        serde_json::from_slice(body).map_err(ReportError::Json)
    }
}

/// Verifies a report on the connection on which it came.
///
/// `observed_spki_sha256` is the digest of the server key of that connection. `exporter` is what
/// the caller asks for: `Some` with the connection's exporter value
/// ([`EXPORTER_LABEL`](crate::binding::EXPORTER_LABEL), 32 bytes, no context) demands level
/// `channel`, `None` demands `certificate`. A report of the other level is refused, so that nobody
/// between can talk the caller down.
///
/// # Errors
/// In this order: [`ReportError::Version`], [`Nonce`](ReportError::Nonce),
/// [`ServingKey`](ReportError::ServingKey), [`Level`](ReportError::Level),
/// [`Evidence`](ReportError::Evidence), [`Verify`](ReportError::Verify).
pub fn verify_report(
    report: &AttestationReport,
    nonce: &Nonce,
    observed_spki_sha256: [u8; 32],
    exporter: Option<[u8; 32]>,
    trust: &PeerTrust,
    now: UnixTime,
) -> Result<VerifiedReport, ReportError> {
    if report.version != REPORT_VERSION {
        return Err(ReportError::Version { got: report.version });
    }
    if !bool::from(report.nonce.as_bytes().ct_eq(nonce.to_base64url().as_bytes())) {
        return Err(ReportError::Nonce);
    }
    if report.spki_sha256 != observed_spki_sha256 {
        return Err(ReportError::ServingKey {
            expected: hex::encode(observed_spki_sha256),
            got: hex::encode(report.spki_sha256),
        });
    }
    let channel = match exporter {
        Some(value) => ChannelBinding::Exporter(value),
        None => ChannelBinding::Certificate,
    };
    //= attestation/SPEC.md#2.2
    //# A caller MUST refuse a report of another level than it asked for.
    if report.binding != channel.level() {
        return Err(ReportError::Level { asked: channel.level(), got: report.binding });
    }
    let evidence =
        Evidence::parse_kbs(report.tee, &report.evidence).map_err(ReportError::Evidence)?;
    let binding = ReportBinding {
        nonce,
        spki_sha256: observed_spki_sha256,
        manifest_digest: report.manifest_digest,
        config_digest: report.config_digest,
        channel,
    };
    let PeerTrust { endorsements, anchors, options } = trust;
    let expected = binding.report_data();
    match verify_with(&evidence, endorsements, anchors, &expected, now, options) {
        Ok(verified) => Ok(VerifiedReport::assertion(verified, channel.level())),
        Err(source) => {
            let told =
                explain_with(&source, &evidence, endorsements, anchors, &expected, now, options);
            Err(ReportError::Verify { source: Box::new(source), told })
        }
    }
}

impl ReportError {
    /// The refusal as reasons with what was expected, what was there and what to do.
    #[must_use]
    pub fn reasons(&self) -> Vec<Reason> {
        const FRESH: &str = "ask again with a fresh nonce; if it happens again, somebody answers \
                             in the sidecar's place";
        const MALFORMED: &str = "ask an Adyton sidecar of the same release, at \
                                 /.well-known/adyton/attestation";
        let one = |code: &'static str, claim: &str, expected: String, got: String, remedy: &str| {
            vec![Reason::new(code, "report", claim, (expected, got), remedy)]
        };
        match self {
            Self::Evidence(error) => error.reasons(),
            Self::Verify { told, .. } => told.clone(),
            Self::TooLong { got, limit } => one(
                "report.too-long",
                "report",
                format!("at most {limit} bytes"),
                format!("{got} bytes"),
                MALFORMED,
            ),
            Self::TooManyMembers { got, limit } => one(
                "report.too-many-members",
                "report",
                format!("at most {limit} objects, arrays or elements"),
                got.to_string(),
                MALFORMED,
            ),
            Self::Json(error) => one(
                "report.malformed",
                "report",
                format!("a report of version {REPORT_VERSION}"),
                error.to_string(),
                MALFORMED,
            ),
            Self::Version { got } => one(
                "report.version",
                "version",
                REPORT_VERSION.to_string(),
                got.to_string(),
                MALFORMED,
            ),
            Self::Nonce => {
                one("report.nonce", "nonce", "the nonce sent".into(), "another".into(), FRESH)
            }
            Self::ServingKey { expected, got } => one(
                "report.serving-key",
                "spki_sha256",
                expected.clone(),
                got.clone(),
                "connect to the sidecar itself: something between ends the TLS connection",
            ),
            Self::Level { asked, got } => one(
                "report.binding",
                "binding",
                asked.to_string(),
                got.to_string(),
                "ask for the level that is to be verified (bind=exporter for channel), without a \
                 TLS proxy between",
            ),
        }
    }
}

/// A 32-byte digest as 64 lower-case hex digits.
mod hex_digest {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(digest: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(digest))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        let mut digest = [0; 32];
        hex::decode_to_slice(text.as_ref(), &mut digest)
            .map_err(|_| D::Error::custom("expected 64 hex digits"))?;
        Ok(digest)
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
