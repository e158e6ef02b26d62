//! What is spoken below a channel: TLS 1.3 between raw public keys, each connection anew. A
//! certificate, an older version or a session of before opens nothing.

#![allow(clippy::unwrap_used)] // the helpers of a test are tests too

use std::sync::Arc;

use channel::TlsKey;
use channel::tls::{TlsError, client, server, session};
use rustls::client::ClientConnection;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ServerConnection;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, HandshakeKind, NamedGroup, ServerConfig,
    SignatureScheme, SupportedProtocolVersion, version,
};

const ALPN: &[u8] = b"test/1";

/// Lets bytes travel until both are done or one gives up.
fn shaken(
    client: Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), Error> {
    let name = ServerName::try_from("test").unwrap();
    let mut client = ClientConnection::new(client, name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut bytes.as_slice()).unwrap();
        server.process_new_packets()?;
        bytes.clear();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut bytes.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok((client, server))
}

/// Takes every certificate for the right one, as a client that looks for evidence in it would.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// A client of certificates, as most are.
fn of_certificates(versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Arc::new(config)
}

#[test]
fn two_raw_keys_meet_with_the_post_quantum_exchange_and_see_each_other() {
    let [ours, theirs] = [(); 2].map(|()| TlsKey::generate().unwrap());
    let server = server(&theirs, ALPN).unwrap();
    let (client, server) = shaken(client(&ours, ALPN).unwrap(), &server).unwrap();
    let group = client.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
    let [at_client, at_server] =
        [session(&client, &ours, ALPN).unwrap(), session(&server, &theirs, ALPN).unwrap()];
    assert_eq!(
        (&at_client.own_spki, &at_client.peer_spki),
        (&at_server.peer_spki, &at_server.own_spki)
    );
    assert_eq!(at_client.exporter, at_server.exporter);
}

#[test]
fn evidence_in_a_certificate_is_never_asked_for_nor_looked_at() {
    let key = TlsKey::generate().unwrap();
    let refused = shaken(of_certificates(&[&version::TLS13]), &server(&key, ALPN).unwrap());
    assert!(matches!(refused, Err(Error::PeerIncompatible(_))), "{refused:?}");
}

#[test]
fn an_older_version_of_tls_is_not_spoken() {
    let key = TlsKey::generate().unwrap();
    let refused = shaken(of_certificates(&[&version::TLS12]), &server(&key, ALPN).unwrap());
    assert!(matches!(refused, Err(Error::PeerIncompatible(_))), "{refused:?}");
}

#[test]
fn no_session_is_resumed_and_no_data_come_before_the_handshake() {
    let [ours, theirs] = [(); 2].map(|()| TlsKey::generate().unwrap());
    let (ours, server) = (client(&ours, ALPN).unwrap(), server(&theirs, ALPN).unwrap());
    let mut exporters = Vec::new();
    for _ in 0..2 {
        let (mut client, server) = shaken(Arc::clone(&ours), &server).unwrap();
        let kinds = [client.handshake_kind(), server.handshake_kind()];
        assert_eq!(kinds, [Some(HandshakeKind::Full); 2]);
        assert_eq!(client.tls13_tickets_received(), 0);
        assert!(client.early_data().is_none());
        exporters.push(client.export_keying_material([0; 32], b"test", None).unwrap());
    }
    assert_ne!(exporters[0], exporters[1]);
}

#[test]
fn another_protocol_opens_nothing() {
    let [ours, theirs] = [(); 2].map(|()| TlsKey::generate().unwrap());
    let server = server(&theirs, ALPN).unwrap();
    let refused = shaken(client(&ours, b"test/2").unwrap(), &server);
    assert!(matches!(refused, Err(Error::NoApplicationProtocol)), "{refused:?}");
    // A peer that leaves the protocol open is found out behind the handshake.
    let mut open = (*client(&ours, ALPN).unwrap()).clone();
    open.alpn_protocols.clear();
    let (client, _) = shaken(Arc::new(open), &server).unwrap();
    assert!(matches!(session(&client, &ours, ALPN), Err(TlsError::Alpn(_))));
}
