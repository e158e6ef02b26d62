//! From an image's facts and a machine's shape to all registers that the host and the firmware
//! fill.

use protocol::digest::{Mrtd, Rtmr, Sha384Digest};
use protocol::shape::{Shape, ShapeError};

use crate::acpi::{self, AcpiBlobs, SPLIT_LOW_BYTES};
use crate::authenticode::{self, AuthenticodeError};
use crate::event::{Event, Register, replay};
use crate::facts::{ImageFacts, KernelSource};
use crate::kernel_header::{self, KernelHeaderError};
use crate::layout::{FirmwareLayout, UnknownLayout};
use crate::profile::{QemuProfile, UnknownQemu};
use crate::rtmr0;
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
    /// a firmware of which nothing says what it measures
    #[error("nothing says which events this firmware measures into RTMR0; state --layout")]
    LayoutNotStated,
    /// a shape that cannot hold the firmware
    #[error(transparent)]
    TdHob(#[from] HobError),
    /// a QEMU that rewrites the kernel, and no kernel at hand
    #[error(
        "QEMU before 10.2 rewrites the kernel's header before the guest measures it, so digests alone do not give RTMR1; give the image's files"
    )]
    KernelFileNeeded,
    /// a digest of a rewritten kernel, and a machine that leaves it otherwise
    #[error(
        "the image states its kernel as QEMU before 10.2 rewrites it with 2 GiB below 4 GiB (memory of 2048 MiB, or 2816 and more); give the image's files"
    )]
    OtherRewriting,
    /// a firmware that measures what nobody can compute
    #[error(
        "firmware of layout {layout} measures the host's SMBIOS tables, whose digest is not computed; state a reference for it (--handoff-tables)"
    )]
    HandoffTablesNotStated {
        /// The layout.
        layout: FirmwareLayout,
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
