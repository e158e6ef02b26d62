//! Promise: a mismatch is explained by its true cause, and none by a false one.
//!
//! Every fault is one edit of a launch, and says which causes it has in which register. A launch
//! with two faults must be explained by both, or by nothing; never by one of them alone or by
//! something else.

mod faults;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use protocol::digest::{Rtmr, Sha384Digest};
use protocol::event_log::RuntimeEvent;

use faults::{Fault, faults, rewritten};

use super::*;
use crate::authenticode::tests::pe;
use crate::command_line::CommandLine;
use crate::facts::ImageFiles;
use crate::layout::FirmwareLayout;
use crate::tdvf::tests::{Numbers, SECTIONS, firmware};
use crate::{AcpiBlobs, PageOrder, QemuProfile, predict_each};

/// Seeds of the samples: the same launches in every run.
const SEED: u64 = 0x6578_706c;

/// The files of a small image.
struct Files {
    firmware: Vec<u8>,
    kernel: Vec<u8>,
    initrd: Vec<u8>,
    cmdline: &'static str,
}

impl Files {
    /// `change` makes its kernel and initrd another's.
    fn new(change: u8, cmdline: &'static str) -> Self {
        let mut kernel = pe();
        kernel[0x202..0x208].copy_from_slice(b"HdrS\x0f\x02");
        kernel[0x211] = 1;
        kernel[0x236] = 2;
        kernel[0x700] = change;
        let measured: [Numbers; 2] =
            [(0, 0x2000, 0xffff_e000, 0x2000, 0, 1), (0, 0x1000, 0xffc0_0000, 0x1000, 1, 0)];
        Self {
            firmware: firmware(&[&measured, &SECTIONS[2..]].concat()),
            kernel,
            initrd: vec![change; 4096],
            cmdline,
        }
    }

    fn facts(&self) -> ImageFacts<'_> {
        let Self { firmware, kernel, initrd, cmdline } = self;
        let layout = Some(FirmwareLayout::Edk2_2025_02);
        ImageFacts::from_files(&ImageFiles { firmware, layout, kernel, initrd, cmdline }).unwrap()
    }
}

/// What is started, edited by faults.
#[derive(Clone)]
struct Launch<'a> {
    image: ImageFacts<'a>,
    dev: ImageFacts<'a>,
    shape: Shape,
    order: Option<PageOrder>,
    rewritten: Option<bool>,
    edits: Vec<fn(&mut Vec<Event>)>,
}

impl<'a> Launch<'a> {
    fn honest(own: &'a Files, dev: &'a Files) -> Self {
        let shape = Shape {
            vcpus: 2,
            memory_mib: 2048,
            root_slots: 4,
            serial_ports: 1,
            qemu_version: "11.1.3".into(),
            pci_hotplug: true,
        };
        Self {
            image: own.facts(),
            dev: dev.facts(),
            shape,
            order: None,
            rewritten: None,
            edits: Vec::new(),
        }
    }

    /// What is known of the evidence of another launch, if this one is expected.
    fn known<'b>(&'b self, log: &'b [Logged]) -> Known<'b> {
        let (image, stated) = (&self.image, &self.shape);
        Known { image, stated, stated_by: StatedBy::PERSON, claimed: None, others: &[], log }
    }

    /// What a quote and a log of this launch say.
    fn measured(&self) -> (FoundRegisters, Vec<Logged>) {
        let each = predict_each(&self.image, &self.shape);
        let profile = QemuProfile::for_version(&self.shape.qemu_version).unwrap();
        let rewritten = self.rewritten.unwrap_or(profile.kernel_header_patched);
        let kernel =
            crate::predict::kernel_digest(&self.image, self.shape.memory_mib, rewritten).unwrap();
        let mut events = [each.rtmr0.unwrap(), crate::rtmr1::events(kernel), each.rtmr2].concat();
        self.edits.iter().for_each(|edit| edit(&mut events));
        let rtmr = |register| replay(register, &events);
        let found = FoundRegisters {
            mrtd: self.image.mrtd(self.order.unwrap_or(profile.page_order)),
            rtmrs: [rtmr(Register::Rtmr0), rtmr(Register::Rtmr1), rtmr(Register::Rtmr2)],
        };
        let logged =
            events.iter().map(|event| Logged { register: event.register, digest: event.digest });
        (found, logged.collect())
    }
}

fn texts(explanations: &Explanations) -> [Option<&Explanation>; 4] {
    let Explanations { mrtd, rtmr0, rtmr1, rtmr2 } = explanations;
    [mrtd.as_ref(), rtmr0.as_ref(), rtmr1.as_ref(), rtmr2.as_ref()]
}

fn explained(known: &Known<'_>, found: &FoundRegisters) -> Explanations {
    explain(known, &predict_each(known.image, known.stated), found)
}

/// Makes a launch with these faults, explains it, and says what is wrong with the explanation.
fn judged(faults: &[&Fault], with_log: bool) -> Result<(), String> {
    let (own, dev) = (Files::new(1, "quiet"), Files::new(2, "console=ttyS0"));
    let honest = Launch::honest(&own, &dev);
    let mut launch = honest.clone();
    faults.iter().for_each(|fault| (fault.make)(&mut launch));
    let (found, log) = launch.measured();
    let others = [OtherImage { name: "the dev image".into(), facts: honest.dev.clone() }];
    let known = Known {
        image: &honest.image,
        stated: &honest.shape,
        stated_by: StatedBy::PERSON,
        claimed: None,
        others: &others,
        log: if with_log { &log } else { &[] },
    };
    let explanations = explained(&known, &found);
    for (index, explanation) in texts(&explanations).into_iter().enumerate() {
        let truth: Vec<String> = faults
            .iter()
            .filter(|fault| !fault.says[index].is_empty())
            .map(|fault| rewritten(fault.says[index], launch.shape.memory_mib))
            .collect();
        let tellable = with_log || faults.iter().all(|fault| fault.told_without_log);
        compare(index, explanation, &truth, faults.len() == 1 && tellable)?;
    }
    Ok(())
}

/// `sure`: the true cause must be named, not only no false one.
fn compare(
    index: usize,
    explanation: Option<&Explanation>,
    truth: &[String],
    sure: bool,
) -> Result<(), String> {
    let wrong = |what: &str| {
        Err(format!("register {index}: {what}: {truth:?} explained as {explanation:?}"))
    };
    let Some(explanation) = explanation else {
        return if truth.is_empty() { Ok(()) } else { wrong("not noticed") };
    };
    let named: Vec<String> = explanation.causes().iter().map(ToString::to_string).collect();
    if named.is_empty() {
        return if sure || truth.is_empty() { wrong("not explained") } else { Ok(()) };
    }
    if explanation.causes().contains(&Cause::UnknownTables) {
        // It leaves open what differs, and says so; nothing else may be named that is not true.
        let hedge = Cause::UnknownTables.to_string();
        let true_besides = named.iter().all(|cause| *cause == hedge || truth.contains(cause));
        return if true_besides && truth.len() > 1 && !sure {
            Ok(())
        } else {
            wrong("a false or vague cause")
        };
    }
    let all = named.len() == truth.len() && truth.iter().all(|cause| named.contains(cause));
    if all { Ok(()) } else { wrong("a false or partial cause") }
}

fn assert_all(cases: impl IntoIterator<Item = (String, Result<(), String>)>) {
    let wrong: Vec<String> = cases
        .into_iter()
        .filter_map(|(name, result)| Some(format!("{name}: {}", result.err()?)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_single_fault_is_explained_by_its_true_cause() {
    let faults = faults();
    assert!(faults.len() >= 20, "{} faults", faults.len());
    let cases = faults.iter().flat_map(|fault| {
        [true, false].map(|with_log| {
            (format!("{} (log: {with_log})", fault.name), judged(&[fault], with_log))
        })
    });
    assert_all(cases);
}

/// Explains seeded pairs of faults.
fn assert_pairs(pairs: u32, with_log: bool) {
    let faults = faults();
    let config = Config {
        cases: pairs,
        rng_seed: RngSeed::Fixed(SEED),
        failure_persistence: None,
        ..Config::default()
    };
    let sample = TestRunner::new(config).run(&(0..faults.len(), 0..faults.len()), |(one, two)| {
        prop_assume!(faults[one].kind != faults[two].kind);
        let judged = judged(&[&faults[one], &faults[two]], with_log);
        judged.map_err(|what| {
            TestCaseError::fail(format!("{} and {}: {what}", faults[one].name, faults[two].name))
        })
    });
    sample.unwrap();
}

#[test]
fn with_a_log_two_faults_are_explained_by_both() {
    assert_pairs(64, true);
}

#[test]
fn without_a_log_no_two_faults_are_explained_by_a_false_cause() {
    assert_pairs(24, false);
}

#[test]
fn any_two_numbers_of_a_machine_are_named_both_where_there_is_a_log() {
    let (own, dev) = (Files::new(1, "quiet"), Files::new(2, ""));
    let honest = Launch::honest(&own, &dev);
    let numbers =
        (1..=300u32, 1..=64u64, 2..=12u32, 0..=2u32, 0..QemuProfile::ALL.len(), any::<[bool; 6]>());
    let config = Config {
        cases: 32,
        rng_seed: RngSeed::Fixed(SEED),
        failure_persistence: None,
        ..Config::default()
    };
    let sample = TestRunner::new(config).run(
        &numbers,
        |(vcpus, gib, root_slots, serial_ports, family, pick)| {
            let mut launch = honest.clone();
            let shape = &mut launch.shape;
            let faults: [&dyn Fn(&mut Shape); 6] = [
                &|shape| shape.vcpus = vcpus,
                &|shape| shape.memory_mib = gib << 10,
                &|shape| shape.root_slots = root_slots,
                &|shape| shape.serial_ports = serial_ports,
                &|shape| shape.qemu_version = QemuProfile::ALL[family].family.to_owned(),
                &|shape| shape.pci_hotplug = false,
            ];
            faults
                .iter()
                .zip(pick)
                .filter(|(_, pick)| *pick)
                .take(2)
                .for_each(|(fault, _)| fault(shape));
            let (found, log) = launch.measured();
            let claims = launch.shape.clone();
            let known = Known {
                image: &honest.image,
                stated: &honest.shape,
                stated_by: StatedBy::PERSON,
                claimed: Some(&claims),
                others: &[],
                log: &log,
            };
            if let Some(explanation) = explained(&known, &found).rtmr0 {
                let mut named = honest.shape.clone();
                let families = apply(explanation.causes(), &mut named);
                let unnamed = Shape { qemu_version: launch.shape.qemu_version.clone(), ..named };
                prop_assert_eq!(&unnamed, &launch.shape, "{}", explanation);
                let alike = families_alike(&launch.shape);
                let of_stated = alike.contains(&"11.1");
                prop_assert_eq!(families, (!of_stated).then_some(alike), "{}", explanation);
            }
            Ok(())
        },
    );
    sample.unwrap();
}

/// Families that make the tables of this machine.
fn families_alike(shape: &Shape) -> Vec<&'static str> {
    let tables = |family: &str| {
        AcpiBlobs::for_shape(&Shape { qemu_version: family.to_owned(), ..shape.clone() })
    };
    let families = QemuProfile::ALL.iter().map(|profile| profile.family);
    families.filter(|family| tables(family) == tables(&shape.qemu_version)).collect()
}

/// The machine that causes describe, and the families of QEMU that they name.
fn apply(causes: &[Cause], shape: &mut Shape) -> Option<Vec<&'static str>> {
    let mut named = None;
    for cause in causes {
        match cause {
            Cause::Shape { field: Field::Vcpus, found, .. } => shape.vcpus = *found as u32,
            Cause::Shape { field: Field::MemoryMib, found, .. } => shape.memory_mib = *found,
            Cause::Shape { field: Field::RootSlots, found, .. } => shape.root_slots = *found as u32,
            Cause::Shape { field: Field::SerialPorts, found, .. } => {
                shape.serial_ports = *found as u32
            }
            Cause::Shape { field: Field::PciHotplug, found, .. } => shape.pci_hotplug = *found == 1,
            Cause::Qemu { families, .. } => named = Some(families.clone()),
            other => panic!("{other}"),
        }
    }
    named
}

#[test]
fn versions_that_make_the_same_tables_of_a_machine_are_all_named() {
    let (own, dev) = (Files::new(1, "quiet"), Files::new(2, ""));
    let mut honest = Launch::honest(&own, &dev);
    honest.shape.serial_ports = 0;
    honest.shape.qemu_version = "10.2.1".into();
    let mut launch = honest.clone();
    launch.shape.qemu_version = "11.0.2".into();
    let (found, log) = launch.measured();
    for log in [&log[..], &[]] {
        let text = explained(&honest.known(log), &found).rtmr0.unwrap().to_string();
        assert_eq!(text, "it is that of QEMU 11.0 or 11.1; you stated 10.2.1");
    }
}

#[test]
fn hand_off_tables_are_proposed_only_by_a_log_that_replays() {
    let (own, dev) = (Files::new(1, "quiet"), Files::new(2, ""));
    let mut honest = Launch::honest(&own, &dev);
    honest.image.firmware.layout = FirmwareLayout::Edk2_2025_05.name().into();
    let mut launch = honest.clone();
    let tables = Sha384Digest::of(b"SMBIOS");
    launch.image.handoff_tables = Some(tables);
    let (found, log) = launch.measured();
    let [rtmr0, ..] = found.rtmrs;
    assert_eq!(logged_handoff_tables(&honest.known(&log), rtmr0), Some(tables));

    let mut forged = log.clone();
    forged[rtmr0::HANDOFF_TABLES].digest = Sha384Digest::of(b"forged");
    assert_eq!(logged_handoff_tables(&honest.known(&forged), rtmr0), None);
    let mut longer = log.clone();
    longer.push(log[0]);
    assert_eq!(logged_handoff_tables(&honest.known(&longer), replayed(&longer)), None);
    launch.shape.vcpus = 3;
    let (found, log) = launch.measured();
    assert_eq!(logged_handoff_tables(&honest.known(&log), found.rtmrs[0]), None);
}

#[test]
fn a_log_of_a_thousand_events_proposes_nothing_at_once() {
    let (own, dev) = (Files::new(1, "quiet"), Files::new(2, ""));
    let mut honest = Launch::honest(&own, &dev);
    honest.image.firmware.layout = FirmwareLayout::Edk2_2025_05.name().into();
    let digest = |index: u32| Sha384Digest::of(&index.to_le_bytes());
    let log: Vec<_> = (0..1024)
        .map(|index| Logged { register: Register::Rtmr0, digest: digest(index) })
        .collect();
    let start = std::time::Instant::now();
    assert_eq!(logged_handoff_tables(&honest.known(&log), replayed(&log)), None);
    assert!(start.elapsed().as_secs() < 2, "{:?}", start.elapsed());
}

/// The RTMR0 of a log.
fn replayed(log: &[Logged]) -> Rtmr {
    Rtmr::replay(
        log.iter().filter(|logged| logged.register == Register::Rtmr0).map(|logged| &logged.digest),
    )
}

#[test]
fn a_memory_that_rewrites_the_kernel_as_others_do_is_not_named_alone() {
    for (mib, named) in [
        (512, "512 MiB"),
        (2048, "2048 MiB, or 2816 MiB and more"),
        (2560, "2560 MiB"),
        (2816, "2048 MiB, or 2816 MiB and more"),
        (65536, "2048 MiB, or 2816 MiB and more"),
    ] {
        let text = Cause::KernelHeader { rewritten_for_mib: Some(mib) }.to_string();
        assert_eq!(
            text,
            format!("a kernel whose header QEMU before 10.2 rewrote for memory of {named}")
        );
    }
}

#[test]
fn a_log_that_does_not_replay_explains_nothing() {
    let (own, dev) = (Files::new(1, "quiet"), Files::new(2, ""));
    let honest = Launch::honest(&own, &dev);
    let mut launch = honest.clone();
    launch.edits.push(|events| events[3].digest = Sha384Digest::of(b"unlogged"));
    let (found, _) = launch.measured();
    let (_, log_of_four) = {
        let mut other = honest.clone();
        other.shape.vcpus = 4;
        other.measured()
    };
    let known = Known {
        image: &honest.image,
        stated: &honest.shape,
        stated_by: StatedBy::PERSON,
        claimed: None,
        others: &[],
        log: &log_of_four,
    };
    let explanation = explained(&known, &found).rtmr0.unwrap();
    assert!(
        matches!(explanation, Explanation::Unknown { log_does_not_replay: true, .. }),
        "{explanation}"
    );
    assert!(
        explanation.to_string().contains("more than one cause, or another one"),
        "{explanation}"
    );
}

#[test]
fn a_firmware_of_another_layout_is_told_by_its_log() {
    let (own, dev) = (Files::new(1, "quiet"), Files::new(2, ""));
    let honest = Launch::honest(&own, &dev);
    let mut launch = honest.clone();
    launch.image.firmware.layout = FirmwareLayout::Edk2_2025_05.name().into();
    launch.image.handoff_tables = Some(Sha384Digest::of(b"SMBIOS"));
    launch.shape.vcpus = 8;
    let (found, log) = launch.measured();
    let known = Known {
        image: &honest.image,
        stated: &honest.shape,
        stated_by: StatedBy::PERSON,
        claimed: None,
        others: &[],
        log: &log,
    };
    let text = explained(&known, &found).rtmr0.unwrap().to_string();
    assert_eq!(
        text,
        "more than one cause: 8 vCPUs; you stated 2; and a firmware of layout edk2-2025.05, not edk2-2025.02; \
         and hand-off tables that are not computed"
    );
}

#[test]
fn a_real_guest_is_explained_whatever_was_stated_of_it() {
    let image = crate::real_evidence::image_of_a_real_guest();
    let (found, log, real) = crate::real_evidence::registers_of_a_real_guest();
    type Statement = fn(&mut Shape);
    let cases: [(Statement, &str); 4] = [
        (|shape| shape.vcpus = 4, "it is that of 2 vCPUs; you stated 4"),
        (|shape| shape.memory_mib = 8192, "it is that of 2048 MiB of memory; you stated 8192"),
        (|shape| shape.root_slots = 5, "it is that of 6 root slots; you stated 5"),
        (|shape| shape.qemu_version = "9.1.0".into(), "it is that of QEMU 8.2; you stated 9.1.0"),
    ];
    for (state, expected) in cases {
        let mut stated = real.clone();
        state(&mut stated);
        for log in [&log[..], &[]] {
            let known = Known {
                image: &image,
                stated: &stated,
                stated_by: StatedBy::PERSON,
                claimed: None,
                others: &[],
                log,
            };
            assert_eq!(
                explained(&known, &found).rtmr0.unwrap().to_string(),
                expected,
                "{} events",
                log.len()
            );
        }
    }
}

#[test]
fn a_log_of_the_guests_own_events_is_explained_too() {
    let names = ["system-preparing", "app-id", "os-image-hash", "system-ready"];
    let log: Vec<RuntimeEvent> =
        names.iter().map(|name| RuntimeEvent::new(*name, *b"payload")).collect();
    let digests: Vec<_> = log.iter().map(RuntimeEvent::digest).collect();
    assert_eq!(explain_runtime(&log, Rtmr::replay(&digests)), None);

    let twice = [&digests[..3], &digests[2..]].concat();
    let text =
        |found: &[Sha384Digest]| explain_runtime(&log, Rtmr::replay(found)).unwrap().to_string();
    assert_eq!(text(&twice), "event 3 measures os-image-hash a second time");
    assert_eq!(text(&digests[..3]), "event 3 (system-ready) is missing");
    assert!(text(&[Sha384Digest::of(b"")]).starts_with("no single known cause"));

    let json =
        |name: &str| format!(r#"{{"name":"{name}","payload":"7061796c6f6164","type":134217729}}"#);
    let version_2: Vec<_> = names.map(|name| Sha384Digest::of(json(name).as_bytes())).to_vec();
    assert_eq!(
        text(&version_2),
        "it is that of these events, extended as dstack's event log version 2 does"
    );
}

#[test]
fn a_command_line_that_is_known_by_its_digest_alone_is_compared_all_the_same() {
    let (own, dev) = (Files::new(1, "quiet"), Files::new(2, "console=ttyS0"));
    let honest = Launch::honest(&own, &dev);
    let mut image = honest.image.clone();
    image.cmdline = CommandLine::Digest(crate::rtmr2::load_options(&image.cmdline));
    let (found, log) = honest.measured();
    let known = Known {
        image: &image,
        stated: &honest.shape,
        stated_by: StatedBy::PERSON,
        claimed: None,
        others: &[],
        log: &log,
    };
    assert_eq!(explained(&known, &found), Explanations::default());
}
