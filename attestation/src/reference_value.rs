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

use std::fmt;

use serde::{Deserialize, Deserializer, de};

use crate::evidence::Tee;
use crate::limits::{MAX_NAME_LEN, MAX_POLICY_LEN};

mod azure;
mod nvidia;
mod snp;
mod tdx;

pub use azure::{AzureReferenceValues, PcrIndex};
pub use nvidia::{GpuComponent, NvidiaReferenceValues};
pub use snp::SnpReferenceValues;
pub use tdx::TdxReferenceValues;

/// One named set of Reference Values, for one TEE.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReferenceValues {
    /// For Intel TDX.
    Tdx(TdxReferenceValues),
    /// For AMD SEV-SNP.
    Snp(SnpReferenceValues),
    /// For Azure confidential VMs.
    Azure(AzureReferenceValues),
    /// For one component of an NVIDIA GPU.
    Nvidia(NvidiaReferenceValues),
}

/// The name under which files speak of NVIDIA devices, as the KBS protocol does.
const NVIDIA: &str = "nvidia";

impl From<NvidiaReferenceValues> for ReferenceValues {
    fn from(set: NvidiaReferenceValues) -> Self {
        Self::Nvidia(set)
    }
}

impl From<TdxReferenceValues> for ReferenceValues {
    fn from(set: TdxReferenceValues) -> Self {
        Self::Tdx(set)
    }
}

impl From<SnpReferenceValues> for ReferenceValues {
    fn from(set: SnpReferenceValues) -> Self {
        Self::Snp(set)
    }
}

impl From<AzureReferenceValues> for ReferenceValues {
    fn from(set: AzureReferenceValues) -> Self {
        Self::Azure(set)
    }
}

/// What every set begins with; the TEE says how to read the rest.
#[derive(Deserialize)]
struct Head {
    name: String,
    tee: Kind,
}

/// A TEE, or a device beside one.
enum Kind {
    Tee(Tee),
    Nvidia,
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            NVIDIA => Ok(Self::Nvidia),
            name => name.parse().map(Self::Tee).map_err(de::Error::custom),
        }
    }
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
    /// An index that no measurement can have.
    #[error("measurement index {got:?} is not a number from 0 to 254")]
    Index {
        /// The index, shortened.
        got: String,
    },
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
        let head: Head = from_toml(text)?;
        let set = match head.tee {
            Kind::Tee(Tee::Tdx) => Self::Tdx(from_toml(text)?),
            Kind::Tee(Tee::Snp) => Self::Snp(from_toml(text)?),
            Kind::Tee(Tee::AzSnpVtpm | Tee::AzTdxVtpm) => Self::Azure(from_toml(text)?),
            Kind::Nvidia => Self::Nvidia(from_toml(text)?),
        };
        match &set {
            Self::Tdx(set) => set.within_limits()?,
            Self::Snp(set) => set.within_limits()?,
            Self::Azure(set) => set.within_limits()?,
            Self::Nvidia(set) => set.within_limits()?,
        }
        if !is_name(&head.name) {
            return Err(ReferenceValueError::Name { name: head.name.chars().take(64).collect() });
        }
        Ok(set)
    }

    /// Name that policies refer to.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Tdx(set) => &set.name,
            Self::Snp(set) => &set.name,
            Self::Azure(set) => &set.name,
            Self::Nvidia(set) => &set.name,
        }
    }

    /// The TEE or device that the values are for, as files name it.
    #[must_use]
    pub fn tee(&self) -> &'static str {
        match self {
            Self::Tdx(_) => Tee::Tdx.as_str(),
            Self::Snp(_) => Tee::Snp.as_str(),
            Self::Azure(set) => set.tee.as_str(),
            Self::Nvidia(_) => NVIDIA,
        }
    }

    /// The set as TOML; [`parse_toml`](Self::parse_toml) reads it back.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut out = format!("name = {:?}\ntee = {:?}\n", self.name(), self.tee());
        match self {
            Self::Tdx(set) => set.write_registers(&mut out),
            Self::Snp(set) => set.write_registers(&mut out),
            Self::Azure(set) => set.write_registers(&mut out),
            Self::Nvidia(set) => set.write_registers(&mut out),
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

fn from_toml<T: de::DeserializeOwned>(text: &str) -> Result<T, ReferenceValueError> {
    toml::from_str(text).map_err(|e| ReferenceValueError::Toml(Box::new(e)))
}

/// Appends `key = ["…", "…"]`.
fn write_list<T: fmt::Display>(out: &mut String, key: &str, values: &[T]) {
    let quoted: Vec<String> = values.iter().map(|v| format!("\"{v}\"")).collect();
    out.push_str(&format!("{key} = [{}]\n", quoted.join(", ")));
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
    use crate::claims::Measurement;
    use crate::limits::MAX_REFERENCE_ALTERNATIVES;

    fn set() -> String {
        let value = "ab".repeat(48);
        format!("name = \"kjv-1.0\"\ntee = \"tdx\"\nmrtd = [\"{value}\"]\n")
    }

    #[test]
    fn a_set_survives_being_written_and_read() {
        let set = ReferenceValues::parse_toml(&set()).expect("a set");
        let ReferenceValues::Tdx(tdx) = &set else { panic!("TDX") };
        assert_eq!(tdx.mrowner, [Measurement([0; 48])], "zero, when the file doesn't say");
        assert!(tdx.rtmr0.is_empty());
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
