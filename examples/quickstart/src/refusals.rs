//! Four attempts that must fail, each with the reason a person would need.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::client::Connection;
use crate::machine::{Sidecar, SidecarPlan, text};
use crate::owner::Owner;
use crate::stage::{Actor, Stage};
use crate::story::Story;

/// Exit codes of the sidecar that are wanted here; README, "Exit codes".
const EVIDENCE_REJECTED: i32 = 10;
const POLICY_DENIED: i32 = 11;
const INTEGRITY_FAILURE: i32 = 14;

/// Starts a second simulated TEE of the same vendor with one thing wrong; returns it and its URL.
///
/// # Errors
/// When it does not start.
pub fn faulty_tee(stage: &Stage, pki: &Path, fault: &str) -> Result<(Actor, String)> {
    let ready = stage.folder.join(format!("tee-{fault}.ready.json"));
    let mut tee = stage.start(
        &format!("tee-{fault}"),
        "adyton-fake-tee",
        &[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--state",
            text(pki)?,
            "--fault",
            fault,
            "--ready-file",
            text(&ready)?,
        ],
    )?;
    let url = tee.wait_until(&ready, |ready| ready["url"].as_str().map(str::to_owned))?;
    Ok((tee, url))
}

/// A sidecar on a machine that differs in `fault` must not get the key.
///
/// # Errors
/// When it gets further than it should, or is refused for another reason.
pub fn machine_is_refused(
    story: &mut Story,
    stage: &Stage,
    owner: &Owner,
    pki: &Path,
    plan: SidecarPlan,
    refusal: MachineRefusal,
) -> Result<()> {
    let step = story.step(refusal.name, refusal.title);
    let (_tee, url) = faulty_tee(stage, pki, refusal.fault)?;
    let target = plan.target.clone();
    let mut sidecar = SidecarPlan { guest_api: url, ..plan }.start(stage)?;
    let code = sidecar.actor.wait_for_exit()?;
    let said = sidecar.refusal()?;
    ensure!(
        code == refusal.exit_code,
        "the sidecar ended with {code} ({said}), {} was wanted",
        refusal.exit_code
    );
    expect_empty(&target)?;
    let decision =
        said["decision"].as_str().with_context(|| format!("no decision id in {said}"))?;
    let reasons = owner.reasons(stage, decision)?;
    let Some(reason) = reasons.iter().find(|reason| reason.code.starts_with(refusal.reason_code))
    else {
        bail!("refused for other reasons than {}: {reasons:?}", refusal.reason_code);
    };
    let mut lines = reason.lines();
    lines.push(format!(
        "`adyton explain {decision}` shows this to the owner; the machine only learned the code"
    ));
    step.refused_as_wanted(format!("refused, exit code {code}"), &lines);
    Ok(())
}

/// What is wrong with a machine, and how it must end.
#[derive(Clone, Copy, Debug)]
pub struct MachineRefusal {
    /// Step name.
    pub name: &'static str,
    /// Step title.
    pub title: &'static str,
    /// Fault switch of the simulated TEE.
    pub fault: &'static str,
    /// How the sidecar must end.
    pub exit_code: i32,
    /// Beginning of the reason's code.
    pub reason_code: &'static str,
}

/// Another firmware or kernel than the Reference Values name.
pub const OTHER_MEASUREMENT: MachineRefusal = MachineRefusal {
    name: "refuse-measurement",
    title: "a machine with another launch measurement",
    fault: "other-measurement",
    exit_code: POLICY_DENIED,
    reason_code: "tdx.measurement.mrtd",
};

/// A TD whose memory its host can read.
pub const DEBUG_TD: MachineRefusal = MachineRefusal {
    name: "refuse-debug",
    title: "a machine in debug mode",
    fault: "debug-td",
    exit_code: EVIDENCE_REJECTED,
    reason_code: "tdx.td-attributes.debug",
};

/// One flipped byte in the sealed weights must leave nothing behind.
///
/// # Errors
/// When the sidecar opens it all the same, or leaves plaintext.
pub fn flipped_byte_is_refused(story: &mut Story, stage: &Stage, plan: SidecarPlan) -> Result<()> {
    let step = story.step("refuse-flipped-byte", "one flipped byte in the sealed weights");
    let copy = stage.folder.join("sealed-flipped");
    copy_folder(&plan.sealed, &copy)?;
    let (path, at) = flip_a_byte(&copy)?;
    let target = plan.target.clone();
    let mut sidecar: Sidecar = SidecarPlan { sealed: copy, ..plan }.start(stage)?;
    let code = sidecar.actor.wait_for_exit()?;
    let said = sidecar.refusal()?;
    ensure!(
        code == INTEGRITY_FAILURE,
        "the sidecar ended with {code} ({said}), {INTEGRITY_FAILURE} was wanted"
    );
    expect_empty(&target)?;
    let lines = vec![
        format!("byte {at} of {path} was changed"),
        format!(
            "{}: expected {}, got {}",
            word(&said, "code"),
            word(&said, "expected"),
            word(&said, "value")
        ),
        format!("remedy: {}", word(&said, "remedy")),
        "the memory-backed folder is empty again".to_owned(),
    ];
    step.refused_as_wanted(format!("refused, exit code {code}"), &lines);
    Ok(())
}

/// A client without a certificate must not get past the handshake.
///
/// # Errors
/// When it does.
pub async fn client_without_certificate_is_refused(story: &mut Story, proxy: &str) -> Result<()> {
    let step = story.step("refuse-no-certificate", "a client without a certificate");
    let refused = async {
        let connection = Connection::open(proxy, None).await?;
        // In TLS 1.3 the client's handshake ends before the server has looked at its certificate.
        connection.ask_only().await
    };
    let Err(error) = refused.await else { bail!("a client without a certificate was served") };
    let text = format!("{error:#}");
    ensure!(
        text.to_lowercase().contains("certificate"),
        "refused, but not for its certificate: {text}"
    );
    let lines = vec![
        text,
        "remedy: get a certificate from an authority in the sidecar's tls.client_ca_file"
            .to_owned(),
    ];
    step.refused_as_wanted("refused in the TLS handshake", &lines);
    Ok(())
}

fn word<'a>(said: &'a serde_json::Value, key: &str) -> &'a str {
    said[key].as_str().unwrap_or("-")
}

fn expect_empty(target: &Path) -> Result<()> {
    let left: Vec<PathBuf> =
        fs::read_dir(target)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    ensure!(left.is_empty(), "left behind in the memory-backed folder: {left:?}");
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

fn flip_a_byte(folder: &Path) -> Result<(String, usize)> {
    let path = folder.join("model.safetensors.sealed");
    let mut bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&path, bytes)?;
    Ok(("model.safetensors.sealed".to_owned(), at))
}
