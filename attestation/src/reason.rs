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

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} [{}] {}: expected {}, got {}; {}",
            self.rung, self.code, self.claim, self.expected, self.got, self.remedy
        )
    }
}
