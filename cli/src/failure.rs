//! One shape for everything that can go wrong, and the exit code it ends in.
//!
//! Job: every layer has its own error enum; here it becomes what a person reads: what failed, which value,
//! what was expected, what to do. In: layer errors, refusal [`Reason`]s. Out: one text block or one JSON
//! object on stderr, and an [`Exit`]. Must not: hold secrets, print a backtrace, or let bytes from a peer
//! steer the terminal (every text passes [`printable`]).

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Write as _;

use adyton_attestation::Reason;
use serde_json::{Map, Value, json};

use crate::console::{Format, Paint, Tone, printable};

/// How many levels of an error's source chain are shown: a loop in a chain must not hang the reporter.
const CAUSES_SHOWN: usize = 8;

/// Exit codes of every Adyton program, see the guide "Exit codes".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything asked for was done.
    Success = 0,
    /// A defect or a failure of this machine (disk full, for example).
    Internal = 1,
    /// The command line, a configuration file or a named object is wrong.
    Usage = 2,
    /// Evidence is not genuine, not fresh, or not bound to what it should be bound to.
    EvidenceRejected = 10,
    /// Genuine Evidence or a known caller, but a policy says no.
    PolicyDenied = 11,
    /// Endorsements for this Evidence are missing or out of date; may be retried.
    EndorsementsUnavailable = 12,
    /// The broker (or sidecar) could not be reached securely; may be retried.
    BrokerUnreachable = 13,
    /// Sealed data was changed, cut or swapped.
    Integrity = 14,
    /// A TEE, an algorithm or a format that this version does not know.
    Unsupported = 20,
    /// Input that cannot be parsed.
    Malformed = 30,
}

/// What a person needs to know about one failed command.
#[derive(Debug)]
pub struct Failure(Box<Account>);

/// Boxed, because a result is handed up through many calls and is nearly always good.
#[derive(Debug)]
struct Account {
    exit: Exit,
    code: Cow<'static, str>,
    message: String,
    expected: Option<String>,
    got: Option<String>,
    remedy: String,
    causes: Vec<String>,
    reasons: Vec<Reason>,
}

impl Failure {
    /// A failure with a stable `code` (dotted words) and one sentence of what failed.
    pub fn new(exit: Exit, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self(Box::new(Account {
            exit,
            code: code.into(),
            message: message.into(),
            expected: None,
            got: None,
            remedy: String::new(),
            causes: Vec::new(),
            reasons: Vec::new(),
        }))
    }

    /// The value that would have been accepted.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.0.expected = Some(expected.into());
        self
    }

    /// The value that was met instead. Never a secret.
    #[must_use]
    pub fn got(mut self, got: impl Into<String>) -> Self {
        self.0.got = Some(got.into());
        self
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.0.remedy = remedy.into();
        self
    }

    /// A failure whose sentence is the error's own: `what: the error`, with its sources as causes.
    pub fn because(
        exit: Exit,
        code: impl Into<Cow<'static, str>>,
        what: &str,
        error: &(dyn Error + 'static),
    ) -> Self {
        let failure = Self::new(exit, code, format!("{what}: {error}"));
        match error.source() {
            Some(source) => failure.caused_by(source),
            None => failure,
        }
    }

    /// Adds `error` and the chain of its sources, one line each.
    #[must_use]
    pub fn caused_by(mut self, error: &(dyn Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(current) = next {
            let text = current.to_string();
            // Some libraries repeat their source's text; a reader needs it once.
            if self.0.causes.len() < CAUSES_SHOWN && self.0.causes.last() != Some(&text) {
                self.0.causes.push(text);
            }
            next = if self.0.causes.len() < CAUSES_SHOWN { current.source() } else { None };
        }
        self
    }

    /// Adds the reasons of a refusal; each carries its own expected, got and remedy.
    #[must_use]
    pub fn reasons(mut self, reasons: Vec<Reason>) -> Self {
        for reason in reasons {
            // One fault can fail several rungs for the same reason; it is told once.
            if !self.0.reasons.contains(&reason) {
                self.0.reasons.push(reason);
            }
        }
        self
    }

    /// The exit code of the process.
    pub fn exit(&self) -> Exit {
        self.0.exit
    }

    /// The stable code.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// The block for stderr, with its final line break.
    pub fn render(&self, format: Format, paint: Paint) -> String {
        match format {
            Format::Json => {
                let mut line = self.to_json().to_string();
                line.push('\n');
                line
            }
            Format::Text => self.to_text(paint),
        }
    }

    /// Message, reasons and remedy in one line, for programs that show only that.
    pub(crate) fn sentence(&self) -> String {
        let mut text = self.0.message.clone();
        for cause in &self.0.causes {
            let _ = write!(text, ": {cause}");
        }
        for Reason { code, expected, got, remedy, .. } in &self.0.reasons {
            let _ = write!(text, "; {code}: expected {expected}, got {got} ({remedy})");
        }
        if !self.0.remedy.is_empty() {
            let _ = write!(text, "; {}", self.0.remedy);
        }
        printable(&text).into_owned()
    }

    /// The document `{"error": {…}}`.
    pub(crate) fn to_json(&self) -> Value {
        let mut error = Map::new();
        error.insert("code".into(), json!(self.0.code));
        error.insert("message".into(), json!(self.0.message));
        error.insert("expected".into(), json!(self.0.expected));
        error.insert("got".into(), json!(self.0.got));
        error.insert("remedy".into(), json!(self.0.remedy));
        error.insert("exit_code".into(), json!(self.0.exit as u8));
        if !self.0.causes.is_empty() {
            error.insert("causes".into(), json!(self.0.causes));
        }
        if !self.0.reasons.is_empty() {
            error.insert("reasons".into(), json!(self.0.reasons));
        }
        json!({ "error": error })
    }

    fn to_text(&self, paint: Paint) -> String {
        let mut text = String::new();
        let head = format!("error[{}]", printable(&self.0.code));
        let _ = writeln!(text, "{}: {}", paint.text(Tone::Bad, &head), printable(&self.0.message));
        let mut line = |label: &str, value: &str| {
            if !value.is_empty() {
                let label = format!("  {label:<9}");
                let _ = writeln!(text, "{} {}", paint.text(Tone::Dim, &label), printable(value));
            }
        };
        line("got", self.0.got.as_deref().unwrap_or_default());
        line("expected", self.0.expected.as_deref().unwrap_or_default());
        for cause in &self.0.causes {
            // A parser's picture of the faulty line stays a picture.
            for (n, part) in cause.lines().enumerate() {
                line(if n == 0 { "cause" } else { "" }, part);
            }
        }
        line("remedy", &self.0.remedy);
        text.push_str(&reasons_text(&self.0.reasons, paint));
        text
    }
}

/// The reasons of a refusal as text: one headline each, then claim, got, expected, remedy.
pub fn reasons_text(reasons: &[Reason], paint: Paint) -> String {
    let mut text = String::new();
    for reason in reasons {
        let _ = writeln!(
            text,
            "  {} {} {}",
            paint.text(Tone::Bad, "✗"),
            paint.text(Tone::Strong, &printable(&reason.code)),
            paint.text(Tone::Dim, &format!("({})", printable(&reason.rung))),
        );
        let parts = [
            ("claim", &reason.claim),
            ("got", &reason.got),
            ("expected", &reason.expected),
            ("remedy", &reason.remedy),
        ];
        for (label, value) in parts {
            // A remedy may hold lines to paste into a file.
            for (n, line) in value.lines().enumerate() {
                let label = format!("      {:<9}", if n == 0 { label } else { "" });
                let _ = writeln!(text, "{} {}", paint.text(Tone::Dim, &label), printable(line));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason() -> Reason {
        Reason {
            code: "tdx.measurement.mrtd".into(),
            rung: "T11".into(),
            claim: "mrtd".into(),
            expected: "91".into(),
            got: "ff".into(),
            remedy: "add it".into(),
        }
    }

    #[test]
    fn a_failure_is_one_block_with_what_which_expected_and_remedy() {
        let cause = std::io::Error::other("line 1\nline 2");
        let failure = Failure::new(Exit::Usage, "a.code", "it failed")
            .got("this\u{1b}[31m")
            .expected("that")
            .remedy("do so")
            .caused_by(&cause);
        assert_eq!(
            failure.render(Format::Text, Paint::Plain),
            "error[a.code]: it failed\n  got       this\\u{1b}[31m\n  expected  that\n  \
             cause     line 1\n            line 2\n  remedy    do so\n"
        );
    }

    #[test]
    fn a_failure_as_json_has_every_member_and_its_exit_code() {
        let failure =
            Failure::new(Exit::PolicyDenied, "a.code", "it failed").reasons(vec![reason()]);
        let line = failure.render(Format::Json, Paint::Colored);
        let json: Value = serde_json::from_str(&line).expect("one JSON line");
        assert_eq!(
            json,
            json!({"error": {
                "code": "a.code", "message": "it failed", "expected": null, "got": null, "remedy": "",
                "exit_code": 11, "reasons": [reason()],
            }})
        );
    }

    #[test]
    fn a_remedy_of_several_lines_stays_one_to_paste() {
        let remedy = "add this:\n[table]\nkey = 1".to_owned();
        let text = reasons_text(&[Reason { remedy, ..reason() }], Paint::Plain);
        let pasted =
            "      remedy    add this:\n                [table]\n                key = 1\n";
        assert!(text.ends_with(pasted), "{text}");
    }

    #[test]
    fn the_same_reason_is_told_once() {
        let failure = Failure::new(Exit::EvidenceRejected, "a.code", "refused")
            .reasons(vec![reason(), reason()]);
        let text = failure.render(Format::Text, Paint::Plain);
        assert_eq!(text.matches("✗ tdx.measurement.mrtd (T11)").count(), 1, "{text}");
    }
}
