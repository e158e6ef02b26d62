//! The bytes of what is kept: a version, the disk, and the keys, each field behind its length.

use std::sync::Arc;

use protocol::digest::Sha256Digest;
use protocol::kms::{AppKeyResponse, EarlierKeys};
use protocol::reader::Reader;
use zeroize::Zeroizing;

use super::{DiskState, Kept, MemoryError};
use crate::keys::AppKeys;

/// The only version: agents of one boot are one program.
const VERSION: u8 = 1;

/// Writes it.
pub(super) fn encode(kept: &Kept) -> Zeroizing<Vec<u8>> {
    // Room for all of it, so that no key is left behind where a vector grew.
    let mut bytes = Zeroizing::new(Vec::with_capacity(super::SLOT_BYTES));
    bytes.extend_from_slice(&[VERSION, kept.disk as u8, u8::from(kept.open_counter.is_some())]);
    bytes.extend_from_slice(&kept.open_counter.unwrap_or_default().to_le_bytes());
    bytes.push(u8::from(kept.environment.is_some()));
    bytes.extend_from_slice(kept.environment.unwrap_or(Sha256Digest::ZERO).as_bytes());
    bytes.push(u8::from(kept.statement_ends_millis.is_some()));
    bytes.extend_from_slice(&kept.statement_ends_millis.unwrap_or_default().to_le_bytes());
    bytes.push(u8::from(kept.keys.is_some()));
    if let Some(keys) = &kept.keys {
        bytes.extend_from_slice(&keys.epoch.to_le_bytes());
        let fields: [&[u8]; 7] = [
            keys.ca_cert.as_bytes(),
            &*keys.k256_key,
            &keys.k256_signature,
            &*keys.environment,
            &*keys.disk,
            keys.gateway_app_id.as_bytes(),
            keys.os_image_hash.as_bytes(),
        ];
        fields.iter().for_each(|field| put(&mut bytes, field));
        bytes.push(u8::try_from(keys.earlier.len()).expect("their number is bounded"));
        for earlier in &keys.earlier {
            bytes.extend_from_slice(&earlier.epoch.to_le_bytes());
            put(&mut bytes, &*earlier.k256_key);
            put(&mut bytes, &earlier.k256_signature);
            put(&mut bytes, &*earlier.environment);
        }
        bytes.push(u8::from(keys.moves_from.is_some()));
        keys.moves_from.iter().for_each(|disk| put(&mut bytes, &**disk));
    }
    bytes
}

fn put(bytes: &mut Vec<u8>, field: &[u8]) {
    let length = u32::try_from(field.len()).expect("lengths of keys are bounded");
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(field);
}

/// Reads it; every value must be one that an agent writes.
pub(super) fn decode(bytes: &[u8]) -> Result<Kept, MemoryError> {
    let mut reader = Reader::new(bytes);
    match reader.u8("version")? {
        VERSION => {}
        found => return Err(MemoryError::Unknown { field: "version", found }),
    }
    let disk = match reader.u8("disk")? {
        0 => DiskState::Closed,
        1 => DiskState::Opening,
        2 => DiskState::Open,
        found => return Err(MemoryError::Unknown { field: "disk", found }),
    };
    let has_counter = flag(&mut reader, "has an open counter")?;
    let open_counter = Some(reader.u64("open counter")?).filter(|_| has_counter);
    let has_environment = flag(&mut reader, "has an environment")?;
    let environment = Some(Sha256Digest(reader.array("environment")?)).filter(|_| has_environment);
    let has_statement = flag(&mut reader, "has a statement")?;
    let statement_ends_millis = Some(reader.u64("end of the statement")?).filter(|_| has_statement);
    let keys = match flag(&mut reader, "has keys")? {
        true => Some(Arc::new(keys(&mut reader)?)),
        false => None,
    };
    reader.finish()?;
    Ok(Kept { disk, open_counter, keys, environment, statement_ends_millis })
}

/// As they came from the KMS, so that they are checked again in the same place.
fn keys(reader: &mut Reader<'_>) -> Result<AppKeys, MemoryError> {
    let epoch = reader.u32("epoch")?;
    let response = AppKeyResponse {
        epoch,
        ca_cert: text(reader, "ca_cert")?,
        k256_key: field(reader, "k256_key")?.to_vec(),
        k256_signature: field(reader, "k256_signature")?.to_vec(),
        env_crypt_key: field(reader, "env_crypt_key")?.to_vec(),
        disk_crypt_key: field(reader, "disk_crypt_key")?.to_vec(),
        gateway_app_id: text(reader, "gateway_app_id")?,
        os_image_hash: field(reader, "os_image_hash")?.to_vec(),
        earlier: (0..reader.u8("earlier epochs")?)
            .map(|_| earlier(reader))
            .collect::<Result<_, _>>()?,
        // What else a KMS says is of the boot alone.
        ..AppKeyResponse::default()
    };
    let keys = AppKeys::of(response)?;
    match flag(reader, "moves from")? {
        true => Ok(keys.moving_from(field(reader, "moves from")?)?),
        false => Ok(keys),
    }
}

fn earlier(reader: &mut Reader<'_>) -> Result<EarlierKeys, MemoryError> {
    Ok(EarlierKeys {
        epoch: reader.u32("epoch")?,
        k256_key: field(reader, "k256_key")?.to_vec(),
        k256_signature: field(reader, "k256_signature")?.to_vec(),
        env_crypt_key: field(reader, "env_crypt_key")?.to_vec(),
    })
}

fn field<'a>(reader: &mut Reader<'a>, name: &'static str) -> Result<&'a [u8], MemoryError> {
    let length = reader.u32(name)? as usize;
    Ok(reader.take(name, length)?)
}

fn text(reader: &mut Reader<'_>, name: &'static str) -> Result<String, MemoryError> {
    let text = std::str::from_utf8(field(reader, name)?).map_err(|_| MemoryError::Text(name))?;
    Ok(text.to_owned())
}

fn flag(reader: &mut Reader<'_>, field: &'static str) -> Result<bool, MemoryError> {
    match reader.u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(MemoryError::Unknown { field, found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::tests::response;

    fn kept() -> Kept {
        let keys = Some(Arc::new(AppKeys::of(response()).unwrap()));
        let environment = Some(Sha256Digest([8; 32]));
        let statement_ends_millis = Some(11);
        let disk = DiskState::Open;
        Kept { disk, open_counter: Some(9), keys, environment, statement_ends_millis }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        let bytes = encode(&kept());
        let read = decode(&bytes).unwrap();
        assert_eq!((read.open_counter, read.environment), (Some(9), Some(Sha256Digest([8; 32]))));
        assert_eq!(read.statement_ends_millis, Some(11));
        let (read, kept) = (read.keys.unwrap(), kept().keys.unwrap());
        assert_eq!((*read.k256_key, *read.environment), (*kept.k256_key, *kept.environment));
        assert_eq!((&read.ca_cert, &read.k256_signature), (&kept.ca_cert, &kept.k256_signature));
        assert_eq!(read.os_image_hash, kept.os_image_hash);
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(matches!(decode(&longer), Err(MemoryError::Read(_))));
        for cut in [0, 1, 5, 12, 40, 80, bytes.len() - 1] {
            assert!(decode(&bytes[..cut]).is_err(), "{cut}");
        }
        for (at, value) in [(0, 2), (1, 3), (2, 2), (11, 2), (44, 2), (53, 2)] {
            let mut changed = bytes.to_vec();
            changed[at] = value;
            assert!(matches!(decode(&changed), Err(MemoryError::Unknown { .. })), "{at}");
        }
    }

    #[test]
    fn a_move_and_the_keys_of_earlier_epochs_are_kept() {
        let earlier = vec![crate::keys::tests::earlier(2, 6), crate::keys::tests::earlier(1, 7)];
        let answer = AppKeyResponse { epoch: 3, earlier, ..response() };
        let keys = AppKeys::of(answer).unwrap().moving_from(&[9; 64]).unwrap();
        let kept = Kept { keys: Some(Arc::new(keys)), ..kept() };
        let bytes = encode(&kept);
        let read = decode(&bytes).unwrap().keys.unwrap();
        assert_eq!(read.moves_from.as_deref(), Some(&[9; 64]));
        let found: Vec<_> = read
            .earlier
            .iter()
            .map(|keys| (keys.epoch, keys.k256_key[0], keys.k256_signature[0], keys.environment[0]))
            .collect();
        assert_eq!(found, [(2, 6, 6, 6), (1, 7, 7, 7)]);
        assert!(matches!(decode(&bytes[..bytes.len() - 1]), Err(MemoryError::Read(_))));
    }

    #[test]
    fn keys_of_another_length_are_no_keys() {
        let mut bytes = encode(&kept()).to_vec();
        let at = bytes.windows(64).position(|window| window == [1; 64]).unwrap();
        bytes.remove(at);
        bytes[at - 4..at].copy_from_slice(&63_u32.to_le_bytes());
        assert!(matches!(decode(&bytes), Err(MemoryError::Keys(_))));
    }
}
