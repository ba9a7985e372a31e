//! The Appraisal Policy for Evidence: which claims an owner accepts.
//!
//! The `[appraisal]` table of a release policy. Every key has a strict default; what weakens it is
//! named so. Unknown keys are errors.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::appraisal::{AzurePolicy, EventLogPolicy, GpuPolicy, SnpPolicy, TdxPolicy};
use crate::claims::{Ppid, TcbStatus};
use crate::reference_value::is_name;

/// Rules for claims. The default accepts no system at all, for it names no Reference Values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AppraisalPolicy {
    /// Names of the sets of Reference Values of which one must match as a whole. Empty: no.
    pub reference_values: Vec<String>,
    /// Registers that are compared. Default: all eight.
    pub registers: BTreeSet<Register>,
    /// Accepted TCB statuses. Default: `UpToDate`.
    pub tcb_status: BTreeSet<TcbStatus>,
    /// Vendor advisories that may apply. Default: none may.
    pub accepted_advisories: BTreeSet<String>,
    /// Lowest accepted edition of the vendor's evaluation. Default: 0, any.
    pub minimum_tcb_evaluation_data_number: u32,
    /// Oldest accepted `issueDate` of TCB info and QE identity, in days. Default: 30.
    pub max_collateral_age_days: u32,
    /// Platforms that are accepted. Empty, the default: every genuine one.
    pub allowed_ppids: BTreeSet<Ppid>,
    /// How long a result may be used, in seconds. Default: 300.
    pub result_lifetime_seconds: u32,
    /// Accept guests that the host can read. Whoever runs the host then has the model. Default: false.
    pub insecure_allow_debug: bool,
    /// Rules for TDX trust domains.
    pub tdx: TdxPolicy,
    /// Rules for SEV-SNP guests.
    pub snp: SnpPolicy,
    /// Rules for Azure's vTPM.
    pub azure: AzurePolicy,
    /// Rules for the event log of a TD.
    pub event_log: EventLogPolicy,
    /// Rules for GPUs beside the TEE.
    pub gpu: GpuPolicy,
}

/// A day: an Attestation Result is no licence.
const MAX_RESULT_LIFETIME_SECONDS: u32 = 24 * 60 * 60;

/// A register of a TD that a policy may compare with Reference Values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Register {
    /// Initial contents.
    Mrtd,
    /// Run-time register 0.
    Rtmr0,
    /// Run-time register 1.
    Rtmr1,
    /// Run-time register 2.
    Rtmr2,
    /// Run-time register 3.
    Rtmr3,
    /// Init-data digest.
    MrConfigId,
    /// Owner.
    MrOwner,
    /// Owner's configuration.
    MrOwnerConfig,
}

impl Register {
    /// All registers.
    pub const ALL: [Self; 8] = [
        Self::Mrtd,
        Self::Rtmr0,
        Self::Rtmr1,
        Self::Rtmr2,
        Self::Rtmr3,
        Self::MrConfigId,
        Self::MrOwner,
        Self::MrOwnerConfig,
    ];

    /// The key in policies and Reference Values.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mrtd => "mrtd",
            Self::Rtmr0 => "rtmr0",
            Self::Rtmr1 => "rtmr1",
            Self::Rtmr2 => "rtmr2",
            Self::Rtmr3 => "rtmr3",
            Self::MrConfigId => "mrconfigid",
            Self::MrOwner => "mrowner",
            Self::MrOwnerConfig => "mrownerconfig",
        }
    }
}

impl Default for AppraisalPolicy {
    fn default() -> Self {
        Self {
            reference_values: Vec::new(),
            registers: Register::ALL.into(),
            tcb_status: [TcbStatus::UpToDate].into(),
            accepted_advisories: BTreeSet::new(),
            minimum_tcb_evaluation_data_number: 0,
            max_collateral_age_days: 30,
            allowed_ppids: BTreeSet::new(),
            result_lifetime_seconds: 300,
            insecure_allow_debug: false,
            tdx: TdxPolicy::default(),
            snp: SnpPolicy::default(),
            azure: AzurePolicy::default(),
            event_log: EventLogPolicy::default(),
            gpu: GpuPolicy::default(),
        }
    }
}

impl AppraisalPolicy {
    /// Refuses values that cannot be meant. Called by [`ReleasePolicy::parse_toml`]; call it for a
    /// policy that was made by hand.
    ///
    /// # Errors
    /// [`PolicyError::Value`].
    ///
    /// [`ReleasePolicy::parse_toml`]: crate::ReleasePolicy::parse_toml
    pub fn validate(&self) -> Result<(), PolicyError> {
        let refused = |key, got: String, expected| {
            let got = got.chars().take(200).collect();
            Err(PolicyError::Value { key, got, expected })
        };
        if let Some(name) = self.reference_values.iter().find(|name| !is_name(name)) {
            return refused(
                "appraisal.reference_values",
                format!("{name:?}"),
                "names of 1 to 128 characters of A-Z a-z 0-9 . _ -",
            );
        }
        if !self.registers.contains(&Register::Mrtd) {
            return refused(
                "appraisal.registers",
                "a list without `mrtd`".to_owned(),
                "a list with `mrtd`: without the firmware no other register means anything",
            );
        }
        if self.tcb_status.is_empty() {
            return refused(
                "appraisal.tcb_status",
                "empty".to_owned(),
                "at least one status, such as \"UpToDate\"",
            );
        }
        if !(1..=MAX_RESULT_LIFETIME_SECONDS).contains(&self.result_lifetime_seconds) {
            return refused(
                "appraisal.result_lifetime_seconds",
                self.result_lifetime_seconds.to_string(),
                "1 to 86400",
            );
        }
        self.tdx.validate()?;
        self.snp.validate()?;
        self.azure.validate()?;
        self.event_log.validate()?;
        self.gpu.validate()
    }

    /// SHA-256 over the policy's meaning; lower-case hex.
    #[must_use]
    pub fn digest(&self) -> String {
        digest_of(self)
    }
}

/// SHA-256 over compact JSON with members in the order of the struct and sets sorted. Strings, numbers and
/// lists of them always serialise; if ever they don't, the record says so, and equals no digest.
pub(super) fn digest_of<T: Serialize>(policy: &T) -> String {
    match serde_json::to_vec(policy) {
        Ok(text) => hex::encode(ring::digest::digest(&ring::digest::SHA256, &text)),
        Err(error) => format!("no digest: {error}"),
    }
}

/// Why a text is not a policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// More bytes than [`limits`](crate::limits) allow.
    #[error("policy has {got} bytes; at most {limit} are read")]
    TooLarge {
        /// Its size in bytes.
        got: usize,
        /// The bound in bytes.
        limit: usize,
    },
    /// Not TOML of this shape: a syntax error, an unknown key, a value of another type.
    #[error("not a release policy")]
    Toml(#[source] Box<toml::de::Error>),
    /// A value that cannot be meant.
    #[error("{key} is {got}; expected {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// What the file says.
        got: String,
        /// What is accepted.
        expected: &'static str,
    },
}
