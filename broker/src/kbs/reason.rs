//! Reasons against a message of the protocol, in the shape that all reasons have.

use adyton_attestation::Reason;
use adyton_attestation::rcar::RcarError;

use crate::respond::Chain;
use crate::session::SessionError;

/// Longest text of a peer that a record repeats, in characters.
const MAX_REPEATED: usize = 300;

/// Why a message was refused.
pub fn of_message(error: &RcarError) -> Vec<Reason> {
    let (code, claim, remedy) = match error {
        RcarError::TooLong { .. } => ("rcar.too-long", "message", "send less"),
        RcarError::TooManyMembers { .. } => {
            ("rcar.too-many-members", "message", "send the members that the protocol has")
        }
        RcarError::Json { .. } => {
            ("rcar.malformed", "message", "send what KBS protocol 0.4.0 fixes")
        }
        RcarError::Version { .. } => ("rcar.version", "version", "use a client of protocol 0.4.0"),
        RcarError::Tee(_) => ("rcar.tee", "tee", "attest a TEE that this broker verifies"),
        RcarError::HashAlgorithm { .. } => {
            ("rcar.hash-algorithm", "selected-hash-algorithm", "use SHA-384")
        }
        RcarError::NonceLength { .. } | RcarError::Nonce => (
            "rcar.nonce",
            "runtime-data.nonce",
            "begin a new session and answer its challenge; a nonce counts once",
        ),
        RcarError::AdditionalEvidence => (
            "rcar.additional-evidence",
            "additional_evidence",
            "send the JSON text of an object, or an empty text when there are no devices",
        ),
        RcarError::DeviceKind { .. } => (
            "rcar.device-kind",
            "additional_evidence",
            "attest without this kind of device; this broker verifies nvidia devices",
        ),
        RcarError::DeviceEvidence(source) => return vec![source.reason()],
        RcarError::InitData { .. } => (
            "rcar.init-data",
            "init-data",
            "send the init-data document as it was measured, or none",
        ),
        RcarError::Evidence(source) => return source.reasons(),
    };
    let got = Chain(error).to_string().chars().take(MAX_REPEATED).collect();
    vec![protocol(code, claim, "a message that KBS protocol 0.4.0 fixes", got, remedy)]
}

/// Why a session was refused.
pub fn of_session(error: SessionError) -> Reason {
    let code = match error {
        SessionError::Unknown => "session.unknown",
        SessionError::Expired => "session.expired",
        SessionError::AlreadyAttested => "session.already-attested",
        SessionError::NotAttested => "session.not-attested",
    };
    protocol(
        code,
        "kbs-session-id",
        "the cookie of a session whose challenge is open",
        error.to_string(),
        "begin a new session with POST /kbs/v0/auth",
    )
}

/// The init-data that were sent are not the ones that the hardware measured.
pub fn of_init_data(code: &'static str, register: &str, expected: String, got: String) -> Reason {
    let remedy = "send the init-data that the guest was launched with, or none";
    let expected = format!("the digest of the init-data that were sent, {expected}");
    protocol(code, register, &expected, got, remedy)
}

/// A key of this name does not exist.
pub fn of_unknown_key(uri: &str) -> Reason {
    protocol(
        "key.unknown",
        "resource",
        "a key of this broker",
        uri.to_owned(),
        "create it with `adyton key create`, or correct the key in the sidecar's configuration",
    )
}

/// The key of this epoch was ended by its owner.
pub fn of_retired_key(kid: &str, newest: Option<u32>) -> Reason {
    let newest = newest.map_or(String::new(), |epoch| format!("; the newest is {epoch}"));
    protocol(
        "key.retired",
        "resource",
        &format!("an epoch of the key that is in force{newest}"),
        kid.to_owned(),
        "give the sealed model a recipient of the newest epoch with `adyton key rewrap`",
    )
}

fn protocol(code: &'static str, claim: &str, expected: &str, got: String, remedy: &str) -> Reason {
    Reason::new(code, "protocol", claim, (expected, got), remedy)
}
