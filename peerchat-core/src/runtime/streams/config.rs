//! How QUIC is set up: small windows, no clock, no address that was not proven.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quinn_proto::crypto::{CryptoError, HmacKey};
use quinn_proto::{
    ClientConfig, Endpoint, EndpointConfig, HashedConnectionIdGenerator, IdleTimeout, NoneTokenStore,
    ServerConfig, TimeSource, TransportConfig, ValidationTokenConfig, VarInt,
};
use zeroize::Zeroizing;

use super::exchange::MAX_RESPONSE_LEN;
use super::{CONNECTION_WINDOW, IDLE_TIMEOUT, MAX_STREAMS, tls};
use crate::identity::SecretKey;
use crate::transport::{INITIAL_RTO, MAX_DATAGRAM_LEN};

/// The only version of QUIC that is spoken (RFC 9000).
const QUIC_VERSION: u32 = 1;

/// Out of order bytes of a handshake that are kept for one connection.
const HANDSHAKE_BUFFER_LEN: usize = 4096;

/// Makes the endpoint of the node with this key, and what its connections begin with. `seed` must come from a secure
/// source.
pub(super) fn endpoint(
    (node, is_throwaway): (&SecretKey, bool),
    network: &str,
    seed: [u8; 32],
    time: Arc<RetryTime>,
) -> (Endpoint, ClientConfig) {
    let (client, server) = tls::configs(node, network, is_throwaway);
    let transport = Arc::new(transport());
    let mut client_config = ClientConfig::new(Arc::new(client));
    client_config.transport_config(transport.clone()).token_store(Arc::new(NoneTokenStore));
    let mut tokens = ValidationTokenConfig::default();
    tokens.sent(0);
    let mut server_config = ServerConfig::with_crypto(Arc::new(server));
    server_config
        .transport_config(transport)
        .validation_token_config(tokens)
        // Whoever comes from another address has proven nothing there, and would be sent three times what it gave.
        .migration(false)
        .time_source(time);
    let endpoint = Endpoint::new(
        Arc::new(endpoint_config(node, seed)),
        Some(Arc::new(server_config)),
        // No MTU discovery: every datagram fits every path.
        false,
        None,
    );
    (endpoint, client_config)
}

/// Returns the key by which a node knows the connection ids of its own making.
pub(super) fn id_key(node: &SecretKey) -> u64 {
    let key = blake3::derive_key("peerchat QUIC connection ids", &*node.to_bytes());
    key.first_chunk().copied().map_or(0, u64::from_be_bytes)
}

/// Keys that follow from the node's key let a node that was restarted tell its peers that their connections are gone.
fn endpoint_config(node: &SecretKey, seed: [u8; 32]) -> EndpointConfig {
    let secret = node.to_bytes();
    let reset_key = ResetKey(Zeroizing::new(blake3::derive_key("peerchat QUIC stateless reset", &*secret)));
    let id_key = id_key(node);
    let mut config = EndpointConfig::new(Arc::new(reset_key));
    config
        .cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(id_key)))
        .supported_versions(vec![QUIC_VERSION])
        // The first byte tells our own datagrams from those of QUIC.
        .grease_quic_bit(false)
        .rng_seed(Some(seed));
    let len = u16::try_from(MAX_DATAGRAM_LEN).ok();
    len.and_then(|len| config.max_udp_payload_size(len).ok()).expect("QUIC admits datagrams of 1200 bytes");
    config
}

/// Returns how connections of either side behave.
pub(super) fn transport() -> TransportConfig {
    let idle = IdleTimeout::try_from(IDLE_TIMEOUT).expect("half a minute is a time that QUIC can write");
    let stream_window = u32::try_from(MAX_RESPONSE_LEN).unwrap_or(u32::MAX);
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(Some(idle))
        .stream_receive_window(VarInt::from_u32(stream_window))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW))
        // One after the other: the first to be asked is the first to be answered.
        .send_fairness(false)
        // QUIC waits three times this before it repeats a first packet.
        .initial_rtt(INITIAL_RTO / 3)
        .mtu_discovery_config(None)
        .crypto_buffer_size(HANDSHAKE_BUFFER_LEN)
        .allow_spin(false)
        .datagram_receive_buffer_size(None)
        .enable_segmentation_offload(false);
    config
}

/// Makes the tokens of stateless resets.
struct ResetKey(Zeroizing<[u8; 32]>);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        let hash = blake3::keyed_hash(&self.0, data);
        for (out, byte) in signature_out.iter_mut().zip(hash.as_bytes()) {
            *out = *byte;
        }
    }

    fn signature_len(&self) -> usize {
        blake3::OUT_LEN
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let expected = blake3::keyed_hash(&self.0, data);
        // Comparing hashes takes the same time wherever they differ.
        let given = <[u8; blake3::OUT_LEN]>::try_from(signature).map_err(|_| CryptoError)?;
        if expected == blake3::Hash::from_bytes(given) { Ok(()) } else { Err(CryptoError) }
    }
}

/// The time in Retry tokens: seconds since the streams were made, set by whoever holds them. A wall clock jumps.
#[derive(Debug, Default)]
pub(super) struct RetryTime(AtomicU64);

impl RetryTime {
    pub(super) fn set(&self, since_start: Duration) {
        self.0.store(since_start.as_secs(), Ordering::Relaxed);
    }
}

impl TimeSource for RetryTime {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}
