//! What whoever stores or carries a Pad may do to it, and what comes of it: a refusal, and no byte
//! that was not sealed at its place.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use proptest::prelude::*;
use protocol::digest::Sha256Digest;
use zeroize::Zeroizing;

use crate::cipher::TAG_BYTES;
use crate::contents::{Contents, Name, Value};
use crate::custodian::Custodian;
use crate::fixtures::{self, contents, data_key, key, packed};
use crate::keys::DataKey;
use crate::layout::{LayoutError, MAX_DATA_BYTES};
use crate::metadata::{ChunkSize, KeyId, Metadata, Salt, Uri};
use crate::reader::{DataReader, OpenedPad, PadError, SealedPad};
use crate::uuid::PadId;
use crate::writer::PadWriter;

/// Bytes of a sealed chunk of the fixtures.
const CHUNK: usize = 256 + TAG_BYTES;
/// Two chunks and a part of one.
const LENGTH: usize = 600;

fn data() -> Vec<u8> {
    (0..LENGTH).map(|number| (number % 251) as u8 + 1).collect()
}

fn opened(bytes: &[u8]) -> Result<OpenedPad<Cursor<&[u8]>>, PadError> {
    SealedPad::read(Cursor::new(bytes))?.open(&data_key())
}

fn reader(bytes: &[u8]) -> Result<DataReader<Cursor<&[u8]>>, PadError> {
    opened(bytes)?.into_data()
}

/// All data of a Pad.
fn unpacked(bytes: &[u8]) -> Result<Vec<u8>, PadError> {
    let mut reader = reader(bytes)?;
    let mut data = vec![0xee; usize::try_from(reader.data_bytes()).unwrap()];
    let read = reader.read_at(0, &mut data);
    assert!(read.is_ok() || data.iter().all(|&byte| byte == 0), "something is left");
    assert_eq!(read?, data.len());
    Ok(data)
}

/// Where the data of a Pad of the fixtures begin.
fn data_at() -> usize {
    packed(b"").len() - TAG_BYTES
}

/// What stands before the data, and the chunks.
fn parts(pad: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let (head, data) = pad.split_at(data_at());
    (head.to_vec(), data.chunks(CHUNK).map(<[u8]>::to_vec).collect())
}

fn joined(head: &[u8], chunks: &[Vec<u8>]) -> Vec<u8> {
    [head, &chunks.concat()].concat()
}

#[test]
fn every_changed_byte_of_a_small_pad_is_refused() {
    for data in [&b""[..], b"x", &[7; 256], &data()] {
        let good = packed(data);
        assert_eq!(unpacked(&good).unwrap(), data);
        for at in 0..good.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut changed = good.clone();
                changed[at] ^= flip;
                assert!(unpacked(&changed).is_err(), "byte {at} of {}, {flip:#x}", good.len());
            }
        }
    }
}

#[test]
fn a_pad_cut_anywhere_is_refused() {
    let good = packed(&data());
    for length in 0..good.len() {
        assert!(unpacked(&good[..length]).is_err(), "{length}");
    }
}

#[test]
fn a_pad_with_anything_behind_it_is_refused() {
    for data in [&b""[..], &[7; 256], &data()] {
        let good = packed(data);
        for more in [1, 15, 16, 17, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK] {
            let longer = [good.as_slice(), &vec![0; more]].concat();
            assert!(unpacked(&longer).is_err(), "{more}");
        }
    }
}

#[test]
fn chunks_dropped_repeated_or_reordered_are_refused() {
    let (head, chunks) = parts(&packed(&data()));
    assert_eq!(chunks.len(), 3);
    let orders: [&[usize]; 15] = [
        &[],
        &[0],
        &[1],
        &[2],
        &[0, 1],
        &[0, 2],
        &[1, 2],
        &[1, 0, 2],
        &[0, 2, 1],
        &[2, 1, 0],
        &[0, 0, 2],
        &[0, 1, 1],
        &[0, 1, 1, 2],
        &[0, 1, 2, 2],
        &[0, 1, 2, 0],
    ];
    for order in orders {
        let moved: Vec<_> = order.iter().map(|&index| chunks[index].clone()).collect();
        assert!(unpacked(&joined(&head, &moved)).is_err(), "{order:?}");
    }
}

/// A Pad under the same data key, with the same id and metadata but for its salt.
fn sibling(contents: &Contents, data: &[u8], salt: u8) -> Vec<u8> {
    let packing = fixtures::packing(contents);
    let mut writer =
        PadWriter::danger_with_salt(Vec::new(), &packing, &data_key(), Salt([salt; 32])).unwrap();
    writer.write(data).unwrap();
    writer.finish().unwrap().0
}

#[test]
fn chunks_of_another_sealing_under_the_same_key_are_refused() {
    let mut other_data = data();
    other_data.reverse();
    let (head, chunks) = parts(&sibling(&contents(), &data(), 1));
    let (_, others) = parts(&sibling(&contents(), &other_data, 2));
    for index in 0..chunks.len() {
        let mut spliced = chunks.clone();
        spliced[index] = others[index].clone();
        assert!(unpacked(&joined(&head, &spliced)).is_err(), "{index}");
    }
    assert!(unpacked(&joined(&head, &others)).is_err());
}

#[test]
fn policies_of_another_pad_are_refused() {
    let mut lax = contents();
    lax.policies[0].input_constraint[3] ^= 1;
    let strict = sibling(&contents(), &data(), 1);
    // Another salt, and the very same metadata and key, which no packer does.
    for lax in [sibling(&lax, &data(), 2), sibling(&lax, &data(), 1)] {
        assert_eq!(lax.len(), strict.len());
        let head = [&lax[..data_at()], &strict[data_at()..]].concat();
        assert!(
            opened(&head).is_ok_and(|pad| pad.contents().policies[0].input_constraint[3] != 0x3c)
        );
        assert!(unpacked(&head).is_err());
        // The sealed policies alone, under the other's metadata.
        let policies_at = 16 + fixtures::metadata().to_bytes().len() + 32;
        let mut swapped = strict.clone();
        swapped[policies_at..data_at()].copy_from_slice(&lax[policies_at..data_at()]);
        assert!(unpacked(&swapped).is_err());
    }
}

/// The Pad with other metadata in place of its own.
fn with_metadata(pad: &[u8], change: impl FnOnce(&mut Metadata)) -> Vec<u8> {
    let length = usize::from(u16::from_le_bytes([pad[10], pad[11]]));
    let mut metadata = Metadata::parse(&pad[16..16 + length]).unwrap();
    change(&mut metadata);
    let encoded = metadata.to_bytes();
    let mut head = pad[..16].to_vec();
    head[10..12].copy_from_slice(&u16::try_from(encoded.len()).unwrap().to_le_bytes());
    [&head, &encoded, &pad[16 + length..]].concat()
}

#[test]
fn every_changed_field_of_the_metadata_is_refused() {
    let good = packed(&data());
    assert_eq!(with_metadata(&good, |_| ()), good);
    let changes: [fn(&mut Metadata); 7] = [
        |metadata| metadata.pad_id = PadId::generate().unwrap(),
        |metadata| metadata.custodian = Custodian::single(key(9)).id(),
        |metadata| metadata.delegator.key_provider_id = Sha256Digest([0; 32]),
        |metadata| metadata.delegator.uri = Uri::new("https://attacker.example").unwrap(),
        |metadata| metadata.crypto.key_id = KeyId::new(b"key-2").unwrap(),
        |metadata| metadata.crypto.salt.0[0] ^= 1,
        |metadata| metadata.crypto.chunk = ChunkSize::default(),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let refused = opened(&with_metadata(&good, change)).err().unwrap();
        assert!(matches!(refused, PadError::Key), "{index}: {refused}");
    }
}

#[test]
fn another_key_opens_nothing() {
    let good = packed(&data());
    let other = DataKey::from_bytes(Zeroizing::new([0x43; 32]));
    let refused = SealedPad::read(Cursor::new(&good)).unwrap().open(&other).err().unwrap();
    assert!(matches!(refused, PadError::Key));
}

#[test]
fn other_versions_and_lengths_are_refused_before_anything_is_reserved() {
    let good = packed(&data());
    let refused = |at: usize, value: u8| {
        let mut changed = good.clone();
        changed[at] = value;
        opened(&changed).err().unwrap()
    };
    assert!(matches!(refused(8, 2), PadError::Layout(LayoutError::Version(2))));
    assert!(matches!(refused(0, b'X'), PadError::Layout(LayoutError::Magic)));
    let huge = refused(15, 0xff);
    assert!(huge.to_string().contains("sealed policies of 42"), "{huge}");
    let long = refused(11, 0xff);
    assert!(matches!(long, PadError::Layout(LayoutError::Length { field: "metadata", .. })));
}

/// A source that claims to be longer than it is.
struct Endless(Cursor<Vec<u8>>);

impl Read for Endless {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self.0.read(bytes)? {
            0 => Ok({
                bytes.fill(0);
                bytes.len()
            }),
            read => Ok(read),
        }
    }
}

impl Seek for Endless {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            SeekFrom::End(_) => Ok(u64::MAX),
            to => self.0.seek(to),
        }
    }
}

#[test]
fn more_data_than_a_pad_may_have_are_refused() {
    let pad = SealedPad::read(Endless(Cursor::new(packed(b"")))).unwrap();
    let refused = pad.open(&data_key()).unwrap().into_data().err().unwrap();
    let most = MAX_DATA_BYTES;
    let is_length = matches!(
        refused,
        PadError::Layout(LayoutError::Length { field: "data", most: found, .. }) if found == most
    );
    assert!(
        is_length || matches!(refused, PadError::Layout(LayoutError::LastChunk(_))),
        "{refused}"
    );
}

/// A source whose data fail to be read.
struct HeadOnly(Cursor<Vec<u8>>, u64);

impl Read for HeadOnly {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        assert!(self.0.position() < self.1, "the data are read");
        self.0.read(bytes)
    }
}

impl Seek for HeadOnly {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

#[test]
fn policies_are_opened_without_a_look_at_the_data() {
    let source = HeadOnly(Cursor::new(packed(&data())), data_at() as u64);
    let pad = SealedPad::read(source).unwrap().open(&data_key()).unwrap();
    let entries = pad.contents().attribute("entries").unwrap();
    assert!(entries.value == Value::Integer(100));
    assert_eq!(entries.name, Name::new("entries").unwrap());
    assert!(*pad.contents() == contents());
    assert_eq!(*pad.metadata(), fixtures::metadata());
}

#[test]
fn nothing_is_given_after_the_first_refusal() {
    let mut changed = packed(&data());
    let second = data_at() + CHUNK;
    changed[second] ^= 1;
    let mut reader = reader(&changed).unwrap();
    let mut bytes = [0; 100];
    assert_eq!(reader.read_at(0, &mut bytes).unwrap(), 100);
    assert_eq!(bytes, data()[..100]);
    let mut bytes = [0xee; 400];
    let refused = reader.read_at(100, &mut bytes).unwrap_err();
    assert!(matches!(refused, PadError::Chunk { index: 1, count: 3 }), "{refused}");
    assert_eq!(bytes, [0; 400]);
    let mut bytes = [0xee; 100];
    assert!(matches!(reader.read_at(0, &mut bytes), Err(PadError::Refused)));
    assert_eq!(bytes, [0; 100]);
}

/// A source that ends earlier once it has been asked for its length.
struct Shrinking(Cursor<Vec<u8>>);

impl Read for Shrinking {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

impl Seek for Shrinking {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        if to == SeekFrom::Start(data_at() as u64) {
            self.0.get_mut().truncate(data_at() + 10);
        }
        self.0.seek(to)
    }
}

#[test]
fn a_pad_that_is_cut_while_it_is_read_gives_an_error() {
    let pad = SealedPad::read(Shrinking(Cursor::new(packed(&data())))).unwrap();
    let mut reader = pad.open(&data_key()).unwrap().into_data().unwrap();
    let refused = reader.read_at(0, &mut [0; LENGTH]).unwrap_err();
    assert!(matches!(refused, PadError::Truncated("data")), "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_packed_is_unpacked(
        data in proptest::collection::vec(any::<u8>(), 0..2000),
        log2 in 8_u8..=12,
        version in 1..=u64::MAX,
        constraint in proptest::collection::vec(any::<u8>(), 0..100),
        pieces in 1_usize..700,
    ) {
        let mut contents = contents();
        contents.policy_version = version;
        contents.policies[0].output_constraint = constraint;
        let mut packing = fixtures::packing(&contents);
        packing.chunk = ChunkSize::of_log2(log2).unwrap();
        let key = DataKey::generate().unwrap();
        let mut writer = PadWriter::new(Vec::new(), &packing, &key).unwrap();
        for piece in data.chunks(pieces) {
            writer.write(piece).unwrap();
        }
        let metadata = writer.metadata().clone();
        let (packed, digest) = writer.finish().unwrap();
        let sealed = SealedPad::read(Cursor::new(&packed)).unwrap();
        prop_assert_eq!((sealed.claimed(), sealed.digest()), (&metadata, digest));
        let pad = sealed.open(&key).unwrap();
        prop_assert!(*pad.contents() == contents && *pad.metadata() == metadata);
        let mut reader = pad.into_data().unwrap();
        let mut unpacked = vec![0; data.len() + 10];
        prop_assert_eq!(reader.read_at(0, &mut unpacked).unwrap(), data.len());
        prop_assert_eq!(&unpacked[..data.len()], &data[..]);
    }

    #[test]
    fn data_are_the_same_wherever_they_are_read(
        reads in proptest::collection::vec((0..LENGTH as u64 + 50, 0..LENGTH + 50), 1..20),
    ) {
        let (packed, data) = (packed(&data()), data());
        let mut reader = reader(&packed).unwrap();
        for (offset, length) in reads {
            let mut buffer = vec![0; length];
            let read = reader.read_at(offset, &mut buffer).unwrap();
            let start = data.len().min(offset as usize);
            let expected = &data[start..data.len().min(start + length)];
            prop_assert_eq!(&buffer[..read], expected);
        }
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(unpacked(&bytes).is_err());
        let good = packed(&data());
        let mut changed = good.clone();
        for (byte, other) in changed[16..].iter_mut().zip(&bytes) {
            *byte = *other;
        }
        prop_assert!(changed == good || unpacked(&changed).is_err());
    }
}
