//! A gate before a store: passes requests on, and spoils the answers it was told to spoil.
//!
//! Behind it is a real server, or a folder of objects in memory. It speaks HTTP/1.1 by hand, because what it
//! must be able to write is what no HTTP library would.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adyton_model_store::{Fault, RetryPolicy, Source, StoreSettings, Timeouts};
use adyton_sealed_weights::StorageError;

pub mod model;
pub mod objects;
pub mod registry;
pub mod s3;

/// What is done to an answer.
#[derive(Debug, Clone)]
pub enum Spoil {
    /// Another status, with these header fields, and no body.
    Status(u16, Vec<(&'static str, String)>),
    /// Nothing is ever answered.
    Silence,
    /// The body comes in pieces, with pauses.
    Drip,
    /// The connection ends after so many bytes of the body.
    CutAfter(usize),
    /// Nothing more comes after so many bytes of the body.
    StallAfter(usize),
    /// This `Content-Range` instead.
    ContentRange(&'static str),
    /// The body is longer than it should be, without a length beforehand.
    LongerBy(usize),
    /// The body is shorter than the range, and its length says so.
    ShorterBy(usize),
    /// The whole object, with status 200.
    Whole,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The range that is asked for.
    pub fn range(&self) -> Option<Range<usize>> {
        let (first, last) = self.field("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some(first.parse().ok()?..last.parse::<usize>().ok()? + 1)
    }
}

/// An answer as it is meant.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    #[must_use]
    pub fn field(mut self, name: &str, value: impl ToString) -> Self {
        self.fields.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.fields.push((name.to_owned(), value.to_string()));
        self
    }
}

/// What is behind the gate.
pub type Behind = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;
type Selects = Box<dyn Fn(&Request) -> bool + Send>;

pub struct Gate {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    behind: Behind,
    spoils: Mutex<VecDeque<(Selects, Spoil)>>,
    log: Mutex<Vec<Request>>,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Gate {
    pub fn before(behind: Behind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("address");
        let shared = Arc::new(Shared {
            behind,
            spoils: Mutex::default(),
            log: Mutex::default(),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || shared.connection(stream));
            }
        });
        Self { address, shared }
    }

    pub fn before_server(server: SocketAddr) -> Self {
        Self::before(Arc::new(move |request| forward(server, request)))
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Spoils the next answer to a request for more than one byte: not the look.
    pub fn spoil_part(&self, spoil: Spoil) {
        let is_part = |request: &Request| request.range().is_some_and(|range| range.len() > 1);
        self.spoil(is_part, spoil);
    }

    /// Spoils the next answer to a request that `selects` picks.
    pub fn spoil(&self, selects: impl Fn(&Request) -> bool + Send + 'static, spoil: Spoil) {
        self.shared.spoils.lock().expect("lock").push_back((Box::new(selects), spoil));
    }

    pub fn log(&self) -> Vec<Request> {
        self.shared.log.lock().expect("lock").clone()
    }

    /// The ranges that were asked for, looks left out.
    pub fn parts(&self) -> Vec<Range<usize>> {
        self.log().iter().filter_map(Request::range).filter(|range| range.len() > 1).collect()
    }

    /// Most requests that waited for an answer at once.
    pub fn most(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn connection(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        while let Some(request) = read_request(&mut reader) {
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            self.log.lock().expect("lock").push(request.clone());
            let spoil = {
                let mut spoils = self.spoils.lock().expect("lock");
                let at = spoils.iter().position(|(selects, _)| selects(&request));
                at.and_then(|at| spoils.remove(at)).map(|(_, spoil)| spoil)
            };
            if matches!(spoil, Some(Spoil::Drip)) {
                std::thread::sleep(Duration::from_millis(5));
            }
            // Before the answer: who has read all of it may ask again before we are told that it went out.
            self.now.fetch_sub(1, Ordering::SeqCst);
            let kept = self.answer(&request, spoil, &stream);
            if kept.is_none() {
                let _ = stream.shutdown(Shutdown::Both);
                return;
            }
        }
    }

    /// Nothing when the connection is to end.
    fn answer(&self, request: &Request, spoil: Option<Spoil>, stream: &TcpStream) -> Option<()> {
        let head_only = request.method == "HEAD";
        let answer = match &spoil {
            Some(Spoil::Status(status, fields)) => {
                let answer = Answer::new(*status);
                fields.iter().fold(answer, |answer, (name, value)| answer.field(name, value))
            }
            Some(Spoil::Whole) => {
                let mut whole = request.clone();
                whole.fields.retain(|(name, _)| !name.eq_ignore_ascii_case("range"));
                (self.behind)(&whole)
            }
            _ => (self.behind)(request),
        };
        let len = answer.body.len();
        match spoil {
            None | Some(Spoil::Status(..) | Spoil::Whole) => {
                send(stream, &answer, Some(len), head_only)
            }
            Some(Spoil::Silence) => wait_for_the_end(stream),
            Some(Spoil::Drip) => {
                send_head(stream, &answer, Some(len))?;
                for piece in answer.body.chunks(len.div_ceil(20).max(1)) {
                    write(stream, piece)?;
                    std::thread::sleep(Duration::from_millis(2));
                }
                Some(())
            }
            Some(Spoil::CutAfter(count)) => {
                send_head(stream, &answer, Some(len))?;
                write(stream, &answer.body[..count])?;
                None
            }
            Some(Spoil::StallAfter(count)) => {
                send_head(stream, &answer, Some(len))?;
                write(stream, &answer.body[..count])?;
                wait_for_the_end(stream)
            }
            Some(Spoil::ContentRange(value)) => {
                send(stream, &answer.field("Content-Range", value), Some(len), head_only)
            }
            Some(Spoil::LongerBy(more)) => {
                let mut body = answer.body.clone();
                body.extend(vec![0xee; more]);
                send_head(stream, &answer, None)?;
                write(stream, format!("{:x}\r\n", body.len()).as_bytes())?;
                write(stream, &body)?;
                write(stream, b"\r\n0\r\n\r\n")
            }
            Some(Spoil::ShorterBy(less)) => {
                let answer = Answer { body: answer.body[..len - less].to_vec(), ..answer };
                send(stream, &answer, Some(len - less), head_only)
            }
        }
    }
}

/// Holds the connection until the other side gives it up.
fn wait_for_the_end(mut stream: &TcpStream) -> Option<()> {
    while stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {}
    None
}

fn send(stream: &TcpStream, answer: &Answer, len: Option<usize>, head_only: bool) -> Option<()> {
    send_head(stream, answer, len)?;
    if head_only { Some(()) } else { write(stream, &answer.body) }
}

fn send_head(stream: &TcpStream, answer: &Answer, len: Option<usize>) -> Option<()> {
    let mut head = format!("HTTP/1.1 {} X\r\n", answer.status);
    let mut named = false;
    for (name, value) in &answer.fields {
        named |= name.eq_ignore_ascii_case("content-length");
        if len.is_some() || !name.eq_ignore_ascii_case("content-length") {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    match len {
        Some(_) if named => {}
        Some(len) => head.push_str(&format!("Content-Length: {len}\r\n")),
        None => head.push_str("Transfer-Encoding: chunked\r\n"),
    }
    head.push_str("\r\n");
    write(stream, head.as_bytes())
}

fn write(mut stream: &TcpStream, bytes: &[u8]) -> Option<()> {
    stream.write_all(bytes).ok()
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let (first, fields) = read_head(reader)?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut request = Request { method, target, fields, body: Vec::new() };
    let len = request.field("content-length").map_or(0, |len| len.parse().expect("a length"));
    request.body = vec![0; len];
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}

fn read_head(reader: &mut impl BufRead) -> Option<(String, Vec<(String, String)>)> {
    let mut line = || {
        let mut line = String::new();
        let count = reader.read_line(&mut line).ok()?;
        (count > 0).then(|| line.trim_end().to_owned())
    };
    let first = line()?;
    let mut fields = Vec::new();
    loop {
        let line = line()?;
        if line.is_empty() {
            return Some((first, fields));
        }
        let (name, value) = line.split_once(':')?;
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
}

/// Asks the server behind, on a connection of its own.
pub fn forward(server: SocketAddr, request: &Request) -> Answer {
    let mut stream = TcpStream::connect(server).expect("the server behind");
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
    for (name, value) in &request.fields {
        if !name.eq_ignore_ascii_case("connection") {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    head.push_str("Connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    stream.write_all(&request.body).expect("sent");
    let mut reader = BufReader::new(stream);
    let (first, mut fields) = read_head(&mut reader).expect("a head");
    let mut body = Vec::new();
    if request.method != "HEAD" {
        reader.read_to_end(&mut body).expect("a body");
    }
    let chunked = fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("transfer-encoding"));
    if chunked {
        body = unchunk(&body);
    }
    fields.retain(|(name, _)| {
        !name.eq_ignore_ascii_case("transfer-encoding") && !name.eq_ignore_ascii_case("connection")
    });
    let status = first.split(' ').nth(1).expect("a status").parse().expect("a status");
    Answer { status, fields, body }
}

fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n").expect("a chunk's head");
        let head = std::str::from_utf8(&bytes[..end]).expect("text");
        let len = usize::from_str_radix(head.split(';').next().expect("a length"), 16);
        let len = len.expect("a length");
        bytes = &bytes[end + 2..];
        if len == 0 {
            return body;
        }
        body.extend_from_slice(&bytes[..len]);
        bytes = &bytes[len + 2..];
    }
}

/// Settings that ask again soon, and wait long enough for a busy machine.
pub fn settings() -> StoreSettings {
    let patience = Duration::from_secs(30);
    StoreSettings {
        in_flight: NonZeroUsize::new(4).expect("not zero"),
        timeouts: Timeouts { connect: patience, first_byte: patience, progress: patience },
        retry: RetryPolicy {
            attempts: NonZeroU32::new(3).expect("not zero"),
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(5),
        },
        ..StoreSettings::default()
    }
}

pub fn source(text: &str) -> Source {
    Source::parse(text).expect("an address")
}

/// The fault below a [`StorageError`] that has one.
pub fn fault_of(error: &StorageError) -> &Fault {
    let source = match error {
        StorageError::Refused { source } | StorageError::Unavailable { source } => source,
        other => panic!("{other:?} has no fault"),
    };
    source.downcast_ref().expect("a fault")
}

/// Is it [`StorageError::Unavailable`] with a fault of this code?
pub fn is_unavailable(error: &StorageError, code: &str) -> bool {
    matches!(error, StorageError::Unavailable { .. }) && fault_of(error).code() == code
}

/// Is it [`StorageError::Refused`] with a fault of this code?
pub fn is_refused(error: &StorageError, code: &str) -> bool {
    matches!(error, StorageError::Refused { .. }) && fault_of(error).code() == code
}

/// Bytes that are different at every place.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

/// Objects by name, as a folder would have them.
pub type Objects = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;
