//! Replay of an event log to the registers of a quote: rung T13.
//!
//! Role: Verifier (RFC 9334 §4.1). In: the log as the guest sent it, RTMR0 to RTMR3 of the same quote.
//! Out: [`EventLogClaims`], or why the log proves nothing. A register starts at zero, and each event
//! makes it SHA-384(register ‖ digest); all four have to come out.
//! Against: events left out, added, repeated or put in another order; a log of another boot; content
//! that nobody measured; one event read as another.
//!
//! Claims are made by the ladder only after the quote that holds the registers is verified.

use ring::digest::{Context, SHA384, digest};

use crate::claims::{
    ApplicationEvent, EventClaim, EventContent, EventLogClaims, Measurement, Rtmr,
};
use crate::evidence::event_log::{CcEvent, CcEventLog, EV_EVENT_TAG, EventLogError};
use crate::evidence::tdx::{EventLog, TdxEvidence};
use crate::limits::MAX_EVENT_CONTENT_LEN;
use crate::reason::Reason;

/// Id of tagged data that are an application event: `AAEL`, as a little-endian number.
const APPLICATION_EVENT: &[u8; 4] = b"LEAA";
const RECOLLECT: &str = "collect quote and event log again from the same boot; if it happens again, something extends registers without a log entry, or the log was altered on its way";

/// Why an event log proves nothing. Rung T13.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventLogRefusal {
    /// The bytes are no event log.
    #[error("event log is malformed")]
    Malformed(#[from] EventLogError),
    /// The events do not add up to a register of the quote.
    #[error("event log does not replay to {register}")]
    Register {
        /// The first register that differs.
        register: Rtmr,
        /// What the quote has.
        quote: Measurement,
        /// What the log adds up to.
        replayed: Measurement,
    },
}

impl EventLogRefusal {
    /// The refusal as one [`Reason`].
    pub(in crate::verifier) fn reason(&self) -> Reason {
        let (code, claim, expected, got) = match self {
            Self::Malformed(error) => (
                "tdx.event-log.malformed",
                "event log".to_owned(),
                "a crypto-agile log with SHA-384 digests".to_owned(),
                error.to_string(),
            ),
            Self::Register { register, quote, replayed } => (
                "tdx.event-log.replay",
                format!("event log of {register}"),
                format!("{quote}, as in the quote"),
                replayed.to_string(),
            ),
        };
        Reason::new(code, "T13", claim, (expected, got), RECOLLECT)
    }
}

/// T13: no log, or one whose events add up to every register.
//
//= attestation/SPEC.md#10
//# A Verifier MUST refuse Evidence with a log that does not replay to all four registers of its quote.
pub(super) fn replay(evidence: &TdxEvidence) -> Result<EventLogClaims, EventLogRefusal> {
    let bytes = match evidence.event_log() {
        EventLog::Absent => return Ok(EventLogClaims::Absent),
        EventLog::Present(bytes) => bytes,
    };
    let log = CcEventLog::parse(bytes)?;
    let replayed = registers(&log);
    let quoted = evidence.quote().body.rtmr;
    for ((register, quote), replayed) in Rtmr::ALL.into_iter().zip(quoted).zip(replayed) {
        if quote != replayed {
            return Err(EventLogRefusal::Register { register, quote, replayed });
        }
    }
    Ok(EventLogClaims::Replayed { events: log.events.iter().map(claim).collect() })
}

/// What the events of a log add up to, RTMR0 to RTMR3. Proves nothing by itself.
#[must_use]
pub fn registers(log: &CcEventLog<'_>) -> [Measurement; 4] {
    Rtmr::ALL.map(|register| {
        let events = log.events.iter().filter(|event| event.register == register);
        events.fold(Measurement([0; 48]), |value, event| extended(value, event.digest))
    })
}

fn extended(value: Measurement, digest: Measurement) -> Measurement {
    let mut context = Context::new(&SHA384);
    context.update(&value.0);
    context.update(&digest.0);
    sha384(context.finish().as_ref())
}

/// The bytes of a SHA-384 digest.
fn sha384(digest: &[u8]) -> Measurement {
    let mut value = Measurement([0; 48]);
    value.0.copy_from_slice(digest);
    value
}

fn claim(event: &CcEvent<'_>) -> EventClaim {
    EventClaim {
        register: event.register,
        alleged_type: event.event_type,
        digest: event.digest,
        content: content(event),
    }
}

//= attestation/SPEC.md#10
//# Content of an event MUST NOT become a claim unless the event's digest is the SHA-384 of its data.
fn content(event: &CcEvent<'_>) -> EventContent {
    if sha384(digest(&SHA384, event.data).as_ref()) != event.digest {
        return EventContent::Unproven;
    }
    if event.data.len() > MAX_EVENT_CONTENT_LEN {
        return EventContent::TooLong { len: event.data.len() };
    }
    match application_event(event) {
        Some(application) => EventContent::Application(application),
        None => EventContent::Proven { data: event.data.to_vec() },
    }
}

/// The application event in proven data: id, length, then `domain operation content` in UTF-8. Only in
/// register 3, which firmware and boot loader do not extend: nothing that they hashed can be taken for one.
fn application_event(event: &CcEvent<'_>) -> Option<ApplicationEvent> {
    if event.register != Rtmr::Rtmr3 || event.event_type != EV_EVENT_TAG {
        return None;
    }
    let rest = event.data.strip_prefix(APPLICATION_EVENT)?;
    let (len, text) = rest.split_first_chunk()?;
    if usize::try_from(u32::from_le_bytes(*len)) != Ok(text.len()) {
        return None;
    }
    let mut parts = std::str::from_utf8(text).ok()?.splitn(3, ' ').map(str::to_owned);
    let event = ApplicationEvent {
        domain: parts.next()?,
        operation: parts.next()?,
        content: parts.next()?,
    };
    (!event.domain.is_empty() && !event.operation.is_empty()).then_some(event)
}
