//! A message and what became of it, for the tests of reports.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::sync::Arc;
use std::time::Duration;

use dsn::{Action, Audience, Kind, Report, ReportedRecipient, Request, Templates, Values, compose};
use mail::{
    Address, BodyType, Client, EnhancedStatus, Envelope, Outcome, QueueId, Recipient, Relay, Reply, Ret,
    Scope, Time,
};

/// Sun, 22 Nov 2026 03:14:39 +0000.
const ARRIVED: Time = Time::from_millis(1_795_317_279_000);
const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).expect("a mailbox")
}

fn relay() -> Option<Arc<Relay>> {
    let address = Some("192.0.2.25".to_owned());
    Some(Arc::new(Relay { host: "mx.x.test".to_owned(), address, port: 25 }))
}

pub(crate) fn bounced(code: u16, status: &str, text: &str) -> Outcome {
    Outcome::from_reply(Reply::new(code, status.parse().ok(), text), Scope::Recipient, relay())
}

pub(crate) fn deferred(text: &str) -> Outcome {
    Outcome::deferred(Scope::Site, EnhancedStatus::new(4, 4, 1), text)
}

pub(crate) fn relayed(text: &str) -> Outcome {
    Outcome::sent(text).at(relay())
}

pub(crate) struct World {
    pub(crate) envelope: Envelope,
    pub(crate) told: Vec<(usize, Action, Outcome)>,
    pub(crate) retry_until: Option<Time>,
    /// The status in the place of that of the outcomes.
    pub(crate) status: Option<EnhancedStatus>,
    /// How long ago the message arrived.
    pub(crate) age: Duration,
    pub(crate) audience: Audience,
    pub(crate) from: Option<Address>,
    pub(crate) to: Address,
    pub(crate) returned: Ret,
    pub(crate) limit: u64,
    pub(crate) content: Vec<u8>,
    pub(crate) templates: Templates,
}

impl World {
    /// A message from `s@src.test` that arrived four hours ago.
    pub(crate) fn new(recipients: &[&str]) -> World {
        let content = "Received: from client.test\r\nMessage-ID: <orig.1@src.test>\r\n\
                       From: S <s@src.test>\r\nSubject: Minutes\r\n\r\n\
                       Dear all,\r\n\r\n.\r\n--=_guess\r\nbye\r\n";
        let recipient = |text: &&str| Recipient { address: address(text), orcpt: None, notify: None };
        let envelope = Envelope {
            sender: Some(address("s@src.test")),
            recipients: recipients.iter().map(recipient).collect(),
            ret: None,
            envid: None,
            body: BodyType::SevenBit,
            smtputf8: false,
            arrived: ARRIVED,
            size: content.len() as u64,
            client: Client::default(),
        };
        World {
            envelope,
            told: Vec::new(),
            retry_until: None,
            status: None,
            age: 4 * HOUR,
            audience: Audience::Sender,
            from: None,
            to: address("s@src.test"),
            returned: Ret::Full,
            limit: 50_000,
            content: content.into(),
            templates: Templates::default(),
        }
    }

    pub(crate) fn tell(&mut self, position: usize, action: Action, outcome: Outcome) {
        self.told.push((position, action, outcome));
    }

    pub(crate) fn will_retry(&mut self) {
        self.retry_until = Some(ARRIVED + 5 * 24 * HOUR);
    }

    pub(crate) fn compose(&self, kind: Kind) -> Report {
        let recipients: Vec<ReportedRecipient<'_>> = self
            .told
            .iter()
            .map(|(position, action, outcome)| ReportedRecipient {
                address: &self.envelope.recipients[*position].address,
                orcpt: self.envelope.recipients[*position].orcpt.as_ref(),
                action: *action,
                outcome,
                status: self.status,
                last_attempt: Some(ARRIVED + self.age),
                will_retry_until: self.retry_until,
            })
            .collect();
        let values = Values {
            myhostname: "mail.src.test".to_owned(),
            mydomain: "src.test".to_owned(),
            mail_name: "Postrider".to_owned(),
            delay: self.age,
            delay_warning_time: 4 * HOUR,
            maximal_queue_lifetime: 5 * 24 * HOUR,
            bounce_queue_lifetime: 5 * 24 * HOUR,
        };
        let request = Request {
            kind,
            audience: self.audience,
            from: self.from.as_ref(),
            to: &self.to,
            report_id: QueueId::from_u64((1_795_331_679_000 << 20) + 7),
            id: QueueId::from_u64((1_795_317_279_000 << 20) + 1),
            envelope: &self.envelope,
            recipients: &recipients,
            reporting_mta: "mail.src.test",
            now: ARRIVED + self.age,
            returned: self.returned,
            bounce_size_limit: self.limit,
            templates: &self.templates,
            values: &values,
        };
        compose(&request, Some(&mut self.content.as_slice()))
    }
}
