//! ListObjectsV2: one page of keys and common prefixes.
//!
//! In: a [`Catalogue`] and the parameters. Out: S3's `ListBucketResult`. A continuation token says where the
//! last page ended, and nothing else; who makes one up gets a page that they could have asked for anyway.

use crate::catalogue::{Catalogue, Object};
use crate::error::Refusal;
use crate::operation::{KeyEncoding, Listing};
use crate::signature::UnixSeconds;
use crate::target::{Slash, encode};
use crate::xml::Document;

/// The last entry of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Key(String),
    CommonPrefix(String),
}

impl End {
    fn to_token(&self) -> String {
        match self {
            Self::Key(key) => hex::encode(format!("k{key}")),
            Self::CommonPrefix(prefix) => hex::encode(format!("p{prefix}")),
        }
    }

    fn from_token(token: &str) -> Result<Self, Refusal> {
        let expected = "the NextContinuationToken of the last page";
        let wrong = || Refusal::Argument { name: "continuation-token", expected };
        let bytes = hex::decode(token).map_err(|_| wrong())?;
        let text = String::from_utf8(bytes).map_err(|_| wrong())?;
        match (text.get(..1), text.get(1..)) {
            (Some("k"), Some(key)) => Ok(Self::Key(key.to_owned())),
            (Some("p"), Some(prefix)) => Ok(Self::CommonPrefix(prefix.to_owned())),
            _ => Err(wrong()),
        }
    }

    /// Whether the entry of `key` was on an earlier page.
    fn covers(&self, key: &str) -> bool {
        match self {
            Self::Key(last) => key <= last.as_str(),
            Self::CommonPrefix(last) => key <= last.as_str() || key.starts_with(last.as_str()),
        }
    }
}

struct Page<'a> {
    objects: Vec<(&'a str, &'a Object)>,
    prefixes: Vec<&'a str>,
    next: Option<End>,
}

/// # Errors
/// [`Refusal::Argument`] for a token that is none.
pub(crate) fn answer(catalogue: &Catalogue, listing: &Listing) -> Result<String, Refusal> {
    let from = match &listing.continuation_token {
        Some(token) => End::from_token(token)?,
        None => End::Key(listing.start_after.clone()),
    };
    let page = page(catalogue, listing, &from);
    let write = |text: &str| match listing.encoding {
        KeyEncoding::Plain => text.to_owned(),
        KeyEncoding::Url => encode(text, Slash::Kept),
    };
    Ok(Document::new().root("ListBucketResult", |result| {
        result.text("Name", catalogue.bucket());
        result.text("Prefix", &write(&listing.prefix));
        if !listing.delimiter.is_empty() {
            result.text("Delimiter", &write(&listing.delimiter));
        }
        if !listing.start_after.is_empty() {
            result.text("StartAfter", &write(&listing.start_after));
        }
        if listing.encoding == KeyEncoding::Url {
            result.text("EncodingType", "url");
        }
        result.text("MaxKeys", &listing.max_keys.to_string());
        result.text("KeyCount", &(page.objects.len() + page.prefixes.len()).to_string());
        result.text("IsTruncated", if page.next.is_some() { "true" } else { "false" });
        if let Some(token) = &listing.continuation_token {
            result.text("ContinuationToken", token);
        }
        if let Some(next) = &page.next {
            result.text("NextContinuationToken", &next.to_token());
        }
        for (key, object) in &page.objects {
            result.element("Contents", |contents| {
                contents.text("Key", &write(key));
                contents.text("LastModified", &iso(catalogue.modified()));
                contents.text("ETag", &object.etag);
                contents.text("Size", &object.size.to_string());
                contents.text("StorageClass", "STANDARD");
            });
        }
        for prefix in &page.prefixes {
            result.element("CommonPrefixes", |common| common.text("Prefix", &write(prefix)));
        }
    }))
}

fn page<'a>(catalogue: &'a Catalogue, listing: &'a Listing, from: &End) -> Page<'a> {
    let mut page = Page { objects: Vec::new(), prefixes: Vec::new(), next: None };
    if listing.max_keys == 0 {
        return page;
    }
    let mut last = from.clone();
    for (key, object) in catalogue.under(&listing.prefix) {
        if last.covers(key) {
            continue;
        }
        if page.objects.len() + page.prefixes.len() == listing.max_keys {
            page.next = Some(last);
            return page;
        }
        last = match common_prefix(key, listing) {
            Some(prefix) => {
                page.prefixes.push(prefix);
                End::CommonPrefix(prefix.to_owned())
            }
            None => {
                page.objects.push((key, object));
                End::Key(key.to_owned())
            }
        };
    }
    page
}

/// The key up to and with the first delimiter after the prefix.
fn common_prefix<'a>(key: &'a str, listing: &Listing) -> Option<&'a str> {
    if listing.delimiter.is_empty() {
        return None;
    }
    let at = key.get(listing.prefix.len()..)?.find(&listing.delimiter)?;
    key.get(..listing.prefix.len() + at + listing.delimiter.len())
}

/// `2026-01-31T23:59:59.000Z`
pub(crate) fn iso(at: UnixSeconds) -> String {
    let basic = at.to_basic();
    let part = |range| basic.get(range).unwrap_or_default();
    let (year, month, day) = (part(0..4), part(4..6), part(6..8));
    format!("{year}-{month}-{day}T{}:{}:{}.000Z", part(9..11), part(11..13), part(13..15))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATHS: [&str; 7] = ["a", "b/1", "b/2", "b/c/3", "b0", "ü&<", "z/1"];

    fn catalogue() -> Catalogue {
        let files = PATHS.map(|path| (path, 1));
        Catalogue::new("adyton", "", files, &[0; 32], UnixSeconds(0)).unwrap()
    }

    fn listing(edit: impl FnOnce(&mut Listing)) -> Listing {
        let mut listing = Listing {
            prefix: String::new(),
            delimiter: String::new(),
            encoding: KeyEncoding::Plain,
            max_keys: 1000,
            continuation_token: None,
            start_after: String::new(),
        };
        edit(&mut listing);
        listing
    }

    /// Every page, by following the tokens.
    fn entries(mut listing: Listing) -> (Vec<String>, usize) {
        let catalogue = catalogue();
        let (mut found, mut pages) = (Vec::new(), 0);
        loop {
            let from = match &listing.continuation_token {
                Some(token) => End::from_token(token).unwrap(),
                None => End::Key(listing.start_after.clone()),
            };
            let page = page(&catalogue, &listing, &from);
            pages += 1;
            let mut here: Vec<String> = page.objects.iter().map(|(k, _)| (*k).to_owned()).collect();
            here.extend(page.prefixes.iter().map(|prefix| (*prefix).to_owned()));
            here.sort();
            found.extend(here);
            match page.next {
                Some(next) => listing.continuation_token = Some(next.to_token()),
                None => return (found, pages),
            }
        }
    }

    #[test]
    fn everything_is_listed_whatever_the_size_of_the_pages() {
        for max_keys in 1..=8 {
            let (found, pages) = entries(listing(|l| l.max_keys = max_keys));
            assert_eq!(found, ["a", "b/1", "b/2", "b/c/3", "b0", "z/1", "ü&<"], "{max_keys}");
            assert_eq!(pages, 7_usize.div_ceil(max_keys));
        }
    }

    #[test]
    fn a_delimiter_rolls_keys_up_once_over_all_pages() {
        for max_keys in 1..=8 {
            let rolled = |prefix: &str| {
                entries(listing(|l| {
                    l.delimiter = "/".into();
                    l.prefix = prefix.into();
                    l.max_keys = max_keys;
                }))
            };
            assert_eq!(rolled("").0, ["a", "b/", "b0", "z/", "ü&<"], "{max_keys}");
            assert_eq!(rolled("b/").0, ["b/1", "b/2", "b/c/"], "{max_keys}");
            assert_eq!(rolled("b").0, ["b/", "b0"], "{max_keys}");
            assert!(rolled("none").0.is_empty());
        }
    }

    #[test]
    fn start_after_leaves_out_what_comes_before() {
        assert_eq!(entries(listing(|l| l.start_after = "b/2".into())).0[0], "b/c/3");
        assert_eq!(entries(listing(|l| l.start_after = "b/20".into())).0[0], "b/c/3");
    }

    #[test]
    fn no_keys_wanted_no_keys_given() {
        assert_eq!(entries(listing(|l| l.max_keys = 0)), (vec![], 1));
    }

    #[test]
    fn keys_are_escaped_as_the_encoding_says() {
        let url = answer(&catalogue(), &listing(|l| l.encoding = KeyEncoding::Url)).unwrap();
        assert!(url.contains("<Key>%C3%BC%26%3C</Key>") && url.contains("<Key>b/1</Key>"));
        assert!(url.contains("<EncodingType>url</EncodingType>"));
        let plain = answer(&catalogue(), &listing(|_| {})).unwrap();
        assert!(plain.contains("<Key>ü&amp;&lt;</Key>"));
        assert!(plain.contains("<LastModified>1970-01-01T00:00:00.000Z</LastModified>"));
    }

    #[test]
    fn a_token_that_was_made_up_is_refused() {
        for token in ["", "zz", "6", "78", "ff", "kabc"] {
            let refused =
                answer(&catalogue(), &listing(|l| l.continuation_token = Some(token.into())));
            let expected = "the NextContinuationToken of the last page";
            assert_eq!(refused, Err(Refusal::Argument { name: "continuation-token", expected }));
        }
    }
}
