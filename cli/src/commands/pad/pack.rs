//! `dstyx pad pack`: a file becomes a Pad, chunk by chunk.

use std::fs::File;
use std::io::{BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pad_format::cipher::Algorithm;
use pad_format::metadata::{ChunkSize, Delegator, KeyId, Uri};
use pad_format::writer::PackError;
use pad_format::{Custodian, DataKey, MAX_DATA_BYTES, Packing, PadId, PadWriter};
use serde_json::json;
use zeroize::Zeroizing;

use super::{delegator, members, shown};
use crate::args::PadPack;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::new_file::{self, NewFile};
use crate::output::{Output, named};
use crate::pad::custodian::Public;
use crate::pad::data_key::DataKeyFile;
use crate::pad::keys::MemberKeys;
use crate::pad::policies;
use crate::pad::progress::Progress;
use crate::pad::{contents, sealed};

/// Who may read a Pad: everybody.
const MODE: u32 = 0o644;
/// Bytes of data that are read at once.
const PIECE_BYTES: usize = 1 << 20;

/// Does what was asked for.
pub fn run(options: &PadPack, output: &Output) -> Outcome<ExitCode> {
    let pad = options.out.clone().unwrap_or_else(|| with_ending(&options.file));
    let key_file = DataKeyFile::beside(&pad);
    new_file::refuse_existing(&key_file)?;
    let (custodian, members) = signers(options)?;
    let stated = options.attribute.iter().map(|stated| contents::attribute(stated));
    let stated = stated.collect::<Outcome<Vec<_>>>()?;
    let policies = options.policy.iter().map(|file| policies::load(file).map(|read| read.policy));
    let policies = policies.collect::<Outcome<Vec<_>>>()?;
    let no_randomness = |error| Failure::new(error, "the system gives no random numbers");
    let pad_id = PadId::generate().map_err(no_randomness)?;
    let contents = contents::signed(&pad_id, custodian, policies, stated, &members)?;
    let packing = Packing {
        pad_id,
        delegator: Delegator {
            key_provider_id: delegator(options.delegator.as_deref())?,
            uri: Uri::new(&options.address).hint("--address", "leave it out if there is none")?,
        },
        algorithm: Algorithm::Aes256Gcm,
        key_id: KeyId::new(pad_id.uuid().as_bytes()).hint("the key's id", "try again")?,
        chunk: ChunkSize::of_log2(options.chunk_log2).hint("--chunk-log2", "leave it out")?,
        contents: &contents,
    };
    let key = DataKey::generate().map_err(no_randomness)?;
    let mut data = sealed::open_file(&options.file)?;
    let new = NewFile::begin(&pad, MODE)?;
    let (new, written) = seal(&mut data, &options.file, new, &packing, key, output)?;
    written.save(&key_file)?;
    new.commit().inspect_err(|_| {
        // The key of a Pad that is not there opens nothing; the first error is the one to tell.
        let _ = std::fs::remove_file(&key_file);
    })?;
    tell(&pad, &key_file, &written, &contents, output);
    Ok(ExitCode::SUCCESS)
}

/// Who owns the Pad, and the keys that sign its attributes.
fn signers(options: &PadPack) -> Outcome<(Custodian, Vec<MemberKeys>)> {
    let is_public = crate::files::read_bounded(&options.custodian, 1 << 14)?.first() == Some(&b'{');
    let mut members = members(&options.key)?;
    let custodian = if is_public {
        Public::load(&options.custodian)?.custodian
    } else {
        let own = MemberKeys::load(&options.custodian)?;
        let custodian = own.custodian();
        members.push(own);
        custodian
    };
    let enough = usize::from(custodian.threshold());
    let mut distinct: Vec<_> = members.iter().map(MemberKeys::public).collect();
    distinct.sort_unstable();
    distinct.dedup();
    if !options.attribute.is_empty() && distinct.len() < enough {
        let what =
            format!("attributes need signatures of {enough} members, not {}", distinct.len());
        return Err(Failure::new(what, "give the private keys of more members with --key"));
    }
    if let Some(other) = distinct.iter().find(|key| !custodian.members().contains(key)) {
        let what = format!("the key {other} is no member of the custodian {}", custodian.id());
        return Err(Failure::new(what, "give the keys of its members"));
    }
    Ok((custodian, members))
}

/// Writes the Pad as its data come.
fn seal(
    data: &mut File,
    file: &Path,
    new: NewFile,
    packing: &Packing<'_>,
    key: DataKey,
    output: &Output,
) -> Outcome<(NewFile, DataKeyFile)> {
    let bytes = data.metadata().hint(file.display(), "is the file readable?")?.len();
    if bytes > MAX_DATA_BYTES {
        return Err(unpacked(file, &PackError::TooLarge));
    }
    let refused = |error: PackError| unpacked(file, &error);
    let mut progress = Progress::new(output, "sealed", bytes);
    let mut writer = PadWriter::new(BufWriter::new(new), packing, &key).map_err(refused)?;
    let mut piece = Zeroizing::new(vec![0; PIECE_BYTES]);
    loop {
        match data.read(&mut piece).hint(file.display(), "is the disk readable?")? {
            0 => break,
            read => {
                writer.write(&piece[..read]).map_err(refused)?;
                progress.advance(read);
            }
        }
    }
    let metadata = writer.metadata().clone();
    let (mut out, digest) = writer.finish().map_err(refused)?;
    out.flush().hint(file.display(), "is there room on the disk?")?;
    let new = out
        .into_inner()
        .map_err(|error| Failure::new(error.error(), "is there room on the disk?"))?;
    let engines = packing.contents.policies.iter().map(|policy| policy.engine).collect();
    Ok((new, DataKeyFile::of(&metadata, digest, engines, key)))
}

fn unpacked(file: &Path, error: &PackError) -> Failure {
    let hint = match error {
        PackError::Io(_) => "is there room on the disk?",
        PackError::TooLarge => "cut the data into several Pads",
        _ => "see docs/pad-format.md for what a Pad may have",
    };
    Failure::new(format!("{}: {error}", file.display()), hint)
}

fn tell(
    pad: &Path,
    key_file: &Path,
    written: &DataKeyFile,
    contents: &pad_format::Contents,
    output: &Output,
) {
    let document = json!({
        "pad": pad, "key": key_file, "pad_id": written.pad_id.to_string(),
        "digest": written.pad.0, "custodian": written.custodian.0,
        "policies": contents.policies.len(), "attributes": contents.attributes.len(),
    });
    output.result(&document, || {
        named([
            ("Pad", pad.display().to_string()),
            ("its key", format!("{} (for this user alone)", key_file.display())),
            ("id", written.pad_id.to_string()),
            ("digest", written.pad.0.to_string()),
            ("custodian", shown(&written.custodian)),
        ])
    });
}

fn with_ending(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".pad");
    name.into()
}
