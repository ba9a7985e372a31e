//! What does a verification cost a broker, and how much of it is ours?
//!
//! `verify/cold/*` is the whole ladder of this crate over a parsed quote with parsed collateral, with no
//! signature known; `verify/warm/*` the same with a cache that has seen the platform type;
//! `verify/dcap-qvl/*` the crate `dcap-qvl` with ring over the same bytes in the same run. `parse/*` is
//! what a broker pays before it knows anything, `refuse/*` what a forger makes it pay. Time is wall time
//! on one core; `cost` compares the three by turns, `memory` counts bytes.

use std::hint::black_box;

use adyton_attestation::{
    AppraisalPolicy, EndorsementBundle, Evidence, ReferenceValues, SignatureCache, TrustAnchors,
    UnixTime, VerifyOptions, appraise, verify, verify_cached,
};
use adyton_fake_tee::{FakeTee, TdProfile};
use criterion::{Criterion, criterion_group, criterion_main};
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::configs::RingConfig;
use dcap_qvl::verify::QuoteVerifier;

mod scenario;

use scenario::Scenario;

fn verification(c: &mut Criterion) {
    for scenario in Scenario::all() {
        let Scenario { name, quote, collateral, anchors, root_der, now } = &scenario;
        let evidence = Evidence::parse_file(quote).expect("a quote");
        let bundle = EndorsementBundle::parse(collateral.as_bytes()).expect("a bundle");
        let expected = evidence.report_data();
        c.bench_function(&format!("verify/cold/{name}"), |b| {
            b.iter(|| {
                verify(black_box(&evidence), &bundle, anchors, &expected, UnixTime(*now))
                    .expect("sound")
            });
        });

        let (cache, options) = (SignatureCache::new(), VerifyOptions::default());
        c.bench_function(&format!("verify/warm/{name}"), |b| {
            b.iter(|| {
                let (evidence, now) = (black_box(&evidence), UnixTime(*now));
                verify_cached(evidence, &bundle, anchors, &expected, now, &options, &cache)
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
