//! Verified claims as Trustee lays them out: the input of its policies, a part of its tokens.
//!
//! In: [`Claims`], what they are bound to. Out: a JSON object with `tdx`, `snp`, `az-snp-vtpm` or
//! `az-tdx-vtpm`, and beside it `report_data`, `runtime_data_claims` and `init_data`. Names and
//! encodings are those of Trustee's verifiers, so that its policies find what they look for; our own
//! names stand under `adyton`. A member that we have no claim for is left out, never filled in: a
//! rule that asks for it is then undefined, and undefined is no.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::claims::{AzureClaims, AzureHardwareClaims, Claims, SnpClaims, TdxClaims};
use crate::rcar::RuntimeData;

/// What the Evidence was bound to.
#[derive(Clone, Copy, Debug)]
pub struct TokenBinding<'a> {
    /// Nonce and TEE key.
    pub runtime_data: &'a RuntimeData,
    /// Digest of the init-data, when the guest sent them and the Evidence has it.
    pub init_data_digest: Option<&'a [u8]>,
}

/// The claims in Trustee's layout and what they are bound to.
#[must_use]
pub fn annotated_evidence(claims: &Claims, binding: &TokenBinding<'_>) -> Value {
    let mut all = annotated_claims(claims);
    if let Some(digest) = binding.init_data_digest {
        all.insert("init_data".to_owned(), json!(hex::encode(digest)));
    }
    let runtime = binding.runtime_data;
    all.insert(
        "runtime_data_claims".to_owned(),
        json!({
            "additional-evidence": "",
            "nonce": runtime.nonce,
            "tee-pubkey": runtime.tee_pubkey,
        }),
    );
    Value::Object(all)
}

/// The claims in Trustee's layout, with `adyton` for the claims in ours. For recorded Evidence, whose
/// nonce and key nobody knows.
#[must_use]
pub fn annotated_claims(claims: &Claims) -> Map<String, Value> {
    let mut all = Map::new();
    all.insert("report_data".to_owned(), json!(hex::encode(claims.report_data().0)));
    let shown = match claims {
        Claims::Tdx(claims) => tdx(claims),
        Claims::Snp(claims) => snp(claims),
        Claims::AzSnpVtpm(claims) | Claims::AzTdxVtpm(claims) => azure(claims),
    };
    all.insert(claims.tee().as_str().to_owned(), Value::Object(shown));
    let mut own = serde_json::to_value(claims).unwrap_or(Value::Null);
    if let Value::Object(members) = &mut own {
        members.remove("tee");
    }
    all.insert("adyton".to_owned(), own);
    all
}

/// As Trustee's TDX verifier: registers under `quote.body` in lower-case hex.
fn tdx(claims: &TdxClaims) -> Map<String, Value> {
    let attributes = claims.td_attributes.bits();
    let bit = |n: u32| attributes & (1 << n) != 0;
    let shown = json!({
        "quote": {
            // What rung T1 lets pass, and nothing else.
            "header": {
                "att_key_type": "0200",
                "tee_type": "81000000",
                "vendor_id": "939a7233f79c4ca9940a0db3957f0607",
            },
            "body": {
                "tcb_svn": claims.tee_tcb_svn,
                "mr_seam": claims.mrseam,
                "td_attributes": claims.td_attributes,
                "xfam": claims.xfam,
                "mr_td": claims.mrtd,
                "mr_config_id": claims.mrconfigid,
                "mr_owner": claims.mrowner,
                "mr_owner_config": claims.mrownerconfig,
                "rtmr_0": claims.rtmr0,
                "rtmr_1": claims.rtmr1,
                "rtmr_2": claims.rtmr2,
                "rtmr_3": claims.rtmr3,
                "report_data": hex::encode(claims.report_data.0),
            },
        },
        "td_attributes": {
            "debug": bit(0),
            "septve_disable": bit(28),
            "protection_keys": bit(30),
            "key_locker": bit(31),
            "perfmon": bit(63),
        },
        "tcb_status": claims.tcb_status,
        "advisory_ids": claims.advisory_ids,
        // Rungs T3 to T5 refuse expired collateral, so this is what is left.
        "collateral_expiration_status": "0",
    });
    object(shown)
}

/// As Trustee's SNP verifier: flat members that are text, as older policies want them, and typed ones
/// below `evidence` for newer policies.
fn snp(claims: &SnpClaims) -> Map<String, Value> {
    let (policy, platform, tcb) = (claims.policy, claims.platform_info, claims.reported_tcb);
    let text = |value: &dyn ToString| Value::String(value.to_string());
    object(json!({
        "policy_abi_major": text(&policy.abi_major()),
        "policy_abi_minor": text(&policy.abi_minor()),
        "policy_smt_allowed": text(&policy.smt_allowed()),
        "policy_migrate_ma": text(&policy.migrate_ma_allowed()),
        "policy_debug_allowed": text(&policy.debug_allowed()),
        "policy_single_socket": text(&policy.single_socket_required()),
        "reported_tcb_bootloader": text(&tcb.bootloader),
        "reported_tcb_tee": text(&tcb.tee),
        "reported_tcb_snp": text(&tcb.snp),
        "reported_tcb_microcode": text(&tcb.microcode),
        "platform_tsme_enabled": text(&platform.tsme_enabled()),
        "platform_smt_enabled": text(&platform.smt_enabled()),
        "measurement": STANDARD.encode(claims.measurement.0),
        "evidence": {
            "version": claims.report_version,
            "guest_svn": claims.guest_svn,
            "vmpl": claims.vmpl,
            "measurement": claims.measurement,
            "host_data": claims.host_data,
            "id_key_digest": claims.id_key_digest,
            "author_key_digest": claims.author_key_digest,
            "chip_id": claims.chip_id,
            "policy": {
                "abi_major": policy.abi_major(),
                "abi_minor": policy.abi_minor(),
                "smt_allowed": policy.smt_allowed(),
                "migrate_ma_allowed": policy.migrate_ma_allowed(),
                "debug_allowed": policy.debug_allowed(),
                "single_socket_required": policy.single_socket_required(),
            },
            "plat_info": {
                "smt_enabled": platform.smt_enabled(),
                "tsme_enabled": platform.tsme_enabled(),
            },
            "reported_tcb": {
                "bootloader": tcb.bootloader,
                "tee": tcb.tee,
                "snp": tcb.snp,
                "microcode": tcb.microcode,
            },
        },
    }))
}

/// As Trustee's Azure verifiers: the hardware's members, and `tpm` with the PCRs in hex.
fn azure(claims: &AzureClaims) -> Map<String, Value> {
    let mut shown = match &claims.hardware {
        AzureHardwareClaims::Snp(claims) => snp(claims),
        AzureHardwareClaims::Tdx(claims) => tdx(claims),
    };
    let pcrs = claims.pcrs.iter().enumerate();
    let pcrs: Map<String, Value> =
        pcrs.map(|(n, pcr)| (format!("pcr{n:02}"), json!(pcr.to_string()))).collect();
    shown.insert("tpm".to_owned(), Value::Object(pcrs));
    shown
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
