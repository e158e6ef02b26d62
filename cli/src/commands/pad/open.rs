//! `dstyx pad open`: the data of a Pad, for its custodian.

use std::io::Write as _;
use std::process::ExitCode;

use serde_json::json;
use zeroize::Zeroizing;

use crate::args::PadOpen;
use crate::failure::{Hint as _, Outcome};
use crate::new_file::NewFile;
use crate::output::Output;
use crate::pad::data_key::DataKeyFile;
use crate::pad::progress::Progress;
use crate::pad::sealed;
use crate::private;

/// Bytes of data that are opened at once.
const PIECE_BYTES: usize = 1 << 20;

/// Does what was asked for. A file with the data is there only if all of them are the sealed ones.
pub fn run(options: &PadOpen, output: &Output) -> Outcome<ExitCode> {
    let key = DataKeyFile::load(&options.key)?;
    let refused = |error| sealed::refused(&options.file, &error);
    let mut data = sealed::opened(&options.file, &key)?.into_data().map_err(refused)?;
    let bytes = data.data_bytes();
    let mut new = NewFile::begin(&options.out, private::FILE_MODE)?;
    let mut progress = Progress::new(output, "opened", bytes);
    let mut piece = Zeroizing::new(vec![0; PIECE_BYTES]);
    let mut offset = 0;
    while offset < bytes {
        let read = data.read_at(offset, &mut piece).map_err(refused)?;
        new.write_all(&piece[..read]).hint(options.out.display(), "is there room on the disk?")?;
        offset += read as u64;
        progress.advance(read);
    }
    new.commit()?;
    output.result(&json!({ "file": options.out, "bytes": bytes }), || {
        format!("{}: {bytes} bytes, for this user alone\n", options.out.display())
    });
    Ok(ExitCode::SUCCESS)
}
