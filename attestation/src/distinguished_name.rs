//! A certificate's name as text, such as `CN=Intel SGX Root CA,O=Intel Corporation`: RFC 4514.
//!
//! The names of Intel's PKI have five attributes of plain text; those are written here, since
//! looking each up in the database of all object identifiers costs as much as parsing the
//! certificate. Everything else is written, and escaped, by the library.

use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::{ObjectIdentifier, PrintableStringRef, Utf8StringRef};
use x509_cert::der::{Tag, Tagged as _};
use x509_cert::name::Name;

/// Common name, country, locality, state and organisation (RFC 4519).
const KNOWN: [(ObjectIdentifier, &str); 5] = [
    (ObjectIdentifier::new_unwrap("2.5.4.3"), "CN"),
    (ObjectIdentifier::new_unwrap("2.5.4.6"), "C"),
    (ObjectIdentifier::new_unwrap("2.5.4.7"), "L"),
    (ObjectIdentifier::new_unwrap("2.5.4.8"), "ST"),
    (ObjectIdentifier::new_unwrap("2.5.4.10"), "O"),
];

/// The name, its last attribute first.
pub(crate) fn text(name: &Name) -> String {
    let one_each = name.iter_rdn().all(|attributes| attributes.len() == 1);
    if !one_each {
        return name.to_string();
    }
    let mut attributes: Vec<_> = name.iter().map(attribute).collect();
    attributes.reverse();
    attributes.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue) -> String {
    let known = KNOWN.iter().find(|(oid, _)| *oid == attribute.oid);
    match (known, plain(attribute)) {
        (Some((_, key)), Some(value)) => format!("{key}={value}"),
        _ => attribute.to_string(),
    }
}

/// A value of letters, digits and single spaces inside, which nothing has to be escaped in.
fn plain(attribute: &AttributeTypeAndValue) -> Option<&str> {
    let value = match attribute.value.tag() {
        Tag::PrintableString => PrintableStringRef::try_from(&attribute.value).ok()?.as_str(),
        Tag::Utf8String => Utf8StringRef::try_from(&attribute.value).ok()?.as_str(),
        _ => return None,
    };
    let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b' ');
    (plain && value == value.trim()).then_some(value)
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    #[test]
    fn names_are_written_as_the_library_writes_them() {
        for name in [
            "CN=Intel SGX Root CA,O=Intel Corporation,L=Santa Clara,ST=CA,C=US",
            "CN=DANGER dstyx EMULATED root\\, proves nothing,O=dstyx emulator",
            "CN=a+O=b,C=US",
            "CN=\\#1,OU=x y",
        ] {
            let name = Name::from_str(name).unwrap();
            assert_eq!(text(&name), name.to_string());
        }
    }
}
