//! A model that was pushed is the model that was sealed; a push that was broken off goes on.

mod stand;

use std::sync::Arc;

use adyton_model_store::{Existing, PushError, PushReport, Source, push};
use adyton_sealed_weights::{NoProgress, Storage, StorageError};
use stand::model::{Model, files};
use stand::objects::{self, Server};
use stand::{Gate, Objects, Request, Spoil};

fn send(model: &Model, to: &Source, existing: Existing) -> Result<PushReport, PushError> {
    push(&model.sealed(), to, &stand::settings(), existing, &NoProgress)
}

fn web() -> (Gate, Objects, Source) {
    let objects = objects::of(&[]);
    let gate = Gate::before(objects::behind(Arc::clone(&objects), Server::Conditional));
    let to = stand::source(&format!("{}/models/x", gate.url()));
    (gate, objects, to)
}

fn storage(of: &Source) -> Arc<dyn Storage> {
    of.storage(&stand::settings()).expect("storage")
}

fn is_put(request: &Request) -> bool {
    request.method == "PUT"
}

#[test]
fn a_model_that_was_pushed_to_a_folder_opens_from_there() {
    let model = Model::seal();
    let to = Source::Folder(model.folder.path().join("a/b"));
    let report = send(&model, &to, Existing::Keep).expect("pushed");
    assert_eq!((report.sent, report.skipped, &report.source), (4, 0, &to));
    model.opens_from(storage(&to));
    assert_eq!(files(to.folder().expect("folder")), files(&model.sealed()));
}

#[test]
fn a_model_that_was_pushed_to_a_web_server_opens_from_there() {
    let model = Model::seal();
    let (_gate, _, to) = web();
    let report = send(&model, &to, Existing::Keep).expect("pushed");
    assert_eq!((report.sent, report.skipped), (4, 0));
    model.opens_from(storage(&to));
}

#[test]
fn the_manifest_goes_last() {
    let model = Model::seal();
    let (gate, _, to) = web();
    send(&model, &to, Existing::Keep).expect("pushed");
    let puts: Vec<String> =
        gate.log().into_iter().filter(is_put).map(|request| request.target).collect();
    assert_eq!(puts.len(), 4);
    assert_eq!(puts.last().map(String::as_str), Some("/models/x/model.json"));
}

#[test]
fn a_push_that_was_broken_off_left_no_model_and_goes_on_with_what_is_missing() {
    let model = Model::seal();
    let (gate, _, to) = web();
    gate.spoil(|r| is_put(r) && r.target.contains("weights"), Spoil::Status(403, vec![]));
    let error = send(&model, &to, Existing::Keep).expect_err("broken off");
    assert!(
        matches!(&error, PushError::Fault { name, source }
        if name == "weights.dat.sealed" && source.code() == "refused"),
        "{error:?}"
    );
    let read = storage(&to).read_small("model.json", 1 << 20);
    assert!(matches!(read, Err(StorageError::Missing)), "{read:?}");

    let report = send(&model, &to, Existing::Keep).expect("pushed");
    assert!(report.sent >= 2 && report.sent + report.skipped == 4, "{report:?}");
    let again = send(&model, &to, Existing::Keep).expect("pushed");
    assert_eq!((again.sent, again.skipped, again.sent_bytes), (0, 4, 0));
    model.opens_from(storage(&to));
}

#[test]
fn a_server_that_is_busy_is_sent_the_object_again() {
    let model = Model::seal();
    let (gate, _, to) = web();
    gate.spoil(is_put, Spoil::Status(503, vec![]));
    send(&model, &to, Existing::Keep).expect("pushed");
    model.opens_from(storage(&to));
}

#[test]
fn an_object_that_was_damaged_where_it_lies_is_sent_again() {
    let model = Model::seal();
    let to = Source::Folder(model.folder.path().join("copy"));
    send(&model, &to, Existing::Keep).expect("pushed");
    let damaged = to.folder().expect("folder").join("weights.dat.sealed");
    let mut bytes = std::fs::read(&damaged).expect("read");
    bytes[1 << 20] ^= 1;
    std::fs::write(&damaged, bytes).expect("written");
    let report = send(&model, &to, Existing::Keep).expect("pushed");
    assert_eq!((report.sent, report.skipped), (1, 3));
    model.opens_from(storage(&to));
}

#[test]
fn another_model_is_replaced_only_when_that_is_wanted() {
    let (model, other) = (Model::seal(), Model::seal());
    let (_gate, _, to) = web();
    send(&other, &to, Existing::Keep).expect("pushed");
    let error = send(&model, &to, Existing::Keep).expect_err("occupied");
    assert!(matches!(&error, PushError::Occupied { .. }), "{error:?}");
    other.opens_from(storage(&to));
    send(&model, &to, Existing::Replace).expect("pushed");
    model.opens_from(storage(&to));
}

#[test]
fn a_folder_that_is_no_sealed_model_is_not_pushed() {
    let model = Model::seal();
    let (gate, _, to) = web();
    let plain = model.folder.path().join("plain");
    let error =
        push(&plain, &to, &stand::settings(), Existing::Keep, &NoProgress).expect_err("plain");
    assert!(matches!(error, PushError::Model(_)), "{error:?}");
    let cut = model.sealed().join("weights.dat.sealed");
    let file = std::fs::File::options().write(true).open(cut).expect("file");
    file.set_len(4096).expect("cut");
    let error = send(&model, &to, Existing::Keep).expect_err("cut");
    assert!(
        matches!(&error, PushError::Local { name, .. } if name == "weights.dat.sealed"),
        "{error:?}"
    );
    assert!(gate.log().is_empty());
}
