//! The only way to the terminal: results to stdout, everything else to stderr.
//!
//! Job: decides once about colour and format, and makes foreign text harmless. In: flags, environment, what
//! the two streams are. Out: bytes on the streams. Must not: print progress or diagnostics on stdout, colour
//! a pipe, or pass control characters that came from a peer, a manifest or a file.
//! Against: terminal escape sequences and bidirectional overrides in names that an attacker chose.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use serde_json::Value;

use crate::failure::{Exit, Failure};

/// How results and errors are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables and sentences for people.
    #[default]
    Text,
    /// One JSON document on stdout; errors as one JSON object on stderr.
    Json,
}

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set or TERM is `dumb`.
    #[default]
    Auto,
    /// Always, also into a pipe.
    Always,
    /// Never.
    Never,
}

/// What a piece of text means; the colour follows from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// A step or value that passed.
    Good,
    /// A refusal.
    Bad,
    /// Something that weakens the result.
    Warn,
    /// A label.
    Dim,
    /// A heading or the main value.
    Strong,
}

/// Whether one stream is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Escape sequences are written.
    Colored,
    /// Plain text.
    Plain,
}

impl Paint {
    /// `text` in the colour of `tone`, or as it is.
    pub fn text(self, tone: Tone, text: &str) -> String {
        let style = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Bad => AnsiColor::Red.on_default().bold(),
            Tone::Warn => AnsiColor::Yellow.on_default().bold(),
            Tone::Dim => Style::new().dimmed(),
            Tone::Strong => Style::new().bold(),
        };
        match self {
            Self::Plain => text.to_owned(),
            Self::Colored => format!("{style}{text}{style:#}"),
        }
    }

    fn choose(choice: ColorChoice, stream: Stream, environment: &ColorEnvironment) -> Self {
        let wanted = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                let refused = environment.no_color.as_ref().is_some_and(|value| !value.is_empty())
                    || environment.term.as_ref().is_some_and(|term| term == "dumb");
                stream == Stream::Terminal && !refused
            }
        };
        if wanted { Self::Colored } else { Self::Plain }
    }
}

/// What the environment says about colour.
#[derive(Debug, Default)]
struct ColorEnvironment {
    /// NO_COLOR, which refuses colour when it is set and not empty (no-color.org).
    no_color: Option<OsString>,
    /// TERM.
    term: Option<OsString>,
}

impl ColorEnvironment {
    fn read() -> Self {
        Self { no_color: std::env::var_os("NO_COLOR"), term: std::env::var_os("TERM") }
    }
}

/// What stands behind a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// A person is watching.
    Terminal,
    /// A pipe or a file.
    Pipe,
}

/// `text` with control characters and bidirectional overrides written as `\u{…}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if harmful(c) {
            let _ = write!(safe, "{}", c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// Both output streams and how to write on them.
pub struct Console<'a> {
    out: &'a mut (dyn Write + Send),
    err: &'a mut (dyn Write + Send),
    format: Format,
    paint_out: Paint,
    paint_err: Paint,
    out_stream: Stream,
    err_stream: Stream,
}

impl<'a> Console<'a> {
    /// A console over two writers; `out_stream` and `err_stream` say what is behind them.
    pub fn new(
        out: &'a mut (dyn Write + Send),
        out_stream: Stream,
        err: &'a mut (dyn Write + Send),
        err_stream: Stream,
        format: Format,
        color: ColorChoice,
    ) -> Self {
        let environment = ColorEnvironment::read();
        Self {
            out,
            err,
            format,
            paint_out: Paint::choose(color, out_stream, &environment),
            paint_err: Paint::choose(color, err_stream, &environment),
            out_stream,
            err_stream,
        }
    }

    /// The chosen format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// How stdout is painted.
    pub fn paint(&self) -> Paint {
        self.paint_out
    }

    /// How stderr is painted.
    pub fn error_paint(&self) -> Paint {
        self.paint_err
    }

    /// Whether a progress bar may be drawn: stderr is a terminal and the output is for people.
    pub fn draws_progress(&self) -> bool {
        self.err_stream == Stream::Terminal && self.format == Format::Text
    }

    /// Writes a result: `text` for people, `json` for programs.
    ///
    /// # Errors
    /// [`Failure`] when stdout cannot be written, except for a closed pipe, which is the reader's choice.
    pub fn result(&mut self, text: &str, json: &Value) -> Result<(), Failure> {
        match self.format {
            Format::Text => self.raw(text.as_bytes()),
            Format::Json => {
                let mut line = json.to_string();
                line.push('\n');
                self.raw(line.as_bytes())
            }
        }
    }

    /// Writes the body of an answer: as it is into a pipe, made harmless on a terminal; or `json`.
    ///
    /// # Errors
    /// As [`Console::result`].
    pub fn body(&mut self, bytes: &[u8], json: &Value) -> Result<(), Failure> {
        match (self.format, self.out_stream) {
            (Format::Json, _) => self.result("", json),
            (Format::Text, Stream::Pipe) => self.raw(bytes),
            (Format::Text, Stream::Terminal) => {
                let text = String::from_utf8_lossy(bytes);
                let lines = text.lines().map(|line| format!("{}\n", printable(line)));
                self.raw(lines.collect::<String>().as_bytes())
            }
        }
    }

    /// Writes bytes to stdout in either format (completion scripts, templates).
    ///
    /// # Errors
    /// As [`Console::result`].
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self.out.write_all(bytes).and_then(|()| self.out.flush()) {
            Ok(()) => Ok(()),
            // `adyton … | head` is not an error.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(Failure::new(
                Exit::Internal,
                "output.write",
                "the result could not be written to standard output",
            )
            .remedy("check the disk or the program behind the pipe")
            .caused_by(&error)),
        }
    }

    /// A line of progress or advice on stderr, for people only.
    pub fn note(&mut self, tone: Tone, text: &str) {
        if self.format == Format::Text {
            let line = self.paint_err.text(tone, &printable(text));
            let _ = writeln!(self.err, "{line}");
        }
    }

    /// A warning that must be seen in both formats.
    pub fn warn(&mut self, code: &str, text: &str) {
        let line = match self.format {
            Format::Text => {
                format!("{} {}", self.paint_err.text(Tone::Warn, "warning:"), printable(text))
            }
            Format::Json => {
                serde_json::json!({"warning": {"code": code, "message": text}}).to_string()
            }
        };
        let _ = writeln!(self.err, "{line}");
    }

    /// Writes clap's own account of a wrong command line to stderr.
    pub fn usage(&mut self, text: &str) {
        let _ = self.err.write_all(text.as_bytes());
        let _ = self.err.flush();
    }

    /// Writes a failure's block to stderr.
    pub fn failure(&mut self, failure: &Failure) {
        let block = failure.render(self.format, self.paint_err);
        let _ = self.err.write_all(block.as_bytes());
        let _ = self.err.flush();
    }
}

/// What stands behind this process's stdout and stderr.
pub fn standard_streams() -> (Stream, Stream) {
    let kind = |terminal: bool| {
        if terminal { Stream::Terminal } else { Stream::Pipe }
    };
    (kind(io::stdout().is_terminal()), kind(io::stderr().is_terminal()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(no_color: Option<&str>, term: &str) -> ColorEnvironment {
        ColorEnvironment { no_color: no_color.map(OsString::from), term: Some(term.into()) }
    }

    #[test]
    fn auto_colours_a_terminal_unless_the_environment_refuses() {
        let cases = [
            (Stream::Terminal, None, "xterm", Paint::Colored),
            (Stream::Terminal, Some(""), "xterm", Paint::Colored),
            (Stream::Terminal, Some("1"), "xterm", Paint::Plain),
            (Stream::Terminal, None, "dumb", Paint::Plain),
            (Stream::Pipe, None, "xterm", Paint::Plain),
        ];
        for (stream, no_color, term, expected) in cases {
            let environment = environment(no_color, term);
            let paint = Paint::choose(ColorChoice::Auto, stream, &environment);
            assert_eq!(paint, expected, "{stream:?} {no_color:?} {term}");
        }
    }

    #[test]
    fn a_flag_is_stronger_than_the_environment() {
        let environment = environment(Some("1"), "dumb");
        let always = Paint::choose(ColorChoice::Always, Stream::Pipe, &environment);
        let never = Paint::choose(ColorChoice::Never, Stream::Terminal, &environment);
        assert_eq!((always, never), (Paint::Colored, Paint::Plain));
    }

    #[test]
    fn a_failing_disk_is_told_and_a_closed_pipe_is_not() {
        struct Broken(io::ErrorKind);
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let write = |kind| {
            let (mut out, mut err) = (Broken(kind), Vec::new());
            let (pipe, text) = (Stream::Pipe, Format::Text);
            Console::new(&mut out, pipe, &mut err, pipe, text, ColorChoice::Auto).raw(b"result")
        };
        assert!(write(io::ErrorKind::BrokenPipe).is_ok());
        let failure = write(io::ErrorKind::StorageFull).expect_err("told");
        assert_eq!((failure.code(), failure.exit()), ("output.write", Exit::Internal));
    }
}
