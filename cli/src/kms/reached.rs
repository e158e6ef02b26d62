//! A KMS at the other end of a channel, with this user as one of its owners.

use std::sync::Arc;
use std::time::Duration;

use attestation::kms::{Accepts, KmsRules, Owners};
use protocol::kms::{Cluster, KmsImage, StatusResponse};

use super::ceremony::Ceremony;
use super::channel::{Connection, Target};
use super::memory::Memory;
use crate::failure::{Hint as _, Outcome};
use crate::judge;
use crate::output::Output;
use crate::owner::Owner;

/// A KMS that was verified, and what this owner keeps of it.
pub struct Reached {
    /// The owner.
    pub owner: Arc<Owner>,
    /// Whose KMS it is; this user is one of its owners.
    pub cluster: Cluster,
    /// What this owner keeps of it.
    pub memory: Memory,
    /// What runs there.
    pub image: KmsImage,
    /// The exact text of the image's image.json.
    pub image_json: Vec<u8>,
    /// Whether it is emulated, and proves nothing.
    pub emulated: bool,
    /// The channel.
    pub connection: Connection,
}

/// A KMS at an address, and what it must be.
pub struct Expected {
    /// Whose KMS it is.
    pub cluster: Cluster,
    /// What must run there.
    pub image: KmsImage,
    /// The exact text of the image's image.json.
    pub image_json: Vec<u8>,
    /// Whether it may be emulated, and prove nothing.
    pub emulated: bool,
    /// `HOST:PORT` of its channel.
    pub address: String,
}

impl Expected {
    /// Where it is, and what it must prove.
    pub fn target(&self) -> Target {
        let (images, image_json) = (vec![self.image], self.image_json.clone());
        let rules = KmsRules {
            key_provider_id: self.cluster.id(),
            anchor: judge::anchor_if(self.emulated),
            accepts: Accepts::Exactly { images, image_json },
            // The clock of the owner's machine is right.
            minimum_evaluation_number: None,
        };
        Target { address: self.address.clone(), rules }
    }

    /// Opens a channel, for which the KMS proves itself; it may have started just now.
    pub fn reach(self, owner: Arc<Owner>, timeout: Duration) -> Outcome<Reached> {
        let target = self.target();
        let Self { cluster, image, image_json, emulated, .. } = self;
        let memory = Memory::of(cluster.id())?;
        let connection = Connection::awaited(&target, &owner, timeout)?;
        Ok(Reached { owner, cluster, memory, image, image_json, emulated, connection })
    }
}

impl Reached {
    /// Does what the KMS waits for from this owner, each step said.
    pub fn lead(&mut self, output: &Output) -> Outcome<StatusResponse> {
        let say = |step: &str| output.step(step);
        let (mut ceremony, connection) = self.ceremony(&say);
        ceremony.lead(connection)
    }

    /// Keeps the head that the KMS has now, if it extends the last one.
    pub fn look(&mut self, output: &Output) -> Outcome<StatusResponse> {
        let say = |step: &str| output.step(step);
        let (mut ceremony, connection) = self.ceremony(&say);
        ceremony.look(connection)
    }

    /// The owner's acts, and the channel on which they are done.
    pub fn ceremony<'a>(&'a mut self, say: &'a dyn Fn(&str)) -> (Ceremony<'a>, &'a mut Connection) {
        let Self { owner, cluster, memory, image, connection, .. } = self;
        let (proved, listed) =
            (connection.peer().root().cloned(), connection.peer().list().cloned());
        (Ceremony { owner, cluster, memory, image: *image, proved, listed, say }, connection)
    }

    /// Whose signatures count on its documents.
    pub fn owners(&self) -> Outcome<Owners> {
        Owners::of(&self.cluster, self.cluster.id())
            .hint("the owners of the KMS", "see the message")
    }
}
