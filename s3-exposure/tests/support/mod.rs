//! A sealed model, an endpoint over it, and a client that signs.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use adyton_s3_exposure::signature::{UnixSeconds, client};
use adyton_s3_exposure::{
    Answered, Catalogue, Credentials, Endpoint, Exposure, Listener, ObjectSource, Observer,
    OpenedFiles, SealedRanges,
};
use adyton_sealed_weights::{
    KeyId, ModelKey, NoProgress, Recipient, Requirements, SealJob, SealOptions, SealedModel,
    UnlockedModel,
};

/// One line for each answer.
#[derive(Default)]
pub struct Notes(pub Mutex<Vec<String>>);

impl Observer for Notes {
    fn answered(&self, answered: &Answered) {
        let fault = if answered.fault.is_some() { " fault" } else { "" };
        let line = format!(
            "{} {} {}{fault}",
            answered.operation,
            answered.status,
            answered.code.unwrap_or("-"),
        );
        self.0.lock().unwrap().push(line);
    }
}

/// Bytes that differ from chunk to chunk.
pub fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Files, as they are and sealed.
pub struct Model {
    pub folder: tempfile::TempDir,
    pub files: Vec<(String, Vec<u8>)>,
    key: ModelKey,
}

impl Model {
    pub fn new(files: &[(&str, Vec<u8>)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        for (path, bytes) in files {
            let path = plain.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let key = ModelKey::generate(KeyId::new("kbs:///acme/model-key/kjv", 1).unwrap()).unwrap();
        let options =
            SealOptions { name: "acme/kjv".into(), version: 1, allow_formats: vec![], threads: 1 };
        let job = SealJob::new(&plain, &folder.path().join("sealed"), options).unwrap();
        let recipient = Recipient::wrap(&key, &job.model_id(), job.content_key()).unwrap();
        job.run(vec![recipient], &NoProgress).unwrap();
        let mut files: Vec<_> =
            files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.clone())).collect();
        files.sort();
        Self { folder, files, key }
    }

    pub fn plain(&self) -> PathBuf {
        self.folder.path().join("plain")
    }

    pub fn sealed(&self) -> PathBuf {
        self.folder.path().join("sealed")
    }

    pub fn unlock(&self) -> UnlockedModel {
        let sealed = SealedModel::load(&self.sealed()).unwrap();
        sealed.unlock(&self.key, &Requirements::default()).unwrap()
    }

    pub fn sealed_ranges(&self) -> Box<dyn ObjectSource> {
        Box::new(SealedRanges::new(self.unlock(), 6 << 20).unwrap())
    }

    pub fn opened_files(&self) -> Box<dyn ObjectSource> {
        let manifest = self.unlock();
        let manifest = manifest.manifest();
        let files = manifest.files().iter().map(|file| (file.path().to_string(), file.size()));
        Box::new(OpenedFiles::new(&self.plain(), files.collect()).unwrap())
    }

    pub fn catalogue(&self) -> Catalogue {
        let unlocked = self.unlock();
        let files = unlocked.manifest().files().iter().map(|f| (f.path().as_str(), f.size()));
        let modified = UnixSeconds::parse_basic("20260131T120000Z").unwrap();
        Catalogue::new("adyton", "model", files, &unlocked.manifest_digest(), modified).unwrap()
    }

    pub fn expose(&self, source: Box<dyn ObjectSource>) -> Stand {
        self.expose_at(source, Endpoint::Loopback(SocketAddr::from(([127, 0, 0, 1], 0))))
    }

    pub fn expose_at(&self, source: Box<dyn ObjectSource>, endpoint: Endpoint) -> Stand {
        let credentials = Arc::new(Credentials::generate().unwrap());
        let notes = Arc::new(Notes::default());
        let exposure = Exposure::start(
            Listener::bind(endpoint).unwrap(),
            self.catalogue(),
            source,
            Arc::clone(&credentials),
            Arc::clone(&notes) as Arc<dyn Observer>,
        );
        Stand { exposure: exposure.unwrap(), credentials, notes }
    }
}

/// An endpoint that answers.
pub struct Stand {
    pub exposure: Exposure,
    pub credentials: Arc<Credentials>,
    pub notes: Arc<Notes>,
}

pub trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (at, value) = line.split_once(": ")?;
            at.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn code(&self) -> String {
        let text = self.text();
        let (_, rest) = text.split_once("<Code>").unwrap_or_default();
        rest.split("</Code>").next().unwrap_or_default().to_owned()
    }
}

impl Stand {
    pub fn address(&self) -> SocketAddr {
        match self.exposure.endpoint() {
            Endpoint::Loopback(address) => *address,
            Endpoint::UnixSocket { .. } => panic!("a Unix socket"),
        }
    }

    pub fn host(&self) -> String {
        match self.exposure.endpoint() {
            Endpoint::Loopback(address) => address.to_string(),
            Endpoint::UnixSocket { .. } => "localhost".to_owned(),
        }
    }

    pub fn connect(&self) -> Box<dyn Wire> {
        match self.exposure.endpoint() {
            Endpoint::Loopback(address) => Box::new(TcpStream::connect(address).unwrap()),
            Endpoint::UnixSocket { path, .. } => Box::new(UnixStream::connect(path).unwrap()),
        }
    }

    /// A signed head; `fields` are more header fields, not signed.
    pub fn head(&self, method: &str, target: &str, host: &str, fields: &str) -> String {
        let time = UnixSeconds::now().to_basic();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nX-Amz-Date: {time}\r\n\
             X-Amz-Content-Sha256: UNSIGNED-PAYLOAD\r\n{fields}\
             Authorization: AWS4-HMAC-SHA256 Credential={}/{}/us-east-1/s3/aws4_request,\
             SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature={}\r\n\r\n",
            self.credentials.access_key(),
            &time[..8],
            "0".repeat(64),
        );
        match client::signature(head.as_bytes(), &self.credentials) {
            Ok(signature) => head.replace(&"0".repeat(64), &signature),
            Err(_) => head,
        }
    }

    pub fn ask(&self, method: &str, target: &str, fields: &str) -> Reply {
        self.send(&self.head(method, target, &self.host(), fields))
    }

    pub fn get(&self, target: &str) -> Reply {
        self.ask("GET", target, "")
    }

    pub fn range(&self, target: &str, range: &str) -> Reply {
        self.ask("GET", target, &format!("Range: {range}\r\n"))
    }

    pub fn send(&self, head: &str) -> Reply {
        exchange(self.connect().as_mut(), head)
    }
}

/// Sends a head and reads one answer.
pub fn exchange(wire: &mut dyn Wire, head: &str) -> Reply {
    wire.write_all(head.as_bytes()).unwrap();
    read_reply(wire, head.starts_with("HEAD "))
}

pub fn read_reply(wire: &mut dyn Wire, without_body: bool) -> Reply {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(wire.read(&mut byte).unwrap(), 1, "{:?}", String::from_utf8_lossy(&head));
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut reply = Reply { status, head, body: Vec::new() };
    let len = reply.field("Content-Length").map_or(0, |len| len.parse().unwrap());
    if !without_body {
        reply.body = vec![0; len];
        wire.read_exact(&mut reply.body).unwrap();
    }
    reply
}

/// Flips one bit of a sealed object.
pub fn damage(sealed: &Path, object: &str, at: u64) {
    use std::os::unix::fs::FileExt;
    let path = sealed.join(object);
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}
