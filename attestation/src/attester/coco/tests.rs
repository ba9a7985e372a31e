//! The CoCo guest API, spoken by a fake TEE on loopback and by servers that misbehave.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;

use adyton_fake_tee::{FakeTee, Fault, GuestApi, TdProfile};

use super::*;
use crate::evidence::{Evidence, EvidenceError};

const INFO_TDX: &str = r#"{"version":"v0.1.0","tee":"tdx","additional_tees":[]}"#;

/// A fake TEE's guest API. Its thread ends with the test process.
fn fake_tee(faults: &[Fault]) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let profile = TdProfile::default().with_faults(faults);
    let api = GuestApi::new(FakeTee::from_seed([5; 32], 1_800_000_000), profile, faults.to_vec());
    thread::spawn(move || api.serve(&listener));
    url
}

/// Answers with these, in order, one a connection; gives back the requests.
fn scripted(answers: &[(u16, &str)]) -> (String, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answers: Vec<String> = answers
        .iter()
        .map(|(status, body)| {
            format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        })
        .collect();
    let server = thread::spawn(move || {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let got = stream.read(&mut request).unwrap();
            requests.push(String::from_utf8_lossy(&request[..got]).into_owned());
            stream.write_all(answer.as_bytes()).unwrap();
        }
        requests
    });
    (url, server)
}

fn asked() -> ReportData {
    ReportData(std::array::from_fn(|at| 0xff - at as u8))
}

#[test]
fn evidence_carries_the_report_data() {
    let attester = CocoAttester::new(&fake_tee(&[])).unwrap();
    assert_eq!(attester.tee(), Tee::Tdx);
    let evidence = attester.collect(&asked()).unwrap();
    let evidence = Evidence::parse_kbs(Tee::Tdx, &evidence).unwrap();
    assert_eq!(evidence.report_data(), asked());
}

#[test]
fn an_event_changes_later_evidence() {
    let attester = CocoAttester::new(&fake_tee(&[])).unwrap();
    let before = attester.collect(&asked()).unwrap();
    let event = RuntimeEvent {
        domain: "adyton",
        operation: "key-released",
        content: "kbs:///acme/model-key/kjv",
    };
    attester.extend_event(&event).unwrap();
    let rtmr3 = |evidence: &Value| match Evidence::parse_kbs(Tee::Tdx, evidence).unwrap() {
        Evidence::Tdx(tdx) => tdx.quote().body.rtmr[3],
        other => panic!("TDX Evidence, not {other:?}"),
    };
    assert_ne!(rtmr3(&before), rtmr3(&attester.collect(&asked()).unwrap()));
}

#[test]
fn the_requests_are_those_of_the_guest_api() {
    let (url, server) = scripted(&[(200, INFO_TDX), (500, "no"), (200, "")]);
    let attester = CocoAttester::new(&url).unwrap();
    let _ = attester.collect(&asked());
    let event = RuntimeEvent { domain: "a", operation: "b", content: "c" };
    attester.extend_event(&event).unwrap();
    let requests = server.join().unwrap();
    assert!(requests[0].starts_with("GET /info HTTP/1.1\r\n"));
    let runtime_data = URL_SAFE_NO_PAD.encode(asked().0);
    assert!(requests[1].starts_with(&format!(
        "GET /aa/evidence?runtime_data={runtime_data}&encoding=base64 HTTP/1.1\r\n"
    )));
    assert!(requests[2].starts_with("POST /aa/aael HTTP/1.1\r\n"));
    assert!(
        requests[2].ends_with("\r\n\r\n{\"domain\":\"a\",\"operation\":\"b\",\"content\":\"c\"}")
    );
}

#[test]
fn evidence_over_other_report_data_is_refused() {
    let other = FakeTee::from_seed([5; 32], 1_800_000_000).primary_evidence(
        &TdProfile::default(),
        [0; 64],
        &[],
    );
    let (url, _server) = scripted(&[(200, INFO_TDX), (200, &other.to_string())]);
    assert!(matches!(
        CocoAttester::new(&url).unwrap().collect(&asked()),
        Err(AttesterError::ReportData { attester: "coco", expected, got })
            if *expected == asked() && *got == ReportData([0; 64])
    ));
}

#[test]
fn sample_evidence_is_refused() {
    let sample = r#"{"svn":"1","report_data":"AAAA"}"#;
    let (url, _server) = scripted(&[(200, INFO_TDX), (200, sample)]);
    assert!(matches!(
        CocoAttester::new(&url).unwrap().collect(&asked()),
        Err(AttesterError::Evidence {
            attester: "coco",
            source: EvidenceError::Encoding { what: "quote", .. }
        })
    ));
}

#[test]
fn a_guest_without_a_supported_tee_is_refused() {
    for (info, name) in [
        (r#"{"tee":"sample"}"#, "sample"),
        (r#"{"tee":null}"#, "no TEE"),
        (r#"{"version":"v0.1.0"}"#, "no TEE"),
    ] {
        let (url, _server) = scripted(&[(200, info)]);
        assert!(matches!(
            CocoAttester::new(&url),
            Err(AttesterError::Unsupported { attester: "coco", got }) if got == name
        ));
    }
}

#[test]
fn statuses_have_their_remedies() {
    for (status, remedy) in [
        (403, "over loopback"),
        (404, "agent.guest_components_rest_api=all"),
        (500, "/aa/evidence with 500: broken"),
    ] {
        let (url, _server) = scripted(&[(200, INFO_TDX), (status, "broken\r\n")]);
        let error = CocoAttester::new(&url).unwrap().collect(&asked()).unwrap_err();
        let right = match &error {
            AttesterError::Forbidden { path: "/aa/evidence" } => status == 403,
            AttesterError::NotEnabled { path: "/aa/evidence" } => status == 404,
            AttesterError::Status { path: "/aa/evidence", status: 500, .. } => status == 500,
            _ => false,
        };
        assert!(right && error.to_string().contains(remedy), "{error}");
    }
}

#[test]
fn an_event_that_the_guest_refuses_is_an_error() {
    let (url, _server) = scripted(&[(200, INFO_TDX), (500, "Illegal AAEL")]);
    let event = RuntimeEvent { domain: "a", operation: "b", content: "c" };
    assert!(matches!(
        CocoAttester::new(&url).unwrap().extend_event(&event),
        Err(AttesterError::Status { path: "/aa/aael", status: 500, .. })
    ));
}

#[test]
fn an_ambiguous_event_is_refused() {
    let (url, _server) = scripted(&[(200, INFO_TDX)]);
    let attester = CocoAttester::new(&url).unwrap();
    let event = RuntimeEvent { domain: "a", operation: "b", content: "c" };
    for event in [
        RuntimeEvent { domain: "two words", ..event },
        RuntimeEvent { domain: "", ..event },
        RuntimeEvent { operation: "tab\there", ..event },
        RuntimeEvent { content: "two\nlines", ..event },
    ] {
        let refused = attester.extend_event(&event);
        assert!(matches!(refused, Err(AttesterError::Event)), "{event:?}");
    }
}

#[test]
fn outside_a_coco_guest_nobody_answers() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert!(matches!(
        CocoAttester::new(&url),
        Err(AttesterError::Unreachable { address, .. }) if address == url
    ));
}

#[test]
fn a_url_beyond_loopback_is_not_asked() {
    for url in ["http://10.0.0.1:8006", "https://127.0.0.1:8006", "http://kbs.example.com"] {
        assert!(matches!(
            CocoAttester::new(url),
            Err(AttesterError::Url { got }) if got == url
        ));
    }
}

#[test]
fn an_answer_that_is_not_json_is_refused() {
    let (url, _server) = scripted(&[(200, INFO_TDX), (200, "<html>")]);
    assert!(matches!(
        CocoAttester::new(&url).unwrap().collect(&asked()),
        Err(AttesterError::Json { path: "/aa/evidence", .. })
    ));
    assert!(matches!(
        CocoAttester::new(&fake_tee(&[Fault::MalformedEvidence])).unwrap().collect(&asked()),
        Err(AttesterError::Json { path: "/aa/evidence", .. })
    ));
}
