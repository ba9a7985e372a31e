//! `primary_evidence` of `az-snp-vtpm` and `az-tdx-vtpm`.

use adyton_attestation::evidence::azure::qualifying_data;
use adyton_attestation::{Evidence, Tee, UnixTime, replay};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::{Value, json};

use crate::genuine::{ANCHORS, ENDORSEMENTS, NOW, QUOTES, judge};
use crate::hcl_report::{snp_report, td_report, var_data, write};
use crate::tpm_structures::quote_over_all_pcrs;

/// Parses the bytes as JSON, and then as Evidence of both kinds. Nobody holds the key in the var-data
/// of any seed, so nothing may verify, and no record may pass rungs A1 and A2 both.
pub fn run(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    for tee in [Tee::AzSnpVtpm, Tee::AzTdxVtpm] {
        let Ok(evidence) = Evidence::parse_kbs(tee, &value) else {
            continue;
        };
        assert_eq!(evidence.tee(), tee);
        let Evidence::Azure(azure) = &evidence else { panic!("Azure Evidence") };
        let extra_data = &azure.quote().attest.extra_data;
        let report_data = evidence.report_data();
        assert_eq!(report_data.0[..extra_data.len()], extra_data[..]);
        assert!(report_data.0.starts_with(qualifying_data(&report_data)));
        assert!(judge(&evidence, &ENDORSEMENTS).is_err(), "nobody signed this");
        let ladder = replay(&evidence, &ENDORSEMENTS, &ANCHORS, UnixTime(NOW));
        assert!(!ladder.all_passed() && ladder.claims.is_none());
    }
}

/// Evidence of both versions and both kinds of hardware, and the oldest form.
pub fn seeds() -> Vec<Vec<u8>> {
    let var_data = var_data().to_string().into_bytes();
    let evidence = |version: u64, kind: u32, hardware: &[u8]| {
        json!({
            "version": version,
            "tpm_quote": {
                "message": hex::encode(quote_over_all_pcrs(vec![0x33; 32])),
                "signature": hex::encode([7; 256]),
                "pcrs": vec![hex::encode([0; 32]); 24],
            },
            "hcl_report": URL_SAFE.encode(write(2, kind, hardware, &var_data)),
            "td_quote": URL_SAFE.encode(&QUOTES[0]),
            "vcek": URL_SAFE.encode([0x30, 0x03, 0x02, 0x01, 0x00]),
        })
    };
    [
        evidence(2, 4, &td_report()),
        evidence(1, 4, &td_report()),
        evidence(2, 2, &snp_report()),
        json!({ "quote": { "message": [255, 84, 67, 71] }, "report": [72, 67, 76, 65], "vcek": "" }),
    ]
    .map(|value| value.to_string().into_bytes())
    .into()
}
