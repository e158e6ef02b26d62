//! The links of the chain, from the hardware's root to the compose file, and which checks hold each
//! of them.

use attestation::{CheckName, Facts};

use super::said;

/// A link: what it is, what holds it, and where what is compared comes from.
#[derive(Debug)]
pub struct Place {
    /// Its name, and the register or document that shows it.
    pub title: &'static str,
    /// What holding it means, in one sentence.
    pub meaning: &'static str,
    /// Where the expected values come from.
    pub expected_from: &'static str,
    /// Where the found values come from.
    pub found_in: &'static str,
    /// The checks that hold it.
    pub checks: &'static [CheckName],
    /// What the evidence says here, beside the checks.
    pub says: fn(&Facts) -> said::Said,
}

/// What the policy asks beyond the chain; checks that no link names stand here, so that none is
/// ever left out.
pub const RULES: Place = Place {
    title: "The policy's own rules",
    meaning: "what whoever verifies asks beyond the chain",
    expected_from: "the policy that was given",
    found_in: "the evidence and the collateral",
    checks: &[],
    says: said::nothing,
};

/// Index of the root in [`CHAIN`].
pub const ROOT: usize = 0;
/// Index of the run-time events in [`CHAIN`].
pub const EVENTS: usize = 11;
/// Index of the app in [`CHAIN`].
pub const APP: usize = 12;

/// Every link, in order.
pub const CHAIN: [Place; 13] = [
    Place {
        title: "Root of trust",
        meaning: "whose signature everything rests on",
        expected_from: "Intel's certificate, which dstyx pins (attestation/roots); an emulator's only where an option or a policy names it, or dstyx started it",
        found_in: "the last certificate of the chain in the quote",
        checks: &[CheckName::TrustAnchor],
        says: said::nothing,
    },
    Place {
        title: "Certificates and revocation",
        meaning: "the root issued them, they are valid, and nobody took them back",
        expected_from: "the certificate above each one, and the revocation lists of the same CA",
        found_in: "the chain in the quote, and the collateral",
        checks: &[
            CheckName::PckCertificates,
            CheckName::CertificateValidity,
            CheckName::CollateralFormat,
            CheckName::CollateralSigners,
            CheckName::CrlIssuer,
            CheckName::CrlComplete,
            CheckName::CrlCurrent,
            CheckName::Revocation,
        ],
        says: said::nothing,
    },
    Place {
        title: "Processor and its patch level",
        meaning: "one real processor, with microcode and firmware that have no known hole",
        expected_from: "the TCB info that the CA signed for this kind of processor, and the policy",
        found_in: "the processor's PCK certificate",
        checks: &[
            CheckName::TcbInfoSignature,
            CheckName::TcbInfoCurrent,
            CheckName::TcbInfoPlatform,
            CheckName::TcbStatus,
            CheckName::TcbAdvisories,
            CheckName::MinimumTcbDate,
            CheckName::EvaluationNumber,
            CheckName::CollateralAge,
            CheckName::Fmspc,
            CheckName::PlatformId,
        ],
        says: said::processor,
    },
    Place {
        title: "Quoting enclave",
        meaning: "the program on that processor that vouches for quotes",
        expected_from: "the QE identity that the CA signed",
        found_in: "the enclave's own report in the quote",
        checks: &[
            CheckName::QeReportSignature,
            CheckName::QeIdentitySignature,
            CheckName::QeIdentityCurrent,
            CheckName::QeIdentity,
            CheckName::AttestationKey,
        ],
        says: said::nothing,
    },
    Place {
        title: "Quote",
        meaning: "the signed statement itself, unchanged and made for this request",
        expected_from: "the attestation key, and the nonce or the report data that was stated",
        found_in: "the quote",
        checks: &[
            CheckName::TeeType,
            CheckName::QuoteFormat,
            CheckName::QuoteHeader,
            CheckName::QuoteSignature,
            CheckName::QuoteVerification,
            CheckName::ReportData,
        ],
        says: said::quote,
    },
    Place {
        title: "TDX module",
        meaning: "Intel's software that keeps the host out of the guest",
        expected_from: "the TCB info, and zero where only Intel's module may stand",
        found_in: "the quote: MRSEAM, MRSIGNERSEAM, SEAMATTRIBUTES, TEE_TCB_SVN",
        checks: &[CheckName::TdxModule, CheckName::MrSignerSeam, CheckName::SeamAttributes],
        says: said::tdx_module,
    },
    Place {
        title: "Trust domain",
        meaning: "how the guest was created: nobody can debug it, move it or look in",
        expected_from: "dstyx's strict rules, and what the policy tolerates by name",
        found_in: "the quote: TDATTRIBUTES, XFAM, MRSERVICETD",
        checks: &[
            CheckName::Debug,
            CheckName::TdAttributes,
            CheckName::SeptVeDisable,
            CheckName::Migratable,
            CheckName::ServiceTd,
            CheckName::TdPartition,
            CheckName::Pks,
            CheckName::Xfam,
        ],
        says: said::trust_domain,
    },
    Place {
        title: "Firmware · MRTD",
        meaning: "the first code that runs in the guest",
        expected_from: "computed from the image's firmware",
        found_in: "the quote: MRTD",
        checks: &[CheckName::Mrtd, CheckName::ImageList],
        says: said::nothing,
    },
    Place {
        title: "Machine and ACPI tables · RTMR0",
        meaning: "the virtual hardware, as the host described it to the firmware",
        expected_from: "computed from the firmware's configuration and the machine's shape",
        found_in: "the quote: RTMR0",
        checks: &[CheckName::Rtmr0],
        says: said::nothing,
    },
    Place {
        title: "Kernel · RTMR1",
        meaning: "the kernel that the firmware started",
        expected_from: "computed from the image's kernel",
        found_in: "the quote: RTMR1",
        checks: &[CheckName::Rtmr1],
        says: said::nothing,
    },
    Place {
        title: "Command line and initrd · RTMR2",
        meaning: "the whole operating system, and how it was told to start",
        expected_from: "computed from the image's command line and initrd",
        found_in: "the quote: RTMR2",
        checks: &[CheckName::Rtmr2],
        says: said::nothing,
    },
    Place {
        title: "What the guest recorded · RTMR3",
        meaning: "the app and everything since, each event extended before it was acted on",
        expected_from: "the order of a boot, and RTMR3 in the quote",
        found_in: "the event log beside the quote, replayed",
        checks: &[
            CheckName::EventLog,
            CheckName::EventPayload,
            CheckName::EventMissing,
            CheckName::EventOrder,
            CheckName::EventRepeated,
            CheckName::EventLate,
            CheckName::BootStage,
            CheckName::Rtmr3,
            CheckName::EventSeparator,
            CheckName::FirmwareLog,
            CheckName::MeasuredFacts,
            CheckName::RequiredEvents,
            CheckName::ForbiddenEvents,
        ],
        says: said::nothing,
    },
    Place {
        title: "App · compose file",
        meaning: "the containers that were asked for",
        expected_from: "the app directory that was stated",
        found_in: "the events app-id, compose-hash and instance-id, and MRCONFIGID in the quote",
        checks: &[
            CheckName::ComposeHash,
            CheckName::AppId,
            CheckName::InstanceId,
            CheckName::MrConfigId,
            CheckName::PublishedCompose,
            CheckName::AppList,
        ],
        says: said::app,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_places_are_where_their_names_say() {
        let holds = |index: usize, check| CHAIN[index].checks.contains(&check);
        assert!(
            holds(ROOT, CheckName::TrustAnchor)
                && holds(EVENTS, CheckName::Rtmr3)
                && holds(APP, CheckName::ComposeHash)
        );
    }

    #[test]
    fn every_check_holds_exactly_one_link() {
        for check in CheckName::ALL {
            let links = CHAIN.iter().filter(|place| place.checks.contains(check)).count();
            assert_eq!(links, 1, "{}", check.name());
        }
    }
}
