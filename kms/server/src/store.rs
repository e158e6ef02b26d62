//! What a KMS keeps on its disk: the sealed chain of its ledger, the certificate of its root, and
//! images.
//!
//! The host reads, changes, loses and rolls back everything here. So the entries are sealed and
//! their order is part of the seal; the certificate is believed by its signatures alone, and images
//! by their hash. What this module adds is that nothing which is missing passes for a beginning: a
//! directory with anything in it that cannot be read whole is an error, never an empty store. That
//! the host put back an older whole is not seen here; owners say how far the ledger was.

mod layout;
mod sealed;

use std::path::Path;

use protocol::digest::{OsImageHash, Sha256Digest};
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition,
};
use zeroize::Zeroizing;

pub use sealed::StoreKey;

/// Most images that are kept: the versions that one cluster allows at a time.
pub const MAX_IMAGES: u64 = 64;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const LEDGER: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("ledger");
const DOCUMENTS: TableDefinition<'_, &str, &str> = TableDefinition::new("documents");
const IMAGES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("images");

/// Key of [`DOCUMENTS`].
const ROOT_CERTIFICATE: &str = "root-certificate";
/// Key of [`META`] with the number of entries, which every commit rewrites.
const ENTRIES: &str = "entries";
/// Key of [`META`] with the cluster's id.
const CLUSTER: &str = "cluster";
/// Key of [`META`] with [`FORMAT`].
const FORMAT_KEY: &str = "format";
const FORMAT: &[u8] = b"dstyx-kms-store-1";

/// Why what is stored cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// files
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// one of the files is missing
    #[error("{found} is there and {missing} is not: a part of the data is lost")]
    Lost {
        /// The file that is there.
        found: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// files that are none of ours
    #[error("the data directory has {0:?}, which is not of a KMS")]
    Strange(String),
    /// another cluster's data
    #[error("the data is of the KMS {found}; this is {expected}")]
    Foreign {
        /// As stored.
        found: String,
        /// As configured.
        expected: Sha256Digest,
    },
    /// not in our format
    #[error("the data is not in the format of this program: {0}")]
    Format(&'static str),
    /// entries are missing
    #[error("the ledger has {stated} entries by its count, and entry {missing} is missing")]
    Gap {
        /// As counted.
        stated: u64,
        /// The first that is missing.
        missing: u64,
    },
    /// entries beyond the count
    #[error("the ledger has {stated} entries by its count, and {found} are stored")]
    Count {
        /// As counted.
        stated: u64,
        /// As stored.
        found: u64,
    },
    /// a changed entry
    #[error("entry {0} of the ledger was changed, or sealed under another root")]
    Seal(u64),
    /// an image that is another one
    #[error("the image {0} was changed")]
    Image(OsImageHash),
    /// no room for images
    #[error("{MAX_IMAGES} images are kept already")]
    Images,
    /// randomness
    #[error("the system gives no randomness")]
    Random(#[from] getrandom::Error),
    /// the database
    #[error("the store: {0}")]
    Database(#[from] redb::Error),
}

impl StoreError {
    /// What to try.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File { .. } => "is the volume of /data mounted and writable?",
            Self::Foreign { .. } | Self::Strange(_) => "give each KMS a volume of its own",
            Self::Images => "call ClearImageCache, then put those that are needed",
            Self::Random(_) => "is this a guest with a source of randomness?",
            Self::Lost { .. }
            | Self::Format(_)
            | Self::Gap { .. }
            | Self::Count { .. }
            | Self::Seal(_)
            | Self::Image(_)
            | Self::Database(_) => {
                "put a copy of the whole data directory back; a KMS does not begin anew over data"
            }
        }
    }
}

/// Errors of redb have a type for each call.
macro_rules! database_errors {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> Self {
                Self::Database(error.into())
            }
        })*
    };
}
database_errors!(DatabaseError, TransactionError, TableError, StorageError, CommitError);

/// What is written at once, or not at all.
#[derive(Debug, Default)]
pub struct Change<'a> {
    /// Entries behind the last, in order.
    pub entries: Vec<&'a [u8]>,
    /// The envelope of the root's certificate, which is needed before an entry can be opened.
    pub root_certificate: Option<&'a str>,
}

/// The open data directory.
#[derive(Debug)]
pub struct Store {
    database: Database,
    cluster: Sha256Digest,
    entries: u64,
}

impl Store {
    /// Opens the data of a cluster, or makes it where the directory is empty.
    ///
    /// # Errors
    /// If anything is there that cannot be read whole, or is another cluster's.
    pub fn open(directory: &Path, cluster: Sha256Digest) -> Result<Self, StoreError> {
        let database = layout::open(directory, cluster)?;
        let entries = check(&database, cluster)?;
        Ok(Self { database, cluster, entries })
    }

    /// Number of entries.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The envelope of the root's certificate; its signatures are counted whenever it is used.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn root_certificate(&self) -> Result<Option<String>, StoreError> {
        let table = self.database.begin_read()?.open_table(DOCUMENTS)?;
        Ok(table.get(ROOT_CERTIFICATE)?.map(|text| text.value().to_owned()))
    }

    /// Up to `most` entries from the given one on, opened.
    ///
    /// # Errors
    /// If one is missing or was changed.
    pub fn read(
        &self,
        key: &StoreKey,
        from: u64,
        most: usize,
    ) -> Result<Vec<Zeroizing<Vec<u8>>>, StoreError> {
        let table = self.database.begin_read()?.open_table(LEDGER)?;
        let end = self.entries.min(from.saturating_add(most as u64));
        let open = |index| {
            let gap = StoreError::Gap { stated: self.entries, missing: index };
            let record = table.get(index)?.ok_or(gap)?;
            key.open(&self.cluster, index, record.value()).ok_or(StoreError::Seal(index))
        };
        (from..end).map(open).collect()
    }

    /// Writes a change; when this returns, it is on the disk.
    ///
    /// # Errors
    /// If it cannot be written; whether it was is then unknown, and the store must be opened again
    /// before anything else is decided.
    pub fn commit(&mut self, key: &StoreKey, change: &Change<'_>) -> Result<(), StoreError> {
        let transaction = self.database.begin_write()?;
        let mut entries = self.entries;
        {
            let mut ledger = transaction.open_table(LEDGER)?;
            for entry in &change.entries {
                let record = key.seal(&self.cluster, entries, entry)?;
                ledger.insert(entries, record.as_slice())?;
                entries += 1;
            }
            if let Some(envelope) = change.root_certificate {
                transaction.open_table(DOCUMENTS)?.insert(ROOT_CERTIFICATE, envelope)?;
            }
            transaction.open_table(META)?.insert(ENTRIES, &entries.to_le_bytes()[..])?;
        }
        transaction.commit()?;
        self.entries = entries;
        Ok(())
    }

    /// All images, each with its name.
    ///
    /// # Errors
    /// If one was changed.
    pub fn images(&self) -> Result<Vec<(OsImageHash, Vec<u8>)>, StoreError> {
        let table = self.database.begin_read()?.open_table(IMAGES)?;
        let mut images = Vec::new();
        for row in table.iter()? {
            let (name, image) = row?;
            let name = name.value().try_into().map(OsImageHash);
            let name =
                name.map_err(|_| StoreError::Format("an image's name has another length"))?;
            if OsImageHash::of(image.value()) != name {
                return Err(StoreError::Image(name));
            }
            images.push((name, image.value().to_vec()));
        }
        Ok(images)
    }

    /// Keeps an image under its hash.
    ///
    /// # Errors
    /// If there are too many, or it cannot be written.
    pub fn put_image(&self, image: &[u8]) -> Result<OsImageHash, StoreError> {
        let name = OsImageHash::of(image);
        let transaction = self.database.begin_write()?;
        {
            let mut images = transaction.open_table(IMAGES)?;
            images.insert(name.as_bytes(), image)?;
            if images.len()? > MAX_IMAGES {
                return Err(StoreError::Images);
            }
        }
        transaction.commit()?;
        Ok(name)
    }

    /// Forgets all images.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn clear_images(&self) -> Result<(), StoreError> {
        let transaction = self.database.begin_write()?;
        transaction.open_table(IMAGES)?.retain(|_, _| false)?;
        transaction.commit()?;
        Ok(())
    }
}

/// The number of entries, after every table was found as it must be.
fn check(database: &Database, cluster: Sha256Digest) -> Result<u64, StoreError> {
    let read = database.begin_read()?;
    let meta = read.open_table(META)?;
    let value = |key: &str| -> Result<Option<Vec<u8>>, StoreError> {
        Ok(meta.get(key)?.map(|value| value.value().to_vec()))
    };
    if value(FORMAT_KEY)?.as_deref() != Some(FORMAT) {
        return Err(StoreError::Format("it has another version"));
    }
    match value(CLUSTER)? {
        Some(found) if found == cluster.as_bytes() => {}
        found => {
            let found = hex::encode(found.unwrap_or_default());
            return Err(StoreError::Foreign { found, expected: cluster });
        }
    }
    let count = value(ENTRIES)?.and_then(|count| count.try_into().ok());
    let stated = count.map(u64::from_le_bytes);
    let stated = stated.ok_or(StoreError::Format("it does not count its entries"))?;
    let ledger = read.open_table(LEDGER)?;
    let mut expected = 0;
    for row in ledger.iter()? {
        let index = row?.0.value();
        if index != expected {
            return Err(StoreError::Gap { stated, missing: expected });
        }
        expected += 1;
    }
    match expected {
        found if found < stated => Err(StoreError::Gap { stated, missing: found }),
        found if found > stated => Err(StoreError::Count { stated, found }),
        0 if read.open_table(DOCUMENTS)?.get(ROOT_CERTIFICATE)?.is_some() => {
            Err(StoreError::Format("a certified root has a ledger"))
        }
        _ => Ok(stated),
    }
}

#[cfg(test)]
pub mod tests;
