//! The extension's value: a RATS conceptual message wrapper around Evidence.
//!
//! draft-ietf-rats-msg-wrap: `CMW ::= CHOICE { json UTF8String, cbor OCTET STRING }`, here always the
//! JSON record `[type, value, indicator]`, which DICE's subset of the draft has as well. JSON, because
//! Evidence is JSON already and a second parser inside the TEE would be one more to trust.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use der::asn1::Utf8StringRef;
use der::{Decode as _, Encode as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::evidence::Tee;
use crate::limits::MAX_RA_TLS_EXTENSION_LEN;

/// Type of the wrapped message.
pub const MEDIA_TYPE: &str = "application/vnd.adyton.evidence+json";

/// The draft's indicator with the one bit for Evidence.
const EVIDENCE: u32 = 1 << 2;

/// Evidence as it stands in a certificate. Unverified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateEvidence {
    /// The TEE that it is from.
    pub tee: Tee,
    /// The value of `primary_evidence` in the KBS protocol, without an event log.
    pub evidence: Value,
}

/// Why bytes are not the value of such an extension.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExtensionError {
    /// Longer than [`MAX_RA_TLS_EXTENSION_LEN`], and not parsed.
    #[error("the extension has {got} bytes, allowed are {MAX_RA_TLS_EXTENSION_LEN}")]
    TooLong {
        /// Its length in bytes.
        got: usize,
    },
    /// Not one DER UTF8String.
    #[error("the extension is not a UTF8String in DER")]
    Der,
    /// Not a JSON array of a text, a text and a number.
    #[error("the wrapper is not [type, value, indicator]")]
    Record(#[source] serde_json::Error),
    /// A message of another type.
    #[error("the wrapped message is of type {got}, expected {MEDIA_TYPE}")]
    MediaType {
        /// The type, shortened.
        got: String,
    },
    /// Another kind of message than Evidence.
    #[error("the indicator is {got}, expected {EVIDENCE} (Evidence)")]
    Indicator {
        /// The indicator.
        got: u32,
    },
    /// The value is not unpadded base64url.
    #[error("the wrapped value is not base64url without padding")]
    Base64,
    /// The value is not the JSON of [`CertificateEvidence`].
    #[error("the wrapped message is not Evidence with the name of its TEE")]
    Payload(#[source] serde_json::Error),
}

impl CertificateEvidence {
    /// Parses the value of the extension (the content of `extnValue`).
    ///
    /// # Errors
    /// [`ExtensionError`], in the order of its variants.
    pub fn parse(value: &[u8]) -> Result<Self, ExtensionError> {
        if value.len() > MAX_RA_TLS_EXTENSION_LEN {
            return Err(ExtensionError::TooLong { got: value.len() });
        }
        let text = Utf8StringRef::from_der(value).map_err(|_| ExtensionError::Der)?;
        let (media_type, message, indicator): (String, String, u32) =
            serde_json::from_str(text.as_str()).map_err(ExtensionError::Record)?;
        if media_type != MEDIA_TYPE {
            return Err(ExtensionError::MediaType { got: media_type.chars().take(64).collect() });
        }
        if indicator != EVIDENCE {
            return Err(ExtensionError::Indicator { got: indicator });
        }
        let payload = URL_SAFE_NO_PAD.decode(message).map_err(|_| ExtensionError::Base64)?;
        serde_json::from_slice(&payload).map_err(ExtensionError::Payload)
    }

    /// The value of the extension.
    ///
    /// # Errors
    /// [`ExtensionError::TooLong`]: this Evidence fits into no certificate.
    pub fn to_value(&self) -> Result<Vec<u8>, ExtensionError> {
        let payload = serde_json::to_vec(self).map_err(ExtensionError::Payload)?;
        let record = (MEDIA_TYPE, URL_SAFE_NO_PAD.encode(payload), EVIDENCE);
        let text = serde_json::to_string(&record).map_err(ExtensionError::Record)?;
        let value = Utf8StringRef::new(&text)
            .and_then(|text| text.to_der())
            .map_err(|_| ExtensionError::Der)?;
        match value.len() > MAX_RA_TLS_EXTENSION_LEN {
            true => Err(ExtensionError::TooLong { got: value.len() }),
            false => Ok(value),
        }
    }
}
