//! Networks as an operator writes them: `127.0.0.0/8`, `::1`, `[2001:db8::]/32`.

use std::net::IpAddr;
use std::str::FromStr;

/// A text that is no network.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{text:?} is not a network: an address or address/length is expected, as in 192.0.2.0/24")]
pub struct NetworkError {
    /// What was written.
    pub text: String,
}

/// One address, or all that share its first bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

/// Any number of networks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Networks(Vec<Network>);

impl Network {
    /// Whether the address belongs to it. An IPv4 address in IPv6 clothes (RFC 4291 2.5.5.2) counts as
    /// the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(host)) => {
                prefix(u128::from(u32::from(net)) << 96, self.bits)
                    == prefix(u128::from(u32::from(host)) << 96, self.bits)
            }
            (IpAddr::V6(net), IpAddr::V6(host)) => {
                prefix(net.into(), self.bits) == prefix(host.into(), self.bits)
            }
            _ => false,
        }
    }
}

/// The first bits of an address, the others cleared.
fn prefix(address: u128, bits: u32) -> u128 {
    address & u128::MAX.checked_shl(128 - bits).unwrap_or(0)
}

impl FromStr for Network {
    type Err = NetworkError;

    /// Bits behind the length must be zero: `127.0.0.1/8` is a mistake more often than not.
    fn from_str(text: &str) -> Result<Network, NetworkError> {
        let broken = || NetworkError { text: text.to_owned() };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().map_err(|_| broken())?)),
            None => (text, None),
        };
        let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
        let address: IpAddr = address.parse().map_err(|_| broken())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        let number = match address {
            IpAddr::V4(v4) => u128::from(u32::from(v4)) << 96,
            IpAddr::V6(v6) => v6.into(),
        };
        if bits > width || prefix(number, bits) != number {
            return Err(broken());
        }
        Ok(Network { address, bits })
    }
}

impl Networks {
    /// Reads the entries.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Networks, NetworkError> {
        entries.iter().map(|entry| entry.as_ref().parse()).collect::<Result<_, _>>().map(Networks)
    }

    /// Whether one of them has the address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_what_they_say() {
        let networks = Networks::parse(&["127.0.0.0/8", "192.0.2.7", "[2001:db8::]/32", "::1"]).unwrap();
        for (address, inside) in [
            ("127.1.2.3", true),
            ("128.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("::ffff:127.0.0.1", true),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", false),
            ("::1", true),
            ("::2", false),
        ] {
            assert_eq!(networks.contains(address.parse().unwrap()), inside, "{address}");
        }
        assert!(Networks::parse(&["0.0.0.0/0"]).unwrap().contains("8.8.8.8".parse().unwrap()));
        assert!(!Networks::parse(&["0.0.0.0/0"]).unwrap().contains("2001:db8::1".parse().unwrap()));
        assert!(Networks::parse(&["::/0"]).unwrap().contains("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn refuses_what_is_no_network() {
        for text in ["", "localhost", "127.0.0.1/8", "127.0.0.0/33", "::/129", "1.2.3", "1.2.3.4/x", "[::1"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
