//! Puts the defects into the parts: before signing where the signer is to sign them, else after.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::azure::hcl::{HARDWARE_REPORT, REQUEST_DATA, VAR_DATA};
use crate::azure::profile::{AzureProfile, QuoteSigner};
use crate::azure::{AzureFault, tpm};
use crate::keys::{sha256, sha384};
use crate::{ATTRIBUTE_DEBUG, Fault, SnpFault};

const SHA1_BANK: [u8; 6] = [0x00, 0x04, 3, 0xff, 0xff, 0xff];

/// Defects in what a part says; all signatures are made over them.
pub(super) fn profile(says: &mut AzureProfile, fault: AzureFault) {
    use AzureFault as F;
    match fault {
        F::Version => says.version = 3,
        F::OldVersion => says.version = 1,
        F::HardwareOfOtherVarData => says.hardware_data = Some([0; 64]),
        F::TdReportOfOtherVarData => says.td_report_data = Some([0; 64]),
        F::HardwareDataTail => says.hardware_data = Some(commitment_with_tail(says)),
        F::TdReportDataTail => says.td_report_data = Some(commitment_with_tail(says)),
        F::SnpReportOfOtherKey => says.snp_fault = Some(SnpFault::OtherKey),
        F::VcekOfOtherChip => says.snp_fault = Some(SnpFault::OtherChip),
        F::DebugGuest => says.snp_fault = Some(SnpFault::Debug),
        F::TdOfOtherRoot => says.td_faults = vec![Fault::OtherRoot],
        F::DebugTd => says.td.td_attributes |= ATTRIBUTE_DEBUG,
        F::ParavisorTd => says.td.td_attributes = 0,
        F::OtherKey | F::ReplacedKey => says.signer = QuoteSigner::OtherKey,
        F::OtherHash => says.signer = QuoteSigner::OtherHash,
        F::OtherPadding => says.signer = QuoteSigner::OtherPadding,
        F::Magic => says.magic ^= 0xff,
        F::AttestType => says.attest_type = 0x8017,
        F::OversizedExtraData => says.extra_data.resize(65, 0),
        F::NoSelection => says.selections.clear(),
        F::PcrLeftOut => says.selections[0][5] = 0xfe,
        F::ShortBitmap => says.selections[0] = vec![0x00, 0x0b, 2, 0xff, 0xff],
        F::LongBitmap => says.selections[0] = vec![0x00, 0x0b, 4, 0xff, 0xff, 0xff, 0],
        F::Sha1Bank => says.selections[0] = SHA1_BANK.to_vec(),
        F::SecondBank => says.selections.push(SHA1_BANK.to_vec()),
        F::BankTwice => says.selections.push(says.selections[0].clone()),
        F::OtherPcrDigest => says.pcr_digest = Some(vec![0; 32]),
        F::LongPcrDigest => {
            let digest = sha256(says.pcrs.as_flattened());
            says.pcr_digest = Some([&digest[..], &[0]].concat());
        }
        F::NoUserData => says.user_data = None,
        F::EmptyUserData => says.user_data = Some(Vec::new()),
        F::ShortUserData => says.user_data = Some(says.extra_data[1..].to_vec()),
        F::OtherUserData => says.user_data = Some(vec![0xa5; 64]),
        F::EmptyExtraData => says.extra_data.clear(),
        F::OtherChallenge => other_challenge(says, 0),
        F::OtherChallengeEnd => other_challenge(says, says.extra_data.len() - 1),
        F::ShortExtraData => {
            says.extra_data.pop();
        }
        F::PaddedExtraData => says.extra_data.resize(64, 0),
        F::OtherParavisor => {
            says.td.mrtd = sha384(b"another paravisor");
            says.snp.measurement = says.td.mrtd;
        }
        F::OtherBootLoader => says.pcrs[4] = [0xb0; 32],
        F::OtherLastPcr => says.pcrs[15] = [0xb0; 32],
        F::ExtendedRtmr => says.td.rtmrs[2] = sha384(b"extended"),
        _ => {}
    }
}

/// The right digest of the var-data, and something in the tail that has to be zero.
fn commitment_with_tail(says: &AzureProfile) -> [u8; 64] {
    let mut data = [0; 64];
    data[..32].copy_from_slice(&sha256(&says.var_data()));
    data[63] = 1;
    data
}

/// Quote and user data agree, over something that nobody asked for.
fn other_challenge(says: &mut AzureProfile, at: usize) {
    says.extra_data[at] ^= 1;
    if let Some(user_data) = &mut says.user_data {
        user_data[at] ^= 1;
    }
}

/// Defects in the var-data; the hardware commits to them.
pub(super) fn var_data(bytes: &mut Vec<u8>, fault: AzureFault) {
    use AzureFault as F;
    if fault == F::VarDataNotJson {
        *bytes = b"no JSON".to_vec();
        return;
    }
    let mut json: Value = serde_json::from_slice(bytes).expect("the var-data are JSON");
    let sound = json.clone();
    let key = &mut json["keys"][0];
    let mut modulus = tpm::attestation_modulus();
    match fault {
        F::NoAttestationKey => key["kid"] = "HCLEkPub".into(),
        F::AttestationKeyNotRsa => key["kty"] = "EC".into(),
        F::OtherExponent => key["e"] = "Aw".into(),
        F::ShortModulus => key["n"] = URL_SAFE_NO_PAD.encode(&modulus[1..]).into(),
        F::SmallModulus => {
            modulus[0] &= 0x7f;
            key["n"] = URL_SAFE_NO_PAD.encode(modulus).into();
        }
        F::TwoAttestationKeys => json["keys"] = json!([sound["keys"][0], sound["keys"][0]]),
        F::TooManyKeys => {
            let mut keys = vec![sound["keys"][0].clone()];
            keys.resize(17, json!({ "kid": "HCLEkPub", "kty": "RSA" }));
            json["keys"] = keys.into();
        }
        F::UserDataNotHex => json["user-data"] = "no hex".into(),
        _ => {}
    }
    if json != sound {
        *bytes = json.to_string().into_bytes();
    }
}

/// Defects in TPMS_ATTEST that the vTPM signs.
pub(super) fn message(bytes: &mut Vec<u8>, fault: AzureFault) {
    match fault {
        // Behind magic, type, a name of 34 bytes, 48 bytes of qualifying data, clock and two counters.
        AzureFault::ClockSafe => bytes[4 + 2 + 36 + 50 + 16] = 2,
        AzureFault::TruncatedMessage => bytes.truncate(bytes.len() - 1),
        AzureFault::LongMessage => bytes.push(0),
        AzureFault::OversizedMessage => bytes.resize(1100, 0),
        _ => {}
    }
}

/// Defects that come after every signature.
pub(super) fn evidence(json: &mut Value, fault: AzureFault) {
    use AzureFault as F;
    let quote = &mut json["tpm_quote"];
    match fault {
        F::NoQuote => *quote = Value::Null,
        F::MessageNotHex => quote["message"] = "no hex".into(),
        F::ShortPcr => quote["pcrs"][7] = hex::encode([0; 31]).into(),
        F::FlippedMessage => edit_hex(&mut quote["message"], |bytes| {
            // The last byte of firmwareVersion, which nothing else depends on.
            bytes[4 + 2 + 36 + 50 + 17 + 7] ^= 1;
        }),
        F::FlippedSignature => edit_hex(&mut quote["signature"], |bytes| bytes[255] ^= 1),
        F::ShortSignature => edit_hex(&mut quote["signature"], |bytes| bytes.truncate(255)),
        F::SwappedPcrs => quote["pcrs"].as_array_mut().expect("a list").swap(4, 5),
        F::ReplacedPcr => quote["pcrs"][4] = hex::encode([0xb0; 32]).into(),
        F::PcrMissing => {
            quote["pcrs"].as_array_mut().expect("a list").pop();
        }
        F::PcrAdded => {
            quote["pcrs"].as_array_mut().expect("a list").push(hex::encode([0; 32]).into());
        }
        F::OldestForm => {
            json.as_object_mut().expect("an object").remove("version");
        }
        F::NoVcek => json["vcek"] = Value::Null,
        F::NoTdQuote => json["td_quote"] = Value::Null,
        F::HclNotBase64Url => {
            // Some group of four letters of both alphabets differs.
            let bytes = [hcl_bytes(json), vec![0xff; 3]].concat();
            json["hcl_report"] = STANDARD.encode(bytes).into();
        }
        _ => {
            let sound = hcl_bytes(json);
            let mut bytes = sound.clone();
            hcl(&mut bytes, fault);
            if bytes != sound {
                json["hcl_report"] = URL_SAFE.encode(bytes).into();
            }
        }
    }
}

fn edit_hex(text: &mut Value, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = hex::decode(text.as_str().expect("text")).expect("hex");
    edit(&mut bytes);
    *text = hex::encode(bytes).into();
}

fn hcl_bytes(evidence: &Value) -> Vec<u8> {
    URL_SAFE.decode(evidence["hcl_report"].as_str().expect("text")).expect("base64url")
}

/// Defects in the HCL report, of which nobody signs anything but hardware report and var-data.
fn hcl(bytes: &mut Vec<u8>, fault: AzureFault) {
    use AzureFault as F;
    let mut put = |offset: usize, number: u32| {
        bytes[offset..offset + 4].copy_from_slice(&number.to_le_bytes());
    };
    match fault {
        F::HclMagic => bytes[0] = b'h',
        F::HclVersion => put(0x04, 3),
        F::HclReportSize => bytes[0x08] ^= 1,
        F::HclRequestType => put(0x0c, 1),
        F::HclStatus => bytes[0x10] = 1,
        F::HclReserved => bytes[0x1f] = 1,
        F::TdReportType => bytes[HARDWARE_REPORT] = 0,
        F::HclGap => bytes[REQUEST_DATA - 1] = 1,
        F::RequestDataSize => bytes[REQUEST_DATA] ^= 1,
        F::RequestDataVersion => put(REQUEST_DATA + 4, 2),
        F::ReportType => put(REQUEST_DATA + 8, 3),
        F::TdxCalledSnp => put(REQUEST_DATA + 8, 2),
        F::SnpCalledTdx => put(REQUEST_DATA + 8, 4),
        F::HashType => put(REQUEST_DATA + 12, 2),
        F::VarDataLengthLies => {
            put(REQUEST_DATA, 0x1_0014);
            put(REQUEST_DATA + 16, 0x1_0000);
        }
        F::TruncatedHcl => bytes.truncate(REQUEST_DATA + 6),
        F::OversizedHcl => bytes.resize(5000, 0),
        F::HclTail => {
            if let Some(last) = bytes.last_mut() {
                *last = 1;
            }
        }
        F::ChangedVarData => replace(bytes, b"\"A2\"", b"\"A3\""),
        F::ReplacedKey => {
            let text = |modulus: Vec<u8>| URL_SAFE_NO_PAD.encode(modulus).into_bytes();
            replace(bytes, &text(tpm::attestation_modulus()), &text(tpm::other_modulus()));
        }
        _ => {}
    }
}

/// Replaces a part of the var-data with one of the same length.
fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let mut windows = bytes[VAR_DATA..].windows(from.len());
    let at = VAR_DATA + windows.position(|window| window == from).expect("what the var-data state");
    bytes[at..at + from.len()].copy_from_slice(to);
}
