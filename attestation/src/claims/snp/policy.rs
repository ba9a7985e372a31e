//! The bit fields of a report, each bit by name.
//!
//! AMD 56860, tables GUEST_POLICY, PLATFORM_INFO and ATTESTATION_REPORT (KEY_INFO). Bits without a
//! name are reserved; the Verifier refuses them.

use std::fmt;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

/// POLICY: what the guest's owner allows, as bound to the guest at launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestPolicy(pub u64);

/// PLATFORM_INFO: how the machine is set up, as its firmware sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformInfo(pub u64);

/// KEY_INFO: which keys were used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyInfo(pub u32);

/// SIGNING_KEY: the kind of key that signed the report. What is signed decides, never a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SigningKey {
    /// Versioned Chip Endorsement Key: derived from the chip's own secret.
    Vcek,
    /// Versioned Loaded Endorsement Key: given to a cloud provider by AMD, loaded into many chips.
    Vlek,
}

impl fmt::Display for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vcek => "VCEK",
            Self::Vlek => "VLEK",
        })
    }
}

macro_rules! bits {
    ($type:ident: $($(#[$doc:meta])* $name:ident = $bit:literal;)*) => {
        impl $type {
            /// Bits that have no meaning and must be zero.
            #[must_use]
            pub fn reserved_bits(self) -> u64 {
                u64::from(self.0) & !(Self::OTHER_KNOWN $(| 1 << $bit)*)
            }
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $name(self) -> bool {
                    self.0 >> $bit & 1 == 1
                }
            )*

            fn named_bits(self) -> Vec<(&'static str, bool)> {
                vec![$((stringify!($name), self.$name())),*]
            }
        }
    };
}

bits! { GuestPolicy:
    /// Bit 16: the host may run with simultaneous multithreading.
    smt_allowed = 16;
    /// Bit 18: a migration agent may be associated, which can move the guest.
    migrate_ma_allowed = 18;
    /// Bit 19: the host may read and write the guest's memory.
    debug_allowed = 19;
    /// Bit 20: the guest runs on one socket only.
    single_socket_required = 20;
    /// Bit 21: devices or memory on CXL may be present.
    cxl_allowed = 21;
    /// Bit 22: memory encryption has to be AES-256-XTS.
    mem_aes_256_xts_required = 22;
    /// Bit 23: power measurement (RAPL) has to be off.
    rapl_disable_required = 23;
    /// Bit 24: ciphertext hiding has to be on.
    ciphertext_hiding_required = 24;
    /// Bit 25: the host can't move or swap the guest's pages.
    page_swap_disabled = 25;
}

bits! { PlatformInfo:
    /// Bit 0: simultaneous multithreading is on.
    smt_enabled = 0;
    /// Bit 1: transparent memory encryption is on.
    tsme_enabled = 1;
    /// Bit 2: memory has error correction.
    ecc_enabled = 2;
    /// Bit 3: power measurement (RAPL) is off.
    rapl_disabled = 3;
    /// Bit 4: ciphertext hiding is on.
    ciphertext_hiding_enabled = 4;
    /// Bit 5: memory was searched for aliases since the last reset, and there are none (BadRAM).
    alias_check_complete = 5;
    /// Bit 7: trusted IO is on.
    tio_enabled = 7;
}

bits! { KeyInfo:
    /// Bit 0: the ID key was certified by an author key.
    author_key_enabled = 0;
    /// Bit 1: the chip's own key is not used on this machine.
    chip_key_masked = 1;
}

impl GuestPolicy {
    /// ABI versions, and bit 17, which is always one.
    const OTHER_KNOWN: u64 = 0xffff | 1 << 17;

    /// Bits 15:8: lowest major version of the firmware's interface that the guest accepts.
    #[must_use]
    pub fn abi_major(self) -> u8 {
        self.0.to_le_bytes()[1]
    }

    /// Bits 7:0: lowest minor version of the firmware's interface that the guest accepts.
    #[must_use]
    pub fn abi_minor(self) -> u8 {
        self.0.to_le_bytes()[0]
    }

    /// Bit 17: reserved, and one in every policy that firmware accepts.
    #[must_use]
    pub fn reserved_one(self) -> bool {
        self.0 >> 17 & 1 == 1
    }
}

impl PlatformInfo {
    const OTHER_KNOWN: u64 = 0;
}

impl KeyInfo {
    /// SIGNING_KEY.
    const OTHER_KNOWN: u64 = 0b111 << 2;

    /// Bits 4:2 as a number: 0 VCEK, 1 VLEK, 7 none.
    #[must_use]
    pub fn signing_key_bits(self) -> u32 {
        self.0 >> 2 & 0b111
    }

    /// The kind of key that signed; `None` when nothing did, or when the number is reserved.
    #[must_use]
    pub fn signing_key(self) -> Option<SigningKey> {
        match self.signing_key_bits() {
            0 => Some(SigningKey::Vcek),
            1 => Some(SigningKey::Vlek),
            _ => None,
        }
    }
}

impl Serialize for GuestPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("abi_major", &self.abi_major())?;
        map.serialize_entry("abi_minor", &self.abi_minor())?;
        for (name, set) in self.named_bits() {
            map.serialize_entry(name, &set)?;
        }
        map.end()
    }
}

impl Serialize for PlatformInfo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.named_bits())
    }
}

impl Serialize for KeyInfo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("signing_key", &self.signing_key())?;
        for (name, set) in self.named_bits() {
            map.serialize_entry(name, &set)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_written_bit_by_bit() {
        let policy = GuestPolicy(0x0b_0102);
        assert_eq!((policy.abi_major(), policy.abi_minor()), (1, 2));
        assert!(policy.smt_allowed() && policy.reserved_one() && policy.debug_allowed());
        let json = serde_json::to_value(policy).expect("a map");
        assert_eq!(json["debug_allowed"], true);
        assert_eq!(json["migrate_ma_allowed"], false);
        assert_eq!(json.as_object().expect("a map").len(), 11);
    }

    #[test]
    fn bits_without_a_name_are_reserved() {
        assert_eq!(GuestPolicy(u64::MAX).reserved_bits(), !0x3ff_ffff);
        assert_eq!(PlatformInfo(u64::MAX).reserved_bits(), !0xbf);
        assert_eq!(KeyInfo(u32::MAX).reserved_bits(), 0xffff_ffe0);
    }

    #[test]
    fn only_two_numbers_are_a_signing_key() {
        let keys = (0..8).map(|bits| KeyInfo(bits << 2).signing_key()).collect::<Vec<_>>();
        assert_eq!(keys[..2], [Some(SigningKey::Vcek), Some(SigningKey::Vlek)]);
        assert_eq!(keys[2..], [None; 6]);
    }
}
