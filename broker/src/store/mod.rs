//! The embedded store: one ACID file whose values are sealed under a root key.
//!
//! In: rows of named tables, as bytes. Out: the same bytes, or a refusal when a value was edited, or
//! moved to another row, table or epoch. Row names are in clear (they are KBS paths and ids); values
//! never are. It knows nothing of what the values mean.
//! Against: a reader or editor of the database file. An old copy of the *whole* state folder is not
//! noticed; an old copy of the store beside a newer audit log is, by [`journal`](crate::journal).

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use zeroize::Zeroizing;

use crate::error::Finding;
use crate::secret_file::SecretFileError;

mod root_key;
mod sealing;

use root_key::RootKey;

/// File name of the store in the state folder.
pub const STORE_FILE: &str = "store.redb";
/// File name of the root key in the state folder.
pub const ROOT_KEY_FILE: &str = "root.key";

const ROOT_KEY_CHECK: Row<'static> = Row::new("root-key-check");
const ROOT_KEY_CHECK_TEXT: &[u8] = b"adyton broker store, version 1";

/// The tables. The names are part of the sealed values' context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// What the store says about itself.
    Meta,
    /// Model keys: 32 bytes each.
    Keys,
    /// When model keys were made.
    KeyMetadata,
    /// When epochs of model keys were ended; no row for those in force.
    RetiredKeys,
    /// Release policies by key URI, and the policies for all keys.
    Policies,
    /// Sets of Reference Values by name.
    ReferenceValues,
    /// Decisions by running number.
    Decisions,
    /// Running numbers by decision id.
    DecisionIds,
}

impl Table {
    const ALL: [Self; 8] = [
        Self::Meta,
        Self::Keys,
        Self::KeyMetadata,
        Self::RetiredKeys,
        Self::Policies,
        Self::ReferenceValues,
        Self::Decisions,
        Self::DecisionIds,
    ];

    /// The table's name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Keys => "keys",
            Self::KeyMetadata => "key-metadata",
            Self::RetiredKeys => "retired-keys",
            Self::Policies => "policies",
            Self::ReferenceValues => "reference-values",
            Self::Decisions => "decisions",
            Self::DecisionIds => "decision-ids",
        }
    }

    fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(self.name())
    }
}

/// Which row: a name and an epoch. Rows without a history have epoch 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The row's name, such as a key URI.
    pub name: &'a str,
    /// Which edition of the named thing.
    pub epoch: u32,
}

impl<'a> Row<'a> {
    /// The row of a thing that has no editions.
    pub const fn new(name: &'a str) -> Self {
        Self { name, epoch: 0 }
    }

    /// Bytes in the file: the name, a zero byte, the epoch. Names have no zero byte.
    fn encode(self) -> Vec<u8> {
        let mut bytes = self.name.as_bytes().to_vec();
        bytes.push(0);
        bytes.extend_from_slice(&self.epoch.to_be_bytes());
        bytes
    }

    fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (front, epoch) = bytes.split_last_chunk::<4>()?;
        let name = std::str::from_utf8(front.strip_suffix(&[0])?).ok()?;
        Some(Self { name, epoch: u32::from_be_bytes(*epoch) })
    }
}

/// Why the store refused.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The root key file is open to others, of another length or unreadable.
    #[error("the root key was refused")]
    SecretFile(#[from] SecretFileError),
    /// The store exists and its root key does not.
    #[error("the root key {} is missing although the store exists", path.display())]
    RootKeyMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The root key is not the one that this store was sealed under.
    #[error("the root key {} does not belong to this store", path.display())]
    WrongRootKey {
        /// The root key file.
        path: PathBuf,
    },
    /// A value was edited, or moved from another row, table or epoch.
    #[error("the value of `{row}` (epoch {epoch}) in table {table} is not authentic")]
    NotAuthentic {
        /// Which table.
        table: &'static str,
        /// The row's name.
        row: String,
        /// The row's epoch.
        epoch: u32,
    },
    /// A value is authentic but not of the form that this release writes.
    #[error("the value of `{row}` in table {table} has another form than this release writes")]
    Form {
        /// Which table.
        table: &'static str,
        /// The row's name.
        row: String,
    },
    /// Another process has the store open.
    #[error("the store {} is in use by another process", path.display())]
    InUse {
        /// The store's file.
        path: PathBuf,
    },
    /// The file can't be made or opened.
    #[error("the store {} could not be opened", path.display())]
    Open {
        /// The store's file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A transaction failed; nothing of it was written.
    #[error("a transaction of the store failed")]
    Transaction(#[source] Box<redb::Error>),
    /// The system gave no random bytes.
    #[error("the system's random number generator failed")]
    Random,
}

impl StoreError {
    /// Whether somebody changed what we wrote, or lost the key to it.
    pub fn is_integrity_failure(&self) -> bool {
        matches!(
            self,
            Self::RootKeyMissing { .. } | Self::WrongRootKey { .. } | Self::NotAuthentic { .. }
        )
    }

    /// What is wrong and what to do, for the operator.
    pub fn finding(&self) -> Finding {
        let step = "store";
        match self {
            Self::SecretFile(error) => Finding { step: "root key".into(), ..error.finding() },
            Self::RootKeyMissing { path } => Finding::new(
                "root key",
                path.display().to_string(),
                "the root key that the existing store was sealed under",
                "restore it from its backup; without it the keys in the store are lost, and a new \
                 broker must start with an empty state folder",
            ),
            Self::WrongRootKey { path } => Finding::new(
                "root key",
                path.display().to_string(),
                "the root key that this store was sealed under",
                "restore store and root key from the same backup",
            ),
            Self::NotAuthentic { table, row, epoch } => Finding::new(
                step,
                format!("table {table}, row {row}, epoch {epoch}"),
                "a value that this broker sealed for this row",
                "somebody edited the store file: find out who, and restore it from a backup",
            ),
            Self::Form { table, row } => Finding::new(
                step,
                format!("table {table}, row {row}"),
                "a value in the form that this release writes",
                "start the release that wrote the store",
            ),
            Self::InUse { path } => Finding::new(
                step,
                path.display().to_string(),
                "a store that no other process has open",
                "stop the other broker, or give this one its own state_dir",
            ),
            Self::Open { path, source } => Finding::new(
                step,
                path.display().to_string(),
                format!("a store file that can be opened ({source})"),
                "check the permissions of state_dir; restore the file if it is damaged",
            ),
            Self::Transaction(source) => Finding::new(
                step,
                "a transaction",
                format!("a working disk ({source})"),
                "check space and health of the disk, then restart",
            ),
            Self::Random => Finding::new(
                step,
                "random bytes",
                "a working getrandom(2)",
                "check the system's random number generator",
            ),
        }
    }
}

fn transaction(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Transaction(Box::new(error.into()))
}

/// The open store.
pub struct Store {
    database: Database,
    root_key: RootKey,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in `state_dir`, or makes it together with its root key.
    ///
    /// # Errors
    /// In this order: the root key is missing beside a store, open to others or of another length;
    /// the file can't be opened or is in use; the root key is another one.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let path = state_dir.join(STORE_FILE);
        let root_key_path = state_dir.join(ROOT_KEY_FILE);
        let exists = match std::fs::metadata(&path) {
            Ok(metadata) => metadata.len() > 0,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => {
                return Err(StoreError::Open { path, source: Box::new(error) });
            }
        };
        let root_key = match RootKey::load(&root_key_path) {
            Err(SecretFileError::Missing { .. }) if exists => {
                return Err(StoreError::RootKeyMissing { path: root_key_path });
            }
            Err(SecretFileError::Missing { .. }) => RootKey::create(&root_key_path)?,
            other => other?,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| StoreError::Open { path: path.clone(), source: Box::new(error) })?;
        let opened =
            FileBackend::new(file).and_then(|file| redb::Builder::new().create_with_backend(file));
        let database = opened.map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path.clone() },
            other => StoreError::Open { path: path.clone(), source: Box::new(other) },
        })?;
        let store = Self { database, root_key };
        store.prove_root_key(root_key_path)?;
        Ok(store)
    }

    /// A store is born in one transaction that makes all tables and the check value; so a store
    /// without the check value is one that somebody took it from, unless it has no tables either.
    fn prove_root_key(&self, root_key_path: PathBuf) -> Result<(), StoreError> {
        let newborn = {
            let read = self.database.begin_read().map_err(transaction)?;
            read.list_tables().map_err(transaction)?.next().is_none()
        };
        if newborn {
            return self.write(|rows: &RowWriter<'_>| {
                rows.make_tables()?;
                rows.put(Table::Meta, ROOT_KEY_CHECK, ROOT_KEY_CHECK_TEXT)
            });
        }
        match self.value(Table::Meta, ROOT_KEY_CHECK) {
            // Those that an earlier release did not have yet.
            Ok(Some(text)) if text.as_slice() == ROOT_KEY_CHECK_TEXT => {
                self.write(|rows: &RowWriter<'_>| rows.make_tables())
            }
            Ok(_) | Err(StoreError::NotAuthentic { .. }) => {
                Err(StoreError::WrongRootKey { path: root_key_path })
            }
            Err(other) => Err(other),
        }
    }

    /// The value of a row, `None` when there is no such row.
    ///
    /// # Errors
    /// [`StoreError::NotAuthentic`], [`StoreError::Transaction`].
    pub fn value(
        &self,
        table: Table,
        row: Row<'_>,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let read = self.database.begin_read().map_err(transaction)?;
        let rows = read.open_table(table.definition()).map_err(transaction)?;
        match rows.get(row.encode().as_slice()).map_err(transaction)? {
            Some(sealed) => sealing::open(&self.root_key, table, row, sealed.value()).map(Some),
            None => Ok(None),
        }
    }

    /// Names and epochs of all rows of a table, in order of their bytes.
    ///
    /// # Errors
    /// [`StoreError::Transaction`]; [`StoreError::NotAuthentic`] for a row that is none of ours.
    pub fn rows(&self, table: Table) -> Result<Vec<(String, u32)>, StoreError> {
        let read = self.database.begin_read().map_err(transaction)?;
        let rows = read.open_table(table.definition()).map_err(transaction)?;
        let mut names = Vec::new();
        for entry in rows.iter().map_err(transaction)? {
            let (key, _) = entry.map_err(transaction)?;
            let row = Row::decode(key.value()).ok_or_else(|| foreign_row(table))?;
            names.push((row.name.to_owned(), row.epoch));
        }
        Ok(names)
    }

    /// The last `limit` rows of a table with their values, last first.
    ///
    /// # Errors
    /// As [`value`](Self::value) and [`rows`](Self::rows).
    pub fn last_values(
        &self,
        table: Table,
        limit: usize,
    ) -> Result<Vec<Zeroizing<Vec<u8>>>, StoreError> {
        let read = self.database.begin_read().map_err(transaction)?;
        let rows = read.open_table(table.definition()).map_err(transaction)?;
        let mut values = Vec::new();
        for entry in rows.iter().map_err(transaction)?.rev().take(limit) {
            let (key, sealed) = entry.map_err(transaction)?;
            let row = Row::decode(key.value()).ok_or_else(|| foreign_row(table))?;
            values.push(sealing::open(&self.root_key, table, row, sealed.value())?);
        }
        Ok(values)
    }

    /// Runs `change` in one transaction. It is on disk when this returns `Ok`; nothing of it is
    /// written when `change` or the commit fails.
    ///
    /// # Errors
    /// What `change` says, or [`StoreError::Transaction`].
    pub fn write<T, E: From<StoreError>>(
        &self,
        change: impl FnOnce(&RowWriter<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let pending = self.database.begin_write().map_err(transaction)?;
        let result = change(&RowWriter { transaction: &pending, root_key: &self.root_key })?;
        pending.commit().map_err(transaction)?;
        Ok(result)
    }
}

fn foreign_row(table: Table) -> StoreError {
    StoreError::NotAuthentic { table: table.name(), row: "(unreadable name)".into(), epoch: 0 }
}

/// Writes rows within one transaction.
pub struct RowWriter<'a> {
    transaction: &'a redb::WriteTransaction,
    root_key: &'a RootKey,
}

impl RowWriter<'_> {
    fn make_tables(&self) -> Result<(), StoreError> {
        for table in Table::ALL {
            self.transaction.open_table(table.definition()).map_err(transaction)?;
        }
        Ok(())
    }

    /// Seals and writes a row, over an older value if there is one.
    ///
    /// # Errors
    /// [`StoreError::Random`], [`StoreError::Transaction`].
    pub fn put(&self, table: Table, row: Row<'_>, value: &[u8]) -> Result<(), StoreError> {
        let sealed = sealing::seal(self.root_key, table, row, value)?;
        let mut rows = self.transaction.open_table(table.definition()).map_err(transaction)?;
        rows.insert(row.encode().as_slice(), sealed.as_slice()).map_err(transaction)?;
        Ok(())
    }

    /// Whether there is such a row.
    ///
    /// # Errors
    /// [`StoreError::Transaction`].
    pub fn contains(&self, table: Table, row: Row<'_>) -> Result<bool, StoreError> {
        let rows = self.transaction.open_table(table.definition()).map_err(transaction)?;
        Ok(rows.get(row.encode().as_slice()).map_err(transaction)?.is_some())
    }

    /// Takes rows from the front of a table until at most `keep` are left; `removed` sees the
    /// value of each.
    ///
    /// # Errors
    /// [`StoreError::NotAuthentic`], [`StoreError::Transaction`], what `removed` says.
    pub fn keep_last(
        &self,
        table: Table,
        keep: u64,
        mut removed: impl FnMut(&[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        use redb::ReadableTableMetadata;
        let mut rows = self.transaction.open_table(table.definition()).map_err(transaction)?;
        while rows.len().map_err(transaction)? > keep {
            let Some((key, sealed)) = rows.pop_first().map_err(transaction)? else {
                break;
            };
            let row = Row::decode(key.value()).ok_or_else(|| foreign_row(table))?;
            removed(&sealing::open(self.root_key, table, row, sealed.value())?)?;
        }
        Ok(())
    }

    /// Removes a row if it is there.
    ///
    /// # Errors
    /// [`StoreError::Transaction`].
    pub fn remove(&self, table: Table, row: Row<'_>) -> Result<(), StoreError> {
        let mut rows = self.transaction.open_table(table.definition()).map_err(transaction)?;
        rows.remove(row.encode().as_slice()).map_err(transaction)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
