//! TLS 1.3 as QUIC streams use it: both sides prove their node keys, nobody else's word counts.
//!
//! A certificate is the node's Ed25519 key and nothing more (a raw public key, RFC 7250). The client knows whom it
//! calls: the name that it hands to TLS is that node's key, which never travels. The name of the network is part of
//! the ALPN, so that networks do not mix.

use std::fmt;
use std::sync::Arc;

use once_cell::sync::Lazy;
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureAlgorithm, SignatureScheme,
};

use crate::identity::{KEY_LEN, PublicKey, SecretKey};
use crate::kademlia::NodeKey;
use crate::transport::PROTOCOL_VERSION;

/// What stands before an Ed25519 key in its SubjectPublicKeyInfo (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Bytes of the network's hash that the ALPN shows.
const NETWORK_TAG_LEN: usize = 8;

/// What follows the name of the protocol if the client's key is no node's.
pub(super) const THROWAWAY_SUFFIX: &[u8] = b"/throwaway";

/// One key exchange and two ciphers; QUIC itself needs the first one.
static PROVIDER: Lazy<Arc<CryptoProvider>> = Lazy::new(|| {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
            ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![ring::kx_group::X25519],
        ..ring::default_provider()
    })
});

/// Returns both halves of the TLS of the node with this key.
pub(super) fn configs(
    node: &SecretKey,
    network: &str,
    is_throwaway: bool,
) -> (QuicClientConfig, QuicServerConfig) {
    let own = node.public();
    let spki = CertificateDer::from([&SPKI_PREFIX[..], own.as_bytes()].concat());
    let certified = Arc::new(CertifiedKey::new(vec![spki], Arc::new(NodeKeyPair(node.clone()))));
    let verifier = Arc::new(Verifier { own });
    let names = vec![alpn(network), [&alpn(network), THROWAWAY_SUFFIX].concat()];
    let own = names.get(usize::from(is_throwaway)).cloned().into_iter().collect();
    let (client, server) = (client(&verifier, &certified, own), server(verifier, certified, names));
    let configs = client.and_then(|client| Ok((client, server?)));
    configs.expect("the provider has TLS 1.3 with AES-128-GCM")
}

fn client(
    verifier: &Arc<Verifier>,
    certified: &Arc<CertifiedKey>,
    alpn: Vec<Vec<u8>>,
) -> Result<QuicClientConfig, Error> {
    let mut config = ClientConfig::builder_with_details(PROVIDER.clone(), Arc::new(NoTime))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone())
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(certified.clone())));
    config.alpn_protocols = alpn;
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    QuicClientConfig::try_from(config).map_err(|error| Error::General(error.to_string()))
}

fn server(
    verifier: Arc<Verifier>,
    certified: Arc<CertifiedKey>,
    alpn: Vec<Vec<u8>>,
) -> Result<QuicServerConfig, Error> {
    let mut config = ServerConfig::builder_with_details(PROVIDER.clone(), Arc::new(NoTime))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified)));
    config.alpn_protocols = alpn;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    QuicServerConfig::try_from(config).map_err(|error| Error::General(error.to_string()))
}

/// Returns the name of the protocol on a connection: `peerchat/`, the version, `/`, and the first 8 bytes of the hash of
/// the network's name in hex.
pub(super) fn alpn(network: &str) -> Vec<u8> {
    let hash = blake3::hash(network.as_bytes());
    let tag = hash.as_bytes().first_chunk::<NETWORK_TAG_LEN>().map(|tag| data_encoding::HEXLOWER.encode(tag));
    format!("peerchat/{PROTOCOL_VERSION}/{}", tag.unwrap_or_default()).into_bytes()
}

/// Returns the name under which TLS asks for the node with this key.
pub(super) fn server_name(key: &NodeKey) -> String {
    key.to_string()
}

/// Returns the key of a certificate that a verifier has accepted.
pub(super) fn node_key(certificate: &CertificateDer<'_>) -> Option<NodeKey> {
    public_key(certificate).ok().map(NodeKey::from)
}

/// Reads the key in a certificate; weak and non-canonical ones are refused.
fn public_key(certificate: &CertificateDer<'_>) -> Result<PublicKey, Error> {
    let bytes = certificate.as_ref().strip_prefix(&SPKI_PREFIX).ok_or(CertificateError::BadEncoding)?;
    let bytes = <[u8; KEY_LEN]>::try_from(bytes).map_err(|_| CertificateError::BadEncoding)?;
    PublicKey::from_bytes(bytes).map_err(|_| CertificateError::BadEncoding.into())
}

/// Nothing here has an expiry: no certificate, no ticket.
#[derive(Debug)]
struct NoTime;

impl TimeProvider for NoTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::ZERO))
    }
}

/// Checks the other side's key: for a client it must be the one that was called.
#[derive(Debug)]
struct Verifier {
    own: PublicKey,
}

impl Verifier {
    /// Reads the key of the other side, which is never our own.
    fn peer_key(&self, certificate: &CertificateDer<'_>) -> Result<PublicKey, Error> {
        let key = public_key(certificate)?;
        if key == self.own { Err(CertificateError::ApplicationVerificationFailure.into()) } else { Ok(key) }
    }
}

fn verify(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let signature = signed.signature().try_into().map_err(|_| CertificateError::BadSignature)?;
    if signed.scheme == SignatureScheme::ED25519 && public_key(certificate)?.verifies(message, signature) {
        Ok(HandshakeSignatureValid::assertion())
    } else {
        Err(CertificateError::BadSignature.into())
    }
}

fn refuse_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("TLS 1.3 only".into()))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let key = self.peer_key(end_entity)?;
        match server_name {
            ServerName::DnsName(name) if name.as_ref() == self::server_name(&key.into()) => {
                Ok(ServerCertVerified::assertion())
            }
            _ => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.peer_key(end_entity).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// The node's key as TLS signs with it. The secret stays in its own type, which is wiped and never printed.
struct NodeKeyPair(SecretKey);

impl fmt::Debug for NodeKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKeyPair(..)")
    }
}

impl SigningKey for NodeKeyPair {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let is_offered = offered.contains(&SignatureScheme::ED25519);
        is_offered.then(|| Box::new(Self(self.0.clone())) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some([&SPKI_PREFIX[..], self.0.public().as_bytes()].concat().into())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for NodeKeyPair {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.sign(message).to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_name_carries_version_and_network() {
        assert_eq!(alpn("peerchat"), b"peerchat/1/b74f0be14a25ced5");
        assert_ne!(alpn("peerchat"), alpn("another"));
    }

    #[test]
    fn weak_and_non_canonical_keys_are_refused() {
        let certificate = |key: [u8; KEY_LEN]| CertificateDer::from([&SPKI_PREFIX[..], &key].concat());
        let sound = SecretKey::from_bytes(&[1; KEY_LEN]).public();
        assert_eq!(node_key(&certificate(*sound.as_bytes())), Some(sound.into()));
        // The neutral element, and the same point in a form that is not canonical.
        let mut neutral = [0; KEY_LEN];
        neutral[0] = 1;
        let mut not_canonical = [0xff; KEY_LEN];
        (not_canonical[0], not_canonical[31]) = (0xee, 0x7f);
        for key in [neutral, not_canonical] {
            assert_eq!(node_key(&certificate(key)), None);
        }
        assert_eq!(node_key(&CertificateDer::from(sound.as_bytes().to_vec())), None, "no prefix");
    }

    #[test]
    fn only_the_node_that_was_called_is_accepted() {
        let [own, called, other] = [1, 2, 3].map(|seed| SecretKey::from_bytes(&[seed; KEY_LEN]).public());
        let verifier = Verifier { own };
        let accepts = |key: PublicKey, named: PublicKey| {
            let certificate = CertificateDer::from([&SPKI_PREFIX[..], key.as_bytes()].concat());
            let name = ServerName::try_from(server_name(&named.into())).unwrap();
            let now = UnixTime::since_unix_epoch(std::time::Duration::ZERO);
            verifier.verify_server_cert(&certificate, &[], &name, &[], now).is_ok()
        };
        assert!(accepts(called, called));
        assert!(!accepts(other, called));
        assert!(!accepts(own, own), "nobody calls themselves");
    }

    #[test]
    fn a_key_pair_prints_no_secret() {
        assert_eq!(format!("{:?}", NodeKeyPair(SecretKey::from_bytes(&[7; KEY_LEN]))), "NodeKeyPair(..)");
    }
}
