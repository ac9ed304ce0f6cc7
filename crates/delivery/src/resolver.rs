//! What the agents ask of the name service, and the answers that make a difference to a delivery.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

/// One MX record.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Mx {
    /// Lower is better.
    pub preference: u16,
    /// The host, without a trailing dot; empty is the null MX (RFC 7505).
    pub host: String,
}

/// Records, and how long they may be believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found<T> {
    /// At least one.
    pub records: Vec<T>,
    /// Their time to live.
    pub ttl: Duration,
}

/// Why there are no records.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LookupError {
    /// The name does not exist, for as long as `ttl`.
    #[error("host or domain name not found")]
    NxDomain {
        /// How long that may be believed, when the answer says so.
        ttl: Option<Duration>,
    },
    /// The name exists, without records of this type.
    #[error("no such record")]
    NoRecords {
        /// How long that may be believed, when the answer says so.
        ttl: Option<Duration>,
    },
    /// Nobody could say; it may work later.
    #[error("{reason}")]
    Temporary {
        /// In the words of the resolver.
        reason: String,
    },
}

impl LookupError {
    /// Whether asking again may help.
    pub fn is_temporary(&self) -> bool {
        matches!(self, LookupError::Temporary { .. })
    }
}

/// An answer on its way.
pub type Lookup<'a, T> = Pin<Box<dyn Future<Output = Result<Found<T>, LookupError>> + Send + 'a>>;

/// Who answers. Names are given in A-form without a trailing dot and are fully qualified.
pub trait Resolver: Send + Sync {
    /// The MX records of a domain, in any order.
    fn mx<'a>(&'a self, domain: &'a str) -> Lookup<'a, Mx>;
    /// The addresses of a host, IPv4 and IPv6.
    fn addresses<'a>(&'a self, host: &'a str) -> Lookup<'a, IpAddr>;
}
