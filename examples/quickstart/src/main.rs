//! Adyton's main job on one machine, without a TEE, a cluster, a GPU or an account.
//!
//! Real programs as separate processes: `adyton-broker`, `adyton-sidecar`, `adyton`, an inference server
//! with a real small model, and `adyton-fake-tee`, which stands in for the hardware and is trusted only
//! because the configuration names its root. Six chapters: the stage, the owner, the machine, the client,
//! four refusals, and what is left afterwards. It ends with 0 only if every step and every refusal came
//! out as expected.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use adyton_attestation::UnixTime;
use adyton_attestation::rcar::ResourcePath;
use adyton_attestation::report::KeyMemory;
use anyhow::{Context, Result};
use clap::Parser;
use serde_json::json;

use quickstart::cast::{Broker, SimulatedTee};
use quickstart::client::{Connection, Trust};
use quickstart::client_certificates::ClientCertificates;
use quickstart::machine::{Sidecar, SidecarPlan, swap_is_on, text};
use quickstart::owner::{Owner, bytes_below, release_policy};
use quickstart::programs::{self, Profile};
use quickstart::refusals::{DEBUG_TD, OTHER_MEASUREMENT};
use quickstart::stage::{Actor, Stage, end_in_order_when_interrupted, wait_for_interrupt};
use quickstart::story::{Output, Story, human_bytes, human_time};
use quickstart::traces::Needles;

const KEY: &str = "kbs:///quickstart/model-key/kjv-llama";
const MODEL_NAME: &str = "kjv-llama";
const PROMPT: &str = "And God said";
const MEMORY_BACKED: &str = "/dev/shm";

/// Seals a model, releases its key to an attested machine, serves it, verifies it, and shows four refusals.
#[derive(Debug, Parser)]
#[command(
    after_help = "Examples:\n  cargo run --release -p quickstart\n  cargo run --release -p quickstart -- --output json\n  cargo run --release -p quickstart -- --keep"
)]
struct Arguments {
    /// Text for people, or one JSON object a step.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
    /// Leave everything running until Ctrl-C, and print URLs and paths to play with.
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut story = Story::new(arguments.output);
    match run(&arguments, &mut story) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            story.failed(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, story: &mut Story) -> Result<()> {
    story.block(&["Adyton: a model that nobody but an attested machine can read".to_owned()]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;

    end_in_order_when_interrupted()?;

    // 1. The stage: programs, a simulated TEE with its own root, a broker that is told to trust it.
    story.chapter("1 The stage", "built here, nothing installed");
    let step = story.step("build", "built five programs");
    let programs = programs::build(Profile::Release)?;
    step.done("");
    let folder = tempfile::Builder::new()
        .prefix("adyton-quickstart-")
        .tempdir()
        .context("make a folder for this run")?;
    let memory = tempfile::Builder::new()
        .prefix("adyton-quickstart-")
        .tempdir_in(MEMORY_BACKED)
        .with_context(|| {
            format!("make a folder in {MEMORY_BACKED}; it must exist and be a tmpfs")
        })?;
    let stage = Stage { programs, folder: folder.path().to_path_buf() };
    let step = story.step("fake-tee", "simulated TDX machine with a root of its own");
    let tee = SimulatedTee::start(&stage)?;
    step.done(format!("CoCo guest API at {}", tee.url));
    let step = story.step("broker", "key broker with its own CA and root key");
    let broker = Broker::start(&stage, &tee)?;
    step.done(format!("KBS protocol 0.4.0 at {}", broker.kbs_url));
    let clients = ClientCertificates::create(&stage.folder.join("client"))?;

    // 2. The owner: a key that stays in the broker, a sealed model, what is right, who may have it.
    story.chapter("2 The model owner", "trusts the vendor's root and its own reference values");
    let sealed = own_and_seal(story, &stage, &broker.owner, &tee)?;

    // 3. The machine: attest, get the key, open into memory, load.
    story.chapter(
        "3 The confidential machine",
        "trusts the broker's certificate and its own configuration",
    );
    if swap_is_on() {
        story.aside(
            "this machine swaps, so weights could reach its disk: insecure_allow_swap is set",
        );
        story.aside("here; without it the sidecar refuses to start (exit code 20)");
    }
    let target = memory.path().join("weights");
    let upstream = stage.folder.join("inference.sock");
    let plan = |name: &str, target: &Path| SidecarPlan {
        name: name.to_owned(),
        guest_api: tee.url.clone(),
        broker_url: broker.kbs_url.clone(),
        broker_ca: broker.owner.ca_file.clone(),
        sealed: sealed.clone(),
        target: target.to_path_buf(),
        upstream: upstream.clone(),
        client_ca: clients.ca_file.clone(),
        extra: String::new(),
        broker_extra: String::new(),
        model_extra: String::new(),
        tls_extra: String::new(),
    };
    let (mut sidecar, mut server, proxy) = serve(story, &stage, &plan("sidecar", &target))?;

    // 4. The client: who is there? Then, on the same connection, the question.
    story.chapter("4 The client", "trusts the vendor's root and the reference values it was given");
    let trust = Trust::read(&tee.root, &tee.bundle, &tee.reference_values)?;
    runtime.block_on(ask(story, &proxy, &clients, &trust))?;

    // 5. Four refusals.
    story.chapter("5 Four refusals", "each ends as it must, or the quickstart fails");
    let other = memory.path().join("refused");
    let (owner, pki) = (&broker.owner, &tee.state);
    quickstart::refusals::machine_is_refused(
        story,
        &stage,
        owner,
        pki,
        plan("sidecar-measurement", &other),
        OTHER_MEASUREMENT,
    )?;
    quickstart::refusals::machine_is_refused(
        story,
        &stage,
        owner,
        pki,
        plan("sidecar-debug", &other),
        DEBUG_TD,
    )?;
    quickstart::refusals::flipped_byte_is_refused(story, &stage, plan("sidecar-flipped", &other))?;
    runtime.block_on(quickstart::refusals::client_without_certificate_is_refused(story, &proxy))?;

    // 6. Afterwards: no key in memory while it still serves, no plaintext once it has ended.
    story.chapter("6 Afterwards", "");
    let resource = ResourcePath::from_uri(KEY)?;
    let key = runtime.block_on(quickstart::attested_key::fetch(
        &tee.url,
        &broker.kbs_url,
        &broker.owner.ca_file,
        &resource,
    ))?;
    let needles = Needles::of(&key);
    drop(key);
    quickstart::closing::key_is_in_nobodys_memory(
        story,
        &[&broker.actor, &sidecar.actor, &tee.actor, &server],
        &needles,
    )?;
    drop(needles);
    if arguments.keep {
        keep_running(story, &stage, &broker, &tee, &clients, &sidecar, &proxy);
    }
    let step = story.step("drain", "sidecar told to end: drain, wipe");
    let code = sidecar.actor.stop()?;
    anyhow::ensure!(code == 0, "the sidecar ended with {code}:\n{}", sidecar.actor.log());
    step.done("exit code 0");
    server.stop()?;
    quickstart::closing::plaintext_is_gone(story, &target)?;

    quickstart::closing::picture(story);
    quickstart::closing::times(story);
    story
        .block(&[String::new(), "  Every step and every refusal came out as expected.".to_owned()]);
    story.fact(&json!({"outcome": "ok", "seconds": story.elapsed().as_secs_f64()}));
    Ok(())
}

fn own_and_seal(
    story: &mut Story,
    stage: &Stage,
    owner: &Owner,
    tee: &SimulatedTee,
) -> Result<PathBuf> {
    let model = programs::workspace_root()
        .join("examples/model/kjv-llama")
        .canonicalize()
        .context("find the model")?;
    let sealed = stage.folder.join("sealed");

    story.command(&format!("adyton key create {KEY}"));
    let step = story.step("key", "created the model key");
    owner.adyton(stage, &["key", "create", KEY])?;
    step.done("born in the broker; no call returns it");

    story.command(&format!(
        "adyton seal examples/model/kjv-llama sealed --name {MODEL_NAME} --version 1 --kid {KEY}"
    ));
    let step = story.step("seal", "sealed a real language model");
    owner.adyton(
        stage,
        &[
            "seal",
            text(&model)?,
            text(&sealed)?,
            "--name",
            MODEL_NAME,
            "--version",
            "1",
            "--kid",
            KEY,
        ],
    )?;
    step.done(format!(
        "{} → {} that may lie in public",
        human_bytes(bytes_below(&model)?),
        human_bytes(bytes_below(&sealed)?)
    ));

    story.command("adyton reference-values add reference-values.toml");
    let step = story.step("reference-values", "registered what the machine image measures");
    let added = owner.adyton(stage, &["reference-values", "add", text(&tee.reference_values)?])?;
    let name = added["name"].as_str().context("the Reference Values have a name")?.to_owned();
    step.done(format!("MRTD, RTMR0–3, MRCONFIGID as “{name}”"));

    story.command("adyton policy apply release-policy.toml");
    let step = story.step("policy", "said who may have the key");
    let policy = stage.folder.join("release-policy.toml");
    fs::write(&policy, release_policy(KEY, &name))?;
    owner.adyton(stage, &["policy", "apply", text(&policy)?])?;
    step.done("that image, up to date, not in debug mode; all else is refused");
    Ok(sealed)
}

fn serve(story: &mut Story, stage: &Stage, plan: &SidecarPlan) -> Result<(Sidecar, Actor, String)> {
    let step = story.step("attest-and-open", "attested, got the key, opened the weights");
    let mut sidecar = plan.start(stage)?;
    let admin = sidecar.wait_until_opened(&step)?;
    let model = plan.target.join("model");
    step.done(format!("{} in memory at {}", human_bytes(bytes_below(&model)?), model.display()));

    let step =
        story.step("proxy", "opened the mutual TLS port, now that there is something to serve");
    let proxy = sidecar.wait_until_bound()?;
    step.done(&proxy);

    let step = story.step("load", "inference server loaded the weights; sidecar is ready");
    let ready = stage.folder.join("server.ready.json");
    let listen = format!("unix:{}", text(&plan.upstream)?);
    let server = stage.start(
        "server",
        "adyton-example-server",
        &[
            "--model",
            text(&model)?,
            "--listen",
            &listen,
            "--ready-file",
            text(&ready)?,
            "--model-name",
            MODEL_NAME,
        ],
    )?;
    sidecar.wait_until_ready(&admin)?;
    step.done("OpenAI API on a Unix socket");
    Ok((sidecar, server, proxy))
}

async fn ask(
    story: &mut Story,
    proxy: &str,
    clients: &ClientCertificates,
    trust: &Trust,
) -> Result<()> {
    let step = story.step("attest-client", "verified the attestation report");
    let connection = Connection::open(proxy, Some(clients)).await?;
    let mut attested = connection.attest(trust, now()?).await?;
    let report = attested.peer().report();
    let lines = vec![
        "the quote commits to our nonce, the serving key and this very connection (level channel)"
            .to_owned(),
        format!(
            "measurements equal “{}”; TCB up to date",
            attested.peer().result().matched_reference_values()
        ),
        format!(
            "model {} version {}, keys held in {}",
            report.model.name,
            report.model.version,
            key_memory(report.protections.key_memory)
        ),
        "the root is the simulated TEE's, trusted only because insecure_extra_roots names it"
            .to_owned(),
    ];
    step.refused_as_wanted("genuine, and what was asked for", &lines);

    story.stream_begin(PROMPT);
    let mut text = String::new();
    let began = std::time::Instant::now();
    let mut first = None;
    let pieces = attested
        .stream_completion(PROMPT, |piece| {
            first.get_or_insert_with(|| began.elapsed());
            text.push_str(piece);
            story.stream_piece(piece);
        })
        .await?;
    story.stream_end();
    anyhow::ensure!(pieces > 8, "the completion came in {pieces} pieces: {text}");
    let first = first.map(human_time).unwrap_or_default();
    story
        .step("stream", "streamed a completion on that connection")
        .since(began)
        .done(format!("{pieces} pieces, the first after {first}"));
    story.fact(&json!({"prompt": PROMPT, "completion": text}));
    Ok(())
}

fn key_memory(kind: KeyMemory) -> &'static str {
    match kind {
        KeyMemory::MemfdSecret => "memfd_secret, hidden even from root",
        KeyMemory::Mlock => "locked pages",
    }
}

fn keep_running(
    story: &Story,
    stage: &Stage,
    broker: &Broker,
    tee: &SimulatedTee,
    clients: &ClientCertificates,
    sidecar: &Sidecar,
    proxy: &str,
) {
    let verify = format!(
        "{} verify {proxy} --client-cert {} --client-key {} --bundle {} --insecure-extra-root {} --reference-values {}",
        stage.programs.join("adyton").display(),
        clients.certificate_file.display(),
        clients.key_file.display(),
        tee.bundle.display(),
        tee.root.display(),
        tee.reference_values.display(),
    );
    story.fact(&json!({"kept": {
        "proxy": proxy, "broker": broker.kbs_url, "admin": broker.owner.admin_url,
        "broker_ca": broker.owner.ca_file, "admin_token_file": broker.owner.token_file,
        "client_certificate": clients.certificate_file, "client_key": clients.key_file,
        "bundle": tee.bundle, "root": tee.root, "reference_values": tee.reference_values,
        "sidecar_config": sidecar.config, "folder": stage.folder, "programs": stage.programs, "verify": verify,
    }}));
    story.block(&[
        String::new(),
        "  Left running. Play with it:".to_owned(),
        format!("    model      {proxy}"),
        format!("    broker     {}   admin {}", broker.kbs_url, broker.owner.admin_url),
        format!("    client     {} and its .key", clients.certificate_file.display()),
        format!("    files      {}", stage.folder.display()),
        String::new(),
        format!("    {verify}"),
        String::new(),
        format!(
            "    export ADYTON_BROKER={} ADYTON_BROKER_CA={} ADYTON_ADMIN_TOKEN_FILE={}",
            broker.owner.admin_url,
            broker.owner.ca_file.display(),
            broker.owner.token_file.display()
        ),
        format!("    {} explain", stage.programs.join("adyton").display()),
        String::new(),
        "  Ctrl-C ends it and wipes everything.".to_owned(),
    ]);
    wait_for_interrupt();
}

fn now() -> Result<UnixTime> {
    let since =
        SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
    Ok(UnixTime(since.as_secs()))
}
