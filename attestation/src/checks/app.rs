//! The app: measured facts from RTMR3's events, and whether they are those of the app that should
//! run.

use protocol::app_compose::StorageFs;
use protocol::digest::{AppId, ComposeHash, InstanceId, MrConfigId, OsImageHash, ReportData};
use protocol::event_log::{self, RuntimeEvent};
use protocol::quote::TdReport;
use protocol::{app_compose, event_name, mr_config, report_data, strict_json};

use super::{Inputs, one_of};
use crate::check_rows::CheckRows;
use crate::policy::{AcceptedApp, ExpectedApp, ExpectedReportData};
use crate::refusal::{CheckName, Finding};
use crate::verified::{KeyProvider, MeasuredApp, MeasuredBoot, Storage};

/// Judges that the quote was made for the verifier's nonce.
pub(crate) fn judge_report_data(rows: &mut CheckRows, inputs: Inputs<'_>, report: &TdReport) {
    let (expected, hint): (ReportData, _) = match &inputs.policy.report_data {
        ExpectedReportData::Nonce(nonce) => {
            (report_data::evidence(nonce), "made for another nonce, or long ago")
        }
        ExpectedReportData::Exactly(bytes) => (*bytes, "made for something else"),
        ExpectedReportData::Unstated(why) => return rows.skip(&[CheckName::ReportData], why),
    };
    let found = report.report_data;
    rows.judge(CheckName::ReportData, found == expected, Finding::new(expected, found, hint));
}

/// Judges that the facts of every boot are there.
pub(crate) fn judge_facts(rows: &mut CheckRows, events: &[RuntimeEvent]) -> Option<MeasuredBoot> {
    const EXPECTED: &str = "app-id (20 bytes), compose-hash (32 bytes), instance-id (20 bytes or none), and whole values of what else is there";
    match measured(events) {
        Ok(boot) => {
            rows.pass(CheckName::MeasuredFacts, EXPECTED, "all of them");
            Some(boot)
        }
        Err(error) => {
            rows.fail(
                CheckName::MeasuredFacts,
                EXPECTED,
                error,
                "an absent fact is never an empty one",
            );
            None
        }
    }
}

/// Judges the measured app by the published file, by MRCONFIGID and by the policy.
pub(crate) fn judge(
    rows: &mut CheckRows,
    inputs: Inputs<'_>,
    report: Option<&TdReport>,
    boot: &MeasuredBoot,
) {
    let app = &boot.app;
    if let Some(published) = &inputs.evidence.app_compose {
        let hash = ComposeHash::of(published);
        let finding =
            Finding::new(app.compose_hash, hash, "do not read the published file as what runs");
        rows.judge(CheckName::PublishedCompose, hash == app.compose_hash, finding);
    }
    let listed = inputs.policy.apps.as_deref();
    if let Some(list) = listed {
        let accepted = AcceptedApp { compose_hash: app.compose_hash, app_id: app.app_id };
        let found = pair(&accepted);
        let hint = "an app is its hash and its id together; another pair than the policy lists";
        let finding = Finding::new(one_of(list.iter().map(pair)), found, hint);
        rows.judge(CheckName::AppList, list.contains(&accepted), finding);
    }
    match (&inputs.policy.app, listed) {
        (Some(expected), _) => {
            judge_expected(rows, expected, app, inputs.evidence.app_compose.as_deref())
        }
        // The list states which apps this may be.
        (None, Some(list)) => {
            let holds = list.iter().any(|accepted| accepted.compose_hash == app.compose_hash);
            let hashes = one_of(list.iter().map(|accepted| accepted.compose_hash));
            let hint = "another app than those that the policy lists";
            let finding = Finding::new(hashes, app.compose_hash, hint);
            rows.judge(CheckName::ComposeHash, holds, finding);
        }
        (None, None) => {
            rows.skip(
                &[CheckName::ComposeHash],
                "no app was stated: state the app whose guest this should be",
            );
        }
    }
    if let Some(report) = report {
        let accepted = mr_config_ids(boot, inputs.evidence.app_compose.as_deref());
        let hint = "the host bound the TD to another app when it created it";
        let found = report.mr_config_id;
        let holds = accepted.iter().any(|id| mr_config::matches(&found, id));
        let finding = Finding::new(bound_to(&accepted, &found, holds), found, hint);
        rows.judge(CheckName::MrConfigId, holds, finding);
    }
}

/// The one of the accepted values that was found, or all of them.
fn bound_to(accepted: &[MrConfigId], found: &MrConfigId, holds: bool) -> String {
    if holds { found.to_string() } else { format!("{}, or zero", one_of(accepted.iter())) }
}

/// What a host may have bound the TD to: the file, or the file with ids and pinned key provider.
/// Who that is says the measured file where it came along, since a guest that asks for its keys has
/// not measured its key provider yet.
fn mr_config_ids(boot: &MeasuredBoot, published: Option<&[u8]>) -> Vec<MrConfigId> {
    let app = &boot.app;
    let measured = published.filter(|file| ComposeHash::of(file) == app.compose_hash);
    let of_file = measured
        .and_then(|file| app_compose::parse(file).ok())
        .map(|settings| (settings.key_provider.name().to_owned(), settings.key_provider.id()));
    let of_event = || boot.key_provider.clone().map(|provider| (provider.name, provider.id));
    let mut accepted = vec![mr_config::v1(&app.compose_hash)];
    if let Some((name, id)) = of_file.or_else(of_event)
        && !id.is_empty()
    {
        let instance = app.instance_id.as_ref();
        accepted.push(mr_config::expected(&app.compose_hash, &app.app_id, instance, &name, &id));
    }
    accepted
}

fn pair(accepted: &AcceptedApp) -> String {
    format!("{} with app id {}", accepted.compose_hash, accepted.app_id)
}

fn judge_expected(
    rows: &mut CheckRows,
    expected: &ExpectedApp,
    app: &MeasuredApp,
    published: Option<&[u8]>,
) {
    let hint = difference(expected, app, published);
    let finding = Finding::new(expected.compose_hash, app.compose_hash, hint);
    rows.judge(CheckName::ComposeHash, expected.compose_hash == app.compose_hash, finding);
    let id = expected.app_id;
    let finding = Finding::new(id, app.app_id, "the guest was launched under another app id");
    rows.judge(CheckName::AppId, id == app.app_id, finding);
    if let Some(id) = expected.instance_id {
        let found = app.instance_id.map_or_else(|| "none".to_owned(), |id| id.to_string());
        let finding = Finding::new(id, found, "another instance of the app");
        rows.judge(CheckName::InstanceId, app.instance_id == Some(id), finding);
    }
}

/// Why the hash differs: key by key where the guest publishes the very file that it measured.
fn difference(expected: &ExpectedApp, app: &MeasuredApp, published: Option<&[u8]>) -> String {
    const ANY: &str =
        "a single changed byte of app-compose.json, and so of the compose file in it, does this";
    if expected.compose_hash == app.compose_hash {
        return ANY.to_owned();
    }
    let published = published.filter(|file| ComposeHash::of(file) == app.compose_hash);
    match (&expected.app_compose, published) {
        (Some(stated), Some(measured)) => {
            format!("measured: {}", app_compose::differences(stated, measured).join("; "))
        }
        (Some(_), None) => {
            format!("{ANY}; the guest does not publish the file, so which key it is cannot be said")
        }
        (None, _) => ANY.to_owned(),
    }
}

fn measured(events: &[RuntimeEvent]) -> Result<MeasuredBoot, String> {
    let optional = |name: &str| event_log::find(events, name).map(|event| &event.payload[..]);
    let os_image_hash = match optional(event_name::OS_IMAGE_HASH) {
        Some(_) => Some(OsImageHash(sized(events, event_name::OS_IMAGE_HASH)?)),
        None => None,
    };
    Ok(MeasuredBoot {
        app: measured_app(events)?,
        privileged: optional(event_name::DANGER_PRIVILEGED).is_some(),
        os_image_hash,
        key_provider: optional(event_name::KEY_PROVIDER).map(key_provider).transpose()?,
        storage: optional(event_name::STORAGE_FS).map(storage).transpose()?,
    })
}

fn key_provider(payload: &[u8]) -> Result<KeyProvider, String> {
    strict_json::parse(payload, event_log::MAX_PAYLOAD_BYTES)
        .map_err(|error| format!("{}: {error}", event_name::KEY_PROVIDER))
}

fn storage(payload: &[u8]) -> Result<Storage, String> {
    let name = std::str::from_utf8(payload)
        .map_err(|_| format!("{} is not UTF-8 text", event_name::STORAGE_FS))?;
    let known = StorageFs::ALL.into_iter().find(|fs| fs.name() == name);
    Ok(known.map_or_else(|| Storage::Other(name.to_owned()), Storage::Known))
}

fn measured_app(events: &[RuntimeEvent]) -> Result<MeasuredApp, String> {
    let instance = payload(events, event_name::INSTANCE_ID)?;
    Ok(MeasuredApp {
        app_id: AppId(sized(events, event_name::APP_ID)?),
        instance_id: if instance.is_empty() {
            None
        } else {
            Some(InstanceId(sized(events, event_name::INSTANCE_ID)?))
        },
        compose_hash: ComposeHash(sized(events, event_name::COMPOSE_HASH)?),
    })
}

fn sized<const N: usize>(events: &[RuntimeEvent], name: &str) -> Result<[u8; N], String> {
    let payload = payload(events, name)?;
    payload.try_into().map_err(|_| format!("{name} has {} bytes, expected {N}", payload.len()))
}

fn payload<'a>(events: &'a [RuntimeEvent], name: &str) -> Result<&'a [u8], String> {
    let event = event_log::find(events, name).ok_or_else(|| format!("{name} is absent"))?;
    Ok(&event.payload)
}

#[cfg(test)]
mod tests {
    use protocol::app_compose::{AppFiles, KeyProvider as Source, NewApp};
    use protocol::digest::Sha256Digest;

    use super::*;

    #[test]
    fn a_td_is_bound_to_its_file_or_to_ids_and_kms_too_and_to_no_other() {
        let files = AppFiles::new();
        let id = Sha256Digest([7; 32]);
        let new = NewApp { key_provider: Source::Kms { id }, ..NewApp::of("a", "x", &files) };
        let file = new.generate().unwrap();
        let compose_hash = ComposeHash::of(&file);
        let app = MeasuredApp {
            app_id: AppId([1; 20]),
            instance_id: Some(InstanceId([2; 20])),
            compose_hash,
        };
        let provider = KeyProvider { name: "kms".into(), id: id.to_string() };
        let before = MeasuredBoot {
            app: app.clone(),
            privileged: false,
            os_image_hash: None,
            key_provider: None,
            storage: None,
        };
        let after = MeasuredBoot { key_provider: Some(provider), ..before.clone() };
        let pinned = mr_config::expected(
            &compose_hash,
            &app.app_id,
            app.instance_id.as_ref(),
            "kms",
            &id.to_string(),
        );
        let plain = mr_config::v1(&compose_hash);
        assert_eq!(mr_config_ids(&before, None), [plain]);
        assert_eq!(mr_config_ids(&before, Some(b"another file")), [plain]);
        assert_eq!(mr_config_ids(&before, Some(&file)), [plain, pinned]);
        assert_eq!(mr_config_ids(&after, None), [plain, pinned]);
        // The row shows the value that was found, if it is one of them.
        assert_eq!(bound_to(&[plain, pinned], &pinned, true), pinned.to_string());
        let either = bound_to(&[plain, pinned], &MrConfigId([7; 48]), false);
        assert!(either.contains(&plain.to_string()) && either.contains(&pinned.to_string()));
    }
}
