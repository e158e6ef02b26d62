//! Who a container runs as: the service's or the image's `user[:group]`, looked up in the image's
//! own files.
//!
//! Docker's rules: a number needs no entry; a name must have one; without a group the user's own
//! counts (0 for a number without an entry), and supplementary groups come from `/etc/group` only
//! then. The two files are the image's and hostile: read within a bound, lines that make no sense
//! skipped.

use super::wire::UserRequest;

/// Longest user or group file that is read; a real one has a few kilobytes.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 20;
/// NGROUPS_MAX is 65,536; nobody needs more than this.
const MAX_GROUPS: usize = 256;

/// Numbers for the process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) additional_gids: Vec<u32>,
    /// Absolute; `/` if the files do not say.
    pub(super) home: String,
}

/// Looks a user and its further groups up in the texts of `/etc/passwd` and `/etc/group`.
pub(super) fn identity(
    request: &UserRequest,
    passwd: &str,
    group: &str,
) -> Result<Identity, UserError> {
    let (user, wanted_group) = match request.name.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (request.name.as_str(), None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let entry = passwd.lines().map(fields).find(|fields| {
        fields.first() == Some(&user)
            || (number(user).is_some() && number_at(fields, 2) == number(user))
    });
    let uid = match &entry {
        Some(fields) => number_at(fields, 2),
        None => number(user),
    };
    let uid = uid.ok_or_else(|| UserError::User(user.to_owned()))?;
    let home = entry.as_ref().and_then(|fields| fields.get(5)).filter(|home| home.starts_with('/'));
    let home = home.map_or("/", |home| *home).replace('\0', "");
    let (gid, mut additional_gids) = match wanted_group {
        Some(wanted) => (
            group_id(wanted, group).ok_or_else(|| UserError::Group(wanted.to_owned()))?,
            Vec::new(),
        ),
        None => {
            let name = entry.as_ref().and_then(|fields| fields.first()).copied().unwrap_or(user);
            let gid = entry.as_ref().and_then(|fields| number_at(fields, 3)).unwrap_or(0);
            (gid, groups_of(name, group))
        }
    };
    for wanted in &request.groups {
        additional_gids
            .push(group_id(wanted, group).ok_or_else(|| UserError::Group(wanted.clone()))?);
    }
    additional_gids.sort_unstable();
    additional_gids.dedup();
    Ok(Identity { uid, gid, additional_gids, home })
}

fn groups_of(name: &str, group: &str) -> Vec<u32> {
    group
        .lines()
        .map(fields)
        .filter(|fields| {
            fields.get(3).is_some_and(|members| members.split(',').any(|member| member == name))
        })
        .filter_map(|fields| number_at(&fields, 2))
        .take(MAX_GROUPS)
        .collect()
}

fn group_id(wanted: &str, group: &str) -> Option<u32> {
    let named = group.lines().map(fields).find(|fields| fields.first() == Some(&wanted));
    match named {
        Some(fields) => number_at(&fields, 2),
        None => number(wanted),
    }
}

fn fields(line: &str) -> Vec<&str> {
    line.trim_end().splitn(8, ':').collect()
}

fn number_at(fields: &[&str], index: usize) -> Option<u32> {
    number(fields.get(index)?)
}

/// A decimal number that is an id: `u32::MAX` means "none" to the kernel.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX)
}

/// Why a container's user is nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// there is no such user
    #[error("user {0:?} is no number and not in the image's /etc/passwd")]
    User(String),
    /// there is no such group
    #[error("group {0:?} is no number and not in the image's /etc/group")]
    Group(String),
    /// so many ids are larger than those of a container that they cannot be mapped one by one
    #[error("{found} of the user's ids are larger than 65535, at most {limit} can be")]
    Beyond {
        /// How many.
        found: usize,
        /// How many can be.
        limit: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nbroken\nwww:x:33:34::/var/www:/bin/false\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nssl:x:104:other,www\nadm:x:4:www\n";

    fn looked_up(name: &str, groups: &[&str]) -> Result<Identity, UserError> {
        let groups = groups.iter().map(|group| group.to_string()).collect();
        identity(&UserRequest { name: name.to_owned(), groups }, PASSWD, GROUP)
    }

    #[test]
    fn names_and_numbers_are_looked_up_as_docker_does() {
        for (user, groups, uid, gid, additional, home) in [
            ("", &[][..], 0, 0, vec![], "/root"),
            ("root", &[], 0, 0, vec![], "/root"),
            ("www", &[], 33, 34, vec![4, 104], "/var/www"),
            ("33", &[], 33, 34, vec![4, 104], "/var/www"),
            ("www:ssl", &[], 33, 104, vec![], "/var/www"),
            ("www:", &["7", "adm"], 33, 34, vec![4, 7, 104], "/var/www"),
            ("1000", &["ssl"], 1000, 0, vec![104], "/"),
            ("1000:1001", &[], 1000, 1001, vec![], "/"),
            (":ssl", &[], 0, 104, vec![], "/root"),
        ] {
            let expected =
                Identity { uid, gid, additional_gids: additional, home: home.to_owned() };
            assert_eq!(looked_up(user, groups), Ok(expected), "{user:?}");
        }
        assert_eq!(looked_up("nobody", &[]), Err(UserError::User("nobody".into())));
        assert_eq!(looked_up("4294967295", &[]), Err(UserError::User("4294967295".into())));
        assert_eq!(looked_up("www:none", &[]), Err(UserError::Group("none".into())));
        assert_eq!(looked_up("www", &["none"]), Err(UserError::Group("none".into())));
    }
}
