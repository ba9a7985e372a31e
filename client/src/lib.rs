//! Connects to an Adyton sidecar, and sends nothing before it knows who is there.
//!
//! Role: client, Relying Party with its own Verifier (RFC 9334 §5). In: a URL, what the caller trusts
//! ([`PeerTrust`]) and expects ([`Expectations`]), the time. Out: an [`AttestedConnection`], the only
//! type here that sends requests; or the reasons why not. Every connection is attested on its own:
//! TLS 1.3, a whole handshake, no resumption, no early data.
//!
//! ```no_run
//! use adyton_client::{ClientIdentity, Expectations, PeerTrust, ReferenceValues, ServerAddress};
//!
//! # async fn ask(trust: PeerTrust, reference_values: ReferenceValues) -> Result<(), Box<dyn std::error::Error>> {
//! let expected = Expectations::of_software(vec![reference_values]);
//! let address = ServerAddress::parse("https://models.example")?;
//! let identity = ClientIdentity::from_pem(&std::fs::read("me.pem")?, &std::fs::read("me.key")?)?;
//! let connection = adyton_client::connect(&address, &identity).await?;
//! let mut attested = connection.attest(&trust, &expected, adyton_client::now()?).await?;
//! println!("{} serves {}", attested.peer().instance().machine, attested.peer().report().model.name);
//! let request = http::Request::get("/v1/models").body(Default::default())?;
//! let reply = attested.send(request).await?;
//! # let _ = reply;
//! # Ok(())
//! # }
//! ```
//!
//! | step | type | what it proves |
//! |---|---|---|
//! | [`connect`] | [`ProvisionalConnection`] | somebody's key signed this handshake |
//! | [`ask`](ProvisionalConnection::ask) | [`AnsweredConnection`] | nothing yet: a report came |
//! | [`verify`](AnsweredConnection::verify) | [`VerifiedConnection`] | it ends in a genuine TEE that runs what its claims say |
//! | [`appraise`](VerifiedConnection::appraise) | [`AttestedConnection`] | and that is what was expected |
//!
//! [`attest`](ProvisionalConnection::attest) goes all the way. Clients that can't use an exporter value
//! get a weaker proof, and have to ask for it by name: [`relayable`], [`ra_tls`].
//!
//! docs/guides/clients.md says which level protects against what.

mod address;
mod connection;
mod error;
pub mod known_peers;
pub mod ra_tls;
pub mod relayable;
mod tls;

use std::time::{SystemTime, UNIX_EPOCH};

pub use address::{AddressError, ServerAddress};
pub use adyton_attestation::peer::{
    AcceptedPeer, Expectations, ExpectedDigest, Instance, Machine, PeerRefusal, PeerTrust,
    PinnedInstance, Pins, VerifiedPeer,
};
pub use adyton_attestation::{
    AmdRevocation, EndorsementBundle, ParavisorTds, ReferenceValues, TrustAnchors, UnixTime,
    VerifyOptions,
};
pub use connection::{
    AnsweredConnection, AttestedConnection, ProvisionalConnection, RefusedConnection, StreamError,
    StreamedBody, VerifiedConnection, connect,
};
pub use error::ClientError;
pub use known_peers::{KnownPeers, KnownPeersError};
pub use tls::{ClientIdentity, provisional_config, spki_sha256};

/// This machine's time, for callers that have no better one.
///
/// # Errors
/// [`ClientError::Clock`] when it stands before 1970.
pub fn now() -> Result<UnixTime, ClientError> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| ClientError::Clock)?;
    Ok(UnixTime(since.as_secs()))
}
