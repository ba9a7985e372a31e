//! File, environment and flags, one over the other, each key with where its value came from.

use std::collections::BTreeMap;
use std::path::Path;

use super::ENVIRONMENT_PREFIX;
use super::setting::{Kind, SETTINGS, Setting, find, most_like};
use crate::error::Finding;

/// Longest key or value that a finding repeats, in characters.
const MAX_SHOWN: usize = 120;

/// A value of the right kind, not yet interpreted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(u64),
    List(Vec<String>),
}

#[derive(Debug, Default)]
pub(super) struct Layers {
    values: BTreeMap<&'static str, (Value, String)>,
}

impl Layers {
    pub(super) fn add_file(&mut self, path: &Path, text: &str, findings: &mut Vec<Finding>) {
        let origin = format!(" in {}", path.display());
        match text.parse::<toml::Table>() {
            Ok(table) => self.add_table("", &table, &origin, findings),
            Err(error) => findings.push(Finding::new(
                format!("configuration file {}", path.display()),
                one_line(&error.to_string()),
                "TOML",
                "correct the syntax; `adyton-broker --help` shows an example",
            )),
        }
    }

    fn add_table(
        &mut self,
        prefix: &str,
        table: &toml::Table,
        origin: &str,
        findings: &mut Vec<Finding>,
    ) {
        for (name, value) in table {
            let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            match (find(&key), value) {
                (Some(setting), value) => {
                    self.add(
                        setting,
                        from_toml(setting.kind, value),
                        &shown(value),
                        origin,
                        findings,
                    );
                }
                (None, toml::Value::Table(inner)) if prefix.is_empty() && is_table(&key) => {
                    self.add_table(&key, inner, origin, findings);
                }
                (None, _) => findings.push(unknown(&key, origin)),
            }
        }
    }

    pub(super) fn add_environment(
        &mut self,
        environment: impl IntoIterator<Item = (String, String)>,
        findings: &mut Vec<Finding>,
    ) {
        for (variable, text) in environment {
            let Some(name) = variable.strip_prefix(ENVIRONMENT_PREFIX) else {
                continue;
            };
            let key = name.to_lowercase().replace("__", ".");
            let origin = format!(" from {}", cut(&variable));
            match find(&key) {
                Some(setting) => {
                    self.add(setting, from_text(setting.kind, &text), &text, &origin, findings);
                }
                None => findings.push(unknown(&key, &origin)),
            }
        }
    }

    pub(super) fn add_flags(
        &mut self,
        flags: impl IntoIterator<Item = (&'static str, String)>,
        findings: &mut Vec<Finding>,
    ) {
        for (key, text) in flags {
            if let Some(setting) = find(key) {
                let value = from_text(setting.kind, &text);
                self.add(setting, value, &text, " from the command line", findings);
            }
        }
    }

    fn add(
        &mut self,
        setting: &'static Setting,
        value: Option<Value>,
        shown: &str,
        origin: &str,
        findings: &mut Vec<Finding>,
    ) {
        match value {
            Some(value) => {
                self.values.insert(setting.key, (value, origin.to_owned()));
            }
            None => findings.push(Finding::new(
                format!("configuration key `{}`{origin}", setting.key),
                one_line(shown),
                expected(setting.kind),
                format!("correct the value ({})", setting.meaning),
            )),
        }
    }

    /// The value of a known key: from the topmost layer, or its default.
    pub(super) fn value(&self, key: &str) -> Value {
        match (self.given(key), find(key)) {
            (Some(value), _) => value.clone(),
            (None, Some(setting)) => {
                from_text(setting.kind, setting.default).unwrap_or(Value::Text(String::new()))
            }
            (None, None) => Value::Text(String::new()),
        }
    }

    /// The value of a key that some layer sets.
    pub(super) fn given(&self, key: &str) -> Option<&Value> {
        self.values.get(key).map(|(value, _)| value)
    }

    /// Where a value came from, in words that follow the key.
    pub(super) fn origin(&self, key: &str) -> &str {
        self.values.get(key).map_or("", |(_, origin)| origin)
    }

    pub(super) fn effective(&self) -> BTreeMap<&'static str, String> {
        let text = |value| match value {
            Value::Text(text) => text,
            Value::Number(number) => number.to_string(),
            Value::List(list) => list.join(","),
        };
        SETTINGS.iter().map(|setting| (setting.key, text(self.value(setting.key)))).collect()
    }
}

fn is_table(key: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.key.split_once('.').is_some_and(|(t, _)| t == key))
}

fn from_toml(kind: Kind, value: &toml::Value) -> Option<Value> {
    match (kind, value) {
        (Kind::Text | Kind::Word(_), toml::Value::String(text)) => from_text(kind, text),
        (Kind::Number { .. }, toml::Value::Integer(number)) => from_text(kind, &number.to_string()),
        (Kind::List, toml::Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .map(Value::List),
        _ => None,
    }
}

fn from_text(kind: Kind, text: &str) -> Option<Value> {
    match kind {
        Kind::Text => Some(Value::Text(text.to_owned())),
        Kind::Word(words) => words.contains(&text).then(|| Value::Text(text.to_owned())),
        Kind::List => Some(Value::List(
            text.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect(),
        )),
        Kind::Number { min, max } => {
            text.parse().ok().filter(|n| (min..=max).contains(n)).map(Value::Number)
        }
    }
}

fn expected(kind: Kind) -> String {
    match kind {
        Kind::Text => "a text".to_owned(),
        Kind::Word(words) => format!("one of {}", words.join(", ")),
        Kind::List => "a list of texts".to_owned(),
        Kind::Number { min, max } => format!("a whole number from {min} to {max}"),
    }
}

fn unknown(key: &str, origin: &str) -> Finding {
    let remedy = match most_like(&cut(key)) {
        Some(known) => format!("did you mean `{known}`?"),
        None => "remove the key; `adyton-broker --help` lists all keys".to_owned(),
    };
    let step = format!("configuration key `{}`{origin}", cut(key));
    Finding::new(step, "(unknown key)", "a known key", remedy)
}

fn shown(value: &toml::Value) -> String {
    value.to_string()
}

fn one_line(text: &str) -> String {
    cut(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect()
}
