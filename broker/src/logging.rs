//! Log lines: one JSON object each, or text on a terminal. RFC 3339 in UTC, to standard error.
//!
//! Texts of clients are bounded where they are logged; both forms escape control characters, so one
//! event is one line. No event has a key, a token or a cookie among its fields.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::filter::LevelFilter;

use crate::config::{BrokerConfig, LogFormat};

/// Installs the log. A second call changes nothing.
pub fn install(config: &BrokerConfig) {
    let json = match config.log_format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !stderr().is_terminal(),
    };
    let level = LevelFilter::from_level(config.log_level);
    let builder = tracing_subscriber::fmt().with_writer(stderr).with_max_level(level);
    // An error means that a log is installed already, by a test or by an embedding program.
    let _ = if json {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else {
        builder.with_ansi(stderr().is_terminal()).try_init()
    };
}
