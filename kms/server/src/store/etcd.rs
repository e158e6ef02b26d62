//! Records in an etcd, over its JSON gateway.
//!
//! etcd is believed nothing: it keeps sealed records, and a member that lies, forgets or shows an
//! older state is found out where a record does not open, does not follow, or is less than owners
//! have seen. What this module adds is that honest members lose nothing by accident. An append is
//! one transaction, which holds only if no record is at its positions and one is before them. So
//! nothing is overwritten, two processes cannot store different entries at one position, and an
//! etcd that was put back under a running KMS is seen at the next append. Records that are there
//! already are known by their bytes: an append without an answer is made again, and processes that
//! agreed on an entry store it once.
//!
//! Keys begin with `dstyx/kms/ID/`, where ID is the cluster's: `format`, `root`, `ledger/INDEX`
//! with 16 hexadecimal digits, `images/HASH`.

mod gateway;
mod messages;

use std::ops::Range;

use protocol::digest::Sha256Digest;
use protocol::kms::EtcdEndpoints;

use super::error::EtcdError;
use super::{FORMAT, Image, MAX_IMAGES, Records, StoreError};
use gateway::Gateway;
use messages::{
    Bytes, Compare, Number, Operation, Pair, Range as RangeRequest, RangeAnswer, Transaction,
    TransactionAnswer,
};

const RANGE: &str = "/v3/kv/range";
const TRANSACTION: &str = "/v3/kv/txn";

/// Most pairs that are asked for at a time; fewer where they are large.
const MAX_PAIRS: usize = 64;
/// Most records of one transaction: etcd takes 128 operations by default.
const MAX_TRANSACTION_RECORDS: usize = 64;
/// Most bytes of one transaction with several records: etcd takes 1.5 MiB by default, and one
/// record has at most 256 KiB.
const MAX_TRANSACTION_BYTES: usize = 1 << 20;

/// The records of one cluster in an etcd.
#[derive(Debug)]
pub(super) struct Etcd {
    gateway: Gateway,
    keys: Keys,
    entries: u64,
    /// An append without an answer, which may be there or not.
    unsettled: Option<Addition>,
}

/// Records behind the last, and the root's certificate: with the first records of all, and of a
/// later epoch with the last of these.
#[derive(Debug)]
struct Addition {
    records: Vec<Vec<u8>>,
    root_certificate: Option<String>,
}

impl Etcd {
    /// Looks at what is there of a cluster, and begins where there is nothing.
    pub(super) fn open(
        endpoints: &EtcdEndpoints,
        cluster: Sha256Digest,
    ) -> Result<Self, StoreError> {
        let gateway = Gateway::new(endpoints);
        let keys = Keys { prefix: format!("dstyx/kms/{cluster}/") };
        let mut etcd = Self { gateway, keys, entries: 0, unsettled: None };
        let [format, root, ledger, images] = etcd.look()?;
        match format.kvs.as_slice() {
            [Pair { value, .. }] if value.0 == FORMAT => {}
            [] if [&root, &ledger, &images].iter().all(|range| range.count.0 == 0) => {
                etcd.begin()?;
            }
            [] => return Err(StoreError::Lost { found: "a ledger", missing: "its format" }),
            _ => return Err(StoreError::Format("it has another version")),
        }
        let stated = ledger.count.0;
        if root.count.0 > 0 && stated == 0 {
            return Err(StoreError::Format("a certified root has a ledger"));
        }
        etcd.entries = stated;
        etcd.read(stated.saturating_sub(1)..stated)?;
        Ok(etcd)
    }

    /// The format, and how many certificates, records and images there are, all at one time.
    fn look(&self) -> Result<[RangeAnswer; 4], StoreError> {
        let count = |name| {
            let (key, end) = self.keys.below(name);
            RangeRequest { key, range_end: Some(end), count_only: true, ..RangeRequest::default() }
        };
        let one = |key| RangeRequest { key, limit: Number(1), ..RangeRequest::default() };
        let root = RangeRequest { count_only: true, ..one(self.keys.root()) };
        let ranges = [one(self.keys.format()), root, count(LEDGER), count(IMAGES)];
        let success = ranges.map(Operation::Range).into();
        self.transact(&Transaction { success, ..Transaction::default() }, |answer| {
            answer.ranges().ok_or("not four ranges")
        })
    }

    /// Writes the format, unless another process of the cluster does so at the same time.
    fn begin(&self) -> Result<(), StoreError> {
        let (key, value) = (self.keys.format(), Bytes(FORMAT.to_vec()));
        let compare = vec![Compare::absent(key.clone())];
        let success = vec![Operation::Put { key, value }];
        let transaction = Transaction { compare, success, failure: Vec::new() };
        self.transact(&transaction, |_| Ok(()))
    }

    fn transact<T>(
        &self,
        transaction: &Transaction,
        take: impl Fn(TransactionAnswer) -> Result<T, &'static str>,
    ) -> Result<T, StoreError> {
        Ok(self.gateway.call(TRANSACTION, transaction, take)?)
    }

    /// The pairs from one key up to another, in order, up to a number.
    fn pairs(&self, key: Bytes, end: &Bytes, most: usize) -> Result<Vec<Pair>, StoreError> {
        let (mut pairs, mut from, mut at_once) = (Vec::new(), key, MAX_PAIRS);
        while pairs.len() < most {
            let limit = at_once.min(most - pairs.len());
            let request = RangeRequest {
                key: from.clone(),
                range_end: Some(end.clone()),
                limit: Number(limit as u64),
                count_only: false,
            };
            let asked = |answer: RangeAnswer| within(answer, &from, end, limit);
            let answer = match self.gateway.call(RANGE, &request, asked) {
                Err(EtcdError::TooLong(_)) if at_once > 1 => {
                    at_once /= 2;
                    continue;
                }
                answer => answer?,
            };
            let Some(last) = answer.kvs.last() else { break };
            // The smallest key above it.
            from = Bytes([&last.key.0[..], &[0]].concat());
            pairs.extend(answer.kvs);
            if !answer.more {
                break;
            }
        }
        Ok(pairs)
    }

    /// Adds as much of it as one transaction takes, unless some is there already: the number of
    /// its first records that are there now.
    fn add(&self, addition: &Addition) -> Result<usize, StoreError> {
        let first = self.entries;
        let mut bytes = addition.root_certificate.as_ref().map_or(0, String::len);
        let fits = |(index, record): &(u64, &Vec<u8>)| {
            bytes += record.len();
            *index == first || bytes <= MAX_TRANSACTION_BYTES
        };
        let records = addition.records.iter().take(MAX_TRANSACTION_RECORDS);
        let positions: Vec<(u64, &Vec<u8>)> = (first..).zip(records).take_while(fits).collect();
        let last = positions.len() == addition.records.len();
        let root = addition.root_certificate.as_ref().filter(|_| first == 0 || last);
        let mut transaction = Transaction::default();
        if let Some(before) = first.checked_sub(1) {
            transaction.compare.push(Compare::present(self.keys.record(before)));
        }
        for (index, record) in &positions {
            let key = self.keys.record(*index);
            transaction.compare.push(Compare::absent(key.clone()));
            transaction.success.push(Operation::Put { key, value: Bytes(record.to_vec()) });
        }
        // A later epoch's takes the place of an earlier one; that nobody stored one after it, the
        // records say.
        if let Some(text) = root {
            let (key, value) = (self.keys.root(), Bytes(text.clone().into_bytes()));
            if first == 0 {
                transaction.compare.push(Compare::absent(key.clone()));
            }
            transaction.success.push(Operation::Put { key, value });
        }
        let there = RangeRequest {
            key: self.keys.record(first),
            range_end: Some(self.keys.record(first + positions.len() as u64)),
            limit: Number(positions.len() as u64),
            count_only: false,
        };
        transaction.failure.push(Operation::Range(there));
        let found = self.transact(&transaction, |answer| match answer.succeeded {
            true => Ok(None),
            false => answer.ranges().map(|[there]| Some(there)).ok_or("not one range"),
        })?;
        let Some(RangeAnswer { kvs, .. }) = found else { return Ok(positions.len()) };
        let value = |index| kvs.iter().find(|pair| pair.key == self.keys.record(index));
        let ours = |(index, record): &&(u64, &Vec<u8>)| {
            value(*index).is_some_and(|pair| pair.value.0 == **record)
        };
        let stored = positions.iter().take_while(ours).count();
        match positions.get(stored) {
            Some((index, _)) if value(*index).is_some() => Err(StoreError::Taken(*index)),
            Some(_) if stored == 0 => Err(StoreError::PutBack { stored: first }),
            _ => Ok(stored),
        }
    }
}

impl Records for Etcd {
    fn entries(&self) -> u64 {
        self.entries
    }

    fn root_certificate(&self) -> Result<Option<String>, StoreError> {
        let key = self.keys.root();
        let end = Bytes([&key.0[..], &[0]].concat());
        let Some(pair) = self.pairs(key, &end, 1)?.pop() else { return Ok(None) };
        let text = String::from_utf8(pair.value.0);
        text.map(Some).map_err(|_| StoreError::Format("the root's certificate is no text"))
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, StoreError> {
        let [key, end] = [range.start, range.end].map(|index| self.keys.record(index));
        let most = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let mut pairs = self.pairs(key, &end, most)?.into_iter();
        let record = |index| match pairs.next() {
            Some(pair) if pair.key == self.keys.record(index) => Ok(pair.value.0),
            _ => Err(StoreError::Gap { stated: self.entries, missing: index }),
        };
        range.map(record).collect()
    }

    fn append(
        &mut self,
        records: Vec<Vec<u8>>,
        root_certificate: Option<&str>,
    ) -> Result<(), StoreError> {
        self.settle()?;
        let root_certificate = root_certificate.map(str::to_owned);
        self.unsettled = Some(Addition { records, root_certificate });
        self.settle()
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        while let Some(mut addition) = self.unsettled.take() {
            match self.add(&addition) {
                Ok(stored) => {
                    self.entries += stored as u64;
                    addition.records.drain(..stored);
                    self.unsettled = (!addition.records.is_empty()).then_some(addition);
                }
                Err(error) => {
                    self.unsettled = error.is_unsettled().then_some(addition);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn images(&self) -> Result<Vec<Image>, StoreError> {
        let (key, end) = self.keys.below(IMAGES);
        let named = key.0.len();
        let pairs = self.pairs(key, &end, MAX_IMAGES as usize)?;
        let image = |pair: Pair| {
            let name = hex::decode(&pair.key.0[named..]);
            let name = name.map_err(|_| StoreError::Format("an image's name is no hash"))?;
            Ok(Image { name, text: pair.value.0 })
        };
        pairs.into_iter().map(image).collect()
    }

    fn put_image(&mut self, image: &Image) -> Result<(), StoreError> {
        let (key, value) = (self.keys.image(&image.name), Bytes(image.text.clone()));
        let (first, end) = self.keys.below(IMAGES);
        let count = |key: &Bytes, range_end| {
            let (key, count_only) = (key.clone(), true);
            Operation::Range(RangeRequest { key, range_end, count_only, ..RangeRequest::default() })
        };
        let success = vec![count(&first, Some(end)), count(&key, None)];
        let look = Transaction { success, ..Transaction::default() };
        let [all, this] =
            self.transact(&look, |answer| answer.ranges::<2>().ok_or("not two ranges"))?;
        if all.count.0 >= MAX_IMAGES && this.count.0 == 0 {
            return Err(StoreError::Images);
        }
        let success = vec![Operation::Put { key, value }];
        self.transact(&Transaction { success, ..Transaction::default() }, done)
    }

    fn clear_images(&mut self) -> Result<(), StoreError> {
        let (key, range_end) = self.keys.below(IMAGES);
        let success = vec![Operation::Delete { key, range_end }];
        self.transact(&Transaction { success, ..Transaction::default() }, done)
    }
}

/// Whether a transaction without comparisons was carried out.
fn done(answer: TransactionAnswer) -> Result<(), &'static str> {
    if answer.succeeded { Ok(()) } else { Err("nothing was to fail") }
}

/// Pairs as they were asked for: no more, within the range, ascending.
fn within(
    answer: RangeAnswer,
    from: &Bytes,
    end: &Bytes,
    limit: usize,
) -> Result<RangeAnswer, &'static str> {
    let keys = || answer.kvs.iter().map(|pair| &pair.key.0);
    let inside = keys().all(|key| (&from.0..&end.0).contains(&key));
    match inside && answer.kvs.len() <= limit && keys().is_sorted_by(|a, b| a < b) {
        true => Ok(answer),
        false => Err("pairs that were not asked for"),
    }
}

/// Part of a key.
const LEDGER: &str = "ledger/";
/// Part of a key.
const IMAGES: &str = "images/";

/// The keys of one cluster.
#[derive(Debug)]
struct Keys {
    prefix: String,
}

impl Keys {
    fn key(&self, name: &str) -> Bytes {
        Bytes(format!("{}{name}", self.prefix).into_bytes())
    }

    fn format(&self) -> Bytes {
        self.key("format")
    }

    fn root(&self) -> Bytes {
        self.key("root")
    }

    fn record(&self, index: u64) -> Bytes {
        self.key(&format!("{LEDGER}{index:016x}"))
    }

    fn image(&self, name: &[u8]) -> Bytes {
        self.key(&format!("{IMAGES}{}", hex::encode(name)))
    }

    /// The first key that begins with a name that ends with a slash, and the one behind the last.
    fn below(&self, name: &str) -> (Bytes, Bytes) {
        let key = self.key(name);
        let mut end = key.clone();
        if let Some(slash) = end.0.last_mut() {
            *slash += 1;
        }
        (key, end)
    }
}

#[cfg(test)]
mod tests;
