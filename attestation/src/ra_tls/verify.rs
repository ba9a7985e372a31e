//! Verifies a leaf certificate with Evidence in it. Pure: no TLS, no clock.
//!
//! Who calls this has to check as well that the handshake was signed with the leaf's key; a
//! certificate alone is public.

use der::asn1::ObjectIdentifier;
use der::{Decode as _, Encode as _};
use ring::digest::{SHA256, digest};
use thiserror::Error;
use x509_cert::Certificate;
use x509_cert::ext::Extension;

use crate::appraisal::{AttestationResult, appraise};
use crate::binding::BindingLevel;
use crate::claims::Claims;
use crate::evidence::{Evidence, EvidenceError};
use crate::limits::{
    MAX_RA_TLS_CERTIFICATE_LEN, MAX_RA_TLS_EXTENSION_LEN, MAX_RA_TLS_VALIDITY_SECONDS,
};
use crate::peer::{Expectations, ExpectedDigest, Instance, PeerRefusal, PeerTrust};
use crate::ra_tls::{CertificateEvidence, ExtensionError, RaTlsBinding};
use crate::reason::Reason;
use crate::unix_time::UnixTime;
use crate::verifier::{Verified, VerifyError, verify_with};

const OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.5.4.9");

/// What a Relying Party asks of a certificate's dates.
///
/// They are by the clock of the guest, which its host can set: a host can have certificates made
/// ahead, for days to come. Short validity bounds how long a stolen key is of use, not since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaTlsRules {
    /// Longest accepted validity in seconds.
    pub longest_validity_seconds: u64,
}

impl Default for RaTlsRules {
    /// A week, [`MAX_RA_TLS_VALIDITY_SECONDS`].
    fn default() -> Self {
        Self { longest_validity_seconds: MAX_RA_TLS_VALIDITY_SECONDS }
    }
}

/// Whoever holds the key of this certificate, or relays to the one who does. Level `certificate`.
///
/// Proves that genuine hardware signed a commitment to this key and these dates, at a time unknown
/// that the guest's clock put before `notBefore`. It does **not** prove freshness beyond the dates,
/// nor that a connection on which the certificate was shown ends in the TEE.
#[derive(Debug)]
pub struct RaTlsPeer {
    verified: Verified<Claims>,
    binding: RaTlsBinding,
}

/// Why a certificate was refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RaTlsError {
    /// Longer than [`MAX_RA_TLS_CERTIFICATE_LEN`], and not parsed.
    #[error("the certificate has {got} bytes, allowed are {MAX_RA_TLS_CERTIFICATE_LEN}")]
    TooLong {
        /// Its length in bytes.
        got: usize,
    },
    /// Not an X.509 certificate in DER.
    #[error("the certificate is not X.509 in DER")]
    Certificate(#[source] der::Error),
    /// It has no Evidence.
    #[error("the certificate has no extension with evidence")]
    Missing,
    /// It has Evidence more than once.
    #[error("the certificate has {got} extensions with evidence")]
    Repeated {
        /// How many.
        got: usize,
    },
    /// The extension is marked critical, which ours never is.
    #[error("the extension with evidence is marked critical")]
    Critical,
    /// The extension is not what it should be.
    #[error("the extension with evidence is malformed")]
    Extension(#[source] ExtensionError),
    /// It is not valid yet.
    #[error("the certificate is valid from {from}, now is {now}")]
    NotYetValid {
        /// `notBefore`.
        from: UnixTime,
        /// The Relying Party's time.
        now: UnixTime,
    },
    /// It is not valid any more.
    #[error("the certificate was valid until {until}, now is {now}")]
    Expired {
        /// `notAfter`.
        until: UnixTime,
        /// The Relying Party's time.
        now: UnixTime,
    },
    /// It is valid for too long: its Evidence could be that old.
    #[error("the certificate is valid for {got} s, allowed are {limit} s")]
    Validity {
        /// Its validity in seconds.
        got: u64,
        /// The bound in seconds.
        limit: u64,
    },
    /// The Evidence does not parse.
    #[error("the evidence in the certificate does not parse")]
    Evidence(#[source] EvidenceError),
    /// The Evidence does not verify over this key and these dates.
    #[error("the evidence in the certificate does not verify")]
    Verify(#[source] VerifyError),
}

/// Verifies a leaf certificate (DER) that a peer showed.
///
/// Its own signature is not looked at: what vouches for key and dates is the Evidence, and for the
/// rest nobody. Names in it are not compared with anything.
///
/// # Errors
/// [`RaTlsError`], in the order of its variants.
pub fn verify_certificate(
    leaf: &[u8],
    trust: &PeerTrust,
    rules: RaTlsRules,
    now: UnixTime,
) -> Result<RaTlsPeer, RaTlsError> {
    if leaf.len() > MAX_RA_TLS_CERTIFICATE_LEN {
        return Err(RaTlsError::TooLong { got: leaf.len() });
    }
    let certificate = Certificate::from_der(leaf).map_err(RaTlsError::Certificate)?;
    let tbs = certificate.tbs_certificate();
    let value = the_extension(tbs.extensions().map_or(&[], Vec::as_slice))?;
    let validity = tbs.validity();
    let binding = RaTlsBinding {
        spki_sha256: sha256(
            &tbs.subject_public_key_info().to_der().map_err(RaTlsError::Certificate)?,
        ),
        not_before: UnixTime(validity.not_before.to_unix_duration().as_secs()),
        not_after: UnixTime(validity.not_after.to_unix_duration().as_secs()),
    };
    within_validity(&binding, rules, now)?;
    let wrapped = CertificateEvidence::parse(value).map_err(RaTlsError::Extension)?;
    let evidence =
        Evidence::parse_kbs(wrapped.tee, &wrapped.evidence).map_err(RaTlsError::Evidence)?;
    //= attestation/SPEC.md#13.2
    //# A Verifier MUST compute the expected report data from the leaf certificate that signed the
    //# handshake.
    let PeerTrust { endorsements, anchors, options } = trust;
    let expected = binding.report_data();
    let verified = verify_with(&evidence, endorsements, anchors, &expected, now, options)
        .map_err(RaTlsError::Verify)?;
    Ok(RaTlsPeer::assertion(verified, binding))
}

/// The value of the one extension with Evidence.
fn the_extension(extensions: &[Extension]) -> Result<&[u8], RaTlsError> {
    let mut found = extensions.iter().filter(|extension| extension.extn_id == OID);
    let extension = found.next().ok_or(RaTlsError::Missing)?;
    match found.count() {
        0 => {}
        more => return Err(RaTlsError::Repeated { got: more.saturating_add(1) }),
    }
    if extension.critical {
        return Err(RaTlsError::Critical);
    }
    Ok(extension.extn_value.as_bytes())
}

fn within_validity(
    binding: &RaTlsBinding,
    rules: RaTlsRules,
    now: UnixTime,
) -> Result<(), RaTlsError> {
    let RaTlsBinding { not_before: from, not_after: until, .. } = *binding;
    if now < from {
        return Err(RaTlsError::NotYetValid { from, now });
    }
    if until < now {
        return Err(RaTlsError::Expired { until, now });
    }
    let (got, limit) = (until.0.saturating_sub(from.0), rules.longest_validity_seconds);
    if got > limit {
        return Err(RaTlsError::Validity { got, limit });
    }
    Ok(())
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
        *to = *from;
    }
    out
}

impl RaTlsPeer {
    /// The only birth of a `RaTlsPeer`, where the Evidence verified over the leaf's key and dates.
    fn assertion(verified: Verified<Claims>, binding: RaTlsBinding) -> Self {
        Self { verified, binding }
    }

    /// Always [`BindingLevel::Certificate`].
    #[must_use]
    pub fn level(&self) -> BindingLevel {
        BindingLevel::Certificate
    }

    /// The verified claims.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        self.verified.get()
    }

    /// The key and the dates that the Evidence commits to.
    #[must_use]
    pub fn binding(&self) -> RaTlsBinding {
        self.binding
    }

    /// Which machine made the Evidence, and which key it speaks of.
    #[must_use]
    pub fn instance(&self) -> Instance {
        Instance::of(self.claims(), self.binding.spki_sha256)
    }

    /// Compares what is behind the key with what was expected. A certificate names no model and no
    /// configuration: expecting one of those is a reason against.
    ///
    /// # Errors
    /// [`PeerRefusal`] with every reason against.
    pub fn appraise(
        self,
        expectations: &Expectations,
        now: UnixTime,
    ) -> Result<AttestationResult, PeerRefusal> {
        let mut reasons = expectations.pins.reasons_against(&self.instance());
        reasons.extend(not_stated(expectations));
        let references = &expectations.reference_values;
        match appraise(self.verified, references, &expectations.policy, now) {
            Ok(result) if reasons.is_empty() => Ok(result),
            Ok(_) => Err(PeerRefusal { reasons }),
            Err(mut refusal) => {
                refusal.reasons.append(&mut reasons);
                Err(PeerRefusal { reasons: refusal.reasons })
            }
        }
    }
}

/// Expectations that nothing in a certificate can meet.
fn not_stated(expectations: &Expectations) -> Vec<Reason> {
    let Expectations { manifest_digest, config_digest, minimum_model_version, .. } = expectations;
    let asked = [
        ("manifest_digest", *manifest_digest != ExpectedDigest::NotCompared),
        ("config_digest", *config_digest != ExpectedDigest::NotCompared),
        ("model.version", *minimum_model_version > 0),
    ];
    asked
        .into_iter()
        .filter(|(_, asked)| *asked)
        .map(|(claim, _)| {
            Reason::new(
                "ra-tls.not-stated",
                "model",
                claim,
                ("a value to compare", "a certificate does not say"),
                "ask the attestation endpoint, at level channel",
            )
        })
        .collect()
}

impl RaTlsError {
    /// The refusal as reasons with what was expected, what was there and what to do.
    #[must_use]
    pub fn reasons(&self) -> Vec<Reason> {
        const CLOCK: &str = "compare the clocks of both sides; if they agree, have the peer make a \
                             new certificate";
        const ISSUER: &str = "connect to a peer that issues RA-TLS certificates of this version, \
                              without a TLS proxy between";
        let one = |code: &'static str, expected: String, got: String, remedy: &str| {
            vec![Reason::new(code, "ra-tls", "certificate", (expected, got), remedy)]
        };
        let bytes = |limit: usize| format!("at most {limit} bytes");
        match self {
            Self::Evidence(error) => error.reasons(),
            Self::Verify(error) => error.reasons(),
            Self::TooLong { got } => one(
                "ra-tls.too-long",
                bytes(MAX_RA_TLS_CERTIFICATE_LEN),
                format!("{got} bytes"),
                ISSUER,
            ),
            Self::Certificate(error) => {
                one("ra-tls.certificate", "X.509 in DER".into(), error.to_string(), ISSUER)
            }
            Self::Missing => {
                one("ra-tls.missing", "one extension 2.23.133.5.4.9".into(), "none".into(), ISSUER)
            }
            Self::Repeated { got } => one(
                "ra-tls.repeated",
                "one extension 2.23.133.5.4.9".into(),
                got.to_string(),
                ISSUER,
            ),
            Self::Critical => {
                one("ra-tls.critical", "not critical".into(), "critical".into(), ISSUER)
            }
            Self::Extension(ExtensionError::TooLong { got }) => one(
                "ra-tls.extension-too-long",
                bytes(MAX_RA_TLS_EXTENSION_LEN),
                format!("{got} bytes"),
                ISSUER,
            ),
            Self::Extension(error) => {
                one("ra-tls.extension", "a CMW with Evidence".into(), error.to_string(), ISSUER)
            }
            Self::NotYetValid { from, now } => {
                one("ra-tls.not-yet-valid", format!("from {from}"), format!("now {now}"), CLOCK)
            }
            Self::Expired { until, now } => {
                one("ra-tls.expired", format!("until {until}"), format!("now {now}"), CLOCK)
            }
            Self::Validity { got, limit } => one(
                "ra-tls.validity",
                format!("at most {limit} s"),
                format!("{got} s"),
                "have the peer make certificates of shorter validity",
            ),
        }
    }
}
