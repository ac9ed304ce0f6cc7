//! What becomes of one recipient before any agent is asked: pure rules over its route.
//!
//! Promises: the order of decisions of qmgr(8): forced expiry, the sink for reports about reports,
//! transports that are switched off, the name of the destination. Refuses: state; whether a destination is
//! dead is asked elsewhere.

use std::sync::Arc;

use mail::{EnhancedStatus, Outcome, Scope};

use crate::event::Pending;
use crate::params::{Config, TransportParameters};

/// What the rules say.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Ruling {
    /// To be delivered.
    Deliver,
    /// Decided without delivery.
    Decided(Outcome),
}

const EXPIRED: EnhancedStatus = EnhancedStatus::new(4, 7, 0);
const SWITCHED_OFF: EnhancedStatus = EnhancedStatus::new(4, 3, 2);

/// Applies the rules to a recipient. `override_defer`: a flush wants it tried whatever
/// `defer_transports` says.
pub(crate) fn rule(config: &Config, pending: &Pending, force_expire: bool, override_defer: bool) -> Ruling {
    if force_expire {
        let text = "message is administratively expired";
        return Ruling::Decided(Outcome::deferred(Scope::Message, EXPIRED, text));
    }
    if is_sink(config, pending) {
        return Ruling::Decided(Outcome::sent("undeliverable postmaster notification discarded"));
    }
    if !override_defer && config.global.defer_transports.contains(&pending.route.transport) {
        return Ruling::Decided(Outcome::deferred(Scope::Message, SWITCHED_OFF, "deferred transport"));
    }
    Ruling::Deliver
}

/// `double_bounce_sender` at a domain that is delivered here.
fn is_sink(config: &Config, pending: &Pending) -> bool {
    let Some((local, _)) = pending.address.rsplit_once('@') else { return false };
    let sink = &config.global.double_bounce_sender;
    !sink.is_empty() && local.eq_ignore_ascii_case(sink) && config.local_domains.matches(&pending.site)
}

/// The name of the destination: the nexthop in lower case; with one recipient a delivery the mailbox in
/// front of it, without address extension.
pub(crate) fn destination_name(
    config: &Config,
    transport: &TransportParameters,
    pending: &Pending,
) -> Arc<str> {
    let route = &pending.route;
    let whole = matches!(&*route.transport, "error" | "retry") || transport.destination_recipient_limit != 1;
    if whole {
        if route.nexthop.bytes().any(|b| b.is_ascii_uppercase()) || !route.nexthop.is_ascii() {
            return route.nexthop.to_lowercase().into();
        }
        return Arc::clone(&route.nexthop);
    }
    let local = pending.address.rsplit_once('@').map_or(&*pending.address, |(local, _)| local);
    let delimiters = &config.global.recipient_delimiter;
    // A delimiter in front is part of the name, not the start of an extension.
    let extension = local.char_indices().skip(1).find(|(_, c)| delimiters.contains(*c));
    let user = extension.map_or(local, |(place, _)| &local[..place]);
    format!("{user}@{}", route.nexthop).to_lowercase().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Route;
    use mail::{DomainList, Verdict};

    fn pending(address: &str, transport: &str, nexthop: &str) -> Pending {
        Pending {
            position: 0,
            address: address.into(),
            site: address.rsplit_once('@').map_or("", |(_, domain)| domain).into(),
            route: Route { transport: transport.into(), nexthop: nexthop.into() },
            recorded: false,
            notify_success: false,
        }
    }

    #[test]
    fn destinations_fold_case_and_may_be_single_mailboxes() {
        let mut config = Config::default();
        config.set("recipient_delimiter", "+").unwrap();
        let name = |address, transport: &str, nexthop| {
            destination_name(&config, &config.transport(transport), &pending(address, transport, nexthop))
        };
        assert_eq!(&*name("u@x", "smtp", "Example.COM"), "example.com");
        assert_eq!(&*name("U+x@a", "local", "A"), "u@a");
        assert_eq!(&*name("+x@a", "local", "a"), "+x@a");
        assert_eq!(&*name("u@a", "error", "5.1.2 Gone"), "5.1.2 gone");
    }

    #[test]
    fn rules_apply_in_order() {
        let mut config = Config::default();
        config.local_domains = DomainList::parse(&["here.test"], false).unwrap();
        config.set("defer_transports", "slow, later").unwrap();
        let ruling = |address, transport, forced, overridden| {
            rule(&config, &pending(address, transport, "x"), forced, overridden)
        };
        let verdict = |ruling| match ruling {
            Ruling::Decided(outcome) => Some((outcome.verdict, outcome.status.to_string())),
            Ruling::Deliver => None,
        };
        let sink = "Double-Bounce@here.test";
        assert_eq!(verdict(ruling(sink, "smtp", false, false)), Some((Verdict::Sent, "2.0.0".into())));
        assert_eq!(verdict(ruling(sink, "smtp", true, false)), Some((Verdict::Deferred, "4.7.0".into())));
        assert_eq!(verdict(ruling("double-bounce@there.test", "smtp", false, false)), None);
        assert_eq!(verdict(ruling("u@x", "later", false, false)), Some((Verdict::Deferred, "4.3.2".into())));
        assert_eq!(verdict(ruling("u@x", "later", false, true)), None);
    }
}
