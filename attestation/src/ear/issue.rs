//! Issues a token: verified claims, what was appraised, a signature.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls_pki_types::CertificateDer;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::claims::{AzureHardwareClaims, Claims, TcbStatus};
use crate::ear::annotated::{TokenBinding, annotated_evidence};
use crate::ear::key::SignerKey;
use crate::ear::{PROFILE, Tier, TrustVector};
use crate::unix_time::UnixTime;
use crate::verifier::Verified;
use crate::verifier::chain::Link;

/// AR4SI: the hardware is genuine and supported.
const GENUINE_HARDWARE: i8 = 2;
/// AR4SI: genuine, and firmware or configuration has known weaknesses.
const UNSAFE_HARDWARE: i8 = 32;

/// Why no token was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The document is no PKCS#8 of a P-256 key.
    #[error("the token key is not the PKCS#8 form of a P-256 private key")]
    Key,
    /// The first certificate is not for the key.
    #[error("the first certificate of the token key's chain is for another key")]
    OtherKey,
    /// The system has no random bytes to give.
    #[error("the token can't be signed for want of random bytes")]
    Random,
    /// The claims can't be written as JSON.
    #[error("the claims can't be written as JSON")]
    Json,
}

/// A key that signs tokens, and the certificates that vouch for it.
pub struct TokenKey {
    key: EcdsaKeyPair,
    chain: Vec<CertificateDer<'static>>,
    random: SystemRandom,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKey").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

/// What a token says about the appraisal.
#[derive(Clone, Copy, Debug)]
pub enum TokenAppraisal<'a> {
    /// Claims are appraised for each key later. The token says what verification found about the
    /// hardware; its status is `none`, so that nobody takes it for more.
    ForEachKey,
    /// A policy gave this vector; its worst tier is the status.
    By {
        /// Name of the policy.
        policy_id: &'a str,
        /// What it found.
        vector: TrustVector,
        /// `ear.trustee.identifiers`, when the policy gave them.
        identifiers: Option<&'a Value>,
    },
}

/// From when until when.
#[derive(Clone, Copy, Debug)]
pub struct TokenTimes {
    /// When the Evidence was verified.
    pub issued: UnixTime,
    /// When the token ends.
    pub expires: UnixTime,
}

impl TokenKey {
    /// Makes a P-256 key that nobody vouches for.
    ///
    /// # Errors
    /// [`IssueError::Random`].
    pub fn generate() -> Result<Self, IssueError> {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            .map_err(|_| IssueError::Random)?;
        let document = Zeroizing::new(document.as_ref().to_vec());
        Self::from_pkcs8(&document, Vec::new())
    }

    /// Takes a P-256 key in PKCS#8 and its chain, leaf first; an empty chain is none.
    ///
    /// # Errors
    /// [`IssueError::Key`], [`OtherKey`](IssueError::OtherKey).
    pub fn from_pkcs8(
        document: &[u8],
        chain: Vec<CertificateDer<'static>>,
    ) -> Result<Self, IssueError> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document, &random)
            .map_err(|_| IssueError::Key)?;
        if let Some(leaf) = chain.first() {
            let certified = Link::parse(leaf).ok();
            let certified = certified.as_ref().and_then(SignerKey::of_certificate);
            if certified != Some(SignerKey::p256(key.public_key().as_ref())) {
                return Err(IssueError::OtherKey);
            }
        }
        Ok(Self { key, chain, random })
    }

    /// The public half as JWK, with `x5c` when there is a chain.
    #[must_use]
    pub fn jwk(&self) -> Value {
        // SEC 1 §2.3.3: 04 ‖ X ‖ Y.
        let point = self.key.public_key().as_ref().get(1..).unwrap_or_default();
        let (x, y) = point.split_at(point.len() / 2);
        let mut jwk = json!({
            "alg": "ES256",
            "crv": "P-256",
            "kty": "EC",
            "x": URL_SAFE_NO_PAD.encode(x),
            "y": URL_SAFE_NO_PAD.encode(y),
        });
        if let (false, Value::Object(members)) = (self.chain.is_empty(), &mut jwk) {
            let chain = self.chain.iter().map(|der| STANDARD.encode(der)).collect();
            members.insert("x5c".to_owned(), chain);
        }
        jwk
    }

    /// The compact JWS over a payload.
    ///
    /// # Errors
    /// [`IssueError::Random`], [`Json`](IssueError::Json).
    fn sign(&self, payload: &Value) -> Result<String, IssueError> {
        let header = json!({ "typ": "JWT", "alg": "ES256", "jwk": self.jwk() });
        let [header, payload] = [&header, payload].map(serde_json::to_vec);
        let header = URL_SAFE_NO_PAD.encode(header.map_err(|_| IssueError::Json)?);
        let payload = URL_SAFE_NO_PAD.encode(payload.map_err(|_| IssueError::Json)?);
        let input = format!("{header}.{payload}");
        let signature =
            self.key.sign(&self.random, input.as_bytes()).map_err(|_| IssueError::Random)?;
        Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Issues a token for verified claims. `jti` are fresh random bytes: two tokens are never the same.
///
/// # Errors
/// [`IssueError::Random`], [`Json`](IssueError::Json).
pub fn issue(
    key: &TokenKey,
    issuer: &str,
    verified: &Verified<Claims>,
    binding: &TokenBinding<'_>,
    appraisal: TokenAppraisal<'_>,
    times: TokenTimes,
    jti: [u8; 16],
) -> Result<String, IssueError> {
    let evidence = annotated_evidence(verified.get(), binding);
    let submod = submod(verified.get(), evidence, appraisal);
    let mut submods = Map::new();
    submods.insert("cpu0".to_owned(), submod);
    key.sign(&payload(issuer, submods, times, jti))
}

/// The payload around appraisals: also what a resource policy sees as its input.
#[must_use]
pub fn payload(
    issuer: &str,
    submods: Map<String, Value>,
    times: TokenTimes,
    jti: [u8; 16],
) -> Value {
    json!({
        "eat_profile": PROFILE,
        "iat": times.issued.0,
        "exp": times.expires.0,
        "iss": issuer,
        "jti": hex::encode(jti),
        "ear.verifier-id": {
            "developer": "adyton",
            "build": concat!("adyton-attestation ", env!("CARGO_PKG_VERSION")),
        },
        "submods": submods,
    })
}

/// One appraisal as it stands in a token.
#[must_use]
pub fn submod(claims: &Claims, evidence: Value, appraisal: TokenAppraisal<'_>) -> Value {
    let (status, vector, policy_id, identifiers) = match appraisal {
        TokenAppraisal::ForEachKey => {
            (Tier::None, verified_only(claims), "adyton.appraised-for-each-key", None)
        }
        TokenAppraisal::By { policy_id, vector, identifiers } => {
            (vector.status(), vector, policy_id, identifiers)
        }
    };
    let mut submod = json!({
        "ear.status": status,
        "ear.trustworthiness-vector": vector,
        "ear.appraisal-policy-id": policy_id,
        "ear.veraison.annotated-evidence": evidence,
    });
    if let (Some(identifiers), Value::Object(members)) = (identifiers, &mut submod) {
        members.insert("ear.trustee.identifiers".to_owned(), identifiers.clone());
    }
    submod
}

/// What verification alone supports: genuine hardware, and how current its firmware is.
fn verified_only(claims: &Claims) -> TrustVector {
    let of_tdx = |status: TcbStatus| match status {
        TcbStatus::UpToDate => GENUINE_HARDWARE,
        TcbStatus::SwHardeningNeeded
        | TcbStatus::ConfigurationNeeded
        | TcbStatus::ConfigurationAndSwHardeningNeeded
        | TcbStatus::OutOfDate
        | TcbStatus::OutOfDateConfigurationNeeded
        | TcbStatus::TdRelaunchAdvised
        | TcbStatus::TdRelaunchAdvisedConfigurationNeeded => UNSAFE_HARDWARE,
    };
    // AMD has no status words: whether a TCB is current is for the appraisal to say.
    let hardware = match claims {
        Claims::Tdx(claims) => of_tdx(claims.tcb_status),
        Claims::Snp(_) => GENUINE_HARDWARE,
        Claims::AzSnpVtpm(claims) | Claims::AzTdxVtpm(claims) => match &claims.hardware {
            AzureHardwareClaims::Tdx(claims) => of_tdx(claims.tcb_status),
            AzureHardwareClaims::Snp(_) => GENUINE_HARDWARE,
        },
    };
    TrustVector { hardware, ..TrustVector::default() }
}
