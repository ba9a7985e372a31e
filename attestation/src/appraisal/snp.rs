//! Appraisal of SEV-SNP claims: rungs S10 and S13 to S15, S17, and what the Verifier's rungs left as
//! claims: product (S2), revocation (S5), chip and cloud (S7), launch TCB (S9), guest policy (S12).
//!
//! Against: genuine AMD hardware that runs the wrong software, old firmware, a chip whose secret is out,
//! a machine that is set up so that others can look in.

use crate::appraisal::reference::{Compared, matching};
use crate::appraisal::{AppraisalPolicy, joined};
use crate::claims::{SnpClaims, SnpProduct, SnpRevocation, SnpTcb};
use crate::reason::Reason;
use crate::reference_value::ReferenceValues;
use crate::unix_time::UnixTime;

mod guest;
mod policy;

pub use policy::{GuestRestriction, MinimumTcb, PlatformProperty, SnpPolicy};

const FIRMWARE: &str =
    "update BIOS (AGESA), microcode and SNP firmware of the host, then launch the guest anew";

/// The name of the matching set, or every reason against.
pub(super) fn appraise(
    claims: &SnpClaims,
    references: &[ReferenceValues],
    policy: &AppraisalPolicy,
    now: UnixTime,
) -> Result<String, Vec<Reason>> {
    //= attestation/SPEC.md#6
    //# An appraisal MUST collect every reason against, not stop at the first.
    let mut reasons = Vec::new();
    rules(claims, policy, now, &mut reasons);
    let matched = measurements(claims, references, policy, &mut reasons);
    match matched {
        Some(name) if reasons.is_empty() => Ok(name),
        _ => Err(reasons),
    }
}

/// Every rule but S14: what holds for the hardware under an Azure vTPM as well.
pub(super) fn rules(
    claims: &SnpClaims,
    policy: &AppraisalPolicy,
    now: UnixTime,
    reasons: &mut Vec<Reason>,
) {
    report_version(claims, policy, reasons);
    product(claims, policy, reasons);
    endorsements(claims, policy, now, reasons);
    machine(claims, policy, reasons);
    minimum_tcb(claims, policy, reasons);
    guest::launch_policy(claims, policy, reasons);
    guest::privilege_level(claims, policy, reasons);
    guest::platform(claims, policy, reasons);
    guest::mitigations(claims, policy, reasons);
}

/// S1: reports of older versions leave out what later rules ask about.
fn report_version(claims: &SnpClaims, policy: &AppraisalPolicy, reasons: &mut Vec<Reason>) {
    let minimum = policy.snp.minimum_report_version;
    if claims.report_version < minimum {
        reasons.push(Reason::new(
            "snp.report.old-version",
            "S1",
            "report version",
            (format!("at least {minimum}"), claims.report_version.to_string()),
            format!("{FIRMWARE}; or lower `minimum_report_version` in [appraisal.snp]"),
        ));
    }
}

/// S2: the product is one that the owner accepts.
fn product(claims: &SnpClaims, policy: &AppraisalPolicy, reasons: &mut Vec<Reason>) {
    let (got, accepted) = (claims.product, &policy.snp.allowed_products);
    if accepted.contains(&got) {
        return;
    }
    let remedy = match got {
        //= attestation/SPEC.md#6.1
        //# A default policy MUST refuse Milan, and the refusal MUST say why.
        SnpProduct::Milan => {
            "Milan is off by default: a published attack (arXiv 2605.12990) reads the root secret of a \
             Milan chip by software alone, and whoever has it forges any report of that chip at any TCB. \
             Use Genoa or Turin; or, for machines whose owner and history you trust, list their chips in \
             `allowed_chip_ids` and add Milan to `allowed_products` in [appraisal.snp]"
        }
        SnpProduct::Genoa | SnpProduct::Turin => {
            "use a machine of an accepted product, or add it to `allowed_products` in [appraisal.snp]"
        }
    };
    reasons.push(Reason::new(
        "snp.product.not-allowed",
        "S2",
        "product",
        (joined(accepted.iter()), got.to_string()),
        remedy,
    ));
}

/// S4 and S5 once more: Endorsements have not ended since, and revocation was not waived.
fn endorsements(
    claims: &SnpClaims,
    policy: &AppraisalPolicy,
    now: UnixTime,
    reasons: &mut Vec<Reason>,
) {
    let expires = claims.endorsements_expire;
    if now > expires {
        reasons.push(Reason::new(
            "snp.endorsements.expired",
            "S4",
            "endorsements",
            (format!("valid at {now}"), format!("valid until {expires}")),
            "fetch certificates and revocation lists again and give them to the Verifier",
        ));
    }
    match claims.revocation {
        SnpRevocation::Checked => {}
        SnpRevocation::InsecureWaived if policy.snp.insecure_accept_waived_revocation => {}
        SnpRevocation::InsecureWaived => reasons.push(Reason::new(
            "snp.revocation.waived",
            "S5",
            "revocation",
            ("looked up in a current list", "not looked up"),
            "give the Verifier AMD's current revocation list for this product; or accept in \
             [appraisal.snp] with `insecure_accept_waived_revocation` that a revoked key still counts",
        )),
    }
}

/// S7: chip and cloud are among those that the owner listed, where there are lists.
fn machine(claims: &SnpClaims, policy: &AppraisalPolicy, reasons: &mut Vec<Reason>) {
    let chips = &policy.snp.allowed_chip_ids;
    if !chips.is_empty() && !chips.contains(&claims.chip_id) {
        let got = match claims.chip_id.is_zero() {
            true => "masked by the owner of the machine".to_owned(),
            false => claims.chip_id.to_string(),
        };
        reasons.push(Reason::new(
            "snp.chip.not-allowed",
            "S7",
            "chip id",
            (joined(chips.iter()), got),
            "if this machine is yours, add its chip to `allowed_chip_ids` in [appraisal.snp]",
        ));
    }
    let clouds = &policy.snp.allowed_csp_ids;
    if let Some(got) = &claims.csp_id
        && !clouds.is_empty()
        && !clouds.contains(got)
    {
        reasons.push(Reason::new(
            "snp.csp.not-allowed",
            "S7",
            "cloud provider",
            (joined(clouds.iter()), got.clone()),
            "if this cloud is yours, add its name to `allowed_csp_ids` in [appraisal.snp]",
        ));
    }
}

/// S9 and S10: firmware is new enough in every component, now and when the guest was launched.
fn minimum_tcb(claims: &SnpClaims, policy: &AppraisalPolicy, reasons: &mut Vec<Reason>) {
    let product = claims.product;
    //= attestation/SPEC.md#6.1
    //# An appraisal MUST refuse a product for which the policy names no lowest TCB.
    let Some(minimum) = policy.snp.minimum_tcb.get(&product) else {
        reasons.push(Reason::new(
            "snp.tcb.no-minimum",
            "S10",
            "reported TCB",
            (format!("a lowest TCB for {product} in the policy"), "none".to_owned()),
            format!(
                "find in AMD's bulletins which firmware has today's fixes; if this machine's does, paste \
                 into the policy what it reports:\n{}",
                pasteable(product, claims.reported_tcb)
            ),
        ));
        return;
    };
    let floor = SnpTcb::from(*minimum);
    for (code, rung, claim, tcb) in [
        ("snp.tcb.below-minimum", "S10", "reported TCB", claims.reported_tcb),
        ("snp.tcb.launched-below-minimum", "S9", "launch TCB", claims.launch_tcb),
    ] {
        if tcb.first_below(&floor).is_some() {
            let got = tcb.to_string();
            reasons.push(Reason::new(
                code,
                rung,
                claim,
                (format!("at least {floor}"), got),
                FIRMWARE,
            ));
        }
    }
}

/// The table of a policy that names exactly this TCB as the lowest.
fn pasteable(product: SnpProduct, tcb: SnpTcb) -> String {
    let SnpTcb { fmc, bootloader, tee, snp, microcode } = tcb;
    let fmc = fmc.map(|fmc| format!("fmc = {fmc}\n")).unwrap_or_default();
    format!(
        "[appraisal.snp.minimum_tcb.{product}]\n{fmc}bootloader = {bootloader}\ntee = {tee}\n\
         snp = {snp}\nmicrocode = {microcode}"
    )
}

/// S14: one named set matches in everything that it lists.
fn measurements(
    claims: &SnpClaims,
    references: &[ReferenceValues],
    policy: &AppraisalPolicy,
    reasons: &mut Vec<Reason>,
) -> Option<String> {
    let compared = references.iter().filter_map(|set| match set {
        ReferenceValues::Snp(set) => {
            Some(Compared { name: &set.name, differing: guest::against(claims, set, policy) })
        }
        _ => None,
    });
    matching("S14", "snp", policy, compared, reasons)
}

#[cfg(test)]
mod tests;
