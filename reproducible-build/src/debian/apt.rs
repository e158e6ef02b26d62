//! The Debian mirrors and the proxy of the host's own apt configuration.
//!
//! The project names no mirror: it asks the machine it runs on. What is read
//! here can only deny service, because every file is judged by its digest.

use std::path::{Path, PathBuf};

use fs_err as fs;

/// What the host's configuration says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct AptConfig {
    /// Bases of Debian's main archive, without a slash at the end, each once.
    pub mirrors: Vec<String>,
    /// `Acquire::http::Proxy`, if it is set.
    pub proxy: Option<String>,
}

/// Reads `etc/apt` and `etc/os-release` below `root` (usually `/`). On a system
/// that is not Debian there are no mirrors: its suites are not Debian's.
#[must_use]
pub fn read(root: &Path) -> AptConfig {
    let os_release = fs::read_to_string(root.join("etc/os-release")).unwrap_or_default();
    let apt = root.join("etc/apt");
    let mut config = AptConfig {
        proxy: directory(&apt, "apt.conf", "apt.conf.d", "").find_map(|text| proxy(&text)),
        ..AptConfig::default()
    };
    if os_value(&os_release, "ID") != Some("debian") {
        return config;
    }
    let codename = os_value(&os_release, "VERSION_CODENAME").unwrap_or("stable");
    let mut sources: Vec<Entry> = Vec::new();
    for text in directory(&apt, "sources.list", "sources.list.d", "list") {
        sources.extend(text.lines().filter_map(one_line));
    }
    for text in directory(&apt, "", "sources.list.d", "sources") {
        sources.extend(text.split("\n\n").flat_map(deb822));
    }
    for entry in sources.into_iter().filter(|e| e.is_main_archive(codename)) {
        let base = entry.uri.trim_end_matches('/').to_owned();
        if !config.mirrors.contains(&base) {
            config.mirrors.push(base);
        }
    }
    config
}

struct Entry {
    uri: String,
    suite: String,
    components: Vec<String>,
}

impl Entry {
    /// Debian's own archive has the component `main` and is published under the
    /// release's plain name; security updates live in another archive.
    fn is_main_archive(&self, codename: &str) -> bool {
        let web = self.uri.starts_with("http://") || self.uri.starts_with("https://");
        let suite = self.suite.trim_end_matches('/');
        let plain = ["-updates", "-backports"]
            .iter()
            .find_map(|end| suite.strip_suffix(end))
            .unwrap_or(suite);
        let known = [codename, "trixie", "stable", "testing", "unstable", "sid"].contains(&plain);
        web && known && self.components.iter().any(|c| c == "main")
    }
}

/// The texts of `file` and of every file in `directory` with the ending, in apt's order.
fn directory(
    apt: &Path,
    file: &str,
    directory: &str,
    ending: &str,
) -> impl Iterator<Item = String> {
    let mut paths: Vec<PathBuf> = fs::read_dir(apt.join(directory))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| ending.is_empty() || path.extension().is_some_and(|e| e == ending))
        .collect();
    paths.sort();
    if !file.is_empty() {
        paths.insert(0, apt.join(file));
    }
    paths.into_iter().filter_map(|path| fs::read_to_string(path).ok())
}

/// `deb [options] uri suite component…` (sources.list(5)).
fn one_line(line: &str) -> Option<Entry> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?;
    let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
    let rest = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?.1,
        None => rest,
    };
    let mut fields = rest.split_whitespace().map(str::to_owned);
    Some(Entry { uri: fields.next()?, suite: fields.next()?, components: fields.collect() })
}

/// A stanza of a `.sources` file: every URI with every suite.
fn deb822(block: &str) -> Vec<Entry> {
    let value = |key: &str| -> Vec<String> {
        let mut fields = Vec::new();
        let mut inside = false;
        for line in block.lines().filter(|line| !line.starts_with('#')) {
            let text = match line.split_once(':') {
                Some((name, text)) if !line.starts_with([' ', '\t']) => {
                    inside = name.trim().eq_ignore_ascii_case(key);
                    text
                }
                _ => line,
            };
            if inside {
                fields.extend(text.split_whitespace().map(str::to_owned));
            }
        }
        fields
    };
    let enabled = value("Enabled").first().is_none_or(|v| v != "no");
    if !enabled || !value("Types").iter().any(|t| t == "deb") {
        return Vec::new();
    }
    let (suites, components) = (value("Suites"), value("Components"));
    let pair = |uri: &String| {
        let entry = |suite: &String| Entry {
            uri: uri.clone(),
            suite: suite.clone(),
            components: components.clone(),
        };
        suites.iter().map(entry).collect::<Vec<_>>()
    };
    value("URIs").iter().flat_map(pair).collect()
}

/// `Acquire::http::Proxy "…";` in its one-line form.
fn proxy(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let line = line.trim();
        let key = "acquire::http::proxy";
        let head = line.get(..key.len())?;
        let value = line.get(key.len()..)?.trim().strip_suffix(';')?.trim_matches('"');
        let set = head.eq_ignore_ascii_case(key) && value.contains("://");
        set.then(|| value.to_owned())
    })
}

fn os_value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name == key).then(|| value.trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)]) -> AptConfig {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        read(root.path())
    }

    const DEBIAN: (&str, &str) = ("etc/os-release", "ID=debian\nVERSION_CODENAME=bookworm\n");

    #[test]
    fn reads_both_formats_and_leaves_other_archives_out() {
        let config = host(&[
            DEBIAN,
            (
                "etc/apt/sources.list",
                "# deb http://no/debian bookworm main\ndeb [arch=amd64] http://one.test/debian/ bookworm main contrib\n\
                 deb-src http://src.test/debian bookworm main\ndeb http://one.test/debian bookworm-updates main\n",
            ),
            (
                "etc/apt/sources.list.d/x.sources",
                "Types: deb\nURIs: https://two.test/debian\n https://three.test/debian\nSuites: bookworm bookworm-updates\nComponents: main\n\n\
                 Types: deb\nURIs: http://sec.test/debian-security\nSuites: bookworm-security\nComponents: main\n\n\
                 Enabled: no\nTypes: deb\nURIs: http://off.test/debian\nSuites: bookworm\nComponents: main\n",
            ),
            (
                "etc/apt/sources.list.d/vendor.list",
                "deb https://vendor.test/apt stable-vendor main\ndeb cdrom:[x]/ bookworm main\n",
            ),
            ("etc/apt/apt.conf.d/99proxy", "Acquire::http::Proxy \"http://proxy.test:3128\";\n"),
        ]);
        assert_eq!(
            config.mirrors,
            ["http://one.test/debian", "https://two.test/debian", "https://three.test/debian"]
        );
        assert_eq!(config.proxy.as_deref(), Some("http://proxy.test:3128"));
    }

    #[test]
    fn another_distribution_has_no_debian_mirror() {
        let config = host(&[
            ("etc/os-release", "ID=ubuntu\nID_LIKE=debian\n"),
            ("etc/apt/sources.list", "deb http://archive.test/ubuntu stable main\n"),
        ]);
        assert_eq!(config, AptConfig::default());
    }
}
