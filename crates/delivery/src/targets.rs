//! From a next hop to the addresses that are tried, in order (RFC 5321 5.1, RFC 7505).
//!
//! Promises: a bounded number of questions, each with a deadline; address literals and localhost are never
//! asked for; what DNS says is only believed as far as it makes sense.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mail::{EnhancedStatus, Outcome, Relay, Rng, Scope, site_of_domain};
use tokio::time::timeout;

use crate::config::{Kind, TransportConfig};
use crate::nexthop::{NextHop, Place};
use crate::resolver::{Lookup, LookupError, Mx, Resolver};

/// Most hosts whose addresses are asked for in one delivery, however many MX records there are.
const HOSTS_MAX: usize = 16;

/// One address to try.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    /// The name for logs and certificates.
    pub(crate) host: String,
    pub(crate) address: TargetAddress,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum TargetAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Target {
    pub(crate) fn relay(&self) -> Relay {
        match &self.address {
            TargetAddress::Tcp(address) => Relay {
                host: self.host.clone(),
                address: Some(address.ip().to_string()),
                port: address.port(),
            },
            TargetAddress::Unix(path) => Relay { host: path.display().to_string(), address: None, port: 0 },
        }
    }
}

/// Finds the targets of next hops.
pub(crate) struct Search<'a> {
    pub(crate) resolver: &'a dyn Resolver,
    pub(crate) rng: &'a Mutex<Rng>,
    pub(crate) hostname: &'a str,
    pub(crate) transport: &'a TransportConfig,
    /// The next hop is what the recipients' addresses say, not what an operator configured: only then is
    /// its absence the sender's affair.
    pub(crate) is_recipient_domain: bool,
}

/// Why there is no target; what it means for the recipients depends on who chose the next hop.
enum Absence {
    Temporary(String),
    NotFound(String),
    NullMx(String),
    Loop(String),
}

impl Search<'_> {
    /// The targets in the order in which they are to be tried, at least one; or the outcome of everybody.
    pub(crate) async fn targets(&self, hops: &[NextHop]) -> Result<Vec<Target>, Outcome> {
        let limit =
            if self.transport.mx_address_limit == 0 { usize::MAX } else { self.transport.mx_address_limit };
        let mut targets: Vec<Target> = Vec::new();
        let mut absence = None;
        for hop in hops {
            match self.of_hop(hop, limit).await {
                Ok(found) => {
                    for target in found {
                        if !targets.iter().any(|known| known.address == target.address) {
                            targets.push(target);
                        }
                    }
                }
                Err(why) if matches!(absence, Some(Absence::Temporary(_))) => drop(why),
                Err(why) => absence = Some(why),
            }
        }
        targets.truncate(limit);
        if targets.is_empty() {
            let absence = absence.unwrap_or_else(|| Absence::NotFound("no next hop".into()));
            return Err(self.outcome(absence));
        }
        Ok(targets)
    }

    fn outcome(&self, absence: Absence) -> Outcome {
        // Statuses of RFC 3463 3.5: unable to route, routing loop, directory server failure; 5.1.0 as
        // deployed for RFC 7505.
        let (status, text) = match absence {
            Absence::Temporary(text) => {
                return Outcome::deferred(Scope::Site, EnhancedStatus::new(4, 4, 3), text);
            }
            Absence::NotFound(text) => (EnhancedStatus::new(5, 4, 4), text),
            Absence::NullMx(domain) => {
                (EnhancedStatus::new(5, 1, 0), format!("Domain {domain} does not accept mail (nullMX)"))
            }
            Absence::Loop(domain) => {
                (EnhancedStatus::new(5, 4, 6), format!("mail for {domain} loops back to myself"))
            }
        };
        if self.is_recipient_domain {
            Outcome::bounced(Scope::Recipient, status, text)
        } else {
            // A slip in a relayhost or a map must not bounce everything that passes by it.
            Outcome::deferred(Scope::Site, status, format!("configured next hop: {text}"))
        }
    }

    async fn of_hop(&self, hop: &NextHop, limit: usize) -> Result<Vec<Target>, Absence> {
        let port = hop.port.unwrap_or_else(|| self.transport.default_port());
        let at = |host: &str, address| Target {
            host: host.to_owned(),
            address: TargetAddress::Tcp(SocketAddr::new(address, port)),
        };
        match &hop.place {
            Place::Unix(path) => {
                let host = path.display().to_string();
                Ok(vec![Target { host, address: TargetAddress::Unix(path.clone()) }])
            }
            Place::Address(address) => Ok(vec![at(&address.to_string(), *address)]),
            Place::Domain(domain) if self.transport.kind == Kind::Smtp && !is_localhost(domain) => {
                let found = self.of_domain(domain, limit).await?;
                Ok(found.iter().map(|(host, address)| at(host, *address)).collect())
            }
            Place::Domain(host) | Place::Host(host) => {
                let mut found = self.addresses(host).await?;
                self.shuffle(&mut found);
                let found = balanced(found, IpAddr::is_ipv6);
                Ok(found.into_iter().map(|address| at(host, address)).collect())
            }
        }
    }

    async fn of_domain(&self, domain: &str, limit: usize) -> Result<Vec<(String, IpAddr)>, Absence> {
        let records = match ask(self.transport.deadlines.lookup, self.resolver.mx(domain)).await {
            Ok(records) => records,
            // RFC 5321 5.1: without MX records the domain itself is the host.
            Err(LookupError::NoRecords { .. }) => vec![Mx { preference: 0, host: domain.to_owned() }],
            Err(error) if error.is_temporary() => {
                return Err(Absence::Temporary(failed(domain, "MX", &error)));
            }
            Err(error) => return Err(Absence::NotFound(failed(domain, "MX", &error))),
        };
        let hosts = self.hosts(domain, records)?;
        let mut found = Vec::new();
        let mut absence = None;
        for group in hosts.chunk_by(|a, b| a.preference == b.preference) {
            let mut group_found = Vec::new();
            for mx in group {
                match self.addresses(&mx.host).await {
                    Ok(addresses) => {
                        group_found.extend(addresses.into_iter().map(|address| (mx.host.clone(), address)));
                    }
                    Err(Absence::Temporary(why)) => absence = Some(Absence::Temporary(why)),
                    Err(why) => absence = absence.or(Some(why)),
                }
            }
            self.shuffle(&mut group_found);
            found.extend(balanced(group_found, |(_, address)| address.is_ipv6()));
            if found.len() >= limit {
                break;
            }
        }
        if found.is_empty() {
            return Err(absence.unwrap_or_else(|| Absence::NotFound(format!("no mail host for {domain}"))));
        }
        Ok(found)
    }

    /// The hosts of a domain, best first, in random order within a preference.
    fn hosts(&self, domain: &str, mut records: Vec<Mx>) -> Result<Vec<Mx>, Absence> {
        // RFC 7505 3: a lone MX record that names the root.
        if records.iter().all(|mx| mx.host.is_empty()) {
            return Err(Absence::NullMx(domain.to_owned()));
        }
        records.retain(|mx| site_of_domain(&mx.host).is_ok());
        self.shuffle(&mut records);
        records.sort_by_key(|mx| mx.preference);
        // RFC 5321 5.1: hosts that are no better than ourselves would send the message back to us.
        if let Some(own) = records.iter().find(|mx| mx.host.eq_ignore_ascii_case(self.hostname)) {
            let own = own.preference;
            records.retain(|mx| mx.preference < own);
            if records.is_empty() {
                return Err(Absence::Loop(domain.to_owned()));
            }
        }
        records.truncate(HOSTS_MAX);
        Ok(records)
    }

    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Absence> {
        if is_localhost(host) {
            // RFC 6761 6.3.
            return Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
        }
        let answer = ask(self.transport.deadlines.lookup, self.resolver.addresses(host)).await;
        let mut addresses = answer.map_err(|error| match error.is_temporary() {
            true => Absence::Temporary(failed(host, "A", &error)),
            false => Absence::NotFound(failed(host, "A", &error)),
        })?;
        let first = addresses.first().map(IpAddr::to_string);
        addresses.retain(|address| is_of_one_host(*address));
        if addresses.is_empty() {
            let address = first.unwrap_or_default();
            return Err(Absence::Temporary(format!("host {host} has no usable address ({address})")));
        }
        Ok(addresses)
    }

    fn shuffle<T>(&self, items: &mut [T]) {
        if items.len() > 1 {
            self.rng.lock().unwrap_or_else(PoisonError::into_inner).shuffle(items);
        }
    }
}

/// Takes turns between the two kinds while there are both, so that a machine without IPv6 (or without
/// IPv4) does not spend all its tries on addresses it cannot reach (`smtp_balance_inet_protocols`).
fn balanced<T>(items: Vec<T>, kind: impl Fn(&T) -> bool) -> Vec<T> {
    let count = items.len();
    let first = items.first().map(&kind);
    let (mut one, mut other): (VecDeque<T>, VecDeque<T>) =
        items.into_iter().partition(|item| Some(kind(item)) == first);
    let mut mixed = Vec::with_capacity(count);
    while mixed.len() < count {
        mixed.extend(one.pop_front());
        std::mem::swap(&mut one, &mut other);
    }
    mixed
}

async fn ask<T>(deadline: Duration, lookup: Lookup<'_, T>) -> Result<Vec<T>, LookupError> {
    match timeout(deadline, lookup).await {
        Ok(answer) => answer.map(|found| found.records),
        Err(_) => Err(LookupError::Temporary { reason: "no answer in time".into() }),
    }
}

fn failed(name: &str, kind: &str, error: &LookupError) -> String {
    format!("name service error for name={name} type={kind}: {error}")
}

/// Whether a name server that says so can mean it. To connect to no address is to connect to ourselves.
fn is_of_one_host(address: IpAddr) -> bool {
    let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    !address.is_unspecified() && !address.is_multicast() && !broadcast
}

fn is_localhost(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_get_their_turn() {
        let odd = |number: &u32| number % 2 == 1;
        assert_eq!(balanced(vec![1, 3, 5, 7, 2, 4], odd), [1, 2, 3, 4, 5, 7]);
        assert_eq!(balanced(vec![2, 4, 1], odd), [2, 1, 4]);
        assert_eq!(balanced(vec![2, 4], odd), [2, 4]);
        assert!(balanced(Vec::new(), odd).is_empty());
    }
}
