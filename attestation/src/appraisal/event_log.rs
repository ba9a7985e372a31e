//! Appraisal of a replayed event log: what the owner wants to see in it, rung T13.
//!
//! ```toml
//! [appraisal.event_log]
//! require = true
//!
//! [[appraisal.event_log.events]]
//! register = "rtmr1"
//! digest = "4d3f…"
//!
//! [[appraisal.event_log.application_events]]
//! domain = "coco.example"
//! operation = "load-model"
//! content = "llama"
//! ```
//!
//! In: claims, of which the registers proved every digest. Out: reasons. An event's alleged type decides
//! nothing, because no digest covers it.

use serde::{Deserialize, Serialize};

use crate::appraisal::PolicyError;
use crate::claims::{
    ApplicationEvent, Claims, EventClaim, EventContent, EventLogClaims, Measurement, Rtmr,
};
use crate::limits::MAX_POLICY_EVENTS;
use crate::reason::Reason;

/// The table `[appraisal.event_log]`. Without it a log decides about nothing; one that is sent has to
/// replay all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventLogPolicy {
    /// Whether a log has to be there and replayed. Default: false. Guests that are no TDX trust domain
    /// have none and are refused.
    pub require: bool,
    /// Digests that have to have extended a register.
    pub events: Vec<RequiredEvent>,
    /// Application events that have to be among the proven ones.
    pub application_events: Vec<RequiredApplicationEvent>,
}

/// A digest that has to have extended a register, at least once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequiredEvent {
    /// The register.
    pub register: Rtmr,
    /// SHA-384.
    pub digest: Measurement,
}

/// An application event that has to be in the log, at least once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequiredApplicationEvent {
    /// Its domain, compared as a whole.
    pub domain: String,
    /// Its operation, compared as a whole.
    pub operation: String,
    /// Its content, compared as a whole.
    pub content: String,
}

impl EventLogPolicy {
    /// Refuses values that cannot be meant.
    ///
    /// # Errors
    /// [`PolicyError::Value`].
    pub fn validate(&self) -> Result<(), PolicyError> {
        let refused = |key, got: String, expected| {
            let got = got.chars().take(200).collect();
            Err(PolicyError::Value { key, got, expected })
        };
        let wanted = self.events.len().saturating_add(self.application_events.len());
        if wanted > MAX_POLICY_EVENTS {
            return refused("appraisal.event_log", format!("{wanted} events"), "at most 256");
        }
        if wanted > 0 && !self.require {
            return refused(
                "appraisal.event_log.require",
                "false".to_owned(),
                "true, since events are asked for",
            );
        }
        let is_word = |text: &str| !text.is_empty() && !text.contains(' ');
        let mut words = self.application_events.iter().flat_map(|e| [&e.domain, &e.operation]);
        if let Some(word) = words.find(|word| !is_word(word)) {
            return refused(
                "appraisal.event_log.application_events",
                format!("{word:?}"),
                "a domain and an operation without spaces: others can't be recorded",
            );
        }
        Ok(())
    }
}

/// Every reason against the event log of a guest.
//
//= attestation/SPEC.md#10
//# A policy that asks for an event log MUST refuse a guest of any kind that has no replayed one.
pub(super) fn appraise(claims: &Claims, policy: &EventLogPolicy, reasons: &mut Vec<Reason>) {
    if !policy.require {
        return;
    }
    let events = match claims {
        Claims::Tdx(claims) => match &claims.event_log {
            EventLogClaims::Replayed { events } => Some(events),
            EventLogClaims::Absent => None,
        },
        Claims::Snp(_) | Claims::AzSnpVtpm(_) | Claims::AzTdxVtpm(_) => None,
    };
    let Some(events) = events else {
        reasons.push(Reason::new(
            "tdx.event-log.absent",
            "T13",
            "event log",
            ("a log that replays to the registers", "none"),
            "send the CCEL table as `cc_eventlog` (a TD only; its agent reads it as root); or ask for \
             no log in the policy's `[appraisal.event_log]`",
        ));
        return;
    };
    for wanted in &policy.events {
        if !events.iter().any(|event| is_event(event, wanted)) {
            reasons.push(Reason::new(
                "tdx.event-log.event-missing",
                "T13",
                format!("event log of {}", wanted.register),
                (format!("digest {}", wanted.digest), "no such event"),
                "boot what the policy describes; or correct `events` in `[appraisal.event_log]`",
            ));
        }
    }
    for wanted in &policy.application_events {
        if !events.iter().any(|event| is_application_event(event, wanted)) {
            reasons.push(Reason::new(
                "tdx.event-log.application-event-missing",
                "T13",
                "application events",
                (
                    format!("{} {} {}", wanted.domain, wanted.operation, wanted.content),
                    "no such event that its digest proves",
                ),
                "find out why the guest did not record it; or correct `application_events` in \
                 `[appraisal.event_log]`",
            ));
        }
    }
}

fn is_event(event: &EventClaim, wanted: &RequiredEvent) -> bool {
    event.register == wanted.register && event.digest == wanted.digest
}

fn is_application_event(event: &EventClaim, wanted: &RequiredApplicationEvent) -> bool {
    match &event.content {
        EventContent::Application(ApplicationEvent { domain, operation, content }) => {
            (domain, operation, content) == (&wanted.domain, &wanted.operation, &wanted.content)
        }
        EventContent::Unproven | EventContent::TooLong { .. } | EventContent::Proven { .. } => {
            false
        }
    }
}
