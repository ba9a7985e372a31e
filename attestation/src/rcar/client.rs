//! The KBC's side of RCAR as a chain of states.
//!
//! Role: Attester's client. In: the KBS's messages and Evidence. Out: our messages, the report
//! data that the Evidence must commit to, and at the end secrets. It sends nothing itself, and it
//! does not judge the KBS: who that is, the TLS layer has established.
//!
//! ```text
//! RcarClient ─start─► AwaitingChallenge ─on_challenge─► AwaitingEvidence
//!                     ─with_evidence─► AwaitingToken ─on_token─► Attested ─unwrap─► secret
//! ```
//! Against: a nonce answered twice, a secret unwrapped with a key that was not attested, a digest
//! chosen by the peer.

use serde_json::{Value, json};

use super::canonical::primary_report_data;
use super::jwe::{JweError, Unwrapped};
use super::limits::MAX_NONCE_TEXT;
use super::message::{
    AttestResponse, Attestation, ChallengeMessage, InitData, JweResponse, Request, RuntimeData,
    TeeEvidence,
};
use super::resource::ResourcePath;
use super::tee_key::{TeeKeyPair, TeePublicKey};
use super::{PROTOCOL_VERSION, RcarError};
use crate::binding::ReportData;
use crate::evidence::Tee;

/// Entry of the chain.
#[derive(Debug, Clone, Copy)]
pub struct RcarClient;

/// The Request is out, the Challenge is to come.
#[derive(Debug)]
pub struct AwaitingChallenge(());

/// The Challenge is here; the Attester is to make Evidence over the report data.
pub struct AwaitingEvidence {
    nonce: String,
    key: TeeKeyPair,
    init_data: Option<InitData>,
}

/// The Attestation is out, the Attestation Result is to come.
pub struct AwaitingToken {
    key: TeeKeyPair,
}

/// The KBS has accepted the Evidence for this key.
pub struct Attested {
    key: TeeKeyPair,
    token: String,
}

impl RcarClient {
    /// Begins: the Request for `tee`, and what waits for its answer.
    #[must_use]
    pub fn start(tee: Tee) -> (Request, AwaitingChallenge) {
        let request = Request {
            version: PROTOCOL_VERSION.to_owned(),
            tee: tee.as_str().to_owned(),
            extra_params: json!({ "supported-hash-algorithms": ["sha384"] }),
        };
        (request, AwaitingChallenge(()))
    }
}

impl AwaitingChallenge {
    /// Binds the TEE key to the Challenge's nonce. Evidence must carry the returned report data.
    ///
    /// # Errors
    /// [`RcarError::NonceLength`], then [`RcarError::HashAlgorithm`] when the KBS selects a digest
    /// other than SHA-384, which is the one its Verifier uses for our TEEs.
    pub fn on_challenge(
        self,
        challenge: &ChallengeMessage,
        key: TeeKeyPair,
    ) -> Result<(ReportData, AwaitingEvidence), RcarError> {
        let got = challenge.nonce.len();
        if !(1..=MAX_NONCE_TEXT).contains(&got) {
            return Err(RcarError::NonceLength { got });
        }
        match challenge.extra_params.get("selected-hash-algorithm") {
            None => {}
            Some(Value::String(name)) if name.eq_ignore_ascii_case("sha384") => {}
            Some(other) => {
                let got = other.to_string().chars().take(32).collect();
                return Err(RcarError::HashAlgorithm { got });
            }
        }
        let nonce = challenge.nonce.clone();
        let report_data = primary_report_data(&nonce, &key.public(), "");
        Ok((report_data, AwaitingEvidence { nonce, key, init_data: None }))
    }
}

impl AwaitingEvidence {
    /// Adds the guest's init-data, so that a KBS can appraise what its digest stands for.
    #[must_use]
    pub fn with_init_data(mut self, init_data: InitData) -> Self {
        self.init_data = Some(init_data);
        self
    }

    /// Takes the Evidence (the KBS form of the TEE) and makes the Attestation.
    #[must_use]
    pub fn with_evidence(self, primary_evidence: Value) -> (Attestation, AwaitingToken) {
        let attestation = Attestation {
            init_data: self.init_data,
            runtime_data: RuntimeData { nonce: self.nonce, tee_pubkey: self.key.public() },
            tee_evidence: TeeEvidence { primary_evidence, additional_evidence: String::new() },
        };
        (attestation, AwaitingToken { key: self.key })
    }
}

impl AwaitingToken {
    /// Takes the KBS's acceptance.
    #[must_use]
    pub fn on_token(self, response: AttestResponse) -> Attested {
        Attested { key: self.key, token: response.token }
    }
}

impl Attested {
    /// Unwraps a reply to the question for `resource` with the attested key.
    ///
    /// # Errors
    /// As [`TeeKeyPair::decrypt`].
    pub fn unwrap(
        &self,
        resource: &ResourcePath,
        reply: &JweResponse,
    ) -> Result<Unwrapped, JweError> {
        self.key.decrypt(reply, resource)
    }

    /// The Attestation Result as bearer token, for requests outside the session's cookie.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The public half of the attested key.
    #[must_use]
    pub fn tee_public_key(&self) -> TeePublicKey {
        self.key.public()
    }

    /// Gives the key back, to keep it for a restart of the same TEE or to attest it again.
    #[must_use]
    pub fn into_key(self) -> TeeKeyPair {
        self.key
    }
}
