//! One fault of a service a test; the cause that operators read is asserted.

use std::time::Instant;

use adyton_attestation::TrustAnchors;
use adyton_attestation::claims::{Fmspc, SnpProduct};
use adyton_attestation::endorsement::Freshness;
use adyton_attestation::endorsement::fetch::{AnswerError, PckCa, Statement, wanted_for_fmspc};
use adyton_broker::endorsements::FetchCause;
use adyton_broker::endorsements::client::ClientError;

use super::stand::{NOW, Setup, WAIT, tcb_info, tee, vcek_of};
use super::vendor::{Act, Authority, Vendor, answering, other_fmspc, pccs, vcek, with_body};

/// The cause when the service does this to every request for TCB info.
async fn cause_of(act: Act) -> FetchCause {
    let folder = tempfile::tempdir().expect("folder");
    let vendor = Vendor::start(move |_, _| act.clone()).await;
    let stand = Setup::new(folder.path(), &vendor.url).start();
    let cause = stand.cause(&tcb_info()).await;
    assert_eq!(vendor.seen().len(), 1, "asked once: {:?}", vendor.seen());
    assert!(!cause.remedy().is_empty());
    cause
}

fn answered() -> Act {
    let table = pccs(&tee(), NOW);
    let path = table.keys().find(|path| path.contains("/tcb?")).expect("TCB info");
    table[path].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_hangs_or_drips_is_left_at_the_time_limit() {
    let started = Instant::now();
    for act in [Act::Hang, Act::Drip] {
        let cause = cause_of(act).await;
        // Whichever ends first: the request, or the wait for it. Both are the same length here.
        assert!(
            matches!(
                cause,
                FetchCause::Client(ClientError::TimedOut { .. }) | FetchCause::Waiting(_)
            ),
            "{cause:?}"
        );
    }
    assert!(started.elapsed() < 10 * WAIT, "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_cut_off_is_no_answer() {
    let Act::Answer { body, .. } = answered() else { panic!("an answer") };
    let cause = cause_of(Act::CutOff(body)).await;
    assert!(matches!(cause, FetchCause::Client(ClientError::Broken(_))), "{cause:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_end_is_read_up_to_the_bound() {
    for act in [Act::Endless, Act::Announce(1 << 40)] {
        let cause = cause_of(act).await;
        assert!(matches!(cause, FetchCause::Client(ClientError::TooLong { .. })), "{cause:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_for_people_is_no_document() {
    let Act::Answer { headers, .. } = answered() else { panic!("an answer") };
    let page = b"<html>Sign in to the guest network</html>".to_vec();
    let headers = [headers, vec![("content-type", "text/html".to_owned())]].concat();
    let cause = cause_of(Act::Answer { status: 200, headers, body: page }).await;
    let FetchCause::Answer(AnswerError::Contents { expected, got }) = cause else {
        panic!("{cause:?}");
    };
    assert_eq!(expected, "TCB info JSON of version 4");
    assert!(got.starts_with("<html>"), "{got}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_about_another_platform_is_not_kept() {
    let cause = cause_of(with_body(&answered(), other_fmspc)).await;
    assert!(matches!(cause, FetchCause::Answer(AnswerError::Subject { .. })), "{cause:?}");
}

/// Each of Intel's statements with one byte of its signed part, or of its signature, changed.
fn tampered() -> Vec<(Statement, String, Act)> {
    let statements = wanted_for_fmspc(Fmspc(tee().fmspc()), PckCa::Platform);
    assert_eq!(statements.len(), 4);
    statements
        .into_iter()
        .map(|statement| {
            let act = pccs(&tee(), NOW)[&statement.path()].clone();
            let Act::Answer { status, headers, mut body } = act else { panic!("an answer") };
            match statement {
                // Before the last digit of a signature in hex; after it: `"}`.
                Statement::IntelTcbInfo(_) | Statement::IntelQeIdentity => {
                    let at = body.len() - 3;
                    body[at] = if body[at] == b'0' { b'1' } else { b'0' };
                }
                Statement::IntelRootCrl => {
                    let at = body.len() - 1;
                    body[at] = if body[at] == b'0' { b'1' } else { b'0' };
                }
                _ => *body.last_mut().expect("a list") ^= 1,
            }
            let path = statement.path();
            (statement, path, Act::Answer { status, headers, body })
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_the_vendor_did_not_sign_is_not_kept() {
    for (statement, path, act) in tampered() {
        let folder = tempfile::tempdir().expect("folder");
        let table = pccs(&tee(), NOW);
        let vendor = Vendor::start(move |asked, before| match before {
            0 if asked == path => act.clone(),
            _ => table[asked].clone(),
        })
        .await;
        let cause = Setup::new(folder.path(), &vendor.url).start().cause(&statement).await;
        assert!(
            matches!(cause, FetchCause::Answer(AnswerError::Unsigned { .. })),
            "{statement}: {cause:?}"
        );
        assert!(cause.remedy().contains("cache"));
        // Nothing of it is on disk, where the next process would find it.
        let next = Setup::new(folder.path(), &vendor.url).start();
        next.fetcher.get(&statement).await.expect("asked again, and answered");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_under_a_root_that_nobody_trusts_is_not_kept() {
    let folder = tempfile::tempdir().expect("folder");
    let vendor = Vendor::start(answering(pccs(&tee(), NOW))).await;
    for statement in wanted_for_fmspc(Fmspc(tee().fmspc()), PckCa::Platform) {
        let setup = Setup::new(folder.path(), &vendor.url);
        let stand = Setup { anchors: TrustAnchors::vendor(), ..setup }.start();
        let cause = stand.cause(&statement).await;
        assert!(
            matches!(cause, FetchCause::Answer(AnswerError::Unsigned { .. })),
            "{statement}: {cause:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_s_certificate_that_amd_did_not_sign_is_not_kept() {
    let folder = tempfile::tempdir().expect("folder");
    let vendor = Vendor::start(|_, _| Act::ok(vcek("Genoa", &[7; 64]))).await;
    let setup = Setup::new(folder.path(), &vendor.url);
    let stand = Setup { anchors: TrustAnchors::vendor(), ..setup }.start();
    let cause = stand.cause(&vcek_of(SnpProduct::Genoa, 7)).await;
    let FetchCause::Answer(AnswerError::Unsigned { detail }) = cause else { panic!("{cause:?}") };
    assert!(detail.contains("ASK of Genoa"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_without_its_issuer_chain_is_not_kept() {
    let Act::Answer { body, .. } = answered() else { panic!("an answer") };
    let cause = cause_of(Act::ok(body)).await;
    let header = "TCB-Info-Issuer-Chain";
    assert!(
        matches!(cause, FetchCause::Answer(AnswerError::NoChain { header: got }) if got == header),
        "{cause:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_whose_own_copy_expired_is_said_to_be_outdated() {
    let folder = tempfile::tempdir().expect("folder");
    let vendor = Vendor::start(answering(pccs(&tee(), NOW))).await;
    let stand = Setup::new(folder.path(), &vendor.url).start();
    stand.at(60 * 24 * 3600);
    let cause = stand.cause(&tcb_info()).await;
    assert!(matches!(cause, FetchCause::Outdated(Freshness::Expired)), "{cause:?}");
    assert!(cause.remedy().contains("PCCS"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let elsewhere = Vendor::start(answering(pccs(&tee(), NOW))).await;
    let location = vec![("location", format!("{}/tdx/certification/v4/tcb", elsewhere.url))];
    for status in [301, 302, 307, 308] {
        let headers = location.clone();
        let cause = cause_of(Act::Answer { status, headers, body: Vec::new() }).await;
        assert!(
            matches!(cause, FetchCause::Answer(AnswerError::Redirect { status: got }) if got == status),
            "{cause:?}"
        );
    }
    assert_eq!(elsewhere.seen(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_service_is_not_asked_again_at_once() {
    for status in [500, 502, 503, 401, 204] {
        let folder = tempfile::tempdir().expect("folder");
        let vendor = Vendor::start(move |_, _| Act::status(status)).await;
        let stand = Setup::new(folder.path(), &vendor.url).start();
        for _ in 0..3 {
            let cause = stand.cause(&tcb_info()).await;
            assert!(
                matches!(cause, FetchCause::Answer(AnswerError::Status { status: got }) if got == status),
                "{cause:?}"
            );
        }
        assert_eq!(vendor.seen().len(), 1, "status {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_certificate_of_another_ca_or_name_is_refused() {
    let authority = Authority::new();
    let foreign = Authority::new();
    for (issuer, name, good) in [
        (&authority, "127.0.0.1", true),
        (&foreign, "127.0.0.1", false),
        (&authority, "pccs.example", false),
    ] {
        let folder = tempfile::tempdir().expect("folder");
        let vendor = Vendor::start_tls(issuer, name, answering(pccs(&tee(), NOW))).await;
        let setup = Setup::new(folder.path(), &vendor.url);
        let stand = Setup { authority: Some(&authority), ..setup }.start();
        if good {
            stand.fetcher.get(&tcb_info()).await.expect("the right CA and name");
            continue;
        }
        let cause = stand.cause(&tcb_info()).await;
        assert!(matches!(cause, FetchCause::Client(ClientError::Tls(_))), "{cause:?}");
        assert!(cause.remedy().contains("endorsements.ca_file"));
        assert_eq!(vendor.seen(), [""; 0], "nothing was sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_at_the_address_is_unreachable() {
    let folder = tempfile::tempdir().expect("folder");
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", gone.local_addr().expect("address"));
    drop(gone);
    let stand = Setup::new(folder.path(), &url).start();
    let cause = stand.cause(&tcb_info()).await;
    assert!(matches!(cause, FetchCause::Client(ClientError::Unreachable(_))), "{cause:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bergamo_and_siena_are_found_under_genoa() {
    let folder = tempfile::tempdir().expect("folder");
    // As the KDS does: 404 for the code names, the certificate for the silicon's.
    let vendor = Vendor::start(|path: &str, _| {
        if path.starts_with("/vcek/v1/Genoa/") {
            Act::ok(vcek("Genoa", &[7; 64]))
        } else {
            Act::status(404)
        }
    })
    .await;
    for name in ["Bergamo", "Siena"] {
        let fetcher = Setup::new(folder.path(), &vendor.url).start().fetcher;
        let product = SnpProduct::from_certificate(name).expect("a product");
        fetcher.get(&vcek_of(product, 7)).await.expect(name);
    }
    let seen = vendor.seen();
    assert_eq!(seen.len(), 1, "the second found it on disk: {seen:?}");
    let id = "07".repeat(64);
    assert_eq!(seen[0], format!("/vcek/v1/Genoa/{id}?blSPL=09&teeSPL=00&snpSPL=23&ucodeSPL=72"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_of_another_processor_or_product_is_not_kept() {
    for (product, chip) in [("Genoa", 8), ("Milan", 7)] {
        let folder = tempfile::tempdir().expect("folder");
        let vendor = Vendor::start(move |_, _| Act::ok(vcek(product, &[chip; 64]))).await;
        let stand = Setup::new(folder.path(), &vendor.url).start();
        let cause = stand.cause(&vcek_of(SnpProduct::Genoa, 7)).await;
        assert!(matches!(cause, FetchCause::Answer(AnswerError::Subject { .. })), "{cause:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_does_not_have_is_asked_for_once() {
    let folder = tempfile::tempdir().expect("folder");
    let vendor = Vendor::start(|_, _| Act::status(404)).await;
    let stand = Setup::new(folder.path(), &vendor.url).start();
    for _ in 0..5 {
        let cause = stand.cause(&vcek_of(SnpProduct::Milan, 1)).await;
        assert!(matches!(cause, FetchCause::Answer(AnswerError::NotFound)), "{cause:?}");
    }
    assert_eq!(vendor.seen().len(), 1);
}
