//! What the interpreter leaves to its user: that a policy is not nested too deeply and does not call
//! itself. It would recurse until its stack is used up, and take the process with it.
//!
//! In: a policy's text, then its syntax tree. Out: nothing, or a refusal. Recursion is no loss: Rego
//! forbids it. What can't be told from the tree (an index into the policy's own package that is
//! computed) counts as a call of every rule.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::refusal::RegoRefusal;

/// Brackets in brackets. The parser bounds all other nesting.
const MAX_NESTING: usize = 48;
/// Rules that ask rules. Trustee's default policy has chains of four.
const MAX_CALL_DEPTH: usize = 32;
/// Rules of one name beside the policy's own: an entry that stands for all.
const PACKAGE: &str = "policy";

/// Counts open brackets outside of strings and comments.
pub(crate) fn refuse_nesting(text: &str) -> Result<(), RegoRefusal> {
    let mut depth = 0_usize;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '#' => drop(letters.by_ref().find(|c| *c == '\n')),
            '`' => drop(letters.by_ref().find(|c| *c == '`')),
            '"' => {
                // To the quote that no backslash stands before; Rego strings end with the line.
                while let Some(inner) = letters.next() {
                    match inner {
                        '\\' => drop(letters.next()),
                        '"' | '\n' => break,
                        _ => {}
                    }
                }
            }
            '(' | '[' | '{' => {
                depth = depth.saturating_add(1);
                if depth > MAX_NESTING {
                    return Err(RegoRefusal::Nesting { limit: MAX_NESTING });
                }
            }
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Refuses rules that ask themselves, and chains that are too long. `tree` is the syntax tree as JSON.
pub(crate) fn refuse_recursion(tree: &Value) -> Result<(), RegoRefusal> {
    let rules = tree.pointer("/0/ast/rules").and_then(Value::as_array).map(Vec::as_slice);
    let rules = rules.unwrap_or_default();
    // Another name for the package would hide who asks whom.
    let mut imported = BTreeSet::new();
    collect_imports(tree, &mut imported);
    if let Some(name) = imported.first() {
        return Err(RegoRefusal::Recursion { rule: shortened(name) });
    }
    let mut asks: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for rule in rules {
        let Some(name) = head(rule) else {
            return Err(RegoRefusal::Recursion { rule: "a rule without a name".to_owned() });
        };
        let mut names = BTreeSet::new();
        collect(rule, &mut names);
        asks.entry(name).or_default().extend(names);
    }
    // In a rule's own tree its own name stands in its head; there it is no question.
    for rule in rules {
        let Some(name) = head(rule) else { continue };
        let mut outside = BTreeSet::new();
        collect_outside_head(rule, &mut outside);
        if outside.contains(name) || outside.contains(PACKAGE) {
            return Err(RegoRefusal::Recursion { rule: shortened(name) });
        }
    }
    let mut depths = BTreeMap::new();
    for name in asks.keys() {
        depth(name, &asks, &mut depths, 0)?;
    }
    Ok(())
}

/// Refuses `sprintf` with a format that is computed, or that asks for a width: `%999999999d` is as many bytes.
pub(crate) fn refuse_formats(tree: &Value) -> Result<(), RegoRefusal> {
    let (mut named, mut harmless) = (0_usize, 0_usize);
    count_formats(tree, &mut named, &mut harmless);
    // What is no call with a literal format could be one by another name (`with f as sprintf`).
    match named == harmless {
        true => Ok(()),
        false => {
            Err(RegoRefusal::Forbidden { builtin: "sprintf with a width or a computed format" })
        }
    }
}

fn count_formats(tree: &Value, named: &mut usize, harmless: &mut usize) {
    match tree {
        Value::Object(members) => {
            for (kind, inner) in members {
                let is = |value: Option<&Value>| value.and_then(Value::as_str) == Some("sprintf");
                match kind.as_str() {
                    "Var" if is(inner.get("value")) => *named = named.saturating_add(1),
                    "Call" if is(inner.pointer("/fcn/Var/value")) => {
                        let format =
                            inner.pointer("/params/0/String/value").and_then(Value::as_str);
                        if format.is_some_and(|format| !has_width(format)) {
                            *harmless = harmless.saturating_add(1);
                        }
                    }
                    _ => {}
                }
                count_formats(inner, named, harmless);
            }
        }
        Value::Array(elements) => {
            elements.iter().for_each(|element| count_formats(element, named, harmless));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether a verb has more than its letter: flags, width or precision.
fn has_width(format: &str) -> bool {
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter == '%'
            && !letters.next().is_some_and(|verb| verb == '%' || verb.is_ascii_alphabetic())
        {
            return true;
        }
    }
    false
}

fn collect_imports<'a>(tree: &'a Value, names: &mut BTreeSet<&'a str>) {
    let imports = tree.pointer("/0/ast/imports").and_then(Value::as_array);
    let references = imports.into_iter().flatten().filter_map(|import| import.get("refr"));
    // `rego.v1`, `future.keywords` and `input.x` are no rules.
    references
        .filter(|reference| root(reference) == Some("data"))
        .for_each(|reference| collect(reference, names));
}

/// Length of the longest chain of rules from `name` on.
fn depth<'a>(
    name: &'a str,
    asks: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    known: &mut BTreeMap<&'a str, usize>,
    above: usize,
) -> Result<usize, RegoRefusal> {
    // A cycle is an endless chain, so this bound ends it.
    let too_long = || RegoRefusal::Recursion { rule: shortened(name) };
    if above > MAX_CALL_DEPTH {
        return Err(too_long());
    }
    if let Some(depth) = known.get(name) {
        return Ok(*depth);
    }
    let mut longest = 0;
    for next in asks.get(name).into_iter().flatten() {
        if *next != name && asks.contains_key(next) {
            longest = longest.max(depth(next, asks, known, above.saturating_add(1))?);
        }
    }
    let own = longest.saturating_add(1);
    if own > MAX_CALL_DEPTH {
        return Err(too_long());
    }
    known.insert(name, own);
    Ok(own)
}

/// The name that a rule defines: the first of its path.
fn head(rule: &Value) -> Option<&str> {
    let kind = rule.as_object()?.values().next()?;
    let refr = match kind.get("head") {
        Some(head) => head.as_object()?.values().next()?.get("refr")?,
        None => kind.get("refr")?,
    };
    root(refr)
}

/// The variable that a reference begins with.
fn root(expression: &Value) -> Option<&str> {
    let (kind, inner) = expression.as_object()?.iter().next()?;
    match kind.as_str() {
        "Var" => inner.get("value")?.as_str(),
        "RefDot" | "RefBrack" => root(inner.get("refr")?),
        _ => None,
    }
}

fn collect_outside_head<'a>(rule: &'a Value, names: &mut BTreeSet<&'a str>) {
    let parts = rule.as_object().and_then(|rule| rule.values().next()?.as_object());
    for (name, part) in parts.into_iter().flatten() {
        match (name.as_str(), part.as_object().and_then(|head| head.values().next())) {
            ("refr", _) => {}
            ("head", Some(head)) => {
                let members = head.as_object().into_iter().flatten();
                members.filter(|(name, _)| *name != "refr").for_each(|(_, v)| collect(v, names));
            }
            _ => collect(part, names),
        }
    }
}

/// Every name that an expression asks for: variables, and what is reached through `data.policy`.
fn collect<'a>(tree: &'a Value, names: &mut BTreeSet<&'a str>) {
    match tree {
        Value::Object(members) => {
            for (kind, inner) in members {
                match kind.as_str() {
                    // All that there is, the policy's own rules among it.
                    "Var" if root(tree) == Some("data") => drop(names.insert(PACKAGE)),
                    "Var" => names.extend(inner.get("value").and_then(Value::as_str)),
                    "RefDot" | "RefBrack" if root(tree) == Some("data") => {
                        through_data(tree, names);
                    }
                    _ => collect(inner, names),
                }
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| collect(element, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A reference that begins with `data`: the rule that it reaches, if it reaches the policy's package.
fn through_data<'a>(reference: &'a Value, names: &mut BTreeSet<&'a str>) {
    let mut path = Vec::new();
    let mut current = reference;
    while let Some((kind, inner)) = current.as_object().and_then(|node| node.iter().next()) {
        match kind.as_str() {
            "RefDot" => path.push(inner.pointer("/field/1").and_then(Value::as_str)),
            "RefBrack" => {
                let index = inner.get("index");
                if let Some(index) = index {
                    collect(index, names);
                }
                path.push(index.and_then(|index| index.pointer("/String/value")?.as_str()));
            }
            _ => break,
        }
        let Some(next) = inner.get("refr") else { break };
        current = next;
    }
    path.reverse();
    match path.as_slice() {
        // Static, and elsewhere: reference values, the request.
        [Some(first), ..] if *first != PACKAGE => {}
        [Some(_), Some(rule), ..] => drop(names.insert(rule)),
        // The package as a whole, or a name that is computed.
        _ => drop(names.insert(PACKAGE)),
    }
}

fn shortened(name: &str) -> String {
    name.chars().take(80).collect()
}
