//! `dstyx measure`: every register that a launch will have, from files and a shape alone.

use std::path::Path;
use std::process::ExitCode;

use measurement::{
    App as MeasuredApp, AppPrediction, Event, ImageFacts, ImageFiles, Origin, Prediction,
    Until as LastEvent,
};
use protocol::app_compose::StorageFs;
use protocol::digest::{AppId, InstanceId, OsImageHash};
use protocol::image::MachineFacts;
use protocol::shape::Shape;
use serde_json::{Value, json};

use crate::app::App;
use crate::args::{Measure, ShapeFlags, Until};
use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;
use crate::image_directory::{self, ImageDirectory, MAX_FILE_BYTES};
use crate::output::{Output, columns};

/// Prints the registers and the events that make them.
pub fn run(options: &Measure, output: &Output) -> Outcome<ExitCode> {
    let (prediction, os_image_hash) = match &options.image {
        Some(directory) => of_image(directory, options)?,
        None => (of_files(options)?, None),
    };
    let app = options.app.as_deref().map(|directory| app(directory, options)).transpose()?;
    let document = document(&prediction, os_image_hash, app.as_ref());
    output.result(&document, || text(&document, &prediction, app.as_ref()));
    Ok(ExitCode::SUCCESS)
}

/// An app's identity and what it extends.
struct AppResult {
    measured: MeasuredApp,
    prediction: AppPrediction,
}

fn of_image(directory: &Path, options: &Measure) -> Outcome<(Prediction, Option<OsImageHash>)> {
    let image = ImageDirectory::read(directory)?;
    let facts = image.facts(&options.of_firmware, None)?;
    let shape = shape(&options.shape, image.machine())?;
    Ok((predict(&facts, &shape)?, Some(image.os_image_hash)))
}

fn of_files(options: &Measure) -> Outcome<Prediction> {
    let read = |path: &Option<std::path::PathBuf>, flag: &str| match path {
        Some(path) => files::read_bounded(path, MAX_FILE_BYTES),
        None => Err(Failure::new(
            format!("{flag} is missing"),
            "give --firmware, --kernel, --initrd and --cmdline",
        )),
    };
    let firmware = read(&options.firmware, "--firmware")?;
    let layout =
        image_directory::layout(&options.of_firmware)?.ok_or_else(image_directory::no_layout)?;
    let kernel = read(&options.kernel, "--kernel")?;
    let initrd = read(&options.initrd, "--initrd")?;
    let cmdline = options.cmdline.as_deref().unwrap_or_default();
    let files =
        ImageFiles { firmware: &firmware, layout, kernel: &kernel, initrd: &initrd, cmdline };
    let mut facts = ImageFacts::from_files(&files)
        .hint("measuring the files", "is each file what its flag says?")?;
    facts.handoff_tables = image_directory::handoff_tables(&options.of_firmware)?;
    predict(&facts, &shape(&options.shape, None)?)
}

fn predict(facts: &ImageFacts<'_>, shape: &Shape) -> Outcome<Prediction> {
    measurement::predict_registers(facts, shape).hint(
        "predicting the registers",
        "state another shape; docs/measurement.md lists the profiles of QEMU",
    )
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
        key_provider: Some(options.key_provider.clone()),
        storage_fs: storage_fs(options.storage_fs.as_deref(), app.settings.storage_fs),
        danger_privileged: app.settings.danger_privileged,
    };
    let until = match options.until {
        Until::BootMrDone => LastEvent::BootMrDone,
        Until::SystemReady => LastEvent::SystemReady,
    };
    Ok(AppResult { prediction: measurement::predict_app(&measured, until), measured })
}

fn storage_fs(stated: Option<&str>, of_app: StorageFs) -> Option<String> {
    match stated {
        None => Some(of_app.name().to_owned()),
        Some("none") => None,
        Some(payload) => Some(payload.to_owned()),
    }
}

fn document(
    prediction: &Prediction,
    os_image_hash: Option<OsImageHash>,
    app: Option<&AppResult>,
) -> Value {
    let registers = &prediction.registers;
    let app_events = app.map(|app| app.prediction.events.as_slice()).unwrap_or_default();
    json!({
        "mrtd": registers.mrtd,
        "rtmr0": registers.rtmr0,
        "rtmr1": registers.rtmr1,
        "rtmr2": registers.rtmr2,
        "rtmr3": app.map(|app| app.prediction.rtmr3),
        "mrconfigid": app.map(|app| protocol::mr_config::v1(&app.measured.compose_hash)),
        "os_image_hash": os_image_hash,
        "compose_hash": app.map(|app| app.measured.compose_hash),
        "events": prediction.events.iter().chain(app_events).map(event).collect::<Vec<_>>(),
    })
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

fn text(document: &Value, prediction: &Prediction, app: Option<&AppResult>) -> String {
    let names =
        ["mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrconfigid", "os_image_hash", "compose_hash"];
    let registers: Vec<_> = names
        .iter()
        .filter_map(|name| Some(vec![(*name).to_owned(), document[*name].as_str()?.to_owned()]))
        .collect();
    let app_events = app.map(|app| app.prediction.events.as_slice()).unwrap_or_default();
    let events: Vec<_> = prediction
        .events
        .iter()
        .chain(app_events)
        .map(|event| {
            vec![event.register.to_string(), event.name.to_string(), event.preimage.to_string()]
        })
        .collect();
    format!("{}\n{}", columns(&registers), columns(&events))
}
