//! What the engine says about messages, sites and transports, in the operator's words.
//!
//! Promises: one cause, one sentence, and what would end it. Refuses: guessing; the cause is computed by
//! the engine from its own state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use control::{SiteItem, TransportItem, WhyItem};
use mail::{Address, Time};
use qmgr::{DestinationState, SiteView, TransportView, Why};

use super::routes::Routes;

/// The answer to `queue why`.
pub(crate) fn item(what: String, why: &Why) -> WhyItem {
    let remedy = remedy(&what, why);
    let (cause, text, since, until) = words(why);
    WhyItem {
        what,
        cause: cause.to_owned(),
        text,
        since: since.map(Time::as_secs),
        until: until.map(Time::as_secs),
        remedy,
    }
}

type Words = (&'static str, String, Option<Time>, Option<Time>);

fn words(why: &Why) -> Words {
    let plain = |cause, text: &str| (cause, text.to_owned(), None, None);
    match why {
        Why::Unknown => plain("nothing", "nothing of that name is queued"),
        Why::Idle => plain("nothing", "nothing waits for it, and nothing holds it back"),
        Why::BeingDelivered { deliveries } => {
            ("delivering", format!("being delivered now ({deliveries} in flight)"), None, None)
        }
        Why::Due { at, reason } => {
            let reason = reason.as_ref().map_or_else(String::new, |reason| format!("; last: {reason}"));
            ("due", format!("waits for its next attempt{reason}"), None, Some(*at))
        }
        Why::SiteDead { transport, destination, since, until, reason } => {
            let text = format!("deliveries to {destination} by {transport} are suspended: {reason}");
            ("throttled", text, Some(*since), Some(*until))
        }
        Why::WindowFull { transport, destination, window } => {
            let text = format!(
                "{destination} by {transport} has as many deliveries as its window allows ({window})"
            );
            ("window", text, None, None)
        }
        Why::AgentsBusy { transport, busy } => {
            let text = format!(
                "all agents of transport {transport}, or this site's share of them, are busy ({busy})"
            );
            ("agents", text, None, None)
        }
        Why::RateDelay { transport, until } => {
            ("rate", format!("a rate delay of transport {transport} is running"), None, Some(*until))
        }
        Why::Turn { transport } => {
            ("agents", format!("other mail of transport {transport} goes first"), None, None)
        }
        Why::Hold => plain("hold", "an operator or a rule put it on hold"),
        Why::ActiveLimit { limit } => (
            "admission",
            format!("the active queue is full (qmgr_message_active_limit = {limit})"),
            None,
            None,
        ),
        Why::FlushPending => plain("flush", "a flush lets the messages of its site out one after the other"),
        Why::Loading => plain("delivering", "its envelope is being read"),
        Why::Reporting => plain("delivering", "a report to its sender is being made"),
        Why::Paused => plain("agents", "deliveries are switched off: the engine is stopping"),
        Why::Corrupt { reason } => {
            let reason = reason.as_deref().unwrap_or("see the file beside it in corrupt/");
            ("corrupt", format!("it is damaged: {reason}"), None, None)
        }
    }
}

/// What would release it, as a command where there is one.
fn remedy(what: &str, why: &Why) -> Option<String> {
    let text = match why {
        Why::Due { .. } => flush(what),
        Why::SiteDead { .. } => {
            format!("a delivery that succeeds, the end of the suspension, or: {}", flush(what))
        }
        Why::WindowFull { .. } => {
            "one of them to end; destination_concurrency_limit sets the most there can be".to_owned()
        }
        Why::AgentsBusy { .. } => {
            "a delivery to end; process_limit and destination_process_share set how many there are".to_owned()
        }
        Why::RateDelay { .. } => {
            "its end; destination_rate_delay and transport_rate_delay set its length".to_owned()
        }
        Why::Hold => format!("postrider queue release {what}"),
        Why::ActiveLimit { .. } => "messages in memory to end or be deferred, or a higher limit".to_owned(),
        Why::Corrupt { .. } => format!("postrider queue show {what}, then queue requeue or queue delete"),
        _ => return None,
    };
    Some(text)
}

/// The command that has a message or a site tried now. A destination that is no site (a relay host) is
/// revived with all others.
fn flush(what: &str) -> String {
    if what.parse::<mail::QueueId>().is_ok() {
        format!("postrider flush --message {what}")
    } else if mail::site_of_domain(what).is_ok() {
        format!("postrider flush {what}")
    } else {
        "postrider flush --all".to_owned()
    }
}

/// The sites of a dump: each one that mail waits for, with the state of the destination its mail is routed
/// to, then the destinations that are no such site (a relay host, one without mail).
pub(crate) fn site_items(recorded: &[(Arc<str>, u64)], views: &[SiteView], routes: &Routes) -> Vec<SiteItem> {
    let by_route: BTreeMap<(&str, String), &SiteView> =
        views.iter().map(|view| ((&*view.transport, view.destination.to_ascii_lowercase()), view)).collect();
    let names: BTreeSet<&str> = recorded.iter().map(|(site, _)| &**site).collect();
    let waiting = recorded.iter().map(|(site, messages)| {
        let route =
            Address::parse(&format!("postmaster@{site}")).map(|address| routes.resolve(&address)).ok();
        let transport = route.as_ref().map(|route| &*route.transport).unwrap_or_default();
        let nexthop = route.as_ref().map(|route| route.nexthop.to_ascii_lowercase()).unwrap_or_default();
        let state = by_route.get(&(transport, nexthop)).map(|view| site_item(view));
        let idle =
            || SiteItem { transport: transport.to_owned(), state: "idle".to_owned(), ..SiteItem::default() };
        SiteItem { site: site.to_string(), messages: *messages, ..state.unwrap_or_else(idle) }
    });
    let others = views.iter().filter(|view| !names.contains(&*view.destination)).map(site_item);
    waiting.chain(others).collect()
}

/// One destination.
fn site_item(view: &SiteView) -> SiteItem {
    let mut item = SiteItem {
        site: view.destination.to_string(),
        transport: view.transport.to_string(),
        state: "ready".to_owned(),
        busy: view.busy,
        todo: view.todo,
        messages: view.waiting,
        ..SiteItem::default()
    };
    match &view.state {
        DestinationState::Ready { window } => {
            item.window = *window;
            if view.busy == 0 && view.todo == 0 {
                item.state = "idle".to_owned();
            }
        }
        DestinationState::Throttled { since, until, reason } => {
            item.state = "throttled".to_owned();
            item.reason = Some(reason.to_string());
            item.since = Some(since.as_secs());
            item.next_attempt = Some(until.as_secs());
        }
        DestinationState::Suspended { until } => {
            item.state = "suspended".to_owned();
            item.next_attempt = Some(until.as_secs());
        }
    }
    item
}

/// One transport of a dump.
pub(crate) fn transport_item(view: &TransportView) -> TransportItem {
    let state = match (&view.dead, view.locked_until) {
        (Some(_), _) => "throttled",
        (None, Some(_)) => "suspended",
        (None, None) => "ready",
    };
    let dead_until = view.dead.as_ref().map(|(until, _)| *until);
    TransportItem {
        transport: view.transport.to_string(),
        state: state.to_owned(),
        process_limit: u32::try_from(view.process_limit).unwrap_or(u32::MAX),
        busy: view.busy,
        sites: u32::try_from(view.destinations).unwrap_or(u32::MAX),
        recipients: view.todo,
        reason: view.dead.as_ref().map(|(_, reason)| reason.to_string()),
        since: None,
        next_attempt: dead_until.or(view.locked_until).map(Time::as_secs),
    }
}
