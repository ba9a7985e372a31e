//! Finds out where this process can get Evidence.
//!
//! Role: Attester, before the first Evidence. In: where to look. Out: the first source that names
//! a supported TEE, and what was found at each, for the log. The order is fixed: `tsm`, `sev-guest`,
//! `az-vtpm`, `coco`. No TEE is an error. Against: a host that switches a real source off and gets a
//! weaker one used instead; there is none.

use std::fmt;
use std::path::PathBuf;

use super::azure::DEFAULT_TPM_PATH;
use super::coco::DEFAULT_URL;
use super::imds::DEFAULT_IMDS_URL;
use super::sev_guest::DEFAULT_DEVICE;
use super::tsm::DEFAULT_ROOT;
use super::{Attester, AttesterError, AzVtpmAttester, CocoAttester, SevGuestAttester, TsmAttester};

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetectionOptions {
    /// Folder of configfs-tsm in which report items are made.
    pub tsm_path: PathBuf,
    /// The SNP guest device.
    pub sev_guest_path: PathBuf,
    /// The vTPM of an Azure confidential VM.
    pub tpm_path: PathBuf,
    /// Azure's instance metadata service, which hands out the hardware's certificates and quotes.
    pub imds_url: String,
    /// URL of the CoCo guest API.
    pub coco_url: String,
}

impl Default for DetectionOptions {
    fn default() -> Self {
        Self {
            tsm_path: PathBuf::from(DEFAULT_ROOT),
            sev_guest_path: PathBuf::from(DEFAULT_DEVICE),
            tpm_path: PathBuf::from(DEFAULT_TPM_PATH),
            imds_url: DEFAULT_IMDS_URL.to_owned(),
            coco_url: DEFAULT_URL.to_owned(),
        }
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// configfs-tsm, see [`TsmAttester`].
    Tsm,
    /// The SNP guest device, see [`SevGuestAttester`].
    SevGuest,
    /// The vTPM of an Azure confidential VM, see [`AzVtpmAttester`].
    AzVtpm,
    /// The CoCo guest API, see [`CocoAttester`].
    Coco,
}

impl Source {
    /// Every source, in the order of detection: the hardware's own interface first, for it needs
    /// nobody else's program.
    pub const ORDER: [Self; 4] = [Self::Tsm, Self::SevGuest, Self::AzVtpm, Self::Coco];

    /// The name in configuration and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tsm => "tsm",
            Self::SevGuest => "sev-guest",
            Self::AzVtpm => "az-vtpm",
            Self::Coco => "coco",
        }
    }

    /// Opens this source and no other.
    ///
    /// # Errors
    /// Those of the source.
    pub fn open(self, options: &DetectionOptions) -> Result<Box<dyn Attester>, AttesterError> {
        match self {
            Self::Tsm => Ok(Box::new(TsmAttester::new(&options.tsm_path)?)),
            Self::SevGuest => Ok(Box::new(SevGuestAttester::new(&options.sev_guest_path)?)),
            Self::AzVtpm => {
                Ok(Box::new(AzVtpmAttester::new(&options.tpm_path, &options.imds_url)?))
            }
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
    for candidate in Source::ORDER {
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
        let absent = dir.path().join("absent");
        let options = DetectionOptions {
            tsm_path: absent.clone(),
            sev_guest_path: absent.clone(),
            tpm_path: absent,
            coco_url,
            ..DetectionOptions::default()
        };
        (options, dir)
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
        assert_eq!(sources, ["tsm", "sev-guest", "az-vtpm", "coco"]);
        assert!(tried[0].outcome.contains("mount"), "{}", tried[0]);
        assert!(tried[1].outcome.contains("/dev/sev-guest"), "{}", tried[1]);
        assert!(tried[2].outcome.starts_with("az-vtpm"), "{}", tried[2]);
        assert!(tried[3].outcome.contains("does not answer"), "{}", tried[3]);
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
        assert_eq!(detected.tried[3].to_string(), "coco: found tdx");
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
            matches!(detect(&options), Err(AttesterError::NoTee { tried }) if tried.len() == 4)
        );
    }
}
