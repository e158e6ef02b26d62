//! MRTD, RTMR1 and RTMR2: whose firmware, kernel, command line and initrd they are those of.

use protocol::digest::{Mrtd, Rtmr, Sha384Digest};

use super::cause::{self, Cause, Explanation, Part};
use super::{Known, RegisterLog, alignment};
use crate::event::Event;
use crate::predict::kernel_digest;
use crate::profile::{PageOrder, QemuProfile};
use crate::{ImageFacts, rtmr1, rtmr2};

/// Memory sizes for which a kernel's header is rewritten, besides those that are known: each costs
/// a hash of the whole kernel. The first stands for 2,816 MiB and more too.
const REWRITTEN_FOR_MIB: [u64; 4] = [2048, 512, 1024, 1536];

/// Explains an MRTD.
pub(super) fn firmware(known: &Known<'_>, found: Mrtd) -> Explanation {
    let orders = [PageOrder::SinglePass, PageOrder::TwoPass];
    if let Some(order) = orders.into_iter().find(|order| known.image.mrtd(*order) == found) {
        return Explanation::Because(vec![Cause::PageOrder { found: order }]);
    }
    let mut others = known.others.iter();
    let other = others.find(|other| orders.iter().any(|order| other.facts.mrtd(*order) == found));
    match other {
        Some(other) => because_of(Part::Firmware, &other.name),
        None => unknown(orders.len() * (1 + known.others.len()), &NO_LOG),
    }
}

/// Explains an RTMR1 that is not that of `expected`, for a machine that has this much memory.
pub(super) fn kernel(
    known: &Known<'_>,
    expected: &[Event],
    log: &RegisterLog,
    found: Rtmr,
    memory_mib: u64,
) -> Explanation {
    let lists =
        kernels(known, memory_mib).into_iter().filter(|(_, digest)| *digest != expected[0].digest);
    choose(expected, lists.map(|(causes, digest)| (causes, rtmr1::events(digest))), log, found)
}

/// Kernels that may have been started instead, those of other images as the expected QEMU hands
/// them over first.
fn kernels(known: &Known<'_>, memory_mib: u64) -> Vec<(Vec<Cause>, Sha384Digest)> {
    let rewritten = QemuProfile::for_version(&known.stated.qemu_version)
        .is_ok_and(|qemu| qemu.kernel_header_patched);
    let header =
        |rewritten: bool, mib| Cause::KernelHeader { rewritten_for_mib: rewritten.then_some(mib) };
    let mut list = Vec::new();
    for other in known.others {
        let cause = Cause::OtherImage { part: Part::Kernel, name: other.name.clone() };
        let as_expected = kernel_digest(&other.facts, memory_mib, rewritten);
        list.extend(as_expected.ok().map(|digest| (vec![cause.clone()], digest)));
        let otherwise = kernel_digest(&other.facts, memory_mib, !rewritten);
        list.extend(
            otherwise.ok().map(|digest| (vec![cause, header(!rewritten, memory_mib)], digest)),
        );
    }
    let as_file = kernel_digest(known.image, memory_mib, false);
    list.extend(as_file.ok().map(|digest| (vec![header(false, memory_mib)], digest)));
    let claimed = known.claimed.map(|shape| shape.memory_mib);
    for mib in [memory_mib].into_iter().chain(claimed).chain(REWRITTEN_FOR_MIB) {
        let digest = kernel_digest(known.image, mib, true);
        list.extend(digest.ok().map(|digest| (vec![header(true, mib)], digest)));
    }
    list
}

/// Explains an RTMR2 that is not that of `expected`.
pub(super) fn loaded(
    known: &Known<'_>,
    expected: &[Event],
    log: &RegisterLog,
    found: Rtmr,
) -> Explanation {
    let own = known.image;
    let of = |part, name: &str| vec![Cause::OtherImage { part, name: name.to_owned() }];
    let mixed = |cmdline: &ImageFacts<'_>, initrd: &ImageFacts<'_>| {
        rtmr2::events(&cmdline.cmdline, initrd.kernel.initrd_sha384)
    };
    let lists = known.others.iter().flat_map(|other| {
        let (name, facts) = (&other.name, &other.facts);
        [
            (of(Part::CommandLine, name), mixed(facts, own)),
            (of(Part::Initrd, name), mixed(own, facts)),
            (of(Part::CommandLineAndInitrd, name), mixed(facts, facts)),
        ]
    });
    choose(expected, lists, log, found)
}

/// With a log: the list that needs the fewest changes to become the log. Without: the list that
/// gives the value.
fn choose(
    expected: &[Event],
    lists: impl Iterator<Item = (Vec<Cause>, Vec<Event>)>,
    log: &RegisterLog,
    found: Rtmr,
) -> Explanation {
    let mut lists: Vec<_> = std::iter::once((Vec::new(), expected.to_vec())).chain(lists).collect();
    if log.replays {
        let causes = lists.drain(..).map(|(causes, events)| {
            let differing = alignment::differences(&events, &log.digests);
            causes.into_iter().chain(differing).collect::<Vec<_>>()
        });
        let fewest = causes.min_by_key(|causes| cause::weight(causes));
        return Explanation::Because(fewest.unwrap_or_default());
    }
    let tried = lists.len();
    let digests = |events: &[Event]| events.iter().map(|event| event.digest).collect::<Vec<_>>();
    let edits = alignment::single_edits(expected).map(|(cause, edited)| (vec![cause], edited));
    let whole = lists.into_iter().map(|(causes, events)| (causes, digests(&events)));
    match whole.chain(edits).find(|(_, events)| Rtmr::replay(events) == found) {
        Some((causes, _)) => Explanation::Because(causes),
        None => unknown(tried, log),
    }
}

const NO_LOG: RegisterLog = RegisterLog { digests: Vec::new(), replays: false };

fn because_of(part: Part, name: &str) -> Explanation {
    Explanation::Because(vec![Cause::OtherImage { part, name: name.to_owned() }])
}

fn unknown(tried: usize, log: &RegisterLog) -> Explanation {
    Explanation::Unknown { tried, log_does_not_replay: !log.digests.is_empty() && !log.replays }
}
