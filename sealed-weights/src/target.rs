//! Where plaintext may go: a memory-backed folder with room, used by one opener at a time.
//!
//! In: a path from the configuration. Out: facts ([`TargetCheck`]) and a decision
//! ([`TargetPolicy`], [`SwapPolicy`]), made before a byte of plaintext is written; and the wiping
//! of everything that was.
//!
//! Against: a host that mounts a disk where memory was asked for, swap, a half-opened model left
//! behind by a crash, symbolic links planted in the target.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::huge_pages::{self, HugePages};
use crate::wipe::wipe;

/// Which file systems may receive plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetPolicy {
    /// tmpfs and ramfs only.
    #[default]
    MemoryBackedOnly,
    /// Any: plaintext may reach a disk. For tests.
    InsecureAnyFilesystem,
}

/// What active swap means for the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SwapPolicy {
    /// Swap that could take pages of the target is a refusal.
    #[default]
    Refuse,
    /// Plaintext may reach a swap device.
    InsecureAllow,
}

/// Why a target was refused, or could not be wiped.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The file system is not in memory.
    #[error(
        "`{path}` is on a file system of type {filesystem:#x}; expected tmpfs (0x1021994) or ramfs (0x858458f6)"
    )]
    NotMemoryBacked {
        /// The target.
        path: PathBuf,
        /// `f_type` of statfs.
        filesystem: u64,
    },
    /// Pages of the target could be written to a swap device.
    #[error(
        "`{path}` could be swapped out to {device}; expected no active swap, or a tmpfs mounted with `noswap`"
    )]
    Swap {
        /// The target.
        path: PathBuf,
        /// The first active swap device or file.
        device: String,
    },
    /// Too little room.
    #[error("`{path}` has room for {available} bytes; expected at least {required}")]
    NoRoom {
        /// The target.
        path: PathBuf,
        /// Bytes needed, with page rounding and a margin.
        required: u64,
        /// Bytes there are: the smaller of the file system's and the machine's free memory.
        available: u64,
    },
    /// `<target>/model` is there already.
    #[error("`{path}` exists already; expected a target without an opened model")]
    ModelPresent {
        /// The model's folder.
        path: PathBuf,
    },
    /// Another opener holds the target.
    #[error("another process is using the target `{path}`")]
    Busy {
        /// The target.
        path: PathBuf,
    },
    /// An operation on the target failed.
    #[error("could not {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl TargetError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NotMemoryBacked { .. } => {
                "mount a memory-backed folder there (`emptyDir: {medium: Memory}`, tmpfs)"
            }
            Self::Swap { .. } => {
                "switch swap off (`swapoff -a`), or mount the target with `noswap`"
            }
            Self::NoRoom { .. } => {
                "give the machine more memory (half of it is the usual limit of a tmpfs), or seal a smaller model"
            }
            Self::ModelPresent { .. } => {
                "wipe the target first; a model there belongs to an earlier start"
            }
            Self::Busy { .. } => "end the other process, or give this one a target of its own",
            Self::Io { .. } => "make the target a folder that this process may write to",
        }
    }
}

/// The facts about a target, as the kernel tells them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetCheck {
    /// The target.
    pub path: PathBuf,
    /// `f_type` of statfs.
    pub filesystem: u64,
    /// Whether that is tmpfs or ramfs.
    pub memory_backed: bool,
    /// Free bytes: the smaller of what the file system and what the machine have left.
    pub available_bytes: u64,
    /// An active swap device that could take pages of the target, if there is one.
    pub swap: Option<String>,
    /// Whether opened files will lie in huge pages.
    pub huge_pages: HugePages,
}

/// File systems whose contents live in memory only.
const TMPFS_MAGIC: u64 = 0x0102_1994;
const RAMFS_MAGIC: u64 = 0x8584_58f6;

const SHMEM_ENABLED: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

/// The name of the opened model in its target.
pub const MODEL_FOLDER: &str = "model";
pub(crate) const MODEL_NAME: &CStr = c"model";
/// The prefix of folders in which models are being opened.
pub(crate) const STAGING_PREFIX: &str = ".opening-";

impl TargetCheck {
    /// Asks the kernel.
    ///
    /// # Errors
    /// [`TargetError::Io`].
    pub fn probe(target: &Path) -> Result<Self, TargetError> {
        Self::of(&open_folder(target)?, target)
    }

    fn of(folder: &OwnedFd, target: &Path) -> Result<Self, TargetError> {
        let failed = |action| {
            move |source: io::Error| TargetError::Io { action, path: target.to_owned(), source }
        };
        let facts = rustix::fs::fstatfs(folder)
            .map_err(|e| failed("look at the file system of")(e.into()))?;
        // `f_type` is a signed word on some platforms; the magic numbers are 32 bits.
        let filesystem = (facts.f_type as u64) & 0xFFFF_FFFF;
        let memory_backed = matches!(filesystem, TMPFS_MAGIC | RAMFS_MAGIC);
        let of_filesystem = match facts.f_blocks {
            // Without a size: ramfs, or a tmpfs mounted with `size=0`.
            0 if memory_backed => u64::MAX,
            _ => facts.f_bavail.saturating_mul(u64::try_from(facts.f_bsize).unwrap_or(0)),
        };
        let available_bytes = match memory_backed {
            true => of_filesystem.min(free_memory(&read("/proc/meminfo")).unwrap_or(u64::MAX)),
            false => of_filesystem,
        };
        let device = rustix::fs::fstat(folder).map_err(|e| failed("look at")(e.into()))?.st_dev;
        let mountinfo = read("/proc/self/mountinfo");
        let never_swapped = filesystem == RAMFS_MAGIC || is_noswap(mountinfo.as_deref(), device);
        let swap = if never_swapped { None } else { first_swap(&read("/proc/swaps")) };
        let huge_pages = match filesystem {
            TMPFS_MAGIC => {
                huge_pages::of_tmpfs(mountinfo.as_deref(), read(SHMEM_ENABLED).as_deref(), device)
            }
            _ => HugePages::Unknown,
        };
        let path = target.to_owned();
        Ok(Self { path, filesystem, memory_backed, available_bytes, swap, huge_pages })
    }

    /// Decides whether `required` bytes of plaintext may be written there.
    ///
    /// # Errors
    /// In this order: [`TargetError::NotMemoryBacked`], [`TargetError::Swap`], [`TargetError::NoRoom`].
    //= sealed-weights/SPEC.md#7.2
    //# A reader MUST refuse, before it writes plaintext, a target that is not memory-backed, that may be swapped out, or that has too little room.
    pub fn enforce(
        &self,
        filesystems: TargetPolicy,
        swap: SwapPolicy,
        required: u64,
    ) -> Result<(), TargetError> {
        let path = || self.path.clone();
        match (filesystems, self.memory_backed) {
            (TargetPolicy::MemoryBackedOnly, false) => {
                return Err(TargetError::NotMemoryBacked {
                    path: path(),
                    filesystem: self.filesystem,
                });
            }
            (TargetPolicy::MemoryBackedOnly, true) | (TargetPolicy::InsecureAnyFilesystem, _) => {}
        }
        match (swap, &self.swap) {
            (SwapPolicy::Refuse, Some(device)) => {
                return Err(TargetError::Swap { path: path(), device: device.clone() });
            }
            (SwapPolicy::Refuse, None) | (SwapPolicy::InsecureAllow, _) => {}
        }
        if self.available_bytes < required {
            return Err(TargetError::NoRoom {
                path: path(),
                required,
                available: self.available_bytes,
            });
        }
        Ok(())
    }
}

/// An unreadable file of /proc says nothing: free memory is then judged by the file system alone,
/// and swap is taken to be there (see [`first_swap`]).
fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn free_memory(meminfo: &Option<String>) -> Option<u64> {
    let line = meminfo.as_deref()?.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

fn first_swap(swaps: &Option<String>) -> Option<String> {
    match swaps {
        // A header, then a line for each device.
        Some(text) => text.lines().nth(1)?.split_whitespace().next().map(str::to_owned),
        None if Path::new("/proc/meminfo").exists() => None, // A kernel without swap has no such file.
        None => Some("an unknown device (/proc is not readable)".to_owned()),
    }
}

fn is_noswap(mountinfo: Option<&str>, device: u64) -> bool {
    mountinfo
        .and_then(|text| huge_pages::super_options(text, device))
        .is_some_and(|options| options.split(',').any(|option| option == "noswap"))
}

/// What a destination in anonymous memory must satisfy, as [`TargetCheck::enforce`] for a folder.
pub(crate) fn check_memory(swap: SwapPolicy, required: u64) -> Result<(), TargetError> {
    let check = TargetCheck {
        path: "(anonymous memory)".into(),
        filesystem: 0,
        memory_backed: true,
        available_bytes: free_memory(&read("/proc/meminfo")).unwrap_or(u64::MAX),
        swap: first_swap(&read("/proc/swaps")),
        huge_pages: HugePages::Unknown,
    };
    check.enforce(TargetPolicy::MemoryBackedOnly, swap, required)
}

fn open_folder(path: &Path) -> Result<OwnedFd, TargetError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|error| TargetError::Io {
        action: "open the folder",
        path: path.to_owned(),
        source: error.into(),
    })
}

/// Wipes and removes everything an opener put into `target`: the opened model and what a crash left.
///
/// # Errors
/// [`TargetError::Busy`] while an opened model is in use, [`TargetError::Io`].
pub fn wipe_target(target: &Path) -> Result<(), TargetError> {
    let target = Target::acquire(target)?;
    target.wipe_leftovers()?;
    target.wipe_model()
}

/// Opening threads can add a file between a look and a removal; each pass leaves fewer places.
const SWEEPS: usize = 64;

/// As [`wipe_target`], without asking who holds the target: for a process that ends while threads of
/// its own still stage or open. It removes the folders under which they could make new files; what they
/// still hold open ends with the process.
///
/// # Errors
/// [`TargetError::Io`] when something is still there after the last pass.
pub fn sweep_target(target: &Path) -> Result<(), TargetError> {
    let target = Target { path: target.to_owned(), folder: open_folder(target)? };
    let mut last = None;
    for _ in 0..SWEEPS {
        let swept = target.wipe_leftovers().and_then(|()| target.wipe_model());
        if target.is_clean()? {
            return Ok(());
        }
        last = swept.err();
    }
    let appearing = || io::Error::other("files keep appearing");
    Err(last.unwrap_or_else(|| TargetError::Io {
        action: "empty",
        path: target.path,
        source: appearing(),
    }))
}

/// A target folder that this process alone uses: the lock falls with the value, or the process.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) path: PathBuf,
    pub(crate) folder: OwnedFd,
}

impl Target {
    pub(crate) fn acquire(path: &Path) -> Result<Self, TargetError> {
        let folder = open_folder(path)?;
        match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), folder }),
            Err(Errno::WOULDBLOCK) => Err(TargetError::Busy { path: path.to_owned() }),
            Err(error) => Err(failure("lock", path, error)),
        }
    }

    pub(crate) fn check(&self) -> Result<TargetCheck, TargetError> {
        TargetCheck::of(&self.folder, &self.path)
    }

    pub(crate) fn model_path(&self) -> PathBuf {
        self.path.join(MODEL_FOLDER)
    }

    pub(crate) fn refuse_present_model(&self) -> Result<(), TargetError> {
        match rustix::fs::statat(&self.folder, MODEL_NAME, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(failure("look at", &self.model_path(), error)),
            Ok(_) => Err(TargetError::ModelPresent { path: self.model_path() }),
        }
    }

    /// Wipes what a crash during an earlier opening left behind.
    pub(crate) fn wipe_leftovers(&self) -> Result<(), TargetError> {
        for name in self.leftovers()? {
            wipe(&self.folder, &name, &self.path.join(name.to_string_lossy().as_ref()))?;
        }
        Ok(())
    }

    /// The folders in which models were being opened.
    fn leftovers(&self) -> Result<Vec<CString>, TargetError> {
        let entries = Dir::read_from(&self.folder)
            .and_then(|entries| entries.collect::<Result<Vec<_>, _>>())
            .map_err(|error| failure("read the folder", &self.path, error))?;
        let names = entries.iter().map(|entry| entry.file_name().to_owned());
        Ok(names.filter(|name| name.to_bytes().starts_with(STAGING_PREFIX.as_bytes())).collect())
    }

    fn is_clean(&self) -> Result<bool, TargetError> {
        match self.refuse_present_model() {
            Err(TargetError::ModelPresent { .. }) => Ok(false),
            Err(error) => Err(error),
            Ok(()) => Ok(self.leftovers()?.is_empty()),
        }
    }

    pub(crate) fn wipe_model(&self) -> Result<(), TargetError> {
        wipe(&self.folder, MODEL_NAME, &self.model_path())
    }
}

pub(crate) fn failure(action: &'static str, path: &Path, error: Errno) -> TargetError {
    TargetError::Io { action, path: path.to_owned(), source: error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check() -> TargetCheck {
        TargetCheck {
            path: "/target".into(),
            filesystem: TMPFS_MAGIC,
            memory_backed: true,
            available_bytes: 1000,
            swap: None,
            huge_pages: HugePages::Unknown,
        }
    }

    #[test]
    fn a_disk_is_refused_unless_the_insecure_policy_says_otherwise() {
        let disk = TargetCheck { filesystem: 0xef53, memory_backed: false, ..check() };
        assert!(matches!(
            disk.enforce(TargetPolicy::MemoryBackedOnly, SwapPolicy::Refuse, 1),
            Err(TargetError::NotMemoryBacked { filesystem: 0xef53, .. })
        ));
        assert!(disk.enforce(TargetPolicy::InsecureAnyFilesystem, SwapPolicy::Refuse, 1).is_ok());
    }

    #[test]
    fn active_swap_is_refused_unless_the_insecure_policy_says_otherwise() {
        let swapped = TargetCheck { swap: Some("/dev/sda2".into()), ..check() };
        assert!(matches!(
            swapped.enforce(TargetPolicy::MemoryBackedOnly, SwapPolicy::Refuse, 1),
            Err(TargetError::Swap { device, .. }) if device == "/dev/sda2"
        ));
        assert!(
            swapped.enforce(TargetPolicy::MemoryBackedOnly, SwapPolicy::InsecureAllow, 1).is_ok()
        );
    }

    #[test]
    fn too_little_room_is_refused() {
        let enforce = |required| {
            check().enforce(TargetPolicy::MemoryBackedOnly, SwapPolicy::Refuse, required)
        };
        assert!(enforce(1000).is_ok());
        assert!(matches!(
            enforce(1001),
            Err(TargetError::NoRoom { required: 1001, available: 1000, .. })
        ));
    }

    #[test]
    fn dev_shm_is_memory_backed_and_has_room() {
        let Ok(check) = TargetCheck::probe(Path::new("/dev/shm")) else {
            eprintln!("skipped: this machine has no /dev/shm");
            return;
        };
        assert!(check.memory_backed && check.available_bytes > 0, "{check:?}");
    }

    #[test]
    fn the_kernel_files_are_read_as_they_are_written() {
        let swaps = "Filename\t\t\t\tType\t\tSize\n/dev/zram0 partition\t1\t0\t100\n";
        assert_eq!(first_swap(&Some(swaps.into())).as_deref(), Some("/dev/zram0"));
        assert_eq!(first_swap(&Some("Filename\tType\n".into())), None);
        let meminfo = "MemTotal: 10 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(free_memory(&Some(meminfo.into())), Some(1024 * 1024));
        let mounts = "36 25 0:31 / /dev/shm rw,nosuid - tmpfs tmpfs rw,noswap,size=1k\n";
        assert!(is_noswap(Some(mounts), rustix::fs::makedev(0, 31)));
        assert!(!is_noswap(Some(mounts), rustix::fs::makedev(0, 32)));
    }

    #[test]
    fn a_target_is_used_by_one_opener_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let held = Target::acquire(folder.path()).unwrap();
        assert!(matches!(Target::acquire(folder.path()), Err(TargetError::Busy { .. })));
        drop(held);
        assert!(Target::acquire(folder.path()).is_ok());
    }
}
