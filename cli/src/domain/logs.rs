//! Certificates that are logged for a name: by an aggregator, and by the tiles of logs.

use gateway_audit::aggregator::{
    MAX_LIST_BYTES, certificate_query, parse_certificate, parse_list, queries,
};
use gateway_audit::findings::{Gathered, Logged, Outcome, Proof};
use gateway_audit::kept::{Kept, KeptLog};
use gateway_audit::log_list::{TiledLog, find};
use gateway_audit::shown::{Shown, ShownError};
use gateway_domain::certificate::Certificate;
use gateway_domain::ct::{
    MAX_CHECKPOINT_BYTES, MAX_TILE_BYTES, MerkleError, TILE_WIDTH, TileId, Tiles, TreeHead,
};
use gateway_domain::name::DomainName;
use protocol::error::chain;

use super::{Asker, Sources};

/// Largest certificate in PEM.
const MAX_PEM_BYTES: usize = 128 << 10;
/// Bytes of a tile of hashes.
const HASHES_BYTES: usize = 32 * 256;
/// Most tiles of hashes that a proof takes: two for each level of the largest tree, twice.
const MAX_PROOF_TILES: usize = 64;
/// Most tiles of entries that one look reads of a log; the next look goes on there.
const MAX_READ_TILES: u64 = 400;

/// What an aggregator knows.
pub fn aggregated(asker: &Asker, aggregator: &str, name: &DomainName, gathered: &mut Gathered) {
    let mut ids = Vec::new();
    for query in queries(name) {
        let url = format!("{aggregator}{query}");
        let listed = asker.get(&url, MAX_LIST_BYTES);
        let listed = listed.and_then(|list| {
            parse_list(&list).map_err(|error| format!("{url}: {}", chain(&error)))
        });
        match listed {
            Ok(found) => ids.extend(found),
            Err(why) => gathered.unread.push(why),
        }
    }
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        let source = format!("{aggregator}{}", certificate_query(id));
        match asker.get(&source, MAX_PEM_BYTES) {
            Err(why) => gathered.unread.push(why),
            Ok(pem) => {
                let certificate = parse_certificate(&pem);
                gathered.logged.push(Logged { source, certificate });
            }
        }
    }
}

/// What logs of tiles prove: that they keep their promises, that their heads continue those that
/// were seen, and what they added since.
pub fn proved(
    asker: &Asker,
    sources: &Sources,
    name: &DomainName,
    gathered: &mut Gathered,
    kept: &mut Kept,
) {
    let served = gathered.served.iter().filter_map(|served| served.as_ref().ok());
    let logged = gathered.logged.iter().filter_map(|logged| logged.certificate.as_ref().ok());
    let certificates: Vec<Certificate> = served.chain(logged).cloned().collect();
    for log in &sources.logs {
        let promises = certificates.iter().flat_map(|certificate| {
            let own = certificate.scts().iter().filter(|sct| {
                find(&sources.logs, &sct.log_id).is_some_and(|found| found.key.id() == log.key.id())
            });
            own.filter_map(move |sct| Some((certificate, sct.leaf_index?)))
        });
        let promises: Vec<(&Certificate, u64)> = promises.collect();
        let id = hex::encode(log.key.id());
        if promises.is_empty() && !sources.watch && !kept.logs.contains_key(&id) {
            continue;
        }
        let mut reader = match LogReader::open(asker, log) {
            Ok(reader) => reader,
            Err(why) => {
                let what = format!("{}: its head", log.description);
                gathered.proofs.push(Proof { what, outcome: Outcome::Unknown(why) });
                continue;
            }
        };
        reader.continue_from(kept.logs.get(&id).copied(), &mut gathered.proofs);
        for (certificate, position) in promises {
            let what = format!(
                "{}: the certificate {} is at position {position}",
                log.description,
                hex::encode(certificate.serial())
            );
            let outcome = reader.keeps(position, certificate);
            gathered.proofs.push(Proof { what, outcome });
        }
        let read = if sources.watch { reader.read(name, gathered) } else { reader.next };
        if reader.consistent {
            kept.logs.insert(id, KeptLog::new(&reader.head, read));
        }
    }
}

/// A log under its newest head.
struct LogReader<'a> {
    asker: &'a Asker,
    log: &'a TiledLog,
    head: TreeHead,
    tiles: Tiles,
    /// Whether the head continues the one that was kept.
    consistent: bool,
    /// The first position that was not looked at.
    next: u64,
}

impl<'a> LogReader<'a> {
    fn open(asker: &'a Asker, log: &'a TiledLog) -> Result<Self, String> {
        let url = format!("{}checkpoint", log.monitoring_url);
        let text = asker.get(&url, MAX_CHECKPOINT_BYTES)?;
        let head = log.key.head(&text).map_err(|error| format!("{url}: {}", chain(&error)))?;
        let (tiles, next) = (Tiles::default(), head.size);
        Ok(Self { asker, log, head, tiles, consistent: true, next })
    }

    fn continue_from(&mut self, kept: Option<KeptLog>, proofs: &mut Vec<Proof>) {
        let Some(kept) = kept else { return };
        self.next = kept.read;
        let earlier = kept.head();
        let head = self.head;
        let outcome = self.with_tiles(|tiles| tiles.check_consistency(&earlier, &head));
        self.consistent = outcome == Outcome::Holds;
        let what = format!(
            "{}: the head of {} entries continues the one of {}",
            self.log.description, head.size, earlier.size
        );
        proofs.push(Proof { what, outcome });
    }

    fn keeps(&mut self, position: u64, certificate: &Certificate) -> Outcome {
        if position >= self.head.size {
            // Logs may take a day to keep a promise.
            let why = format!("the head has {} entries", self.head.size);
            return Outcome::Unknown(why);
        }
        match self.shown(position) {
            Err(outcome) => outcome,
            Ok(shown) => match shown.has(position, certificate) {
                Ok(()) => Outcome::Holds,
                Err(error) => Outcome::Broken(error.to_string()),
            },
        }
    }

    /// The tile of entries that has a position, under the head.
    fn shown(&mut self, position: u64) -> Result<Shown, Outcome> {
        let id = TileId::data(position, self.head.size);
        let bytes = self.fetch(id, MAX_TILE_BYTES).map_err(Outcome::Unknown)?;
        let mut shown = None;
        let head = self.head;
        let outcome = self.with_tiles(|tiles| match Shown::new(id, &bytes, &head, tiles) {
            Ok(found) => {
                shown = Some(found);
                Ok(())
            }
            Err(ShownError::Merkle(error)) => Err(error),
            Err(_) => Err(MerkleError::NotIncluded(position)),
        });
        shown.ok_or(outcome)
    }

    /// Reads what the log added; gives the first position that was not looked at.
    fn read(&mut self, name: &DomainName, gathered: &mut Gathered) -> u64 {
        let mut next = self.next;
        for _ in 0..MAX_READ_TILES {
            if next >= self.head.size {
                break;
            }
            let shown = match self.shown(next) {
                Ok(shown) => shown,
                Err(outcome) => {
                    let what = format!("{}: entries from {next} on", self.log.description);
                    gathered.proofs.push(Proof { what, outcome });
                    break;
                }
            };
            for (position, certificate) in shown.for_name(name, next) {
                let source = format!("{}: entry {position}", self.log.description);
                gathered.logged.push(Logged { source, certificate: Ok(certificate.clone()) });
            }
            next = (next / TILE_WIDTH + 1).saturating_mul(TILE_WIDTH).min(self.head.size);
        }
        next
    }

    /// Makes a proof, with the tiles of hashes that it asks for.
    fn with_tiles(&mut self, mut prove: impl FnMut(&Tiles) -> Result<(), MerkleError>) -> Outcome {
        for _ in 0..MAX_PROOF_TILES {
            let missing = match prove(&self.tiles) {
                Ok(()) => return Outcome::Holds,
                Err(MerkleError::Missing(id)) => id,
                Err(error) => return Outcome::Broken(error.to_string()),
            };
            let bytes = match self.fetch(missing, HASHES_BYTES) {
                Ok(bytes) => bytes,
                Err(why) => return Outcome::Unknown(why),
            };
            if let Err(error) = self.tiles.put(missing, &bytes) {
                return Outcome::Broken(error.to_string());
            }
        }
        Outcome::Unknown("the proof takes too many tiles".to_owned())
    }

    fn fetch(&self, id: TileId, most_bytes: usize) -> Result<Vec<u8>, String> {
        self.asker.get(&format!("{}{id}", self.log.monitoring_url), most_bytes)
    }
}
