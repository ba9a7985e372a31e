//! What AMD signs about a processor: VCEK, ASK, revocation list.

use adyton_fake_tee::{FakeKey, FakeProduct};
use serde_json::{Value, json};

use crate::NOW;
use crate::case::{Coverage, UNREADABLE, bundle, field, find, run_bytes};
use crate::snp::Processor;

/// A certificate that came with the report: nothing in it counts before its signature does, but it has to
/// be found by what it says.
const VCEK: &[&str] = &[
    "snp.key.certificate",
    "snp.key.missing",
    "snp.key.issuer",
    "snp.product",
    "snp.chain",
    "snp.chain.algorithm",
    "snp.chain.intermediate",
];
/// A certificate of the bundle: one that cannot be read is no file of the Verifier's, one that says it is
/// something else is not found.
const ASK: &[&str] = &[UNREADABLE, "snp.chain", "snp.chain.algorithm", "snp.chain.intermediate"];
const LIST: &[&str] = &[
    UNREADABLE,
    "snp.revocation.missing",
    "snp.revocation.issuer",
    "snp.revocation.signature",
    "snp.revocation.profile",
    "snp.revocation.expired",
    "snp.revocation.not-yet-valid",
    "snp.revocation.revoked",
];

fn genoa() -> Processor {
    Processor::new(FakeProduct::Genoa, FakeKey::Vcek, 5)
}

#[test]
fn every_defect_in_a_vcek_is_refused() {
    let processor = genoa();
    let report = processor.report();
    let sound = processor.certificate.clone();
    let fields = [field("VCEK", 0..sound.len(), VCEK)];
    run_bytes("VCEK", &sound, Coverage::Whole, &fields, |bytes| processor.judge(&report, bytes));
}

#[test]
fn every_defect_in_a_vcek_that_amd_signs_is_refused_at_its_own_rung() {
    let processor = genoa();
    let report = processor.report();
    let sound = processor.certificate.clone();
    let chip = find(&sound, &processor.machine.chip_id());
    let key = find(&sound, &[0x00, 0x04]);
    let key = key.end - 1..key.end + 96;
    // Everything up to the stepping; that says nothing about the product line.
    let product = find(&sound, b"Genoa-B0");
    let level = |number: u8| {
        // The last arcs of 1.3.6.1.4.1.3704.1.3.x, then OCTET STRING, INTEGER of one byte.
        let at = find(&sound, &[0x9c, 0x78, 0x01, 0x03, number, 0x04, 0x03, 0x02, 0x01]).end;
        at..at + 1
    };
    const FIRMWARE: &[&str] = &["snp.key.firmware", "snp.key.certificate"];
    let fields = [
        field("hwID", chip, &["snp.chip"]),
        field("public key", key, &["snp.report.signature"]),
        field(
            "productName",
            product.start..product.end - 3,
            &["snp.product", "snp.key.certificate"],
        ),
        field("blSPL", level(1), FIRMWARE),
        field("teeSPL", level(2), FIRMWARE),
        field("snpSPL", level(3), FIRMWARE),
        field("ucodeSPL", level(8), FIRMWARE),
        field("subject", find(&sound, b"SEV-VCEK"), &["snp.key.missing", "snp.key.certificate"]),
        field(
            "issuer",
            find(&sound, b"SEV-Genoa"),
            &["snp.key.issuer", "snp.key.certificate", "snp.key.missing"],
        ),
    ];
    run_bytes("VCEK, signed anew", &sound, Coverage::Values, &fields, |bytes| {
        // The sound one is signed anew, too, so that signing is seen to work.
        processor.judge(&report, &processor.machine.sign_certificate(bytes))
    });
}

/// A bundle with one member replaced.
fn with(sound: &Value, pointer: &str, bytes: &[u8]) -> String {
    let mut json = sound.clone();
    *json.pointer_mut(pointer).expect("a member") = json!(hex::encode(bytes));
    json.to_string()
}

#[test]
fn every_defect_in_the_ask_and_the_revocation_list_is_refused() {
    let processor = genoa();
    let report = processor.report();
    let json = processor.machine.endorsement_bundle(NOW, None);
    for (kind, pointer, codes) in [
        ("ASK", "/amd/certificates/0", ASK),
        ("AMD revocation list", "/amd/revocation_lists/0", LIST),
    ] {
        let sound = json.pointer(pointer).and_then(Value::as_str).expect("hex");
        let sound = hex::decode(sound).expect("hex");
        let fields = [field(kind, 0..sound.len(), codes)];
        run_bytes(kind, &sound, Coverage::Whole, &fields, |bytes| {
            let bundle = bundle(&with(&json, pointer, bytes))?;
            processor.judge_with(&report, &processor.certificate, &bundle)
        });
    }
}
