//! AWS signature version 4: who may ask at all.
//!
//! ```text
//!  Request ─ authenticate(credentials, now) ─► Authenticated      signed by a holder of our secret, now
//! ```
//!
//! In: a [`Request`], our [`Credentials`], the time. Out: an [`Authenticated`] request, which nothing else can
//! make. It does not know buckets or objects. Requests have no body, so only two payload digests are right.
//! Against: neighbours in the pod that have the port but not the credentials; signatures made for another
//! host, another time or another service; fields that somebody adds to a signed request.

mod claim;
mod time;

use adyton_sealed_weights::LockedMemory;
use ring::{digest, hmac};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::Refusal;
use crate::limits::MAX_SKEW_SECONDS;
use crate::request::Request;
use claim::{Claim, Place};

pub use time::UnixSeconds;

/// SHA-256 of no bytes.
const EMPTY_PAYLOAD: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
const SECRET_BYTES: usize = 40;
const ACCESS_KEY_BYTES: usize = 20;

/// The one pair of access key and secret key; new with each start.
pub struct Credentials {
    access_key: String,
    secret: LockedMemory,
}

/// Why no credentials could be made.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// No randomness.
    #[error("the kernel gave no random bytes")]
    Random(#[source] getrandom::Error),
    /// No memory for a secret.
    #[error("the secret key cannot be kept in locked memory")]
    Memory(#[source] adyton_sealed_weights::locked_memory::LockedMemoryError),
}

impl Credentials {
    /// A random pair: 100 bits of access key, 200 bits of secret key.
    ///
    /// # Errors
    /// [`CredentialsError`]
    pub fn generate() -> Result<Self, CredentialsError> {
        const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let mut random = Zeroizing::new([0; ACCESS_KEY_BYTES + SECRET_BYTES]);
        getrandom::fill(random.as_mut()).map_err(CredentialsError::Random)?;
        for byte in random.iter_mut() {
            *byte = *LETTERS.get(usize::from(*byte % 32)).unwrap_or(&b'A');
        }
        let (access_key, secret) = random.split_at_mut(ACCESS_KEY_BYTES);
        let access_key: String = access_key.iter().copied().map(char::from).collect();
        Self::from_parts(&access_key, secret)
    }

    /// A pair that exists already, as a client has it. The secret is zeroed where it came from.
    ///
    /// # Errors
    /// [`CredentialsError::Memory`]
    pub fn from_parts(access_key: &str, secret: &mut [u8]) -> Result<Self, CredentialsError> {
        let secret = LockedMemory::take(secret).map_err(CredentialsError::Memory)?;
        Ok(Self { access_key: access_key.to_owned(), secret })
    }

    /// The access key, which is no secret.
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// The secret key, for the credentials file and the signature.
    pub fn expose_secret(&self) -> &[u8] {
        self.secret.expose()
    }

    fn signing_key(&self, claim: &Claim) -> hmac::Key {
        let mut key = Zeroizing::new(Vec::with_capacity(4 + SECRET_BYTES));
        key.extend_from_slice(b"AWS4");
        key.extend_from_slice(self.secret.expose());
        let mut key = hmac::sign(&sha256_key(&key), claim.date.as_bytes());
        for part in [claim.region.as_str(), "s3", "aws4_request"] {
            key = hmac::sign(&sha256_key(key.as_ref()), part.as_bytes());
        }
        sha256_key(key.as_ref())
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Credentials");
        shown.field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

fn sha256_key(bytes: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, bytes)
}

/// A request that was signed with our secret, for this time and for what it asks.
#[derive(Debug)]
pub struct Authenticated(Request);

impl Authenticated {
    fn assertion(request: Request) -> Self {
        Self(request)
    }

    /// The request.
    pub fn request(&self) -> &Request {
        &self.0
    }
}

/// Verifies the signature in the Authorization field or in the query.
///
/// # Errors
/// The first of [`SecurityToken`](Refusal::SecurityToken), [`Unsigned`](Refusal::Unsigned),
/// [`SignedTwice`](Refusal::SignedTwice), [`Algorithm`](Refusal::Algorithm),
/// [`Authorization`](Refusal::Authorization), [`Date`](Refusal::Date), [`Expires`](Refusal::Expires),
/// [`AccessKey`](Refusal::AccessKey), [`Skew`](Refusal::Skew), [`Expired`](Refusal::Expired),
/// [`Payload`](Refusal::Payload), [`NotSigned`](Refusal::NotSigned), [`Signature`](Refusal::Signature).
pub fn authenticate(
    request: Request,
    credentials: &Credentials,
    now: UnixSeconds,
) -> Result<Authenticated, Refusal> {
    let claim = Claim::of(&request)?;
    let known = claim.access_key.as_bytes().ct_eq(credentials.access_key.as_bytes());
    if !bool::from(known) {
        return Err(Refusal::AccessKey);
    }
    verify_time(&claim, now)?;
    let payload = payload_digest(&request, &claim)?;
    verify_signed_headers(&request, &claim)?;
    let text = string_to_sign(&request, &claim, payload);
    // Compares in constant time.
    hmac::verify(&credentials.signing_key(&claim), text.as_bytes(), &claim.signature)
        .map_err(|_| Refusal::Signature)?;
    Ok(Authenticated::assertion(request))
}

fn verify_time(claim: &Claim, now: UnixSeconds) -> Result<(), Refusal> {
    let signed = claim.signed_at;
    match claim.place {
        Place::Header => {
            let seconds = now.0.abs_diff(signed.0);
            if seconds > MAX_SKEW_SECONDS {
                return Err(Refusal::Skew { seconds });
            }
        }
        Place::Query { expires } => {
            // Signed for a time to come is skew as well; signed long ago is what expires.
            let ahead = signed.0.saturating_sub(now.0);
            if ahead > MAX_SKEW_SECONDS {
                return Err(Refusal::Skew { seconds: ahead });
            }
            if now.0.saturating_sub(signed.0) > expires {
                return Err(Refusal::Expired);
            }
        }
    }
    Ok(())
}

fn payload_digest(request: &Request, claim: &Claim) -> Result<&'static str, Refusal> {
    match (request.header("x-amz-content-sha256"), claim.place) {
        (Some(EMPTY_PAYLOAD), _) => Ok(EMPTY_PAYLOAD),
        (Some(UNSIGNED_PAYLOAD), _) | (None, Place::Query { .. }) => Ok(UNSIGNED_PAYLOAD),
        _ => Err(Refusal::Payload),
    }
}

/// Host and every `x-amz-` field are signed; every signed field is there.
fn verify_signed_headers(request: &Request, claim: &Claim) -> Result<(), Refusal> {
    let not_signed = |name: &str| Refusal::NotSigned { name: name.to_owned() };
    let must = |name: &&str| *name == "host" || name.starts_with("x-amz-");
    for name in request.header_names().filter(must) {
        if !claim.signed_headers.iter().any(|signed| signed == name) {
            return Err(not_signed(name));
        }
    }
    match claim.signed_headers.iter().find(|name| request.header(name).is_none()) {
        Some(missing) => Err(not_signed(missing)),
        None => Ok(()),
    }
}

fn string_to_sign(request: &Request, claim: &Claim, payload: &str) -> String {
    let canonical = canonical_request(request, claim, payload);
    format!(
        "AWS4-HMAC-SHA256\n{}\n{}/{}/s3/aws4_request\n{}",
        claim.time,
        claim.date,
        claim.region,
        hex::encode(digest::digest(&digest::SHA256, canonical.as_bytes())),
    )
}

fn canonical_request(request: &Request, claim: &Claim, payload: &str) -> String {
    let leave_out = match claim.place {
        Place::Header => None,
        Place::Query { .. } => Some("X-Amz-Signature"),
    };
    let mut text = format!(
        "{}\n{}\n{}\n",
        request.method().as_str(),
        request.target().canonical_path(),
        request.target().canonical_query(leave_out),
    );
    for name in &claim.signed_headers {
        let value = request.header(name).unwrap_or_default();
        let words: Vec<_> = value.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
        text.push_str(&format!("{name}:{}\n", words.join(" ")));
    }
    text.push_str(&format!("\n{}\n{payload}", claim.signed_headers.join(";")));
    text
}

/// Signs as a client does, so that tests and the load client need no other implementation.
pub mod client {
    use super::{Claim, Credentials, hmac, payload_digest, string_to_sign};
    use crate::error::Refusal;
    use crate::request::Request;

    /// The signature of a head whose Authorization field (or `X-Amz-Signature`) holds 64 zeros in its place.
    ///
    /// # Errors
    /// Those of reading the head and its claim.
    pub fn signature(head: &[u8], credentials: &Credentials) -> Result<String, Refusal> {
        let request = Request::parse(head)?;
        let claim = Claim::of(&request)?;
        let text = string_to_sign(&request, &claim, payload_digest(&request, &claim)?);
        Ok(hex::encode(hmac::sign(&credentials.signing_key(&claim), text.as_bytes())))
    }
}

#[cfg(test)]
mod tests;
