//! Rules of the policy that nobody has to have: each is kept by the honest platform, and broken by
//! one change.

use attestation::CheckName::*;
use attestation::policy::{
    AcceptedApp, AcceptedAttribute, ExpectedReportData, RequiredEvent, Stage, TdAttribute,
};
use protocol::digest::{self, OsImageHash};
use protocol::event_log::RuntimeEvent;
use protocol::event_name;
use tdx_emulator::lie::Lie;
use tdx_emulator::quote::platform::{FMSPC, pck_facts};
use tests::scene::now_secs;

use crate::case::{Case, IMAGE, Row, lie, row};

const DAY_SECS: u64 = 24 * 3600;
/// Of the emulator's current TCB level, 2026-02-11.
const TCB_DATE_SECS: u64 = 1_770_768_000;

pub fn rows() -> Vec<Row> {
    [platforms(), lists(), guests(), boots()].into_iter().flatten().collect()
}

// Long: a table, one row a case.
fn platforms() -> Vec<Row> {
    vec![
        Row {
            given: Some(|case| case.policy.platform.minimum_tcb_date_secs = Some(TCB_DATE_SECS)),
            ..row(
                "a TCB that is older than wanted",
                &[MinimumTcbDate],
                "2026-02-11T00:00:01Z or later",
                |case| {
                    case.policy.platform.minimum_tcb_date_secs = Some(TCB_DATE_SECS + 1);
                },
            )
        },
        Row {
            given: Some(|case| case.policy.platform.minimum_evaluation_number = Some(17)),
            ..row(
                "an evaluation number below the wanted one",
                &[EvaluationNumber],
                "18 or more",
                |case| {
                    case.policy.platform.minimum_evaluation_number = Some(18);
                },
            )
        },
        Row {
            given: Some(|case| {
                case.policy.platform.maximum_collateral_age_secs = Some(7 * DAY_SECS)
            }),
            ..row("collateral of last week", &[CollateralAge], "604800 s or less", |case| {
                case.now_secs += 8 * DAY_SECS;
            })
        },
        Row {
            given: Some(|case| case.policy.platform.fmspcs = Some(vec![[1; 6], FMSPC])),
            ..row(
                "a kind of CPU that is not listed",
                &[Fmspc],
                "expected 010101010101, found da96e4000000",
                |case| {
                    case.policy.platform.fmspcs = Some(vec![[1; 6]]);
                },
            )
        },
        row("an empty list of kinds of CPU", &[Fmspc], "refuses everybody", |case| {
            case.policy.platform.fmspcs = Some(Vec::new());
        }),
        Row {
            given: Some(|case| {
                case.policy.platform.platform_ids = Some(vec![pck_facts(None).platform_instance])
            }),
            ..lie!(OtherPlatformId, &[PlatformId], "only listed machines are believed")
        },
        row("an empty list of platforms", &[PlatformId], "the list is empty", |case| {
            case.policy.platform.platform_ids = Some(Vec::new());
        }),
        Row {
            given: Some(|case| {
                case.policy.td.accepted = vec![AcceptedAttribute {
                    attribute: TdAttribute::Pks,
                    until_secs: now_secs() + DAY_SECS,
                }];
                case.scene.lie = Some(Lie::Pks);
            }),
            ..row("PKS, tolerated until yesterday", &[Pks], "tolerate it until a date", |case| {
                case.now_secs += 2 * DAY_SECS;
            })
        },
    ]
}

fn lists() -> Vec<Row> {
    vec![
        Row {
            given: Some(|case| case.policy.images = Some(vec![OsImageHash([1; 32]), IMAGE])),
            ..row(
                "an image that is not listed",
                &[ImageList],
                "state an image that the policy lists",
                |case| {
                    case.policy.images = Some(vec![OsImageHash([1; 32])]);
                },
            )
        },
        row("an empty list of images", &[ImageList], "the list is empty", |case| {
            case.policy.images = Some(Vec::new())
        }),
        Row {
            given: Some(|case| case.policy.apps = Some(vec![AcceptedApp::of(app(case))])),
            ..row("an app that is not listed", &[AppList], "expected 0202", |case| {
                case.policy.apps = Some(vec![AcceptedApp::of(digest::ComposeHash([2; 32]))]);
            })
        },
        Row {
            given: Some(|case| case.policy.apps = Some(vec![AcceptedApp::of(app(case))])),
            ..row("a listed app under another id", &[AppList], "its hash and its id", |case| {
                let own = AcceptedApp::of(app(case));
                let app_id = digest::AppId([4; 20]);
                case.policy.apps = Some(vec![AcceptedApp { app_id, ..own }]);
            })
        },
        row("an empty list of apps", &[AppList], "the list is empty", |case| {
            case.policy.apps = Some(Vec::new())
        }),
        Row {
            given: Some(|case| {
                case.policy.apps = Some(vec![AcceptedApp::of(app(case))]);
                case.policy.app = None;
            }),
            ..row(
                "an app that is not listed where none is stated",
                &[ComposeHash, AppList],
                "expected 0303",
                |case| {
                    case.policy.apps = Some(vec![AcceptedApp::of(digest::ComposeHash([3; 32]))]);
                },
            )
        },
    ]
}

// Long: a table, one row a case.
fn guests() -> Vec<Row> {
    vec![
        row("an answer to another nonce", &[ReportData], "or long ago", |case| {
            case.policy.report_data = ExpectedReportData::Nonce([8; 32]);
        }),
        row("a quote for something else", &[ReportData], "made for something else", |case| {
            case.policy.report_data = ExpectedReportData::Exactly(digest::ReportData([9; 64]));
        }),
        Row {
            given: Some(|case| {
                require(case, event_name::KEY_PROVIDER, br#"{"name":"none","id":""}"#)
            }),
            ..row(
                "a required event with another payload",
                &[RequiredEvents],
                r#"{"name":"kms","id":""}"#,
                |case| {
                    require(case, event_name::KEY_PROVIDER, br#"{"name":"kms","id":""}"#);
                },
            )
        },
        row("a required event that is absent", &[RequiredEvents], "found absent", |case| {
            require(case, event_name::OS_IMAGE_HASH, &[1; 32]);
        }),
        Row {
            given: Some(|case| {
                case.scene.measured = |events| events.push(RuntimeEvent::new("mine", "1"));
                require(case, "mine", b"1");
            }),
            ..row(
                "a required event that occurs twice",
                &[RequiredEvents],
                "found 2 times",
                |case| {
                    case.scene.measured = |events| {
                        events.extend([
                            RuntimeEvent::new("mine", "1"),
                            RuntimeEvent::new("mine", "1"),
                        ]);
                    };
                },
            )
        },
        Row {
            given: Some(|case| {
                case.scene.measured =
                    |events| events[3] = RuntimeEvent::new(event_name::INSTANCE_ID, [5; 20]);
                case.policy.app.as_mut().unwrap().instance_id = Some(digest::InstanceId([5; 20]));
            }),
            ..row(
                "another instance",
                &[InstanceId],
                "found 0606060606060606060606060606060606060606",
                |case| {
                    case.scene.measured =
                        |events| events[3] = RuntimeEvent::new(event_name::INSTANCE_ID, [6; 20]);
                },
            )
        },
        row("an app without instance where one is wanted", &[InstanceId], "found none", |case| {
            case.policy.app.as_mut().unwrap().instance_id = Some(digest::InstanceId([5; 20]));
        }),
    ]
}

fn boots() -> Vec<Row> {
    vec![
        Row {
            given: Some(|case| case.policy.forbidden_events = vec!["mine".to_owned()]),
            ..row("an event that is forbidden", &[ForbiddenEvents], "found mine = 1", |case| {
                case.scene.measured = |events| events.push(RuntimeEvent::new("mine", "1"));
            })
        },
        Row {
            given: Some(|case| {
                case.scene.measured = |events| {
                    events.insert(4, RuntimeEvent::new(event_name::DANGER_PRIVILEGED, []));
                };
            }),
            ..row(
                "a privileged app where that is forbidden",
                &[ForbiddenEvents],
                "no danger-privileged",
                |case| {
                    case.policy.forbidden_events = vec![event_name::DANGER_PRIVILEGED.to_owned()];
                },
            )
        },
        row(
            "an app that became privileged behind what a key depends on",
            &[EventOrder],
            "danger-privileged after boot-mr-done",
            |case| {
                case.scene.measured = |events| {
                    events.insert(5, RuntimeEvent::new(event_name::DANGER_PRIVILEGED, []));
                };
            },
        ),
        row("a boot that is not finished", &[BootStage], "has not finished its boot", |case| {
            case.scene.measured = |events| drop(events.pop());
        }),
        Row {
            given: Some(|case| {
                case.policy.stage = Stage::KeyRelease;
                case.scene.measured = |events| events.truncate(5);
            }),
            ..row(
                "a key request of a guest whose containers run",
                &[BootStage],
                "containers may run already",
                |case| case.scene.measured = |_| {},
            )
        },
    ]
}

/// The honest app.
fn app(case: &Case) -> digest::ComposeHash {
    digest::ComposeHash::of(&case.scene.app_compose())
}

fn require(case: &mut Case, name: &str, payload: &[u8]) {
    case.policy.required_events =
        vec![RequiredEvent { name: name.to_owned(), payload: Some(payload.to_vec()) }];
}
