//! Quotes of real machines with Intel's real collateral: every verdict and every field.
//!
//! `real/mod.rs` says where the vectors are, and what happens without them.

use std::path::Path;

use adyton_attestation::claims::{AnchorUsed, Claims, TcbStatus, TdxClaims};
use adyton_attestation::evidence::EvidenceError;
use adyton_attestation::verifier::chain::{ChainError, RevocationError};
use adyton_attestation::verifier::{Document, Outcome};
use adyton_attestation::{
    DebugGuests, EndorsementBundle, Evidence, TrustAnchors, UnixTime, VerifyError, VerifyOptions,
    replay, verify, verify_with,
};
use serde_json::Value;

mod real;

use real::{expected, read, vectors};

fn evidence(folder: &Path, name: &str) -> Evidence {
    Evidence::parse_file(&read(folder, name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn bundle(folder: &Path, name: &str) -> EndorsementBundle {
    EndorsementBundle::parse(&read(folder, name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn verify_vector(
    evidence: &Evidence,
    endorsements: &EndorsementBundle,
    now: u64,
) -> Result<TdxClaims, VerifyError> {
    let anchors = TrustAnchors::vendor();
    let expected = evidence.report_data();
    verify(evidence, endorsements, &anchors, &expected, UnixTime(now)).map(|verified| {
        let Claims::Tdx(claims) = verified.get() else { panic!("TDX claims") };
        TdxClaims::clone(claims)
    })
}

/// Advisory list as the vectors write it: `INTEL-SA-00960,00982`.
fn advisories(text: &str) -> Vec<String> {
    let numbers = text.trim_start_matches("INTEL-SA-");
    numbers.split(',').map(|number| format!("INTEL-SA-{number}")).collect()
}

#[test]
fn every_verdict_of_the_vectors_comes_out() {
    let Some(folder) = vectors() else { return };
    let mut cases = 0;
    for (name, quote) in expected(&folder, "tdx") {
        for case in quote["cases"].as_array().into_iter().flatten() {
            let verdict = case["verdict_dcap_qvl_0_7_1"].as_str().expect("a verdict");
            let collateral = case["collateral"].as_str().expect("a collateral file");
            let now = case["now"].as_u64().expect("a time");
            let result =
                verify_vector(&evidence(&folder, &name), &bundle(&folder, collateral), now);
            let label = format!("{name} with {collateral}: expected {verdict}, got {result:?}");
            match (verdict, result) {
                ("OK UpToDate", Ok(claims)) => {
                    assert_eq!(claims.tcb_status, TcbStatus::UpToDate, "{label}");
                    assert_eq!(claims.advisory_ids, Vec::<String>::new(), "{label}");
                    assert_eq!(claims.root, AnchorUsed::Vendor, "{label}");
                }
                (ok, Ok(claims)) if ok.starts_with("OK OutOfDate ") => {
                    assert_eq!(claims.tcb_status, TcbStatus::OutOfDate, "{label}");
                    assert_eq!(claims.advisory_ids, advisories(&ok[13..]), "{label}");
                }
                (err, Err(VerifyError::NoMatchingTcbLevel { .. }))
                    if err.starts_with("ERR No matching TCB level") => {}
                (err, Err(VerifyError::ServiceTd { .. }))
                    if err.starts_with("ERR Invalid MR service TD") => {}
                (err, Err(VerifyError::Debug { .. })) if err.starts_with("ERR Debug mode") => {}
                ("ERR SEPT_VE_DISABLE is not enabled", Err(VerifyError::SeptVeDisable { .. })) => {}
                _ => panic!("{label}"),
            }
            cases += 1;
        }
    }
    assert_eq!(cases, 12, "the vectors have other cases than before");
}

#[test]
fn every_field_of_the_vectors_is_read() {
    let Some(folder) = vectors() else { return };
    let mut quotes = 0;
    for (name, want) in expected(&folder, "tdx") {
        if want["sgx"] == true {
            continue;
        }
        let Evidence::Tdx(parsed) = evidence(&folder, &name) else { panic!("{name}: TDX") };
        let quote = parsed.quote();
        let body = &quote.body;
        let hexed = |bytes: &[u8]| hex::encode(bytes);
        let mut fields = vec![
            ("vendor", hexed(&quote.qe_vendor_id)),
            ("tee_tcb_svn", body.tee_tcb_svn.to_string()),
            ("mrseam", body.mrseam.to_string()),
            ("mrsignerseam", body.mrsignerseam.to_string()),
            ("seamattr", hexed(&body.seam_attributes)),
            ("tdattr", body.td_attributes.to_string()),
            ("xfam", body.xfam.to_string()),
            ("mrtd", body.mrtd.to_string()),
            ("mrconfigid", body.mrconfigid.to_string()),
            ("mrowner", body.mrowner.to_string()),
            ("mrownerconfig", body.mrownerconfig.to_string()),
            ("rtmr0", body.rtmr[0].to_string()),
            ("rtmr1", body.rtmr[1].to_string()),
            ("rtmr2", body.rtmr[2].to_string()),
            ("rtmr3", body.rtmr[3].to_string()),
            ("report_data", hexed(&body.report_data.0)),
        ];
        if let Some(later) = body.generation.td15() {
            fields.push(("tee_tcb_svn2", later.tee_tcb_svn2.to_string()));
            fields.push(("mrservicetd", later.mrservicetd.to_string()));
        }
        for (field, got) in fields {
            assert_eq!(want[field].as_str(), Some(got.as_str()), "{name}: {field}");
        }
        // Only quotes with the member have it in the quote, and the other way round.
        assert_eq!(want["mrservicetd"].is_string(), body.generation.td15().is_some(), "{name}");
        let file_len = want["len"].as_u64().expect("a length") as usize;
        let padding = want["trailing"].as_u64().expect("a length") as usize;
        assert_eq!(parsed.raw().len(), file_len - padding, "{name}: padding");
        let signature_len = parsed.raw().len() - quote.signed_len - 4;
        assert_eq!(want["auth_len"].as_u64(), Some(signature_len as u64), "{name}: auth_len");
        quotes += 1;
    }
    assert_eq!(quotes, 12, "the vectors have other quotes than before");
}

#[test]
fn claims_repeat_the_quote_and_name_the_platform() {
    let Some(folder) = vectors() else { return };
    let claims = verify_vector(
        &evidence(&folder, "dcap-qvl/tdx_quote"),
        &bundle(&folder, "dcap-qvl/tdx_quote_collateral.json"),
        1_750_500_000,
    )
    .expect("UpToDate");
    let want = &expected(&folder, "tdx")["dcap-qvl/tdx_quote"];
    let json = serde_json::to_value(&claims).expect("claims serialise");
    for field in
        ["mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrconfigid", "mrseam", "report_data", "fmspc"]
    {
        assert_eq!(json[field], want[field], "{field}");
    }
    assert_eq!(json["tcb_status"], "UpToDate");
    assert_eq!(json["root"]["kind"], "vendor");
    assert_eq!(claims.tcb_evaluation_data_number, 17);
    // Issue date of the TCB info; the QE identity is sixteen minutes younger.
    assert_eq!(json["collateral"]["issued"], "2025-06-19T10:16:03Z");
    assert!(!claims.ppid.is_zero());
}

#[test]
fn a_tampered_quote_is_refused_where_the_change_shows() {
    let Some(folder) = vectors() else { return };
    let original = read(&folder, "dcap-qvl/tdx_quote");
    let endorsements = bundle(&folder, "dcap-qvl/tdx_quote_collateral.json");
    let flip = |at: usize| {
        let mut bytes = original.clone();
        bytes[at] ^= 1;
        bytes
    };
    let parse = |bytes: &[u8]| Evidence::parse_file(bytes).map(|_| ()).unwrap_err();
    let refuse = |at: usize| {
        let evidence = Evidence::parse_file(&flip(at)).expect("still parses");
        verify_vector(&evidence, &endorsements, 1_750_500_000).expect_err("tampered")
    };

    // Version 4 becomes 5, whose body type stands where the TDX module's versions were.
    assert_eq!(parse(&flip(0)), EvidenceError::BodyType { got: 0x0106 }, "version");
    assert_eq!(parse(&flip(1)), EvidenceError::Version { got: 0x0104 }, "version");
    assert_eq!(parse(&flip(4)), EvidenceError::TeeType { got: 0x80 }, "TEE type");
    assert!(matches!(refuse(12), VerifyError::QeVendor { .. }), "vendor");
    for (at, what) in [(184, "MRTD"), (376, "RTMR0"), (568, "REPORTDATA"), (636, "signature")] {
        assert!(matches!(refuse(at), VerifyError::QuoteSignature), "{what}");
    }
    for (at, what) in [(898, "QE MRSIGNER"), (1090, "QE report data"), (1154, "QE signature")] {
        let refusal = refuse(at);
        // The QE identity (T5) stands below the QE report's signature (T6).
        let shows = match at {
            898 => matches!(refusal, VerifyError::QeIdentity { field: "MRSIGNER", .. }),
            _ => matches!(refusal, VerifyError::QeReportSignature),
        };
        assert!(shows, "{what}: {refusal:?}");
    }
    assert!(matches!(refuse(700), VerifyError::QeReportData), "attestation key");
    assert_eq!(refuse(1658).rung(), "T2", "PCK certificate: {:?}", refuse(1658));
}

#[test]
fn tampered_collateral_is_refused_where_the_change_shows() {
    let Some(folder) = vectors() else { return };
    let evidence = evidence(&folder, "dcap-qvl/tdx_quote");
    let original: Value =
        serde_json::from_slice(&read(&folder, "dcap-qvl/tdx_quote_collateral.json")).expect("JSON");
    let refuse = |change: &dyn Fn(&mut Value)| {
        let mut collateral = original.clone();
        change(&mut collateral);
        let endorsements =
            EndorsementBundle::parse(collateral.to_string().as_bytes()).expect("still a bundle");
        verify_vector(&evidence, &endorsements, 1_750_500_000).expect_err("tampered")
    };
    let replace = |member: &'static str, from: &'static str, to: &'static str| {
        move |collateral: &mut Value| {
            let text = collateral[member].as_str().expect("text");
            assert!(text.contains(from), "{member} has {from}");
            collateral[member] = text.replacen(from, to, 1).into();
        }
    };
    // Flips the last hex digit, which belongs to a signature in all four.
    let flip_end = |member: &'static str| {
        move |collateral: &mut Value| {
            let mut text = collateral[member].as_str().expect("hex").to_owned();
            let last = text.pop().expect("a digit");
            text.push(if last == '0' { '1' } else { '0' });
            collateral[member] = text.into();
        }
    };

    assert!(matches!(
        refuse(&replace(
            "tcb_info",
            "\"tcbEvaluationDataNumber\":17",
            "\"tcbEvaluationDataNumber\":18"
        )),
        VerifyError::DocumentSignature { document: Document::TcbInfo }
    ));
    assert!(matches!(
        refuse(&flip_end("tcb_info_signature")),
        VerifyError::DocumentSignature { document: Document::TcbInfo }
    ));
    assert!(matches!(
        refuse(&replace(
            "qe_identity",
            "\"tcbEvaluationDataNumber\":17",
            "\"tcbEvaluationDataNumber\":18"
        )),
        VerifyError::DocumentSignature { document: Document::QeIdentity }
    ));
    assert!(matches!(
        refuse(&flip_end("qe_identity_signature")),
        VerifyError::DocumentSignature { document: Document::QeIdentity }
    ));
    for list in ["root_ca_crl", "pck_crl"] {
        let refusal = refuse(&flip_end(list));
        assert!(
            matches!(
                refusal,
                VerifyError::Revocation { source: RevocationError::Signature { .. }, .. }
            ),
            "{list}: {refusal:?}"
        );
    }
    assert!(matches!(
        refuse(&|collateral| collateral["pck_crl"] = "".into()),
        VerifyError::Revocation { source: RevocationError::Encoding { .. }, .. }
    ));
    assert!(matches!(
        refuse(&|collateral| collateral["pck_crl"] = collateral["root_ca_crl"].clone()),
        VerifyError::Revocation { source: RevocationError::Issuer { .. }, .. }
    ));
}

#[test]
fn garbage_after_a_quote_is_refused_and_zeros_are_not() {
    let Some(folder) = vectors() else { return };
    let mut bytes = read(&folder, "dcap-qvl/tdx_quote");
    bytes.extend([0; 100]);
    assert!(Evidence::parse_file(&bytes).is_ok());
    let offset = bytes.len();
    bytes.push(7);
    assert_eq!(
        Evidence::parse_file(&bytes).map(|_| ()),
        Err(EvidenceError::TrailingBytes { offset })
    );
}

#[test]
fn a_quote_cut_short_is_refused() {
    let Some(folder) = vectors() else { return };
    let bytes = read(&folder, "dcap-qvl/tdx_quote");
    let refusal = Evidence::parse_file(&bytes[..bytes.len() - 200]).map(|_| ()).unwrap_err();
    assert!(matches!(refusal, EvidenceError::Truncated { field: "signature", .. }), "{refusal:?}");
}

#[test]
fn an_sgx_quote_is_refused() {
    let Some(folder) = vectors() else { return };
    for name in ["dcap-qvl/sgx_quote", "automata-tdx-sdk/sgx_v3_quote.bin"] {
        let refusal = Evidence::parse_file(&read(&folder, name)).map(|_| ()).unwrap_err();
        assert_eq!(refusal, EvidenceError::Version { got: 3 }, "{name}");
    }
}

#[test]
fn collateral_of_another_platform_type_is_not_used() {
    let Some(folder) = vectors() else { return };
    let refusal = verify_vector(
        &evidence(&folder, "dcap-qvl/tdx_quote"),
        &bundle(&folder, "derived/collateral_00806f050000_2025-02.json"),
        1_740_000_000,
    )
    .expect_err("wrong FMSPC");
    let VerifyError::NoEndorsements { fmspc, available } = &refusal else { panic!("{refusal:?}") };
    assert_eq!(fmspc.to_string(), "b0c06f000000");
    assert_eq!(available.iter().map(ToString::to_string).collect::<Vec<_>>(), ["00806f050000"]);
    assert_eq!(refusal.reasons()[0].code, "tdx.endorsements.missing");
}

#[test]
fn sgx_collateral_is_not_used_for_tdx() {
    let Some(folder) = vectors() else { return };
    // The same platform type would have to select it first; make it claim that type.
    let mut collateral: Value =
        serde_json::from_slice(&read(&folder, "dcap-qvl/sgx_quote_collateral.json")).expect("JSON");
    let text = collateral["tcb_info"].as_str().expect("text");
    collateral["tcb_info"] = text.replacen("00A067110000", "B0C06F000000", 1).into();
    let endorsements =
        EndorsementBundle::parse(collateral.to_string().as_bytes()).expect("a bundle");
    let refusal =
        verify_vector(&evidence(&folder, "dcap-qvl/tdx_quote"), &endorsements, 1_750_500_000)
            .expect_err("SGX TCB info");
    assert_eq!(refusal.rung(), "T3", "another CA's list is met first: {refusal:?}");
}

#[test]
fn expired_collateral_is_refused() {
    let Some(folder) = vectors() else { return };
    let refusal = verify_vector(
        &evidence(&folder, "dcap-qvl/tdx_quote"),
        &bundle(&folder, "dcap-qvl/tdx_quote_collateral.json"),
        1_795_400_000,
    )
    .expect_err("expired");
    assert!(
        matches!(refusal, VerifyError::Revocation { source: RevocationError::Expired { .. }, .. }),
        "{refusal:?}"
    );
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_refused() {
    let Some(folder) = vectors() else { return };
    let refusal = verify_vector(
        &evidence(&folder, "dcap-qvl/tdx_quote"),
        &bundle(&folder, "dcap-qvl/tdx_quote_collateral.json"),
        1_700_000_000,
    )
    .expect_err("before the PCK certificate was made");
    assert!(
        matches!(refusal, VerifyError::PckChain { source: ChainError::NotYetValid { .. }, .. }),
        "{refusal:?}"
    );
}

#[test]
fn a_certificate_chain_in_collateral_does_not_replace_the_quotes() {
    let Some(folder) = vectors() else { return };
    let name = "dcap-qvl/tdx_quote_td15ex_collateral.json";
    let collateral: Value = serde_json::from_slice(&read(&folder, name)).expect("JSON");
    assert!(collateral["pck_certificate_chain"].is_string(), "the vector has the member");
    // Another machine of the same type: with the foreign chain its QE report would not verify.
    let claims = verify_vector(
        &evidence(&folder, "dcap-qvl/tdx_quote"),
        &bundle(&folder, name),
        1_792_000_000,
    )
    .expect("verified with its own chain");
    assert_eq!(claims.tcb_status, TcbStatus::OutOfDate);
}

#[test]
fn a_debuggable_td_is_let_through_only_on_request_and_says_so() {
    let Some(folder) = vectors() else { return };
    let evidence = evidence(&folder, "trustee/tdx/tdx_quote_4.dat");
    let endorsements = bundle(&folder, "derived/collateral_50806f000000_2023-06.json");
    let options = VerifyOptions {
        debug_guests: DebugGuests::InsecureLeaveToAppraisal,
        ..VerifyOptions::default()
    };
    let verified = verify_with(
        &evidence,
        &endorsements,
        &TrustAnchors::vendor(),
        &evidence.report_data(),
        UnixTime(1_687_651_200),
        &options,
    )
    .expect("let through");
    let Claims::Tdx(claims) = verified.get() else { panic!("TDX") };
    assert!(claims.td_attributes.is_debug());
    assert_eq!(claims.tcb_status, TcbStatus::UpToDate);
}

#[test]
fn other_report_data_than_expected_are_refused() {
    let Some(folder) = vectors() else { return };
    let evidence = evidence(&folder, "dcap-qvl/tdx_quote");
    let endorsements = bundle(&folder, "dcap-qvl/tdx_quote_collateral.json");
    for at in [0, 47, 63] {
        let mut other = evidence.report_data();
        other.0[at] ^= 1;
        let anchors = TrustAnchors::vendor();
        let refusal = verify(&evidence, &endorsements, &anchors, &other, UnixTime(1_750_500_000))
            .map(|_| ())
            .expect_err("another challenge");
        assert!(matches!(refusal, VerifyError::ReportData { .. }), "byte {at}: {refusal:?}");
    }
}

#[test]
fn a_replay_shows_every_rung() {
    let Some(folder) = vectors() else { return };
    let evidence = evidence(&folder, "dcap-qvl/tdx_quote");
    let endorsements = bundle(&folder, "dcap-qvl/tdx_quote_collateral.json");
    let anchors = TrustAnchors::vendor();

    let good = replay(&evidence, &endorsements, &anchors, UnixTime(1_750_500_000));
    assert!(good.all_passed(), "{:?}", good.reasons());
    assert!(good.claims.is_some());
    let passed = good.rungs.iter().filter(|rung| rung.outcome == Outcome::Passed).count();
    assert_eq!((good.rungs.len(), passed), (18, 13));

    let late = replay(&evidence, &endorsements, &anchors, UnixTime(1_795_400_000));
    assert!(late.claims.is_none());
    let failed: Vec<&str> = late
        .rungs
        .iter()
        .filter(|rung| matches!(rung.outcome, Outcome::Failed(_)))
        .map(|rung| rung.id)
        .collect();
    assert_eq!(failed, ["T3", "T4", "T5"], "lists, TCB info and QE identity have expired");
}
