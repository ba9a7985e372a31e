//! Where a secret lies in a KBS: `<repository>/<type>/<tag>`.
//!
//! Role: both sides of RCAR. In: the path of a request, a `kbs:///` URI, or the authenticated
//! header of a reply. Out: a [`ResourcePath`] of exactly three segments that can't climb out of a
//! store. Against: path traversal, and one resource's reply shown for another's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::limits::MAX_PATH_SEGMENT;

/// Path of one secret: repository, type and tag, each `[a-zA-Z0-9_-][a-zA-Z0-9_.-]*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourcePath {
    repository: String,
    kind: String,
    tag: String,
}

/// Why a text is not a [`ResourcePath`].
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ResourcePathError {
    /// The URI is not of the form `kbs:///<repository>/<type>/<tag>`.
    #[error("`{got}` is not a key URI; expected kbs:///<repository>/<type>/<tag>")]
    Uri {
        /// What was found, shortened.
        got: String,
    },
    /// There are not exactly three segments.
    #[error("a resource path has three segments, <repository>/<type>/<tag>; got {got}")]
    Segments {
        /// How many segments were found.
        got: usize,
    },
    /// A segment is empty, too long, starts with a dot, or has a character that is not allowed.
    #[error(
        "the {segment} of a resource path must be 1 to {MAX_PATH_SEGMENT} characters of \
         a-z A-Z 0-9 _ - . and must not start with a dot"
    )]
    Segment {
        /// Which of the three.
        segment: &'static str,
    },
}

impl ResourcePath {
    /// Parses `<repository>/<type>/<tag>`.
    ///
    /// # Errors
    /// [`ResourcePathError::Segments`], then [`ResourcePathError::Segment`].
    pub fn parse(path: &str) -> Result<Self, ResourcePathError> {
        let mut segments = path.split('/');
        match (segments.next(), segments.next(), segments.next(), segments.next()) {
            (Some(repository), Some(kind), Some(tag), None) => Ok(Self {
                repository: segment("repository", repository)?,
                kind: segment("type", kind)?,
                tag: segment("tag", tag)?,
            }),
            _ => Err(ResourcePathError::Segments { got: path.split('/').count() }),
        }
    }

    /// Parses `kbs:///<repository>/<type>/<tag>`; a host or a query is refused.
    ///
    /// # Errors
    /// [`ResourcePathError::Uri`], then as [`parse`](Self::parse).
    pub fn from_uri(uri: &str) -> Result<Self, ResourcePathError> {
        let path = uri
            .strip_prefix("kbs:///")
            .ok_or_else(|| ResourcePathError::Uri { got: uri.chars().take(80).collect() })?;
        Self::parse(path)
    }

    /// The URI form, `kbs:///<repository>/<type>/<tag>`.
    #[must_use]
    pub fn to_uri(&self) -> String {
        format!("kbs:///{self}")
    }

    /// First segment.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Second segment (`type` is a word of the language).
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Third segment.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

fn segment(name: &'static str, text: &str) -> Result<String, ResourcePathError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let fits = (1..=MAX_PATH_SEGMENT).contains(&text.len());
    if fits && !text.starts_with('.') && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err(ResourcePathError::Segment { segment: name })
    }
}

impl fmt::Display for ResourcePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.repository, self.kind, self.tag)
    }
}

impl FromStr for ResourcePath {
    type Err = ResourcePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for ResourcePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ResourcePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_its_uri_give_the_same_resource() {
        let path = ResourcePath::parse("acme/model-key/kjv_1.0").unwrap();
        assert_eq!(ResourcePath::from_uri("kbs:///acme/model-key/kjv_1.0"), Ok(path.clone()));
        assert_eq!(path.to_string(), "acme/model-key/kjv_1.0");
        assert_eq!((path.repository(), path.kind(), path.tag()), ("acme", "model-key", "kjv_1.0"));
    }

    #[test]
    fn other_numbers_of_segments_are_refused() {
        for (path, got) in [("", 1), ("a/b", 2), ("a/b/c/d", 4), ("a/b/c/", 4)] {
            assert_eq!(ResourcePath::parse(path), Err(ResourcePathError::Segments { got }));
        }
    }

    #[test]
    fn segments_that_could_leave_the_store_are_refused() {
        let long = format!("a/b/{}", "c".repeat(MAX_PATH_SEGMENT + 1));
        for (path, segment) in [
            ("../b/c", "repository"),
            (".a/b/c", "repository"),
            ("a/.b/c", "type"),
            ("a/b/..", "tag"),
            ("a//c", "type"),
            ("a/b/c%2f", "tag"),
            ("a/b/c?epoch=1", "tag"),
            ("a/b/\u{e9}", "tag"),
            ("a/b/c\0", "tag"),
            (&long, "tag"),
        ] {
            assert_eq!(ResourcePath::parse(path), Err(ResourcePathError::Segment { segment }));
        }
    }

    #[test]
    fn a_uri_with_a_host_or_another_scheme_is_refused() {
        for uri in ["kbs://host/a/b/c", "https:///a/b/c", "a/b/c", "KBS:///a/b/c"] {
            let got = uri.to_owned();
            assert_eq!(ResourcePath::from_uri(uri), Err(ResourcePathError::Uri { got }));
        }
    }
}
