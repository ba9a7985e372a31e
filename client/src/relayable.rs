//! The weaker exchange, at level `certificate`: whoever relays it passes. Ask for it by name only.
//!
//! For looking at a sidecar through a TLS-terminating proxy that holds the sidecar's certificate, and
//! for comparing the levels. There is no way from here to an [`AttestedConnection`]: no request of the
//! caller's is sent over such a connection.
//!
//! [`AttestedConnection`]: crate::AttestedConnection

use adyton_attestation::UnixTime;
use adyton_attestation::peer::{PeerTrust, RelayableAnswer, RelayableExchange, RelayablePeer};
use adyton_attestation::report::AttestationReport;

use crate::connection::{ProvisionalConnection, RefusedConnection};
use crate::error::ClientError;

/// A report at level `certificate`, unverified. The connection over which it came is closed.
#[derive(Debug)]
pub struct Answered(RelayableAnswer);

/// Asks at level `certificate`, and closes the connection.
///
/// # Errors
/// As [`ProvisionalConnection::ask`].
pub async fn ask(connection: ProvisionalConnection) -> Result<Answered, ClientError> {
    let ProvisionalConnection { mut http, observed, .. } = connection;
    let exchange = RelayableExchange::begin(observed)?;
    let body = http.report(&exchange.target()).await?;
    exchange.answer(&body).map(Answered).map_err(ClientError::Report)
}

impl Answered {
    /// What the peer says, unverified.
    #[must_use]
    pub fn report(&self) -> &AttestationReport {
        self.0.report()
    }

    /// Verifies the report over our nonce and the key that we saw, not over the connection.
    ///
    /// # Errors
    /// [`RefusedConnection`].
    pub fn verify(
        self,
        trust: &PeerTrust,
        now: UnixTime,
    ) -> Result<RelayablePeer, RefusedConnection> {
        let report = Box::new(self.0.report().clone());
        self.0.verify(trust, now).map_err(|error| RefusedConnection { error, report })
    }
}
