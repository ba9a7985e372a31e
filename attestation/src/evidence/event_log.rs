//! Event logs of firmware and boot loader (CCEL), read event by event into types.
//!
//! Role: Evidence (RFC 9334 §4.2). In: at most [`MAX_EVENT_LOG_LEN`] bytes. Out: [`CcEventLog`], an
//! allegation: an event counts only after [`verifier`](crate::verifier) has replayed the log to the
//! registers of a verified quote.
//!
//! Layout: TCG "PC Client Platform Firmware Profile", §10.2 (crypto-agile log); numbers are little-endian.
//! Register indices: UEFI 2.10, §38.4.1: 0 is MRTD, 1 to 4 are RTMR0 to RTMR3.
//!
//! ```text
//!  first event  index u32 ‖ EV_NO_ACTION u32 ‖ 20 zero bytes ‖ size u32 ‖ Spec ID event
//!  Spec ID      "Spec ID Event03\0" ‖ class u32 ‖ versions and uintn [4] ‖ count u32
//!               ‖ count × (algorithm u16 ‖ digest size u16) ‖ size u8 ‖ vendor bytes
//!  other events index u32 ‖ type u32 ‖ count u32 ‖ count × (algorithm u16 ‖ digest)
//!               ‖ size u32 ‖ data
//!  the rest     0xff bytes or zero bytes, up to the end of the table
//! ```
//! Against: lengths and counts that lie, events hidden in padding, a digest list without the registers'
//! algorithm or with two of it.

use crate::claims::{Measurement, Rtmr};
use crate::evidence::reader::{self, Shortage};
use crate::limits::{MAX_EVENT_LOG_ALGORITHMS, MAX_EVENT_LOG_EVENTS, MAX_EVENT_LOG_LEN};

/// `EV_NO_ACTION`: a note that extends no register.
pub const EV_NO_ACTION: u32 = 3;
/// `EV_EVENT_TAG`: tagged data, among them application events.
pub const EV_EVENT_TAG: u32 = 6;
/// `TPM_ALG_SHA384`, the algorithm of the registers.
const ALGORITHM_SHA384: u16 = 0x000c;
const SHA384_LEN: u16 = 48;
/// The largest digest that TCG has an algorithm for: SHA-512.
const MAX_DIGEST_LEN: u16 = 64;
const SIGNATURE: &[u8; 16] = b"Spec ID Event03\0";

/// Why bytes are not an event log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventLogError {
    /// More than [`limits`](crate::limits) allow.
    #[error("{what}: {got}; at most {limit} are read")]
    TooLarge {
        /// What was too large or too many.
        what: &'static str,
        /// Its size or count.
        got: usize,
        /// The bound.
        limit: usize,
    },
    /// The bytes end inside a field.
    #[error("event {event} ends inside {field}: {needed} bytes needed, {left} left")]
    Truncated {
        /// Number of the event, from 0, the Spec ID event.
        event: usize,
        /// The field that was being read.
        field: &'static str,
        /// Its length in bytes.
        needed: usize,
        /// Bytes that were left.
        left: usize,
    },
    /// The log does not begin with a Spec ID event of version 2.
    #[error("does not begin with a Spec ID event: {field} is another")]
    SpecId {
        /// The field.
        field: &'static str,
    },
    /// The Spec ID event declares an algorithm twice, or one of an impossible digest size.
    #[error("declares algorithm {algorithm:#06x} with digests of {size} bytes")]
    AlgorithmSize {
        /// TCG's number.
        algorithm: u16,
        /// Digest size in bytes that is declared.
        size: u16,
    },
    /// The Spec ID event does not declare SHA-384, which TDX registers use.
    #[error("has no SHA-384 digests")]
    NoSha384,
    /// An event has a digest of an algorithm that the Spec ID event does not declare, or two of one.
    #[error("event {event} has an undeclared or second digest of algorithm {algorithm:#06x}")]
    Digest {
        /// Number of the event.
        event: usize,
        /// TCG's number.
        algorithm: u16,
    },
    /// An event has no SHA-384 digest.
    #[error("event {event} has no SHA-384 digest")]
    DigestMissing {
        /// Number of the event.
        event: usize,
    },
    /// An event is said to extend a register that can't be extended or does not exist.
    #[error("event {event} is for register index {index}, 1 to 4 can be extended")]
    Register {
        /// Number of the event.
        event: usize,
        /// The index.
        index: u32,
    },
}

/// An event log. Unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CcEventLog<'a> {
    /// Events that extend a register, in the order of the log. `EV_NO_ACTION` events are not among them.
    pub events: Vec<CcEvent<'a>>,
    /// Bytes of the log before its padding.
    pub len: usize,
}

/// One event. Unverified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CcEvent<'a> {
    /// The register that it extends.
    pub register: Rtmr,
    /// TCG's number of the event type. No digest covers it, not even after a replay.
    pub event_type: u32,
    /// What the register is extended with, SHA-384.
    pub digest: Measurement,
    /// What comes along. For many types this is not what was hashed.
    pub data: &'a [u8],
}

impl<'a> CcEventLog<'a> {
    /// Parses a log with its padding.
    ///
    /// # Errors
    /// The first defect in the order of the bytes, see [`EventLogError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EventLogError> {
        bounded("bytes", bytes.len(), MAX_EVENT_LOG_LEN)?;
        let mut input = Reader::new(bytes);
        let algorithms = read_spec_id(&mut input)?;
        let mut events = Vec::new();
        while !is_padding(input.rest()) {
            input.event = input.event.saturating_add(1);
            bounded("events", input.event, MAX_EVENT_LOG_EVENTS)?;
            events.extend(read_event(&mut input, &algorithms)?);
        }
        Ok(Self { events, len: bytes.len().saturating_sub(input.rest().len()) })
    }
}

/// Whether nothing follows. No event begins so: index and type would be both zero or both 2³²−1.
fn is_padding(rest: &[u8]) -> bool {
    rest.iter().all(|byte| *byte == 0xff) || rest.iter().all(|byte| *byte == 0)
}

/// Algorithms and their digest sizes in bytes.
type Algorithms = Vec<(u16, u16)>;

fn read_spec_id(input: &mut Reader<'_>) -> Result<Algorithms, EventLogError> {
    let spec_id = |field| EventLogError::SpecId { field };
    let _index = input.u32("register index")?;
    if input.u32("event type")? != EV_NO_ACTION {
        return Err(spec_id("event type"));
    }
    if input.array("digest")? != [0; 20] {
        return Err(spec_id("digest"));
    }
    let size = input.u32("event size")?;
    let mut body = Reader::new(input.bytes("event data", size)?);
    if &body.array("signature")? != SIGNATURE {
        return Err(spec_id("signature"));
    }
    let _class = body.u32("platform class")?;
    let [minor, major, _errata, _uintn] = body.array("version")?;
    if (major, minor) != (2, 0) {
        return Err(spec_id("version"));
    }
    let count = usize::try_from(body.u32("algorithm count")?).unwrap_or(usize::MAX);
    bounded("algorithms", count, MAX_EVENT_LOG_ALGORITHMS)?;
    let mut algorithms = Algorithms::new();
    for _ in 0..count {
        let (algorithm, size) = (body.u16("algorithm")?, body.u16("digest size")?);
        let is_sound = match algorithm {
            ALGORITHM_SHA384 => size == SHA384_LEN,
            _ => (1..=MAX_DIGEST_LEN).contains(&size),
        };
        if !is_sound || size_of(&algorithms, algorithm).is_some() {
            return Err(EventLogError::AlgorithmSize { algorithm, size });
        }
        algorithms.push((algorithm, size));
    }
    let [vendor_len] = body.array("vendor size")?;
    body.bytes("vendor bytes", u32::from(vendor_len))?;
    if !body.rest().is_empty() {
        return Err(spec_id("size"));
    }
    match size_of(&algorithms, ALGORITHM_SHA384) {
        Some(_) => Ok(algorithms),
        None => Err(EventLogError::NoSha384),
    }
}

fn size_of(algorithms: &[(u16, u16)], algorithm: u16) -> Option<u16> {
    algorithms.iter().find(|(declared, _)| *declared == algorithm).map(|(_, size)| *size)
}

/// One event, or `None` for one that extends nothing.
fn read_event<'a>(
    input: &mut Reader<'a>,
    algorithms: &Algorithms,
) -> Result<Option<CcEvent<'a>>, EventLogError> {
    let event = input.event;
    let index = input.u32("register index")?;
    let event_type = input.u32("event type")?;
    let register = match index {
        1 => Some(Rtmr::Rtmr0),
        2 => Some(Rtmr::Rtmr1),
        3 => Some(Rtmr::Rtmr2),
        4 => Some(Rtmr::Rtmr3),
        // A note may stand beside MRTD, which nothing extends.
        0 if event_type == EV_NO_ACTION => None,
        index => return Err(EventLogError::Register { event, index }),
    };
    let count = usize::try_from(input.u32("digest count")?).unwrap_or(usize::MAX);
    bounded("digests of an event", count, algorithms.len())?;
    let mut seen = Vec::with_capacity(count);
    let mut digest = None;
    for _ in 0..count {
        let algorithm = input.u16("digest algorithm")?;
        let size = size_of(algorithms, algorithm)
            .filter(|_| !seen.contains(&algorithm))
            .ok_or(EventLogError::Digest { event, algorithm })?;
        seen.push(algorithm);
        match algorithm {
            ALGORITHM_SHA384 => digest = Some(Measurement(input.array("digest")?)),
            _ => drop(input.bytes("digest", u32::from(size))?),
        }
    }
    let size = input.u32("event size")?;
    let data = input.bytes("event data", size)?;
    let digest = digest.ok_or(EventLogError::DigestMissing { event })?;
    Ok(register.filter(|_| event_type != EV_NO_ACTION).map(|register| CcEvent {
        register,
        event_type,
        digest,
        data,
    }))
}

fn bounded(what: &'static str, got: usize, limit: usize) -> Result<(), EventLogError> {
    if got > limit {
        return Err(EventLogError::TooLarge { what, got, limit });
    }
    Ok(())
}

/// Little-endian fields. A shortage is told with the event in which it was met.
struct Reader<'a> {
    input: reader::Reader<'a, Shortage>,
    event: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { input: reader::Reader::new(bytes), event: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        self.input.rest()
    }

    fn truncated(&self, Shortage { field, needed, left }: Shortage) -> EventLogError {
        EventLogError::Truncated { event: self.event, field, needed, left }
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], EventLogError> {
        self.input.array(field).map_err(|shortage| self.truncated(shortage))
    }

    fn u16(&mut self, field: &'static str) -> Result<u16, EventLogError> {
        self.array(field).map(u16::from_le_bytes)
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, EventLogError> {
        self.array(field).map(u32::from_le_bytes)
    }

    fn bytes(&mut self, field: &'static str, len: u32) -> Result<&'a [u8], EventLogError> {
        self.input.bytes_u32(field, len).map_err(|shortage| self.truncated(shortage))
    }
}
