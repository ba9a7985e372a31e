//! The table `[appraisal.snp]`: what an owner asks of SEV-SNP machines and guests.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::appraisal::PolicyError;
use crate::claims::{ChipId, SnpProduct, SnpTcb};
use crate::limits::MAX_REFERENCE_ALTERNATIVES;

/// Rules for SEV-SNP guests. The default accepts no machine at all, for it names no lowest TCB.
///
/// ```toml
/// [appraisal.snp.minimum_tcb]
/// Genoa = { bootloader = 10, tee = 0, snp = 23, microcode = 25 }
/// Turin = { fmc = 1, bootloader = 1, tee = 1, snp = 4, microcode = 80 }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SnpPolicy {
    /// Accepted products. Default: Genoa and Turin. Milan's root secret of a chip can be read out by
    /// software, after which its owner forges any report of that chip at any TCB.
    pub allowed_products: BTreeSet<SnpProduct>,
    /// Lowest accepted version of the report: 2, 3 or 5. Default: 3, the first that names the processor
    /// and says whether memory was searched for aliases.
    pub minimum_report_version: u32,
    /// Lowest accepted firmware of each product. A product that isn't listed is refused; AMD's security
    /// bulletins say which versions to ask for.
    pub minimum_tcb: BTreeMap<SnpProduct, MinimumTcb>,
    /// Accepted privilege levels. Default: 0 alone. At others, software above the guest can read it.
    pub allowed_vmpls: BTreeSet<u32>,
    /// Lowest accepted security version of the guest, as its owner's ID block states it. Default: 0.
    pub minimum_guest_svn: u32,
    /// What the guest's launch policy has to demand of the host. Default: nothing beyond what the
    /// Verifier asks: no debugging, no migration agent.
    pub guest_restrictions: BTreeSet<GuestRestriction>,
    /// Lowest firmware interface that the guest's launch policy has to demand, `[major, minor]`.
    /// Default: `[0, 0]`.
    pub minimum_abi: (u8, u8),
    /// Whether memory has to have been searched for aliases (BadRAM, CVE-2024-21944). Default: true.
    /// Reports of version 2 can't say it and are judged by `minimum_report_version`.
    pub require_alias_check: bool,
    /// What the machine has to be set up with. Default: nothing more.
    pub platform: BTreeSet<PlatformProperty>,
    /// Mitigations that have to have been in force at launch and still be, as a bit mask. Asks for
    /// reports of version 5. Default: 0.
    pub required_mitigations: u64,
    /// Accepted processors. Empty, the default: every genuine one.
    pub allowed_chip_ids: BTreeSet<ChipId>,
    /// Accepted cloud providers of VLEK-signed reports. Empty, the default: every one.
    pub allowed_csp_ids: BTreeSet<String>,
    /// Accept that no current revocation list was looked at. A key that AMD has revoked then still
    /// counts. Default: false.
    pub insecure_accept_waived_revocation: bool,
}

/// Lowest accepted numbers of a TCB version, each compared by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MinimumTcb {
    /// FMC firmware; Turin has it, and others don't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fmc: Option<u8>,
    /// Boot loader.
    pub bootloader: u8,
    /// Operating system of the secure processor.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode.
    pub microcode: u8,
}

impl From<MinimumTcb> for SnpTcb {
    fn from(minimum: MinimumTcb) -> Self {
        let MinimumTcb { fmc, bootloader, tee, snp, microcode } = minimum;
        Self { fmc, bootloader, tee, snp, microcode }
    }
}

/// Something that a guest's launch policy can forbid or demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestRestriction {
    /// The host must run without simultaneous multithreading.
    NoSmt,
    /// The guest runs on one socket.
    SingleSocket,
    /// No devices or memory on CXL.
    NoCxl,
    /// Memory encryption is AES-256-XTS.
    #[serde(rename = "aes-256-xts")]
    Aes256Xts,
    /// Power measurement is off.
    NoRapl,
    /// Ciphertext hiding is on.
    CiphertextHiding,
    /// The host can't move or swap pages.
    NoPageSwap,
}

/// Something that firmware says about its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlatformProperty {
    /// Simultaneous multithreading is off.
    NoSmt,
    /// Transparent memory encryption is on.
    Tsme,
    /// Memory has error correction.
    Ecc,
    /// Power measurement is off.
    NoRapl,
    /// Ciphertext hiding is on.
    CiphertextHiding,
    /// Trusted IO is off.
    NoTio,
}

impl GuestRestriction {
    /// The word in policies.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSmt => "no-smt",
            Self::SingleSocket => "single-socket",
            Self::NoCxl => "no-cxl",
            Self::Aes256Xts => "aes-256-xts",
            Self::NoRapl => "no-rapl",
            Self::CiphertextHiding => "ciphertext-hiding",
            Self::NoPageSwap => "no-page-swap",
        }
    }
}

impl PlatformProperty {
    /// The word in policies.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSmt => "no-smt",
            Self::Tsme => "tsme",
            Self::Ecc => "ecc",
            Self::NoRapl => "no-rapl",
            Self::CiphertextHiding => "ciphertext-hiding",
            Self::NoTio => "no-tio",
        }
    }
}

impl Default for SnpPolicy {
    fn default() -> Self {
        Self {
            allowed_products: [SnpProduct::Genoa, SnpProduct::Turin].into(),
            minimum_report_version: 3,
            minimum_tcb: BTreeMap::new(),
            allowed_vmpls: [0].into(),
            minimum_guest_svn: 0,
            guest_restrictions: BTreeSet::new(),
            minimum_abi: (0, 0),
            require_alias_check: true,
            platform: BTreeSet::new(),
            required_mitigations: 0,
            allowed_chip_ids: BTreeSet::new(),
            allowed_csp_ids: BTreeSet::new(),
            insecure_accept_waived_revocation: false,
        }
    }
}

impl SnpPolicy {
    /// Refuses values that cannot be meant.
    ///
    /// # Errors
    /// [`PolicyError::Value`].
    pub fn validate(&self) -> Result<(), PolicyError> {
        let refused = |key, got: String, expected| Err(PolicyError::Value { key, got, expected });
        if self.allowed_products.is_empty() {
            return refused(
                "appraisal.snp.allowed_products",
                "empty".to_owned(),
                "at least one product, such as \"Genoa\"",
            );
        }
        if !matches!(self.minimum_report_version, 2 | 3 | 5) {
            return refused(
                "appraisal.snp.minimum_report_version",
                self.minimum_report_version.to_string(),
                "2, 3 or 5",
            );
        }
        let has_fmc = |product| product == SnpProduct::Turin;
        let unfit = self.minimum_tcb.iter().find(|(p, tcb)| tcb.fmc.is_some() != has_fmc(**p));
        if let Some((product, _)) = unfit {
            return refused(
                "appraisal.snp.minimum_tcb",
                format!("{product} with other numbers than it has"),
                "bootloader, tee, snp and microcode, and fmc for Turin alone",
            );
        }
        if self.allowed_vmpls.is_empty() || self.allowed_vmpls.iter().any(|vmpl| *vmpl > 3) {
            return refused(
                "appraisal.snp.allowed_vmpls",
                format!("{:?}", self.allowed_vmpls.iter().take(8).collect::<Vec<_>>()),
                "levels from 0 to 3",
            );
        }
        if self.allowed_chip_ids.iter().any(ChipId::is_zero) {
            return refused(
                "appraisal.snp.allowed_chip_ids",
                "zero".to_owned(),
                "processors; zero is what every masked one reports",
            );
        }
        for (key, len) in [
            ("appraisal.snp.allowed_chip_ids", self.allowed_chip_ids.len()),
            ("appraisal.snp.allowed_csp_ids", self.allowed_csp_ids.len()),
        ] {
            if len > MAX_REFERENCE_ALTERNATIVES {
                return refused(key, format!("{len} entries"), "at most 256 entries");
            }
        }
        Ok(())
    }
}
