//! The record of a climb: every rung with its outcome, for people and for logs.

use std::fmt;

use serde::Serialize;

use crate::claims::Claims;
use crate::reason::Reason;

/// Every rung of one ladder, in the order in which they are climbed. Gives no proof type: showing
/// that stored Evidence still verifies says nothing about its freshness.
#[derive(Clone, Debug, Serialize)]
pub struct Ladder {
    /// The rungs.
    pub rungs: Vec<RungOutcome>,
    /// The claims, when every rung passed.
    pub claims: Option<Claims>,
}

/// One rung and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct RungOutcome {
    /// `T1` to `T18`; `SPEC.md` describes each.
    pub id: &'static str,
    /// What the rung checks, as one line.
    pub title: &'static str,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a rung.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", content = "detail", rename_all = "kebab-case")]
pub enum Outcome {
    /// Checked and good.
    Passed,
    /// Checked and refused.
    Failed(Reason),
    /// Checked and refused, and let through all the same because an option with an `insecure` name
    /// asked for it. Says what would have been the reason.
    Waived(Reason),
    /// Not checked, because an earlier rung failed that this one stands on.
    NotReached,
    /// Not a question for this climb, and why.
    NotApplicable(String),
}

impl Ladder {
    /// The rungs with their titles, and what stands beside each before it is climbed.
    pub(in crate::verifier) fn unclimbed(
        titles: &[(&'static str, &'static str)],
        before: fn(&str) -> Outcome,
    ) -> Self {
        let rungs = titles
            .iter()
            .map(|&(id, title)| RungOutcome { id, title, outcome: before(id) })
            .collect();
        Self { rungs, claims: None }
    }

    /// Enters what came of a rung.
    pub(in crate::verifier) fn set(&mut self, id: &str, outcome: Outcome) {
        if let Some(rung) = self.rungs.iter_mut().find(|rung| rung.id == id) {
            rung.outcome = outcome;
        }
    }

    /// Whether no rung failed and none was left out for a failure. [`waived`](Self::waived) ones
    /// count as passed, as they do in the Verifier under the same options.
    #[must_use]
    pub fn all_passed(&self) -> bool {
        self.rungs.iter().all(|rung| match rung.outcome {
            Outcome::Passed | Outcome::Waived(_) | Outcome::NotApplicable(_) => true,
            Outcome::Failed(_) | Outcome::NotReached => false,
        })
    }

    /// The reasons of rungs that were let through by an insecure option. Not empty means: say so.
    #[must_use]
    pub fn waived(&self) -> Vec<Reason> {
        self.rungs
            .iter()
            .filter_map(|rung| match &rung.outcome {
                Outcome::Waived(reason) => Some(reason.clone()),
                Outcome::Passed
                | Outcome::Failed(_)
                | Outcome::NotReached
                | Outcome::NotApplicable(_) => None,
            })
            .collect()
    }

    /// The reasons of all failed rungs.
    #[must_use]
    pub fn reasons(&self) -> Vec<Reason> {
        self.rungs
            .iter()
            .filter_map(|rung| match &rung.outcome {
                Outcome::Failed(reason) => Some(reason.clone()),
                Outcome::Passed
                | Outcome::Waived(_)
                | Outcome::NotReached
                | Outcome::NotApplicable(_) => None,
            })
            .collect()
    }
}

impl fmt::Display for RungOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, title) = (self.id, self.title);
        match &self.outcome {
            Outcome::Passed => write!(f, "✓ {id} {title}"),
            Outcome::Failed(reason) => {
                write!(f, "✗ {id} {title}: expected {}, got {}", reason.expected, reason.got)
            }
            Outcome::Waived(reason) => write!(
                f,
                "! {id} {title}: INSECURE, let through on request: expected {}, got {}",
                reason.expected, reason.got
            ),
            Outcome::NotReached => write!(f, "· {id} {title}: not reached"),
            Outcome::NotApplicable(why) => write!(f, "– {id} {title}: {why}"),
        }
    }
}
