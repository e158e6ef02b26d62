//! Which keys a mapping may hold: those of the compose specification, each read by a section or
//! refused with a reason.
//!
//! The tables are compared with a list of the specification's keys in a test, so that a key is
//! *unknown* only if the specification has none of that name. Nothing is ever ignored.

mod tables;

pub(super) use tables::*;

/// What a guest does with a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Support {
    /// A section reads it.
    Now,
    /// It changes nothing in a guest: the reason.
    Note(&'static str),
    /// It is refused: the reason, and the alternative.
    No(&'static str, &'static str),
}

/// The keys of one kind of mapping, sorted.
pub(super) type Table = &'static [(&'static str, Support)];

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key of the specification, so that none is ever called unknown.
    const KEYS: &str = include_str!("../../../tests/vectors/compose/keys.txt");

    #[test]
    fn every_key_is_documented() {
        let page = include_str!("../../../docs/compose.md");
        for (key, _) in TOP
            .iter()
            .chain(SERVICE)
            .chain(DEPLOY)
            .chain(NETWORK)
            .chain(MOUNT_BIND)
            .chain(ATTACHMENT)
        {
            let forms = [
                format!("`{key}`"),
                format!("`{key}."),
                format!("`{key}:"),
                format!(".{key}`"),
                format!(".{key}:"),
                format!(".{key}."),
            ];
            assert!(
                forms.iter().any(|form| page.contains(form)),
                "docs/compose.md says nothing of {key}"
            );
        }
    }

    #[test]
    fn tables_have_the_keys_of_the_specification() {
        let tables = [
            ("top", TOP),
            ("service", SERVICE),
            ("port", PORT),
            ("dependency", DEPENDENCY),
            ("device", DEVICE),
            ("logging", LOGGING),
            ("attachment", ATTACHMENT),
            ("mount", MOUNT),
            ("mount_bind", MOUNT_BIND),
            ("mount_volume", MOUNT_VOLUME),
            ("mount_tmpfs", MOUNT_TMPFS),
            ("healthcheck", HEALTHCHECK),
            ("deploy", DEPLOY),
            ("deploy_resources", DEPLOY_RESOURCES),
            ("deploy_limits", DEPLOY_LIMITS),
            ("deploy_reservations", DEPLOY_RESERVATIONS),
            ("restart_policy", RESTART_POLICY),
            ("env_file", ENV_FILE),
            ("grant", GRANT),
            ("ulimit", ULIMIT),
            ("network", NETWORK),
            ("ipam", IPAM),
            ("ipam_config", IPAM_CONFIG),
            ("volume", VOLUME),
            ("secret", SECRET),
            ("config", CONFIG),
        ];
        let words =
            KEYS.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace);
        let mut theirs: Vec<(&str, Vec<&str>)> = Vec::new();
        for word in words {
            match (word.strip_suffix(':'), theirs.last_mut()) {
                (Some(name), _) => theirs.push((name, Vec::new())),
                (None, Some((_, keys))) => keys.push(word),
                (None, None) => panic!("{word} belongs to no kind"),
            }
        }
        let ours: Vec<(&str, Vec<&str>)> = tables
            .iter()
            .map(|(name, table)| (*name, table.iter().map(|(key, _)| *key).collect()))
            .collect();
        assert_eq!(ours, theirs);
    }
}
