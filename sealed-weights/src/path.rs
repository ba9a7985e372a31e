//! Names of files inside a sealed model.
//!
//! In: text from a source folder or from `model.json`. Out: a [`ModelPath`] that is safe to append
//! to any folder: relative, without `..`, spelled in one way. Whether two of them collide is for
//! the manifest to find out.
//!
//! Against: manifests that write outside the target, names that differ only in ways a file system
//! or a reader of logs cannot see, objects that hide other objects.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::key::excerpt;
use crate::limits::{MAX_COMPONENT_BYTES, MAX_PATH_BYTES, MAX_PATH_DEPTH};

/// What is appended to a file's path to name its object.
pub const OBJECT_SUFFIX: &str = ".sealed";
/// The name of the manifest in a sealed model.
pub const MANIFEST_NAME: &str = "model.json";

/// A relative path with `/` between its components. SPEC.md §5.2.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ModelPath(String);

/// Why a path was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path `{path}` {rule}")]
pub struct PathError {
    /// The path, cut to a readable length and without control characters.
    pub path: String,
    /// The rule it breaks.
    pub rule: PathRule,
}

impl PathError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        "rename the file in the source folder and seal again; \
         a sealed model that was not made with this name was tampered with"
    }
}

/// The rules for paths; SPEC.md §5.2 has the reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathRule {
    /// Of no bytes.
    Empty,
    /// Longer than the format allows, as a whole, in one component, or in depth.
    TooLong,
    /// Begins with a slash.
    Absolute,
    /// Has an empty component, `.` or `..`.
    Component,
    /// Has a control character, a backslash, or a NUL.
    Character,
    /// Has a combining, zero-width or direction-changing character.
    Invisible,
    /// Has a component that ends in `.sealed`, or is the manifest's own name.
    Reserved,
    /// Is not UTF-8.
    NotUtf8,
}

impl fmt::Display for PathRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "is empty",
            Self::TooLong => {
                "is too long; expected at most 1024 bytes, 32 components of at most 248 bytes each"
            }
            Self::Absolute => "is absolute; expected a path relative to the model",
            Self::Component => "has an empty, `.` or `..` component",
            Self::Character => "has a backslash or a control character",
            Self::Invisible => "has a combining, zero-width or direction-changing character",
            Self::Reserved => {
                "is reserved: `model.json` at the top, or a component that ends in `.sealed`"
            }
            Self::NotUtf8 => "is not UTF-8",
        })
    }
}

impl ModelPath {
    /// Parses a path with every rule but collisions.
    ///
    /// # Errors
    /// [`PathError`] with the first rule that is broken.
    //= sealed-weights/SPEC.md#5.2
    //# A writer MUST NOT make, and a reader MUST refuse, a path that breaks one of these rules.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let refused = |rule| Err(PathError { path: excerpt(text), rule });
        if text.is_empty() {
            return refused(PathRule::Empty);
        }
        if text.len() > MAX_PATH_BYTES
            || text.split('/').count() > MAX_PATH_DEPTH
            || text.split('/').any(|component| component.len() > MAX_COMPONENT_BYTES)
        {
            return refused(PathRule::TooLong);
        }
        if text.starts_with('/') {
            return refused(PathRule::Absolute);
        }
        if text.split('/').any(|component| matches!(component, "" | "." | "..")) {
            return refused(PathRule::Component);
        }
        if text.chars().any(|c| c.is_control() || c == '\\') {
            return refused(PathRule::Character);
        }
        if text.chars().any(is_invisible) {
            return refused(PathRule::Invisible);
        }
        let suffixed = |component: &str| component.to_ascii_lowercase().ends_with(OBJECT_SUFFIX);
        if text.eq_ignore_ascii_case(MANIFEST_NAME) || text.split('/').any(suffixed) {
            return refused(PathRule::Reserved);
        }
        Ok(Self(text.to_owned()))
    }

    /// The path as text, `/` between components.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the object that holds this file, relative to the sealed model.
    pub fn object_name(&self) -> String {
        format!("{}{OBJECT_SUFFIX}", self.0)
    }

    /// Two paths with the same key must not be in one model: a file system that folds case would
    /// write one over the other.
    pub(crate) fn collision_key(&self) -> String {
        self.0.to_lowercase()
    }

    /// The folders above the file, from the outermost.
    pub(crate) fn parents(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').filter_map(|(at, _)| self.0.get(..at))
    }

    /// The extension of the last component, in lower case; empty without one.
    pub(crate) fn extension(&self) -> String {
        let name = self.0.rsplit('/').next().unwrap_or_default();
        match name.rsplit_once('.') {
            Some((_, extension)) => extension.to_ascii_lowercase(),
            None => String::new(),
        }
    }
}

/// Without a table of normalisation forms: what makes two different texts look or fold alike.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{FEFF}'
        | '\u{0300}'..='\u{036F}' | '\u{1AB0}'..='\u{1AFF}' | '\u{1DC0}'..='\u{1DFF}'
        | '\u{20D0}'..='\u{20FF}' | '\u{FE00}'..='\u{FE0F}' | '\u{FE20}'..='\u{FE2F}'
        | '\u{1100}'..='\u{11FF}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{3099}' | '\u{309A}' | '\u{E0000}'..='\u{E0FFF}'
        | '\u{FFF0}'..='\u{FFFF}')
}

impl fmt::Display for ModelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ModelPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths_are_kept_as_they_are() {
        for path in [
            "config.json",
            "model-00001-of-00002.safetensors",
            "a/b/c.gguf",
            "模型.gguf",
            "tokenizer/vocab (1).json",
            ".gitattributes",
            "..a",
            "a..b/c",
        ] {
            assert_eq!(ModelPath::parse(path).unwrap().as_str(), path);
        }
    }

    #[test]
    fn each_rule_refuses_what_it_is_there_for() {
        let long = "a".repeat(249);
        let deep = ["a"; 33].join("/");
        let huge = vec!["a".repeat(200); 6].join("/");
        for (path, rule) in [
            ("", PathRule::Empty),
            (long.as_str(), PathRule::TooLong),
            (deep.as_str(), PathRule::TooLong),
            (huge.as_str(), PathRule::TooLong),
            ("/etc/passwd", PathRule::Absolute),
            ("..", PathRule::Component),
            ("a/../b", PathRule::Component),
            ("./a", PathRule::Component),
            ("a//b", PathRule::Component),
            ("a/", PathRule::Component),
            ("a\\..\\b", PathRule::Character),
            ("a\0b", PathRule::Character),
            ("a\nb", PathRule::Character),
            ("a\u{85}b", PathRule::Character),
            ("e\u{301}.json", PathRule::Invisible),
            ("a\u{202E}nosj", PathRule::Invisible),
            ("a\u{200B}", PathRule::Invisible),
            ("model.json", PathRule::Reserved),
            ("Model.JSON", PathRule::Reserved),
            ("a.sealed", PathRule::Reserved),
            ("a.Sealed/b", PathRule::Reserved),
        ] {
            assert_eq!(ModelPath::parse(path).map_err(|e| e.rule), Err(rule), "{path:?}");
        }
    }

    #[test]
    fn a_model_json_below_the_top_is_an_ordinary_file() {
        assert!(ModelPath::parse("sub/model.json").is_ok());
    }

    #[test]
    fn parents_go_from_the_outermost() {
        let path = ModelPath::parse("a/b/c").unwrap();
        assert_eq!(path.parents().collect::<Vec<_>>(), ["a", "a/b"]);
    }
}
