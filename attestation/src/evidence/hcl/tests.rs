use serde_json::{Value, json};

use super::*;

fn var_data() -> Value {
    let mut modulus = [0x5a; 256];
    modulus[0] = 0xa9;
    json!({
        "keys": [
            { "kid": "HCLAkPub", "key_ops": ["sign"], "kty": "RSA", "e": "AQAB",
              "n": URL_SAFE_NO_PAD.encode(modulus) },
            { "kid": "HCLEkPub", "key_ops": ["encrypt"], "kty": "RSA", "e": "AQAB", "n": "AQ" },
        ],
        "vm-configuration": { "secure-boot": true, "vmUniqueId": "4E4D", "tpm-enabled": true },
        "user-data": "AB".repeat(64),
    })
}

/// An HCL report around a hardware report of zeros, padded like Azure's NV index.
fn report(report_type: u32, var_data: &[u8]) -> Vec<u8> {
    let var_len = u32::try_from(var_data.len()).expect("short");
    let mut bytes = HCL_MAGIC.to_vec();
    for number in [1, 0x4c0 + 20 + var_len, REQUEST_TYPE_AK_CERT, 0, 0, 0, 0] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.resize(0x4c0, 0);
    if report_type == REPORT_TYPE_TDX {
        bytes[0x20] = TD_REPORT_TYPE;
    }
    for number in [20 + var_len, REQUEST_DATA_VERSION, report_type, HASH_TYPE_SHA256, var_len] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend_from_slice(var_data);
    bytes.resize(2600, 0);
    bytes
}

fn sound() -> Vec<u8> {
    report(REPORT_TYPE_SNP, var_data().to_string().as_bytes())
}

fn refusal(bytes: &[u8]) -> HclFormatError {
    HclReport::parse(bytes).expect_err("a refusal")
}

#[test]
fn a_report_is_read_field_by_field() {
    let read = HclReport::parse(&sound()).expect("a report");
    assert!(matches!(read.hardware(), HclHardwareReport::Snp(_)));
    assert_eq!(read.var_data_raw(), var_data().to_string().as_bytes());
    assert_eq!(read.var_data().attestation_key.modulus[..2], [0xa9, 0x5a]);
    assert_eq!(read.var_data().user_data, UserData::Stated(vec![0xab; 64]));
    assert_eq!(read.var_data().secure_boot, SecureBoot::On);
    assert_eq!(read.var_data().vm_unique_id.as_deref(), Some("4E4D"));
    let tdx = report(REPORT_TYPE_TDX, var_data().to_string().as_bytes());
    let read = HclReport::parse(&tdx).expect("a report");
    assert!(matches!(read.hardware(), HclHardwareReport::Tdx(_)));
}

#[test]
fn every_byte_of_header_and_padding_has_one_value() {
    let sound = sound();
    let var_data_at = 0x4d4;
    let var_data_end = var_data_at + var_data().to_string().len();
    for at in (0..0x20).chain(0x4c0..var_data_at).chain(var_data_end..sound.len()) {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x80;
        assert!(HclReport::parse(&bytes).is_err(), "byte {at:#x} was not looked at");
    }
}

#[test]
fn each_field_is_refused_by_name() {
    for (at, byte, expected) in [
        (0x00, b'X', HclFormatError::Magic { got: *b"XCLA" }),
        (0x04, 3, field("HCL version", "1 or 2", 3)),
        (0x0c, 1, field("request type", "2", 1)),
        (0x10, 1, HclFormatError::Reserved { field: "header status" }),
        (0x1f, 1, HclFormatError::Reserved { field: "header reserved bytes" }),
        (0x4c4, 2, field("request data version", "1", 2)),
        (0x4c8, 1, field("report type", "2 (SNP) or 4 (TDX)", 1)),
        (0x4cc, 2, field("hash type", "1", 2)),
        (2599, 1, HclFormatError::Reserved { field: "padding after the var-data" }),
    ] {
        let mut bytes = sound();
        bytes[at] = byte;
        assert_eq!(refusal(&bytes), expected);
    }
}

fn field(field: &'static str, expected: &str, got: u32) -> HclFormatError {
    HclFormatError::Field { field, expected: expected.to_owned(), got }
}

#[test]
fn sizes_that_contradict_each_other_are_refused() {
    let mut bytes = sound();
    bytes[0x08] ^= 1;
    assert!(matches!(refusal(&bytes), HclFormatError::Field { field: "report size", .. }));
    let mut bytes = sound();
    bytes[0x4c0] ^= 1;
    assert!(matches!(refusal(&bytes), HclFormatError::Field { field: "request data size", .. }));
    // Both in agreement, and longer than what is there.
    let mut bytes = sound();
    bytes[0x4c0..0x4c4].copy_from_slice(&(20 + 0xffff_u32).to_le_bytes());
    bytes[0x4d0..0x4d4].copy_from_slice(&0xffff_u32.to_le_bytes());
    assert!(matches!(refusal(&bytes), HclFormatError::Truncated { field: "var-data", .. }));
}

#[test]
fn a_report_cut_anywhere_is_refused() {
    let sound = sound();
    // Past the var-data only zeros are lost.
    for len in 0..0x4d4 + var_data().to_string().len() {
        assert!(matches!(refusal(&sound[..len]), HclFormatError::Truncated { .. }), "{len} bytes");
    }
}

#[test]
fn a_report_above_the_limit_is_not_read() {
    assert_eq!(
        refusal(&vec![0; MAX_HCL_REPORT_LEN + 1]),
        HclFormatError::TooLarge { got: MAX_HCL_REPORT_LEN + 1, limit: MAX_HCL_REPORT_LEN }
    );
}

#[test]
fn a_tdreport_of_another_type_and_bytes_after_it_are_refused() {
    let mut bytes = report(REPORT_TYPE_TDX, var_data().to_string().as_bytes());
    bytes[0x20] = 0;
    assert_eq!(refusal(&bytes), HclFormatError::TdReportType { got: 0 });
    bytes[0x20] = TD_REPORT_TYPE;
    bytes[0x420] = 1;
    let field = "padding after the hardware report";
    assert_eq!(refusal(&bytes), HclFormatError::Reserved { field });
}

#[test]
fn var_data_without_one_sound_attestation_key_are_refused() {
    let mut modulus = [0x5a; 256];
    modulus[0] = 0x29;
    let short = URL_SAFE_NO_PAD.encode([0xff; 255]);
    let no_high_bit = URL_SAFE_NO_PAD.encode(modulus);
    let cases: [(&str, Value, &str); 8] = [
        ("/keys", json!([]), "keys"),
        ("/keys/1/kid", json!("HCLAkPub"), "keys"),
        ("/keys", json!(vec![json!({ "kid": "x", "kty": "RSA" }); 17]), "keys"),
        ("/keys/0/kty", json!("EC"), "HCLAkPub.kty"),
        ("/keys/0/e", json!("Aw"), "HCLAkPub.e"),
        ("/keys/0/n", json!(short), "HCLAkPub.n"),
        ("/keys/0/n", json!(no_high_bit), "HCLAkPub.n"),
        ("/user-data", json!("0"), "user-data"),
    ];
    for (pointer, value, refused) in cases {
        let mut changed = var_data();
        *changed.pointer_mut(pointer).expect("a member") = value;
        let bytes = report(REPORT_TYPE_SNP, changed.to_string().as_bytes());
        assert!(
            matches!(refusal(&bytes), HclFormatError::VarData { member, .. } if member == refused),
            "{pointer}"
        );
    }
    let bytes = report(REPORT_TYPE_SNP, b"{}");
    assert!(matches!(refusal(&bytes), HclFormatError::VarData { member: "var-data", .. }));
}

#[test]
fn a_key_that_is_stated_twice_is_refused() {
    let twice = var_data().to_string().replacen("\"kty\"", "\"kid\":\"HCLAkPub\",\"kty\"", 1);
    let bytes = report(REPORT_TYPE_SNP, twice.as_bytes());
    assert!(matches!(refusal(&bytes), HclFormatError::VarData { member: "var-data", .. }));
}

#[test]
fn var_data_that_are_no_text_are_refused() {
    let mut text = var_data().to_string().into_bytes();
    let at = text.windows(4).position(|four| four == b"sign").expect("key_ops");
    text[at] = 0x80;
    let bytes = report(REPORT_TYPE_SNP, &text);
    assert!(matches!(refusal(&bytes), HclFormatError::VarData { member: "var-data", .. }));
}

#[test]
fn var_data_of_an_old_paravisor_state_no_user_data() {
    let mut old = var_data();
    old.as_object_mut().expect("an object").remove("user-data");
    old.as_object_mut().expect("an object").remove("vm-configuration");
    let read = HclReport::parse(&report(REPORT_TYPE_SNP, old.to_string().as_bytes()));
    let read = read.expect("a report");
    assert_eq!(read.var_data().user_data, UserData::NotStated);
    assert_eq!(read.var_data().secure_boot, SecureBoot::NotStated);
    assert_eq!(read.var_data().vm_unique_id, None);
}
