//! The endpoint over a socket: what S3 clients ask, both ways of reading, and what is refused.

mod support;

use std::io::Read;
use std::time::{Duration, Instant};

use adyton_s3_exposure::{Access, Endpoint, Stopped};
use support::{Model, Stand, damage, exchange, pattern, read_reply};

const MIB: usize = 1 << 20;

fn model() -> Model {
    Model::new(&[
        ("config.json", b"{}".to_vec()),
        ("empty.txt", vec![]),
        ("deep/weights.dat", pattern(3 * MIB + 12_345, 1)),
        ("name with space & <ü>.txt", b"odd".to_vec()),
    ])
}

/// Both ways of reading.
fn stands(model: &Model) -> [Stand; 2] {
    [model.expose(model.sealed_ranges()), model.expose(model.opened_files())]
}

#[test]
fn every_file_is_read_whole_and_in_ranges() {
    let model = model();
    let weights = &model.files.iter().find(|(path, _)| path == "deep/weights.dat").unwrap().1;
    for stand in stands(&model) {
        for (path, bytes) in &model.files {
            let target = format!("/adyton/model/{}", path.replace(' ', "%20").replace('<', "%3C"));
            let target = target.replace('>', "%3E").replace('ü', "%C3%BC").replace('&', "%26");
            let reply = stand.get(&target);
            assert_eq!((reply.status, &reply.body), (200, bytes), "{path}");
            assert_eq!(reply.field("Accept-Ranges"), Some("bytes"));
            let head = stand.ask("HEAD", &target, "");
            assert_eq!(head.field("Content-Length"), Some(bytes.len().to_string().as_str()));
            assert_eq!(head.field("ETag"), reply.field("ETag"));
        }
        let size = weights.len();
        for (from, to) in [
            (0, 7),
            (8, 319),
            (320, MIB - 1),
            (16_383, 16_384),
            (65_535, 65_536),
            (65_536, 131_071),
            (size - 1, size - 1),
            (1, size - 2),
        ] {
            let reply =
                stand.range("/adyton/model/deep/weights.dat", &format!("bytes={from}-{to}"));
            assert_eq!(reply.status, 206);
            assert!(reply.body == weights[from..=to], "{from}-{to}");
            let expected = format!("bytes {from}-{to}/{size}");
            assert_eq!(reply.field("Content-Range"), Some(expected.as_str()));
        }
        let last = stand.range("/adyton/model/deep/weights.dat", "bytes=-100000");
        assert!(last.body == weights[size - 100_000..]);
        let open = stand.range("/adyton/model/deep/weights.dat", "bytes=3000000-");
        assert!(open.body == weights[3_000_000..]);
        let part = stand.get("/adyton/model/config.json?partNumber=1");
        assert_eq!((part.status, part.field("Content-Range")), (206, Some("bytes 0-1/2")));
    }
}

#[test]
fn a_range_past_the_end_is_refused_with_the_size() {
    let model = model();
    for stand in stands(&model) {
        for (target, size) in [("/adyton/model/config.json", 2), ("/adyton/model/empty.txt", 0)] {
            let reply = stand.range(target, "bytes=2-");
            assert_eq!((reply.status, reply.code()), (416, "InvalidRange".to_owned()));
            let expected = format!("bytes */{size}");
            assert_eq!(reply.field("Content-Range"), Some(expected.as_str()));
        }
    }
}

#[test]
fn absolute_targets_and_virtual_hosts_are_served() {
    let model = model();
    let stand = model.expose(model.sealed_ranges());
    let host = stand.host();
    let absolute = format!("http://{host}/adyton/model/config.json");
    assert_eq!(stand.get(&absolute).body, b"{}");
    let port = stand.address().port();
    for host in [format!("adyton.{host}"), format!("adyton.localhost:{port}")] {
        let head = stand.head("GET", "/model/config.json", &host, "");
        assert_eq!(stand.send(&head).body, b"{}");
        let head = stand.head("GET", &format!("http://{host}/model/config.json"), &host, "");
        assert_eq!(stand.send(&head).body, b"{}");
    }
}

#[test]
fn what_clients_ask_about_buckets_is_answered() {
    let model = model();
    let stand = model.expose(model.opened_files());
    assert!(stand.get("/").text().contains("<Name>adyton</Name>"));
    assert_eq!(stand.ask("HEAD", "/adyton", "").status, 200);
    assert!(stand.get("/adyton?location").text().contains("<LocationConstraint"));
    let listed = stand.get("/adyton?list-type=2&prefix=model%2F&delimiter=%2F&encoding-type=url");
    let text = listed.text();
    assert!(text.contains("<Key>model/config.json</Key>"), "{text}");
    assert!(text.contains("<CommonPrefixes><Prefix>model/deep/</Prefix></CommonPrefixes>"));
    assert!(text.contains("<KeyCount>4</KeyCount>") && text.contains("<Size>0</Size>"));
}

#[test]
fn conditions_hold_over_the_wire() {
    let model = model();
    let stand = model.expose(model.opened_files());
    let target = "/adyton/model/config.json";
    let etag = stand.get(target).field("ETag").unwrap().to_owned();
    let same = stand.ask("GET", target, &format!("If-None-Match: {etag}\r\n"));
    assert_eq!((same.status, same.body.len()), (304, 0));
    let other = stand.ask("GET", target, "If-Match: \"x\"\r\n");
    assert_eq!((other.status, other.code()), (412, "PreconditionFailed".to_owned()));
    let whole = stand.ask("GET", target, "If-Range: \"x\"\r\nRange: bytes=0-0\r\n");
    assert_eq!((whole.status, whole.body.len()), (200, 2));
}

#[test]
fn each_refusal_has_s3s_code_and_says_what_to_do() {
    let model = model();
    let stand = model.expose(model.sealed_ranges());
    let host = stand.host();
    let unsigned = format!("GET /adyton/model/config.json HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let signed = |method: &str, target: &str| stand.head(method, target, &host, "");
    for (head, status, code) in [
        (unsigned.clone(), 403, "AccessDenied"),
        (unsigned.replace("GET", "PUT"), 405, "MethodNotAllowed"),
        (signed("DELETE", "/adyton/model/config.json"), 405, "MethodNotAllowed"),
        (signed("POST", "/adyton?delete"), 405, "MethodNotAllowed"),
        (signed("GET", "/other/x"), 404, "NoSuchBucket"),
        (signed("GET", "/adyton/model/none"), 404, "NoSuchKey"),
        (signed("GET", "/adyton?acl"), 501, "NotImplemented"),
        (signed("GET", "/adyton?list-type=1"), 501, "NotImplemented"),
        (signed("GET", "/adyton"), 501, "NotImplemented"),
        (signed("GET", "/adyton?list-type=2&max-keys=x"), 400, "InvalidArgument"),
        (signed("GET", "/adyton/model/config.json?response-content-type=a"), 501, "NotImplemented"),
        (signed("GET", "/adyton/model/config.json?versionId=1"), 501, "NotImplemented"),
        (signed("GET", "/adyton/model/config.json?partNumber=2"), 416, "InvalidRange"),
        (
            signed("GET", "/").replace("Signature=", "Signature=0"),
            400,
            "AuthorizationHeaderMalformed",
        ),
        (signed("GET", "/").replace("AWS4-HMAC-SHA256", "AWS4-X"), 400, "InvalidRequest"),
        (signed("GET", "/").replace("UNSIGNED", "SIGNED"), 400, "XAmzContentSHA256Mismatch"),
    ] {
        let reply = stand.send(&head);
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{head}");
        assert!(reply.text().contains("<Message>") && !reply.text().contains("config</"), "{head}");
    }
    let notes = stand.notes.0.lock().unwrap();
    assert_eq!(notes[0], "unknown 403 AccessDenied");
    assert!(notes.contains(&"GetObject 404 NoSuchKey".to_owned()));
}

#[test]
fn no_spelling_of_a_path_leaves_the_model() {
    let model = model();
    std::fs::write(model.plain().join("../outside"), b"secret").unwrap();
    for stand in stands(&model) {
        for key in [
            "model/../outside",
            "model/%2e%2e/outside",
            "model/..%2foutside",
            "model/%252e%252e/outside",
            "model//config.json",
            "model/./config.json",
            "/model/config.json",
            "model/config.json/",
            "model/deep",
            "model/deep/",
            "model.json",
            "outside",
            "..%5coutside",
            "model/config.json%20",
            "MODEL/config.json",
        ] {
            let reply = stand.get(&format!("/adyton/{key}"));
            // A slash that was escaped is another signature than ours.
            assert!(matches!(reply.status, 403 | 404), "{key}: {}", reply.status);
            assert!(!reply.text().contains("secret"), "{key}");
        }
        assert_eq!(stand.get("/adyton/model/a%00b").code(), "InvalidURI");
    }
}

#[test]
fn a_signature_over_another_host_is_refused() {
    let model = model();
    let stand = model.expose(model.sealed_ranges());
    let target = "/adyton/model/config.json";
    // Signed for another host, sent to us as it is.
    let reply = stand.send(&stand.head("GET", target, "s3.amazonaws.com", ""));
    assert_eq!((reply.status, reply.code().as_str()), (400, "InvalidRequest"));
    // Signed for another host, sent with ours.
    let ours = format!("Host: {}", stand.host());
    let head = stand.head("GET", target, "s3.amazonaws.com", "");
    let reply = stand.send(&head.replace("Host: s3.amazonaws.com", &ours));
    assert_eq!(reply.code(), "SignatureDoesNotMatch");
    // Signed for us, and an absolute target for another.
    let head = stand.head("GET", target, &stand.host(), "");
    let reply = stand.send(&head.replace("GET /", "GET http://s3.amazonaws.com/"));
    assert_eq!((reply.status, reply.code().as_str()), (400, "BadRequest"));
    // Two hosts.
    let reply = stand.send(&head.replace("X-Amz-Date", "Host: other\r\nX-Amz-Date"));
    assert_eq!((reply.status, reply.code().as_str()), (400, "BadRequest"));
}

#[test]
fn nothing_behind_a_request_with_a_body_is_read_as_a_request() {
    let model = model();
    let stand = model.expose(model.sealed_ranges());
    let target = "/adyton/model/config.json";
    let inner = stand.head("GET", target, &stand.host(), "");
    for field in [
        format!("Content-Length: {}\r\n", inner.len()),
        "Transfer-Encoding: chunked\r\n".to_owned(),
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n".to_owned(),
        "Content-Length: 0\r\nContent-Length: 5\r\n".to_owned(),
    ] {
        let mut wire = stand.connect();
        let outer = stand.head("GET", target, &stand.host(), &field);
        let reply = exchange(wire.as_mut(), &format!("{outer}{inner}"));
        assert_eq!((reply.status, reply.field("Connection")), (400, Some("close")), "{field}");
        let mut rest = Vec::new();
        let _ = wire.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{field}");
    }
}

#[test]
fn requests_follow_each_other_on_one_connection_even_if_sent_at_once() {
    let model = model();
    let stand = model.expose(model.sealed_ranges());
    let mut wire = stand.connect();
    let config = stand.head("GET", "/adyton/model/config.json", &stand.host(), "");
    let none = stand.head("GET", "/adyton/model/none", &stand.host(), "");
    let all = format!("{config}{none}{config}");
    let first = exchange(wire.as_mut(), &all);
    let second = read_reply(wire.as_mut(), false);
    let third = read_reply(wire.as_mut(), false);
    assert_eq!((first.status, second.status, third.status), (200, 404, 200));
    let last =
        stand.head("GET", "/adyton/model/config.json", &stand.host(), "Connection: close\r\n");
    assert_eq!(exchange(wire.as_mut(), &last).field("Connection"), Some("close"));
    assert_eq!(wire.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_head_that_never_ends_is_refused_at_its_bound() {
    let model = model();
    let stand = model.expose(model.opened_files());
    let head = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}", "x".repeat(20_000));
    let mut wire = std::net::TcpStream::connect(stand.address()).unwrap();
    // The rest of it meets a closed connection.
    let _ = std::io::Write::write_all(&mut wire, head.as_bytes());
    let mut reply = String::new();
    let _ = wire.read_to_string(&mut reply);
    assert!(reply.is_empty() || reply.contains("RequestHeaderSectionTooLarge"), "{reply}");
    assert_eq!(stand.notes.0.lock().unwrap()[0], "unknown 400 RequestHeaderSectionTooLarge");
}

#[test]
fn a_chunk_that_is_not_authentic_is_never_sent() {
    let model = model();
    damage(&model.sealed(), "deep/weights.dat.sealed", 4096 + 2 * MIB as u64);
    let stand = model.expose(model.sealed_ranges());
    let target = "/adyton/model/deep/weights.dat";
    // In the first block of the range: an error instead of an answer.
    let reply = stand.range(target, &format!("bytes={}-", 2 * MIB));
    assert_eq!((reply.status, reply.code().as_str()), (500, "InternalError"));
    // Later: the answer ends before the damaged block, and so does the connection.
    let mut wire = stand.connect();
    let head = stand.head("GET", target, &stand.host(), "");
    wire.write_all(head.as_bytes()).unwrap();
    let mut all = Vec::new();
    wire.read_to_end(&mut all).unwrap();
    let at = all.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    assert!(all[at..] == model.files[1].1[..2 * MIB]);
    // What is whole can still be read.
    assert_eq!(stand.range(target, "bytes=0-9").status, 206);
    let notes = stand.notes.0.lock().unwrap();
    assert_eq!(notes[..2], ["GetObject 500 InternalError fault", "GetObject 200 - fault"]);
}

#[test]
fn a_file_that_was_cut_or_linked_after_the_opening_is_not_sent() {
    let model = model();
    let stand = model.expose(model.opened_files());
    let path = model.plain().join("deep/weights.dat");
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(10).unwrap();
    assert_eq!(stand.get("/adyton/model/deep/weights.dat").code(), "InternalError");
    let outside = model.folder.path().join("outside");
    std::fs::rename(model.plain().join("config.json"), &outside).unwrap();
    std::os::unix::fs::symlink(&outside, model.plain().join("config.json")).unwrap();
    assert_eq!(stand.get("/adyton/model/config.json").code(), "InternalError");
}

#[test]
fn a_unix_socket_serves_both_ways_and_is_gone_afterwards() {
    let model = model();
    let folder = tempfile::tempdir().unwrap();
    for (number, source) in [model.sealed_ranges(), model.opened_files()].into_iter().enumerate() {
        let path = folder.path().join(format!("{number}.sock"));
        let endpoint = Endpoint::UnixSocket { path: path.clone(), access: Access::Owner };
        let stand = model.expose_at(source, endpoint);
        let reply = stand.range("/adyton/model/deep/weights.dat", "bytes=5-1000004");
        assert!(reply.body == model.files[1].1[5..1_000_005]);
        assert_eq!(stand.exposure.stop(), Stopped::Wiped);
        assert!(!path.exists());
    }
}

#[test]
fn a_stop_ends_idle_and_busy_connections() {
    let model = Model::new(&[("weights.dat", pattern(24 * MIB, 3))]);
    for stand in stands(&model) {
        let idle = stand.connect();
        let mut busy = stand.connect();
        // Nobody reads the answer, so the server waits in the middle of it.
        let head = stand.head("GET", "/adyton/model/weights.dat", &stand.host(), "");
        busy.write_all(head.as_bytes()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while stand.exposure.connections() < 2 && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(stand.exposure.stop(), Stopped::Wiped);
        drop((idle, busy));
    }
}
