//! The messages of RCAR as they stand on the wire. KBS protocol 0.4.0.
//!
//! Role: both sides. In: bytes of the peer, bounded before they are parsed. Out: plain data that
//! nobody has checked. Member names are part of the protocol: kebab-case in Request, Challenge,
//! Attestation and runtime data, snake_case inside `tee-evidence` and in the JWE.
//! Against: bodies that exhaust memory; hidden differences between two parsers.

use ring::digest::{SHA256, SHA384, SHA512, digest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::limits::{MAX_BODY, MAX_CONTAINERS, MAX_ELEMENTS, MAX_INIT_DATA, MAX_RESPONSE};
use super::{RcarError, TeePublicKey};

/// `POST /auth`, KBC to KBS: which protocol, which TEE.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Request {
    /// Version of the protocol; must be [`PROTOCOL_VERSION`](super::PROTOCOL_VERSION).
    pub version: String,
    /// Name of the TEE, such as `tdx`. A string, so that an unknown one can be refused by name.
    pub tee: String,
    /// Any JSON value. Ours lists the digests we know, as CoCo clients do.
    pub extra_params: Value,
}

/// Reply to `POST /auth`: the nonce to answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChallengeMessage {
    /// A string on the whole way: hashed and compared as it stands, never decoded.
    pub nonce: String,
    /// The empty string for every TEE we support.
    pub extra_params: Value,
}

/// `POST /attest`, KBC to KBS: the answer to a Challenge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Attestation {
    /// The guest's init-data, of which the hardware signed a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_data: Option<InitData>,
    /// What the report data of the Evidence commit to.
    pub runtime_data: RuntimeData,
    /// The Evidence.
    pub tee_evidence: TeeEvidence,
}

/// Configuration that the host gave the guest at launch; measured, not secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitData {
    /// Always `toml`.
    pub format: String,
    /// The document whose digest the hardware signed.
    pub body: String,
}

/// The nonce and the key that Evidence commits to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RuntimeData {
    /// The string of the Challenge.
    pub nonce: String,
    /// The key to which secrets will be encrypted.
    pub tee_pubkey: TeePublicKey,
}

/// Evidence of the CPU's TEE, and of devices. Names are snake_case, unlike the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TeeEvidence {
    /// JSON whose shape depends on the TEE.
    pub primary_evidence: Value,
    /// Empty, or a JSON text: a map from device TEE to Evidence.
    pub additional_evidence: String,
}

/// Reply to `POST /attest`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestResponse {
    /// The Attestation Result as JWT. A bearer token: it opens what the session opens.
    pub token: String,
}

impl std::fmt::Debug for AttestResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AttestResponse").finish_non_exhaustive()
    }
}

/// Reply to `GET /resource/…`: a secret encrypted to the TEE key, JWE in flattened JSON form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JweResponse {
    /// The protected header: base64url of compact JSON. Its characters are the AAD.
    pub protected: String,
    /// The wrapped content encryption key, base64url.
    pub encrypted_key: String,
    /// The 12-byte IV, base64url.
    pub iv: String,
    /// The encrypted secret, base64url.
    pub ciphertext: String,
    /// The 16-byte tag, base64url.
    pub tag: String,
    /// Not part of a KBS reply. Kept only so that a reply with it can be refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aad: Option<Value>,
}

/// Body of every reply that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorInformation {
    /// `https://github.com/confidential-containers/kbs/errors/<Variant>`.
    #[serde(rename = "type")]
    pub error_type: String,
    /// One sentence.
    pub detail: String,
    /// What our own clients understand; others ignore it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adyton: Option<RefusalInformation>,
}

/// The redacted form of a refusal: the guest learns which rules failed, not the values expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalInformation {
    /// Id of the decision in the broker's log, where its owner finds the reasons.
    pub decision: String,
    /// Stable codes of the reasons.
    pub codes: Vec<String>,
}

impl ErrorInformation {
    /// Prefix of every [`error_type`](Self::error_type).
    pub const TYPE_PREFIX: &str = "https://github.com/confidential-containers/kbs/errors/";

    /// The body for one error variant of the protocol, such as `PolicyDeny`.
    #[must_use]
    pub fn new(variant: &str, detail: impl Into<String>) -> Self {
        Self {
            error_type: format!("{}{variant}", Self::TYPE_PREFIX),
            detail: detail.into(),
            adyton: None,
        }
    }

    /// Adds the redacted reasons of a refusal.
    #[must_use]
    pub fn with_refusal(mut self, decision: impl Into<String>, codes: Vec<String>) -> Self {
        self.adyton = Some(RefusalInformation { decision: decision.into(), codes });
        self
    }

    /// The variant behind the prefix, or the whole type of a foreign KBS.
    #[must_use]
    pub fn variant(&self) -> &str {
        self.error_type.strip_prefix(Self::TYPE_PREFIX).unwrap_or(&self.error_type)
    }

    /// Parses the body of a reply that is not a success. KBS send it without a Content-Type.
    ///
    /// # Errors
    /// [`RcarError::TooLong`], [`RcarError::TooManyMembers`], then [`RcarError::Json`].
    pub fn parse(body: &[u8]) -> Result<Self, RcarError> {
        parse("error reply", body, MAX_BODY)
    }
}

impl Request {
    /// Parses the body of `POST /auth`.
    ///
    /// # Errors
    /// [`RcarError::TooLong`], [`RcarError::TooManyMembers`], then [`RcarError::Json`].
    pub fn parse(body: &[u8]) -> Result<Self, RcarError> {
        parse("request", body, MAX_BODY)
    }
}

impl ChallengeMessage {
    /// Parses the reply to `POST /auth`.
    ///
    /// # Errors
    /// [`RcarError::TooLong`], [`RcarError::TooManyMembers`], then [`RcarError::Json`].
    pub fn parse(body: &[u8]) -> Result<Self, RcarError> {
        parse("challenge", body, MAX_BODY)
    }
}

impl Attestation {
    /// Parses the body of `POST /attest`. A TEE key that is refused is refused here.
    ///
    /// # Errors
    /// [`RcarError::TooLong`], [`RcarError::TooManyMembers`], then [`RcarError::Json`].
    pub fn parse(body: &[u8]) -> Result<Self, RcarError> {
        parse("attestation", body, MAX_BODY)
    }
}

impl AttestResponse {
    /// Parses the reply to `POST /attest`.
    ///
    /// # Errors
    /// [`RcarError::TooLong`], [`RcarError::TooManyMembers`], then [`RcarError::Json`].
    pub fn parse(body: &[u8]) -> Result<Self, RcarError> {
        parse("attestation reply", body, MAX_BODY)
    }
}

impl JweResponse {
    /// Parses the reply to `GET /resource/…`.
    ///
    /// # Errors
    /// [`RcarError::TooLong`], [`RcarError::TooManyMembers`], then [`RcarError::Json`].
    pub fn parse(body: &[u8]) -> Result<Self, RcarError> {
        parse("resource reply", body, MAX_RESPONSE)
    }
}

impl InitData {
    /// Digest of the body under the algorithm that the body names: what the hardware signed.
    ///
    /// # Errors
    /// [`RcarError::InitData`] when the format is not TOML, the body is too long or no TOML, or
    /// the algorithm is not sha256, sha384 or sha512.
    pub fn digest(&self) -> Result<Vec<u8>, RcarError> {
        #[derive(Deserialize)]
        struct Head {
            algorithm: String,
        }
        let refused = |reason| RcarError::InitData { reason };
        if self.format != "toml" {
            return Err(refused("the format must be toml"));
        }
        if self.body.len() > MAX_INIT_DATA {
            return Err(refused("the body is longer than 512 KiB"));
        }
        let head: Head = toml::from_str(&self.body)
            .map_err(|_| refused("the body is not TOML with a member `algorithm`"))?;
        let algorithm = match head.algorithm.as_str() {
            "sha256" => &SHA256,
            "sha384" => &SHA384,
            "sha512" => &SHA512,
            _ => return Err(refused("the algorithm must be sha256, sha384 or sha512")),
        };
        Ok(digest(algorithm, self.body.as_bytes()).as_ref().to_vec())
    }
}

/// How many containers open, and how many commas stand, outside of strings.
fn structure(json: &[u8]) -> (usize, usize) {
    let (mut containers, mut elements) = (0, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => containers = usize::saturating_add(containers, 1),
            b',' if !in_string => elements = usize::saturating_add(elements, 1),
            _ => {}
        }
    }
    (containers, elements)
}

fn parse<T: DeserializeOwned>(
    message: &'static str,
    body: &[u8],
    limit: usize,
) -> Result<T, RcarError> {
    if body.len() > limit {
        return Err(RcarError::TooLong { message, got: body.len(), limit });
    }
    refuse_structure(message, body)?;
    serde_json::from_slice(body).map_err(|source| RcarError::Json { message, source })
}

/// JSON of another kind of message whose length was bounded by the caller, or what is wrong with it.
pub(crate) fn bounded_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    refuse_structure("message", body).map_err(|error| error.to_string())?;
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// As every body of RCAR: bounded in what it would become in memory.
pub(super) fn refuse_structure(message: &'static str, body: &[u8]) -> Result<(), RcarError> {
    match excess_of_structure(body) {
        None => Ok(()),
        Some((got, limit)) => Err(RcarError::TooManyMembers { message, got, limit }),
    }
}

/// How many containers or elements a JSON text has and how many it may have, when it has too many.
pub(crate) fn excess_of_structure(json: &[u8]) -> Option<(usize, usize)> {
    let (containers, elements) = structure(json);
    [(containers, MAX_CONTAINERS), (elements, MAX_ELEMENTS)]
        .into_iter()
        .find(|(got, limit)| got > limit)
}
