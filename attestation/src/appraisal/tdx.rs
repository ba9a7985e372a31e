//! Appraisal of TDX claims: rungs T9, T11, T15, T17 and the TCB status that T8 left as a claim.

use std::collections::BTreeSet;

use crate::appraisal::reference::{Compared, differing, matching};
use crate::appraisal::{AppraisalPolicy, Register, joined};
use crate::claims::{
    AttributesProfile, Measurement, PckFlag, PlatformInstance, TcbStatus, TdxClaims,
};
use crate::reason::Reason;
use crate::reference_value::{ReferenceValues, TdxReferenceValues};
use crate::unix_time::UnixTime;

mod policy;

pub use policy::{SetupRule, TcbMode, TcbPolicy, TdxPolicy};

const SECONDS_A_DAY: u64 = 24 * 60 * 60;
const FIRMWARE: &str = "update BIOS, microcode and TDX module of the host, then launch the TD anew";

/// The name of the matching set, or every reason against.
pub(super) fn appraise(
    claims: &TdxClaims,
    references: &[ReferenceValues],
    policy: &AppraisalPolicy,
    now: UnixTime,
) -> Result<String, Vec<Reason>> {
    //= attestation/SPEC.md#6
    //# An appraisal MUST collect every reason against, not stop at the first.
    let mut reasons = Vec::new();
    tcb(claims, policy, now, &mut reasons);
    attributes(claims, policy, &mut reasons);
    paravisor(claims, policy, &mut reasons);
    module_and_xfam(claims, policy, &mut reasons);
    let matched = measurements(claims, references, policy, &mut reasons);
    collateral(claims, policy, now, &mut reasons);
    platform(claims, policy, &mut reasons);
    match matched {
        Some(name) if reasons.is_empty() => Ok(name),
        _ => Err(reasons),
    }
}

/// Every rule but T11: what holds for the hardware under an Azure vTPM as well.
pub(super) fn rules(
    claims: &TdxClaims,
    policy: &AppraisalPolicy,
    now: UnixTime,
    reasons: &mut Vec<Reason>,
) {
    tcb(claims, policy, now, reasons);
    attributes(claims, policy, reasons);
    module_and_xfam(claims, policy, reasons);
    collateral(claims, policy, now, reasons);
    platform(claims, policy, reasons);
}

/// T8, second half: status and advisories that the owner accepts, for now or for good, and the lowest
/// versions.
fn tcb(claims: &TdxClaims, policy: &AppraisalPolicy, now: UnixTime, reasons: &mut Vec<Reason>) {
    let accepted = policy.tcb_status.contains(&claims.tcb_status);
    let grace = match &policy.tdx.tcb.mode {
        TcbMode::Grace { until, advisories } if !accepted && is_behind(claims) => {
            Some((*until, advisories))
        }
        TcbMode::Grace { .. } | TcbMode::UpToDate => None,
    };
    match grace {
        Some((until, _)) if now >= until => reasons.push(Reason::new(
            "tdx.tcb.grace-ended",
            "T8",
            "TCB status",
            (
                format!("{} since {until}", joined(policy.tcb_status.iter())),
                format!("{} at {now}", claims.tcb_status),
            ),
            format!("{FIRMWARE}; the policy's grace (`until` in `[appraisal.tdx.tcb]`) is over"),
        )),
        None if !accepted => reasons.push(Reason::new(
            "tdx.tcb.status",
            "T8",
            "TCB status",
            (joined(policy.tcb_status.iter()), claims.tcb_status.to_string()),
            format!(
                "{FIRMWARE}; or accept the status in the policy's `tcb_status`, or for a while with \
                 mode \"grace\" in `[appraisal.tdx.tcb]`"
            ),
        )),
        Some(_) | None => {}
    }
    let is_accepted = |id: &&String| {
        policy.accepted_advisories.contains(*id)
            || grace.is_some_and(|(_, advisories)| advisories.contains(*id))
    };
    let unaccepted: Vec<&String> =
        claims.advisory_ids.iter().filter(|id| !is_accepted(id)).collect();
    if !unaccepted.is_empty() {
        let listed = grace.map(|(_, advisories)| advisories.iter()).into_iter().flatten();
        let listed: BTreeSet<&String> = policy.accepted_advisories.iter().chain(listed).collect();
        let accepted = match listed.is_empty() {
            true => "no advisory".to_owned(),
            false => format!("only {}", joined(listed.into_iter())),
        };
        reasons.push(Reason::new(
            "tdx.tcb.advisory",
            "T8",
            "advisories",
            (accepted, joined(unaccepted.into_iter())),
            format!("{FIRMWARE}; or read the advisories and list them in `accepted_advisories`"),
        ));
    }
    let minimum = policy.tdx.tcb.minimum_tee_tcb_svn;
    let components = minimum.0.iter().zip(&claims.tee_tcb_svn.0).enumerate();
    for (component, (least, got)) in components.filter(|(_, (least, got))| got < least) {
        reasons.push(Reason::new(
            "tdx.tcb.minimum-svn",
            "T8",
            format!("TEE_TCB_SVN[{component}]"),
            (format!("at least {least}"), got.to_string()),
            FIRMWARE,
        ));
    }
}

/// Whether the platform is behind with updates and with nothing else, and the vendor says by which
/// advisories: what a grace can be given for.
fn is_behind(claims: &TdxClaims) -> bool {
    let behind = match claims.tcb_status {
        TcbStatus::OutOfDate | TcbStatus::TdRelaunchAdvised | TcbStatus::SwHardeningNeeded => true,
        TcbStatus::UpToDate
        | TcbStatus::ConfigurationNeeded
        | TcbStatus::ConfigurationAndSwHardeningNeeded
        | TcbStatus::OutOfDateConfigurationNeeded
        | TcbStatus::TdRelaunchAdvisedConfigurationNeeded => false,
    };
    behind && !claims.advisory_ids.is_empty()
}

/// T10 and T11 as far as they are about the platform: CPU state and TDX module.
fn module_and_xfam(claims: &TdxClaims, policy: &AppraisalPolicy, reasons: &mut Vec<Reason>) {
    let mask = policy.tdx.xfam_mask;
    let bits = claims.xfam.bits() & !mask.bits();
    if bits != 0 {
        reasons.push(Reason::new(
            "tdx.xfam.not-allowed",
            "T10",
            "XFAM",
            (format!("nothing outside {mask}"), format!("bits {bits:#x} ({})", claims.xfam)),
            "launch the TD with fewer CPU features, or widen the policy's `xfam_mask` in `[appraisal.tdx]`",
        ));
    }
    let modules = &policy.tdx.mrseam;
    if !modules.is_empty() && !modules.contains(&claims.mrseam) {
        reasons.push(Reason::new(
            "tdx.module.not-allowed",
            "T11",
            "MRSEAM",
            (joined(modules.iter()), claims.mrseam.to_string()),
            "if you trust this TDX module, add its measurement to the policy's `mrseam` in `[appraisal.tdx]`",
        ));
    }
}

/// T9 once more: the Verifier may have let a debuggable TD through, on request.
fn attributes(claims: &TdxClaims, policy: &AppraisalPolicy, reasons: &mut Vec<Reason>) {
    let attributes = claims.td_attributes;
    if attributes.is_debug() && !policy.insecure_allow_debug {
        reasons.push(Reason::new(
            "tdx.td-attributes.debug",
            "T9",
            "TD attributes",
            ("DEBUG = 0", format!("DEBUG = 1 ({attributes})")),
            "launch the TD without debug; the host can read everything in this one",
        ));
    }
    if attributes.is_migratable() {
        reasons.push(Reason::new(
            "tdx.td-attributes.migratable",
            "T9",
            "TD attributes",
            ("MIGRATABLE = 0", format!("MIGRATABLE = 1 ({attributes})")),
            "launch the TD as not migratable",
        ));
    }
}

/// T9 for a TD that is no Azure machine's, which has a key of its own in `[appraisal.azure]`.
fn paravisor(claims: &TdxClaims, policy: &AppraisalPolicy, reasons: &mut Vec<Reason>) {
    let attributes = claims.td_attributes;
    match claims.attributes_profile {
        AttributesProfile::Standard => {}
        AttributesProfile::AzureParavisor if policy.tdx.insecure_accept_paravisor_tds => {}
        AttributesProfile::AzureParavisor => reasons.push(Reason::new(
            "tdx.td-attributes.paravisor",
            "T9",
            "TD attributes",
            ("SEPT_VE_DISABLE = 1", format!("SEPT_VE_DISABLE = 0 ({attributes})")),
            "launch the TD with SEPT_VE_DISABLE; or, for Azure's TDs under a paravisor whose \
             measurement you know, set `insecure_accept_paravisor_tds` in `[appraisal.tdx]`",
        )),
    }
}

/// T11: one named set matches in every register that the policy compares.
fn measurements(
    claims: &TdxClaims,
    references: &[ReferenceValues],
    policy: &AppraisalPolicy,
    reasons: &mut Vec<Reason>,
) -> Option<String> {
    let compared = references.iter().filter_map(|set| match set {
        ReferenceValues::Tdx(set) => {
            Some(Compared { name: &set.name, differing: against(claims, set, policy) })
        }
        _ => None,
    });
    matching("T11", "tdx", policy, compared, reasons)
}

fn against(claims: &TdxClaims, set: &TdxReferenceValues, policy: &AppraisalPolicy) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for register in &policy.registers {
        let (code, got, accepted) = compared(*register, claims, set);
        if !accepted.contains(&got) {
            reasons.push(differing(code, "T11", register.as_str(), got, accepted, &set.name));
        }
    }
    // Lists that a set may leave out: then the vendor's statements alone decide.
    if !set.mrseam.is_empty() && !set.mrseam.contains(&claims.mrseam) {
        let code = "tdx.measurement.mrseam";
        reasons.push(differing(code, "T11", "mrseam", claims.mrseam, &set.mrseam, &set.name));
    }
    if !set.td_attributes.is_empty() && !set.td_attributes.contains(&claims.td_attributes) {
        let code = "tdx.measurement.td-attributes";
        let (got, accepted) = (claims.td_attributes, &set.td_attributes);
        reasons.push(differing(code, "T11", "td_attributes", got, accepted, &set.name));
    }
    if !set.xfam.is_empty() && !set.xfam.contains(&claims.xfam) {
        let code = "tdx.measurement.xfam";
        reasons.push(differing(code, "T11", "xfam", claims.xfam, &set.xfam, &set.name));
    }
    reasons
}

fn compared<'a>(
    register: Register,
    claims: &TdxClaims,
    set: &'a TdxReferenceValues,
) -> (&'static str, Measurement, &'a [Measurement]) {
    match register {
        Register::Mrtd => ("tdx.measurement.mrtd", claims.mrtd, &set.mrtd),
        Register::Rtmr0 => ("tdx.measurement.rtmr0", claims.rtmr0, &set.rtmr0),
        Register::Rtmr1 => ("tdx.measurement.rtmr1", claims.rtmr1, &set.rtmr1),
        Register::Rtmr2 => ("tdx.measurement.rtmr2", claims.rtmr2, &set.rtmr2),
        Register::Rtmr3 => ("tdx.measurement.rtmr3", claims.rtmr3, &set.rtmr3),
        Register::MrConfigId => ("tdx.measurement.mrconfigid", claims.mrconfigid, &set.mrconfigid),
        Register::MrOwner => ("tdx.measurement.mrowner", claims.mrowner, &set.mrowner),
        Register::MrOwnerConfig => {
            ("tdx.measurement.mrownerconfig", claims.mrownerconfig, &set.mrownerconfig)
        }
    }
}

/// T15: the vendor's statements are young enough and of a recent evaluation.
fn collateral(
    claims: &TdxClaims,
    policy: &AppraisalPolicy,
    now: UnixTime,
    reasons: &mut Vec<Reason>,
) {
    const REFETCH: &str =
        "fetch the collateral for this platform type again and give it to the Verifier";
    let window = claims.collateral;
    let oldest = u64::from(policy.max_collateral_age_days).saturating_mul(SECONDS_A_DAY);
    let age = now.0.saturating_sub(window.issued.0);
    if age > oldest {
        reasons.push(Reason::new(
            "tdx.collateral.age",
            "T15",
            "collateral",
            (
                format!("issued at most {} days ago", policy.max_collateral_age_days),
                format!("issued {} days ago, at {}", age / SECONDS_A_DAY, window.issued),
            ),
            REFETCH,
        ));
    }
    if now > window.expires {
        reasons.push(Reason::new(
            "tdx.collateral.expired",
            "T15",
            "collateral",
            (format!("valid at {now}"), format!("valid until {}", window.expires)),
            REFETCH,
        ));
    }
    let minimum = policy.minimum_tcb_evaluation_data_number;
    if claims.tcb_evaluation_data_number < minimum {
        reasons.push(Reason::new(
            "tdx.collateral.evaluation",
            "T15",
            "TCB evaluation data number",
            (format!("at least {minimum}"), claims.tcb_evaluation_data_number.to_string()),
            REFETCH,
        ));
    }
}

/// T17: the platform is one of those that the owner listed, when there is a list.
fn platform(claims: &TdxClaims, policy: &AppraisalPolicy, reasons: &mut Vec<Reason>) {
    if !policy.allowed_ppids.is_empty() && !policy.allowed_ppids.contains(&claims.ppid) {
        reasons.push(Reason::new(
            "tdx.platform.not-allowed",
            "T17",
            "PPID",
            (joined(policy.allowed_ppids.iter()), claims.ppid.to_string()),
            "if this machine is yours, add its PPID to the policy's `allowed_ppids`",
        ));
    }
    let instances = &policy.tdx.allowed_platform_instances;
    let listed = match claims.platform_instance {
        PlatformInstance::Stated(id) => instances.contains(&id),
        PlatformInstance::NotStated => false,
    };
    if !instances.is_empty() && !listed {
        reasons.push(Reason::new(
            "tdx.platform.instance-not-allowed",
            "T17",
            "platform instance",
            (joined(instances.iter()), claims.platform_instance.to_string()),
            "if this machine is yours, add its instance id to `allowed_platform_instances` in `[appraisal.tdx]`",
        ));
    }
    let flags = claims.pck_flags;
    for (key, rule, flag) in [
        ("dynamic_platforms", policy.tdx.dynamic_platforms, flags.dynamic_platform),
        ("cached_keys", policy.tdx.cached_keys, flags.cached_keys),
        ("smt", policy.tdx.smt, flags.smt_enabled),
    ] {
        match (rule, flag) {
            (SetupRule::Accept, _) | (SetupRule::Refuse, PckFlag::Clear) => {}
            (SetupRule::Refuse, PckFlag::Set | PckFlag::NotStated) => reasons.push(Reason::new(
                "tdx.platform.setup",
                "T17",
                key,
                ("clear", flag.to_string()),
                format!("use another platform, or accept these with `{key}` in `[appraisal.tdx]`"),
            )),
        }
    }
}
