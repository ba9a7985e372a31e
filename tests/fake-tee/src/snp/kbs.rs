//! Takes a report apart into the JSON that CoCo's clients send. Member names are those of the crate
//! `sev`, which they use; bytes that this form has no place for are lost in it, as they are in theirs.

use serde_json::{Map, Value, json};

use crate::snp::FakeProduct;

/// `{"attestation_report": {…}, "cert_chain": [{"cert_type", "data"}]}`.
///
/// # Panics
/// When the report is shorter than a report.
pub(super) fn evidence(
    raw: &[u8],
    product: FakeProduct,
    certificates: &[(&'static str, Vec<u8>)],
) -> Value {
    let chain: Vec<Value> = certificates
        .iter()
        .map(|(label, der)| json!({ "cert_type": label, "data": der }))
        .collect();
    let chain = if chain.is_empty() { Value::Null } else { chain.into() };
    json!({ "attestation_report": members(raw, product), "cert_chain": chain })
}

fn members(raw: &[u8], product: FakeProduct) -> Value {
    let mut all = Map::new();
    let mut put = |name: &str, value: Value| {
        all.insert(name.to_owned(), value);
    };
    let number = |offset: usize, len: usize| {
        raw[offset..offset + len].iter().rev().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte))
    };
    let version = number(0x000, 4);
    put("version", version.into());
    for (name, offset, len) in [
        ("guest_svn", 0x004, 4),
        ("policy", 0x008, 8),
        ("vmpl", 0x030, 4),
        ("sig_algo", 0x034, 4),
        ("plat_info", 0x040, 8),
        ("key_info", 0x048, 4),
    ] {
        put(name, number(offset, len).into());
    }
    for (name, offset, len) in [
        ("family_id", 0x010, 16),
        ("image_id", 0x020, 16),
        ("report_data", 0x050, 64),
        ("measurement", 0x090, 48),
        ("host_data", 0x0c0, 32),
        ("id_key_digest", 0x0e0, 48),
        ("author_key_digest", 0x110, 48),
        ("report_id", 0x140, 32),
        ("report_id_ma", 0x160, 32),
        ("chip_id", 0x1a0, 64),
    ] {
        put(name, raw[offset..offset + len].into());
    }
    for (name, offset) in [
        ("current_tcb", 0x038),
        ("reported_tcb", 0x180),
        ("committed_tcb", 0x1e0),
        ("launch_tcb", 0x1f0),
    ] {
        let at = |index: usize| raw[offset + index];
        put(
            name,
            match product {
                FakeProduct::Milan | FakeProduct::Genoa => json!({
                    "fmc": null, "bootloader": at(0), "tee": at(1), "snp": at(6), "microcode": at(7),
                }),
                FakeProduct::Turin => json!({
                    "fmc": at(0), "bootloader": at(1), "tee": at(2), "snp": at(3), "microcode": at(7),
                }),
            },
        );
    }
    for (index, name) in ["cpuid_fam_id", "cpuid_mod_id", "cpuid_step"].into_iter().enumerate() {
        put(name, (version >= 3).then(|| raw[0x188 + index]).into());
    }
    for (name, offset) in [("current", 0x1e8), ("committed", 0x1ec)] {
        let [build, minor, major] = [0, 1, 2].map(|index| raw[offset + index]);
        put(name, json!({ "major": major, "minor": minor, "build": build }));
    }
    for (name, offset) in [("launch_mit_vector", 0x1f8), ("current_mit_vector", 0x200)] {
        put(name, (version >= 5).then(|| number(offset, 8)).into());
    }
    put("signature", json!({ "r": &raw[0x2a0..0x2e8], "s": &raw[0x2e8..0x330] }));
    Value::Object(all)
}
