//! Next hops: where the resolver finds them and what they answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mail::{EnhancedStatus, Outcome, Scope};
use qmgr::{Delivery, Report, Route};

use crate::scenario::{Answer, Recipient, Site};

/// The transport of a site that is not described.
const TRANSPORT: &str = "smtp";

/// All next hops.
#[derive(Debug)]
pub(crate) struct Sites {
    sites: BTreeMap<Arc<str>, Site>,
    /// Deliveries each has seen since it got its answers.
    seen: BTreeMap<Arc<str>, usize>,
}

impl Sites {
    pub(crate) fn new(sites: BTreeMap<Arc<str>, Site>) -> Sites {
        Sites { sites, seen: BTreeMap::new() }
    }

    /// What the resolver says.
    pub(crate) fn route(&self, recipient: &Recipient) -> Route {
        let site = self.sites.get(&recipient.site);
        if site.is_some_and(|site| !site.resolves) {
            return Route { transport: "retry".into(), nexthop: "4.3.0 address resolver failure".into() };
        }
        let transport = site.map_or_else(|| TRANSPORT.into(), |site| Arc::clone(&site.transport));
        Route { transport, nexthop: Arc::clone(&recipient.site) }
    }

    pub(crate) fn set_answers(&mut self, name: &Arc<str>, answers: Vec<Answer>) {
        self.seen.remove(name);
        let undescribed = || Site {
            transport: TRANSPORT.into(),
            takes: Duration::ZERO,
            answers: Vec::new(),
            resolves: true,
        };
        self.sites.entry(Arc::clone(name)).or_insert_with(undescribed).answers = answers;
    }

    /// A delivery begins: how it will end, and after what time.
    pub(crate) fn begin(&mut self, delivery: &Delivery) -> (Answer, Duration) {
        match &*delivery.transport {
            "retry" => return (Answer::Rdefer, Duration::ZERO),
            "error" => return (Answer::Bounce, Duration::ZERO),
            _ => {}
        }
        let Some(site) = self.sites.get(delivery.nexthop.as_str()) else {
            return (Answer::Ok, Duration::ZERO);
        };
        let seen = self.seen.entry(delivery.nexthop.clone().into()).or_default();
        let answer = site.answers[(*seen).min(site.answers.len() - 1)];
        *seen += 1;
        (answer, site.takes)
    }
}

/// What an agent reports for an answer; nothing for a delivery that hangs.
pub(crate) fn report(answer: Answer, delivery: &Delivery) -> Option<Report> {
    let status = EnhancedStatus::new;
    let nexthop = &delivery.nexthop;
    let outcome = match answer {
        Answer::Ok => Outcome::sent("250 2.0.0 Ok"),
        Answer::Rdefer if &*delivery.transport == "retry" => {
            let (status, text) = status_and_text(nexthop, status(4, 0, 0));
            Outcome::deferred(Scope::Recipient, status, text)
        }
        Answer::Bounce if &*delivery.transport == "error" => {
            let (status, text) = status_and_text(nexthop, status(5, 0, 0));
            Outcome::bounced(Scope::Recipient, status, text)
        }
        Answer::Rdefer => Outcome::deferred(Scope::Recipient, status(4, 2, 0), "450 4.2.0 try again later"),
        Answer::Bounce => Outcome::bounced(Scope::Recipient, status(5, 1, 1), "550 5.1.1 no such user"),
        Answer::Site => {
            let text = format!("connect to {nexthop}: Connection refused");
            Outcome::deferred(Scope::Site, status(4, 4, 1), text)
        }
        Answer::Transport => {
            Outcome::deferred(Scope::Transport, status(4, 3, 0), "mail transport unavailable")
        }
        Answer::Die => return Some(Report::Died("the agent vanished".into())),
        Answer::Hang => return None,
    };
    Some(Report::All(outcome))
}

/// The nexthop of `error` and `retry`: `STATUS TEXT`.
fn status_and_text(nexthop: &str, default: EnhancedStatus) -> (EnhancedStatus, String) {
    let (first, rest) = nexthop.split_once(' ').unwrap_or((nexthop, ""));
    match first.parse() {
        Ok(status) => (status, rest.to_owned()),
        Err(()) => (default, nexthop.to_owned()),
    }
}
