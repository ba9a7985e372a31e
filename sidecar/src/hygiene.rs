//! Makes the process a place where keys may live.
//!
//! Role: first rung of the ladder, before any secret exists. Out: [`Hardened`], which
//! [`release`](crate::release) demands before it asks anybody for a key.
//! Against: core dumps, `ptrace` and `/proc/PID/mem` by a neighbour of the same user, pages that
//! reach a disk by swap. It cannot help against root in the guest; `memfd_secret` does for keys.

use std::io;

use adyton_attestation::report::{KeyMemory, Protections};
use adyton_sealed_weights::locked_memory::{LockedMemoryError, Protection, protection};
use rustix::process::{DumpableBehavior, Resource, Rlimit, setrlimit};

use crate::error::{Exit, Refusal};

/// The kernel's list of swap areas.
pub const PROC_SWAPS: &str = "/proc/swaps";

/// What to do when the kernel may write our pages to a swap device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// Refuse to start.
    Refuse,
    /// `insecure_allow_swap`: plaintext weights may reach a disk.
    InsecureAllow,
}

/// Proof that the process was hardened. It does not prove anything about other processes.
#[derive(Debug)]
pub struct Hardened(Protections);

/// Why the process cannot hold keys.
#[derive(Debug, thiserror::Error)]
pub enum HygieneError {
    /// The kernel refused one of the protections.
    #[error("the kernel refused {what}")]
    Kernel {
        /// The call.
        what: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Neither `memfd_secret` nor locked pages are to be had.
    #[error("there is no memory for keys")]
    KeyMemory(#[source] LockedMemoryError),
    /// The list of swap areas cannot be read, so nobody knows.
    #[error("the list of swap areas is not readable")]
    SwapUnknown(#[source] io::Error),
    /// Swap is on.
    #[error("swap is active on {areas}")]
    SwapActive {
        /// The swap areas, as the kernel names them.
        areas: String,
    },
}

/// Hardens this process. Call it before the first secret and before the first thread.
///
/// # Errors
/// [`HygieneError::Kernel`] for each protection that did not take, then
/// [`SwapUnknown`](HygieneError::SwapUnknown) and [`SwapActive`](HygieneError::SwapActive)
/// unless `swap` is [`Swap::InsecureAllow`], last [`KeyMemory`](HygieneError::KeyMemory).
pub fn harden(swap: Swap) -> Result<Hardened, HygieneError> {
    let kernel =
        |what| move |errno: rustix::io::Errno| HygieneError::Kernel { what, source: errno.into() };

    // 1. No ptrace, no /proc/PID/mem for others of this user, no core.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(kernel("PR_SET_DUMPABLE 0"))?;
    // 2. No core even if something makes the process dumpable again.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .map_err(kernel("RLIMIT_CORE 0"))?;
    // 3. No way up by a set-user-id program.
    rustix::thread::set_no_new_privs(true).map_err(kernel("PR_SET_NO_NEW_PRIVS"))?;
    // 4. No disk behind our pages.
    let areas =
        swap_areas(&std::fs::read_to_string(PROC_SWAPS).map_err(HygieneError::SwapUnknown)?);
    match swap {
        Swap::Refuse if !areas.is_empty() => {
            return Err(HygieneError::SwapActive { areas: areas.join(", ") });
        }
        Swap::Refuse | Swap::InsecureAllow => {}
    }

    // 5. Memory for keys that stays in memory.
    let key_memory = match protection().map_err(HygieneError::KeyMemory)? {
        Protection::MemfdSecret => KeyMemory::MemfdSecret,
        Protection::MlockedPages => KeyMemory::Mlock,
    };

    let dumpable = rustix::process::dumpable_behavior().map_err(kernel("PR_GET_DUMPABLE"))?;
    let core = rustix::process::getrlimit(Resource::Core);
    Ok(Hardened::assertion(Protections {
        key_memory,
        dumpable: dumpable != DumpableBehavior::NotDumpable,
        core_files: core.current != Some(0),
        swap: !areas.is_empty(),
    }))
}

/// The areas in the text of `/proc/swaps`; its first line is a heading.
pub fn swap_areas(proc_swaps: &str) -> Vec<String> {
    proc_swaps
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

impl Hardened {
    fn assertion(protections: Protections) -> Self {
        Self(protections)
    }

    /// What holds.
    pub fn protections(&self) -> &Protections {
        &self.0
    }
}

impl HygieneError {
    /// For the person who must mend it.
    pub fn refusal(&self) -> Refusal {
        let (code, value, expected, remedy) = match self {
            Self::Kernel { what, source } => (
                "hygiene.kernel",
                format!("{what}: {source}"),
                "a kernel that grants it".to_owned(),
                "look at the seccomp profile and the security context of this container",
            ),
            Self::KeyMemory(source) => (
                "hygiene.key-memory",
                crate::error::chain(source),
                "memfd_secret, or pages that may be locked".to_owned(),
                source.remedy(),
            ),
            Self::SwapUnknown(source) => (
                "hygiene.swap-unknown",
                format!("{PROC_SWAPS}: {source}"),
                "a readable list of swap areas".to_owned(),
                "mount /proc in this container",
            ),
            Self::SwapActive { areas } => (
                "hygiene.swap-active",
                areas.clone(),
                "no swap area".to_owned(),
                "switch swap off in the guest (swapoff -a); insecure_allow_swap = true lets \
                 plaintext weights reach that disk",
            ),
        };
        Refusal {
            code,
            step: "hygiene",
            value,
            expected,
            remedy: remedy.to_owned(),
            decision: None,
            codes: Vec::new(),
            exit: Exit::Unsupported,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_list_with_its_heading_alone_names_no_area() {
        assert_eq!(swap_areas("Filename\tType\tSize\tUsed\tPriority\n"), Vec::<String>::new());
        assert_eq!(swap_areas(""), Vec::<String>::new());
    }

    #[test]
    fn every_swap_area_is_named() {
        let text =
            "Filename Type Size Used Priority\n/dev/zram0 partition 1 0 100\n/swap file 2 0 -2\n";
        assert_eq!(swap_areas(text), ["/dev/zram0", "/swap"]);
    }

    #[test]
    fn a_hardened_process_is_not_dumpable_and_says_so() {
        let hardened = harden(Swap::InsecureAllow).expect("this kernel grants the protections");
        let held = hardened.protections();
        assert!(!held.dumpable && !held.core_files);
        assert!(rustix::thread::no_new_privs().expect("readable"));
        assert_eq!(
            rustix::process::dumpable_behavior().expect("readable"),
            DumpableBehavior::NotDumpable
        );
    }
}
