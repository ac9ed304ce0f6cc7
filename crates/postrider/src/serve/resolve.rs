//! Where a recipient goes: what trivial-rewrite(8) does for the queue manager, as pure rules.
//!
//! Promises: the same address gives the same route; the most specific row of `route.map` wins, whatever
//! the order of the rows: the mailbox, its domain, its parent domains from the longest, `*`. Then
//! `local_domains`, `relay_domains`, and the default. While the table of `route.map_file` has never been
//! read, nothing is known for sure, and all mail is deferred with 4.3.0.
//! Refuses: network look-ups. A next hop that is a domain is looked up by the agent that delivers.

use std::collections::HashMap;
use std::sync::Arc;

use mail::{Address, DomainList};
use qmgr::Route;

use crate::config::{self, Action, MapRule, Target};

/// Where mail goes while nobody knows: to be tried later.
const RESOLVER_FAILURE: (&str, &str) = ("retry", "4.3.0 address resolver failure");

/// The rules in force.
pub(crate) struct Resolver {
    /// By mailbox in lower case, domain, `.domain` or `*`.
    map: HashMap<String, Target>,
    /// Reasons to put mail on hold, by the same.
    holds: HashMap<String, Arc<str>>,
    /// The table of `route.map_file` is not known.
    is_incomplete: bool,
    local_domains: DomainList,
    relay_domains: DomainList,
    local: Option<Target>,
    default_transport: Arc<str>,
    relay_transport: Arc<str>,
    relayhost: Option<Arc<str>>,
    hostname: String,
}

impl Resolver {
    /// The rules of a configuration with the rows of its table, unless they are not known. `hostname` is the
    /// domain of `<postmaster>`.
    pub(crate) fn new(route: &config::Route, table: Option<&[MapRule]>, hostname: &str) -> Resolver {
        let (mut map, mut holds) = (HashMap::new(), HashMap::new());
        // Of two rows for one pattern that of the configuration counts.
        for rule in table.unwrap_or_default().iter().chain(&route.map) {
            let key = rule.matches.to_lowercase();
            match &rule.action {
                Action::To(target) => drop(map.insert(key, target.clone())),
                Action::Hold(reason) => drop(holds.insert(key, Arc::from(reason.as_str()))),
            }
        }
        Resolver {
            map,
            holds,
            is_incomplete: table.is_none(),
            local_domains: route.local_domains.clone(),
            relay_domains: route.relay_domains.clone(),
            local: route.local.clone(),
            default_transport: route.default_transport.as_str().into(),
            relay_transport: route.relay_transport.as_str().into(),
            relayhost: route.relayhost.as_deref().map(Arc::from),
            hostname: mail::site_of_domain(hostname).unwrap_or_else(|_| hostname.to_owned()),
        }
    }

    /// Where mail for the address goes.
    pub(crate) fn resolve(&self, address: &Address) -> Route {
        if self.is_incomplete {
            let (transport, nexthop) = RESOLVER_FAILURE;
            return Route { transport: transport.into(), nexthop: nexthop.into() };
        }
        let site = address.site().unwrap_or_else(|| self.hostname.clone());
        if let Some(target) = self.mapped(address, &site) {
            return to(target, &site);
        }
        if let (Some(local), true) = (&self.local, self.local_domains.matches(&site)) {
            return to(local, &site);
        }
        let transport = match self.relay_domains.matches(&site) {
            true => &self.relay_transport,
            false => &self.default_transport,
        };
        let nexthop = self.relayhost.clone().unwrap_or_else(|| site.into());
        Route { transport: transport.clone(), nexthop }
    }

    fn mapped(&self, address: &Address, site: &str) -> Option<&Target> {
        if self.map.is_empty() {
            return None;
        }
        keys(address, site, |key| self.map.get(key))
    }

    /// The reason for which mail to the address is put on hold at its acceptance. A row that says where mail
    /// goes is an exception from less specific rows that hold it.
    pub(crate) fn hold(&self, address: &Address) -> Option<&Arc<str>> {
        if self.holds.is_empty() {
            return None;
        }
        let site = address.site().unwrap_or_else(|| self.hostname.clone());
        keys(address, &site, |key| match self.holds.get(key) {
            Some(reason) => Some(Some(reason)),
            None => self.map.contains_key(key).then_some(None),
        })
        .flatten()
    }
}

/// The first hit among the patterns for an address, the most specific one first.
fn keys<T>(address: &Address, site: &str, hit: impl Fn(&str) -> Option<T>) -> Option<T> {
    let mailbox = format!("{}@{site}", address.local_part()).to_lowercase();
    let parents = site.match_indices('.').map(|(place, _)| &site[place..]);
    [mailbox.as_str(), site].into_iter().chain(parents).chain(["*"]).find_map(hit)
}

fn to(target: &Target, site: &str) -> Route {
    let nexthop = if target.nexthop.is_empty() { site } else { &target.nexthop };
    Route { transport: target.transport.as_str().into(), nexthop: nexthop.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn target(transport: &str, nexthop: &str) -> Target {
        Target { transport: transport.to_owned(), nexthop: nexthop.to_owned() }
    }

    fn rules(relayhost: Option<&str>) -> Resolver {
        Resolver::new(&route(relayhost), Some(&[]), "MX.here.test")
    }

    fn route(relayhost: Option<&str>) -> config::Route {
        let row = |matches: &str, nexthop: &str| MapRule {
            matches: matches.to_owned(),
            action: Action::To(target("lmtp", nexthop)),
        };
        let list = |domains: &[&str]| DomainList::parse(domains, true).unwrap();
        config::Route {
            relayhost: relayhost.map(str::to_owned),
            relay_domains: list(&["relay.test"]),
            local_domains: list(&["here.test"]),
            map: vec![
                row(".lists.test", "parents"),
                row(".deep.lists.test", "deeper"),
                row("lists.test", "domain"),
                row("boss@lists.test", "mailbox"),
                row("same.test", ""),
            ],
            map_file: None,
            default_transport: "smtp".to_owned(),
            relay_transport: "relay".to_owned(),
            local: Some(target("maildir", "/mail")),
        }
    }

    #[test]
    fn the_most_specific_rule_wins() {
        for (address, relayhost, transport, nexthop) in [
            ("Boss@Lists.test", None, "lmtp", "mailbox"),
            ("u@lists.test", None, "lmtp", "domain"),
            ("u@a.lists.test", None, "lmtp", "parents"),
            ("u@x.deep.lists.test", None, "lmtp", "deeper"),
            ("u@same.test", None, "lmtp", "same.test"),
            ("u@here.test", Some("[smart]"), "maildir", "/mail"),
            ("postmaster", None, "maildir", "/mail"),
            ("u@a.relay.test", None, "relay", "a.relay.test"),
            ("u@relay.test", Some("[smart]:26"), "relay", "[smart]:26"),
            ("u@Far.test", None, "smtp", "far.test"),
            ("u@[192.0.2.1]", None, "smtp", "[192.0.2.1]"),
            ("u@far.test", Some("[smart]"), "smtp", "[smart]"),
        ] {
            let route = rules(relayhost).resolve(&address.parse().unwrap());
            assert_eq!((&*route.transport, &*route.nexthop), (transport, nexthop), "{address}");
        }
    }

    #[test]
    fn mail_is_held_by_the_most_specific_row() {
        let row = |matches: &str, action: Action| MapRule { matches: matches.to_owned(), action };
        let hold = |matches: &str, reason: &str| row(matches, Action::Hold(reason.to_owned()));
        let table = [
            hold("*", "everything"),
            hold("slow.test", "slow"),
            row("slow.test", Action::To(target("lmtp", "slow"))),
            row("good.test", Action::To(target("lmtp", "good"))),
            hold("Bad@good.test", "bad"),
            row("lists.test", Action::To(target("lmtp", "of the table"))),
        ];
        let mut route = config::Route { map: Vec::new(), ..route(None) };
        route.map = vec![row("lists.test", Action::To(target("lmtp", "of the file")))];
        let resolver = Resolver::new(&route, Some(&table), "mx.test");
        for (address, reason, nexthop) in [
            ("u@slow.test", Some("slow"), "slow"),
            ("u@good.test", None, "good"),
            ("bad@good.test", Some("bad"), "good"),
            ("u@far.test", Some("everything"), "far.test"),
            ("u@lists.test", None, "of the file"),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(resolver.hold(&address).map(|reason| &**reason), reason, "{address}");
            assert_eq!(&*resolver.resolve(&address).nexthop, nexthop, "{address}");
        }
    }

    #[test]
    fn without_the_table_all_mail_waits() {
        let route = Resolver::new(&route(None), None, "mx.test").resolve(&"u@lists.test".parse().unwrap());
        assert_eq!((&*route.transport, &*route.nexthop), RESOLVER_FAILURE);
    }
}
