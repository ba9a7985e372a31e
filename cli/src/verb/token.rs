//! `adyton token verify`: whose Attestation Result is this, and what does it say?
//!
//! Role: Relying Party (RFC 9334 §4.1). In: an EAR token in a file, the signers that are trusted. Out: who
//! issued it, until when, and each appraisal. Must not: show claims of a token that did not verify.

use std::path::PathBuf;

use adyton_attestation::UnixTime;
use adyton_attestation::ear::{
    ExpectedIssuer, Tier, TokenAnchors, TokenAnchorsError, TokenRules, TrustVector, VerifiedToken,
    verify,
};
use clap::{Args, Subcommand};
use serde_json::json;

use super::Context;
use super::policy::text_file;
use super::verify::{now, time};
use crate::console::{Paint, Tone};
use crate::failure::{Exit, Failure};
use crate::file;
use crate::table::{Cell, Facts};

/// Shown under the help.
pub const EXAMPLES: &str = "\
Examples:
  adyton token verify token.jwt --ca token-ca.pem --issuer adyton-broker
  adyton token verify token.jwt --jwk-set trustee-jwks.json --output json | jq .submods";

const VERIFY_EXAMPLES: &str = "\
Examples:
  adyton token verify token.jwt --ca token-ca.pem --issuer adyton-broker
  adyton token verify token.jwt --ca token-ca.pem --at 2026-11-26T12:00:00Z

Exit codes:
  0 a trusted signer issued it, and its time has not run out     10 refused; the reason says why";

/// The longest token file.
const TOKEN_LIMIT: u64 = 1024 * 1024;
/// The longest file that names signers.
const SIGNERS_LIMIT: u64 = 256 * 1024;

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Verify an EAR token against the signers you trust
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(TokenArgs),
}

/// Arguments of `token verify`.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// The token, as the broker's answer has it in `token`
    #[arg(value_name = "FILE")]
    token: PathBuf,
    /// Trusted certificates, PEM: CAs that issue to token signers only, or a signer's own; may be repeated
    #[arg(long, value_name = "FILE", required_unless_present = "jwk_set")]
    ca: Vec<PathBuf>,
    /// Trusted keys, a JWK set; may be repeated
    #[arg(long, value_name = "FILE")]
    jwk_set: Vec<PathBuf>,
    /// Who must have issued it (`iss`) [default: whoever has a trusted key]
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// When to verify for: RFC 3339 or Unix seconds [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<UnixTime>,
}

/// Runs `adyton token …`.
///
/// # Errors
/// [`Failure`] of the files, then the refusal.
pub fn run(command: TokenCommand, context: &mut Context<'_>) -> Result<(), Failure> {
    let TokenCommand::Verify(args) = command;
    let mut anchors = TokenAnchors::default();
    for path in &args.ca {
        let bytes = file::read("certificate file", path, SIGNERS_LIMIT)?;
        anchors = anchors.with_pem(&bytes).map_err(|error| unusable(path, &error))?;
    }
    for path in &args.jwk_set {
        let bytes = file::read("JWK set", path, SIGNERS_LIMIT)?;
        anchors = anchors.with_jwk_set(&bytes).map_err(|error| unusable(path, &error))?;
    }
    let text = text_file("token", &args.token, TOKEN_LIMIT)?;
    let at = match args.at {
        Some(at) => at,
        None => now()?,
    };
    let issuer = match &args.issuer {
        Some(name) => ExpectedIssuer::Named(name),
        None => ExpectedIssuer::WhoeverIsTrusted,
    };
    let rules = TokenRules { issuer, ..TokenRules::default() };
    let verified = verify(text.trim(), &anchors, &rules, at).map_err(|refusal| {
        Failure::new(Exit::EvidenceRejected, "token.refused", "the token was refused")
            .reasons(vec![refusal.reason()])
    })?;
    let paint = context.console.paint();
    let json = json!({
        "verified": true,
        "affirming": verified.is_affirming(),
        "at": at,
        "issuer": verified.issuer(),
        "issued": verified.issued(),
        "expires": verified.expires(),
        "submods": verified.payload().get("submods"),
    });
    context.console.result(&page(&verified, paint), &json)
}

fn page(token: &VerifiedToken, paint: Paint) -> String {
    let mut facts = Facts::new();
    facts.add("issuer", token.issuer());
    facts.add("issued", token.issued().to_string());
    facts.add("expires", token.expires().to_string());
    for (name, submod) in token.submods() {
        let tone = match submod.status {
            Tier::Affirming => Tone::Good,
            Tier::None => Tone::Dim,
            Tier::Warning => Tone::Warn,
            Tier::Contraindicated => Tone::Bad,
        };
        let claims = TrustVector::NAMES.into_iter().zip(submod.vector.claims());
        let claims: Vec<String> = claims
            .filter(|(_, claim)| *claim != 0)
            .map(|(claim, value)| format!("{claim} {value}"))
            .collect();
        let told = match claims.is_empty() {
            true => submod.status.to_string(),
            false => format!("{} ({})", submod.status, claims.join(", ")),
        };
        facts.add(name, Cell::new(tone, told));
    }
    let verdict = match token.is_affirming() {
        true => "A trusted signer vouches for all of it.",
        false => "A trusted signer issued this, and does not vouch for all of it.",
    };
    let tone = if token.is_affirming() { Tone::Good } else { Tone::Warn };
    format!("{}\n{} {verdict}\n", facts.render(paint), paint.text(tone, "✓"))
}

fn unusable(path: &std::path::Path, error: &TokenAnchorsError) -> Failure {
    let message = format!("{} names no signers of tokens", path.display());
    Failure::new(Exit::Malformed, "token.signers", message)
        .expected("certificates in PEM (--ca), or a JWK set with EC keys and ids (--jwk-set)")
        .remedy("check the file")
        .caused_by(error)
}
