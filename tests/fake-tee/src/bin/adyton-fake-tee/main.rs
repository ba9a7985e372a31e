//! The fake TEE as a program: a guest API on loopback, and single quotes as files.

mod guest;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use adyton_fake_tee::{
    AzureFault, FakeEventLog, FakeTee, Fault, QuoteFormat, Site, SnpFault, TdProfile, write_whole,
};
use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use guest::Guest;
use serde::Serialize;

/// A simulated TEE, for tests and the quickstart.
///
/// It makes real-format TDX quotes, SNP reports, Azure vTPM evidence and endorsements under roots of its own,
/// which a broker or a client must be told to trust. IT PROTECTS NOTHING: never point production at its root.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES, after_long_help = long_help())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  adyton-fake-tee serve --state /tmp/fake-tee --listen 127.0.0.1:8006
  adyton-fake-tee serve --state /tmp/fake-tee --listen 127.0.0.1:0 --fault debug-td
  adyton-fake-tee serve --state /tmp/fake-snp --listen 127.0.0.1:0 --tee snp --product turin
  adyton-fake-tee serve --state /tmp/fake-az --listen 127.0.0.1:0 --tee az-snp-vtpm --azure-fault swapped-pcrs
  adyton-fake-tee evidence --state /tmp/fake-az --tee az-tdx-vtpm --report-data 00ff --out evidence.json
  adyton-fake-tee quote --state /tmp/fake-tee --report-data 00ff --out quote.bin
  adyton-fake-tee endorsements --state /tmp/fake-tee --fault expired-tcb-info --out old.json
  adyton-fake-tee faults";

#[derive(Subcommand)]
enum Command {
    /// Answer the CoCo guest API on loopback until stopped.
    Serve(Serve),
    /// Write one quote.
    Quote(Quote),
    /// Write evidence of any TEE as a KBS client sends it. Root, endorsements and reference values that
    /// go with it are written to the state folder.
    Evidence(Evidence),
    /// Write one endorsement bundle.
    Endorsements(Endorsements),
    /// List what can be made wrong.
    Faults,
}

#[derive(Args)]
struct Machine {
    /// Folder of the simulated machine: its seed, root.pem, endorsements.json and
    /// reference-values.toml. Made when absent; any number of processes may share it.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,

    /// Make something wrong; may be repeated. Names: `adyton-fake-tee faults`. Faults of the
    /// endorsements go into the folder's endorsements.json, so give them a folder of their own.
    #[arg(long = "fault", value_name = "NAME")]
    faults: Vec<Fault>,
}

#[derive(Args)]
struct Serve {
    #[command(flatten)]
    machine: Machine,

    /// Loopback address; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8006")]
    listen: SocketAddr,

    /// Write {"url", "root", "bundle", "reference_values"} here once the API answers.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,

    #[command(flatten)]
    guest: Guest,
}

#[derive(Args)]
struct Evidence {
    #[command(flatten)]
    machine: Machine,

    /// Up to 64 bytes in hex, filled up with zeros.
    #[arg(long, value_name = "HEX")]
    report_data: String,

    /// Where to write it.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    #[command(flatten)]
    guest: Guest,
}

#[derive(Args)]
struct Quote {
    #[command(flatten)]
    machine: Machine,

    /// Up to 64 bytes in hex, filled up with zeros.
    #[arg(long, value_name = "HEX")]
    report_data: String,

    /// Where to write it.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// As what to write it.
    #[arg(long, value_enum, default_value = "raw")]
    encoding: Encoding,

    #[command(flatten)]
    profile: Profile,
}

#[derive(Args)]
struct Endorsements {
    #[command(flatten)]
    machine: Machine,

    /// Where to write them.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Args)]
struct Profile {
    /// Which quote format.
    #[arg(long, value_enum, default_value = "v4")]
    format: Format,

    /// Fill the quote up with zeros to this many bytes, as one cloud does with 8000.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pad_to: usize,

    /// Send an event log along; the runtime registers are what it adds up to. Faults of the event log
    /// imply it.
    #[arg(long)]
    event_log: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// Version 4, TDX 1.0 report.
    V4,
    /// Version 5, TDX 1.0 report.
    V5Td10,
    /// Version 5, TDX 1.5 report.
    V5Td15,
    /// Version 5, TDX 1.5 report with extensions.
    V5Td15Ex,
}

#[derive(Clone, Copy, ValueEnum)]
enum Encoding {
    /// The quote's bytes.
    Raw,
    /// Hex text.
    Hex,
    /// JSON with the quote in base64, as a KBS client sends it.
    Kbs,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fake-tee: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Serve(serve) => serve.run(),
        Command::Quote(quote) => quote.run(),
        Command::Evidence(evidence) => evidence.run(),
        Command::Endorsements(endorsements) => endorsements.run(),
        Command::Faults => {
            print!("{}\nSNP (--snp-fault):\n{}", fault_list(), snp_fault_list());
            print!("\nAzure (--azure-fault):\n{}", azure_fault_list());
            Ok(())
        }
    }
}

/// What `--ready-file` tells.
#[derive(Serialize)]
struct ReadyFile {
    url: String,
    root: PathBuf,
    bundle: PathBuf,
    reference_values: PathBuf,
}

impl Serve {
    fn run(self) -> Result<()> {
        ensure!(
            self.listen.ip().is_loopback(),
            "{} is not a loopback address; evidence for everybody is not even simulated",
            self.listen
        );
        let (api, files, faults) = self.guest.start(&self.machine, now()?)?;
        let listener = TcpListener::bind(self.listen)
            .with_context(|| format!("could not listen on {}", self.listen))?;
        let ready = ReadyFile {
            url: format!("http://{}", listener.local_addr()?),
            root: absolute(&files.root)?,
            bundle: absolute(&files.bundle)?,
            reference_values: absolute(&files.reference_values)?,
        };
        eprintln!(
            "fake-tee: THIS IS A SIMULATED TEE. Nothing it signs is protected by hardware.\n\
             fake-tee: its root certificate: {}\n\
             fake-tee: faults: {}\n\
             fake-tee: guest API on {}",
            ready.root.display(),
            faults,
            ready.url,
        );
        if let Some(path) = &self.ready_file {
            write_whole(path, serde_json::to_string_pretty(&ready)?.as_bytes())?;
        }
        api.serve(&listener).context("the listener broke")
    }
}

impl Evidence {
    fn run(self) -> Result<()> {
        let (api, _, _) = self.guest.start(&self.machine, now()?)?;
        let evidence = api.primary_evidence(report_data(&self.report_data)?);
        write_whole(&self.out, evidence.to_string().as_bytes())?;
        Ok(())
    }
}

impl Quote {
    fn run(self) -> Result<()> {
        let report_data = report_data(&self.report_data)?;
        let tee = self.machine.open(now()?)?;
        let faults = &self.machine.faults;
        let profile = self.profile.td(faults);
        let content = match self.encoding {
            Encoding::Raw => tee.faulty_quote(&profile, report_data, faults),
            Encoding::Hex => hex::encode(tee.faulty_quote(&profile, report_data, faults)).into(),
            Encoding::Kbs => tee.primary_evidence(&profile, report_data, faults).to_string().into(),
        };
        write_whole(&self.out, &content)?;
        Ok(())
    }
}

impl Endorsements {
    fn run(self) -> Result<()> {
        let now = now()?;
        let bundle = self.machine.open(now)?.endorsement_bundle(now, &self.machine.faults);
        write_whole(&self.out, serde_json::to_string_pretty(&bundle)?.as_bytes())?;
        Ok(())
    }
}

impl Machine {
    /// The folder's machine, made now when there is none.
    fn open(&self, now: u64) -> Result<FakeTee> {
        let has_one = fs::exists(self.state.join("machine.json")).unwrap_or(false);
        let tee =
            if has_one { FakeTee::load(&self.state) } else { FakeTee::create(&self.state, now) };
        tee.with_context(|| format!("could not open the machine in {}", self.state.display()))
    }
}

impl Profile {
    fn td(&self, faults: &[Fault]) -> TdProfile {
        let format = match self.format {
            Format::V4 => QuoteFormat::V4,
            Format::V5Td10 => QuoteFormat::V5Td10,
            Format::V5Td15 => QuoteFormat::V5Td15,
            Format::V5Td15Ex => QuoteFormat::V5Td15Ex,
        };
        let profile = TdProfile { format, pad_to: self.pad_to, ..TdProfile::default() };
        let is_logged = self.event_log || faults.iter().any(|fault| fault.site() == Site::EventLog);
        if is_logged { profile.with_event_log(FakeEventLog::default()) } else { profile }
    }
}

fn report_data(digits: &str) -> Result<[u8; 64]> {
    let bytes = hex::decode(digits).context("--report-data is not hex")?;
    let mut report_data = [0; 64];
    match report_data.get_mut(..bytes.len()) {
        Some(place) => place.copy_from_slice(&bytes),
        None => bail!("--report-data has {} bytes, a quote has room for 64", bytes.len()),
    }
    Ok(report_data)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("could not resolve {}", path.display()))
}

fn now() -> Result<u64> {
    let since =
        SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
    Ok(since.as_secs())
}

fn long_help() -> String {
    format!("{EXAMPLES}\n\nFaults, in the order of the verification ladder:\n{}", fault_list())
}

fn fault_list() -> String {
    Fault::ALL
        .iter()
        .map(|fault| {
            let site = match fault.site() {
                Site::Evidence => "evidence",
                Site::EventLog => "event log",
                Site::Endorsements => "endorsements",
                Site::GuestApi => "guest API",
            };
            format!("  {:<24} {site:<13} {}\n", fault.name(), fault.summary())
        })
        .collect()
}

fn snp_fault_list() -> String {
    SnpFault::ALL
        .iter()
        .map(|(fault, rung, _)| format!("  {:<32} {rung:<4} {}\n", fault.name(), fault.summary()))
        .collect()
}

fn azure_fault_list() -> String {
    AzureFault::ALL
        .iter()
        .map(|(fault, rung, _)| format!("  {:<32} {rung:<4} {}\n", fault.name(), fault.summary()))
        .collect()
}
