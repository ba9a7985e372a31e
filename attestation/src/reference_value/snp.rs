//! Reference Values of an AMD SEV-SNP guest.

use serde::Deserialize;

use crate::claims::{HostData, LaunchId, Measurement};
use crate::evidence::Tee;
use crate::limits::MAX_REFERENCE_ALTERNATIVES;
use crate::reference_value::{ReferenceValueError, limit, write_list};

/// One named set of Reference Values for an AMD SEV-SNP guest. Each claim has a list of alternatives.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnpReferenceValues {
    /// Name that policies refer to: 1 to 128 characters of `A-Z a-z 0-9 . _ -`.
    pub name: String,
    /// `snp`.
    pub tee: Tee,
    /// Accepted launch digests.
    #[serde(default)]
    pub measurement: Vec<Measurement>,
    /// Accepted HOST_DATA, such as digests of init-data. Zero only, when the file doesn't say.
    #[serde(default = "zero_only")]
    pub host_data: Vec<HostData>,
    /// Accepted keys that signed the ID block. Empty: any, and none.
    #[serde(default)]
    pub id_key_digest: Vec<Measurement>,
    /// Accepted keys that certified the ID key. Empty: any, and none.
    #[serde(default)]
    pub author_key_digest: Vec<Measurement>,
    /// Accepted families of the ID block. Empty: any.
    #[serde(default)]
    pub family_id: Vec<LaunchId>,
    /// Accepted images of the ID block. Empty: any.
    #[serde(default)]
    pub image_id: Vec<LaunchId>,
    /// Lowest accepted security version of the ID block.
    #[serde(default)]
    pub minimum_guest_svn: u32,
}

fn zero_only() -> Vec<HostData> {
    vec![HostData([0; 32])]
}

impl SnpReferenceValues {
    pub(super) fn within_limits(&self) -> Result<(), ReferenceValueError> {
        for (list, len) in [
            ("measurement", self.measurement.len()),
            ("host_data", self.host_data.len()),
            ("id_key_digest", self.id_key_digest.len()),
            ("author_key_digest", self.author_key_digest.len()),
            ("family_id", self.family_id.len()),
            ("image_id", self.image_id.len()),
        ] {
            limit(list, len, MAX_REFERENCE_ALTERNATIVES)?;
        }
        Ok(())
    }

    pub(super) fn write_registers(&self, out: &mut String) {
        write_list(out, "measurement", &self.measurement);
        write_list(out, "host_data", &self.host_data);
        for (key, list) in
            [("id_key_digest", &self.id_key_digest), ("author_key_digest", &self.author_key_digest)]
        {
            if !list.is_empty() {
                write_list(out, key, list);
            }
        }
        for (key, list) in [("family_id", &self.family_id), ("image_id", &self.image_id)] {
            if !list.is_empty() {
                write_list(out, key, list);
            }
        }
        if self.minimum_guest_svn != 0 {
            out.push_str(&format!("minimum_guest_svn = {}\n", self.minimum_guest_svn));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference_value::ReferenceValues;

    fn parse(tail: &str) -> Result<ReferenceValues, ReferenceValueError> {
        let measurement = "ab".repeat(48);
        ReferenceValues::parse_toml(&format!(
            "name = \"kjv\"\ntee = \"snp\"\nmeasurement = [\"{measurement}\"]\n{tail}"
        ))
    }

    #[test]
    fn a_set_survives_being_written_and_read() {
        let (digest, id) = ("cd".repeat(48), "ef".repeat(16));
        let full = format!(
            "host_data = [\"{}\"]\nid_key_digest = [\"{digest}\"]\nauthor_key_digest = [\"{digest}\"]\n\
             family_id = [\"{id}\"]\nimage_id = [\"{id}\"]\nminimum_guest_svn = 4\n",
            "01".repeat(32)
        );
        for tail in ["", &full] {
            let set = parse(tail).expect("a set");
            assert_eq!(ReferenceValues::parse_toml(&set.to_toml()).expect("its own form"), set);
        }
    }

    #[test]
    fn host_data_are_zero_when_the_file_does_not_say() {
        let Ok(ReferenceValues::Snp(set)) = parse("") else { panic!("an SNP set") };
        assert_eq!(set.host_data, [HostData([0; 32])]);
    }

    #[test]
    fn a_register_of_another_tee_is_an_error() {
        assert!(matches!(parse("rtmr0 = []\n"), Err(ReferenceValueError::Toml(_))));
    }

    #[test]
    fn more_alternatives_than_the_limit_are_an_error() {
        let value = format!("\"{}\",", "ab".repeat(16)).repeat(MAX_REFERENCE_ALTERNATIVES + 1);
        let refused = parse(&format!("image_id = [{value}]\n"));
        assert!(matches!(refused, Err(ReferenceValueError::TooLarge { what: "image_id", .. })));
    }
}
