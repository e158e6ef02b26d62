//! `dstyx measure`: every register that a launch will have, from files and a shape alone.

use std::path::Path;
use std::process::ExitCode;

use measurement::{
    App as MeasuredApp, AppPrediction, EachRegister, Event, ImageFacts, ImageFiles, Origin,
    PredictError, Register, Until as LastEvent, predict_each, replay,
};
use protocol::app_compose::StorageFs;
use protocol::digest::{AppId, InstanceId, MrConfigId, OsImageHash};
use protocol::image::MachineFacts;
use protocol::shape::Shape;
use serde_json::{Value, json};

use crate::app::App;
use crate::args::{Measure, ShapeFlags, Until};
use crate::commands::stated;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;
use crate::image_directory::{self, MAX_FILE_BYTES};
use crate::output::{Output, columns, note};

/// Exit status where a register has no prediction.
const INCOMPLETE: u8 = 2;

/// Prints the registers and the events that make them; exit status 0 only if each has a prediction.
pub fn run(options: &Measure, output: &Output) -> Outcome<ExitCode> {
    let (registers, os_image_hash) = match &options.image {
        Some(directory) => of_image(directory, options)?,
        None => (of_files(options)?, None),
    };
    let app = options.app.as_deref().map(|directory| app(directory, options)).transpose()?;
    let document = document(&registers, os_image_hash, app.as_ref());
    let missing: Vec<_> =
        registers.iter().filter_map(|row| Some((row.name, row.missing.as_ref()?))).collect();
    missing.iter().for_each(|(name, why)| note(&format!("{name} is not predicted: {why}")));
    output.result(&document, || text(&document, &registers, app.as_ref()));
    Ok(if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(INCOMPLETE) })
}

/// An app's identity and what it extends.
struct AppResult {
    measured: MeasuredApp,
    prediction: AppPrediction,
    mr_config_id: MrConfigId,
}

/// A register, its events, and why it has no value.
struct Row {
    name: &'static str,
    value: Option<String>,
    missing: Option<PredictError>,
    events: Vec<Event>,
}

fn of_image(directory: &Path, options: &Measure) -> Outcome<([Row; 4], Option<OsImageHash>)> {
    let image = image_directory::read(directory)?;
    let firmware = stated::firmware(&options.of_firmware)?;
    let facts = image
        .facts(&firmware, None)
        .map_err(|fault| image_directory::unusable(directory, &fault))?;
    if let believed @ [_, ..] = &image.believed()[..] {
        note(&format!("facts believed: no {} beside {}", believed.join(", "), image.list()));
    }
    let shape = shape(&options.shape, image.machine())?;
    Ok((rows(predict_each(&facts, &shape)), Some(image.os_image_hash())))
}

fn of_files(options: &Measure) -> Outcome<[Row; 4]> {
    let read = |path: &Option<std::path::PathBuf>, flag: &str| match path {
        Some(path) => files::read_bounded(path, MAX_FILE_BYTES),
        None => Err(Failure::new(
            format!("{flag} is missing"),
            "give --firmware, --kernel, --initrd and --cmdline",
        )),
    };
    let stated = stated::firmware(&options.of_firmware)?;
    let firmware = read(&options.firmware, "--firmware")?;
    let kernel = read(&options.kernel, "--kernel")?;
    let initrd = read(&options.initrd, "--initrd")?;
    let cmdline = options.cmdline.as_deref().unwrap_or_default();
    let layout = stated.layout;
    let files =
        ImageFiles { firmware: &firmware, layout, kernel: &kernel, initrd: &initrd, cmdline };
    let mut facts = ImageFacts::from_files(&files)
        .hint("measuring the files", "is each file what its flag says?")?;
    facts.handoff_tables = stated.handoff_tables;
    Ok(rows(predict_each(&facts, &shape(&options.shape, None)?)))
}

/// Each register by itself: one without a prediction withholds no other.
fn rows(each: EachRegister) -> [Row; 4] {
    let row = |name, register, events: Result<Vec<Event>, PredictError>| match events {
        Ok(events) => {
            let value = Some(replay(register, &events).to_string());
            Row { name, value, missing: None, events }
        }
        Err(error) => Row { name, value: None, missing: Some(error), events: Vec::new() },
    };
    let (value, missing) = match each.mrtd {
        Ok(mrtd) => (Some(mrtd.to_string()), None),
        Err(error) => (None, Some(error)),
    };
    [
        Row { name: "mrtd", value, missing, events: Vec::new() },
        row("rtmr0", Register::Rtmr0, each.rtmr0),
        row("rtmr1", Register::Rtmr1, each.rtmr1),
        row("rtmr2", Register::Rtmr2, Ok(each.rtmr2)),
    ]
}

/// The stated shape; an image fills in what every launch of it has.
pub fn shape(flags: &ShapeFlags, machine: Option<&MachineFacts>) -> Outcome<Shape> {
    let missing = |flag: &str| {
        Failure::new(format!("{flag} is missing"), "state the machine: --vcpus N --memory MIB")
    };
    let qemu_version =
        flags.qemu_version.clone().or(machine.map(|machine| machine.qemu_version.clone()));
    let shape = Shape {
        vcpus: flags.vcpus.ok_or_else(|| missing("--vcpus"))?,
        memory_mib: flags.memory.ok_or_else(|| missing("--memory"))?,
        root_slots: flags
            .root_slots
            .or(machine.map(|m| m.root_slots))
            .ok_or_else(|| missing("--root-slots"))?,
        serial_ports: flags.serial_ports.or(machine.map(|m| m.serial_ports)).unwrap_or(1),
        qemu_version: qemu_version.ok_or_else(|| missing("--qemu-version"))?,
        // QEMU's default, and what every launch of ours has.
        pci_hotplug: flags.stated_pci_hotplug().unwrap_or(true),
    };
    shape.check().hint("the stated shape", "state a machine that QEMU can make")?;
    Ok(shape)
}

fn app(directory: &Path, options: &Measure) -> Outcome<AppResult> {
    let app = App::read(directory)?;
    let hex = "give lower-case hexadecimal digits";
    let compose_hash = app.settings.hash;
    let app_id = match &options.app_id {
        Some(text) => AppId::from_hex(text).hint("--app-id", hex)?,
        None => AppId::from_compose_hash(&compose_hash),
    };
    let instance_id = match options.instance_id.as_str() {
        "none" => None,
        text => Some(InstanceId::from_hex(text).hint("--instance-id", hex)?),
    };
    let os_image_hash = options.os_image_hash.as_deref().map(OsImageHash::from_hex).transpose();
    let measured = MeasuredApp {
        compose_hash,
        app_id,
        instance_id,
        os_image_hash: os_image_hash.hint("--os-image-hash", hex)?,
        key_provider: Some(
            options
                .key_provider
                .clone()
                .unwrap_or_else(|| app.settings.key_provider.event_payload()),
        ),
        storage_fs: storage_fs(options.storage_fs.as_deref(), app.settings.storage_fs),
        danger_privileged: app.settings.danger_privileged,
    };
    let until = match options.until {
        Until::BootMrDone => LastEvent::BootMrDone,
        Until::SystemReady => LastEvent::SystemReady,
    };
    let provider = app.settings.key_provider;
    let mr_config_id = measurement::mr_config::expected(
        &measured.compose_hash,
        &measured.app_id,
        measured.instance_id.as_ref(),
        provider.name(),
        &provider.id(),
    );
    let prediction = measurement::predict_app(&measured, until);
    Ok(AppResult { prediction, measured, mr_config_id })
}

fn storage_fs(stated: Option<&str>, of_app: StorageFs) -> Option<String> {
    match stated {
        None => Some(of_app.name().to_owned()),
        Some("none") => None,
        Some(payload) => Some(payload.to_owned()),
    }
}

fn document(
    registers: &[Row; 4],
    os_image_hash: Option<OsImageHash>,
    app: Option<&AppResult>,
) -> Value {
    let [mrtd, rtmr0, rtmr1, rtmr2] = registers;
    let app_events = app.map(|app| app.prediction.events.as_slice()).unwrap_or_default();
    json!({
        "mrtd": mrtd.value,
        "rtmr0": rtmr0.value,
        "rtmr1": rtmr1.value,
        "rtmr2": rtmr2.value,
        "rtmr3": app.map(|app| app.prediction.rtmr3),
        "mrconfigid": app.map(|app| app.mr_config_id),
        "os_image_hash": os_image_hash,
        "compose_hash": app.map(|app| app.measured.compose_hash),
        "events": events(registers).chain(app_events).map(event).collect::<Vec<_>>(),
    })
}

fn events(registers: &[Row; 4]) -> impl Iterator<Item = &Event> {
    registers.iter().flat_map(|row| &row.events)
}

fn event(event: &Event) -> Value {
    json!({
        "register": event.register.to_string(),
        "name": event.name,
        "event_type": event.event_type,
        "digest": event.digest,
        "preimage": event.preimage,
        "computed": event.origin == Origin::Computed,
    })
}

fn text(document: &Value, registers: &[Row; 4], app: Option<&AppResult>) -> String {
    let names =
        ["mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrconfigid", "os_image_hash", "compose_hash"];
    let values: Vec<_> = names
        .iter()
        .filter_map(|name| Some(vec![(*name).to_owned(), document[*name].as_str()?.to_owned()]))
        .collect();
    let app_events = app.map(|app| app.prediction.events.as_slice()).unwrap_or_default();
    let events: Vec<_> = events(registers)
        .chain(app_events)
        .map(|event| {
            vec![event.register.to_string(), event.name.to_string(), event.preimage.to_string()]
        })
        .collect();
    format!("{}\n{}", columns(&values), columns(&events))
}
