//! Frames on the serial line between the guest's driver and this service.
//!
//! The line carries noise (firmware prints terminal sequences on it) and, after a guest's reset,
//! frames cut off anywhere. So a receiver hunts for the magic number, and takes a frame only if its
//! checksum is right. A guest that sends rubbish on purpose can keep its own service busy, nothing
//! else: memory is bounded.
//!
//! Layout, little-endian: magic 4, version 1, opcode 1, reserved 2, payload length 4, CRC-32 (IEEE)
//! of bytes 4 to 12 and the payload 4, payload.

/// First bytes of every frame.
pub const MAGIC: [u8; 4] = *b"TDX\xe1";
/// The only version.
pub const VERSION: u8 = 1;
/// Bytes before the payload.
pub const HEADER_BYTES: usize = 16;
/// Largest payload: ACPI blobs without their trailing zeros have about 12 KiB, quotes 8 KiB.
pub const MAX_PAYLOAD_BYTES: usize = 262_144;
/// Set in the opcode of a reply.
pub const REPLY: u8 = 0x80;
/// Opcode of a reply that is an error number (`u32`).
pub const ERROR: u8 = 0xff;

/// Where the checksum stands; it covers what is between magic and itself, and the payload.
const CHECKSUM_AT: usize = 12;

/// One frame, its checksum verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What is asked, or answered.
    pub opcode: u8,
    /// Its bytes, at most [`MAX_PAYLOAD_BYTES`].
    pub payload: Vec<u8>,
}

impl Frame {
    /// The bytes on the line. Payloads are this program's own or have been decoded, so within the
    /// limit.
    pub fn encode(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("payloads are far below 4 GiB");
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.payload.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[VERSION, self.opcode, 0, 0]);
        bytes.extend_from_slice(&length.to_le_bytes());
        let checksum = checksum(&bytes[MAGIC.len()..], &self.payload);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

/// Finds frames in a stream of bytes.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    skipped: u64,
}

/// What the bytes at one position are.
enum Candidate {
    Frame(Frame),
    Partial,
    Noise,
}

impl Decoder {
    /// Takes bytes from the line; call [`Self::next_frame`] until it is empty before the next ones.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame; everything before it is dropped. `None` if more bytes are needed.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let mut at = 0;
        let found = loop {
            match inspect(&self.buffer[at..]) {
                Candidate::Frame(frame) => break Some(frame),
                Candidate::Partial => break None,
                Candidate::Noise => at += 1,
            }
        };
        self.skipped += at as u64;
        let taken = found.as_ref().map_or(0, |frame| HEADER_BYTES + frame.payload.len());
        self.buffer.drain(..at + taken);
        found
    }

    /// Gives up on a frame whose rest does not come, so that the next one is seen; whether there
    /// was one.
    pub fn abandon_partial(&mut self) -> bool {
        if self.buffer.is_empty() {
            return false;
        }
        self.buffer.remove(0);
        self.skipped += 1;
        true
    }

    /// Bytes of noise dropped so far.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

fn inspect(bytes: &[u8]) -> Candidate {
    let magic = bytes.len().min(MAGIC.len());
    if bytes[..magic] != MAGIC[..magic] {
        return Candidate::Noise;
    }
    let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Candidate::Partial;
    };
    let word = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let length = word(8) as usize;
    if header[4] != VERSION || header[6..8] != [0, 0] || length > MAX_PAYLOAD_BYTES {
        return Candidate::Noise;
    }
    let Some(payload) = rest.get(..length) else { return Candidate::Partial };
    if word(CHECKSUM_AT) != checksum(&header[MAGIC.len()..CHECKSUM_AT], payload) {
        return Candidate::Noise;
    }
    Candidate::Frame(Frame { opcode: header[5], payload: payload.to_vec() })
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opcode: u8, payload: &[u8]) -> Frame {
        Frame { opcode, payload: payload.to_vec() }
    }

    fn decode_all(stream: &[u8], chunk: usize) -> Vec<Frame> {
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        for bytes in stream.chunks(chunk.max(1)) {
            decoder.push(bytes);
            while let Some(frame) = decoder.next_frame() {
                frames.push(frame);
            }
        }
        frames
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let bytes = frame(2, &[]).encode();
        // CRC-32 of 01 02 00 00 00 00 00 00, computed with zlib.
        let expected =
            [&MAGIC[..], &[1, 2, 0, 0, 0, 0, 0, 0], &0x3e17_cede_u32.to_le_bytes()].concat();
        assert_eq!(hex::encode(bytes), hex::encode(expected));
    }

    #[test]
    fn a_frame_survives_noise_and_false_magic_numbers() {
        let good = frame(3, b"payload");
        let stream =
            [b"\x1b[2J\x1b[01;01HTDTDX".as_slice(), &MAGIC, &good.encode(), b"TDX"].concat();
        assert_eq!(decode_all(&stream, 1), [good]);
    }

    #[test]
    fn a_damaged_frame_is_dropped_and_the_one_behind_it_taken() {
        for damaged in [4, 6, 8, 11, 13, 17] {
            let mut stream = frame(1, b"first").encode();
            stream[damaged] ^= 0x40;
            stream.extend(frame(2, b"second").encode());
            let mut frames = decode_all(&stream, 7);
            if frames.is_empty() {
                // The damaged length asks for more than will ever come.
                let mut decoder = Decoder::default();
                decoder.push(&stream);
                assert_eq!(decoder.next_frame(), None);
                assert!(decoder.abandon_partial());
                frames.extend(decoder.next_frame());
            }
            assert_eq!(frames, [frame(2, b"second")], "byte {damaged}");
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_noise_and_never_waited_for() {
        let mut stream = frame(1, b"").encode();
        stream[8..12].copy_from_slice(&(MAX_PAYLOAD_BYTES as u32 + 1).to_le_bytes());
        let mut decoder = Decoder::default();
        decoder.push(&stream);
        assert_eq!(decoder.next_frame(), None);
        assert!(decoder.buffer.is_empty());
        assert_eq!(decoder.skipped(), stream.len() as u64);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_wherever_the_stream_is_cut(
            frames in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..200)), 0..6),
            noise in proptest::collection::vec(0_u8..0x54, 0..50),
            chunk in 1_usize..64,
        ) {
            let frames: Vec<Frame> = frames.into_iter().map(|(opcode, payload)| Frame { opcode, payload }).collect();
            let mut stream = noise.clone();
            for frame in &frames {
                stream.extend(frame.encode());
                stream.extend(&noise);
            }
            prop_assert_eq!(decode_all(&stream, chunk), frames);
        }

        #[test]
        fn hostile_bytes_never_panic_nor_pile_up(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20),
        ) {
            let mut decoder = Decoder::default();
            for chunk in chunks {
                decoder.push(&chunk);
                while decoder.next_frame().is_some() {}
                prop_assert!(decoder.buffer.len() <= HEADER_BYTES + MAX_PAYLOAD_BYTES + 300);
            }
        }
    }
}
