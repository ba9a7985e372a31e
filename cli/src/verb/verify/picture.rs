//! How a verification looks: rungs with ticks and crosses, claims as facts.

use adyton_attestation::claims::{AttributesProfile, SnpRevocation};
use adyton_attestation::verifier::Outcome;
use adyton_attestation::{
    AnchorUsed, AzureClaims, AzureHardwareClaims, Claims, Ladder, RungOutcome, SnpClaims,
    TcbStatus, TdxClaims,
};

use crate::console::{Paint, Tone};
use crate::table::{Cell, Facts, Table, shortened};

/// One line a rung: mark, id, what it checks, and why if it did not pass.
pub(super) fn rungs(ladder: &Ladder, paint: Paint) -> String {
    let mut table = Table::headless();
    for rung in &ladder.rungs {
        table.row(rung_row(rung));
    }
    table.render(paint)
}

fn rung_row(rung: &RungOutcome) -> [Cell; 4] {
    let (tone, mark, remark) = match &rung.outcome {
        Outcome::Passed => (Tone::Good, "✓", Cell::from("")),
        Outcome::Failed(reason) => (Tone::Bad, "✗", Cell::new(Tone::Bad, &reason.code)),
        Outcome::Waived(reason) => (Tone::Bad, "!", Cell::new(Tone::Bad, &reason.code)),
        Outcome::NotReached => (Tone::Dim, "·", Cell::new(Tone::Dim, "not reached")),
        Outcome::LeftTo(whom) => (Tone::Dim, "–", Cell::new(Tone::Dim, whom.to_string())),
        Outcome::NotApplicable(why) => (Tone::Dim, "–", Cell::new(Tone::Dim, why.to_string())),
    };
    [Cell::new(tone, mark), Cell::new(Tone::Dim, rung.id), Cell::from(rung.title), remark]
}

/// Whether the chain of signatures ended in a hardware vendor's root. Under an extra root the claims may be
/// as sound as can be and still come from a simulation.
pub(super) fn is_genuine(claims: &Claims) -> bool {
    *claims.root() == AnchorUsed::Vendor
}

/// What was verified, in the words of the last line.
pub(super) fn what(claims: &Claims) -> &'static str {
    if is_genuine(claims) {
        "Genuine TEE"
    } else {
        "TEE under an INSECURE root (nothing is known about hardware)"
    }
}

/// Claims as facts; long values shortened, because JSON output has them in full.
pub(super) fn claims(claims: &Claims, paint: Paint) -> String {
    match claims {
        Claims::Tdx(tdx) => tdx_facts(tdx).render(paint),
        Claims::Snp(snp) => snp_facts(snp).render(paint),
        Claims::AzSnpVtpm(azure) | Claims::AzTdxVtpm(azure) => {
            let hardware = match &azure.hardware {
                AzureHardwareClaims::Snp(snp) => snp_facts(snp),
                AzureHardwareClaims::Tdx(tdx) => tdx_facts(tdx),
            };
            azure_facts(azure).render(paint) + &hardware.render(paint)
        }
        // A TEE of a later version is shown in full rather than not at all.
        other => format!("  {}\n", serde_json::json!(other)),
    }
}

fn snp_facts(claims: &SnpClaims) -> Facts {
    let mut facts = Facts::new();
    facts.add("TEE", format!("AMD SEV-SNP on {}", claims.product.as_str()));
    facts.add("root of trust", root(&claims.root));
    let tcb = claims.reported_tcb;
    let fmc = tcb.fmc.map(|fmc| format!("FMC {fmc}, ")).unwrap_or_default();
    facts.add(
        "reported TCB",
        format!(
            "{fmc}boot loader {}, TEE {}, SNP {}, microcode {}",
            tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode
        ),
    );
    facts.add(
        "revocation",
        match claims.revocation {
            SnpRevocation::Checked => Cell::new(Tone::Good, "checked"),
            SnpRevocation::InsecureWaived => Cell::new(Tone::Warn, "INSECURE: not checked"),
        },
    );
    facts.add("Endorsements", format!("good until {}", claims.endorsements_expire));
    facts.add("chip", shortened(&claims.chip_id.to_string()));
    facts.add("measurement", shortened(&claims.measurement.to_string()));
    if claims.host_data.is_zero() {
        facts.add("HOST_DATA", Cell::new(Tone::Dim, "all zero"));
    } else {
        facts.add("HOST_DATA", shortened(&claims.host_data.to_string()));
    }
    let policy = claims.policy;
    facts.add(
        "guest policy",
        match (policy.debug_allowed(), policy.migrate_ma_allowed()) {
            (false, false) => Cell::from("no debug, no migration agent"),
            (true, _) => Cell::new(Tone::Bad, "DEBUG: keeps no secret"),
            (false, true) => Cell::new(Tone::Warn, "a migration agent may move it"),
        },
    );
    facts.add("privilege", format!("VMPL {}", claims.vmpl));
    facts
}

fn azure_facts(claims: &AzureClaims) -> Facts {
    let mut facts = Facts::new();
    facts.add("vTPM", format!("Azure, Evidence version {}", claims.evidence_version));
    for (n, pcr) in claims.pcrs.iter().enumerate().filter(|(_, pcr)| !pcr.is_zero()) {
        facts.add(&format!("PCR {n}"), shortened(&pcr.to_string()));
    }
    facts
}

fn tdx_facts(claims: &TdxClaims) -> Facts {
    let mut facts = Facts::new();
    facts.add("TEE", "Intel TDX");
    facts.add("root of trust", root(&claims.root));
    facts.add("TCB status", tcb(claims));
    facts.add(
        "Endorsements",
        format!(
            "issued {}, good until {}, evaluation {}",
            claims.collateral.issued, claims.collateral.expires, claims.tcb_evaluation_data_number
        ),
    );
    facts.add("platform", format!("FMSPC {}, PPID {}", claims.fmspc, claims.ppid));
    let registers = [
        ("MRTD", &claims.mrtd),
        ("RTMR0", &claims.rtmr0),
        ("RTMR1", &claims.rtmr1),
        ("RTMR2", &claims.rtmr2),
        ("RTMR3", &claims.rtmr3),
        ("MRCONFIGID", &claims.mrconfigid),
        ("MRSEAM", &claims.mrseam),
    ];
    for (name, value) in registers {
        if value.is_zero() {
            facts.add(name, Cell::new(Tone::Dim, "all zero"));
        } else {
            facts.add(name, shortened(&value.to_string()));
        }
    }
    let attributes = match (claims.td_attributes.is_debug(), claims.td_attributes.is_migratable()) {
        (false, false) => {
            Cell::from(format!("{} (no debug, not migratable)", claims.td_attributes))
        }
        (true, _) => {
            Cell::new(Tone::Bad, format!("{} DEBUG: keeps no secret", claims.td_attributes))
        }
        (false, true) => Cell::new(Tone::Warn, format!("{} migratable", claims.td_attributes)),
    };
    facts.add("TD attributes", attributes);
    match claims.attributes_profile {
        AttributesProfile::Standard => {}
        AttributesProfile::AzureParavisor => {
            facts.add("profile", Cell::new(Tone::Warn, "INSECURE: a paravisor TD"));
        }
    }
    facts
}

fn root(root: &AnchorUsed) -> Cell {
    match root {
        AnchorUsed::Vendor => Cell::new(Tone::Good, "the vendor's root"),
        AnchorUsed::InsecureExtra { sha256 } => Cell::new(
            Tone::Warn,
            format!("INSECURE extra root {}: proves nothing about hardware", shortened(sha256)),
        ),
    }
}

fn tcb(claims: &TdxClaims) -> Cell {
    let tone = match claims.tcb_status {
        TcbStatus::UpToDate => Tone::Good,
        TcbStatus::SwHardeningNeeded
        | TcbStatus::ConfigurationNeeded
        | TcbStatus::ConfigurationAndSwHardeningNeeded => Tone::Warn,
        TcbStatus::OutOfDate
        | TcbStatus::OutOfDateConfigurationNeeded
        | TcbStatus::TdRelaunchAdvised
        | TcbStatus::TdRelaunchAdvisedConfigurationNeeded => Tone::Bad,
    };
    if claims.advisory_ids.is_empty() {
        Cell::new(tone, claims.tcb_status.as_str())
    } else {
        let advisories = claims.advisory_ids.join(", ");
        Cell::new(tone, format!("{} ({advisories})", claims.tcb_status))
    }
}
