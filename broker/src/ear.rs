//! The Attestation Result as a signed token: an EAR in a JWT, ES256.
//!
//! Role: output of the Verifier (RFC 9334 §4.2; draft-ietf-rats-ear). In: [`Verified<Claims>`] and the
//! runtime data that the Evidence was bound to. Out: the KBS field `token`. The key is made at start
//! and never stored. The token says what was *verified*; measurements are appraised for each key
//! later, so the vector claims nothing about executables and the status is `none`.
//! In this broker the token is an opaque name of the session; nothing in it is ever read back.

use adyton_attestation::rcar::{RuntimeData, TeePublicKey};
use adyton_attestation::{Claims, TcbStatus, UnixTime, Verified};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde::Serialize;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::error::StartupError;

/// The profile of Trustee's tokens, which CoCo guests know.
const PROFILE: &str = "tag:github.com,2024:confidential-containers/Trustee";
const ISSUER: &str = "adyton-broker";

/// AR4SI trustworthiness claims (draft-ietf-rats-ar4si §2.3).
const NO_CLAIM: i8 = 0;
const AFFIRMING: i8 = 2;
const WARNING: i8 = 32;

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The claims can't be written as JSON.
    #[error("the claims can't be written as JSON")]
    Json(#[from] serde_json::Error),
    /// Signing failed, for want of random bytes.
    #[error("the token can't be signed")]
    Sign,
}

/// Signs Attestation Results with a key of this process.
pub struct TokenSigner {
    key: EcdsaKeyPair,
    random: SystemRandom,
}

impl std::fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenSigner").finish_non_exhaustive()
    }
}

/// What a token is about, beside the claims.
#[derive(Debug)]
pub struct TokenSubject<'a> {
    /// Nonce and TEE key that the Evidence was bound to.
    pub runtime_data: &'a RuntimeData,
    /// Digest of the init-data, when the guest sent them and the Evidence has it.
    pub init_data_digest: Option<&'a [u8]>,
    /// When the Evidence was verified.
    pub issued_at: UnixTime,
    /// When the session ends.
    pub expires: UnixTime,
}

#[derive(Serialize)]
struct Header<'a> {
    typ: &'static str,
    alg: &'static str,
    jwk: Jwk<'a>,
}

#[derive(Serialize)]
struct Jwk<'a> {
    alg: &'static str,
    kty: &'static str,
    crv: &'static str,
    x: &'a str,
    y: &'a str,
}

#[derive(Serialize)]
struct Ear<'a> {
    eat_profile: &'static str,
    iat: u64,
    #[serde(rename = "ear.verifier-id")]
    verifier_id: VerifierId,
    submods: Submods<'a>,
    exp: u64,
    iss: &'static str,
    jti: String,
}

#[derive(Serialize)]
struct VerifierId {
    developer: &'static str,
    build: &'static str,
}

#[derive(Serialize)]
struct Submods<'a> {
    cpu0: Appraisal<'a>,
}

#[derive(Serialize)]
struct Appraisal<'a> {
    #[serde(rename = "ear.status")]
    status: &'static str,
    #[serde(rename = "ear.trustworthiness-vector")]
    vector: TrustVector,
    #[serde(rename = "ear.appraisal-policy-id")]
    policy_id: &'static str,
    #[serde(rename = "ear.veraison.annotated-evidence")]
    annotated_evidence: AnnotatedEvidence<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct TrustVector {
    instance_identity: i8,
    configuration: i8,
    executables: i8,
    file_system: i8,
    hardware: i8,
    runtime_opaque: i8,
    storage_opaque: i8,
    sourced_data: i8,
}

#[derive(Serialize)]
struct AnnotatedEvidence<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    init_data: Option<String>,
    report_data: String,
    runtime_data_claims: RuntimeDataClaims<'a>,
    /// The claims under the name of their TEE.
    #[serde(flatten)]
    tee: Map<String, Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct RuntimeDataClaims<'a> {
    additional_evidence: &'static str,
    nonce: &'a str,
    tee_pubkey: &'a TeePublicKey,
}

impl TokenSigner {
    /// Makes a P-256 key that lives as long as this process.
    ///
    /// # Errors
    /// [`StartupError::KeyGeneration`].
    pub fn generate() -> Result<Self, StartupError> {
        let failed = |_| StartupError::KeyGeneration { what: "key that signs tokens" };
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(failed)?;
        let document = Zeroizing::new(document.as_ref().to_vec());
        let key = EcdsaKeyPair::from_pkcs8(algorithm, &document, &random)
            .map_err(|_| StartupError::KeyGeneration { what: "key that signs tokens" })?;
        Ok(Self { key, random })
    }

    /// Signs a token for verified claims.
    ///
    /// # Errors
    /// [`TokenError::Json`], [`TokenError::Sign`].
    pub fn sign(
        &self,
        verified: &Verified<Claims>,
        subject: &TokenSubject<'_>,
    ) -> Result<String, TokenError> {
        let (tee, status, report_data) = match verified.get() {
            Claims::Tdx(claims) => ("tdx", claims.tcb_status, hex::encode(claims.report_data.0)),
            // A TEE that this file doesn't know gets no token rather than an empty one.
            _ => return Err(TokenError::Sign),
        };
        let mut unique = [0; 16];
        getrandom::fill(&mut unique).map_err(|_| TokenError::Sign)?;
        let mut claims = serde_json::to_value(verified.get())?;
        if let Value::Object(members) = &mut claims {
            members.remove("tee");
        }
        let ear = Ear {
            eat_profile: PROFILE,
            iat: subject.issued_at.0,
            verifier_id: VerifierId {
                developer: "adyton",
                build: concat!("adyton-broker ", env!("CARGO_PKG_VERSION")),
            },
            submods: Submods {
                cpu0: Appraisal {
                    status: "none",
                    vector: vector(status),
                    policy_id: "adyton.appraised-for-each-key",
                    annotated_evidence: AnnotatedEvidence {
                        init_data: subject.init_data_digest.map(hex::encode),
                        report_data,
                        runtime_data_claims: RuntimeDataClaims {
                            additional_evidence: "",
                            nonce: &subject.runtime_data.nonce,
                            tee_pubkey: &subject.runtime_data.tee_pubkey,
                        },
                        tee: Map::from_iter([(tee.to_owned(), claims)]),
                    },
                },
            },
            exp: subject.expires.0,
            iss: ISSUER,
            jti: hex::encode(unique),
        };
        self.compact(&ear)
    }

    fn compact(&self, ear: &Ear<'_>) -> Result<String, TokenError> {
        // SEC 1 §2.3.3: 04 ‖ X ‖ Y.
        let point = self.key.public_key().as_ref().split_first().map(|(_, xy)| xy.split_at(32));
        let (x, y) = point.ok_or(TokenError::Sign)?;
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let jwk = Jwk { alg: "ES256", kty: "EC", crv: "P-256", x: &x, y: &y };
        let header = serde_json::to_vec(&Header { typ: "JWT", alg: "ES256", jwk })?;
        let header = URL_SAFE_NO_PAD.encode(header);
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(ear)?);
        let input = format!("{header}.{payload}");
        let signature =
            self.key.sign(&self.random, input.as_bytes()).map_err(|_| TokenError::Sign)?;
        Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// What verification alone supports: genuine hardware, and how current its firmware is.
fn vector(status: TcbStatus) -> TrustVector {
    let hardware = match status {
        TcbStatus::UpToDate => AFFIRMING,
        TcbStatus::SwHardeningNeeded
        | TcbStatus::ConfigurationNeeded
        | TcbStatus::ConfigurationAndSwHardeningNeeded
        | TcbStatus::OutOfDate
        | TcbStatus::OutOfDateConfigurationNeeded
        | TcbStatus::TdRelaunchAdvised
        | TcbStatus::TdRelaunchAdvisedConfigurationNeeded => WARNING,
    };
    TrustVector {
        instance_identity: NO_CLAIM,
        configuration: NO_CLAIM,
        executables: NO_CLAIM,
        file_system: NO_CLAIM,
        hardware,
        runtime_opaque: NO_CLAIM,
        storage_opaque: NO_CLAIM,
        sourced_data: NO_CLAIM,
    }
}
