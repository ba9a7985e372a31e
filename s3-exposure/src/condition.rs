//! Conditions on an object: `If-Match`, `If-None-Match`, their dated relatives, and `If-Range` (RFC 9110 §13).
//!
//! In: a request, an object's ETag and its time. Out: whether it is sent, whether it is sent in part, or a
//! refusal. The order is that of RFC 9110 §13.2.2.

use std::time::{Duration, UNIX_EPOCH};

use crate::error::Refusal;
use crate::request::Request;
use crate::signature::UnixSeconds;

/// What the conditions come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Answer as if there were none.
    Send,
    /// As `Send`, but a Range field does not count: the object is another one.
    SendWhole,
    /// 304: the client has it.
    NotModified,
}

/// # Errors
/// [`Refusal::Precondition`]
pub(crate) fn evaluate(
    request: &Request,
    etag: &str,
    modified: UnixSeconds,
) -> Result<Condition, Refusal> {
    let failed = |header| Err(Refusal::Precondition { header });
    let since = |name| request.header(name).and_then(date).map(|since| modified <= since);
    match (request.header("if-match"), since("if-unmodified-since")) {
        (Some(tags), _) if !lists(tags, etag, Comparison::Strong) => return failed("If-Match"),
        (None, Some(false)) => return failed("If-Unmodified-Since"),
        _ => {}
    }
    match (request.header("if-none-match"), since("if-modified-since")) {
        (Some(tags), _) if lists(tags, etag, Comparison::Weak) => {
            return Ok(Condition::NotModified);
        }
        (None, Some(true)) => return Ok(Condition::NotModified),
        _ => {}
    }
    match request.header("if-range") {
        Some(value) if !same(value, etag, modified) => Ok(Condition::SendWhole),
        _ => Ok(Condition::Send),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether a list of entity tags has ours. S3 takes tags without quotation marks, too.
fn lists(tags: &str, etag: &str, comparison: Comparison) -> bool {
    let bare = etag.trim_matches('"');
    tags.trim() == "*"
        || tags.split(',').map(str::trim).any(|tag| match tag.strip_prefix("W/") {
            Some(weak) => comparison == Comparison::Weak && weak == etag,
            None => tag == etag || tag == bare,
        })
}

fn same(value: &str, etag: &str, modified: UnixSeconds) -> bool {
    value == etag || date(value).is_some_and(|since| since == modified)
}

/// A date that cannot be read is no condition (RFC 9110 §13.1.3).
fn date(value: &str) -> Option<UnixSeconds> {
    let at = httpdate::parse_http_date(value).ok()?;
    Some(UnixSeconds(at.duration_since(UNIX_EPOCH).ok()?.as_secs()))
}

/// A time as HTTP writes it.
pub(crate) fn http_date(at: UnixSeconds) -> String {
    // httpdate goes up to the year 9999.
    const LAST: u64 = 253_402_300_799;
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(at.0.min(LAST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: &str = "\"abc-1\"";
    const BEFORE: &str = "Sat, 31 Jan 2026 11:59:59 GMT";
    const THEN: &str = "Sat, 31 Jan 2026 12:00:00 GMT";

    fn outcome(fields: &str) -> Result<Condition, Refusal> {
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n");
        let modified = UnixSeconds::parse_basic("20260131T120000Z").unwrap();
        evaluate(&Request::parse(head.as_bytes()).unwrap(), TAG, modified)
    }

    #[test]
    fn a_condition_that_holds_sends() {
        for fields in [
            "X: y".to_owned(),
            format!("If-Match: {TAG}"),
            format!("If-Match: \"x\", {TAG}"),
            "If-Match: abc-1".to_owned(),
            "If-Match: *".to_owned(),
            "If-None-Match: \"x\"".to_owned(),
            format!("If-Unmodified-Since: {THEN}"),
            format!("If-Modified-Since: {BEFORE}"),
            format!("If-Range: {TAG}"),
            format!("If-Range: {THEN}"),
            format!("If-Match: {TAG}\r\nIf-Unmodified-Since: {BEFORE}"),
            format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {THEN}"),
            "If-Modified-Since: yesterday".to_owned(),
        ] {
            assert_eq!(outcome(&fields), Ok(Condition::Send), "{fields}");
        }
    }

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        for fields in [
            format!("If-None-Match: {TAG}"),
            format!("If-None-Match: W/{TAG}"),
            "If-None-Match: *".to_owned(),
            format!("If-Modified-Since: {THEN}"),
        ] {
            assert_eq!(outcome(&fields), Ok(Condition::NotModified), "{fields}");
        }
    }

    #[test]
    fn a_condition_that_does_not_hold_is_refused() {
        for (fields, header) in [
            ("If-Match: \"x\"".to_owned(), "If-Match"),
            (format!("If-Match: W/{TAG}"), "If-Match"),
            (format!("If-Unmodified-Since: {BEFORE}"), "If-Unmodified-Since"),
        ] {
            assert_eq!(outcome(&fields), Err(Refusal::Precondition { header }), "{fields}");
        }
    }

    #[test]
    fn a_range_of_another_object_is_answered_with_all_of_this_one() {
        for fields in ["If-Range: \"x\"".to_owned(), format!("If-Range: {BEFORE}")] {
            assert_eq!(outcome(&fields), Ok(Condition::SendWhole), "{fields}");
        }
    }
}
