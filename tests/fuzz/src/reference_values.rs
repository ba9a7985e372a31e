//! Reference Values, TOML.

use adyton_attestation::ReferenceValues;
use adyton_fake_tee::TdProfile;

use crate::genuine::TEE;

/// Parses; what is written again reads the same and has the same digest.
pub fn run(data: &[u8]) {
    let Some(values) = std::str::from_utf8(data)
        .ok()
        .and_then(|text| ReferenceValues::parse_toml(text).ok())
    else {
        return;
    };
    let again = ReferenceValues::parse_toml(&values.to_toml()).expect("our own text parses");
    assert_eq!(again, values);
    assert_eq!(again.digest(), values.digest());
}

/// The machine's values, and files with one thing wrong.
pub fn seeds() -> Vec<Vec<u8>> {
    let sound = TEE.reference_values(&TdProfile::default());
    let wrong = [
        sound.replace("tdx", "sample"),
        sound.replace("rtmr0", "rtmr9"),
        sound.replacen('"', "'", 2),
        format!("{sound}name = \"twice\"\n"),
    ];
    std::iter::once(sound).chain(wrong).map(String::into_bytes).collect()
}
