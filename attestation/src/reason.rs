//! Why a trust decision said no, in a form that a person can act on and a program can match.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One reason against. The same shape for a failed rung of the Verifier and for a claim that the
/// appraisal policy does not accept.
///
/// It is for the model owner: `got` may carry measurements. A guest gets codes only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Stable, dotted, for programs: `tdx.measurement.mrtd`. Listed in `SPEC.md`.
    pub code: Cow<'static, str>,
    /// Rung of the ladder, `T1` to `T18`, or `policy` for what no rung covers.
    pub rung: String,
    /// The claim that was looked at.
    pub claim: String,
    /// What would have been accepted.
    pub expected: String,
    /// What was there.
    pub got: String,
    /// What a person can do about it.
    pub remedy: String,
}

impl Reason {
    /// A reason from its parts; `expected` and `got` as a pair, so that they stand as they are read.
    #[must_use]
    pub fn new(
        code: impl Into<Cow<'static, str>>,
        rung: impl Into<String>,
        claim: impl Into<String>,
        (expected, got): (impl Into<String>, impl Into<String>),
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            code: code.into(),
            rung: rung.into(),
            claim: claim.into(),
            expected: expected.into(),
            got: got.into(),
            remedy: remedy.into(),
        }
    }

    /// Whether the Verifier lacked a vendor's statement, so that the Evidence may be as good as any and
    /// the same question may be asked again when the statement is there. Not for one that is there and
    /// is no longer or not yet valid, revoked or damaged: that is a verdict.
    #[must_use]
    pub fn lacks_endorsements(&self) -> bool {
        awaits_vendor(&self.code)
    }
}

/// As [`Reason::lacks_endorsements`], by the code alone: all that a guest is told.
#[must_use]
pub fn awaits_vendor(code: &str) -> bool {
    matches!(
        code,
        "endorsements.unavailable"
            | "tdx.endorsements.missing"
            | "tdx.revocation.missing"
            | "snp.key.missing"
            | "snp.chain.intermediate"
            | "snp.revocation.missing"
    )
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} [{}] {}: expected {}, got {}; {}",
            self.rung, self.code, self.claim, self.expected, self.got, self.remedy
        )
    }
}
