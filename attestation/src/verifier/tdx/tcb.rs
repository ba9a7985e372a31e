//! How current the platform is (rung T8).
//!
//! The verification library matches the levels as Intel's does and gives the status; what is here
//! repeats the match to say *why* there is none, and in words of the platform's own versions.

use dcap_qvl::{TcbInfo, TcbLevel, TcbStatus as VendorStatus};

use crate::claims::TeeTcbSvn;
use crate::verifier::error::VerifyError;
use crate::verifier::tdx::Climb;
use crate::verifier::tdx::signatures::QeReport;

/// T8: a TCB level covers the platform, the vendor knows its TDX module, and neither is revoked.
pub(super) fn tcb_level(climb: &Climb<'_>) -> Result<(), VerifyError> {
    let body = &climb.evidence.quote().body;
    level_for(climb, body.tee_tcb_svn)?;
    if let Some(fields) = body.generation.td15() {
        level_for(climb, fields.tee_tcb_svn2)?;
    }
    module_identity(climb)?;

    let isvsvn = QeReport::read(&climb.evidence.quote().signature.qe_report).isvsvn;
    let mut levels = climb.endorsements.qe_identity().tcb_levels.iter();
    match levels.find(|level| level.tcb.isvsvn <= isvsvn) {
        Some(level) if level.tcb_status == VendorStatus::Revoked => Err(VerifyError::TcbRevoked),
        _ => Ok(()),
    }
}

fn level_for(climb: &Climb<'_>, svn: TeeTcbSvn) -> Result<(), VerifyError> {
    let info = climb.endorsements.tcb_info();
    let no_level = || VerifyError::NoMatchingTcbLevel {
        got: format!(
            "CPUSVN {}, PCESVN {}, TEE_TCB_SVN {svn}",
            hex::encode(climb.pck.cpu_svn),
            climb.pck.pce_svn
        ),
        evaluation: info.tcb_evaluation_data_number,
    };
    let level = sorted(info)
        .into_iter()
        .find(|level| {
            level
                .shortfalls(&climb.pck.cpu_svn, climb.pck.pce_svn, Some(&svn.0))
                .is_ok_and(|missing| missing.is_empty())
        })
        .ok_or_else(no_level)?;
    //= attestation/SPEC.md#1
    //# A Verifier MUST refuse `Revoked` and a platform that no TCB level covers, whatever a policy says.
    if level.tcb_status == VendorStatus::Revoked {
        return Err(VerifyError::TcbRevoked);
    }

    let Some(identity) = module(info, svn)? else {
        return Ok(());
    };
    let module_level =
        identity.tcb_levels.iter().find(|level| level.shortfall(&svn.0).is_none()).ok_or_else(
            || VerifyError::TdxModule {
                field: "ISVSVN",
                expected: identity
                    .tcb_levels
                    .iter()
                    .map(|level| level.tcb.isvsvn)
                    .min()
                    .map_or_else(|| "none is listed".into(), |lowest| format!("at least {lowest}")),
                got: svn.0[0].to_string(),
            },
        )?;
    if module_level.tcb_status == VendorStatus::Revoked {
        return Err(VerifyError::TcbRevoked);
    }
    Ok(())
}

/// The order in which Intel's library tries levels: highest versions first, whatever the file says.
fn sorted(info: &TcbInfo) -> Vec<&TcbLevel> {
    let mut levels: Vec<&TcbLevel> = info.tcb_levels.iter().collect();
    levels.sort_by(|a, b| {
        b.tcb
            .sgx_components
            .cmp(&a.tcb.sgx_components)
            .then_with(|| b.tcb.pce_svn.cmp(&a.tcb.pce_svn))
            .then_with(|| b.tcb.tdx_components.cmp(&a.tcb.tdx_components))
    });
    levels
}

fn module(
    info: &TcbInfo,
    svn: TeeTcbSvn,
) -> Result<Option<&dcap_qvl::tcb_info::TdxModuleIdentity>, VerifyError> {
    info.tdx_module_identity(&svn.0).map_err(|_| {
        let known: Vec<&str> =
            info.tdx_module_identities.iter().take(8).map(|module| module.id.as_str()).collect();
        VerifyError::TdxModule {
            field: "version",
            expected: known.join(", "),
            got: format!("TDX_{:02X}", svn.0[1]),
        }
    })
}

fn module_identity(climb: &Climb<'_>) -> Result<(), VerifyError> {
    let info = climb.endorsements.tcb_info();
    let body = &climb.evidence.quote().body;
    let (mrsigner, attributes, mask) = match module(info, body.tee_tcb_svn)? {
        Some(m) => (&m.mrsigner, &m.attributes, &m.attributes_mask),
        None => match &info.tdx_module {
            Some(m) => (&m.mrsigner, &m.attributes, &m.attributes_mask),
            None => {
                return Err(VerifyError::TdxModule {
                    field: "identity",
                    expected: "tdxModule in the TCB info".into(),
                    got: "none".into(),
                });
            }
        },
    };
    let got = body.mrsignerseam.to_string();
    if !mrsigner.eq_ignore_ascii_case(&got) {
        return Err(VerifyError::TdxModule {
            field: "MRSIGNERSEAM",
            expected: mrsigner.chars().take(96).collect(),
            got,
        });
    }
    let number = |text: &str| -> Option<u64> {
        let mut bytes = [0; 8];
        hex::decode_to_slice(text, &mut bytes).ok().map(|()| u64::from_le_bytes(bytes))
    };
    let seam = u64::from_le_bytes(body.seam_attributes);
    let fits = match (number(attributes), number(mask)) {
        (Some(attributes), Some(mask)) => seam & mask == attributes & mask && seam & !mask == 0,
        _ => false,
    };
    if !fits {
        return Err(VerifyError::TdxModule {
            field: "SEAMATTRIBUTES",
            expected: attributes.chars().take(16).collect(),
            got: hex::encode(body.seam_attributes),
        });
    }
    Ok(())
}
