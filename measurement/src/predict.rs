//! From an image's facts and a machine's shape to all registers that the host and the firmware
//! fill.

use protocol::digest::{Mrtd, Rtmr, Sha384Digest};
use protocol::shape::Shape;

use crate::acpi::{self, AcpiBlobs, SPLIT_LOW_BYTES};
use crate::authenticode;
use crate::event::{Event, Register, replay};
use crate::facts::{ImageFacts, KernelSource};
use crate::kernel_header;
use crate::predict_error::PredictError;
use crate::profile::QemuProfile;
use crate::rtmr0;
use crate::{rtmr1, rtmr2};

/// Values of the registers that exist before the application is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registers {
    /// The firmware.
    pub mrtd: Mrtd,
    /// The machine.
    pub rtmr0: Rtmr,
    /// The kernel.
    pub rtmr1: Rtmr,
    /// Command line and initrd.
    pub rtmr2: Rtmr,
}

/// Registers, and the events that lead to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prediction {
    /// The values.
    pub registers: Registers,
    /// All events of RTMR0, then RTMR1, then RTMR2, each register's in its order.
    pub events: Vec<Event>,
}

impl AcpiBlobs {
    /// The blobs that the QEMU of a shape gives its firmware.
    pub fn for_shape(shape: &Shape) -> Result<Self, PredictError> {
        shape.check()?;
        Ok(Self::generate(shape, QemuProfile::for_version(&shape.qemu_version)?))
    }
}

/// Each register by itself: what one cannot be predicted for does not hide the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EachRegister {
    /// The firmware.
    pub mrtd: Result<Mrtd, PredictError>,
    /// Events of RTMR0.
    pub rtmr0: Result<Vec<Event>, PredictError>,
    /// Events of RTMR1.
    pub rtmr1: Result<Vec<Event>, PredictError>,
    /// Events of RTMR2.
    pub rtmr2: Vec<Event>,
}

/// Predicts MRTD and RTMR0 to RTMR2 of a TDX guest of this shape.
pub fn predict_registers(
    image: &ImageFacts<'_>,
    shape: &Shape,
) -> Result<Prediction, PredictError> {
    shape.check()?;
    let each = predict_each(image, shape);
    let events: Vec<Event> = [each.rtmr0?, each.rtmr1?, each.rtmr2].concat();
    let registers = Registers {
        mrtd: each.mrtd?,
        rtmr0: replay(Register::Rtmr0, &events),
        rtmr1: replay(Register::Rtmr1, &events),
        rtmr2: replay(Register::Rtmr2, &events),
    };
    Ok(Prediction { registers, events })
}

/// Predicts each register of a TDX guest of this shape that can be predicted: RTMR2 of any machine,
/// MRTD and RTMR1 of any machine whose QEMU has a profile.
pub fn predict_each(image: &ImageFacts<'_>, shape: &Shape) -> EachRegister {
    let profile = QemuProfile::for_version(&shape.qemu_version).map_err(PredictError::from);
    let rtmr0 = |profile: QemuProfile| {
        shape.check()?;
        rtmr0::events(image.rtmr0_firmware(), shape, profile)
    };
    let rtmr1 = |profile: QemuProfile| {
        if profile.kernel_header_patched {
            shape.check()?;
        }
        kernel_digest(image, shape.memory_mib, profile.kernel_header_patched).map(rtmr1::events)
    };
    EachRegister {
        mrtd: profile.clone().map(|profile| image.mrtd(profile.page_order)),
        rtmr0: profile.clone().and_then(rtmr0),
        rtmr1: profile.and_then(rtmr1),
        rtmr2: rtmr2::events(&image.cmdline, image.kernel.initrd_sha384),
    }
}

impl ImageFacts<'_> {
    /// What RTMR0 needs of an image.
    pub(crate) fn rtmr0_firmware(&self) -> rtmr0::Firmware<'_> {
        rtmr0::Firmware { facts: &self.firmware, handoff_tables: self.handoff_tables }
    }
}

/// The Authenticode hash of the kernel as the firmware sees it.
pub(crate) fn kernel_digest(
    image: &ImageFacts<'_>,
    memory_mib: u64,
    rewritten: bool,
) -> Result<Sha384Digest, PredictError> {
    let stated = image.kernel.authenticode_sha384;
    match (rewritten, image.kernel_source) {
        (false, KernelSource::File { .. } | KernelSource::FileDigest) => Ok(stated),
        (true, KernelSource::File { bytes, initrd_bytes }) => {
            let loaded = kernel_header::as_loaded(bytes, initrd_bytes, memory_mib << 20)?;
            Ok(authenticode::sha384(&loaded)?)
        }
        (true, KernelSource::RewrittenDigest)
            if acpi::low_memory_bytes(memory_mib << 20) == SPLIT_LOW_BYTES =>
        {
            Ok(stated)
        }
        (true, KernelSource::FileDigest) => Err(PredictError::KernelFileNeeded),
        (_, KernelSource::RewrittenDigest) => Err(PredictError::OtherRewriting),
    }
}
