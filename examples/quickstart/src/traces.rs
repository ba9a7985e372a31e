//! Looks for a secret in the memory of running processes, as root in the guest could.
//!
//! `/proc/PID/mem` needs ptrace rights: root has them, and so does the same user for a process that
//! is dumpable. Our sidecar and broker are not, so without root the kernel refuses, which is an
//! answer too. Memory of `memfd_secret` can't be read even by root; the read fails with EIO.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

const WINDOW: usize = 1 << 20;

/// What a look into one process gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Trace {
    /// Nothing found in this many readable bytes.
    Absent {
        /// Bytes that could be read.
        searched: u64,
        /// Mapped bytes that even this user may not read (`memfd_secret`, device memory).
        hidden: u64,
    },
    /// Found; where, and in which form.
    Present {
        /// Address of the first byte.
        address: u64,
        /// `raw`, `hex`, `base64` …
        form: &'static str,
    },
    /// The kernel does not let this user look at all.
    Refused,
}

/// The forms in which 32 secret bytes may lie around.
pub struct Needles(Vec<(&'static str, Zeroizing<Vec<u8>>)>);

impl Needles {
    /// Raw, hexadecimal and base64 forms of `secret`.
    pub fn of(secret: &[u8]) -> Self {
        // The last character of unpadded base64 depends on what follows; leave it out.
        let without_last = |mut text: String| {
            text.pop();
            Zeroizing::new(text.into_bytes())
        };
        Self(vec![
            ("raw", Zeroizing::new(secret.to_vec())),
            ("hex", Zeroizing::new(hex::encode(secret).into_bytes())),
            ("HEX", Zeroizing::new(hex::encode_upper(secret).into_bytes())),
            ("base64", without_last(STANDARD_NO_PAD.encode(secret))),
            ("base64url", without_last(URL_SAFE_NO_PAD.encode(secret))),
        ])
    }

    fn longest(&self) -> usize {
        self.0.iter().map(|(_, needle)| needle.len()).max().unwrap_or(0)
    }

    fn find(&self, haystack: &[u8]) -> Option<(usize, &'static str)> {
        self.0.iter().find_map(|(form, needle)| {
            let first = *needle.first()?;
            let mut from = 0;
            while let Some(at) = haystack.get(from..)?.iter().position(|byte| *byte == first) {
                if haystack.get(from + at..)?.starts_with(needle) {
                    return Some((from + at, *form));
                }
                from += at + 1;
            }
            None
        })
    }
}

/// Searches every readable mapping of process `pid`.
///
/// # Errors
/// When the process is gone or its list of mappings can't be read for another reason than rights.
pub fn search(pid: u32, needles: &Needles) -> Result<Trace> {
    let maps = match fs::read_to_string(format!("/proc/{pid}/maps")) {
        Ok(maps) => maps,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(Trace::Refused),
        Err(error) => {
            return Err(error).with_context(|| format!("read the mappings of process {pid}"));
        }
    };
    let memory = match File::open(format!("/proc/{pid}/mem")) {
        Ok(memory) => memory,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(Trace::Refused),
        Err(error) => {
            return Err(error).with_context(|| format!("open the memory of process {pid}"));
        }
    };
    let overlap = needles.longest().saturating_sub(1);
    let mut window = Zeroizing::new(vec![0; WINDOW + overlap]);
    let (mut searched, mut hidden) = (0, 0);
    for (start, end) in maps.lines().filter_map(readable_range) {
        let mut at = start;
        while at < end {
            let length = (WINDOW + overlap).min(usize::try_from(end - at).unwrap_or(usize::MAX));
            match memory.read_at(&mut window[..length], at) {
                Ok(0) | Err(_) => {
                    hidden += end - at;
                    break;
                }
                Ok(read) => {
                    if let Some((offset, form)) = needles.find(&window[..read]) {
                        return Ok(Trace::Present { address: at + offset as u64, form });
                    }
                    let step = if read == WINDOW + overlap { WINDOW } else { read };
                    searched += step as u64;
                    at += step as u64;
                }
            }
        }
    }
    Ok(Trace::Absent { searched, hidden })
}

fn readable_range(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let readable = words.next()?.starts_with('r');
    if !readable
        || line.ends_with("[vvar]")
        || line.ends_with("[vsyscall]")
        || line.ends_with("[vvar_vclock]")
    {
        return None;
    }
    Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_this_process_is_found() {
        let secret: Vec<u8> = (0..32).map(|n: u8| n.wrapping_mul(89) ^ 0x5c).collect();
        let kept = std::hint::black_box(secret.clone());
        let trace =
            search(std::process::id(), &Needles::of(&secret)).expect("our own memory can be read");
        assert!(matches!(trace, Trace::Present { .. }), "{trace:?}");
        drop(kept);
    }

    #[test]
    fn a_hexadecimal_form_is_found_across_windows() {
        let needles = Needles::of(&[0xabu8; 32]);
        let mut haystack = vec![0u8; 100];
        haystack.extend_from_slice(hex::encode([0xabu8; 32]).as_bytes());
        assert_eq!(needles.find(&haystack), Some((100, "hex")));
    }

    #[test]
    fn unreadable_mappings_are_left_out() {
        assert_eq!(readable_range("7f00-7f10 ---p 00000000 00:00 0"), None);
        assert_eq!(readable_range("7f00-7f10 r--p 00000000 00:00 0"), Some((0x7f00, 0x7f10)));
    }
}
