//! Signed certificate timestamps: that a log of certificates has seen the leaf.
//!
//! In: a leaf with an embedded list (RFC 6962 §3.3), the key of its issuer, the logs of a trust root. Out:
//! nothing but the certainty that one of these logs signed for this very certificate. The log signed the
//! certificate as it was before the list was put into it, so the list is taken out again, byte for byte.
//!
//! Against: an authority that certifies somebody in secret.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use der::asn1::{ObjectIdentifier, OctetStringRef};
use der::{Decode as _, Encode as _};

use crate::certificate::Leaf;
use crate::key::sha256;
use crate::limits::MAX_SCTS;
use crate::time::Seconds;
use crate::trusted_root::Log;

/// RFC 6962 §3.3.
const SCT_LIST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.2");

const SEQUENCE: u8 = 0x30;
/// `[3] EXPLICIT Extensions` of a TBSCertificate.
const EXTENSIONS: u8 = 0xA3;

/// Why no log of certificates vouches for the leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SctError {
    /// The certificate has no list.
    #[error("the certificate carries no signed certificate timestamp")]
    Missing,
    /// A list that is not of the form of RFC 6962.
    #[error("the list of signed certificate timestamps is malformed")]
    Malformed,
    /// All of other logs, or of a time when the log did not count.
    #[error("none of the signed certificate timestamps is of a log of the trust root")]
    UnknownLog,
    /// A log of the trust root is named and did not sign.
    #[error("the signature of a signed certificate timestamp is invalid")]
    Signature,
}

/// Verifies that a log of the trust root has seen the leaf.
pub(crate) fn verify(leaf: &Leaf, issuer_spki: &[u8], logs: &[Log]) -> Result<(), SctError> {
    let list = leaf.extension(SCT_LIST).ok_or(SctError::Missing)?;
    let list = <&OctetStringRef>::from_der(list).map_err(|_| SctError::Malformed)?;
    let mut input = Input(list.as_bytes());
    let mut list = Input(input.vector16().ok_or(SctError::Malformed)?);
    let precertificate = without_list(&leaf.der).ok_or(SctError::Malformed)?;
    let issuer_key_hash = sha256(issuer_spki);
    let mut known = false;
    let mut count = 0;
    while !list.0.is_empty() {
        count += 1;
        let sct = list.vector16().filter(|_| count <= MAX_SCTS).ok_or(SctError::Malformed)?;
        let sct = Sct::parse(sct).ok_or(SctError::Malformed)?;
        let at = Seconds(sct.timestamp_ms / 1000);
        let log = logs.iter().find(|log| log.id == sct.log_id && log.valid.contains(at));
        let Some(log) = log else { continue };
        known = true;
        let signed = sct.signed_bytes(&issuer_key_hash, &precertificate);
        if signed.is_some_and(|signed| log.key.verifies(&signed, sct.signature)) {
            return Ok(());
        }
    }
    Err(if known { SctError::Signature } else { SctError::UnknownLog })
}

/// RFC 6962 §3.2.
struct Sct<'a> {
    log_id: &'a [u8],
    timestamp_ms: u64,
    extensions: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Sct<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut input = Input(bytes);
        // Version 1 is written as 0; the signature is sha256 (4) with ecdsa (3).
        let version = input.take(1)?;
        let log_id = input.take(32)?;
        let timestamp_ms = u64::from_be_bytes(input.take(8)?.try_into().ok()?);
        let extensions = input.vector16()?;
        let algorithm = input.take(2)?;
        let signature = input.vector16()?;
        let sound = version == [0] && algorithm == [4, 3] && input.0.is_empty();
        sound.then_some(Self { log_id, timestamp_ms, extensions, signature })
    }

    /// What the log signed for a precertificate.
    fn signed_bytes(&self, issuer_key_hash: &[u8; 32], tbs: &[u8]) -> Option<Vec<u8>> {
        // v1, certificate_timestamp; then the time and precert_entry.
        let mut bytes = vec![0, 0];
        bytes.extend_from_slice(&self.timestamp_ms.to_be_bytes());
        bytes.extend_from_slice(&[0, 1]);
        bytes.extend_from_slice(issuer_key_hash);
        let len = u32::try_from(tbs.len()).ok().filter(|len| *len < 1 << 24)?;
        bytes.extend_from_slice(len.to_be_bytes().get(1..)?);
        bytes.extend_from_slice(tbs);
        bytes.extend_from_slice(&u16::try_from(self.extensions.len()).ok()?.to_be_bytes());
        bytes.extend_from_slice(self.extensions);
        Some(bytes)
    }
}

/// The TBSCertificate of a certificate, without the list of timestamps.
fn without_list(certificate: &[u8]) -> Option<Vec<u8>> {
    let (outer, _) = Element::read(certificate)?;
    let (tbs, _) = Element::read(outer.value)?;
    let mut content = Vec::with_capacity(tbs.value.len());
    let mut rest = tbs.value;
    while !rest.is_empty() {
        let (member, after) = Element::read(rest)?;
        if member.tag == EXTENSIONS {
            let (list, _) = Element::read(member.value)?;
            let kept = extensions_without_list(list.value)?;
            write(EXTENSIONS, &written(SEQUENCE, &kept)?, &mut content)?;
        } else {
            content.extend_from_slice(member.whole);
        }
        rest = after;
    }
    written(SEQUENCE, &content)
}

fn extensions_without_list(mut rest: &[u8]) -> Option<Vec<u8>> {
    let oid = SCT_LIST.to_der().ok()?;
    let mut kept = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let (extension, after) = Element::read(rest)?;
        if !extension.value.starts_with(&oid) {
            kept.extend_from_slice(extension.whole);
        }
        rest = after;
    }
    Some(kept)
}

/// One element of DER: its tag, its value, and all its bytes.
struct Element<'a> {
    tag: u8,
    value: &'a [u8],
    whole: &'a [u8],
}

impl<'a> Element<'a> {
    /// The first element, and what follows it. Lengths of up to two bytes: a certificate has no more.
    fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, len) = match *bytes.get(1)? {
            short @ 0..=0x7F => (2, usize::from(short)),
            0x81 => (3, usize::from(*bytes.get(2)?)),
            0x82 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
            _ => return None,
        };
        let (whole, after) = bytes.split_at_checked(head + len)?;
        Some((Self { tag: *bytes.first()?, value: whole.get(head..)?, whole }, after))
    }
}

fn written(tag: u8, value: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(value.len() + 4);
    write(tag, value, &mut out)?;
    Some(out)
}

fn write(tag: u8, value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.push(tag);
    let len = u16::try_from(value.len()).ok()?;
    match len {
        0..=0x7F => out.push(len as u8),
        0x80..=0xFF => out.extend_from_slice(&[0x81, len as u8]),
        _ => {
            out.push(0x82);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
    out.extend_from_slice(value);
    Some(())
}

/// Bytes in the presentation language of TLS.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let len = u16::from_be_bytes(self.take(2)?.try_into().ok()?);
        self.take(usize::from(len))
    }
}
