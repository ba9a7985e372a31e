use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use super::*;

const A: Row<'static> = Row { name: "kbs:///a/b/c", epoch: 1 };
const B: Row<'static> = Row { name: "kbs:///a/b/d", epoch: 1 };

fn new_store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(folder.path()).expect("new store");
    store.write(|rows| rows.put(Table::Keys, A, b"the secret of A")).expect("written");
    (folder, store)
}

/// Writes sealed bytes past the sealing, as an editor of the file would.
fn plant(store: &Store, table: Table, row: Row<'_>, sealed: &[u8]) {
    let write = store.database.begin_write().expect("transaction");
    {
        let mut rows = write.open_table(table.definition()).expect("table");
        rows.insert(row.encode().as_slice(), sealed).expect("insert");
    }
    write.commit().expect("commit");
}

fn sealed(store: &Store, table: Table, row: Row<'_>) -> Vec<u8> {
    let read = store.database.begin_read().expect("transaction");
    let rows = read.open_table(table.definition()).expect("table");
    rows.get(row.encode().as_slice()).expect("get").expect("row").value().to_vec()
}

fn assert_not_authentic(store: &Store, table: Table, row: Row<'_>) {
    match store.value(table, row) {
        Err(StoreError::NotAuthentic { .. }) => {}
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn a_value_reads_back_after_a_restart() {
    let (folder, store) = new_store();
    drop(store);
    let store = Store::open(folder.path()).expect("opened again");
    let value = store.value(Table::Keys, A).expect("authentic").expect("present");
    assert_eq!(value.as_slice(), b"the secret of A");
    assert_eq!(store.value(Table::Keys, B).expect("no such row"), None);
}

#[test]
fn no_value_stands_in_clear_in_the_file() {
    let (folder, store) = new_store();
    drop(store);
    let bytes = fs::read(folder.path().join(STORE_FILE)).expect("store file");
    assert!(!bytes.windows(10).any(|window| window == b"the secret"));
    let mode = fs::metadata(folder.path().join(STORE_FILE)).expect("metadata").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn every_flipped_byte_of_a_value_is_noticed() {
    let (_folder, store) = new_store();
    let good = sealed(&store, Table::Keys, A);
    for index in 0..good.len() {
        let mut bad = good.clone();
        bad[index] ^= 1;
        plant(&store, Table::Keys, A, &bad);
        assert_not_authentic(&store, Table::Keys, A);
    }
}

#[test]
fn every_truncation_of_a_value_is_noticed() {
    let (_folder, store) = new_store();
    let good = sealed(&store, Table::Keys, A);
    for length in 0..good.len() {
        plant(&store, Table::Keys, A, &good[..length]);
        assert_not_authentic(&store, Table::Keys, A);
    }
}

#[test]
fn a_value_moved_to_another_row_table_or_epoch_is_noticed() {
    let (_folder, store) = new_store();
    let good = sealed(&store, Table::Keys, A);
    for (table, row) in [
        (Table::Keys, B),
        (Table::Keys, Row { epoch: 2, ..A }),
        (Table::Policies, A),
        (Table::Keys, Row { name: "kbs:///a/b/", epoch: 1 }),
    ] {
        plant(&store, table, row, &good);
        assert_not_authentic(&store, table, row);
    }
}

#[test]
fn two_seals_of_one_value_share_no_bytes_but_the_version() {
    let (_folder, store) = new_store();
    let first = sealed(&store, Table::Keys, A);
    store.write(|rows| rows.put(Table::Keys, A, b"the secret of A")).expect("written");
    let second = sealed(&store, Table::Keys, A);
    assert_ne!(first[1..33], second[1..33], "salt");
    assert_ne!(first[33..45], second[33..45], "nonce");
    assert_ne!(first[45..], second[45..], "ciphertext");
}

#[test]
fn a_root_key_that_others_can_read_is_refused() {
    let (folder, store) = new_store();
    drop(store);
    let path = folder.path().join(ROOT_KEY_FILE);
    fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("chmod");
    match Store::open(folder.path()) {
        Err(error @ StoreError::SecretFile(SecretFileError::OpenToOthers { mode: 0o644, .. })) => {
            assert!(error.finding().remedy.contains("chmod 600"), "{}", error.finding());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_root_key_of_another_length_is_refused() {
    for length in [0, 31, 33] {
        let (folder, store) = new_store();
        drop(store);
        fs::write(folder.path().join(ROOT_KEY_FILE), vec![7; length]).expect("written");
        let error = Store::open(folder.path()).expect_err("length");
        assert!(
            matches!(error, StoreError::SecretFile(SecretFileError::Length { .. })),
            "{error:?}"
        );
    }
}

#[test]
fn a_missing_root_key_beside_a_store_is_refused_and_not_made_anew() {
    let (folder, store) = new_store();
    drop(store);
    let path = folder.path().join(ROOT_KEY_FILE);
    fs::remove_file(&path).expect("removed");
    let error = Store::open(folder.path()).expect_err("missing");
    assert!(matches!(error, StoreError::RootKeyMissing { .. }), "{error:?}");
    assert!(error.is_integrity_failure());
    assert!(!path.exists());
}

#[test]
fn the_root_key_of_another_store_is_refused() {
    let (folder, store) = new_store();
    drop(store);
    fs::write(folder.path().join(ROOT_KEY_FILE), [7; 32]).expect("written");
    let error = Store::open(folder.path()).expect_err("other key");
    assert!(matches!(error, StoreError::WrongRootKey { .. }), "{error:?}");
}

#[test]
fn a_store_is_open_once_at_a_time() {
    let (folder, _store) = new_store();
    let error = Store::open(folder.path()).expect_err("in use");
    assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
}

#[test]
fn a_failed_change_writes_nothing() {
    let (_folder, store) = new_store();
    let result: Result<(), StoreError> = store.write(|rows| {
        rows.put(Table::Keys, B, b"half")?;
        Err(StoreError::Random)
    });
    assert!(matches!(result, Err(StoreError::Random)));
    assert_eq!(store.value(Table::Keys, B).expect("readable"), None);
}
