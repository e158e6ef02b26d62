//! A KMS at the other end of a channel, with this user as one of its owners.

use std::sync::Arc;

use attestation::kms::Owners;
use protocol::kms::{Cluster, KmsImage, StatusResponse};

use super::ceremony::Ceremony;
use super::channel::Connection;
use super::memory::Memory;
use crate::failure::{Hint as _, Outcome};
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
    /// Whether it is emulated, and proves nothing.
    pub emulated: bool,
    /// The channel.
    pub connection: Connection,
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
