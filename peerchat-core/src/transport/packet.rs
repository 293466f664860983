//! [`Packet`]: the outer layout of every datagram, before any cryptography.

use subtle::ConstantTimeEq as _;

use super::MAX_DATAGRAM_LEN;
use super::cookie::{COOKIE_LEN, Cookie};

/// Version of the whole protocol, carried by every packet that starts an exchange.
pub const PROTOCOL_VERSION: u8 = 1;

pub(super) const KEY_REQUEST: u8 = 0x01;
pub(super) const KEY_REPLY: u8 = 0x02;
pub(super) const HANDSHAKE_INIT: u8 = 0x03;
pub(super) const HANDSHAKE_RESPONSE: u8 = 0x04;
pub(super) const DATA: u8 = 0x05;
pub(super) const RESET: u8 = 0x06;
pub(super) const COOKIE: u8 = 0x07;

/// Length of the tag at the end of everything encrypted.
pub(super) const TAG_LEN: usize = 16;
/// Length of an X25519 or Ed25519 key.
pub(super) const KEY_LEN: usize = 32;
/// Length of the network tag in a KEY_REQUEST.
pub(super) const NETWORK_TAG_LEN: usize = 8;
/// Length of the nonce that a KEY_REPLY repeats.
pub(super) const PROBE_NONCE_LEN: usize = 16;
/// Length of a KEY_REPLY, and of a KEY_REQUEST, which is padded to it.
pub(super) const KEY_PACKET_LEN: usize = 2 + PROBE_NONCE_LEN + KEY_LEN;
/// Length of the MAC in HANDSHAKE_INIT.
pub(super) const MAC_LEN: usize = 16;
/// Length of HANDSHAKE_INIT before its Noise message.
pub(super) const INIT_HEADER_LEN: usize = 2 + MAC_LEN + COOKIE_LEN;
/// Length of the first Noise message without its payload: an ephemeral key, an encrypted static key, two tags.
pub(super) const NOISE_INIT_LEN: usize = KEY_LEN + KEY_LEN + TAG_LEN + TAG_LEN;
/// Length of HANDSHAKE_RESPONSE before its Noise message.
pub(super) const RESPONSE_HEADER_LEN: usize = 5;
/// Length of the second Noise message without its payload: an ephemeral key and a tag.
pub(super) const NOISE_RESPONSE_LEN: usize = KEY_LEN + TAG_LEN;
/// Length of DATA before its ciphertext.
pub(super) const DATA_HEADER_LEN: usize = 13;

/// One datagram, taken apart. Nothing in it is authentic yet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Packet<'a> {
    KeyRequest { network: [u8; NETWORK_TAG_LEN], nonce: [u8; PROBE_NONCE_LEN] },
    KeyReply { nonce: [u8; PROBE_NONCE_LEN], key: [u8; KEY_LEN] },
    Init(Init<'a>),
    Response { receiver: u32, noise: &'a [u8] },
    Data(Data<'a>),
    Reset { index: u32, counter: u64 },
    Cookie { mac: InitMac, cookie: Cookie },
}

/// Authenticates a HANDSHAKE_INIT for who knows the responder's key, and identifies it.
pub(super) type InitMac = [u8; MAC_LEN];

/// A HANDSHAKE_INIT, taken apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Init<'a> {
    /// Over type, version and Noise message.
    pub(super) mac: InitMac,
    /// Zeros if none was given.
    pub(super) cookie: Cookie,
    pub(super) noise: &'a [u8],
}

/// A DATA packet, taken apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Data<'a> {
    /// Everything before the ciphertext: authenticated with it.
    pub(super) header: &'a [u8; DATA_HEADER_LEN],
    pub(super) receiver: u32,
    pub(super) counter: u64,
    /// Ciphertext and tag.
    pub(super) sealed: &'a [u8],
}

/// Why a datagram is no packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum PacketError {
    /// It is longer than [`MAX_DATAGRAM_LEN`].
    TooLong,
    /// The first byte is none of ours, or there is none.
    UnknownType,
    /// It speaks another version of the protocol.
    OtherVersion,
    /// Its length or padding is wrong.
    Malformed,
}

impl<'a> Packet<'a> {
    /// Takes a datagram apart.
    pub(super) fn decode(datagram: &'a [u8]) -> Result<Self, PacketError> {
        if datagram.len() > MAX_DATAGRAM_LEN {
            return Err(PacketError::TooLong);
        }
        let (&kind, rest) = datagram.split_first().ok_or(PacketError::UnknownType)?;
        let packet = match kind {
            KEY_REQUEST => decode_key_request(check_version(rest)?),
            KEY_REPLY => decode_key_reply(check_version(rest)?),
            HANDSHAKE_INIT => decode_init(check_version(rest)?),
            HANDSHAKE_RESPONSE => decode_response(rest),
            DATA => decode_data(datagram),
            RESET => decode_reset(rest),
            COOKIE => decode_cookie(rest),
            _ => return Err(PacketError::UnknownType),
        };
        packet.ok_or(PacketError::Malformed)
    }
}

/// Takes the version byte off.
fn check_version(bytes: &[u8]) -> Result<&[u8], PacketError> {
    match bytes.split_first() {
        Some((&PROTOCOL_VERSION, rest)) => Ok(rest),
        Some(_) => Err(PacketError::OtherVersion),
        None => Err(PacketError::Malformed),
    }
}

fn decode_key_request(bytes: &[u8]) -> Option<Packet<'_>> {
    let (&network, rest) = bytes.split_first_chunk()?;
    let (&nonce, padding) = rest.split_first_chunk()?;
    let is_padded = 2 + bytes.len() == KEY_PACKET_LEN && padding.iter().all(|byte| *byte == 0);
    is_padded.then_some(Packet::KeyRequest { network, nonce })
}

fn decode_key_reply(bytes: &[u8]) -> Option<Packet<'_>> {
    let (&nonce, key) = bytes.split_first_chunk()?;
    Some(Packet::KeyReply { nonce, key: key.try_into().ok()? })
}

fn decode_init(bytes: &[u8]) -> Option<Packet<'_>> {
    let (&mac, rest) = bytes.split_first_chunk()?;
    let (&cookie, noise) = rest.split_first_chunk()?;
    (noise.len() >= NOISE_INIT_LEN).then_some(Packet::Init(Init { mac, cookie, noise }))
}

fn decode_response(bytes: &[u8]) -> Option<Packet<'_>> {
    let (&receiver, noise) = bytes.split_first_chunk()?;
    let receiver = u32::from_be_bytes(receiver);
    (noise.len() >= NOISE_RESPONSE_LEN).then_some(Packet::Response { receiver, noise })
}

fn decode_data(datagram: &[u8]) -> Option<Packet<'_>> {
    let (header, sealed) = datagram.split_first_chunk::<DATA_HEADER_LEN>()?;
    let (&receiver, rest) = header.get(1..)?.split_first_chunk()?;
    let (receiver, counter) = (u32::from_be_bytes(receiver), u64::from_be_bytes(rest.try_into().ok()?));
    (sealed.len() >= TAG_LEN).then_some(Packet::Data(Data { header, receiver, counter, sealed }))
}

fn decode_reset(bytes: &[u8]) -> Option<Packet<'_>> {
    let (&index, counter) = bytes.split_first_chunk()?;
    let counter = u64::from_be_bytes(counter.try_into().ok()?);
    Some(Packet::Reset { index: u32::from_be_bytes(index), counter })
}

fn decode_cookie(bytes: &[u8]) -> Option<Packet<'_>> {
    let (&mac, cookie) = bytes.split_first_chunk()?;
    Some(Packet::Cookie { mac, cookie: cookie.try_into().ok()? })
}

/// Returns the bytes of a KEY_REQUEST.
pub(super) fn key_request(network: &[u8; NETWORK_TAG_LEN], nonce: &[u8; PROBE_NONCE_LEN]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(KEY_PACKET_LEN);
    bytes.extend([KEY_REQUEST, PROTOCOL_VERSION]);
    bytes.extend(network);
    bytes.extend(nonce);
    bytes.resize(KEY_PACKET_LEN, 0);
    bytes
}

/// Returns the bytes of a KEY_REPLY.
pub(super) fn key_reply(nonce: &[u8; PROBE_NONCE_LEN], key: &[u8; KEY_LEN]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(KEY_PACKET_LEN);
    bytes.extend([KEY_REPLY, PROTOCOL_VERSION]);
    bytes.extend(nonce);
    bytes.extend(key);
    bytes
}

/// Returns the header of a DATA packet.
pub(super) fn data_header(receiver: u32, counter: u64) -> impl Iterator<Item = u8> {
    [DATA].into_iter().chain(receiver.to_be_bytes()).chain(counter.to_be_bytes())
}

/// Returns the bytes of a RESET.
pub(super) fn reset(index: u32, counter: u64) -> Vec<u8> {
    [RESET].into_iter().chain(index.to_be_bytes()).chain(counter.to_be_bytes()).collect()
}

/// Returns the bytes of a COOKIE, which answers the HANDSHAKE_INIT with this MAC.
pub(super) fn cookie(mac: &InitMac, cookie: &Cookie) -> Vec<u8> {
    [COOKIE].iter().chain(mac).chain(cookie).copied().collect()
}

/// The header of a HANDSHAKE_INIT without MAC and cookie.
pub(super) const INIT_HEADER: [u8; INIT_HEADER_LEN] = {
    let mut header = [0; INIT_HEADER_LEN];
    [header[0], header[1]] = [HANDSHAKE_INIT, PROTOCOL_VERSION];
    header
};

/// Writes the MAC into a HANDSHAKE_INIT.
pub(super) fn set_mac(init: &mut [u8], mac: &InitMac) {
    if let Some(field) = init.get_mut(2..2 + MAC_LEN) {
        field.copy_from_slice(mac);
    }
}

/// Writes a cookie into a HANDSHAKE_INIT in place of the one before; returns whether that was another one.
pub(super) fn set_cookie(init: &mut [u8], cookie: &Cookie) -> bool {
    let Some(field) = init.get_mut(2 + MAC_LEN..INIT_HEADER_LEN).filter(|field| **field != *cookie) else {
        return false;
    };
    field.copy_from_slice(cookie);
    true
}

/// Tells whether a HANDSHAKE_INIT carries this MAC.
pub(super) fn has_mac(init: &[u8], mac: &InitMac) -> bool {
    init.get(2..2 + MAC_LEN).is_some_and(|field| field.ct_eq(mac).into())
}
