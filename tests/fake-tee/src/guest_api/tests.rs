//! The guest API over a real loopback connection, and its reader without one.

use std::net::Ipv4Addr;

use super::*;

const NOW: u64 = 1_800_000_000;
/// Report data's place in a quote v4.
const REPORT_DATA: std::ops::Range<usize> = 568..632;
/// RTMR3's place in a quote v4.
const RTMR3: std::ops::Range<usize> = 520..568;

fn api(faults: &[Fault]) -> GuestApi {
    GuestApi::new(FakeTee::from_seed([1; 32], NOW), TdProfile::default(), faults.to_vec())
}

fn ask(api: &GuestApi, method: &str, target: &str, body: &str) -> Response {
    let request = Request {
        method: method.to_owned(),
        target: target.to_owned(),
        body: body.as_bytes().to_vec(),
    };
    api.answer(Ipv4Addr::LOCALHOST.into(), &request)
}

fn quote(response: &Response) -> Vec<u8> {
    assert_eq!(response.status, 200);
    let evidence: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(evidence["cc_eventlog"], Value::Null);
    STANDARD.decode(evidence["quote"].as_str().unwrap()).unwrap()
}

#[test]
fn evidence_carries_the_runtime_data_in_every_encoding() {
    let api = api(&[]);
    let data: [u8; 64] = std::array::from_fn(|at| 0xff - at as u8);
    let url_safe = URL_SAFE_NO_PAD.encode(data);
    let percent = STANDARD.encode(data).replace('+', "%2B").replace('/', "%2f").replace('=', "%3D");
    for value in [url_safe, percent] {
        let target = format!("/aa/evidence?runtime_data={value}&encoding=base64");
        assert_eq!(quote(&ask(&api, "GET", &target, ""))[REPORT_DATA], data);
    }
    let raw = quote(&ask(&api, "GET", "/aa/evidence?runtime_data=xxxx", ""));
    assert_eq!(raw[REPORT_DATA][..5], *b"xxxx\0");
}

#[test]
fn requests_that_the_real_server_refuses_are_refused() {
    let api = api(&[]);
    let long = "a".repeat(65);
    let cases = [
        ("GET", "/aa/evidence".to_owned(), 400),
        ("GET", "/aa/evidence?encoding=base64".to_owned(), 400),
        ("GET", "/aa/evidence?runtime_data=!&encoding=base64".to_owned(), 400),
        ("GET", "/aa/evidence?runtime_data=00&encoding=hex".to_owned(), 400),
        ("GET", "/aa/evidence?runtime_data=%4".to_owned(), 400),
        ("GET", format!("/aa/evidence?runtime_data={long}"), 400),
        ("POST", "/aa/evidence?runtime_data=x".to_owned(), 405),
        ("GET", "/aa/aael".to_owned(), 405),
        ("DELETE", "/info".to_owned(), 405),
        ("GET", "/aa/token?token_type=kbs".to_owned(), 404),
        ("GET", "/cdh/resource/a/b/c".to_owned(), 404),
        ("GET", "/".to_owned(), 404),
    ];
    for (method, target, status) in cases {
        assert_eq!(ask(&api, method, &target, "").status, status, "{method} {target}");
    }
}

#[test]
fn peers_beyond_loopback_are_forbidden() {
    let request =
        Request { method: "GET".to_owned(), target: "/info".to_owned(), body: Vec::new() };
    let peer = IpAddr::from([10, 0, 0, 1]);
    assert_eq!(api(&[]).answer(peer, &request).status, 403);
}

#[test]
fn an_event_extends_rtmr3_and_so_changes_later_evidence() {
    let api = api(&[]);
    let event = r#"{"domain":"adyton","operation":"key-released","content":"kbs:///a/b/c"}"#;
    let rtmr3 = |api| quote(&ask(api, "GET", "/aa/evidence?runtime_data=x", ""))[RTMR3].to_vec();
    let before = rtmr3(&api);
    assert_eq!(before, TdProfile::default().rtmrs[3]);
    assert_eq!(ask(&api, "POST", "/aa/aael", event).status, 200);
    assert_ne!(rtmr3(&api), before);
    assert_eq!(ask(&api, "POST", "/aa/aael", "{}").status, 500);
}

#[test]
fn faults_of_the_guest_api_show_in_its_answers() {
    let ask = |fault| ask(&api(&[fault]), "GET", "/aa/evidence?runtime_data=x", "");
    assert_eq!(ask(Fault::FailingAttester).status, 500);
    let malformed = ask(Fault::MalformedEvidence);
    assert_eq!(malformed.status, 200);
    assert!(serde_json::from_slice::<Value>(&malformed.body).is_err());
}

#[test]
fn heads_and_bodies_beyond_the_limits_are_refused_without_reading_them() {
    let status = |request: String| match Request::read(&mut request.as_bytes()) {
        Err(ReadError::Refused(response)) => Some(response.status),
        _ => None,
    };
    let long_head = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(2 * MAX_HEAD));
    assert_eq!(status(long_head), Some(431));
    let head = |extra: &str| format!("POST /aa/aael HTTP/1.1\r\n{extra}\r\n\r\n");
    assert_eq!(status(head("content-length: 99999999")), Some(413));
    assert_eq!(status(head("content-length: -1")), Some(400));
    assert_eq!(status(head("content-length: 1\r\ncontent-length: 2")), Some(400));
    assert_eq!(status(head("transfer-encoding: chunked")), Some(400));
    assert_eq!(status("\0\0\0\0".to_owned()), Some(400));
}

#[test]
fn the_server_answers_over_a_socket() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    // The server has no end of its own; the thread goes with the test process.
    thread::spawn(move || api(&[]).serve(&listener));
    for _ in 0..3 {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /info HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("\"tee\":\"tdx\""), "{answer}");
    }
}

#[test]
fn an_snp_guest_answers_with_its_report_and_has_nothing_to_extend() {
    let machine = FakeSnp::new(NOW, crate::FakeProduct::Genoa, crate::FakeKey::Vcek);
    let api = GuestApi::snp(machine, SnpProfile::default(), None);
    let info: Value = serde_json::from_slice(&ask(&api, "GET", "/info", "").body).unwrap();
    assert_eq!(info["tee"], "snp");
    let answer = ask(&api, "GET", "/aa/evidence?runtime_data=xxxx", "");
    let evidence: Value = serde_json::from_slice(&answer.body).unwrap();
    let data = evidence["attestation_report"]["report_data"].as_array().unwrap();
    assert_eq!((data[0].as_u64(), data[4].as_u64(), data.len()), (Some(0x78), Some(0), 64));
    assert_eq!(evidence["cert_chain"][0]["cert_type"], "VCEK");
    let event = r#"{"domain":"d","operation":"o","content":"c"}"#;
    assert_eq!(ask(&api, "POST", "/aa/aael", event).status, 500);
}
