//! Claims from an event log that replayed to the registers of a verified quote.
//!
//! The registers prove the digests and their order, and nothing else of a log: an event's type is covered
//! by no digest, and its data only where they are what was hashed.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use super::Measurement;

/// A run-time register of a TD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rtmr {
    /// Firmware configuration, ACPI tables.
    Rtmr0,
    /// Boot loader, kernel.
    Rtmr1,
    /// Kernel command line, initrd.
    Rtmr2,
    /// Left to software in the TD: application events.
    Rtmr3,
}

impl Rtmr {
    /// All of them, in the order of the quote.
    pub const ALL: [Self; 4] = [Self::Rtmr0, Self::Rtmr1, Self::Rtmr2, Self::Rtmr3];

    /// The key in policies and Reference Values.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rtmr0 => "rtmr0",
            Self::Rtmr1 => "rtmr1",
            Self::Rtmr2 => "rtmr2",
            Self::Rtmr3 => "rtmr3",
        }
    }
}

impl fmt::Display for Rtmr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the event log says, as far as the registers prove it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum EventLogClaims {
    /// The guest sent none.
    Absent,
    /// All four registers are what its events add up to.
    Replayed {
        /// Every event that extended a register, in the order of the log.
        events: Vec<EventClaim>,
    },
}

/// One event of a replayed log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventClaim {
    /// The register that it extended. Proven.
    pub register: Rtmr,
    /// TCG's number of its type, as the log has it. **Not proven**: whoever passes the log on can write
    /// another, and the registers stay the same.
    pub alleged_type: u32,
    /// What the register was extended with. Proven.
    pub digest: Measurement,
    /// What is known of its content.
    pub content: EventContent,
}

/// The content of an event, where its digest proves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum EventContent {
    /// The digest is not that of the data in the log; they were dropped.
    Unproven,
    /// The digest is that of the data, which are more than a claim holds
    /// ([`MAX_EVENT_CONTENT_LEN`](crate::limits::MAX_EVENT_CONTENT_LEN)).
    TooLong {
        /// Their length in bytes.
        len: usize,
    },
    /// The digest is that of these data.
    Proven {
        /// The data, lower-case hex in JSON.
        #[serde(serialize_with = "as_hex")]
        data: Vec<u8>,
    },
    /// The digest is that of this application event (AAEL), which extended register 3.
    Application(ApplicationEvent),
}

/// What software in the TD had recorded (CoCo's `POST /aa/aael`). Whatever runs in the TD can record
/// anything; what was recorded can't be taken back or put in another order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApplicationEvent {
    /// Who, without spaces.
    pub domain: String,
    /// What, without spaces.
    pub operation: String,
    /// The rest.
    pub content: String,
}

fn as_hex<S: Serializer>(data: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(data))
}
