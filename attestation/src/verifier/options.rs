//! What whoever runs a Verifier may loosen, by names that begin with `insecure`.
//!
//! The default loosens nothing. What is loosened shows in the claims of the Evidence that it let
//! through, and a policy has to accept it once more.

/// What may be loosened. The default loosens nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// What to do with a guest that the host can read.
    pub debug_guests: DebugGuests,
    /// What to do with TDs whose attributes a paravisor leaves at zero.
    pub paravisor_tds: ParavisorTds,
    /// What to do where AMD's revocation list is not at hand.
    pub amd_revocation: AmdRevocation,
}

/// What to do with a TD that runs without SEPT_VE_DISABLE, as Azure's do under their paravisor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ParavisorTds {
    /// Refuse it at rung T9.
    #[default]
    Refuse,
    /// Let a TD with TD_ATTRIBUTES of zero through. The paravisor then decides what a #VE on a page
    /// that the host took away does, and its measurement (MRTD) must be one that the owner knows.
    InsecureAccept,
}

/// What to do about AMD's revocation list (rung S5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AmdRevocation {
    /// No list, or one that is not current, is a refusal.
    #[default]
    Require,
    /// Go on without a list. A revoked intermediate key would not be noticed. A list that is at hand
    /// is looked at all the same.
    InsecureWaive,
}

/// What to do with a debuggable guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DebugGuests {
    /// Refuse it at rung T9.
    #[default]
    Refuse,
    /// Let it through to the appraisal, where only `insecure_allow_debug` accepts it. Anybody who
    /// runs the host then reads whatever is released to it.
    InsecureLeaveToAppraisal,
}

/// One thing that [`VerifyOptions`] loosen, for logs, metrics and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loosened {
    /// [`DebugGuests::InsecureLeaveToAppraisal`].
    DebugGuests,
    /// [`ParavisorTds::InsecureAccept`].
    ParavisorTds,
    /// [`AmdRevocation::InsecureWaive`].
    AmdRevocation,
}

impl Loosened {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::DebugGuests, Self::ParavisorTds, Self::AmdRevocation];

    /// What programs call the setting.
    #[must_use]
    pub const fn setting(self) -> &'static str {
        match self {
            Self::DebugGuests => "insecure_debug_guests",
            Self::ParavisorTds => "insecure_paravisor_tds",
            Self::AmdRevocation => "insecure_amd_revocation",
        }
    }

    /// What an attacker gains.
    #[must_use]
    pub const fn gives_away(self) -> &'static str {
        match self {
            Self::DebugGuests => {
                "verifies debuggable guests; whoever runs the host reads all that is released to them"
            }
            Self::ParavisorTds => {
                "verifies TDs without SEPT_VE_DISABLE; the host can inject #VE into them"
            }
            Self::AmdRevocation => {
                "goes on without AMD's revocation list; a revoked intermediate key is not noticed"
            }
        }
    }
}

impl VerifyOptions {
    /// What these options loosen; empty by default.
    #[must_use]
    pub fn loosened(&self) -> Vec<Loosened> {
        let strict = Self::default();
        let is_loose = |what: &Loosened| match what {
            Loosened::DebugGuests => self.debug_guests != strict.debug_guests,
            Loosened::ParavisorTds => self.paravisor_tds != strict.paravisor_tds,
            Loosened::AmdRevocation => self.amd_revocation != strict.amd_revocation,
        };
        Loosened::ALL.into_iter().filter(is_loose).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_loosened_unless_it_is_asked_for() {
        assert_eq!(VerifyOptions::default().loosened(), []);
        let all = VerifyOptions {
            debug_guests: DebugGuests::InsecureLeaveToAppraisal,
            paravisor_tds: ParavisorTds::InsecureAccept,
            amd_revocation: AmdRevocation::InsecureWaive,
        };
        assert_eq!(all.loosened(), Loosened::ALL);
        assert!(Loosened::ALL.iter().all(|what| what.setting().starts_with("insecure_")));
    }
}
