//! S3 requests: head, target, query, signature, operation, answer.
//!
//! Where the input has 64 zeros for a signature it is signed after mutation, so that what stands behind the
//! signature is reached, too.

use std::sync::OnceLock;

use adyton_s3_exposure::answer::{Body, answer};
use adyton_s3_exposure::operation::{Names, Operation};
use adyton_s3_exposure::request::Request;
use adyton_s3_exposure::signature::{UnixSeconds, authenticate, client};
use adyton_s3_exposure::{Catalogue, Credentials};

const TIME: &str = "20260131T120000Z";
const FILES: [(&str, u64); 3] =
    [("config.json", 2), ("deep/model.safetensors", 10_000_000), ("empty", 0)];

/// What nobody signed is not authenticated; what is answered lies within an object of the catalogue.
pub fn run(data: &[u8]) {
    let Ok(request) = Request::parse(data) else {
        return;
    };
    assert!(request.target().path().starts_with('/') || request.target().path().is_empty());
    let now = UnixSeconds::parse_basic(TIME).expect("a time");
    let zeros = "0".repeat(64);
    // No secret makes a signature of zeros.
    assert!(authenticate(request, credentials(), now).is_err(), "an unsigned request");
    let text = String::from_utf8_lossy(data);
    let Ok(signature) = client::signature(data, credentials()) else {
        return;
    };
    let Ok(request) = Request::parse(text.replace(&zeros, &signature).as_bytes()) else {
        return;
    };
    let Ok(authenticated) = authenticate(request, credentials(), now) else {
        return;
    };
    let names = Names(vec!["127.0.0.1:9000".into(), "localhost:9000".into()]);
    let Ok(operation) = Operation::of(&authenticated, &names, "adyton") else {
        return;
    };
    let Ok(answer) = answer(&authenticated, &operation, catalogue()) else {
        return;
    };
    for (name, value) in &answer.fields {
        assert!(!value.contains(['\r', '\n']), "{name} writes fields of its own");
    }
    match (&operation, &answer.body) {
        (Operation::Object { key }, Body::Bytes { object, range }) => {
            let (path, size) = FILES[*object];
            assert_eq!(key, &format!("model/{path}"), "another object than the key's");
            assert!(range.start <= range.end && range.end <= size);
        }
        (_, Body::Bytes { .. }) => panic!("bytes of an object for another operation"),
        (_, Body::Document(text)) => assert!(text.starts_with("<?xml")),
        (_, Body::Nothing) => {}
    }
}

fn credentials() -> &'static Credentials {
    static MADE: OnceLock<Credentials> = OnceLock::new();
    MADE.get_or_init(|| {
        let mut secret = *b"a secret that everybody may know in here";
        Credentials::from_parts("ADYTONFUZZ", &mut secret).expect("memory")
    })
}

fn catalogue() -> &'static Catalogue {
    static MADE: OnceLock<Catalogue> = OnceLock::new();
    MADE.get_or_init(|| {
        let modified = UnixSeconds::parse_basic(TIME).expect("a time");
        Catalogue::new("adyton", "model", FILES, &[7; 32], modified).expect("names")
    })
}

/// Each operation, signed in the header or in the query, in each form of target.
pub fn seeds() -> Vec<Vec<u8>> {
    let zeros = "0".repeat(64);
    let header = |target: &str, host: &str, more: &str| {
        format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nX-Amz-Date: {TIME}\r\n\
             X-Amz-Content-Sha256: UNSIGNED-PAYLOAD\r\n{more}Authorization: AWS4-HMAC-SHA256 \
             Credential=ADYTONFUZZ/20260131/us-east-1/s3/aws4_request, \
             SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={zeros}\r\n\r\n"
        )
        .into_bytes()
    };
    let path = |target: &str| header(target, "127.0.0.1:9000", "");
    let object = "/adyton/model/deep/model.safetensors";
    vec![
        path("/"),
        path("/adyton?location"),
        path("/adyton?list-type=2&prefix=model%2F&delimiter=%2F&encoding-type=url&max-keys=2"),
        path("/adyton?list-type=2&continuation-token=6b61&start-after=a"),
        path(object),
        path("http://127.0.0.1:9000/adyton/model/config.json"),
        path("/adyton/model/config.json?partNumber=1&x-id=GetObject"),
        header("/model/empty", "adyton.localhost:9000", ""),
        header(object, "127.0.0.1:9000", "Range: bytes=320-8388607\r\n"),
        header(object, "127.0.0.1:9000", "If-None-Match: \"x\", *\r\nIf-Range: \"y\"\r\n"),
        format!(
            "HEAD {object}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=ADYTONFUZZ%2F20260131%2F\
             us-east-1%2Fs3%2Faws4_request&X-Amz-Date={TIME}&X-Amz-Expires=60&\
             X-Amz-SignedHeaders=host&X-Amz-Signature={zeros} HTTP/1.1\r\nHost: localhost:9000\r\n\r\n"
        )
        .into_bytes(),
    ]
}
