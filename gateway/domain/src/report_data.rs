//! What a gateway's program has quotes made over: an account, and the key of a certificate.
//!
//! The tags are not reserved ones, which only a guest's own roles may use: these quotes are asked
//! for by a program in a container. They count because the gateway's measured file gives the socket
//! for quotes to one service alone. The tags keep one kind of statement from being taken for
//! another.

use protocol::digest::{ReportData, sha384_length_prefixed};

use crate::name::CertifiedName;

/// Bytes of a tag, as of the reserved ones.
const TAG_BYTES: usize = 16;
/// An account's key; the digit is the version.
const ACCOUNT: &[u8; TAG_BYTES] = b"gateway-account1";
/// A certificate's key; the digit is the version.
const LEAF: &[u8; TAG_BYTES] = b"gateway-leafkey1";

/// Over an account: its directory, its address and its key's thumbprint.
pub fn account(directory: &str, uri: &str, thumbprint: &[u8]) -> ReportData {
    tagged(ACCOUNT, &[directory.as_bytes(), uri.as_bytes(), thumbprint])
}

/// Over the key of a certificate: the account that orders it, the key (DER of the
/// SubjectPublicKeyInfo) and the names, in ascending order.
pub fn leaf(account_uri: &str, spki: &[u8], names: &[CertifiedName]) -> ReportData {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut fields = vec![account_uri.as_bytes(), spki];
    fields.extend(names.iter().map(String::as_bytes));
    tagged(LEAF, &fields)
}

fn tagged(tag: &[u8; TAG_BYTES], fields: &[&[u8]]) -> ReportData {
    let mut bytes = [0; 64];
    let (head, hash) = bytes.split_at_mut(TAG_BYTES);
    head.copy_from_slice(tag);
    hash.copy_from_slice(&sha384_length_prefixed(fields).0);
    ReportData(bytes)
}

#[cfg(test)]
mod tests {
    use protocol::report_data::is_open_to_containers;

    use super::*;

    #[test]
    fn a_container_may_ask_for_both_and_neither_is_the_other() {
        let account = account("a", "b", b"c");
        let leaf = leaf("a", b"b", &[]);
        assert!(is_open_to_containers(&account) && is_open_to_containers(&leaf));
        assert_ne!(account.as_bytes()[..TAG_BYTES], leaf.as_bytes()[..TAG_BYTES]);
    }

    #[test]
    fn no_field_moves_into_its_neighbour() {
        assert_ne!(account("ab", "c", b"d"), account("a", "bc", b"d"));
        let names: Vec<CertifiedName> = vec!["a.example".parse().unwrap()];
        assert_ne!(leaf("u", b"k", &names), leaf("u", b"ka.example", &[]));
    }
}
