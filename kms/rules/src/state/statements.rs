//! Release statements: what a KMS says of a guest that has keys, for those who did not see the
//! guest prove itself.
//!
//! A statement says nothing that the same guest could not prove to the KMS at that moment, by the
//! rules of a release. It needs no entry of its own; whoever asks decides it behind an entry that
//! was agreed, so that a process that is cut off signs nothing for a guest that was superseded.

use attestation::signatures::{Envelope, PayloadType, SigningKey};
use protocol::digest::Ed25519Key;
use protocol::kms::{RELEASE_VERSION, ReleaseStatement, SignedRelease, payload_type};
use protocol::rule::unless;
use zeroize::Zeroizing;

use super::guests::{check_mount, recorded, stated_until};
use super::{Phase, State};
use crate::derivation::Root;
use crate::guest::Guest;
use crate::refused::Refused;

/// States the keys of a guest that has the instance's newest mount.
///
/// # Errors
/// If the guest would get no keys now, but for the rule that they are for the boot alone; or got
/// them as something else, or has another mount; or it ends with its statement, and none that holds
/// stands in the ledger.
pub fn release_statement(
    state: &State,
    guest: &Guest,
    member: &Ed25519Key,
    open_counter: u64,
    clock_secs: u64,
) -> Result<ReleaseStatement, Refused> {
    let longest = stated_until(state, guest, member, open_counter, clock_secs)?;
    let instance = recorded(state, guest)?;
    let mount = check_mount(instance, guest, open_counter)?;
    let issued_secs = state.now(clock_secs);
    let not_after_secs = match mount.stops {
        // No longer than the ledger has it: its end is waited for before the disk is opened again.
        true => longest.min(mount.stated_until_secs),
        false => longest,
    };
    unless(issued_secs <= not_after_secs, || Refused::Unstated(open_counter))?;
    let policy = state.policy().ok_or(Refused::NoPolicy)?;
    let uncertified = || Refused::NotServing(Phase::Uncertified.name());
    let root = state.root_certificate().ok_or_else(uncertified)?;
    Ok(ReleaseStatement {
        version: RELEASE_VERSION,
        key_provider_id: root.key_provider_id,
        root_epoch: root.epoch,
        app_id: guest.app_id,
        instance_id: guest.instance_id,
        compose_hash: guest.compose_hash,
        os_image_hash: guest.os_image_hash,
        agent_key: guest.agent_key,
        open_counter,
        policy_version: policy.version(),
        released: instance.released_at().ok_or(Refused::InstanceUnknown)?,
        issued_secs,
        not_after_secs,
    })
}

/// Signs a statement with the identity of the newest root; `None` before owners certified it.
pub fn sign_release(
    state: &State,
    statement: &ReleaseStatement,
    root: &Root,
) -> Option<SignedRelease> {
    let (cluster, certificate) = (state.cluster()?.clone(), state.root_envelope()?.to_owned());
    let seed = Zeroizing::new(root.identity().to_bytes());
    let mut envelope = Envelope::new(PayloadType(payload_type::RELEASE), statement.to_json());
    envelope.sign(&SigningKey::from_seed(&seed));
    Some(SignedRelease { cluster, root: certificate, statement: envelope.to_json() })
}
