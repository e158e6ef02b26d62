//! The numbers under which a kept disk is mounted: the KMS gives them, and the kernel's mount
//! checks the disk against them.
//!
//! The kernel refuses a superblock that is older than the anchor, and one that is as new as a
//! number which was never handed out; it goes on above the open counter's own start, so that no two
//! mounts ever write one generation (`image/kernel/patches/0003-btrfs-generations.patch`).

use protocol::kms::{GENERATION_BITS, OpenDiskResponse};

/// What every mount of a kept btrfs has: each fsync a commit of its own, no word to the host about
/// free blocks, and nothing that goes on by itself.
const KEPT: &str = "notreelog,nodiscard,skip_balance";

/// Why the numbers that a KMS gave are no mount's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GenerationsError {
    /// the open counter leaves no generations
    #[error("the KMS gives open counter {0}, expected 1 to {MAX_COUNTER}")]
    Counter(u64),
    /// an anchor from the future
    #[error("the KMS gives anchor {anchor}, which is not below open counter {open_counter}")]
    Anchor {
        /// The anchor.
        anchor: u64,
        /// The number of this mount.
        open_counter: u64,
    },
}

/// The largest open counter, whose generations end with the numbers that there are.
const MAX_COUNTER: u64 = (1 << (u64::BITS - GENERATION_BITS)) - 2;

/// The numbers of one mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generations {
    open_counter: u64,
    anchor: Option<u64>,
}

impl Generations {
    /// Checks what the KMS gave.
    pub fn of(answer: &OpenDiskResponse) -> Result<Self, GenerationsError> {
        let OpenDiskResponse { open_counter, anchor } = *answer;
        if !(1..=MAX_COUNTER).contains(&open_counter) {
            return Err(GenerationsError::Counter(open_counter));
        }
        match anchor {
            Some(anchor) if anchor >> GENERATION_BITS >= open_counter => {
                Err(GenerationsError::Anchor { anchor, open_counter })
            }
            anchor => Ok(Self { open_counter, anchor }),
        }
    }

    /// The number of this mount.
    pub fn open_counter(self) -> u64 {
        self.open_counter
    }

    /// Whether the disk was never anchored, and so is made anew whatever is on it.
    pub fn is_first(self) -> bool {
        self.anchor.is_none()
    }

    /// The options of the mount.
    pub fn options(self) -> String {
        let open = self.open_counter << GENERATION_BITS;
        let anchor =
            self.anchor.map(|anchor| format!("anchor_generation={anchor},")).unwrap_or_default();
        format!("open_generation={open},{anchor}{KEPT}")
    }
}

/// The options of a btrfs whose disk no KMS anchors.
pub fn without_kms() -> &'static str {
    KEPT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(open_counter: u64, anchor: Option<u64>) -> Result<Generations, GenerationsError> {
        Generations::of(&OpenDiskResponse { open_counter, anchor })
    }

    #[test]
    fn the_options_are_exactly_these() {
        let first = of(1_000_000, None).unwrap();
        assert!(first.is_first());
        assert_eq!(
            first.options(),
            "open_generation=1099511627776000000,notreelog,nodiscard,skip_balance"
        );
        let later = of(2, Some((1 << 40) + 5)).unwrap();
        assert!(!later.is_first());
        assert_eq!(
            later.options(),
            "open_generation=2199023255552,anchor_generation=1099511627781,\
             notreelog,nodiscard,skip_balance"
        );
    }

    #[test]
    fn numbers_that_leave_no_room_or_contradict_each_other_are_refused() {
        for counter in [0, (1 << 24) - 1, 1 << 24, u64::MAX] {
            assert_eq!(of(counter, None), Err(GenerationsError::Counter(counter)));
        }
        of((1 << 24) - 2, None).unwrap();
        let anchor = 7 << 40;
        let refused = GenerationsError::Anchor { anchor, open_counter: 7 };
        assert_eq!(of(7, Some(anchor)), Err(refused));
        of(7, Some(anchor - 1)).unwrap();
    }
}
