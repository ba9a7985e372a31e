//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;

/// Serves a Llama-architecture model from a folder through the OpenAI HTTP API.
#[derive(Debug, Clone, Parser)]
#[command(name = "adyton-example-server", version, after_help = EXAMPLES)]
pub struct Options {
    /// Folder with config.json, tokenizer.json, tokenizer_config.json and *.safetensors
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,

    /// Where to listen: `ADDRESS:PORT` (port 0: any free one) or `unix:PATH`
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    pub listen: Endpoint,

    /// Wait this long for the model folder to appear; meanwhile /health answers 503
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub wait_seconds: u64,

    /// Write {"url": …} to this file once the socket is bound (before the model is loaded)
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,

    /// Name of the model in the API [default: the folder's name]
    #[arg(long, value_name = "NAME")]
    pub model_name: Option<String>,

    /// Completions computed at the same time; more wait
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub concurrency: u16,

    /// Listen beyond loopback, in plain HTTP: everybody who reaches the port can use the model
    #[arg(long)]
    pub allow_non_loopback: bool,
}

const EXAMPLES: &str = "\
Examples:
  Serve the model of this repository:
    adyton-example-server --model examples/model/kjv-llama

  Ask it:
    curl -N http://127.0.0.1:8000/v1/completions -H 'content-type: application/json' \\
      -d '{\"model\":\"kjv-llama\",\"prompt\":\"In the beginning\",\"max_tokens\":60,\"stream\":true}'

  Behind the sidecar: wait for the opened model, on a socket nobody else can reach:
    adyton-example-server --model /weights/model --wait-seconds 300 --listen unix:/run/llm.sock

Exit codes: 0 stopped by a signal, 1 internal, 2 usage, 30 the model folder is missing or malformed.";

/// An address to bind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("`unix:` needs a path, such as unix:/run/model.sock".to_owned()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| {
                format!(
                    "`{text}` is neither ADDRESS:PORT (127.0.0.1:8000, [::1]:8000) nor unix:PATH"
                )
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_address_with_a_port_or_a_socket_path() {
        assert_eq!("127.0.0.1:0".parse(), Ok(Endpoint::Tcp(([127, 0, 0, 1], 0).into())));
        assert_eq!("unix:/a/b".parse(), Ok(Endpoint::Unix("/a/b".into())));
        for wrong in ["unix:", "127.0.0.1", "localhost:80", ""] {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong} was accepted");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Options::command().debug_assert();
    }
}
