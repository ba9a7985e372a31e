//! Files that run code in whoever loads them: recognised by name, and by content under any name.
//!
//! In: a path and the plaintext. Out: the risk, and how it was recognised. It unpacks and
//! interprets nothing.
//!
//! Against: a pickle called `weights.dat`, a zip with a pickle behind a harmless prefix, a shared
//! library called `tokenizer.model`.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::io;

use super::{ReadAt, RiskyFormat};
use crate::path::ModelPath;

/// Longest comment of a zip archive; its directory ends within this and 22 bytes of the end.
const ZIP_TAIL: u64 = 22 + 65_535;

/// The risk of loading this file, and the evidence for it.
pub(crate) fn risk_of<R: ReadAt + ?Sized>(
    path: &ModelPath,
    contents: &R,
) -> io::Result<Option<(RiskyFormat, &'static str)>> {
    Ok(match by_name(&path.extension()) {
        Some(risk) => Some((risk, "by its name")),
        None => by_content(path, contents)?.map(|risk| (risk, "by its contents")),
    })
}

fn by_name(extension: &str) -> Option<RiskyFormat> {
    Some(match extension {
        "bin" | "pt" | "pth" | "pkl" | "pickle" | "ckpt" | "joblib" | "dill" | "pt2" | "ptc"
        | "t7" => RiskyFormat::Pickle,
        "zip" | "npz" | "keras" | "nemo" | "mar" | "whl" | "egg" | "jar" => RiskyFormat::Zip,
        "py" | "pyc" | "pyo" | "pyw" | "pyx" | "pth.py" => RiskyFormat::Python,
        "so" | "dll" | "dylib" | "exe" | "pyd" | "node" => RiskyFormat::NativeCode,
        _ => return None,
    })
}

fn by_content<R: ReadAt + ?Sized>(
    path: &ModelPath,
    contents: &R,
) -> io::Result<Option<RiskyFormat>> {
    let mut head = [0; 256];
    let known = usize::try_from(contents.len()).unwrap_or(usize::MAX).min(head.len());
    let (head, _) = head.split_at_mut(known);
    contents.read_exact_at(0, head)?;
    if is_zip(head, contents)? {
        return Ok(Some(RiskyFormat::Zip));
    }
    if is_native_code(head) {
        return Ok(Some(RiskyFormat::NativeCode));
    }
    // A safetensors header of 640 to 1408 bytes begins with 0x80 0x02..0x05 as well. Its parser
    // accepts nothing that a pickle machine would get past its third byte, which is zero there.
    if path.extension() != "safetensors" && is_pickle(head, contents)? {
        return Ok(Some(RiskyFormat::Pickle));
    }
    Ok(None)
}

/// Protocol 2 and later: PROTO and a version. Protocols 0 and 1 have no such mark; those that do
/// harm begin by naming something to call (GLOBAL, INST), or with a container or a string.
fn is_pickle<R: ReadAt + ?Sized>(head: &[u8], contents: &R) -> io::Result<bool> {
    let unmarked = |after: &[u8]| match after {
        [b'c' | b'i', rest @ ..] => names_a_global(rest),
        _ => false,
    };
    let suspected = match head {
        [0x80, 2..=5, ..] => return Ok(true),
        [b'(', b'd' | b'l', b'p', b'0'..=b'9', ..] | [b'(', b'S', b'\'' | b'"', ..] => true,
        [b'(', rest @ ..] => unmarked(rest),
        _ => unmarked(head),
    };
    Ok(suspected && ends_with_stop(contents)?)
}

/// A module and a name, each on a line of its own: prose has spaces there.
fn names_a_global(rest: &[u8]) -> bool {
    let mut lines = rest.split(|byte| *byte == b'\n');
    let is_name = |line: Option<&[u8]>| {
        line.is_some_and(|line| {
            let dotted = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.');
            !line.is_empty() && line.iter().all(dotted)
        })
    };
    is_name(lines.next()) && is_name(lines.next()) && lines.next().is_some()
}

fn ends_with_stop<R: ReadAt + ?Sized>(contents: &R) -> io::Result<bool> {
    let mut last = [0];
    match contents.len().checked_sub(1) {
        Some(at) => contents.read_exact_at(at, &mut last)?,
        None => return Ok(false),
    }
    Ok(last == *b".")
}

fn is_zip<R: ReadAt + ?Sized>(head: &[u8], contents: &R) -> io::Result<bool> {
    if matches!(head, [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] | [b'P', b'K', 7, 8, ..]) {
        return Ok(true);
    }
    // Readers find a zip by its end, whatever stands before it.
    let tail_len = contents.len().min(ZIP_TAIL);
    let mut tail = vec![0; usize::try_from(tail_len).unwrap_or(0)];
    contents.read_exact_at(contents.len().saturating_sub(tail_len), &mut tail)?;
    // An end record: 22 bytes, the last two the length of a comment that reaches the end exactly.
    Ok(tail.windows(22).enumerate().any(|(at, record)| {
        record.starts_with(b"PK\x05\x06")
            && record.last_chunk::<2>().is_some_and(|comment| {
                at + 22 + usize::from(u16::from_le_bytes(*comment)) == tail.len()
            })
    }))
}

fn is_native_code(head: &[u8]) -> bool {
    matches!(head, [0x7F, b'E', b'L', b'F', ..])
        || matches!(head, [0xCF | 0xCE, 0xFA, 0xED, 0xFE, ..] | [0xCA, 0xFE, 0xBA, 0xBE, ..])
        || matches!(head, [b'M', b'Z', 0x90, 0, 3, 0, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn risk(name: &str, contents: &[u8]) -> Option<RiskyFormat> {
        risk_of(&ModelPath::parse(name).unwrap(), contents).unwrap().map(|(risk, _)| risk)
    }

    #[test]
    fn formats_that_run_code_are_recognised_by_name() {
        for (name, expected) in [
            ("pytorch_model.bin", RiskyFormat::Pickle),
            ("a/b.PT", RiskyFormat::Pickle),
            ("x.pkl", RiskyFormat::Pickle),
            ("x.ckpt", RiskyFormat::Pickle),
            ("x.npz", RiskyFormat::Zip),
            ("modeling.py", RiskyFormat::Python),
            ("kernel.so", RiskyFormat::NativeCode),
        ] {
            assert_eq!(risk(name, b"harmless"), Some(expected), "{name}");
        }
    }

    #[test]
    fn formats_that_run_code_are_recognised_by_content_under_any_name() {
        for (contents, expected) in [
            (&b"\x80\x04\x95\x10\0\0\0"[..], RiskyFormat::Pickle),
            (b"\x80\x02}q\x00.", RiskyFormat::Pickle),
            (b"cos\nsystem\n(S'id'\ntR.", RiskyFormat::Pickle),
            (b"(S'id'\nios\nsystem\n.", RiskyFormat::Pickle),
            (b"PK\x03\x04rest", RiskyFormat::Zip),
            (b"prefix PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\0hi", RiskyFormat::Zip),
            (b"\x7fELF\x02", RiskyFormat::NativeCode),
        ] {
            assert_eq!(risk("weights.dat", contents), Some(expected), "{contents:?}");
        }
    }

    #[test]
    fn ordinary_files_are_not_suspected() {
        for contents in [
            &b""[..],
            b"{",
            b"{\"a\": 1}",
            b"config",
            b"import this.",
            b"PK",
            b"\x80",
            b"# Model card\n\nHello.",
            b"(c) 2026 Somebody.\n\nAll rights.",
            b"(See below.)\n.",
            b"contents\nof this folder.",
        ] {
            assert_eq!(risk("README.md", contents), None, "{contents:?}");
        }
    }

    #[test]
    fn a_safetensors_header_that_looks_like_a_pickle_is_left_to_its_parser() {
        assert_eq!(risk("m.safetensors", b"\x80\x02\0\0\0\0\0\0{"), None);
    }
}
