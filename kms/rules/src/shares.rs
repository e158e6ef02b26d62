//! A root in shares: Shamir's scheme over GF(256), any `threshold` of as many shares as there are
//! owners.
//!
//! A share has 35 bytes: the form (1), the threshold, the number of its owner (1 for the first of
//! the cluster's keys), and one byte for each of the root's. With a threshold of 1 each share has
//! the root itself. A share says nothing about being right: what comes out of [`combine`] is a root
//! only if its identity is the one that the owners certified.

use protocol::digest::Ed25519Key;
use protocol::kms::MAX_OWNERS;
use vsss_rs::Gf256;
use zeroize::Zeroizing;

use crate::derivation::{ROOT_BYTES, Root};

/// Bytes of a share.
pub const SHARE_BYTES: usize = 3 + ROOT_BYTES;
/// The only form.
const FORM: u8 = 1;

/// Why there is no root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// another length
    #[error("a share has {found} bytes, expected {SHARE_BYTES}")]
    Length {
        /// Bytes present.
        found: usize,
    },
    /// another form
    #[error("a share has the form {0}, expected {FORM}")]
    Form(u8),
    /// an owner that cannot be
    #[error("a share is of owner {found}, expected 1 to {MAX_OWNERS}")]
    Owner {
        /// As it says.
        found: u8,
    },
    /// shares that were not made for this cluster
    #[error("a share is one of {found} that are needed, expected {expected}")]
    Threshold {
        /// As it says.
        found: u8,
        /// The cluster's.
        expected: u8,
    },
    /// no shares can be made for this cluster
    #[error("no shares for {owners} owners of whom {threshold} decide")]
    Cluster {
        /// Of the cluster.
        threshold: u8,
        /// Of the cluster.
        owners: usize,
    },
    /// one share twice
    #[error("two shares are of owner {0}")]
    Twice(u8),
    /// another number of shares
    #[error("{found} shares, expected {expected}")]
    Number {
        /// Shares given.
        found: usize,
        /// Shares needed.
        expected: u8,
    },
    /// the shares join to something else
    #[error(
        "the shares do not join to the certified root: one of them is wrong or of another root"
    )]
    OtherRoot,
}

/// One owner's share. It is never printed, and wiped when it is dropped.
pub struct Share {
    threshold: u8,
    owner: u8,
    bytes: Zeroizing<[u8; ROOT_BYTES]>,
}

impl Share {
    /// Reads the bytes of a share.
    ///
    /// # Errors
    /// If they have another length or form, or name no owner.
    pub fn parse(bytes: &[u8]) -> Result<Self, ShareError> {
        let bytes: &[u8; SHARE_BYTES] =
            bytes.try_into().map_err(|_| ShareError::Length { found: bytes.len() })?;
        let [form, threshold, owner, secret @ ..] = bytes;
        if *form != FORM {
            return Err(ShareError::Form(*form));
        }
        if !(1..=MAX_OWNERS).contains(&usize::from(*owner)) {
            return Err(ShareError::Owner { found: *owner });
        }
        Ok(Self { threshold: *threshold, owner: *owner, bytes: Zeroizing::new(*secret) })
    }

    /// The bytes.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(SHARE_BYTES));
        bytes.extend([FORM, self.threshold, self.owner]);
        bytes.extend_from_slice(&self.bytes[..]);
        bytes
    }

    /// The place of its owner among the cluster's keys, from 0.
    pub fn owner_index(&self) -> usize {
        usize::from(self.owner) - 1
    }
}

/// Splits a root, one share for each owner in the order of their keys.
///
/// # Errors
/// If no cluster has these owners and this threshold.
///
/// # Panics
/// If the operating system has no randomness.
pub fn split(root: &Root, threshold: u8, owners: usize) -> Result<Vec<Share>, ShareError> {
    if !(1..=MAX_OWNERS).contains(&owners) || !(1..=owners).contains(&usize::from(threshold)) {
        return Err(ShareError::Cluster { threshold, owners });
    }
    let share = |owner: usize, bytes: Zeroizing<[u8; ROOT_BYTES]>| Share {
        threshold,
        owner: u8::try_from(owner).expect("owners are at most 16"),
        bytes,
    };
    if threshold == 1 {
        let whole = || Zeroizing::new(*root.as_bytes());
        return Ok((1..=owners).map(|owner| share(owner, whole())).collect());
    }
    let rng = getrandom::rand_core::UnwrapErr(getrandom::SysRng);
    let parts = Gf256::split_bytes(usize::from(threshold), owners, root.as_bytes(), rng)
        .map_err(|_| ShareError::Cluster { threshold, owners })?;
    let parts = parts.into_iter().map(Zeroizing::new).enumerate();
    parts
        .map(|(index, part)| match part.split_first() {
            Some((number, rest)) if usize::from(*number) == index + 1 => {
                let mut bytes = Zeroizing::new([0; ROOT_BYTES]);
                bytes.copy_from_slice(rest);
                Ok(share(index + 1, bytes))
            }
            _ => Err(ShareError::Cluster { threshold, owners }),
        })
        .collect()
}

/// Joins exactly `threshold` shares of different owners to the root with the certified identity.
///
/// # Errors
/// If there are fewer or more, one is another cluster's, two are of one owner, or what comes out is
/// not that root.
pub fn combine(
    shares: &[Share],
    threshold: u8,
    certified: &Ed25519Key,
) -> Result<Root, ShareError> {
    if shares.len() != usize::from(threshold) || shares.is_empty() {
        return Err(ShareError::Number { found: shares.len(), expected: threshold });
    }
    if let Some(other) = shares.iter().find(|share| share.threshold != threshold) {
        return Err(ShareError::Threshold { found: other.threshold, expected: threshold });
    }
    for (index, share) in shares.iter().enumerate() {
        if shares[..index].iter().any(|earlier| earlier.owner == share.owner) {
            return Err(ShareError::Twice(share.owner));
        }
    }
    let root = joined(shares)?;
    if root.identity_key() != *certified {
        return Err(ShareError::OtherRoot);
    }
    Ok(root)
}

fn joined(shares: &[Share]) -> Result<Root, ShareError> {
    if let [whole] = shares {
        return Ok(Root::from_bytes(whole.bytes.clone()));
    }
    let part = |share: &Share| {
        let mut part = Vec::with_capacity(1 + ROOT_BYTES);
        part.push(share.owner);
        part.extend_from_slice(&share.bytes[..]);
        part
    };
    let parts = Zeroizing::new(shares.iter().map(part).collect::<Vec<_>>());
    let secret = Gf256::combine_bytes(&parts[..]).map(Zeroizing::new);
    let secret = secret.map_err(|_| ShareError::OtherRoot)?;
    let mut bytes = Zeroizing::new([0; ROOT_BYTES]);
    if secret.len() != bytes.len() {
        return Err(ShareError::OtherRoot);
    }
    bytes.copy_from_slice(&secret);
    Ok(Root::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn root(byte: u8) -> Root {
        Root::from_bytes(Zeroizing::new([byte; ROOT_BYTES]))
    }

    fn again(share: &Share) -> Share {
        Share::parse(&share.to_bytes()).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_threshold_of_the_owners_has_the_root_and_fewer_or_wrong_ones_have_none(
            (owners, threshold) in (1usize..=8).prop_flat_map(|owners| (Just(owners), 1..=owners)),
            byte in any::<u8>(),
            start in 0usize..8,
            flipped in 0usize..ROOT_BYTES,
        ) {
            let k = threshold as u8;
            let root = root(byte);
            let identity = root.identity_key();
            let shares = split(&root, k, owners).unwrap();
            prop_assert_eq!(shares.len(), owners);
            let of = |number: usize| -> Vec<Share> {
                (0..number).map(|index| again(&shares[(start + index) % owners])).collect()
            };
            let joined = combine(&of(threshold), k, &identity).unwrap();
            prop_assert_eq!(joined.as_bytes(), root.as_bytes());
            let few = combine(&of(threshold - 1), k, &identity).err();
            prop_assert_eq!(few, Some(ShareError::Number { found: threshold - 1, expected: k }));
            let mut wrong = of(threshold);
            wrong[0].bytes[flipped] ^= 1;
            prop_assert_eq!(combine(&wrong, k, &identity).err(), Some(ShareError::OtherRoot));
        }
    }

    #[test]
    fn shares_of_one_owner_of_another_cluster_or_of_another_root_are_refused() {
        let identity = root(1).identity_key();
        let shares = split(&root(1), 2, 3).unwrap();
        let twice = [again(&shares[1]), again(&shares[1])];
        assert_eq!(combine(&twice, 2, &identity).err(), Some(ShareError::Twice(2)));
        let others = split(&root(1), 3, 3).unwrap();
        let mixed = [again(&shares[0]), again(&others[1])];
        let expected = ShareError::Threshold { found: 3, expected: 2 };
        assert_eq!(combine(&mixed, 2, &identity).err(), Some(expected));
        let strange = split(&root(2), 2, 3).unwrap();
        assert_eq!(combine(&strange[..2], 2, &identity).err(), Some(ShareError::OtherRoot));
        let mixed = [again(&shares[0]), again(&strange[1])];
        assert_eq!(combine(&mixed, 2, &identity).err(), Some(ShareError::OtherRoot));
        let expected = ShareError::Number { found: 3, expected: 2 };
        assert_eq!(combine(&shares, 2, &identity).err(), Some(expected));
        assert!(matches!(combine(&[], 0, &identity), Err(ShareError::Number { .. })));
    }

    #[test]
    fn bytes_that_are_no_share_are_refused() {
        let good = split(&root(1), 2, 2).unwrap()[1].to_bytes();
        assert_eq!(Share::parse(&good).unwrap().owner_index(), 1);
        let refused = |bytes: &[u8]| Share::parse(bytes).err();
        assert_eq!(refused(&good[..34]), Some(ShareError::Length { found: 34 }));
        assert_eq!(refused(&[&good[..], &[0]].concat()), Some(ShareError::Length { found: 36 }));
        for (place, value, expected) in [
            (0, 2, ShareError::Form(2)),
            (2, 0, ShareError::Owner { found: 0 }),
            (2, 17, ShareError::Owner { found: 17 }),
        ] {
            let mut bytes = good.to_vec();
            bytes[place] = value;
            assert_eq!(refused(&bytes), Some(expected));
        }
    }

    #[test]
    fn clusters_that_cannot_be_get_no_shares() {
        for (threshold, owners) in [(0, 1), (2, 1), (1, 0), (1, 17)] {
            let expected = ShareError::Cluster { threshold, owners };
            assert_eq!(split(&root(1), threshold, owners).err(), Some(expected));
        }
    }
}
