//! Why nothing could be predicted, whatever the register.

use protocol::shape::ShapeError;

use crate::authenticode::AuthenticodeError;
use crate::kernel_header::KernelHeaderError;
use crate::layout::{FirmwareLayout, UnknownLayout};
use crate::profile::UnknownQemu;
use crate::td_hob::HobError;

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
