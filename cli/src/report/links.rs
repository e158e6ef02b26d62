//! The links of the chain, from the hardware's root to the compose file; each check says which of
//! them it holds.

use attestation::{Facts, Link};

use super::shown;

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
    /// The link whose checks hold it.
    pub link: Link,
    /// What the evidence says here, beside the checks.
    pub says: fn(&Facts) -> shown::Shown,
}

/// Every link, in order.
pub const CHAIN: [Place; 13] = [
    Place {
        title: "Root of trust",
        meaning: "whose signature everything rests on",
        expected_from: "Intel's certificate, which dstyx pins (attestation/roots); an emulator's only where an option or a policy names it, or dstyx started it",
        found_in: "the last certificate of the chain in the quote",
        link: Link::Root,
        says: shown::nothing,
    },
    Place {
        title: "Certificates and revocation",
        meaning: "the root issued them, they are valid, and nobody took them back",
        expected_from: "the certificate above each one, and the revocation lists of the same CA",
        found_in: "the chain in the quote, and the collateral",
        link: Link::Certificates,
        says: shown::nothing,
    },
    Place {
        title: "Processor and its patch level",
        meaning: "one real processor, with microcode and firmware that have no known hole",
        expected_from: "the TCB info that the CA signed for this kind of processor, and the policy",
        found_in: "the processor's PCK certificate",
        link: Link::Processor,
        says: shown::processor,
    },
    Place {
        title: "Quoting enclave",
        meaning: "the program on that processor that vouches for quotes",
        expected_from: "the QE identity that the CA signed",
        found_in: "the enclave's own report in the quote",
        link: Link::QuotingEnclave,
        says: shown::nothing,
    },
    Place {
        title: "Quote",
        meaning: "the signed statement itself, unchanged and made for this request",
        expected_from: "the attestation key, and the nonce or the report data that was stated",
        found_in: "the quote",
        link: Link::Quote,
        says: shown::quote,
    },
    Place {
        title: "TDX module",
        meaning: "Intel's software that keeps the host out of the guest",
        expected_from: "the TCB info, and zero where only Intel's module may stand",
        found_in: "the quote: MRSEAM, MRSIGNERSEAM, SEAMATTRIBUTES, TEE_TCB_SVN",
        link: Link::TdxModule,
        says: shown::tdx_module,
    },
    Place {
        title: "Trust domain",
        meaning: "how the guest was created: nobody can debug it, move it or look in",
        expected_from: "dstyx's strict rules, and what the policy tolerates by name",
        found_in: "the quote: TDATTRIBUTES, XFAM, MRSERVICETD",
        link: Link::TrustDomain,
        says: shown::trust_domain,
    },
    Place {
        title: "Firmware · MRTD",
        meaning: "the first code that runs in the guest",
        expected_from: "computed from the image's firmware",
        found_in: "the quote: MRTD",
        link: Link::Firmware,
        says: shown::nothing,
    },
    Place {
        title: "Machine and ACPI tables · RTMR0",
        meaning: "the virtual hardware, as the host described it to the firmware",
        expected_from: "computed from the firmware's configuration and the machine's shape",
        found_in: "the quote: RTMR0",
        link: Link::Machine,
        says: shown::nothing,
    },
    Place {
        title: "Kernel · RTMR1",
        meaning: "the kernel that the firmware started",
        expected_from: "computed from the image's kernel",
        found_in: "the quote: RTMR1",
        link: Link::Kernel,
        says: shown::nothing,
    },
    Place {
        title: "Command line and initrd · RTMR2",
        meaning: "the whole operating system, and how it was told to start",
        expected_from: "computed from the image's command line and initrd",
        found_in: "the quote: RTMR2",
        link: Link::Loaded,
        says: shown::nothing,
    },
    Place {
        title: "What the guest recorded · RTMR3",
        meaning: "the app and everything since, each event extended before it was acted on",
        expected_from: "the order of a boot, and RTMR3 in the quote",
        found_in: "the event log beside the quote, replayed",
        link: Link::Events,
        says: shown::nothing,
    },
    Place {
        title: "App · compose file",
        meaning: "the containers that were asked for",
        expected_from: "the app directory that was stated",
        found_in: "the events app-id, compose-hash and instance-id, and MRCONFIGID in the quote",
        link: Link::App,
        says: shown::app,
    },
];

#[cfg(test)]
mod tests {
    use attestation::CheckName;

    use super::*;

    #[test]
    fn every_check_holds_exactly_one_link() {
        for check in CheckName::ALL {
            let links = CHAIN.iter().filter(|place| place.link == check.link()).count();
            assert_eq!(links, 1, "{}", check.name());
        }
    }
}
