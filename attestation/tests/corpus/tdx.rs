//! TDX quotes: as they are, and with header and body signed anew.

use adyton_attestation::{Evidence, ReportData};
use adyton_fake_tee::{FakeTee, QuoteFormat, TdProfile};

use crate::NOW;
use crate::case::{Coverage, Expected, Field, Judge, bundle, claim, field, judged, run_bytes};

const DATA: [u8; 64] = [3; 64];

const SIGNATURE: &[&str] = &["tdx.quote.signature"];
/// Four becomes five, and the other way round: then the body is not where it should be.
const VERSION: &[&str] =
    &["tdx.quote.version", "tdx.quote.body-type", "evidence.truncated", "evidence.too-large"];
const LENGTH: &[&str] = &[
    "evidence.truncated",
    "evidence.too-large",
    "tdx.quote.leftover",
    "tdx.quote.trailing-bytes",
    "tdx.pck-chain",
];
const IDENTITY: &[&str] = &["tdx.qe-identity.mismatch", "tdx.qe-report.signature"];
const QE_REPORT: &[&str] = &["tdx.qe-report.signature", "tdx.qe-report.data"];
const CERTIFICATION: &[&str] = &["tdx.quote.certification-type"];
const CHAIN: &[&str] = &["tdx.pck-chain", "tdx.pck-chain.extension", "tdx.endorsements.missing"];

/// Intel "TDX DCAP Quoting Library API", A.3 and A.4. `body` is where the TD report begins, `len` its length.
fn quote_fields(quote: &[u8], body: usize, len: usize) -> Vec<Field> {
    let auth = body + len;
    let key = auth + 4 + 64;
    let qe = key + 64 + 6;
    let qe_auth_len = usize::from(u16::from_le_bytes([quote[qe + 448], quote[qe + 449]]));
    let chain = qe + 450 + qe_auth_len + 6;
    let last = quote.len() - 1 - chain;
    let mut fields = vec![
        field("version", 0..2, VERSION),
        field("attestation key type", 2..4, &["tdx.quote.attestation-key-type"]),
        field("TEE type", 4..8, &["tdx.quote.tee-type"]),
        field("QE SVN, PCE SVN", 8..12, SIGNATURE),
        field("QE vendor id", 12..28, &["tdx.quote.qe-vendor"]),
        field("user data", 28..48, SIGNATURE),
    ];
    if body > 48 {
        fields.push(field("body type", 48..50, &["tdx.quote.body-type", "tdx.quote.body-size"]));
        fields.push(field("body size", 50..54, &["tdx.quote.body-size"]));
    }
    fields.extend([
        field("TD report", body..auth, SIGNATURE),
        field("signature data length", auth..auth + 4, LENGTH),
        field("quote signature", auth + 4..key, SIGNATURE),
        // The QE report commits to the key, and is looked at before the quote's signature.
        field("attestation key", key..key + 64, &["tdx.qe-report.data"]),
        field("certification type", key + 64..key + 66, CERTIFICATION),
        field("certification length", key + 66..qe, LENGTH),
        field("QE CPUSVN", qe..qe + 16, QE_REPORT),
        field("QE MISCSELECT", qe + 16..qe + 20, IDENTITY),
        field("QE reserved", qe + 20..qe + 48, QE_REPORT),
        field("QE ATTRIBUTES", qe + 48..qe + 64, IDENTITY),
        field("QE MRENCLAVE, reserved", qe + 64..qe + 128, QE_REPORT),
        field("QE MRSIGNER", qe + 128..qe + 160, IDENTITY),
        field("QE reserved", qe + 160..qe + 256, QE_REPORT),
        field("QE ISVPRODID, ISVSVN", qe + 256..qe + 260, IDENTITY),
        field("QE reserved", qe + 260..qe + 320, QE_REPORT),
        field("QE report data", qe + 320..qe + 384, QE_REPORT),
        field("QE report signature", qe + 384..qe + 448, &["tdx.qe-report.signature"]),
        field("QE authentication data length", qe + 448..qe + 450, LENGTH_OR_TYPE),
        field("QE authentication data", qe + 450..chain - 6, &["tdx.qe-report.data"]),
        field("chain type", chain - 6..chain - 4, CERTIFICATION),
        field("chain length", chain - 4..chain, LENGTH),
        // The one byte of a quote that means nothing: quoting services end the chain with a line feed or
        // with a NUL.
        judged("PCK certificate chain", chain..quote.len(), move |at, new| {
            if at == last && new == 0 { Expected::Claim } else { Expected::Refused(CHAIN) }
        }),
    ]);
    fields
}

/// A wrong length of the authentication data moves what follows.
const LENGTH_OR_TYPE: &[&str] = &[
    "evidence.truncated",
    "evidence.too-large",
    "tdx.quote.certification-type",
    "tdx.quote.leftover",
];

const FORMATS: [(&str, QuoteFormat, usize, usize); 4] = [
    ("TDX quote v4", QuoteFormat::V4, 48, 584),
    ("TDX quote v5, TD 1.0", QuoteFormat::V5Td10, 54, 584),
    ("TDX quote v5, TD 1.5", QuoteFormat::V5Td15, 54, 648),
    ("TDX quote v5, TD 1.5 ex", QuoteFormat::V5Td15Ex, 54, 885),
];

#[test]
fn every_defect_in_every_field_of_a_quote_is_refused_with_its_code() {
    let tee = FakeTee::from_seed([21; 32], NOW);
    let endorsements = bundle(&tee.endorsement_bundle(NOW, &[]).to_string()).expect("a bundle");
    let judge = Judge::of(tee.root_der());
    for (kind, format, body, len) in FORMATS {
        let quote = tee.quote(&TdProfile { format, ..TdProfile::default() }, DATA);
        let fields = quote_fields(&quote, body, len);
        run_bytes(kind, &quote, Coverage::Whole, &fields, |bytes| {
            let evidence = Evidence::parse_file(bytes);
            // Whoever asks for the report data that are in the quote asks for nothing.
            let expected = evidence.as_ref().map_or(ReportData([0; 64]), Evidence::report_data);
            judge.judge(evidence, &endorsements, &expected)
        });
    }
}

/// TD attributes with one byte replaced. Bits: Intel TDX Module ABI, TD_ATTRIBUTES.
fn attributes(at: usize, new: u8) -> Expected {
    const SEPT_VE_DISABLE: u64 = 1 << 28;
    const HARMLESS: u64 = 1 << 16 | 1 << 27 | SEPT_VE_DISABLE | 1 << 30 | 1 << 31 | 1 << 63;
    let mut bytes = SEPT_VE_DISABLE.to_le_bytes();
    bytes[at] = new;
    let bits = u64::from_le_bytes(bytes);
    if bits & 1 != 0 {
        Expected::Refused(&["tdx.td-attributes.debug"])
    } else if bits & 1 << 29 != 0 {
        Expected::Refused(&["tdx.td-attributes.migratable"])
    } else if bits & !HARMLESS != 0 {
        Expected::Refused(&["tdx.td-attributes.reserved"])
    } else if bits & SEPT_VE_DISABLE == 0 {
        Expected::Refused(&["tdx.td-attributes.sept-ve-disable"])
    } else {
        Expected::Claim
    }
}

/// XFAM with one byte replaced: x87 and SSE are fixed, AVX, AVX-512, PT, PKRU, CET, UINTR, LBR, AMX and APX
/// known. Intel SDM vol. 1, §13.1.
fn xfam(at: usize, new: u8) -> Expected {
    let mut bytes = TdProfile::default().xfam.to_le_bytes();
    bytes[at] = new;
    let bits = u64::from_le_bytes(bytes);
    if bits & !0x000e_dbe7 == 0 && bits & 3 == 3 {
        return Expected::Claim;
    }
    Expected::Refused(&["tdx.xfam"])
}

/// TEE_TCB_SVN of the simulated machine: module 7 of version 1, microcode 5. Its TCB info has modules of
/// version 1 (levels 7, 4, and 2, which is revoked) and 3 (5 and 3), microcode levels 5, 4, and 2, revoked.
fn tee_tcb_svn(at: usize, new: u8) -> Expected {
    const REVOKED: Expected = Expected::Refused(&["tdx.tcb.revoked"]);
    const LEVELLESS: Expected = Expected::Refused(&["tdx.tcb.no-level", "tdx.tcb.module"]);
    match (at, new) {
        (0 | 2, 4..) | (1, 3) | (3.., _) => Expected::Claim,
        (0 | 2, 2..4) => REVOKED,
        (0 | 2, 0..2) => LEVELLESS,
        // Without a version of the module its SVN is compared with the levels' first component.
        (1, 0) => Expected::Claim,
        (1, _) => Expected::Refused(&["tdx.tcb.module"]),
    }
}

#[test]
fn every_defect_that_the_module_and_the_quoting_enclave_sign_is_refused_at_its_own_rung() {
    let tee = FakeTee::from_seed([21; 32], NOW);
    let endorsements = bundle(&tee.endorsement_bundle(NOW, &[]).to_string()).expect("a bundle");
    let judge = Judge::of(tee.root_der());
    let expected = ReportData(DATA);
    let quote = tee.quote(&TdProfile::default(), DATA);
    let fields = [
        field("version", 0..2, VERSION),
        field("attestation key type", 2..4, &["tdx.quote.attestation-key-type"]),
        field("TEE type", 4..8, &["tdx.quote.tee-type"]),
        claim("QE SVN, PCE SVN", 8..12),
        field("QE vendor id", 12..28, &["tdx.quote.qe-vendor"]),
        claim("user data", 28..48),
        judged("TEE_TCB_SVN", 48..64, tee_tcb_svn),
        claim("MRSEAM", 64..112),
        field("MRSIGNERSEAM", 112..160, &["tdx.tcb.module"]),
        field("SEAMATTRIBUTES", 160..168, &["tdx.tcb.module"]),
        judged("TD_ATTRIBUTES", 168..176, attributes),
        judged("XFAM", 176..184, xfam),
        claim("MRTD to RTMR3", 184..568),
        field("REPORTDATA", 568..632, &["tdx.report-data"]),
    ];
    run_bytes("TDX quote v4, signed anew", &quote, Coverage::Head, &fields, |bytes| {
        let mut quote = bytes.to_vec();
        tee.sign_quote(&mut quote, 632);
        judge.judge(Evidence::parse_file(&quote), &endorsements, &expected)
    });
}
