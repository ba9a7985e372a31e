//! Why a Rego policy gives no yes.

use adyton_attestation::Reason;
use adyton_attestation::ear::Tier;

/// One refusal. Everything that is not a clear yes is one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegoRefusal {
    /// More bytes than are read.
    #[error("policy has {got} bytes; at most {limit} are read")]
    TooLong {
        /// Its size in bytes.
        got: usize,
        /// The bound in bytes.
        limit: usize,
    },
    /// A builtin that no policy may use.
    #[error("policy uses {builtin}")]
    Forbidden {
        /// The builtin.
        builtin: &'static str,
    },
    /// Too many brackets in brackets.
    #[error("policy is nested deeper than {limit} brackets")]
    Nesting {
        /// The bound.
        limit: usize,
    },
    /// A rule that asks itself, or a chain of rules that is too long.
    #[error("rule {rule} is recursive, or asks through more than 32 others")]
    Recursion {
        /// The rule.
        rule: String,
    },
    /// No Rego.
    #[error("policy can't be parsed: {detail}")]
    Syntax {
        /// The parser's words, with line and column.
        detail: String,
    },
    /// Another package than `policy`.
    #[error("policy is in package {got}")]
    Package {
        /// The package.
        got: String,
    },
    /// The interpreter refused.
    #[error("policy can't be evaluated: {detail}")]
    Evaluation {
        /// The interpreter's words.
        detail: String,
    },
    /// Claims or data that are longer than any genuine ones.
    #[error("{what} of the policy has {got} bytes as JSON")]
    InputTooLong {
        /// Which of them.
        what: &'static str,
        /// Its size in bytes.
        got: usize,
        /// The bound in bytes.
        limit: usize,
    },
    /// Earlier evaluations do not end, so no further one is begun.
    #[error("{left} evaluations do not end")]
    Busy {
        /// How many.
        left: usize,
    },
    /// The evaluation took too long.
    #[error("policy took too long")]
    TooSlow,
    /// A rule without a value.
    #[error("rule {rule} is undefined")]
    Undefined {
        /// The rule.
        rule: &'static str,
    },
    /// A rule with a value of another kind.
    #[error("rule {rule} is {got}")]
    Kind {
        /// The rule.
        rule: String,
        /// What it must be.
        expected: &'static str,
        /// What it is, shortened.
        got: String,
    },
    /// `allow` is false.
    #[error("rule allow is false")]
    Denied,
    /// No trustworthiness claim at all, or one that there is not.
    #[error("trustworthiness claim {name} is not one of the eight")]
    UnknownClaim {
        /// Its name.
        name: String,
    },
    /// A trustworthiness claim that is not affirming, and no resource policy that could accept it.
    #[error("rule {claim} is {value}")]
    NotAffirming {
        /// The claim.
        claim: &'static str,
        /// Its value.
        value: i8,
        /// The tier of the value.
        tier: Tier,
    },
}

impl RegoRefusal {
    /// The refusal as a [`Reason`]; `which` is the name of the policy.
    #[must_use]
    pub fn reason(&self, which: &str) -> Reason {
        const REPAIR: &str = "correct the policy; `adyton policy test` shows what it decides";
        const LOOK: &str =
            "compare the claims in the decision with the rule and its reference values";
        let (code, expected, remedy) = match self {
            Self::TooLong { limit, .. } => {
                ("rego.too-long", format!("at most {limit} bytes"), REPAIR)
            }
            Self::Forbidden { .. } => (
                "rego.forbidden-builtin",
                "builtins that depend on the claims alone".to_owned(),
                REPAIR,
            ),
            Self::Syntax { .. } => ("rego.syntax", "a policy in Rego".to_owned(), REPAIR),
            Self::Nesting { limit } => {
                ("rego.nesting", format!("at most {limit} brackets in brackets"), REPAIR)
            }
            Self::Recursion { .. } => {
                ("rego.recursion", "rules that do not ask themselves".to_owned(), REPAIR)
            }
            Self::Package { .. } => ("rego.package", "package policy".to_owned(), REPAIR),
            Self::Evaluation { .. } => {
                ("rego.evaluation", "a policy that can be evaluated".to_owned(), REPAIR)
            }
            Self::InputTooLong { limit, .. } => (
                "rego.input-too-long",
                format!("at most {limit} bytes"),
                "send a shorter event log, or less Evidence of devices",
            ),
            Self::Busy { .. } => (
                "rego.busy",
                "evaluations that end".to_owned(),
                "find the policy that takes so long (rego.too-slow), replace it, restart the broker",
            ),
            Self::TooSlow => ("rego.too-slow", "a decision within a second".to_owned(), REPAIR),
            Self::Undefined { rule } => {
                ("rego.undefined", format!("a value for rule {rule}"), REPAIR)
            }
            Self::Kind { expected, .. } => ("rego.kind", (*expected).to_owned(), REPAIR),
            Self::Denied => ("rego.denied", "rule allow is true".to_owned(), LOOK),
            Self::UnknownClaim { .. } => {
                ("rego.unknown-claim", "claims of the trustworthiness vector".to_owned(), REPAIR)
            }
            Self::NotAffirming { .. } => {
                ("rego.not-affirming", "2 to 31 (affirming)".to_owned(), LOOK)
            }
        };
        let got = match self {
            Self::NotAffirming { value, tier, .. } => format!("{value} ({tier})"),
            other => other.to_string(),
        };
        let claim = match self {
            Self::NotAffirming { claim, .. } => format!("{which}: {claim}"),
            Self::Undefined { rule } => format!("{which}: {rule}"),
            Self::Kind { rule, .. } => format!("{which}: {rule}"),
            Self::Denied => format!("{which}: allow"),
            _ => which.to_owned(),
        };
        Reason::new(
            code,
            "policy",
            claim,
            (expected, got.chars().take(400).collect::<String>()),
            remedy,
        )
    }
}
