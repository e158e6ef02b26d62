//! The owner of a program: signs what it is run on, and opens results in plain.

use std::path::{Path, PathBuf};

use pad_format::Custodian;
use pad_format::run::{Run, RunId};
use pad_format::sealed::{self, Purpose};
use pad_pipeline::output::result_subject;
use protocol::digest::Sha256Digest;
use zeroize::Zeroizing;

use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;
use crate::pad::custodian::Public;
use crate::pad::keys::{MemberKeys, signed_by};
use crate::pad::{policies, sealed as sealed_files};

/// Largest plain input.
const MAX_PLAIN_BYTES: u64 = 64 << 20;
/// How long a signature holds.
const VALIDITY_SECS: u64 = 600;

/// A custodian with the keys of some members.
pub struct RunOwner {
    /// Who it is.
    pub custodian: Custodian,
    members: Vec<MemberKeys>,
}

impl RunOwner {
    /// The owner with these members' keys; none without keys. One key stands for a custodian of its
    /// own unless a public file says otherwise.
    pub fn load(keys: &[PathBuf], public: Option<&PathBuf>) -> Outcome<Option<Self>> {
        let members =
            keys.iter().map(|file| MemberKeys::load(file)).collect::<Outcome<Vec<_>>>()?;
        let custodian = match (public, members.as_slice()) {
            (Some(file), _) => Public::load(file)?.custodian,
            (None, []) => return Ok(None),
            (None, [one]) => one.custodian(),
            (None, _) => {
                let what = "several keys sign for a custodian of several";
                return Err(Failure::new(what, "name its public file with --owner-custodian"));
            }
        };
        Ok(Some(Self { custodian, members }))
    }

    /// A run as its owner signs it.
    pub fn signed(&self, run: &Run, now: u64) -> Vec<u8> {
        let Self { custodian, members } = self;
        let not_after = now + VALIDITY_SECS;
        let signatures = signed_by(members, &run.signed_bytes(&custodian.id(), not_after));
        run.clone().signed(custodian.clone(), not_after, signatures).to_bytes()
    }

    /// A result in plain, if one of the members has the key of the owner's enrolment.
    pub fn opened(&self, run: &RunId, bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let about = result_subject(&run.0, &self.custodian.id());
        let open = |member: &MemberKeys| {
            sealed::open(&member.results(), Purpose::Result, &about, bytes).ok()
        };
        self.members.iter().find_map(open)
    }
}

/// A run of a program on these files, and its plain input.
pub fn run_on(
    id: RunId,
    exporter: [u8; 32],
    program: &Path,
    pads: &[PathBuf],
    plain: Option<&Path>,
) -> Outcome<(Run, Option<Zeroizing<Vec<u8>>>)> {
    let digest = |pad: &PathBuf| sealed_files::claimed(pad).map(|claimed| claimed.digest());
    let pads = pads.iter().map(digest).collect::<Outcome<_>>()?;
    let plain = plain.map(|file| files::read_bounded(file, MAX_PLAIN_BYTES));
    let plain = plain.transpose()?.map(Zeroizing::new);
    let program = policies::sha256_of_file(program)
        .hint(program.display(), "name the program's component")?;
    let plain_input = plain.as_ref().map(|plain| Sha256Digest::of(plain));
    Ok((Run { id, exporter, program, pads, plain_input }, plain))
}
