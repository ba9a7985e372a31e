//! `adyton verify`: is this a genuine TEE, and is it the one I expect?
//!
//! Role: Relying Party with its own Verifier (RFC 9334 §5, no broker needed). In: a running sidecar, or
//! Evidence in a file; Endorsements; perhaps Reference Values. Out: every rung with its outcome, the claims,
//! an exit code. Must not: say "verified" for what was only replayed, or keep quiet about an extra root.

mod live;
mod page;
mod picture;
mod pinning;
mod stored;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use adyton_attestation::UnixTime;
use adyton_attestation::peer::PinnedInstance;
use clap::{ArgGroup, Args, ValueEnum};

pub(super) use live::transport_failure;
pub(super) use page::insecure;

use super::Context;
use super::trust::TrustArgs;
use crate::failure::{Exit, Failure};

/// Shown under the help.
pub const EXAMPLES: &str = "\
Examples:
  A running sidecar: is it a genuine TEE that holds this connection?
    adyton verify https://models.example --client-cert me.pem --client-key me.key \\
        --bundle intel.json

  The same, and is it the software I expect? Keep its certificate for curl or an SDK:
    adyton verify https://models.example --client-cert me.pem --client-key me.key \\
        --bundle intel.json --reference-values llama-pod.toml --save-certificate models.pem

  The same machine as the first time, and this serving key:
    adyton verify https://models.example --client-cert me.pem --client-key me.key \\
        --bundle intel.json --known-peers ~/.config/adyton/known_peers --pin spki:5f…

  Evidence in a file, at the time when it was made:
    adyton verify --evidence quote.bin --bundle collateral.json --at 2025-06-21T10:00:00Z

  The same, and what a policy says to it:
    adyton verify --evidence quote.bin --bundle collateral.json --at 2025-06-21T10:00:00Z \\
        --policy release.toml --reference-values llama-pod.toml

Exit codes:
  0   verified, and accepted if Reference Values or a policy were given
  10  not genuine, not fresh or not bound to this connection
  11  genuine, but not what was expected
  12  Endorsements missing        13  sidecar not reached";

/// The longest Evidence file: quote, event log, and JSON around them.
pub(super) const EVIDENCE_LIMIT: u64 = 8 * 1024 * 1024;

/// How tightly the report must be bound to this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BindingArg {
    /// To the server's key: a host with another genuine TEE could relay it
    Certificate,
    /// To the server's key and this very TLS connection: no relay
    Channel,
}

/// Arguments of `adyton verify`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("subject").required(true).args(["url", "evidence"]))]
pub struct VerifyArgs {
    /// The sidecar's mTLS URL, `https://HOST:PORT`; the port may be left out
    #[arg(value_name = "URL")]
    url: Option<String>,
    /// Evidence in a file: a raw quote, its hex, the KBS's JSON or a saved attestation report
    #[arg(long, value_name = "FILE")]
    evidence: Option<PathBuf>,
    /// When to verify for: RFC 3339 or Unix seconds [default: now]
    #[arg(long, value_name = "TIME", requires = "evidence", value_parser = time)]
    at: Option<UnixTime>,
    /// PEM certificate that the sidecar's client CA issued
    #[arg(long, value_name = "FILE", requires = "client_key", conflicts_with = "evidence")]
    client_cert: Option<PathBuf>,
    /// PEM key of that certificate (mode 0600)
    #[arg(long, value_name = "FILE", requires = "client_cert", conflicts_with = "evidence")]
    client_key: Option<PathBuf>,
    /// Reference Values to compare the measurements with, TOML; may be repeated
    #[arg(long, value_name = "FILE")]
    reference_values: Vec<PathBuf>,
    /// Release policy (TOML) whose rules and minimum model version apply, or a policy in Rego (`.rego`)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The key that is asked for, when the policy is a resource policy in Rego
    #[arg(long, value_name = "KID", requires = "policy")]
    kid: Option<String>,
    /// Expected SHA-256 of the sealed model's manifest, hex (adyton inspect prints it)
    #[arg(long, value_name = "SHA256", conflicts_with = "evidence", value_parser = sha256)]
    manifest_digest: Option<[u8; 32]>,
    /// How tightly the report must be bound to this connection
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = BindingArg::Channel,
          conflicts_with = "evidence")]
    binding: BindingArg,
    /// Write the attested certificate (PEM) here, so that ordinary clients can pin it
    #[arg(long, value_name = "FILE", conflicts_with = "evidence")]
    save_certificate: Option<PathBuf>,
    /// Accept this machine or serving key only: `ppid:HEX`, `chip-id:HEX` or `spki:HEX`; may be repeated
    #[arg(long, value_name = "PIN", conflicts_with = "evidence")]
    pin: Vec<PinnedInstance>,
    /// Remember the machine on first use, and refuse another one afterwards, like ssh's known_hosts
    #[arg(long, value_name = "FILE", conflicts_with = "evidence")]
    known_peers: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
}

/// Runs `adyton verify`.
///
/// # Errors
/// [`Failure`]: files, then transport, then the refusal with every reason.
pub fn run(args: &VerifyArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    match (&args.url, &args.evidence) {
        (Some(url), _) => live::run(url, args, context),
        (None, Some(evidence)) => stored::run(evidence, args, context),
        (None, None) => Err(Failure::new(Exit::Usage, "usage", "nothing to verify was named")
            .expected("a URL, or --evidence FILE")
            .remedy("adyton verify --help")),
    }
}

pub(super) fn now() -> Result<UnixTime, Failure> {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|since| UnixTime(since.as_secs())).map_err(
        |error| {
            Failure::new(Exit::Internal, "clock", "this machine's clock stands before 1970")
                .remedy("set the clock")
                .caused_by(&error)
        },
    )
}

pub(super) fn time(text: &str) -> Result<UnixTime, String> {
    text.parse().map(UnixTime).ok().or_else(|| UnixTime::parse_rfc3339(text)).ok_or_else(|| {
        "expected RFC 3339 such as 2025-06-21T10:00:00Z, or seconds since 1970".to_owned()
    })
}

pub(super) fn sha256(text: &str) -> Result<[u8; 32], String> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).map_err(|_| "expected 64 hex digits".to_owned())?;
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rfc_3339_or_unix_seconds() {
        assert_eq!(time("1750500000"), Ok(UnixTime(1_750_500_000)));
        assert_eq!(time("2025-06-21T10:00:00Z"), Ok(UnixTime(1_750_500_000)));
        assert!(time("yesterday").is_err_and(|said| said.contains("RFC 3339")));
    }

    #[test]
    fn a_digest_of_another_length_is_refused() {
        assert_eq!(sha256(&"ab".repeat(32)), Ok([0xab; 32]));
        assert_eq!(sha256("abcd"), Err("expected 64 hex digits".to_owned()));
    }
}
