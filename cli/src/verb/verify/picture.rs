//! How a verification looks: rungs with ticks and crosses, claims as facts.

use adyton_attestation::verifier::Outcome;
use adyton_attestation::{AnchorUsed, Claims, Ladder, RungOutcome, TcbStatus, TdxClaims};

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
        Outcome::NotApplicable(why) => (Tone::Dim, "–", Cell::new(Tone::Dim, why)),
    };
    [Cell::new(tone, mark), Cell::new(Tone::Dim, rung.id), Cell::from(rung.title), remark]
}

/// Whether the chain of signatures ended in a hardware vendor's root. Under an extra root the claims may be
/// as sound as can be and still come from a simulation.
pub(super) fn is_genuine(claims: &Claims) -> bool {
    match claims {
        Claims::Tdx(tdx) => tdx.root == AnchorUsed::Vendor,
        // A TEE that this version cannot show is not called genuine by it.
        _ => false,
    }
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
        // A TEE of a later version is shown in full rather than not at all.
        other => format!("  {}\n", serde_json::json!(other)),
    }
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
