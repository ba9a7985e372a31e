//! Speaks the guest API that CoCo gives to containers on loopback.
//!
//! Role: the Attester's front desk. In: HTTP/1.1 requests from the same host. Out: Evidence of a
//! [`FakeTee`], [`FakeSnp`] or [`FakeAzure`]. Paths, parameters and statuses are those of guest-components' `api-server-rest`
//! with the feature "attestation": `GET /aa/evidence`, `POST /aa/aael`, `GET /info`.
//! Threads instead of async: a handful of callers, and nothing to wait for.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::event_log::{EV_EVENT_TAG, FakeEvent};
use crate::fault::Fault;
use crate::keys::sha384;
use crate::profile::TdProfile;
use crate::{AzureFault, AzureProfile, FakeAzure, FakeSnp, FakeTee, SnpFault, SnpProfile};

const MAX_CONNECTIONS: usize = 64;
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 32;
const MAX_BODY: usize = 64 * 1024;
const TIMEOUT: Duration = Duration::from_secs(10);
/// Length of REPORT_DATA: more runtime data than this has no place in a quote.
const REPORT_DATA_LEN: usize = 64;

/// One running guest behind the guest API. Serve it with [`serve`](Self::serve).
pub struct GuestApi {
    guest: Guest,
    connections: AtomicUsize,
}

/// What is simulated.
enum Guest {
    Td { tee: Box<FakeTee>, profile: Mutex<TdProfile>, faults: Vec<Fault> },
    Snp { machine: FakeSnp, profile: SnpProfile, fault: Option<SnpFault> },
    Azure { machine: FakeAzure, version: u64, fault: Option<AzureFault> },
}

impl GuestApi {
    /// A TD of the given profile on the given machine, with the given faults.
    pub fn new(tee: FakeTee, profile: TdProfile, faults: Vec<Fault>) -> Self {
        let (tee, profile) = (Box::new(tee), Mutex::new(profile));
        let guest = Guest::Td { tee, profile, faults };
        Self { guest, connections: AtomicUsize::new(0) }
    }

    /// An SNP guest of the given profile on the given machine, with the given fault.
    pub fn snp(machine: FakeSnp, profile: SnpProfile, fault: Option<SnpFault>) -> Self {
        let guest = Guest::Snp { machine, profile, fault };
        Self { guest, connections: AtomicUsize::new(0) }
    }

    /// An Azure VM that sends Evidence of this version, 1 or 2, with the given fault.
    pub fn azure(machine: FakeAzure, version: u64, fault: Option<AzureFault>) -> Self {
        let guest = Guest::Azure { machine, version, fault };
        Self { guest, connections: AtomicUsize::new(0) }
    }

    /// Answers until the process ends. Peers beyond loopback get 403.
    ///
    /// # Errors
    /// Only when the listener itself breaks.
    pub fn serve(&self, listener: &TcpListener) -> io::Result<()> {
        thread::scope(|scope| {
            loop {
                let (stream, peer) = match listener.accept() {
                    Ok(accepted) => accepted,
                    Err(error) if is_passing(&error) => continue,
                    Err(error) => return Err(error),
                };
                if self.connections.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
                    self.connections.fetch_sub(1, Ordering::Relaxed);
                    continue;
                }
                scope.spawn(move || {
                    // A peer that went away is its own problem.
                    let _gone = self.converse(stream, peer);
                    self.connections.fetch_sub(1, Ordering::Relaxed);
                });
            }
        })
    }

    /// One request, one response, close.
    fn converse(&self, mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let response = match Request::read(&mut stream) {
            Ok(request) => {
                let response = self.answer(peer.ip(), &request);
                let path = request.target.split('?').next().unwrap_or_default();
                eprintln!("fake-tee: {} {path} -> {}", request.method, response.status);
                response
            }
            Err(ReadError::Gone(error)) => return Err(error),
            Err(ReadError::Refused(response)) => response,
        };
        response.write(&mut stream)
    }

    fn answer(&self, peer: IpAddr, request: &Request) -> Response {
        if !peer.is_loopback() {
            return Response::text(403, "Forbidden");
        }
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        match (path, request.method.as_str()) {
            ("/info", "GET") => Response::json(
                json!({ "version": "simulated", "tee": self.tee(), "feature": "attestation" })
                    .to_string(),
            ),
            ("/aa/evidence", "GET") => self.evidence(query),
            ("/aa/aael", "POST") => self.extend(&request.body),
            ("/info" | "/aa/evidence" | "/aa/aael", _) => Response::text(405, "Method Not Allowed"),
            _ => Response::text(404, "URL NOT FOUND"),
        }
    }

    /// As the API's `/info` names it.
    fn tee(&self) -> &'static str {
        match &self.guest {
            Guest::Td { .. } => "tdx",
            Guest::Snp { .. } => "snp",
            Guest::Azure { machine, .. } => machine.hardware().tee(),
        }
    }

    fn evidence(&self, query: &str) -> Response {
        let Some(runtime_data) = runtime_data(query) else {
            return Response::text(400, "BAD REQUEST");
        };
        // The Attestation Agent fills short runtime data up with zeros.
        let mut report_data = [0; REPORT_DATA_LEN];
        report_data[..runtime_data.len()].copy_from_slice(&runtime_data);
        if let Guest::Td { faults, .. } = &self.guest {
            if faults.contains(&Fault::FailingAttester) {
                return Response::text(500, "the simulated attester fails, as it was told to");
            }
            if faults.contains(&Fault::MalformedEvidence) {
                return Response::bytes(b"not the evidence you asked for".to_vec());
            }
        }
        Response::bytes(self.primary_evidence(report_data).to_string().into_bytes())
    }

    /// The guest's Evidence over these report data, as the value of `primary_evidence` in the KBS protocol.
    pub fn primary_evidence(&self, report_data: [u8; REPORT_DATA_LEN]) -> Value {
        match &self.guest {
            Guest::Td { tee, profile, faults } => {
                let profile = profile.lock().unwrap_or_else(PoisonError::into_inner).clone();
                tee.primary_evidence(&profile, report_data, faults)
            }
            Guest::Snp { machine, profile, fault } => {
                machine.evidence(profile, report_data, *fault)
            }
            Guest::Azure { machine, version, fault } => {
                let version = *version;
                let profile = AzureProfile { version, ..AzureProfile::answering(report_data) };
                machine.evidence(&profile, *fault)
            }
        }
    }

    /// Extends RTMR3 with the event, as the Attestation Agent does for its PCR 17. SNP has no
    /// register that a running guest could extend, and the simulated vTPM's PCRs stay as they are.
    fn extend(&self, body: &[u8]) -> Response {
        let event: AaelEvent = match serde_json::from_slice(body) {
            Ok(event) => event,
            Err(error) => return Response::text(500, &format!("Illegal AAEL entry: {error}")),
        };
        let Guest::Td { profile, .. } = &self.guest else {
            return Response::text(500, "this TEE has no runtime measurement");
        };
        let text = format!("{} {} {}", event.domain, event.operation, event.content);
        let mut profile = profile.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = sha384(text.as_bytes());
        profile.rtmrs[3] = sha384([profile.rtmrs[3], digest].as_flattened());
        if let Some(log) = &mut profile.event_log {
            log.events.push(FakeEvent::of_data(4, EV_EVENT_TAG, text.as_bytes()));
        }
        Response::json("{}".to_owned())
    }
}

/// What a container wants to have recorded.
#[derive(Deserialize)]
struct AaelEvent {
    domain: String,
    operation: String,
    content: String,
}

/// The bytes to sign, when the query holds at most 64 of them in a known encoding.
fn runtime_data(query: &str) -> Option<Vec<u8>> {
    let mut value = None;
    let mut encoding = None;
    for pair in query.split('&') {
        match pair.split_once('=')? {
            ("runtime_data", encoded) => value = Some(form_decode(encoded)?),
            ("encoding", encoded) => encoding = Some(form_decode(encoded)?),
            _ => {}
        }
    }
    let value = value?;
    let bytes = match encoding.as_deref() {
        None => value,
        // The real server takes URL-safe unpadded only. Standard base64 is let through so that
        // tests can use any client; the product's own test asserts that it sends URL-safe.
        Some(b"base64") => {
            URL_SAFE_NO_PAD.decode(&value).or_else(|_| STANDARD.decode(&value)).ok()?
        }
        Some(_) => return None,
    };
    (bytes.len() <= REPORT_DATA_LEN).then_some(bytes)
}

/// application/x-www-form-urlencoded, one value.
fn form_decode(encoded: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'+' => out.push(b' '),
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                let mut byte = [0];
                hex::decode_to_slice(digits, &mut byte).ok()?;
                out.push(byte[0]);
                rest = after;
            }
            other => out.push(other),
        }
    }
    Some(out)
}

struct Request {
    method: String,
    target: String,
    body: Vec<u8>,
}

enum ReadError {
    /// The connection broke; nobody is there to answer.
    Gone(io::Error),
    /// The request is not acceptable.
    Refused(Response),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

impl Request {
    /// Reads one request, never more than [`MAX_HEAD`] and [`MAX_BODY`] bytes of it.
    fn read(stream: &mut impl Read) -> Result<Self, ReadError> {
        let refuse = |status, text| Err(ReadError::Refused(Response::text(status, text)));
        let mut buffer = Vec::new();
        let (mut request, head_len, body_len) = loop {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut parsed = httparse::Request::new(&mut headers);
            match parsed.parse(&buffer) {
                Ok(httparse::Status::Complete(head_len)) => {
                    let Ok(body_len) = body_length(parsed.headers) else {
                        return refuse(400, "BAD REQUEST");
                    };
                    let request = Self {
                        method: parsed.method.unwrap_or_default().to_owned(),
                        target: parsed.path.unwrap_or_default().to_owned(),
                        body: Vec::new(),
                    };
                    break (request, head_len, body_len);
                }
                Ok(httparse::Status::Partial) if buffer.len() < MAX_HEAD => {}
                Ok(httparse::Status::Partial) => {
                    return refuse(431, "Request Header Fields Too Large");
                }
                Err(_) => return refuse(400, "BAD REQUEST"),
            }
            read_some(stream, &mut buffer)?;
        };
        if body_len > MAX_BODY {
            return refuse(413, "Payload Too Large");
        }
        while buffer.len() < head_len + body_len {
            read_some(stream, &mut buffer)?;
        }
        request.body = buffer[head_len..head_len + body_len].to_vec();
        Ok(request)
    }
}

/// Content-Length, 0 when absent. Chunked bodies and doubled lengths are errors.
fn body_length(headers: &[httparse::Header<'_>]) -> Result<usize, ()> {
    let mut length = None;
    for header in headers {
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(());
        }
        if header.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(header.value).map_err(|_| ())?;
            if length.replace(text.parse().map_err(|_| ())?).is_some() {
                return Err(());
            }
        }
    }
    Ok(length.unwrap_or(0))
}

fn read_some(stream: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = [0; 4096];
    match stream.read(&mut chunk)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        read => {
            buffer.extend_from_slice(&chunk[..read]);
            Ok(())
        }
    }
}

struct Response {
    status: u16,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Response {
    fn text(status: u16, body: &str) -> Self {
        Self { status, content_type: "text/plain", body: body.as_bytes().to_vec() }
    }

    fn json(body: String) -> Self {
        Self { status: 200, content_type: "application/json", body: body.into_bytes() }
    }

    /// Evidence goes out as octets, because the real server knows no better either.
    fn bytes(body: Vec<u8>) -> Self {
        Self { status: 200, content_type: "application/octet-stream", body }
    }

    fn write(&self, stream: &mut impl Write) -> io::Result<()> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            413 => "Payload Too Large",
            431 => "Request Header Fields Too Large",
            _ => "Internal Server Error",
        };
        let mut out = format!(
            "HTTP/1.1 {} {reason}\r\ncontent-type: {}\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n",
            self.status,
            self.content_type,
            self.body.len(),
        )
        .into_bytes();
        out.extend_from_slice(&self.body);
        stream.write_all(&out)?;
        stream.flush()
    }
}

/// Errors of `accept` that concern one connection, not the listener.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::WouldBlock
    )
}

#[cfg(test)]
mod tests;
