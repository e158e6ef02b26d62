//! One container from the agent's side: started, watched, asked, taken over again, removed.
//!
//! A container belongs to its helper process, not to the agent: it goes on when a [`Container`] is
//! dropped or the agent dies, and [`Launcher::attach`] finds it again. What is kept where, for the
//! container ID:
//!
//! ```text
//! run_dir/containers/ID/     bundle, socket and last report of the helper (tmpfs)
//! data_dir/containers/ID/    what the container wrote to its root, until it is removed
//! log_dir/ID.log[.N]         its output, which outlives it
//! ```

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use container_helper::End;
use container_helper::cgroup;
use container_helper::wire::REPORT;
use container_tree::remove_tree;
use tokio::sync::watch;

use crate::bundle::{Bundle, BundleError};

mod link;
mod ranges;
mod statistics;
mod stop;

pub use crate::launcher::{ContainerRequest, Launcher, Sockets};
pub use container_helper::wire::{ExecEnd, ExecOutcome};
pub use statistics::Statistics;
pub use stop::{StopSignalError, stop_signal};

use link::Link;

/// What became of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running {
        /// Its first process, in the guest's own numbering.
        pid: i32,
    },
    /// It does not run any more.
    Ended(End),
}

impl State {
    /// Whether the container has not ended yet.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }
}

impl Launcher {
    /// Starts a container and returns when its first process runs. What an ended container of the
    /// same id wrote to its root is still there; [`Container::remove`] is for starting anew.
    pub async fn start(&self, request: &ContainerRequest<'_>) -> Result<Container, ContainerError> {
        let (directory, id) = (self.directory(request.id), request.id.to_owned());
        let ended = (directory.clone(), id.clone());
        blocking(move || Ok(forget_ended(&ended.0, &ended.1)))
            .await
            .map_err(ContainerError::Directory)??;
        let taken = (self.run_dir.clone(), id.clone());
        let first_id = blocking(move || ranges::take(&taken.0, &taken.1)).await;
        let first_id = first_id.map_err(ContainerError::Ids)?;
        let bundle = Bundle::plan(self, request, first_id)?;
        let (private, passable) = self.directories(&directory, request.id);
        let written = blocking(move || {
            make_directories(&private, &passable)?;
            bundle.write().map(|()| bundle.request)
        });
        let started = match written.await {
            Ok(request) => Link::start(&self.helper, &request).await,
            Err(error) => Err(ContainerError::Directory(error)),
        };
        if started.is_err() {
            // The error that is told is the first one; what the container wrote in an earlier run
            // stays.
            let _ = blocking(move || {
                let _ = cgroup::kill(&id);
                fs::remove_dir_all(&directory)
            })
            .await;
        }
        Ok(self.container(request.id, started?))
    }

    /// Directories that are the guest's alone, and those through which a container passes.
    fn directories(&self, directory: &Path, id: &str) -> ([PathBuf; 3], [PathBuf; 3]) {
        let private = [self.log_dir.clone(), directory.join("state"), self.data_directory(id)];
        let passable =
            [self.run_dir.clone(), self.run_dir.join("containers"), directory.to_owned()];
        (private, passable)
    }

    /// Takes over the container that an earlier agent started; `None` if there is none of that id.
    pub async fn attach(&self, id: &str) -> Result<Option<Container>, ContainerError> {
        let directory = self.directory(id);
        if !tokio::fs::try_exists(&directory).await.map_err(ContainerError::Directory)? {
            return Ok(None);
        }
        let link = Link::attach(&directory, id).await.map_err(ContainerError::Directory)?;
        Ok(Some(self.container(id, link)))
    }

    /// Removes what is left of a container that does not run, even if it never did.
    pub async fn forget(&self, id: &str) -> io::Result<()> {
        let directories = [self.directory(id), self.data_directory(id)];
        let (id, run_dir) = (id.to_owned(), self.run_dir.clone());
        blocking(move || forget(&id, &run_dir, &directories)).await
    }

    fn container(&self, id: &str, link: Link) -> Container {
        let directories = [self.directory(id), self.data_directory(id)];
        Container { id: id.to_owned(), run_dir: self.run_dir.clone(), directories, link }
    }
}

/// Removes the run directory of a container that has ended; one that runs is in the way.
fn forget_ended(directory: &Path, id: &str) -> Result<(), ContainerError> {
    if directory.exists() && !directory.join(REPORT).exists() {
        return Err(ContainerError::Exists(id.to_owned()));
    }
    cgroup::remove(&cgroup::directory(id)).map_err(ContainerError::Directory)?;
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ContainerError::Directory(error))
        }
        _ => Ok(()),
    }
}

/// A container that runs, or ran. Dropping it changes nothing.
#[derive(Debug)]
pub struct Container {
    id: String,
    run_dir: PathBuf,
    /// Of its run and of what it wrote.
    directories: [PathBuf; 2],
    link: Link,
}

impl Container {
    /// `SERVICE-N`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What becomes of it, now and later.
    pub fn state(&self) -> watch::Receiver<State> {
        self.link.state()
    }

    /// Resolves to how the container ended, once it has; keeps nothing of it.
    pub fn ended(&self) -> impl Future<Output = End> + use<> {
        let mut state = self.state();
        async move {
            match state.wait_for(|state| !state.is_running()).await.as_deref() {
                Ok(State::Ended(end)) => end.clone(),
                _ => End::Failed { message: "nobody watches the container".to_owned() },
            }
        }
    }

    /// Sends a signal to its first process; one that has ended needs none.
    pub async fn signal(&self, number: i32) {
        self.link.signal(number).await;
    }

    /// Runs a command in it, as its own first process is confined, and returns how that ended. What
    /// the command started is killed with it.
    pub async fn exec(
        &self,
        arguments: &[String],
        timeout: Duration,
    ) -> Result<ExecOutcome, ContainerError> {
        self.link.exec(arguments, timeout).await.ok_or(ContainerError::Ended)
    }

    /// What it uses now.
    pub fn statistics(&self) -> io::Result<Statistics> {
        Statistics::of_container(&self.id)
    }

    /// Kills it if it runs, and removes all that it had but its log and the app's volumes.
    pub async fn remove(self) -> io::Result<()> {
        let killed = self.id.clone();
        blocking(move || cgroup::kill(&killed)).await?;
        self.ended().await;
        let Self { id, run_dir, directories, .. } = self;
        blocking(move || forget(&id, &run_dir, &directories)).await
    }
}

/// Does work that waits for the disk or for the end of processes on a thread of its own: the
/// runtime has one thread, which others need.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn make_directories(private: &[PathBuf], passable: &[PathBuf]) -> io::Result<()> {
    for path in private {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    }
    // Root of the container, who is nobody here, passes through to what is mounted for it below.
    for path in passable {
        fs::set_permissions(path, fs::Permissions::from_mode(0o711))?;
    }
    Ok(())
}

/// Removes all that a container had but its log and the app's volumes.
fn forget(id: &str, run_dir: &Path, directories: &[PathBuf]) -> io::Result<()> {
    cgroup::remove(&cgroup::directory(id))?;
    for directory in directories {
        // Its root may be nested deeper than a process can have directories open.
        match remove_tree(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    ranges::give_back(run_dir, id)
}

/// Why a container did not start, or does not answer.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// no bundle can be made
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// one of this id runs already
    #[error("container {0:?} runs already")]
    Exists(String),
    /// there are no ids for it
    #[error("ids of the container: {0}")]
    Ids(io::Error),
    /// the directories cannot be made or read
    #[error("container directory: {0}")]
    Directory(io::Error),
    /// the helper program cannot be run
    #[error("helper: {0}")]
    Spawn(io::Error),
    /// the helper says why it did not start the container
    #[error("container: {0}")]
    NotStarted(String),
    /// nothing was heard of it
    #[error("container: not started after {0} s")]
    TooSlow(u64),
    /// it has ended and runs no more commands
    #[error("the container has ended")]
    Ended,
}
