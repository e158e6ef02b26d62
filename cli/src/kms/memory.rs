//! What this user keeps of a KMS: a share of its root, the root that was certified, the list and
//! the policy that were signed, and the last head that was seen.
//!
//! One directory for each key provider. The share is secret, unless it is sealed to a key of age's
//! that lies elsewhere; the rest protects against a KMS whose
//! state the host put back: it is compared before anything is signed.

use std::path::{Path, PathBuf};

use protocol::digest::{Ed25519Key, Sha256Digest};
use protocol::kms::{KmsList, RootCertificate, Share};
use protocol::strict_json;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::sealing;
use crate::age::{self, Identity, Recipient};
use crate::failure::{Failure, Hint as _, Outcome};
use crate::{paths, private};

/// A list of KMS images is the largest part.
const MAX_SEEN_BYTES: usize = 256 << 10;
/// A share has some hundred bytes.
const MAX_SHARE_BYTES: usize = 4096;
/// What to do about a file that cannot be read as it was written.
const DAMAGED: &str = "it was damaged or edited; put back what was there";

/// Where the ledger of a KMS ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Entries.
    pub entries: u64,
    /// Hash of the last of them; zero if there are none.
    pub hash: Sha256Digest,
}

/// A word to go on that was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resumed {
    /// The head after which the member goes on.
    pub head: Head,
    /// The one process that may.
    pub member: Ed25519Key,
}

/// What was seen and signed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// The last head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// The last word to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<Resumed>,
    /// The root that was certified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<RootCertificate>,
    /// The newest list that was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<KmsList>,
    /// Version of the newest policy that was signed; 0 if there is none.
    #[serde(default)]
    pub policy_version: u64,
}

/// A share of a root, cleared when it is dropped.
pub struct OwnShare {
    /// The epoch of the root.
    pub epoch: u32,
    /// The share.
    pub bytes: Zeroizing<Vec<u8>>,
}

impl OwnShare {
    /// What a KMS handed out.
    pub fn taken(message: Share) -> Self {
        Self { epoch: message.epoch, bytes: Zeroizing::new(message.share) }
    }
}

/// The share as a file has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawShare {
    epoch: u32,
    share: String,
}

impl Drop for RawShare {
    fn drop(&mut self) {
        self.share.zeroize();
    }
}

/// What is kept of one KMS.
#[derive(Debug)]
pub struct Memory {
    directory: PathBuf,
    /// To whom shares are sealed before they are written; none: they are written as they are.
    recipient: Option<Recipient>,
    /// What opens sealed ones.
    identity: Option<Identity>,
    /// What was seen and signed.
    pub seen: Seen,
}

impl Memory {
    /// What this user keeps of a KMS; empty for one that was never seen.
    pub fn of(key_provider_id: Sha256Digest) -> Outcome<Self> {
        let directory = paths::data_directory()?.join("kms").join(key_provider_id.to_string());
        Ok(Self { recipient: sealing::recipient()?, ..Self::in_directory(&directory)? })
    }

    /// Opens sealed shares with this identity.
    pub fn opens_with(&mut self, identity: Identity) {
        self.identity = Some(identity);
    }

    /// Whether this user keeps anything of a KMS.
    pub fn is_kept(key_provider_id: Sha256Digest) -> Outcome<bool> {
        Ok(paths::data_directory()?.join("kms").join(key_provider_id.to_string()).exists())
    }

    /// Moves what is kept aside, for a KMS that was given up: its next root is another one. The
    /// share stays, since a disk that was exported may be under the old root.
    pub fn set_aside(self, now_secs: u64) -> Outcome<()> {
        if !self.directory.exists() {
            return Ok(());
        }
        let aside = self.directory.with_extension(format!("given-up-{now_secs}"));
        std::fs::rename(&self.directory, &aside)
            .hint(self.directory.display(), "is the directory writable?")
    }

    /// What is kept in a directory.
    pub(super) fn in_directory(directory: &Path) -> Outcome<Self> {
        let file = directory.join("seen.json");
        let seen = match private::read(&file, MAX_SEEN_BYTES as u64)? {
            Some(json) => {
                strict_json::parse(&json, MAX_SEEN_BYTES).hint(file.display(), DAMAGED)?
            }
            None => Seen::default(),
        };
        Ok(Self { directory: directory.to_owned(), recipient: None, identity: None, seen })
    }

    /// Writes what was seen, before what was signed leaves.
    pub fn save(&self) -> Outcome<()> {
        let json = serde_json::to_vec_pretty(&self.seen).expect("strings and numbers serialise");
        self.write("seen.json", &json)
    }

    /// Whether the share of an epoch's root is kept, sealed or not.
    pub fn has_share(&self, epoch: u32) -> bool {
        [Form::Plain, Form::Sealed].into_iter().any(|form| self.share_file(epoch, form).exists())
    }

    /// The share of an epoch's root, if it was taken.
    ///
    /// # Errors
    /// If it is damaged, or sealed to a key that is not here.
    pub fn share(&self, epoch: u32) -> Outcome<Option<OwnShare>> {
        let file = self.share_file(epoch, Form::Plain);
        match private::read(&file, MAX_SHARE_BYTES as u64)? {
            Some(json) => Self::read_share(&json, &file).map(Some),
            None => self.sealed_share(epoch),
        }
    }

    fn sealed_share(&self, epoch: u32) -> Outcome<Option<OwnShare>> {
        let file = self.share_file(epoch, Form::Sealed);
        let Some(sealed) = private::read(&file, age::MAX_FILE_BYTES as u64)? else {
            return Ok(None);
        };
        let identity = self.identity.as_ref().ok_or_else(|| {
            Failure::new(
                format!("{}: the share is sealed to a key of age's", file.display()),
                "`dstyx kms recover --age-identity FILE` opens it with the key that `age-keygen` wrote",
            )
        })?;
        let json = age::open(identity, &sealed).hint(
            file.display(),
            "is it the key to whose age1… this share was sealed? put back what was there if it was damaged",
        )?;
        Self::read_share(&json, &file).map(Some)
    }

    fn read_share(json: &[u8], file: &Path) -> Outcome<OwnShare> {
        let raw: RawShare =
            strict_json::parse(json, MAX_SHARE_BYTES).hint(file.display(), DAMAGED)?;
        let bytes = hex::decode(&raw.share)
            .map_err(|_| Failure::new(format!("{}: no share", file.display()), DAMAGED))?;
        Ok(OwnShare { epoch: raw.epoch, bytes: Zeroizing::new(bytes) })
    }

    /// Keeps a share; one of the same epoch is not written over by another.
    pub fn keep_share(&self, share: &OwnShare) -> Outcome<()> {
        if let Some(kept) = self.share(share.epoch)?
            && kept.bytes != share.bytes
        {
            return Err(Failure::new(
                format!("another share of epoch {} is kept already", share.epoch),
                format!("move {} away if its root is lost", self.directory.display()),
            ));
        }
        self.replace_share(share)
    }

    /// Keeps a share in place of another one of its epoch.
    pub fn replace_share(&self, share: &OwnShare) -> Outcome<()> {
        let raw = RawShare { epoch: share.epoch, share: hex::encode(&*share.bytes) };
        let json = serde_json::to_vec(&raw).expect("a string and a number serialise");
        let json = Zeroizing::new(json);
        let (form, other) = match &self.recipient {
            None => (Form::Plain, Form::Sealed),
            Some(_) => (Form::Sealed, Form::Plain),
        };
        let sealed = self.recipient.as_ref().map(|recipient| age::seal(recipient, &json));
        let sealed =
            sealed.transpose().hint("sealing the share", "`dstyx kms init` has the key")?;
        let file = self.share_file(share.epoch, form);
        private::replace(&file, sealed.as_deref().unwrap_or(&json))
            .hint(file.display(), "is the directory writable?")?;
        // Of two files nobody would know which share counts.
        remove(&self.share_file(share.epoch, other))
    }

    /// Destroys the shares of epochs before one whose share is kept: what they open is sealed under
    /// the later root.
    pub fn destroy_shares_before(&self, epoch: u32) -> Outcome<()> {
        for older in 1..epoch {
            for form in [Form::Plain, Form::Sealed] {
                remove(&self.share_file(older, form))?;
            }
        }
        Ok(())
    }

    /// The first epoch's is named as if there were no other.
    fn share_file(&self, epoch: u32, form: Form) -> PathBuf {
        let name = if epoch == 1 { "share".to_owned() } else { format!("share-{epoch}") };
        let extension = match form {
            Form::Plain => "json",
            Form::Sealed => "age",
        };
        self.directory.join(format!("{name}.{extension}"))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Outcome<()> {
        let file = self.directory.join(name);
        private::replace(&file, bytes).hint(file.display(), "is the directory writable?")
    }
}

/// How a share is written.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// As JSON.
    Plain,
    /// As an age file of that JSON.
    Sealed,
}

fn remove(file: &Path) -> Outcome<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).hint(file.display(), "is the directory writable?")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_was_seen_is_read_as_it_was_written_and_by_its_user_alone() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("id");
        let mut memory = Memory::in_directory(&directory).unwrap();
        assert_eq!(memory.seen, Seen::default());
        memory.seen.head = Some(Head { entries: 7, hash: Sha256Digest([7; 32]) });
        memory.seen.policy_version = 3;
        memory.save().unwrap();
        assert_eq!(Memory::in_directory(&directory).unwrap().seen, memory.seen);
        let file = directory.join("seen.json");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&file).unwrap();
        private::replace(&file, text.replacen('{', r#"{"more":1,"#, 1).as_bytes()).unwrap();
        assert!(Memory::in_directory(&directory).is_err());
        private::replace(&file, text.as_bytes()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o660)).unwrap();
        assert!(Memory::in_directory(&directory).is_err());
    }

    #[test]
    fn a_kms_that_was_given_up_is_unknown_and_its_share_is_not_lost() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("id");
        let memory = Memory::in_directory(&place).unwrap();
        let share = OwnShare { epoch: 1, bytes: Zeroizing::new(vec![1; 33]) };
        memory.keep_share(&share).unwrap();
        memory.set_aside(7).unwrap();
        assert!(Memory::in_directory(&place).unwrap().share(1).unwrap().is_none());
        let aside = Memory::in_directory(&directory.path().join("id.given-up-7")).unwrap();
        assert_eq!(aside.share(1).unwrap().unwrap().epoch, 1);
        Memory::in_directory(&place).unwrap().set_aside(8).unwrap();
    }

    #[test]
    fn a_share_that_is_sealed_to_an_age_key_opens_for_its_identity_alone() {
        const IDENTITY: &str = include_str!("../../../tests/vectors/age/identity.txt");
        let identity = || Identity::parse(IDENTITY.as_bytes()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("id");
        let plain = Memory::in_directory(&place).unwrap();
        let share = |byte| OwnShare { epoch: 2, bytes: Zeroizing::new(vec![byte; 33]) };
        plain.keep_share(&share(0xab)).unwrap();
        let recipient = Some(identity().recipient());
        let mut memory = Memory { recipient, ..Memory::in_directory(&place).unwrap() };
        memory.replace_share(&share(0xcd)).unwrap();
        let names = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["share-2.age"], "no plain one is left");
        let file = place.join("share-2.age");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let bytes = fs::read(&file).unwrap();
        assert!(!bytes.windows(6).any(|part| part == b"cdcdcd" || part == b"share\""));
        assert!(memory.has_share(2) && !memory.has_share(1));
        let refused = memory.share(2).err().unwrap();
        assert!(refused.hint.contains("--age-identity"), "{refused}");
        // One that cannot be compared is not written over.
        assert!(memory.keep_share(&share(0xcd)).is_err());
        memory.opens_with(identity());
        assert_eq!(memory.share(2).unwrap().unwrap().bytes, share(0xcd).bytes);
        memory.keep_share(&share(0xcd)).unwrap();
        assert!(memory.keep_share(&share(0xee)).is_err());
        fs::write(&file, [&bytes[..bytes.len() - 1], &[0]].concat()).unwrap();
        assert!(memory.share(2).is_err());
        memory.destroy_shares_before(3).unwrap();
        assert!(!memory.has_share(2));
    }

    #[test]
    fn a_share_is_kept_for_its_user_alone_and_not_replaced_within_its_epoch() {
        let directory = tempfile::tempdir().unwrap();
        let memory = Memory::in_directory(&directory.path().join("id")).unwrap();
        assert!(memory.share(1).unwrap().is_none());
        let share = |epoch, byte| OwnShare { epoch, bytes: Zeroizing::new(vec![byte; 33]) };
        memory.keep_share(&share(1, 0xab)).unwrap();
        memory.keep_share(&share(1, 0xab)).unwrap();
        let kept = memory.share(1).unwrap().unwrap();
        assert_eq!((kept.epoch, kept.bytes), (1, share(1, 0xab).bytes));
        let file = directory.path().join("id/share.json");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(memory.keep_share(&share(1, 0xcd)).is_err());
        memory.keep_share(&share(2, 0xcd)).unwrap();
        assert_eq!(memory.share(2).unwrap().unwrap().epoch, 2);
        assert_eq!(memory.share(1).unwrap().unwrap().bytes[0], 0xab, "both until one counts");
        memory.destroy_shares_before(2).unwrap();
        assert!(memory.share(1).unwrap().is_none() && memory.share(2).unwrap().is_some());
    }
}
