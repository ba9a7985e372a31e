//! Secrets on their way to one TEE key: JWE with `ECDH-ES+A256KW` and `A256GCM`.
//!
//! Role: the KBS encrypts, the KBC decrypts. In: a [`TeePublicKey`] that was attested and a secret;
//! or a reply and the [`TeeKeyPair`]. Out: the five base64url members of a flattened JWE (RFC 7516
//! §7.2.2), or the secret in memory that is wiped. One algorithm of each kind; the header of the
//! peer chooses nothing. The AAD is the `protected` string as it was received, never a
//! re-serialisation.
//!
//! The header is compact, `alg` and `enc` first and the rest sorted, because CoCo clients compute
//! the AAD from their own re-serialisation in that order. Our members in it are authenticated:
//! `adyton.resource` says whose secret this is, `adyton.minimum-model-version` is the rollback
//! bound of its owner.
//!
//! Against: algorithm downgrade, invalid-curve points, cut tags, one resource's reply shown for
//! another's, and an old model shown with a valid key.

use std::collections::BTreeMap;

use aes_kw::{KeyInit as _, KwAes256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce as Iv, UnboundKey};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use zeroize::Zeroizing;

use super::limits::{MAX_PROTECTED, MAX_SECRET};
use super::message::JweResponse;
use super::resource::ResourcePath;
use super::tee_key::{Curve, KEY_ALGORITHM, TeeKeyError, TeeKeyPair, TeePublicKey};

/// The content encryption algorithm (RFC 7518 §5.3).
pub const CONTENT_ALGORITHM: &str = "A256GCM";

const IV_LEN: usize = 12;
const TAG_LEN: usize = 16;
const CEK_LEN: usize = 32;
/// RFC 3394 adds one 8-byte block.
const WRAPPED_CEK_LEN: usize = CEK_LEN + 8;
/// Our own header members start with this.
const OUR_PREFIX: &str = "adyton.";

/// What a reply says beside the secret, authenticated with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JweExtras {
    /// Which resource this is. A KBS of ours always says so.
    pub resource: Option<ResourcePath>,
    /// The lowest model version that the key's owner still allows.
    pub minimum_model_version: Option<u64>,
}

/// What a reply says about the resource it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceBinding {
    /// It names the resource that was asked for.
    Confirmed,
    /// It names none. A foreign KBS could have answered with another resource of this TEE key.
    NotStated,
}

/// A secret that was unwrapped.
pub struct Unwrapped {
    /// The secret. Wiped when dropped.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// The lowest model version that the key's owner still allows, when the KBS says one.
    pub minimum_model_version: Option<u64>,
    /// Whether the reply names the resource.
    pub resource: ResourceBinding,
}

impl std::fmt::Debug for Unwrapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unwrapped")
            .field("minimum_model_version", &self.minimum_model_version)
            .field("resource", &self.resource)
            .finish_non_exhaustive()
    }
}

/// Why a reply was refused, or could not be made.
#[derive(Debug, Error)]
pub enum JweError {
    /// A member is longer than its bound and was not decoded.
    #[error("member {member} of the reply has {got} characters, allowed are {limit}")]
    TooLong {
        /// Which member.
        member: &'static str,
        /// Its length in characters.
        got: usize,
        /// The bound in characters.
        limit: usize,
    },
    /// The secret is longer than a reply may carry.
    #[error("the secret has {got} bytes, a reply carries at most {MAX_SECRET}")]
    SecretTooLong {
        /// Its length in bytes.
        got: usize,
    },
    /// A member is not unpadded, canonical base64url.
    #[error("member {member} of the reply is not unpadded base64url")]
    Base64 {
        /// Which member.
        member: &'static str,
    },
    /// A member decodes to the wrong number of bytes.
    #[error("member {member} of the reply has {got} bytes, expected exactly {expected}")]
    Length {
        /// Which member.
        member: &'static str,
        /// Bytes found.
        got: usize,
        /// Bytes it must have.
        expected: usize,
    },
    /// The protected header is not JSON with the members it must have.
    #[error("the protected header of the reply is malformed")]
    Header(#[source] serde_json::Error),
    /// The header has a member that would change the meaning of the reply.
    #[error("the protected header has member {member}, which is not supported here")]
    Member {
        /// Its name, shortened.
        member: String,
    },
    /// The reply carries additional authenticated data, which the protocol does not have.
    #[error("the reply has a member aad, which the protocol does not have")]
    Aad,
    /// Another key management algorithm.
    #[error("key management algorithm {got} is refused; expected {KEY_ALGORITHM}")]
    KeyAlgorithm {
        /// What was found, shortened.
        got: String,
    },
    /// Another content encryption algorithm.
    #[error("content encryption algorithm {got} is refused; expected {CONTENT_ALGORITHM}")]
    ContentAlgorithm {
        /// What was found, shortened.
        got: String,
    },
    /// The ephemeral key is refused: not on its curve, wrong length, unknown curve.
    #[error("the ephemeral key of the reply is refused")]
    EphemeralKey(#[source] TeeKeyError),
    /// The ephemeral key is on another curve than the TEE key.
    #[error("the reply is for a key on {got}, the TEE key is on {expected}")]
    Curve {
        /// The curve of the ephemeral key.
        got: &'static str,
        /// The curve of the TEE key.
        expected: &'static str,
    },
    /// The content encryption key does not unwrap: the reply is for another TEE key, or altered.
    #[error("the wrapped key of the reply does not open with this TEE key")]
    WrappedKey,
    /// The secret does not authenticate.
    #[error("the reply does not authenticate")]
    Content,
    /// The reply is genuine and for another resource than the one that was asked for.
    #[error("asked for {asked}, the reply is for {got}")]
    Resource {
        /// The resource that was asked for.
        asked: Box<ResourcePath>,
        /// The resource that the reply names.
        got: Box<ResourcePath>,
    },
    /// The system has no random bytes to give.
    #[error("the system's random number generator failed")]
    Random,
}

/// The protected header. Field order is wire order; `others` is sorted by its type.
#[derive(Serialize, Deserialize)]
struct ProtectedHeader {
    alg: String,
    enc: String,
    #[serde(
        rename = "adyton.minimum-model-version",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    minimum_model_version: Option<u64>,
    #[serde(rename = "adyton.resource", default, skip_serializing_if = "Option::is_none")]
    resource: Option<ResourcePath>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epk: Option<EphemeralKey>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// The ephemeral key in the header; field order is wire order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EphemeralKey {
    pub(super) crv: String,
    pub(super) kty: String,
    pub(super) x: String,
    pub(super) y: String,
}

impl EphemeralKey {
    fn of(key: &TeePublicKey) -> Self {
        let (x, y) = key.coordinates();
        Self { crv: key.curve().as_str().to_owned(), kty: "EC".to_owned(), x, y }
    }
}

/// Encrypts a secret to an attested TEE key.
///
/// # Errors
/// [`JweError::SecretTooLong`], [`JweError::Random`].
pub fn encrypt(
    key: &TeePublicKey,
    plaintext: &[u8],
    extras: &JweExtras,
) -> Result<JweResponse, JweError> {
    seal_with_header(key, plaintext, |epk| {
        let header = ProtectedHeader {
            alg: KEY_ALGORITHM.to_owned(),
            enc: CONTENT_ALGORITHM.to_owned(),
            minimum_model_version: extras.minimum_model_version,
            resource: extras.resource.clone(),
            epk: Some(epk),
            others: BTreeMap::new(),
        };
        serde_json::to_vec(&header).map_err(JweError::Header)
    })
}

/// Encrypts under whatever header `make_header` makes of the ephemeral key. [`encrypt`] is its one
/// user in the product; tests make hostile headers with it.
pub(super) fn seal_with_header(
    key: &TeePublicKey,
    plaintext: &[u8],
    make_header: impl FnOnce(EphemeralKey) -> Result<Vec<u8>, JweError>,
) -> Result<JweResponse, JweError> {
    if plaintext.len() > MAX_SECRET {
        return Err(JweError::SecretTooLong { got: plaintext.len() });
    }
    let ephemeral = TeeKeyPair::generate_on(key.curve()).map_err(|_| JweError::Random)?;
    let mut cek = Zeroizing::new([0_u8; CEK_LEN]);
    getrandom::fill(cek.as_mut_slice()).map_err(|_| JweError::Random)?;
    let mut iv = [0_u8; IV_LEN];
    getrandom::fill(&mut iv).map_err(|_| JweError::Random)?;

    let z = ephemeral.agree(key).ok_or(JweError::WrappedKey)?;
    let kek = key_encryption_key(&z);
    let mut wrapped = [0_u8; WRAPPED_CEK_LEN];
    KwAes256::new((&*kek).into())
        .wrap_key(cek.as_slice(), &mut wrapped)
        .map_err(|_| JweError::WrappedKey)?;
    let protected = URL_SAFE_NO_PAD.encode(make_header(EphemeralKey::of(&ephemeral.public()))?);

    // Encrypted in place: after `seal` no plaintext is left in the buffer.
    let mut buffer = Zeroizing::new(plaintext.to_vec());
    let tag = content_cipher(&cek)?
        .seal_in_place_separate_tag(
            Iv::assume_unique_for_key(iv),
            Aad::from(protected.as_bytes()),
            &mut buffer,
        )
        .map_err(|_| JweError::Content)?;
    Ok(JweResponse {
        encrypted_key: URL_SAFE_NO_PAD.encode(wrapped),
        iv: URL_SAFE_NO_PAD.encode(iv),
        ciphertext: URL_SAFE_NO_PAD.encode(&*buffer),
        tag: URL_SAFE_NO_PAD.encode(tag.as_ref()),
        protected,
        aad: None,
    })
}

impl TeeKeyPair {
    /// Decrypts a reply that was asked for as `expected`.
    ///
    /// 1. `aad` is absent. From here on each member is bounded before it is decoded.
    /// 2. Header: algorithms from a list of one each, no member that would change the meaning, the
    ///    ephemeral key on our curve.
    /// 3. IV, tag and wrapped key have their exact lengths.
    /// 4. Key agreement and unwrapping.
    /// 5. The secret authenticates.
    /// 6. The resource that the reply names, if it names one, is the one that was asked for.
    ///
    /// # Errors
    /// By step: 1. [`JweError::Aad`]; 2. [`Header`](JweError::Header),
    /// [`Member`](JweError::Member), [`KeyAlgorithm`](JweError::KeyAlgorithm),
    /// [`ContentAlgorithm`](JweError::ContentAlgorithm), [`EphemeralKey`](JweError::EphemeralKey),
    /// [`Curve`](JweError::Curve); 3. [`Length`](JweError::Length); 4.
    /// [`WrappedKey`](JweError::WrappedKey); 5. [`Content`](JweError::Content); 6.
    /// [`Resource`](JweError::Resource); and where a member is decoded
    /// [`TooLong`](JweError::TooLong) or [`Base64`](JweError::Base64).
    pub fn decrypt(
        &self,
        reply: &JweResponse,
        expected: &ResourcePath,
    ) -> Result<Unwrapped, JweError> {
        // 1.
        if reply.aad.is_some() {
            return Err(JweError::Aad);
        }
        // 2.
        let header = parse_header(&reply.protected)?;
        let ephemeral = ephemeral_key(header.epk.as_ref())?;
        let ours = self.curve();
        //= attestation/SPEC.md#3.4
        //# A client MUST refuse an ephemeral key on another curve than its own or off its curve.
        if ephemeral.curve() != ours {
            return Err(JweError::Curve {
                got: ephemeral.curve().as_str(),
                expected: ours.as_str(),
            });
        }
        // 3.
        let iv: [u8; IV_LEN] = exact("iv", &reply.iv)?;
        let tag: [u8; TAG_LEN] = exact("tag", &reply.tag)?;
        let wrapped: [u8; WRAPPED_CEK_LEN] = exact("encrypted_key", &reply.encrypted_key)?;
        let mut content = Zeroizing::new(bounded("ciphertext", &reply.ciphertext, MAX_SECRET)?);
        // 4.
        let z = self.agree(&ephemeral).ok_or(JweError::WrappedKey)?;
        let cek = unwrap_content_key(&key_encryption_key(&z), &wrapped)?;
        // 5.
        open_content(&cek, iv, reply.protected.as_bytes(), tag, &mut content)?;
        // 6.
        let resource = match header.resource {
            //= attestation/SPEC.md#3.4
            //# A client MUST refuse a reply whose `adyton.resource` differs from the resource it asked for.
            Some(got) if got == *expected => ResourceBinding::Confirmed,
            Some(got) => {
                let (asked, got) = (Box::new(expected.clone()), Box::new(got));
                return Err(JweError::Resource { asked, got });
            }
            None => ResourceBinding::NotStated,
        };
        Ok(Unwrapped {
            plaintext: content,
            minimum_model_version: header.minimum_model_version,
            resource,
        })
    }
}

fn parse_header(protected: &str) -> Result<ProtectedHeader, JweError> {
    let json = bounded("protected", protected, MAX_PROTECTED / 4 * 3)?;
    let header: ProtectedHeader = serde_json::from_slice(&json).map_err(JweError::Header)?;
    // `crit` and `zip` change the meaning of the whole; `apu` and `apv` enter the key derivation,
    // where the protocol has them empty; a member of ours that this version does not know could
    // restrict the use of the secret. RFC 7516 §4 has other unknown members ignored.
    let meaningful = |name: &&String| {
        matches!(name.as_str(), "crit" | "zip" | "apu" | "apv" | "b64")
            || name.starts_with(OUR_PREFIX)
    };
    if let Some(member) = header.others.keys().find(meaningful) {
        return Err(JweError::Member { member: shortened(member) });
    }
    if header.alg != KEY_ALGORITHM {
        return Err(JweError::KeyAlgorithm { got: shortened(&header.alg) });
    }
    if header.enc != CONTENT_ALGORITHM {
        return Err(JweError::ContentAlgorithm { got: shortened(&header.enc) });
    }
    Ok(header)
}

fn ephemeral_key(epk: Option<&EphemeralKey>) -> Result<TeePublicKey, JweError> {
    let refused = JweError::EphemeralKey;
    let epk = epk.ok_or(refused(TeeKeyError::Member { member: "epk" }))?;
    if epk.kty != "EC" {
        return Err(refused(TeeKeyError::KeyType { got: shortened(&epk.kty) }));
    }
    let curve = Curve::parse(&epk.crv).map_err(refused)?;
    TeePublicKey::from_coordinates(curve, &epk.x, &epk.y).map_err(refused)
}

/// Concat KDF (NIST SP 800-56A §5.8.2.1) as RFC 7518 §4.6.2 uses it, for 256 bits: one round of
/// SHA-256 over counter, Z, AlgorithmID, empty PartyUInfo and PartyVInfo, and the length in bits.
fn key_encryption_key(z: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut hash = Context::new(&SHA256);
    hash.update(&1_u32.to_be_bytes());
    hash.update(z);
    hash.update(&(KEY_ALGORITHM.len() as u32).to_be_bytes());
    hash.update(KEY_ALGORITHM.as_bytes());
    hash.update(&0_u32.to_be_bytes());
    hash.update(&0_u32.to_be_bytes());
    hash.update(&256_u32.to_be_bytes());
    let mut kek = Zeroizing::new([0; 32]);
    for (to, from) in kek.iter_mut().zip(hash.finish().as_ref()) {
        *to = *from;
    }
    kek
}

/// RFC 3394 §2.2.2, for a key of 256 bits under a key of 256 bits.
pub(super) fn unwrap_content_key(
    kek: &[u8; 32],
    wrapped: &[u8; WRAPPED_CEK_LEN],
) -> Result<Zeroizing<[u8; CEK_LEN]>, JweError> {
    let mut cek = Zeroizing::new([0; CEK_LEN]);
    KwAes256::new(kek.into())
        .unwrap_key(wrapped, cek.as_mut_slice())
        .map_err(|_| JweError::WrappedKey)?;
    Ok(cek)
}

/// Opens the content in place. On failure the bytes must not be used.
pub(super) fn open_content(
    cek: &Zeroizing<[u8; CEK_LEN]>,
    iv: [u8; IV_LEN],
    aad: &[u8],
    tag: [u8; TAG_LEN],
    content: &mut [u8],
) -> Result<(), JweError> {
    content_cipher(cek)?
        .open_in_place_separate_tag(
            Iv::assume_unique_for_key(iv),
            Aad::from(aad),
            tag.into(),
            content,
            0..,
        )
        .map(drop)
        .map_err(|_| JweError::Content)
}

fn content_cipher(cek: &Zeroizing<[u8; CEK_LEN]>) -> Result<LessSafeKey, JweError> {
    // Only a key of the wrong length is refused, and the type excludes that.
    let key = UnboundKey::new(&AES_256_GCM, cek.as_slice()).map_err(|_| JweError::Content)?;
    Ok(LessSafeKey::new(key))
}

fn bounded(member: &'static str, text: &str, max_bytes: usize) -> Result<Vec<u8>, JweError> {
    let limit = max_bytes.div_ceil(3).saturating_mul(4);
    if text.len() > limit {
        return Err(JweError::TooLong { member, got: text.len(), limit });
    }
    URL_SAFE_NO_PAD.decode(text).map_err(|_| JweError::Base64 { member })
}

fn exact<const N: usize>(member: &'static str, text: &str) -> Result<[u8; N], JweError> {
    let bytes = bounded(member, text, 256)?;
    let got = bytes.len();
    bytes.try_into().map_err(|_| JweError::Length { member, got, expected: N })
}

/// At most 64 characters of what a peer sent, for an error text.
fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}
