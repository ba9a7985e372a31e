//! Which processor, and the versions of its firmware.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A line of AMD EPYC processors with SEV-SNP: one root key each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SnpProduct {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004 and 8004: Genoa, Bergamo and Siena, which share a root.
    Genoa,
    /// EPYC 9005.
    Turin,
}

/// A name that is not a product line that Adyton knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("SEV-SNP product {name:?} is unknown; known: Milan, Genoa, Turin")]
pub struct UnknownSnpProduct {
    /// The name that was given, shortened to 64 characters.
    pub name: String,
}

impl SnpProduct {
    /// Every product line.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// AMD's name, as in certificates and in the addresses of its key distribution service.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// The product line of a processor. AMD 57230, table of families and models.
    #[must_use]
    pub fn from_cpuid(cpuid: CpuId) -> Option<Self> {
        match (cpuid.family, cpuid.model) {
            (0x19, 0x00..=0x0f) => Some(Self::Milan),
            (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some(Self::Genoa),
            (0x1a, 0x00..=0x11) => Some(Self::Turin),
            _ => None,
        }
    }

    /// The product line in a certificate's `productName`, which may have a stepping: `Milan-B0`.
    /// Bergamo and Siena are Genoa's.
    #[must_use]
    pub fn from_certificate(name: &str) -> Option<Self> {
        match name.split_once('-').map_or(name, |(product, _stepping)| product) {
            "Milan" => Some(Self::Milan),
            "Genoa" | "Bergamo" | "Siena" => Some(Self::Genoa),
            "Turin" => Some(Self::Turin),
            _ => None,
        }
    }

    /// Bytes of CHIP_ID and hwID that identify a chip of this product.
    #[must_use]
    pub fn chip_id_len(self) -> usize {
        match self {
            Self::Milan | Self::Genoa => 64,
            Self::Turin => 8,
        }
    }
}

impl fmt::Display for SnpProduct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SnpProduct {
    type Err = UnknownSnpProduct;

    fn from_str(name: &str) -> Result<Self, UnknownSnpProduct> {
        Self::ALL
            .into_iter()
            .find(|product| product.as_str() == name)
            .ok_or_else(|| UnknownSnpProduct { name: name.chars().take(64).collect() })
    }
}

impl Serialize for SnpProduct {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for SnpProduct {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Family, model and stepping of a processor, each the combined value of CPUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CpuId {
    /// Combined extended and base family.
    pub family: u8,
    /// Combined extended and base model.
    pub model: u8,
    /// Stepping.
    pub stepping: u8,
}

impl fmt::Display for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "family {:#04x} model {:#04x}", self.family, self.model)
    }
}

/// Security version numbers of a processor's firmware. Higher is newer, component by component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct SnpTcb {
    /// FMC firmware. Turin only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fmc: Option<u8>,
    /// Boot loader of the secure processor.
    pub bootloader: u8,
    /// Operating system of the secure processor.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode of the cores.
    pub microcode: u8,
}

/// One number of a TCB version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TcbComponent {
    /// FMC firmware.
    Fmc,
    /// Boot loader.
    Bootloader,
    /// Operating system of the secure processor.
    Tee,
    /// SNP firmware.
    Snp,
    /// Microcode.
    Microcode,
}

impl TcbComponent {
    /// Every component.
    pub const ALL: [Self; 5] = [Self::Fmc, Self::Bootloader, Self::Tee, Self::Snp, Self::Microcode];

    /// Its name in claims and policies.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fmc => "fmc",
            Self::Bootloader => "bootloader",
            Self::Tee => "tee",
            Self::Snp => "snp",
            Self::Microcode => "microcode",
        }
    }
}

impl fmt::Display for TcbComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl SnpTcb {
    /// Reads TCB_VERSION as processors of a product line write it.
    /// `None` when a reserved byte is not zero. AMD 56860, tables TCB_VERSION.
    #[must_use]
    pub fn read(raw: [u8; 8], product: SnpProduct) -> Option<Self> {
        match product {
            SnpProduct::Milan | SnpProduct::Genoa => {
                let [bootloader, tee, 0, 0, 0, 0, snp, microcode] = raw else { return None };
                Some(Self { fmc: None, bootloader, tee, snp, microcode })
            }
            SnpProduct::Turin => {
                let [fmc, bootloader, tee, snp, 0, 0, 0, microcode] = raw else { return None };
                Some(Self { fmc: Some(fmc), bootloader, tee, snp, microcode })
            }
        }
    }

    /// The number of one component; `None` where the product has no such component.
    #[must_use]
    pub fn component(&self, component: TcbComponent) -> Option<u8> {
        match component {
            TcbComponent::Fmc => self.fmc,
            TcbComponent::Bootloader => Some(self.bootloader),
            TcbComponent::Tee => Some(self.tee),
            TcbComponent::Snp => Some(self.snp),
            TcbComponent::Microcode => Some(self.microcode),
        }
    }

    /// The first component in which this is lower than `floor`, with both numbers. A component that
    /// `floor` has and this lacks counts as lower.
    #[must_use]
    pub fn first_below(&self, floor: &Self) -> Option<(TcbComponent, Option<u8>, u8)> {
        TcbComponent::ALL.into_iter().find_map(|component| {
            let floor = floor.component(component)?;
            let got = self.component(component);
            (got < Some(floor)).then_some((component, got, floor))
        })
    }
}

impl fmt::Display for SnpTcb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(fmc) = self.fmc {
            write!(f, "fmc {fmc}, ")?;
        }
        let Self { bootloader, tee, snp, microcode, .. } = self;
        write!(f, "bootloader {bootloader}, tee {tee}, snp {snp}, microcode {microcode}")
    }
}

/// Version of the SNP firmware's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FirmwareVersion {
    /// Major version.
    pub major: u8,
    /// Minor version.
    pub minor: u8,
    /// Build.
    pub build: u8,
}

impl fmt::Display for FirmwareVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.build)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tcb_version_is_read_in_its_products_byte_order() {
        let raw = [3, 1, 0, 0, 0, 0, 8, 115];
        let tcb = SnpTcb::read(raw, SnpProduct::Milan).expect("a version");
        assert_eq!(tcb.to_string(), "bootloader 3, tee 1, snp 8, microcode 115");
        let raw = [1, 2, 3, 4, 0, 0, 0, 5];
        let tcb = SnpTcb::read(raw, SnpProduct::Turin).expect("a version");
        assert_eq!(tcb.to_string(), "fmc 1, bootloader 2, tee 3, snp 4, microcode 5");
        assert_eq!(SnpTcb::read(raw, SnpProduct::Genoa), None, "reserved bytes");
    }

    #[test]
    fn a_lower_component_is_not_made_up_for_by_a_higher_one() {
        let tcb =
            |bootloader, microcode| SnpTcb { fmc: None, bootloader, tee: 0, snp: 8, microcode };
        assert_eq!(tcb(4, 200).first_below(&tcb(4, 100)), None);
        assert_eq!(
            tcb(3, 200).first_below(&tcb(4, 100)),
            Some((TcbComponent::Bootloader, Some(3), 4))
        );
        let turin = SnpTcb { fmc: Some(0), ..tcb(4, 200) };
        assert_eq!(tcb(4, 200).first_below(&turin), Some((TcbComponent::Fmc, None, 0)));
    }

    #[test]
    fn certificates_name_the_product_with_or_without_a_stepping() {
        let named = SnpProduct::from_certificate;
        assert_eq!(named("Milan-B0"), Some(SnpProduct::Milan));
        assert_eq!(named("Siena"), Some(SnpProduct::Genoa));
        assert_eq!(named("Milano"), None);
        assert_eq!(named(""), None);
    }
}
