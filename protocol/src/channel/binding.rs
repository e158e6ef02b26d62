//! What a proof is bound to: the connection, the roles, the direction and both nonces.

use super::{NONCE_BYTES, Role, VERSION};
use crate::derivation::length_prefixed;
use crate::digest::ReportData;

/// Bytes of keying material that both ends of a TLS connection export.
pub const EXPORTER_BYTES: usize = 32;
/// Label of what an owner's key signs.
const OWNER_LABEL: &[u8] = b"dstyx-owner-1";

/// Which side proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Direction {
    /// The client proves to the server.
    ClientToServer = 1,
    /// The server proves to the client.
    ServerToClient = 2,
}

/// All fields that a quote's report data covers, as the side that proves sees them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Binding {
    /// The application protocol that both sides negotiated.
    pub alpn: Vec<u8>,
    /// The role of the side that proves.
    pub own: Role,
    /// The role that this side expects of its peer.
    pub expected: Role,
    /// Which side this is.
    pub direction: Direction,
    /// DER of the SubjectPublicKeyInfo that this side showed in the handshake.
    pub own_spki: Vec<u8>,
    /// The same of its peer; a client without evidence shows a key of that connection.
    pub peer_spki: Vec<u8>,
    /// Keying material of [`super::EXPORTER_LABEL`].
    pub exporter: [u8; EXPORTER_BYTES],
    /// The client's nonce.
    pub client_nonce: [u8; NONCE_BYTES],
    /// The server's nonce.
    pub server_nonce: [u8; NONCE_BYTES],
}

impl Binding {
    /// The report data that the quote of this side must have: the role's tag, then SHA-384 over the
    /// fields in the order of this type, each after its length. None for a role without a quote.
    pub fn report_data(&self) -> Option<ReportData> {
        let role = self.own.quoting()?;
        Some(role.report_data(&[
            &[VERSION],
            &self.alpn,
            &[self.own as u8],
            &[self.expected as u8],
            &[self.direction as u8],
            &self.own_spki,
            &self.peer_spki,
            &self.exporter,
            &self.client_nonce,
            &self.server_nonce,
        ]))
    }
}

/// What an owner's client signs, so that its key counts on this connection only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerClaim<'a> {
    /// The application protocol.
    pub alpn: &'a [u8],
    /// Keying material of this connection.
    pub exporter: &'a [u8; EXPORTER_BYTES],
    /// The client's nonce.
    pub client_nonce: &'a [u8; NONCE_BYTES],
    /// The server's nonce.
    pub server_nonce: &'a [u8; NONCE_BYTES],
}

impl OwnerClaim<'_> {
    /// The bytes that are signed: a label and the fields, each after its length as a little-endian
    /// `u32`.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let fields: [&[u8]; 6] = [
            OWNER_LABEL,
            &[VERSION],
            self.alpn,
            self.exporter,
            self.client_nonce,
            self.server_nonce,
        ];
        length_prefixed(&fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::binding;

    #[test]
    fn each_field_changes_the_report_data() {
        let honest = binding(Role::Agent).report_data().unwrap();
        let changes: [fn(&mut Binding); 9] = [
            |binding| binding.alpn.push(b'x'),
            |binding| binding.own = Role::Pads,
            |binding| binding.expected = Role::Agent,
            |binding| binding.direction = Direction::ServerToClient,
            |binding| binding.own_spki[0] ^= 1,
            |binding| binding.peer_spki[0] ^= 1,
            |binding| binding.exporter[31] ^= 1,
            |binding| binding.client_nonce[0] ^= 1,
            |binding| binding.server_nonce[0] ^= 1,
        ];
        for change in changes {
            let mut other = binding(Role::Agent);
            change(&mut other);
            assert_ne!(other.report_data().unwrap(), honest, "{other:?}");
        }
    }

    #[test]
    fn the_tag_is_the_roles_and_a_client_without_a_quote_has_none() {
        let tagged = |own| binding(own).report_data();
        for role in [Role::Agent, Role::Pads, Role::App] {
            assert_eq!(tagged(role).unwrap().0[..16], *role.quoting().unwrap().tag());
        }
        assert_eq!(tagged(Role::Unattested), None);
        assert_eq!(tagged(Role::Owner), None);
    }
}
