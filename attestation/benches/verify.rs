//! What does a verification cost a broker, and how much of it is ours?
//!
//! `verify/ladder/*` is the whole ladder of this crate over a parsed quote with parsed collateral;
//! `verify/dcap-qvl/*` is the bare library with the same bytes in the same run, the part that no
//! verifier can save. `parse/*` is what a broker pays before it knows anything, `refuse/*` what a
//! forger makes it pay. Time is wall time on one core.
//!
//! `real-v4` needs the real vectors (`ADYTON_VECTORS`, or `../shared/vectors` beside the workspace)
//! and is left out, with a line that says so, when they aren't there.

use std::hint::black_box;
use std::path::{Path, PathBuf};

use adyton_attestation::{
    AppraisalPolicy, EndorsementBundle, Evidence, ReferenceValues, TrustAnchors, UnixTime,
    appraise, verify,
};
use adyton_fake_tee::{FakeTee, QuoteFormat, TdProfile};
use criterion::{Criterion, criterion_group, criterion_main};
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::configs::RingConfig;
use dcap_qvl::verify::QuoteVerifier;
use der::DecodePem as _;
use der::Encode as _;

/// One quote with everything that its verification needs.
struct Scenario {
    name: &'static str,
    quote: Vec<u8>,
    collateral: String,
    anchors: TrustAnchors,
    root_der: Vec<u8>,
    now: u64,
}

fn scenarios() -> Vec<Scenario> {
    let now = 1_800_000_000;
    let tee = FakeTee::from_seed([3; 32], now);
    let root_der = x509_cert::Certificate::from_pem(tee.root_pem())
        .and_then(|root| root.to_der())
        .expect("the fake root is a certificate");
    let simulated = |name, format| {
        let profile = TdProfile { format, ..TdProfile::default() };
        Scenario {
            name,
            quote: tee.quote(&profile, [1; 64]),
            collateral: tee.collateral(now, &[]).to_string(),
            anchors: TrustAnchors::vendor()
                .with_insecure_extra_root(&root_der)
                .expect("the fake root is a certificate"),
            root_der: root_der.clone(),
            now,
        }
    };
    let mut all = vec![
        simulated("simulated-v4", QuoteFormat::V4),
        simulated("simulated-v5", QuoteFormat::V5Td15),
    ];
    all.extend(real());
    all
}

fn real() -> Option<Scenario> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let folder = std::env::var_os("ADYTON_VECTORS").map_or(beside, PathBuf::from);
    let read = |name: &str| std::fs::read(folder.join("dcap-qvl").join(name)).ok();
    let (Some(quote), Some(collateral), Some(root_der)) =
        (read("tdx_quote"), read("tdx_quote_collateral.json"), read("TrustedRootCA.der"))
    else {
        println!("skipped: real-v4, no vectors at {}", folder.display());
        return None;
    };
    Some(Scenario {
        name: "real-v4",
        quote,
        collateral: String::from_utf8(collateral).expect("JSON text"),
        anchors: TrustAnchors::vendor(),
        root_der,
        now: 1_750_500_000,
    })
}

fn verification(c: &mut Criterion) {
    for scenario in scenarios() {
        let Scenario { name, quote, collateral, anchors, root_der, now } = &scenario;
        let evidence = Evidence::parse_file(quote).expect("a quote");
        let bundle = EndorsementBundle::parse(collateral.as_bytes()).expect("a bundle");
        let expected = evidence.report_data();
        c.bench_function(&format!("verify/ladder/{name}"), |b| {
            b.iter(|| {
                verify(black_box(&evidence), &bundle, anchors, &expected, UnixTime(*now))
                    .expect("sound")
            });
        });

        let library = QuoteVerifier::<RingConfig>::new_with_config(root_der.clone());
        let bare: QuoteCollateralV3 = serde_json::from_str(collateral).expect("collateral");
        c.bench_function(&format!("verify/dcap-qvl/{name}"), |b| {
            b.iter(|| library.verify(black_box(quote), &bare, *now).expect("sound"));
        });

        c.bench_function(&format!("parse/evidence/{name}"), |b| {
            b.iter(|| Evidence::parse_file(black_box(quote)).expect("a quote"));
        });
        c.bench_function(&format!("parse/bundle/{name}"), |b| {
            b.iter(|| {
                EndorsementBundle::parse(black_box(collateral.as_bytes())).expect("a bundle")
            });
        });

        let mut forged = quote.clone();
        forged[184] ^= 1;
        let forged = Evidence::parse_file(&forged).expect("still a quote");
        c.bench_function(&format!("refuse/forged-mrtd/{name}"), |b| {
            b.iter(|| {
                verify(black_box(&forged), &bundle, anchors, &expected, UnixTime(*now))
                    .expect_err("forged")
            });
        });
    }
}

fn appraisal(c: &mut Criterion) {
    let now = 1_800_000_000;
    let tee = FakeTee::from_seed([3; 32], now);
    let profile = TdProfile::default();
    let evidence = Evidence::parse_file(&tee.quote(&profile, [1; 64])).expect("a quote");
    let bundle = tee.collateral(now, &[]).to_string();
    let bundle = EndorsementBundle::parse(bundle.as_bytes()).expect("a bundle");
    let anchors = TrustAnchors::vendor()
        .with_insecure_extra_root(tee.root_pem().as_bytes())
        .expect("the fake root is a certificate");
    let references = [ReferenceValues::parse_toml(&tee.reference_values(&profile)).expect("a set")];
    let policy = AppraisalPolicy {
        reference_values: vec![references[0].name().to_owned()],
        ..AppraisalPolicy::default()
    };
    let expected = evidence.report_data();
    let verified = verify(&evidence, &bundle, &anchors, &expected, UnixTime(now)).expect("sound");
    let mut verified = Some(verified);
    c.bench_function("appraise/one-set", |b| {
        b.iter(|| {
            let claims = verified.take().expect("given back below");
            let result = appraise(claims, black_box(&references), &policy, UnixTime(now));
            verified = Some(result.expect("accepted").into_verified());
        });
    });
}

criterion_group!(benches, verification, appraisal);
criterion_main!(benches);
