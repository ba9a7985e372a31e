//! A replayed event log as Trustee lays it out: `uefi_event_logs` beside the quote.
//!
//! In: [`EventLogClaims`], of which the registers prove digests and order. Out: for each event `index` (1 for
//! RTMR0), `digests`, `type_name`, `digest_matches_event`; and where the digest proves the content, `event`
//! (base64) and `details`. Trustee shows the content of all events; here a rule that asks for content which
//! nothing proves is undefined, and undefined is no. `type_name` is proven by nothing, with Trustee as here:
//! a rule that goes by it must compare the digest, too.

use adyton_attestation::claims::{
    ApplicationEvent, AzureHardwareClaims, Claims, EventClaim, EventContent, EventLogClaims, Rtmr,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// What a log of application events puts before each: the id, little-endian `AAEL`.
const APPLICATION_EVENT_ID: &[u8; 4] = b"LEAA";

const EV_POST_CODE: u32 = 0x1;
const EV_EFI_VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
const EV_EFI_VARIABLE_BOOT: u32 = 0x8000_0002;
const EV_EFI_ACTION: u32 = 0x8000_0007;
const EV_EFI_VARIABLE_AUTHORITY: u32 = 0x8000_00e0;

/// Adds the log to annotated Evidence, if the guest sent one.
pub(crate) fn add(evidence: &mut Value, claims: &Claims) {
    let log = match claims {
        Claims::Tdx(claims) => &claims.event_log,
        Claims::AzSnpVtpm(claims) | Claims::AzTdxVtpm(claims) => match &claims.hardware {
            AzureHardwareClaims::Tdx(claims) => &claims.event_log,
            AzureHardwareClaims::Snp(_) => return,
        },
        // SNP has no registers that could prove a log.
        _ => return,
    };
    let EventLogClaims::Replayed { events } = log else { return };
    let shown = evidence.get_mut(claims.tee().as_str()).and_then(Value::as_object_mut);
    if let Some(members) = shown {
        let events = events.iter().map(event).collect();
        members.insert("uefi_event_logs".to_owned(), Value::Array(events));
    }
}

fn event(claim: &EventClaim) -> Value {
    let data = match &claim.content {
        EventContent::Proven { data } => Some(data.clone()),
        EventContent::Application(event) => Some(tagged(event)),
        EventContent::Unproven | EventContent::TooLong { .. } => None,
    };
    let mut shown = Map::from_iter([
        ("index".to_owned(), json!(index(claim.register))),
        ("digests".to_owned(), json!([{ "alg": "SHA-384", "digest": claim.digest }])),
        (
            "digest_matches_event".to_owned(),
            json!(!matches!(claim.content, EventContent::Unproven)),
        ),
    ]);
    if let Some(name) = type_name(claim.alleged_type) {
        shown.insert("type_name".to_owned(), json!(name));
    }
    if let Some(data) = &data {
        shown.insert("event".to_owned(), json!(STANDARD.encode(data)));
    }
    if let Some(details) = details(claim) {
        shown.insert("details".to_owned(), details);
    }
    Value::Object(shown)
}

/// As in the CC event log: 0 would be MRTD.
fn index(register: Rtmr) -> u8 {
    match register {
        Rtmr::Rtmr0 => 1,
        Rtmr::Rtmr1 => 2,
        Rtmr::Rtmr2 => 3,
        Rtmr::Rtmr3 => 4,
    }
}

/// TCG's names (PC Client Platform Firmware Profile 1.06, table 14).
fn type_name(number: u32) -> Option<&'static str> {
    Some(match number {
        EV_POST_CODE => "EV_POST_CODE",
        0x4 => "EV_SEPARATOR",
        0x5 => "EV_ACTION",
        0x6 => "EV_EVENT_TAG",
        0x7 => "EV_S_CRTM_CONTENTS",
        0x8 => "EV_S_CRTM_VERSION",
        0x9 => "EV_CPU_MICROCODE",
        0xa => "EV_PLATFORM_CONFIG_FLAGS",
        0xb => "EV_TABLE_OF_DEVICES",
        0xc => "EV_COMPACT_HASH",
        0xd => "EV_IPL",
        EV_EFI_VARIABLE_DRIVER_CONFIG => "EV_EFI_VARIABLE_DRIVER_CONFIG",
        EV_EFI_VARIABLE_BOOT => "EV_EFI_VARIABLE_BOOT",
        0x8000_0003 => "EV_EFI_BOOT_SERVICES_APPLICATION",
        0x8000_0004 => "EV_EFI_BOOT_SERVICES_DRIVER",
        0x8000_0005 => "EV_EFI_RUNTIME_SERVICES_DRIVER",
        0x8000_0006 => "EV_EFI_GPT_EVENT",
        EV_EFI_ACTION => "EV_EFI_ACTION",
        0x8000_0008 => "EV_EFI_PLATFORM_FIRMWARE_BLOB",
        0x8000_0009 => "EV_EFI_HANDOFF_TABLES",
        0x8000_000a => "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
        0x8000_000b => "EV_EFI_HANDOFF_TABLES2",
        0x8000_000c => "EV_EFI_VARIABLE_BOOT2",
        EV_EFI_VARIABLE_AUTHORITY => "EV_EFI_VARIABLE_AUTHORITY",
        _ => return None,
    })
}

/// What the data say, where the digest proves them and their form is known.
fn details(claim: &EventClaim) -> Option<Value> {
    match &claim.content {
        EventContent::Application(event) => Some(json!({
            "string": text(event),
            "unicode_name": "AAEL",
            "data": {
                "domain": event.domain,
                "operation": event.operation,
                "content": event.content,
            },
        })),
        EventContent::Proven { data } => match claim.alleged_type {
            EV_POST_CODE | EV_EFI_ACTION => {
                let text = std::str::from_utf8(data).ok()?.trim_end_matches('\0');
                Some(json!({ "string": text }))
            }
            EV_EFI_VARIABLE_DRIVER_CONFIG | EV_EFI_VARIABLE_BOOT | EV_EFI_VARIABLE_AUTHORITY => {
                variable(data)
            }
            _ => None,
        },
        EventContent::Unproven | EventContent::TooLong { .. } => None,
    }
}

/// UEFI_VARIABLE_DATA (TCG PC Client Platform Firmware Profile 1.06, 10.2.6): GUID, length of the name in
/// characters, length of the data, name in UTF-16, data. Nothing may be left over.
fn variable(bytes: &[u8]) -> Option<Value> {
    let (guid, rest) = bytes.split_first_chunk::<16>()?;
    let (characters, rest) = rest.split_first_chunk::<8>()?;
    let (len, rest) = rest.split_first_chunk::<8>()?;
    let characters = usize::try_from(u64::from_le_bytes(*characters)).ok()?;
    let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
    let (name, data) = rest.split_at_checked(characters.checked_mul(2)?)?;
    if data.len() != len {
        return None;
    }
    let units: Vec<u16> = name
        .chunks_exact(2)
        .map(|pair| pair.iter().rev().fold(0, |n, b| n << 8 | u16::from(*b)))
        .collect();
    let guid = hex::encode(guid);
    // Trustee writes the 16 bytes in their order, with the dashes of a GUID.
    let parts =
        [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| guid.get(range).unwrap_or_default());
    Some(json!({
        "unicode_name": String::from_utf16(&units).ok()?,
        "unicode_name_length": characters,
        "variable_data": STANDARD.encode(data),
        "variable_data_length": len,
        "variable_name": parts.join("-"),
    }))
}

fn text(event: &ApplicationEvent) -> String {
    format!("{} {} {}", event.domain, event.operation, event.content)
}

/// The event's data as they were hashed.
fn tagged(event: &ApplicationEvent) -> Vec<u8> {
    let text = text(event);
    let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
    [APPLICATION_EVENT_ID.as_slice(), &len.to_le_bytes(), text.as_bytes()].concat()
}
