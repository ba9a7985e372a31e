//! The main job on AMD's hardware, with real programs: an SEV-SNP guest opens a model, another one does not.

use std::fs;

use adyton_e2e::{Scene, snp_guest};
use anyhow::{Context, Result, ensure};
use quickstart::machine::text;

const EVIDENCE_REJECTED: i32 = 10;
const POLICY_DENIED: i32 = 11;

#[test]
fn an_snp_guest_gets_the_key_opens_the_model_and_proves_itself_to_clients() -> Result<()> {
    let scene = Scene::set_with_snp()?;
    let plan = scene.plan("snp-sidecar")?;
    let mut sidecar = plan.start(&scene.stage)?;
    // The port is bound once the model is open, and not before.
    let url = sidecar.wait_until_bound()?;
    for file in ["config.json", "model.safetensors", "other.safetensors"] {
        let plain = fs::read(scene.stage.folder.join("sealed-plain").join(file))?;
        let opened =
            fs::read(plan.target.join("model").join(file)).with_context(|| file.to_owned())?;
        ensure!(plain == opened, "{file} differs");
    }

    let (certificate, key) = (&scene.clients.certificate_file, &scene.clients.key_file);
    let seen = scene.owner.adyton(
        &scene.stage,
        &[
            "verify",
            &url,
            "--client-cert",
            text(certificate)?,
            "--client-key",
            text(key)?,
            "--bundle",
            text(&scene.tee_bundle)?,
            "--insecure-extra-root",
            text(&scene.tee_root)?,
            "--reference-values",
            text(&scene.reference_values)?,
            "--policy",
            text(&scene.policy_file())?,
        ],
    )?;
    ensure!(seen["accepted"] == true && seen["tee"] == "snp", "{seen}");
    ensure!(seen["binding"] == "channel" && seen["model"]["name"] == "tiny", "{seen}");
    Ok(())
}

/// Fault of the simulated guest, exit code of the sidecar, reason that the owner reads.
const GUESTS: [(&str, i32, &str); 2] = [
    ("other-measurement", POLICY_DENIED, "snp.measurement"),
    ("flipped-measurement", EVIDENCE_REJECTED, "snp.report.signature"),
];

#[test]
fn an_snp_guest_with_another_measurement_is_refused_for_that_and_leaves_nothing() -> Result<()> {
    let scene = Scene::set_with_snp()?;
    for (fault, exit, reason) in GUESTS {
        let guest = snp_guest(&scene.stage, fault, &["--snp-fault", fault])?;
        let ended = scene.refused_sidecar(fault, |plan| plan.guest_api = guest.url.clone())?;
        ensure!(ended.exit == exit, "{fault}: exit {} not {exit}: {}", ended.exit, ended.said);
        let decision =
            ended.said["decision"].as_str().with_context(|| format!("{fault}: {}", ended.said))?;
        let reasons = scene.owner.reasons(&scene.stage, decision)?;
        let codes: Vec<&str> = reasons.iter().map(|told| told.code.as_str()).collect();
        ensure!(codes == [reason], "{fault}: {codes:?}");
    }
    Ok(())
}
