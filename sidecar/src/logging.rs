//! Logs: one JSON object a line, text on a terminal. Never a prompt, a key or a token.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

/// Chooses what is logged, e.g. `debug` or `adyton_sidecar=debug,info`.
pub const FILTER_VARIABLE: &str = "ADYTON_LOG";

/// Sends logs to stderr from now on. `info` unless [`FILTER_VARIABLE`] says otherwise; times are
/// UTC after RFC 3339.
pub fn init() {
    let filter =
        EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    if stderr().is_terminal() {
        logs.with_target(false).init();
    } else {
        logs.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
    }
}
