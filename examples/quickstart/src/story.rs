//! How the quickstart tells what happens: chapters, steps with a tick and a time, or JSON lines.
//!
//! On a terminal a running step shows a spinner or a bar; in a pipe only finished lines appear, and
//! colours vanish (`anstream`). With `--output json` every step is one object a line on stdout.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const RED: Style = AnsiColor::Red.on_default().bold();
const CYAN: Style = AnsiColor::Cyan.on_default();

/// Text for people or JSON lines for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Chapters, ticks and times.
    Text,
    /// One JSON object a line.
    Json,
}

/// One finished step, kept for the times at the end.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Short stable name, such as `seal`.
    pub name: &'static str,
    /// What was done, in words.
    pub title: String,
    /// How long it took.
    pub took: Duration,
}

/// The teller.
#[derive(Debug)]
pub struct Story {
    output: Output,
    terminal: bool,
    began: Instant,
    finished: Vec<Finished>,
}

impl Story {
    /// Begins a story on stdout.
    pub fn new(output: Output) -> Self {
        Self {
            output,
            terminal: output == Output::Text && std::io::stdout().is_terminal(),
            began: Instant::now(),
            finished: Vec::new(),
        }
    }

    /// Steps finished so far.
    pub fn finished(&self) -> &[Finished] {
        &self.finished
    }

    /// Time since the story began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// A heading.
    pub fn chapter(&self, title: &str, who: &str) {
        if self.output == Output::Text {
            say(&format!("\n{BOLD}{title}{BOLD:#}  {DIM}{who}{DIM:#}"));
        }
    }

    /// A line of plain explanation.
    pub fn aside(&self, text: &str) {
        if self.output == Output::Text {
            say(&format!("    {DIM}{text}{DIM:#}"));
        }
    }

    /// A command a reader could type.
    pub fn command(&self, words: &str) {
        if self.output == Output::Text {
            say(&format!("    {CYAN}$ {words}{CYAN:#}"));
        }
    }

    /// Lines that belong together, such as the closing picture; not part of the JSON output.
    pub fn block(&self, lines: &[String]) {
        if self.output == Output::Text {
            for line in lines {
                say(line);
            }
        }
    }

    /// Begins a step; finish it with [`Step::done`].
    pub fn step(&mut self, name: &'static str, title: impl Into<String>) -> Step<'_> {
        let title = title.into();
        let bar = if self.terminal {
            let bar = ProgressBar::new_spinner();
            bar.set_style(spinner());
            bar.set_message(title.clone());
            bar.enable_steady_tick(Duration::from_millis(80));
            bar
        } else {
            ProgressBar::hidden()
        };
        Step { story: self, name, title, bar, began: Instant::now() }
    }

    /// Streams text as it arrives, on a line of its own.
    pub fn stream_begin(&self, prompt: &str) {
        if self.output == Output::Text {
            write_now(&format!("\n      {DIM}{prompt}{DIM:#}{YELLOW}"));
        }
    }

    /// One more piece of streamed text.
    pub fn stream_piece(&self, piece: &str) {
        if self.output == Output::Text {
            write_now(&piece.replace('\n', "\n      "));
        }
    }

    /// Ends the streamed text.
    pub fn stream_end(&self) {
        if self.output == Output::Text {
            write_now(&format!("{YELLOW:#}\n\n"));
        }
    }

    /// Reports the failure that ends the story.
    pub fn failed(&self, error: &anyhow::Error) {
        match self.output {
            Output::Json => say(&json!({"failed": format!("{error:#}")}).to_string()),
            Output::Text => {
                let mut stderr = anstream::stderr().lock();
                // The terminal is gone when this fails; the exit code still tells.
                let _ = writeln!(stderr, "\n  {RED}✗ {error}{RED:#}");
                for cause in error.chain().skip(1) {
                    let _ = writeln!(stderr, "    because {cause}");
                }
            }
        }
    }

    /// One JSON object with facts for machines; silent in text mode.
    pub fn fact(&self, value: &serde_json::Value) {
        if self.output == Output::Json {
            say(&value.to_string());
        }
    }
}

/// A step that is under way.
#[derive(Debug)]
pub struct Step<'a> {
    story: &'a mut Story,
    name: &'static str,
    title: String,
    bar: ProgressBar,
    began: Instant,
}

impl Step<'_> {
    /// Counts from `began` on, for a step that is told once it is over.
    #[must_use]
    pub fn since(mut self, began: Instant) -> Self {
        self.began = began;
        self
    }

    /// Shows `done` of `total` bytes.
    pub fn progress(&self, done: u64, total: u64) {
        if total == 0 {
            return;
        }
        if self.bar.length() != Some(total) {
            self.bar.set_length(total);
            self.bar.set_style(bytes_bar());
        }
        self.bar.set_position(done);
    }

    /// Ends the step as wanted; `detail` says what came out of it.
    pub fn done(self, detail: impl AsRef<str>) {
        self.end("✓", GREEN, detail.as_ref(), &[]);
    }

    /// Ends a step whose wanted outcome is a refusal; `why` are the lines a person would need.
    pub fn refused_as_wanted(self, detail: impl AsRef<str>, why: &[String]) {
        self.end("✓", GREEN, detail.as_ref(), why);
    }

    fn end(self, mark: &str, style: Style, detail: &str, lines: &[String]) {
        let took = self.began.elapsed();
        self.bar.finish_and_clear();
        match self.story.output {
            Output::Json => say(&json!({
                "step": self.name, "title": self.title, "ok": true,
                "seconds": (took.as_secs_f64() * 1e4).round() / 1e4,
                "detail": detail, "lines": lines,
            })
            .to_string()),
            Output::Text => {
                let time = human_time(took);
                say(&format!(
                    "  {style}{mark}{style:#} {:<52} {DIM}{time:>8}{DIM:#}  {detail}",
                    self.title
                ));
                for line in lines {
                    say(&format!("      {line}"));
                }
            }
        }
        self.story.finished.push(Finished { name: self.name, title: self.title, took });
    }
}

/// `1.24 s`, `83 ms`.
pub fn human_time(time: Duration) -> String {
    if time.as_secs() >= 1 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} ms", time.as_millis())
    }
}

/// `3.9 MB`, in powers of ten.
pub fn human_bytes(bytes: u64) -> String {
    match bytes {
        0..=999 => format!("{bytes} B"),
        1_000..=999_999 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("  {spinner} {msg} {elapsed:.dim}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn bytes_bar() -> ProgressStyle {
    ProgressStyle::with_template("  {spinner} {msg} {bar:30} {bytes}/{total_bytes}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn say(line: &str) {
    // A closed pipe ends the reader's interest, not the run: cleaning up comes first.
    let _ = writeln!(anstream::stdout().lock(), "{line}");
}

fn write_now(text: &str) {
    let mut stdout = anstream::stdout().lock();
    let _ = write!(stdout, "{text}");
    let _ = stdout.flush();
}
