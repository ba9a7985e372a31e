//! The table `[appraisal.tdx]` of a release policy.
//!
//! ```toml
//! [appraisal.tdx]
//! mrseam = ["5b38e33a…"]
//! smt = "refuse"
//!
//! [appraisal.tdx.tcb]
//! mode = "grace"
//! until = 2027-01-31T00:00:00Z
//! advisories = ["INTEL-SA-01192"]
//! minimum_tee_tcb_svn = [6, 1, 3]
//! ```

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::appraisal::PolicyError;
use crate::claims::{Measurement, PlatformInstanceId, TeeTcbSvn, Xfam};
use crate::unix_time::UnixTime;

/// Rules for TDX trust domains. The default is strict about the TD and takes every genuine platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TdxPolicy {
    /// How current the platform has to be.
    pub tcb: TcbPolicy,
    /// CPU state components that a TD may have, as a mask in the byte order of the quote. Default: all
    /// that rung T10 knows.
    pub xfam_mask: Xfam,
    /// Accepted TDX modules (MRSEAM). Empty, the default: every one that the vendor's TCB info covers.
    pub mrseam: BTreeSet<Measurement>,
    /// Accepted installations of platforms. Empty, the default: every genuine one. With a list, a
    /// platform whose certificate states no instance id is refused.
    pub allowed_platform_instances: BTreeSet<PlatformInstanceId>,
    /// Platforms to which packages can be added. Default: accept, as every server is one.
    pub dynamic_platforms: SetupRule,
    /// Platforms whose root keys the vendor's registration service keeps. Default: accept.
    pub cached_keys: SetupRule,
    /// Platforms with hyper-threading, where another TD may share a core. Default: accept.
    pub smt: SetupRule,
    /// Accept TDs whose attributes are all zero, as Azure's are under their paravisor. Without
    /// SEPT_VE_DISABLE the host can inject #VE on pages that it took away; what then happens is the
    /// paravisor's doing. Default: false.
    pub insecure_accept_paravisor_tds: bool,
}

/// What to do with platforms that are set up in some way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SetupRule {
    /// They are as good as others.
    #[default]
    Accept,
    /// They are refused; so are those whose certificate doesn't say.
    Refuse,
}

/// The table `[appraisal.tdx.tcb]`: how current a platform has to be.
///
/// On top of it stand the keys of `[appraisal]` that hold for every TEE of Intel's: a status in
/// `tcb_status` and advisories in `accepted_advisories` are accepted without an end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "TcbTable", into = "TcbTable")]
pub struct TcbPolicy {
    /// What holds for a platform that is not up to date.
    pub mode: TcbMode,
    /// Lowest accepted TEE_TCB_SVN, component by component: ISVSVN of the TDX module, its version, SVN
    /// of the loader, and zeros. All zero, the default: any.
    pub minimum_tee_tcb_svn: TeeTcbSvn,
}

/// What holds for a platform that is not up to date.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TcbMode {
    /// It is refused, unless `tcb_status` accepts its status.
    #[default]
    UpToDate,
    /// It is accepted for a while: its firmware is behind, by these advisories only, and the owner knows.
    /// A status that is about settings (`ConfigurationNeeded` and its like) is not: no update cures it.
    Grace {
        /// First second at which it is refused again.
        until: UnixTime,
        /// Advisories that may apply until then. Never empty.
        advisories: BTreeSet<String>,
    },
}

impl Default for TdxPolicy {
    fn default() -> Self {
        Self {
            tcb: TcbPolicy::default(),
            xfam_mask: Xfam([0xff; 8]),
            mrseam: BTreeSet::new(),
            allowed_platform_instances: BTreeSet::new(),
            dynamic_platforms: SetupRule::default(),
            cached_keys: SetupRule::default(),
            smt: SetupRule::default(),
            insecure_accept_paravisor_tds: false,
        }
    }
}

impl TdxPolicy {
    /// Refuses values that cannot be meant.
    ///
    /// # Errors
    /// [`PolicyError::Value`].
    pub fn validate(&self) -> Result<(), PolicyError> {
        // x87 and SSE: no TD is without them.
        const FIXED_XFAM: u64 = 0x3;
        if self.xfam_mask.bits() & FIXED_XFAM != FIXED_XFAM {
            return Err(PolicyError::Value {
                key: "appraisal.tdx.xfam_mask",
                got: self.xfam_mask.to_string(),
                expected: "a mask with x87 and SSE (bits 0 and 1), which every TD has",
            });
        }
        match &self.tcb.mode {
            TcbMode::Grace { advisories, .. } if advisories.is_empty() => Err(PolicyError::Value {
                key: "appraisal.tdx.tcb.advisories",
                got: "empty".to_owned(),
                expected: "at least one advisory, such as \"INTEL-SA-01192\"",
            }),
            TcbMode::UpToDate | TcbMode::Grace { .. } => Ok(()),
        }
    }
}

/// The table as it is written.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TcbTable {
    mode: ModeName,
    until: Option<Moment>,
    advisories: BTreeSet<String>,
    minimum_tee_tcb_svn: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ModeName {
    #[default]
    UpToDate,
    Grace,
}

/// A moment as TOML's own date and time, or as text.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Moment {
    Text(UnixTime),
    Toml(toml::value::Datetime),
}

impl TryFrom<TcbTable> for TcbPolicy {
    type Error = &'static str;

    fn try_from(table: TcbTable) -> Result<Self, Self::Error> {
        let mut minimum = [0; 16];
        let given = table.minimum_tee_tcb_svn.as_slice();
        let places = minimum
            .get_mut(..given.len())
            .ok_or("`minimum_tee_tcb_svn` has more than 16 components")?;
        places.copy_from_slice(given);
        let mode = match (table.mode, table.until) {
            (ModeName::UpToDate, None) if table.advisories.is_empty() => TcbMode::UpToDate,
            (ModeName::UpToDate, _) => {
                return Err("`until` and `advisories` belong to `mode = \"grace\"`");
            }
            (ModeName::Grace, None) => {
                return Err("`mode = \"grace\"` needs `until`, such as 2027-01-31T00:00:00Z");
            }
            (ModeName::Grace, Some(until)) => {
                TcbMode::Grace { until: until.try_into()?, advisories: table.advisories }
            }
        };
        Ok(Self { mode, minimum_tee_tcb_svn: TeeTcbSvn(minimum) })
    }
}

impl From<TcbPolicy> for TcbTable {
    fn from(policy: TcbPolicy) -> Self {
        let (mode, until, advisories) = match policy.mode {
            TcbMode::UpToDate => (ModeName::UpToDate, None, BTreeSet::new()),
            TcbMode::Grace { until, advisories } => {
                (ModeName::Grace, Some(Moment::Text(until)), advisories)
            }
        };
        Self { mode, until, advisories, minimum_tee_tcb_svn: policy.minimum_tee_tcb_svn.0.into() }
    }
}

impl TryFrom<Moment> for UnixTime {
    type Error = &'static str;

    fn try_from(moment: Moment) -> Result<Self, Self::Error> {
        match moment {
            Moment::Text(at) => Ok(at),
            // Without an offset it would be another second in every place.
            Moment::Toml(at) => Self::parse_rfc3339(&at.to_string())
                .ok_or("`until` needs date, time and offset, such as 2027-01-31T00:00:00Z"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<TdxPolicy, String> {
        let policy: TdxPolicy = toml::from_str(text).map_err(|error| error.to_string())?;
        policy.validate().map_err(|error| error.to_string())?;
        Ok(policy)
    }

    #[test]
    fn an_empty_table_is_strict() {
        let policy = parse("").expect("a table");
        assert_eq!(policy, TdxPolicy::default());
        assert_eq!(policy.tcb.mode, TcbMode::UpToDate);
        assert!(!policy.insecure_accept_paravisor_tds);
    }

    #[test]
    fn a_grace_has_an_end_and_advisories() {
        let written = "[tcb]\nmode = \"grace\"\nadvisories = [\"INTEL-SA-01192\"]\nminimum_tee_tcb_svn = [6, 1]\n";
        for until in
            ["2027-01-31T00:00:00Z", "\"2027-01-31T00:00:00Z\"", "2027-01-31T01:00:00+01:00"]
        {
            let policy = parse(&format!("{written}until = {until}\n")).expect(until);
            let TcbMode::Grace { until, advisories } = &policy.tcb.mode else { panic!("grace") };
            assert_eq!(until.to_string(), "2027-01-31T00:00:00Z");
            assert_eq!(advisories.iter().collect::<Vec<_>>(), ["INTEL-SA-01192"]);
            assert_eq!(policy.tcb.minimum_tee_tcb_svn.0[..3], [6, 1, 0]);
        }
        for (text, expected) in [
            (written.to_owned(), "needs `until`"),
            (format!("{written}until = 2027-01-31\n"), "needs date, time and offset"),
            (format!("{written}until = 2027-01-31T00:00:00\n"), "needs date, time and offset"),
            ("[tcb]\nmode = \"grace\"\nuntil = 2027-01-31T00:00:00Z\n".to_owned(), "advisories"),
            ("[tcb]\nadvisories = [\"INTEL-SA-01192\"]\n".to_owned(), "belong to `mode"),
            ("[tcb]\nuntil = 2027-01-31T00:00:00Z\n".to_owned(), "belong to `mode"),
            ("[tcb]\nmode = \"lenient\"\n".to_owned(), "unknown variant"),
            ("[tcb]\ngrace = true\n".to_owned(), "unknown field"),
            (format!("[tcb]\nminimum_tee_tcb_svn = {:?}\n", [1; 17]), "more than 16"),
            ("xfam_mask = \"0100000000000000\"\n".to_owned(), "x87 and SSE"),
            ("smt = \"ignore\"\n".to_owned(), "unknown variant"),
        ] {
            let refusal = parse(&text).expect_err(&text);
            assert!(refusal.contains(expected), "{text}: {refusal}");
        }
    }

    #[test]
    fn a_policy_survives_being_written_and_read() {
        let mut policy = TdxPolicy::default();
        policy.tcb.mode = TcbMode::Grace {
            until: UnixTime(1_800_000_000),
            advisories: ["INTEL-SA-01192".to_owned()].into(),
        };
        let json = serde_json::to_string(&policy).expect("JSON");
        assert_eq!(serde_json::from_str::<TdxPolicy>(&json).expect("its own form"), policy);
    }
}
