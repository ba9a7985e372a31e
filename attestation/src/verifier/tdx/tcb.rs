//! How current the platform is (rung T8).
//!
//! In: the platform's security versions from the PCK certificate, those of the TDX module from the
//! quote, that of the quoting enclave from its report; the levels of TCB info and QE identity. Out:
//! [`TcbVerdict`], or why there is none. Whether a status is acceptable is the appraisal's question.
//! Intel PCS API v4, "Determining TCB status", and Intel TDX DCAP quote verification library.
//!
//! ```text
//!  CPUSVN PCESVN TEE_TCB_SVN[2..]  ─► level of the platform ─┐
//!  TEE_TCB_SVN[0] of module [1]    ─► level of the module   ─┤ worse of the three
//!  ISVSVN of the quoting enclave   ─► level of the QE       ─┘        │
//!  the same with TEE_TCB_SVN2 (TDX 1.5) ─► current status ────────────┴─► relaunch advised?
//! ```

use crate::claims::{TcbStatus, TeeTcbSvn};
use crate::endorsement::intel::{
    IsvLevel, LevelStatus, ModuleIdentity, Tcb, TcbInfo, TcbLevel, TdxModule,
};
use crate::unix_time::UnixTime;
use crate::verifier::error::VerifyError;
use crate::verifier::tdx::Climb;
use crate::verifier::tdx::signatures::QeReport;

/// What the vendor says of the platform as it is.
pub(super) struct TcbVerdict {
    pub(super) status: TcbStatus,
    /// Of every level that was matched, sorted.
    pub(super) advisory_ids: Vec<String>,
    /// The oldest `tcbDate` of the levels that were matched.
    pub(super) tcb_date: UnixTime,
}

/// T8: a TCB level covers the platform, the vendor knows its TDX module, and nothing is revoked.
pub(super) fn verdict(climb: &Climb<'_>) -> Result<TcbVerdict, VerifyError> {
    let body = &climb.evidence.quote().body;
    let qe = qe_level(climb)?;
    let launch = matched(climb, body.tee_tcb_svn, qe)?;
    // A module update under a running TD moves TEE_TCB_SVN2 on; TEE_TCB_SVN stays that of the launch.
    let current = match body.generation.td15() {
        Some(fields) => Some(matched(climb, fields.tee_tcb_svn2, qe)?),
        None => None,
    };
    module_identity(climb)?;

    let levels = || [Some(&launch), current.as_ref()].into_iter().flatten();
    let mut advisory_ids: Vec<String> =
        levels().flat_map(|level| level.advisory_ids()).chain(&qe.advisory_ids).cloned().collect();
    advisory_ids.sort();
    advisory_ids.dedup();
    let dates = levels().map(Matched::tcb_date).chain([qe.tcb_date]);
    let status = match &current {
        Some(current) => relaunched(launch.status, current.status),
        None => launch.status,
    };
    Ok(TcbVerdict { status, advisory_ids, tcb_date: dates.min().unwrap_or(qe.tcb_date) })
}

/// The levels for one set of module versions, and the status that follows.
struct Matched<'a> {
    platform: &'a TcbLevel,
    module: Option<&'a IsvLevel>,
    status: TcbStatus,
}

impl<'a> Matched<'a> {
    fn advisory_ids(&self) -> impl Iterator<Item = &'a String> + use<'a> {
        let module = self.module.map(|level| level.advisory_ids.as_slice()).unwrap_or_default();
        self.platform.advisory_ids.iter().chain(module)
    }

    fn tcb_date(&self) -> UnixTime {
        let platform = self.platform.tcb_date;
        self.module.map_or(platform, |level| level.tcb_date.min(platform))
    }
}

fn matched<'a>(
    climb: &Climb<'a>,
    svn: TeeTcbSvn,
    qe: &IsvLevel,
) -> Result<Matched<'a>, VerifyError> {
    let info = &climb.endorsements.tcb_info().parsed;
    let platform = platform_level(climb, info, svn)?;
    let module = match module(info, svn)? {
        Some(module) => Some(module_level(module, svn)?),
        None => None,
    };
    let mut status = unrevoked(platform.tcb_status)?;
    for component in module.into_iter().chain([qe]) {
        status = with_component(status, component.tcb_status)?;
    }
    Ok(Matched { platform, module, status })
}

fn platform_level<'a>(
    climb: &Climb<'_>,
    info: &'a TcbInfo,
    svn: TeeTcbSvn,
) -> Result<&'a TcbLevel, VerifyError> {
    let platform = &climb.pck.platform;
    let covers = |level: &&TcbLevel| covers(&level.tcb, &platform.cpu_svn, platform.pce_svn, svn);
    info.tcb_levels.iter().find(covers).ok_or_else(|| VerifyError::NoMatchingTcbLevel {
        got: format!(
            "CPUSVN {}, PCESVN {}, TEE_TCB_SVN {svn}",
            hex::encode(platform.cpu_svn),
            platform.pce_svn
        ),
        evaluation: info.tcb_evaluation_data_number,
    })
}

/// Whether a platform has every version that a level needs.
fn covers(level: &Tcb, cpu_svn: &[u8; 16], pce_svn: u16, svn: TeeTcbSvn) -> bool {
    // Versions 0 and 1 of TEE_TCB_SVN are the module's own, and are judged by its identity when the
    // major version (1) says that there is one.
    let first_component = if svn.0[1] > 0 { 2 } else { 0 };
    let at_least = |have: &[u8], need: &[u8]| have.iter().zip(need).all(|(h, n)| h >= n);
    at_least(cpu_svn, &level.sgx)
        && pce_svn >= level.pce_svn
        && level.tdx.is_some_and(|tdx| at_least(&svn.0[first_component..], &tdx[first_component..]))
}

/// The module that TEE_TCB_SVN names; `None` for version 0, which has no identity of its own.
fn module(info: &TcbInfo, svn: TeeTcbSvn) -> Result<Option<&TdxModule>, VerifyError> {
    let version = svn.0[1];
    if version == 0 {
        return Ok(None);
    }
    let id = format!("TDX_{version:02X}");
    let found = info.tdx_module_identities.iter().find(|m| m.id.eq_ignore_ascii_case(&id));
    found.map(Some).ok_or_else(|| {
        let known = info.tdx_module_identities.iter().take(8);
        VerifyError::TdxModule {
            field: "version",
            expected: known.map(|module| shortened(&module.id)).collect::<Vec<_>>().join(", "),
            got: id,
        }
    })
}

fn module_level(module: &TdxModule, svn: TeeTcbSvn) -> Result<&IsvLevel, VerifyError> {
    let isvsvn = u16::from(svn.0[0]);
    isv_level(&module.tcb_levels, isvsvn).ok_or_else(|| VerifyError::TdxModule {
        field: "ISVSVN",
        expected: lowest(&module.tcb_levels),
        got: isvsvn.to_string(),
    })
}

fn qe_level<'a>(climb: &Climb<'a>) -> Result<&'a IsvLevel, VerifyError> {
    let isvsvn = QeReport::read(&climb.evidence.quote().signature.qe_report).isvsvn;
    let levels = &climb.endorsements.qe_identity().parsed.tcb_levels;
    isv_level(levels, isvsvn).ok_or_else(|| VerifyError::QeIdentity {
        field: "ISVSVN",
        expected: lowest(levels),
        got: isvsvn.to_string(),
    })
}

/// The first level in the file's order that is met, as in Intel's library.
pub(super) fn isv_level(levels: &[IsvLevel], isvsvn: u16) -> Option<&IsvLevel> {
    levels.iter().find(|level| level.tcb.isvsvn <= isvsvn)
}

/// The lowest version that any level admits, for people.
pub(super) fn lowest(levels: &[IsvLevel]) -> String {
    let lowest = levels.iter().map(|level| level.tcb.isvsvn).min();
    lowest.map_or_else(|| "none is listed".to_owned(), |svn| format!("at least {svn}"))
}

//= attestation/SPEC.md#1
//# A Verifier MUST refuse `Revoked` and a platform that no TCB level covers, whatever a policy says.
fn unrevoked(status: LevelStatus) -> Result<TcbStatus, VerifyError> {
    Ok(match status {
        LevelStatus::UpToDate => TcbStatus::UpToDate,
        LevelStatus::SwHardeningNeeded => TcbStatus::SwHardeningNeeded,
        LevelStatus::ConfigurationNeeded => TcbStatus::ConfigurationNeeded,
        LevelStatus::ConfigurationAndSwHardeningNeeded => {
            TcbStatus::ConfigurationAndSwHardeningNeeded
        }
        LevelStatus::OutOfDate => TcbStatus::OutOfDate,
        LevelStatus::OutOfDateConfigurationNeeded => TcbStatus::OutOfDateConfigurationNeeded,
        LevelStatus::Revoked => return Err(VerifyError::TcbRevoked),
    })
}

/// The platform's status with that of a part of it: the module or the quoting enclave. A part is up
/// to date, out of date or revoked; for a part the vendor has no other words.
fn with_component(platform: TcbStatus, part: LevelStatus) -> Result<TcbStatus, VerifyError> {
    use TcbStatus as S;
    let configured = match part {
        LevelStatus::UpToDate | LevelStatus::SwHardeningNeeded => return Ok(platform),
        LevelStatus::OutOfDate => false,
        // Not among the words for a part. Read as on a platform, which is the stricter reading.
        LevelStatus::OutOfDateConfigurationNeeded => true,
        LevelStatus::ConfigurationNeeded | LevelStatus::ConfigurationAndSwHardeningNeeded => {
            return Ok(match platform {
                S::UpToDate => S::ConfigurationNeeded,
                S::SwHardeningNeeded => S::ConfigurationAndSwHardeningNeeded,
                S::OutOfDate => S::OutOfDateConfigurationNeeded,
                S::TdRelaunchAdvised => S::TdRelaunchAdvisedConfigurationNeeded,
                S::ConfigurationNeeded
                | S::ConfigurationAndSwHardeningNeeded
                | S::OutOfDateConfigurationNeeded
                | S::TdRelaunchAdvisedConfigurationNeeded => platform,
            });
        }
        LevelStatus::Revoked => return Err(VerifyError::TcbRevoked),
    };
    Ok(match needs_configuration(platform) || configured {
        true => S::OutOfDateConfigurationNeeded,
        false => S::OutOfDate,
    })
}

/// Status of a TD whose module was updated since its launch. When the launch was out of date and the
/// platform is not any more, a new launch is all that is missing. A platform that is *now* worse than
/// at the launch has the status of now.
fn relaunched(launch: TcbStatus, current: TcbStatus) -> TcbStatus {
    use TcbStatus as S;
    let configuration = needs_configuration(launch) || needs_configuration(current);
    match (is_out_of_date(launch), is_out_of_date(current), configuration) {
        (true, false, false) => S::TdRelaunchAdvised,
        (true, false, true) => S::TdRelaunchAdvisedConfigurationNeeded,
        (false, true, _) => current,
        (true, true, _) | (false, false, _) => launch,
    }
}

fn is_out_of_date(status: TcbStatus) -> bool {
    use TcbStatus as S;
    match status {
        S::OutOfDate
        | S::OutOfDateConfigurationNeeded
        | S::TdRelaunchAdvised
        | S::TdRelaunchAdvisedConfigurationNeeded => true,
        S::UpToDate
        | S::SwHardeningNeeded
        | S::ConfigurationNeeded
        | S::ConfigurationAndSwHardeningNeeded => false,
    }
}

fn needs_configuration(status: TcbStatus) -> bool {
    use TcbStatus as S;
    match status {
        S::ConfigurationNeeded
        | S::ConfigurationAndSwHardeningNeeded
        | S::OutOfDateConfigurationNeeded
        | S::TdRelaunchAdvisedConfigurationNeeded => true,
        S::UpToDate | S::SwHardeningNeeded | S::OutOfDate | S::TdRelaunchAdvised => false,
    }
}

/// MRSIGNERSEAM and SEAMATTRIBUTES are those of the module that the TCB info describes.
fn module_identity(climb: &Climb<'_>) -> Result<(), VerifyError> {
    let info = &climb.endorsements.tcb_info().parsed;
    let body = &climb.evidence.quote().body;
    let named = module(info, body.tee_tcb_svn)?.map(|module| &module.identity);
    let Some(base) = &info.tdx_module else {
        return Err(VerifyError::TdxModule {
            field: "identity",
            expected: "tdxModule in the TCB info".into(),
            got: "none".into(),
        });
    };
    let ModuleIdentity { mrsigner, attributes, attributes_mask } = named.unwrap_or(base);
    if *mrsigner != body.mrsignerseam.0 {
        return Err(VerifyError::TdxModule {
            field: "MRSIGNERSEAM",
            expected: hex::encode(mrsigner),
            got: body.mrsignerseam.to_string(),
        });
    }
    // Bits outside the mask are nobody's to set.
    let mask = u64::from_le_bytes(*attributes_mask);
    let wanted = u64::from_le_bytes(*attributes) & mask;
    if u64::from_le_bytes(body.seam_attributes) != wanted {
        return Err(VerifyError::TdxModule {
            field: "SEAMATTRIBUTES",
            expected: hex::encode(wanted.to_le_bytes()),
            got: hex::encode(body.seam_attributes),
        });
    }
    Ok(())
}

fn shortened(text: &str) -> String {
    text.chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVEL: Tcb = Tcb { sgx: [3; 16], pce_svn: 11, tdx: Some([5; 16]) };
    /// A module of major version 1 and of ISVSVN 0, lower than the level's component 0.
    const MODULE_1: TeeTcbSvn = TeeTcbSvn([0, 1, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5]);

    #[test]
    fn a_level_covers_a_platform_with_exactly_its_versions() {
        assert!(covers(&LEVEL, &[3; 16], 11, TeeTcbSvn([5; 16])));
        assert!(covers(&LEVEL, &[4; 16], 12, TeeTcbSvn([6; 16])));
    }

    #[test]
    fn one_version_below_is_below_the_level_however_high_the_others_are() {
        assert!(!covers(&LEVEL, &[255; 16], 10, TeeTcbSvn([255; 16])), "PCESVN");
        for component in 0..16 {
            let mut cpu_svn = [255; 16];
            cpu_svn[component] = 2;
            assert!(!covers(&LEVEL, &cpu_svn, 255, TeeTcbSvn([255; 16])), "CPUSVN {component}");
        }
        for component in 2..16 {
            let mut svn = [255; 16];
            svn[component] = 4;
            assert!(!covers(&LEVEL, &[255; 16], 255, TeeTcbSvn(svn)), "TEE_TCB_SVN {component}");
        }
    }

    #[test]
    fn a_module_with_an_identity_is_not_compared_with_the_platform_s_components() {
        assert!(covers(&LEVEL, &[3; 16], 11, MODULE_1));
    }

    #[test]
    fn a_module_of_version_0_is_compared_with_all_components() {
        let mut svn = [5; 16];
        svn[1] = 0;
        assert!(!covers(&LEVEL, &[3; 16], 11, TeeTcbSvn(svn)), "component 1 is below");
        let level = Tcb { tdx: Some([0; 16]), ..LEVEL };
        assert!(covers(&level, &[3; 16], 11, TeeTcbSvn([0; 16])));
        let mut needs_a_module = [0; 16];
        needs_a_module[0] = 1;
        let level = Tcb { tdx: Some(needs_a_module), ..LEVEL };
        assert!(!covers(&level, &[3; 16], 11, TeeTcbSvn([0; 16])));
    }

    #[test]
    fn a_level_without_components_of_tdx_covers_no_td() {
        let sgx = Tcb { tdx: None, ..LEVEL };
        assert!(!covers(&sgx, &[255; 16], 255, TeeTcbSvn([255; 16])));
    }

    /// Every status of the platform with every status of a part of it.
    #[test]
    fn a_part_never_makes_a_platform_better() {
        use LevelStatus as L;
        use TcbStatus as S;
        let platforms = [
            S::UpToDate,
            S::SwHardeningNeeded,
            S::ConfigurationNeeded,
            S::ConfigurationAndSwHardeningNeeded,
            S::OutOfDate,
            S::OutOfDateConfigurationNeeded,
        ];
        for (part, expected) in [
            (L::UpToDate, platforms),
            (L::SwHardeningNeeded, platforms),
            (
                L::ConfigurationNeeded,
                [
                    S::ConfigurationNeeded,
                    S::ConfigurationAndSwHardeningNeeded,
                    S::ConfigurationNeeded,
                    S::ConfigurationAndSwHardeningNeeded,
                    S::OutOfDateConfigurationNeeded,
                    S::OutOfDateConfigurationNeeded,
                ],
            ),
            (
                L::OutOfDate,
                [
                    S::OutOfDate,
                    S::OutOfDate,
                    S::OutOfDateConfigurationNeeded,
                    S::OutOfDateConfigurationNeeded,
                    S::OutOfDate,
                    S::OutOfDateConfigurationNeeded,
                ],
            ),
            (L::OutOfDateConfigurationNeeded, [S::OutOfDateConfigurationNeeded; 6]),
        ] {
            for (platform, expected) in platforms.into_iter().zip(expected) {
                let got = with_component(platform, part).ok();
                assert_eq!(got, Some(expected), "{platform:?} with {part:?}");
            }
        }
        for platform in platforms {
            let refused = with_component(platform, L::Revoked);
            assert!(matches!(refused, Err(VerifyError::TcbRevoked)), "{platform:?}");
        }
        assert!(matches!(unrevoked(L::Revoked), Err(VerifyError::TcbRevoked)));
    }

    #[test]
    fn a_relaunch_is_advised_only_where_it_is_all_that_is_missing() {
        use TcbStatus as S;
        for (launch, current, expected) in [
            (S::UpToDate, S::UpToDate, S::UpToDate),
            (S::OutOfDate, S::UpToDate, S::TdRelaunchAdvised),
            (S::OutOfDate, S::SwHardeningNeeded, S::TdRelaunchAdvised),
            (S::OutOfDate, S::ConfigurationNeeded, S::TdRelaunchAdvisedConfigurationNeeded),
            (S::OutOfDateConfigurationNeeded, S::UpToDate, S::TdRelaunchAdvisedConfigurationNeeded),
            (S::OutOfDate, S::OutOfDate, S::OutOfDate),
            (S::OutOfDateConfigurationNeeded, S::OutOfDate, S::OutOfDateConfigurationNeeded),
            (S::UpToDate, S::OutOfDate, S::OutOfDate),
            (
                S::ConfigurationNeeded,
                S::OutOfDateConfigurationNeeded,
                S::OutOfDateConfigurationNeeded,
            ),
            (S::ConfigurationNeeded, S::UpToDate, S::ConfigurationNeeded),
        ] {
            assert_eq!(relaunched(launch, current), expected, "{launch:?}, then {current:?}");
        }
    }
}
