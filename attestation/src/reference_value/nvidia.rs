//! Reference Values of an NVIDIA GPU: one component's measurements, as NVIDIA's manifest (RIM) lists
//! them. `adyton reference-values from-rim` writes this form from a manifest.
//!
//! ```toml
//! name = "h100-driver-550.90.07"
//! tee = "nvidia"
//! component = "driver"
//! version = "550.90.07"
//!
//! [measurements]
//! 7 = ["<96 hex digits>"]
//! 21 = ["<96 hex digits>", "<96 hex digits>"]
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::claims::Measurement;
use crate::limits::MAX_REFERENCE_ALTERNATIVES;
use crate::reference_value::{ReferenceValueError, limit};

/// One component of a GPU, with the measurements that its manifest calls active.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NvidiaReferenceValues {
    /// Name that policies refer to.
    pub name: String,
    /// `nvidia`.
    pub tee: String,
    /// What was measured.
    pub component: GpuComponent,
    /// Version of the component, as the device reports it.
    pub version: String,
    /// Accepted values by the manifest's index: index 0 is the report's first measurement.
    pub measurements: BTreeMap<String, Vec<Measurement>>,
}

/// What one manifest is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GpuComponent {
    /// The driver on the guest's side.
    Driver,
    /// The firmware on the board.
    Vbios,
}

impl GpuComponent {
    /// The word in files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Vbios => "vbios",
        }
    }
}

impl NvidiaReferenceValues {
    /// The measurements with their indices as numbers. A key that is none was refused at parsing.
    pub(crate) fn by_index(&self) -> impl Iterator<Item = (usize, &[Measurement])> {
        self.measurements
            .iter()
            .filter_map(|(index, values)| Some((index.parse().ok()?, values.as_slice())))
    }

    pub(super) fn within_limits(&self) -> Result<(), ReferenceValueError> {
        limit("measurements", self.measurements.len(), MAX_REFERENCE_ALTERNATIVES)?;
        for (index, values) in &self.measurements {
            limit("measurements of one index", values.len(), MAX_REFERENCE_ALTERNATIVES)?;
            // SPDM numbers its blocks with one byte, from 1.
            if index.parse::<u8>().is_err() || index.parse() == Ok(u8::MAX) {
                return Err(ReferenceValueError::Index { got: index.chars().take(32).collect() });
            }
        }
        Ok(())
    }

    pub(super) fn write_registers(&self, out: &mut String) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(out, "component = {:?}", self.component.as_str());
        let _ = writeln!(out, "version = {:?}", self.version);
        let _ = writeln!(out, "\n[measurements]");
        for (index, values) in &self.measurements {
            super::write_list(out, index, values);
        }
    }
}
