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
    /// `T1` to `T18`, `S1` to `S18`, `A1` to `A5`; `SPEC.md` describes each.
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
    /// Not for a climb to decide, and not decided yet: whose question it is.
    LeftTo(LeftTo),
    /// No question for this Evidence, and why.
    NotApplicable(NotApplicable),
}

/// Who decides a rung that a climb of the Verifier leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeftTo {
    /// Whoever sent a Challenge: only they know what the report data should be. Stored Evidence has
    /// none, so nothing can show that it is fresh.
    Challenge,
    /// The appraisal, under a policy and its Reference Values.
    Appraisal,
}

impl fmt::Display for LeftTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Challenge => "left to the challenge: stored Evidence can't prove freshness",
            Self::Appraisal => "left to the appraisal",
        })
    }
}

/// Why a rung is no question for this Evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotApplicable {
    /// T13: no event log came with the quote.
    NoEventLog,
    /// T18, S18 under a vTPM: rung A1 compares the hardware's report data with the var-data.
    ComparedByA1,
    /// A3: Evidence of version 1 does not state the hardware's challenge.
    NotStatedInVersion1,
    /// A rung of the appraisal, where a policy in Rego was asked alone.
    RegoAlone,
}

impl fmt::Display for NotApplicable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoEventLog => "no event log came with the quote",
            Self::ComparedByA1 => "rung A1 compares them with the var-data",
            Self::NotStatedInVersion1 => "version 1 does not state it",
            Self::RegoAlone => "a policy in Rego was asked alone",
        })
    }
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
    /// count as passed, as they do in the Verifier under the same options. So do those that are left
    /// to somebody else: this is about the climb.
    #[must_use]
    pub fn all_passed(&self) -> bool {
        self.rungs.iter().all(|rung| match rung.outcome {
            Outcome::Passed
            | Outcome::Waived(_)
            | Outcome::LeftTo(_)
            | Outcome::NotApplicable(_) => true,
            Outcome::Failed(_) | Outcome::NotReached => false,
        })
    }

    /// Enters what came of the comparison with a Challenge: `refusal` is the first reason of whoever
    /// compared, `None` where everything was as expected.
    ///
    /// For the picture only. The proof is the value that the comparison gave, not this record.
    pub fn settle_challenge(&mut self, refusal: Option<&Reason>) {
        let sound = self.all_passed();
        self.settle(LeftTo::Challenge, || match refusal {
            None => Outcome::Passed,
            // When another rung refused, nobody got as far as the report data.
            Some(_) if !sound => Outcome::NotReached,
            Some(reason) => Outcome::Failed(reason.clone()),
        });
    }

    /// Enters what an appraisal under typed rules said: `reasons` are all that it had against the
    /// claims. A rung with a reason is failed, the Verifier's own included (a TCB status that no policy
    /// accepts stands at T8); what was left to the appraisal and has none is passed.
    ///
    /// For the picture only, as [`settle_challenge`](Self::settle_challenge).
    pub fn settle_appraisal(&mut self, reasons: &[Reason]) {
        self.settle(LeftTo::Appraisal, || Outcome::Passed);
        for rung in &mut self.rungs {
            if let Some(reason) = reasons.iter().find(|reason| reason.rung == rung.id) {
                rung.outcome = Outcome::Failed(reason.clone());
            }
        }
    }

    /// Enters that nobody asked typed rules: a policy in Rego was asked alone.
    pub fn settle_rego_alone(&mut self) {
        self.settle(LeftTo::Appraisal, || Outcome::NotApplicable(NotApplicable::RegoAlone));
    }

    fn settle(&mut self, left_to: LeftTo, outcome: impl Fn() -> Outcome) {
        for rung in self.rungs.iter_mut().filter(|rung| rung.outcome == Outcome::LeftTo(left_to)) {
            rung.outcome = outcome();
        }
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
                | Outcome::LeftTo(_)
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
                | Outcome::LeftTo(_)
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
            Outcome::LeftTo(whom) => write!(f, "– {id} {title}: {whom}"),
            Outcome::NotApplicable(why) => write!(f, "– {id} {title}: {why}"),
        }
    }
}
