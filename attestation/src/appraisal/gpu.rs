//! Appraisal of NVIDIA GPUs beside a TEE: rung G6.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::appraisal::{PolicyError, joined};
use crate::claims::{GpuClaims, Nvdec0};
use crate::reason::Reason;
use crate::reference_value::{GpuComponent, NvidiaReferenceValues, ReferenceValues, is_name};
use crate::verifier::Verified;

/// The measurement that has no meaning while the first video decoder is disabled; index of the
/// manifest, as NVIDIA's open verifier has it.
const NVDEC0_MEASUREMENT: usize = 35;

/// The table `[appraisal.gpu]` of a release policy. Without it GPUs decide about nothing; what is sent
/// is verified all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GpuPolicy {
    /// How many GPUs the guest must prove. Default: 0.
    pub minimum_devices: u32,
    /// Names of sets of Reference Values for drivers and VBIOSes. When any is named, or a GPU is asked
    /// for, every GPU that is sent must match one of each.
    pub reference_values: Vec<String>,
    /// Chips that are accepted, by `chip_serial`. Empty, the default: every genuine one.
    pub allowed_chips: BTreeSet<String>,
    /// Chips that are refused: NVIDIA publishes revocations online only.
    pub denied_chips: BTreeSet<String>,
}

impl GpuPolicy {
    /// Refuses values that cannot be meant.
    ///
    /// # Errors
    /// [`PolicyError::Value`].
    pub fn validate(&self) -> Result<(), PolicyError> {
        if let Some(name) = self.reference_values.iter().find(|name| !is_name(name)) {
            return Err(PolicyError::Value {
                key: "appraisal.gpu.reference_values",
                got: format!("{name:?}").chars().take(200).collect(),
                expected: "names of 1 to 128 characters of A-Z a-z 0-9 . _ -",
            });
        }
        if self.minimum_devices > 0 && self.reference_values.is_empty() {
            return Err(PolicyError::Value {
                key: "appraisal.gpu.reference_values",
                got: "empty".to_owned(),
                expected: "at least one driver and one VBIOS, since `minimum_devices` asks for GPUs",
            });
        }
        Ok(())
    }

    fn decides(&self) -> bool {
        *self != Self::default()
    }
}

/// Every reason against the GPUs of a guest.
pub(super) fn appraise(
    devices: &[Verified<GpuClaims>],
    references: &[ReferenceValues],
    policy: &GpuPolicy,
    reasons: &mut Vec<Reason>,
) {
    if !policy.decides() {
        return;
    }
    let wanted = usize::try_from(policy.minimum_devices).unwrap_or(usize::MAX);
    if devices.len() < wanted {
        reasons.push(Reason::new(
            "gpu.missing",
            "G6",
            "devices",
            (format!("at least {wanted}"), devices.len().to_string()),
            "send Evidence of every GPU in `additional_evidence`",
        ));
    }
    let mut seen = BTreeSet::new();
    for device in devices {
        let claims = device.get();
        if !seen.insert(&claims.chip_serial) {
            reasons.push(Reason::new(
                "gpu.twice",
                "G6",
                "chip",
                ("every chip once", claims.chip_serial.as_str()),
                "send each device's Evidence once",
            ));
        }
        chip(claims, policy, reasons);
        measurements(claims, references, policy, reasons);
    }
}

fn chip(claims: &GpuClaims, policy: &GpuPolicy, reasons: &mut Vec<Reason>) {
    let serial = &claims.chip_serial;
    if policy.denied_chips.contains(serial) {
        reasons.push(Reason::new(
            "gpu.chip.denied",
            "G6",
            "chip",
            ("a chip that is not denied", serial.as_str()),
            "take this device out of service; it is in the policy's `denied_chips`",
        ));
    }
    if !policy.allowed_chips.is_empty() && !policy.allowed_chips.contains(serial) {
        reasons.push(Reason::new(
            "gpu.chip.not-allowed",
            "G6",
            "chip",
            (joined(policy.allowed_chips.iter()), serial.as_str()),
            "if this device is yours, add it to the policy's `allowed_chips`",
        ));
    }
}

/// One driver set and one VBIOS set of the device's versions, all of whose measurements match.
fn measurements(
    claims: &GpuClaims,
    references: &[ReferenceValues],
    policy: &GpuPolicy,
    reasons: &mut Vec<Reason>,
) {
    let named = |component: GpuComponent, version: &str| {
        references.iter().find_map(|set| match set {
            ReferenceValues::Nvidia(set)
                if set.component == component
                    && set.version.eq_ignore_ascii_case(version)
                    && policy.reference_values.contains(&set.name) =>
            {
                Some(set)
            }
            _ => None,
        })
    };
    let parts = [
        (GpuComponent::Driver, &claims.driver_version, "gpu.driver.unknown"),
        (GpuComponent::Vbios, &claims.vbios_version, "gpu.vbios.unknown"),
    ];
    let mut sets: Vec<&NvidiaReferenceValues> = Vec::new();
    for (component, version, code) in parts {
        match named(component, version) {
            Some(set) => sets.push(set),
            None => reasons.push(Reason::new(
                code,
                "G6",
                component.as_str(),
                (
                    format!("a version of the named sets ({})", policy.reference_values.join(", ")),
                    version.as_str(),
                ),
                "fetch NVIDIA's manifest for this version, convert it with `adyton reference-values \
                 from-rim`, add it and name it in the policy's `gpu.reference_values`",
            )),
        }
    }
    let mut seen = BTreeSet::new();
    for (set, index, accepted) in
        sets.iter().flat_map(|set| set.by_index().map(move |(index, values)| (set, index, values)))
    {
        if !seen.insert(index) {
            reasons.push(Reason::new(
                "gpu.manifests.conflict",
                "G6",
                "manifests",
                ("each measurement in one manifest", format!("measurement {index} in both")),
                "the two manifests do not belong together; fetch both again",
            ));
            continue;
        }
        if index == NVDEC0_MEASUREMENT && claims.nvdec0 == Nvdec0::Disabled {
            continue;
        }
        let got = claims.measurements.get(index);
        if !got.is_some_and(|got| accepted.contains(got)) {
            reasons.push(Reason::new(
                "gpu.measurement",
                "G6",
                format!("measurement {index} ({})", set.component.as_str()),
                (
                    joined(accepted.iter()),
                    got.map_or_else(|| "no such measurement".to_owned(), ToString::to_string),
                ),
                "reset the device; if the difference stays, reinstall driver or VBIOS, or take the \
                 device out of service",
            ));
        }
    }
}
