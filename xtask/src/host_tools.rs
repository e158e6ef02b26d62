//! Programs of the host that only tests need. Where one is missing, the system's package client
//! installs it.

use std::process::{Command, Stdio};

/// One of them.
#[derive(Debug, Clone, Copy)]
pub struct HostTool {
    /// A command that succeeds where it is there.
    probe: &'static [&'static str],
    /// Debian's package.
    package: &'static str,
    /// For what, for people.
    purpose: &'static str,
}

/// libFuzzer is C++.
pub const CXX: HostTool =
    HostTool { probe: &["c++", "--version"], package: "g++", purpose: "libFuzzer is C++" };
/// What tests start besides what cargo and the locks give them.
pub const OF_TESTS: [HostTool; 3] = [
    HostTool {
        probe: &["python3", "-m", "pip", "--version"],
        package: "python3-pip",
        purpose: "Python SDKs in tests",
    },
    HostTool { probe: &["npm", "--version"], package: "npm", purpose: "JavaScript SDKs in tests" },
    HostTool { probe: &["ip", "-V"], package: "iproute2", purpose: "networks in tests" },
];

/// Installs those that are missing.
pub fn ensure(tools: &[HostTool]) -> Result<(), String> {
    let missing: Vec<&HostTool> = tools.iter().filter(|tool| !tool.is_here()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut install = Command::new("apt-get");
    install.args(["install", "--yes", "--no-install-recommends"]);
    install.args(missing.iter().map(|tool| tool.package)).env("DEBIAN_FRONTEND", "noninteractive");
    match install.status() {
        Ok(status) if status.success() => Ok(()),
        outcome => {
            let wanted: Vec<String> =
                missing.iter().map(|tool| format!("{} ({})", tool.package, tool.purpose)).collect();
            let outcome =
                outcome.map_or_else(|error| error.to_string(), |status| status.to_string());
            Err(format!("apt-get: {outcome}; install {}", wanted.join(", ")))
        }
    }
}

impl HostTool {
    fn is_here(self) -> bool {
        let mut probe = Command::new(self.probe[0]);
        probe
            .args(&self.probe[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    }
}
