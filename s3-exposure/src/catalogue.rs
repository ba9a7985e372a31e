//! What the endpoint shows: one bucket, and in it the files of one model.
//!
//! In: the paths and sizes of an authentic manifest. Out: a [`Catalogue`]: keys, sizes, ETags. A key is looked
//! up in it and nowhere else: what is not in the manifest cannot be named, whatever the key looks like.

use std::collections::BTreeMap;
use std::ops::Bound;

use ring::digest;

use crate::error::Refusal;
use crate::limits::MAX_BUCKET_BYTES;
use crate::signature::UnixSeconds;

/// One file of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its place in the list that the catalogue was made from.
    pub index: usize,
    /// Bytes.
    pub size: u64,
    /// With its quotation marks.
    pub etag: String,
}

/// One bucket with the files of one model.
#[derive(Debug)]
pub struct Catalogue {
    bucket: String,
    objects: BTreeMap<String, Object>,
    modified: UnixSeconds,
}

/// Why a bucket cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// A name that S3's clients refuse.
    #[error(
        "the bucket name {got:?}; expected 3 to {MAX_BUCKET_BYTES} of a-z, 0-9 and -, a letter or a digit at both ends"
    )]
    Bucket {
        /// The name.
        got: String,
    },
    /// A prefix that would make keys no client can ask for.
    #[error("the prefix {got:?}; expected up to 256 of A-Z, a-z, 0-9, and - _ . / between them")]
    Prefix {
        /// The prefix.
        got: String,
    },
}

impl Catalogue {
    /// The files `(path, size)` under `prefix/path`, or under `path` when the prefix is empty.
    ///
    /// `identity` is the digest of the manifest: ETags change with it. They have the form of a multipart
    /// upload's, so that no client takes them for an MD5 digest of the contents.
    ///
    /// # Errors
    /// [`CatalogueError`]
    pub fn new<'a>(
        bucket: &str,
        prefix: &str,
        files: impl IntoIterator<Item = (&'a str, u64)>,
        identity: &[u8; 32],
        modified: UnixSeconds,
    ) -> Result<Self, CatalogueError> {
        verify_bucket(bucket)?;
        verify_prefix(prefix)?;
        let objects = files.into_iter().enumerate().map(|(index, (path, size))| {
            let key = if prefix.is_empty() { path.to_owned() } else { format!("{prefix}/{path}") };
            (key, Object { index, size, etag: etag(identity, path) })
        });
        Ok(Self { bucket: bucket.to_owned(), objects: objects.collect(), modified })
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// When the model was opened here; no object has another time.
    pub fn modified(&self) -> UnixSeconds {
        self.modified
    }

    /// # Errors
    /// [`Refusal::NoSuchKey`]
    pub fn object(&self, key: &str) -> Result<&Object, Refusal> {
        self.objects.get(key).ok_or(Refusal::NoSuchKey)
    }

    /// The objects whose keys begin with `prefix`, in the order of their keys.
    pub(crate) fn under<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Object)> {
        self.objects
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(key, object)| (key.as_str(), object))
    }
}

fn verify_bucket(name: &str) -> Result<(), CatalogueError> {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = [name.bytes().next(), name.bytes().last()];
    // No dots: in a virtual host they would be labels.
    let valid = (3..=MAX_BUCKET_BYTES).contains(&name.len())
        && ends.iter().all(|end| end.is_some_and(letter))
        && name.bytes().all(|byte| letter(byte) || byte == b'-');
    if valid { Ok(()) } else { Err(CatalogueError::Bucket { got: name.to_owned() }) }
}

fn verify_prefix(prefix: &str) -> Result<(), CatalogueError> {
    let part = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let valid = prefix.is_empty() || (prefix.len() <= 256 && prefix.split('/').all(part));
    if valid { Ok(()) } else { Err(CatalogueError::Prefix { got: prefix.to_owned() }) }
}

fn etag(identity: &[u8; 32], path: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"adyton.s3.etag.v1\0");
    context.update(identity);
    context.update(path.as_bytes());
    let digest = context.finish();
    format!("\"{}-1\"", hex::encode(digest.as_ref().get(..16).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_clients_refuse_are_refused() {
        let new = |bucket: &str, prefix: &str| {
            Catalogue::new(bucket, prefix, [], &[0; 32], UnixSeconds(0))
        };
        for bucket in ["", "ab", "-ab", "ab-", "A-b", "a.b.c", "a/b", &"a".repeat(64)] {
            let expected = CatalogueError::Bucket { got: bucket.into() };
            assert_eq!(new(bucket, "").unwrap_err(), expected);
        }
        for prefix in ["/", "a/", "/a", "a//b", "..", "a/../b", "a b", &"a".repeat(257)] {
            let expected = CatalogueError::Prefix { got: prefix.into() };
            assert_eq!(new("adyton", prefix).unwrap_err(), expected);
        }
        new("adyton", "acme/kjv-1.0").unwrap();
    }

    #[test]
    fn an_etag_changes_with_the_manifest_and_the_path() {
        let tags: std::collections::BTreeSet<_> =
            [([0; 32], "a"), ([1; 32], "a"), ([0; 32], "b")].map(|(i, p)| etag(&i, p)).into();
        assert_eq!(tags.len(), 3);
    }
}
