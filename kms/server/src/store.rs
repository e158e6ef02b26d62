//! What a KMS stores: the sealed chain of its ledger, the certificate of its root, and images.
//!
//! Whoever holds it (the host with the disk, or the members of an etcd) reads, changes, loses and
//! rolls back everything here. So the entries are sealed and their order is part of the seal; the
//! certificate is believed by its signatures alone, and images by their hash. Both places implement
//! [`Records`], and neither opens a record. What they add is that nothing which is missing passes
//! for a beginning: a place with anything in it that cannot be read whole is an error, never an
//! empty store. That an older whole was put back is not seen here; owners say how far the ledger
//! was.

mod disk;
mod error;
mod etcd;
mod layout;
mod sealed;

use std::fmt::Debug;
use std::ops::Range;
use std::path::PathBuf;

use protocol::digest::{OsImageHash, Sha256Digest};
use protocol::kms::EtcdEndpoints;
use zeroize::Zeroizing;

use disk::Disk;
use etcd::Etcd;

pub use error::StoreError;
pub use sealed::StoreKey;

/// Most images that are kept: the versions that one cluster allows at a time.
pub const MAX_IMAGES: u64 = 64;
/// What a place must say of itself.
const FORMAT: &[u8] = b"dstyx-kms-store-1";

/// Where a KMS stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A data directory on the guest's own disk.
    Directory(PathBuf),
    /// An etcd on the network.
    Etcd(EtcdEndpoints),
}

/// Entries that are written in order. The first certificate is there with the first of them, one
/// of a later epoch with the last.
#[derive(Debug, Default)]
pub struct Change<'a> {
    /// Entries behind the last, in order.
    pub entries: Vec<&'a [u8]>,
    /// The envelope of the root's certificate, which is needed before an entry can be opened.
    pub root_certificate: Option<&'a str>,
}

/// An image as it is kept.
#[derive(Debug)]
struct Image {
    /// The bytes of its hash, if it is whole.
    name: Vec<u8>,
    text: Vec<u8>,
}

/// A place that keeps sealed records and open documents.
trait Records: Debug + Send {
    /// Number of records.
    fn entries(&self) -> u64;

    /// The envelope of the root's certificate.
    fn root_certificate(&self) -> Result<Option<String>, StoreError>;

    /// These records, all of which there must be.
    fn read(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, StoreError>;

    /// Adds records behind the last, in order; when this returns, they are durable. The first
    /// certificate is there with the first of them, a later one with the last, or neither is.
    fn append(
        &mut self,
        records: Vec<Vec<u8>>,
        root_certificate: Option<&str>,
    ) -> Result<(), StoreError>;

    /// Brings an append to its end whose outcome is unknown.
    fn settle(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// All images.
    fn images(&self) -> Result<Vec<Image>, StoreError>;

    /// Keeps an image.
    fn put_image(&mut self, image: &Image) -> Result<(), StoreError>;

    /// Forgets all images.
    fn clear_images(&mut self) -> Result<(), StoreError>;
}

/// What a KMS stores, open.
#[derive(Debug)]
pub struct Store {
    records: Box<dyn Records>,
    cluster: Sha256Digest,
}

impl Store {
    /// Opens the data of a cluster, or begins where there is none.
    ///
    /// # Errors
    /// If anything is there that cannot be read whole, or is another cluster's.
    pub fn open(location: &Location, cluster: Sha256Digest) -> Result<Self, StoreError> {
        let records: Box<dyn Records> = match location {
            Location::Directory(directory) => Box::new(Disk::open(directory, cluster)?),
            Location::Etcd(endpoints) => Box::new(Etcd::open(endpoints, cluster)?),
        };
        Ok(Self { records, cluster })
    }

    /// Number of entries.
    pub fn entries(&self) -> u64 {
        self.records.entries()
    }

    /// The envelope of the root's certificate; its signatures are counted whenever it is used.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn root_certificate(&self) -> Result<Option<String>, StoreError> {
        self.records.root_certificate()
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
        let range = from..self.entries().min(from.saturating_add(most as u64));
        let records = self.records.read(range.clone())?;
        let open = |(index, record): (u64, Vec<u8>)| {
            key.open(&self.cluster, index, &record).ok_or(StoreError::Seal(index))
        };
        range.zip(records).map(open).collect()
    }

    /// Writes a change; when this returns, it is durable.
    ///
    /// # Errors
    /// If it cannot be written; whether it was is then unknown. [`Self::settle`] must succeed
    /// before anything else is decided; where the error is not [`StoreError::is_unsettled`], the
    /// store must be opened again.
    pub fn commit(&mut self, key: &StoreKey, change: &Change<'_>) -> Result<(), StoreError> {
        self.settle()?;
        let seal = |(index, entry): (u64, &&[u8])| key.seal(&self.cluster, index, entry);
        let records = (self.entries()..).zip(&change.entries).map(seal).collect();
        self.records.append(records, change.root_certificate)
    }

    /// Brings to its end a change whose commit had no answer; there is none most of the time.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn settle(&mut self) -> Result<(), StoreError> {
        self.records.settle()
    }

    /// All images, each with its name.
    ///
    /// # Errors
    /// If one was changed.
    pub fn images(&self) -> Result<Vec<(OsImageHash, Vec<u8>)>, StoreError> {
        let named = |Image { name, text }: Image| {
            let name = name.try_into().map(OsImageHash);
            let name =
                name.map_err(|_| StoreError::Format("an image's name has another length"))?;
            let whole = OsImageHash::of(&text) == name;
            if whole { Ok((name, text)) } else { Err(StoreError::Image(name)) }
        };
        self.records.images()?.into_iter().map(named).collect()
    }

    /// Keeps an image under its hash.
    ///
    /// # Errors
    /// If there are too many, or it cannot be written.
    pub fn put_image(&mut self, image: &[u8]) -> Result<OsImageHash, StoreError> {
        let name = OsImageHash::of(image);
        self.records.put_image(&Image { name: name.0.to_vec(), text: image.to_vec() })?;
        Ok(name)
    }

    /// Forgets all images.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn clear_images(&mut self) -> Result<(), StoreError> {
        self.records.clear_images()
    }
}

#[cfg(test)]
pub mod tests;
