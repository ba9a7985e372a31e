//! `adyton connect`: a way into an attested sidecar for programs that know nothing of attestation.
//!
//! Role: Relying Party with its own Verifier (RFC 9334 §5). In: a sidecar's URL, what is expected of it,
//! one request or a loopback listener. Out: answers of a TEE that was verified and compared on the very
//! connection that they came over. Must not: send a byte of a request on any other connection, listen before
//! the sidecar was accepted once, or serve strangers on this machine's network without being told loudly.
//!
//! ```text
//! OpenAI client ─http─► gate ─► proxy ─► upstream ══TLS 1.3, bind=exporter══► sidecar in the TEE
//!                        │        │         └ attested one by one, reused until their results expire
//!                        └ 403    └ 502 with reasons, as JSON
//! ```

mod gate;
mod proxy;
mod refusal;
mod single;
mod upstream;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use adyton_attestation::peer::PinnedInstance;
use clap::{ArgGroup, Args};
use http::uri::PathAndQuery;

use super::Context;
use super::trust::TrustArgs;
use super::verify::sha256;
use crate::failure::{Exit, Failure};
use crate::https::block_on;
use gate::Gate;
use upstream::Upstream;

/// Shown under the help.
pub const EXAMPLES: &str = "\
Examples:
  Give an unmodified OpenAI client a way to an attested model:
    adyton connect https://models.example --client-cert me.pem --client-key me.key \\
        --bundle intel.json --reference-values llama-pod.toml --listen 127.0.0.1:8080
    export OPENAI_BASE_URL=http://127.0.0.1:8080/v1

  The same on a machine with other users: they need the key in the file
    adyton connect https://models.example --client-cert me.pem --client-key me.key \\
        --bundle intel.json --reference-values llama-pod.toml --listen 127.0.0.1:8080 \\
        --local-key-file local.key

  This model on this machine, one request:
    adyton connect https://models.example --client-cert me.pem --client-key me.key \\
        --bundle intel.json --reference-values llama-pod.toml --manifest-digest 5f… \\
        --pin ppid:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a --get /v1/models

Every connection to the sidecar is attested, over its own exporter value, before a request is sent.
Programs get status 502 and the reasons as JSON when that fails. Stop it with Ctrl-C.

Exit codes:
  0   stopped, or the request was answered
  10  not genuine, not fresh or not bound to this connection
  11  genuine, but not what was expected; or the request was refused
  12  Endorsements missing        13  sidecar not reached";

/// Arguments of `adyton connect`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("job").required(true).args(["listen", "get"]))]
pub struct ConnectArgs {
    /// The sidecar's mTLS URL, `https://HOST:PORT`; the port may be left out
    #[arg(value_name = "URL")]
    url: String,
    /// Serve plain HTTP/1.1 here, on loopback, until stopped; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Send one GET for this path, print the answer, and end
    #[arg(long, value_name = "PATH", value_parser = path)]
    get: Option<PathAndQuery>,
    /// Reference Values that the measurements must match, TOML; may be repeated, one must match
    #[arg(long, value_name = "FILE", required = true)]
    reference_values: Vec<PathBuf>,
    /// PEM certificate that the sidecar's client CA issued
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// PEM key of that certificate (mode 0600)
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,
    /// Release policy (TOML) whose typed rules and minimum model version apply
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Expected SHA-256 of the sealed model's manifest, hex (adyton inspect prints it)
    #[arg(long, value_name = "SHA256", value_parser = sha256)]
    manifest_digest: Option<[u8; 32]>,
    /// Expected SHA-256 of the sidecar's configuration, hex (adyton-sidecar check-config prints it)
    #[arg(long, value_name = "SHA256", value_parser = sha256)]
    config_digest: Option<[u8; 32]>,
    /// Accept this machine or serving key only: `ppid:HEX`, `chip-id:HEX` or `spki:HEX`; may be repeated
    #[arg(long, value_name = "PIN")]
    pin: Vec<PinnedInstance>,
    /// File (mode 0600) with a key that local programs must send as `Authorization: Bearer`
    #[arg(long, value_name = "FILE", conflicts_with = "get")]
    local_key_file: Option<PathBuf>,
    /// INSECURE: listen beyond loopback; whoever reaches the port sends requests as you, and everybody
    /// on the way reads them
    #[arg(long, requires = "listen")]
    insecure_listen_beyond_loopback: bool,
    #[command(flatten)]
    trust: TrustArgs,
}

/// Runs `adyton connect`.
///
/// # Errors
/// [`Failure`]: the listen address, files, then transport, then the refusal with every reason. After that
/// a listener runs until it is stopped.
pub fn run(args: &ConnectArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    // Everything that can be wrong on this side, before anything is sent.
    let gate = args.listen.map(|listen| admit(listen, args, context)).transpose()?;
    let upstream = Arc::new(Upstream::read(args, context)?);
    match (&args.get, args.listen.zip(gate)) {
        (Some(path), _) => block_on(single::run(&upstream, path, context)),
        (None, Some((listen, gate))) => block_on(proxy::run(upstream, listen, gate, context)),
        (None, None) => Err(Failure::new(Exit::Usage, "usage", "nothing to do was named")
            .expected("--listen ADDRESS:PORT, or --get PATH")
            .remedy("adyton connect --help")),
    }
}

/// Who may use the listener: loopback, or a loud word.
fn admit(
    listen: SocketAddr,
    args: &ConnectArgs,
    context: &mut Context<'_>,
) -> Result<Gate, Failure> {
    let beyond = !listen.ip().is_loopback();
    if beyond && !args.insecure_listen_beyond_loopback {
        return Err(Failure::new(
            Exit::Usage,
            "connect.listen",
            "the listener has no TLS and sends requests in your name",
        )
        .got(listen.to_string())
        .expected("a loopback address, such as 127.0.0.1:8080")
        .remedy(
            "listen on 127.0.0.1; from another machine, run adyton connect there. If the network up to \
             here is as trusted as this machine: --insecure-listen-beyond-loopback",
        ));
    }
    if beyond {
        context.console.warn(
            "insecure-listen-beyond-loopback",
            &format!(
                "INSECURE: listening on {listen} without TLS. Whoever reaches it sends requests as you, \
                 and everybody on the way reads prompts and answers."
            ),
        );
    }
    Gate::read(listen.ip(), args.local_key_file.as_deref())
}

fn path(text: &str) -> Result<PathAndQuery, String> {
    let expected = || "expected a path such as /v1/models".to_owned();
    let path: PathAndQuery = text.parse().map_err(|_| expected())?;
    if text.starts_with('/') { Ok(path) } else { Err(expected()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_got_is_a_path_and_no_url() {
        assert!(path("/v1/models?limit=1").is_ok());
        for text in ["", "v1/models", "https://else.example/v1", "*", "/v1 /x"] {
            assert_eq!(path(text), Err("expected a path such as /v1/models".to_owned()), "{text}");
        }
    }
}
