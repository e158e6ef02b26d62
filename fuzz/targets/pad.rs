//! Pads of whoever carries them. What opens under the key of the seeds reads the same in any
//! pieces, and is, byte by byte, what our writer makes of it: nothing that was not sealed opens.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use pad_format::{DataKey, MAX_DATA_BYTES, Metadata, Packing, PadWriter, SealedPad};

/// That of the seeds.
const KEY: [u8; 32] = [0x42; 32];

fuzz_target!(|bytes: &[u8]| {
    let Ok(pad) = SealedPad::read(Cursor::new(bytes)) else { return };
    let metadata = pad.claimed().clone();
    assert_eq!(Metadata::parse(&metadata.to_bytes()).as_ref(), Ok(&metadata));
    let key = DataKey::from_bytes(KEY.into());
    let Ok(pad) = pad.open(&key) else { return };
    let contents = pad.contents().clone();
    assert!(contents.custodian.id() == metadata.custodian && !contents.policies.is_empty());
    let Ok(mut reader) = pad.into_data() else { return };
    assert!(reader.data_bytes() <= MAX_DATA_BYTES);
    let mut data = vec![0; bytes.len()];
    let Ok(read) = reader.read_at(0, &mut data) else { return };
    assert_eq!(read as u64, reader.data_bytes());
    let mut piece = [0; 100];
    for (index, expected) in data[..read].chunks(100).enumerate().rev() {
        let found = reader.read_at(index as u64 * 100, &mut piece).expect("it was read before");
        assert_eq!(&piece[..found.min(expected.len())], expected);
    }
    let packing = Packing {
        pad_id: metadata.pad_id,
        delegator: metadata.delegator,
        algorithm: metadata.crypto.algorithm,
        key_id: metadata.crypto.key_id,
        chunk: metadata.crypto.chunk,
        contents: &contents,
    };
    let salt = metadata.crypto.salt;
    let writer = PadWriter::danger_with_salt(Vec::new(), &packing, &key, salt);
    let mut writer = writer.expect("it was read");
    writer.write(&data[..read]).expect("memory takes everything");
    assert_eq!(writer.finish().expect("memory takes everything").0, bytes);
});
