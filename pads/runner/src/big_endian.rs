//! Digests and UUIDs as the interfaces have them: big-endian words in their order.

/// A digest in words.
pub(crate) type Digest = (u64, u64, u64, u64);
/// A UUID, or another 16 bytes, in words.
pub(crate) type Half = (u64, u64);

pub(crate) fn digest((a, b, c, d): Digest) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&uuid((a, b)));
    bytes[16..].copy_from_slice(&uuid((c, d)));
    bytes
}

pub(crate) fn uuid((high, low): Half) -> [u8; 16] {
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}

pub(crate) fn of_digest(bytes: &[u8; 32]) -> Digest {
    let word = |index: usize| {
        let word = bytes[index * 8..][..8].try_into();
        u64::from_be_bytes(word.expect("a digest has four words"))
    };
    (word(0), word(1), word(2), word(3))
}

pub(crate) fn of_uuid(bytes: &[u8; 16]) -> Half {
    let both = u128::from_be_bytes(*bytes);
    ((both >> 64) as u64, both as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_big_endian_and_in_their_order() {
        let bytes: [u8; 32] = std::array::from_fn(|index| index as u8);
        let quarters = of_digest(&bytes);
        assert_eq!(quarters.0, 0x0001_0203_0405_0607);
        assert_eq!(quarters.3, 0x1819_1a1b_1c1d_1e1f);
        assert_eq!(digest(quarters), bytes);
        let half = *bytes.first_chunk().expect("longer");
        assert_eq!(of_uuid(&half), (quarters.0, quarters.1));
        assert_eq!(uuid(of_uuid(&half)), half);
    }
}
