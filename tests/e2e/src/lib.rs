//! One scene for all end-to-end tests: a simulated TEE, a broker, a key, a sealed model.
//!
//! Everything runs as real processes, built once. A test takes a [`Scene`], changes one thing, starts a
//! sidecar and looks at how it ends. The scene is torn down with the test program.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use quickstart::cast::{Broker, SimulatedTee};
use quickstart::client_certificates::ClientCertificates;
use quickstart::machine::{Sidecar, SidecarPlan, text};
use quickstart::owner::{Owner, release_policy};
use quickstart::programs::{self, Profile};
use quickstart::stage::{Actor, Stage};
use serde_json::Value;
use tempfile::TempDir;

/// The key of the scene's model.
pub const KEY: &str = "kbs:///e2e/model-key/tiny";
/// The name of the scene's model.
pub const MODEL: &str = "tiny";

/// Everything that is right; tests make one thing wrong.
#[derive(Debug)]
pub struct Scene {
    /// Programs and files of this run.
    pub stage: Stage,
    /// The owner's access to the broker.
    pub owner: Owner,
    /// URL of the KBS listener.
    pub broker_url: String,
    /// URL of the simulated TEE's guest API.
    pub guest_api: String,
    /// State folder of the simulated TEE.
    pub tee_state: PathBuf,
    /// Root certificate of the simulated TEE.
    pub tee_root: PathBuf,
    /// Endorsements of the simulated TEE.
    pub tee_bundle: PathBuf,
    /// What its machine measures.
    pub reference_values: PathBuf,
    /// The sealed model.
    pub sealed: PathBuf,
    /// Whom the sidecar lets in.
    pub clients: ClientCertificates,
    // Dropped in this order: the programs end before their folders go.
    _actors: [Actor; 2],
    memory: TempDir,
    _folder: TempDir,
}

impl Scene {
    /// A new scene with a TD.
    ///
    /// # Errors
    /// When a program does not build or start.
    pub fn set() -> Result<Self> {
        Self::set_with(SimulatedTee::start, release_policy)
    }

    /// A new scene with an SEV-SNP guest.
    ///
    /// # Errors
    /// When a program does not build or start.
    pub fn set_with_snp() -> Result<Self> {
        Self::set_with(|stage| snp_guest(stage, "snp", &[]), snp_release_policy)
    }

    fn set_with(
        start: impl FnOnce(&Stage) -> Result<SimulatedTee>,
        policy: impl FnOnce(&str, &str) -> String,
    ) -> Result<Self> {
        let folder = TempDir::with_prefix("adyton-e2e-")?;
        let memory = tempfile::Builder::new().prefix("adyton-e2e-").tempdir_in("/dev/shm")?;
        let stage =
            Stage { programs: built_programs()?.clone(), folder: folder.path().to_path_buf() };
        let tee = start(&stage)?;
        let broker = Broker::start(&stage, &tee)?;
        let clients = ClientCertificates::create(&stage.folder.join("client"))?;
        let mut scene = Self {
            guest_api: tee.url,
            broker_url: broker.kbs_url,
            sealed: PathBuf::new(),
            stage,
            owner: broker.owner,
            tee_state: tee.state,
            tee_root: tee.root,
            tee_bundle: tee.bundle,
            reference_values: tee.reference_values.clone(),
            clients,
            _actors: [tee.actor, broker.actor],
            memory,
            _folder: folder,
        };
        scene.owner.adyton(&scene.stage, &["key", "create", KEY])?;
        scene.sealed = scene.seal("sealed", MODEL, 2)?;
        let references = text(&tee.reference_values)?;
        let added = scene.owner.adyton(&scene.stage, &["reference-values", "add", references])?;
        let policy = policy(KEY, &word(&added, "name")?);
        scene.apply_policy(&policy)?;
        Ok(scene)
    }

    /// Seals a tiny model under [`KEY`].
    ///
    /// # Errors
    /// When sealing fails.
    pub fn seal(&self, folder: &str, name: &str, version: u64) -> Result<PathBuf> {
        let source = self.stage.folder.join(format!("{folder}-plain"));
        tiny_model(&source)?;
        let sealed = self.stage.folder.join(folder);
        let version = version.to_string();
        self.owner.adyton(
            &self.stage,
            &[
                "seal",
                text(&source)?,
                text(&sealed)?,
                "--name",
                name,
                "--version",
                &version,
                "--kid",
                KEY,
            ],
        )?;
        Ok(sealed)
    }

    /// Replaces the release policy.
    ///
    /// # Errors
    /// When the broker refuses it.
    pub fn apply_policy(&self, policy: &str) -> Result<()> {
        let file = self.policy_file();
        fs::write(&file, policy)?;
        self.owner.adyton(&self.stage, &["policy", "apply", text(&file)?])?;
        Ok(())
    }

    /// The file with the release policy in force.
    #[must_use]
    pub fn policy_file(&self) -> PathBuf {
        self.stage.folder.join("policy.toml")
    }

    /// A fresh memory-backed folder.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn memory_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.memory.path().join(name);
        fs::create_dir(&folder)?;
        Ok(folder)
    }

    /// Starts a sidecar whose plan `change` has spoiled, waits for its end, and returns how it ended.
    ///
    /// # Errors
    /// When it does not end, prints no refusal, or leaves something in its target folder.
    pub fn refused_sidecar(
        &self,
        name: &str,
        change: impl FnOnce(&mut SidecarPlan),
    ) -> Result<Ended> {
        let mut plan = self.plan(name)?;
        change(&mut plan);
        let mut sidecar = plan.start(&self.stage)?;
        let ended = Ended::of(&mut sidecar)?;
        ensure!(is_empty(&plan.target)?, "{} is not empty", plan.target.display());
        Ok(ended)
    }

    /// The plan of a sidecar with which all is right. Nobody answers behind it.
    ///
    /// # Errors
    /// When its folder can't be made.
    pub fn plan(&self, name: &str) -> Result<SidecarPlan> {
        Ok(SidecarPlan {
            name: name.to_owned(),
            guest_api: self.guest_api.clone(),
            broker_url: self.broker_url.clone(),
            broker_ca: self.owner.ca_file.clone(),
            sealed: self.sealed.clone(),
            target: self.memory_folder(name)?,
            upstream: self.stage.folder.join("nobody.sock"),
            client_ca: self.clients.ca_file.clone(),
            extra: String::new(),
            broker_extra: String::new(),
            model_extra: String::new(),
            tls_extra: String::new(),
        })
    }
}

/// Starts a simulated SEV-SNP guest with a state folder of its own.
///
/// # Errors
/// When it does not start.
pub fn snp_guest(stage: &Stage, name: &str, more: &[&str]) -> Result<SimulatedTee> {
    let state = stage.folder.join(format!("tee-{name}"));
    let ready = stage.folder.join(format!("tee-{name}.ready.json"));
    let words = ["serve", "--tee", "snp", "--listen", "127.0.0.1:0"];
    let files = ["--state", text(&state)?, "--ready-file", text(&ready)?];
    let arguments = [&words[..], &files[..], more].concat();
    let mut actor = stage.start(&format!("tee-{name}"), "adyton-fake-tee", &arguments)?;
    let [url, root, bundle, reference_values] = actor.wait_until(&ready, |ready| {
        let word = |key: &str| ready[key].as_str().map(str::to_owned);
        Some([word("url")?, word("root")?, word("bundle")?, word("reference_values")?])
    })?;
    Ok(SimulatedTee {
        actor,
        url,
        state,
        root: root.into(),
        bundle: bundle.into(),
        reference_values: reference_values.into(),
    })
}

/// Who may have the key, on AMD's hardware: the simulated processor's firmware and newer.
fn snp_release_policy(kid: &str, reference_values: &str) -> String {
    format!(
        "key = \"{kid}\"\nminimum_model_version = 1\n\n[appraisal]\n\
         reference_values = [\"{reference_values}\"]\n\n[appraisal.snp.minimum_tcb.Genoa]\n\
         bootloader = 9\ntee = 4\nsnp = 23\nmicrocode = 84\n"
    )
}

/// How a sidecar ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code.
    pub exit: i32,
    /// Stable code of the refusal.
    pub code: String,
    /// The whole refusal.
    pub said: Value,
}

impl Ended {
    /// Waits for the end of `sidecar`.
    ///
    /// # Errors
    /// When it does not end or says nothing.
    pub fn of(sidecar: &mut Sidecar) -> Result<Self> {
        let exit = sidecar.actor.wait_for_exit()?;
        let said = sidecar.refusal()?;
        for member in ["step", "value", "expected", "remedy"] {
            ensure!(
                said[member].as_str().is_some_and(|text| !text.is_empty()),
                "no {member} in {said}"
            );
        }
        Ok(Self { exit, code: word(&said, "code")?, said })
    }
}

/// Copies a sealed model so that a test may spoil it.
///
/// # Errors
/// When a file can't be copied.
pub fn copy_of(sealed: &Path, to: &Path) -> Result<PathBuf> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(sealed)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(to.to_path_buf())
}

/// A folder with one safetensors file of 100,000 bytes of tensor and a configuration.
fn tiny_model(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("config.json"), b"{\"architectures\":[\"LlamaForCausalLM\"]}")?;
    fs::write(folder.join("model.safetensors"), tensor(100_000, 7))?;
    fs::write(folder.join("other.safetensors"), tensor(100_000, 9))?;
    Ok(())
}

fn tensor(length: usize, seed: u8) -> Vec<u8> {
    let header = format!(
        "{{\"weights\":{{\"dtype\":\"U8\",\"shape\":[{length}],\"data_offsets\":[0,{length}]}}}}"
    );
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend((0..length).map(|at| (at as u8).wrapping_mul(seed)));
    file
}

fn is_empty(folder: &Path) -> Result<bool> {
    Ok(!folder.exists() || fs::read_dir(folder)?.next().is_none())
}

fn word(said: &Value, key: &str) -> Result<String> {
    said[key].as_str().map(str::to_owned).with_context(|| format!("no {key} in {said}"))
}

fn built_programs() -> Result<&'static PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT
        .get_or_init(|| programs::build(Profile::Dev).map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow::anyhow!("{error}"))
}
