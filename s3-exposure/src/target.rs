//! Request targets: origin-form and absolute-form, decoded once, and the form that signatures are made over.
//!
//! In: the target of a request line. Out: a [`Target`]: authority where there was one, decoded path, decoded
//! query. Nothing is normalised: `..` and `%252e` stay what they are, and are then the key of no object.
//! Against: targets that mean one thing to who signed them and another to who answers.

use crate::error::Refusal;
use crate::limits::{MAX_QUERY_PARAMETERS, MAX_TARGET_BYTES};

/// A decoded request target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub(crate) authority: Option<String>,
    path: String,
    query: Vec<(String, String)>,
}

impl Target {
    /// Reads `/path?query` (RFC 9112 §3.2.1) or `http://authority/path?query` (§3.2.2), as AWS's common
    /// runtime sends it.
    ///
    /// # Errors
    /// [`Refusal::TargetTooLong`], then [`Refusal::Uri`], then [`Refusal::Query`].
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() > MAX_TARGET_BYTES {
            return Err(Refusal::TargetTooLong { got: text.len() });
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains('#') {
            return Err(Refusal::Uri { what: "a byte that no target has" });
        }
        let (authority, rest) = match text.get(..7) {
            Some(scheme) if scheme.eq_ignore_ascii_case("http://") => {
                let rest = text.get(7..).unwrap_or_default();
                let end = rest.find(['/', '?']).unwrap_or(rest.len());
                let (authority, rest) = rest.split_at(end);
                if authority.is_empty() || authority.contains('@') {
                    return Err(Refusal::Uri { what: "expected host and port after http://" });
                }
                (Some(authority.to_ascii_lowercase()), rest)
            }
            _ if text.starts_with('/') => (None, text),
            _ => return Err(Refusal::Uri { what: "expected a path, or http:// and a host" }),
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = decode(path)?;
        let path = if path.is_empty() { "/".to_owned() } else { path };
        Ok(Self { authority, path, query: parse_query(query)? })
    }

    /// The decoded path; it begins with a slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The decoded value of a query parameter; empty when it has none.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(at, _)| at == name).map(|(_, value)| value.as_str())
    }

    /// Names of the query parameters.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.query.iter().map(|(name, _)| name.as_str())
    }

    /// The path as signatures have it: every byte escaped but unreserved ones and slashes.
    pub(crate) fn canonical_path(&self) -> String {
        encode(&self.path, Slash::Kept)
    }

    /// The query as signatures have it: escaped, in the order of the escaped names, without `leave_out`.
    pub(crate) fn canonical_query(&self, leave_out: Option<&str>) -> String {
        let mut pairs: Vec<_> = self
            .query
            .iter()
            .filter(|(name, _)| Some(name.as_str()) != leave_out)
            .map(|(name, value)| (encode(name, Slash::Escaped), encode(value, Slash::Escaped)))
            .collect();
        pairs.sort();
        let pairs: Vec<_> =
            pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("&")
    }
}

fn parse_query(text: &str) -> Result<Vec<(String, String)>, Refusal> {
    let mut found: Vec<(String, String)> = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        if found.len() == MAX_QUERY_PARAMETERS {
            return Err(Refusal::Query { what: "too many parameters" });
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // S3 reads a plus sign as a space; who means a plus sign escapes it.
        let name = decode(&name.replace('+', "%20"))?;
        let value = decode(&value.replace('+', "%20"))?;
        if found.iter().any(|(at, _)| *at == name) {
            return Err(Refusal::Query { what: "a parameter stands twice" });
        }
        found.push((name, value));
    }
    Ok(found)
}

fn decode(text: &str) -> Result<String, Refusal> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.split_at_checked(2);
        let Some((digits, tail)) = digits else {
            return Err(Refusal::Uri { what: "a percent sign without two hexadecimal digits" });
        };
        let mut byte = [0];
        hex::decode_to_slice(digits, &mut byte)
            .map_err(|_| Refusal::Uri { what: "a percent sign without two hexadecimal digits" })?;
        bytes.extend(byte);
        rest = tail;
    }
    if bytes.contains(&0) {
        return Err(Refusal::Uri { what: "an escaped NUL" });
    }
    String::from_utf8(bytes).map_err(|_| Refusal::Uri { what: "escapes that are not UTF-8" })
}

/// What becomes of slashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slash {
    /// They part a path.
    Kept,
    /// They are bytes like others.
    Escaped,
}

/// Escapes every byte but `A-Z a-z 0-9 - . _ ~`.
pub(crate) fn encode(text: &str, slash: Slash) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            b'/' if slash == Slash::Kept => out.push('/'),
            other => {
                out.push('%');
                out.push_str(&hex::encode_upper([other]));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absolute_target_is_the_path_and_the_authority_it_names() {
        let absolute = Target::parse("http://127.0.0.1:9000/b/k%20e?x=1").unwrap();
        assert_eq!(absolute.authority.as_deref(), Some("127.0.0.1:9000"));
        assert_eq!((absolute.path(), absolute.parameter("x")), ("/b/k e", Some("1")));
        let bare = Target::parse("HTTP://Localhost:9000?list-type=2").unwrap();
        assert_eq!(bare.authority.as_deref(), Some("localhost:9000"));
        assert_eq!((bare.path(), bare.parameter("list-type")), ("/", Some("2")));
    }

    #[test]
    fn other_schemes_user_information_and_other_forms_are_refused() {
        for target in
            ["https://h/", "ftp://h/", "*", "h:80", "", "http://", "http:///b", "http://u@h/b"]
        {
            assert!(matches!(Target::parse(target), Err(Refusal::Uri { .. })), "{target}");
        }
    }

    #[test]
    fn escapes_are_decoded_once() {
        assert_eq!(Target::parse("/b/%252e%252e/x").unwrap().path(), "/b/%2e%2e/x");
        assert_eq!(Target::parse("/b/%2e%2e/x").unwrap().path(), "/b/../x");
        assert_eq!(Target::parse("/b/a+b").unwrap().path(), "/b/a+b");
    }

    #[test]
    fn broken_escapes_nul_and_what_is_not_utf_8_are_refused() {
        for target in ["/%", "/%2", "/%zz", "/%+1", "/a%00b", "/%ff", "/%c3%28"] {
            assert!(matches!(Target::parse(target), Err(Refusal::Uri { .. })), "{target}");
        }
    }

    #[test]
    fn a_parameter_that_stands_twice_is_refused_even_if_escaped_otherwise() {
        for target in ["/?a=1&a=2", "/?a=1&%61=2", "/?a&a"] {
            assert!(matches!(Target::parse(target), Err(Refusal::Query { .. })), "{target}");
        }
    }

    #[test]
    fn the_canonical_query_is_sorted_and_escaped() {
        let target = Target::parse("/?prefix=a/b+c&delimiter=/&acl&X-Amz-Signature=1").unwrap();
        assert_eq!(
            target.canonical_query(Some("X-Amz-Signature")),
            "acl=&delimiter=%2F&prefix=a%2Fb%20c"
        );
    }

    #[test]
    fn a_target_over_the_bound_is_refused() {
        let long = format!("/{}", "a".repeat(MAX_TARGET_BYTES));
        assert_eq!(Target::parse(&long), Err(Refusal::TargetTooLong { got: MAX_TARGET_BYTES + 1 }));
    }
}
