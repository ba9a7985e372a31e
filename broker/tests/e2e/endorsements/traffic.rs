//! How often a service is asked.

use std::sync::Arc;
use std::time::Duration;

use adyton_attestation::claims::SnpProduct;
use adyton_attestation::endorsement::fetch::AnswerError;
use adyton_attestation::{EndorsementBundle, Evidence, ReportData, TrustAnchors, UnixTime, verify};
use adyton_broker::endorsements::{Counters, FetchCause, Supply};
use adyton_fake_tee::TdProfile;

use super::stand::{NOW, Setup, tcb_info, tee, vcek_of};
use super::vendor::{Act, Vendor, answering, pccs, vcek};

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_parallel_verifications_ask_for_each_statement_once() {
    let folder = tempfile::tempdir().expect("folder");
    let tee = tee();
    let vendor = Vendor::start(answering(pccs(&tee, NOW))).await;
    let wait = Duration::from_secs(30);
    let stand = Setup { wait, ..Setup::new(folder.path(), &vendor.url) }.start();
    let supply = Supply::new(Some(Arc::clone(&stand.fetcher)), Counters::default());
    let anchors = TrustAnchors::vendor().with_insecure_extra_root(tee.root_der()).expect("root");
    let quote = tee.quote(&TdProfile::default(), [5; 64]);
    let verifications: Vec<_> = (0..100)
        .map(|_| {
            let (supply, anchors, quote) = (supply.clone(), anchors.clone(), quote.clone());
            tokio::spawn(async move {
                let evidence = Evidence::parse_file(&quote).expect("a quote");
                let none = Arc::new(EndorsementBundle::empty());
                let plan = supply.plan(none, &evidence, &anchors, UnixTime(NOW)).expect("genuine");
                let bundle = supply.supply(plan).await.expect("endorsements");
                verify(&evidence, &bundle, &anchors, &ReportData([5; 64]), UnixTime(NOW))
                    .expect("verifies");
            })
        })
        .collect();
    for verification in verifications {
        verification.await.expect("no panic");
    }
    let mut seen = vendor.seen();
    seen.sort();
    seen.dedup();
    assert_eq!((vendor.seen().len(), seen.len()), (4, 4), "{:?}", vendor.seen());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_the_service_orders_is_kept() {
    let folder = tempfile::tempdir().expect("folder");
    let table = pccs(&tee(), NOW);
    let vendor = Vendor::start(move |path, before| match before {
        0 => {
            let headers = vec![("Retry-After", "1".to_owned())];
            Act::Answer { status: 429, headers, body: Vec::new() }
        }
        _ => table[path].clone(),
    })
    .await;
    let wait = Duration::from_secs(20);
    let stand = Setup { wait, ..Setup::new(folder.path(), &vendor.url) }.start();
    let started = std::time::Instant::now();
    stand.fetcher.get(&tcb_info()).await.expect("after the pause");
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(vendor.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_without_a_time_makes_a_pause_of_our_own() {
    let folder = tempfile::tempdir().expect("folder");
    let vendor = Vendor::start(|_, _| Act::status(429)).await;
    let stand = Setup::new(folder.path(), &vendor.url).start();
    for chip in [1, 2, 1] {
        let cause = stand.cause(&vcek_of(SnpProduct::Milan, chip)).await;
        assert!(matches!(cause, FetchCause::Waiting(_)), "{cause:?}");
    }
    assert_eq!(vendor.seen().len(), 1, "everybody waits for the end of the pause");
}

#[tokio::test(flavor = "multi_thread")]
async fn processors_are_asked_for_one_in_ten_seconds_and_the_queue_is_bounded() {
    let folder = tempfile::tempdir().expect("folder");
    let vendor = Vendor::start(|_, _| Act::ok(vcek("Milan", &[0; 64]))).await;
    let stand = Setup::new(folder.path(), &vendor.url).start();
    stand.fetcher.get(&vcek_of(SnpProduct::Milan, 0)).await.expect("the first goes at once");
    let waiting: Vec<_> = (1..=70)
        .map(|chip| {
            let fetcher = Arc::clone(&stand.fetcher);
            tokio::spawn(async move { fetcher.get(&vcek_of(SnpProduct::Milan, chip)).await })
        })
        .collect();
    let (mut in_queue, mut refused) = (0, 0);
    for get in waiting {
        match get.await.expect("no panic").expect_err("its turn is later").cause {
            FetchCause::Waiting(_) => in_queue += 1,
            FetchCause::QueueFull(full) => {
                assert!(full.retry_after > Duration::ZERO);
                refused += 1;
            }
            ref other => panic!("{other:?}"),
        }
    }
    assert_eq!((in_queue, refused), (64, 6));
    assert_eq!(vendor.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_statements_do_not_wait_behind_processors() {
    let folder = tempfile::tempdir().expect("folder");
    let table = pccs(&tee(), NOW);
    let vendor = Vendor::start(answering(table)).await;
    let stand = Setup::new(folder.path(), &vendor.url).start();
    let cause = stand.cause(&vcek_of(SnpProduct::Milan, 1)).await;
    assert!(matches!(cause, FetchCause::Answer(AnswerError::NotFound)), "{cause:?}");
    stand.fetcher.get(&tcb_info()).await.expect("at once");
}
