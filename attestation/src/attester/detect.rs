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
        Self {
            tsm_path: PathBuf::from(DEFAULT_ROOT),
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

/// Takes the first source that names a supported TEE.
///
/// # Errors
/// [`AttesterError::NoTee`] with what was found at each.
pub fn detect(options: &DetectionOptions) -> Result<Detected, AttesterError> {
    let mut tried = Vec::new();
    let tsm = || Ok(Box::new(TsmAttester::new(&options.tsm_path)?) as Box<dyn Attester>);
    let coco = || Ok(Box::new(CocoAttester::new(&options.coco_url)?) as Box<dyn Attester>);
    let sources: [(
        &'static str,
        &dyn Fn() -> Result<Box<dyn Attester>, AttesterError>,
    ); 2] = [("tsm", &tsm), ("coco", &coco)];
    for (source, open) in sources {
        match open() {
            Ok(attester) => {
                let outcome = format!("found {}", attester.tee());
                tried.push(Tried { source, outcome });
                return Ok(Detected { attester, tried });
            }
            Err(error) => tried.push(Tried {
                source,
                outcome: with_causes(&error),
            }),
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
