//! Which TEE the program is, and what is wrong with it.

use adyton_fake_tee::{
    AzureFault, AzureProfile, FakeAzure, FakeKey, FakeProduct, FakeSnp, Fault, GuestApi, SnpFault,
    SnpProfile, StateFiles,
};
use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use crate::{Machine, Profile};

#[derive(Args)]
pub(crate) struct Guest {
    /// Which TEE to be. Each needs a state folder of its own.
    #[arg(long, value_enum, default_value = "tdx")]
    tee: Tee,

    #[command(flatten)]
    profile: Profile,

    #[command(flatten)]
    snp: Snp,

    #[command(flatten)]
    azure: Azure,
}

/// For `--tee snp` only.
#[derive(Args)]
struct Snp {
    /// SNP: which product line.
    #[arg(long, value_enum, default_value = "genoa")]
    product: Product,

    /// SNP: which kind of key signs reports. Azure's is a VCEK.
    #[arg(long, value_enum, default_value = "vcek")]
    key: Key,

    /// SNP: make one thing wrong. Names: `adyton-fake-tee faults`.
    #[arg(long, value_name = "NAME")]
    snp_fault: Option<SnpFault>,
}

/// For `--tee az-snp-vtpm` and `--tee az-tdx-vtpm` only.
#[derive(Args)]
struct Azure {
    /// Azure: version of the evidence, 1 or 2.
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    evidence_version: u64,

    /// Azure: make one thing wrong. Names: `adyton-fake-tee faults`.
    #[arg(long, value_name = "NAME")]
    azure_fault: Option<AzureFault>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tee {
    /// Intel TDX.
    Tdx,
    /// AMD SEV-SNP. The keys of its root are public.
    Snp,
    /// An Azure VM on SEV-SNP, quoted by its vTPM.
    AzSnpVtpm,
    /// An Azure VM on TDX, quoted by its vTPM.
    AzTdxVtpm,
}

#[derive(Clone, Copy, ValueEnum)]
enum Product {
    /// EPYC 7003; off in the default policy.
    Milan,
    /// EPYC 9004.
    Genoa,
    /// EPYC 9005.
    Turin,
}

#[derive(Clone, Copy, ValueEnum)]
enum Key {
    /// Of one chip.
    Vcek,
    /// Of one cloud.
    Vlek,
}

/// A guest, the files that go with it, and the names of its faults.
type Started = (GuestApi, StateFiles, String);

impl Guest {
    /// The guest on the machine of the state folder. Writes the folder's files.
    pub(crate) fn start(&self, machine: &Machine, now: u64) -> Result<Started> {
        let is_azure = matches!(self.tee, Tee::AzSnpVtpm | Tee::AzTdxVtpm);
        ensure!(
            machine.faults.is_empty() || self.tee == Tee::Tdx,
            "faults of SNP are given with --snp-fault, those of Azure with --azure-fault"
        );
        ensure!(
            self.snp.snp_fault.is_none() || self.tee == Tee::Snp,
            "--snp-fault needs --tee snp"
        );
        ensure!(
            self.azure.azure_fault.is_none() || is_azure,
            "--azure-fault needs --tee az-snp-vtpm or --tee az-tdx-vtpm"
        );
        match self.tee {
            Tee::Tdx => self.td(machine, now),
            Tee::Snp => self.snp_guest(machine, now),
            Tee::AzSnpVtpm => {
                let processor = FakeSnp::new(now, self.snp.product(), FakeKey::Vcek);
                self.azure_vm(FakeAzure::snp(processor), machine, now)
            }
            Tee::AzTdxVtpm => self.azure_vm(FakeAzure::tdx(machine.open(now)?), machine, now),
        }
    }

    fn td(&self, machine: &Machine, now: u64) -> Result<Started> {
        let (tee, profile) = (machine.open(now)?, self.profile.td(&machine.faults));
        let files = tee.write_files(&machine.state, &profile, now, &machine.faults)?;
        let names: Vec<&str> = machine.faults.iter().map(|fault: &Fault| fault.name()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Ok((GuestApi::new(tee, profile, machine.faults.clone()), files, names))
    }

    fn snp_guest(&self, machine: &Machine, now: u64) -> Result<Started> {
        let fault = self.snp.snp_fault;
        let key = match self.snp.key {
            Key::Vcek => FakeKey::Vcek,
            Key::Vlek => FakeKey::Vlek,
        };
        let processor = FakeSnp::new(now, self.snp.product(), key);
        let profile = SnpProfile::default();
        let files = processor.write_files(&machine.state, &profile, now, fault)?;
        let name = fault.map_or_else(|| "none".to_owned(), SnpFault::name);
        Ok((GuestApi::snp(processor, profile, fault), files, name))
    }

    fn azure_vm(&self, vm: FakeAzure, machine: &Machine, now: u64) -> Result<Started> {
        let Azure { evidence_version, azure_fault } = self.azure;
        ensure!(matches!(evidence_version, 1 | 2), "--evidence-version is 1 or 2");
        if let Some(fault) = azure_fault {
            ensure!(
                fault.hardware().contains(&vm.hardware()),
                "{} has no `{}`; `adyton-fake-tee faults` says which TEE has it",
                vm.hardware().tee(),
                fault.name()
            );
        }
        let profile = AzureProfile::answering([0; 64]);
        let files = vm.write_files(&machine.state, &profile, now)?;
        let name = azure_fault.map_or_else(|| "none".to_owned(), AzureFault::name);
        Ok((GuestApi::azure(vm, evidence_version, azure_fault), files, name))
    }
}

impl Snp {
    fn product(&self) -> FakeProduct {
        match self.product {
            Product::Milan => FakeProduct::Milan,
            Product::Genoa => FakeProduct::Genoa,
            Product::Turin => FakeProduct::Turin,
        }
    }
}
