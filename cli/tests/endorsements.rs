//! `adyton endorsements` against a service on loopback.

mod stand;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use adyton_attestation::EndorsementBundle;
use adyton_fake_tee::{FakeTee, Fault, TdProfile};
use stand::Stand;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Status, more header lines, body.
type Answer = (u16, String, Vec<u8>);

/// A service in clear text on loopback; 404 for what is not in the table.
struct Service {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Service {
    fn start(table: HashMap<String, Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut lines = BufReader::new(stream.try_clone().expect("a handle")).lines();
                let first = lines.next().expect("a line").expect("text");
                while lines.next().is_some_and(|line| !line.expect("text").is_empty()) {}
                let path = first.split(' ').nth(1).expect("a path").to_owned();
                let missing = (404, String::new(), Vec::new());
                let (status, headers, body) = table.get(&path).cloned().unwrap_or(missing);
                noted.lock().expect("no panic").push(path);
                let head = format!(
                    "HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n",
                    body.len()
                );
                stream.write_all(head.as_bytes()).expect("sent");
                stream.write_all(&body).expect("sent");
            }
        });
        Self { url, seen }
    }

    fn seen(&self) -> usize {
        self.seen.lock().expect("no panic").len()
    }
}

fn pccs(tee: &FakeTee) -> HashMap<String, Answer> {
    let collateral = tee.collateral(now(), &[]);
    let text = |member: &str| collateral[member].as_str().expect("text").to_owned();
    let chain = |header: &str, member: &str| {
        let encoded: String = text(member).bytes().map(|byte| format!("%{byte:02x}")).collect();
        format!("{header}: {encoded}\r\n")
    };
    let signed = |name: &str, document: &str, signature: &str| {
        let signature = text(signature);
        format!("{{\"{name}\":{},\"signature\":\"{signature}\"}}", text(document)).into_bytes()
    };
    let fmspc = hex::encode_upper(tee.fmspc());
    HashMap::from([
        (
            format!("/tdx/certification/v4/tcb?fmspc={fmspc}"),
            (
                200,
                chain("TCB-Info-Issuer-Chain", "tcb_info_issuer_chain"),
                signed("tcbInfo", "tcb_info", "tcb_info_signature"),
            ),
        ),
        (
            "/tdx/certification/v4/qe/identity".to_owned(),
            (
                200,
                chain("SGX-Enclave-Identity-Issuer-Chain", "qe_identity_issuer_chain"),
                signed("enclaveIdentity", "qe_identity", "qe_identity_signature"),
            ),
        ),
        (
            "/sgx/certification/v4/pckcrl?ca=platform&encoding=der".to_owned(),
            (
                200,
                chain("SGX-PCK-CRL-Issuer-Chain", "pck_crl_issuer_chain"),
                hex::decode(text("pck_crl")).expect("hex"),
            ),
        ),
        (
            "/sgx/certification/v4/rootcacrl".to_owned(),
            (200, String::new(), text("root_ca_crl").into_bytes()),
        ),
    ])
}

/// A stand with a CA file, which every fetch needs and no loopback address uses.
fn stand_for(tee: &FakeTee) -> (Stand, String) {
    let stand = Stand::new();
    let root = stand.write("root.pem", tee.root_pem().as_bytes());
    (stand, root.display().to_string())
}

#[test]
fn what_evidence_needs_is_fetched_and_verifies_it() {
    let tee = FakeTee::new(now());
    let service = Service::start(pccs(&tee));
    let (stand, root) = stand_for(&tee);
    let quote = tee.quote(&TdProfile::default(), [7; 64]);
    let quote = stand.write("quote.bin", &quote).display().to_string();
    let out = stand.path("bundle.json").display().to_string();
    let fetch = [
        "endorsements",
        "fetch",
        "--evidence",
        &quote,
        "--insecure-extra-root",
        &root,
        "--intel-url",
        &service.url,
        "--ca-file",
        &root,
        "--out",
        &out,
    ];
    let ran = stand.run(&fetch);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("fresh") && ran.out.contains("intel-tcb-info"), "{}", ran.out);
    assert!(ran.err.contains("fetching intel-root-crl"), "{}", ran.err);
    assert_eq!(service.seen(), 4);

    let verify = ["verify", "--evidence", &quote, "--bundle", &out, "--insecure-extra-root", &root];
    assert_eq!(stand.run(&verify).code, 0);
    // Once more: nothing is there twice.
    assert_eq!(stand.run(&fetch).code, 0);
    let bundle = std::fs::read(&out).expect("written");
    assert_eq!(EndorsementBundle::parse(&bundle).expect("a bundle").len(), 1);
}

#[test]
fn a_platform_type_is_fetched_by_its_name() {
    let tee = FakeTee::new(now());
    let service = Service::start(pccs(&tee));
    let (stand, root) = stand_for(&tee);
    let out = stand.path("bundle.json").display().to_string();
    let fmspc = hex::encode(tee.fmspc());
    let ran = stand.run(&[
        "endorsements",
        "fetch",
        "--fmspc",
        &fmspc,
        "--intel-url",
        &service.url,
        "--ca-file",
        &root,
        "--out",
        &out,
        "--output",
        "json",
    ]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let json = ran.json();
    assert_eq!(json["items"][0]["kind"], "intel-tcb-info");
    assert_eq!(json["items"][0]["subject"], format!("{fmspc} TDX"));
    assert_eq!(json["items"][0]["state"], "fresh");
}

#[test]
fn what_can_not_be_fetched_ends_with_12_and_says_what_to_do() {
    let tee = FakeTee::new(now());
    let fmspc = hex::encode(tee.fmspc());
    let throttled = (429, "retry-after: 7\r\n".to_owned(), Vec::new());
    let moved = (302, "location: https://elsewhere.example/\r\n".to_owned(), Vec::new());
    let page = (200, String::new(), b"<html>".to_vec());
    let path = format!("/tdx/certification/v4/tcb?fmspc={}", hex::encode_upper(tee.fmspc()));
    for (answer, said) in [
        (throttled, "try again in 7 s"),
        (moved, "redirects are not followed"),
        (page, "TCB-Info-Issuer-Chain is missing"),
        ((500, String::new(), Vec::new()), "status 500"),
        ((404, String::new(), Vec::new()), "does not have it"),
    ] {
        let service = Service::start(HashMap::from([(path.clone(), answer)]));
        let (stand, root) = stand_for(&tee);
        let out = stand.path("bundle.json").display().to_string();
        let ran = stand.run(&[
            "endorsements",
            "fetch",
            "--fmspc",
            &fmspc,
            "--intel-url",
            &service.url,
            "--ca-file",
            &root,
            "--out",
            &out,
        ]);
        assert_eq!(ran.code, 12, "{ran:?}");
        assert!(ran.err.contains("error[endorsements.unavailable]"), "{}", ran.err);
        assert!(ran.err.contains(said), "{said}: {}", ran.err);
        assert!(ran.err.contains(&service.url), "{}", ran.err);
        assert!(!stand.path("bundle.json").exists(), "nothing is written");
        assert_eq!(service.seen(), 1);
    }
}

#[test]
fn evidence_of_a_platform_that_nobody_certified_selects_nothing() {
    let tee = FakeTee::new(now());
    let service = Service::start(pccs(&tee));
    let (stand, root) = stand_for(&tee);
    let quote = tee.faulty_quote(&TdProfile::default(), [7; 64], &[Fault::OtherRoot]);
    let quote = stand.write("quote.bin", &quote).display().to_string();
    let out = stand.path("bundle.json").display().to_string();
    let ran = stand.run(&[
        "endorsements",
        "fetch",
        "--evidence",
        &quote,
        "--insecure-extra-root",
        &root,
        "--intel-url",
        &service.url,
        "--ca-file",
        &root,
        "--out",
        &out,
    ]);
    assert_eq!((ran.code, service.seen()), (10, 0), "{ran:?}");
}

#[test]
fn a_url_in_clear_text_is_refused_before_anything_is_sent() {
    let ran = Stand::new().run(&[
        "endorsements",
        "fetch",
        "--fmspc",
        "90c06f000000",
        "--intel-url",
        "http://pccs.example",
        "--out",
        "b.json",
    ]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("loopback only"), "{}", ran.err);
}

#[test]
fn each_item_is_shown_with_its_state_at_a_time() {
    let at = now();
    let tee = FakeTee::new(at);
    let stand = Stand::new();
    let bundle = tee.endorsement_bundle(at, &[Fault::MissingCrl]).to_string();
    let file = stand.write("bundle.json", bundle.as_bytes()).display().to_string();
    let ran = stand.run(&["endorsements", "show", &file]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let states: Vec<&str> =
        ran.out.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(states, ["fresh", "fresh", "unreadable", "fresh", "fresh", "fresh", "fresh"]);

    let later = adyton_attestation::UnixTime(at + 25 * 86_400).to_string();
    let ran = stand.run(&["endorsements", "show", &file, "--at", &later, "--output", "json"]);
    assert_eq!(ran.json()["items"][0]["state"], "stale-within-grace");
    let ran = stand.run(&["endorsements", "show", &file, "--at", "2099-01-01T00:00:00Z"]);
    assert!(ran.out.contains("expired"), "{}", ran.out);
}

#[test]
fn bundles_are_merged_and_pruned_into_version_2() {
    let at = now();
    let tee = FakeTee::new(at - 80 * 86_400);
    let stand = Stand::new();
    let old = tee.endorsement_bundle(at - 60 * 86_400, &[]).to_string();
    let old = stand.write("old.json", old.as_bytes()).display().to_string();
    let bare = tee.collateral(at, &[]).to_string();
    let bare = stand.write("bare.json", bare.as_bytes()).display().to_string();
    let out = stand.path("out.json").display().to_string();
    let merge = ["endorsements", "merge", &old, &bare, "--out", &out];
    assert_eq!(stand.run(&merge).code, 0);
    let read = || EndorsementBundle::parse(&std::fs::read(&out).expect("written")).expect("ours");
    assert_eq!(read().len(), 2);
    assert_eq!(stand.run(&[&merge[..], &["--prune"]].concat()).code, 0);
    assert_eq!(read().len(), 1);
    assert!(std::fs::read_to_string(&out).expect("text").contains("\"version\":2"));

    let broken = stand.write("broken.json", b"{").display().to_string();
    let ran = stand.run(&["endorsements", "merge", &broken, "--out", &out]);
    assert_eq!(ran.code, 30, "{ran:?}");
    assert!(ran.err.contains("broken.json"), "{}", ran.err);
    assert_eq!(read().len(), 1, "the old file stays");
}
