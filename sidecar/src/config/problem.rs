//! A mistake in the configuration, told so that it can be mended.

use std::fmt;

use crate::error::{Exit, Refusal};

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted key, e.g. `model.target`.
    pub key: String,
    /// What is there.
    pub value: String,
    /// What would be accepted.
    pub expected: String,
    /// What to do.
    pub remedy: String,
}

/// All mistakes of a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    pub(super) fn one(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }

    pub(super) fn all(problems: Vec<Problem>) -> Self {
        Self { problems }
    }

    /// The mistakes, in the order of the file's sections.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The same for the log.
    pub fn refusals(&self) -> Vec<Refusal> {
        let refusal = |problem: &Problem| Refusal {
            code: "config",
            step: "config",
            value: format!("{} = {}", problem.key, problem.value),
            expected: problem.expected.clone(),
            remedy: problem.remedy.clone(),
            decision: None,
            codes: Vec::new(),
            exit: Exit::Usage,
        };
        self.problems.iter().map(refusal).collect()
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} mistake(s) in the configuration", self.problems.len())?;
        for problem in &self.problems {
            write!(f, "\n{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "  {} = {}\n    expected: {}\n    remedy:   {}",
            self.key, self.value, self.expected, self.remedy
        )
    }
}
