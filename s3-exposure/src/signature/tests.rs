//! What is refused, each fault once; and the example of Amazon's documentation.

use super::*;

const NOW: &str = "20260131T120000Z";

fn now() -> UnixSeconds {
    UnixSeconds::parse_basic(NOW).unwrap()
}

fn parse(head: &str) -> Request {
    Request::parse(head.as_bytes()).unwrap()
}

/// A head, signed after `edit_before` and changed by `edit_after`.
fn signed(credentials: &Credentials, before: &[(&str, &str)], after: &[(&str, &str)]) -> Request {
    let mut head = format!(
        "GET /b/k?prefix=a%2Fb HTTP/1.1\r\nHost: localhost:9000\r\nX-Amz-Date: {NOW}\r\n\
         X-Amz-Content-Sha256: UNSIGNED-PAYLOAD\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential={}/20260131/us-east-1/s3/aws4_request, \
         SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={}\r\n\r\n",
        credentials.access_key(),
        "0".repeat(64),
    );
    for (from, to) in before {
        assert!(head.contains(from), "{from}");
        head = head.replace(from, to);
    }
    if let Ok(signature) = client::signature(head.as_bytes(), credentials) {
        head = head.replace(&"0".repeat(64), &signature);
    }
    for (from, to) in after {
        assert!(head.contains(from), "{from}");
        head = head.replace(from, to);
    }
    parse(&head)
}

fn outcome(before: &[(&str, &str)], after: &[(&str, &str)]) -> Result<Authenticated, Refusal> {
    let credentials = Credentials::generate().unwrap();
    authenticate(signed(&credentials, before, after), &credentials, now())
}

/// "GET Object" of Amazon's page "Signature Calculations for the Authorization Header" (S3 API reference): the
/// key pair, the request and the signature are printed there.
#[test]
fn the_example_of_amazons_documentation_verifies() {
    let mut secret = *b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let credentials = Credentials::from_parts("AKIAIOSFODNN7EXAMPLE", &mut secret).unwrap();
    let head = "GET /test.txt HTTP/1.1\r\nHost: examplebucket.s3.amazonaws.com\r\n\
        Range: bytes=0-9\r\n\
        x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\r\n\
        x-amz-date: 20130524T000000Z\r\n\
        Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
        SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
        Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41\r\n\r\n";
    let at = UnixSeconds::parse_basic("20130524T000000Z").unwrap();
    authenticate(parse(head), &credentials, at).unwrap();
}

#[test]
fn a_signed_request_is_authenticated() {
    outcome(&[], &[]).unwrap();
}

#[test]
fn an_unsigned_request_is_refused() {
    let head = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let refused = authenticate(parse(head), &Credentials::generate().unwrap(), now());
    assert_eq!(refused.unwrap_err(), Refusal::Unsigned);
}

#[test]
fn another_algorithm_is_refused() {
    for algorithm in ["AWS4-ECDSA-P256-SHA256", "AWS", "Basic", "aws4-hmac-sha256"] {
        let refused = outcome(&[], &[("AWS4-HMAC-SHA256", algorithm)]);
        assert_eq!(refused.unwrap_err(), Refusal::Algorithm, "{algorithm}");
    }
}

#[test]
fn whatever_is_changed_after_signing_is_noticed() {
    for edit in [
        ("GET ", "HEAD "),
        ("/b/k", "/b/K"),
        ("/b/k", "/b/k%2F"),
        ("prefix=a%2Fb", "prefix=a%2Fc"),
        ("prefix=a%2Fb", "prefix=a%2Fb&list-type=2"),
        ("Host: localhost:9000", "Host: localhost:9001"),
        ("UNSIGNED-PAYLOAD", EMPTY_PAYLOAD),
        ("X-Amz-Date: 20260131T120000Z", "X-Amz-Date: 20260131T120001Z"),
        ("us-east-1", "us-east-2"),
    ] {
        assert_eq!(outcome(&[], &[edit]).unwrap_err(), Refusal::Signature, "{edit:?}");
    }
}

#[test]
fn the_access_key_of_another_start_is_refused() {
    let (ours, theirs) = (Credentials::generate().unwrap(), Credentials::generate().unwrap());
    let refused = authenticate(signed(&theirs, &[], &[]), &ours, now());
    assert_eq!(refused.unwrap_err(), Refusal::AccessKey);
}

#[test]
fn our_access_key_with_another_secret_is_refused() {
    let (ours, theirs) = (Credentials::generate().unwrap(), Credentials::generate().unwrap());
    let request = signed(&theirs, &[], &[(theirs.access_key(), ours.access_key())]);
    assert_eq!(authenticate(request, &ours, now()).unwrap_err(), Refusal::Signature);
}

#[test]
fn a_signature_is_good_for_a_quarter_of_an_hour_both_ways() {
    let credentials = Credentials::generate().unwrap();
    for (offset, expected) in [(-900, None), (900, None), (-901, Some(901)), (901, Some(901))] {
        let at = UnixSeconds(now().0.checked_add_signed(offset).unwrap());
        let refused = authenticate(signed(&credentials, &[], &[]), &credentials, at).err();
        assert_eq!(refused, expected.map(|seconds| Refusal::Skew { seconds }), "{offset}");
    }
}

#[test]
fn a_time_of_another_form_or_none_is_refused() {
    for edit in [("20260131T120000Z", "2026-01-31T12:00:00Z"), ("X-Amz-Date", "Date")] {
        assert_eq!(outcome(&[], &[edit]).unwrap_err(), Refusal::Date, "{edit:?}");
    }
}

#[test]
fn a_credential_of_another_day_service_or_form_is_refused() {
    for edit in [
        ("/20260131/", "/20260130/"),
        ("/s3/", "/ec2/"),
        ("/aws4_request", "/aws4"),
        ("/us-east-1/", "/us_east/"),
        ("/us-east-1/", "/"),
        ("SignedHeaders=host;x", "SignedHeaders=x-a;host;x"),
        ("SignedHeaders=host;x", "SignedHeaders=host;host;x"),
        ("SignedHeaders=host;x", "SignedHeaders=Host;x"),
        ("Signature=", "Signature=0"),
        ("Signature=", "Signature="),
        (", Signature=", ", Credential=x, Signature="),
        (", Signature=", ", More=x, Signature="),
        (", SignedHeaders=", ", Credential="),
    ] {
        let refused = outcome(&[edit], &[]);
        if edit.0 == edit.1 {
            refused.unwrap();
        } else {
            assert!(matches!(refused, Err(Refusal::Authorization { .. })), "{edit:?}");
        }
    }
}

#[test]
fn a_field_that_must_be_signed_and_is_not_is_refused() {
    let missing = |name: &str| Refusal::NotSigned { name: name.into() };
    let without_host = outcome(&[("SignedHeaders=host;", "SignedHeaders=")], &[]);
    assert_eq!(without_host.unwrap_err(), missing("host"));
    let added = outcome(&[], &[("X-Amz-Date", "X-Amz-Mfa: 1\r\nX-Amz-Date")]);
    assert_eq!(added.unwrap_err(), missing("x-amz-mfa"));
    let absent = outcome(&[("SignedHeaders=host;", "SignedHeaders=host;range;")], &[]);
    assert_eq!(absent.unwrap_err(), missing("range"));
}

#[test]
fn the_digest_of_a_body_is_refused() {
    let digest = "a".repeat(64);
    for payload in ["STREAMING-AWS4-HMAC-SHA256-PAYLOAD", &digest, ""] {
        let refused = outcome(&[("UNSIGNED-PAYLOAD", payload)], &[]);
        assert_eq!(refused.unwrap_err(), Refusal::Payload, "{payload}");
    }
}

#[test]
fn a_session_token_is_refused() {
    let refused = outcome(&[("X-Amz-Date", "X-Amz-Security-Token: t\r\nX-Amz-Date")], &[]);
    assert_eq!(refused.unwrap_err(), Refusal::SecurityToken);
}

fn presigned(credentials: &Credentials, expires: &str, after: &[(&str, &str)]) -> Request {
    let mut head = format!(
        "GET /b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}%2F20260131%2Fus-east-1%2Fs3%2Faws4_request\
         &X-Amz-Date={NOW}&X-Amz-Expires={expires}&X-Amz-SignedHeaders=host&X-Amz-Signature={} HTTP/1.1\r\n\
         Host: localhost:9000\r\n\r\n",
        credentials.access_key(),
        "0".repeat(64),
    );
    if let Ok(signature) = client::signature(head.as_bytes(), credentials) {
        head = head.replace(&"0".repeat(64), &signature);
    }
    for (from, to) in after {
        assert!(head.contains(from), "{from}");
        head = head.replace(from, to);
    }
    parse(&head)
}

#[test]
fn a_presigned_request_is_good_until_it_expires() {
    let credentials = Credentials::generate().unwrap();
    for (offset, expected) in [
        (0, None),
        (60, None),
        (61, Some(Refusal::Expired)),
        (-900, None),
        (-901, Some(Refusal::Skew { seconds: 901 })),
    ] {
        let at = UnixSeconds(now().0.checked_add_signed(offset).unwrap());
        let refused = authenticate(presigned(&credentials, "60", &[]), &credentials, at).err();
        assert_eq!(refused, expected, "{offset}");
    }
}

#[test]
fn a_presigned_request_for_no_time_or_too_long_is_refused() {
    let credentials = Credentials::generate().unwrap();
    for expires in ["", "0", "3601", "-1", "1e3", "99999999999999999999"] {
        let refused = authenticate(presigned(&credentials, expires, &[]), &credentials, now());
        assert_eq!(refused.unwrap_err(), Refusal::Expires, "{expires}");
    }
}

#[test]
fn a_presigned_request_that_was_changed_is_refused() {
    let credentials = Credentials::generate().unwrap();
    for edit in [("Expires=60", "Expires=61"), ("/b/k", "/b/l"), ("localhost", "localhosT2")] {
        let request = presigned(&credentials, "60", &[edit]);
        assert_eq!(authenticate(request, &credentials, now()).unwrap_err(), Refusal::Signature);
    }
}

#[test]
fn a_request_signed_in_both_places_is_refused() {
    let refused = outcome(&[], &[("?prefix=", "?X-Amz-Algorithm=AWS4-HMAC-SHA256&prefix=")]);
    assert_eq!(refused.unwrap_err(), Refusal::SignedTwice);
}

#[test]
fn the_older_signature_in_the_query_is_refused() {
    let request = parse("GET /?AWSAccessKeyId=a&Signature=b&Expires=1 HTTP/1.1\r\nHost: h\r\n\r\n");
    let refused = authenticate(request, &Credentials::generate().unwrap(), now());
    assert_eq!(refused.unwrap_err(), Refusal::Algorithm);
}

#[test]
fn debug_shows_no_secret() {
    let credentials = Credentials::generate().unwrap();
    let secret = String::from_utf8(credentials.expose_secret().to_vec()).unwrap();
    assert!(!format!("{credentials:?}").contains(&secret));
}
