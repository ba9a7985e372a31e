//! Reference Values of a TDX trust domain: its registers, as lists of alternatives.

use serde::Deserialize;

use crate::claims::{Measurement, TdAttributes, Xfam};
use crate::evidence::Tee;
use crate::limits::MAX_REFERENCE_ALTERNATIVES;
use crate::reference_value::{ReferenceValueError, limit, write_list};

/// One named set of Reference Values for TDX. Each register has a list of alternatives.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TdxReferenceValues {
    /// Name that policies refer to: 1 to 128 characters of `A-Z a-z 0-9 . _ -`.
    pub name: String,
    /// The TEE that the values are for.
    pub tee: Tee,
    /// Accepted initial measurements.
    #[serde(default)]
    pub mrtd: Vec<Measurement>,
    /// Accepted values of run-time register 0.
    #[serde(default)]
    pub rtmr0: Vec<Measurement>,
    /// Accepted values of run-time register 1.
    #[serde(default)]
    pub rtmr1: Vec<Measurement>,
    /// Accepted values of run-time register 2.
    #[serde(default)]
    pub rtmr2: Vec<Measurement>,
    /// Accepted values of run-time register 3.
    #[serde(default)]
    pub rtmr3: Vec<Measurement>,
    /// Accepted init-data digests.
    #[serde(default)]
    pub mrconfigid: Vec<Measurement>,
    /// Accepted owners. Zero only, when the file doesn't say.
    #[serde(default = "zero_only")]
    pub mrowner: Vec<Measurement>,
    /// Accepted owner configurations. Zero only, when the file doesn't say.
    #[serde(default = "zero_only")]
    pub mrownerconfig: Vec<Measurement>,
    /// Accepted TDX modules. Empty: any module that the vendor's TCB info covers.
    #[serde(default)]
    pub mrseam: Vec<Measurement>,
    /// Accepted TD attributes. Empty: any that rung T9 lets through.
    #[serde(default)]
    pub td_attributes: Vec<TdAttributes>,
    /// Accepted XFAM. Empty: any that rung T10 lets through.
    #[serde(default)]
    pub xfam: Vec<Xfam>,
}

fn zero_only() -> Vec<Measurement> {
    vec![Measurement([0; 48])]
}

impl TdxReferenceValues {
    pub(super) fn within_limits(&self) -> Result<(), ReferenceValueError> {
        for (register, len) in [
            ("mrtd", self.mrtd.len()),
            ("rtmr0", self.rtmr0.len()),
            ("rtmr1", self.rtmr1.len()),
            ("rtmr2", self.rtmr2.len()),
            ("rtmr3", self.rtmr3.len()),
            ("mrconfigid", self.mrconfigid.len()),
            ("mrowner", self.mrowner.len()),
            ("mrownerconfig", self.mrownerconfig.len()),
            ("mrseam", self.mrseam.len()),
            ("td_attributes", self.td_attributes.len()),
            ("xfam", self.xfam.len()),
        ] {
            limit(register, len, MAX_REFERENCE_ALTERNATIVES)?;
        }
        Ok(())
    }

    pub(super) fn write_registers(&self, out: &mut String) {
        write_list(out, "mrtd", &self.mrtd);
        write_list(out, "rtmr0", &self.rtmr0);
        write_list(out, "rtmr1", &self.rtmr1);
        write_list(out, "rtmr2", &self.rtmr2);
        write_list(out, "rtmr3", &self.rtmr3);
        write_list(out, "mrconfigid", &self.mrconfigid);
        write_list(out, "mrowner", &self.mrowner);
        write_list(out, "mrownerconfig", &self.mrownerconfig);
        if !self.mrseam.is_empty() {
            write_list(out, "mrseam", &self.mrseam);
        }
        if !self.td_attributes.is_empty() {
            write_list(out, "td_attributes", &self.td_attributes);
        }
        if !self.xfam.is_empty() {
            write_list(out, "xfam", &self.xfam);
        }
    }
}
