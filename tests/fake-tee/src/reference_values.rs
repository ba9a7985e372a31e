//! The values that an owner would record for a simulated TD.
//!
//! Role: Reference Value Provider (RFC 9334 §4.1). In: [`TdProfile`]. Out: one named set, TOML.

use serde::Serialize;

use crate::profile::TdProfile;

/// One set, in the member order of the file.
#[derive(Serialize)]
struct ReferenceValues<'a> {
    name: &'a str,
    tee: &'static str,
    mrtd: [String; 1],
    rtmr0: [String; 1],
    rtmr1: [String; 1],
    rtmr2: [String; 1],
    rtmr3: [String; 1],
    mrconfigid: [String; 1],
}

/// The reference values of `profile`.
pub(crate) fn to_toml(profile: &TdProfile) -> String {
    let [rtmr0, rtmr1, rtmr2, rtmr3] = profile.rtmrs.map(|rtmr| [hex::encode(rtmr)]);
    let values = ReferenceValues {
        name: &profile.name,
        tee: "tdx",
        mrtd: [hex::encode(profile.mrtd)],
        rtmr0,
        rtmr1,
        rtmr2,
        rtmr3,
        mrconfigid: [hex::encode(profile.mrconfigid)],
    };
    let body = toml::to_string(&values).expect("strings serialise");
    format!("# Reference values of a simulated TD. They prove nothing about real hardware.\n{body}")
}
