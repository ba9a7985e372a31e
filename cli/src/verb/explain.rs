//! `adyton explain`: the broker's decisions with every reason, for the owner.
//!
//! A guest that is refused gets codes and an id; this verb shows what stands behind the id.

use adyton_attestation::Reason;
use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Context;
use crate::console::{Paint, Tone};
use crate::failure::{Failure, reasons_text};
use crate::https::block_on;
use crate::table::{Cell, Facts, Table, shortened};

/// Shown under the help.
pub const EXAMPLES: &str = "\
Examples:
  adyton explain                              the last decisions
  adyton explain 0192f0c1                     one of them, with every reason
  adyton explain 0192f0c1 --output json | jq '.reasons[].code'";

/// How many decisions are listed at most.
const LIST_MAXIMUM: u16 = 1000;

/// Arguments of `adyton explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Id of a decision, as in the sidecar's log; without it the last decisions are listed
    #[arg(value_name = "DECISION_ID")]
    decision: Option<String>,
    /// How many decisions to list
    #[arg(long, value_name = "N", default_value_t = 20, conflicts_with = "decision",
          value_parser = clap::value_parser!(u16).range(1..=i64::from(LIST_MAXIMUM)))]
    limit: u16,
}

/// One decision as far as this version shows it; JSON output passes on all of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Decision {
    id: String,
    at: String,
    outcome: String,
    kid: Option<String>,
    peer: Option<String>,
    policy_digest: Option<String>,
    matched_reference_values: Option<String>,
    reasons: Vec<Reason>,
    claims: Value,
}

/// Runs `adyton explain`.
///
/// # Errors
/// [`Failure`] of the settings, the transport or the broker.
pub fn run(args: &ExplainArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let broker = context.broker()?;
    match &args.decision {
        Some(id) => {
            let path = format!("/adyton/v1/decisions/{}", path_segment(id));
            let reply: Value =
                block_on(async { Ok(broker.get("find the decision", &path, &[]).await?) })?;
            let text = one(&read(&reply), context.console.paint());
            context.console.result(&text, &reply)
        }
        None => {
            let limit = args.limit.to_string();
            let reply: Value = block_on(async {
                let query = [("limit", limit.as_str())];
                Ok(broker.get("list the decisions", "/adyton/v1/decisions", &query).await?)
            })?;
            let list = reply.get("decisions").and_then(Value::as_array);
            let decisions: Vec<Decision> = list.into_iter().flatten().map(read).collect();
            let text = many(&decisions, context.console.paint());
            context.console.result(&text, &reply)?;
            if decisions.is_empty() {
                context.console.note(Tone::Dim, "The broker has decided nothing yet.");
            }
            Ok(())
        }
    }
}

/// A decision of a newer broker is shown as far as it can be read, not refused: nothing hangs on it.
fn read(value: &Value) -> Decision {
    Decision::deserialize(value).unwrap_or_else(|_| {
        let text =
            |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Decision { id: text("id"), at: text("at"), outcome: text("outcome"), ..Decision::default() }
    })
}

fn outcome(decision: &Decision) -> Cell {
    let tone = match decision.outcome.as_str() {
        "allowed" | "released" => Tone::Good,
        _ => Tone::Bad,
    };
    Cell::new(tone, &decision.outcome)
}

fn many(decisions: &[Decision], paint: Paint) -> String {
    let mut table = Table::new(["DECISION", "AT", "OUTCOME", "KEY", "REASONS"]);
    for decision in decisions {
        let codes: Vec<&str> = decision.reasons.iter().map(|r| r.code.as_ref()).collect();
        table.row([
            Cell::from(&decision.id),
            Cell::from(&decision.at),
            outcome(decision),
            Cell::from(decision.kid.as_deref().unwrap_or("–")),
            Cell::from(codes.join(", ")),
        ]);
    }
    table.render(paint)
}

fn one(decision: &Decision, paint: Paint) -> String {
    let mut facts = Facts::new();
    facts.add("decision", Cell::new(Tone::Strong, &decision.id));
    facts.add("at", &decision.at);
    facts.add("outcome", outcome(decision));
    facts.add("key", decision.kid.as_deref().unwrap_or("–"));
    let more = [
        ("peer", &decision.peer),
        ("policy", &decision.policy_digest),
        ("matched", &decision.matched_reference_values),
    ];
    for (label, value) in more {
        if let Some(value) = value {
            facts.add(label, shortened(value));
        }
    }
    let mut text = facts.render(paint);
    if !decision.reasons.is_empty() {
        text.push_str(&format!("\n{}\n", paint.text(Tone::Strong, "Reasons")));
        text.push_str(&reasons_text(&decision.reasons, paint));
    }
    let empty = Map::new();
    let claims = decision.claims.as_object().unwrap_or(&empty);
    if !claims.is_empty() {
        text.push_str(&format!("\n{}\n", paint.text(Tone::Strong, "Claims")));
        text.push_str(&claim_facts(claims).render(paint));
    }
    text
}

/// Claims of any TEE as facts, in the order of their names; nested ones as compact JSON.
fn claim_facts(claims: &Map<String, Value>) -> Facts {
    let mut names: Vec<&String> = claims.keys().collect();
    names.sort();
    let mut facts = Facts::new();
    for name in names {
        match claims.get(name) {
            Some(Value::String(text)) => facts.add(name, shortened(text)),
            Some(other) => facts.add(name, json!(other).to_string()),
            None => {}
        }
    }
    facts
}

fn path_segment(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes())
        .collect::<String>()
        // In a path a plus sign is a plus sign.
        .replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied() -> Value {
        json!({
            "id": "d-1", "at": "2026-01-02T03:04:05Z", "outcome": "denied", "kid": "kbs:///a/b/c",
            "reasons": [{"code": "tdx.measurement.mrtd", "rung": "policy", "claim": "mrtd",
                "expected": "one of 1", "got": "00", "remedy": "add it with `adyton reference-values add`"}],
            "claims": {"tee": "tdx", "mrtd": "ab".repeat(48), "advisory_ids": ["X"]},
            "a_later_member": 1,
        })
    }

    #[test]
    fn a_denied_decision_shows_each_reason_with_its_remedy_and_the_claims() {
        assert_eq!(
            one(&read(&denied()), Paint::Plain),
            "  decision  d-1\n  at        2026-01-02T03:04:05Z\n  outcome   denied\n  key       kbs:///a/b/c\n\
             \nReasons\n  ✗ tdx.measurement.mrtd (policy)\n      claim     mrtd\n      got       00\n      \
             expected  one of 1\n      remedy    add it with `adyton reference-values add`\n\
             \nClaims\n  advisory_ids  [\"X\"]\n  mrtd          abababababab…ababab\n  tee           tdx\n"
        );
    }

    #[test]
    fn a_decision_of_another_shape_is_still_listed() {
        let odd = json!({"id": "d-2", "at": "now", "outcome": "denied", "reasons": "many"});
        let text = many(&[read(&odd)], Paint::Plain);
        assert!(text.ends_with("d-2       now  denied   –\n"), "{text}");
    }

    #[test]
    fn an_id_cannot_leave_its_path_segment() {
        assert_eq!(path_segment("../keys?x=1 y"), "..%2Fkeys%3Fx%3D1%20y");
    }
}
