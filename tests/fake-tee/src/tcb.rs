//! The simulated vendor's statements about platforms: TCB info and QE identity.
//!
//! Role: Endorser. Out: the exact JSON text that gets signed, in Intel's member order ("Get TDX
//! TCB Info V3" and "Get TD QE Identity V4" of the provisioning certification service API). The
//! levels are few, and chosen so that one byte of an SVN moves the platform to each status.

use serde::Serialize;

use crate::pki::Window;

/// Family, model, stepping and so on of the one simulated machine.
pub(crate) const FMSPC: [u8; 6] = [0xfa, 0x4e, 0x6f, 0x00, 0x00, 0x00];
/// An FMSPC that the machine does not have.
pub(crate) const OTHER_FMSPC: [u8; 6] = [0xfa, 0x4e, 0x70, 0x00, 0x00, 0x00];
/// Id of the provisioning certification enclave; Intel only ever used 0.
pub(crate) const PCE_ID: [u8; 2] = [0, 0];
/// Number of the vendor's TCB recovery that the statements belong to.
const TCB_EVALUATION_DATA_NUMBER: u32 = 20;

/// SGX component SVNs of the simulated machine.
pub(crate) const COMPONENT_SVNS: [u8; 16] = [4, 4, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0];
/// PCE SVN of the simulated machine.
pub(crate) const PCE_SVN: u8 = 13;
/// TEE_TCB_SVN of an up-to-date TD: module ISVSVN, module version, microcode.
pub(crate) const TEE_TCB_SVN: [u8; 16] = [7, 1, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Module ISVSVN at an OutOfDate level of the module's identity.
pub(crate) const STALE_MODULE_SVN: u8 = 4;
/// Module version without an identity.
pub(crate) const UNKNOWN_MODULE_VERSION: u8 = 9;
/// Microcode SVN at the OutOfDate level.
pub(crate) const STALE_SVN: u8 = 4;
/// Microcode SVN at the Revoked level.
pub(crate) const REVOKED_SVN: u8 = 2;
/// Microcode SVN below every level.
pub(crate) const LEVELLESS_SVN: u8 = 1;

/// MRSIGNER of the simulated Quoting Enclave.
pub(crate) const QE_MRSIGNER: [u8; 32] = *b"adyton-fake-tee quoting enclave!";
/// ISVPRODID of a TD Quoting Enclave.
pub(crate) const QE_PRODUCT: u16 = 2;
/// ISVSVN of the up-to-date Quoting Enclave.
pub(crate) const QE_SVN: u16 = 4;
/// ISVSVN at the OutOfDate level.
pub(crate) const STALE_QE_SVN: u16 = 3;
/// ISVSVN below every level.
pub(crate) const ANCIENT_QE_SVN: u16 = 1;
/// SGX attributes: initialised, 64-bit, provisioning key; DEBUG is bit 1.
pub(crate) const QE_ATTRIBUTES: [u8; 16] = [0x15, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0, 0, 0, 0, 0, 0, 0];

const LATEST: &str = "2026-08-12T00:00:00Z";
const OLDER: &str = "2025-02-12T00:00:00Z";
const OLDEST: &str = "2023-08-09T00:00:00Z";
const ADVISORIES: &[&str] = &["INTEL-SA-00001", "INTEL-SA-00002"];

/// Which statement to make instead of the true one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TcbInfoSubject {
    /// "TDX", or "SGX" for a statement about the other TEE.
    pub(crate) id: &'static str,
    pub(crate) fmspc: [u8; 6],
    pub(crate) pce_id: [u8; 2],
}

/// TCB info, version 3.
pub(crate) fn tcb_info_json(subject: TcbInfoSubject, window: Window) -> String {
    let zero_signer = "0".repeat(96);
    let module = |id: Option<&'static str>, tcb_levels| Module {
        id,
        mrsigner: zero_signer.clone(),
        attributes: "0".repeat(16),
        attributes_mask: "F".repeat(16),
        tcb_levels,
    };
    let info = TcbInfo {
        id: subject.id,
        version: 3,
        issue_date: date(window.issued),
        next_update: date(window.expires),
        fmspc: hex::encode_upper(subject.fmspc),
        pce_id: hex::encode_upper(subject.pce_id),
        tcb_type: 0,
        tcb_evaluation_data_number: TCB_EVALUATION_DATA_NUMBER,
        tdx_module: module(None, None),
        tdx_module_identities: vec![
            module(
                Some("TDX_03"),
                Some(vec![isv_level(5, LATEST, "UpToDate"), isv_level(3, OLDER, "OutOfDate")]),
            ),
            module(
                Some("TDX_01"),
                Some(vec![
                    isv_level(TEE_TCB_SVN[0].into(), LATEST, "UpToDate"),
                    isv_level(STALE_MODULE_SVN.into(), OLDER, "OutOfDate"),
                    isv_level(2, OLDEST, "Revoked"),
                ]),
            ),
        ],
        tcb_levels: vec![
            level(TEE_TCB_SVN[2], LATEST, "UpToDate", &[]),
            level(STALE_SVN, OLDER, "OutOfDate", ADVISORIES),
            level(REVOKED_SVN, OLDEST, "Revoked", ADVISORIES),
        ],
    };
    serde_json::to_string(&info).expect("strings and numbers serialise")
}

/// QE identity, version 2. `id` is "TD_QE", or "QE" for the SGX enclave's.
pub(crate) fn qe_identity_json(id: &'static str, window: Window) -> String {
    let identity = QeIdentity {
        id,
        version: 2,
        issue_date: date(window.issued),
        next_update: date(window.expires),
        tcb_evaluation_data_number: TCB_EVALUATION_DATA_NUMBER,
        miscselect: "00000000",
        miscselect_mask: "FFFFFFFF",
        attributes: "11000000000000000000000000000000",
        attributes_mask: "FBFFFFFFFFFFFFFF0000000000000000",
        mrsigner: hex::encode_upper(QE_MRSIGNER),
        isvprodid: QE_PRODUCT,
        tcb_levels: vec![
            isv_level(QE_SVN, LATEST, "UpToDate"),
            isv_level(STALE_QE_SVN, OLDER, "OutOfDate"),
            isv_level(STALE_QE_SVN - 1, OLDEST, "Revoked"),
        ],
    };
    serde_json::to_string(&identity).expect("strings and numbers serialise")
}

/// RFC 3339 in UTC with whole seconds, as Intel writes dates.
pub(crate) fn date(unix_seconds: u64) -> String {
    let seconds = i64::try_from(unix_seconds).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX).to_string()
}

fn isv_level(isvsvn: u16, tcb_date: &'static str, tcb_status: &'static str) -> IsvLevel {
    IsvLevel { tcb: IsvTcb { isvsvn }, tcb_date, tcb_status }
}

/// A platform level that only the third TDX component tells from the others.
fn level(
    microcode: u8,
    tcb_date: &'static str,
    tcb_status: &'static str,
    advisory_ids: &'static [&'static str],
) -> Level {
    let mut tdx = [0; 16];
    tdx[0] = TEE_TCB_SVN[0];
    tdx[2] = microcode;
    Level {
        tcb: LevelTcb {
            sgxtcbcomponents: COMPONENT_SVNS.map(|svn| Component { svn }),
            pcesvn: PCE_SVN.into(),
            tdxtcbcomponents: tdx.map(|svn| Component { svn }),
        },
        tcb_date,
        tcb_status,
        advisory_ids,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TcbInfo {
    id: &'static str,
    version: u8,
    issue_date: String,
    next_update: String,
    fmspc: String,
    pce_id: String,
    tcb_type: u8,
    tcb_evaluation_data_number: u32,
    tdx_module: Module,
    tdx_module_identities: Vec<Module>,
    tcb_levels: Vec<Level>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Module {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'static str>,
    mrsigner: String,
    attributes: String,
    attributes_mask: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcb_levels: Option<Vec<IsvLevel>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IsvLevel {
    tcb: IsvTcb,
    tcb_date: &'static str,
    tcb_status: &'static str,
}

#[derive(Serialize)]
struct IsvTcb {
    isvsvn: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Level {
    tcb: LevelTcb,
    tcb_date: &'static str,
    tcb_status: &'static str,
    #[serde(rename = "advisoryIDs", skip_serializing_if = "<[_]>::is_empty")]
    advisory_ids: &'static [&'static str],
}

#[derive(Serialize)]
struct LevelTcb {
    sgxtcbcomponents: [Component; 16],
    pcesvn: u16,
    tdxtcbcomponents: [Component; 16],
}

#[derive(Serialize)]
struct Component {
    svn: u8,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QeIdentity {
    id: &'static str,
    version: u8,
    issue_date: String,
    next_update: String,
    tcb_evaluation_data_number: u32,
    miscselect: &'static str,
    miscselect_mask: &'static str,
    attributes: &'static str,
    attributes_mask: &'static str,
    mrsigner: String,
    isvprodid: u16,
    tcb_levels: Vec<IsvLevel>,
}
