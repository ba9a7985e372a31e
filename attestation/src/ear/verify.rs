//! Verifies a token: whose it is, when, and what it says.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::ear::key::{Algorithm, Jwk, SignerKey};
use crate::ear::{PROFILE, Tier, TokenAnchors, TokenRefusal, TrustVector};
use crate::limits::{MAX_TOKEN_LEN, MAX_TOKEN_SUBMODS};
use crate::rcar::TeePublicKey;
use crate::unix_time::UnixTime;

/// What a verifier asks of a token besides a signature.
#[derive(Clone, Copy, Debug)]
pub struct TokenRules<'a> {
    /// Who must have issued it.
    pub issuer: ExpectedIssuer<'a>,
    /// To whom it must belong.
    pub tee_key: ExpectedTeeKey<'a>,
    /// Longest accepted time from `iat` to `exp`, in seconds.
    pub max_lifetime_seconds: u64,
    /// How far the issuer's clock may be ahead, in seconds. A token's end is never put off.
    pub leeway_seconds: u64,
}

/// The accepted `iss`.
#[derive(Clone, Copy, Debug)]
pub enum ExpectedIssuer<'a> {
    /// Whoever a trusted key signs for. The keys alone decide.
    WhoeverIsTrusted,
    /// This issuer.
    Named(&'a str),
}

/// The TEE key that the token must be bound to.
#[derive(Clone, Copy, Debug)]
pub enum ExpectedTeeKey<'a> {
    /// None is compared: the token is read, nothing is sent to anybody because of it.
    NotCompared,
    /// This key, at every place where the token names one.
    Is(&'a TeePublicKey),
}

impl Default for TokenRules<'_> {
    /// Any issuer with a trusted key, an hour, a minute of leeway as in Trustee.
    fn default() -> Self {
        Self {
            issuer: ExpectedIssuer::WhoeverIsTrusted,
            tee_key: ExpectedTeeKey::NotCompared,
            max_lifetime_seconds: 60 * 60,
            leeway_seconds: 60,
        }
    }
}

/// A token that a trusted signer issued and whose time has not run out.
///
/// Holding one proves that at the time given to [`verify`] a configured signer vouched for these
/// claims. It proves nothing about hardware: the signer's Verifier says that.
#[derive(Debug)]
pub struct VerifiedToken {
    payload: Value,
    issuer: String,
    issued: UnixTime,
    expires: UnixTime,
    submods: BTreeMap<String, Submod>,
}

/// One appraisal of a token.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Submod {
    /// Status of the whole.
    #[serde(rename = "ear.status")]
    pub status: Tier,
    /// The vector. Empty when the token has none.
    #[serde(rename = "ear.trustworthiness-vector", default)]
    pub vector: TrustVector,
    /// The policy that made it.
    #[serde(rename = "ear.appraisal-policy-id", default)]
    pub policy_id: Option<String>,
    /// The claims, as the Verifier shows them.
    #[serde(rename = "ear.veraison.annotated-evidence", default)]
    pub annotated_evidence: Value,
}

impl VerifiedToken {
    /// The only birth of a `VerifiedToken`: at the end of [`verify`].
    fn assertion(payload: Value, claims: Claims) -> Self {
        Self {
            payload,
            issuer: claims.iss.unwrap_or_default(),
            issued: UnixTime(claims.iat),
            expires: UnixTime(claims.exp),
            submods: claims.submods,
        }
    }

    /// All claims, as signed: the input of a resource policy.
    #[must_use]
    pub fn payload(&self) -> &Value {
        &self.payload
    }

    /// Who issued it; empty when it does not say.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// When it was issued, by the issuer's clock.
    #[must_use]
    pub fn issued(&self) -> UnixTime {
        self.issued
    }

    /// When it ends.
    #[must_use]
    pub fn expires(&self) -> UnixTime {
        self.expires
    }

    /// The appraisals, by name (`cpu0`, `gpu0`), never none.
    #[must_use]
    pub fn submods(&self) -> &BTreeMap<String, Submod> {
        &self.submods
    }

    /// Whether every appraisal is affirming. One that claims nothing vouches for nothing.
    #[must_use]
    pub fn is_affirming(&self) -> bool {
        self.submods.values().all(|submod| submod.status == Tier::Affirming)
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    jwk: Option<Jwk>,
    kid: Option<String>,
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct Claims {
    eat_profile: String,
    iat: u64,
    exp: u64,
    nbf: Option<u64>,
    iss: Option<String>,
    submods: BTreeMap<String, Submod>,
}

/// Verifies a token. Steps: 1. form; 2. algorithm; 3. which key; 4. whose key; 5. signature;
/// 6. claims: profile, issuer, time, appraisals; 7. TEE key.
///
/// # Errors
/// [`TokenRefusal`], the first in the order of the steps. Nothing in the payload is looked at before
/// the signature is verified.
pub fn verify(
    token: &str,
    anchors: &TokenAnchors,
    rules: &TokenRules<'_>,
    now: UnixTime,
) -> Result<VerifiedToken, TokenRefusal> {
    // 1.
    if token.len() > MAX_TOKEN_LEN {
        return Err(TokenRefusal::TooLong { got: token.len(), limit: MAX_TOKEN_LEN });
    }
    let (input, signature) = token.rsplit_once('.').ok_or(TokenRefusal::Compact)?;
    let (header, payload) = input.split_once('.').ok_or(TokenRefusal::Compact)?;
    let [header, payload, signature] =
        [header, payload, signature].map(|part| URL_SAFE_NO_PAD.decode(part));
    let header = header.map_err(|_| TokenRefusal::Compact)?;
    let payload = payload.map_err(|_| TokenRefusal::Compact)?;
    let signature = signature.map_err(|_| TokenRefusal::Compact)?;
    let header: Header = json("header", &header)?;
    // 2.
    let algorithm = Algorithm::parse(&header.alg)?;
    if header.crit.is_some() {
        return Err(TokenRefusal::Critical);
    }
    // 3. and 4.
    let key = signer(&header, algorithm, anchors, now)?;
    // 5.
    key.verify(input.as_bytes(), &signature)?;
    // 6.
    let value: Value = json("payload", &payload)?;
    let claims: Claims = json("payload", &payload)?;
    refuse_claims(&claims, rules, now)?;
    // 7.
    refuse_other_tee_key(&value, rules.tee_key)?;
    Ok(VerifiedToken::assertion(value, claims))
}

fn signer(
    header: &Header,
    algorithm: Algorithm,
    anchors: &TokenAnchors,
    now: UnixTime,
) -> Result<SignerKey, TokenRefusal> {
    match (&header.jwk, &header.kid) {
        (Some(jwk), _) => {
            let key = SignerKey::from_jwk(jwk, algorithm)?;
            match &jwk.x5c {
                Some(x5c) => anchors.vouch(x5c, &key, now)?,
                None if anchors.has_key(&key) => {}
                None => return Err(TokenRefusal::SelfAsserted),
            }
            Ok(key)
        }
        (None, Some(kid)) => anchors.key(kid, algorithm).cloned(),
        (None, None) => Err(TokenRefusal::NoKey),
    }
}

fn refuse_claims(
    claims: &Claims,
    rules: &TokenRules<'_>,
    now: UnixTime,
) -> Result<(), TokenRefusal> {
    if claims.eat_profile != PROFILE {
        let got = claims.eat_profile.chars().take(120).collect();
        return Err(TokenRefusal::Profile { got });
    }
    match rules.issuer {
        ExpectedIssuer::WhoeverIsTrusted => {}
        ExpectedIssuer::Named(expected) if claims.iss.as_deref() == Some(expected) => {}
        ExpectedIssuer::Named(expected) => {
            let got = claims.iss.as_deref().unwrap_or("nobody").chars().take(120).collect();
            return Err(TokenRefusal::Issuer { expected: expected.to_owned(), got });
        }
    }
    //= attestation/SPEC.md#12
    //# A token MUST be refused from `exp` on, before `iat` and `nbf`, and when it lives longer than the verifier accepts.
    let leeway = rules.leeway_seconds;
    let from = UnixTime(claims.iat.max(claims.nbf.unwrap_or(0)));
    if now.plus_seconds(leeway) < from {
        return Err(TokenRefusal::NotYetValid { from, now });
    }
    let expires = UnixTime(claims.exp);
    if expires <= now {
        return Err(TokenRefusal::Expired { expires, now });
    }
    let (got, limit) = (claims.exp.saturating_sub(claims.iat), rules.max_lifetime_seconds);
    if got > limit {
        return Err(TokenRefusal::Lifetime { got, limit });
    }
    if !(1..=MAX_TOKEN_SUBMODS).contains(&claims.submods.len()) {
        return Err(TokenRefusal::Submods { got: claims.submods.len() });
    }
    for (name, submod) in &claims.submods {
        // A status may be worse than the vector, for reasons of its own; better would be a lie. One
        // that claims nothing is not better than anything.
        let vector = submod.vector.status();
        if submod.status != Tier::None && submod.status < vector {
            return Err(TokenRefusal::Status {
                submod: name.chars().take(80).collect(),
                status: submod.status.as_str(),
                vector: vector.as_str(),
            });
        }
    }
    Ok(())
}

/// Where a token may name the TEE key: RFC 7800, Trustee's annotated Evidence, older tokens.
const TEE_KEY_PATHS: [&str; 4] = [
    "/cnf/jwk",
    "/submods/cpu0/ear.veraison.annotated-evidence/runtime_data_claims/tee-pubkey",
    "/customized_claims/runtime_data/tee-pubkey",
    "/tee-pubkey",
];

fn refuse_other_tee_key(payload: &Value, expected: ExpectedTeeKey<'_>) -> Result<(), TokenRefusal> {
    let ExpectedTeeKey::Is(expected) = expected else { return Ok(()) };
    let mut named = TEE_KEY_PATHS
        .iter()
        .filter_map(|path| payload.pointer(path).map(|value| (path, value)))
        .peekable();
    if named.peek().is_none() {
        return Err(TokenRefusal::TeeKey { at: "nowhere".to_owned() });
    }
    for (path, value) in named {
        let same = serde_json::from_value::<TeePublicKey>(value.clone()).ok();
        if same.as_ref() != Some(expected) {
            return Err(TokenRefusal::TeeKey { at: (*path).to_owned() });
        }
    }
    Ok(())
}

/// JSON of a part, with its structure bounded before anything is kept.
fn json<T: DeserializeOwned>(part: &'static str, bytes: &[u8]) -> Result<T, TokenRefusal> {
    crate::rcar::bounded_json(bytes)
        .map_err(|detail| TokenRefusal::Json { part, detail: detail.chars().take(200).collect() })
}
