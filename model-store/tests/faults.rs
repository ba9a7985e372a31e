//! Every way in which a store may fail, and whether the reader recovers or says why not.

mod stand;

use std::sync::Arc;
use std::time::Duration;

use adyton_model_store::{Access, Credentials, Fault, StoreSettings};
use adyton_sealed_weights::{Storage, StorageError, StoredObject};
use stand::objects::{self, Server};
use stand::{Answer, Gate, Objects, Spoil, fault_of, is_refused, is_unavailable, pattern};

const LEN: usize = 300_000;
const NAME: &str = "x.sealed";

struct Stand {
    gate: Gate,
    objects: Objects,
    storage: Arc<dyn Storage>,
}

impl Stand {
    fn new() -> Self {
        Self::with(Server::Conditional, &stand::settings())
    }

    fn with(server: Server, settings: &StoreSettings) -> Self {
        let objects = objects::of(&[("m/x.sealed", pattern(LEN)), ("m/model.json", pattern(500))]);
        let gate = Gate::before(objects::behind(Arc::clone(&objects), server));
        let storage =
            stand::source(&format!("{}/m", gate.url())).storage(settings).expect("storage");
        Self { gate, objects, storage }
    }

    fn open(&self) -> Box<dyn StoredObject> {
        self.storage.open(NAME).expect("it opens")
    }

    fn replace(&self, bytes: Vec<u8>) {
        self.objects.lock().expect("lock").insert("m/x.sealed".to_owned(), bytes);
    }
}

fn read(object: &dyn StoredObject, offset: usize, len: usize) -> Result<(), StorageError> {
    let mut buffer = vec![0; len];
    object.read_exact_at(offset as u64, &mut buffer)?;
    assert!(buffer == pattern(LEN)[offset..offset + len], "other bytes than those of the object");
    Ok(())
}

/// Spoils one answer, and expects the read to come to its end all the same.
fn recovers_from(spoil: Spoil) -> Gate {
    let stand = Stand::new();
    let object = stand.open();
    stand.gate.spoil_part(spoil);
    read(object.as_ref(), 1000, 200_000).expect("it recovers");
    stand.gate
}

/// Spoils every answer, and says how the read ends.
fn ends_with(spoil: Spoil) -> (StorageError, Gate) {
    let stand = Stand::new();
    let object = stand.open();
    for _ in 0..16 {
        stand.gate.spoil_part(spoil.clone());
    }
    (read(object.as_ref(), 1000, 200_000).expect_err("it cannot be read"), stand.gate)
}

#[test]
fn an_object_is_read_in_ranges_by_several_threads() {
    let stand = Stand::new();
    let object = stand.open();
    assert_eq!(object.len(), LEN as u64);
    std::thread::scope(|scope| {
        for at in 0..10 {
            let object = object.as_ref();
            scope.spawn(move || read(object, at * 30_000, 30_000).expect("read"));
        }
    });
    assert_eq!(stand.gate.parts().len(), 10);
}

#[test]
fn no_more_requests_are_under_way_than_allowed() {
    let stand = Stand::new();
    let object = stand.open();
    std::thread::scope(|scope| {
        for at in 0..20 {
            let object = object.as_ref();
            stand.gate.spoil_part(Spoil::Drip);
            scope.spawn(move || read(object, at * 10_000, 10_000).expect("read"));
        }
    });
    assert_eq!(stand.storage.concurrency(), 4);
    assert!(stand.gate.most() <= 4, "{} at once", stand.gate.most());
}

#[test]
fn a_slow_store_is_waited_for() {
    assert_eq!(recovers_from(Spoil::Drip).parts().len(), 1);
}

#[test]
fn a_500_is_asked_again() {
    assert_eq!(recovers_from(Spoil::Status(500, vec![])).parts().len(), 2);
}

#[test]
fn a_503_with_retry_after_is_asked_again() {
    let spoil = Spoil::Status(503, vec![("Retry-After", "0".to_owned())]);
    assert_eq!(recovers_from(spoil).parts().len(), 2);
}

#[test]
fn a_500_that_stays_makes_the_storage_unavailable_after_all_attempts() {
    let (error, gate) = ends_with(Spoil::Status(500, vec![]));
    assert!(is_unavailable(&error, "busy"), "{error:?}");
    assert_eq!(gate.parts().len(), 3);
}

#[test]
fn a_403_is_a_refusal_and_not_asked_again() {
    let (error, gate) = ends_with(Spoil::Status(403, vec![]));
    assert!(is_refused(&error, "refused"), "{error:?}");
    assert_eq!(gate.parts().len(), 1);
}

#[test]
fn a_cut_connection_is_resumed_where_it_was_cut() {
    let gate = recovers_from(Spoil::CutAfter(150_000));
    let [first, second] = gate.parts().try_into().expect("two requests");
    assert_eq!(first, 1000..201_000);
    // Not every byte that was sent has to arrive before the end does.
    assert!(second.start > 1000 && second.start <= 151_000 && second.end == 201_000, "{second:?}");
}

#[test]
fn cuts_without_progress_end_as_unavailable() {
    let (error, gate) = ends_with(Spoil::CutAfter(0));
    assert!(is_unavailable(&error, "broke"), "{error:?}");
    assert_eq!(gate.parts().len(), 3);
}

#[test]
fn cuts_with_progress_are_resumed_more_often_than_attempts_allow() {
    let stand = Stand::new();
    let object = stand.open();
    for _ in 0..3 {
        stand.gate.spoil_part(Spoil::CutAfter(70_000));
    }
    read(object.as_ref(), 0, LEN).expect("read");
    assert!(stand.gate.parts().len() >= 4);
}

#[test]
fn a_wrong_content_range_is_asked_again_and_none_of_its_bytes_are_kept() {
    let gate = recovers_from(Spoil::ContentRange("bytes 0-199999/300000"));
    assert_eq!(gate.parts(), [1000..201_000, 1000..201_000]);
}

#[test]
fn a_wrong_content_range_that_stays_makes_the_storage_unavailable() {
    let (error, _) = ends_with(Spoil::ContentRange("bytes 0-199999/300000"));
    assert!(is_unavailable(&error, "wrong-range"), "{error:?}");
    match fault_of(&error) {
        Fault::WrongRange { wanted, got } => {
            assert_eq!((wanted.as_str(), got.as_str()), ("1000-200999", "bytes 0-199999/300000"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_body_shorter_than_its_range_is_not_taken() {
    let (error, _) = ends_with(Spoil::ShorterBy(1));
    assert!(is_unavailable(&error, "wrong-range"), "{error:?}");
}

#[test]
fn a_body_longer_than_its_range_is_not_taken() {
    let (error, _) = ends_with(Spoil::LongerBy(1));
    assert!(is_unavailable(&error, "too-long"), "{error:?}");
}

#[test]
fn a_server_without_ranges_is_refused() {
    let (error, gate) = ends_with(Spoil::Whole);
    assert!(is_refused(&error, "no-ranges"), "{error:?}");
    assert_eq!(gate.parts().len(), 1);
}

#[test]
fn a_416_for_an_object_that_did_not_change_is_asked_again() {
    assert_eq!(recovers_from(Spoil::Status(416, vec![])).parts().len(), 2);
}

#[test]
fn a_416_for_an_object_that_became_shorter_means_that_it_changed() {
    let stand = Stand::with(Server::Bare, &stand::settings());
    let object = stand.open();
    stand.replace(pattern(5000));
    let error = read(object.as_ref(), 1000, 200_000).expect_err("changed");
    assert!(matches!(error, StorageError::Changed), "{error:?}");
}

#[test]
fn an_object_that_is_replaced_while_it_is_read_has_changed() {
    for server in [Server::Conditional, Server::Deaf] {
        let stand = Stand::with(server, &stand::settings());
        let object = stand.open();
        read(object.as_ref(), 0, 1000).expect("read");
        stand.replace(vec![0; LEN]);
        let error = read(object.as_ref(), 1000, 1000).expect_err("changed");
        assert!(matches!(error, StorageError::Changed), "{server:?}: {error:?}");
    }
}

#[test]
fn an_object_without_an_etag_that_grew_has_changed() {
    let stand = Stand::with(Server::Bare, &stand::settings());
    let object = stand.open();
    stand.replace(pattern(LEN + 1));
    let error = read(object.as_ref(), 0, 1000).expect_err("changed");
    assert!(matches!(error, StorageError::Changed), "{error:?}");
}

#[test]
fn a_read_beyond_the_object_asks_nobody() {
    let stand = Stand::new();
    let object = stand.open();
    let error = object.read_exact_at(LEN as u64, &mut [0; 2]).expect_err("beyond");
    assert!(matches!(error, StorageError::Changed));
    assert!(stand.gate.parts().is_empty());
}

#[test]
fn an_object_that_is_not_there_is_missing() {
    let stand = Stand::new();
    for name in ["y.sealed", "sub/x.sealed"] {
        assert!(matches!(stand.storage.open(name), Err(StorageError::Missing)));
        assert!(matches!(stand.storage.read_small(name, 10), Err(StorageError::Missing)));
    }
    assert_eq!(stand.gate.log().len(), 4);
}

#[test]
fn a_name_that_climbs_is_refused_before_anybody_is_asked() {
    let stand = Stand::new();
    let error = stand.storage.open("../x.sealed").expect_err("refused");
    assert!(is_refused(&error, "name"), "{error:?}");
    assert!(stand.gate.log().is_empty());
}

#[test]
fn a_store_that_does_not_answer_is_unavailable() {
    let mut settings = stand::settings();
    settings.timeouts.connect = Duration::from_millis(50);
    settings.timeouts.first_byte = Duration::from_millis(50);
    let stand = Stand::with(Server::Conditional, &settings);
    for _ in 0..3 {
        stand.gate.spoil(|_| true, Spoil::Silence);
    }
    let error = stand.storage.open(NAME).expect_err("silence");
    assert!(is_unavailable(&error, "first-byte-timeout"), "{error:?}");
}

#[test]
fn a_store_that_stops_in_the_middle_is_asked_for_the_rest() {
    let mut settings = stand::settings();
    settings.timeouts.progress = Duration::from_millis(200);
    let stand = Stand::with(Server::Conditional, &settings);
    let object = stand.open();
    stand.gate.spoil_part(Spoil::StallAfter(100_000));
    read(object.as_ref(), 0, 200_000).expect("it recovers");
    assert!(stand.gate.parts().last().expect("a request").start > 0);
}

#[test]
fn a_store_that_is_not_there_is_unavailable() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = port.local_addr().expect("address");
    drop(port);
    let source = stand::source(&format!("http://{address}/m"));
    let storage = source.storage(&stand::settings()).expect("storage");
    let error = storage.open(NAME).expect_err("nobody");
    assert!(is_unavailable(&error, "unreachable"), "{error:?}");
}

#[test]
fn a_small_object_is_read_up_to_its_limit() {
    let stand = Stand::new();
    assert_eq!(stand.storage.read_small("model.json", 500).expect("read"), pattern(500));
    let error = stand.storage.read_small("model.json", 499).expect_err("too large");
    assert!(matches!(error, StorageError::TooLarge { limit: 499, got: 500 }), "{error:?}");
}

#[test]
fn a_small_object_that_does_not_say_how_large_it_is_is_bounded_all_the_same() {
    let stand = Stand::new();
    stand.gate.spoil(|_| true, Spoil::LongerBy(1_000_000));
    let error = stand.storage.read_small("model.json", 1000).expect_err("too large");
    assert!(matches!(error, StorageError::TooLarge { limit: 1000, .. }), "{error:?}");
}

#[test]
fn a_small_object_that_was_cut_is_read_again() {
    let stand = Stand::new();
    stand.gate.spoil(|_| true, Spoil::CutAfter(100));
    assert_eq!(stand.storage.read_small("model.json", 500).expect("read"), pattern(500));
}

#[test]
fn nobody_beyond_this_machine_is_asked_without_tls() {
    let storage = stand::source("http://192.0.2.1/m").storage(&stand::settings()).expect("storage");
    let error = storage.open(NAME).expect_err("refused");
    assert!(is_refused(&error, "plain-http"), "{error:?}");
}

#[test]
fn a_redirect_is_followed_without_the_credentials() {
    let stand = Stand::new();
    let elsewhere = format!("{}/m/x.sealed", stand.gate.url());
    let first = Gate::before(Arc::new(move |_| Answer::new(307).field("Location", &elsewhere)));
    let credentials = Credentials::take(&mut b"bearer_token = 5ecret".to_vec()).expect("taken");
    let access = Access::Credentials(Arc::new(credentials));
    let settings = StoreSettings { access, ..stand::settings() };
    let source = stand::source(&format!("{}/m", first.url()));
    let object = source.storage(&settings).expect("storage").open(NAME).expect("it opens");
    read(object.as_ref(), 5, 100).expect("read");
    assert_eq!(first.log().len(), 2);
    assert!(first.log().iter().all(|asked| asked.field("authorization") == Some("Bearer 5ecret")));
    assert_eq!(stand.gate.log().len(), 2);
    assert!(stand.gate.log().iter().all(|asked| asked.field("authorization").is_none()));
}

#[test]
fn redirects_in_a_circle_are_refused() {
    let gate = Gate::before(Arc::new(|request: &stand::Request| {
        Answer::new(302).field("Location", &request.target)
    }));
    let source = stand::source(&format!("{}/m", gate.url()));
    let error =
        source.storage(&stand::settings()).expect("storage").open(NAME).expect_err("circle");
    assert!(is_refused(&error, "redirected"), "{error:?}");
    assert_eq!(gate.log().len(), 6);
}

#[test]
fn a_redirect_to_another_machine_without_tls_is_refused() {
    let gate = Gate::before(Arc::new(|_| Answer::new(302).field("Location", "http://192.0.2.1/x")));
    let source = stand::source(&format!("{}/m", gate.url()));
    let error = source.storage(&stand::settings()).expect("storage").open(NAME).expect_err("plain");
    assert!(is_refused(&error, "plain-http"), "{error:?}");
}
