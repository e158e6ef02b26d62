//! `pad_services`: which services may have programs run on Pads.

use super::{AppComposeError, refused};

/// More services than have to do with Pads in one app; each has a socket and files of its own.
pub const MAX_PAD_SERVICES: usize = 8;
/// Longest name: it becomes part of a socket's path.
const MAX_NAME_BYTES: usize = 63;

/// The names; one spelling of them is accepted, so that one set of services has one measurement.
pub(super) fn parse(services: Vec<String>) -> Result<Vec<String>, AppComposeError> {
    if services.len() > MAX_PAD_SERVICES {
        let what = format!("at most {MAX_PAD_SERVICES} are expected, found {}", services.len());
        return Err(refused("pad_services", &what));
    }
    if let Some(name) = services.iter().find(|name| !is_name(name)) {
        let what = format!(
            "{name:?} is no name of a service: 1 to {MAX_NAME_BYTES} of a-z A-Z 0-9 - _ . are legal, \
             not starting with a dot"
        );
        return Err(refused("pad_services", &what));
    }
    match services.is_sorted_by(|name, next| name < next) {
        true => Ok(services),
        false => Err(refused("pad_services", "names are expected in ascending order, each once")),
    }
}

fn is_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let fits = (1..=MAX_NAME_BYTES).contains(&name.len());
    fits && !name.starts_with('.') && name.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_different_names_in_order_that_are_no_paths() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        for good in [&[][..], &["a"], &["a", "b-1", "c_2.d"]] {
            assert_eq!(parse(names(good)).unwrap(), names(good));
        }
        let many: Vec<_> = (0..9).map(|number| format!("s{number}")).collect();
        assert!(parse(many[..8].to_vec()).is_ok());
        let rows = [
            (many, "at most 8"),
            (names(&["b", "a"]), "ascending"),
            (names(&["a", "a"]), "each once"),
            (names(&[""]), "no name"),
            (names(&["../a"]), "no name"),
            (names(&[".."]), "no name"),
            (vec!["a".repeat(64)], "no name"),
        ];
        for (services, expected) in rows {
            let error = parse(services).unwrap_err().to_string();
            assert!(error.starts_with("app-compose.json: pad_services: "), "{error}");
            assert!(error.contains(expected), "{error}");
        }
    }
}
