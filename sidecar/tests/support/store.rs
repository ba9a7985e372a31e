//! A web server with the sealed model on it, which lets in who has the token.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub struct Store {
    pub address: SocketAddr,
    served: Arc<AtomicUsize>,
}

struct Answering {
    folder: PathBuf,
    token: Option<&'static str>,
    served: Arc<AtomicUsize>,
}

impl Store {
    pub fn start(folder: &Path, token: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        let served = Arc::new(AtomicUsize::new(0));
        let answering =
            Arc::new(Answering { folder: folder.to_owned(), token, served: Arc::clone(&served) });
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answering = Arc::clone(&answering);
                std::thread::spawn(move || while answering.one(&stream).is_some() {});
            }
        });
        Self { address, served }
    }

    pub fn url(&self) -> String {
        format!("http://{}/models/tiny", self.address)
    }

    /// Requests that were answered with bytes of the model.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }
}

impl Answering {
    fn one(&self, mut stream: &TcpStream) -> Option<()> {
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let first = lines.next()?;
        let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let field = |wanted: &str| {
            head.iter().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case(wanted).then(|| value.to_owned())
            })
        };
        let name = first.split(' ').nth(1)?.strip_prefix("/models/tiny/")?.to_owned();
        let bytes = std::fs::read(self.folder.join(name));
        let wanted = self.token.map(|token| format!("Bearer {token}"));
        let (status, more, body) = match bytes {
            _ if wanted.is_some() && field("authorization") != wanted => {
                ("403 Forbidden", String::new(), Vec::new())
            }
            Err(_) => ("404 Not Found", String::new(), Vec::new()),
            Ok(bytes) => match field("range") {
                None => ("200 OK", String::new(), bytes),
                Some(range) => {
                    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
                    let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
                    let more = format!("Content-Range: bytes {first}-{last}/{}\r\n", bytes.len());
                    ("206 Partial Content", more, bytes.get(first..=last)?.to_vec())
                }
            },
        };
        if status.starts_with('2') {
            self.served.fetch_add(1, Ordering::SeqCst);
        }
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{more}\r\n", body.len());
        stream.write_all(&[head.as_bytes(), &body].concat()).ok()
    }
}
