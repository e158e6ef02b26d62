//! Records in a data directory, in redb.

use std::ops::Range;
use std::path::Path;

use protocol::digest::Sha256Digest;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _};

use super::layout::{self, CLUSTER, DOCUMENTS, ENTRIES, FORMAT_KEY, IMAGES, LEDGER, META};
use super::{FORMAT, Image, MAX_IMAGES, Records, StoreError};

/// Key of [`DOCUMENTS`].
const ROOT_CERTIFICATE: &str = "root-certificate";
/// An open data directory.
#[derive(Debug)]
pub(super) struct Disk {
    database: Database,
    entries: u64,
}

impl Disk {
    /// Opens the data of a cluster, or makes it where the directory is empty.
    pub(super) fn open(directory: &Path, cluster: Sha256Digest) -> Result<Self, StoreError> {
        let database = layout::open(directory, cluster)?;
        let entries = check(&database, cluster)?;
        Ok(Self { database, entries })
    }
}

impl Records for Disk {
    fn entries(&self) -> u64 {
        self.entries
    }

    fn root_certificate(&self) -> Result<Option<String>, StoreError> {
        let table = self.database.begin_read()?.open_table(DOCUMENTS)?;
        Ok(table.get(ROOT_CERTIFICATE)?.map(|text| text.value().to_owned()))
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, StoreError> {
        let table = self.database.begin_read()?.open_table(LEDGER)?;
        let record = |index| {
            let gap = StoreError::Gap { stated: self.entries, missing: index };
            Ok(table.get(index)?.ok_or(gap)?.value().to_vec())
        };
        range.map(record).collect()
    }

    fn append(
        &mut self,
        records: Vec<Vec<u8>>,
        root_certificate: Option<&str>,
    ) -> Result<(), StoreError> {
        let transaction = self.database.begin_write()?;
        let mut entries = self.entries;
        {
            let mut ledger = transaction.open_table(LEDGER)?;
            for record in &records {
                ledger.insert(entries, record.as_slice())?;
                entries += 1;
            }
            if let Some(envelope) = root_certificate {
                transaction.open_table(DOCUMENTS)?.insert(ROOT_CERTIFICATE, envelope)?;
            }
            transaction.open_table(META)?.insert(ENTRIES, &entries.to_le_bytes()[..])?;
        }
        transaction.commit()?;
        self.entries = entries;
        Ok(())
    }

    fn images(&self) -> Result<Vec<Image>, StoreError> {
        let table = self.database.begin_read()?.open_table(IMAGES)?;
        let mut images = Vec::new();
        for row in table.iter()? {
            let (name, text) = row?;
            images.push(Image { name: name.value().to_vec(), text: text.value().to_vec() });
        }
        Ok(images)
    }

    fn put_image(&mut self, image: &Image) -> Result<(), StoreError> {
        let transaction = self.database.begin_write()?;
        {
            let mut images = transaction.open_table(IMAGES)?;
            images.insert(image.name.as_slice(), image.text.as_slice())?;
            if images.len()? > MAX_IMAGES {
                return Err(StoreError::Images);
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn clear_images(&mut self) -> Result<(), StoreError> {
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
mod crashes;
