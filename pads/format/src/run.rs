//! What the owner of a program signs for one run of it.
//!
//! Policies name who may run what on which Pads, so the owner is proved and not stated: the
//! signature is over this run, this connection to the middleware, this program, these Pads and
//! this plain input. Whoever relays or repeats it gets a run that it is not over. A middleware
//! takes each run id once.

use pad_cbor::{CborError, Reader, Writer, read_whole};
use protocol::channel::EXPORTER_BYTES;
use protocol::digest::Sha256Digest;
use protocol::rule::unless;

use crate::custodian::{
    Custodian, CustodianError, CustodianId, SignatureError, Signatures, labelled,
};
use crate::layout::PadDigest;

/// Most Pads of one data set.
pub const MAX_PADS: usize = 10_000;
/// Largest signed run: the most Pads, and the keys and signatures of the most members.
pub const MAX_BYTES: usize = 512 * 1024;
/// Longest validity: a run is signed when it is to begin.
pub const MAX_VALIDITY_SECS: u64 = 24 * 60 * 60;
/// Bytes of a run id.
pub const RUN_ID_BYTES: usize = 16;
/// First bytes of what is signed.
const LABEL: &[u8] = b"dstyx pad run 1";

/// Which run it is; the middleware draws it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub [u8; RUN_ID_BYTES]);

/// One run, as its owner states it or as the middleware has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Which run.
    pub id: RunId,
    /// Keying material of the owner's channel to the middleware.
    pub exporter: [u8; EXPORTER_BYTES],
    /// SHA-256 of the program.
    pub program: Sha256Digest,
    /// The Pads, in the order in which they are added.
    pub pads: Vec<PadDigest>,
    /// SHA-256 of the plain input, if there is one.
    pub plain_input: Option<Sha256Digest>,
}

/// A run, an end of its validity, and signatures that are not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRun {
    owner: Custodian,
    run: Run,
    not_after: u64,
    signatures: Signatures,
}

/// The owner of a program in one run.
///
/// Holding one proves: enough members of this custodian signed this very run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedOwner(CustodianId);

/// Why something is not the owner's signature for a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// more than the budget
    #[error("a signed run of {0} bytes, at most {MAX_BYTES} are accepted")]
    TooLarge(usize),
    /// not the encoding of a signed run
    #[error("the signed run: {0}")]
    Cbor(#[from] CborError),
    /// an owner that cannot be
    #[error("the signed run: {0}")]
    Owner(#[from] CustodianError),
    /// another run
    #[error("the signature is for another {0} than this run's")]
    Other(&'static str),
    /// no longer valid
    #[error("the signature was valid until {not_after}, and it is {now} (seconds since 1970)")]
    Expired {
        /// The end of its validity.
        not_after: u64,
        /// The time.
        now: u64,
    },
    /// valid for longer than is accepted
    #[error(
        "the signature is valid for {found} seconds from now, at most {MAX_VALIDITY_SECS} are accepted"
    )]
    TooLong {
        /// For how long.
        found: u64,
    },
    /// not signed by its owner
    #[error("the signed run: {0}")]
    Signature(#[from] SignatureError),
}

impl Run {
    /// What members of the owner sign.
    pub fn signed_bytes(&self, owner: &CustodianId, not_after: u64) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.array(3).bytes(&owner.0.0);
        self.write(&mut writer);
        writer.uint(not_after);
        labelled(LABEL, &writer.finish())
    }

    /// Joins the run and signatures over [`Self::signed_bytes`].
    #[must_use]
    pub fn signed(self, owner: Custodian, not_after: u64, signatures: Signatures) -> SignedRun {
        SignedRun { owner, run: self, not_after, signatures }
    }

    /// Appends `{1: id, 2: exporter, 3: program, 4: Pads}`, with `5: plain input` if there is one.
    fn write(&self, writer: &mut Writer) {
        writer.map(4 + usize::from(self.plain_input.is_some()));
        writer.uint(1).bytes(&self.id.0).uint(2).bytes(&self.exporter);
        writer.uint(3).bytes(&self.program.0).uint(4).array(self.pads.len());
        for pad in &self.pads {
            writer.bytes(&pad.0.0);
        }
        if let Some(digest) = &self.plain_input {
            writer.uint(5).bytes(&digest.0);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        let mut map = reader.map("run")?;
        map.required(reader, 1)?;
        let id = RunId(reader.fixed("run: id")?);
        map.required(reader, 2)?;
        let exporter = reader.fixed("run: exporter")?;
        map.required(reader, 3)?;
        let program = Sha256Digest(reader.fixed("run: program")?);
        map.required(reader, 4)?;
        let count = reader.array("run: Pads", 0..=MAX_PADS)?;
        let pad = |_| reader.fixed("run: Pad").map(|digest| PadDigest(Sha256Digest(digest)));
        let pads = (0..count).map(pad).collect::<Result<_, CborError>>()?;
        let plain_input = if map.optional(reader, 5)? {
            Some(Sha256Digest(reader.fixed("run: plain input")?))
        } else {
            None
        };
        map.end(reader)?;
        Ok(Self { id, exporter, program, pads, plain_input })
    }
}

impl SignedRun {
    /// Reads `{1: owner, 2: run, 3: not after, 4: signatures}`.
    ///
    /// # Errors
    /// If the bytes are not its one encoding.
    pub fn parse(bytes: &[u8]) -> Result<Self, RunError> {
        if bytes.len() > MAX_BYTES {
            return Err(RunError::TooLarge(bytes.len()));
        }
        read_whole(bytes, Self::read)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, RunError> {
        let mut map = reader.map("signed run")?;
        map.required(reader, 1)?;
        let owner = Custodian::read(reader)?;
        map.required(reader, 2)?;
        let run = Run::read(reader)?;
        map.required(reader, 3)?;
        let not_after = reader.uint("run: not after", 0..=u64::MAX)?;
        map.required(reader, 4)?;
        let signatures = Signatures::read(reader)?;
        map.end(reader)?;
        Ok(Self { owner, run, not_after, signatures })
    }

    /// The bytes that [`Self::parse`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.map(4).uint(1);
        self.owner.write(&mut writer);
        writer.uint(2);
        self.run.write(&mut writer);
        writer.uint(3).uint(self.not_after).uint(4);
        self.signatures.write(&mut writer);
        writer.finish()
    }

    /// Accepts the owner of the run that the middleware has before it.
    ///
    /// # Errors
    /// If the signature is for another run, too old, valid for too long, or not the owner's.
    pub fn verify(&self, this: &Run, now: u64) -> Result<VerifiedOwner, RunError> {
        let run = &self.run;
        unless(run.id == this.id, || RunError::Other("run id"))?;
        unless(run.exporter == this.exporter, || RunError::Other("connection"))?;
        unless(run.program == this.program, || RunError::Other("program"))?;
        unless(run.pads == this.pads, || RunError::Other("list of Pads"))?;
        unless(run.plain_input == this.plain_input, || RunError::Other("plain input"))?;
        let not_after = self.not_after;
        unless(now <= not_after, || RunError::Expired { not_after, now })?;
        let found = not_after.saturating_sub(now);
        unless(found <= MAX_VALIDITY_SECS, || RunError::TooLong { found })?;
        let id = self.owner.id();
        self.signatures.verify(&self.owner, &run.signed_bytes(&id, not_after))?;
        Ok(VerifiedOwner(id))
    }
}

impl VerifiedOwner {
    /// Who it is.
    pub fn id(&self) -> CustodianId {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{joint, key, run, sign, signed_run};

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn the_owner_of_a_run_is_who_signed_it() {
        let signed = signed_run(&Custodian::single(key(1)), &[1], NOW + 60);
        let read = SignedRun::parse(&signed.to_bytes()).unwrap();
        assert_eq!(read, signed);
        let owner = read.verify(&run(), NOW).unwrap();
        assert_eq!(owner.id(), Custodian::single(key(1)).id());
        let joint_run = signed_run(&joint(), &[2, 3], NOW + 60);
        assert_eq!(joint_run.verify(&run(), NOW).map(|owner| owner.id()), Ok(joint().id()));
        let refused = signed_run(&joint(), &[2], NOW + 60).verify(&run(), NOW);
        let few = SignatureError::TooFew { found: 1, expected: 2 };
        assert_eq!(refused, Err(RunError::Signature(few)));
    }

    #[test]
    fn a_run_signed_for_anything_else_is_refused_by_what_it_is() {
        let signed = signed_run(&joint(), &[1, 2], NOW + 60);
        let changes: [(fn(&mut Run), &str); 8] = [
            (|run| run.id.0[0] ^= 1, "run id"),
            (|run| run.exporter[0] ^= 1, "connection"),
            (|run| run.program.0[0] ^= 1, "program"),
            (|run| run.pads.swap(0, 1), "list of Pads"),
            (|run| run.pads.truncate(1), "list of Pads"),
            (|run| run.pads.push(run.pads[0]), "list of Pads"),
            (|run| run.plain_input = None, "plain input"),
            (|run| run.plain_input = Some(Sha256Digest([0; 32])), "plain input"),
        ];
        for (change, part) in changes {
            let mut this = run();
            change(&mut this);
            assert_eq!(signed.verify(&this, NOW), Err(RunError::Other(part)));
            // The statement is moved to the other run, the signatures stay.
            let mut moved = signed.clone();
            moved.run = this.clone();
            let refused = moved.verify(&this, NOW);
            assert!(matches!(refused, Err(RunError::Signature(SignatureError::Wrong(_)))));
        }
    }

    #[test]
    fn naming_an_owner_without_its_key_is_refused() {
        let owner = Custodian::single(key(1));
        let refused = signed_run(&owner, &[9], NOW + 60).verify(&run(), NOW);
        let stranger = SignatureError::Stranger(key(9));
        assert_eq!(refused, Err(RunError::Signature(stranger)));
        // A signature of one owner does not count under the id of another.
        let id = Custodian::single(key(9)).id();
        let signatures = sign(&[1], &run().signed_bytes(&id, NOW + 60));
        let refused = run().signed(owner, NOW + 60, signatures).verify(&run(), NOW);
        assert!(matches!(refused, Err(RunError::Signature(SignatureError::Wrong(_)))));
    }

    #[test]
    fn a_signature_ends() {
        let signed = |not_after| signed_run(&joint(), &[1, 2], not_after);
        assert!(signed(NOW).verify(&run(), NOW).is_ok());
        let refused = signed(NOW - 1).verify(&run(), NOW);
        assert_eq!(refused, Err(RunError::Expired { not_after: NOW - 1, now: NOW }));
        let refused = signed(NOW + MAX_VALIDITY_SECS + 1).verify(&run(), NOW);
        assert_eq!(refused, Err(RunError::TooLong { found: MAX_VALIDITY_SECS + 1 }));
        let mut later = signed(NOW - 1);
        later.not_after = NOW + 1;
        assert!(matches!(later.verify(&run(), NOW), Err(RunError::Signature(_))));
    }

    #[test]
    fn every_changed_byte_is_refused() {
        let good = signed_run(&joint(), &[1, 3], NOW + 60).to_bytes();
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 1;
            let read = SignedRun::parse(&changed);
            assert!(read.and_then(|read| read.verify(&run(), NOW)).is_err(), "{at}");
            assert!(SignedRun::parse(&good[..at]).is_err(), "{at}");
        }
        assert!(SignedRun::parse(&[good.as_slice(), &[0]].concat()).is_err());
        let large = SignedRun::parse(&vec![0; MAX_BYTES + 1]);
        assert_eq!(large, Err(RunError::TooLarge(MAX_BYTES + 1)));
    }
}
