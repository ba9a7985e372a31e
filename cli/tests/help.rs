//! Every verb can be learnt from its own help.

mod stand;

use adyton_cli::arguments::Cli;
use clap::{Command, CommandFactory};
use stand::Stand;

/// The verbs below `command`, with their full names, the built-in `help` left out.
fn verbs(command: &Command, path: &[String], found: &mut Vec<(Vec<String>, Command)>) {
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let mut path = path.to_vec();
        path.push(verb.get_name().to_owned());
        verbs(verb, &path, found);
        found.push((path, verb.clone()));
    }
}

#[test]
fn every_verb_has_a_description_and_examples_that_name_it() {
    let mut found = Vec::new();
    verbs(&Cli::command(), &[], &mut found);
    assert_eq!(found.len(), 39, "added a verb? raise this number in the same commit");
    for (path, verb) in found {
        let name = path.join(" ");
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(!about.is_empty(), "{name} has no description");
        let after = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(after.starts_with("Examples:\n"), "{name} has no examples: {after}");
        assert!(after.contains(&format!("adyton {name}")), "{name}: examples of something else");
        for argument in verb.get_arguments().filter(|argument| argument.get_id() != "help") {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(!help.is_empty(), "{name}: {} has no help", argument.get_id());
        }
    }
}

#[test]
fn every_command_line_in_the_examples_parses() {
    let mut found = Vec::new();
    verbs(&Cli::command(), &[], &mut found);
    let mut lines = 0;
    let texts = found
        .iter()
        .map(|(_, verb)| verb)
        .chain(std::iter::once(&Cli::command()))
        .map(|verb| verb.get_after_help().map(ToString::to_string).unwrap_or_default())
        .collect::<Vec<_>>();
    for text in texts {
        // A continued line is one line, whatever its indentation.
        let joined = text.split("\\\n").map(str::trim_start).collect::<Vec<_>>().join(" ");
        let joined = joined.replace("5f…", &"5f".repeat(32));
        for line in joined.lines().map(str::trim).filter(|line| line.starts_with("adyton ")) {
            // What follows a pipe, a redirection or two blanks is not for us.
            let ours = line.split(['|', '>']).next().unwrap_or_default();
            let words: Vec<&str> = ours.split_whitespace().collect();
            let comment = ours.trim().find("      ").is_some();
            let words = match comment {
                true => ours
                    .trim()
                    .split("      ")
                    .next()
                    .unwrap_or_default()
                    .split_whitespace()
                    .collect(),
                false => words,
            };
            let parsed = Cli::command().try_get_matches_from(&words);
            assert!(parsed.is_ok(), "{line}\n{}", parsed.expect_err("not parsed"));
            lines += 1;
        }
    }
    assert!(lines >= 25, "only {lines} examples were found");
}

#[test]
fn no_flag_takes_a_secret_by_value() {
    let mut found = Vec::new();
    verbs(&Cli::command(), &[], &mut found);
    for (path, verb) in found {
        for argument in verb.get_arguments() {
            let name = argument.get_id().as_str();
            let secret =
                ["token", "key", "password", "secret"].iter().any(|word| name.contains(word));
            let takes = argument.get_action().takes_values();
            let value = argument.get_value_names().and_then(<[_]>::first);
            assert!(
                !secret || !takes || value.is_some_and(|value| value == "FILE"),
                "{}: {name} takes {value:?}",
                path.join(" ")
            );
        }
    }
}

#[test]
fn help_goes_to_stdout_without_colour_and_ends_with_0() {
    let ran = Stand::new().run(&["verify", "--help"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.contains("--save-certificate <FILE>"), "{}", ran.out);
    assert!(!ran.out.contains('\u{1b}'), "{:?}", ran.out);
}

#[test]
fn a_wrong_command_line_ends_with_2_on_stderr() {
    let ran = Stand::new().run(&["seal", "--colour", "never"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.starts_with("error: "), "{}", ran.err);
}

#[test]
fn a_wrong_command_line_is_json_when_json_was_asked_for() {
    let ran = Stand::new().run(&["frobnicate", "--output", "json"]);
    assert_eq!(ran.code, 2);
    let error = ran.error();
    assert_eq!(error["code"], "usage");
    assert_eq!(error["message"], "unrecognized subcommand 'frobnicate'");
    assert_eq!(error["exit_code"], 2);
}

#[test]
fn completions_are_a_script_on_stdout() {
    let ran = Stand::new().run(&["completions", "bash"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("complete -F _adyton"), "{}", ran.out);
}
