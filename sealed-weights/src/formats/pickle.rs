//! Files that run code in whoever loads them: recognised by name, and by content under any name.
//!
//! In: a path and the plaintext. Out: the risk, and how it was recognised. It unpacks and
//! interprets nothing.
//!
//! Against: a pickle called `weights.dat`, one inside a NumPy array or a compressed stream, a zip with a pickle
//! behind a harmless prefix, Keras layers with byte code in HDF5, a shared library called `tokenizer.model`.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::io;

use super::{ReadAt, RiskyFormat};
use crate::path::ModelPath;

/// What is read of the beginning of every file: up to the mark of a tar archive.
const HEAD: usize = 512;

/// Longest header of a NumPy array that is searched for objects.
const NUMPY_HEADER: u64 = 64 * 1024;

/// Where an HDF5 file may begin: at the start, or behind a user block of a power of two.
const HDF5_AT: [u64; 9] = [0, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536];

/// Longest comment of a zip archive; its directory ends within this and 22 bytes of the end.
const ZIP_TAIL: u64 = 22 + 65_535;

/// The risk of loading this file, and the evidence for it.
pub(crate) fn risk_of<R: ReadAt + ?Sized>(
    path: &ModelPath,
    contents: &R,
) -> io::Result<Option<(RiskyFormat, &'static str)>> {
    Ok(match by_name(&path.extension()) {
        Some(risk) => Some((risk, "by its name")),
        None => by_content(path, contents)?,
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
) -> io::Result<Option<(RiskyFormat, &'static str)>> {
    let mut head = [0; HEAD];
    let known = usize::try_from(contents.len()).unwrap_or(usize::MAX).min(head.len());
    let (head, _) = head.split_at_mut(known);
    contents.read_exact_at(0, head)?;
    if is_zip(head, contents)? {
        return Ok(Some((RiskyFormat::Zip, "a zip archive by its contents")));
    }
    if is_tar(head) {
        return Ok(Some((RiskyFormat::Zip, "a tar archive by its contents")));
    }
    if is_native_code(head) {
        return Ok(Some((RiskyFormat::NativeCode, "by its contents")));
    }
    // A safetensors header of 640 to 1408 bytes begins with 0x80 0x02..0x05 as well, and others like a
    // compressed stream. Its parser accepts nothing that a pickle machine would get past its third byte, which
    // is zero there.
    if path.extension() == "safetensors" {
        return Ok(None);
    }
    if is_pickle(head, contents)? {
        return Ok(Some((RiskyFormat::Pickle, "by its contents")));
    }
    if is_numpy_of_objects(head, contents)? {
        return Ok(Some((RiskyFormat::Pickle, "a NumPy array of pickled objects")));
    }
    if is_compressed(head) {
        return Ok(Some((RiskyFormat::Zip, "a compressed stream, as joblib writes pickles")));
    }
    if is_hdf5(contents)? {
        return Ok(Some((RiskyFormat::Python, "HDF5, which may hold byte code of Keras layers")));
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

/// The mark of POSIX and GNU tar, which PyTorch's oldest files are.
fn is_tar(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar")
}

/// A `.npy` whose element type has objects in it: NumPy writes those as a pickle behind the header.
fn is_numpy_of_objects<R: ReadAt + ?Sized>(head: &[u8], contents: &R) -> io::Result<bool> {
    let (len, at) = match head {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, a, b, ..] => {
            (u64::from(u16::from_le_bytes([*a, *b])), 10)
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', _, _, a, b, c, d, ..] => {
            (u64::from(u32::from_le_bytes([*a, *b, *c, *d])), 12)
        }
        _ => return Ok(false),
    };
    let len = len.min(NUMPY_HEADER).min(contents.len().saturating_sub(at));
    let mut header = vec![0; usize::try_from(len).unwrap_or(0)];
    contents.read_exact_at(at, &mut header)?;
    // `'|O'`, `'O'` and `'O8'` name the type of objects; sizes of other types follow another letter.
    Ok(header.windows(3).any(|w| matches!(w, [b'|', b'O', _] | [b'\'', b'O', b'\'' | b'8'])))
}

/// gzip, bzip2, xz, LZMA, LZ4, Zstandard, zlib. The last has two bytes that text could begin with; it is never text.
fn is_compressed(head: &[u8]) -> bool {
    match head {
        [0x1F, 0x8B, 8, ..]
        | [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..]
        | [0xFD, b'7', b'z', b'X', b'Z', 0, ..]
        | [0x5D, 0, 0, ..]
        | [0x04, 0x22, 0x4D, 0x18, ..]
        | [0x28, 0xB5, 0x2F, 0xFD, ..] => true,
        [0x78, 0x01 | 0x5E | 0x9C | 0xDA, ..] => match std::str::from_utf8(head) {
            Ok(_) => false,
            // A character that the end of what was read cuts in two is no sign of anything.
            Err(error) => error.error_len().is_some(),
        },
        _ => false,
    }
}

fn is_hdf5<R: ReadAt + ?Sized>(contents: &R) -> io::Result<bool> {
    let mut mark = [0; 8];
    for at in HDF5_AT {
        if contents.len() < at + 8 {
            return Ok(false);
        }
        contents.read_exact_at(at, &mut mark)?;
        if mark == *b"\x89HDF\r\n\x1a\n" {
            return Ok(true);
        }
    }
    Ok(false)
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

    fn by_content(contents: &[u8]) -> Option<RiskyFormat> {
        risk("weights.dat", contents)
    }

    #[test]
    fn formats_that_run_code_are_recognised_by_name() {
        for (name, expected) in [
            ("pytorch_model.bin", RiskyFormat::Pickle),
            ("a/b.PT", RiskyFormat::Pickle),
            ("x.pkl", RiskyFormat::Pickle),
            ("x.ckpt", RiskyFormat::Pickle),
            ("x.joblib", RiskyFormat::Pickle),
            ("x.npz", RiskyFormat::Zip),
            ("x.keras", RiskyFormat::Zip),
            ("modeling.py", RiskyFormat::Python),
            ("kernel.so", RiskyFormat::NativeCode),
        ] {
            assert_eq!(risk(name, b"harmless"), Some(expected), "{name}");
        }
    }

    #[test]
    fn pickles_of_every_protocol_are_recognised_by_content() {
        for pickle in [
            &b"\x80\x04\x95\x10\0\0\0"[..],
            b"\x80\x02}q\x00.",
            b"\x80\x05N.",
            b"cos\nsystem\n(S'id'\ntR.",
            b"(S'id'\nios\nsystem\n.",
            b"(dp0\n.",
        ] {
            assert_eq!(by_content(pickle), Some(RiskyFormat::Pickle), "{pickle:?}");
        }
    }

    #[test]
    fn pytorchs_file_of_before_its_zip_is_a_pickle() {
        // A pickled magic number, 0x1950a86a20f9469cfc6c, comes first.
        let legacy = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";
        assert_eq!(by_content(legacy), Some(RiskyFormat::Pickle));
    }

    #[test]
    fn a_zip_is_recognised_at_its_start_and_at_its_end() {
        for zip in [
            &b"PK\x03\x04\0\0\0\0archive/data.pkl"[..],
            b"prefix PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\0hi",
        ] {
            assert_eq!(by_content(zip), Some(RiskyFormat::Zip), "{zip:?}");
        }
    }

    #[test]
    fn pytorchs_oldest_file_a_tar_is_recognised() {
        let mut tar = [0; 512];
        tar[..8].copy_from_slice(b"sys_info");
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(by_content(&tar), Some(RiskyFormat::Zip));
        tar[261] = b'x';
        assert_eq!(by_content(&tar), None);
    }

    fn numpy(version: u8, descr: &str) -> Vec<u8> {
        let header = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), }}\n");
        let len = header.len() as u32;
        let len =
            if version == 1 { len.to_le_bytes()[..2].to_vec() } else { len.to_le_bytes().to_vec() };
        [b"\x93NUMPY", &[version, 0][..], &len, header.as_bytes(), b"\x80\x04N."].concat()
    }

    #[test]
    fn a_numpy_array_is_refused_when_its_elements_are_objects() {
        for version in [1, 2, 3] {
            for objects in ["'|O'", "'O'", "[('a', '<f4'), ('b', '|O')]", "[('a', 'O8')]"] {
                let array = numpy(version, objects);
                assert_eq!(by_content(&array), Some(RiskyFormat::Pickle), "{version} {objects}");
            }
            for numbers in ["'<f4'", "'|u1'", "'|S5'", "[('Offset', '<i8'), ('b', '<f2')]"] {
                assert_eq!(by_content(&numpy(version, numbers)), None, "{version} {numbers}");
            }
        }
    }

    #[test]
    fn a_numpy_header_that_is_cut_or_endless_is_read_within_the_file() {
        assert_eq!(by_content(b"\x93NUMPY\x01\0\xff\xff"), None);
        assert_eq!(by_content(b"\x93NUMPY\x02\0\xff\xff\xff\xff'|O'"), Some(RiskyFormat::Pickle));
    }

    #[test]
    fn compressed_streams_as_joblib_writes_them_are_refused() {
        for stream in [
            &b"\x1f\x8b\x08\0\0\0\0\0"[..],
            b"BZh91AY&SY\x01",
            b"\xfd7zXZ\0\0\x04",
            b"\x5d\0\0\x80\0\xff",
            b"\x04\x22\x4d\x18\x40",
            b"\x28\xb5\x2f\xfd\x04",
            b"x\x9cK\xcb\xcf\x07\0\x02\x82\x01E",
            b"x\x5e\x6b\x60\x99\xda\xc0\0",
        ] {
            assert_eq!(by_content(stream), Some(RiskyFormat::Zip), "{stream:?}");
        }
        for text in ["x^2 + y^2 = 1", "x^2 is é", "BZh", "x\u{1}"] {
            assert_eq!(by_content(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn hdf5_may_hold_keras_byte_code_and_is_refused_wherever_it_begins() {
        for at in [0, 512, 4096, 65_536] {
            let mut file = vec![b' '; at];
            file.extend_from_slice(b"\x89HDF\r\n\x1a\n and \"class_name\": \"Lambda\"");
            assert_eq!(by_content(&file), Some(RiskyFormat::Python), "{at}");
        }
        assert_eq!(by_content(b" \x89HDF\r\n\x1a\n"), None);
    }

    #[test]
    fn native_code_is_recognised_by_content() {
        for code in
            [&b"\x7fELF\x02"[..], b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"MZ\x90\0\x03\0"]
        {
            assert_eq!(by_content(code), Some(RiskyFormat::NativeCode), "{code:?}");
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
            b"\x93NUM",
            b"# Model card\n\nHello.",
            b"(c) 2026 Somebody.\n\nAll rights.",
            b"(See below.)\n.",
            b"contents\nof this folder.",
        ] {
            assert_eq!(risk("README.md", contents), None, "{contents:?}");
        }
    }

    #[test]
    fn a_safetensors_header_that_looks_like_something_else_is_left_to_its_parser() {
        for header in [&b"\x80\x02\0\0\0\0\0\0{"[..], b"\x5d\0\0\0\0\0\0\0{"] {
            assert_eq!(risk("m.safetensors", header), None, "{header:?}");
        }
    }
}
