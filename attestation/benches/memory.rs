//! How much memory does one verification take from a broker?
//!
//! An allocator that counts stands under everything; printed are the bytes that a parsed quote and
//! parsed Endorsements hold, and the most that one call held above that while it ran. A run fails when
//! a peak is above its bound, so that a parser that grows is noticed.
//! What the C code of `aws-lc-rs` takes for a parsed key is not counted.
//! `cargo bench -p adyton-attestation --bench memory`

use std::alloc::System;

use adyton_attestation::{
    EndorsementBundle, Evidence, SignatureCache, UnixTime, VerifyOptions, verify, verify_cached,
};
use cap::Cap;
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::configs::RingConfig;
use dcap_qvl::verify::QuoteVerifier;

mod scenario;

use scenario::Scenario;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Most bytes that one verification may hold above its arguments.
const PEAK: usize = 128 * 1024;

fn main() {
    println!("bytes held by the value, and at most while it was made");
    for Scenario { name, quote, collateral, anchors, root_der, now } in Scenario::all() {
        println!("{name}: quote {} bytes, collateral {} bytes", quote.len(), collateral.len());
        let now = UnixTime(now);
        let evidence = counted("parse quote", || Evidence::parse_file(&quote).expect("a quote"));
        let bundle = counted("parse collateral", || {
            EndorsementBundle::parse(collateral.as_bytes()).expect("a bundle")
        });
        let expected = evidence.report_data();
        drop(counted("verify, cold", || {
            verify(&evidence, &bundle, &anchors, &expected, now).expect("sound")
        }));
        let (cache, options) = (SignatureCache::new(), VerifyOptions::default());
        for call in ["verify, first with a cache", "verify, warm"] {
            drop(counted(call, || {
                verify_cached(&evidence, &bundle, &anchors, &expected, now, &options, &cache)
                    .expect("sound")
            }));
        }
        let library = QuoteVerifier::<RingConfig>::new_with_config(root_der);
        let bare: QuoteCollateralV3 = serde_json::from_str(&collateral).expect("collateral");
        counted_without_bound("dcap-qvl", || library.verify(&quote, &bare, now.0).expect("sound"));
    }
}

fn counted<T>(what: &str, call: impl FnOnce() -> T) -> T {
    let (value, peak) = counted_without_bound(what, call);
    assert!(peak <= PEAK, "{what} held {peak} bytes, the bound is {PEAK}");
    value
}

/// The allocator remembers the highest total there ever was. A ballast first raises the present total to
/// it; by what the highest total then grows is the peak of this call.
fn counted_without_bound<T>(what: &str, call: impl FnOnce() -> T) -> (T, usize) {
    let ballast = ALLOCATOR.max_allocated().saturating_sub(ALLOCATOR.allocated());
    let ballast: Vec<u8> = Vec::with_capacity(ballast);
    let before = ALLOCATOR.allocated();
    let value = call();
    let held = ALLOCATOR.allocated().saturating_sub(before);
    let peak = ALLOCATOR.max_allocated().saturating_sub(before);
    drop(ballast);
    println!("  {what:<28} {held:>8} {peak:>8}");
    (value, peak)
}
