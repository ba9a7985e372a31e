//! Reference Values: the measurements that the owner of a model expects.
//!
//! Role: output of the Reference Value Provider (RFC 9334 §4.2). In: one TOML file, one named set.
//! Out: [`ReferenceValues`], input of [`appraise`](crate::appraise). A set is taken as a whole: the
//! firmware of one set and the kernel of another are no known system. An empty list of a register
//! matches nothing.
//! Against: unmeasured software, a mix of measured parts that never belonged together.
//!
//! ```toml
//! name = "kjv-server-2026-11"
//! tee = "tdx"
//! mrtd = ["<96 hex digits>"]
//! rtmr0 = ["<96 hex digits>", "<96 hex digits>"]
//! # rtmr1, rtmr2, rtmr3, mrconfigid in the same way
//! ```

use serde::{Deserialize, Serialize};

use crate::claims::{Measurement, TdAttributes, Xfam};
use crate::evidence::Tee;
use crate::limits::{MAX_NAME_LEN, MAX_POLICY_LEN, MAX_REFERENCE_ALTERNATIVES};

/// One named set of Reference Values. Each register has a list of alternatives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceValues {
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mrseam: Vec<Measurement>,
    /// Accepted TD attributes. Empty: any that rung T9 lets through.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub td_attributes: Vec<TdAttributes>,
    /// Accepted XFAM. Empty: any that rung T10 lets through.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xfam: Vec<Xfam>,
}

fn zero_only() -> Vec<Measurement> {
    vec![Measurement([0; 48])]
}

/// Why a text is not a set of Reference Values.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceValueError {
    /// More bytes or alternatives than [`limits`](crate::limits) allow.
    #[error("{what} is {got}; at most {limit} is read")]
    TooLarge {
        /// What was too large.
        what: &'static str,
        /// Its size in bytes, or the count.
        got: usize,
        /// The bound.
        limit: usize,
    },
    /// Not TOML of this shape: a syntax error, an unknown key, a register of another length.
    #[error("not a set of reference values")]
    Toml(#[source] Box<toml::de::Error>),
    /// A name with other characters, empty, or too long.
    #[error("name {name:?} is not 1 to {MAX_NAME_LEN} characters of A-Z a-z 0-9 . _ -")]
    Name {
        /// The name, shortened.
        name: String,
    },
}

impl ReferenceValues {
    /// Parses one set from TOML.
    ///
    /// # Errors
    /// [`ReferenceValueError::TooLarge`], [`Toml`](ReferenceValueError::Toml),
    /// [`Name`](ReferenceValueError::Name), in this order.
    pub fn parse_toml(text: &str) -> Result<Self, ReferenceValueError> {
        limit("file in bytes", text.len(), MAX_POLICY_LEN)?;
        let set: Self = toml::from_str(text).map_err(|e| ReferenceValueError::Toml(Box::new(e)))?;
        for (register, len) in [
            ("mrtd", set.mrtd.len()),
            ("rtmr0", set.rtmr0.len()),
            ("rtmr1", set.rtmr1.len()),
            ("rtmr2", set.rtmr2.len()),
            ("rtmr3", set.rtmr3.len()),
            ("mrconfigid", set.mrconfigid.len()),
            ("mrowner", set.mrowner.len()),
            ("mrownerconfig", set.mrownerconfig.len()),
            ("mrseam", set.mrseam.len()),
            ("td_attributes", set.td_attributes.len()),
            ("xfam", set.xfam.len()),
        ] {
            limit(register, len, MAX_REFERENCE_ALTERNATIVES)?;
        }
        if !is_name(&set.name) {
            return Err(ReferenceValueError::Name { name: set.name.chars().take(64).collect() });
        }
        Ok(set)
    }

    /// The set as TOML; [`parse_toml`](Self::parse_toml) reads it back.
    #[must_use]
    pub fn to_toml(&self) -> String {
        use std::fmt::Write as _;
        let mut out = format!("name = {:?}\ntee = {:?}\n", self.name, self.tee.as_str());
        fn list<T: std::fmt::Display>(out: &mut String, key: &str, values: &[T]) {
            let quoted: Vec<String> = values.iter().map(|v| format!("\"{v}\"")).collect();
            let _ = writeln!(out, "{key} = [{}]", quoted.join(", "));
        }
        list(&mut out, "mrtd", &self.mrtd);
        list(&mut out, "rtmr0", &self.rtmr0);
        list(&mut out, "rtmr1", &self.rtmr1);
        list(&mut out, "rtmr2", &self.rtmr2);
        list(&mut out, "rtmr3", &self.rtmr3);
        list(&mut out, "mrconfigid", &self.mrconfigid);
        list(&mut out, "mrowner", &self.mrowner);
        list(&mut out, "mrownerconfig", &self.mrownerconfig);
        if !self.mrseam.is_empty() {
            list(&mut out, "mrseam", &self.mrseam);
        }
        if !self.td_attributes.is_empty() {
            list(&mut out, "td_attributes", &self.td_attributes);
        }
        if !self.xfam.is_empty() {
            list(&mut out, "xfam", &self.xfam);
        }
        out
    }

    /// SHA-256 of [`to_toml`](Self::to_toml), so of the values and not of the file's layout, as
    /// lower-case hex.
    #[must_use]
    pub fn digest(&self) -> String {
        hex::encode(ring::digest::digest(&ring::digest::SHA256, self.to_toml().as_bytes()))
    }
}

fn limit(what: &'static str, got: usize, limit: usize) -> Result<(), ReferenceValueError> {
    if got > limit {
        return Err(ReferenceValueError::TooLarge { what, got, limit });
    }
    Ok(())
}

pub(crate) fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_LEN).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> String {
        let value = "ab".repeat(48);
        format!("name = \"kjv-1.0\"\ntee = \"tdx\"\nmrtd = [\"{value}\"]\n")
    }

    #[test]
    fn a_set_survives_being_written_and_read() {
        let set = ReferenceValues::parse_toml(&set()).expect("a set");
        assert_eq!(set.mrowner, [Measurement([0; 48])], "zero, when the file doesn't say");
        assert!(set.rtmr0.is_empty());
        let again = ReferenceValues::parse_toml(&set.to_toml()).expect("its own form");
        assert_eq!(again, set);
        assert_eq!(again.digest(), set.digest());
    }

    #[test]
    fn an_unknown_register_is_an_error() {
        let text = format!("{}rtmr4 = []\n", set());
        let Err(ReferenceValueError::Toml(source)) = ReferenceValues::parse_toml(&text) else {
            panic!("TOML")
        };
        assert!(source.to_string().contains("rtmr4"), "{source}");
    }

    #[test]
    fn a_value_of_another_length_is_an_error() {
        let text = set().replace("abab", "ab");
        assert!(matches!(ReferenceValues::parse_toml(&text), Err(ReferenceValueError::Toml(_))));
    }

    #[test]
    fn a_tee_that_nobody_verifies_is_an_error() {
        let text = set().replace("tdx", "sample");
        let Err(ReferenceValueError::Toml(source)) = ReferenceValues::parse_toml(&text) else {
            panic!("TOML")
        };
        assert!(source.to_string().contains("supported: tdx"), "{source}");
    }

    #[test]
    fn a_name_that_could_be_a_path_is_an_error() {
        let text = set().replace("kjv-1.0", "../kjv");
        assert!(matches!(
            ReferenceValues::parse_toml(&text),
            Err(ReferenceValueError::Name { .. })
        ));
    }

    #[test]
    fn more_alternatives_than_the_limit_are_an_error() {
        let value = format!("\"{}\",", "ab".repeat(48)).repeat(MAX_REFERENCE_ALTERNATIVES + 1);
        let text = format!("name = \"kjv\"\ntee = \"tdx\"\nmrtd = [{value}]\n");
        assert!(matches!(
            ReferenceValues::parse_toml(&text),
            Err(ReferenceValueError::TooLarge { what: "mrtd", .. })
        ));
    }
}
