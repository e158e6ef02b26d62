//! The 64 bytes of a quote's report data: a tag that says which role of the guest asked, and a
//! hash.
//!
//! A container chooses all 64 bytes of its quotes, so a quote alone does not prove which program of
//! the guest speaks. The guest's own roles therefore begin with a reserved tag, which the agent
//! refuses to containers: `tag (16 bytes) ‖ SHA-384(length-prefixed fields)`. A verifier may rely
//! on a tag only where the image is judged and its `image.json` states
//! [`crate::image::RESERVED_REPORT_DATA`]: an older image, and every image of others, gives a
//! container whatever it asks for. Each tag is spelled here and nowhere else.

use crate::digest::{ReportData, sha384_length_prefixed};

/// Bytes of a verifier's nonce.
pub const NONCE_BYTES: usize = 32;
/// Bytes of a tag.
pub const TAG_BYTES: usize = 16;
/// Beginning of every reserved tag, and of those that are not given out yet.
pub const RESERVED_PREFIX: &[u8] = b"dstyx-";

/// A role in whose name a quote is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The public evidence page; the digit is the version of the derivation.
    Evidence,
    /// The agent's end of an attested channel.
    Agent,
    /// The end of the runner of Pads.
    Pads,
    /// The end of a program in a container: the one tag that a container may use.
    App,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Evidence, Self::Agent, Self::Pads, Self::App];

    /// The first bytes of its report data.
    pub const fn tag(self) -> &'static [u8; TAG_BYTES] {
        match self {
            Self::Evidence => b"dstyx-evidence-2",
            Self::Agent => b"dstyx-chan-agent",
            Self::Pads => b"dstyx-chan-pads-",
            Self::App => b"dstyx-chan-app--",
        }
    }

    /// Report data of this role over `fields`, each hashed behind its length.
    pub fn report_data(self, fields: &[&[u8]]) -> ReportData {
        let mut bytes = [0; 64];
        let (tag, hash) = bytes.split_at_mut(TAG_BYTES);
        tag.copy_from_slice(self.tag());
        hash.copy_from_slice(&sha384_length_prefixed(fields).0);
        ReportData(bytes)
    }
}

/// Report data of `GET /evidence?nonce=`: proves that the agent of such a guest answered after the
/// nonce was chosen; does not prove that the connection on which it came ends in that guest.
pub fn evidence(nonce: &[u8; NONCE_BYTES]) -> ReportData {
    Role::Evidence.report_data(&[nonce])
}

/// Whether a container may have a quote over these bytes: no reserved tag but [`Role::App`].
pub fn is_open_to_containers(report_data: &ReportData) -> bool {
    let bytes = report_data.as_bytes();
    !bytes.starts_with(RESERVED_PREFIX) || bytes.starts_with(Role::App.tag())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The expected bytes were computed by Python's hashlib over the length-prefixed nonce.
    #[test]
    fn evidence_is_the_tag_and_the_hash_of_the_nonce() {
        let hash = "481192a8bf098ed43da350c729cf0bc974e9f7c4e8a60f5e\
                    f7022daf245b4b541f61c94bbbd1edc220be252d721c3297";
        let expected = [hex::encode(b"dstyx-evidence-2"), hash.to_owned()].concat();
        assert_eq!(evidence(&[7; 32]).to_string(), expected);
        assert_ne!(evidence(&[0; 32]), evidence(&[1; 32]));
    }

    #[test]
    fn every_tag_is_reserved_and_one_is_a_container_s() {
        for role in Role::ALL {
            let report_data = role.report_data(&[b"a"]);
            assert!(report_data.as_bytes().starts_with(RESERVED_PREFIX));
            assert_eq!(is_open_to_containers(&report_data), role == Role::App, "{role:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_begins_with_the_prefix_is_refused_but_the_app_s_tag(
            mut bytes in any::<[u8; 32]>().prop_map(|half| [half, half].concat()),
            kept in 0..=TAG_BYTES,
        ) {
            bytes[..kept].copy_from_slice(&Role::App.tag()[..kept]);
            let begins = bytes.starts_with(RESERVED_PREFIX);
            let app = bytes.starts_with(Role::App.tag());
            let report_data = ReportData(bytes.try_into().unwrap());
            prop_assert_eq!(is_open_to_containers(&report_data), !begins || app);
        }
    }
}
