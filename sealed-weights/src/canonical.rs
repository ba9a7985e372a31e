//! The RFC 8785 form of JSON, as far as a manifest needs it: what its MAC covers.
//!
//! In: a JSON value of objects, arrays, strings, booleans and integers up to 2^53 - 1. Out: one
//! sequence of bytes. Floating-point numbers do not occur in a manifest and are refused.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use serde_json::Value;

/// A number that the format has no use for, or too large to be the same in every implementation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a number in the manifest is not an integer from 0 to 9007199254740991")]
pub struct NotAnInteger;

/// The canonical bytes of `value`.
///
/// # Errors
/// [`NotAnInteger`].
//= sealed-weights/SPEC.md#5.4
//# The MAC covers the RFC 8785 form of the manifest without its member `mac`.
pub(crate) fn canonical(value: &Value) -> Result<Vec<u8>, NotAnInteger> {
    let mut out = Vec::new();
    write(value, &mut out)?;
    Ok(out)
}

fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), NotAnInteger> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => match number.as_u64() {
            Some(integer) if integer <= crate::limits::MAX_JSON_INTEGER => {
                out.extend_from_slice(integer.to_string().as_bytes());
            }
            Some(_) | None => return Err(NotAnInteger),
        },
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, out)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            // RFC 8785 §3.2.3 sorts by UTF-16 code units.
            let mut names: Vec<_> = members
                .iter()
                .map(|(name, v)| (name.encode_utf16().collect::<Vec<_>>(), name, v))
                .collect();
            names.sort_by(|(a, ..), (b, ..)| a.cmp(b));
            out.push(b'{');
            for (index, (_, name, member)) in names.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(name, out);
                out.push(b':');
                write(member, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// RFC 8785 §3.2.2.2: short escapes where JSON has them, `\u00xx` in lower case for the other
/// control characters, everything else as it is.
fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\u{08}' => out.extend_from_slice(b"\\b"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\u{0C}' => out.extend_from_slice(b"\\f"),
            '\r' => out.extend_from_slice(b"\\r"),
            c if c < ' ' => out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes()),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_are_sorted_by_utf16_and_whitespace_is_gone() {
        // U+FB33 sorts after U+1F600 in UTF-16 (surrogates are lower), before it in UTF-8.
        let value: Value =
            serde_json::from_str(r#" { "\ufb33": 1, "😀": [ 2 , "x" ], "b": null, "a": true } "#)
                .unwrap();
        assert_eq!(
            String::from_utf8(canonical(&value).unwrap()).unwrap(),
            "{\"a\":true,\"b\":null,\"😀\":[2,\"x\"],\"\u{fb33}\":1}"
        );
    }

    #[test]
    fn strings_are_escaped_as_rfc_8785_says() {
        let value = json!("\u{20ac}$\u{0f}\u{0a}A'\u{42}\u{22}\u{5c}\\\"/\u{7f}");
        assert_eq!(
            String::from_utf8(canonical(&value).unwrap()).unwrap(),
            "\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\u{7f}\""
        );
    }

    #[test]
    fn numbers_beyond_exact_integers_are_refused() {
        for value in [json!(1.5), json!(-1), json!(9_007_199_254_740_992_u64)] {
            assert_eq!(canonical(&value), Err(NotAnInteger));
        }
        assert_eq!(canonical(&json!(9_007_199_254_740_991_u64)).unwrap(), b"9007199254740991");
    }
}
