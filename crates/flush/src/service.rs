//! A request from its arrival to its answer: who may, what it means, what was done.
//!
//! Promises: every request is answered exactly once, either at once ([`Step::Answered`]) or, after the
//! caller did what the step says, with what [`Service::handle_released`] returns.
//!
//! Refuses: to release anything itself.

use mail::{QueueId, Time};

use crate::{
    Answer, Authority, Collapse, Eligibility, Logs, Record, Released, Request, Ruling, Sites, Status,
};

/// What the caller does next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Send this answer; the request is finished.
    Answered(Answer),
    /// See that the message is noted under the site, answer `ok` when it is and `fail` otherwise.
    Note {
        /// The site.
        site: String,
        /// The message.
        id: QueueId,
    },
    /// Try now what waits for these sites (perhaps none), then tell [`Service::handle_released`].
    Release {
        /// What was asked for.
        asked: Sites,
        /// What it reaches, all with waiting mail.
        reached: Vec<String>,
    },
    /// Try all queued mail now, then tell [`Service::handle_released`].
    ReleaseAll {
        /// What was asked for.
        asked: Sites,
    },
    /// Try this message now and answer with what was done.
    ReleaseMessage(QueueId),
    /// Answer `ok`; then, in the background, release what waits for `refresh` and tell
    /// [`Logs::handle_sent`] for each, delete the logs of `purge` and tell [`Logs::remove`].
    Background {
        /// Sites whose messages have waited long enough.
        refresh: Vec<String>,
        /// Sites whose logs have been empty long enough.
        purge: Vec<String>,
    },
}

/// The flush service: rules, memory of recent requests, and times of logs. The record is the engine's.
#[derive(Debug)]
pub struct Service {
    /// Who may ask for what; a reload puts another value here.
    pub eligibility: Eligibility,
    /// The times of the logs.
    pub logs: Logs,
    collapse: Collapse,
}

impl Service {
    /// A service that remembers nothing yet.
    pub fn new(eligibility: Eligibility, logs: Logs, collapse: Collapse) -> Service {
        Service { eligibility, logs, collapse }
    }

    /// Decides what a request comes to. Only requests of clients are collapsed: an operator who asks
    /// twice means it.
    pub fn handle_request(&self, now: Time, authority: Authority, request: Request, record: &Record) -> Step {
        let ruling = self.eligibility.judge(authority, &request);
        if ruling == Ruling::Deny {
            return Step::Answered(Answer::refused(Status::Deny));
        }
        match request {
            Request::Add { site, id } => Step::Note { site, id },
            Request::SendFile(id) => Step::ReleaseMessage(id),
            Request::SendSite(asked) => {
                if let (Authority::Client, Some(did)) = (authority, self.collapse.repeated(now, &asked)) {
                    return Step::Answered(Answer::ok(did));
                }
                if ruling == Ruling::DeliverAll {
                    return Step::ReleaseAll { asked };
                }
                let reached = self.eligibility.reached(authority, &asked, record);
                Step::Release { asked, reached }
            }
            Request::Refresh => self.background(self.logs.due_refresh(now), now),
            Request::Purge => self.background(self.logs.filled(), now),
        }
    }

    /// The release that was asked for is done: notes it and gives the answer.
    pub fn handle_released(
        &mut self,
        now: Time,
        asked: &Sites,
        reached: &[String],
        released: Released,
    ) -> Answer {
        self.collapse.note(now, asked, released);
        for site in reached {
            self.logs.handle_sent(now, site);
        }
        Answer::ok(released)
    }

    fn background<'s>(&self, refresh: impl Iterator<Item = &'s str>, now: Time) -> Step {
        Step::Background {
            refresh: refresh.map(str::to_owned).collect(),
            purge: self.logs.due_purge(now).map(str::to_owned).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::IneligibleSite;
    use mail::DomainList;

    fn service(ineligible_site: IneligibleSite) -> Service {
        let domains = DomainList::parse(&["example.com"], true).unwrap();
        let logs = Logs::new(Duration::from_secs(100), Duration::from_secs(1000));
        Service::new(Eligibility { domains, ineligible_site }, logs, Collapse::new(Duration::from_secs(1)))
    }

    fn at(millis: i64) -> Time {
        Time::from_millis(millis)
    }

    fn request(line: &str) -> Request {
        Request::parse(line).unwrap()
    }

    #[test]
    fn a_client_that_asks_twice_is_served_once() {
        let mut service = service(IneligibleSite::Reject);
        let mut record = Record::new();
        record.add("example.com", QueueId::from_u64(1));
        service.logs.handle_added(at(0), "example.com");
        let ask = |service: &Service, authority, now| {
            service.handle_request(now, authority, request("send_site EXAMPLE.com"), &record)
        };
        let Step::Release { asked, reached } = ask(&service, Authority::Client, at(10)) else {
            panic!("the first request is served")
        };
        assert_eq!(reached, ["example.com"]);
        let did = Released { released: 1, ..Released::default() };
        assert_eq!(service.handle_released(at(10), &asked, &reached, did), Answer::ok(did));
        assert!(service.logs.times("example.com").unwrap().empty_since.is_some(), "the log is emptied");
        assert_eq!(ask(&service, Authority::Client, at(900)), Step::Answered(Answer::ok(did)));
        assert!(matches!(ask(&service, Authority::Operator, at(900)), Step::Release { .. }));
        assert!(matches!(ask(&service, Authority::Client, at(1010)), Step::Release { .. }));
    }

    #[test]
    fn a_site_that_is_not_eligible_is_denied_or_gets_everything() {
        let record = Record::new();
        let ask = |service: &Service| {
            service.handle_request(at(0), Authority::Client, request("send_site other.net"), &record)
        };
        let denied = Step::Answered(Answer::refused(Status::Deny));
        assert_eq!(ask(&service(IneligibleSite::Reject)), denied);
        assert!(matches!(ask(&service(IneligibleSite::DeliverAll)), Step::ReleaseAll { .. }));
    }

    #[test]
    fn refresh_takes_what_is_due_and_purge_what_is_there() {
        let mut service = service(IneligibleSite::Reject);
        service.logs.handle_added(at(0), "old.example.com");
        service.logs.handle_added(at(90_000), "new.example.com");
        let ask = |name, now| service.handle_request(now, Authority::Operator, request(name), &Record::new());
        let Step::Background { refresh, purge } = ask("refresh", at(100_000)) else { panic!("background") };
        assert_eq!((refresh, purge), (vec!["old.example.com".to_owned()], vec![]));
        let Step::Background { refresh, .. } = ask("purge", at(100_000)) else { panic!("background") };
        assert_eq!(refresh, ["old.example.com", "new.example.com"]);
    }
}
