//! What a Verifier in this program rests on: Endorsements, roots, and what somebody asked to loosen.
//!
//! In: flags and the files that they name. Out: a [`PeerTrust`]. Must not: let anything weaken a
//! verification without a flag whose name begins with `insecure`, and a warning for each.

use std::path::{Path, PathBuf};

use adyton_attestation::peer::PeerTrust;
use adyton_attestation::{
    AmdRevocation, EndorsementBundle, ParavisorTds, TrustAnchors, VerifyOptions,
};
use clap::Args;

use super::Context;
use crate::failure::{Exit, Failure};
use crate::file;

/// The longest Endorsement bundle.
const BUNDLE_LIMIT: u64 = 16 * 1024 * 1024;
/// The longest root certificate file.
const ROOT_LIMIT: u64 = 64 * 1024;

/// Endorsements, roots, and what is loosened.
#[derive(Debug, Args)]
pub struct TrustArgs {
    /// Endorsements: a bundle or one QuoteCollateralV3 object, JSON; may be repeated
    #[arg(long, value_name = "FILE")]
    bundle: Vec<PathBuf>,
    /// INSECURE: also trust this root; whoever holds its key can forge any Evidence. For tests
    #[arg(long, value_name = "FILE")]
    insecure_extra_root: Vec<PathBuf>,
    /// INSECURE: verify TDs with TD_ATTRIBUTES of zero, as Azure's under a paravisor; the host can
    /// inject #VE into them
    #[arg(long)]
    insecure_accept_paravisor_tds: bool,
    /// INSECURE: go on without AMD's revocation list; a revoked intermediate key is not noticed
    #[arg(long)]
    insecure_waive_amd_revocation: bool,
}

impl TrustArgs {
    /// Reads the files, and warns of everything that weakens the verification.
    ///
    /// # Errors
    /// [`Failure`] of the first file that can't be used.
    pub fn load(&self, context: &mut Context<'_>) -> Result<PeerTrust, Failure> {
        let trust = PeerTrust {
            endorsements: endorsements(&self.bundle)?,
            anchors: anchors(&self.insecure_extra_root)?,
            options: self.options(),
        };
        for warning in insecure(&trust) {
            context.console.warn("insecure-verification", &format!("INSECURE: {warning}"));
        }
        Ok(trust)
    }

    fn options(&self) -> VerifyOptions {
        VerifyOptions {
            paravisor_tds: match self.insecure_accept_paravisor_tds {
                true => ParavisorTds::InsecureAccept,
                false => ParavisorTds::Refuse,
            },
            amd_revocation: match self.insecure_waive_amd_revocation {
                true => AmdRevocation::InsecureWaive,
                false => AmdRevocation::Require,
            },
            ..VerifyOptions::default()
        }
    }
}

/// Everything that weakens a verification, a sentence each.
pub fn insecure(trust: &PeerTrust) -> Vec<String> {
    let roots = trust.anchors.insecure_extra_roots().into_iter().map(|sha256| {
        format!("trusts the extra root {sha256}; whoever holds its key can forge any Evidence")
    });
    let loosened = trust.options.loosened().into_iter();
    roots.chain(loosened.map(|loosened| loosened.gives_away().to_owned())).collect()
}

fn endorsements(paths: &[PathBuf]) -> Result<EndorsementBundle, Failure> {
    let mut all = EndorsementBundle::empty();
    for path in paths {
        let bytes = file::read("Endorsement bundle", path, BUNDLE_LIMIT)?;
        let merged = EndorsementBundle::parse(&bytes).and_then(|bundle| all.merge(bundle));
        all = merged.map_err(|error| {
            Failure::new(
                Exit::Malformed,
                "endorsements.malformed",
                format!("the Endorsement bundle {} is not valid", path.display()),
            )
            .expected("a bundle of version 1 or 2, or one QuoteCollateralV3 object, JSON")
            .remedy(error.remedy())
            .caused_by(&error)
        })?;
    }
    Ok(all)
}

/// The vendors' roots and those in the files.
///
/// # Errors
/// [`Failure`] of the first file that can't be used.
pub fn anchors(paths: &[PathBuf]) -> Result<TrustAnchors, Failure> {
    let add = |anchors: TrustAnchors, path: &PathBuf| with_root(anchors, path);
    paths.iter().try_fold(TrustAnchors::vendor(), add)
}

fn with_root(anchors: TrustAnchors, path: &Path) -> Result<TrustAnchors, Failure> {
    let bytes = file::read("extra root", path, ROOT_LIMIT)?;
    anchors.with_insecure_extra_root(&bytes).map_err(|error| {
        Failure::new(
            Exit::Malformed,
            "anchor.malformed",
            format!("the extra root {} cannot be used", path.display()),
        )
        .expected("one X.509 certificate, DER or PEM")
        .remedy("check the file")
        .caused_by(&error)
    })
}
