//! Reference Values under the names by which Trustee's policies ask for them.

use std::collections::BTreeMap;

use adyton_attestation::ReferenceValues;
use adyton_attestation::reference_value::GpuComponent;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// The values of all sets together, by name, and `more` over them.
///
/// Parts of several sets add up here, as they do in Trustee. The typed appraisal, which always comes
/// first, has matched one of them as a whole.
#[must_use]
pub fn references(sets: &[ReferenceValues], more: &BTreeMap<String, Value>) -> Value {
    let mut all: Map<String, Value> = Map::new();
    let mut gpu_measurements = Map::new();
    let mut add = |name: &str, values: Vec<Value>| {
        if values.is_empty() {
            return;
        }
        let known = all.entry(name.to_owned()).or_insert_with(|| json!([]));
        if let Value::Array(known) = known {
            known.extend(values);
        }
    };
    fn texts<T: ToString>(values: &[T]) -> Vec<Value> {
        values.iter().map(|value| Value::String(value.to_string())).collect()
    }
    for set in sets {
        match set {
            ReferenceValues::Tdx(set) => {
                for (name, values) in [
                    ("mr_td", &set.mrtd),
                    ("rtmr_0", &set.rtmr0),
                    ("rtmr_1", &set.rtmr1),
                    ("rtmr_2", &set.rtmr2),
                    ("rtmr_3", &set.rtmr3),
                    ("mr_config_id", &set.mrconfigid),
                    ("mr_owner", &set.mrowner),
                    ("mr_owner_config", &set.mrownerconfig),
                    ("mr_seam", &set.mrseam),
                ] {
                    add(name, texts(values));
                }
                add("xfam", texts(&set.xfam));
                add("td_attributes", texts(&set.td_attributes));
            }
            ReferenceValues::Snp(set) => {
                add("snp_launch_measurement", texts(&set.measurement));
                // Older policies compare `input.snp.measurement`, which is base64.
                let base64 = set.measurement.iter().map(|digest| STANDARD.encode(digest.0));
                add("snp_launch_measurement", base64.map(Value::String).collect());
            }
            ReferenceValues::Azure(set) => {
                add("measurement", texts(&set.measurement));
                add("mr_td", texts(&set.measurement));
                for index in set.listed() {
                    let number: u8 = index.to_string().parse().unwrap_or(u8::MAX);
                    for family in ["snp", "tdx"] {
                        add(&format!("{family}_pcr{number:02}"), texts(&set.accepted(index)));
                    }
                }
            }
            ReferenceValues::Nvidia(set) => {
                let versions = match set.component {
                    GpuComponent::Driver => "allowed_driver_versions",
                    GpuComponent::Vbios => "allowed_vbios_versions",
                };
                add(versions, vec![json!(set.version)]);
                let indexed = set.measurements.iter().filter_map(|(index, accepted)| {
                    // The manifest counts from 0, the device's report, as Trustee shows it, from 1.
                    let index = index.parse::<u32>().ok()?.checked_add(1)?;
                    Some((index.to_string(), json!(accepted)))
                });
                gpu_measurements.extend(indexed);
            }
            _ => {}
        }
    }
    if !gpu_measurements.is_empty() {
        all.insert("allowed_gpu_measurements".to_owned(), Value::Object(gpu_measurements));
    }
    all.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
    Value::Object(all)
}
