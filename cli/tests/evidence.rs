//! `adyton verify --evidence` on real quotes.

mod stand;

use stand::{Stand, vector};

#[test]
fn a_real_quote_with_its_collateral_is_genuine_at_its_time() {
    let (Some(quote), Some(collateral)) =
        (vector("dcap-qvl/tdx_quote"), vector("dcap-qvl/tdx_quote_collateral.json"))
    else {
        return;
    };
    let words = [
        "verify",
        "--evidence",
        &quote.display().to_string(),
        "--bundle",
        &collateral.display().to_string(),
        "--at",
        "1750500000",
    ];
    let ran = Stand::new().run(&words);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("TCB status     UpToDate"), "{}", ran.out);
    assert!(ran.out.contains("MRTD           91eb2b44d141…3118b7"), "{}", ran.out);
    assert!(ran.out.contains("measurements were not compared"), "{}", ran.out);
    assert!(!ran.out.contains('✗'), "{}", ran.out);

    let ran = Stand::new().run(&[&words[..], &["--output", "json"]].concat());
    let json = ran.json();
    assert_eq!(json["genuine"], true);
    assert_eq!(json["fresh"], serde_json::Value::Null);
    assert_eq!(json["at"], "2025-06-21T10:00:00Z");
    assert_eq!(json["claims"]["mrtd"].as_str().map(str::len), Some(96));
}

#[test]
fn a_real_quote_is_refused_once_its_collateral_has_expired() {
    let (Some(quote), Some(collateral)) =
        (vector("dcap-qvl/tdx_quote"), vector("dcap-qvl/tdx_quote_collateral.json"))
    else {
        return;
    };
    let ran = Stand::new().run(&[
        "verify",
        "--evidence",
        &quote.display().to_string(),
        "--bundle",
        &collateral.display().to_string(),
        "--at",
        "2027-01-01T00:00:00Z",
    ]);
    assert_eq!(ran.code, 10, "{ran:?}");
    assert!(ran.out.contains('✗'), "{}", ran.out);
    assert!(
        ran.err.starts_with("error[evidence.rejected]: the Evidence was refused\n"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("remedy"), "{}", ran.err);
}

#[test]
fn without_endorsements_the_exit_code_says_so() {
    let Some(quote) = vector("dcap-qvl/tdx_quote") else {
        return;
    };
    let ran = Stand::new().run(&[
        "verify",
        "--evidence",
        &quote.display().to_string(),
        "--at",
        "1750500000",
        "--output",
        "json",
    ]);
    assert_eq!(ran.code, 12, "{ran:?}");
    assert_eq!(ran.error()["code"], "endorsements.missing");
}

#[test]
fn a_file_that_is_no_evidence_is_malformed() {
    let stand = Stand::new();
    stand.write("noise", b"this is not a quote");
    let ran = stand.run(&["verify", "--evidence", "noise", "--output", "json"]);
    assert_eq!(ran.code, 30);
    assert_eq!(ran.error()["code"], "evidence.malformed");
}

#[test]
fn a_time_that_cannot_be_read_is_a_usage_error() {
    let ran = Stand::new().run(&["verify", "--evidence", "x", "--at", "yesterday"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("RFC 3339"), "{}", ran.err);
}
