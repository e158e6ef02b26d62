//! Fetches the images of an app, some at a time, those first that others wait for.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use compose::{ImageReference, Service};
use container_images::{
    Limits, Progress, PullError, PulledImage, PulledProgram, Registries, Store,
};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::TaskReport;
use crate::app::machine::{FAILING_AFTER, Plan, wait_before};
use crate::app::status::{ImageFault, PullStatus};

/// Images fetched side by side; each has layers of its own side by side.
const PARALLEL_IMAGES: usize = 3;

/// An image, once it is known whether it can be had.
pub(super) type Outcome = Result<Arc<PulledImage>, ImageFault>;

/// The pulls of one app; they end when it is dropped.
pub(super) struct Pulls {
    _tasks: JoinSet<()>,
    progress: Vec<Progress>,
    /// In the order of the services; several may share one.
    outcomes: Vec<watch::Receiver<Option<Outcome>>>,
    /// Until what no image needs has been dropped from it.
    uncollected: Option<Arc<Store>>,
}

/// From where, and how much.
pub(super) struct Source {
    pub(super) registries: Arc<Registries>,
    pub(super) store: Arc<Store>,
    pub(super) limits: Limits,
}

impl Pulls {
    /// Begins with all of them; each is reported once for every service that uses it.
    pub(super) fn start(
        services: &[Service],
        plan: &Plan,
        source: &Source,
        reports: &mpsc::UnboundedSender<TaskReport>,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(PARALLEL_IMAGES));
        let (mut tasks, mut progress, mut outcomes) = (JoinSet::new(), Vec::new(), HashMap::new());
        for (image, users) in images(services, plan) {
            let (sender, outcome) = watch::channel(None);
            outcomes.insert(image, outcome);
            let one = Progress::default();
            progress.push(one.clone());
            let pull = Pull { image: image.clone(), services: users, progress: one };
            tasks.spawn(pull.run(source.clone(), Arc::clone(&slots), sender, reports.clone()));
        }
        let outcomes = services.iter().map(|service| outcomes[&service.image].clone()).collect();
        Self { _tasks: tasks, progress, outcomes, uncollected: Some(Arc::clone(&source.store)) }
    }

    /// How it went for a service, once it is known.
    pub(super) fn outcome(&self, service: usize) -> watch::Receiver<Option<Outcome>> {
        self.outcomes[service].clone()
    }

    /// Drops from the store what neither images nor `programs` of the app need, once all of them
    /// are here.
    pub(super) fn collect(&mut self, programs: Option<Vec<Arc<PulledProgram>>>) {
        let here = |outcome: &watch::Receiver<Option<Outcome>>| outcome.borrow().clone()?.ok();
        let Some(images) = self.outcomes.iter().map(here).collect::<Option<Vec<_>>>() else {
            return;
        };
        let Some(programs) = programs else { return };
        let Some(store) = self.uncollected.take() else { return };
        tokio::task::spawn_blocking(move || {
            if let Err(error) =
                store.collect(images.iter().map(Arc::as_ref), programs.iter().map(Arc::as_ref))
            {
                tracing::warn!(%error, "dropping what no image needs failed");
            }
        });
    }

    /// How far each image is.
    pub(super) fn progress(&self) -> &[Progress] {
        &self.progress
    }
}

/// How far all of these are.
pub(super) fn status<'a>(all: impl Iterator<Item = &'a Progress>) -> PullStatus {
    let mut status = PullStatus::default();
    for progress in all {
        let pulled = progress.subscribe().borrow().clone();
        status.images += 1;
        status.done += usize::from(pulled.blobs > 0 && pulled.blobs_done == pulled.blobs);
        status.fetched_bytes += pulled.bytes_done;
    }
    status
}

/// Asks until what is pulled is here or cannot be had; `delayed` is told of each wait, and whether
/// there were so many that it counts as failed.
pub(super) async fn persistently<T, F>(
    mut once: impl FnMut() -> F,
    delayed: impl Fn(ImageFault, Duration, bool),
) -> Result<Arc<T>, ImageFault>
where
    F: Future<Output = Result<T, PullError>>,
{
    let mut failures = 0;
    loop {
        let error = match once().await {
            Ok(pulled) => return Ok(Arc::new(pulled)),
            Err(error) if error.is_passing() => error,
            Err(error) => return Err(ImageFault::from(&error)),
        };
        // As a container that keeps ending is started again; a registry may ask for longer.
        let wait = wait_before(failures).max(error.retry_after().unwrap_or_default());
        failures = failures.saturating_add(1);
        delayed(ImageFault::from(&error), wait, failures >= FAILING_AFTER);
        tokio::time::sleep(wait).await;
    }
}

/// Opens the store on a thread of its own: what an earlier agent left half unpacked goes first,
/// which takes as long as it is large.
pub(super) async fn open_store(directory: &Path) -> io::Result<Store> {
    let directory = directory.to_owned();
    let opened = tokio::task::spawn_blocking(move || Store::open(&directory));
    opened.await.map_err(io::Error::other)?
}

/// Every image with its services, those first that are waited for through the most others.
fn images<'a>(services: &'a [Service], plan: &Plan) -> Vec<(&'a ImageReference, Vec<usize>)> {
    let depths = plan.depths();
    let mut order: Vec<usize> = (0..services.len()).collect();
    order.sort_by_key(|service| depths[*service]);
    let mut images: Vec<(&ImageReference, Vec<usize>)> = Vec::new();
    for service in order {
        let image = &services[service].image;
        match images.iter_mut().find(|(other, _)| *other == image) {
            Some((_, users)) => users.push(service),
            None => images.push((image, vec![service])),
        }
    }
    images
}

impl Clone for Source {
    fn clone(&self) -> Self {
        Self {
            registries: Arc::clone(&self.registries),
            store: Arc::clone(&self.store),
            limits: self.limits,
        }
    }
}

struct Pull {
    image: ImageReference,
    services: Vec<usize>,
    progress: Progress,
}

impl Pull {
    async fn run(
        self,
        source: Source,
        slots: Arc<Semaphore>,
        outcome: watch::Sender<Option<Outcome>>,
        reports: mpsc::UnboundedSender<TaskReport>,
    ) {
        let pulled = persistently(
            || self.once(&source, &slots),
            |fault, wait, failing| {
                for service in &self.services {
                    let (service, fault) = (*service, fault.clone());
                    let delayed = TaskReport::ImageDelayed { service, fault, wait, failing };
                    let _ = reports.send(delayed);
                }
            },
        )
        .await;
        outcome.send_replace(Some(pulled.clone()));
        for service in self.services {
            // Without a driver nobody wants to know.
            let _ = reports.send(TaskReport::Image { service, outcome: pulled.clone() });
        }
    }

    /// One attempt, for which a place is held.
    async fn once(&self, source: &Source, slots: &Semaphore) -> Result<PulledImage, PullError> {
        // It is never closed.
        let _slot = slots.acquire().await;
        let Source { registries, store, limits } = source.clone();
        container_images::pull(&self.image, registries, store, limits, &self.progress).await
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::testing::waiting_at;

    #[tokio::test]
    async fn a_store_that_is_slow_to_open_holds_nobody_else_up() {
        let directory = tempfile::tempdir().expect("directory");
        let lock = directory.path().join("lock");
        let opened = open_store(directory.path());
        waiting_at(&lock, opened, |lock| File::open(lock).map(drop)).await.expect("a store");
    }
}
