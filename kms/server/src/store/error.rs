//! Why what is stored cannot be read or written.

use protocol::digest::{OsImageHash, Sha256Digest};

use super::MAX_IMAGES;

/// Why etcd gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// no member has answered
    #[error("etcd does not answer: {0}")]
    NoAnswer(String),
    /// an answer beyond its budget
    #[error("etcd answers with more than {0} bytes")]
    TooLong(usize),
}

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
    /// the database
    #[error("the store: {0}")]
    Database(#[from] redb::Error),
    /// etcd
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    /// somebody else's entry
    #[error("etcd has an entry {0} already, which this process has not decided")]
    Taken(u64),
    /// entries that were there
    #[error(
        "etcd has no entry {last} any more: it has lost what was stored, or was put back to an earlier state",
        last = stored.saturating_sub(1)
    )]
    PutBack {
        /// Entries that were stored.
        stored: u64,
    },
}

impl StoreError {
    /// Whether [`super::Store::settle`] brings to its end what was to be written.
    pub fn is_unsettled(&self) -> bool {
        matches!(self, Self::Etcd(_))
    }

    /// What to try.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File { .. } => "is the volume of /data mounted and writable?",
            Self::Foreign { .. } | Self::Strange(_) => "give each KMS a volume of its own",
            Self::Images => "call ClearImageCache, then put those that are needed",
            Self::Etcd(_) => {
                "do a majority of etcd's members run, and can this guest reach them? the KMS asks again"
            }
            Self::Taken(_) => "let one KMS of the cluster write, and start the others again",
            Self::PutBack { .. } => {
                "put etcd's newest state back and start the KMS again; its owners resume no older one"
            }
            Self::Lost { .. }
            | Self::Format(_)
            | Self::Gap { .. }
            | Self::Count { .. }
            | Self::Seal(_)
            | Self::Image(_)
            | Self::Database(_) => {
                "put a copy of all its data back; a KMS does not begin anew over data"
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
