//! `adyton reference-values from-rim`: NVIDIA's manifest of a driver or VBIOS as Reference Values.
//!
//! In: a reference integrity manifest (RIM), a SWID tag (ISO/IEC 19770-2:2015) with TCG's attributes,
//! as NVIDIA's RIM service gives it out. Out: the TOML form that policies name. The XML signature inside
//! is *not* verified: whoever converts a manifest vouches for where it came from, and the command says
//! so with the file's digest.
//! Against: entity bombs and document types (refused by the parser), manifests with a measurement twice.

use std::collections::BTreeMap;
use std::path::PathBuf;

use adyton_attestation::ReferenceValues;
use adyton_attestation::claims::Measurement;
use adyton_attestation::reference_value::{GpuComponent, NvidiaReferenceValues};
use clap::{Args, ValueEnum};
use roxmltree::{Document, Node};
use serde_json::json;

use super::super::Context;
use super::super::policy::text_file;
use crate::console::Tone;
use crate::failure::{Exit, Failure};

/// Shown under the help of `adyton reference-values from-rim`.
pub(super) const EXAMPLES: &str = "\
Examples:
  adyton reference-values from-rim NV_GPU_DRIVER_GH100_550.90.07.swidtag --component driver > driver.toml
  adyton reference-values from-rim 1010_0200_882_96009F0001.swidtag --component vbios --name h100-vbios > vbios.toml
  adyton reference-values add driver.toml";

/// The longest manifest. NVIDIA's have 20 KiB.
const RIM_LIMIT: u64 = 4 * 1024 * 1024;
const SWID: &str = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd";
const SHA384: &str = "http://www.w3.org/2001/04/xmlenc#sha384";

/// Arguments of `reference-values from-rim`.
#[derive(Debug, Args)]
pub struct FromRimArgs {
    /// NVIDIA's manifest, a .swidtag file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What the manifest is about
    #[arg(long, value_enum)]
    component: Component,
    /// Name of the set [default: product, component and version of the manifest]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Component {
    Driver,
    Vbios,
}

impl From<Component> for GpuComponent {
    fn from(component: Component) -> Self {
        match component {
            Component::Driver => Self::Driver,
            Component::Vbios => Self::Vbios,
        }
    }
}

pub(super) fn run(args: &FromRimArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let text = text_file("manifest", &args.file, RIM_LIMIT)?;
    let set = convert(&text, args.component.into(), args.name.as_deref())
        .map_err(|refusal| malformed(&args.file, refusal))?;
    let active = set.measurements.len();
    let toml = ReferenceValues::from(set).to_toml();
    // What was written must be what a broker reads.
    ReferenceValues::parse_toml(&toml)
        .map_err(|error| super::unreadable(&args.file.display(), &error))?;
    let digest = hex::encode(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()));
    let reply = json!({ "toml": toml, "active_measurements": active, "rim_sha256": digest });
    context.console.result(&toml, &reply)?;
    context.console.note(
        Tone::Dim,
        &format!("{active} active measurements; SHA-256 of the manifest {digest}"),
    );
    context.console.note(
        Tone::Warn,
        "The manifest's own signature was not verified: convert only files that you fetched from \
         NVIDIA over TLS yourself.",
    );
    Ok(())
}

/// Why a text is not a manifest.
#[derive(Debug, thiserror::Error)]
enum RimError {
    #[error("it is not XML")]
    Xml(#[from] roxmltree::Error),
    #[error("it has no element or attribute {0}")]
    Missing(&'static str),
    #[error("resource {index} has {what} {got:?}")]
    Resource { index: String, what: &'static str, got: String },
    #[error("measurement {0} is there twice")]
    Twice(u8),
    #[error("it calls no measurement active")]
    Empty,
}

fn convert(
    text: &str,
    component: GpuComponent,
    name: Option<&str>,
) -> Result<NvidiaReferenceValues, RimError> {
    let document = Document::parse(text)?;
    let root = document.root_element();
    if !root.has_tag_name((SWID, "SoftwareIdentity")) {
        return Err(RimError::Missing("SoftwareIdentity"));
    }
    let child = |name: &'static str| {
        root.children().find(|node| node.has_tag_name((SWID, name))).ok_or(RimError::Missing(name))
    };
    let meta = child("Meta")?;
    let attribute = |name: &'static str| meta.attribute(name).ok_or(RimError::Missing(name));
    let version = attribute("colloquialVersion")?.to_ascii_lowercase();
    let product = attribute("product")?.to_ascii_lowercase();
    let mut measurements = BTreeMap::new();
    for resource in child("Payload")?.children().filter(Node::is_element) {
        if let Some((index, values)) = active(resource)?
            && measurements.insert(index.to_string(), values).is_some()
        {
            return Err(RimError::Twice(index));
        }
    }
    if measurements.is_empty() {
        return Err(RimError::Empty);
    }
    let name = match name {
        Some(name) => name.to_owned(),
        None => format!("{product}-{}-{version}", component.as_str()),
    };
    Ok(NvidiaReferenceValues { name, tee: "nvidia".to_owned(), component, version, measurements })
}

/// Index and accepted values of a resource that the manifest calls active.
fn active(resource: Node<'_, '_>) -> Result<Option<(u8, Vec<Measurement>)>, RimError> {
    let attribute = |name: &'static str| resource.attribute(name).ok_or(RimError::Missing(name));
    let index = attribute("index")?;
    let refused = |what, got: &str| RimError::Resource {
        index: index.chars().take(32).collect(),
        what,
        got: got.chars().take(100).collect(),
    };
    match attribute("active")? {
        "True" => {}
        "False" => return Ok(None),
        other => return Err(refused("active =", other)),
    }
    let number: u8 = index.parse().map_err(|_| refused("index", index))?;
    let size = attribute("size")?;
    if size != "48" {
        return Err(refused("size", size));
    }
    let alternatives = attribute("alternatives")?;
    let count: u8 = alternatives.parse().map_err(|_| refused("alternatives", alternatives))?;
    let mut values = Vec::new();
    for alternative in 0..count {
        let name = format!("Hash{alternative}");
        let text = resource
            .attribute((SHA384, name.as_str()))
            .ok_or(RimError::Missing("Hash of an alternative"))?;
        values.push(text.parse().map_err(|_| refused("a hash", text))?);
    }
    Ok(Some((number, values)))
}

fn malformed(path: &std::path::Path, refusal: RimError) -> Failure {
    Failure::new(
        Exit::Malformed,
        "reference-values.rim",
        format!("{} is not a manifest that can be converted", path.display()),
    )
    .expected("a SWID tag of NVIDIA's RIM service with SHA-384 measurements")
    .remedy("fetch the manifest for this driver or VBIOS version again")
    .caused_by(&refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(resources: &str) -> String {
        format!(
            "<SoftwareIdentity xmlns=\"{SWID}\" xmlns:s=\"{SHA384}\" xmlns:n=\"{SWID}\">\
             <n:Meta colloquialVersion=\"96.00.9F.00.01\" product=\"GH100\"/>\
             <n:Payload>{resources}</n:Payload></SoftwareIdentity>"
        )
    }

    fn resource(index: &str, active: &str, hashes: &[&str]) -> String {
        let values: String =
            hashes.iter().enumerate().map(|(at, hash)| format!("s:Hash{at}=\"{hash}\" ")).collect();
        format!(
            "<n:Resource index=\"{index}\" active=\"{active}\" alternatives=\"{}\" size=\"48\" {values}/>",
            hashes.len()
        )
    }

    #[test]
    fn active_measurements_become_reference_values_and_others_do_not() {
        let (a, b) = ("11".repeat(48), "22".repeat(48));
        let text =
            manifest(&[resource("7", "True", &[&a, &b]), resource("8", "False", &[&a])].concat());
        let set = convert(&text, GpuComponent::Vbios, None).expect("converts");
        assert_eq!(set.name, "gh100-vbios-96.00.9f.00.01");
        assert_eq!(set.version, "96.00.9f.00.01");
        let toml = ReferenceValues::from(set.clone()).to_toml();
        assert_eq!(ReferenceValues::parse_toml(&toml).expect("reads"), set.into());
        assert!(
            toml.contains(&format!("7 = [\"{a}\", \"{b}\"]")) && !toml.contains("8 = "),
            "{toml}"
        );
    }

    #[test]
    fn a_manifest_that_is_not_whole_is_refused_with_what_is_wrong() {
        let hash = "11".repeat(48);
        for (text, part) in [
            ("{}".to_owned(), "not XML"),
            ("<a/>".to_owned(), "SoftwareIdentity"),
            (manifest(""), "no measurement active"),
            (manifest(&resource("7", "true", &[&hash])), "active ="),
            (manifest(&resource("256", "True", &[&hash])), "index"),
            (manifest(&resource("7", "True", &["11"])), "a hash"),
            (manifest(&resource("7", "True", &[&hash]).repeat(2)), "twice"),
            (manifest(&resource("7", "True", &[&hash])).replace("s:Hash0", "Hash0"), "Hash"),
            (format!("<!DOCTYPE a [<!ENTITY b \"c\">]>{}", manifest("")), "not XML"),
        ] {
            let refusal = convert(&text, GpuComponent::Driver, None).expect_err("refused");
            assert!(refusal.to_string().contains(part), "{refusal}: {text}");
        }
    }
}
