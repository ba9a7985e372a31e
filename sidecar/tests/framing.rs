//! The HTTP/1.1 gate's judgement, byte by byte and by properties.

use adyton_sidecar::proxy::framing::{HeadLimits, Scanner, Violation};
use bytes::BytesMut;
use proptest::prelude::*;

const LIMITS: HeadLimits = HeadLimits { bytes: 2048, lines: 16 };

/// What passes when `input` arrives in pieces of these lengths, and the verdict at the end.
fn judge(input: &[u8], cuts: &[usize]) -> (Vec<u8>, Result<(), Violation>) {
    let mut scanner = Scanner::new(LIMITS);
    let (mut raw, mut clean) = (BytesMut::new(), BytesMut::new());
    let mut rest = input;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let cut = cuts.next().map_or(rest.len(), |cut| (*cut).clamp(1, rest.len()));
        let (piece, left) = rest.split_at(cut);
        rest = left;
        raw.extend_from_slice(piece);
        if let Err(violation) = scanner.advance(&mut raw, &mut clean) {
            return (clean.to_vec(), Err(violation));
        }
    }
    (clean.to_vec(), Ok(()))
}

fn verdict(input: &str) -> Result<(), Violation> {
    let (whole, verdict) = judge(input.as_bytes(), &[usize::MAX]);
    assert_eq!(judge(input.as_bytes(), &[1]), (whole, verdict), "cut into bytes: {input:?}");
    verdict
}

#[test]
fn every_shape_on_which_parsers_disagree_is_refused_for_its_reason() {
    use Violation as V;
    let long_name = format!("GET / HTTP/1.1\r\nHost: a\r\n{}: 1\r\n\r\n", "x".repeat(2048));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: 1\r\n".repeat(16));
    let cases: Vec<(&str, V)> = vec![
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            V::BothLengths,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
            V::BothLengths,
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", V::Host),
        ("GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", V::Host),
        ("GET / HTTP/1.1\r\nAccept: */*\r\n\r\n", V::Host),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", V::Host),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", V::Host),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", V::Host),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", V::Host),
        ("GET / HTTP/1.1\r\nHost: a/x\r\n\r\n", V::Host),
        ("GET / HTTP/1.1\nHost: a\n\n", V::BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", V::BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", V::BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", V::BareCarriageReturn),
        ("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", V::BareCarriageReturn),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            V::DuplicateLength,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
            V::TransferEncoding,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", V::TransferEncoding),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            V::TransferEncoding,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
            V::TransferEncoding,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", V::TransferEncoding),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", V::ControlByte),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n", V::FramingUnderscore),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 3\r\n\r\n", V::FramingUnderscore),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
            V::DuplicateLength,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n", V::ContentLength),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n", V::ContentLength),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", V::ContentLength),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\n", V::ContentLength),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", V::ContentLength),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999999999999\r\n\r\n",
            V::ContentLength,
        ),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", V::Method),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", V::Method),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
            V::UpgradeH2c,
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket, H2C\r\n\r\n", V::UpgradeH2c),
        ("GET / HTTP/1.1\r\nHost: a\r\nHTTP2-Settings: AAMAAABkAAQ\r\n\r\n", V::UpgradeH2c),
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", V::TargetHostMismatch),
        ("GET http://a@b/ HTTP/1.1\r\nHost: a\r\n\r\n", V::TargetHostMismatch),
        ("GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n", V::TargetHostMismatch),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", V::Target),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", V::Target),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", V::Target),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", V::Target),
        ("GET / HTTP/1.1\r\nHost: a\r\n folded: 1\r\n\r\n", V::ObsoleteFold),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\tmore\r\n\r\n", V::ObsoleteFold),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", V::SpaceBeforeColon),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n", V::SpaceBeforeColon),
        ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", V::HeaderLine),
        ("GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n", V::HeaderLine),
        ("GET / HTTP/1.1\r\nHost: a\r\nX(: 1\r\n\r\n", V::HeaderLine),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", V::ControlByte),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n", V::ControlByte),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[2J\r\n\r\n", V::ControlByte),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", V::RequestLine),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", V::RequestLine),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", V::RequestLine),
        ("GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", V::RequestLine),
        ("GET /\r\nHost: a\r\n\r\n", V::RequestLine),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", V::RequestLine),
        ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", V::RequestLine),
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", V::Version),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", V::Version),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", V::Version),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", V::RequestLine),
        (&long_name, V::HeadTooLarge),
        (&many, V::TooManyHeaders),
    ];
    for (input, expected) in cases {
        assert_eq!(verdict(input), Err(expected), "{input:?}");
        let pipelined = format!("GET /first HTTP/1.1\r\nHost: a\r\n\r\n{input}");
        assert_eq!(verdict(&pipelined), Err(expected), "pipelined: {input:?}");
    }
}

#[test]
fn a_chunked_body_with_a_strange_size_or_end_is_refused() {
    use Violation as V;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (body, expected) in [
        ("x\r\n", V::ChunkSize),
        ("\r\n", V::ChunkSize),
        ("-1\r\n", V::ChunkSize),
        ("0x1\r\na\r\n", V::ChunkSize),
        ("1;ext=1\r\na\r\n", V::ChunkSize),
        ("1 \r\na\r\n", V::ChunkSize),
        ("1\na\r\n", V::ChunkSize),
        ("1\r\r\n", V::ChunkSize),
        ("123456789\r\n", V::ChunkSize),
        ("1\r\nab\r\n", V::ChunkEnd),
        ("1\r\na\n\r\n", V::ChunkEnd),
        ("1\r\na\rX", V::ChunkEnd),
        ("0\r\nContent-Length: 1\r\n\r\n", V::HeaderLine),
        ("0\r\nHost: b\r\n\r\n", V::HeaderLine),
        ("0\r\nbad trailer\r\n\r\n", V::HeaderLine),
        ("0\r\nX: 1\n\r\n", V::BareLineFeed),
    ] {
        assert_eq!(verdict(&format!("{head}{body}")), Err(expected), "{body:?}");
    }
}

#[test]
fn honest_requests_pass_byte_for_byte_however_they_are_cut() {
    let input = "GET /v1/models?x=1 HTTP/1.1\r\nHost: a.example:8443\r\nAccept: */*\r\n\r\n\
         POST /v1/completions HTTP/1.1\r\nhost: [::1]:8443\r\ncontent-length: 11\r\n\r\nGET / HTTP/\
         POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0A\r\n0123456789\r\n0\r\n\r\n\
         POST /t HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n\
         OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n\
         GET http://A/p HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Utf8: \u{e9}\r\n\r\n\
         POST /empty HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n\
         GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    for cuts in [&[usize::MAX][..], &[1], &[2, 3, 5], &[7], &[64]] {
        let (passed, verdict) = judge(input.as_bytes(), cuts);
        assert_eq!(verdict, Ok(()));
        assert_eq!(String::from_utf8_lossy(&passed), input);
    }
}

#[test]
fn a_head_passes_only_as_a_whole() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n";
    for end in 0..head.len() {
        let (passed, verdict) = judge(&head.as_bytes()[..end], &[3]);
        assert_eq!((passed.len(), verdict), (0, Ok(())), "after {end} bytes");
    }
}

/// Pieces of requests, honest and hostile, so that random sequences reach every state.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&'static [u8]> = vec![
        b"GET / HTTP/1.1\r\n",
        b"POST /v1 HTTP/1.1\r\n",
        b"Host: a\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"X-Any: thing\r\n",
        b"\r\n",
        b"abc",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"\n",
        b"\r",
        b" ",
        b":",
        b"\0",
        b"Connection: close\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    ];
    prop_oneof![
        12 => proptest::sample::select(pieces).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..12),
    ]
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(fragment(), 0..24).prop_map(|pieces| pieces.concat())
}

/// An independent reading of what passed: httparse for heads, plain counting for bodies.
fn agrees_with_httparse(mut passed: &[u8]) -> Result<(), TestCaseError> {
    while !passed.is_empty() {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(passed) {
            Ok(httparse::Status::Complete(length)) => length,
            other => return Err(TestCaseError::fail(format!("httparse: {other:?}"))),
        };
        let all = |name: &str| -> Vec<&[u8]> {
            let named = request.headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name));
            named.map(|header| header.value).collect()
        };
        prop_assert_eq!(all("host").len(), 1);
        let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
        prop_assert!(lengths.len() + codings.len() <= 1);
        passed = &passed[length..];
        if let Some(length) = lengths.first() {
            let length: usize = std::str::from_utf8(length)
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .ok_or_else(|| TestCaseError::fail("length"))?;
            passed = passed.get(length..).unwrap_or_default();
        } else if !codings.is_empty() {
            loop {
                let Ok(httparse::Status::Complete((start, size))) =
                    httparse::parse_chunk_size(passed)
                else {
                    // The stream ends inside this body.
                    return Ok(());
                };
                let size = usize::try_from(size).expect("bounded");
                passed = passed.get(start + size..).unwrap_or_default();
                if size == 0 {
                    let end = passed.windows(2).position(|two| two == b"\r\n");
                    passed = end.map_or(&[][..], |end| &passed[end + 2..]);
                    break;
                }
                passed = passed.strip_prefix(b"\r\n").unwrap_or_default();
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_judged_without_panic(input in proptest::collection::vec(any::<u8>(), 0..512)) {
        let (passed, _) = judge(&input, &[usize::MAX]);
        prop_assert!(input.starts_with(&passed));
    }

    #[test]
    fn how_bytes_are_cut_changes_nothing(
        input in stream(),
        cuts in proptest::collection::vec(1_usize..40, 1..8),
    ) {
        let whole = judge(&input, &[usize::MAX]);
        let cut = judge(&input, &cuts);
        prop_assert_eq!(whole.1, cut.1);
        prop_assert_eq!(whole.0, cut.0);
    }

    #[test]
    fn what_passes_is_a_prefix_that_another_parser_reads_alike(input in stream()) {
        let (passed, _) = judge(&input, &[usize::MAX]);
        prop_assert!(input.starts_with(&passed));
        agrees_with_httparse(&passed)?;
    }
}
