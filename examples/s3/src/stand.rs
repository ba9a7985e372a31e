//! Seals a folder, and serves it over S3 until its standard input ends: the endpoint of the sidecar without broker
//! and TEE, for real clients and for measurements. Nothing here runs in the product.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use adyton_s3_exposure::signature::UnixSeconds;
use adyton_s3_exposure::{
    Access, Answered, Catalogue, ClientFiles, Credentials, Endpoint, Exposure, Listener,
    ObjectSource, Observer, OpenedFiles, SealedRanges,
};
use adyton_sealed_weights::{
    KeyId, ModelKey, NoProgress, OpenedModel, Recipient, Requirements, SealJob, SealOptions,
    SealedModel, UnlockedModel,
};
use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

/// Serves a folder over S3, sealed on the way.
#[derive(Parser)]
struct Arguments {
    /// Folder of plain files.
    #[arg(long)]
    model: PathBuf,
    /// Empty folder for the sealed model.
    #[arg(long)]
    sealed: PathBuf,
    /// Memory-backed folder for the opened model; only for sendfile.
    #[arg(long)]
    target: Option<PathBuf>,
    /// Folder for credentials, config and s3.env.
    #[arg(long)]
    client_files: PathBuf,
    /// Where bytes come from.
    #[arg(long)]
    way: Way,
    /// Loopback address.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Unix socket instead of an address.
    #[arg(long)]
    unix: Option<PathBuf>,
    /// Pool of the on-the-fly way, in MiB.
    #[arg(long, default_value_t = 6)]
    pool_mib: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    Fly,
    Sendfile,
}

/// A line for each refusal.
struct Log;

impl Observer for Log {
    fn answered(&self, answered: &Answered) {
        if answered.code.is_some() || answered.fault.is_some() {
            eprintln!("{answered:?}");
        }
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let model = seal(&arguments)?;
    let files: Vec<_> = model
        .manifest()
        .files()
        .iter()
        .map(|file| (file.path().as_str().to_owned(), file.size()))
        .collect();
    let catalogue = Catalogue::new(
        "adyton",
        "model",
        files.iter().map(|(path, size)| (path.as_str(), *size)),
        &model.manifest_digest(),
        UnixSeconds::now(),
    )?;
    // Held until the end: dropping it wipes the target.
    let mut opened: Option<OpenedModel> = None;
    let source: Box<dyn ObjectSource> = match arguments.way {
        Way::Fly => Box::new(SealedRanges::new(model, arguments.pool_mib << 20)?),
        Way::Sendfile => {
            let target = arguments.target.as_ref().context("sendfile needs --target")?;
            let model = opened.insert(model.open_into(target, 0, &NoProgress)?);
            Box::new(OpenedFiles::new(model.path(), files)?)
        }
    };
    let endpoint = match &arguments.unix {
        Some(path) => Endpoint::UnixSocket { path: path.clone(), access: Access::Owner },
        None => Endpoint::Loopback(arguments.listen),
    };
    let listener = Listener::bind(endpoint)?;
    let credentials = Arc::new(Credentials::generate()?);
    let bound = listener.endpoint().clone();
    let exposure =
        Exposure::start(listener, catalogue, source, Arc::clone(&credentials), Arc::new(Log))?;
    let url = "s3://adyton/model/";
    let folder = &arguments.client_files;
    let client_files = ClientFiles::write(folder, Access::Owner, &credentials, &bound, url)?;
    println!("{bound}");
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let usage = exposure.usage();
    drop(client_files);
    eprintln!("{usage:?} {:?}", exposure.stop());
    Ok(())
}

fn seal(arguments: &Arguments) -> Result<UnlockedModel> {
    let key = ModelKey::generate(KeyId::new("kbs:///example/model-key/s3", 1)?)?;
    let options =
        SealOptions { name: "example/s3".into(), version: 1, allow_formats: vec![], threads: 0 };
    let job = SealJob::new(&arguments.model, &arguments.sealed, options)?;
    let recipient = Recipient::wrap(&key, &job.model_id(), job.content_key())?;
    job.run(vec![recipient], &NoProgress)?;
    Ok(SealedModel::load(&arguments.sealed)?.unlock(&key, &Requirements::default())?)
}
