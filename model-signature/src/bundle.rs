//! `model.sig` as it lies beside the sealed objects: a sigstore bundle with a DSSE envelope.
//!
//! In: bytes from whoever stores the model. Out: a [`Bundle`] within its bounds, an allegation. Members that
//! sigstore may add are ignored, as its specification asks; what is used has one type and occurs once.
//!
//! Against: bundles that exhaust the reader, or that carry several signatures of which one is looked at.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::limits::{
    MAX_BUNDLE_BYTES, MAX_CERTIFICATE_BYTES, MAX_CHAIN_CERTIFICATES, MAX_CHECKPOINT_BYTES,
    MAX_LOG_BODY_BYTES, MAX_PROOF_HASHES,
};

/// The one media type that is read and written.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// What a statement's envelope says it holds.
pub(crate) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// Why a bundle was refused before any signature was looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Larger than any bundle may be.
    #[error("the bundle has {got} bytes; expected at most {MAX_BUNDLE_BYTES}")]
    TooLarge {
        /// Bytes of the file.
        got: usize,
    },
    /// Not JSON, or members missing, twice or of the wrong type.
    #[error("the bundle is not the JSON that was expected")]
    Json(#[source] serde_json::Error),
    /// Another format, or a version that is not read.
    #[error("the bundle is `{got}`; expected `{MEDIA_TYPE}`")]
    MediaType {
        /// What it says.
        got: String,
    },
    /// The envelope holds something else than a statement.
    #[error("the envelope holds `{got}`; expected `{PAYLOAD_TYPE}`")]
    PayloadType {
        /// What it says.
        got: String,
    },
    /// Not exactly one signature.
    #[error("the envelope has {got} signatures; expected one")]
    Signatures {
        /// How many.
        got: usize,
    },
    /// Text that is no base64, of another length than it must have, or over its bound.
    #[error("`{member}` is not base64 of the length it must have")]
    Encoding {
        /// Which member.
        member: &'static str,
    },
    /// None, or more than one, of public key, certificate and certificate chain.
    #[error("the verification material names {got} of key, certificate and chain; expected one")]
    Material {
        /// How many.
        got: usize,
    },
    /// A list that is longer than its bound.
    #[error("`{member}` has {got} entries; expected at most {limit}")]
    TooMany {
        /// Which list.
        member: &'static str,
        /// The bound.
        limit: usize,
        /// How many there are.
        got: usize,
    },
}

/// A bundle within its bounds. Nothing about it was verified.
#[derive(Debug, Clone)]
pub struct Bundle {
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    pub(crate) material: Material,
    pub(crate) log_entries: Vec<LogEntry>,
    pub(crate) timestamps: usize,
}

/// With what the signature is said to verify.
#[derive(Debug, Clone)]
pub(crate) enum Material {
    /// A key that the verifier has.
    Key,
    /// The leaf first. One certificate is what keyless signing writes.
    Certificates(Vec<Vec<u8>>),
}

/// What a transparency log is said to have recorded.
#[derive(Debug, Clone)]
pub(crate) struct LogEntry {
    pub(crate) log_id: Vec<u8>,
    pub(crate) index: u64,
    pub(crate) kind: String,
    pub(crate) version: String,
    pub(crate) integrated_at: u64,
    pub(crate) promise: Option<Vec<u8>>,
    pub(crate) proof: Option<InclusionProof>,
    pub(crate) body: Vec<u8>,
}

/// That an entry is in a tree.
#[derive(Debug, Clone)]
pub(crate) struct InclusionProof {
    pub(crate) index: u64,
    pub(crate) tree_size: u64,
    pub(crate) root: [u8; 32],
    pub(crate) hashes: Vec<[u8; 32]>,
    pub(crate) checkpoint: String,
}

impl Bundle {
    /// Parses `model.sig`.
    ///
    /// # Errors
    /// [`BundleError`], in the order of its variants.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        /// Looked at first, so that another format is called by its name.
        #[derive(Deserialize)]
        struct Marker {
            #[serde(rename = "mediaType")]
            media_type: String,
        }
        if bytes.len() > MAX_BUNDLE_BYTES {
            return Err(BundleError::TooLarge { got: bytes.len() });
        }
        let marker: Marker = serde_json::from_slice(bytes).map_err(BundleError::Json)?;
        if marker.media_type != MEDIA_TYPE {
            return Err(BundleError::MediaType { got: excerpt(&marker.media_type) });
        }
        let wire: Wire = serde_json::from_slice(bytes).map_err(BundleError::Json)?;
        let envelope = wire.dsse_envelope;
        if envelope.payload_type != PAYLOAD_TYPE {
            return Err(BundleError::PayloadType { got: excerpt(&envelope.payload_type) });
        }
        let [signature] = envelope.signatures.as_slice() else {
            return Err(BundleError::Signatures { got: envelope.signatures.len() });
        };
        let wire_material = wire.verification_material;
        let entries = wire_material.tlog_entries.as_deref().unwrap_or_default();
        // More than one would leave open which of them counts.
        at_most("tlogEntries", entries.len(), 1)?;
        let log_entries = entries.iter().map(LogEntry::from_wire).collect::<Result<_, _>>()?;
        let timestamps = wire_material
            .timestamp_verification_data
            .as_ref()
            .and_then(|data| data.rfc3161_timestamps.as_ref())
            .map_or(0, Vec::len);
        Ok(Self {
            payload: decode("payload", &envelope.payload, MAX_BUNDLE_BYTES)?,
            signature: decode("sig", &signature.sig, 1024)?,
            material: Material::from_wire(&wire_material)?,
            log_entries,
            timestamps,
        })
    }

    /// What the signature is over: DSSE's encoding of the payload with its type.
    pub(crate) fn signed_bytes(&self) -> Vec<u8> {
        pre_authentication_encoding(&self.payload)
    }
}

/// DSSE v1.0.2 §"Signature Definition": `DSSEv1 LEN(type) type LEN(body) body`.
pub(crate) fn pre_authentication_encoding(payload: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

impl Material {
    fn from_wire(wire: &WireMaterial) -> Result<Self, BundleError> {
        match (&wire.public_key, &wire.certificate, &wire.x509_certificate_chain) {
            (Some(_), None, None) => Ok(Self::Key),
            (None, Some(leaf), None) => Ok(Self::Certificates(vec![certificate(leaf)?])),
            (None, None, Some(chain)) => {
                let certificates = &chain.certificates;
                at_most("certificates", certificates.len(), MAX_CHAIN_CERTIFICATES)?;
                if certificates.is_empty() {
                    return Err(BundleError::Material { got: 0 });
                }
                let chain = certificates.iter().map(certificate).collect::<Result<_, _>>()?;
                Ok(Self::Certificates(chain))
            }
            (key, leaf, chain) => {
                let got = [key.is_some(), leaf.is_some(), chain.is_some()];
                Err(BundleError::Material { got: got.into_iter().filter(|is| *is).count() })
            }
        }
    }
}

impl LogEntry {
    fn from_wire(wire: &WireLogEntry) -> Result<Self, BundleError> {
        let promise = wire
            .inclusion_promise
            .as_ref()
            .map(|promise| decode("signedEntryTimestamp", &promise.signed_entry_timestamp, 1024));
        let proof = wire.inclusion_proof.as_ref().map(InclusionProof::from_wire);
        Ok(Self {
            log_id: decode("keyId", &wire.log_id.key_id, 64)?,
            index: wire.log_index.0,
            kind: excerpt(&wire.kind_version.kind),
            version: excerpt(&wire.kind_version.version),
            integrated_at: wire.integrated_time.as_ref().map_or(0, |time| time.0),
            promise: promise.transpose()?,
            proof: proof.transpose()?,
            body: decode("canonicalizedBody", &wire.canonicalized_body, MAX_LOG_BODY_BYTES)?,
        })
    }
}

impl InclusionProof {
    fn from_wire(wire: &WireProof) -> Result<Self, BundleError> {
        at_most("hashes", wire.hashes.len(), MAX_PROOF_HASHES)?;
        let checkpoint = &wire.checkpoint.envelope;
        if checkpoint.len() > MAX_CHECKPOINT_BYTES {
            return Err(BundleError::Encoding { member: "checkpoint" });
        }
        Ok(Self {
            index: wire.log_index.0,
            tree_size: wire.tree_size.0,
            root: hash("rootHash", &wire.root_hash)?,
            hashes: wire
                .hashes
                .iter()
                .map(|text| hash("hashes", text))
                .collect::<Result<_, _>>()?,
            checkpoint: checkpoint.clone(),
        })
    }
}

fn certificate(wire: &WireCertificate) -> Result<Vec<u8>, BundleError> {
    decode("rawBytes", &wire.raw_bytes, MAX_CERTIFICATE_BYTES)
}

fn hash(member: &'static str, text: &str) -> Result<[u8; 32], BundleError> {
    decode(member, text, 32)?.try_into().map_err(|_| BundleError::Encoding { member })
}

fn decode(member: &'static str, text: &str, limit: usize) -> Result<Vec<u8>, BundleError> {
    let refused = BundleError::Encoding { member };
    match STANDARD.decode(text) {
        Ok(bytes) if !bytes.is_empty() && bytes.len() <= limit => Ok(bytes),
        Ok(_) | Err(_) => Err(refused),
    }
}

fn at_most(member: &'static str, got: usize, limit: usize) -> Result<(), BundleError> {
    if got > limit { Err(BundleError::TooMany { member, limit, got }) } else { Ok(()) }
}

/// Enough of a text from outside to recognise it, without control characters.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(96).map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    verification_material: WireMaterial,
    dsse_envelope: WireEnvelope,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireEnvelope {
    payload: String,
    payload_type: String,
    signatures: Vec<WireSignature>,
}

#[derive(Deserialize)]
struct WireSignature {
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMaterial {
    public_key: Option<serde::de::IgnoredAny>,
    certificate: Option<WireCertificate>,
    x509_certificate_chain: Option<WireChain>,
    tlog_entries: Option<Vec<WireLogEntry>>,
    timestamp_verification_data: Option<WireTimestamps>,
}

#[derive(Deserialize)]
struct WireTimestamps {
    #[serde(rename = "rfc3161Timestamps")]
    rfc3161_timestamps: Option<Vec<serde::de::IgnoredAny>>,
}

#[derive(Deserialize)]
struct WireChain {
    certificates: Vec<WireCertificate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireCertificate {
    raw_bytes: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireLogEntry {
    log_index: Integer,
    log_id: WireLogId,
    kind_version: WireKind,
    integrated_time: Option<Integer>,
    inclusion_promise: Option<WirePromise>,
    inclusion_proof: Option<WireProof>,
    canonicalized_body: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireLogId {
    key_id: String,
}

#[derive(Deserialize)]
struct WireKind {
    kind: String,
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePromise {
    signed_entry_timestamp: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireProof {
    #[serde(default)]
    log_index: Integer,
    root_hash: String,
    tree_size: Integer,
    #[serde(default)]
    hashes: Vec<String>,
    checkpoint: WireCheckpoint,
}

#[derive(Deserialize)]
struct WireCheckpoint {
    envelope: String,
}

/// A 64-bit number, which the JSON form of protocol buffers writes as a text.
#[derive(Default)]
struct Integer(u64);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(number) => Ok(Self(number)),
            Form::Text(text) => text.parse().map(Self).map_err(serde::de::Error::custom),
        }
    }
}
