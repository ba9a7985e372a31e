//! SNP reports of real machines with their real certificates: every verdict and every field.
//!
//! The vectors are not part of the project; where they are looked for stands in `real_vectors.rs`.

use std::path::{Path, PathBuf};

use adyton_attestation::evidence::SnpEvidence;
use adyton_attestation::evidence::snp::SnpFormatError;
use adyton_attestation::{Evidence, Tee};
use serde_json::{Map, Value};

/// The folder with vectors, or `None` after saying why the test is skipped.
fn vectors() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let folder = match std::env::var_os("ADYTON_VECTORS") {
        Some(folder) => PathBuf::from(folder),
        None => beside,
    };
    if folder.join("EXPECTED.json").is_file() {
        return Some(folder);
    }
    let must = std::env::var_os("ADYTON_VECTORS_REQUIRED").is_some();
    assert!(!must, "ADYTON_VECTORS_REQUIRED is set, but no vectors are at {}", folder.display());
    println!("skipped: no real vectors at {} (set ADYTON_VECTORS)", folder.display());
    None
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The report of a vector: `name@0x20` is one inside a larger file, and `report_milan.bin` is kept as hex.
fn report(folder: &Path, name: &str) -> Vec<u8> {
    match name.split_once('@') {
        Some((file, _)) => read(folder, file)[0x20..0x20 + 1184].to_vec(),
        None if name.ends_with("report_milan.bin") => {
            let text = read(folder, &name.replace(".bin", ".hex"));
            hex::decode(text.trim_ascii()).expect("hex")
        }
        None => read(folder, name),
    }
}

fn expected(folder: &Path) -> Map<String, Value> {
    let all: Value = serde_json::from_slice(&read(folder, "EXPECTED.json")).expect("JSON");
    all["snp"].as_object().expect("an object of reports").clone()
}

fn evidence(folder: &Path, name: &str) -> SnpEvidence {
    SnpEvidence::parse(&report(folder, name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn every_field_of_every_report_is_read_as_listed() {
    let Some(folder) = vectors() else { return };
    let all = expected(&folder);
    assert_eq!(all.len(), 6, "more vectors? look at each in the same commit");
    for (name, listed) in &all {
        let evidence = evidence(&folder, name);
        let report = evidence.report();
        let text = |member: &str| listed[member].as_str().expect(member).to_owned();
        let number = |member: &str| {
            u64::from_str_radix(text(member).trim_start_matches("0x"), 16).expect(member)
        };
        assert_eq!(listed["version"], report.version.number(), "{name}");
        assert_eq!(listed["guest_svn"], report.guest_svn, "{name}");
        assert_eq!(listed["vmpl"], report.vmpl, "{name}");
        assert_eq!(listed["sig_algo"], report.signature_algorithm, "{name}");
        assert_eq!(number("policy"), report.policy.0, "{name}");
        assert_eq!(number("plat_info"), report.platform_info.0, "{name}");
        assert_eq!(number("key_info"), u64::from(report.key_info.0), "{name}");
        for (member, got) in [
            ("report_data", hex::encode(report.report_data.0)),
            ("measurement", report.measurement.to_string()),
            ("host_data", report.host_data.to_string()),
            ("id_key_digest", report.id_key_digest.to_string()),
            ("author_key_digest", report.author_key_digest.to_string()),
            ("report_id", report.report_id.to_string()),
            ("chip_id", report.chip_id.to_string()),
            ("current_tcb", hex::encode(report.current_tcb.0)),
            ("reported_tcb", hex::encode(report.reported_tcb.0)),
            ("committed_tcb", hex::encode(report.committed_tcb.0)),
            ("launch_tcb", hex::encode(report.launch_tcb.0)),
        ] {
            assert_eq!(text(member), got, "{name}: {member}");
        }
        let cpuid = report.cpuid.map_or([0; 3], |c| [c.family, c.model, c.stepping]);
        assert_eq!(text("cpuid"), hex::encode(cpuid), "{name}");
    }
}

#[test]
fn every_report_survives_the_kbs_form_byte_for_byte() {
    let Some(folder) = vectors() else { return };
    for name in expected(&folder).keys() {
        let evidence = evidence(&folder, name);
        let json = evidence.to_kbs();
        assert!(json.get("attestation_report").is_some(), "{name} went out as bytes");
        let again = SnpEvidence::parse_kbs(&json).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(again.raw(), evidence.raw(), "{name}");
    }
}

#[test]
fn evidence_of_another_kbs_client_is_the_report_of_its_machine() {
    let Some(folder) = vectors() else { return };
    let json: Value =
        serde_json::from_slice(&read(&folder, "trustee/snp/kbs-evidence-genoa-v3.json"))
            .expect("JSON");
    let Ok(Evidence::Snp(evidence)) = Evidence::parse_kbs(Tee::Snp, &json) else { panic!("SNP") };
    assert_eq!(evidence.raw().as_slice(), read(&folder, "trustee/snp/genoa-v3-report.bin"));
    let certificates: Vec<_> = evidence.certificates().iter().collect();
    assert_eq!(certificates.len(), 1);
    assert_eq!(certificates[0].1, read(&folder, "trustee/snp/genoa-v3-vcek.der"));
    // And back: member by member what `sev` wrote, but for members that it leaves out.
    let ours = evidence.to_kbs();
    let theirs = json["attestation_report"].as_object().expect("an object");
    for (member, value) in theirs {
        assert_eq!(&ours["attestation_report"][member], value, "{member}");
    }
    assert_eq!(ours["cert_chain"], json["cert_chain"]);
}

#[test]
fn a_file_with_a_report_is_recognised_in_every_form() {
    let Some(folder) = vectors() else { return };
    let raw = report(&folder, "trustee/snp/genoa-v3-report.bin");
    let json = read(&folder, "trustee/snp/kbs-evidence-genoa-v3.json");
    for file in [raw.clone(), hex::encode(&raw).into_bytes(), json] {
        let Ok(Evidence::Snp(evidence)) = Evidence::parse_file(&file) else { panic!("SNP") };
        assert_eq!(evidence.raw().as_slice(), raw);
    }
}

#[test]
fn a_reserved_byte_that_is_not_zero_is_refused_where_it_stands() {
    let Some(folder) = vectors() else { return };
    let sound = report(&folder, "trustee/snp/genoa-v3-report.bin");
    for offset in [0x4c, 0x4f, 0x18b, 0x19f, 0x1eb, 0x1ef, 0x1f8, 0x208, 0x29f, 0x330, 0x49f] {
        let mut raw = sound.clone();
        raw[offset] = 1;
        let refused = SnpEvidence::parse(&raw).map(|_| ());
        assert_eq!(refused, Err(SnpFormatError::Reserved { offset, got: 1 }));
    }
}
