//! What a TDX host needs, judged from facts that were collected before: one check a step of
//! docs/tdx-host.md.
//!
//! Nothing here looks at the machine, so every outcome has a test. A check that passes is no proof
//! of security: what a guest stands on is proved by its quote alone. These say which step of the
//! installation is missing.

use serde::Serialize;

use crate::output::columns;

pub mod facts;

use facts::{Facts, Reached};

/// The first kernel whose KVM starts trust domains.
const OLDEST_KERNEL: (u32, u32) = (6, 16);
/// What Linux adds to a processor's flags when the BIOS has set private keys apart for TDX.
const TDX_HOST_FLAG: &str = "tdx_host_platform";
/// Bit of `Status` in the variable SgxRegistrationStatus: the platform's keys are registered with
/// Intel.
const REGISTRATION_COMPLETE: u16 = 1;

/// One step's outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The step, such as `kernel`.
    pub name: &'static str,
    /// What is needed.
    pub what: &'static str,
    /// Whether it is there.
    pub pass: bool,
    /// What is there instead, or as well.
    pub found: String,
    /// What to do, if it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'static str>,
}

/// All checks, in the order of the installation.
pub fn evaluate(facts: &Facts) -> Vec<Check> {
    vec![
        processor(facts),
        bios(facts),
        kernel(facts),
        kvm(facts),
        kvm_access(facts),
        sgx(facts),
        quote_service(facts),
        certificate_cache(facts),
        registration(facts),
        qemu(facts),
        namespaces(facts),
    ]
}

/// The table that a person reads, and what to do next.
pub fn table(checks: &[Check]) -> String {
    let row = |check: &Check| {
        let mark = if check.pass { "ok" } else { "MISSING" };
        vec![mark.to_owned(), check.name.to_owned(), check.what.to_owned(), check.found.clone()]
    };
    let rows: Vec<_> = checks.iter().map(row).collect();
    let hints: String = checks
        .iter()
        .filter_map(|check| Some(format!("{}: {}\n", check.name, check.hint?)))
        .collect();
    let missing = checks.iter().filter(|check| !check.pass).count();
    let end = match missing {
        0 => "this machine can run trust domains: dstyx up DIR --tdx\n".to_owned(),
        _ => format!(
            "\n{hints}\n{missing} of {} steps of docs/tdx-host.md are missing\n",
            checks.len()
        ),
    };
    columns(&rows) + &end
}

fn check(
    name: &'static str,
    what: &'static str,
    pass: bool,
    found: String,
    hint: &'static str,
) -> Check {
    Check { name, what, pass, found, hint: (!pass).then_some(hint) }
}

fn processor(facts: &Facts) -> Check {
    let pass = facts.vendor.as_deref() == Some("GenuineIntel");
    let found = match (&facts.vendor, &facts.model) {
        (Some(vendor), Some(model)) => format!("{vendor}, {model}"),
        (vendor, _) => stated(vendor.as_deref()),
    };
    let hint = "TDX needs a Xeon of the fifth generation (Emerald Rapids) or later, on bare metal";
    check("processor", "an Intel processor", pass, found, hint)
}

fn bios(facts: &Facts) -> Check {
    let pass = facts.cpu_flags.iter().any(|flag| flag == TDX_HOST_FLAG);
    let found = if pass {
        "private keys are set apart for TDX"
    } else {
        "no flag tdx_host_platform in /proc/cpuinfo"
    };
    let hint = "in the BIOS turn on memory encryption (TME and TME-MT), TDX, the TDX loader (SEAM) and SGX, and give \
                TDX some of the keys; needs Linux 6.16 or later to show";
    check("bios", "TDX turned on in the BIOS", pass, found.to_owned(), hint)
}

fn kernel(facts: &Facts) -> Check {
    let version = facts.kernel_release.as_deref().and_then(version);
    let pass = version.is_some_and(|version| version >= OLDEST_KERNEL);
    let hint = "boot a kernel that has CONFIG_KVM_INTEL_TDX, Linux 6.16 or later";
    check("kernel", "Linux 6.16 or later", pass, stated(facts.kernel_release.as_deref()), hint)
}

fn kvm(facts: &Facts) -> Check {
    let pass = facts.kvm_tdx.as_deref() == Some("Y");
    let found = match facts.kvm_tdx.as_deref() {
        None => "kvm_intel is not loaded, or does not know TDX".to_owned(),
        Some(value) => format!("kvm_intel.tdx={value}"),
    };
    let hint = "boot with kvm_intel.tdx=1 (some kernels also want nohibernate); `dmesg | grep -i tdx` says what fails";
    check("kvm", "KVM that starts trust domains", pass, found, hint)
}

fn kvm_access(facts: &Facts) -> Check {
    let (pass, found) = outcome(&facts.kvm_access, "/dev/kvm opens");
    check(
        "kvm-access",
        "/dev/kvm for this user",
        pass,
        found,
        "add this user to the group kvm and log in again",
    )
}

fn sgx(facts: &Facts) -> Check {
    let missing: Vec<&str> = facts
        .sgx_devices
        .iter()
        .filter(|(_, exists)| !exists)
        .map(|(device, _)| device.as_str())
        .collect();
    let pass = !facts.sgx_devices.is_empty() && missing.is_empty();
    let found =
        if pass { "both devices".to_owned() } else { format!("no {}", missing.join(", no ")) };
    let hint = "quotes are signed in an SGX enclave: turn on SGX in the BIOS, and CONFIG_X86_SGX in the kernel";
    check("sgx", "SGX for the quoting enclave", pass, found, hint)
}

fn quote_service(facts: &Facts) -> Check {
    let (pass, found) = reached(&facts.quote_service);
    let hint = "install Intel's quote generation service (tdx-qgs), set `port = 4050` in /etc/qgs.conf, load \
                vsock_loopback, and start qgsd";
    check("quote-service", "a quote generation service on vsock 2:4050", pass, found, hint)
}

fn certificate_cache(facts: &Facts) -> Check {
    let (pass, found) = match &facts.certificate_cache {
        None => (false, "no pccs_url in /etc/sgx_default_qcnl.conf".to_owned()),
        Some(cache) => {
            let (pass, found) = reached(&cache.reached);
            (pass, format!("{}: {found}", cache.url))
        }
    };
    let hint = "run a PCCS (or name one) and write its address as pccs_url into /etc/sgx_default_qcnl.conf";
    check("pccs", "a certificate cache that answers", pass, found, hint)
}

/// `SgxRegistrationStatus`: version, size and status, 16 bits each, and an error code of 8 bits
/// (Intel, SGX multi-package registration, UEFI variables); the kernel puts four bytes of
/// attributes before it.
fn registration(facts: &Facts) -> Check {
    let hint = "let the multi-package registration agent (mpa_registration) run once with access to Intel's \
                registration service, then restart the machine; its log is /var/log/mpa_registration.log";
    let (pass, found) = match facts.registration.as_deref() {
        None => (false, "no EFI variable SgxRegistrationStatus".to_owned()),
        Some(&[_, _, _, _, _, _, _, _, low, high, error]) => {
            let complete = u16::from_le_bytes([low, high]) & REGISTRATION_COMPLETE != 0;
            let state = if complete { "complete" } else { "not complete" };
            (complete && error == 0, format!("{state}, error code {error:#04x}"))
        }
        Some(other) => {
            (false, format!("SgxRegistrationStatus has {} bytes; expected are 11", other.len()))
        }
    };
    check("registration", "the platform registered with Intel", pass, found, hint)
}

fn qemu(facts: &Facts) -> Check {
    let (pass, found) = outcome(&facts.qemu, "");
    let hint =
        "run it in a checkout: inputs.lock pins a QEMU with TDX, which `dstyx up` unpacks and uses";
    check("qemu", "a QEMU with tdx-guest", pass, found, hint)
}

fn namespaces(facts: &Facts) -> Check {
    let (pass, found) = outcome(&facts.namespaces, "a user namespace was made");
    let hint = "the builder needs user namespaces: sysctl kernel.unprivileged_userns_clone=1, \
                user.max_user_namespaces above 0, no AppArmor restriction";
    check("namespaces", "user namespaces, for the builder", pass, found, hint)
}

fn reached(reached: &Reached) -> (bool, String) {
    match reached {
        Reached::Yes => (true, "answers".to_owned()),
        Reached::No(why) => (false, why.clone()),
    }
}

/// A success that may say more, or what failed.
fn outcome(result: &Result<String, String>, good: &str) -> (bool, String) {
    match result {
        Ok(more) if more.is_empty() => (true, good.to_owned()),
        Ok(more) => (true, more.clone()),
        Err(why) => (false, why.clone()),
    }
}

fn stated(text: Option<&str>) -> String {
    text.unwrap_or("unknown").to_owned()
}

/// `7.2.12-amd64` → (7, 2)
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::facts::CertificateCache;
    use super::*;

    fn server() -> Facts {
        Facts {
            vendor: Some("GenuineIntel".to_owned()),
            model: Some("INTEL(R) XEON(R) PLATINUM 8592+".to_owned()),
            cpu_flags: ["fpu", "tdx_host_platform"].map(str::to_owned).to_vec(),
            kernel_release: Some("6.16.0-1-amd64".to_owned()),
            kvm_tdx: Some("Y".to_owned()),
            kvm_access: Ok(String::new()),
            sgx_devices: vec![
                ("/dev/sgx_enclave".to_owned(), true),
                ("/dev/sgx_provision".to_owned(), true),
            ],
            quote_service: Reached::Yes,
            certificate_cache: Some(CertificateCache {
                url: "https://localhost:8081/sgx/certification/v4/".to_owned(),
                reached: Reached::Yes,
            }),
            registration: Some(vec![7, 0, 0, 0, 1, 0, 3, 0, 3, 0, 0]),
            qemu: Ok("11.1.3".to_owned()),
            namespaces: Ok(String::new()),
        }
    }

    fn missing(facts: &Facts) -> Vec<&'static str> {
        evaluate(facts).iter().filter(|check| !check.pass).map(|check| check.name).collect()
    }

    #[test]
    fn a_server_that_is_set_up_passes() {
        let checks = evaluate(&server());
        assert!(checks.iter().all(|check| check.pass && check.hint.is_none()), "{checks:#?}");
        assert!(table(&checks).ends_with("dstyx up DIR --tdx\n"));
    }

    #[test]
    fn each_missing_step_is_named_alone() {
        let no = || Err("no".to_owned());
        type Step = (&'static str, fn(&mut Facts));
        let steps: [Step; 13] = [
            ("processor", |facts| facts.vendor = Some("AuthenticAMD".to_owned())),
            ("bios", |facts| facts.cpu_flags.clear()),
            ("kernel", |facts| facts.kernel_release = Some("6.15.9".to_owned())),
            ("kernel", |facts| facts.kernel_release = None),
            ("kvm", |facts| facts.kvm_tdx = Some("N".to_owned())),
            ("kvm", |facts| facts.kvm_tdx = None),
            ("sgx", |facts| facts.sgx_devices[1].1 = false),
            ("quote-service", |facts| {
                facts.quote_service = Reached::No("connection reset".to_owned())
            }),
            ("pccs", |facts| facts.certificate_cache = None),
            ("registration", |facts| facts.registration = None),
            ("registration", |facts| {
                facts.registration = Some(vec![7, 0, 0, 0, 1, 0, 3, 0, 2, 0, 0])
            }),
            ("registration", |facts| {
                facts.registration = Some(vec![7, 0, 0, 0, 1, 0, 3, 0, 1, 0, 0x80])
            }),
            ("registration", |facts| facts.registration = Some(Vec::new())),
        ];
        for (name, change) in steps {
            let mut facts = server();
            change(&mut facts);
            assert_eq!(missing(&facts), [name]);
        }
        for (name, facts) in [
            ("kvm-access", Facts { kvm_access: no(), ..server() }),
            ("qemu", Facts { qemu: no(), ..server() }),
            ("namespaces", Facts { namespaces: no(), ..server() }),
        ] {
            assert_eq!(missing(&facts), [name]);
        }
    }

    #[test]
    fn a_machine_without_anything_hears_every_step() {
        let checks = evaluate(&Facts::default());
        assert!(checks.iter().all(|check| !check.pass && check.hint.is_some()), "{checks:#?}");
        assert!(table(&checks).contains("11 of 11 steps"));
    }

    #[test]
    fn the_page_has_every_row() {
        let page = include_str!("../../docs/tdx-host.md");
        let rows: Vec<&str> =
            page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let names: Vec<&str> = evaluate(&server()).iter().map(|check| check.name).collect();
        assert_eq!(rows, names);
    }

    #[test]
    fn versions_are_numbers() {
        assert_eq!(version("7.2.12-1~bpo13+1"), Some((7, 2)));
        assert!(version("6.9.1") < Some(OLDEST_KERNEL));
        assert_eq!(version("rolling"), None);
    }
}
