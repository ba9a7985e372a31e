//! `registry/name:tag@sha256:…`
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::fmt;
use std::str::FromStr;

use ring::digest::{Context, SHA256, digest};

use crate::address::AddressError;

/// Longest name of a repository, with its registry (OCI distribution-spec, "Pulling manifests").
const MAX_NAME_BYTES: usize = 255;
const MAX_TAG_BYTES: usize = 128;

/// A SHA-256 digest, as registries write it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// An artifact in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_ring(digest(&SHA256, bytes).as_ref())
    }

    /// The digest of what `context`, one of SHA-256, was given.
    pub(crate) fn finished(context: Context) -> Self {
        Self::from_ring(context.finish().as_ref())
    }

    fn from_ring(digest: &[u8]) -> Self {
        let mut out = [0; 32];
        for (to, from) in out.iter_mut().zip(digest) {
            *to = *from;
        }
        Self(out)
    }

    /// Reads `sha256:` and 64 digits of lower-case hexadecimal.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:")?.as_bytes();
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        let (pairs, rest) = digits.as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return None;
        }
        let mut out = [0; 32];
        for (to, [high, low]) in out.iter_mut().zip(pairs) {
            *to = value(*high)? << 4 | value(*low)?;
        }
        Some(Self(out))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Reference {
    /// Reads what stands behind `oci://`.
    ///
    /// # Errors
    /// [`AddressError::Reference`]
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let wrong = |why| AddressError::Reference { why };
        let (text, digest) = match text.split_once('@') {
            None => (text, None),
            Some((text, digest)) => {
                let digest = Digest::parse(digest);
                (text, Some(digest.ok_or(wrong("behind @ stands no sha256 digest"))?))
            }
        };
        let (registry, name) = text.split_once('/').ok_or(wrong("it has no repository"))?;
        let (repository, tag) = match name.split_once(':') {
            None => (name, None),
            Some((repository, tag)) => (repository, Some(tag)),
        };
        if !is_registry(registry) {
            return Err(wrong("the registry is not HOST or HOST:PORT"));
        }
        if repository.len() + registry.len() > MAX_NAME_BYTES
            || !repository.split('/').all(is_component)
        {
            return Err(wrong(
                "a repository is made of a-z, 0-9, and single separators . _ - / between",
            ));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong(
                "a tag is made of 1 to 128 letters, digits, and . _ - behind the first",
            ));
        }
        Ok(Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// `host` or `host:port`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The name behind it.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if one was written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the artifact's manifest, if one was written.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The same repository, by digest alone.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), tag: None, ..self.clone() }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

impl FromStr for Reference {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') => (host, Some(port)),
        _ => (text, None),
    };
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
    let letter = |byte: &u8| byte.is_ascii_alphanumeric();
    let port = port.is_none_or(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|n| n > 0)
    });
    let bytes = host.as_bytes();
    port && bytes.iter().all(|byte| sound(*byte))
        && bytes.first().is_some_and(letter)
        && bytes.last().is_some_and(letter)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, a little stricter: one separator between two letters, or `__`.
fn is_component(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.replace("__", "_")
        .split(['.', '_', '-'])
        .all(|part| !part.is_empty() && part.bytes().all(letter))
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= MAX_TAG_BYTES
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_are_read_and_written_back() {
        for text in [
            format!("ghcr.io/acme/models/llama@{DIGEST}"),
            format!("127.0.0.1:5000/llama:v3@{DIGEST}"),
            "localhost:5000/a-b/c__d.e:latest".to_owned(),
        ] {
            assert_eq!(Reference::parse(&text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_digest_is_that_of_its_bytes() {
        assert_eq!(Digest::of(b"").to_string(), DIGEST);
        assert_eq!(Digest::parse(DIGEST), Some(Digest::of(b"")));
    }

    #[test]
    fn what_is_no_reference_is_refused_with_its_reason() {
        let short = &DIGEST[..DIGEST.len() - 1];
        for (text, why) in [
            ("ghcr.io".to_owned(), "repository"),
            ("ghcr.io/".to_owned(), "a repository"),
            ("ghcr.io/Acme".to_owned(), "a repository"),
            ("ghcr.io/a//b".to_owned(), "a repository"),
            ("ghcr.io/../b".to_owned(), "a repository"),
            ("gh_cr.io/a".to_owned(), "the registry"),
            ("user:pass@ghcr.io/a".to_owned(), "behind @"),
            ("ghcr.io:0/a".to_owned(), "the registry"),
            ("ghcr.io:99999/a".to_owned(), "the registry"),
            ("ghcr.io/a:".to_owned(), "a tag"),
            ("ghcr.io/a:-x".to_owned(), "a tag"),
            (format!("ghcr.io/a@{short}"), "behind @"),
            (format!("ghcr.io/a@{}", DIGEST.to_uppercase()), "behind @"),
            ("ghcr.io/a@sha512:00".to_owned(), "behind @"),
        ] {
            match Reference::parse(&text) {
                Err(AddressError::Reference { why: got }) => {
                    assert!(got.contains(why), "{text}: {got}")
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}
