//! Every key as an environment variable: `ADYTON_SIDECAR__SECTION__KEY`.
//!
//! `ADYTON_SIDECAR__BROKER__URL` is `broker.url`, `ADYTON_SIDECAR__LISTEN` is `listen`,
//! `ADYTON_SIDECAR__MODEL__STORE__REGION` is `model.store.region`. A name that is no key is refused by the same rule as an unknown key in the file.

use toml::{Table, Value};

use super::problem::{ConfigError, Problem};

/// What the names begin with.
pub const PREFIX: &str = "ADYTON_SIDECAR__";
/// Section, section inside it, key.
const DEEPEST: usize = 3;

/// Lays the variables over the file's table; they win.
pub(super) fn overlay(
    table: &mut Table,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<(), ConfigError> {
    let mut variables: Vec<_> =
        environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort();
    let mut problems = Vec::new();
    for (name, text) in variables {
        let path: Vec<String> =
            name.trim_start_matches(PREFIX).split("__").map(str::to_ascii_lowercase).collect();
        if place(table, &path, &text).is_none() {
            problems.push(Problem {
                key: name,
                value: text,
                expected: format!(
                    "{PREFIX}KEY, {PREFIX}SECTION__KEY or {PREFIX}SECTION__SECTION__KEY"
                ),
                remedy: "use two underscores between section and key, one inside a key".into(),
            });
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(ConfigError::all(problems)) }
}

/// Nothing when there can be no such key.
fn place(table: &mut Table, path: &[String], text: &str) -> Option<()> {
    let (key, sections) = path.split_last()?;
    if path.len() > DEEPEST || path.iter().any(String::is_empty) {
        return None;
    }
    let mut table = table;
    for section in sections {
        let below = table.entry(section.clone()).or_insert_with(|| Value::Table(Table::new()));
        table = below.as_table_mut()?;
    }
    table.insert(key.clone(), value(text));
    Some(())
}

/// Numbers, booleans, arrays and quoted strings as TOML; everything else is a plain string.
fn value(text: &str) -> Value {
    let as_toml = text.starts_with(['[', '"', '\''])
        || text == "true"
        || text == "false"
        || (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_'));
    if as_toml
        && let Ok(mut table) = format!("value = {text}").parse::<Table>()
        && let Some(value) = table.remove("value")
        && table.is_empty()
    {
        return value;
    }
    Value::String(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlaid(text: &str, variables: &[(&str, &str)]) -> Result<Table, ConfigError> {
        let mut table = text.parse().expect("toml");
        let variables = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        overlay(&mut table, variables).map(|()| table)
    }

    #[test]
    fn a_variable_wins_over_the_file() {
        let table = overlaid(
            "listen = 'a'\n[broker]\nurl = 'b'",
            &[("ADYTON_SIDECAR__BROKER__URL", "https://c"), ("ADYTON_SIDECAR__LISTEN", "d")],
        )
        .expect("placed");
        assert_eq!(table["broker"]["url"].as_str(), Some("https://c"));
        assert_eq!(table["listen"].as_str(), Some("d"));
    }

    #[test]
    fn numbers_booleans_and_arrays_keep_their_kind() {
        let table = overlaid(
            "",
            &[
                ("ADYTON_SIDECAR__LIMITS__MAX_CONNECTIONS", "12"),
                ("ADYTON_SIDECAR__INSECURE_ALLOW_SWAP", "true"),
                ("ADYTON_SIDECAR__TLS__SERVER_NAMES", "['a', 'b']"),
                ("ADYTON_SIDECAR__MODEL__NAME", "[broken"),
            ],
        )
        .expect("placed");
        assert_eq!(table["limits"]["max_connections"].as_integer(), Some(12));
        assert_eq!(table["insecure_allow_swap"].as_bool(), Some(true));
        assert_eq!(table["tls"]["server_names"].as_array().map(Vec::len), Some(2));
        assert_eq!(table["model"]["name"].as_str(), Some("[broken"));
    }

    #[test]
    fn a_name_that_cannot_be_a_key_is_a_mistake() {
        let error = overlaid("", &[("ADYTON_SIDECAR__A__B__C__D", "x")]).expect_err("four parts");
        assert_eq!(error.problems()[0].key, "ADYTON_SIDECAR__A__B__C__D");
    }
}
