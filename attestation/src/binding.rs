//! What Evidence is bound to: the 64 bytes of report data.
//!
//! Role: Attester and Verifier alike; both compute the same bytes and the Verifier compares. In: a
//! nonce, digests, a key digest, and how far the TLS connection is bound. Out: [`ReportData`].
//! Nothing here reads Evidence. SPEC.md §2.
//!
//! ```text
//! RCAR       SHA-384(canonical runtime data) ‖ 16 zero bytes          (rcar::canonical)
//! endpoint   SHA-512(frames: label, nonce, key, manifest, config, level, value)   (here)
//! RA-TLS     SHA-512(frames: label, key, not before, not after)       (ra_tls)
//! ```
//! Against: Evidence made for one purpose and shown for another (the label and the two digest
//! functions keep them apart), replay (nonce), a key the TEE does not hold (key digest), and, at
//! level `channel`, relay of a genuine answer through another machine.

use std::fmt;

use ring::digest::{Context, SHA512};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use crate::challenge::Nonce;

/// Length of the report data of SNP and TDX in bytes.
pub const REPORT_DATA_LEN: usize = 64;

/// Label of the TLS exporter whose 32 bytes bind Evidence to one connection (RFC 9266 §2), to be
/// used without a context.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// First frame of the hash input: what the Evidence is for, and in which version of the format.
const LABEL: &[u8] = b"adyton.report-data.v1";

/// The 64 bytes that the guest hands to the hardware and the hardware signs.
#[derive(Clone, Copy)]
pub struct ReportData(pub [u8; REPORT_DATA_LEN]);

impl ReportData {
    /// The digest of RCAR runtime data, followed by 16 zero bytes.
    #[must_use]
    pub fn from_runtime_data_digest(digest: &[u8; 48]) -> Self {
        let mut bytes = [0; REPORT_DATA_LEN];
        for (to, from) in bytes.iter_mut().zip(digest) {
            *to = *from;
        }
        Self(bytes)
    }

    /// The 64 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; REPORT_DATA_LEN] {
        &self.0
    }
}

/// For which use report data were made, as far as their form shows. Proves nothing: it tells a person
/// which binding was expected and which was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingForm {
    /// Nothing but zeros: whoever asked for the Evidence bound it to nothing.
    Unbound,
    /// 48 bytes and 16 zeros: RCAR, SHA-384 over the runtime data (`SPEC.md` §2.1).
    RuntimeData,
    /// 32 bytes and 32 zeros: SHA-256 over something, as under Azure's vTPM (§9).
    Sha256,
    /// No zero tail: SHA-512 over frames, as the attestation endpoint (§2.2) and RA-TLS (§13.2) make
    /// it, or 64 bytes of somebody else's.
    Framed,
}

impl BindingForm {
    /// The form of report data, or of the qualifying data that stand for them (without a zero tail).
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        match bytes.iter().rposition(|byte| *byte != 0) {
            None => Self::Unbound,
            Some(last) if last < 32 => Self::Sha256,
            Some(last) if last < 48 => Self::RuntimeData,
            Some(_) => Self::Framed,
        }
    }
}

impl fmt::Display for BindingForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unbound => "bound to nothing",
            Self::RuntimeData => "as RCAR binds: SHA-384 of the runtime data and 16 zero bytes",
            Self::Sha256 => "SHA-256 and 32 zero bytes, as a vTPM's var-data are bound",
            Self::Framed => "as the attestation endpoint or RA-TLS binds: SHA-512, no zero tail",
        })
    }
}

impl PartialEq for ReportData {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for ReportData {}

impl fmt::Debug for ReportData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReportData({})", hex::encode(self.0))
    }
}

/// What the Evidence says about the TLS connection on which it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Bound to the serving key only. A host that holds another genuine TEE with the same
    /// configuration can relay the answer.
    Certificate,
    /// Bound to this very connection by the TLS exporter value under [`EXPORTER_LABEL`].
    Exporter([u8; 32]),
}

/// The two levels of binding, named for what they prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BindingLevel {
    /// The Evidence commits to the serving key.
    Certificate,
    /// The Evidence also commits to the connection.
    Channel,
}

impl BindingLevel {
    /// The word that stands in reports and in the hash input.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Channel => "channel",
        }
    }
}

impl fmt::Display for BindingLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ChannelBinding {
    /// The level of this binding.
    #[must_use]
    pub const fn level(&self) -> BindingLevel {
        match self {
            Self::Certificate => BindingLevel::Certificate,
            Self::Exporter(_) => BindingLevel::Channel,
        }
    }

    fn value(&self) -> &[u8] {
        match self {
            Self::Certificate => &[],
            Self::Exporter(value) => value,
        }
    }
}

/// Everything the sidecar's own Evidence commits to.
#[derive(Debug)]
pub struct ReportBinding<'a> {
    /// The caller's nonce.
    pub nonce: &'a Nonce,
    /// SHA-256 of the serving certificate's SubjectPublicKeyInfo (DER).
    pub spki_sha256: [u8; 32],
    /// SHA-256 of the exact bytes of the sealed model's manifest.
    pub manifest_digest: [u8; 32],
    /// SHA-256 of the sidecar's effective configuration.
    pub config_digest: [u8; 32],
    /// How far the TLS connection is bound.
    pub channel: ChannelBinding,
}

impl ReportBinding<'_> {
    /// SHA-512 over the frames `label, nonce, key digest, manifest digest, config digest, level
    /// word, level value`; a frame is its length as big-endian `u32` followed by its bytes.
    ///
    /// Frames make the input unambiguous: no two bindings share it.
    #[must_use]
    pub fn report_data(&self) -> ReportData {
        let frames: [&[u8]; 7] = [
            LABEL,
            self.nonce.as_bytes(),
            &self.spki_sha256,
            &self.manifest_digest,
            &self.config_digest,
            self.channel.level().as_str().as_bytes(),
            self.channel.value(),
        ];
        framed(&frames)
    }
}

/// SHA-512 over frames: the length as big-endian `u32`, then the bytes. The first frame is the label
/// that keeps one use of report data from every other.
pub(crate) fn framed(frames: &[&[u8]]) -> ReportData {
    let mut hash = Context::new(&SHA512);
    for frame in frames {
        // Each frame has at most 32 bytes; the conversion cannot lose anything.
        hash.update(&(frame.len() as u32).to_be_bytes());
        hash.update(frame);
    }
    let mut bytes = [0; REPORT_DATA_LEN];
    for (to, from) in bytes.iter_mut().zip(hash.finish().as_ref()) {
        *to = *from;
    }
    ReportData(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(nonce: &Nonce) -> ReportBinding<'_> {
        ReportBinding {
            nonce,
            spki_sha256: [1; 32],
            manifest_digest: [2; 32],
            config_digest: [3; 32],
            channel: ChannelBinding::Certificate,
        }
    }

    #[test]
    fn the_hash_input_is_the_documented_one() {
        let nonce = Nonce::from_bytes([9; 32]);
        let mut input = Vec::new();
        for frame in [
            &b"adyton.report-data.v1"[..],
            &[9; 32],
            &[1; 32],
            &[2; 32],
            &[3; 32],
            b"channel",
            &[4; 32],
        ] {
            input.extend_from_slice(&u32::try_from(frame.len()).unwrap().to_be_bytes());
            input.extend_from_slice(frame);
        }
        let expected = ring::digest::digest(&SHA512, &input);
        let bound = ReportBinding { channel: ChannelBinding::Exporter([4; 32]), ..binding(&nonce) };
        assert_eq!(bound.report_data().0.as_slice(), expected.as_ref());
    }

    #[test]
    fn every_member_changes_the_report_data() {
        let nonce = Nonce::from_bytes([9; 32]);
        let other = Nonce::from_bytes([8; 32]);
        let all = [
            binding(&nonce),
            binding(&other),
            ReportBinding { spki_sha256: [7; 32], ..binding(&nonce) },
            ReportBinding { manifest_digest: [7; 32], ..binding(&nonce) },
            ReportBinding { config_digest: [7; 32], ..binding(&nonce) },
            ReportBinding { channel: ChannelBinding::Exporter([0; 32]), ..binding(&nonce) },
            ReportBinding { channel: ChannelBinding::Exporter([7; 32]), ..binding(&nonce) },
        ];
        for (i, a) in all.iter().enumerate() {
            for b in all.iter().skip(i + 1) {
                assert_ne!(a.report_data(), b.report_data(), "{a:?} and {b:?}");
            }
        }
    }

    #[test]
    fn the_form_tells_which_use_report_data_were_made_for() {
        let nonce = Nonce::from_bytes([9; 32]);
        let mut var_data = [0; 64];
        var_data[..32].fill(7);
        for (bytes, form) in [
            (ReportData::from_runtime_data_digest(&[5; 48]).0, BindingForm::RuntimeData),
            (binding(&nonce).report_data().0, BindingForm::Framed),
            (var_data, BindingForm::Sha256),
            ([0; 64], BindingForm::Unbound),
        ] {
            assert_eq!(BindingForm::of(&bytes), form, "{bytes:?}");
        }
        assert_eq!(BindingForm::of(&[]), BindingForm::Unbound);
        assert_eq!(BindingForm::of(&[5; 48]), BindingForm::RuntimeData);
    }

    #[test]
    fn runtime_data_digest_is_padded_with_zeros() {
        let data = ReportData::from_runtime_data_digest(&[5; 48]);
        assert_eq!(data.0[..48], [5; 48]);
        assert_eq!(data.0[48..], [0; 16]);
    }
}
