//! A trust root of sigstore: the authorities and logs that keyless signing relies on.
//!
//! In: `trusted_root.json`, or a client's trust configuration that holds one, as the caller got it by a way
//! that it trusts. Out: keys and roots, each with the time in which it counts. It fetches nothing.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::bundle::excerpt;
use crate::certificate::Roots;
use crate::key::PublicKey;
use crate::limits::{MAX_CHAIN_CERTIFICATES, MAX_TRUST_FILE_BYTES, MAX_TRUSTED};
use crate::time::{Seconds, Window, parse_rfc3339};

const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.trustedroot";

/// Why a trust root was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustRootError {
    /// Larger than any trust root may be.
    #[error("the trust root has {got} bytes; expected at most {MAX_TRUST_FILE_BYTES}")]
    TooLarge {
        /// Bytes of the file.
        got: usize,
    },
    /// Not JSON, or members missing or of the wrong type.
    #[error("the trust root is not the JSON that was expected")]
    Json(#[source] serde_json::Error),
    /// Another kind of document.
    #[error("the trust root is `{got}`; expected `{MEDIA_TYPE}`")]
    MediaType {
        /// What it says.
        got: String,
    },
    /// A key, a certificate or a time that cannot be read.
    #[error("an entry of `{list}` cannot be read")]
    Entry {
        /// Which list.
        list: &'static str,
    },
    /// None, or more than the bound.
    #[error("`{list}` has {got} entries; expected 1 to {MAX_TRUSTED}")]
    Count {
        /// Which list.
        list: &'static str,
        /// How many that can be used.
        got: usize,
    },
}

/// Authorities and logs, each with its time.
#[derive(Debug, Clone)]
pub struct TrustedRoot {
    pub(crate) authorities: Vec<Authority>,
    pub(crate) signature_logs: Vec<Log>,
    pub(crate) certificate_logs: Vec<Log>,
}

/// One that certifies identities.
#[derive(Debug, Clone)]
pub(crate) struct Authority {
    pub(crate) root: Roots,
    pub(crate) intermediates: Vec<Vec<u8>>,
    pub(crate) valid: Window,
}

/// One that records certificates, or signatures.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub(crate) id: Vec<u8>,
    pub(crate) key: PublicKey,
    pub(crate) valid: Window,
}

impl TrustedRoot {
    /// Parses a trust root.
    ///
    /// # Errors
    /// [`TrustRootError`], in the order of its variants.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustRootError> {
        if bytes.len() > MAX_TRUST_FILE_BYTES {
            return Err(TrustRootError::TooLarge { got: bytes.len() });
        }
        /// A client's configuration has the trust root as a member.
        #[derive(Deserialize)]
        struct Configuration {
            #[serde(rename = "trustedRoot")]
            trusted_root: Option<Wire>,
        }
        let configuration: Configuration =
            serde_json::from_slice(bytes).map_err(TrustRootError::Json)?;
        let wire = match configuration.trusted_root {
            Some(wire) => wire,
            None => serde_json::from_slice(bytes).map_err(TrustRootError::Json)?,
        };
        if !wire.media_type.starts_with(MEDIA_TYPE) {
            return Err(TrustRootError::MediaType { got: excerpt(&wire.media_type) });
        }
        let authorities = wire.certificate_authorities.iter().map(Authority::from_wire);
        let authorities = counted("certificateAuthorities", authorities.collect())?;
        Ok(Self {
            authorities,
            signature_logs: logs("tlogs", &wire.tlogs)?,
            certificate_logs: logs("ctlogs", &wire.ctlogs)?,
        })
    }
}

fn counted<T>(list: &'static str, entries: Option<Vec<T>>) -> Result<Vec<T>, TrustRootError> {
    let entries = entries.ok_or(TrustRootError::Entry { list })?;
    if entries.is_empty() || entries.len() > MAX_TRUSTED {
        return Err(TrustRootError::Count { list, got: entries.len() });
    }
    Ok(entries)
}

fn logs(list: &'static str, wire: &[WireLog]) -> Result<Vec<Log>, TrustRootError> {
    counted(list, wire.iter().map(Log::from_wire).collect())
}

impl Authority {
    fn from_wire(wire: &WireAuthority) -> Option<Self> {
        let chain = &wire.cert_chain.certificates;
        if chain.len() > MAX_CHAIN_CERTIFICATES {
            return None;
        }
        // The root comes last.
        let (root, intermediates) = chain.split_last()?;
        let decode = |certificate: &WireBytes| STANDARD.decode(&certificate.raw_bytes).ok();
        Some(Self {
            root: Roots::from_der(&decode(root)?)?,
            intermediates: intermediates.iter().map(decode).collect::<Option<_>>()?,
            valid: window(wire.valid_for.as_ref())?,
        })
    }
}

impl Log {
    fn from_wire(wire: &WireLog) -> Option<Self> {
        Some(Self {
            id: STANDARD.decode(&wire.log_id.key_id).ok()?,
            key: PublicKey::from_spki(&STANDARD.decode(&wire.public_key.raw_bytes).ok()?).ok()?,
            valid: window(wire.public_key.valid_for.as_ref())?,
        })
    }
}

fn window(wire: Option<&WireWindow>) -> Option<Window> {
    let Some(wire) = wire else {
        return Some(Window { start: Seconds(0), end: None });
    };
    let start = wire.start.as_deref().map_or(Some(Seconds(0)), parse_rfc3339)?;
    let end = match wire.end.as_deref() {
        Some(text) => Some(parse_rfc3339(text)?),
        None => None,
    };
    Some(Window { start, end })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    media_type: String,
    #[serde(default)]
    tlogs: Vec<WireLog>,
    #[serde(default)]
    certificate_authorities: Vec<WireAuthority>,
    #[serde(default)]
    ctlogs: Vec<WireLog>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireLog {
    public_key: WireKey,
    log_id: WireLogId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireKey {
    raw_bytes: String,
    valid_for: Option<WireWindow>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireLogId {
    key_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireAuthority {
    cert_chain: WireChain,
    valid_for: Option<WireWindow>,
}

#[derive(Deserialize)]
struct WireChain {
    certificates: Vec<WireBytes>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireBytes {
    raw_bytes: String,
}

#[derive(Deserialize)]
struct WireWindow {
    start: Option<String>,
    end: Option<String>,
}
