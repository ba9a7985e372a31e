//! Who is on the stage before the sidecar comes: the simulated hardware, and the broker.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use crate::machine::text;
use crate::owner::Owner;
use crate::stage::{Actor, Stage};

/// The stand-in for the hardware.
#[derive(Debug)]
pub struct SimulatedTee {
    /// The process.
    pub actor: Actor,
    /// URL of the CoCo guest API that it speaks.
    pub url: String,
    /// Folder of its keys; a second one started on it is of the same vendor.
    pub state: PathBuf,
    /// Its root certificate.
    pub root: PathBuf,
    /// Its Endorsements.
    pub bundle: PathBuf,
    /// What its machine measures.
    pub reference_values: PathBuf,
}

impl SimulatedTee {
    /// Starts it with a vendor of its own.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(stage: &Stage) -> Result<Self> {
        let state = stage.folder.join("tee");
        let ready = stage.folder.join("tee.ready.json");
        let mut actor = stage.start(
            "fake-tee",
            "adyton-fake-tee",
            &[
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--state",
                text(&state)?,
                "--ready-file",
                text(&ready)?,
            ],
        )?;
        let [url, root, bundle, reference_values] = actor.wait_until(&ready, |ready| {
            let word = |key: &str| ready[key].as_str().map(str::to_owned);
            Some([word("url")?, word("root")?, word("bundle")?, word("reference_values")?])
        })?;
        Ok(Self {
            actor,
            url,
            state,
            root: root.into(),
            bundle: bundle.into(),
            reference_values: reference_values.into(),
        })
    }
}

/// The running broker.
#[derive(Debug)]
pub struct Broker {
    /// The process.
    pub actor: Actor,
    /// The owner's access to it.
    pub owner: Owner,
    /// URL of the KBS listener.
    pub kbs_url: String,
}

impl Broker {
    /// Starts a broker that believes the simulated TEE, because its configuration says so.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(stage: &Stage, tee: &SimulatedTee) -> Result<Self> {
        let config = stage.folder.join("broker.toml");
        fs::write(
            &config,
            format!(
                "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nstate_dir = {:?}\n\
                 server_names = [\"localhost\", \"127.0.0.1\"]\n\n\
                 [endorsements]\nbundle_files = [{:?}]\n\n\
                 [verifier]\n# The simulated hardware. Never in production.\n\
                 insecure_extra_roots = [{:?}]\n",
                stage.folder.join("broker"),
                tee.bundle,
                tee.root
            ),
        )?;
        let ready = stage.folder.join("broker.ready.json");
        let arguments = ["--config", text(&config)?, "--ready-file", text(&ready)?];
        let mut actor = stage.start("broker", "adyton-broker", &arguments)?;
        let [kbs_url, admin_url, ca_file, token_file] = actor.wait_until(&ready, |ready| {
            let word = |key: &str| ready[key].as_str().map(str::to_owned);
            Some([word("kbs")?, word("admin")?, word("ca_file")?, word("token_file")?])
        })?;
        let owner = Owner { admin_url, ca_file: ca_file.into(), token_file: token_file.into() };
        Ok(Self { actor, owner, kbs_url })
    }
}
