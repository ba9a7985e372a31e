//! `adyton sign` and `adyton verify-signature`: who answers for the files of a model.
//!
//! Role: model builder, and whoever checks. In: a plain model folder; a key, or whom to trust. Out: `model.sig`, an
//! OpenSSF Model Signing bundle that the Python package `model-signing` verifies, and the other way round. No
//! network; nothing in it is secret.
//! Against: a folder that is signed in part: every file is listed, and links and devices are refused.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use adyton_model_signature::limits::{MAX_BUNDLE_BYTES, MAX_TRUST_FILE_BYTES};
use adyton_model_signature::{
    Bundle, FileDigests, Hashing, Identity, PublicKey, Roots, SignatureError, Signer, SigningKey,
    Trust, TrustedRoot, sign, verify,
};
use adyton_sealed_weights::{Hashing as Measuring, ModelPath, measure};
use clap::{ArgGroup, Args};
use serde_json::json;

use super::Context;
use crate::console::Tone;
use crate::failure::{Exit, Failure};
use crate::file;
use crate::table::{Cell, Facts};

/// The signature's name, beside the files or beside the manifest.
const SIGNATURE_NAME: &str = "model.sig";

/// Shown under the help of `adyton sign`.
pub const SIGN_EXAMPLES: &str = "\
Examples:
  A key for signing, and its public half:
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out team.key; chmod 600 team.key
    openssl pkey -in team.key -pubout -out team.pem

  Sign a model before it is sealed, and keep the signature beside the folder:
    adyton sign ./llama --sign-key team.key --out llama.sig";

/// Shown under the help of `adyton verify-signature`.
pub const VERIFY_EXAMPLES: &str = "\
Examples:
  With the signer's key:
    adyton verify-signature ./llama --signature llama.sig --key team.pem

  With certificates of a PKI of your own:
    adyton verify-signature ./llama --signature llama.sig --roots pki.pem

  Keyless, against a trust root in a file:
    adyton verify-signature ./llama --trust-root trusted_root.json --identity release@acme.example \\
        --issuer https://accounts.acme.example";

/// Arguments of `adyton sign`.
#[derive(Debug, Args)]
pub struct SignArgs {
    /// Folder of the plain model
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// P-256 private key, PEM (PKCS #8, mode 0600)
    #[arg(long, value_name = "FILE")]
    sign_key: PathBuf,
    /// Where to write the signature [default: DIR/model.sig]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Name of the model in the statement [default: the folder's]
    #[arg(long)]
    name: Option<String>,
}

/// Arguments of `adyton verify-signature`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("trust").required(true).args(["key", "roots", "trust_root"]))]
pub struct VerifySignatureArgs {
    /// Folder of the plain model
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The signature [default: DIR/model.sig]
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// The signer's public key, PEM
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Roots of the signer's certificate, PEM
    #[arg(long, value_name = "FILE")]
    roots: Option<PathBuf>,
    /// Trust root of sigstore: authorities and logs, JSON
    #[arg(long, value_name = "FILE", requires = "identity", requires = "issuer")]
    trust_root: Option<PathBuf>,
    /// Mail address, URI of a workflow or name that must have signed
    #[arg(long, requires = "trust_root")]
    identity: Option<String>,
    /// URL of the OpenID Connect provider that vouches for it
    #[arg(long, value_name = "URL", requires = "trust_root")]
    issuer: Option<String>,
}

/// Runs `adyton sign`.
///
/// # Errors
/// [`Failure`] of the folder, the key or the output.
pub fn run_sign(args: &SignArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let pem = file::read_secret("signing key", &args.sign_key, MAX_TRUST_FILE_BYTES as u64)?;
    let key = SigningKey::from_pem(&pem).map_err(|error| bad_trust(&args.sign_key, &error))?;
    let out = args.out.clone().unwrap_or_else(|| args.folder.join(SIGNATURE_NAME));
    let measured = measured(&args.folder, Hashing::Files)?;
    let files: Vec<(String, [u8; 32])> = measured
        .iter()
        .filter_map(|file| Some((file.path.clone(), *file.sha256.first()?)))
        .collect();
    let folder = args.folder.canonicalize().map_err(|error| unreadable(&args.folder, &error))?;
    let named = || folder.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = args.name.clone().or_else(named).unwrap_or_else(|| "model".to_owned());
    let bundle = sign(&key, &name, &files, &[SIGNATURE_NAME]).map_err(|error| {
        Failure::new(Exit::Internal, "sign", "the model was not signed")
            .remedy("try another key; openssl genpkey makes one (adyton sign --help)")
            .caused_by(&error)
    })?;
    file::write_atomically("signature", &out, &bundle)?;
    let public = key.public_key().map_err(|error| bad_trust(&args.sign_key, &error))?;
    let signer = Signer::Key { spki_sha256: hex::encode(public.spki_sha256()) };
    told("signed", &name, &signer, files.len(), Some(&out), context)
}

/// Runs `adyton verify-signature`.
///
/// # Errors
/// [`Failure`] of the files; an integrity failure when the signature is not the trusted signer's, or the files are
/// not those that were signed.
pub fn run_verify(args: &VerifySignatureArgs, context: &mut Context<'_>) -> Result<(), Failure> {
    let trust = trust(args)?;
    let path = args.signature.clone().unwrap_or_else(|| args.folder.join(SIGNATURE_NAME));
    let bytes = file::read("signature", &path, MAX_BUNDLE_BYTES as u64)?;
    let statement = Bundle::parse(&bytes)
        .map_err(SignatureError::from)
        .and_then(|bundle| verify(&bundle, &trust))
        .map_err(|error| refused(&error))?;
    let measured = measured(&args.folder, statement.hashing())?;
    let signed = statement.covers(&measured).map_err(|error| refused(&error.into()))?;
    let name = args.folder.display().to_string();
    told("signature is good", &name, signed.signer(), measured.len(), None, context)
}

fn trust(args: &VerifySignatureArgs) -> Result<Trust, Failure> {
    let read = |path: &Path| file::read("trust file", path, MAX_TRUST_FILE_BYTES as u64);
    if let Some(path) = &args.key {
        let key = PublicKey::from_pem(&read(path)?).map_err(|error| bad_trust(path, &error))?;
        return Ok(Trust::Key(key));
    }
    if let Some(path) = &args.roots {
        let none = "no certificates in PEM";
        return Roots::from_pem(&read(path)?)
            .map(Trust::Roots)
            .ok_or_else(|| bad_trust(path, &std::io::Error::other(none)));
    }
    let (Some(path), Some(identity), Some(issuer)) =
        (&args.trust_root, &args.identity, &args.issuer)
    else {
        return Err(Failure::new(Exit::Usage, "usage", "nobody to trust was named")
            .expected("--key, --roots, or --trust-root with --identity and --issuer")
            .remedy("adyton verify-signature --help"));
    };
    let root = TrustedRoot::parse(&read(path)?).map_err(|error| bad_trust(path, &error))?;
    let identity = Identity { identity: identity.clone(), issuer: issuer.clone() };
    Ok(Trust::Keyless { root: Box::new(root), identity })
}

/// A digest of every file of the folder but the signature itself, by as many threads as there are processors.
fn measured(folder: &Path, hashing: Hashing) -> Result<Vec<FileDigests>, Failure> {
    let mut paths = Vec::new();
    walk(folder, "", &mut paths)?;
    paths.sort();
    let measuring = match hashing {
        Hashing::Files => Measuring::Files,
        Hashing::Shards(size) => Measuring::Shards(size),
    };
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(paths.len())));
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(paths.len()) {
            scope.spawn(|| {
                while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let at = folder.join(path);
                    let digests = fs::File::open(&at).and_then(|file| {
                        let size = file.metadata()?.len();
                        Ok(FileDigests {
                            path: path.clone(),
                            size,
                            sha256: measure::digests_of(file, measuring)?,
                        })
                    });
                    let digests = digests.map_err(|error| unreadable(&at, &error));
                    done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(digests);
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.into_iter().collect()
}

fn walk(folder: &Path, prefix: &str, paths: &mut Vec<String>) -> Result<(), Failure> {
    for entry in fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        let path = entry.path();
        let name = entry.file_name();
        let relative = match name.to_str() {
            Some(name) => format!("{prefix}{name}"),
            None => return Err(not_a_file(&path, "a name that is not UTF-8")),
        };
        let kind = entry.file_type().map_err(|error| unreadable(&path, &error))?;
        if kind.is_dir() {
            walk(&path, &format!("{relative}/"), paths)?;
        } else if !kind.is_file() {
            return Err(not_a_file(&path, "a link, device, pipe or socket"));
        } else if relative != SIGNATURE_NAME {
            ModelPath::parse(&relative).map_err(|error| {
                not_a_file(&path, "a name that a sealed model cannot have").caused_by(&error)
            })?;
            paths.push(relative);
        }
    }
    Ok(())
}

fn told(
    done: &str,
    model: &str,
    signer: &Signer,
    files: usize,
    out: Option<&Path>,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let mut facts = Facts::new();
    facts.add("model", Cell::new(Tone::Strong, model));
    facts.add("signer", signer.to_string());
    facts.add("files", files.to_string());
    if let Some(out) = out {
        facts.add("signature", out.display().to_string());
    }
    let paint = context.console.paint();
    let text = format!("{} {done}\n{}", paint.text(Tone::Good, "✓"), facts.render(paint));
    let out = out.map(|out| out.display().to_string());
    let json = json!({ "model": model, "signer": signer, "files": files, "signature": out });
    context.console.result(&text, &json)
}

fn refused(error: &SignatureError) -> Failure {
    Failure::new(Exit::Integrity, error.code(), "the model does not count as signed")
        .expected("a signature by whom you trust, over every file of the folder and no other")
        .remedy(error.remedy())
        .caused_by(error)
}

fn bad_trust(path: &Path, error: &(dyn std::error::Error + 'static)) -> Failure {
    let message = format!("{} cannot be used", path.display());
    Failure::new(Exit::Malformed, "signature.key", message)
        .expected("a key or certificates in PEM, or a trust root in JSON")
        .remedy("check the file; adyton sign --help shows how to make a key")
        .caused_by(error)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Usage, "signature.folder", format!("{} cannot be read", path.display()))
        .expected("a readable folder of plain files")
        .remedy("check the path and its permissions")
        .caused_by(error)
}

fn not_a_file(path: &Path, kind: &'static str) -> Failure {
    Failure::new(Exit::Usage, "signature.not-a-file", format!("{} is {kind}", path.display()))
        .got(kind)
        .expected("a folder of plain files, as it is sealed")
        .remedy("leave it out, or put the file itself in its place")
}
