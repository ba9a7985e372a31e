//! What the kernel says about this machine: the only place of the doctor that looks anywhere.
//!
//! Out: texts as they are written in `/proc` and `/sys`, nothing where there is no such file. What they mean is
//! for [`checks`](super::checks) to say.

use std::path::Path;

use adyton_attestation::attester::{DetectionOptions, Source};
use adyton_sealed_weights::{TargetCheck, TargetError};

/// Everything that is looked at.
pub(super) struct Machine {
    /// Name of a source of Evidence, and the TEE it speaks for or why it does not.
    pub(super) sources: Vec<(&'static str, Result<String, String>)>,
    /// `/proc/cpuinfo`.
    pub(super) cpuinfo: Option<String>,
    /// `/proc/self/limits`.
    pub(super) limits: Option<String>,
    /// `/proc/swaps`.
    pub(super) swaps: Option<String>,
    /// `/sys/kernel/mm/transparent_hugepage/enabled`.
    pub(super) transparent: Option<String>,
    /// The target folder.
    pub(super) target: Result<TargetCheck, TargetError>,
}

impl Machine {
    pub(super) fn read(target: &Path) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let places = DetectionOptions::default();
        let sources = Source::ORDER.map(|source| {
            let opened = source.open(&places).map(|attester| attester.tee().as_str().to_owned());
            (source.name(), opened.map_err(|error| with_causes(&error)))
        });
        Self {
            sources: sources.into(),
            cpuinfo: read("/proc/cpuinfo"),
            limits: read("/proc/self/limits"),
            swaps: read("/proc/swaps"),
            transparent: read("/sys/kernel/mm/transparent_hugepage/enabled"),
            target: TargetCheck::probe(target),
        }
    }
}

pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
