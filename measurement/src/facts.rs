//! What an image contributes to the registers, whatever machine it is started on.
//!
//! Facts come from the artefacts themselves, each hashed once, or from an image.json that somebody
//! already trusts: then a prediction costs microseconds. Both ways end in the same type and the
//! same registers.

use std::sync::OnceLock;
use std::thread;

use protocol::digest::{Mrtd, Rtmr, Sha256Digest, Sha384Digest};
use protocol::image::{FirmwareFacts, ImageManifest, KernelFacts, MrtdOrders, Reference};

use crate::authenticode::{self, AuthenticodeError};
use crate::command_line::CommandLine;
use crate::event::{Register, replay};
use crate::layout::{FirmwareLayout, NO_LAYOUT};
use crate::mrtd;
use crate::profile::PageOrder;
use crate::tdvf::{SectionKind, Tdvf, TdvfError};
use crate::{rtmr1, rtmr2};

/// An image's artefacts.
#[derive(Debug, Clone, Copy)]
pub struct ImageFiles<'a> {
    /// The firmware that QEMU gets as `-bios`.
    pub firmware: &'a [u8],
    /// What that firmware measures, which its bytes do not tell; `None`: RTMR0 has no prediction.
    pub layout: Option<FirmwareLayout>,
    /// The kernel, `-kernel`.
    pub kernel: &'a [u8],
    /// The initial file system, `-initrd`.
    pub initrd: &'a [u8],
    /// The command line, `-append`, without what the firmware appends.
    pub cmdline: &'a str,
}

/// The files of an image that a verifier has.
#[derive(Debug, Clone, Copy, Default)]
pub struct PartsAtHand<'a> {
    /// The firmware.
    pub firmware: Option<&'a [u8]>,
    /// The kernel.
    pub kernel: Option<&'a [u8]>,
    /// The initial file system.
    pub initrd: Option<&'a [u8]>,
}

/// The shape-independent inputs of a prediction.
#[derive(Debug, Clone)]
pub struct ImageFacts<'a> {
    /// Of the firmware, for RTMR0.
    pub firmware: FirmwareFacts,
    /// A reference for the digest of the hand-off tables, in layouts whose firmware measures them:
    /// it depends on SMBIOS tables that nobody can predict, so it is stated, never computed.
    pub handoff_tables: Option<Sha384Digest>,
    /// Of kernel and initrd, for RTMR1 and RTMR2.
    pub kernel: KernelFacts,
    /// For RTMR2.
    pub cmdline: CommandLine,
    /// Whose bytes `kernel` describes.
    pub(crate) kernel_source: KernelSource<'a>,
    pub(crate) mrtd: MrtdSource<'a>,
}

/// Where a kernel's Authenticode hash comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KernelSource<'a> {
    /// The file, for QEMU versions that rewrite it.
    File { bytes: &'a [u8], initrd_bytes: u64 },
    /// A digest of the file.
    FileDigest,
    /// A digest of the file as a QEMU that rewrites it leaves it with 2 GiB of memory below 4 GiB.
    RewrittenDigest,
}

/// MRTD in each page order, hashed when first asked for: a launch needs one of them, and it is a
/// firmware's most expensive digest.
#[derive(Debug, Clone)]
pub(crate) struct MrtdSource<'a> {
    firmware: Option<Tdvf<'a>>,
    single_pass: OnceLock<Mrtd>,
    two_pass: OnceLock<Mrtd>,
}

impl<'a> MrtdSource<'a> {
    fn of_firmware(firmware: Tdvf<'a>) -> Self {
        Self { firmware: Some(firmware), single_pass: OnceLock::new(), two_pass: OnceLock::new() }
    }

    pub(crate) fn known(orders: MrtdOrders) -> Self {
        Self {
            firmware: None,
            single_pass: orders.single_pass.into(),
            two_pass: orders.two_pass.into(),
        }
    }

    fn get(&self, order: PageOrder) -> Mrtd {
        let cell = match order {
            PageOrder::SinglePass => &self.single_pass,
            PageOrder::TwoPass => &self.two_pass,
        };
        *cell.get_or_init(|| {
            let firmware =
                self.firmware.as_ref().expect("without a firmware both orders are known");
            mrtd::measure(firmware, order)
        })
    }
}

/// Why an image has no facts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// not a TDX firmware
    #[error(transparent)]
    Firmware(#[from] TdvfError),
    /// not a kernel with an EFI stub
    #[error("kernel: {0}")]
    Kernel(#[from] AuthenticodeError),
    /// a file with other bytes than image.json lists
    #[error("{file}: SHA-256 {found}, image.json lists {listed}")]
    Changed {
        /// The file.
        file: String,
        /// SHA-256 of its bytes.
        found: Sha256Digest,
        /// SHA-256 in image.json.
        listed: Sha256Digest,
    },
    /// a fact of image.json that does not follow from its files
    #[error("image.json: {fact} is not what the files beside it give; it was not made by dstyx")]
    Fact {
        /// The key of image.json.
        fact: &'static str,
    },
    /// an image.json whose reference registers are not those of its digests
    #[error(
        "image.json states {register} {stated}, its own digests give {computed}; it was not made by dstyx"
    )]
    Reference {
        /// The register.
        register: Register,
        /// What image.json says.
        stated: Rtmr,
        /// What follows from its digests.
        computed: Rtmr,
    },
}

impl<'a> ImageFacts<'a> {
    /// Hashes an image's files, and MRTD in the page order of today's QEMU.
    pub fn from_files(files: &ImageFiles<'a>) -> Result<Self, FactsError> {
        let tdvf = Tdvf::parse(files.firmware)?;
        let mrtd = MrtdSource::of_firmware(tdvf.clone());
        let of_firmware = || {
            mrtd.get(PageOrder::SinglePass);
            firmware_facts(&tdvf, files.layout.map_or(NO_LAYOUT, FirmwareLayout::name))
        };
        let (firmware, kernel) = beside(of_firmware, || kernel_facts(files));
        Ok(Self {
            firmware,
            handoff_tables: None,
            kernel: kernel?,
            cmdline: CommandLine::Text(files.cmdline.to_owned()),
            kernel_source: KernelSource::File {
                bytes: files.kernel,
                initrd_bytes: files.initrd.len() as u64,
            },
            mrtd,
        })
    }

    /// Takes the facts from an image.json, which must agree with itself.
    pub fn from_manifest(manifest: &ImageManifest) -> Result<ImageFacts<'static>, FactsError> {
        let facts = ImageFacts {
            firmware: manifest.firmware_facts.clone(),
            handoff_tables: None,
            kernel: manifest.kernel_facts,
            cmdline: CommandLine::Text(manifest.cmdline.clone()),
            kernel_source: KernelSource::FileDigest,
            mrtd: MrtdSource::known(manifest.reference.mrtd),
        };
        let (stated, computed) = (manifest.reference, facts.reference());
        for (register, stated, computed) in [
            (Register::Rtmr1, stated.rtmr1, computed.rtmr1),
            (Register::Rtmr2, stated.rtmr2, computed.rtmr2),
        ] {
            if stated != computed {
                return Err(FactsError::Reference { register, stated, computed });
            }
        }
        Ok(facts)
    }

    /// The facts of an image.json and the kernel file that it describes, for QEMU versions that
    /// rewrite the kernel. Whether it is that file is [`Self::check_parts`]'s to say.
    pub fn with_kernel(mut self, kernel: &'a [u8], initrd_bytes: u64) -> Self {
        self.kernel_source = KernelSource::File { bytes: kernel, initrd_bytes };
        self
    }

    /// Recomputes from the files at hand what an image.json states about them.
    pub fn check_parts(manifest: &ImageManifest, parts: PartsAtHand<'_>) -> Result<(), FactsError> {
        let listed = [
            (&manifest.firmware, parts.firmware),
            (&manifest.kernel, parts.kernel),
            (&manifest.initrd, parts.initrd),
        ];
        for (artefact, bytes) in listed {
            let Some(bytes) = bytes else { continue };
            let (found, listed) = (Sha256Digest::of(bytes), artefact.sha256);
            if found != listed || bytes.len() as u64 != artefact.size {
                return Err(FactsError::Changed { file: artefact.file.clone(), found, listed });
            }
        }
        let stated = &manifest.kernel_facts;
        if let Some(kernel) = parts.kernel {
            agrees(
                "authenticode_sha384",
                authenticode::sha384(kernel)?,
                stated.authenticode_sha384,
            )?;
        }
        if let Some(initrd) = parts.initrd {
            agrees("initrd_sha384", Sha384Digest::of(initrd), stated.initrd_sha384)?;
        }
        if let Some(firmware) = parts.firmware {
            let tdvf = Tdvf::parse(firmware)?;
            let computed = firmware_facts(&tdvf, &manifest.firmware_facts.layout);
            agrees("firmware_facts", &computed, &manifest.firmware_facts)?;
            let mrtd = MrtdSource::of_firmware(tdvf);
            let orders = MrtdOrders {
                single_pass: mrtd.get(PageOrder::SinglePass),
                two_pass: mrtd.get(PageOrder::TwoPass),
            };
            agrees("reference.mrtd", orders, manifest.reference.mrtd)?;
        }
        Ok(())
    }

    /// MRTD of the firmware in a page order.
    pub fn mrtd(&self, order: PageOrder) -> Mrtd {
        self.mrtd.get(order)
    }

    /// The registers that depend on no shape, as an image.json states them.
    pub fn reference(&self) -> Reference {
        let kernel = rtmr1::events(self.kernel.authenticode_sha384);
        let loaded = rtmr2::events(&self.cmdline, self.kernel.initrd_sha384);
        let mrtd = MrtdOrders {
            single_pass: self.mrtd(PageOrder::SinglePass),
            two_pass: self.mrtd(PageOrder::TwoPass),
        };
        Reference {
            mrtd,
            rtmr1: replay(Register::Rtmr1, &kernel),
            rtmr2: replay(Register::Rtmr2, &loaded),
        }
    }
}

fn agrees<T: PartialEq>(fact: &'static str, computed: T, stated: T) -> Result<(), FactsError> {
    if computed == stated { Ok(()) } else { Err(FactsError::Fact { fact }) }
}

/// Computes both, the first on a thread of its own where the system gives one.
fn beside<A: Send, B>(first: impl Fn() -> A + Sync, second: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let running = thread::Builder::new().spawn_scoped(scope, &first);
        let second = second();
        let first = match running {
            Ok(running) => running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => first(),
        };
        (first, second)
    })
}

fn kernel_facts(files: &ImageFiles<'_>) -> Result<KernelFacts, AuthenticodeError> {
    let authenticode_sha384 = authenticode::sha384(files.kernel)?;
    Ok(KernelFacts { authenticode_sha384, initrd_sha384: Sha384Digest::of(files.initrd) })
}

fn firmware_facts(tdvf: &Tdvf<'_>, layout: &str) -> FirmwareFacts {
    let accepted = |kind| matches!(kind, SectionKind::TdHob | SectionKind::TemporaryMemory);
    let sections = tdvf.sections.iter().filter(|section| accepted(section.kind));
    let mut accepted_ranges: Vec<(u64, u64)> =
        sections.map(|section| (section.address, section.length)).collect();
    accepted_ranges.sort_unstable();
    FirmwareFacts {
        layout: layout.to_owned(),
        td_hob_base: tdvf.only(SectionKind::TdHob).address,
        accepted_ranges,
        cfv_sha384: Sha384Digest::of(tdvf.only(SectionKind::Configuration).data),
    }
}

#[cfg(test)]
mod tests {
    use protocol::image::{self, Artefact, Flavour, MachineFacts};

    use super::*;
    use crate::authenticode::tests::pe;
    use crate::tdvf::tests::{SECTIONS, firmware};
    use crate::{PredictError, Shape, predict_registers};

    fn text(cmdline: &CommandLine) -> String {
        match cmdline {
            CommandLine::Text(text) => text.clone(),
            CommandLine::Digest(digest) => panic!("only a digest, {digest}"),
        }
    }

    fn files<'a>(firmware: &'a [u8], kernel: &'a [u8], cmdline: &'a str) -> ImageFiles<'a> {
        ImageFiles {
            firmware,
            layout: Some(FirmwareLayout::Edk2_2025_02),
            kernel,
            initrd: b"initrd",
            cmdline,
        }
    }

    fn manifest(facts: &ImageFacts<'_>) -> ImageManifest {
        let artefact =
            |file: &str| Artefact { file: file.into(), size: 1, sha256: Sha256Digest::ZERO };
        ImageManifest {
            version: image::VERSION,
            dstyx_version: "0.1.0".into(),
            flavour: Flavour::Release,
            source_date_epoch: 0,
            cmdline: text(&facts.cmdline),
            firmware: artefact("firmware.fd"),
            kernel: artefact("kernel"),
            initrd: artefact("initrd"),
            firmware_facts: facts.firmware.clone(),
            kernel_facts: facts.kernel,
            machine: MachineFacts { qemu_version: "11.1.3".into(), serial_ports: 1, root_slots: 4 },
            reserved_report_data: Some(image::RESERVED_REPORT_DATA),
            pad_engines: None,
            reference: facts.reference(),
        }
    }

    fn shape(qemu_version: &str) -> Shape {
        let qemu_version = qemu_version.to_owned();
        Shape {
            vcpus: 2,
            memory_mib: 2048,
            root_slots: 4,
            serial_ports: 1,
            qemu_version,
            pci_hotplug: true,
        }
    }

    #[test]
    fn files_and_their_digests_predict_the_same_registers() {
        let (firmware, kernel) = (firmware(&SECTIONS), pe());
        let files = files(&firmware, &kernel, "no-kvmclock");
        let from_files = ImageFacts::from_files(&files).unwrap();
        assert_eq!(from_files.firmware.accepted_ranges[0], (0x80_0000, 0x6000));

        let manifest = manifest(&from_files);
        let from_manifest = ImageFacts::from_manifest(&manifest).unwrap();
        let shape = shape("11.1.3");
        let predicted = predict_registers(&from_files, &shape).unwrap();
        assert_eq!(predict_registers(&from_manifest, &shape).unwrap(), predicted);
        assert_eq!(predicted.registers.rtmr1, manifest.reference.rtmr1);
        assert_eq!(predicted.registers.rtmr2, manifest.reference.rtmr2);
        assert_eq!(predicted.registers.mrtd, manifest.reference.mrtd.single_pass);
    }

    #[test]
    fn digests_do_not_do_where_qemu_rewrites_the_kernel() {
        let (firmware, kernel) = (firmware(&SECTIONS), pe());
        let files = files(&firmware, &kernel, "");
        let manifest = manifest(&ImageFacts::from_files(&files).unwrap());
        let facts = ImageFacts::from_manifest(&manifest).unwrap();
        let error = predict_registers(&facts, &shape("8.2.2")).unwrap_err();
        assert_eq!(error, PredictError::KernelFileNeeded);
    }

    #[test]
    fn a_manifest_that_contradicts_itself_is_refused() {
        let (firmware, kernel) = (firmware(&SECTIONS), pe());
        let files = files(&firmware, &kernel, "");
        let mut manifest = manifest(&ImageFacts::from_files(&files).unwrap());
        manifest.cmdline.push_str(" init=/bin/sh");
        let error = ImageFacts::from_manifest(&manifest).unwrap_err();
        assert!(matches!(error, FactsError::Reference { register: Register::Rtmr2, .. }));
    }
}
