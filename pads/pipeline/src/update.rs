//! Other policies for a Pad, on which its owners agreed: it is packed again under a new key, with
//! its id, its data and its attributes, and the old key is retired.
//!
//! [`AllowedUpdate`] → [`SealedUpdate`]: nobody can open the new Pad before the delegator has its
//! key, which it gets only after the caller made the new Pad lasting.

use std::io::{Read, Seek, Write};

use pad_format::metadata::KeyId;
use pad_format::reader::{OpenedPad, SealedPad};
use pad_format::run::RunId;
use pad_format::update::{SignedUpdate, Update};
use pad_format::{Contents, DataKey, Packing, PadDigest, PadId, PadWriter, Policy};
use protocol::digest::Sha256Digest;
use protocol::rule::unless;
use zeroize::Zeroizing;

use crate::audit::Decision;
use crate::dataset::{delegator_of, keys, named, open, view};
use crate::delegator::{Delegator, UpdatedKey, WantedPad};
use crate::engines::{Answer, Engines, UpdateView};
use crate::refusal::{Broken, Reason, Refusal};
use crate::submission::{Accepted, Facts};

/// Bytes of data that are copied at once.
const WINDOW_BYTES: usize = 1 << 20;

/// A Pad whose owners agreed on other policies, and every engine of it with them.
pub struct AllowedUpdate<R> {
    facts: Facts,
    pad: OpenedPad<R>,
    contents: Contents,
    signed: Vec<u8>,
}

/// A Pad with its new policies, whose key nobody has yet.
pub struct SealedUpdate {
    facts: Facts,
    old: WantedPad,
    digest: PadDigest,
    key_id: KeyId,
    key: DataKey,
    signed: Vec<u8>,
}

/// Verifies the owners' agreement, and asks every engine of the Pad. A refusal is recorded.
///
/// # Errors
/// If the run has another number of Pads than one, the owners did not agree to this, or an engine
/// says that they are not enough.
pub fn check<R: Read + Seek>(
    run: Accepted<R>,
    policies: Vec<Policy>,
    signed: &SignedUpdate,
    engines: &mut dyn Engines,
    delegator: &mut dyn Delegator,
) -> Result<AllowedUpdate<R>, Vec<Refusal>> {
    let Accepted { mut facts, pads } = run;
    let mut pads: Vec<_> = pads.into_iter().flatten().collect();
    let (Some(pad), true) = (pads.pop(), pads.is_empty()) else {
        return Err(vec![Refusal::run(Reason::Handle)]);
    };
    let about = named(&pad);
    facts.journal.begin(vec![(about.digest, about.custodian)]);
    let decided = opened(&facts, pad, delegator).and_then(|pad| {
        let allowed = allowed(&facts, &pad, policies, signed, engines);
        let contents = allowed.map_err(|reason| vec![Refusal::pad(about, reason)])?;
        Ok((pad, contents))
    });
    match decided {
        Ok((pad, contents)) => {
            Ok(AllowedUpdate { facts, pad, contents, signed: signed.to_bytes() })
        }
        Err(mut refusals) => {
            facts.journal.decided(Decision::UpdateRefused(refusals.clone()));
            if let Err(denied) = facts.flush(delegator) {
                refusals.push(Refusal::run(Reason::Delegator(denied)));
            }
            Err(refusals)
        }
    }
}

/// The refusal of a caller who could not make the new Pad lasting.
pub fn not_lasting(error: &std::io::Error) -> Refusal {
    Refusal::run(Reason::Pack(error.to_string()))
}

fn opened<R: Read + Seek>(
    facts: &Facts,
    pad: SealedPad<R>,
    delegator: &mut dyn Delegator,
) -> Result<OpenedPad<R>, Vec<Refusal>> {
    let about = named(&pad);
    let refused = |reason| vec![Refusal::pad(about, reason)];
    delegator_of(facts, &pad).map_err(refused)?;
    let sealed = [pad];
    let released = keys(facts, &sealed, delegator)?.pop();
    let [pad] = sealed;
    let none = Reason::Keys { found: 0, expected: 1 };
    open(facts, pad, released.ok_or_else(|| refused(none))?).map_err(refused)
}

/// The contents that the Pad is to have.
fn allowed<R: Read + Seek>(
    facts: &Facts,
    pad: &OpenedPad<R>,
    policies: Vec<Policy>,
    signed: &SignedUpdate,
    engines: &mut dyn Engines,
) -> Result<Contents, Reason> {
    for policy in &policies {
        // No key of the Pad would ever be released to another one.
        unless(facts.is_stated(&policy.engine), || Reason::NotStated(policy.engine))?;
    }
    let in_force = pad.contents().policy_version;
    let mut contents = Contents { policies, ..pad.contents().clone() };
    contents.policy_version = signed.claimed().version;
    let update = Update {
        pad_id: pad.metadata().pad_id,
        policies: contents.policies_digest(),
        version: contents.policy_version,
    };
    let owners = signed.verify(&update, in_force)?;
    let view = UpdateView {
        pad: view(pad),
        policies: contents.policies.clone(),
        owners: owners.ids().to_vec(),
    };
    let mut named: Vec<_> = pad.contents().policies.iter().map(|policy| policy.engine).collect();
    named.sort_unstable();
    named.dedup();
    for engine in named {
        agrees(
            engine,
            engines
                .check_update(&engine, &view)
                .map_err(|failed| Reason::Engine { engine, failed })?,
        )?;
    }
    Ok(contents)
}

fn agrees(engine: Sha256Digest, answer: Answer) -> Result<(), Reason> {
    let (uses, refusal) = match answer {
        Answer::Allowed(uses) => (uses, None),
        Answer::Refused(refusal) => (Vec::new(), Some(refusal)),
    };
    let rule = refusal.map(|refusal| Broken::of(engine, &refusal, None));
    unless(rule.is_none(), || rule.map_or(Reason::Use(engine), |rule| Reason::Rule { rule }))?;
    unless(uses.is_empty(), || Reason::Use(engine))
}

impl<R: Read + Seek> AllowedUpdate<R> {
    /// Writes the Pad with its new policies; the caller makes it lasting before it hands the key
    /// over.
    ///
    /// # Errors
    /// If the old Pad's data were changed, or the output fails.
    pub fn seal<W: Write>(self, out: W) -> Result<(W, SealedUpdate), Refusal> {
        self.sealed(out).map_err(Refusal::run)
    }

    fn sealed<W: Write>(self, out: W) -> Result<(W, SealedUpdate), Reason> {
        let Self { facts, pad, contents, signed } = self;
        let failed = |error: &dyn std::error::Error| Reason::Pack(error.to_string());
        let metadata = pad.metadata().clone();
        let old = WantedPad { digest: pad.digest(), metadata: metadata.clone() };
        let key = DataKey::generate().map_err(|error| failed(&error))?;
        // Random, as the id of a Pad is.
        let key_id = PadId::generate().map_err(|error| failed(&error))?;
        let key_id = KeyId::new(key_id.uuid().as_bytes()).map_err(|error| failed(&error))?;
        let packing = Packing {
            pad_id: metadata.pad_id,
            delegator: metadata.delegator,
            algorithm: metadata.crypto.algorithm,
            key_id: key_id.clone(),
            chunk: metadata.crypto.chunk,
            contents: &contents,
        };
        let mut data = pad.into_data().map_err(|error| failed(&error))?;
        let mut writer = PadWriter::new(out, &packing, &key).map_err(|error| failed(&error))?;
        let mut window = Zeroizing::new(vec![0; WINDOW_BYTES]);
        let mut at = 0;
        while at < data.data_bytes() {
            let read = data.read_at(at, &mut window).map_err(|error| failed(&error))?;
            writer.write(&window[..read]).map_err(|error| failed(&error))?;
            at += read as u64;
        }
        let (out, digest) = writer.finish().map_err(|error| failed(&error))?;
        Ok((out, SealedUpdate { facts, old, digest, key_id, key, signed }))
    }
}

impl SealedUpdate {
    /// Records the update, and gives the new key to the delegator, which retires the old one. The
    /// digest of the new Pad.
    ///
    /// # Errors
    /// If a delegator does not do its part; the old Pad is the one that counts then.
    pub fn hand_over(self, delegator: &mut dyn Delegator) -> Result<PadDigest, Refusal> {
        let Self { mut facts, old, digest, key_id, key, signed } = self;
        facts.journal.decided(Decision::Updated { digest });
        let run: RunId = facts.id;
        let handed = facts
            .flush(delegator)
            .and_then(|()| delegator.update(&UpdatedKey { run, old, key_id, key: &key, signed }));
        handed.map_err(|denied| Refusal::run(Reason::Delegator(denied)))?;
        Ok(digest)
    }
}
