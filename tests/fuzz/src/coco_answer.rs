//! Answers of the CoCo guest API, as the sidecar's Attester reads them.
//!
//! The first byte chooses which of the two requests gets the hostile answer.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use adyton_attestation::attester::{Attester as _, CocoAttester};
use adyton_attestation::{Evidence, ReportData, Tee};
use adyton_fake_tee::TdProfile;

use crate::genuine::{REPORT_DATA, TEE};

const INFO: &[u8] = b"{\"version\":\"0.1.0\",\"tee\":\"tdx\",\"feature\":\"attestation\"}";

/// Lets an Attester ask a server that answers with the given bytes; Evidence that it accepts
/// parses and carries the report data that were asked for.
pub fn run(data: &[u8]) {
    let Some((which, hostile)) = data.split_first() else {
        return;
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    let url = format!("http://{}", listener.local_addr().expect("a bound port"));
    let info = answer(INFO);
    let answers = if which & 1 == 0 {
        vec![info, hostile.to_vec()]
    } else {
        vec![hostile.to_vec()]
    };
    thread::scope(|scope| {
        scope.spawn(|| serve(&listener, answers));
        let evidence = CocoAttester::new(&url)
            .and_then(|attester| attester.collect(&ReportData(REPORT_DATA)));
        if let Ok(evidence) = evidence {
            let parsed = Evidence::parse_kbs(Tee::Tdx, &evidence).expect("accepted evidence parses");
            assert_eq!(parsed.report_data(), ReportData(REPORT_DATA));
        }
        // Whatever the Attester did not ask for, so that the server's thread ends.
        for _ in 0..2 {
            drop(TcpStream::connect(listener.local_addr().expect("a bound port")));
        }
    });
}

/// One answer per connection, then two connections without.
fn serve(listener: &TcpListener, answers: Vec<Vec<u8>>) {
    let mut answers = answers.into_iter();
    for _ in 0..2 {
        let Ok((mut stream, _)) = listener.accept() else {
            return;
        };
        let mut head = Vec::new();
        let mut chunk = [0; 1024];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut chunk) {
                Ok(0) | Err(_) => break,
                Ok(read) => head.extend_from_slice(&chunk[..read]),
            }
        }
        if !head.is_empty() {
            // The Attester may refuse and hang up before the end of the answer.
            let _gone = stream.write_all(&answers.next().unwrap_or_default());
        }
    }
}

fn answer(body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}

/// Good answers to either request in every framing, and refusals.
pub fn seeds() -> Vec<Vec<u8>> {
    let evidence = TEE.primary_evidence(&TdProfile::default(), REPORT_DATA, &[]).to_string();
    let evidence = evidence.as_bytes();
    let chunked = [
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n", evidence.len())
            .as_bytes(),
        evidence,
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    let unframed = [b"HTTP/1.1 200 OK\r\n\r\n", evidence].concat();
    let other = TEE.primary_evidence(&TdProfile::default(), [0; 64], &[]).to_string();
    let to_evidence = [
        answer(evidence),
        chunked,
        unframed,
        answer(other.as_bytes()),
        b"HTTP/1.1 403 Forbidden\r\ncontent-length: 9\r\n\r\nForbidden".to_vec(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\n{}".to_vec(),
    ]
    .map(|seed| [&[0][..], &seed].concat());
    let to_info = [answer(INFO), answer(b"{\"tee\":\"sample\"}")].map(|seed| [&[1][..], &seed].concat());
    to_evidence.into_iter().chain(to_info).collect()
}
