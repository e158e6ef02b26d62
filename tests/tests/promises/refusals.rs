//! Promise: whatever is changed, in a guest, in its machine or on the way, `dstyx verify` refuses
//! it by a row of its own.
//!
//! Each row of the table makes evidence as a guest would have given it that ran the changed thing,
//! signed by the emulator's library, and has the real program judge it against the built image. No
//! guest is booted; `boots.rs` shows that booted ones give such evidence.

use std::collections::BTreeSet;
use std::fs;

use measurement::ImageFacts;
use protocol::event_log::RuntimeEvent;
use protocol::image::Flavour;
use protocol::shape::Shape;
use protocol::{app_compose, event_name};
use tdx_emulator::lie::Lie;
use tdx_emulator::quote::QuoteVersion;
use tests::dstyx::{Answer, User, write_app};
use tests::lab;
use tests::scene::{COMPOSE, NAME, NONCE, NOW, Scene, event, flip_middle};

struct Case {
    name: &'static str,
    change: fn(&mut Scene),
    /// Rows that must fail, no others; the first one is the refusal.
    rows: &'static [&'static str],
}

const CASES: [Case; 19] = [
    Case {
        name: "one byte changed in the compose file",
        change: |scene| scene.compose = COMPOSE.replacen("abab", "abaa", 1),
        rows: &["compose-hash", "app-id"],
    },
    Case {
        name: "one byte changed in the kernel",
        change: |scene| flip_middle(&mut scene.kernel),
        rows: &["rtmr1"],
    },
    Case {
        name: "one byte changed in the initrd",
        change: |scene| flip_middle(&mut scene.initrd),
        rows: &["rtmr2"],
    },
    Case {
        name: "one byte changed in the command line",
        change: |scene| scene.cmdline = scene.cmdline.replacen("quiet", "quieu", 1),
        rows: &["rtmr2"],
    },
    Case {
        name: "one byte changed in the firmware's code",
        change: |scene| {
            let at = scene.firmware.len() - 0x1_0000;
            scene.firmware[at] ^= 1;
        },
        rows: &["mrtd"],
    },
    Case {
        name: "one byte changed in the firmware's configuration volume",
        change: |scene| scene.firmware[0x100] ^= 1,
        rows: &["rtmr0"],
    },
    Case { name: "other vCPUs", change: |scene| scene.shape.vcpus = 4, rows: &["rtmr0"] },
    Case { name: "less memory", change: |scene| scene.shape.memory_mib = 1024, rows: &["rtmr0"] },
    Case {
        name: "memory above 4 GiB",
        change: |scene| scene.shape.memory_mib = 8192,
        rows: &["rtmr0"],
    },
    Case {
        name: "one more root slot",
        change: |scene| scene.shape.root_slots = 6,
        rows: &["rtmr0"],
    },
    Case {
        name: "one event changed, its digest kept",
        change: |scene| {
            scene.edit = |log| event(log, event_name::KEY_PROVIDER).event_payload = "7b7d".into()
        },
        rows: &["event-payload"],
    },
    Case {
        name: "one event changed with its digest",
        change: |scene| {
            scene.edit = |log| {
                let other =
                    RuntimeEvent::new(event_name::KEY_PROVIDER, br#"{"name":"kms","id":""}"#);
                *event(log, event_name::KEY_PROVIDER) = other.to_raw();
            };
        },
        rows: &["rtmr3"],
    },
    Case {
        name: "one event dropped",
        change: |scene| {
            scene.edit = |log| log.retain(|event| event.event != event_name::BOOT_MR_DONE)
        },
        rows: &["event-missing", "rtmr3"],
    },
    Case {
        name: "one event moved",
        change: |scene| scene.edit = |log| swap_ids(log),
        rows: &["event-order", "rtmr3"],
    },
    Case {
        name: "one event repeated",
        change: |scene| {
            scene.edit = |log| {
                let at = log.iter().position(|event| event.event == event_name::APP_ID).unwrap();
                log.insert(at, log[at].clone());
            };
        },
        rows: &["event-repeated", "rtmr3"],
    },
    Case {
        name: "flipped signature",
        change: |scene| scene.lie = Some(Lie::FlipSignature),
        rows: &["quote-signature"],
    },
    Case {
        name: "other report data",
        change: |scene| scene.lie = Some(Lie::OtherReportData),
        rows: &["report-data"],
    },
    Case { name: "DEBUG", change: |scene| scene.lie = Some(Lie::Debug), rows: &["debug"] },
    Case {
        name: "expired collateral",
        change: |scene| scene.lie = Some(Lie::ExpiredCollateral),
        rows: &["tcb-info-current", "qe-identity-current"],
    },
];

#[test]
fn a_command_line_that_is_none_is_not_a_skipped_check() {
    for arguments in [vec!["verify"], vec!["verify", "--frob"], vec!["frob"]] {
        assert_eq!(User::default().dstyx(&arguments).code, 3, "{arguments:?}");
    }
    assert_eq!(User::default().dstyx(["verify", "--help"]).code, 0);
}

#[test]
fn honest_evidence_passes_in_every_layout_of_quotes() {
    let mut scene = honest();
    for version in [QuoteVersion::V4, QuoteVersion::V5, QuoteVersion::V5Extended] {
        scene.version = version;
        judged(&scene, &scene.shape).passes();
    }
}

#[test]
fn every_change_is_refused_by_its_own_rows_and_words() {
    let honest = honest();
    let mut refusals = BTreeSet::new();
    let mut wrong = Vec::new();
    for case in &CASES {
        let mut scene = honest.clone();
        (case.change)(&mut scene);
        let answer = judged(&scene, &honest.shape);
        let rows = answer.failed();
        if (answer.code, rows.as_slice()) != (1, case.rows) {
            wrong.push(format!(
                "{}: exit {}, rows {rows:?}, expected {:?}",
                case.name, answer.code, case.rows
            ));
            continue;
        }
        println!("{:55} {:20} {}", case.name, rows[0], answer.hint(rows[0]));
        refusals.insert((rows[0].to_owned(), answer.hint(rows[0]).to_owned()));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(
        refusals.len(),
        CASES.len(),
        "two changes are refused in the same words: {refusals:#?}"
    );
}

#[test]
fn a_log_that_repeated_or_moved_an_event_is_told_which() {
    for (name, words) in
        [("one event moved", "in another order"), ("one event repeated", event_name::APP_ID)]
    {
        let honest = honest();
        let mut scene = honest.clone();
        let case = CASES.iter().find(|case| case.name == name).unwrap();
        (case.change)(&mut scene);
        let answer = judged(&scene, &honest.shape);
        println!("{name}: {}", answer.hint("rtmr3"));
        assert!(answer.hint("rtmr3").contains(words), "{name}: {}", answer.hint("rtmr3"));
    }
}

#[test]
fn a_changed_app_is_told_by_its_key_if_the_guest_publishes_it() {
    let mut scene = honest();
    let changes = [
        ("abab", "abaa", r#"docker_compose_file, line 3: "image: "#),
        ("services", "name: x\nservices", "line 1"),
    ];
    for (from, to, words) in changes {
        scene.compose = COMPOSE.replacen(from, to, 1);
        let told = |published| {
            let scene = Scene { published, ..scene.clone() };
            judged(&scene, &scene.shape).hint("compose-hash").to_owned()
        };
        let (published, kept) = (told(true), told(false));
        assert!(published.contains(words), "{published}");
        assert!(kept.contains("does not publish"), "{kept}");
    }
}

/// The hints of RTMR2 come from the firmware's log: they name the part.
#[test]
fn a_changed_initrd_is_told_from_a_changed_command_line() {
    let hint = |change: fn(&mut Scene)| {
        let honest = honest();
        let mut scene = honest.clone();
        change(&mut scene);
        judged(&scene, &honest.shape).hint("rtmr2").to_owned()
    };
    assert!(hint(|scene| flip_middle(&mut scene.initrd)).contains("initrd"));
    assert!(hint(|scene| scene.cmdline.push_str(" debug")).contains("cmdline"));
}

/// Any byte of any artefact, not only those of the table: some register moves.
#[test]
fn a_changed_byte_anywhere_moves_a_register() {
    let honest = honest();
    let expected = honest.prediction().registers;
    let samples = if lab::long() { 128 } else { 4 };
    let parts: [fn(&mut Scene) -> &mut Vec<u8>; 3] =
        [|scene| &mut scene.firmware, |scene| &mut scene.kernel, |scene| &mut scene.initrd];
    for part in parts {
        let length = part(&mut honest.clone()).len();
        for sample in 0..samples {
            let mut scene = honest.clone();
            // Spread over the file by the golden ratio: the same on every machine, near no
            // boundary.
            let at = (length as u64).wrapping_mul(sample).wrapping_mul(618_033_989) / 1_000_000_000
                % length as u64;
            part(&mut scene)[usize::try_from(at).unwrap()] ^= 0x10;
            let files = scene.files();
            let facts = ImageFacts::from_files(&files);
            let moved = facts.is_ok_and(|facts| {
                let registers =
                    measurement::predict_registers(&facts, &scene.shape).unwrap().registers;
                registers != expected
            });
            // A file that no longer parses as what it was has no prediction at all, which is
            // refusal enough.
            assert!(
                moved || ImageFacts::from_files(&files).is_err(),
                "byte {at} of {length} is not measured"
            );
        }
    }
}

fn honest() -> Scene {
    Scene::of_image(&lab::image(Flavour::Dev))
}

/// The real program's judgement against the built image, the unchanged app and the stated shape.
fn judged(scene: &Scene, stated: &Shape) -> Answer {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let image = lab::image(Flavour::Dev);
    let hash = lab::manifest(&image).os_image_hash();
    fs::write(file("evidence.json"), scene.evidence(hash).to_json()).unwrap();
    fs::write(file("collateral.json"), scene.collateral_json()).unwrap();
    write_app(directory.path(), COMPOSE, &app_compose::generate(NAME, COMPOSE).unwrap());
    let numbers =
        [stated.vcpus.to_string(), stated.memory_mib.to_string(), stated.root_slots.to_string()];
    let paths =
        [file("evidence.json"), file("collateral.json"), image, directory.path().to_owned()];
    let [evidence, collateral, image, app] = paths.map(|path| path.display().to_string());
    let [vcpus, memory, slots] = numbers;
    User::default().dstyx([
        "verify",
        "--evidence",
        &evidence,
        "--collateral",
        &collateral,
        "--image",
        &image,
        "--app",
        &app,
        "--vcpus",
        &vcpus,
        "--memory",
        &memory,
        "--root-slots",
        &slots,
        "--nonce",
        &hex::encode(NONCE),
        "--danger-accept-emulated",
        "--at",
        NOW,
    ])
}

fn swap_ids(log: &mut [protocol::event_log::RawEvent]) {
    let at = log.iter().position(|event| event.event == event_name::APP_ID).unwrap();
    log.swap(at, at + 1);
}
