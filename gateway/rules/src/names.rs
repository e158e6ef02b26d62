//! Names of a gateway: `<app or instance id>[-[port][s|g]].<base domain>`, as dstack has them.
//!
//! A name is what a client asks for in the open, so it proves nothing and only routes. Each port
//! has one spelling, so that no two names (two origins of a browser) lead to the same place by
//! accident. Source: dstack 312dc605, `gateway/src/proxy.rs`; what is stricter here: the id is 40
//! digits, and port 0, a sign, a leading zero and an empty part behind the hyphen are refused.

use std::fmt;
use std::num::NonZeroU16;

/// Longest name (RFC 1035, section 2.3.4, without the root's dot).
pub const MAX_NAME_BYTES: usize = 253;
/// Longest part between two dots (RFC 1035, section 2.3.4).
const MAX_LABEL_BYTES: usize = 63;
/// Hexadecimal digits of an app or instance id.
const ID_DIGITS: usize = 40;
/// The port of an app whose name says none: what dstack takes.
const DEFAULT_PORT: u16 = 80;
/// The same where the gateway passes TLS through.
const DEFAULT_TLS_PORT: u16 = 443;
/// The name of the gateway's own page below a base domain.
const GATEWAY: &str = "gateway";
/// The name below a base domain that says whether the gateway serves.
const HEALTH: &str = "health";

/// Why a text is no name, or no name of this gateway.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// {found} bytes, at most {MAX_NAME_BYTES} make a name
    #[error("{found} bytes, at most {MAX_NAME_BYTES} make a name")]
    TooLong {
        /// Bytes present.
        found: usize,
    },
    /// not letters, digits and hyphens between dots
    #[error("not letters, digits and hyphens between dots: {}", .0.escape_debug())]
    Syntax(String),
    /// more than one part before the base domain
    #[error("{0} has more than one part before the base domain")]
    Deep(String),
    /// the base domain itself
    #[error("{0} is the base domain; apps are below it")]
    Bare(String),
    /// not an id of 40 hexadecimal digits
    #[error("{0} is no app or instance id of {ID_DIGITS} hexadecimal digits")]
    Id(String),
    /// both `g` and `s`
    #[error("-{0} asks for HTTP/2 and for passthrough; only one of g and s may follow the port")]
    Both(String),
    /// not a port
    #[error("-{0} has no port from 1 to 65535 without sign and leading zeros")]
    Port(String),
}

/// A domain name: lower-case letters, digits and hyphens in parts of 1 to 63, without a final dot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(String);

impl DomainName {
    /// Reads a name in any case; one final dot, which means the root, is dropped.
    ///
    /// # Errors
    /// If it is too long or has other characters.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let bare = text.strip_suffix('.').unwrap_or(text);
        if bare.len() > MAX_NAME_BYTES {
            return Err(NameError::TooLong { found: bare.len() });
        }
        if !bare.split('.').all(is_label) {
            return Err(NameError::Syntax(text.to_owned()));
        }
        Ok(Self(bare.to_ascii_lowercase()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without its first part, if more than one part is left.
    pub fn parent(&self) -> Option<Self> {
        let (_, rest) = self.0.split_once('.')?;
        rest.contains('.').then(|| Self(rest.to_owned()))
    }

    /// What stands before `.base`; nothing if this is not below `base`.
    fn below(&self, base: &Self) -> Option<&str> {
        self.0.strip_suffix(&base.0)?.strip_suffix('.')
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DomainName({})", self.0)
    }
}

/// Letters, digits and inner hyphens. An underscore is legal in the domain name system, but in no
/// name of a host.
fn is_label(label: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=MAX_LABEL_BYTES).contains(&label.len())
        && label.bytes().all(legal)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// The id of an app or of one of its instances; a name does not say which.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub [u8; 20]);

impl RouteId {
    /// Reads 40 hexadecimal digits in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let mut id = [0; 20];
        // No sign and no space: hex knows digits only.
        hex::decode_to_slice(text, &mut id).ok()?;
        Some(Self(id))
    }
}

impl fmt::Display for RouteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for RouteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RouteId({self})")
    }
}

/// What is done with a client's TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Handling {
    /// It ends in the gateway; the app gets what is inside.
    Terminate,
    /// The same, and HTTP/2 is the only protocol that the gateway agrees to.
    TerminateHttp2,
    /// The app ends it.
    Passthrough,
}

/// Where a connection goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The app, or one instance of it.
    pub id: RouteId,
    /// The port of its guest.
    pub port: NonZeroU16,
    /// What is done with TLS.
    pub handling: Handling,
}

impl Destination {
    /// Reads the part of a name before the base domain, in lower case.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(label: &str) -> Result<Self, NameError> {
        let (id, suffix) = match label.split_once('-') {
            Some((id, suffix)) => (id, Some(suffix)),
            None => (label, None),
        };
        let id = RouteId::parse(id).ok_or_else(|| NameError::Id(id.to_owned()))?;
        let (handling, port) = match suffix {
            Some(suffix) => parse_suffix(suffix)?,
            None => (Handling::Terminate, None),
        };
        let default = match handling {
            Handling::Terminate | Handling::TerminateHttp2 => DEFAULT_PORT,
            Handling::Passthrough => DEFAULT_TLS_PORT,
        };
        let port = port.or(NonZeroU16::new(default));
        let port = port.ok_or_else(|| NameError::Port(label.to_owned()))?;
        Ok(Self { id, port, handling })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.handling {
            Handling::Terminate => "",
            Handling::TerminateHttp2 => "g",
            Handling::Passthrough => "s",
        };
        write!(f, "{}-{}{letter}", self.id, self.port)
    }
}

/// `[port][s|g]`, at least one of them.
fn parse_suffix(suffix: &str) -> Result<(Handling, Option<NonZeroU16>), NameError> {
    let digits = suffix.trim_end_matches(['s', 'g']);
    let handling = match &suffix[digits.len()..] {
        "" => Handling::Terminate,
        "g" => Handling::TerminateHttp2,
        "s" => Handling::Passthrough,
        _ => return Err(NameError::Both(suffix.to_owned())),
    };
    if digits.is_empty() && handling != Handling::Terminate {
        return Ok((handling, None));
    }
    let port = parse_port(digits).ok_or_else(|| NameError::Port(suffix.to_owned()))?;
    Ok((handling, Some(port)))
}

/// A port in its one spelling.
pub(crate) fn parse_port(text: &str) -> Option<NonZeroU16> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    if plain { text.parse().ok() } else { None }
}

/// What a client's name means to this gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// The gateway's own page.
    Gateway(DomainName),
    /// Whether the gateway serves.
    Health(DomainName),
    /// An app below the base domain that is named.
    App(Destination, DomainName),
    /// A domain of somebody else: TXT records say where it leads.
    Custom(DomainName),
}

/// Reads the name of a client's hello.
///
/// # Errors
/// If it is below a base domain and no name there.
pub fn read(name: &DomainName, bases: &[DomainName]) -> Result<Name, NameError> {
    if bases.contains(name) {
        return Err(NameError::Bare(name.to_string()));
    }
    // One base domain may lie below another: the nearest one counts.
    let below = bases.iter().filter_map(|base| Some((base, name.below(base)?)));
    let Some((base, label)) = below.max_by_key(|(base, _)| base.0.len()) else {
        return Ok(Name::Custom(name.clone()));
    };
    if label.contains('.') {
        return Err(NameError::Deep(name.to_string()));
    }
    match label {
        GATEWAY => Ok(Name::Gateway(base.clone())),
        HEALTH => Ok(Name::Health(base.clone())),
        _ => Ok(Name::App(Destination::parse(label)?, base.clone())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";

    fn base() -> Vec<DomainName> {
        ["apps.example", "inner.apps.example"].map(|name| DomainName::parse(name).unwrap()).to_vec()
    }

    fn of(text: &str) -> Result<Name, NameError> {
        read(&DomainName::parse(text)?, &base())
    }

    fn destination(suffix: &str) -> Result<(u16, Handling), NameError> {
        match of(&format!("{ID}{suffix}.apps.example"))? {
            Name::App(found, _) => Ok((found.port.get(), found.handling)),
            other => panic!("{other:?} is no app"),
        }
    }

    #[test]
    fn a_name_has_the_ports_and_letters_of_dstack() {
        use Handling::{Passthrough, Terminate, TerminateHttp2};
        assert_eq!(destination(""), Ok((80, Terminate)));
        assert_eq!(destination("-8080"), Ok((8080, Terminate)));
        assert_eq!(destination("-s"), Ok((443, Passthrough)));
        assert_eq!(destination("-8443s"), Ok((8443, Passthrough)));
        assert_eq!(destination("-g"), Ok((80, TerminateHttp2)));
        assert_eq!(destination("-50051g"), Ok((50051, TerminateHttp2)));
        assert_eq!(destination("-65535"), Ok((65535, Terminate)));
    }

    #[test]
    fn port_0_signs_both_letters_and_other_spellings_are_refused() {
        for suffix in ["-0", "-+80", "-080", "-65536", "-0s", "-8 0", "-0x50", "-80t", "-80-81"] {
            // A plus or a space is no character of a name.
            let error = destination(suffix).unwrap_err();
            assert!(matches!(error, NameError::Port(_) | NameError::Syntax(_)), "{suffix}");
        }
        for suffix in ["-gs", "-sg", "-80gs", "-80sg", "-ss", "-80gg"] {
            assert!(matches!(destination(suffix), Err(NameError::Both(_))), "{suffix}");
        }
        assert!(matches!(destination("-"), Err(NameError::Syntax(_))));
        assert!(matches!(Destination::parse(&format!("{ID}-+80")), Err(NameError::Port(_))));
        assert!(matches!(Destination::parse(&format!("{ID}--80")), Err(NameError::Port(_))));
        assert!(matches!(Destination::parse(&format!("{ID}-")), Err(NameError::Port(_))));
    }

    #[test]
    fn case_and_a_final_dot_change_nothing() {
        let plain = of(&format!("{ID}-8443s.apps.example")).unwrap();
        let upper = format!("{ID}-8443S.APPS.Example.").to_uppercase();
        assert_eq!(of(&upper).unwrap(), plain);
        assert_eq!(of("GATEWAY.apps.EXAMPLE").unwrap(), of("gateway.apps.example").unwrap());
    }

    #[test]
    fn an_id_is_forty_digits() {
        for id in ["", "app", &ID[1..], &format!("{ID}0"), &ID.replace('f', "g")] {
            let name = format!("{id}.apps.example");
            assert!(
                matches!(of(&name), Err(NameError::Id(_) | NameError::Syntax(_))),
                "{name} is read"
            );
        }
    }

    #[test]
    fn the_nearest_base_domain_counts_and_other_domains_are_their_owners() {
        let inner = DomainName::parse("inner.apps.example").unwrap();
        assert_eq!(of("health.inner.apps.example"), Ok(Name::Health(inner)));
        assert!(matches!(of("apps.example"), Err(NameError::Bare(_))));
        assert!(matches!(of("inner.apps.example"), Err(NameError::Bare(_))));
        assert!(matches!(of(&format!("a.{ID}.apps.example")), Err(NameError::Deep(_))));
        for custom in ["www.example", "myapps.example", "apps.example.org"] {
            assert_eq!(of(custom), Ok(Name::Custom(DomainName::parse(custom).unwrap())));
        }
    }

    #[test]
    fn what_is_no_name_is_none() {
        let long = format!("{}.example", "a".repeat(64));
        let huge = ["abcdefgh"; 30].join(".");
        for text in ["", ".", "a..b", "a b", "a\n", "a\nb.example", "a_b.example", "ä.example"] {
            assert!(matches!(DomainName::parse(text), Err(NameError::Syntax(_))), "{text:?}");
        }
        for text in ["-a.example", "a-.example", &long, "a.example..", "*.example", "a/b", "a\0b"] {
            assert!(matches!(DomainName::parse(text), Err(NameError::Syntax(_))), "{text:?}");
        }
        assert!(matches!(DomainName::parse(&huge), Err(NameError::TooLong { found: 269 })));
        let shown = DomainName::parse("a\nb").unwrap_err().to_string();
        assert!(!shown.contains('\n'), "{shown}");
    }

    #[test]
    fn a_parent_has_two_parts_at_least() {
        let parent = |text| Some(DomainName::parse(text).unwrap().parent()?.to_string());
        assert_eq!(parent("a.b.example").as_deref(), Some("b.example"));
        assert_eq!(parent("b.example"), None);
    }

    proptest! {
        #[test]
        fn a_destination_is_read_as_it_is_shown(id: [u8; 20], port in 1_u16.., kind in 0..3) {
            let handling = [Handling::Terminate, Handling::TerminateHttp2, Handling::Passthrough];
            let port = NonZeroU16::new(port).unwrap();
            let made = Destination { id: RouteId(id), port, handling: handling[kind as usize] };
            prop_assert_eq!(Destination::parse(&made.to_string()), Ok(made));
        }

        #[test]
        fn no_text_is_read_as_two_places(label in "[0-9a-f]{40}(-[0-9+gs-]{0,7})?") {
            if let Ok(found) = Destination::parse(&label) {
                let again = found.to_string();
                let (id, port) = (&label[..40], found.port.get());
                let short = match found.handling {
                    Handling::Terminate if port == 80 => vec![id.to_owned()],
                    Handling::TerminateHttp2 if port == 80 => vec![format!("{id}-g")],
                    Handling::Passthrough if port == 443 => vec![format!("{id}-s")],
                    _ => vec![],
                };
                prop_assert!(label == again || short.contains(&label));
            }
        }
    }
}
