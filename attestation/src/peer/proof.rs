//! What is known of a peer: the proofs, strong and weak, and the refusal.

use std::fmt;

use crate::appraisal::{AttestationResult, appraise};
use crate::binding::BindingLevel;
use crate::claims::Claims;
use crate::peer::{Expectations, Instance, ObservedConnection};
use crate::reason::Reason;
use crate::report::{AttestationReport, VerifiedReport};
use crate::unix_time::UnixTime;
use crate::verifier::Verified;

/// The other end of this TLS connection, verified at level `channel`.
///
/// Proves that genuine hardware signed, for our nonce, a commitment to the key that signed this
/// handshake, to the manifest and configuration digests in [`report`](Self::report), and to the
/// exporter value of this very connection: the connection ends where the Evidence was made. It does not
/// prove that the measurements are the expected ones ([`appraise`](Self::appraise)), nor which of
/// several genuine machines it is ([`Pins`](crate::peer::Pins)).
#[derive(Debug)]
pub struct VerifiedPeer(Known);

/// Whoever holds this serving key, or relays to the one who does: verified at level `certificate` only.
///
/// Proves that genuine hardware signed, for our nonce, a commitment to the key that signed this
/// handshake. It does **not** prove that this connection ends in that TEE: who has the key outside of
/// it, as in the diversion attack (CVE-2026-33697), passes with the TEE's own answers.
#[derive(Debug)]
pub struct RelayablePeer(Known);

/// A [`VerifiedPeer`] that is what we expected: what confidential data may be sent to, on this
/// connection, until [`AttestationResult::expires`].
#[derive(Debug)]
pub struct AcceptedPeer {
    result: AttestationResult,
    report: AttestationReport,
    instance: Instance,
}

/// Verified, and not what was expected: every reason, never empty.
#[derive(Clone, Debug)]
pub struct PeerRefusal {
    /// Every reason against.
    pub reasons: Vec<Reason>,
}

#[derive(Debug)]
struct Known {
    verified: VerifiedReport,
    report: AttestationReport,
    observed: ObservedConnection,
}

impl VerifiedPeer {
    /// The only birth of a `VerifiedPeer`, from a report that was verified at level `channel`.
    pub(in crate::peer) fn assertion(
        verified: VerifiedReport,
        report: AttestationReport,
        observed: ObservedConnection,
    ) -> Self {
        Self(Known { verified, report, observed })
    }

    /// Always [`BindingLevel::Channel`].
    #[must_use]
    pub fn level(&self) -> BindingLevel {
        self.0.verified.level()
    }

    /// The verified claims.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        self.0.verified.verified().get()
    }

    /// The report. Its members come from the attested software, over this connection.
    #[must_use]
    pub fn report(&self) -> &AttestationReport {
        &self.0.report
    }

    /// Which machine and which key this is.
    #[must_use]
    pub fn instance(&self) -> Instance {
        self.0.instance()
    }

    /// Compares the peer with what was expected.
    ///
    /// # Errors
    /// [`PeerRefusal`] with every reason against.
    pub fn appraise(
        self,
        expectations: &Expectations,
        now: UnixTime,
    ) -> Result<AcceptedPeer, PeerRefusal> {
        let instance = self.0.instance();
        let (result, report) = self.0.appraise(expectations, now)?;
        Ok(AcceptedPeer::assertion(result, report, instance))
    }

    /// The verified claims by value, as [`appraise`] takes them. The binding to the
    /// connection is left behind.
    #[must_use]
    pub fn into_verified(self) -> Verified<Claims> {
        self.0.verified.into_verified()
    }
}

impl RelayablePeer {
    /// The only birth of a `RelayablePeer`, from a report that was verified at level `certificate`.
    pub(in crate::peer) fn assertion(
        verified: VerifiedReport,
        report: AttestationReport,
        observed: ObservedConnection,
    ) -> Self {
        Self(Known { verified, report, observed })
    }

    /// Always [`BindingLevel::Certificate`].
    #[must_use]
    pub fn level(&self) -> BindingLevel {
        self.0.verified.level()
    }

    /// The verified claims.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        self.0.verified.verified().get()
    }

    /// The report. What the Evidence does not commit to may have been changed on the way.
    #[must_use]
    pub fn report(&self) -> &AttestationReport {
        &self.0.report
    }

    /// Which machine made the Evidence, and which key it speaks of.
    #[must_use]
    pub fn instance(&self) -> Instance {
        self.0.instance()
    }

    /// Compares what is behind the key with what was expected. Gives no [`AcceptedPeer`]: nobody
    /// knows where the connection ends.
    ///
    /// # Errors
    /// [`PeerRefusal`] with every reason against.
    pub fn appraise(
        self,
        expectations: &Expectations,
        now: UnixTime,
    ) -> Result<AttestationResult, PeerRefusal> {
        self.0.appraise(expectations, now).map(|(result, _)| result)
    }

    /// The verified claims by value, as [`appraise`] takes them.
    #[must_use]
    pub fn into_verified(self) -> Verified<Claims> {
        self.0.verified.into_verified()
    }
}

impl AcceptedPeer {
    /// The only birth of an `AcceptedPeer`, where every expectation has been met.
    fn assertion(result: AttestationResult, report: AttestationReport, instance: Instance) -> Self {
        Self { result, report, instance }
    }

    /// The claims, the policy and the Reference Values that matched.
    #[must_use]
    pub fn result(&self) -> &AttestationResult {
        &self.result
    }

    /// The report. Its members come from the attested software, over this connection.
    #[must_use]
    pub fn report(&self) -> &AttestationReport {
        &self.report
    }

    /// Which machine and which key this is.
    #[must_use]
    pub fn instance(&self) -> Instance {
        self.instance
    }
}

impl Known {
    fn instance(&self) -> Instance {
        Instance::of(self.verified.verified().get(), self.observed.peer_spki_sha256)
    }

    fn appraise(
        self,
        expectations: &Expectations,
        now: UnixTime,
    ) -> Result<(AttestationResult, AttestationReport), PeerRefusal> {
        let mut reasons = expectations.pins.reasons_against(&self.instance());
        reasons.extend(expectations.reasons_against(&self.report));
        let verified = self.verified.into_verified();
        match appraise(verified, &expectations.reference_values, &expectations.policy, now) {
            Ok(result) if reasons.is_empty() => Ok((result, self.report)),
            Ok(_) => Err(PeerRefusal { reasons }),
            Err(mut refusal) => {
                refusal.reasons.append(&mut reasons);
                Err(PeerRefusal { reasons: refusal.reasons })
            }
        }
    }
}

impl fmt::Display for PeerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the peer is not what was expected, for {} reason(s):", self.reasons.len())?;
        for reason in &self.reasons {
            write!(f, "\n  {reason}")?;
        }
        Ok(())
    }
}

impl std::error::Error for PeerRefusal {}
