//! Which of several genuine machines or keys: identities and pins.
//!
//! Against: a genuine TEE with the same measurements that is somebody else's, and one whose
//! attestation key was taken out of the hardware. Measurements cannot tell those apart; an identity can.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::claims::{AzureHardwareClaims, ChipId, Claims, Ppid};
use crate::reason::Reason;

/// The physical machine that Evidence names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// Intel: PPID of the PCK certificate.
    Ppid(Ppid),
    /// AMD: CHIP_ID of the report.
    ChipId(ChipId),
    /// The Evidence names none: AMD's CHIP_ID is masked or left out. No pin of a machine matches.
    NotStated,
}

/// Which machine and which key a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The physical machine. It stays when the sidecar restarts.
    pub machine: Machine,
    /// SHA-256 of the SubjectPublicKeyInfo of the serving key. A key that is born in the TEE is
    /// another one after every restart.
    pub spki_sha256: [u8; 32],
}

/// An identity that a peer must have: `ppid:<32 hex digits>`, `chip-id:<128>`, `spki:<64>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinnedInstance {
    /// This Intel platform.
    Ppid(Ppid),
    /// This AMD processor.
    ChipId(ChipId),
    /// This serving key, by SHA-256 of its SubjectPublicKeyInfo.
    ServingKey([u8; 32]),
}

/// Which instances are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pins {
    /// Every genuine machine that passes the rest of the expectations.
    AnyGenuine,
    /// The machine must be one of those pinned, and the serving key one of those pinned. Where only
    /// one of the two kinds is pinned, only that is compared. An empty list accepts nobody.
    OneOf(Vec<PinnedInstance>),
}

/// A text is not a pin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected ppid:<32 hex digits>, chip-id:<128 hex digits> or spki:<64 hex digits>")]
pub struct PinParseError;

impl Machine {
    /// The machine that verified claims name.
    #[must_use]
    pub fn of(claims: &Claims) -> Self {
        match claims {
            Claims::Tdx(claims) => Self::Ppid(claims.ppid),
            Claims::Snp(claims) => Self::of_chip(claims.chip_id),
            Claims::AzSnpVtpm(claims) | Claims::AzTdxVtpm(claims) => match &claims.hardware {
                AzureHardwareClaims::Tdx(claims) => Self::Ppid(claims.ppid),
                AzureHardwareClaims::Snp(claims) => Self::of_chip(claims.chip_id),
            },
        }
    }

    /// A CHIP_ID of zeros is no identity: MaskChipId is set, and every such processor has the same.
    pub(in crate::peer) fn of_chip(chip_id: ChipId) -> Self {
        match chip_id.is_zero() {
            true => Self::NotStated,
            false => Self::ChipId(chip_id),
        }
    }

    /// The pin that only this machine matches, if it names itself.
    #[must_use]
    pub fn pin(&self) -> Option<PinnedInstance> {
        match self {
            Self::Ppid(ppid) => Some(PinnedInstance::Ppid(*ppid)),
            Self::ChipId(id) => Some(PinnedInstance::ChipId(*id)),
            Self::NotStated => None,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pin() {
            Some(pin) => pin.fmt(f),
            None => f.write_str("a machine that its Evidence does not name"),
        }
    }
}

impl Instance {
    /// The instance that verified claims and the peer's key name.
    #[must_use]
    pub fn of(claims: &Claims, spki_sha256: [u8; 32]) -> Self {
        Self { machine: Machine::of(claims), spki_sha256 }
    }
}

impl Pins {
    /// Every reason why `instance` is not one that is meant.
    #[must_use]
    pub fn reasons_against(&self, instance: &Instance) -> Vec<Reason> {
        let pins = match self {
            Self::AnyGenuine => return Vec::new(),
            Self::OneOf(pins) => pins,
        };
        let (keys, machines): (Vec<&PinnedInstance>, Vec<&PinnedInstance>) =
            pins.iter().partition(|pin| matches!(pin, PinnedInstance::ServingKey(_)));
        let key = PinnedInstance::ServingKey(instance.spki_sha256);
        let machine = instance.machine.pin();
        let mut reasons = Vec::new();
        if !machines.is_empty() && !machines.iter().any(|pin| Some(**pin) == machine) {
            reasons.push(reason("instance.machine", &machines, instance.machine.to_string()));
        }
        if !keys.is_empty() && !keys.contains(&&key) {
            reasons.push(reason("instance.serving-key", &keys, key.to_string()));
        }
        if pins.is_empty() {
            reasons.push(reason("instance.none-pinned", &[], instance.machine.to_string()));
        }
        reasons
    }
}

fn reason(code: &'static str, pins: &[&PinnedInstance], got: String) -> Reason {
    let expected = match pins {
        [] => "one of an empty list of pins".to_owned(),
        pins => pins.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "),
    };
    Reason::new(
        code,
        "instance",
        "instance",
        (expected, got),
        "if the service was moved or restarted, ask its operator for the new identity over \
                 another channel and pin that; if not, somebody else's TEE answered",
    )
}

impl fmt::Display for PinnedInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ppid(ppid) => write!(f, "ppid:{ppid}"),
            Self::ChipId(id) => write!(f, "chip-id:{id}"),
            Self::ServingKey(digest) => write!(f, "spki:{}", hex::encode(digest)),
        }
    }
}

impl FromStr for PinnedInstance {
    type Err = PinParseError;

    fn from_str(text: &str) -> Result<Self, PinParseError> {
        let (kind, digits) = text.split_once(':').ok_or(PinParseError)?;
        match kind {
            "ppid" => digits.parse().map(Self::Ppid).map_err(|_| PinParseError),
            "chip-id" => digits.parse().map(Self::ChipId).map_err(|_| PinParseError),
            "spki" => serving_key(digits),
            _ => Err(PinParseError),
        }
    }
}

fn serving_key(digits: &str) -> Result<PinnedInstance, PinParseError> {
    let mut digest = [0; 32];
    hex::decode_to_slice(digits, &mut digest).map_err(|_| PinParseError)?;
    Ok(PinnedInstance::ServingKey(digest))
}

impl Serialize for PinnedInstance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PinnedInstance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
