//! `adyton endorsements`: vendors' statements as files that can be made, shown, merged and shipped.
//!
//! Nothing here is verified: a bundle is believed by nobody, every statement in it is checked by whoever
//! uses it. What is shown are the dates that the statements state about themselves.

use std::path::{Path, PathBuf};

use adyton_attestation::claims::{Fmspc, SnpProduct};
use adyton_attestation::endorsement::fetch::{
    AmdSigner, BaseUrl, PckCa, Services, Statement, assemble, wanted, wanted_for_fmspc,
};
use adyton_attestation::endorsement::{EndorsementItem, Freshness};
use adyton_attestation::{EndorsementBundle, Evidence, UnixTime};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::Context;
use super::trust::anchors;
use super::verify::{now, time};
use crate::console::{Paint, Tone};
use crate::endorsement_service::EndorsementService;
use crate::failure::{Exit, Failure};
use crate::file;
use crate::https::block_on;
use crate::table::{Cell, Table, shortened};

/// Shown under the help of `adyton endorsements`.
pub const EXAMPLES: &str = "\
Examples:
  adyton endorsements fetch --fmspc 90c06f000000 --out intel.json
  adyton endorsements show intel.json
  adyton endorsements merge intel.json amd.json --out bundle.json --prune";

const FETCH_EXAMPLES: &str = "\
Examples:
  What one guest's Evidence needs, from the vendors' own services:
    adyton endorsements fetch --evidence quote.bin --out bundle.json

  Two platform types from a PCCS with a certificate of a private CA:
    adyton endorsements fetch --fmspc 90c06f000000 --fmspc b0c06f000000 --out intel.json \\
      --intel-url https://pccs.acme:8081 --ca-file acme-ca.pem

  AMD's chains and lists (Bergamo and Siena parts are Genoa):
    adyton endorsements fetch --amd-product milan --amd-product siena --out amd.json";

const SHOW_EXAMPLES: &str = "\
Examples:
  adyton endorsements show bundle.json
  adyton endorsements show bundle.json --at 2027-01-01T00:00:00Z
  adyton endorsements show bundle.json --output json";

const MERGE_EXAMPLES: &str = "\
Examples:
  adyton endorsements merge old.json new.json --out bundle.json
  adyton endorsements merge bundle.json --out bundle.json --prune";

/// The longest bundle file that is read.
const BUNDLE_LIMIT: u64 = 16 * 1024 * 1024;
/// The longest Evidence file that is read.
const EVIDENCE_LIMIT: u64 = 2 * 1024 * 1024;

/// What to do with Endorsements.
#[derive(Debug, Subcommand)]
pub enum EndorsementsCommand {
    /// Fetch Endorsements from the vendors' services, or from caches of them, into a bundle
    #[command(after_help = FETCH_EXAMPLES)]
    Fetch(Box<FetchArgs>),
    /// List what a bundle holds, with its validity
    #[command(after_help = SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// Put bundles (of any version) together into one of version 2
    #[command(after_help = MERGE_EXAMPLES)]
    Merge(MergeArgs),
}

/// Arguments of `endorsements fetch`.
#[derive(Debug, Args)]
pub struct FetchArgs {
    /// Fetch what this Evidence needs (quote or report; binary, hex, base64 or JSON)
    #[arg(long, value_name = "FILE", required_unless_present_any = ["fmspc", "amd_product"])]
    evidence: Option<PathBuf>,
    /// Fetch TDX collateral for this platform type, 12 hex digits; may be repeated
    #[arg(long, value_name = "HEX")]
    fmspc: Vec<Fmspc>,
    /// Which CA certified those platforms
    #[arg(long, value_name = "CA", value_enum, default_value_t = CaArg::Platform)]
    ca: CaArg,
    /// Fetch the chains and the revocation list of this AMD product; may be repeated
    #[arg(long, value_name = "NAME", value_parser = product)]
    amd_product: Vec<SnpProduct>,
    /// Intel PCS, or a PCCS
    #[arg(long, value_name = "URL", default_value = "https://api.trustedservices.intel.com",
          value_parser = BaseUrl::parse)]
    intel_url: BaseUrl,
    /// AMD KDS, or a cache of it
    #[arg(long, value_name = "URL", default_value = "https://kdsintf.amd.com",
          value_parser = BaseUrl::parse)]
    amd_url: BaseUrl,
    /// PEM CAs of these services, instead of the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Where to write the bundle; an older one there is kept and added to
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// INSECURE: also trust this root when Evidence selects what is fetched. For tests
    #[arg(long, value_name = "FILE")]
    insecure_extra_root: Vec<PathBuf>,
}

/// Arguments of `endorsements show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The bundle
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Judge at this time (RFC 3339 or Unix seconds) instead of now
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<UnixTime>,
}

/// Arguments of `endorsements merge`.
#[derive(Debug, Args)]
pub struct MergeArgs {
    /// The bundles
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Where to write the one of them
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Leave out what has expired and what a newer one replaces
    #[arg(long)]
    prune: bool,
}

/// The CA that certified a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CaArg {
    /// Platforms of several sockets, as all that run TDX
    Platform,
    /// Single processors
    Processor,
}

/// Runs `adyton endorsements …`.
///
/// # Errors
/// [`Failure`] of files, Evidence, transport or services.
pub fn run(command: &EndorsementsCommand, context: &mut Context<'_>) -> Result<(), Failure> {
    match command {
        EndorsementsCommand::Fetch(args) => fetch(args, context),
        EndorsementsCommand::Show(args) => {
            let at = args.at.map_or_else(now, Ok)?;
            let bundle = read(&args.file)?;
            context
                .console
                .result(&page(&bundle, at, context.console.paint()), &listed(&bundle, at))
        }
        EndorsementsCommand::Merge(args) => {
            let mut all = EndorsementBundle::empty();
            for path in &args.files {
                all = merged(all, read(path)?)?;
            }
            let at = now()?;
            if args.prune {
                all = all.pruned(at);
            }
            write(&args.out, &all, at, context)
        }
    }
}

fn fetch(args: &FetchArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let at = now()?;
    // What is there is read first: nothing is fetched for a file that can't be added to.
    let before = match args.out.exists() {
        true => read(&args.out)?,
        false => EndorsementBundle::empty(),
    };
    let sets = wanted_sets(args, at)?;
    let services = Services {
        intel: Some(args.intel_url.clone()),
        intel_root_crl: None,
        amd: Some(args.amd_url.clone()),
    };
    let service = EndorsementService::new(services, args.ca_file.as_deref())?;
    let fetched = block_on(async {
        let mut all = EndorsementBundle::empty();
        for set in sets {
            let mut parts = Vec::new();
            for statement in &set {
                context.console.note(Tone::Dim, &format!("fetching {statement}"));
                parts.push(service.get(statement).await?);
            }
            all = merged(all, assemble(&parts).map_err(|error| malformed("answer", &error))?)?;
        }
        Ok(all)
    })?;
    write(&args.out, &merged(before, fetched)?, at, context)
}

/// Statements that belong together, each set one assembly.
fn wanted_sets(args: &FetchArgs, at: UnixTime) -> Result<Vec<Vec<Statement>>, Failure> {
    let ca = match args.ca {
        CaArg::Platform => PckCa::Platform,
        CaArg::Processor => PckCa::Processor,
    };
    let mut sets: Vec<Vec<Statement>> =
        args.fmspc.iter().map(|fmspc| wanted_for_fmspc(*fmspc, ca)).collect();
    sets.extend(args.amd_product.iter().map(|product| {
        vec![
            Statement::AmdChain(*product, AmdSigner::Vcek),
            Statement::AmdChain(*product, AmdSigner::Vlek),
            Statement::AmdCrl(*product),
        ]
    }));
    if let Some(path) = &args.evidence {
        let anchors = anchors(&args.insecure_extra_root)?;
        let bytes = file::read("Evidence", path, EVIDENCE_LIMIT)?;
        let evidence = Evidence::parse_file(&bytes).map_err(|error| {
            Failure::new(Exit::Malformed, "evidence.malformed", "the Evidence can't be read")
                .reasons(error.reasons())
                .remedy("collect it again")
                .caused_by(&error)
        })?;
        let set = wanted(&evidence, &anchors, at).map_err(|error| {
            Failure::new(
                Exit::EvidenceRejected,
                "evidence.rejected",
                "the Evidence names no platform that its vendor certified, so nothing was fetched",
            )
            .reasons(error.reasons())
            .caused_by(&error)
        })?;
        sets.push(set);
    }
    Ok(sets)
}

fn write(
    path: &Path,
    bundle: &EndorsementBundle,
    at: UnixTime,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    file::write_atomically("Endorsement bundle", path, bundle.to_json().as_bytes())?;
    let paint = context.console.paint();
    let text = format!("{}written to {}\n", page(bundle, at, paint), path.display());
    context.console.result(&text, &listed(bundle, at))
}

fn page(bundle: &EndorsementBundle, at: UnixTime, paint: Paint) -> String {
    let mut table = Table::new(["STATE", "KIND", "SUBJECT", "ISSUED", "EXPIRES", "SHA-256"]);
    for item in bundle.items() {
        let state = item.freshness(at);
        let date = |pick: fn(&EndorsementItem) -> Option<UnixTime>| {
            pick(&item).map_or_else(|| "(unreadable)".to_owned(), |time| time.to_string())
        };
        table.row([
            Cell::new(tone(state), state.as_str()),
            item.kind.as_str().into(),
            subject(&item.subject).into(),
            date(|item| item.validity.map(|validity| validity.issued)).into(),
            date(|item| item.validity.map(|validity| validity.expires)).into(),
            shortened(&item.sha256).into(),
        ]);
    }
    table.render(paint)
}

/// A subject with long hex values shortened; JSON has all of it.
fn subject(text: &str) -> String {
    text.split(' ').map(shortened).collect::<Vec<_>>().join(" ")
}

fn tone(state: Freshness) -> Tone {
    match state {
        Freshness::Fresh => Tone::Good,
        Freshness::StaleWithinGrace => Tone::Warn,
        Freshness::NotYetValid | Freshness::Expired | Freshness::Unreadable => Tone::Bad,
    }
}

fn listed(bundle: &EndorsementBundle, at: UnixTime) -> Value {
    let item = |item: &EndorsementItem| {
        json!({
            "state": item.freshness(at),
            "kind": item.kind,
            "subject": item.subject,
            "issued": item.validity.map(|validity| validity.issued),
            "expires": item.validity.map(|validity| validity.expires),
            "sha256": item.sha256,
        })
    };
    json!({ "at": at, "items": bundle.items().iter().map(item).collect::<Vec<_>>() })
}

fn read(path: &Path) -> Result<EndorsementBundle, Failure> {
    let bytes = file::read("Endorsement bundle", path, BUNDLE_LIMIT)?;
    EndorsementBundle::parse(&bytes).map_err(|error| malformed(&path.display().to_string(), &error))
}

fn merged(one: EndorsementBundle, other: EndorsementBundle) -> Result<EndorsementBundle, Failure> {
    one.merge(other).map_err(|error| malformed("the bundles together", &error))
}

fn malformed(what: &str, error: &adyton_attestation::EndorsementError) -> Failure {
    Failure::because(Exit::Malformed, "endorsements.malformed", what, error).remedy(error.remedy())
}

fn product(name: &str) -> Result<SnpProduct, String> {
    let (first, rest) = name.split_at_checked(1).unwrap_or_default();
    SnpProduct::from_certificate(&(first.to_ascii_uppercase() + &rest.to_ascii_lowercase()))
        .ok_or_else(|| "expected milan, genoa (also bergamo, siena) or turin".to_owned())
}
