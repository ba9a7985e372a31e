//! A simulated Azure confidential VM: a vTPM and a paravisor over simulated hardware.
//!
//! Role: Attester (RFC 9334 §3.2, a composite one), pretended. In: simulated SNP or TDX hardware, an
//! [`AzureProfile`] with what each part says, the wanted [`AzureFault`]. Out: the value of
//! `primary_evidence` for `az-snp-vtpm` and `az-tdx-vtpm`, versions 1 and 2.
//!
//! ```text
//!  profile ─► var-data ─► SHA-256 ─► report data of the hardware's report ─► signed by the hardware
//!     │          └ HCLAkPub
//!     └─────► TPMS_ATTEST ─► signed by the vTPM's key
//! ```
//! Every signature is made over what the profile says, so that a case can change one thing and leave the
//! rest sound. The vTPM's keys are checked in beside this file (`keys/README.md`).

mod fault;
mod hcl;
mod profile;
mod spoil;
mod tpm;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::{Value, json};

pub use fault::AzureFault;
pub use profile::{AzureProfile, QuoteSigner};

use crate::keys::sha256;
use crate::{FakeSnp, FakeTee, SnpProfile};

/// What is under the paravisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FakeHardware {
    /// AMD SEV-SNP.
    Snp,
    /// Intel TDX.
    Tdx,
}

impl FakeHardware {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Snp, Self::Tdx];

    /// The KBS protocol's name of the TEE that it makes.
    pub fn tee(self) -> &'static str {
        match self {
            Self::Snp => "az-snp-vtpm",
            Self::Tdx => "az-tdx-vtpm",
        }
    }
}

/// One simulated confidential VM with its vTPM.
pub struct FakeAzure {
    machine: Machine,
}

enum Machine {
    /// With its VCEK, which takes an RSA signature to make.
    Snp {
        machine: Box<FakeSnp>,
        vcek: Vec<u8>,
    },
    Tdx(Box<FakeTee>),
}

impl FakeAzure {
    /// A VM on an SNP processor whose reports a VCEK signs: Azure hands out no VLEK.
    pub fn snp(machine: FakeSnp) -> Self {
        let vcek = vcek(&machine, &AzureProfile::answering([0; 64]));
        Self { machine: Machine::Snp { machine: Box::new(machine), vcek } }
    }

    /// A VM on a TDX machine.
    pub fn tdx(machine: FakeTee) -> Self {
        Self { machine: Machine::Tdx(Box::new(machine)) }
    }

    /// What is under the paravisor.
    pub fn hardware(&self) -> FakeHardware {
        match self.machine {
            Machine::Snp { .. } => FakeHardware::Snp,
            Machine::Tdx(_) => FakeHardware::Tdx,
        }
    }

    /// The value of `primary_evidence` in the KBS protocol.
    ///
    /// # Panics
    /// When the operating system has no randomness.
    pub fn evidence(&self, profile: &AzureProfile, fault: Option<AzureFault>) -> Value {
        let Some(fault) = fault else {
            return self.evidence_over(profile, &profile.var_data(), &profile.attest());
        };
        let mut profile = profile.clone();
        spoil::profile(&mut profile, fault);
        let mut var_data = profile.var_data();
        spoil::var_data(&mut var_data, fault);
        let mut message = profile.attest();
        spoil::message(&mut message, fault);
        let mut evidence = self.evidence_over(&profile, &var_data, &message);
        spoil::evidence(&mut evidence, fault);
        evidence
    }

    /// Evidence over these var-data and this TPMS_ATTEST, whatever they say: the hardware commits to the
    /// var-data, the vTPM's key signs the message.
    ///
    /// # Panics
    /// When the operating system has no randomness.
    pub fn evidence_over(&self, profile: &AzureProfile, var_data: &[u8], message: &[u8]) -> Value {
        let mut committed = [0; 64];
        committed[..32].copy_from_slice(&sha256(var_data));
        let signed_data = profile.hardware_data.unwrap_or(committed);
        let (report, member, endorsed) = match &self.machine {
            Machine::Snp { machine, vcek: usual } => {
                let report = machine.report(&profile.snp, signed_data, profile.snp_fault);
                let is_usual =
                    profile.snp_fault.is_none() && profile.snp.tcb == SnpProfile::default().tcb;
                let vcek = if is_usual { usual.clone() } else { vcek(machine, profile) };
                (hcl::Report::Snp(report), "vcek", vcek)
            }
            Machine::Tdx(machine) => {
                let quote = machine.faulty_quote(&profile.td, signed_data, &profile.td_faults);
                let data = profile.td_report_data.unwrap_or(committed);
                (hcl::Report::Tdx(data), "td_quote", quote)
            }
        };
        let mut evidence = json!({
            "version": profile.version,
            "tpm_quote": {
                "signature": hex::encode(profile.signer.sign(message)),
                "message": hex::encode(message),
                "pcrs": profile.pcrs.iter().map(hex::encode).collect::<Vec<_>>(),
            },
            "hcl_report": URL_SAFE.encode(hcl::report(&report, var_data)),
        });
        evidence[member] = URL_SAFE.encode(endorsed).into();
        evidence
    }

    /// Sound endorsements of the hardware as of `now`.
    pub fn endorsement_bundle(&self, now: u64) -> Value {
        match &self.machine {
            Machine::Snp { machine, .. } => machine.endorsement_bundle(now, None),
            Machine::Tdx(machine) => machine.endorsement_bundle(now, &[]),
        }
    }

    /// The hardware's root certificate, PEM.
    pub fn root_pem(&self) -> String {
        match &self.machine {
            Machine::Snp { machine, .. } => machine.root_pem(),
            Machine::Tdx(machine) => machine.root_pem(),
        }
    }

    /// The Reference Values that a VM of this profile matches, TOML: the paravisor, and the PCRs that are
    /// extended until the kernel runs.
    pub fn reference_values(&self, profile: &AzureProfile) -> String {
        let measurement = match self.hardware() {
            FakeHardware::Snp => profile.snp.measurement,
            FakeHardware::Tdx => profile.td.mrtd,
        };
        let pcrs: String = (0..16)
            .filter(|index| *index != 10)
            .map(|index| format!("{index} = [\"{}\"]\n", hex::encode(profile.pcrs[index])))
            .collect();
        format!(
            "# Reference values of a simulated VM. They prove nothing about real hardware.\n\
             name = \"{}\"\ntee = \"{}\"\nmeasurement = [\"{}\"]\n\n[pcrs]\n{pcrs}",
            profile.name,
            self.hardware().tee(),
            hex::encode(measurement),
        )
    }
}

/// The certificate that goes with the report; empty when a fault takes it away.
fn vcek(machine: &FakeSnp, profile: &AzureProfile) -> Vec<u8> {
    let certificates = machine.certificates(&profile.snp, profile.snp_fault);
    certificates.into_iter().map(|(_, der)| der).next().unwrap_or_default()
}
