//! What tests of several modules do.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};

/// How long the file keeps whoever opened it waiting where nobody else is served.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(20);

/// Does `work`, which opens the file at `path`, a pipe that keeps it waiting until `other_end` has
/// opened it too; panics unless the runtime, which has one thread as in the guest, goes on
/// meanwhile.
pub(crate) async fn waiting_at<T: Debug>(
    path: &Path,
    work: impl Future<Output = T>,
    other_end: impl FnOnce(&Path) -> io::Result<()> + Send + 'static,
) -> T {
    mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).expect("a pipe");
    let (served, waited) = mpsc::channel();
    let path = path.to_owned();
    let other = thread::spawn(move || {
        let in_time = waited.recv_timeout(GIVEN_UP_AFTER).is_ok();
        other_end(&path).map(|()| in_time)
    });
    let mut work = pin!(work);
    let early = tokio::time::timeout(Duration::from_secs(1), &mut work).await;
    assert!(early.is_err(), "{early:?}");
    served.send(()).expect("nobody else was served");
    let done = work.await;
    assert!(other.join().expect("no panic").expect("opened"), "nobody else was served");
    done
}
