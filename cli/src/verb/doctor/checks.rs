//! What the facts mean: good, a warning or a fault, and what to do about it.
//!
//! In: a [`Machine`]. Out: findings, in the order in which an operator meets them. No IO. A fact that the kernel
//! does not tell is a warning, never good.

use adyton_sealed_weights::{SwapPolicy, TargetCheck, TargetError, TargetPolicy};

use super::Finding;
use super::machine::{Machine, with_causes};
use crate::table::byte_count;

/// What the keys of one sidecar take, with their guard pages, and as much again.
const LOCKED_BYTES: u64 = 128 * 1024;

pub(super) fn examine(machine: &Machine, required: Option<u64>) -> Vec<Finding> {
    let mut findings = vec![
        evidence(&machine.sources),
        cipher(machine.cpuinfo.as_deref()),
        locked_memory(machine.limits.as_deref()),
    ];
    match &machine.target {
        Ok(target) => findings.extend([
            file_system(target),
            room(target, required),
            swap(target, machine.swaps.as_deref()),
            target_pages(target),
        ]),
        Err(error) => {
            findings.push(Finding::fault("target", with_causes(error), error.remedy()));
        }
    }
    findings.push(anonymous_pages(machine.transparent.as_deref()));
    findings
}

fn evidence(sources: &[(&'static str, Result<String, String>)]) -> Finding {
    let found: Vec<_> = sources
        .iter()
        .filter_map(|(name, opened)| Some(format!("{} through {name}", opened.as_ref().ok()?)))
        .collect();
    if !found.is_empty() {
        return Finding::good("TEE", found.join(", "));
    }
    let why = sources
        .iter()
        .filter_map(|(name, opened)| Some(format!("{name}: {}", opened.as_ref().err()?)));
    Finding::fault(
        "TEE",
        format!("no source of Evidence answers ({})", why.collect::<Vec<_>>().join("; ")),
        "run this in a confidential VM; in a guest with configfs-tsm: mount -t configfs none /sys/kernel/config; \
         in a Confidential Containers pod: enable the guest API (agent.guest_components_rest_api=all)",
    )
}

fn cipher(cpuinfo: Option<&str>) -> Finding {
    // `flags` on x86-64, `Features` on Arm; every CPU has the same.
    let line = cpuinfo.and_then(|text| {
        text.lines().find(|line| line.starts_with("flags") || line.starts_with("Features"))
    });
    let Some(line) = line else {
        let remedy = "look for AES instructions in the CPU's data sheet";
        return Finding::warning("cipher", "the kernel does not tell the CPU's features", remedy);
    };
    let has = |feature| line.split_whitespace().any(|word| word == feature);
    match (has("aes"), has("vaes") && has("vpclmulqdq")) {
        (true, true) => Finding::good("cipher", "AES in wide vectors (VAES)"),
        (true, false) => Finding::good("cipher", "AES instructions"),
        (false, _) => Finding::warning(
            "cipher",
            "no AES instructions: weights open at a tenth of the speed",
            "choose a CPU model for the guest that passes `aes` (and `vaes`) through",
        ),
    }
}

fn locked_memory(limits: Option<&str>) -> Finding {
    let name = "locked memory";
    let soft = limits.and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
        line.split_whitespace().next()
    });
    let remedy = "raise it where the sidecar is started: `ulimit -l`, LimitMEMLOCK= of systemd, or the runtime's \
                  default ulimits";
    match soft.map(|soft| (soft, soft.parse::<u64>())) {
        Some(("unlimited", _)) => Finding::good(name, "unlimited"),
        Some((_, Ok(bytes))) if bytes >= LOCKED_BYTES => {
            Finding::good(name, format!("up to {}, for keys", byte_count(bytes)))
        }
        Some((_, Ok(bytes))) => {
            let found =
                format!("up to {}; keys need {}", byte_count(bytes), byte_count(LOCKED_BYTES));
            Finding::fault(name, found, remedy)
        }
        Some((_, Err(_))) | None => {
            Finding::warning(name, "the kernel does not tell the limit", remedy)
        }
    }
}

fn file_system(target: &TargetCheck) -> Finding {
    let path = target.path.display();
    match target.enforce(TargetPolicy::MemoryBackedOnly, SwapPolicy::InsecureAllow, 0) {
        Ok(()) => Finding::good("target", format!("{path} is in memory")),
        Err(error) => Finding::fault("target", error.to_string(), error.remedy()),
    }
}

fn room(target: &TargetCheck, required: Option<u64>) -> Finding {
    let there = byte_count(target.available_bytes);
    let Some(required) = required else {
        return Finding::good("room", format!("{there}; name a model with --model to compare"));
    };
    match target.enforce(TargetPolicy::InsecureAnyFilesystem, SwapPolicy::InsecureAllow, required) {
        Ok(()) => {
            Finding::good("room", format!("{there}; the model needs {}", byte_count(required)))
        }
        Err(error) => {
            let found = format!("{there}; the model needs {}", byte_count(required));
            Finding::fault("room", found, error.remedy())
        }
    }
}

fn swap(target: &TargetCheck, swaps: Option<&str>) -> Finding {
    match target.enforce(TargetPolicy::InsecureAnyFilesystem, SwapPolicy::Refuse, 0) {
        Err(error @ TargetError::Swap { .. }) => {
            Finding::fault("swap", error.to_string(), error.remedy())
        }
        // The target is spared; the process's own memory may not be.
        Ok(()) if swaps.is_some_and(|text| text.lines().count() > 1) => Finding::warning(
            "swap",
            "active, but the target is never swapped out",
            "switch it off all the same (`swapoff -a`): requests and answers pass through memory, too",
        ),
        Ok(()) | Err(_) => Finding::good("swap", "none"),
    }
}

fn target_pages(target: &TargetCheck) -> Finding {
    let found = target.huge_pages.describe();
    match (target.huge_pages.are_given(), target.huge_pages.remedy()) {
        (true, _) => Finding::good("pages of the target", found),
        (false, Some(remedy)) => Finding::warning("pages of the target", found, remedy),
        (false, None) => Finding::warning(
            "pages of the target",
            found,
            "use a tmpfs; it tells, and takes huge pages when mounted with `huge=within_size`",
        ),
    }
}

fn anonymous_pages(transparent: Option<&str>) -> Finding {
    let name = "transparent huge pages";
    let chosen = transparent
        .and_then(|text| text.split_once('['))
        .and_then(|(_, rest)| rest.split_once(']'))
        .map(|(word, _)| word);
    let remedy = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled";
    match chosen {
        Some(word @ ("always" | "madvise")) => Finding::good(name, word),
        Some(word) => {
            let found = format!("{word}: memory of the process comes in pages of 4 KiB");
            Finding::warning(name, found, remedy)
        }
        None => Finding::warning(name, "the kernel does not tell", remedy),
    }
}

#[cfg(test)]
mod tests {
    use adyton_sealed_weights::HugePages;

    use super::*;
    use crate::verb::doctor::Standing;

    fn target() -> TargetCheck {
        TargetCheck {
            path: "/models".into(),
            filesystem: 0x0102_1994,
            memory_backed: true,
            available_bytes: 1 << 30,
            swap: None,
            huge_pages: HugePages::Given { policy: "mounted with huge=always".into() },
        }
    }

    fn fit() -> Machine {
        Machine {
            sources: vec![("tsm", Ok("tdx".into())), ("coco", Err("refused".into()))],
            cpuinfo: Some("processor : 0\nflags\t\t: fpu aes vaes vpclmulqdq\n".into()),
            limits: Some(
                "Max locked memory         8388608              8388608    bytes\n".into(),
            ),
            swaps: Some("Filename Type Size Used Priority\n".into()),
            transparent: Some("always [madvise] never\n".into()),
            target: Ok(target()),
        }
    }

    fn of(change: impl FnOnce(&mut Machine), name: &str) -> Finding {
        let mut machine = fit();
        change(&mut machine);
        let findings = examine(&machine, Some(1 << 20));
        for other in findings.iter().filter(|finding| finding.name != name) {
            assert_eq!(other.standing, Standing::Good, "{other:?}");
        }
        let found = findings.into_iter().find(|finding| finding.name == name).expect("examined");
        assert_eq!(found.remedy.is_some(), found.standing != Standing::Good, "{found:?}");
        found
    }

    #[test]
    fn a_fit_machine_has_nothing_but_good_findings() {
        let findings = examine(&fit(), Some(1 << 20));
        assert!(findings.iter().all(|finding| finding.standing == Standing::Good), "{findings:#?}");
        assert_eq!(findings.len(), 8);
    }

    #[test]
    fn a_machine_without_a_tee_is_at_fault_and_told_what_each_source_said() {
        let found = of(|machine| machine.sources = vec![("tsm", Err("not mounted".into()))], "TEE");
        assert_eq!(found.standing, Standing::Fault);
        assert!(found.found.contains("tsm: not mounted"), "{found:?}");
    }

    #[test]
    fn a_cpu_without_aes_is_warned_of_and_whole_words_count() {
        let slow = |machine: &mut Machine| machine.cpuinfo = Some("flags : fpu vaes\n".into());
        assert_eq!(of(slow, "cipher").standing, Standing::Warning);
        let arm = |machine: &mut Machine| machine.cpuinfo = Some("Features : fp aes\n".into());
        assert_eq!(of(arm, "cipher").standing, Standing::Good);
        assert_eq!(of(|machine| machine.cpuinfo = None, "cipher").standing, Standing::Warning);
    }

    #[test]
    fn too_little_locked_memory_is_a_fault_and_an_unknown_limit_is_not_good() {
        let limit = |text: &'static str| {
            move |machine: &mut Machine| machine.limits = Some(format!("Max locked memory {text}"))
        };
        let name = "locked memory";
        assert_eq!(of(limit("65536 65536 bytes"), name).standing, Standing::Fault);
        assert_eq!(of(limit("unlimited unlimited bytes"), name).standing, Standing::Good);
        assert_eq!(of(limit("? ? bytes"), name).standing, Standing::Warning);
        assert_eq!(of(|machine| machine.limits = None, name).standing, Standing::Warning);
    }

    #[test]
    fn a_target_on_a_disk_or_without_room_is_a_fault() {
        let disk = |machine: &mut Machine| {
            machine.target =
                Ok(TargetCheck { filesystem: 0xef53, memory_backed: false, ..target() });
        };
        assert_eq!(of(disk, "target").standing, Standing::Fault);
        let small = |machine: &mut Machine| {
            machine.target = Ok(TargetCheck { available_bytes: 1 << 10, ..target() });
        };
        assert_eq!(of(small, "room").standing, Standing::Fault);
    }

    #[test]
    fn swap_is_a_fault_where_it_takes_the_target_and_a_warning_elsewhere() {
        let takes = |machine: &mut Machine| {
            machine.target = Ok(TargetCheck { swap: Some("/dev/sda2".into()), ..target() });
        };
        assert_eq!(of(takes, "swap").standing, Standing::Fault);
        let elsewhere = |machine: &mut Machine| {
            machine.swaps = Some("Filename Type\n/dev/sda2 partition\n".into());
        };
        assert_eq!(of(elsewhere, "swap").standing, Standing::Warning);
    }

    #[test]
    fn small_pages_are_warned_of_with_the_remedy_of_the_mount() {
        let small = |machine: &mut Machine| {
            let huge_pages = HugePages::NotGiven { policy: "mounted without `huge=`".into() };
            machine.target = Ok(TargetCheck { huge_pages, ..target() });
        };
        let found = of(small, "pages of the target");
        assert_eq!(found.standing, Standing::Warning);
        assert!(found.remedy.expect("a remedy").contains("huge=within_size"));
        let never = |machine: &mut Machine| machine.transparent = Some("always [never]".into());
        assert_eq!(of(never, "transparent huge pages").standing, Standing::Warning);
    }
}
