//! What is not sealed, and that nothing is left of what could not be.

mod fixture;

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use adyton_sealed_weights::formats::FormatError;
use adyton_sealed_weights::path::PathRule;
use adyton_sealed_weights::{
    FileFormat, ManifestError, NoProgress, Progress, Recipient, RiskyFormat, SealError, SealJob,
    SealOptions,
};
use fixture::{Model, contents, insecure, model_key, options, write_source};

struct Folders {
    root: tempfile::TempDir,
}

impl Folders {
    fn with(files: &[(&str, &[u8])]) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("source")).unwrap();
        write_source(&root.path().join("source"), files);
        Self { root }
    }

    fn source(&self) -> PathBuf {
        self.root.path().join("source")
    }

    fn out(&self) -> PathBuf {
        self.root.path().join("sealed")
    }

    fn job(&self) -> Result<SealJob, SealError> {
        SealJob::new(&self.source(), &self.out(), options())
    }

    fn refusal(&self) -> SealError {
        let error = self.job().map(drop).expect_err("the source must be refused");
        assert!(!error.remedy().is_empty());
        self.assert_nothing_but_the_source();
        error
    }

    fn assert_nothing_but_the_source(&self) {
        let names: Vec<_> =
            fs::read_dir(self.root.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["source"]);
    }
}

#[test]
fn a_source_with_a_link_or_a_pipe_is_refused() {
    let folders = Folders::with(&[("a", b"weights")]);
    symlink("a", folders.source().join("link")).unwrap();
    assert!(matches!(folders.refusal(), SealError::NotAFile { kind: "a symbolic link", .. }));
    fs::remove_file(folders.source().join("link")).unwrap();
    symlink("/etc", folders.source().join("folder")).unwrap();
    assert!(matches!(folders.refusal(), SealError::NotAFile { kind: "a symbolic link", .. }));
    fs::remove_file(folders.source().join("folder")).unwrap();
    assert!(Command::new("mkfifo").arg(folders.source().join("pipe")).status().unwrap().success());
    assert!(matches!(folders.refusal(), SealError::NotAFile { kind: "a pipe", .. }));
}

#[test]
fn names_that_could_not_be_opened_again_are_refused() {
    for (name, rule) in [
        (&b"model.json"[..], PathRule::Reserved),
        (b"a.sealed", PathRule::Reserved),
        (b"a\nb", PathRule::Character),
        (b"a\\b", PathRule::Character),
        (b"\xFF", PathRule::NotUtf8),
        ("e\u{301}".as_bytes(), PathRule::Invisible),
    ] {
        let folders = Folders::with(&[]);
        fs::write(folders.source().join(OsStr::from_bytes(name)), b"x").unwrap();
        let error = folders.refusal();
        assert!(matches!(&error, SealError::Path(path) if path.rule == rule), "{error:?}");
    }
}

#[test]
fn names_that_differ_in_case_only_are_refused_and_nothing_is_left() {
    let folders = Folders::with(&[("Weights.dat", b"1"), ("weights.dat", b"2")]);
    let job = folders.job().unwrap();
    let recipient = Recipient::wrap(&model_key(), &job.model_id(), job.content_key()).unwrap();
    let error = job.run(vec![recipient], &NoProgress).unwrap_err();
    assert!(matches!(error, SealError::Manifest(ManifestError::Collision { .. })), "{error:?}");
    folders.assert_nothing_but_the_source();
}

#[test]
fn an_empty_or_missing_source_is_refused() {
    let folders = Folders::with(&[]);
    assert!(matches!(folders.refusal(), SealError::Empty { .. }));
    let missing = folders.root.path().join("missing");
    let error = SealJob::new(&missing, &folders.out(), options()).map(drop).unwrap_err();
    assert!(matches!(error, SealError::Io { .. }));
}

#[test]
fn names_and_versions_of_models_have_rules() {
    let folders = Folders::with(&[("a", b"weights")]);
    let refusal = |options| SealJob::new(&folders.source(), &folders.out(), options).map(drop);
    for name in ["", "a b", "ä", "a\n", &"a".repeat(129)] {
        let error = refusal(SealOptions { name: name.into(), ..options() });
        assert!(matches!(error, Err(SealError::Manifest(ManifestError::Name { .. }))), "{name}");
    }
    for version in [0, 1 << 53] {
        let error = refusal(SealOptions { version, ..options() });
        assert!(matches!(
            error,
            Err(SealError::Manifest(ManifestError::Bound { field: "version", .. }))
        ));
    }
}

#[test]
fn an_output_that_is_not_new_or_lies_in_the_source_is_refused() {
    let folders = Folders::with(&[("a", b"weights")]);
    let refusal = |out: &Path| SealJob::new(&folders.source(), out, options()).map(drop);
    assert!(matches!(refusal(&folders.source()), Err(SealError::OutputExists { .. })));
    assert!(matches!(refusal(&folders.source().join("a")), Err(SealError::OutputExists { .. })));
    assert!(matches!(refusal(&folders.source().join("b")), Err(SealError::Overlap { .. })));
    assert!(matches!(refusal(&folders.root.path().join("x/y")), Err(SealError::Io { .. })));
}

#[test]
fn an_empty_output_folder_is_filled() {
    let folders = Folders::with(&[("a", b"weights")]);
    fs::create_dir(folders.out()).unwrap();
    let job = folders.job().unwrap();
    let recipient = Recipient::wrap(&model_key(), &job.model_id(), job.content_key()).unwrap();
    let report = job.run(vec![recipient], &NoProgress).unwrap();
    assert_eq!((report.files, report.plaintext_bytes), (1, 7));
    assert!(folders.out().join("model.json").exists() && folders.out().join("a.sealed").exists());
}

#[test]
fn a_model_for_nobody_is_not_sealed() {
    let folders = Folders::with(&[("a", b"weights")]);
    let error = folders.job().unwrap().run(vec![], &NoProgress).unwrap_err();
    assert!(matches!(error, SealError::NoRecipients));
    folders.assert_nothing_but_the_source();
}

/// Writes to a source file while it is being sealed.
struct Meddles(PathBuf);

impl Progress for Meddles {
    fn total(&self, _: u64) {
        OpenOptions::new().append(true).open(&self.0).unwrap().write_all(b"more").unwrap();
    }
    fn advance(&self, _: u64) {}
}

/// Cuts a source file while it is being sealed.
struct Cuts(PathBuf);

impl Progress for Cuts {
    fn total(&self, _: u64) {}
    fn advance(&self, _: u64) {
        OpenOptions::new().write(true).open(&self.0).unwrap().set_len(5).unwrap();
    }
}

#[test]
fn a_source_that_changes_while_it_is_sealed_is_refused_and_nothing_is_left() {
    for cut in [true, false] {
        let folders = Folders::with(&[("a", &contents(5_000_000))]);
        let file = folders.source().join("a");
        let progress: Box<dyn Progress> =
            if cut { Box::new(Cuts(file)) } else { Box::new(Meddles(file)) };
        let job = folders.job().unwrap();
        let recipient = Recipient::wrap(&model_key(), &job.model_id(), job.content_key()).unwrap();
        let error = job.run(vec![recipient], progress.as_ref()).unwrap_err();
        assert!(matches!(error, SealError::SourceChanged { .. }), "{error:?}");
        folders.assert_nothing_but_the_source();
    }
}

#[test]
fn formats_that_run_code_are_sealed_and_opened_only_when_allowed_by_name() {
    for (name, bytes, risk, format) in [
        ("model.bin", &b"x"[..], RiskyFormat::Pickle, FileFormat::Pickle),
        ("weights.dat", b"\x80\x04N.", RiskyFormat::Pickle, FileFormat::Pickle),
        ("a.npz", b"PK\x03\x04", RiskyFormat::Zip, FileFormat::Zip),
        ("model.py", b"pass", RiskyFormat::Python, FileFormat::Python),
        ("helper", b"\x7FELF", RiskyFormat::NativeCode, FileFormat::NativeCode),
    ] {
        let error = Folders::with(&[(name, bytes)]).refusal();
        assert!(
            matches!(
                &error,
                SealError::Format { source: FormatError::NotAllowed { format, .. }, .. }
                if *format == risk
            ),
            "{error:?}"
        );
        let model = Model::seal_allowing(&[(name, bytes)], vec![risk]);
        let target = tempfile::tempdir().unwrap();
        let unlocked = model.unlock();
        assert_eq!(unlocked.manifest().files()[0].format(), format);
        let opened = unlocked.open_with(target.path(), &insecure(), &NoProgress).unwrap();
        assert_eq!(fs::read(opened.path().join(name)).unwrap(), bytes);
    }
}

#[test]
fn an_unsound_weights_header_is_not_sealed() {
    let error = Folders::with(&[("a.safetensors", b"not a header")]).refusal();
    assert!(matches!(error, SealError::Format { source: FormatError::Safetensors(_), .. }));
    let error = Folders::with(&[("a.gguf", b"not a header")]).refusal();
    assert!(matches!(error, SealError::Format { source: FormatError::Gguf(_), .. }));
    let error = Folders::with(&[("renamed.dat", b"GGUF and more")]).refusal();
    assert!(matches!(error, SealError::Format { source: FormatError::Gguf(_), .. }));
}
