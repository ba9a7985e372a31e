//! One question, one answer, one verification, each step by value.

use crate::binding::BindingLevel;
use crate::challenge::{Nonce, NonceError};
use crate::limits::MAX_EVIDENCE_FILE_LEN;
use crate::peer::{ObservedConnection, PeerTrust, RelayablePeer, VerifiedPeer};
use crate::report::{AttestationReport, ReportError, VerifiedReport, verify_report};
use crate::unix_time::UnixTime;

/// Path of the endpoint.
pub const ATTESTATION_PATH: &str = "/.well-known/adyton/attestation";

/// Bytes of a reply that have to be read at most; longer ones are refused.
pub const MAX_REPORT_LEN: usize = MAX_EVIDENCE_FILE_LEN;

/// A question at level `channel`: only the other end of this very connection can answer it.
#[derive(Debug)]
pub struct ChannelExchange(Asked);

/// A question at level `certificate`: whoever holds the serving key, or relays to the one who does,
/// can answer it.
///
/// For clients whose TLS library gives no exporter value. Everybody else uses [`ChannelExchange`].
#[derive(Debug)]
pub struct RelayableExchange(Asked);

/// A report that parses, for a question at level `channel`. Still an allegation.
#[derive(Debug)]
pub struct ChannelAnswer(Answered);

/// A report that parses, for a question at level `certificate`. Still an allegation.
#[derive(Debug)]
pub struct RelayableAnswer(Answered);

impl ChannelExchange {
    /// Draws a nonce for one question on this connection.
    ///
    /// # Errors
    /// [`NonceError::Random`] when the system has no random bytes.
    pub fn begin(observed: ObservedConnection) -> Result<Self, NonceError> {
        Ok(Self(Asked { nonce: Nonce::fresh()?, observed }))
    }

    /// Path and query of the GET request to send on this connection.
    #[must_use]
    pub fn target(&self) -> String {
        self.0.target("exporter")
    }

    /// Parses the body of the reply (status 200). The question is used up.
    ///
    /// # Errors
    /// [`ReportError::TooLong`], [`Json`](ReportError::Json), [`Version`](ReportError::Version).
    pub fn answer(self, body: &[u8]) -> Result<ChannelAnswer, ReportError> {
        self.0.answer(body).map(ChannelAnswer)
    }
}

impl RelayableExchange {
    /// Draws a nonce for one question on this connection.
    ///
    /// # Errors
    /// [`NonceError::Random`] when the system has no random bytes.
    pub fn begin(observed: ObservedConnection) -> Result<Self, NonceError> {
        Ok(Self(Asked { nonce: Nonce::fresh()?, observed }))
    }

    /// Path and query of the GET request to send on this connection.
    #[must_use]
    pub fn target(&self) -> String {
        self.0.target("certificate")
    }

    /// Parses the body of the reply (status 200). The question is used up.
    ///
    /// # Errors
    /// [`ReportError::TooLong`], [`Json`](ReportError::Json), [`Version`](ReportError::Version).
    pub fn answer(self, body: &[u8]) -> Result<RelayableAnswer, ReportError> {
        self.0.answer(body).map(RelayableAnswer)
    }
}

impl ChannelAnswer {
    /// What the peer says. Unverified: for showing beside a refusal, never for a decision.
    #[must_use]
    pub fn report(&self) -> &AttestationReport {
        &self.0.report
    }

    /// Verifies the report over our nonce and what we saw of the connection.
    ///
    /// # Errors
    /// Those of [`verify_report`].
    pub fn verify(self, trust: &PeerTrust, now: UnixTime) -> Result<VerifiedPeer, ReportError> {
        let verified = self.0.verify(BindingLevel::Channel, trust, now)?;
        Ok(VerifiedPeer::assertion(verified, self.0.report, self.0.observed))
    }
}

impl RelayableAnswer {
    /// What the peer says. Unverified: for showing beside a refusal, never for a decision.
    #[must_use]
    pub fn report(&self) -> &AttestationReport {
        &self.0.report
    }

    /// Verifies the report over our nonce and the key that we saw.
    ///
    /// # Errors
    /// Those of [`verify_report`].
    pub fn verify(self, trust: &PeerTrust, now: UnixTime) -> Result<RelayablePeer, ReportError> {
        let verified = self.0.verify(BindingLevel::Certificate, trust, now)?;
        Ok(RelayablePeer::assertion(verified, self.0.report, self.0.observed))
    }
}

#[derive(Debug)]
struct Asked {
    nonce: Nonce,
    observed: ObservedConnection,
}

impl Asked {
    fn target(&self, bind: &str) -> String {
        format!("{ATTESTATION_PATH}?nonce={}&bind={bind}", self.nonce.to_base64url())
    }

    fn answer(self, body: &[u8]) -> Result<Answered, ReportError> {
        let report = AttestationReport::parse(body)?;
        Ok(Answered { nonce: self.nonce, observed: self.observed, report })
    }
}

#[derive(Debug)]
struct Answered {
    nonce: Nonce,
    observed: ObservedConnection,
    report: AttestationReport,
}

impl Answered {
    //= attestation/SPEC.md#2.3
    //# A caller MUST take nonce, serving key and exporter value from its own side of the connection.
    fn verify(
        &self,
        level: BindingLevel,
        trust: &PeerTrust,
        now: UnixTime,
    ) -> Result<VerifiedReport, ReportError> {
        let exporter = match level {
            BindingLevel::Channel => Some(self.observed.exporter),
            BindingLevel::Certificate => None,
        };
        let spki = self.observed.peer_spki_sha256;
        verify_report(&self.report, &self.nonce, spki, exporter, trust, now)
    }
}
