//! [`Addresses`]: where hosts are.

use std::net::SocketAddr;

/// How hosts come by their addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Addresses {
    /// Spread over the internet: hardly two share a /24.
    Spread,
    /// In this many /24s of the internet, as one operator would have them.
    Crowded(u32),
    /// Private ones, which the limits of diversity do not apply to.
    Private,
}

impl Addresses {
    pub(super) fn draw(self, host: usize) -> SocketAddr {
        let number = u32::try_from(host + 1).expect("fewer than 2^32 hosts");
        let [a, b, c, d] = number.wrapping_mul(0x9e37_79b1).to_be_bytes();
        match self {
            Self::Spread => SocketAddr::from(([11 + a % 80, b, c, d], 4000)),
            Self::Crowded(subnets) => {
                let [_, _, b, c] = (number % subnets).to_be_bytes();
                let port = u16::try_from(1024 + number / subnets / 250 % 60_000).expect("a port");
                let d = u8::try_from(number / subnets % 250).expect("less than 250");
                SocketAddr::from(([150, b, c, d], port))
            }
            Self::Private => {
                let [_, b, c, d] = number.to_be_bytes();
                SocketAddr::from(([10, b, c, d], 4000))
            }
        }
    }
}
