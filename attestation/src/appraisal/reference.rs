//! The one rule about Reference Values, whatever the TEE: a set that the policy names matches as a whole.
//!
//! In: the sets for the TEE in question, and what each differs in. Out: the name of the one that differs
//! in nothing, or the reasons of the nearest.
//! Against: no Reference Values, which means no; parts of several sets that never belonged together.

use crate::appraisal::{AppraisalPolicy, joined};
use crate::reason::Reason;

/// One set of the TEE in question: its name, and what the claims differ from it in.
pub(super) struct Compared<'a> {
    pub(super) name: &'a str,
    pub(super) differing: Vec<Reason>,
}

/// The name of the set that matches. `compared` has the sets for this TEE; of those the policy's count.
pub(super) fn matching<'a>(
    rung: &'static str,
    tee: &str,
    policy: &AppraisalPolicy,
    compared: impl Iterator<Item = Compared<'a>>,
    reasons: &mut Vec<Reason>,
) -> Option<String> {
    let named = &policy.reference_values;
    //= attestation/SPEC.md#6
    //# An appraisal without Reference Values MUST refuse.
    if named.is_empty() {
        reasons.push(Reason::new(
            "reference-values.none-named",
            rung,
            "reference values",
            ("at least one named set", "none"),
            "name the accepted sets in the policy's `reference_values`",
        ));
        return None;
    }
    //= attestation/SPEC.md#6
    //# One set that the policy names MUST match in all compared registers; parts of several sets MUST NOT add up.
    let candidates = compared.filter(|set| named.iter().any(|name| name == set.name));
    // The nearest set tells most: a new kernel is one register off, a foreign system all of them.
    match candidates.min_by_key(|set| set.differing.len()) {
        Some(set) if set.differing.is_empty() => Some(set.name.to_owned()),
        Some(set) => {
            reasons.extend(set.differing);
            None
        }
        None => {
            reasons.push(Reason::new(
                "reference-values.unknown",
                rung,
                "reference values",
                (format!("{} for {tee}", joined(named.iter())), "no set of these names"),
                "add the set with `adyton reference-values add`, or correct the names in the policy",
            ));
            None
        }
    }
}

/// A claim that is none of the values that a set lists for it.
pub(super) fn differing<T: ToString>(
    code: &'static str,
    rung: &'static str,
    claim: &str,
    got: T,
    accepted: &[T],
    set: &str,
) -> Reason {
    let remedy = format!(
        "if this software is new and trusted, add the value to set {set} with \
         `adyton reference-values add`; otherwise find out what was started instead"
    );
    Reason::new(code, rung, claim, (listed(accepted, set), got.to_string()), remedy)
}

/// What a set would have accepted.
pub(super) fn listed<T: ToString>(accepted: &[T], set: &str) -> String {
    match accepted {
        [] => format!("a value listed in set {set}, which lists none"),
        values => values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "),
    }
}
