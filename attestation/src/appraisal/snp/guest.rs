//! What was launched, and how: rungs S12 to S15 and S17.

use crate::appraisal::reference::differing;
use crate::appraisal::snp::FIRMWARE;
use crate::appraisal::snp::policy::{GuestRestriction, PlatformProperty};
use crate::appraisal::{AppraisalPolicy, joined};
use crate::claims::SnpClaims;
use crate::reason::Reason;
use crate::reference_value::SnpReferenceValues;

const LAUNCH: &str = "launch the guest with another policy";

/// S12: what the guest's launch policy lets the host do.
pub(super) fn launch_policy(
    claims: &SnpClaims,
    policy: &AppraisalPolicy,
    reasons: &mut Vec<Reason>,
) {
    let guest = claims.policy;
    // The Verifier may have let a debuggable guest through, on request.
    if guest.debug_allowed() && !policy.insecure_allow_debug {
        reasons.push(Reason::new(
            "snp.policy.debug",
            "S12",
            "guest policy",
            ("DEBUG = 0", "DEBUG = 1"),
            "launch the guest without debug; the host can read everything in this one",
        ));
    }
    if guest.migrate_ma_allowed() {
        reasons.push(Reason::new(
            "snp.policy.migrate-ma",
            "S12",
            "guest policy",
            ("MIGRATE_MA = 0", "MIGRATE_MA = 1"),
            "launch the guest without a migration agent, which could copy it",
        ));
    }
    let (minimum, got) = (policy.snp.minimum_abi, (guest.abi_major(), guest.abi_minor()));
    if got < minimum {
        reasons.push(Reason::new(
            "snp.policy.abi",
            "S12",
            "guest policy",
            (
                format!("ABI of at least {}.{}", minimum.0, minimum.1),
                format!("{}.{}", got.0, got.1),
            ),
            LAUNCH,
        ));
    }
    for restriction in &policy.snp.guest_restrictions {
        let (code, holds) = match restriction {
            GuestRestriction::NoSmt => ("snp.policy.smt", !guest.smt_allowed()),
            GuestRestriction::SingleSocket => {
                ("snp.policy.single-socket", guest.single_socket_required())
            }
            GuestRestriction::NoCxl => ("snp.policy.cxl", !guest.cxl_allowed()),
            GuestRestriction::Aes256Xts => {
                ("snp.policy.aes-256-xts", guest.mem_aes_256_xts_required())
            }
            GuestRestriction::NoRapl => ("snp.policy.rapl", guest.rapl_disable_required()),
            GuestRestriction::CiphertextHiding => {
                ("snp.policy.ciphertext-hiding", guest.ciphertext_hiding_required())
            }
            GuestRestriction::NoPageSwap => ("snp.policy.page-swap", guest.page_swap_disabled()),
        };
        if !holds {
            let expected = format!("a policy that demands {}", restriction.as_str());
            let got = format!("one that does not ({:#x})", guest.0);
            reasons.push(Reason::new(code, "S12", "guest policy", (expected, got), LAUNCH));
        }
    }
}

/// S13: software at other privilege levels is below somebody.
pub(super) fn privilege_level(
    claims: &SnpClaims,
    policy: &AppraisalPolicy,
    reasons: &mut Vec<Reason>,
) {
    let accepted = &policy.snp.allowed_vmpls;
    if !accepted.contains(&claims.vmpl) {
        reasons.push(Reason::new(
            "snp.vmpl",
            "S13",
            "VMPL",
            (joined(accepted.iter()), claims.vmpl.to_string()),
            "ask for the report at an accepted level; or, where you know the software above (a \
             paravisor, an SVSM) by its measurement, add the level to `allowed_vmpls` in [appraisal.snp]",
        ));
    }
}

/// S15: how the machine is set up.
pub(super) fn platform(claims: &SnpClaims, policy: &AppraisalPolicy, reasons: &mut Vec<Reason>) {
    let machine = claims.platform_info;
    // Version 2 has no such bit, so `minimum_report_version` decides about those.
    let can_say = claims.report_version >= 3;
    if policy.snp.require_alias_check && can_say && !machine.alias_check_complete() {
        reasons.push(Reason::new(
            "snp.platform.alias-check",
            "S15",
            "platform",
            ("memory searched for aliases", "not searched, or aliases found"),
            format!(
                "{FIRMWARE}: a memory module that lies about its size defeats SNP (CVE-2024-21944)"
            ),
        ));
    }
    for property in &policy.snp.platform {
        let (code, holds) = match property {
            PlatformProperty::NoSmt => ("snp.platform.smt", !machine.smt_enabled()),
            PlatformProperty::Tsme => ("snp.platform.tsme", machine.tsme_enabled()),
            PlatformProperty::Ecc => ("snp.platform.ecc", machine.ecc_enabled()),
            PlatformProperty::NoRapl => ("snp.platform.rapl", machine.rapl_disabled()),
            PlatformProperty::CiphertextHiding => {
                ("snp.platform.ciphertext-hiding", machine.ciphertext_hiding_enabled())
            }
            PlatformProperty::NoTio => ("snp.platform.tio", !machine.tio_enabled()),
        };
        if !holds {
            let expected = format!("a machine with {}", property.as_str());
            let got = format!("one without ({:#x})", machine.0);
            let remedy = "change the setting in the host's BIOS";
            reasons.push(Reason::new(code, "S15", "platform", (expected, got), remedy));
        }
    }
}

/// S17: mitigations that the owner asks for were in force at launch and still are.
pub(super) fn mitigations(claims: &SnpClaims, policy: &AppraisalPolicy, reasons: &mut Vec<Reason>) {
    let required = policy.snp.required_mitigations;
    for (code, claim, vector) in [
        ("snp.mitigations.launch", "launch mitigations", claims.launch_mitigations),
        ("snp.mitigations.current", "current mitigations", claims.current_mitigations),
    ] {
        if required & !vector.unwrap_or(0) != 0 {
            let got = vector.map_or("not stated".to_owned(), |vector| format!("{vector:#x}"));
            reasons.push(Reason::new(
                code,
                "S17",
                claim,
                (format!("all of {required:#x}"), got),
                FIRMWARE,
            ));
        }
    }
}

/// S14: every claim that differs from a set.
pub(super) fn against(
    claims: &SnpClaims,
    set: &SnpReferenceValues,
    policy: &AppraisalPolicy,
) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if !set.measurement.contains(&claims.measurement) {
        let (got, accepted) = (claims.measurement, &set.measurement);
        reasons.push(differing("snp.measurement", "S14", "measurement", got, accepted, &set.name));
    }
    if !set.host_data.contains(&claims.host_data) {
        let (got, accepted) = (claims.host_data, &set.host_data);
        reasons.push(differing("snp.host-data", "S14", "host data", got, accepted, &set.name));
    }
    // Lists that a set may leave out: a guest without an ID block has nothing to compare.
    if !set.id_key_digest.is_empty() && !set.id_key_digest.contains(&claims.id_key_digest) {
        let (got, accepted) = (claims.id_key_digest, &set.id_key_digest);
        reasons.push(differing("snp.id-key", "S14", "id key digest", got, accepted, &set.name));
    }
    // A digest without the bit was not certified by that key.
    let certified = claims.key_info.author_key_enabled()
        && set.author_key_digest.contains(&claims.author_key_digest);
    if !set.author_key_digest.is_empty() && !certified {
        let (got, accepted) = (claims.author_key_digest, &set.author_key_digest);
        reasons.push(differing(
            "snp.author-key",
            "S14",
            "author key digest",
            got,
            accepted,
            &set.name,
        ));
    }
    if !set.family_id.is_empty() && !set.family_id.contains(&claims.family_id) {
        let (got, accepted) = (claims.family_id, &set.family_id);
        reasons.push(differing("snp.family-id", "S14", "family id", got, accepted, &set.name));
    }
    if !set.image_id.is_empty() && !set.image_id.contains(&claims.image_id) {
        let (got, accepted) = (claims.image_id, &set.image_id);
        reasons.push(differing("snp.image-id", "S14", "image id", got, accepted, &set.name));
    }
    let minimum = policy.snp.minimum_guest_svn.max(set.minimum_guest_svn);
    if claims.guest_svn < minimum {
        reasons.push(Reason::new(
            "snp.guest-svn",
            "S14",
            "guest SVN",
            (format!("at least {minimum}"), claims.guest_svn.to_string()),
            "launch a newer release of the guest",
        ));
    }
    reasons
}
