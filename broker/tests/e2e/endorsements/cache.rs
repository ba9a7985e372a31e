//! Renewal, stale-if-error, and what a restart finds on disk.

use std::fs;

use adyton_attestation::claims::SnpProduct;
use adyton_attestation::endorsement::fetch::AnswerError;
use adyton_broker::endorsements::{FetchCause, Lookup};

use super::stand::{HOUR, NOW, Setup, tcb_info, tee, vcek_of};
use super::vendor::{Act, Vendor, answering, pccs, vcek, with_body};

/// A service that answers once, and fails from then on.
async fn answers_once() -> Vendor {
    let table = pccs(&tee(), NOW);
    Vendor::start(move |path, before| match before {
        0 => table[path].clone(),
        _ => Act::status(500),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_statement_is_used_without_asking() {
    let folder = tempfile::tempdir().expect("folder");
    let vendor = answers_once().await;
    let stand = Setup::new(folder.path(), &vendor.url).start();
    for hour in [0, 1, 23] {
        stand.at(hour * HOUR);
        stand.fetcher.get(&tcb_info()).await.expect("fetched, then kept");
    }
    assert_eq!(vendor.seen().len(), 1);
    assert_eq!(stand.counters.lookups(Lookup::Cached), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_renewal_fails_the_old_one_is_used_within_the_grace_and_not_after() {
    let folder = tempfile::tempdir().expect("folder");
    let vendor = answers_once().await;
    let stand = Setup::new(folder.path(), &vendor.url).start();
    stand.fetcher.get(&tcb_info()).await.expect("fetched");
    for hour in [24, 168] {
        stand.at(hour * HOUR);
        stand.fetcher.get(&tcb_info()).await.expect("stale-if-error");
    }
    assert_eq!(stand.counters.lookups(Lookup::StaleIfError), 2);
    assert_eq!(vendor.seen().len(), 2, "the failure is remembered for a while");
    stand.at(168 * HOUR + 1);
    let cause = stand.cause(&tcb_info()).await;
    assert!(matches!(cause, FetchCause::Answer(AnswerError::Status { status: 500 })), "{cause:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_vendor_did_not_sign_takes_the_place_of_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let table = pccs(&tee(), NOW);
    // Sound once, and from then on with another signature than Intel's.
    let vendor = Vendor::start(move |path, before| match before {
        0 => table[path].clone(),
        _ => with_body(&table[path], |body| body.replace("\"signature\":\"", "\"signature\":\"00")),
    })
    .await;
    let stand = Setup::new(folder.path(), &vendor.url).start();
    let sound = stand.fetcher.get(&tcb_info()).await.expect("fetched");
    stand.at(24 * HOUR);
    assert_eq!(stand.fetcher.get(&tcb_info()).await.expect("the sound one"), sound);
    assert_eq!(stand.counters.lookups(Lookup::StaleIfError), 1);
    let next = Setup::new(folder.path(), &vendor.url).start();
    assert_eq!(next.fetcher.get(&tcb_info()).await.expect("on disk"), sound);
}

#[tokio::test(flavor = "multi_thread")]
async fn grace_never_goes_past_the_end_that_the_vendor_signed() {
    let folder = tempfile::tempdir().expect("folder");
    // Two hours of life are left when it is fetched.
    let table = pccs(&tee(), NOW - 30 * 24 * HOUR + 3 * HOUR);
    let vendor = Vendor::start(move |path, before| match before {
        0 => table[path].clone(),
        _ => Act::status(500),
    })
    .await;
    let stand = Setup::new(folder.path(), &vendor.url).start();
    stand.fetcher.get(&tcb_info()).await.expect("it counts still");
    stand.at(2 * HOUR - 1);
    stand.fetcher.get(&tcb_info()).await.expect("its last second");
    stand.at(2 * HOUR);
    stand.cause(&tcb_info()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_and_then_an_answer_is_an_answer() {
    let folder = tempfile::tempdir().expect("folder");
    let table = pccs(&tee(), NOW);
    let vendor = Vendor::start(move |path, before| match before {
        0 => Act::status(500),
        _ => table[path].clone(),
    })
    .await;
    let first = Setup::new(folder.path(), &vendor.url).start();
    first.cause(&tcb_info()).await;
    // Another process: the failure is in nobody's memory any more.
    let second = Setup::new(folder.path(), &vendor.url).start();
    second.fetcher.get(&tcb_info()).await.expect("answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_fetched_survives_a_restart() {
    let folder = tempfile::tempdir().expect("folder");
    let vendor = answers_once().await;
    let before = Setup::new(folder.path(), &vendor.url).start();
    let fetched = before.fetcher.get(&tcb_info()).await.expect("fetched");
    let after = Setup::new(folder.path(), &vendor.url).start();
    let found = after.fetcher.get(&tcb_info()).await.expect("on disk");
    assert_eq!(fetched, found);
    assert_eq!(vendor.seen().len(), 1);
    // Also as the older one, when the service fails.
    let later = Setup::new(folder.path(), &vendor.url).start();
    later.at(100 * HOUR);
    assert_eq!(later.fetcher.get(&tcb_info()).await.expect("stale-if-error"), found);
    assert_eq!(later.counters.lookups(Lookup::StaleIfError), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_entry_is_discarded_and_fetched_again() {
    let folder = tempfile::tempdir().expect("folder");
    let vendor = Vendor::start(answering(pccs(&tee(), NOW))).await;
    Setup::new(folder.path(), &vendor.url).start().fetcher.get(&tcb_info()).await.expect("fetched");
    let cache = folder.path().join("cache");
    let file = fs::read_dir(&cache).expect("folder").next().expect("one").expect("entry").path();
    let sound = fs::read_to_string(&file).expect("text");
    let changed = |from: &str, to: &str| {
        assert!(sound.contains(from), "{sound}");
        sound.replacen(from, to, 1)
    };
    let corrupt = [
        String::new(),
        sound[..sound.len() / 2].to_owned(),
        changed("\"version\":1", "\"version\":2"),
        changed("intel-tcb-info", "intel-qe-identity"),
        changed("\"body\":\"", "\"body\":\"AAAA"),
        changed("\"body\":\"", "\"body\":\"*"),
        changed("2027-", "2028-"),
        " ".repeat(8 << 20),
    ];
    for (count, text) in corrupt.into_iter().enumerate() {
        fs::write(&file, text).expect("written");
        let stand = Setup::new(folder.path(), &vendor.url).start();
        stand.fetcher.get(&tcb_info()).await.expect("fetched again");
        assert_eq!(vendor.seen().len(), count + 2, "case {count}");
        assert_eq!(fs::read_to_string(&file).expect("text"), sound, "case {count}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_files_go_and_the_folder_stays_within_its_bound() {
    let folder = tempfile::tempdir().expect("folder");
    let cache = folder.path().join("cache");
    fs::create_dir(&cache).expect("made");
    fs::write(cache.join("half.0123.new"), "{").expect("written");
    for at in 0..20 {
        fs::write(cache.join(format!("{at}.json")), "{}").expect("written");
    }
    let vendor = Vendor::start(|_, _| Act::ok(vcek("Milan", &[1; 64]))).await;
    let setup = Setup { max_entries: 16, ..Setup::new(folder.path(), &vendor.url) };
    setup.start().fetcher.get(&vcek_of(SnpProduct::Milan, 1)).await.expect("fetched");
    let names = fs::read_dir(&cache).expect("folder").map(|e| e.expect("entry").file_name());
    let names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    assert_eq!(names.len(), 16, "{names:?}");
    assert!(names.iter().all(|name| name.ends_with(".json")), "{names:?}");
}
