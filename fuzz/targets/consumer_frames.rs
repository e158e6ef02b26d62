//! What the process of a consumer says: a frame has one spelling and keeps its budgets; in whatever
//! order steps come, data is opened only after a yes about all of its Pads, and an output leaves
//! only after a yes about all of its bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pad_run::frames::{self, Frame, HEAD_BYTES, Reply, Request};
use pad_run::{Answer, Judge, MAX_OUTPUT_BYTES, Pad, Proposal, Run};
use zeroize::Zeroizing;

/// Pads that were submitted.
const PADS: u32 = 5;
/// Outputs that may be proposed.
const PROPOSALS: u32 = 3;

/// Says no to datasets with the first Pad, and keeps what it said yes to.
#[derive(Default)]
struct Judged {
    dataset: Option<Vec<Pad>>,
    datasets: usize,
    outputs: usize,
}

impl Judge for Judged {
    fn dataset(&mut self, pads: &[Pad]) -> Answer {
        self.datasets += 1;
        assert!(!pads.is_empty() && pads.len() <= PADS as usize);
        if pads.iter().any(|pad| pad.index() == 0) {
            return Answer::Refused;
        }
        self.dataset = Some(pads.to_vec());
        Answer::Allowed
    }

    fn output(&mut self, pads: &[Pad], proposal: Proposal, data: Zeroizing<Vec<u8>>) -> Answer {
        assert_eq!(self.dataset.as_deref(), Some(pads));
        assert_eq!(proposal.size_bytes, data.len() as u64);
        assert!(proposal.size_bytes <= MAX_OUTPUT_BYTES);
        self.outputs += 1;
        Answer::Allowed
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut run = Run::new(PADS, PROPOSALS).expect("few Pads");
    let mut judged = Judged::default();
    let mut rest = bytes;
    while let Some((request, behind)) = next::<Request>(rest) {
        rest = behind;
        // The largest outputs take memory that only the right size is worth.
        if matches!(&request, Request::Propose(proposal) if proposal.size_bytes > 1 << 20) {
            return;
        }
        if step(&mut run, request, &mut judged).is_none() {
            break;
        }
    }
    assert!(judged.datasets <= 1 && judged.outputs <= PROPOSALS as usize);
    next::<Reply>(bytes);
});

/// `None` once the run has ended.
fn step(run: &mut Run, request: Request, judged: &mut Judged) -> Option<()> {
    match request {
        Request::Add(pad) => run.add(pad).ok(),
        Request::Check => run.check(judged).ok().map(drop),
        Request::Describe(pad) => {
            let pad = run.describe(pad).ok()?;
            assert!(judged.dataset.as_ref().is_some_and(|pads| pads.contains(&pad)));
            Some(())
        }
        Request::Open => {
            let pads = run.open().ok()?;
            assert_eq!(judged.dataset.as_ref(), Some(&pads));
            Some(())
        }
        Request::Propose(proposal) => {
            assert!(proposal.is_bounded());
            run.propose(proposal, judged).ok().map(drop)
        }
        Request::Part(data) => run.part(&data, judged).ok().map(drop),
        Request::Ready => Some(()),
        Request::Ended(_) => None,
    }
}

/// The first frame, which is written as it was read, and what follows it.
fn next<F: Frame>(bytes: &[u8]) -> Option<(F, &[u8])> {
    let (head, behind) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let (body, behind) = behind.split_at_checked(frames::body_bytes::<F>(*head).ok()?)?;
    let frame = frames::decode::<F>(*head, body).ok()?;
    assert_eq!(&frames::encode(&frame)[..], &bytes[..HEAD_BYTES + body.len()]);
    Some((frame, behind))
}
