//! Next hops as routes and domains spell them.
//!
//! | spelling | meaning |
//! | --- | --- |
//! | `domain`, `domain:port` | its MX records, else its addresses (RFC 5321 5.1); in LMTP its addresses |
//! | `[host]`, `[host]:port` | addresses of the host |
//! | `192.0.2.1`, `[192.0.2.1]:port`, `[ipv6:2001:db8::1]`, `[2001:db8::1]:port` | that address |
//! | `unix:/path` | a Unix socket (LMTP) |
//! | `inet:` in front of one of the others | nothing, for tables made for Postfix |
//! | several of these with commas | one after another |

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use mail::site_of_domain;

/// Most entries of a list.
const ENTRIES_MAX: usize = 32;

/// Where to look.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A domain with MX records, in A-form.
    Domain(String),
    /// A host, in A-form.
    Host(String),
    /// An address.
    Address(IpAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// One entry of a next hop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NextHop {
    /// Where to look.
    pub place: Place,
    /// The port, when one is named.
    pub port: Option<u16>,
}

/// A next hop that means nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("malformed next hop {text:?}: {why}")]
pub struct NextHopError {
    /// As written.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl NextHop {
    /// Reads a list of next hops; at least one.
    pub fn parse_list(text: &str) -> Result<Vec<NextHop>, NextHopError> {
        let entries: Vec<&str> = text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect();
        let broken = |why| NextHopError { text: text.to_owned(), why };
        match entries.len() {
            0 => Err(broken("nothing there")),
            1..=ENTRIES_MAX => entries.into_iter().map(|entry| parse(entry).map_err(broken)).collect(),
            _ => Err(broken("too many entries")),
        }
    }
}

fn parse(text: &str) -> Result<NextHop, &'static str> {
    if let Some(path) = text.strip_prefix("unix:") {
        let absolute = path.starts_with('/');
        let place = Place::Unix(PathBuf::from(path));
        return if absolute { Ok(NextHop { place, port: None }) } else { Err("the path has to be absolute") };
    }
    let text = text.strip_prefix("inet:").unwrap_or(text);
    let (inner, rest) = match text.strip_prefix('[') {
        Some(rest) => {
            rest.split_once(']').map(|(inner, rest)| (Some(inner), rest)).ok_or("no closing bracket")?
        }
        None => (None, text),
    };
    let Some(inner) = inner else {
        let (name, port) = match rest.rsplit_once(':') {
            Some((name, port)) => (name, Some(parse_port(port)?)),
            None => (rest, None),
        };
        let place = match name.parse() {
            Ok(address) => Place::Address(IpAddr::V4(address)),
            Err(_) => Place::Domain(host(name)?),
        };
        return Ok(NextHop { place, port });
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => Some(parse_port(port)?),
        None if rest.is_empty() => None,
        None => return Err("only a port may follow the bracket"),
    };
    Ok(NextHop { place: bracketed(inner)?, port })
}

fn bracketed(inner: &str) -> Result<Place, &'static str> {
    let tagged = inner.get(..5).filter(|tag| tag.eq_ignore_ascii_case("ipv6:")).map(|_| &inner[5..]);
    if let Some(v6) = tagged {
        return v6.parse::<Ipv6Addr>().map(|v6| Place::Address(v6.into())).map_err(|_| "malformed address");
    }
    match inner.parse() {
        Ok(address) => Ok(Place::Address(address)),
        Err(_) => host(inner).map(Place::Host),
    }
}

fn host(name: &str) -> Result<String, &'static str> {
    site_of_domain(name).map_err(|_| "malformed host name")
}

fn parse_port(text: &str) -> Result<u16, &'static str> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err("the port has to be a number from 1 to 65535"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> (Place, Option<u16>) {
        let mut list = NextHop::parse_list(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(list.len(), 1);
        let hop = list.remove(0);
        (hop.place, hop.port)
    }

    #[test]
    fn reads_every_spelling() {
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        let v4: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(one("Example.COM"), (Place::Domain("example.com".into()), None));
        assert_eq!(one("example.com:2525"), (Place::Domain("example.com".into()), Some(2525)));
        assert_eq!(one("[mx.example.com]"), (Place::Host("mx.example.com".into()), None));
        assert_eq!(one("inet:[mx.example.com]:26"), (Place::Host("mx.example.com".into()), Some(26)));
        for text in ["192.0.2.1", "[192.0.2.1]"] {
            assert_eq!(one(text), (Place::Address(v4), None), "{text}");
        }
        assert_eq!(one("192.0.2.1:25"), (Place::Address(v4), Some(25)));
        for text in ["[ipv6:2001:db8::1]", "[IPv6:2001:DB8:0::1]", "[2001:db8::1]"] {
            assert_eq!(one(text), (Place::Address(v6), None), "{text}");
        }
        assert_eq!(one("[2001:db8::1]:24"), (Place::Address(v6), Some(24)));
        assert_eq!(one("unix:/run/lmtp"), (Place::Unix("/run/lmtp".into()), None));
        assert_eq!(one("bücher.example").0, Place::Domain("xn--bcher-kva.example".into()));
        assert_eq!(NextHop::parse_list("a.test, [b.test]:26 ,").unwrap().len(), 2);
    }

    #[test]
    fn refuses_the_rest() {
        let many = "a.test,".repeat(ENTRIES_MAX + 1);
        for text in [
            "",
            " , ",
            "[",
            "[]",
            "[a.test",
            "[a.test]x",
            "[a.test]:",
            "a.test:0",
            "a.test:65536",
            "a.test:smtp",
            "a b",
            "-a.test",
            "unix:relative",
            "unix:",
            "[ipv6:x]",
            "2001:db8::1",
            ":25",
            "5.1.2 text",
            &many,
        ] {
            assert!(NextHop::parse_list(text).is_err(), "{text:?}");
        }
    }
}
