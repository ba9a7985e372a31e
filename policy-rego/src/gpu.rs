//! Claims of a GPU as Trustee's verifier of Hopper devices lays them out.
//!
//! In: verified [`GpuClaims`]. Out: `{"nvidia": {…}}`, the input of a policy for devices and the annotated
//! Evidence of a submod `gpu0`. Members that Trustee has twice (beside and in `config`) are here twice, too.

use std::collections::BTreeMap;

use adyton_attestation::GpuClaims;
use adyton_attestation::claims::Nvdec0;
use serde_json::{Value, json};

/// The one architecture whose Evidence this Verifier accepts.
const ARCHITECTURE: &str = "Hopper";

/// The claims in Trustee's layout.
pub(crate) fn annotated(claims: &GpuClaims) -> Value {
    // By SPDM's index, the first one is 1; as in Trustee the key is its decimal text.
    let measurements: BTreeMap<String, String> = (1_usize..)
        .zip(&claims.measurements)
        .map(|(index, measurement)| (index.to_string(), measurement.to_string()))
        .collect();
    json!({
        "nvidia": {
            "verifier": "local",
            "arch": ARCHITECTURE,
            "uuid": claims.chip_serial,
            "driver_version": claims.driver_version,
            "vbios_version": claims.vbios_version,
            "measurements": measurements,
            "config": {
                "driver_version": claims.driver_version,
                "vbios_version": claims.vbios_version,
                "fwid": claims.firmware_id,
                "nvdec0": match claims.nvdec0 {
                    Nvdec0::Enabled => "enabled",
                    Nvdec0::Disabled => "disabled",
                },
            },
        },
        "adyton": claims,
    })
}
