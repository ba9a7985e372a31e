//! The TEE key: born in the TEE, bound in the report data, used to unwrap secrets.
//!
//! Role: the KBC holds the pair, the KBS sees the public half as a JWK. In: random bytes, a JWK,
//! or PKCS#8 that the TEE itself kept. Out: points that lie on their curve and key agreement with
//! an ephemeral key of the peer. The secret half has no `Debug`, no `Clone`, no `Serialize`, and
//! is wiped when dropped. RSA is not offered: RSA1_5 is broken, and clients disagree on the digest
//! of OAEP. Against: invalid-curve points, algorithm downgrade, keys that leak through logs.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::elliptic_curve::Generate as _;
use p256::elliptic_curve::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use p256::elliptic_curve::sec1::ToSec1Point as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use zeroize::Zeroizing;

/// The key management algorithm of every TEE key we use (RFC 7518 §4.6).
pub const KEY_ALGORITHM: &str = "ECDH-ES+A256KW";

/// The curve of a TEE key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// NIST P-256, 32-byte coordinates. What CoCo clients use.
    P256,
    /// NIST P-521, 66-byte coordinates.
    P521,
}

impl Curve {
    /// The name in a JWK (`crv`).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P521 => "P-521",
        }
    }

    const fn coordinate_len(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P521 => 66,
        }
    }

    pub(super) fn parse(crv: &str) -> Result<Self, TeeKeyError> {
        match crv {
            "P-256" => Ok(Self::P256),
            "P-521" => Ok(Self::P521),
            other => Err(TeeKeyError::Curve { got: shortened(other) }),
        }
    }
}

/// Why a TEE key was refused.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum TeeKeyError {
    /// Not an elliptic-curve key.
    #[error(
        "TEE keys of type {got} are refused; expected EC with {KEY_ALGORITHM} on P-256 or P-521 \
         (RSA is not offered: RSA1_5 is broken and clients disagree on the digest of OAEP)"
    )]
    KeyType {
        /// The `kty` found, shortened.
        got: String,
    },
    /// A curve that the protocol does not have.
    #[error("TEE keys on curve {got} are refused; expected P-256 or P-521")]
    Curve {
        /// The `crv` found, shortened.
        got: String,
    },
    /// Another key management algorithm.
    #[error("TEE keys with algorithm {got} are refused; expected {KEY_ALGORITHM}")]
    Algorithm {
        /// The `alg` found, shortened.
        got: String,
    },
    /// The JWK carries the private half.
    #[error("the TEE key carries a private member; a key that left the TEE is worthless")]
    Private,
    /// The JWK has a member that the protocol does not hash, so it could not be bound.
    #[error("the TEE key has a member that is not kty, crv, alg, x or y, and would not be bound")]
    UnknownMember,
    /// A member is missing or no string.
    #[error("the TEE key has no string member {member}")]
    Member {
        /// Which one.
        member: &'static str,
    },
    /// A coordinate is not base64url without padding.
    #[error("coordinate {member} of the TEE key is not unpadded base64url")]
    Base64 {
        /// `x` or `y`.
        member: &'static str,
    },
    /// A coordinate has the wrong length; it must be padded on the left with zeros.
    #[error("coordinate {member} of the TEE key has {got} bytes, expected exactly {expected}")]
    CoordinateLength {
        /// `x` or `y`.
        member: &'static str,
        /// Bytes found.
        got: usize,
        /// Bytes of a coordinate on this curve.
        expected: usize,
    },
    /// The point is not on the curve.
    #[error("the point is not on {curve}")]
    Point {
        /// The curve's name.
        curve: &'static str,
    },
    /// The PKCS#8 document is not a P-256 or P-521 private key.
    #[error("the document is not the PKCS#8 form of a P-256 or P-521 private key")]
    Pkcs8,
    /// The system has no random bytes to give.
    #[error("the system's random number generator failed")]
    Random,
}

/// The public half of a TEE key: a point on its curve.
#[derive(Clone, PartialEq, Eq)]
pub enum TeePublicKey {
    /// On P-256.
    P256(p256::PublicKey),
    /// On P-521.
    P521(Box<p521::PublicKey>),
}

impl TeePublicKey {
    /// The curve.
    #[must_use]
    pub const fn curve(&self) -> Curve {
        match self {
            Self::P256(_) => Curve::P256,
            Self::P521(_) => Curve::P521,
        }
    }

    /// Parses a JWK with exactly the members `kty`, `crv`, `alg`, `x`, `y`.
    ///
    /// # Errors
    /// In order: [`TeeKeyError::Private`], [`Member`](TeeKeyError::Member) of `kty`,
    /// [`KeyType`](TeeKeyError::KeyType), [`UnknownMember`](TeeKeyError::UnknownMember),
    /// [`Curve`](TeeKeyError::Curve), [`Algorithm`](TeeKeyError::Algorithm),
    /// [`Base64`](TeeKeyError::Base64), [`CoordinateLength`](TeeKeyError::CoordinateLength),
    /// [`Point`](TeeKeyError::Point).
    pub fn from_jwk(jwk: &serde_json::Map<String, serde_json::Value>) -> Result<Self, TeeKeyError> {
        // RFC 7518 §6.2.2, §6.3.2, §6.4: the private members of EC, RSA and symmetric keys.
        const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
        //= attestation/SPEC.md#3.3
        //# A key with a private member or with any other member MUST be refused.
        if jwk.keys().any(|name| PRIVATE.contains(&name.as_str())) {
            return Err(TeeKeyError::Private);
        }
        let member = |name: &'static str| {
            let value = jwk.get(name).and_then(serde_json::Value::as_str);
            value.ok_or(TeeKeyError::Member { member: name })
        };
        let kty = member("kty")?;
        if kty != "EC" {
            return Err(TeeKeyError::KeyType { got: shortened(kty) });
        }
        const KNOWN: [&str; 5] = ["kty", "crv", "alg", "x", "y"];
        if jwk.keys().any(|name| !KNOWN.contains(&name.as_str())) {
            return Err(TeeKeyError::UnknownMember);
        }
        let curve = Curve::parse(member("crv")?)?;
        let alg = member("alg")?;
        if alg != KEY_ALGORITHM {
            return Err(TeeKeyError::Algorithm { got: shortened(alg) });
        }
        Self::from_coordinates(curve, member("x")?, member("y")?)
    }

    /// Parses the two coordinates of a JWK (`x`, `y` as unpadded base64url).
    pub(super) fn from_coordinates(curve: Curve, x: &str, y: &str) -> Result<Self, TeeKeyError> {
        // SEC 1 §2.3.3: an uncompressed point is 04 ‖ X ‖ Y.
        let mut point = vec![4];
        for (member, text) in [("x", x), ("y", y)] {
            let expected = curve.coordinate_len();
            if text.len() > 256 {
                return Err(TeeKeyError::CoordinateLength { member, got: text.len(), expected });
            }
            let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TeeKeyError::Base64 { member })?;
            //= attestation/SPEC.md#3.3
            //# Coordinates MUST have exactly 32 or 66 bytes, in canonical unpadded base64url.
            if bytes.len() != expected {
                return Err(TeeKeyError::CoordinateLength { member, got: bytes.len(), expected });
            }
            point.extend_from_slice(&bytes);
        }
        let refused = TeeKeyError::Point { curve: curve.as_str() };
        // `from_sec1_bytes` refuses points that are not on the curve, and the identity.
        match curve {
            Curve::P256 => match p256::PublicKey::from_sec1_bytes(&point) {
                Ok(key) => Ok(Self::P256(key)),
                Err(_) => Err(refused),
            },
            Curve::P521 => match p521::PublicKey::from_sec1_bytes(&point) {
                Ok(key) => Ok(Self::P521(Box::new(key))),
                Err(_) => Err(refused),
            },
        }
    }

    /// The coordinates as unpadded base64url, each of the curve's full length.
    #[must_use]
    pub fn coordinates(&self) -> (String, String) {
        let point = match self {
            Self::P256(key) => key.to_sec1_point(false).as_bytes().to_vec(),
            Self::P521(key) => key.to_sec1_point(false).as_bytes().to_vec(),
        };
        // 04 ‖ X ‖ Y, both of the length of the curve.
        let mut halves = point.get(1..).unwrap_or_default().chunks(self.curve().coordinate_len());
        let mut next = || URL_SAFE_NO_PAD.encode(halves.next().unwrap_or_default());
        (next(), next())
    }

    /// The JWK with its members sorted, as it is hashed. No member needs an escape.
    pub(super) fn canonical_jwk(&self) -> String {
        let (x, y) = self.coordinates();
        let crv = self.curve().as_str();
        format!(
            "{{\"alg\":\"{KEY_ALGORITHM}\",\"crv\":\"{crv}\",\"kty\":\"EC\",\"x\":\"{x}\",\"y\":\"{y}\"}}"
        )
    }
}

impl fmt::Debug for TeePublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical_jwk())
    }
}

impl Serialize for TeePublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Jwk<'a> {
            kty: &'a str,
            crv: &'a str,
            alg: &'a str,
            x: String,
            y: String,
        }
        let (x, y) = self.coordinates();
        Jwk { kty: "EC", crv: self.curve().as_str(), alg: KEY_ALGORITHM, x, y }
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TeePublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let jwk = serde_json::Map::deserialize(deserializer)?;
        Self::from_jwk(&jwk).map_err(serde::de::Error::custom)
    }
}

/// A TEE key with its secret half. Wiped when dropped.
pub struct TeeKeyPair(Secret);

/// Boxed, so that handing the pair on does not leave copies of the scalar on the stack.
enum Secret {
    P256(Box<p256::SecretKey>),
    P521(Box<p521::SecretKey>),
}

impl TeeKeyPair {
    /// Makes a new key on P-256.
    ///
    /// # Errors
    /// [`TeeKeyError::Random`].
    pub fn generate() -> Result<Self, TeeKeyError> {
        Self::generate_on(Curve::P256)
    }

    /// Makes a new key on a curve of choice.
    ///
    /// # Errors
    /// [`TeeKeyError::Random`].
    pub fn generate_on(curve: Curve) -> Result<Self, TeeKeyError> {
        let secret = match curve {
            Curve::P256 => p256::SecretKey::try_generate().map(|key| Secret::P256(Box::new(key))),
            Curve::P521 => p521::SecretKey::try_generate().map(|key| Secret::P521(Box::new(key))),
        };
        secret.map(Self).map_err(|_| TeeKeyError::Random)
    }

    /// Reads the form of [`to_pkcs8`](Self::to_pkcs8).
    ///
    /// # Errors
    /// [`TeeKeyError::Pkcs8`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, TeeKeyError> {
        if let Ok(key) = p256::SecretKey::from_pkcs8_der(der) {
            return Ok(Self(Secret::P256(Box::new(key))));
        }
        match p521::SecretKey::from_pkcs8_der(der) {
            Ok(key) => Ok(Self(Secret::P521(Box::new(key)))),
            Err(_) => Err(TeeKeyError::Pkcs8),
        }
    }

    /// The secret key as PKCS#8 DER, for a file in a memory-backed folder of the same TEE, so that
    /// a restart of the container can prove that it is the same TEE.
    ///
    /// # Errors
    /// [`TeeKeyError::Pkcs8`] when the key cannot be encoded.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, TeeKeyError> {
        let document = match &self.0 {
            Secret::P256(key) => key.to_pkcs8_der(),
            Secret::P521(key) => key.to_pkcs8_der(),
        };
        let document = document.map_err(|_| TeeKeyError::Pkcs8)?;
        Ok(document.to_bytes())
    }

    /// The curve.
    #[must_use]
    pub const fn curve(&self) -> Curve {
        match &self.0 {
            Secret::P256(_) => Curve::P256,
            Secret::P521(_) => Curve::P521,
        }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> TeePublicKey {
        match &self.0 {
            Secret::P256(key) => TeePublicKey::P256(key.public_key()),
            Secret::P521(key) => TeePublicKey::P521(Box::new(key.public_key())),
        }
    }

    /// Z of RFC 7518 §4.6: the x-coordinate of the shared point in full length.
    /// `None` when the peer's key is on another curve.
    pub(super) fn agree(&self, peer: &TeePublicKey) -> Option<Zeroizing<Vec<u8>>> {
        match (&self.0, peer) {
            (Secret::P256(secret), TeePublicKey::P256(public)) => {
                Some(Zeroizing::new(secret.diffie_hellman(public).raw_secret_bytes().to_vec()))
            }
            (Secret::P521(secret), TeePublicKey::P521(public)) => {
                Some(Zeroizing::new(secret.diffie_hellman(public).raw_secret_bytes().to_vec()))
            }
            (Secret::P256(_), TeePublicKey::P521(_)) | (Secret::P521(_), TeePublicKey::P256(_)) => {
                None
            }
        }
    }
}

/// At most 32 characters of what a peer sent, for an error text.
fn shortened(text: &str) -> String {
    text.chars().take(32).collect()
}
