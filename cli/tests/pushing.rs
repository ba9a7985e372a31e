//! Pushing a sealed model, and looking at one that lies elsewhere.

mod stand;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use stand::Stand;

const KID: &str = "kbs:///acme/model-key/llama";

fn sealed() -> Stand {
    let stand = Stand::new();
    std::fs::create_dir_all(stand.path("llama")).expect("folder");
    std::fs::write(stand.path("llama/config.json"), b"{}").expect("write");
    stand.write_secret("model.key", &[7; 32]);
    seal(&stand, "out");
    stand
}

fn seal(stand: &Stand, out: &str) {
    let key = ["--kid", KID, "--model-key-file", "model.key"];
    let ran = stand
        .run(&[&["seal", "llama", out, "--name", "llama", "--version", "3"][..], &key].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// A web server that takes PUT and serves ranges, to who has the token.
fn web_server(token: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let url = format!("http://{}/llama", listener.local_addr().expect("address"));
    let objects = Arc::new(Mutex::new(BTreeMap::new()));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let objects = Arc::clone(&objects);
            std::thread::spawn(move || while one(&stream, &objects, token).is_some() {});
        }
    });
    url
}

fn one(
    mut stream: &TcpStream,
    objects: &Mutex<BTreeMap<String, Vec<u8>>>,
    token: &str,
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let field = |wanted: &str| {
        head.iter().skip(1).find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case(wanted).then(|| value.to_owned())
        })
    };
    let mut words = head.first()?.split(' ');
    let (method, target) = (words.next()?, words.next()?.to_owned());
    let len = field("content-length").map_or(0, |len| len.parse().expect("a length"));
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    let mut objects = objects.lock().expect("lock");
    let (status, more, body) = match objects.get(&target) {
        _ if field("authorization") != Some(format!("Bearer {token}")) => {
            (403, String::new(), Vec::new())
        }
        _ if method == "PUT" => {
            objects.insert(target, body);
            (201, String::new(), Vec::new())
        }
        None => (404, String::new(), Vec::new()),
        Some(bytes) => match field("range") {
            None => (200, String::new(), bytes.clone()),
            Some(range) => {
                let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
                let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
                let more = format!("Content-Range: bytes {first}-{last}/{}\r\n", bytes.len());
                (206, more, bytes.get(first..=last)?.to_vec())
            }
        },
    };
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{more}\r\n", body.len());
    stream.write_all(&[head.as_bytes(), &body].concat()).ok()
}

#[test]
fn a_model_that_was_pushed_to_a_folder_is_there_once() {
    let stand = sealed();
    let place = stand.path("copy").display().to_string();
    let ran = stand.run(&["push", "out", &place]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    assert!(ran.out.starts_with("✓ pushed\n"), "{}", ran.out);
    assert!(ran.out.contains(&format!("source = \"{place}\"\n")), "{}", ran.out);
    let again = stand.run(&["push", "out", &place, "--output", "json"]);
    assert_eq!(
        (again.json()["sent"].as_u64(), again.json()["skipped"].as_u64()),
        (Some(0), Some(2))
    );
    assert_eq!(stand.run(&["inspect", &place]).code, 0);
}

#[test]
fn a_model_is_pushed_to_a_web_server_and_inspected_there() {
    let stand = sealed();
    let url = web_server("t0ken");
    stand.write_secret("cred", b"bearer_token = t0ken\n");
    let credentials = ["--credentials-file", "cred", "--output", "json"];
    let ran = stand.run(&[&["push", "out", &url][..], &credentials].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.json()["source"], url.as_str());
    let digest = ran.json()["manifest_digest"].clone();
    let ran = stand.run(&[&["inspect", &url][..], &credentials].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.json()["manifest_digest"], digest);
    let ran = stand.run(&["inspect", &url, "--output", "json"]);
    assert_eq!((ran.code, &ran.error()["code"]), (2, &"sealed-model.storage".into()), "{ran:?}");
}

#[test]
fn another_model_is_not_replaced_by_a_slip() {
    let stand = sealed();
    seal(&stand, "other");
    stand.run(&["push", "other", "copy"]);
    let ran = stand.run(&["push", "out", "copy", "--output", "json"]);
    assert_eq!((ran.code, &ran.error()["code"]), (2, &"push.occupied".into()), "{ran:?}");
    assert_eq!(stand.run(&["push", "out", "copy", "--replace"]).code, 0);
}

#[test]
fn what_cannot_be_pushed_is_refused_with_its_reason() {
    let stand = sealed();
    stand.write("cred", b"bearer_token = t0ken\n");
    for (words, code) in [
        (&["push", "out", "ftp://host/x"][..], "store.address"),
        (&["push", "out", "https://u:5ecret@host/x"], "store.address"),
        (&["push", "out", "s3://models/x", "--endpoint", "s3://x"], "store.endpoint"),
        (&["push", "out", "s3://models/x", "--store-ca", "nowhere"], "store.ca"),
        (&["push", "out", "http://192.0.2.1/x"], "push.look"),
        (&["push", "llama", "copy"], "push.not-found"),
        (&["inspect", "oci://host/x:v1"], "store.settings"),
    ] {
        let ran = stand.run(&[words, &["--output", "json"]].concat());
        assert_eq!(ran.error()["code"], code, "{words:?}: {ran:?}");
        assert_ne!(ran.code, 0);
        assert!(!ran.err.contains("5ecret"));
    }
    let ran = stand.run(&["push", "out", "s3://models/x", "--credentials-file", "cred"]);
    assert_eq!(ran.code, 2, "a file that others can read: {ran:?}");
}
