//! Is a TDX verification cheaper than the library that most others use, in the same minute on the same core?
//!
//! Wall time on a shared machine says little by itself, so the candidates take turns, one call each, and
//! their medians and quickest tenths are compared. `cargo bench -p adyton-attestation --bench cost`
//!
//! - `cold`: our ladder over a parsed quote with parsed Endorsements, no signature known;
//! - `warm`: the same with a [`SignatureCache`] that has seen another quote of this platform type;
//! - `bytes`: quote and collateral parsed anew, then as `cold`: what a program pays that keeps nothing;
//! - `dcap-qvl`: `QuoteVerifier::verify` of the crate with ring, over the same bytes; it parses both
//!   each time, but is given the collateral's JSON object parsed.
//!
//! Real vectors when they are there (`ADYTON_VECTORS`, or `../shared/vectors` beside the workspace),
//! simulated ones always.

use std::hint::black_box;
use std::time::{Duration, Instant};

use adyton_attestation::{
    EndorsementBundle, Evidence, SignatureCache, UnixTime, VerifyOptions, verify, verify_cached,
};
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::configs::RingConfig;
use dcap_qvl::verify::QuoteVerifier;

mod scenario;

use scenario::Scenario;

/// Turns per scenario. Each turn is one call of every candidate.
const TURNS: usize = 600;

fn main() {
    // `cargo test --benches` and criterion's flags: one turn shows that it still runs.
    let turns = if std::env::args().any(|arg| arg == "--test") { 1 } else { TURNS };
    println!("{turns} turns each; milliseconds, median (quickest tenth)");
    for scenario in Scenario::all() {
        compare(&scenario, turns);
    }
}

fn compare(scenario: &Scenario, turns: usize) {
    let Scenario { name, quote, collateral, anchors, root_der, now } = scenario;
    let now = UnixTime(*now);
    let evidence = Evidence::parse_file(quote).expect("a quote");
    let bundle = EndorsementBundle::parse(collateral.as_bytes()).expect("a bundle");
    let expected = evidence.report_data();
    let options = VerifyOptions::default();
    let cache = SignatureCache::new();
    verify_cached(&evidence, &bundle, anchors, &expected, now, &options, &cache).expect("sound");
    let library = QuoteVerifier::<RingConfig>::new_with_config(root_der.clone());
    let bare: QuoteCollateralV3 = serde_json::from_str(collateral).expect("collateral");

    let [mut cold, mut warm, mut bytes, mut rival] = [(); 4].map(|()| Vec::with_capacity(turns));
    for _ in 0..turns {
        cold.push(timed(|| {
            drop(verify(black_box(&evidence), &bundle, anchors, &expected, now).expect("sound"));
        }));
        rival.push(timed(|| {
            drop(library.verify(black_box(quote), &bare, now.0).expect("sound"));
        }));
        warm.push(timed(|| {
            let evidence = black_box(&evidence);
            let claims =
                verify_cached(evidence, &bundle, anchors, &expected, now, &options, &cache);
            drop(claims.expect("sound"));
        }));
        bytes.push(timed(|| {
            let evidence = Evidence::parse_file(black_box(quote)).expect("a quote");
            let bundle = EndorsementBundle::parse(black_box(collateral).as_bytes());
            let bundle = bundle.expect("a bundle");
            drop(verify(&evidence, &bundle, anchors, &expected, now).expect("sound"));
        }));
    }
    let [cold, warm, bytes, rival] = [cold, warm, bytes, rival].map(Figures::of);
    println!("{name}");
    println!("  dcap-qvl {rival}");
    for (candidate, figures) in [("cold", cold), ("warm", warm), ("bytes", bytes)] {
        let (median, quick) =
            (figures.median / rival.median, figures.quick_tenth / rival.quick_tenth);
        println!("  {candidate:<8} {figures}  {median:.3} ({quick:.3}) of dcap-qvl");
    }
}

fn timed(call: impl FnOnce()) -> Duration {
    let start = Instant::now();
    call();
    start.elapsed()
}

/// Milliseconds.
#[derive(Clone, Copy)]
struct Figures {
    median: f64,
    quick_tenth: f64,
}

impl Figures {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        let at = |part: usize| times[times.len() / part].as_secs_f64() * 1000.0;
        Self { median: at(2), quick_tenth: at(10) }
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} ({:.3})", self.median, self.quick_tenth)
    }
}
