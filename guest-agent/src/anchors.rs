//! Anchors: what the KMS is told of how far the data disk has come, so that no older state of it is
//! ever accepted again.
//!
//! A generation is told only once it is on the disk whole: a file system's sync, then a commit, and
//! the number that this very commit has. (The number of the running transaction would lock the disk
//! out for good after a power cut.) Between two anchors the host can still put the disk back to the
//! last one, as a whole; so an anchor is made at fixed times, at the end, and whenever a program of
//! the app asks for one. A KMS that says that a later boot has the disk ends this guest, and so
//! does an anchor that is older than the measured file allows, or a release statement that ends,
//! where the measured file says so.

use std::io;
use std::sync::{Arc, Once, PoisonError, RwLock};
use std::time::Duration;

use protocol::kms::{AnchorRequest, AnchorResponse, GENERATION_BITS, SignedRelease};
use protocol::rule::unless;
use protocol::status::{Phase, Refusal};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::kms_client::{JudgesKms, KmsClient, KmsError, PinnedKms};
use crate::memory::MemoryError;
use crate::reports::Reports;

mod statement;

pub use statement::StatementEnd;

/// Time between two anchors: how much of a guest's work its host can undo by killing it.
const PERIOD: Duration = Duration::from_secs(120);
/// Time until the next try, where one failed.
const RETRY: Duration = Duration::from_secs(15);
/// After this long without an anchor the status channel says so.
const LATE_AFTER: Duration = Duration::from_secs(600);
/// How long the last anchor may take: init ends the machine 90 s after it was asked to, of which
/// the app has 80.
pub const LAST_WITHIN: Duration = Duration::from_secs(5);
/// The same of a guest that ends by itself, for which nothing waits: a KMS that is loaded answers
/// within it.
pub const LAST_OF_ITSELF_WITHIN: Duration = Duration::from_secs(60);
/// When the status channel says that the generations of this mount come to their end: an eighth of
/// them leaves years at any rate of commits.
const NEARLY_USED: u64 = 7 << (GENERATION_BITS - 3);
/// Requests that may wait for an anchor: each takes a commit and a call.
const MAX_WAITING: usize = 32;
/// The call.
const METHOD: &str = "Anchor";

/// Why there is no anchor.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// too many are asking
    #[error("{MAX_WAITING} requests for anchors are waiting already")]
    Busy,
    /// the disk
    #[error("the data disk cannot be synced: {0}")]
    Sync(#[from] io::Error),
    /// a generation that this mount cannot have
    #[error("generation {generation} is not one of open counter {open_counter}")]
    Window {
        /// What the kernel committed.
        generation: u64,
        /// The number of this mount.
        open_counter: u64,
    },
    /// the KMS
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// an answer that confirms something else
    #[error("the KMS keeps the anchor {found}, expected {expected} or more")]
    Answer {
        /// The anchor in the answer.
        found: u64,
        /// What was told.
        expected: u64,
    },
    /// no release statement, with which this guest would end
    #[error("no release statement of the KMS holds, and the measured file lets the guest end so")]
    Unstated,
    /// what is kept for the agents after this one
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// the thread that syncs was lost
    #[error("the anchor was not finished: {0}")]
    Lost(#[from] tokio::task::JoinError),
}

/// Writes what there is to the disk, and gives the generation of the commit that holds it; blocks.
type Commit = Arc<dyn Fn() -> io::Result<u64> + Send + Sync>;

/// What a mount of the data disk is under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mount {
    /// Its number.
    pub open_counter: u64,
    /// The epoch of its key. Every anchor names it: the first one after a move moves the instance,
    /// and a KMS that has given the disk up refuses.
    pub epoch: u32,
}

/// What ends a guest whose KMS is away, as its measured file says.
#[derive(Debug, Default)]
pub struct Ends {
    /// How old the last anchor may become.
    pub max_age: Option<Duration>,
    /// The release statement, if the guest ends with it.
    pub statement: Option<StatementEnd>,
}

impl Ends {
    /// The first end of a guest whose last anchor was made then.
    fn first(&self, last: Instant) -> Option<Instant> {
        let too_old = self.max_age.map(|max_age| last + max_age);
        too_old.into_iter().chain(self.statement.as_ref().map(StatementEnd::begins)).min()
    }

    /// Whether the guest may go on; what it ends by otherwise.
    fn check(&self, last: Instant, now: Instant) -> Result<(), Refusal> {
        let age = now.saturating_duration_since(last);
        unless(self.max_age.is_none_or(|most| age < most), || Refusal::AnchorTooOld)?;
        let statement = self.statement.as_ref();
        unless(statement.is_none_or(|it| now < it.begins()), || Refusal::StatementEnded)
    }
}

/// The mounted data disk, as far as its KMS is told of it.
pub struct Anchors<J: JudgesKms = PinnedKms> {
    kms: Arc<KmsClient<J>>,
    reports: Reports,
    commit: Commit,
    mount: Mount,
    ends: Ends,
    waiting: Semaphore,
    turn: Mutex<()>,
    nearly_used: Once,
    release: RwLock<Option<Arc<str>>>,
}

impl<J: JudgesKms> std::fmt::Debug for Anchors<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { mount, ends, .. } = self;
        f.debug_struct("Anchors").field("mount", mount).field("ends", ends).finish_non_exhaustive()
    }
}

impl<J: JudgesKms> Anchors<J> {
    /// For the disk of this mount, which `commit` writes.
    pub fn new(
        kms: Arc<KmsClient<J>>,
        reports: Reports,
        commit: impl Fn() -> io::Result<u64> + Send + Sync + 'static,
        mount: Mount,
        ends: Ends,
    ) -> Self {
        Self {
            kms,
            reports,
            commit: Arc::new(commit),
            mount,
            ends,
            waiting: Semaphore::new(MAX_WAITING),
            turn: Mutex::default(),
            nearly_used: Once::new(),
            release: RwLock::default(),
        }
    }

    /// The first anchor of this mount, before which nothing of the app may run; waits for a KMS
    /// that is away. A guest that ends with its release statement has one from then on.
    pub async fn first(&self) -> Result<u64, AnchorError> {
        let request = self.commit(false).await?;
        let (answer, asked): (AnchorResponse, _) =
            self.kms.wait_for_since(Phase::KeysReleased, METHOD, &request).await?;
        let stated = self.keep_release(&answer.release, asked)?;
        unless(stated || self.ends.statement.is_none(), || AnchorError::Unstated)?;
        confirmed(&request, &answer)
    }

    /// Makes an anchor and waits until the KMS confirmed it: what was written before is then safe
    /// from being undone. Where a later boot has the disk, this guest ends.
    pub async fn anchor(&self) -> Result<u64, AnchorError> {
        let _place = self.waiting.try_acquire().map_err(|_| AnchorError::Busy)?;
        self.anchor_in_turn(false).await
    }

    async fn anchor_in_turn(&self, last: bool) -> Result<u64, AnchorError> {
        let _turn = self.turn.lock().await;
        let request = self.commit(last).await?;
        let asked = Instant::now();
        let answer: Result<AnchorResponse, _> = self.kms.call(METHOD, &request).await;
        if let Err(error @ KmsError::Superseded(_)) = &answer {
            tracing::error!("{error}");
            self.reports.send(Phase::SystemReady, Refusal::Superseded);
        }
        let answer = answer?;
        self.keep_release(&answer.release, asked)?;
        confirmed(&request, &answer)
    }

    /// Text of the [`SignedRelease`] that came with the last anchor; none before this agent's
    /// first, or if the KMS would give this guest no keys any more.
    pub fn release(&self) -> Option<Arc<str>> {
        self.release.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What others are shown counts by its signatures; here its form alone is looked at, and how
    /// long it holds from the moment at which it was asked for. Gives whether there is one.
    fn keep_release(&self, text: &str, asked: Instant) -> Result<bool, AnchorError> {
        let release = match SignedRelease::parse(text.as_bytes()) {
            _ if text.is_empty() => None,
            Ok(release) => Some(release),
            Err(error) => {
                tracing::warn!("the KMS's release statement: {error}");
                None
            }
        };
        let kept = release.is_some().then(|| text.into());
        *self.release.write().unwrap_or_else(PoisonError::into_inner) = kept;
        let Some(holds) = release.as_ref().and_then(statement::holds) else { return Ok(false) };
        if let Some(statement) = &self.ends.statement {
            statement.renew(asked, holds)?;
        }
        Ok(true)
    }

    /// Makes anchors again and again, and says on the status channel when there is none for long;
    /// returns when that was longer than the measured file allows, with what the guest ends by.
    pub async fn keep(&self) -> Refusal {
        let (mut last, mut wait, mut late) = (Instant::now(), PERIOD, false);
        loop {
            let anchored = match self.next(last, wait).await {
                Ok(anchored) => anchored,
                Err(refusal) => {
                    tracing::error!("no anchor: {}", refusal.sentence());
                    return refusal;
                }
            };
            match anchored {
                Ok(generation) => {
                    tracing::debug!("anchored at generation {generation}");
                    (last, wait) = (Instant::now(), PERIOD);
                    if std::mem::take(&mut late) {
                        self.reports.send(Phase::SystemReady, Refusal::None);
                    }
                }
                Err(error) => {
                    tracing::warn!("no anchor: {error}");
                    wait = RETRY;
                    if !late && last.elapsed() > LATE_AFTER {
                        late = true;
                        self.reports.send(Phase::SystemReady, Refusal::AnchorLate);
                    }
                }
            }
        }
    }

    /// [`Self::anchor`] after a wait; once the guest must end, what it ends by.
    async fn next(
        &self,
        last: Instant,
        wait: Duration,
    ) -> Result<Result<u64, AnchorError>, Refusal> {
        let now = Instant::now();
        self.ends.check(last, now)?;
        let end = self.ends.first(last).filter(|end| *end > now);
        sleep_until(end.map_or(now + wait, |end| end.min(now + wait))).await;
        let Some(end) = self.ends.first(last) else { return Ok(self.anchor().await) };
        let anchored = match timeout_at(end, self.anchor()).await {
            Ok(Ok(generation)) => return Ok(Ok(generation)),
            Ok(Err(error)) => error,
            Err(late) => KmsError::Away(late.to_string()).into(),
        };
        self.ends.check(last, Instant::now()).map(|()| Err(anchored))
    }

    /// The anchor of a guest whose app has stopped, and does not start again.
    pub async fn last(&self, within: Duration) {
        if let Some(Err(error)) = self.ends.statement.as_ref().map(StatementEnd::over) {
            tracing::error!("{error}");
            return;
        }
        match timeout(within, self.anchor_in_turn(true)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!("no last anchor: {error}"),
            Err(_) => tracing::warn!("no last anchor within {} s", within.as_secs()),
        }
    }

    /// A generation that holds everything written before, and is on the disk.
    async fn commit(&self, last: bool) -> Result<AnchorRequest, AnchorError> {
        let commit = Arc::clone(&self.commit);
        let committed = tokio::task::spawn_blocking(move || commit());
        let generation = committed.await??;
        let Mount { open_counter, epoch } = self.mount;
        unless(generation >> GENERATION_BITS == open_counter, || AnchorError::Window {
            generation,
            open_counter,
        })?;
        if is_nearly_used(generation) {
            self.nearly_used
                .call_once(|| self.reports.send(Phase::SystemReady, Refusal::GenerationsUsed));
        }
        Ok(AnchorRequest { open_counter, generation, epoch, last })
    }
}

/// Whether the mount has come so far that its guest should be started again, which gives it a new
/// open counter. At the end the kernel lets nothing be written any more.
fn is_nearly_used(generation: u64) -> bool {
    generation & ((1 << GENERATION_BITS) - 1) >= NEARLY_USED
}

fn confirmed(request: &AnchorRequest, answer: &AnchorResponse) -> Result<u64, AnchorError> {
    let (found, expected) = (answer.anchor, request.generation);
    unless(found >= expected, || AnchorError::Answer { found, expected })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;
    use std::path::Path;

    use protocol::status::Report;

    use super::*;
    use crate::kms_client::tests::{Say, Says, client, kms};

    /// The mount's number.
    const COUNTER: u64 = 7;
    /// What was committed last.
    const GENERATION: u64 = (COUNTER << GENERATION_BITS) + 3;

    fn mount(open_counter: u64) -> Mount {
        Mount { open_counter, epoch: 2 }
    }

    /// The disk of a guest whose KMS is at these addresses, and the file of its status reports.
    fn anchors(directory: &Path, urls: &[String], ends: Ends) -> (Anchors<Says>, File) {
        let (kms, file) = client(directory, urls, Ok(()));
        let reports = Reports::to_file(file.try_clone().unwrap());
        (Anchors::new(Arc::new(kms), reports, || Ok(GENERATION), mount(COUNTER), ends), file)
    }

    /// What init was told, in order.
    fn told(file: &File) -> Vec<Report> {
        let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let reports = bytes.chunks_exact(Report::BYTES).map(|report| report.try_into().unwrap());
        reports.map(|report| Report::from_bytes(report).unwrap()).collect()
    }

    #[tokio::test]
    async fn nothing_starts_while_the_first_anchor_is_withheld_though_the_disk_was_opened() {
        let directory = tempfile::tempdir().unwrap();
        let script = [Say::HangUp, Say::Status(503), Say::Anchor(GENERATION)];
        let (url, _) = kms(Ok(()), &script).await;
        let (anchors, file) = anchors(directory.path(), &[url], Ends::default());
        let mut first = std::pin::pin!(anchors.first());
        while told(&file).is_empty() {
            let waits = timeout(Duration::from_millis(20), first.as_mut()).await;
            assert!(waits.is_err(), "{waits:?}");
        }
        assert_eq!(first.await.unwrap(), GENERATION);
        assert_eq!(told(&file), [Report::new(Phase::KeysReleased, Refusal::KmsAway)]);
    }

    #[tokio::test]
    async fn of_two_live_clones_the_older_one_says_so_and_ends() {
        let directory = tempfile::tempdir().unwrap();
        let script = [Say::Anchor(GENERATION), Say::Status(protocol::kms::SUPERSEDED_STATUS)];
        let (url, _) = kms(Ok(()), &script).await;
        let (anchors, file) = anchors(directory.path(), &[url], Ends::default());
        assert_eq!(anchors.anchor().await.unwrap(), GENERATION);
        assert!(told(&file).is_empty());
        let refused = anchors.anchor().await;
        assert!(matches!(refused, Err(AnchorError::Kms(KmsError::Superseded(_)))), "{refused:?}");
        let [report] = told(&file)[..] else { panic!("one report") };
        assert_eq!(report.refusal, Refusal::Superseded);
        assert!(report.ends_the_guest());
    }

    #[tokio::test(start_paused = true)]
    async fn withheld_anchors_are_told_and_end_a_guest_whose_file_bounds_their_age() {
        let directory = tempfile::tempdir().unwrap();
        let (unbounded, file) = anchors(directory.path(), &[], Ends::default());
        let day = Duration::from_secs(24 * 3600);
        assert!(timeout(day, unbounded.keep()).await.is_err(), "the app goes on");
        let late = Report::new(Phase::SystemReady, Refusal::AnchorLate);
        assert_eq!((told(&file), late.ends_the_guest()), (vec![late], false));

        let directory = tempfile::tempdir().unwrap();
        let max_age = Duration::from_secs(900);
        let ends = Ends { max_age: Some(max_age), statement: None };
        let (bounded, file) = anchors(directory.path(), &[], ends);
        let begun = Instant::now();
        let refusal = timeout(day, bounded.keep()).await.expect("it ends");
        assert!(begun.elapsed() >= max_age && begun.elapsed() < max_age + RETRY);
        assert_eq!((refusal, told(&file)), (Refusal::AnchorTooOld, vec![late]));
        assert!(Report::new(Phase::SystemReady, refusal).ends_the_guest());
    }

    /// What ends a guest with its statement, of which this much is left.
    fn with_statement(left: Duration) -> (Ends, statement::tests::Kept) {
        let (end, kept) = statement::tests::end(left);
        (Ends { max_age: None, statement: Some(end) }, kept)
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_that_ends_with_its_statement_does_so_in_time_where_the_kms_is_away() {
        let left = Duration::from_secs(3600);
        for (max_age, expected) in [
            (None, Refusal::StatementEnded),
            (Some(Duration::from_secs(900)), Refusal::AnchorTooOld),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let (ends, _) = with_statement(left);
            let (anchors, _) = anchors(directory.path(), &[], Ends { max_age, ..ends });
            let begun = Instant::now();
            let ended = timeout(2 * left, anchors.keep()).await;
            assert_eq!(ended, Ok(expected));
            assert!(begun.elapsed() <= left - Duration::from_secs(90), "the guest must be gone");
            assert!(begun.elapsed() >= max_age.unwrap_or(left - Duration::from_secs(120)));
        }
        // One that was started again while nothing was left ends at once.
        let directory = tempfile::tempdir().unwrap();
        let (ends, _) = with_statement(Duration::ZERO);
        let (anchors, _) = anchors(directory.path(), &[], ends);
        let begun = Instant::now();
        assert_eq!(timeout(left, anchors.keep()).await, Ok(Refusal::StatementEnded));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(Report::new(Phase::SystemReady, Refusal::StatementEnded).ends_the_guest());
    }

    #[tokio::test]
    async fn a_guest_that_ends_with_its_statement_starts_with_one_and_keeps_how_long_it_holds() {
        let released = |secs| Say::Released(GENERATION, statement::tests::release(secs).leak());
        let directory = tempfile::tempdir().unwrap();
        let (url, _) = kms(Ok(()), &[Say::Anchor(GENERATION)]).await;
        let (ends, kept) = with_statement(Duration::ZERO);
        let (none, _) = anchors(directory.path(), &[url], ends);
        assert!(matches!(none.first().await, Err(AnchorError::Unstated)));
        assert!(kept.lock().unwrap().is_empty());

        let directory = tempfile::tempdir().unwrap();
        let script =
            [released(600), Say::Anchor(GENERATION), released(3600), Say::Anchor(GENERATION)];
        let (url, _) = kms(Ok(()), &script).await;
        let (ends, kept) = with_statement(Duration::ZERO);
        let (anchors, _) = anchors(directory.path(), &[url], ends);
        anchors.first().await.unwrap();
        let end = anchors.ends.first(Instant::now()).unwrap();
        // An anchor without a statement renews nothing, and ends nothing.
        anchors.anchor().await.unwrap();
        assert_eq!(anchors.ends.first(Instant::now()).unwrap(), end);
        anchors.anchor().await.unwrap();
        let later = anchors.ends.first(Instant::now()).unwrap();
        assert!(later > end + Duration::from_secs(2900), "{:?}", later - end);
        anchors.last(LAST_OF_ITSELF_WITHIN).await;
        assert!(anchors.ends.first(Instant::now()).unwrap() <= Instant::now());
        let kept: Vec<_> = kept.lock().unwrap().iter().map(Duration::as_secs_f32).collect();
        let [first, renewed, over] = kept[..] else { panic!("{kept:?}") };
        assert!(first > 590.0 && first <= 600.0 && renewed > 3590.0 && over == 0.0, "{kept:?}");
    }

    #[tokio::test]
    async fn the_release_statement_of_the_last_anchor_is_kept_and_nothing_else_is() {
        const FORM: &str = concat!(
            r#"{"cluster":{"name":"a","owners":[],"threshold":1},"#,
            r#""root":"","statement":""}"#
        );
        let directory = tempfile::tempdir().unwrap();
        let script = [
            Say::Anchor(GENERATION),
            Say::Released(GENERATION, FORM),
            // On the connection that there is, and on another one.
            Say::Status(503),
            Say::Status(503),
            Say::Released(GENERATION, "{}"),
        ];
        let (url, _) = kms(Ok(()), &script).await;
        let (anchors, _) = anchors(directory.path(), &[url], Ends::default());
        assert_eq!(anchors.release(), None);
        anchors.first().await.unwrap();
        assert_eq!(anchors.release(), None);
        anchors.anchor().await.unwrap();
        assert_eq!(anchors.release().as_deref(), Some(FORM));
        // While the KMS is away, the last one holds until it ends.
        assert!(anchors.anchor().await.is_err());
        assert_eq!(anchors.release().as_deref(), Some(FORM));
        anchors.anchor().await.unwrap();
        assert_eq!(anchors.release(), None);
    }

    #[tokio::test]
    async fn a_generation_of_another_mount_is_not_told() {
        let directory = tempfile::tempdir().unwrap();
        let (url, opened) = kms(Ok(()), &[]).await;
        let (kms, file) = client(directory.path(), &[url], Ok(()));
        let reports = Reports::to_file(file);
        let anchors = Anchors::new(
            Arc::new(kms),
            reports,
            || Ok(GENERATION),
            mount(COUNTER + 1),
            Ends::default(),
        );
        assert!(matches!(anchors.anchor().await, Err(AnchorError::Window { .. })));
        assert_eq!(opened.load(std::sync::atomic::Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn every_anchor_says_under_which_epoch_the_disk_is() {
        let directory = tempfile::tempdir().unwrap();
        let (anchors, _) = anchors(directory.path(), &[], Ends::default());
        let request = anchors.commit(false).await.unwrap();
        let (open_counter, generation) = (COUNTER, GENERATION);
        let expected = AnchorRequest { open_counter, generation, epoch: 2, last: false };
        assert_eq!(request, expected);
    }

    #[test]
    fn the_last_eighth_of_the_generations_is_told() {
        let counter = 5 << GENERATION_BITS;
        let eighth = 1 << (GENERATION_BITS - 3);
        assert!(!is_nearly_used(counter) && !is_nearly_used(counter + 7 * eighth - 1));
        assert!(is_nearly_used(counter + 7 * eighth) && is_nearly_used(counter + 8 * eighth - 1));
    }

    #[test]
    fn an_answer_counts_only_if_it_keeps_what_was_told() {
        let request = AnchorRequest { open_counter: 1, generation: 10, epoch: 0, last: false };
        let answer =
            |anchor| confirmed(&request, &AnchorResponse { anchor, ..AnchorResponse::default() });
        assert_eq!(answer(10).unwrap(), 10);
        assert_eq!(answer(11).unwrap(), 11);
        assert!(matches!(answer(9), Err(AnchorError::Answer { found: 9, expected: 10 })));
    }
}
