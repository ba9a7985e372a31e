//! SPEC.md, the code and the tests say the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn files(folder: &str) -> Vec<(PathBuf, String)> {
    let mut pending = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut found = Vec::new();
    while let Some(at) = pending.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                found.push((path, text));
            }
        }
    }
    found
}

fn specification() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("SPEC.md")).unwrap()
}

/// The text from the heading with this number to the next heading.
fn section(number: &str) -> String {
    let text = specification();
    let start = text
        .find(&format!("# {number} "))
        .or_else(|| text.find(&format!("# {number}. ")))
        .unwrap_or_else(|| panic!("no section {number}"));
    let rest = &text[start + 2..];
    rest[..rest.find("\n#").unwrap_or(rest.len())].to_owned()
}

#[test]
fn quotes_in_the_code_stand_in_the_section_they_name() {
    let mut quotes = 0;
    for (path, text) in files("src") {
        let mut cited = None;
        for line in text.lines().map(str::trim) {
            if let Some(number) = line.strip_prefix("//= sealed-weights/SPEC.md#") {
                cited = Some(section(number));
            } else if let Some(quote) = line.strip_prefix("//# ") {
                let section = cited.as_ref().expect("a quote follows its citation");
                assert!(section.contains(quote), "{}: not in its section: {quote}", path.display());
                quotes += 1;
            }
        }
    }
    assert_eq!(quotes, 17, "added a quote? change this number in the same commit");
}

#[test]
fn every_rule_has_code_and_a_test_that_exist() {
    let text = specification();
    let (rules, table) = text.split_once("## 10.").unwrap();
    let numbered: BTreeSet<u32> = rules
        .split("**M")
        .skip(1)
        .filter_map(|rest| rest.split_once("**")?.0.parse().ok())
        .collect();
    assert_eq!(numbered, (1..=26).collect());
    let sources = files("src");
    let tests = files("tests");
    let mut listed = BTreeSet::new();
    for line in table.lines().filter(|line| line.starts_with("| M")) {
        let cells: Vec<_> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        listed.insert(cells[1][1..].parse().unwrap());
        assert!(sources.iter().any(|(path, _)| path.ends_with(cells[2])), "{line}");
        let as_test = format!("fn {}(", cells[3]);
        let as_case = format!("cases/{}.json", cells[3]);
        let exists = sources.iter().chain(&tests).any(|(path, text)| {
            path.to_str().is_some_and(|path| path.ends_with(&as_case)) || text.contains(&as_test)
        });
        assert!(exists, "{line}");
    }
    assert_eq!(listed, numbered);
}
