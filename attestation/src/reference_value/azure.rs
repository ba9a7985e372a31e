//! Reference Values of an Azure confidential VM: its paravisor, and the PCRs of its vTPM.
//!
//! ```toml
//! name = "kjv-podvm-2026-11"
//! tee = "az-snp-vtpm"
//! measurement = ["<96 hex digits>"]   # the paravisor: SNP launch digest, or MRTD
//! init_data = ["<64 hex digits>"]     # SHA-256 of accepted init-data, as PCR 8 tells of them
//!
//! [pcrs]
//! 4 = ["<64 hex digits>", "<64 hex digits>"]
//! 7 = ["<64 hex digits>"]
//! ```

use std::collections::BTreeMap;
use std::fmt;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::claims::{Measurement, Pcr};
use crate::evidence::Tee;
use crate::evidence::azure::PCR_COUNT;
use crate::limits::MAX_REFERENCE_ALTERNATIVES;
use crate::reference_value::{ReferenceValueError, limit, write_list};

/// One named set of Reference Values for an Azure confidential VM. Each claim has a list of
/// alternatives; an empty list matches nothing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureReferenceValues {
    /// Name that policies refer to.
    pub name: String,
    /// `az-snp-vtpm` or `az-tdx-vtpm`.
    pub tee: Tee,
    /// Accepted measurements of the paravisor: the launch digest of SEV-SNP, or MRTD.
    #[serde(default)]
    pub measurement: Vec<Measurement>,
    /// Accepted SHA-256 digests of init-data. Each adds one accepted value of PCR 8.
    #[serde(default)]
    pub init_data: Vec<Pcr>,
    /// Accepted values of PCRs of the SHA-256 bank.
    #[serde(default)]
    pub pcrs: BTreeMap<PcrIndex, Vec<Pcr>>,
}

/// Number of a PCR, 0 to 23.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PcrIndex(u8);

impl PcrIndex {
    /// The boot loader, or the unified kernel image: what firmware hands over to.
    pub const BOOT_LOADER: Self = Self(4);
    /// Where Confidential Containers put the digest of their init-data.
    pub const INIT_DATA: Self = Self(8);

    /// The number, when it is one of a PCR.
    #[must_use]
    pub fn new(number: u8) -> Option<Self> {
        (usize::from(number) < PCR_COUNT).then_some(Self(number))
    }

    /// The value of this PCR among all.
    #[must_use]
    pub fn of(self, pcrs: &[Pcr; PCR_COUNT]) -> Pcr {
        pcrs[usize::from(self.0)]
    }
}

impl fmt::Display for PcrIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number in a policy's list; in TOML the key of a table, which is text.
impl<'de> Deserialize<'de> for PcrIndex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = PcrIndex;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the number of a PCR, 0 to 23")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<PcrIndex, E> {
                u8::try_from(number)
                    .ok()
                    .and_then(PcrIndex::new)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<PcrIndex, E> {
                let unexpected = de::Unexpected::Signed(number);
                u64::try_from(number)
                    .map_err(|_| E::invalid_value(unexpected, &self))
                    .and_then(|number| self.visit_u64(number))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PcrIndex, E> {
                // One spelling a PCR: neither `+4` nor `04`.
                text.parse()
                    .ok()
                    .and_then(PcrIndex::new)
                    .filter(|index| index.to_string() == text)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl AzureReferenceValues {
    /// Accepted values of a PCR. For PCR 8 those that follow from `init_data`, too.
    #[must_use]
    pub fn accepted(&self, index: PcrIndex) -> Vec<Pcr> {
        let mut accepted = self.pcrs.get(&index).cloned().unwrap_or_default();
        if index == PcrIndex::INIT_DATA {
            accepted.extend(self.init_data.iter().map(extended_once));
        }
        accepted
    }

    /// The PCRs that the set speaks about.
    pub fn listed(&self) -> impl Iterator<Item = PcrIndex> {
        let init_data = (!self.init_data.is_empty()).then_some(PcrIndex::INIT_DATA);
        self.pcrs.keys().copied().chain(init_data)
    }

    pub(super) fn within_limits(&self) -> Result<(), ReferenceValueError> {
        limit("measurement", self.measurement.len(), MAX_REFERENCE_ALTERNATIVES)?;
        limit("init_data", self.init_data.len(), MAX_REFERENCE_ALTERNATIVES)?;
        self.pcrs.values().try_for_each(|pcr| limit("pcrs", pcr.len(), MAX_REFERENCE_ALTERNATIVES))
    }

    pub(super) fn write_registers(&self, out: &mut String) {
        write_list(out, "measurement", &self.measurement);
        if !self.init_data.is_empty() {
            write_list(out, "init_data", &self.init_data);
        }
        // Last, for in TOML what follows belongs to the table.
        out.push_str("\n[pcrs]\n");
        for (index, accepted) in &self.pcrs {
            write_list(out, &index.to_string(), accepted);
        }
    }
}

/// PCR 8 after the one extension that Confidential Containers make, from zero: `SHA-256(PCR ‖ digest)`.
fn extended_once(init_data: &Pcr) -> Pcr {
    let mut context = Context::new(&SHA256);
    context.update(&[0; 32]);
    context.update(&init_data.0);
    let mut value = [0; 32];
    value.copy_from_slice(context.finish().as_ref());
    Pcr(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference_value::ReferenceValues;

    fn set(tail: &str) -> Result<AzureReferenceValues, ReferenceValueError> {
        let measurement = "ab".repeat(48);
        let head =
            format!("name = \"kjv\"\ntee = \"az-tdx-vtpm\"\nmeasurement = [\"{measurement}\"]\n");
        ReferenceValues::parse_toml(&format!("{head}{tail}")).map(|set| match set {
            ReferenceValues::Azure(set) => set,
            other => panic!("an Azure set, not {other:?}"),
        })
    }

    fn pcr(byte: u8) -> String {
        hex::encode([byte; 32])
    }

    #[test]
    fn a_set_survives_being_written_and_read() {
        let tail = format!(
            "init_data = [\"{}\"]\n[pcrs]\n4 = [\"{}\"]\n11 = [\"{}\", \"{}\"]\n",
            pcr(1),
            pcr(2),
            pcr(3),
            pcr(4)
        );
        let set = set(&tail).expect("a set");
        assert_eq!(set.pcrs[&PcrIndex::BOOT_LOADER], [Pcr([2; 32])]);
        assert_eq!(set.listed().map(|index| index.0).collect::<Vec<_>>(), [4, 11, 8]);
        let set = ReferenceValues::Azure(set);
        assert_eq!(ReferenceValues::parse_toml(&set.to_toml()).expect("its own form"), set);
    }

    #[test]
    fn init_data_add_a_value_of_pcr_8() {
        let tail = format!("init_data = [\"{}\"]\n[pcrs]\n8 = [\"{}\"]\n", pcr(0), pcr(9));
        let set = set(&tail).expect("a set");
        // SHA-256 of 64 zero bytes.
        let zeros = "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b";
        let extended = zeros.parse().expect("32 bytes");
        assert_eq!(set.accepted(PcrIndex::INIT_DATA), [Pcr([9; 32]), extended]);
        assert_eq!(set.accepted(PcrIndex::BOOT_LOADER), []);
    }

    #[test]
    fn a_pcr_that_there_is_not_is_an_error() {
        for index in ["24", "-1", "04", "x", "256"] {
            let refused = set(&format!("[pcrs]\n{index} = [\"{}\"]\n", pcr(1)));
            assert!(matches!(refused, Err(ReferenceValueError::Toml(_))), "{index}: {refused:?}");
        }
    }

    #[test]
    fn more_alternatives_than_the_limit_are_an_error() {
        let values = format!("\"{}\",", pcr(1)).repeat(MAX_REFERENCE_ALTERNATIVES + 1);
        for (key, tail) in [
            ("init_data", format!("init_data = [{values}]\n")),
            ("pcrs", format!("[pcrs]\n4 = [{values}]\n")),
        ] {
            let refused = set(&tail);
            assert!(
                matches!(refused, Err(ReferenceValueError::TooLarge { what, .. }) if what == key),
                "{key}: {refused:?}"
            );
        }
    }
}
