//! Where a sealed model lies, as people write it.
//!
//! In: one line of text. Out: a [`Source`], which names a place and holds no secret: a password or a
//! signature inside a URL is refused, because addresses stand in logs, configurations and reports.
//! Nothing is asked for here; [`Source::storage`](Source::storage) does that.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

use crate::oci::Reference;

/// Longest address, in bytes.
pub const MAX_ADDRESS_BYTES: usize = 2048;

/// Where a sealed model lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A folder of this machine: a path, or `file:///path`.
    Folder(PathBuf),
    /// A folder of an HTTP server: `https://host/path`. Its path ends in a slash.
    Web(Url),
    /// `s3://`, `gs://` or `az://`, then `bucket/prefix`.
    Bucket(Bucket),
    /// `oci://registry/name@sha256:…`
    Oci(Reference),
}

/// A prefix in a bucket. Its address says nothing about the endpoint: that is a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Whose dialect it speaks.
    pub provider: Provider,
    /// Name of the bucket; the container at Azure.
    pub name: String,
    /// Without a slash at its ends; may be empty.
    pub prefix: String,
}

/// Whose dialect a bucket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Amazon S3 and everything that is like it.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage.
    Azure,
}

/// Why a text names no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing, or more than [`MAX_ADDRESS_BYTES`].
    #[error("an address of {got} bytes; expected 1 to {MAX_ADDRESS_BYTES}")]
    Length {
        /// Bytes that came.
        got: usize,
    },
    /// Another kind of place.
    #[error("`{got}://` is not supported; expected https, http, s3, gs, az, oci, file, or a path")]
    Scheme {
        /// What stands before `://`.
        got: String,
    },
    /// Not a URL.
    #[error("it is not a URL: {0}")]
    Url(#[from] url::ParseError),
    /// A user, a password, a query or a fragment.
    #[error("it carries {got}, which would end up in logs")]
    Secret {
        /// Which part.
        got: &'static str,
    },
    /// No bucket, or one that no provider would create.
    #[error("`{got}` is not a bucket's name")]
    Bucket {
        /// What came.
        got: String,
    },
    /// An empty component, `.`, `..`, a control character or a backslash.
    #[error("`{got}` cannot stand in a path")]
    Component {
        /// The component.
        got: String,
    },
    /// Not a reference of an OCI artifact.
    #[error("it is not an OCI reference: {why}")]
    Reference {
        /// What is wrong with it.
        why: &'static str,
    },
}

impl AddressError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Length { .. } | Self::Scheme { .. } | Self::Url(_) => {
                "write a folder's path, https://host/folder, s3://bucket/prefix, gs://bucket/prefix, \
                 az://container/prefix, or oci://registry/name@sha256:digest"
            }
            Self::Secret { .. } => {
                "leave it out of the address; credentials come from `credentials_file` or `credentials_kid`"
            }
            Self::Bucket { .. } => {
                "use 3 to 63 of a-z, 0-9, dot, dash and underscore, beginning and ending with a letter or digit"
            }
            Self::Component { .. } => "write the path without empty, `.` or `..` components",
            Self::Reference { .. } => "write oci://registry/name@sha256:digest",
        }
    }
}

impl Source {
    /// Reads an address. What has no `://` is a path.
    ///
    /// # Errors
    /// [`AddressError`]
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() || text.len() > MAX_ADDRESS_BYTES {
            return Err(AddressError::Length { got: text.len() });
        }
        // What could be no scheme is a part of a path.
        let is_scheme = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte))
        };
        let Some((scheme, rest)) = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme))
        else {
            return Ok(Self::Folder(PathBuf::from(text)));
        };
        let bucket = |provider| Bucket::parse(provider, rest).map(Self::Bucket);
        match scheme {
            "file" if rest.starts_with('/') => Ok(Self::Folder(PathBuf::from(rest))),
            "http" | "https" => web(text).map(Self::Web),
            "s3" => bucket(Provider::S3),
            "gs" => bucket(Provider::Google),
            "az" => bucket(Provider::Azure),
            "oci" => Reference::parse(rest).map(Self::Oci),
            other => Err(AddressError::Scheme { got: other.chars().take(32).collect() }),
        }
    }

    /// The folder, for what lies on this machine.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(path) => Some(path),
            Self::Web(_) | Self::Bucket(_) | Self::Oci(_) => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::Web(url) => f.write_str(url.as_str().strip_suffix('/').unwrap_or(url.as_str())),
            Self::Bucket(bucket) => bucket.fmt(f),
            Self::Oci(reference) => write!(f, "oci://{reference}"),
        }
    }
}

impl std::str::FromStr for Source {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

impl Bucket {
    fn parse(provider: Provider, rest: &str) -> Result<Self, AddressError> {
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let letter = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = name.as_bytes();
        let sound = (3..=63).contains(&bytes.len())
            && bytes.iter().all(|byte| letter(byte) || b".-_".contains(byte))
            && bytes.first().is_some_and(letter)
            && bytes.last().is_some_and(letter)
            && !name.contains("..");
        if !sound {
            return Err(AddressError::Bucket { got: name.chars().take(64).collect() });
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        if !prefix.is_empty() {
            prefix.split('/').try_for_each(component)?;
        }
        Ok(Self { provider, name: name.to_owned(), prefix: prefix.to_owned() })
    }

    /// The key of one of the model's objects.
    pub(crate) fn key(&self, name: &str) -> String {
        match self.prefix.as_str() {
            "" => name.to_owned(),
            prefix => format!("{prefix}/{name}"),
        }
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.provider.scheme();
        match self.prefix.as_str() {
            "" => write!(f, "{scheme}://{}", self.name),
            prefix => write!(f, "{scheme}://{}/{prefix}", self.name),
        }
    }
}

impl Provider {
    /// What stands before `://`.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Google => "gs",
            Self::Azure => "az",
        }
    }
}

fn web(text: &str) -> Result<Url, AddressError> {
    let mut url = Url::parse(text)?;
    let secret = [
        ("a user or password", !url.username().is_empty() || url.password().is_some()),
        ("a query", url.query().is_some()),
        ("a fragment", url.fragment().is_some()),
    ];
    if let Some((got, _)) = secret.into_iter().find(|(_, there)| *there) {
        return Err(AddressError::Secret { got });
    }
    let path = url.path().trim_start_matches('/');
    let path = path.strip_suffix('/').unwrap_or(path).to_owned();
    if path.is_empty() {
        url.set_path("/");
    } else {
        path.split('/').try_for_each(component)?;
        url.set_path(&format!("/{path}/"));
    }
    // Escaping makes it longer.
    match url.as_str().len() {
        got if got > MAX_ADDRESS_BYTES => Err(AddressError::Length { got }),
        _ => Ok(url),
    }
}

fn component(text: &str) -> Result<(), AddressError> {
    let bad = matches!(text, "" | "." | "..")
        || text.chars().any(|char| char.is_control() || char == '\\');
    if bad {
        return Err(AddressError::Component { got: text.chars().take(64).collect() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_place_is_read_and_written_back() {
        for text in [
            "sealed/llama",
            "/srv/sealed",
            "/srv/s3://sealed",
            "https://models.example",
            "https://models.example/llama/3",
            "http://127.0.0.1:8000/x",
            "s3://models/llama/3",
            "s3://models",
            "gs://models/llama",
            "az://models/llama",
        ] {
            assert_eq!(Source::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Source::parse("file:///srv/x").unwrap().folder(), Some(Path::new("/srv/x")));
        assert_eq!(Source::parse("s3://models/a/").unwrap().to_string(), "s3://models/a");
    }

    #[test]
    fn an_address_with_a_secret_in_it_is_refused() {
        for (text, got) in [
            ("https://user@host/x", "a user or password"),
            ("https://user:secret@host/x", "a user or password"),
            ("https://host/x?X-Amz-Signature=1", "a query"),
            ("https://host/x#y", "a fragment"),
        ] {
            assert_eq!(Source::parse(text), Err(AddressError::Secret { got }), "{text}");
        }
    }

    #[test]
    fn another_scheme_is_named() {
        for text in ["ftp://host/x", "S3://bucket/x", "://x", "file://host/x"] {
            assert!(matches!(Source::parse(text), Err(AddressError::Scheme { .. })), "{text}");
        }
    }

    #[test]
    fn buckets_have_names_that_providers_allow() {
        for text in ["s3://", "s3:///x", "s3://ab/x", "s3://Upper/x", "s3://-ab/x", "s3://a..b/x"] {
            assert!(matches!(Source::parse(text), Err(AddressError::Bucket { .. })), "{text}");
        }
    }

    #[test]
    fn prefixes_have_no_empty_or_climbing_components() {
        for text in [
            "s3://models//x",
            "s3://models/a/../b",
            "gs://models/./a",
            "az://models/a\\b",
            "https://host/a//b",
        ] {
            assert!(matches!(Source::parse(text), Err(AddressError::Component { .. })), "{text}");
        }
    }

    #[test]
    fn an_address_without_end_is_refused() {
        let text = format!("s3://models/{}", "a".repeat(MAX_ADDRESS_BYTES));
        assert!(matches!(Source::parse(&text), Err(AddressError::Length { .. })));
        assert_eq!(Source::parse(""), Err(AddressError::Length { got: 0 }));
    }
}
