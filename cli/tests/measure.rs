//! `adyton measure`: known digests, computed by others, and a refusal for what cannot be computed.

mod stand;

use adyton_attestation::ReferenceValues;
use adyton_fake_tee::{FakeEvent, FakeEventLog};
use serde_json::Value;
use stand::{Ran, Stand, vector};

const AMD_SEV: &str = "sev/measurement/ovmf_AmdSev_suffix.bin";
const OVMF_X64: &str = "sev/measurement/ovmf_OvmfX64_suffix.bin";

/// Arguments after `--ovmf AMD_SEV` and the launch digest. The first four are those of the tests of `sev` 8
/// and of the calculator `sev-snp-measure` 0.0.13 (Python); the others were computed by the latter.
const SNP_DIGESTS: &[(&str, &[&str], &str)] = &[
    (
        AMD_SEV,
        &["--vcpus", "1", "--vcpu-type", "EPYC-v4"],
        "19358ba9a7615534a9a1e2f0dfc29384dcd4dcb7062ff9c6013b26869a5fc6ecabe033c48dd6f6db5d6d76e7c5df632d",
    ),
    (
        AMD_SEV,
        &[
            "--vcpus",
            "1",
            "--vcpu-type",
            "epyc-v4",
            "--guest-features",
            "0x21",
            "--kernel",
            "empty",
            "--initrd",
            "empty",
            "--append",
            "console=ttyS0 loglevel=7",
        ],
        "803f691094946e42068aaa3a8f9e26a5c89f36f7b73ecfb28c653360fe4b3aba7e534442e7e1e17895dfe778d0228977",
    ),
    (
        AMD_SEV,
        &[
            "--vcpus",
            "1",
            "--vcpu-type",
            "EPYC-v4",
            "--guest-features",
            "0x21",
            "--kernel",
            "empty",
            "--initrd",
            "empty",
            "--ovmf-hash",
            "086e2e9149ebf45abdc3445fba5b2da8270bdbb04094d7a2c37faaa4b24af3aa16aff8c374c2a55c467a50da6d466b74",
        ],
        "329c8ce0972ae52343b64d34a434a86f245dfd74f5ed7aae15d22efc78fb9683632b9b50e4e1d7fa41179ef98a7ef198",
    ),
    (
        OVMF_X64,
        &["--vcpus", "1", "--vcpu-type", "EPYC-v4", "--guest-features", "0x21"],
        "28797ae0afaba4005a81e629acebfb59e6687949d6be44007cd5506823b0dd66f146aaae26ff291eed7b493d8a64c385",
    ),
    (
        AMD_SEV,
        &[
            "--vcpus",
            "4",
            "--vcpu-type",
            "EPYC-v4",
            "--guest-features",
            "0x21",
            "--kernel",
            "kernel",
            "--initrd",
            "initrd",
            "--append",
            "console=ttyS0 root=/dev/vda1",
        ],
        "e8d8c3f93b2077d9afb252d259a32f25f3c30f35b408dc62b1701e01986c131f2a18640f3cf5dea33fce21f6475d4a8a",
    ),
    (
        AMD_SEV,
        &["--vcpus", "4", "--vcpu-type", "EPYC-v4", "--kernel", "kernel"],
        "ea0dba44515dfd8bcc3024db8c2e34cebf3adc2870686f8365ae0b19b997c4051bc4e90ff139885aa8becb2c50108e22",
    ),
    (
        AMD_SEV,
        &["--vcpus", "2", "--vcpu-type", "EPYC-Genoa", "--kernel", "kernel", "--initrd", "initrd"],
        "dd61b248e9b19df738f204a8a338e90323536dd16729cf858e97fd91d0a54490bf65e0680543e530d5b49713afc90d06",
    ),
];

fn stand() -> Stand {
    let stand = Stand::new();
    stand.write("empty", b"");
    stand.write("kernel", b"kernel bytes");
    stand.write("initrd", b"initrd bytes");
    stand
}

fn measure_snp(stand: &Stand, ovmf: &str, words: &[&str]) -> Option<Ran> {
    let ovmf = vector(ovmf)?;
    let ovmf = ovmf.to_str().expect("UTF-8");
    let head = ["measure", "snp", "--ovmf", ovmf, "--name", "llama", "--output", "json"];
    Some(stand.run(&[&head, words].concat()))
}

fn set(reply: &Value) -> ReferenceValues {
    let toml = reply["toml"].as_str().expect("TOML");
    ReferenceValues::parse_toml(toml).expect("a set that a broker reads")
}

fn refused(ran: &Ran, code: &str, exit: i32) -> Value {
    assert_eq!((ran.code, ran.out.as_str()), (exit, ""), "{ran:?}");
    let error = ran.error();
    assert_eq!(error["code"], code, "{error}");
    assert_ne!(error["remedy"], "", "{error}");
    error
}

#[test]
fn snp_digests_are_those_that_other_calculators_give() {
    let stand = stand();
    assert_eq!(SNP_DIGESTS.len(), 7);
    for (ovmf, words, expected) in SNP_DIGESTS {
        let Some(ran) = measure_snp(&stand, ovmf, words) else { return };
        assert_eq!(ran.code, 0, "{words:?}: {ran:?}");
        let ReferenceValues::Snp(set) = set(&ran.json()) else { panic!("an SNP set") };
        let got: Vec<String> = set.measurement.iter().map(ToString::to_string).collect();
        assert_eq!(got, [*expected], "{ovmf} {words:?}");
        assert!(set.host_data.iter().all(|data| data.0 == [0; 32]) && set.host_data.len() == 1);
    }
}

#[test]
fn a_set_is_written_to_a_file_that_a_broker_reads() {
    let stand = stand();
    let out = stand.path("llama.toml");
    let host_data = "ab".repeat(32);
    let words = ["--vcpus", "1", "--vcpu-type", "EPYC-v4", "--host-data", &host_data, "--out"];
    let words = [&words[..], &[out.to_str().expect("UTF-8")]].concat();
    let Some(ran) = measure_snp(&stand, AMD_SEV, &words) else { return };
    assert_eq!(ran.code, 0, "{ran:?}");
    let written = std::fs::read_to_string(&out).expect("a file");
    assert_eq!(ran.json()["toml"], written);
    assert_eq!(ran.json()["file"], out.to_str().expect("UTF-8"));
    assert!(written.contains("# processors: 1 of type EPYC-v4\n"), "{written}");
    let ReferenceValues::Snp(set) = set(&ran.json()) else { panic!("an SNP set") };
    assert_eq!(set.host_data[0].to_string(), host_data);
    let left: Vec<_> = std::fs::read_dir(stand.folder.path()).expect("a folder").collect();
    assert_eq!(left.len(), 4, "the set and the three inputs, no temporary file: {left:?}");
}

#[test]
fn a_name_that_no_policy_can_name_is_refused() {
    let stand = stand();
    let Some(ovmf) = vector(AMD_SEV) else { return };
    let ovmf = ovmf.to_str().expect("UTF-8");
    let words = ["--vcpus", "1", "--vcpu-type", "EPYC", "--output", "json", "--name", "../llama"];
    let ran = stand.run(&[&["measure", "snp", "--ovmf", ovmf], &words[..]].concat());
    assert_eq!(refused(&ran, "measure.name", 2)["got"], "../llama");
}

#[test]
fn a_command_line_that_the_calculator_would_trim_is_refused() {
    let stand = stand();
    for append in [" quiet", "quiet ", "quiet\n"] {
        let words =
            ["--vcpus", "1", "--vcpu-type", "EPYC-v4", "--kernel", "kernel", "--append", append];
        let Some(ran) = measure_snp(&stand, AMD_SEV, &words) else { return };
        refused(&ran, "measure.snp.command-line", 2);
    }
}

#[test]
fn a_kernel_under_firmware_that_does_not_measure_it_is_refused() {
    let words = ["--vcpus", "1", "--vcpu-type", "EPYC-v4", "--kernel", "kernel"];
    let Some(ran) = measure_snp(&stand(), OVMF_X64, &words) else { return };
    refused(&ran, "measure.snp.kernel-unmeasured", 20);
}

#[test]
fn processors_that_the_firmware_cannot_start_are_refused() {
    let stand = stand();
    let Some(ovmf) = vector(AMD_SEV) else { return };
    let mut image = std::fs::read(ovmf).expect("an image");
    // The entry before the footer is the reset block: 4 bytes, length, GUID.
    let at = image.len() - 32 - 18 - 22;
    assert_eq!(image[at..at + 4], 0x80_b004_u32.to_le_bytes(), "the start address");
    image[at..at + 4].fill(0);
    stand.write("ovmf", &image);
    let head = ["measure", "snp", "--ovmf", "ovmf", "--name", "llama", "--vcpu-type", "EPYC"];
    let ran = stand.run(&[&head[..], &["--vcpus", "2", "--output", "json"]].concat());
    refused(&ran, "measure.snp.processors", 20);
    let ran = stand.run(&[&head[..], &["--vcpus", "1"]].concat());
    assert_eq!(ran.code, 0, "one processor needs no start address: {ran:?}");
}

#[test]
fn an_image_that_is_not_whole_pages_is_refused() {
    let stand = stand();
    let Some(ovmf) = vector(AMD_SEV) else { return };
    let image = std::fs::read(ovmf).expect("an image");
    stand.write("ovmf", &[&[0; 16], &image[..]].concat());
    let words = ["--vcpus", "1", "--vcpu-type", "EPYC", "--output", "json"];
    let head = ["measure", "snp", "--ovmf", "ovmf", "--name", "llama"];
    let ran = stand.run(&[&head[..], &words].concat());
    refused(&ran, "measure.snp.firmware-length", 30);
}

#[test]
fn files_that_are_missing_foreign_or_too_long_are_refused() {
    let stand = stand();
    std::fs::File::create(stand.path("long"))
        .expect("file")
        .set_len(16 * 1024 * 1024 + 1)
        .expect("sparse");
    stand.write("foreign", &[0xff; 8192]);
    let snp = ["measure", "snp", "--vcpus", "1", "--vcpu-type", "EPYC", "--name", "x", "--ovmf"];
    let tdx = ["measure", "tdx", "--name", "x", "--firmware"];
    for head in [&snp[..], &tdx[..]] {
        for (file, code, exit) in [
            ("missing", "file.unreadable", 2),
            (".", "file.not-a-file", 2),
            ("long", "file.too-long", 30),
            ("foreign", "measure.firmware", 30),
            ("empty", "measure.firmware", 30),
        ] {
            let ran = stand.run(&[head, &[file, "--output", "json"]].concat());
            refused(&ran, code, exit);
        }
    }
    for (flag, file, code) in
        [("--kernel", "missing", "file.unreadable"), ("--kernel", ".", "file.not-a-file")]
    {
        let words = ["--vcpus", "1", "--vcpu-type", "EPYC", flag, file];
        let Some(ran) = measure_snp(&stand, AMD_SEV, &words) else { return };
        refused(&ran, code, 2);
    }
}

#[test]
fn features_and_processors_that_no_snp_guest_has_are_usage_errors() {
    let stand = stand();
    let head = ["measure", "snp", "--ovmf", "empty", "--name", "x"];
    for words in [
        ["--vcpus", "0", "--vcpu-type", "EPYC", "--guest-features", "0x1"],
        ["--vcpus", "4097", "--vcpu-type", "EPYC", "--guest-features", "0x1"],
        ["--vcpus", "1", "--vcpu-type", "Opteron", "--guest-features", "0x1"],
        ["--vcpus", "1", "--vcpu-type", "EPYC", "--guest-features", "0x20"],
        ["--vcpus", "1", "--vcpu-type", "EPYC", "--guest-features", "1"],
        ["--vcpus", "1", "--vcpu-type", "EPYC", "--append", "quiet"],
    ] {
        let ran = stand.run(&[&head[..], &words].concat());
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{words:?}: {ran:?}");
    }
}

/// A TDX image of three pages: variables, then two pages of code with the table at their end.
fn td_image() -> Vec<u8> {
    let mut image: Vec<u8> = (0..0x3000_u32).map(|at| (at % 251) as u8).collect();
    let number = |value: u64, len: usize| value.to_le_bytes()[..len].to_vec();
    let mut descriptor = b"TDVF".to_vec();
    for value in [16 + 32 * 3, 1, 3] {
        descriptor.extend(number(value, 4));
    }
    for (offset, raw, address, size, kind, attributes) in [
        (0x1000, 0x2000, 0xffff_e000, 0x2000, 0, 1),
        (0, 0x1000, 0xffff_d000, 0x1000, 1, 0),
        (0, 0, 0x80_9000, 0x2000, 2, 0),
    ] {
        descriptor.extend([number(offset, 4), number(raw, 4)].concat());
        descriptor.extend([number(address, 8), number(size, 8)].concat());
        descriptor.extend([number(kind, 4), number(attributes, 4)].concat());
    }
    image[..descriptor.len()].copy_from_slice(&descriptor);
    let metadata = hex::decode("35657ae44a989847865e4685a7bf8ec2").expect("a GUID");
    let footer = hex::decode("de82b596b21ff745baeaa366c55a082d").expect("a GUID");
    let entry = [number(0x3000, 4), number(22, 2), metadata].concat();
    let table = [entry, number(22 + 18, 2), footer].concat();
    let at = image.len() - 32 - table.len();
    image[at..at + table.len()].copy_from_slice(&table);
    image
}

/// MRTD of [`td_image`], computed by a program of its own (Python's `struct` and `hashlib`).
const PAGE_BY_PAGE: &str = "5f6498b2b9ce22f1e42e7331a539e841b2f06e1c6a18c186bf1879d6d5c5359bc92f8f711387a129053d1e1287d2e81c";
const REGION_BY_REGION: &str = "6e7196c2356908607acc31748246bec4155810d2e9c2a3fe868790505e82766f1e0070d983a934e6ad990f721d74498e";

fn measure_tdx(stand: &Stand, words: &[&str]) -> Ran {
    stand.write("ovmf", &td_image());
    let head = ["measure", "tdx", "--firmware", "ovmf", "--name", "llama", "--output", "json"];
    stand.run(&[&head[..], words].concat())
}

#[test]
fn mrtd_of_an_image_is_the_one_that_another_program_computes() {
    let stand = stand();
    for (words, expected) in [
        (&["--record-order", "page-by-page"][..], &[PAGE_BY_PAGE][..]),
        (&["--record-order", "region-by-region"], &[REGION_BY_REGION]),
        (&[], &[PAGE_BY_PAGE, REGION_BY_REGION]),
    ] {
        let ran = measure_tdx(&stand, words);
        assert_eq!(ran.code, 0, "{ran:?}");
        let ReferenceValues::Tdx(set) = set(&ran.json()) else { panic!("a TDX set") };
        let got: Vec<String> = set.mrtd.iter().map(ToString::to_string).collect();
        assert_eq!(got, expected, "{words:?}");
        assert!(set.mrconfigid.len() == 1 && set.mrconfigid[0].is_zero());
    }
}

#[test]
fn without_an_event_log_the_other_registers_match_nothing_and_it_says_so() {
    let ran = measure_tdx(&stand(), &[]);
    let ReferenceValues::Tdx(set) = set(&ran.json()) else { panic!("a TDX set") };
    for register in [&set.rtmr0, &set.rtmr1, &set.rtmr2, &set.rtmr3] {
        assert!(register.is_empty(), "{register:?}");
    }
    assert!(ran.err.contains("measure.tdx.registers-open"), "{}", ran.err);
}

#[test]
fn the_event_log_of_a_boot_gives_the_registers_of_that_boots_quote() {
    let stand = stand();
    let Some(log) = vector("go-tdx-guest/ccel/ccel_data.dat") else { return };
    let Some(expected) = vector("EXPECTED.json") else { return };
    let expected: Value =
        serde_json::from_slice(&std::fs::read(expected).expect("readable")).expect("JSON");
    let quote = &expected["tdx"]["go-tdx-guest/ccel/cos-113-tdx-quote.dat"];
    let mrconfigid = "cd".repeat(48);
    let log = log.to_str().expect("UTF-8");
    let ran = measure_tdx(&stand, &["--event-log", log, "--mrconfigid", &mrconfigid]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "no warning");
    let ReferenceValues::Tdx(set) = set(&ran.json()) else { panic!("a TDX set") };
    let registers = [&set.rtmr0, &set.rtmr1, &set.rtmr2, &set.rtmr3];
    for (register, name) in registers.into_iter().zip(["rtmr0", "rtmr1", "rtmr2", "rtmr3"]) {
        let got: Vec<String> = register.iter().map(ToString::to_string).collect();
        assert_eq!(got, [quote[name].as_str().expect("hex")], "{name}");
    }
    assert_eq!(set.mrconfigid[0].to_string(), mrconfigid);
}

#[test]
fn registers_are_not_guessed_from_a_kernel() {
    let stand = stand();
    for (words, got) in [
        (&["--kernel", "kernel"][..], "--kernel"),
        (&["--initrd", "initrd", "--append", "quiet"], "--initrd, --append"),
    ] {
        let error = refused(&measure_tdx(&stand, words), "measure.tdx.registers-unpredictable", 20);
        assert_eq!(error["got"], got);
        for missing in ["TD HOB", "ACPI tables", "partition table"] {
            assert!(error["expected"].as_str().expect("text").contains(missing), "{error}");
        }
    }
}

/// The log of a boot by GRUB of `kernel` and `initrd`, and by the EFI stub of the command line.
fn log_of(kernel: &[u8], initrd: &[u8], command_line: &str) -> Vec<u8> {
    let wide: Vec<u8> = command_line.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let events = vec![
        FakeEvent::described(1, 0x8000_000a, b"firmware volume", b"Fv"),
        FakeEvent::described(3, 13, kernel, b"grub_linuxefi Kernel\0"),
        FakeEvent::described(3, 6, &wide, b"LOADED_IMAGE::LoadOptions"),
        FakeEvent::described(3, 6, initrd, b"Linux initrd"),
    ];
    FakeEventLog { events }.to_bytes()
}

#[test]
fn the_event_log_of_a_boot_with_these_files_says_where_each_was_measured() {
    let stand = stand();
    stand.write("ccel", &log_of(b"the kernel", b"the initrd", "console=hvc0 ro"));
    stand.write("vmlinuz", b"the kernel");
    stand.write("initrd.img", b"the initrd");
    let files = ["--event-log", "ccel", "--kernel", "vmlinuz", "--initrd", "initrd.img"];
    let words = [&files[..], &["--append", "console=hvc0 ro"]].concat();
    let ran = measure_tdx(&stand, &words);
    assert_eq!(ran.code, 0, "{ran:?}");
    let origin = &ran.json()["origin"];
    for (what, told) in [
        ("kernel", "as the digest of the file in rtmr2"),
        ("initrd", "as the digest of the file in rtmr2"),
        ("command line", "\"console=hvc0 ro\", as the digest of its UTF-16 form in rtmr2"),
    ] {
        assert!(origin[what].as_str().is_some_and(|text| text.ends_with(told)), "{origin}");
    }
    let ReferenceValues::Tdx(set) = set(&ran.json()) else { panic!("a TDX set") };
    assert!(!set.rtmr2[0].is_zero());
}

#[test]
fn the_event_log_of_another_boot_is_refused_for_each_file_that_differs() {
    let stand = stand();
    stand.write("ccel", &log_of(b"the kernel", b"the initrd", "console=hvc0 ro"));
    stand.write("vmlinuz", b"another kernel");
    stand.write("initrd.img", b"another initrd");
    for (what, words) in [
        ("kernel", ["--kernel", "vmlinuz"]),
        ("initrd", ["--initrd", "initrd.img"]),
        ("command line", ["--append", "console=hvc0"]),
    ] {
        let words = [&["--event-log", "ccel"][..], &words].concat();
        let error = refused(&measure_tdx(&stand, &words), "measure.tdx.other-boot", 10);
        assert!(error["message"].as_str().expect("text").ends_with(what), "{error}");
    }
}

#[test]
fn bytes_that_are_no_event_log_are_refused() {
    let stand = stand();
    let ran = measure_tdx(&stand, &["--event-log", "kernel"]);
    refused(&ran, "measure.tdx.event-log", 30);
    std::fs::File::create(stand.path("long"))
        .expect("file")
        .set_len(1024 * 1024 + 1)
        .expect("sparse");
    refused(&measure_tdx(&stand, &["--event-log", "long"]), "file.too-long", 30);
}

#[test]
fn half_of_an_image_is_refused_with_a_remedy() {
    let stand = stand();
    stand.write("code", &td_image()[0x1000..]);
    let words = ["--firmware", "code", "--name", "llama", "--output", "json"];
    let ran = stand.run(&[&["measure", "tdx"], &words[..]].concat());
    let error = refused(&ran, "measure.firmware", 30);
    assert!(error["remedy"].as_str().expect("text").contains("whole"), "{error}");
}
