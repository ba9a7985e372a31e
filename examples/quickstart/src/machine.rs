//! The confidential machine: the simulated TEE, the sidecar in it, and the inference server behind it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::loopback;
use crate::stage::{Actor, Stage};
use crate::story::Step;

/// What one sidecar is configured with.
#[derive(Clone, Debug)]
pub struct SidecarPlan {
    /// Short name of this sidecar, for its files.
    pub name: String,
    /// URL of the guest API that gives Evidence.
    pub guest_api: String,
    /// URL of the broker's KBS listener.
    pub broker_url: String,
    /// The broker's certificate authority.
    pub broker_ca: PathBuf,
    /// The sealed model.
    pub sealed: PathBuf,
    /// Memory-backed folder for the plaintext.
    pub target: PathBuf,
    /// Unix socket of the inference server.
    pub upstream: PathBuf,
    /// Authorities whose clients are let in.
    pub client_ca: PathBuf,
    /// Further lines, put before the first table of the configuration file.
    pub extra: String,
    /// Further lines for `[broker]`.
    pub broker_extra: String,
    /// Further lines for `[model]`.
    pub model_extra: String,
    /// Further lines for `[tls]`.
    pub tls_extra: String,
}

impl SidecarPlan {
    /// Writes the configuration file and starts the sidecar.
    ///
    /// # Errors
    /// When a file can't be written or the program can't be started.
    pub fn start(&self, stage: &Stage) -> Result<Sidecar> {
        fs::create_dir_all(&self.target)
            .with_context(|| format!("create {}", self.target.display()))?;
        let config = stage.folder.join(format!("{}.toml", self.name));
        fs::write(&config, self.toml())?;
        let ready_file = stage.folder.join(format!("{}.ready.json", self.name));
        let actor = stage.start(
            &self.name,
            "adyton-sidecar",
            &["--config", text(&config)?, "--ready-file", text(&ready_file)?],
        )?;
        Ok(Sidecar { actor, ready_file, config })
    }

    /// The configuration. A developer's machine may have swap, which the sidecar refuses: then the
    /// weights could reach its disk. For a model that lies in the repository that is said and allowed.
    fn toml(&self) -> String {
        let swap = if swap_is_on() { "insecure_allow_swap = true\n" } else { "" };
        format!(
            "listen = \"127.0.0.1:0\"\n\
             admin_listen = \"127.0.0.1:0\"\n{}{}\n\
             [attester]\nkind = \"coco\"\ncoco_url = \"{}\"\n\n\
             [broker]\nurl = \"{}\"\nca_file = {:?}\n{}\n\
             [model]\nsource = {:?}\ntarget = {:?}\nminimum_version = 1\n{}\n\
             [upstream]\naddress = \"unix:{}\"\nhealth_path = \"/health\"\n\n\
             [tls]\nclient_ca_file = {:?}\nserver_names = [\"localhost\", \"127.0.0.1\"]\n{}",
            swap,
            self.extra,
            self.guest_api,
            self.broker_url,
            self.broker_ca,
            self.broker_extra,
            self.sealed,
            self.target,
            self.model_extra,
            self.upstream.display(),
            self.client_ca,
            self.tls_extra,
        )
    }
}

/// A started sidecar.
#[derive(Debug)]
pub struct Sidecar {
    /// The process.
    pub actor: Actor,
    /// Its configuration file.
    pub config: PathBuf,
    ready_file: PathBuf,
}

impl Sidecar {
    /// Waits until the weights are open, showing progress; returns the admin URL.
    ///
    /// # Errors
    /// When the sidecar gives up first.
    pub fn wait_until_opened(&mut self, step: &Step<'_>) -> Result<String> {
        let admin = self
            .actor
            .wait_until(&self.ready_file, |ready| ready["admin"].as_str().map(str::to_owned))?;
        self.actor.poll("open the weights", || {
            let state = readiness(&admin)?;
            step.progress(state["bytes"].as_u64()?, state["total"].as_u64()?);
            matches!(state["phase"].as_str(), Some("ready")).then_some(())
        })?;
        Ok(admin)
    }

    /// Waits until the mutual TLS port is bound; returns its URL.
    ///
    /// # Errors
    /// When the sidecar gives up first.
    pub fn wait_until_bound(&mut self) -> Result<String> {
        self.actor.wait_until(&self.ready_file, |ready| ready["proxy"].as_str().map(str::to_owned))
    }

    /// Waits until the sidecar says that it and the inference server are ready.
    ///
    /// # Errors
    /// When the sidecar gives up first.
    pub fn wait_until_ready(&mut self, admin: &str) -> Result<()> {
        self.actor.poll("become ready", || {
            let reply = loopback::get(admin, "/readyz").ok()?;
            (reply.status == 200).then_some(())
        })
    }

    /// The refusal that ended the sidecar, from its last log line that carries a code.
    ///
    /// # Errors
    /// When it did not print one.
    pub fn refusal(&self) -> Result<Value> {
        self.actor
            .log()
            .lines()
            .rev()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .map(|line| if line["refusal"].is_object() { line["refusal"].clone() } else { line })
            .find(|line| line["code"].is_string())
            .with_context(|| format!("the sidecar printed no refusal:\n{}", self.actor.log()))
    }
}

fn readiness(admin: &str) -> Option<Value> {
    let reply = loopback::get(admin, "/readyz?verbose").ok()?;
    serde_json::from_slice(&reply.body).ok()
}

/// `path` as the text a program argument needs.
///
/// # Errors
/// When it is not UTF-8.
pub fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8; choose another TMPDIR", path.display()))
}

/// Whether this machine swaps; then the quickstart has to say so.
pub fn swap_is_on() -> bool {
    fs::read_to_string("/proc/swaps").is_ok_and(|swaps| swaps.lines().nth(1).is_some())
}
