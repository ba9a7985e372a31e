//! One defect at a time, field by field, each with the code that it must be refused with.
//!
//! A *field* is a range of bytes that a format document names; a *defect* is one change of one byte in
//! it: each bit flipped, cleared, set, counted up. Sound Evidence of the simulated machines is the start,
//! so bytes behind a signature fail at that signature, and bytes in front of it at their own rung. 100 %
//! have to be refused, with one of the codes listed for the field, and without a panic.
//!
//! By default every [`STRIDE`]th case runs, another residue for each kind. All of them, more than 100,000:
//! `ADYTON_CORPUS=all cargo test --release -p adyton-attestation --test corpus -- --nocapture`

use std::ops::Range;

use adyton_attestation::evidence::nvidia_gpu::GpuEvidence;
use adyton_attestation::verifier::{GpuError, verify_gpu};
use adyton_attestation::{
    EndorsementBundle, Evidence, SignatureCache, TrustAnchors, UnixTime, VerifyOptions,
    verify_cached,
};
use adyton_fake_tee::{FakeGpu, FakeTee, QuoteFormat, TdProfile};

const NOW: u64 = 1_800_000_000;
/// Of so many cases one runs by default. A prime: it meets every defect of every field in turn.
const STRIDE: usize = 41;

/// Bytes with a name, and the codes with which a defect in them may be refused.
struct Field {
    name: &'static str,
    bytes: Range<usize>,
    codes: &'static [&'static str],
}

const fn field(name: &'static str, bytes: Range<usize>, codes: &'static [&'static str]) -> Field {
    Field { name, bytes, codes }
}

const CHAIN_NAME: &str = "PCK certificate chain";

/// The defects of one byte: eight flips, cleared, set, one more.
fn defects(byte: u8) -> impl Iterator<Item = u8> {
    let flips = (0..8).map(move |bit| byte ^ 1 << bit);
    let mut seen = vec![byte];
    flips.chain([0x00, 0xff, byte.wrapping_add(1)]).filter(move |&changed| {
        let new = !seen.contains(&changed);
        seen.push(changed);
        new
    })
}

/// Runs the cases of one kind of Evidence; gives back how many there are and how many ran.
fn run(
    kind: &str,
    sound: &[u8],
    fields: &[Field],
    residue: usize,
    judge: impl Fn(&[u8]) -> Result<(), Vec<String>>,
) -> (usize, usize) {
    assert_eq!(judge(sound), Ok(()), "{kind}: what is sound must be accepted");
    let covered: usize = fields.iter().map(|field| field.bytes.len()).sum();
    assert_eq!(covered, sound.len(), "{kind}: every byte belongs to one field");
    let all = std::env::var_os("ADYTON_CORPUS").is_some_and(|word| word == "all");
    let (mut cases, mut ran) = (0, 0);
    let mut unexpected = Vec::new();
    for field in fields {
        for at in field.bytes.clone() {
            for changed in defects(sound[at]) {
                cases += 1;
                if !all && cases % STRIDE != residue % STRIDE {
                    continue;
                }
                ran += 1;
                let mut bytes = sound.to_vec();
                bytes[at] = changed;
                // The one byte of a quote that means nothing: quoting services end the chain with a line
                // feed or with a NUL.
                if field.name == CHAIN_NAME && at + 1 == sound.len() && changed == 0 {
                    continue;
                }
                let codes = judge(&bytes).err().unwrap_or_else(|| vec!["accepted".to_owned()]);
                if !codes.iter().any(|code| field.codes.contains(&code.as_str())) {
                    let byte = sound[at];
                    unexpected.push(format!(
                        "{} at {at}, {byte:#04x} → {changed:#04x}: {codes:?}",
                        field.name
                    ));
                }
            }
        }
    }
    assert!(unexpected.is_empty(), "{kind}: {} cases, {unexpected:#?}", unexpected.len());
    println!("{kind}: {ran} of {cases} cases, all refused with a code of their field");
    (cases, ran)
}

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
        field(CHAIN_NAME, chain..quote.len(), CHAIN),
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

#[test]
fn every_defect_in_every_field_of_a_quote_is_refused_with_its_code() {
    let tee = FakeTee::from_seed([21; 32], NOW);
    let bundle = tee.endorsement_bundle(NOW, &[]).to_string();
    let bundle = EndorsementBundle::parse(bundle.as_bytes()).expect("a bundle");
    let anchors = TrustAnchors::vendor().with_insecure_extra_root(tee.root_der()).expect("a root");
    let (cache, options) = (SignatureCache::new(), VerifyOptions::default());
    let mut total = 0;
    for (residue, (format, body, len)) in [
        (QuoteFormat::V4, 48, 584),
        (QuoteFormat::V5Td10, 54, 584),
        (QuoteFormat::V5Td15, 54, 648),
        (QuoteFormat::V5Td15Ex, 54, 885),
    ]
    .into_iter()
    .enumerate()
    {
        let quote = tee.quote(&TdProfile { format, ..TdProfile::default() }, [3; 64]);
        let judge = |bytes: &[u8]| {
            let codes = |reasons: Vec<adyton_attestation::Reason>| {
                reasons.into_iter().map(|reason| reason.code.into_owned()).collect::<Vec<_>>()
            };
            let evidence = Evidence::parse_file(bytes).map_err(|error| codes(error.reasons()))?;
            // Whoever asks for the report data that are in the quote asks for nothing.
            let expected = evidence.report_data();
            verify_cached(&evidence, &bundle, &anchors, &expected, UnixTime(NOW), &options, &cache)
                .map(|_| ())
                .map_err(|error| codes(error.reasons()))
        };
        let fields = quote_fields(&quote, body, len);
        total += run(&format!("{format:?}"), &quote, &fields, residue * 7, judge).0;
    }
    assert!(total >= 100_000, "{total} cases");
}

#[test]
fn every_defect_in_every_field_of_a_gpu_report_is_refused_with_its_code() {
    let gpu = FakeGpu::new(NOW);
    let nonce = [0x42; 32];
    let anchors =
        TrustAnchors::vendor().with_insecure_extra_root(gpu.root_pem().as_bytes()).expect("a root");
    let value = gpu.evidence(nonce, None);
    let text = |member: &str| value["device_evidence_list"][0][member].as_str().expect("text");
    let report = hex::decode(text("evidence")).expect("hex");
    let certificate = text("certificate").to_owned();
    let judge = |bytes: &[u8]| {
        let device = serde_json::json!([
            { "arch": "HOPPER", "evidence": hex::encode(bytes), "certificate": certificate }
        ]);
        let refused = |error: GpuError| vec![error.reason().code.into_owned()];
        let devices = GpuEvidence::parse_list(&device).map_err(|error| refused(error.into()))?;
        verify_gpu(&devices[0], &anchors, &nonce, UnixTime(NOW)).map(|_| ()).map_err(refused)
    };
    const FORM: &[&str] = &["gpu.report.malformed"];
    const SIGNED: &[&str] = &["gpu.report.signature"];
    const EITHER: &[&str] = &["gpu.report.malformed", "gpu.report.signature"];
    let record = 37 + 8;
    let opaque = record + 64 * 55 + 32;
    let signature = report.len() - 96;
    let fields = [
        field("request header", 0..4, FORM),
        field("request nonce, slot", 4..37, SIGNED),
        field("response version, code", 37..39, FORM),
        field("response parameters", 39..41, SIGNED),
        field("number of blocks, record length", 41..45, FORM),
        field("measurement record", record..record + 64 * 55, EITHER),
        field("responder's nonce", record + 64 * 55..opaque, SIGNED),
        field("opaque length", opaque..opaque + 2, FORM),
        field("opaque data", opaque + 2..signature, EITHER),
        field("signature", signature..report.len(), SIGNED),
    ];
    run("Hopper report", &report, &fields, 3, judge);
}
