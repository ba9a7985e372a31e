//! Finds out where this process can get Evidence.
//!
//! Role: Attester, before the first Evidence. In: where to look. Out: the first source that names
//! a supported TEE, and what was found at each, for the log. The order is fixed: `tsm`, then
//! `coco`. No TEE is an error. Against: a host that switches a real source off and gets a
//! weaker one used instead; there is none.

use std::fmt;
use std::path::PathBuf;

use super::coco::DEFAULT_URL;
use super::tsm::DEFAULT_ROOT;
use super::{Attester, AttesterError, CocoAttester, TsmAttester};

/// Where to look.
#[derive(Debug, Clone)]
pub struct DetectionOptions {
    /// Folder of configfs-tsm in which report items are made.
    pub tsm_path: PathBuf,
    /// URL of the CoCo guest API.
    pub coco_url: String,
}

impl Default for DetectionOptions {
    fn default() -> Self {
        Self { tsm_path: PathBuf::from(DEFAULT_ROOT), coco_url: DEFAULT_URL.to_owned() }
    }
}

/// One source that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Its name.
    pub source: &'static str,
    /// `found <tee>`, or why it was not taken, with causes.
    pub outcome: String,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.outcome)
    }
}

/// A source that can be used.
pub struct Detected {
    /// The source.
    pub attester: Box<dyn Attester>,
    /// What was looked at until it was found, in order, itself included.
    pub tried: Vec<Tried>,
}

/// The real sources there are.
#[derive(Clone, Copy)]
enum Source {
    Tsm,
    Coco,
}

/// The hardware's own interface first: it needs nobody else's program.
const ORDER: [Source; 2] = [Source::Tsm, Source::Coco];

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Tsm => "tsm",
            Self::Coco => "coco",
        }
    }

    fn open(self, options: &DetectionOptions) -> Result<Box<dyn Attester>, AttesterError> {
        match self {
            Self::Tsm => Ok(Box::new(TsmAttester::new(&options.tsm_path)?)),
            Self::Coco => Ok(Box::new(CocoAttester::new(&options.coco_url)?)),
        }
    }
}

/// Takes the first source that names a supported TEE.
///
/// # Errors
/// [`AttesterError::NoTee`] with what was found at each.
pub fn detect(options: &DetectionOptions) -> Result<Detected, AttesterError> {
    let mut tried = Vec::new();
    for candidate in ORDER {
        let source = candidate.name();
        match candidate.open(options) {
            Ok(attester) => {
                let outcome = format!("found {}", attester.tee());
                tried.push(Tried { source, outcome });
                return Ok(Detected { attester, tried });
            }
            Err(error) => tried.push(Tried { source, outcome: with_causes(&error) }),
        }
    }
    Err(AttesterError::NoTee { tried })
}

fn with_causes(error: &AttesterError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    fn listener() -> (TcpListener, String) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        (listener, url)
    }

    fn options(coco_url: String) -> (DetectionOptions, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        (DetectionOptions { tsm_path: dir.path().join("absent"), coco_url }, dir)
    }

    #[test]
    fn without_a_tee_every_source_says_why() {
        let (listener, url) = listener();
        drop(listener);
        let (options, _dir) = options(url);
        let Err(AttesterError::NoTee { tried }) = detect(&options) else {
            panic!("something was found");
        };
        let sources: Vec<_> = tried.iter().map(|t| t.source).collect();
        assert_eq!(sources, ["tsm", "coco"]);
        assert!(tried[0].outcome.contains("mount"), "{}", tried[0]);
        assert!(tried[1].outcome.contains("does not answer"), "{}", tried[1]);
        let error = AttesterError::NoTee { tried }.to_string();
        assert!(error.contains("tsm: ") && error.contains("coco: "), "{error}");
    }

    #[test]
    fn the_guest_api_is_taken_when_configfs_is_absent() {
        let (listener, url) = listener();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"tee\":\"tdx\"}");
        });
        let (options, _dir) = options(url);
        let detected = detect(&options).unwrap();
        server.join().unwrap();
        assert_eq!(detected.attester.name(), "coco");
        assert_eq!(detected.tried[1].to_string(), "coco: found tdx");
    }

    #[test]
    fn a_sample_attester_is_not_taken() {
        let (listener, url) = listener();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"tee\":\"sample\"}");
        });
        let (options, _dir) = options(url);
        assert!(
            matches!(detect(&options), Err(AttesterError::NoTee { tried }) if tried.len() == 2)
        );
    }
}
