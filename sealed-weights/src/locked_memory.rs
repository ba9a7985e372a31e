//! Memory for keys: out of swap, out of core files, out of forks, and zero when it is given back.
//!
//! This is the one file of the workspace with `unsafe` in it. In: bytes of a key. Out: a mapping
//! that lives as long as its [`LockedMemory`]. It holds keys, and the few blocks of plaintext that are on their way
//! through the S3 endpoint (docs/decisions/0013); never a model.
//!
//! * `memfd_secret(2)` where the kernel has it: the pages leave the kernel's own map, so that not
//!   even root in the guest reads them through `/proc/PID/mem`, `ptrace` or a crash dump.
//! * Otherwise anonymous pages with `mlock(2)`, `MADV_DONTDUMP` and `MADV_WIPEONFORK`.
//!
//! Which of the two holds is [`protection`], and it goes into the attestation report. Neither
//! is an error that asks for a higher `RLIMIT_MEMLOCK`: keys are never put on the plain heap instead.
//!
//! Against: swap, hibernation, core files, a neighbour in the guest that reads our memory, keys
//! left behind in freed pages.
#![allow(unsafe_code)] // The audited exception; every block has its SAFETY note.

use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::OnceLock;

use zeroize::Zeroize;

/// Largest secret that is held, in bytes; keys are far smaller.
const MAX_SECRET_BYTES: usize = 64 * 1024;

/// What keeps a key from being read or written out by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protection {
    /// `memfd_secret(2)`: locked, not dumpable, and unreadable for other processes, root included.
    MemfdSecret,
    /// `mlock(2)`, not in core files, wiped in forked children; root in the guest can read it.
    MlockedPages,
}

impl Protection {
    /// The word for reports and metrics: `memfd_secret` or `mlock`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MemfdSecret => "memfd_secret",
            Self::MlockedPages => "mlock",
        }
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a key could not be given protected memory.
#[derive(Debug, thiserror::Error)]
pub enum LockedMemoryError {
    /// A secret of no bytes, or of more than 64 KiB.
    #[error("a secret of {got} bytes; expected 1 to {MAX_SECRET_BYTES}")]
    Length {
        /// Bytes asked for.
        got: usize,
    },
    /// Neither `memfd_secret` nor `mlock` was granted.
    #[error("the kernel refused to lock {bytes} bytes of memory for a key")]
    Refused {
        /// Bytes asked for, rounded up to pages.
        bytes: usize,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl LockedMemoryError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Length { .. } => "this is a fault of the caller: keys are 32 bytes",
            Self::Refused { .. } => {
                "raise the limit of locked memory (RLIMIT_MEMLOCK) to at least 1 MiB, \
                 or run on a kernel with memfd_secret"
            }
        }
    }
}

/// The protection that this process gets, found out once by asking for it.
///
/// # Errors
/// [`LockedMemoryError::Refused`] when keys cannot be protected at all.
pub fn protection() -> Result<Protection, LockedMemoryError> {
    static FOUND: OnceLock<Protection> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(*found);
    }
    let probe = LockedMemory::zeroed(1)?;
    Ok(*FOUND.get_or_init(|| probe.protection))
}

/// A few bytes of secret in pages of their own. Zeroed and unmapped on drop.
pub struct LockedMemory {
    start: NonNull<u8>,
    len: usize,
    mapped: usize,
    protection: Protection,
}

// SAFETY: the mapping belongs to this value alone; it is reached through `&self` for reading and
// `&mut self` for writing, like a boxed slice, and may be unmapped from any thread.
unsafe impl Send for LockedMemory {}
// SAFETY: shared access only reads (see `expose`).
unsafe impl Sync for LockedMemory {}

impl LockedMemory {
    /// `len` zero bytes in protected pages.
    ///
    /// # Errors
    /// [`LockedMemoryError::Length`], then [`LockedMemoryError::Refused`].
    pub fn zeroed(len: usize) -> Result<Self, LockedMemoryError> {
        if len == 0 || len > MAX_SECRET_BYTES {
            return Err(LockedMemoryError::Length { got: len });
        }
        let mapped = len.next_multiple_of(rustix::param::page_size());
        let (start, protection) = match map_secret(mapped) {
            Ok(start) => (start, Protection::MemfdSecret),
            // No memfd_secret in this kernel, switched off, or filtered by seccomp.
            Err(_) => match map_locked(mapped) {
                Ok(start) => (start, Protection::MlockedPages),
                Err(source) => {
                    return Err(LockedMemoryError::Refused { bytes: mapped, source });
                }
            },
        };
        Ok(Self { start, len, mapped, protection })
    }

    /// Takes a secret over: copies it into protected pages and zeroes where it came from.
    ///
    /// # Errors
    /// As [`zeroed`](Self::zeroed); the source is zeroed in that case too.
    pub fn take(source: &mut [u8]) -> Result<Self, LockedMemoryError> {
        let taken = Self::zeroed(source.len()).map(|mut memory| {
            memory.expose_mut().copy_from_slice(source);
            memory
        });
        source.zeroize();
        taken
    }

    /// The secret. Use it next to the cipher and copy it nowhere.
    pub fn expose(&self) -> &[u8] {
        // SAFETY: `start` is the beginning of a mapping of `mapped >= len` readable, initialised
        // bytes (the kernel hands out zeroed pages) that lives as long as `self`; writes need
        // `&mut self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The secret, to be filled in place.
    pub fn expose_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `expose`; the mapping is writable and `&mut self` makes this the only view.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// What protects this very mapping.
    pub fn protection(&self) -> Protection {
        self.protection
    }
}

impl fmt::Debug for LockedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockedMemory")
            .field("len", &self.len)
            .field("protection", &self.protection)
            .finish_non_exhaustive()
    }
}

impl Drop for LockedMemory {
    fn drop(&mut self) {
        self.expose_mut().zeroize();
        unmap(self.start, self.mapped);
    }
}

fn map_secret(len: usize) -> io::Result<NonNull<u8>> {
    // The kernel's flag is O_CLOEXEC; the manual page's FD_CLOEXEC is an error in the manual.
    // SAFETY: memfd_secret takes one integer and returns a descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` is a descriptor that was just made and that nobody else owns.
    let fd = unsafe {
        <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd as std::os::fd::RawFd)
    };
    rustix::fs::ftruncate(&fd, len as u64)?;
    // Shared, because private mappings of a secret file are refused; the file is closed below and
    // has no name, so nobody else can map it. Children of a fork do not get the pages at all.
    let start = map(len, libc::MAP_SHARED, std::os::fd::AsRawFd::as_raw_fd(&fd))?;
    advise(start, len, &[libc::MADV_DONTFORK])?;
    Ok(start)
}

fn map_locked(len: usize) -> io::Result<NonNull<u8>> {
    let start = map(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
    // SAFETY: the range was just mapped and is ours; locking changes no contents.
    if unsafe { libc::mlock(start.as_ptr().cast(), len) } != 0 {
        let error = io::Error::last_os_error();
        unmap(start, len);
        return Err(error);
    }
    advise(start, len, &[libc::MADV_DONTDUMP, libc::MADV_WIPEONFORK])?;
    Ok(start)
}

/// Unmaps the range when the kernel does not take an advice: half a protection is none.
fn advise(start: NonNull<u8>, len: usize, advices: &[libc::c_int]) -> io::Result<()> {
    for advice in advices {
        // SAFETY: a range of ours that nothing refers to yet; these advices change no contents.
        if unsafe { libc::madvise(start.as_ptr().cast(), len, *advice) } != 0 {
            let error = io::Error::last_os_error();
            unmap(start, len);
            return Err(error);
        }
    }
    Ok(())
}

fn unmap(start: NonNull<u8>, len: usize) {
    // SAFETY: exactly a range that `map` returned, unmapped once; no reference to it exists any
    // more. A failure would leave it mapped, which is harmless.
    unsafe { libc::munmap(start.as_ptr().cast(), len) };
}

fn map(len: usize, flags: libc::c_int, fd: libc::c_int) -> io::Result<NonNull<u8>> {
    // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing of ours.
    let start = unsafe {
        libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0)
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mmap returned a null address"))
}

/// A value of a foreign type with key material inside (ring's key schedules), boxed, whose bytes
/// are zeroed after it was dropped.
///
/// Ring does not zero its keys. Copies that the compiler made while moving the value into its box
/// are out of reach; [`scrub_stack`] overwrites the stack they lay on.
pub(crate) struct Wiped<T>(ManuallyDrop<Box<T>>);

impl<T> Wiped<T> {
    pub(crate) fn new(value: T) -> Self {
        let boxed = Self(ManuallyDrop::new(Box::new(value)));
        scrub_stack();
        boxed
    }

    pub(crate) fn get(&self) -> &T {
        &self.0
    }
}

impl<T> Drop for Wiped<T> {
    fn drop(&mut self) {
        // SAFETY: `self.0` is not used again: `drop` runs once and `ManuallyDrop` does nothing after.
        let raw = Box::into_raw(unsafe { ManuallyDrop::take(&mut self.0) });
        // SAFETY: `raw` came from a box, so it is valid, aligned and uniquely owned; it is dropped
        // in place once and afterwards only written as plain bytes.
        unsafe { std::ptr::drop_in_place(raw) };
        let bytes: *mut std::mem::MaybeUninit<u8> = raw.cast();
        // SAFETY: the allocation holds `size_of::<T>()` bytes; `MaybeUninit<u8>` has no validity
        // requirement, so that padding and dropped contents may be viewed that way.
        let bytes = unsafe { std::slice::from_raw_parts_mut(bytes, size_of::<T>()) };
        bytes.zeroize();
        // SAFETY: the same allocation and layout; `ManuallyDrop<T>` frees it without dropping `T` again.
        drop(unsafe { Box::from_raw(raw.cast::<ManuallyDrop<T>>()) });
    }
}

/// Overwrites some KiB of stack below the caller, where a returned call has left key material.
#[inline(never)]
pub(crate) fn scrub_stack() {
    let mut dead = [0xA5_u8; 8 * 1024];
    std::hint::black_box(&mut dead);
    dead.zeroize();
    std::hint::black_box(&mut dead);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_secret_is_held_and_its_source_is_zero() {
        let mut source = *b"0123456789abcdef0123456789abcdef";
        let memory = LockedMemory::take(&mut source).unwrap();
        assert_eq!(memory.expose(), b"0123456789abcdef0123456789abcdef");
        assert_eq!(source, [0; 32]);
    }

    #[test]
    fn a_length_of_zero_or_over_the_bound_is_refused_before_memory_is_taken() {
        for len in [0, MAX_SECRET_BYTES + 1, usize::MAX] {
            assert!(matches!(
                LockedMemory::zeroed(len),
                Err(LockedMemoryError::Length { got }) if got == len
            ));
        }
    }

    #[test]
    fn the_probe_names_the_protection_that_mappings_have() {
        let memory = LockedMemory::zeroed(32).unwrap();
        assert_eq!(memory.protection(), protection().unwrap());
    }

    #[test]
    fn mlocked_pages_hold_a_secret_where_memfd_secret_is_missing() {
        let start = map_locked(4096).unwrap();
        let mut memory =
            LockedMemory { start, len: 32, mapped: 4096, protection: Protection::MlockedPages };
        memory.expose_mut().fill(7);
        assert_eq!(memory.expose(), [7; 32]);
    }

    #[test]
    fn secret_pages_cannot_be_read_through_proc_mem() {
        let mut memory = LockedMemory::zeroed(32).unwrap();
        memory.expose_mut().fill(0x5A);
        if memory.protection() != Protection::MemfdSecret {
            eprintln!("skipped: this kernel has no memfd_secret");
            return;
        }
        let file = std::fs::File::open("/proc/self/mem").unwrap();
        let mut bytes = [0; 32];
        let read = std::os::unix::fs::FileExt::read_exact_at(
            &file,
            &mut bytes,
            memory.start.as_ptr() as u64,
        );
        assert_eq!(read.unwrap_err().raw_os_error(), Some(libc::EIO));
    }

    #[test]
    fn a_wiped_value_is_dropped_once() {
        let shared = std::sync::Arc::new(());
        drop(Wiped::new((shared.clone(), [1_u8; 100])));
        assert_eq!(std::sync::Arc::strong_count(&shared), 1);
    }
}
