//! The text of a policy, parsed once: bounded, in package `policy`, without builtins that reach out.

use adyton_attestation::limits::MAX_REGO_LEN;
use regorus::Engine;

use crate::refusal::RegoRefusal;
use crate::structure::{refuse_formats, refuse_nesting, refuse_recursion};

/// Builtins that a policy may not use: their result is no function of the claims, or their cost has no
/// bound that a clock could enforce (one call takes all the memory that it asks for).
const FORBIDDEN: [&str; 9] = [
    "bits.lsh",
    "http.send",
    "net.lookup_ip_addr",
    "numbers.range",
    "numbers.range_step",
    "opa.runtime",
    "rand.intn",
    "rego.parse_module",
    "uuid.rfc4122",
];

/// A policy that parses. Holding one proves nothing about what it decides.
#[derive(Clone, Debug)]
pub struct RegoPolicy {
    text: String,
    syntax: Syntax,
}

/// Which of the two grammars the text is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// With `if` and `contains`, of OPA 1.0 and of `import rego.v1`.
    V1,
    /// As before OPA 1.0.
    V0,
}

impl RegoPolicy {
    /// Parses a policy: as Rego v1, and where that fails as v0, for policies that were written before.
    ///
    /// # Errors
    /// [`RegoRefusal::TooLong`], [`Forbidden`](RegoRefusal::Forbidden),
    /// [`Nesting`](RegoRefusal::Nesting), [`Syntax`](RegoRefusal::Syntax),
    /// [`Recursion`](RegoRefusal::Recursion), [`Package`](RegoRefusal::Package), in this order.
    pub fn parse(text: &str) -> Result<Self, RegoRefusal> {
        if text.len() > MAX_REGO_LEN {
            return Err(RegoRefusal::TooLong { got: text.len(), limit: MAX_REGO_LEN });
        }
        // By letters and not by syntax, so that no way of writing a call gets around it.
        let dense: String = text
            .chars()
            .filter(|c| !c.is_whitespace())
            .collect::<String>()
            .replace("[\"", ".")
            .replace("[`", ".");
        if let Some(builtin) = FORBIDDEN.iter().find(|builtin| dense.contains(**builtin)) {
            return Err(RegoRefusal::Forbidden { builtin });
        }
        refuse_nesting(text)?;
        let (syntax, package) = match package(text, Syntax::V1) {
            Ok(package) => (Syntax::V1, package),
            // The older grammar has its own idea of what is wrong; the newer one's counts.
            Err(refusal @ (RegoRefusal::Recursion { .. } | RegoRefusal::Forbidden { .. })) => {
                return Err(refusal);
            }
            Err(refusal) => (Syntax::V0, package(text, Syntax::V0).map_err(|_| refusal)?),
        };
        if package != "data.policy" {
            return Err(RegoRefusal::Package { got: package.chars().take(120).collect() });
        }
        Ok(Self { text: text.to_owned(), syntax })
    }

    /// The text as it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the text, lower-case hex.
    #[must_use]
    pub fn digest(&self) -> String {
        hex::encode(ring::digest::digest(&ring::digest::SHA256, self.text.as_bytes()))
    }

    /// An interpreter with this policy in it.
    pub(crate) fn engine(&self) -> Result<Engine, RegoRefusal> {
        let mut engine = engine(self.syntax);
        engine.add_policy("policy.rego".to_owned(), self.text.clone()).map_err(syntax_error)?;
        Ok(engine)
    }
}

fn engine(syntax: Syntax) -> Engine {
    let mut engine = Engine::new();
    engine.set_rego_v0(syntax == Syntax::V0);
    // What a policy prints is kept from stderr, which is the broker's log.
    engine.set_gather_prints(true);
    engine
}

fn package(text: &str, syntax: Syntax) -> Result<String, RegoRefusal> {
    let text = text.to_owned();
    crate::engine::contained(move || {
        let mut engine = engine(syntax);
        let package = engine.add_policy("policy.rego".to_owned(), text).map_err(syntax_error)?;
        let tree = engine.get_ast_as_json().map_err(syntax_error)?;
        let tree = serde_json::from_str(&tree).map_err(syntax_error)?;
        refuse_recursion(&tree)?;
        refuse_formats(&tree)?;
        Ok(package)
    })
}

fn syntax_error(error: impl std::fmt::Display) -> RegoRefusal {
    RegoRefusal::Syntax { detail: error.to_string().chars().take(400).collect() }
}
