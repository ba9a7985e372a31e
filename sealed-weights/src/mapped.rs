//! Memory that ciphertext is read into and opened in: a window on a file, or memory of its own.
//!
//! In: a file and a range, or a length. Out: bytes, aligned so that huge pages fit, that belong to one
//! value and one thread at a time. Besides [`locked_memory`](crate::locked_memory) the only file of the
//! crate with `unsafe` in it; docs/decisions/0011 says why. It knows no keys and no formats.
//!
//! What could go wrong, and why it does not:
//! * **No memory left.** Touching a page of a full tmpfs is SIGBUS. Every window is populated by a system
//!   call first (`MADV_POPULATE_WRITE`), which fails with an error instead.
//! * **A file that is cut while it is mapped** is SIGBUS too. Only files of a staging folder are mapped: it is
//!   made by us, of mode 0700, under the target's lock, and we cut a file when no piece of it is mapped.
//! * **Two views of one byte.** A window covers one piece, and a piece is handed to one thread at a time.
//!
//! Against: plaintext in core files; a second copy of the model.
#![allow(unsafe_code)] // Audited; every block has its SAFETY note.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::NonNull;

/// A huge page of x86-64, and of Arm with 4 KiB pages.
pub(crate) const HUGE_PAGE: usize = 2 * 1024 * 1024;

/// A range of addresses that is ours until it is dropped.
struct Range {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the addresses belong to this value alone, as a boxed slice's do.
unsafe impl Send for Range {}
// SAFETY: a shared reference gives no access to the bytes but through `Region::bytes`, which reads.
unsafe impl Sync for Range {}

impl Range {
    /// `len` bytes at a multiple of [`HUGE_PAGE`].
    fn reserve(len: usize, protection: libc::c_int) -> io::Result<Self> {
        let page = rustix::param::page_size();
        let too_long = || io::Error::from_raw_os_error(libc::ENOMEM);
        let len = len.max(1).checked_next_multiple_of(page).ok_or_else(too_long)?;
        let padded = len.checked_add(HUGE_PAGE).ok_or_else(too_long)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing of ours.
        let mapped = unsafe { libc::mmap(std::ptr::null_mut(), padded, protection, flags, -1, 0) };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mapped: *mut u8 = mapped.cast();
        let before = mapped.align_offset(HUGE_PAGE).min(HUGE_PAGE);
        let start = mapped.wrapping_add(before);
        // What lies before and after the aligned part is given back.
        for (from, bytes) in [(mapped, before), (start.wrapping_add(len), HUGE_PAGE - before)] {
            if bytes > 0 {
                // SAFETY: a part of the mapping made above, page-aligned, that nothing refers to.
                unsafe { libc::munmap(from.cast(), bytes) };
            }
        }
        let start = NonNull::new(start).ok_or_else(|| io::Error::other("a null address"))?;
        Ok(Self { start, len })
    }

    /// Takes an advice for the first `len` bytes, which is at most `self.len`.
    fn advise(&self, len: usize, advice: libc::c_int) -> io::Result<()> {
        debug_assert!(len <= self.len, "an advice for what is ours");
        // SAFETY: a range of ours; the advices used here (HUGEPAGE, DONTDUMP, POPULATE_WRITE) change
        // no contents.
        match unsafe { libc::madvise(self.start.as_ptr().cast(), len.min(self.len), advice) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        // SAFETY: exactly what `reserve` kept or `split` made of it, unmapped once; the references that
        // were given out borrow from the owner of this value and are gone.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// What the kernel is told about the pages behind a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advice {
    /// They are wanted huge, and worth waiting for.
    HugePages,
    Nothing,
}

/// A place of 2 MiB in the address space through which one thread looks at one piece after another.
pub(crate) struct Window {
    /// Nothing after a failure that may have left the addresses to others.
    place: Option<Range>,
}

impl Window {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { place: Some(Range::reserve(HUGE_PAGE, libc::PROT_NONE)?) })
    }

    /// The `len` bytes of `file` at `offset`, a multiple of the page size; `len` is 1 to [`HUGE_PAGE`],
    /// and the file is at least that long. All pages are there: touching them takes no memory.
    ///
    /// # Errors
    /// `StorageFull` when there is no memory for them; `Unsupported` when the kernel cannot say so.
    pub(crate) fn map(
        &mut self,
        file: &File,
        offset: u64,
        len: usize,
        advice: Advice,
    ) -> io::Result<&mut [u8]> {
        let page = rustix::param::page_size() as u64;
        if len == 0 || len > HUGE_PAGE || !offset.is_multiple_of(page) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let end = offset.checked_add(len as u64).ok_or(io::ErrorKind::InvalidInput)?;
        if file.metadata()?.len() < end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let place = self.place.take().ok_or(io::ErrorKind::Unsupported)?;
        match map_over(&place, file.as_raw_fd(), offset, len) {
            Ok(()) => {}
            Err(error) => {
                // The kernel may have unmapped the old pages; the addresses are no longer surely ours.
                std::mem::forget(place);
                return Err(error);
            }
        }
        let place = self.place.insert(place);
        if advice == Advice::HugePages {
            // No advice taken, no huge pages: nothing is lost.
            let _ = place.advise(len, libc::MADV_HUGEPAGE);
        }
        let _ = place.advise(len, libc::MADV_DONTDUMP);
        place.advise(len, libc::MADV_POPULATE_WRITE).map_err(|error| {
            match error.raw_os_error() {
                // Touching it would be SIGBUS: the file system is full.
                Some(libc::EFAULT | libc::ENOMEM) => io::ErrorKind::StorageFull.into(),
                // Linux before 5.14.
                Some(libc::EINVAL) => io::ErrorKind::Unsupported.into(),
                _ => error,
            }
        })?;
        // SAFETY: `len` bytes of a live, writable, populated mapping inside our range; `&mut self`
        // keeps this view the only one through the window, and nobody maps this piece twice.
        Ok(unsafe { std::slice::from_raw_parts_mut(place.start.as_ptr(), len) })
    }
}

/// Puts a shared mapping of the file in the place of whatever the range showed before.
fn map_over(place: &Range, file: RawFd, offset: u64, len: usize) -> io::Result<()> {
    let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_FIXED;
    // SAFETY: `len <= HUGE_PAGE == place.len`: MAP_FIXED replaces pages of our own range only, and no
    // reference to them exists, because `Window::map` has `&mut self`.
    let mapped =
        unsafe { libc::mmap(place.start.as_ptr().cast(), len, protection, flags, file, offset) };
    if mapped == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Anonymous memory, zero at first and wiped when it is dropped; not in core files.
pub(crate) struct Region {
    range: Range,
    /// Wiping pages that nobody wrote to would only take memory for them.
    written: bool,
}

impl Region {
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        let range = Range::reserve(len, libc::PROT_READ | libc::PROT_WRITE)?;
        let _ = range.advise(range.len, libc::MADV_HUGEPAGE);
        range.advise(range.len, libc::MADV_DONTDUMP)?;
        Ok(Self { range, written: false })
    }

    /// Cuts it in parts of `len` bytes (a multiple of the page size) and a last one that may be shorter.
    pub(crate) fn split(self, len: usize) -> Vec<Self> {
        let whole = std::mem::ManuallyDrop::new(self);
        let step = len.max(1).next_multiple_of(rustix::param::page_size());
        (0..whole.range.len)
            .step_by(step)
            .filter_map(|at| {
                let len = step.min(whole.range.len - at);
                let start = NonNull::new(whole.range.start.as_ptr().wrapping_add(at))?;
                // Each byte goes to one part; the whole is not dropped.
                Some(Self { range: Range { start, len }, written: whole.written })
            })
            .collect()
    }

    /// Puts the parts of a [`split`](Self::split) together again, in their order.
    pub(crate) fn join(parts: Vec<Self>) -> io::Result<Self> {
        let mut parts = parts.into_iter();
        let mut whole = parts.next().ok_or(io::ErrorKind::InvalidInput)?;
        for part in parts {
            let end = whole.range.start.as_ptr().wrapping_add(whole.range.len);
            if part.range.start.as_ptr() != end {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let part = std::mem::ManuallyDrop::new(part);
            whole.range.len += part.range.len;
            whole.written |= part.written;
        }
        Ok(whole)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: a live mapping of zeroed, hence initialised, bytes; writing needs `&mut self`.
        unsafe { std::slice::from_raw_parts(self.range.start.as_ptr(), self.range.len) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.written = true;
        // SAFETY: as in `bytes`; writable, and `&mut self` makes this the only view.
        unsafe { std::slice::from_raw_parts_mut(self.range.start.as_ptr(), self.range.len) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if self.written {
            self.bytes_mut().fill(0);
            std::hint::black_box(self.bytes());
        }
    }
}

impl std::fmt::Debug for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Region").field("len", &self.range.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn what_is_written_through_a_window_is_in_the_file() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(3 * HUGE_PAGE as u64).unwrap();
        let mut window = Window::new().unwrap();
        for piece in 0..3_u8 {
            let at = u64::from(piece) * HUGE_PAGE as u64;
            let bytes = window.map(&file, at, HUGE_PAGE, Advice::HugePages).unwrap();
            assert_eq!(bytes.as_ptr() as usize % HUGE_PAGE, 0);
            bytes.fill(piece + 1);
        }
        let mut byte = [0];
        for piece in 0..3_u8 {
            file.read_exact_at(&mut byte, (u64::from(piece) + 1) * HUGE_PAGE as u64 - 1).unwrap();
            assert_eq!(byte, [piece + 1]);
        }
    }

    #[test]
    fn a_window_past_the_end_or_between_pages_is_refused() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10_000).unwrap();
        let mut window = Window::new().unwrap();
        for (offset, len, kind) in [
            (0, 10_001, io::ErrorKind::UnexpectedEof),
            (u64::MAX - 4095, 1, io::ErrorKind::UnexpectedEof),
            (1, 1, io::ErrorKind::InvalidInput),
            (0, 0, io::ErrorKind::InvalidInput),
            (0, HUGE_PAGE + 1, io::ErrorKind::InvalidInput),
        ] {
            assert_eq!(
                window.map(&file, offset, len, Advice::Nothing).unwrap_err().kind(),
                kind,
                "{offset}+{len}"
            );
        }
        assert_eq!(window.map(&file, 4096, 5904, Advice::Nothing).unwrap(), [0; 5904]);
    }

    #[test]
    fn a_region_is_split_written_by_threads_and_joined() {
        let region = Region::new(2 * HUGE_PAGE + 5000).unwrap();
        assert_eq!(region.bytes().as_ptr() as usize % HUGE_PAGE, 0);
        let mut parts = region.split(HUGE_PAGE);
        assert_eq!(parts.len(), 3);
        std::thread::scope(|scope| {
            for (number, part) in (1..).zip(&mut parts) {
                scope.spawn(move || part.bytes_mut().fill(number));
            }
        });
        let whole = Region::join(parts).unwrap();
        let bytes = whole.bytes();
        assert_eq!(bytes.len(), 2 * HUGE_PAGE + 8192);
        assert_eq!((bytes[0], bytes[HUGE_PAGE], bytes[2 * HUGE_PAGE + 8191]), (1, 2, 3));
    }

    #[test]
    fn parts_in_another_order_do_not_join() {
        let mut parts = Region::new(2 * HUGE_PAGE).unwrap().split(HUGE_PAGE);
        parts.reverse();
        assert_eq!(Region::join(parts).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_length_that_no_address_space_has_is_an_error() {
        assert!(Region::new(usize::MAX).is_err());
        assert!(Region::new(usize::MAX / 2).is_err());
    }
}
