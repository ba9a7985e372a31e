//! How many huge pages the kernel gave while the weights were opened, and how many it could not.
//!
//! In: counters of the whole machine in `/proc/vmstat`; in a guest they are ours but for noise. Out: numbers
//! for log and metrics. They decide nothing.

use crate::phase::HugePageCount;

const VMSTAT: &str = "/proc/vmstat";

/// The counters as they stand, if the kernel tells.
pub(super) fn count() -> Option<HugePageCount> {
    of(&std::fs::read_to_string(VMSTAT).ok()?)
}

fn of(vmstat: &str) -> Option<HugePageCount> {
    let value = |name: &str| {
        let mut words = vmstat.lines().map(|line| line.split_once(' '));
        let (_, number) = words.find_map(|line| line.filter(|(found, _)| *found == name))?;
        number.trim().parse().ok()
    };
    Some(HugePageCount { given: value("thp_file_alloc")?, missed: value("thp_file_fallback")? })
}

/// What came between two looks.
pub(super) fn since(
    before: Option<HugePageCount>,
    after: Option<HugePageCount>,
) -> Option<HugePageCount> {
    let (before, after) = (before?, after?);
    Some(HugePageCount {
        given: after.given.saturating_sub(before.given),
        missed: after.missed.saturating_sub(before.missed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_of_vmstat_are_read_by_their_whole_names() {
        let text = "thp_fault_alloc 7\nthp_file_alloc 3\nthp_file_fallback 2\n\
                    thp_file_fallback_charge 9\n";
        let found = of(text);
        assert_eq!(found, Some(HugePageCount { given: 3, missed: 2 }));
        assert_eq!(of("thp_file_alloc 3\n"), None);
        let later = Some(HugePageCount { given: 10, missed: 2 });
        assert_eq!(since(found, later), Some(HugePageCount { given: 7, missed: 0 }));
        assert_eq!(since(None, later), None);
    }
}
