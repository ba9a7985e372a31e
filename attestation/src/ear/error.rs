//! Why a token was refused.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use crate::reason::Reason;
use crate::unix_time::UnixTime;

/// A refusal of [`verify`](super::verify()), in the order in which they are looked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenRefusal {
    /// More bytes than [`limits`](crate::limits) allow.
    #[error("token has {got} bytes; at most {limit} are read")]
    TooLong {
        /// Its size in bytes.
        got: usize,
        /// The bound in bytes.
        limit: usize,
    },
    /// Not three parts in unpadded base64url.
    #[error("token is not the compact form of a JWS")]
    Compact,
    /// Header or payload has too many members, or is no JSON object of the expected shape.
    #[error("{part} of the token is not what an EAR has: {detail}")]
    Json {
        /// `header` or `payload`.
        part: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The header asks for an algorithm that is not on the list.
    #[error("token is signed with {got}")]
    Algorithm {
        /// The algorithm that the header names.
        got: String,
    },
    /// The header says that it has members which must be understood (`crit`).
    #[error("token has critical header members")]
    Critical,
    /// The header carries no key and names none.
    #[error("token does not name the key that signed it")]
    NoKey,
    /// The key in the header is malformed, private, or for another algorithm.
    #[error("key in the token's header is not usable: {member}")]
    Jwk {
        /// The member at fault.
        member: &'static str,
    },
    /// The header carries a key that nobody but the token itself vouches for.
    #[error("key in the token's header has no certificate chain")]
    SelfAsserted,
    /// `x5c` is not 1 to 6 certificates in base64.
    #[error("certificate chain of the token is malformed")]
    Chain,
    /// The leaf certificate is for another key than the one in the header.
    #[error("certificate of the token is for another key")]
    OtherKey,
    /// The chain does not lead to a configured certificate.
    #[error("certificate chain of the token does not lead to a trusted certificate: {detail}")]
    Untrusted {
        /// Which link, or which rule.
        detail: String,
    },
    /// No configured key has the id that the header names.
    #[error("no trusted key has the id {kid}")]
    UnknownKid {
        /// The id.
        kid: String,
    },
    /// The signature is wrong.
    #[error("signature of the token is invalid")]
    Signature,
    /// Another profile than Trustee's.
    #[error("token has profile {got}")]
    Profile {
        /// `eat_profile`.
        got: String,
    },
    /// Another issuer than the expected one.
    #[error("token was issued by {got}")]
    Issuer {
        /// The expected issuer.
        expected: String,
        /// `iss`, or nothing.
        got: String,
    },
    /// The token's time is over.
    #[error("token expired at {expires}")]
    Expired {
        /// `exp`.
        expires: UnixTime,
        /// The verifier's time.
        now: UnixTime,
    },
    /// The token is from the future (`iat`, `nbf`).
    #[error("token is valid from {from}")]
    NotYetValid {
        /// The later of `iat` and `nbf`.
        from: UnixTime,
        /// The verifier's time.
        now: UnixTime,
    },
    /// The token lives longer than is accepted.
    #[error("token lives for {got} seconds")]
    Lifetime {
        /// `exp` less `iat`, in seconds.
        got: u64,
        /// The bound, in seconds.
        limit: u64,
    },
    /// No appraisal, or too many.
    #[error("token has {got} appraisals")]
    Submods {
        /// How many.
        got: usize,
    },
    /// A status that is better than the vector under it.
    #[error("status of {submod} is {status}, its vector says {vector}")]
    Status {
        /// The appraisal.
        submod: String,
        /// The status.
        status: &'static str,
        /// The tier of the vector.
        vector: &'static str,
    },
    /// The token is about another TEE key, or about none.
    #[error("token is bound to another TEE key")]
    TeeKey {
        /// Where the other key stands, or that there is none.
        at: String,
    },
}

impl TokenRefusal {
    /// Stable, dotted, for programs. Listed in `SPEC.md`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "token.too-long",
            Self::Compact => "token.compact",
            Self::Json { .. } => "token.malformed",
            Self::Algorithm { .. } => "token.algorithm",
            Self::Critical => "token.critical",
            Self::NoKey => "token.no-key",
            Self::Jwk { .. } => "token.jwk",
            Self::SelfAsserted => "token.self-asserted-key",
            Self::Chain => "token.chain",
            Self::OtherKey => "token.other-key",
            Self::Untrusted { .. } => "token.untrusted",
            Self::UnknownKid { .. } => "token.unknown-kid",
            Self::Signature => "token.signature",
            Self::Profile { .. } => "token.profile",
            Self::Issuer { .. } => "token.issuer",
            Self::Expired { .. } => "token.expired",
            Self::NotYetValid { .. } => "token.not-yet-valid",
            Self::Lifetime { .. } => "token.lifetime",
            Self::Submods { .. } => "token.submods",
            Self::Status { .. } => "token.status",
            Self::TeeKey { .. } => "token.tee-key",
        }
    }

    /// The refusal as a [`Reason`].
    #[must_use]
    pub fn reason(&self) -> Reason {
        let (claim, expected, remedy) = match self {
            Self::TooLong { limit, .. } => {
                ("token", format!("at most {limit} bytes"), "issue tokens without device evidence")
            }
            Self::Compact | Self::Json { .. } => {
                ("token", "an EAR as Trustee writes it, in a JWT".to_owned(), RESEND)
            }
            Self::Algorithm { .. } => ("alg", "ES256 or ES384".to_owned(), SIGN_EC),
            Self::Critical => ("crit", "no critical members".to_owned(), SIGN_EC),
            Self::NoKey => ("jwk, kid", "a key with x5c, or the id of a key".to_owned(), SIGN_EC),
            Self::Jwk { .. } => {
                ("jwk", "an EC key on P-256 (ES256) or P-384 (ES384)".to_owned(), SIGN_EC)
            }
            Self::SelfAsserted => (
                "x5c",
                "a chain to a trusted certificate".to_owned(),
                "give the Verifier a signing key with a certificate",
            ),
            Self::Chain | Self::Untrusted { .. } => (
                "x5c",
                "1 to 6 certificates that lead to a trusted one".to_owned(),
                "trust the CA of the token's signer, or refuse its tokens",
            ),
            Self::OtherKey => {
                ("x5c", "a leaf certificate for the key in `jwk`".to_owned(), "correct the signer")
            }
            Self::UnknownKid { .. } => {
                ("kid", "the id of a trusted key".to_owned(), "add the key to the JWK set")
            }
            Self::Signature => ("signature", "a signature by the named key".to_owned(), RESEND),
            Self::Profile { .. } => ("eat_profile", super::PROFILE.to_owned(), RESEND),
            Self::Issuer { expected, .. } => {
                ("iss", expected.clone(), "correct the expected issuer, or refuse its tokens")
            }
            Self::Expired { now, .. } => ("exp", format!("after {now}"), "attest again"),
            Self::NotYetValid { now, .. } => {
                ("iat, nbf", format!("not after {now}"), "set the clocks of both sides")
            }
            Self::Lifetime { limit, .. } => {
                ("exp", format!("at most {limit} seconds after iat"), "issue shorter tokens")
            }
            Self::Submods { .. } => ("submods", "1 to 64 appraisals".to_owned(), RESEND),
            Self::Status { vector, .. } => {
                ("ear.status", format!("{vector} or worse"), "do not trust this Verifier")
            }
            Self::TeeKey { .. } => {
                ("tee-pubkey", "the TEE key of this exchange".to_owned(), "attest again")
            }
        };
        Reason::new(
            self.code(),
            "token",
            claim,
            (expected, self.to_string().chars().take(300).collect::<String>()),
            remedy,
        )
    }
}

const RESEND: &str = "get a new token from the Verifier; if it came through a file, compare it";
const SIGN_EC: &str = "sign tokens with a P-256 key whose certificate stands in x5c";
