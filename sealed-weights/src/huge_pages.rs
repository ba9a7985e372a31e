//! Whether a target takes huge pages, and what an operator gains by switching them on.
//!
//! In: what the kernel says of a mount and of its transparent huge pages. Out: [`HugePages`], which the
//! log and `adyton doctor` show. It decides how fast opening is, never whether a model is opened.
//!
//! Fresh pages of 4 KiB are what a model pays most for in memory: the kernel allocates and clears 512 of
//! them where one huge page would do.

use rustix::fs::{major, minor};

const ON_ADVICE: &str = "mounted with huge=advise";

/// What a target's file system does about huge pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HugePages {
    /// Files get them: `huge=always`, `within_size` or `advise` of the mount, which we follow.
    Given {
        /// The mount's policy.
        policy: String,
    },
    /// Files get pages of 4 KiB.
    NotGiven {
        /// Why: the mount's policy, or the kernel's.
        policy: String,
    },
    /// Not a tmpfs, or the kernel says nothing.
    Unknown,
}

impl HugePages {
    /// Whether opened files lie in huge pages.
    pub fn are_given(&self) -> bool {
        matches!(self, Self::Given { .. })
    }

    /// Whether the kernel gives them on advice only. Where they come without, advice does harm: with it, the
    /// kernel stops to make a huge page when none is free, which takes longer than small ones would.
    pub(crate) fn need_advice(&self) -> bool {
        matches!(self, Self::Given { policy } if policy == ON_ADVICE)
    }

    /// For people: what is so.
    pub fn describe(&self) -> String {
        match self {
            Self::Given { policy } => format!("huge pages ({policy})"),
            Self::NotGiven { policy } => format!("pages of 4 KiB ({policy})"),
            Self::Unknown => "pages of a size that the kernel does not tell".to_owned(),
        }
    }

    /// For people: what to do, and what it gains.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::NotGiven { .. } => Some(
                "mount the target with `huge=within_size` (`mount -o remount,huge=within_size DIR`), or make that the \
                 default of every tmpfs (`transparent_hugepage_tmpfs=within_size` at boot, Linux 6.14); \
                 weights then open two to three times as fast",
            ),
            Self::Given { .. } | Self::Unknown => None,
        }
    }
}

/// From the mount of `device` in `/proc/self/mountinfo`, and the kernel's `shmem_enabled`.
pub(crate) fn of_tmpfs(
    mountinfo: Option<&str>,
    shmem_enabled: Option<&str>,
    device: u64,
) -> HugePages {
    let Some(options) = mountinfo.and_then(|text| super_options(text, device)) else {
        return HugePages::Unknown;
    };
    // The kernel's own switch overrides every mount with these two words only.
    let kernel = shmem_enabled.and_then(chosen);
    if kernel == Some("deny") {
        return HugePages::NotGiven { policy: "shmem_enabled is `deny`".to_owned() };
    }
    let mounted = options.split(',').find_map(|option| option.strip_prefix("huge="));
    match (mounted, kernel) {
        (_, Some("force")) => HugePages::Given { policy: "shmem_enabled is `force`".to_owned() },
        (Some(policy @ ("always" | "within_size" | "advise")), _) => {
            HugePages::Given { policy: format!("mounted with huge={policy}") }
        }
        (Some(policy), _) => HugePages::NotGiven { policy: format!("mounted with huge={policy}") },
        (None, _) => HugePages::NotGiven { policy: "mounted without `huge=`".to_owned() },
    }
}

/// The word in brackets: `always within_size advise [never] deny force`.
fn chosen(text: &str) -> Option<&str> {
    text.split_once('[')?.1.split_once(']').map(|(word, _)| word)
}

/// The options of the file system, the last field of its line in mountinfo.
pub(crate) fn super_options(mountinfo: &str, device: u64) -> Option<&str> {
    let device = format!("{}:{}", major(device), minor(device));
    mountinfo.lines().find_map(|line| {
        let mut words = line.split(' ');
        (words.nth(2) == Some(device.as_str())).then(|| words.next_back()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHMEM: &str = "always within_size advise [never] deny force\n";

    fn of(options: &str, shmem: &str) -> HugePages {
        let mounts = format!("36 25 0:31 / /models rw - tmpfs tmpfs {options}\n");
        of_tmpfs(Some(&mounts), Some(shmem), rustix::fs::makedev(0, 31))
    }

    #[test]
    fn the_mount_decides_unless_the_kernel_overrides_it() {
        for (options, shmem, given) in [
            ("rw,size=1k", SHMEM, false),
            ("rw,huge=never", SHMEM, false),
            ("rw,huge=always", SHMEM, true),
            ("rw,huge=within_size,size=1k", SHMEM, true),
            ("rw,huge=advise", SHMEM, true),
            ("rw,huge=always", "always within_size advise never [deny] force", false),
            ("rw", "always within_size advise never deny [force]", true),
        ] {
            assert_eq!(of(options, shmem).are_given(), given, "{options} {shmem}");
            assert_eq!(of(options, shmem).remedy().is_none(), given, "{options} {shmem}");
            let advised = given && options.contains("huge=advise");
            assert_eq!(of(options, shmem).need_advice(), advised, "{options} {shmem}");
        }
    }

    #[test]
    fn what_the_kernel_does_not_tell_is_not_known() {
        let device = rustix::fs::makedev(0, 32);
        assert_eq!(of_tmpfs(None, Some(SHMEM), device), HugePages::Unknown);
        let other = "36 25 0:31 / /models rw - tmpfs tmpfs rw\n";
        assert_eq!(of_tmpfs(Some(other), Some(SHMEM), device), HugePages::Unknown);
    }
}
