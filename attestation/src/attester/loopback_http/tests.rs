//! Addresses, framing, and servers that misbehave.

use std::net::TcpListener;
use std::thread;

use proptest::prelude::*;

use super::*;

const MAX: usize = 64;

fn parsed(text: &str, ended: bool) -> Result<Option<(u16, Vec<u8>)>, &'static str> {
    match parse(text.as_bytes(), ended, MAX) {
        Ok(answer) => Ok(answer.map(|answer| (answer.status, answer.body))),
        Err(LoopbackError::Malformed(reason)) => Err(reason),
        Err(LoopbackError::Io(error)) => panic!("{error}"),
    }
}

#[test]
fn addresses_on_loopback_are_taken() {
    for (url, addr) in [
        ("http://127.0.0.1:8006", "127.0.0.1:8006"),
        ("http://127.0.0.1:8006/", "127.0.0.1:8006"),
        ("http://127.8.9.10:1", "127.8.9.10:1"),
        ("http://127.0.0.1", "127.0.0.1:80"),
        ("http://localhost:8006", "127.0.0.1:8006"),
        ("http://localhost", "127.0.0.1:80"),
        ("http://[::1]:8006", "[::1]:8006"),
        ("http://[::1]/", "[::1]:80"),
    ] {
        assert_eq!(LoopbackAddr::from_url(url).unwrap().0.to_string(), addr);
    }
}

#[test]
fn addresses_beyond_loopback_are_refused() {
    for url in [
        "http://10.0.0.1:8006",
        "http://0.0.0.0:8006",
        "http://169.254.169.254",
        "http://[::]:8006",
        "http://[::ffff:127.0.0.1]:8006",
        "http://localhost.example.com:8006",
        "http://localhost@10.0.0.1",
        "http://127.0.0.1:8006@10.0.0.1",
        "http://127.0.0.1:8006/aa",
        "http://127.1:8006",
        "http://127.0.0.1:99999",
        "http://user@127.0.0.1",
        "https://127.0.0.1:8006",
        "127.0.0.1:8006",
        "http://",
        "",
    ] {
        assert_eq!(LoopbackAddr::from_url(url), None, "{url}");
    }
}

#[test]
fn a_body_ends_where_its_framing_says() {
    let ok = |body: &str| Ok(Some((200, body.as_bytes().to_vec())));
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(parsed(length, false), Ok(None));
    assert_eq!(parsed(&format!("{length}ab"), true), Ok(None));
    assert_eq!(parsed(&format!("{length}abc"), false), ok("abc"));
    assert_eq!(parsed(&format!("{length}abcd"), false), ok("abc"));
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(
        parsed(&format!("{chunked}3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"), false),
        ok("abcde")
    );
    assert_eq!(parsed(&format!("{chunked}3\r\nabc\r\n"), false), Ok(None));
    assert_eq!(parsed(&format!("{chunked}3\r\nab"), true), Ok(None));
    let until_close = "HTTP/1.1 200 OK\r\n\r\nabc";
    assert_eq!(parsed(until_close, false), Ok(None));
    assert_eq!(parsed(until_close, true), ok("abc"));
}

#[test]
fn answers_are_refused_for_their_reason() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(2 * MAX_HEAD));
    let head = |header: &str| format!("HTTP/1.1 200 OK\r\n{header}\r\n\r\n");
    for (text, reason) in [
        ("SSH-2.0-OpenSSH\r\n".to_owned(), "it is not HTTP/1.1"),
        (long, "its head is longer than allowed"),
        ("HTTP/1.1 100 Continue\r\n\r\n".to_owned(), "it is an interim response"),
        (head("content-length: 65"), "it is longer than allowed"),
        (head("content-length: -1"), "its length is contradictory"),
        (head("content-length: 99999999999999999999999"), "its length is contradictory"),
        (head("content-length: 1\r\ncontent-length: 1"), "its length is contradictory"),
        (head("content-length: 1\r\ntransfer-encoding: chunked"), "its length is contradictory"),
        (head("transfer-encoding: gzip"), "its transfer encoding is unknown"),
        (head("transfer-encoding: gzip, chunked"), "its transfer encoding is unknown"),
        (head("transfer-encoding: chunked") + "zz\r\n", "its chunks are malformed"),
        (head("transfer-encoding: chunked") + "1\r\nab\r\n", "its chunks are malformed"),
        (head("transfer-encoding: chunked") + "41\r\n", "it is longer than allowed"),
        (head("transfer-encoding: chunked") + "ffffffffffffffff\r\n", "it is longer than allowed"),
        (head("x: y") + &"z".repeat(MAX + 1), "it is longer than allowed"),
    ] {
        assert_eq!(parsed(&text, false), Err(reason), "{text}");
    }
}

/// Serves one connection with fixed bytes and then closes it.
fn one_answer(answer: Vec<u8>) -> LoopbackAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = LoopbackAddr(listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(&answer);
    });
    addr
}

fn ask(addr: LoopbackAddr, time: Duration) -> Result<Answer, LoopbackError> {
    exchange(addr, "/", None, time, MAX)
}

#[test]
fn an_answer_that_ends_early_is_refused() {
    let addr = one_answer(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab".to_vec());
    assert!(matches!(
        ask(addr, Duration::from_secs(10)),
        Err(LoopbackError::Malformed("it ended early"))
    ));
}

#[test]
fn an_answer_without_end_is_cut() {
    let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    answer.resize(4 * MAX_HEAD, b'x');
    assert!(matches!(
        ask(one_answer(answer), Duration::from_secs(10)),
        Err(LoopbackError::Malformed("it is longer than allowed"))
    ));
}

#[test]
fn a_server_that_never_answers_is_left() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = LoopbackAddr(listener.local_addr().unwrap());
    // The kernel accepts the connection; nobody will ever read it.
    let result = ask(addr, Duration::from_millis(50));
    assert!(matches!(
        result,
        Err(LoopbackError::Io(e))
            if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
    ));
}

#[test]
fn nobody_there_is_told_apart() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = LoopbackAddr(listener.local_addr().unwrap());
    drop(listener);
    assert!(matches!(
        ask(addr, Duration::from_secs(10)),
        Err(LoopbackError::Io(e)) if e.kind() == io::ErrorKind::ConnectionRefused
    ));
}

proptest! {
    #[test]
    fn arbitrary_answers_do_not_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ended in any::<bool>(),
    ) {
        let _ = parse(&bytes, ended, MAX);
        for head in ["\r\n", "transfer-encoding: chunked\r\n\r\n", "content-length: 5\r\n\r\n"] {
            let mut framed = format!("HTTP/1.1 200 OK\r\n{head}").into_bytes();
            framed.extend_from_slice(&bytes);
            let answer = parse(&framed, ended, MAX);
            if let Ok(Some(answer)) = answer {
                prop_assert!(answer.body.len() <= MAX);
            }
        }
    }

    #[test]
    fn arbitrary_urls_give_loopback_or_nothing(url in "(http://)?[a-z0-9.:@/\\[\\]]{0,30}") {
        if let Some(addr) = LoopbackAddr::from_url(&url) {
            prop_assert!(addr.0.ip().is_loopback());
        }
    }
}
