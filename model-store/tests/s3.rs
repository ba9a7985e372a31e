//! S3, as a server of somebody else speaks it: pushed, read, spoiled on the way.

mod stand;

use std::sync::Arc;

use adyton_model_store::{Access, Existing, PushError, PushReport, Source, StoreSettings, push};
use adyton_sealed_weights::{NoProgress, Storage, StorageError};
use stand::model::Model;
use stand::s3::{self, BUCKET, Server};
use stand::{Gate, Request, Spoil, is_refused, is_unavailable};

struct Stand {
    server: Server,
    gate: Gate,
    settings: StoreSettings,
    source: Source,
    model: Model,
}

impl Stand {
    fn new() -> Self {
        let server = Server::start();
        let gate = Gate::before_server(server.address);
        let settings = s3::settings(&gate.url());
        let source = stand::source(&format!("s3://{BUCKET}/acme/x"));
        Self { server, gate, settings, source, model: Model::seal() }
    }

    fn push(&self) -> Result<PushReport, PushError> {
        push(&self.model.sealed(), &self.source, &self.settings, Existing::Keep, &NoProgress)
    }

    fn pushed() -> Self {
        let stand = Self::new();
        stand.push().expect("pushed");
        stand
    }

    fn storage(&self) -> Arc<dyn Storage> {
        self.source.storage(&self.settings).expect("storage")
    }

    /// Reads most of the large object.
    fn read(&self) -> Result<(), StorageError> {
        let object = self.storage().open("weights.dat.sealed")?;
        let mut buffer = vec![0; 1 << 20];
        object.read_exact_at(4096, &mut buffer)?;
        let whole = std::fs::read(self.model.sealed().join("weights.dat.sealed")).expect("read");
        assert!(whole[4096..4096 + buffer.len()] == buffer, "other bytes");
        Ok(())
    }
}

#[test]
fn a_model_that_was_pushed_to_a_bucket_opens_from_there() {
    let stand = Stand::new();
    let report = stand.push().expect("pushed");
    assert_eq!((report.sent, report.skipped, &report.source), (4, 0, &stand.source));
    stand.model.opens_from(stand.storage());
    let parts = |r: &Request| r.method == "PUT" && r.target.contains("partNumber");
    assert_eq!(stand.gate.log().iter().filter(|r| parts(r)).count(), 2, "9 MiB are two parts");
}

#[test]
fn what_is_in_the_bucket_already_is_not_sent_again() {
    let stand = Stand::pushed();
    let report = stand.push().expect("pushed");
    assert_eq!((report.sent, report.skipped, report.sent_bytes), (0, 4, 0));
}

#[test]
fn an_object_of_the_same_length_with_other_bytes_is_sent_again() {
    let stand = Stand::new();
    let other = Model::seal();
    let to = stand.source.clone();
    push(&other.sealed(), &to, &stand.settings, Existing::Keep, &NoProgress).expect("pushed");
    let report = push(&stand.model.sealed(), &to, &stand.settings, Existing::Replace, &NoProgress);
    assert_eq!(report.expect("pushed").sent, 4);
    stand.model.opens_from(stand.storage());
}

#[test]
fn a_part_that_failed_is_sent_again() {
    let stand = Stand::new();
    let part = |r: &Request| r.target.contains("partNumber=2");
    stand.gate.spoil(part, Spoil::Status(500, vec![]));
    stand.push().expect("pushed");
    stand.model.opens_from(stand.storage());
}

#[test]
fn an_upload_that_cannot_go_on_is_given_up_and_there_is_no_model() {
    let stand = Stand::new();
    for _ in 0..3 {
        let part = |r: &Request| r.target.contains("partNumber=2");
        stand.gate.spoil(part, Spoil::Status(500, vec![]));
    }
    let error = stand.push().expect_err("broken off");
    assert!(
        matches!(&error, PushError::Fault { name, .. } if name == "weights.dat.sealed"),
        "{error:?}"
    );
    assert!(stand.gate.log().iter().any(|r| r.method == "DELETE" && r.target.contains("uploadId")));
    let read = stand.storage().read_small("model.json", 1 << 20);
    assert!(matches!(read, Err(StorageError::Missing)), "{read:?}");
}

#[test]
fn faults_on_the_way_are_recovered_from() {
    let stand = Stand::pushed();
    for spoil in [
        Spoil::Drip,
        Spoil::Status(500, vec![]),
        Spoil::Status(503, vec![("Retry-After", "0".to_owned())]),
        Spoil::Status(416, vec![]),
        Spoil::CutAfter(500_000),
        Spoil::ContentRange("bytes 0-1048575/9480192"),
        Spoil::ShorterBy(7),
    ] {
        stand.gate.spoil_part(spoil.clone());
        stand.read().unwrap_or_else(|error| panic!("{spoil:?}: {error:?}"));
    }
}

#[test]
fn an_answer_about_another_range_that_stays_makes_the_bucket_unavailable() {
    let stand = Stand::pushed();
    for _ in 0..3 {
        stand.gate.spoil_part(Spoil::ContentRange("bytes 0-1048575/9480192"));
    }
    let error = stand.read().expect_err("another range");
    assert!(is_unavailable(&error, "wrong-range"), "{error:?}");
}

#[test]
fn an_object_that_is_replaced_while_it_is_read_has_changed() {
    let stand = Stand::pushed();
    let object = stand.storage().open("weights.dat.sealed").expect("it opens");
    object.read_exact_at(0, &mut [0; 4096]).expect("read");
    let other = Model::seal();
    let to = stand.source.clone();
    push(&other.sealed(), &to, &stand.settings, Existing::Replace, &NoProgress).expect("pushed");
    let error = object.read_exact_at(4096, &mut [0; 4096]).expect_err("replaced");
    assert!(matches!(error, StorageError::Changed), "{error:?}");
}

#[test]
fn an_object_that_is_not_in_the_bucket_is_missing() {
    let stand = Stand::new();
    assert!(matches!(stand.storage().open("x.sealed"), Err(StorageError::Missing)));
    let read = stand.storage().read_small("model.json", 10);
    assert!(matches!(read, Err(StorageError::Missing)), "{read:?}");
}

#[test]
fn a_small_object_that_is_not_small_is_refused() {
    let stand = Stand::pushed();
    let error = stand.storage().read_small("weights.dat.sealed", 1000).expect_err("large");
    assert!(matches!(error, StorageError::TooLarge { limit: 1000, .. }), "{error:?}");
}

#[test]
fn a_wrong_secret_and_no_secret_are_refused_at_once() {
    let stand = Stand::pushed();
    let before = stand.gate.log().len();
    let wrong = s3::with_secret(&stand.gate.url(), "another");
    let nobody = StoreSettings { access: Access::Anonymous, ..stand.settings.clone() };
    for settings in [wrong, nobody] {
        let storage = stand.source.storage(&settings).expect("storage");
        let error = storage.read_small("model.json", 1 << 20).expect_err("refused");
        assert!(is_refused(&error, "refused"), "{error:?}");
    }
    assert_eq!(stand.gate.log().len() - before, 2);
}

#[test]
fn the_secret_goes_over_the_wire_in_no_request() {
    let stand = Stand::pushed();
    stand.read().expect("read");
    for request in stand.gate.log() {
        let text = format!("{} {:?}", request.target, request.fields);
        assert!(!text.contains("wJalrXUtnFEMI"), "{text}");
        assert!(request.field("authorization").is_some_and(|a| a.starts_with("AWS4-HMAC-SHA256")));
    }
    assert!(stand.server.root.path().join(BUCKET).join("acme/x/model.json").is_file());
}
