//! A machine that is not what it should be gets no key: fake TEE, broker and sidecar as real programs.

use adyton_e2e::Scene;
use anyhow::{Context, Result, ensure};
use quickstart::refusals::faulty_tee;

const EVIDENCE_REJECTED: i32 = 10;
const POLICY_DENIED: i32 = 11;

/// Fault of the simulated TEE, exit code of the sidecar, reason that the owner reads.
const MACHINES: [(&str, i32, &str); 9] = [
    ("debug-td", EVIDENCE_REJECTED, "tdx.td-attributes.debug"),
    ("migratable-td", EVIDENCE_REJECTED, "tdx.td-attributes.migratable"),
    ("bad-quote-signature", EVIDENCE_REJECTED, "tdx.quote.signature"),
    ("other-root", EVIDENCE_REJECTED, "tdx.pck-chain"),
    ("revoked-tcb", EVIDENCE_REJECTED, "tdx.tcb.revoked"),
    ("stale-tcb", POLICY_DENIED, "tdx.tcb.status"),
    ("other-measurement", POLICY_DENIED, "tdx.measurement.mrtd"),
    ("other-rtmr", POLICY_DENIED, "tdx.measurement.rtmr"),
    ("other-config-id", POLICY_DENIED, "tdx.measurement.mrconfigid"),
];

#[test]
fn each_wrong_machine_is_refused_with_its_reason_and_leaves_nothing() -> Result<()> {
    let scene = Scene::set()?;
    for (fault, exit, reason) in MACHINES {
        let (_tee, url) = faulty_tee(&scene.stage, &scene.tee_state, fault)?;
        let ended = scene.refused_sidecar(fault, |plan| plan.guest_api = url)?;
        ensure!(
            ended.exit == exit,
            "{fault}: exit {} instead of {exit}: {}",
            ended.exit,
            ended.said
        );
        let decision =
            ended.said["decision"].as_str().with_context(|| format!("{fault}: {}", ended.said))?;
        let reasons = scene.owner.reasons(&scene.stage, decision)?;
        ensure!(reasons.iter().any(|r| r.code.starts_with(reason)), "{fault}: {reasons:?}");
        for reason in &reasons {
            ensure!(
                !reason.expected.is_empty() && !reason.got.is_empty() && !reason.remedy.is_empty(),
                "{reason:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_guest_that_answers_with_other_report_data_is_refused_before_the_broker_is_asked() -> Result<()>
{
    let scene = Scene::set()?;
    let (_tee, url) = faulty_tee(&scene.stage, &scene.tee_state, "wrong-report-data")?;
    let ended = scene.refused_sidecar("wrong-report-data", |plan| plan.guest_api = url)?;
    ensure!(
        ended.exit == EVIDENCE_REJECTED && ended.code == "attest.report-data",
        "{}",
        ended.said
    );
    ensure!(ended.said.get("decision").is_none(), "the broker was asked: {}", ended.said);
    Ok(())
}

#[test]
fn a_key_without_a_policy_is_released_to_nobody() -> Result<()> {
    let scene = Scene::set()?;
    let other = "kbs:///e2e/model-key/no-policy";
    scene.owner.adyton(&scene.stage, &["key", "create", other])?;
    let ended = scene
        .refused_sidecar("no-policy", |plan| plan.model_extra = format!("key = \"{other}\"\n"))?;
    ensure!(ended.exit != 0, "{}", ended.said);
    Ok(())
}
