//! The bodies of RCAR: whatever a KBS or a KBC may be sent.

use adyton_attestation::Tee;
use adyton_attestation::challenge::Nonce;
use adyton_attestation::rcar::{
    AttestResponse, Attestation, ChallengeMessage, ErrorInformation, RcarClient, Request,
    TeeKeyPair, on_request,
};
use adyton_fake_tee::TdProfile;
use serde_json::json;

use crate::evidence_file::only_genuine_quotes_verify;
use crate::genuine::{REPORT_DATA, TEE};
use crate::tee_public_key::fixed_key;

/// Parses the bytes as each message, lets both state machines take them, and writes them again.
pub fn run(data: &[u8]) {
    if let Ok(request) = Request::parse(data) {
        if on_request(&request, nonce()).is_ok() {
            assert_eq!(request.tee, "tdx", "a challenge for a TEE that is not supported");
        }
        let again = Request::parse(&serde_json::to_vec(&request).expect("a request serialises"));
        let again = again.expect("our own request parses");
        assert_eq!((again.version, again.tee), (request.version, request.tee));
    }
    if let Ok(challenge) = ChallengeMessage::parse(data) {
        let key = fixed_key();
        let public = key.public();
        if let Ok((_, waiting)) = RcarClient::start(Tee::Tdx).1.on_challenge(&challenge, key) {
            let (attestation, _) = waiting.with_evidence(json!({}));
            assert_eq!(attestation.runtime_data.nonce, challenge.nonce);
            assert_eq!(attestation.runtime_data.tee_pubkey, public);
        }
    }
    if let Ok(attestation) = Attestation::parse(data) {
        let (challenge, waiting) =
            on_request(&RcarClient::start(Tee::Tdx).0, nonce()).expect("our own request");
        if let Ok(presented) = waiting.on_attestation(&attestation) {
            assert_eq!(attestation.runtime_data.nonce, challenge.nonce);
            assert_eq!(attestation.runtime_data.tee_pubkey, presented.tee_key);
            only_genuine_quotes_verify(&presented.evidence);
        }
    }
    if let Ok(response) = AttestResponse::parse(data) {
        let again = serde_json::to_vec(&response).expect("a token serialises");
        assert_eq!(AttestResponse::parse(&again).expect("our own token parses"), response);
    }
    if let Ok(error) = ErrorInformation::parse(data) {
        let again = serde_json::to_vec(&error).expect("an error serialises");
        assert_eq!(ErrorInformation::parse(&again).expect("our own error parses"), error);
        assert!(error.error_type.ends_with(error.variant()));
    }
}

/// The nonce of the one session that these bodies know.
fn nonce() -> Nonce {
    Nonce::from_bytes([7; 32])
}

/// One of each message, and the Attestation with a TEE key on each curve.
pub fn seeds() -> Vec<Vec<u8>> {
    let (request, _) = RcarClient::start(Tee::Tdx);
    let (challenge, _) = on_request(&request, nonce()).expect("our own request");
    let attestation = |key: TeeKeyPair| {
        let (_, waiting) =
            RcarClient::start(Tee::Tdx).1.on_challenge(&challenge, key).expect("our own challenge");
        let evidence = TEE.primary_evidence(&TdProfile::default(), REPORT_DATA, &[]);
        waiting.with_evidence(evidence).0
    };
    let mut with_init_data = json!(attestation(fixed_key()));
    with_init_data["init-data"] =
        json!({ "format": "toml", "body": "version = \"0.1.0\"\nalgorithm = \"sha384\"\n" });
    [
        json!(request),
        json!(challenge),
        json!({ "nonce": "", "extra-params": { "selected-hash-algorithm": "sha384" } }),
        json!(attestation(fixed_key())),
        with_init_data,
        json!({ "token": "eyJhbGciOiJFUzI1NiJ9.e30.AA" }),
        json!(ErrorInformation::new("PolicyDeny", "no").with_refusal("42", vec!["a.b".into()])),
    ]
    .map(|value| value.to_string().into_bytes())
    .into()
}
