//! Appraisal of an Azure confidential VM: rung A4, and the hardware's rules under it.
//!
//! In: verified claims of vTPM and hardware, sets of Reference Values, the policy. The hardware's own
//! rules (TCB, attributes, age of collateral, allowed platforms) are those of a bare TD or SNP guest;
//! its measurement is the paravisor's. The guest's software is in the PCRs: every PCR that the policy
//! names has to be listed by the set, and every PCR that the set lists has to match.
//! Against: a genuine machine with another paravisor, boot loader, kernel, command line or init-data;
//! a set that says nothing about the boot.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::appraisal::reference::{Compared, listed, matching};
use crate::appraisal::{AppraisalPolicy, PolicyError, Register, snp, tdx};
use crate::claims::{
    AttributesProfile, AzureClaims, AzureHardwareClaims, Measurement, Pcr, TdxClaims,
};
use crate::evidence::Tee;
use crate::reason::Reason;
use crate::reference_value::{AzureReferenceValues, PcrIndex, ReferenceValues};
use crate::unix_time::UnixTime;

/// The table `[appraisal.azure]` of a release policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AzurePolicy {
    /// PCRs that a set has to list. Default: 0 to 9 and 11 to 15, all that is measured until the
    /// kernel runs. PCR 10 grows with every file under IMA, 16 and 23 can be reset by anybody in the
    /// guest, 17 to 22 are for a late launch. PCR 4, the boot loader, is always among them.
    pub pcrs: BTreeSet<PcrIndex>,
    /// Lowest accepted version of the Evidence, 1 or 2. Default: 2, in which the hardware's report is
    /// as fresh as the quote.
    pub minimum_evidence_version: u8,
    /// Accept TDs without SEPT_VE_DISABLE, as all of Azure's are. Whether the host can inject a #VE
    /// where it took a page away then depends on the paravisor, whose measurement must be known.
    /// Default: false. The Verifier has to be told as well.
    pub insecure_accept_paravisor_td: bool,
}

/// PCRs that are compared unless a policy says otherwise.
const DEFAULT_PCRS: [u8; 15] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15];

impl Default for AzurePolicy {
    fn default() -> Self {
        Self {
            pcrs: DEFAULT_PCRS.into_iter().filter_map(PcrIndex::new).collect(),
            minimum_evidence_version: 2,
            insecure_accept_paravisor_td: false,
        }
    }
}

impl AzurePolicy {
    /// Refuses values that cannot be meant.
    ///
    /// # Errors
    /// [`PolicyError::Value`].
    pub fn validate(&self) -> Result<(), PolicyError> {
        if !self.pcrs.contains(&PcrIndex::BOOT_LOADER) {
            return Err(PolicyError::Value {
                key: "appraisal.azure.pcrs",
                got: "a list without 4".to_owned(),
                expected: "a list with 4: without the boot loader no other PCR means anything",
            });
        }
        if !matches!(self.minimum_evidence_version, 1 | 2) {
            return Err(PolicyError::Value {
                key: "appraisal.azure.minimum_evidence_version",
                got: self.minimum_evidence_version.to_string(),
                expected: "1 or 2",
            });
        }
        Ok(())
    }
}

/// The name of the matching set, or every reason against.
pub(super) fn appraise(
    claims: &AzureClaims,
    references: &[ReferenceValues],
    policy: &AppraisalPolicy,
    now: UnixTime,
) -> Result<String, Vec<Reason>> {
    let mut reasons = Vec::new();
    let tee = match &claims.hardware {
        AzureHardwareClaims::Snp(hardware) => {
            snp::rules(hardware, policy, now, &mut reasons);
            Tee::AzSnpVtpm
        }
        AzureHardwareClaims::Tdx(hardware) => {
            tdx::rules(hardware, policy, now, &mut reasons);
            profile(hardware, policy, &mut reasons);
            Tee::AzTdxVtpm
        }
    };
    version(claims, policy, &mut reasons);
    let matched = references_match(tee, claims, references, policy, &mut reasons);
    match matched {
        Some(name) if reasons.is_empty() => Ok(name),
        _ => Err(reasons),
    }
}

/// T9 once more: the Verifier may have let a paravisor's TD through, on request.
fn profile(claims: &TdxClaims, policy: &AppraisalPolicy, reasons: &mut Vec<Reason>) {
    match claims.attributes_profile {
        AttributesProfile::Standard => {}
        AttributesProfile::AzureParavisor if policy.azure.insecure_accept_paravisor_td => {}
        AttributesProfile::AzureParavisor => reasons.push(Reason::new(
            "azure.paravisor-td",
            "T9",
            "TD attributes",
            ("SEPT_VE_DISABLE = 1", format!("SEPT_VE_DISABLE = 0 ({})", claims.td_attributes)),
            "Azure launches TDs so: use `az-snp-vtpm`, or read what `insecure_accept_paravisor_td` in [appraisal.azure] gives away and set it",
        )),
    }
}

/// A3 once more: Evidence of version 1 does not say how fresh the hardware's report is.
fn version(claims: &AzureClaims, policy: &AppraisalPolicy, reasons: &mut Vec<Reason>) {
    let minimum = policy.azure.minimum_evidence_version;
    if claims.evidence_version < minimum {
        reasons.push(Reason::new(
            "azure.evidence.old-version",
            "A3",
            "Evidence version",
            (format!("at least {minimum}"), claims.evidence_version.to_string()),
            "update the attestation agent in the guest: current ones send version 2",
        ));
    }
}

/// A4: one named set matches in the paravisor's measurement and in every PCR.
fn references_match(
    tee: Tee,
    claims: &AzureClaims,
    references: &[ReferenceValues],
    policy: &AppraisalPolicy,
    reasons: &mut Vec<Reason>,
) -> Option<String> {
    let compared = references.iter().filter_map(|set| match set {
        ReferenceValues::Azure(set) if set.tee == tee => {
            Some(Compared { name: &set.name, differing: against(claims, set, policy) })
        }
        _ => None,
    });
    matching("A4", tee.as_str(), policy, compared, reasons)
}

fn against(
    claims: &AzureClaims,
    set: &AzureReferenceValues,
    policy: &AppraisalPolicy,
) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let measured = match &claims.hardware {
        AzureHardwareClaims::Snp(hardware) => hardware.measurement,
        AzureHardwareClaims::Tdx(hardware) => {
            td_registers(hardware, policy, &mut reasons);
            hardware.mrtd
        }
    };
    if !set.measurement.contains(&measured) {
        let accepted = listed(&set.measurement, &set.name);
        reasons.push(Reason::new(
            "azure.measurement",
            "A4",
            "paravisor measurement",
            (accepted, measured.to_string()),
            "if Azure rolled out a new paravisor that you trust, add its measurement to the set",
        ));
    }
    //= attestation/SPEC.md#9
    //# Every PCR that the policy names or the set lists MUST have a value that the set lists for it.
    let compared: BTreeSet<PcrIndex> =
        policy.azure.pcrs.iter().copied().chain(set.listed()).collect();
    for index in compared {
        let (got, accepted) = (index.of(&claims.pcrs), set.accepted(index));
        if !accepted.contains(&got) {
            reasons.push(pcr_differs(index, got, &accepted, &set.name));
        }
    }
    reasons
}

fn pcr_differs(index: PcrIndex, got: Pcr, accepted: &[Pcr], set: &str) -> Reason {
    let remedy = match index {
        PcrIndex::INIT_DATA => {
            "compare the init-data with the set's `init_data`, or list the value under [pcrs]"
                .to_owned()
        }
        _ => format!("if this system is yours, list the value for {index} under [pcrs] of the set"),
    };
    let claim = format!("PCR {index}");
    Reason::new("azure.pcr", "A4", &claim, (listed(accepted, set), got.to_string()), remedy)
}

/// T11 for a TD under a paravisor: what the paravisor does not use has to be zero.
fn td_registers(claims: &TdxClaims, policy: &AppraisalPolicy, reasons: &mut Vec<Reason>) {
    for register in &policy.registers {
        let got = match register {
            // The paravisor's measurement, compared with the set.
            Register::Mrtd => continue,
            Register::Rtmr0 => claims.rtmr0,
            Register::Rtmr1 => claims.rtmr1,
            Register::Rtmr2 => claims.rtmr2,
            Register::Rtmr3 => claims.rtmr3,
            Register::MrConfigId => claims.mrconfigid,
            Register::MrOwner => claims.mrowner,
            Register::MrOwnerConfig => claims.mrownerconfig,
        };
        if got != Measurement([0; 48]) {
            reasons.push(Reason::new(
                "azure.td-register",
                "A4",
                register.as_str(),
                ("zero: Azure's paravisor does not use it", got.to_string()),
                "leave the register out of the policy's `registers` if you know what extends it",
            ));
        }
    }
}

#[cfg(test)]
mod tests;
