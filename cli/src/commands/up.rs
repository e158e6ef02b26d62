//! `dstyx up`: from a compose file to a verified, running app.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use attestation::{StatedFirmware, StatedMachine, Verdict};
use protocol::app_compose::AppCompose;
use protocol::digest::AppId;
use protocol::status::{Phase, Record, Refusal};
use serde_json::{Value, json};

use crate::app::{App, Asked};
use crate::args::Up;
use crate::clock::now_secs;
use crate::collateral::named_service;
use crate::commands::kms::accelerator;
use crate::commands::verify;
use crate::failure::{Failure, Outcome};
use crate::gateway::LocalGateway;
use crate::judge::{self, AppraisalRequest, Judged, Source, StatedApp};
use crate::kept::Kept;
use crate::kms::local::Start;
use crate::launch::{Launch, MachineSettings, Speaks, for_guest};
use crate::output::{Output, note};
use crate::parts::{Images, Overrides, Parts};
use crate::platform;
use crate::vm::Vm;
use crate::watch::{self, Watch};
use crate::{links, paths};

mod keys;
mod variables;

use keys::{KeySources, Keys};
use variables::AskedEnvironment;

/// How long a boot may take without a new record: an emulated guest on a loaded host needs tens of
/// seconds.
const BOOT_TIMEOUT: Duration = Duration::from_secs(180);
/// The network that QEMU gives a guest of `up`.
const GUEST_NETWORK: &str = "10.0.2.0/24";
/// How long images may take to be pulled and containers to start.
const APP_TIMEOUT: Duration = Duration::from_secs(900);

/// Builds, boots, verifies, and prints the verdict and the links.
pub fn run(options: &Up, output: &Output) -> Outcome<ExitCode> {
    let choice = platform::choose(platform::asked(options.tdx, options.emulate))?;
    output.step(choice.announcement());
    let owner = keys::owner(&options.keys, output)?;
    let environment = AskedEnvironment::of(options)?;
    let asked = Asked {
        compose_files: &options.file,
        env_file: options.env_file.as_deref(),
        danger_privileged: options.danger_privileged,
        allowed_envs: environment.names(),
        gateway_enabled: options.gateway_enabled,
        owners: owner.as_slice(),
        keys_for_data: Some(&|| keys::for_data(&options.keys, output)),
        imported: Some(&|settings| is_imported(options, settings)),
        ..Asked::default()
    };
    let app = App::read_or_make(&options.dir, asked)?;
    check(&app, &environment)?;
    let name = machine_name(options, &app.settings)?;
    let directory = make_room(&name, output)?;
    let overrides = Overrides { image: options.image.as_deref(), qemu: options.qemu.as_deref() };
    let parts = Parts::of(overrides, choice, &app, Images::App)?;
    let start = Start { overrides, choice, accelerator: accelerator(options.accel) };
    let gateways = Gateways::of(options, &app, start, output)?;
    let from = KeySources { flags: &options.keys, start, environment: &environment };
    let mut keys = Keys::of(&name, &app, &parts, from, output)?;
    let launch = Launch {
        machine: machine(options),
        registry_mirrors: &options.registry_mirror,
        bind: options.bind,
        choice,
        app: &app,
        parts: &parts,
        kept: keys.kept.as_ref(),
        kms_urls: &keys.urls,
        gateway_urls: &gateways.urls,
        encrypted_env: keys.encrypted_env.as_deref(),
        collateral_port: None,
        speaks: Speaks::Http,
    };
    output.step(&format!("starting {name}: {} vCPUs, {} MiB", options.vcpus, options.memory));
    let (vm, app_id) = (launch.start(&name, &directory)?, launch.app_id());
    if let Some(kept) = &mut keys.kept {
        kept.remember_ports(&vm)?;
    }
    let mut watch = Watch::new(directory.join("status.img"), vm.qemu);
    let report = |record: &Record| output.step(&watch::sentence(record));
    halted(watch.until(&[Phase::SystemReady], BOOT_TIMEOUT, report)?)?;
    let judged = judge::judge(&appraisal_request(&vm, &app, options)?)?;
    if judged.appraisal.verdict != Verdict::Pass {
        return Ok(not_verified(&vm, &judged, output));
    }
    output.step("the guest was verified; it fetches the app's images and starts its containers");
    let app_record = watch.until(&[Phase::AppRunning, Phase::AppFailed], APP_TIMEOUT, report)?;
    if app_record.refusal == Refusal::None {
        links::wait(&vm, output);
    }
    let link = gateways.told(app_id, &vm)?;
    finish(&vm, &judged, (app_record, link), output)
}

/// What would end a boot, and what a person should know before it.
fn check(app: &App, environment: &AskedEnvironment) -> Outcome<()> {
    environment.check(app)?;
    app.check_networks(Some(GUEST_NETWORK))?;
    app.notes().iter().for_each(|text| note(text));
    Ok(())
}

/// Where clients of an app are led to it.
struct Gateways {
    /// As its guest reaches them.
    urls: Vec<String>,
    /// This user's own, if no other one is named.
    own: Option<LocalGateway>,
}

impl Gateways {
    /// Those that a person names; this user's own is started where the app asks for one and none
    /// is named.
    fn of(options: &Up, app: &App, start: Start<'_>, output: &Output) -> Outcome<Self> {
        let urls: Vec<String> = options.gateway.iter().map(|url| for_guest(url)).collect();
        if !app.settings.gateway_enabled || !urls.is_empty() || !options.keys.kms.is_empty() {
            return Ok(Self { urls, own: None });
        }
        let own = LocalGateway::serving(start, output)?;
        Ok(Self { urls: vec![own.url_for_guests()?], own: Some(own) })
    }

    /// What a person is told of the way through this user's own.
    fn told(&self, app: AppId, machine: &Vm) -> Outcome<String> {
        self.own.as_ref().map_or_else(|| Ok(String::new()), |own| own.told(app, machine))
    }
}

/// The name that a person gave, or the app's.
fn machine_name(options: &Up, settings: &AppCompose) -> Outcome<String> {
    let name = options.name.as_ref().unwrap_or(&settings.name);
    keys::check_name(name)?;
    Ok(name.clone())
}

/// Whether the disk of the machine came from another host, with this version of the app.
fn is_imported(options: &Up, settings: &AppCompose) -> Outcome<bool> {
    let kept = Kept::of(&machine_name(options, settings)?)?;
    Ok(kept.is_some_and(|kept| kept.record.is_imported_as(settings.hash)))
}

/// The directory of a new machine. One of this name that has ended is replaced; one that runs is
/// not touched.
fn make_room(name: &str, output: &Output) -> Outcome<PathBuf> {
    let directory = paths::vm_directory(name)?;
    if !directory.exists() {
        return Ok(directory);
    }
    if let Ok(vm) = Vm::load(name) {
        if vm.qemu.alive() {
            let hint = format!("stop it with `dstyx down {name}`, or give another --name");
            return Err(Failure::new(format!("a virtual machine {name} is running"), hint));
        }
        vm.end()?;
        output.step(&format!("replacing {name}, which has ended"));
    }
    fs::remove_dir_all(&directory).map_err(|error| {
        Failure::new(format!("{}: {error}", directory.display()), "remove the directory by hand")
    })?;
    Ok(directory)
}

fn machine(options: &Up) -> MachineSettings {
    MachineSettings {
        vcpus: options.vcpus,
        memory_mib: options.memory,
        disk_gib: options.disk_gib,
        accelerator: accelerator(options.accel),
    }
}

fn appraisal_request(vm: &Vm, app: &App, options: &Up) -> Outcome<AppraisalRequest> {
    Ok(AppraisalRequest {
        source: Source::Vm(vm.clone().into()),
        event_logs: Vec::new(),
        report_data: None,
        image: Some(vm.image.clone()),
        release: None,
        app: Some(StatedApp::Directory(app.directory.clone())),
        app_id: None,
        machine: StatedMachine {
            vcpus: Some(options.vcpus),
            memory_mib: Some(options.memory),
            ..StatedMachine::default()
        },
        firmware: StatedFirmware::default(),
        collateral: None,
        policy: None,
        pccs: named_service(None),
        now_secs: now_secs()?,
        danger_accept_emulated: false,
    })
}

/// A record with a refusal before the system was ready ends the command.
fn halted(record: Record) -> Outcome<()> {
    match record.refusal {
        Refusal::None => Ok(()),
        refusal => Err(Failure::new(
            format!(
                "the guest halted: {} (after: {})",
                refusal.sentence(),
                record.phase.sentence()
            ),
            hint(refusal),
        )),
    }
}

/// What to try where a guest halted.
fn hint(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::KmsRefused => {
            "`dstyx kms policy explain --app DIR --image DIR` says which line of the policy refuses it"
        }
        Refusal::DiskOld | Refusal::DiskAhead | Refusal::DiskForeign => {
            "put the newest copy of the disk back; `dstyx down NAME --volumes` gives its data up"
        }
        Refusal::EnvironmentUnopened
        | Refusal::EnvironmentUnsigned
        | Refusal::EnvironmentRefused
        | Refusal::EnvironmentNotAllowed => {
            "seal it again for this app-compose.json, with `dstyx env seal` or --secret-env-file"
        }
        Refusal::AnchorTooOld => {
            "is the KMS running and reachable? the app's file says how long it may be away \
             (anchor_max_age_secs)"
        }
        Refusal::StatementEnded => {
            "is the KMS running and reachable, and does its policy still name the app? the app's \
             file lets the guest end otherwise (without_kms)"
        }
        Refusal::Superseded => "it was started a second time elsewhere: only that one goes on",
        _ => "nothing was proved; see `dstyx logs NAME --console`",
    }
}

/// The verdict of a guest that did not pass, and what is left of it; nobody waits for its app.
fn not_verified(vm: &Vm, judged: &Judged, output: &Output) -> ExitCode {
    output.result(&document(vm, judged, "not waited for", None), || {
        format!(
            "{}\nthe guest was not verified; `dstyx down {}` ends it\n",
            judge::table(judged),
            vm.name
        )
    });
    verify::exit_code(&judged.appraisal)
}

fn document(vm: &Vm, judged: &Judged, app: &str, failure: Option<&str>) -> Value {
    json!({
        "name": vm.name,
        "verdict": judged.appraisal.verdict,
        "trust_anchor": judged.appraisal.trust_anchor,
        "urls": vm.urls,
        "agent": vm.agent_url,
        "image": vm.image,
        "app": app,
        "app_failure": failure,
    })
}

fn finish(
    vm: &Vm,
    judged: &Judged,
    (app, gateway): (Record, String),
    output: &Output,
) -> Outcome<ExitCode> {
    let failure = (app.refusal != Refusal::None).then(|| watch::reason(&app));
    let state = if failure.is_some() { "failed" } else { "running" };
    output.result(&document(vm, judged, state, failure.as_deref()), || {
        let links: String = vm.urls.iter().map(|url| format!("  {url}\n")).collect();
        format!("{}\n{} is at\n{links}{gateway}", judge::table(judged), vm.name)
    });
    if app.refusal != Refusal::None {
        return Err(Failure::new(
            format!("the app does not run: {}", watch::reason(&app)),
            format!(
                "the guest still serves evidence; `dstyx logs {0} --console`, `dstyx down {0}`",
                vm.name
            ),
        ));
    }
    Ok(verify::exit_code(&judged.appraisal))
}
