//! `notes`: a web page that keeps notes in a database on a named volume.
//!
//! An ordinary container, for apps with data to start from. A note is on the disk before the
//! request that added it is answered, so it lasts as long as the volume does. Every client is a
//! stranger and may read, add and remove notes, so requests and the database are bounded.

#![forbid(unsafe_code)]

mod answers;
mod form;
mod health;
mod page;
mod server;
mod store;
mod text;

use std::error::Error as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use store::Store;

/// Where the compose file mounts the volume; the image has the directory, owned by the program's
/// user, and a new volume gets that owner.
const DIRECTORY: &str = "/data";
const PORT: u16 = 8080;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let ended = match arguments.as_slice() {
        [] => run(),
        [only] if only == "health" => health::check(PORT)
            .map_err(|error| Failure { error: error.to_string(), hint: "is the program running?" }),
        _ => Err(Failure {
            error: "unknown arguments".into(),
            hint: "give none to serve, or `health` to ask whether the program that serves is well",
        }),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { error, hint }) => {
            eprintln!("error: {error}");
            eprintln!("hint: {hint}");
            ExitCode::FAILURE
        }
    }
}

/// Why the program ends, and what to try.
struct Failure {
    error: String,
    hint: &'static str,
}

/// Serves until the container is stopped, then closes the database.
fn run() -> Result<(), Failure> {
    let store = Store::open(Path::new(DIRECTORY)).map_err(|error| {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        let hint =
            "mount a volume there to which this user may write and which no other program uses";
        Failure { error: format!("{DIRECTORY}: {error}{cause}"), hint }
    })?;
    println!("listening on port {PORT}, start {} of this database", store.starts());
    server::run(Arc::new(store), PORT).map_err(|error| Failure {
        error: format!("port {PORT} cannot be served: {error}"),
        hint: "is another program listening there?",
    })
}
