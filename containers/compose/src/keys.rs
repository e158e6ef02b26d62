//! Which keys a mapping may hold: those of the compose specification, each read by a section or
//! refused with a reason.
//!
//! The tables are compared with the specification's own JSON schema in a test, so that a key is
//! *unknown* only if the specification has none of that name. Nothing is ever ignored.

mod tables;

pub(super) use tables::*;

/// What a guest does with a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Support {
    /// A section reads it.
    Now,
    /// It is refused: the reason, and the alternative.
    No(&'static str, &'static str),
}

/// The keys of one kind of mapping, sorted.
pub(super) type Table = &'static [(&'static str, Support)];

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification's own schema, so that its keys are never called unknown.
    const SCHEMA: &str = include_str!("../../../tests/vectors/compose/compose-spec.json");

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
    fn tables_have_the_keys_of_the_schema() {
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).expect("schema");
        for (table, pointer) in [
            (TOP, ""),
            (SERVICE, "/definitions/service"),
            (PORT, "/definitions/service/properties/ports/items/oneOf/2"),
            (
                DEPENDENCY,
                "/definitions/service/properties/depends_on/oneOf/1/patternProperties/^[a-zA-Z0-9._-]+$",
            ),
            (DEVICE, "/definitions/service/properties/devices/items/oneOf/1"),
            (LOGGING, "/definitions/service/properties/logging"),
            (
                ATTACHMENT,
                "/definitions/service/properties/networks/oneOf/1/patternProperties/^[a-zA-Z0-9._-]+$/oneOf/0",
            ),
            (MOUNT, "/definitions/service/properties/volumes/items/oneOf/1"),
            (MOUNT_BIND, "/definitions/service/properties/volumes/items/oneOf/1/properties/bind"),
            (
                MOUNT_VOLUME,
                "/definitions/service/properties/volumes/items/oneOf/1/properties/volume",
            ),
            (MOUNT_TMPFS, "/definitions/service/properties/volumes/items/oneOf/1/properties/tmpfs"),
            (HEALTHCHECK, "/definitions/healthcheck"),
            (DEPLOY, "/definitions/deployment"),
            (DEPLOY_RESOURCES, "/definitions/deployment/properties/resources"),
            (DEPLOY_LIMITS, "/definitions/deployment/properties/resources/properties/limits"),
            (
                DEPLOY_RESERVATIONS,
                "/definitions/deployment/properties/resources/properties/reservations",
            ),
            (RESTART_POLICY, "/definitions/deployment/properties/restart_policy"),
            (ENV_FILE, "/definitions/env_file/oneOf/1/items/oneOf/1"),
            (GRANT, "/definitions/service_config_or_secret/items/oneOf/1"),
            (ULIMIT, "/definitions/ulimits/patternProperties/^[a-z]+$/oneOf/1"),
            (NETWORK, "/definitions/network"),
            (IPAM, "/definitions/network/properties/ipam"),
            (IPAM_CONFIG, "/definitions/network/properties/ipam/properties/config/items"),
            (VOLUME, "/definitions/volume"),
            (SECRET, "/definitions/secret"),
            (CONFIG, "/definitions/config"),
        ] {
            let theirs = schema.pointer(pointer).expect(pointer)["properties"].as_object();
            let mut theirs: Vec<&str> = theirs.expect(pointer).keys().map(String::as_str).collect();
            theirs.sort_unstable();
            let ours: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
            assert_eq!(ours, theirs, "{pointer}");
        }
    }
}
