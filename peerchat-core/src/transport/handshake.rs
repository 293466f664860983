//! The Noise handshake: [`Local`] makes and reads its two messages.
//!
//! `Noise_IK_25519_ChaChaPoly_BLAKE2s` (Noise Protocol Framework, revision 34) by way of `snow`. Only the raw keys of
//! the split are kept; the handshake state is dropped.

use std::fmt;

use rand::Rng as _;
use rand_chacha::ChaCha20Rng;
use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use super::aead::ChaChaPoly;
use super::link::LinkKeys;
use super::packet::{
    self, HANDSHAKE_INIT, HANDSHAKE_RESPONSE, INIT_HEADER_LEN, InitMac, KEY_LEN, NOISE_INIT_LEN,
    NOISE_RESPONSE_LEN, PROTOCOL_VERSION, RESPONSE_HEADER_LEN,
};
use super::{MAX_DATAGRAM_LEN, frame::Frame, x25519};
use crate::identity::SecretKey;
use crate::kademlia::NodeKey;

/// The feature bit of an initiator that is no node: its key was made for this and is forgotten soon.
pub(super) const THROWAWAY: u32 = 1;

/// What a responder can do beyond the first version of the protocol: nothing.
const FEATURES: u32 = 0;

/// Opens the prologue; version and hash of the network name follow.
const PROLOGUE_LABEL: &[u8] = b"peerchat datagrams";

/// Names the use of the keys that authenticate a HANDSHAKE_INIT before any curve is computed.
const MAC_CONTEXT: &str = "peerchat datagrams HANDSHAKE_INIT mac";

/// Length of the payload of the first message before its frame: key, link index, features, frame length.
pub(super) const INIT_PAYLOAD_LEN: usize = KEY_LEN + 4 + 4 + 2;

/// Length of the payload of the second message before its frame: link index, features.
pub(super) const RESPONSE_PAYLOAD_LEN: usize = 4 + 4;

/// This node's side of every handshake.
pub(super) struct Local {
    params: NoiseParams,
    prologue: Vec<u8>,
    network: blake3::Hash,
    pair: KeyPair,
    key: NodeKey,
    /// What each HANDSHAKE_INIT to this node is authenticated with.
    mac_key: [u8; KEY_LEN],
    /// What it says of itself when it initiates: 0 or [`THROWAWAY`].
    pub(super) features: u32,
}

impl Local {
    /// Prepares handshakes of the node with this key in this network.
    #[expect(clippy::expect_used, reason = "the pattern is a constant that snow knows")]
    pub(super) fn new(network: &blake3::Hash, node: &SecretKey) -> Self {
        let params = "Noise_IK_25519_ChaChaPoly_BLAKE2s".parse().expect("snow knows the pattern");
        let prologue = [PROLOGUE_LABEL, &[PROTOCOL_VERSION], network.as_bytes()].concat();
        let public = node.public();
        let pair = KeyPair { secret: node.to_x25519(), public: public.to_x25519() };
        let key = public.into();
        Self { params, prologue, network: *network, pair, key, mac_key: mac_key(network, &key), features: 0 }
    }

    /// Returns this node's key.
    pub(super) const fn key(&self) -> NodeKey {
        self.key
    }

    /// Tells whether the Noise message of a HANDSHAKE_INIT was made by somebody who knows this node's key and network.
    #[must_use]
    pub(super) fn is_for_us(&self, mac: &InitMac, message: &[u8]) -> bool {
        bool::from(init_mac(&self.mac_key, message).ct_eq(mac))
    }

    /// Starts a handshake with `remote`: returns its state and the HANDSHAKE_INIT, without a cookie.
    pub(super) fn initiate(
        &self,
        ephemeral: &Ephemeral,
        remote: &NodeKey,
        index: u32,
        early: Option<Frame<'_>>,
    ) -> Result<(HandshakeState, Vec<u8>), snow::Error> {
        let point = remote.to_x25519().map_err(|_| snow::Error::Dh)?;
        let mut noise = self.builder(ephemeral)?.remote_public_key(&point)?.build_initiator()?;
        let mut payload = Vec::with_capacity(MAX_DATAGRAM_LEN);
        payload.extend(self.key.as_bytes());
        payload.extend(index.to_be_bytes());
        payload.extend(self.features.to_be_bytes());
        let frame_len = early.map_or(0, |frame| frame.encoded_len());
        payload.extend(u16::try_from(frame_len).map_err(|_| snow::Error::Input)?.to_be_bytes());
        if let Some(frame) = early {
            frame.encode(&mut payload);
            payload.resize(MAX_DATAGRAM_LEN - INIT_HEADER_LEN - NOISE_INIT_LEN, 0);
        }
        let mut init = write(&mut noise, &packet::INIT_HEADER, NOISE_INIT_LEN, &payload)?;
        let message = init.get(INIT_HEADER_LEN..).unwrap_or_default();
        let mac = init_mac(&mac_key(&self.network, remote), message);
        packet::set_mac(&mut init, &mac);
        Ok((noise, init))
    }

    /// Reads the Noise message of a HANDSHAKE_INIT; its payload goes to `payload`.
    ///
    /// Returns the state and what the payload says, once the Ed25519 key in it fits the static key in use.
    pub(super) fn read_init<'a>(
        &self,
        ephemeral: &Ephemeral,
        message: &[u8],
        payload: &'a mut [u8; MAX_DATAGRAM_LEN],
    ) -> Result<(HandshakeState, InitPayload<'a>), InitError> {
        let mut noise = self.builder(ephemeral)?.build_responder()?;
        let len = noise.read_message(message, payload)?;
        let payload = payload.get(..len).and_then(InitPayload::decode).ok_or(InitError::Malformed)?;
        let key = payload.key.to_x25519().map_err(|_| InitError::BadKey)?;
        if noise.get_remote_static() != Some(&key) || payload.key == self.key {
            return Err(InitError::BadKey);
        }
        Ok((noise, payload))
    }

    fn builder(&self, ephemeral: &Ephemeral) -> Result<Builder<'_>, snow::Error> {
        let resolver = Resolver { pair: self.pair.clone(), ephemeral: ephemeral.0.clone() };
        Builder::with_resolver(self.params.clone(), Box::new(resolver))
            .local_private_key(self.pair.secret.as_slice())?
            .prologue(&self.prologue)
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("key", &self.key).field("pair", &self.pair).finish_non_exhaustive()
    }
}

/// Why a HANDSHAKE_INIT was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum InitError {
    /// It is not authentic, or for another network, or for another node.
    Forged,
    /// It is authentic and makes no sense.
    Malformed,
    /// Its Ed25519 key is weak, does not fit the static key, or is our own.
    BadKey,
}

impl From<snow::Error> for InitError {
    fn from(_: snow::Error) -> Self {
        Self::Forged
    }
}

/// What the initiator says in its first message.
#[derive(Clone, Copy, Debug)]
pub(super) struct InitPayload<'a> {
    pub(super) key: NodeKey,
    /// The index that DATA to the initiator carries.
    pub(super) index: u32,
    /// The key is no node's.
    pub(super) is_throwaway: bool,
    pub(super) early: Option<Frame<'a>>,
}

impl<'a> InitPayload<'a> {
    fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (&key, rest) = bytes.split_first_chunk()?;
        let (&index, rest) = rest.split_first_chunk()?;
        // Those bits of later versions that are not known here are not for us.
        let (&features, rest) = rest.split_first_chunk::<4>()?;
        let is_throwaway = u32::from_be_bytes(features) & THROWAWAY != 0;
        let (&frame_len, rest) = rest.split_first_chunk()?;
        let early = match usize::from(u16::from_be_bytes(frame_len)) {
            0 => None,
            len => Some(Frame::decode(rest.get(..len)?)?),
        };
        Some(Self { key: NodeKey::from_bytes(key), index: u32::from_be_bytes(index), is_throwaway, early })
    }
}

/// Answers a handshake: returns the HANDSHAKE_RESPONSE and the keys of the link.
pub(super) fn respond(
    noise: &mut HandshakeState,
    receiver: u32,
    index: u32,
    frame: Option<Frame<'_>>,
) -> Result<(Vec<u8>, LinkKeys), snow::Error> {
    let mut payload = Vec::with_capacity(RESPONSE_PAYLOAD_LEN + frame.map_or(0, |frame| frame.encoded_len()));
    payload.extend(index.to_be_bytes());
    payload.extend(FEATURES.to_be_bytes());
    if let Some(frame) = frame {
        frame.encode(&mut payload);
    }
    let mut head = [HANDSHAKE_RESPONSE; RESPONSE_HEADER_LEN];
    if let Some((_, field)) = head.split_first_mut() {
        field.copy_from_slice(&receiver.to_be_bytes());
    }
    let response = write(noise, &head, NOISE_RESPONSE_LEN, &payload)?;
    Ok((response, split(noise)))
}

/// Reads the Noise message of a HANDSHAKE_RESPONSE: returns the peer's link index, its frame, and the keys.
///
/// A message that fails leaves `noise` able to read the true one.
pub(super) fn read_response<'a>(
    noise: &mut HandshakeState,
    message: &[u8],
    payload: &'a mut [u8; MAX_DATAGRAM_LEN],
) -> Option<(u32, Option<Frame<'a>>, LinkKeys)> {
    let len = noise.read_message(message, payload).ok()?;
    let (&index, rest) = payload.get(..len)?.split_first_chunk()?;
    let (_features, frame) = rest.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(index), Frame::decode(frame), split(noise)))
}

/// Returns the key of the MAC in each HANDSHAKE_INIT to `responder`. Whoever knows the node's key knows it.
fn mac_key(network: &blake3::Hash, responder: &NodeKey) -> [u8; KEY_LEN] {
    let mut hasher = blake3::Hasher::new_derive_key(MAC_CONTEXT);
    hasher.update(responder.as_bytes()).update(network.as_bytes());
    *hasher.finalize().as_bytes()
}

/// Returns the MAC of a HANDSHAKE_INIT: over everything in it but the MAC and the cookie.
fn init_mac(key: &[u8; KEY_LEN], message: &[u8]) -> InitMac {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&[HANDSHAKE_INIT, PROTOCOL_VERSION]).update(message);
    hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
}

/// Appends the next Noise message to `head`.
fn write(
    noise: &mut HandshakeState,
    head: &[u8],
    noise_len: usize,
    payload: &[u8],
) -> Result<Vec<u8>, snow::Error> {
    let mut packet = head.to_vec();
    packet.resize(head.len() + noise_len + payload.len(), 0);
    let message = packet.get_mut(head.len()..).ok_or(snow::Error::Input)?;
    noise.write_message(payload, message)?;
    Ok(packet)
}

/// Takes the link keys out of a finished handshake.
fn split(noise: &mut HandshakeState) -> LinkKeys {
    let (mut from_initiator, mut from_responder) = noise.dangerously_get_raw_split();
    let keys = if noise.is_initiator() {
        LinkKeys::new(from_initiator, from_responder)
    } else {
        LinkKeys::new(from_responder, from_initiator)
    };
    from_initiator.zeroize();
    from_responder.zeroize();
    keys
}

/// The secret of the next handshake's ephemeral key. It is drawn ahead, so that a handshake that fails draws nothing.
#[derive(Clone)]
pub(super) struct Ephemeral(Zeroizing<[u8; KEY_LEN]>);

impl Ephemeral {
    /// Draws a secret.
    pub(super) fn draw(rng: &mut ChaCha20Rng) -> Self {
        let mut secret = Zeroizing::new([0; KEY_LEN]);
        rng.fill_bytes(secret.as_mut());
        Self(secret)
    }
}

impl fmt::Debug for Ephemeral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ephemeral(..)")
    }
}

/// An X25519 key pair.
#[derive(Clone)]
struct KeyPair {
    secret: Zeroizing<[u8; KEY_LEN]>,
    public: [u8; KEY_LEN],
}

impl KeyPair {
    fn new(secret: Zeroizing<[u8; KEY_LEN]>) -> Self {
        let public = x25519::public_key(&secret);
        Self { secret, public }
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(..)")
    }
}

/// Gives `snow` our curve and our randomness.
struct Resolver {
    pair: KeyPair,
    ephemeral: Zeroizing<[u8; KEY_LEN]>,
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(OneSecret(Some(self.ephemeral.clone()))))
    }

    fn resolve_dh(&self, _: &DHChoice) -> Option<Box<dyn Dh>> {
        Some(Box::new(X25519 { own: self.pair.clone(), pair: None }))
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        match choice {
            CipherChoice::ChaChaPoly => Some(Box::new(ChaChaPoly::default())),
            _ => None,
        }
    }
}

/// Gives out one secret, once: a handshake makes one ephemeral key.
struct OneSecret(Option<Zeroizing<[u8; KEY_LEN]>>);

impl Random for OneSecret {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        let secret = self.0.take().filter(|secret| secret.len() == dest.len()).ok_or(snow::Error::Rng)?;
        dest.copy_from_slice(secret.as_slice());
        Ok(())
    }
}

/// X25519 as `snow` wants it. Results of all zeros are refused.
struct X25519 {
    /// The static pair, whose public half need not be computed again.
    own: KeyPair,
    /// The pair in use; `None` until it is set.
    pair: Option<KeyPair>,
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        KEY_LEN
    }

    fn priv_len(&self) -> usize {
        KEY_LEN
    }

    fn set(&mut self, privkey: &[u8]) {
        let is_own = bool::from(self.own.secret.as_slice().ct_eq(privkey));
        self.pair = if is_own {
            Some(self.own.clone())
        } else {
            privkey.try_into().ok().map(|secret| KeyPair::new(Zeroizing::new(secret)))
        };
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        let mut secret = Zeroizing::new([0; KEY_LEN]);
        rng.try_fill_bytes(secret.as_mut_slice())?;
        self.pair = Some(KeyPair::new(secret));
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        self.pair.as_ref().map_or(&[], |pair| &pair.public)
    }

    fn privkey(&self) -> &[u8] {
        self.pair.as_ref().map_or(&[], |pair| pair.secret.as_slice())
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let pair = self.pair.as_ref().ok_or(snow::Error::Dh)?;
        let point = pubkey.first_chunk::<KEY_LEN>().ok_or(snow::Error::Dh)?;
        let shared = x25519::shared_secret(&pair.secret, point).ok_or(snow::Error::Dh)?;
        out.get_mut(..KEY_LEN).ok_or(snow::Error::Dh)?.copy_from_slice(shared.as_slice());
        Ok(())
    }
}

#[cfg(test)]
impl Local {
    /// Claims another node's key, as a forger would.
    pub(super) fn set_key_for_test(&mut self, key: NodeKey) {
        self.key = key;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    /// So that later versions may say what they can do without being refused.
    #[test]
    fn feature_bits_that_are_not_known_are_ignored() {
        for features in [1_u32, 1 << 31, u32::MAX] {
            let init = [&[7; KEY_LEN], &9_u32.to_be_bytes()[..], &features.to_be_bytes(), &[0; 2]].concat();
            let read = InitPayload::decode(&init).unwrap();
            assert_eq!((read.key, read.index), (NodeKey::from_bytes([7; KEY_LEN]), 9));

            let (mut noise, mut buffer) = (handshake(), [0; MAX_DATAGRAM_LEN]);
            let payload = [9_u32.to_be_bytes(), features.to_be_bytes()].concat();
            let response = write(&mut noise.1, &[], NOISE_RESPONSE_LEN, &payload).unwrap();
            let (index, frame, _) = read_response(&mut noise.0, &response, &mut buffer).unwrap();
            assert_eq!((index, frame.is_some()), (9, false));
        }
    }

    /// Returns both sides of a handshake whose first message has arrived.
    fn handshake() -> (HandshakeState, HandshakeState) {
        let (network, mut rng) = (blake3::hash(b"test"), ChaCha20Rng::from_seed([3; 32]));
        let [one, two] = [1, 2].map(|seed| Local::new(&network, &SecretKey::from_bytes(&[seed; KEY_LEN])));
        let ephemerals = [Ephemeral::draw(&mut rng), Ephemeral::draw(&mut rng)];
        let (initiator, init) = one.initiate(&ephemerals[0], &two.key(), 5, None).unwrap();
        let mut buffer = [0; MAX_DATAGRAM_LEN];
        let (responder, _) = two.read_init(&ephemerals[1], &init[INIT_HEADER_LEN..], &mut buffer).unwrap();
        (initiator, responder)
    }
}
