//! The programs of an app for the sandbox of Pads: fetched as images are, and never started.

use std::sync::Arc;
use std::time::Duration;

use compose::model::Program;
use container_images::{Progress, PulledProgram, pull_program};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::TaskReport;
use super::pulling::{Source, persistently};
use crate::app::history::Happening;
use crate::app::status::{
    Component, Failure, FailureKind, ImageFault, ProgramState, ProgramStatus,
};

/// Programs fetched side by side, beside images.
const PARALLEL_PROGRAMS: usize = 2;

/// What is heard of the program at a place in the file's order.
pub(super) struct ProgramReport {
    program: usize,
    news: News,
}

enum News {
    Known(Result<Arc<PulledProgram>, ImageFault>),
    Delayed { fault: ImageFault, wait: Duration, failing: bool },
}

/// The programs of one app; their pulls end when it is dropped.
pub(super) struct Programs {
    _tasks: JoinSet<()>,
    list: Vec<Held>,
}

struct Held {
    status: ProgramStatus,
    progress: Progress,
    pulled: Option<Arc<PulledProgram>>,
}

impl Programs {
    /// Begins with all of them; each is reported as [`TaskReport::Program`].
    pub(super) fn start(
        programs: &[Program],
        source: &Source,
        reports: &mpsc::UnboundedSender<TaskReport>,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(PARALLEL_PROGRAMS));
        let (mut tasks, mut list) = (JoinSet::new(), Vec::new());
        for (place, program) in programs.iter().enumerate() {
            let progress = Progress::default();
            let (source, slots) = (source.clone(), Arc::clone(&slots));
            let reports = reports.clone();
            tasks.spawn(pull(program.clone(), source, slots, progress.clone(), move |news| {
                // Without a driver nobody wants to know.
                let _ = reports.send(TaskReport::Program(ProgramReport { program: place, news }));
            }));
            let status = ProgramStatus {
                service: program.name.clone(),
                image: program.image.to_string(),
                state: ProgramState::Awaited,
                labels: program.labels.clone(),
            };
            list.push(Held { status, progress, pulled: None });
        }
        Self { _tasks: tasks, list }
    }

    /// Takes a report in; which service it is about, and what happened to it.
    pub(super) fn hear(&mut self, report: ProgramReport) -> (&str, Happening) {
        let Held { status, pulled, .. } = &mut self.list[report.program];
        let (state, happening) = match report.news {
            News::Known(Ok(program)) => {
                let state =
                    ProgramState::Here(Component::new(program.component, program.path.clone()));
                *pulled = Some(program);
                (state, Happening::Pulled { image: status.image.clone() })
            }
            News::Known(Err(fault)) => {
                let message = format!("image: {}", fault.message);
                (ProgramState::Refused(fault), Happening::Failed { message })
            }
            News::Delayed { fault, wait, failing } => {
                let message = fault.message.clone();
                let wait_millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                let happening = Happening::Delayed { message, wait_millis };
                (ProgramState::Delayed { fault, failing }, happening)
            }
        };
        status.state = state;
        (&status.service, happening)
    }

    /// All programs, if every one is here.
    pub(super) fn pulled(&self) -> Option<Vec<Arc<PulledProgram>>> {
        self.list.iter().map(|held| held.pulled.clone()).collect()
    }

    /// Whether one may come yet.
    pub(super) fn is_awaited(&self) -> bool {
        self.list.iter().any(|held| held.status.state.is_awaited())
    }

    /// Why one is not here yet, if something that passes is the reason.
    pub(super) fn delayed(&self) -> Option<String> {
        self.list.iter().find_map(|held| match &held.status.state {
            ProgramState::Delayed { fault, .. } => Some(message(&held.status, fault)),
            _ => None,
        })
    }

    /// Why one cannot be what the compose file asks.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.list.iter().find_map(|held| {
            let fault = held.status.state.fault()?;
            let kind = FailureKind::Image { reason: fault.reason, blob: fault.blob };
            Some(Failure { kind, message: message(&held.status, fault) })
        })
    }

    /// How far each is.
    pub(super) fn progress(&self) -> impl Iterator<Item = &Progress> {
        self.list.iter().map(|held| &held.progress)
    }

    /// For whoever asks.
    pub(super) fn statuses(&self) -> Vec<ProgramStatus> {
        self.list.iter().map(|held| held.status.clone()).collect()
    }
}

fn message(status: &ProgramStatus, fault: &ImageFault) -> String {
    format!("service {:?}: image: {}", status.service, fault.message)
}

async fn pull(
    program: Program,
    source: Source,
    slots: Arc<Semaphore>,
    progress: Progress,
    tell: impl Fn(News),
) {
    let once = || async {
        // It is never closed.
        let _slot = slots.acquire().await;
        let Source { registries, store, .. } = source.clone();
        pull_program(&program.image, registries, store, &progress).await
    };
    let known =
        persistently(once, |fault, wait, failing| tell(News::Delayed { fault, wait, failing }));
    tell(News::Known(known.await));
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::TcpListener;

    use compose::ImageReference;
    use compose::digest::ContentDigest;
    use container_images::{
        Limits, Mirror, PullReason, Registries, RegistrySettings, Store, Timeouts,
    };
    use sha2::{Digest as _, Sha256};

    use super::*;

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0and more";

    fn digest(bytes: &[u8]) -> ContentDigest {
        ContentDigest::from_bytes(Sha256::digest(bytes).into())
    }

    /// The blobs of an artifact with this layer, the manifest's digest behind them.
    fn artifact(layer: &[u8]) -> (Vec<Vec<u8>>, ContentDigest) {
        let config = format!(
            r#"{{"architecture":"wasm","os":"wasip2","layerDigests":["{}"]}}"#,
            digest(layer)
        );
        let described = |kind: &str, bytes: &[u8]| {
            let (digest, size) = (digest(bytes), bytes.len());
            format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}}}"#)
        };
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
            described("application/vnd.wasm.config.v0+json", config.as_bytes()),
            described("application/wasm", layer)
        );
        let pinned = digest(manifest.as_bytes());
        (vec![layer.to_vec(), config.into_bytes(), manifest.into_bytes()], pinned)
    }

    /// A mirror on loopback with these blobs; anything else is not there.
    fn mirror(blobs: Vec<Vec<u8>>) -> Mirror {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        let blobs: HashMap<String, Vec<u8>> =
            blobs.into_iter().map(|bytes| (digest(&bytes).to_string(), bytes)).collect();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut lines = BufReader::new(stream.try_clone().expect("a socket"))
                    .lines()
                    .map_while(Result::ok);
                let first = lines.next().unwrap_or_default();
                lines.find(String::is_empty);
                let path = first.split(' ').nth(1).unwrap_or_default();
                let (status, body) = match path.rsplit('/').next().and_then(|name| blobs.get(name))
                {
                    Some(bytes) => ("200 OK", bytes.as_slice()),
                    None => ("404 Not Found", &b""[..]),
                };
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                );
                let _ = stream.write_all(&[head.as_bytes(), body].concat());
            }
        });
        Mirror::parse(&format!("http://127.0.0.1:{port}")).expect("address")
    }

    fn program(name: &str, pinned: ContentDigest) -> Program {
        Program {
            name: name.to_owned(),
            line: 1,
            image: ImageReference::parse(&format!("dstyx.local/{name}@{pinned}")).expect("image"),
            labels: Vec::new(),
        }
    }

    /// Programs whose pulls go to one mirror, and what is heard of them.
    fn started(
        programs: &[Program],
        mirror: Mirror,
        directory: &std::path::Path,
    ) -> (Programs, mpsc::UnboundedReceiver<TaskReport>) {
        let timeout = Timeouts { retries: 0, ..Timeouts::default() };
        let settings =
            RegistrySettings { mirrors: vec![mirror], timeout, ..RegistrySettings::default() };
        let source = Source {
            registries: Arc::new(Registries::new(settings).expect("settings")),
            store: Arc::new(Store::open(directory).expect("store")),
            limits: Limits::default(),
        };
        let (sender, reports) = mpsc::unbounded_channel();
        (Programs::start(programs, &source, &sender), reports)
    }

    /// Takes the next report in.
    async fn hear(
        programs: &mut Programs,
        reports: &mut mpsc::UnboundedReceiver<TaskReport>,
    ) -> (String, Happening) {
        match reports.recv().await {
            Some(TaskReport::Program(report)) => {
                let (service, happening) = programs.hear(report);
                (service.to_owned(), happening)
            }
            _ => panic!("another report"),
        }
    }

    #[tokio::test]
    async fn a_program_that_is_here_can_be_opened_and_one_that_is_none_fails_the_app() {
        let directory = tempfile::tempdir().expect("directory");
        let (good, pinned) = artifact(COMPONENT);
        let (bad, module) = artifact(b"\0asm\x01\0\0\0a module");
        let list = [program("mean", pinned), program("module", module)];
        let all = good.into_iter().chain(bad).collect();
        let (mut programs, mut reports) = started(&list, mirror(all), directory.path());
        assert!(programs.is_awaited() && programs.failure().is_none());
        for _ in &list {
            hear(&mut programs, &mut reports).await;
        }
        assert!(!programs.is_awaited());
        let [mean, module] = &programs.statuses()[..] else { panic!("two programs") };
        let ProgramState::Here(component) = &mean.state else { panic!("{:?}", mean.state) };
        assert_eq!(component.sha256, digest(COMPONENT));
        let mut bytes = Vec::new();
        component.open().expect("a file").read_to_end(&mut bytes).expect("bytes");
        assert_eq!(bytes, COMPONENT);
        assert!(module.state.to_string().contains("a core module"), "{}", module.state);
        let failure = programs.failure().expect("the app fails");
        assert!(failure.message.starts_with("service \"module\": image: "), "{failure:?}");
        // What an earlier version of the app left is kept until everything is here.
        assert!(programs.pulled().is_none());
    }

    #[tokio::test]
    async fn a_program_whose_registry_is_away_is_asked_for_again() {
        let directory = tempfile::tempdir().expect("directory");
        let (_, pinned) = artifact(COMPONENT);
        // Bound and dropped: nobody listens there.
        let port = TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("a port");
        let nobody = Mirror::parse(&format!("http://{port}")).expect("address");
        let (mut programs, mut reports) =
            started(&[program("mean", pinned)], nobody, directory.path());
        let (service, happening) = hear(&mut programs, &mut reports).await;
        assert_eq!(service, "mean");
        assert!(matches!(happening, Happening::Delayed { .. }), "{happening:?}");
        assert!(programs.is_awaited() && programs.failure().is_none());
        let ProgramState::Delayed { fault, failing: false } = &programs.statuses()[0].state else {
            panic!("not delayed")
        };
        assert_eq!(fault.reason, PullReason::Unreachable);
        assert!(programs.delayed().is_some_and(|message| message.contains("\"mean\"")));
    }
}
