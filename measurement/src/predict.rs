//! From an image's facts and a machine's shape to all registers that the host and the firmware fill.

use protocol::digest::{Mrtd, Rtmr, Sha384Digest};
use protocol::shape::{Shape, ShapeError};

use crate::acpi::AcpiBlobs;
use crate::authenticode::{self, AuthenticodeError};
use crate::event::{Event, Register, replay};
use crate::facts::ImageFacts;
use crate::kernel_header::{self, KernelHeaderError};
use crate::profile::{PageOrder, QemuProfile, UnknownQemu};
use crate::rtmr0::{self, UnknownLayout};
use crate::td_hob::HobError;
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

/// Why nothing could be predicted; never says that evidence is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PredictError {
    /// a shape outside its range
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// a version of QEMU without a profile
    #[error(transparent)]
    Qemu(#[from] UnknownQemu),
    /// a firmware layout that is unknown
    #[error(transparent)]
    Layout(#[from] UnknownLayout),
    /// a shape that cannot hold the firmware
    #[error(transparent)]
    TdHob(#[from] HobError),
    /// a QEMU that rewrites the kernel, and no kernel at hand
    #[error(
        "QEMU {family} rewrites the kernel's header before the guest measures it, so digests alone do not give RTMR1; give the image's files"
    )]
    KernelFileNeeded {
        /// The family of the profile.
        family: &'static str,
    },
    /// a kernel that QEMU could not rewrite
    #[error("kernel: {0}")]
    KernelHeader(#[from] KernelHeaderError),
    /// a rewritten kernel that is no PE file
    #[error("kernel: {0}")]
    Kernel(#[from] AuthenticodeError),
}

impl AcpiBlobs {
    /// The blobs that the QEMU of a shape gives its firmware.
    pub fn for_shape(shape: &Shape) -> Result<Self, PredictError> {
        shape.check()?;
        Ok(Self::generate(shape, QemuProfile::for_version(&shape.qemu_version)?))
    }
}

/// Predicts MRTD and RTMR0 to RTMR2 of a TDX guest of this shape.
pub fn predict_registers(image: &ImageFacts<'_>, shape: &Shape) -> Result<Prediction, PredictError> {
    shape.check()?;
    let profile = QemuProfile::for_version(&shape.qemu_version)?;
    let mut events = rtmr0::events(&image.firmware, shape, profile)?;
    events.extend(rtmr1::events(kernel_digest(image, shape, profile)?));
    events.extend(rtmr2::events(&image.cmdline, image.kernel.initrd_sha384));
    let registers = Registers {
        mrtd: match profile.page_order {
            PageOrder::SinglePass => image.mrtd.single_pass,
            PageOrder::TwoPass => image.mrtd.two_pass,
        },
        rtmr0: replay(Register::Rtmr0, &events),
        rtmr1: replay(Register::Rtmr1, &events),
        rtmr2: replay(Register::Rtmr2, &events),
    };
    Ok(Prediction { registers, events })
}

/// The Authenticode hash of the kernel as the firmware sees it.
fn kernel_digest(image: &ImageFacts<'_>, shape: &Shape, profile: QemuProfile) -> Result<Sha384Digest, PredictError> {
    if !profile.kernel_header_patched {
        return Ok(image.kernel.authenticode_sha384);
    }
    let file = image.kernel_file.ok_or(PredictError::KernelFileNeeded { family: profile.family })?;
    let loaded = kernel_header::as_loaded(file.bytes, file.initrd_bytes, shape.memory_mib << 20)?;
    Ok(authenticode::sha384(&loaded)?)
}
