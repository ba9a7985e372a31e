//! Azure vTPM Evidence: as it is, with the TPM's message signed anew, with the var-data committed anew.

use adyton_attestation::{EndorsementBundle, Evidence, ReportData, Tee};
use adyton_fake_tee::{
    AzureProfile, FakeAzure, FakeHardware, FakeKey, FakeProduct, FakeSnp, FakeTee,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::Value;

use crate::NOW;
use crate::case::{
    Coverage, Expected, Field, Judge, bundle, claim, field, find, judged, run_bytes,
};
use crate::snp::unsigned_fields;

/// A SHA-384 digest and its padding.
const DATA: [u8; 64] = {
    let mut data = [0x42; 64];
    let mut at = 48;
    while at < 64 {
        data[at] = 0;
        at += 1;
    }
    data
};

const SIGNATURE: &[&str] = &["azure.quote.signature"];
const VAR_DATA: &[&str] = &["azure.var-data", "azure.hcl.var-data"];
/// A length that lies moves what follows, to where it may be anything.
const LENGTH: &[&str] = &[
    "azure.quote.truncated",
    "azure.quote.too-large",
    "azure.quote.leftover",
    "azure.quote.clock",
];

struct Vm {
    machine: FakeAzure,
    tee: Tee,
    bundle: EndorsementBundle,
    judge: Judge,
}

impl Vm {
    fn of(hardware: FakeHardware) -> Self {
        let machine = match hardware {
            FakeHardware::Snp => {
                FakeAzure::snp(FakeSnp::new(NOW, FakeProduct::Genoa, FakeKey::Vcek))
            }
            FakeHardware::Tdx => FakeAzure::tdx(FakeTee::from_seed([25; 32], NOW)),
        };
        let tee = hardware.tee().parse().expect("a TEE of ours");
        let bundle = bundle(&machine.endorsement_bundle(NOW).to_string()).expect("a bundle");
        let judge = Judge::of(machine.root_pem().as_bytes());
        Self { machine, tee, bundle, judge }
    }

    fn judge(&self, json: &Value) -> Result<(), String> {
        self.judge.judge(Evidence::parse_kbs(self.tee, json), &self.bundle, &ReportData(DATA))
    }

    fn evidence(&self) -> Value {
        self.machine.evidence(&AzureProfile::answering(DATA), None)
    }
}

fn hcl_bytes(json: &Value) -> Vec<u8> {
    URL_SAFE.decode(json["hcl_report"].as_str().expect("text")).expect("base64url")
}

/// openvmm, `igvm_attest/get.rs`. `hardware` are the fields of the hardware's report at 0x20.
fn hcl_fields(hardware: Vec<Field>, var_len: usize, len: usize) -> Vec<Field> {
    const FIELD: &[&str] = &["azure.hcl.field"];
    const LENGTH: &[&str] = &["azure.hcl.field", "azure.hcl.truncated"];
    let end = 0x4d4 + var_len;
    let mut fields = vec![
        field("HCL magic", 0x00..0x04, &["azure.hcl.magic"]),
        judged("HCL version", 0x04..0x08, |at, new| match (at, new) {
            // Both versions of the header are alike.
            (0, 1 | 2) => Expected::Claim,
            _ => Expected::Refused(FIELD),
        }),
        field("report size, request type", 0x08..0x10, FIELD),
        field("status, reserved", 0x10..0x20, &["azure.hcl.reserved"]),
    ];
    fields.extend(hardware);
    fields.extend([
        field("request data size, version", 0x4c0..0x4c8, FIELD),
        // Another type than the hardware's, and then a report that is none of that type.
        field(
            "report type",
            0x4c8..0x4cc,
            &["azure.hcl.field", "azure.evidence.report-type", "azure.hcl.td-report-type"],
        ),
        field("hash type", 0x4cc..0x4d0, FIELD),
        field("var-data length", 0x4d0..0x4d4, LENGTH),
        field("var-data", 0x4d4..end, VAR_DATA),
        field("padding after the var-data", end..len, &["azure.hcl.reserved"]),
    ]);
    fields
}

/// A TDREPORT with its padding. Its MAC means nothing off the machine, and what the ladder verifies is the
/// quote that was made of it.
fn td_report_fields() -> Vec<Field> {
    vec![
        field("TDREPORT type", 0x20..0x21, &["azure.hcl.td-report-type"]),
        claim("TDREPORT before its report data", 0x21..0xa0),
        field("REPORTDATA of the TDREPORT", 0xa0..0xe0, &["azure.var-data"]),
        claim("TDREPORT after its report data", 0xe0..0x420),
        field("padding after the TDREPORT", 0x420..0x4c0, &["azure.hcl.reserved"]),
    ]
}

/// An SNP report of version 5, unsigned: its report data fail at the commitment, the rest at its own rung.
fn snp_report_fields() -> Vec<Field> {
    let mut fields = unsigned_fields(5, FakeProduct::Genoa, 0x20);
    let data = fields.iter_mut().find(|field| field.is("REPORT_DATA")).expect("a field");
    *data = field("REPORT_DATA", 0x70..0xb0, &["azure.var-data"]);
    fields
}

#[test]
fn every_defect_in_an_hcl_report_is_refused_with_the_code_of_its_field() {
    for (kind, hardware, fields) in [
        ("HCL report over TDX", FakeHardware::Tdx, td_report_fields()),
        ("HCL report over SNP", FakeHardware::Snp, snp_report_fields()),
    ] {
        let vm = Vm::of(hardware);
        let json = vm.evidence();
        let sound = hcl_bytes(&json);
        let var_len = AzureProfile::answering(DATA).var_data().len();
        let fields = hcl_fields(fields, var_len, sound.len());
        run_bytes(kind, &sound, Coverage::Whole, &fields, |bytes| {
            let mut json = json.clone();
            json["hcl_report"] = URL_SAFE.encode(bytes).into();
            vm.judge(&json)
        });
    }
}

/// The hex text of a member of the TPM quote, as bytes.
fn quote_bytes(json: &Value, pointer: &str) -> Vec<u8> {
    hex::decode(json.pointer(pointer).and_then(Value::as_str).expect("hex")).expect("hex")
}

/// TPMS_ATTEST over 48 bytes of qualifying data and one bank, TPM 2.0 Library, Part 2, §10.12.12. `own` are
/// the codes of name, qualifying data, clock and digest, which are one thing unsigned and another signed.
fn attest_fields(own: [Expected; 5], len: usize) -> Vec<Field> {
    let [name, extra_data, clock, selection, digest] = own;
    let all = move |expected: Expected| move |_: usize, _: u8| expected;
    vec![
        field("magic", 0..4, &["azure.quote.magic"]),
        field("type", 4..6, &["azure.quote.type"]),
        field("size of the name", 6..8, LENGTH),
        judged("qualifiedSigner", 8..42, all(name)),
        field("size of the qualifying data", 42..44, LENGTH),
        judged("extraData", 44..92, all(extra_data)),
        judged("clock and counters", 92..108, all(clock)),
        judged("safe", 108..109, move |_, new| match new {
            0 => clock,
            _ => Expected::Refused(&["azure.quote.clock"]),
        }),
        judged("firmwareVersion", 109..117, all(clock)),
        field("number of selections", 117..121, LENGTH),
        judged("hash of the selection", 121..123, all(selection)),
        field("size of the bitmap", 123..124, LENGTH),
        judged("bitmap", 124..127, all(selection)),
        field("size of the digest", 127..129, LENGTH),
        judged("pcrDigest", 129..len, all(digest)),
    ]
}

#[test]
fn every_defect_in_a_tpm_quote_is_refused_with_the_code_of_its_field() {
    let vm = Vm::of(FakeHardware::Tdx);
    let json = vm.evidence();
    let with = |pointer: &str, bytes: &[u8]| {
        let mut json = json.clone();
        *json.pointer_mut(pointer).expect("a member") = hex::encode(bytes).into();
        vm.judge(&json)
    };
    let message = quote_bytes(&json, "/tpm_quote/message");
    let unsigned = attest_fields([Expected::Refused(SIGNATURE); 5], message.len());
    run_bytes("TPM quote", &message, Coverage::Whole, &unsigned, |bytes| {
        with("/tpm_quote/message", bytes)
    });
    let signature = quote_bytes(&json, "/tpm_quote/signature");
    let fields = [field("signature", 0..signature.len(), SIGNATURE)];
    run_bytes("signature of the TPM quote", &signature, Coverage::Whole, &fields, |bytes| {
        with("/tpm_quote/signature", bytes)
    });
    let pcrs = AzureProfile::answering(DATA).pcrs.concat();
    let fields = [field("PCR values", 0..pcrs.len(), &["azure.quote.pcr-digest"])];
    run_bytes("PCR values", &pcrs, Coverage::Whole, &fields, |bytes| {
        let mut json = json.clone();
        json["tpm_quote"]["pcrs"] = bytes.chunks(32).map(hex::encode).collect::<Vec<_>>().into();
        vm.judge(&json)
    });
}

#[test]
fn every_defect_that_the_vtpm_signs_is_refused_at_its_own_rung() {
    let vm = Vm::of(FakeHardware::Tdx);
    let profile = AzureProfile::answering(DATA);
    let message = profile.attest();
    let signed = [
        Expected::Claim,
        Expected::Refused(&["azure.user-data"]),
        Expected::Claim,
        Expected::Refused(&["azure.quote.pcr-selection"]),
        Expected::Refused(&["azure.quote.pcr-digest"]),
    ];
    let fields = attest_fields(signed, message.len());
    let var_data = profile.var_data();
    run_bytes("TPM quote, signed anew", &message, Coverage::Whole, &fields, |bytes| {
        vm.judge(&vm.machine.evidence_over(&profile, &var_data, bytes))
    });
}

#[test]
fn every_defect_in_var_data_that_the_hardware_commits_to_is_refused_at_its_own_rung() {
    for (kind, hardware) in [
        ("var-data over TDX, committed anew", FakeHardware::Tdx),
        ("var-data over SNP, committed anew", FakeHardware::Snp),
    ] {
        let vm = Vm::of(hardware);
        let profile = AzureProfile::answering(DATA);
        let (sound, message) = (profile.var_data(), profile.attest());
        let json: Value = serde_json::from_slice(&sound).expect("JSON");
        let place = |text: &str| find(&sound, text.as_bytes());
        let member =
            |pointer: &str| place(json.pointer(pointer).and_then(Value::as_str).expect("text"));
        let user_data = member("/user-data");
        const FORM: &[&str] = &["azure.hcl.var-data"];
        // Two digits a byte: the 48 bytes of the qualifying data, and 16 that follow them.
        let (asked, rest) =
            (user_data.start..user_data.start + 96, user_data.start + 96..user_data.end);
        let fields = [
            field("kid", member("/keys/0/kid"), FORM),
            field("kty", place("\"RSA\""), FORM),
            field("e", member("/keys/0/e"), FORM),
            field("n", member("/keys/0/n"), &["azure.hcl.var-data", "azure.quote.signature"]),
            field("user-data of the challenge", asked, &["azure.hcl.var-data", "azure.user-data"]),
            judged("user-data after the challenge", rest, |_, new| match new.is_ascii_hexdigit() {
                true => Expected::Claim,
                false => Expected::Refused(FORM),
            }),
        ];
        run_bytes(kind, &sound, Coverage::Values, &fields, |bytes| {
            vm.judge(&vm.machine.evidence_over(&profile, bytes, &message))
        });
    }
}
