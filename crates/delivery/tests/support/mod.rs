//! What the tests of the agents share: a name service of their own, jobs, short deadlines.

// Each test program uses a part of this.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use delivery::{
    Agents, AgentsConfig, Deadlines, Found, Job, Kind, Lookup, LookupError, Mx, Resolver, Tls,
    TransportConfig,
};
use mail::{Address, BodyType, Client, Envelope, Outcome, QueueId, Recipient, Time};
use spool::Body;

/// A name service that knows what it was told, and counts what it was asked.
#[derive(Default)]
pub(crate) struct FakeResolver {
    mx: BTreeMap<String, Result<Vec<Mx>, LookupError>>,
    addresses: BTreeMap<String, Result<Vec<IpAddr>, LookupError>>,
    silent: Vec<String>,
    pub(crate) asked: Mutex<Vec<String>>,
}

impl FakeResolver {
    /// `host` has these addresses.
    pub(crate) fn host(mut self, host: &str, addresses: &[&str]) -> FakeResolver {
        let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
        self.addresses.insert(host.into(), Ok(addresses));
        self
    }

    /// `domain` has these mail hosts.
    pub(crate) fn domain(mut self, domain: &str, hosts: &[(u16, &str)]) -> FakeResolver {
        let hosts =
            hosts.iter().map(|(preference, host)| Mx { preference: *preference, host: (*host).into() });
        self.mx.insert(domain.into(), Ok(hosts.collect()));
        self
    }

    /// Questions about `name` fail for now.
    pub(crate) fn failing(mut self, name: &str) -> FakeResolver {
        let failure = LookupError::Temporary { reason: "SERVFAIL".into() };
        self.mx.insert(name.into(), Err(failure.clone()));
        self.addresses.insert(name.into(), Err(failure));
        self
    }

    /// Questions about `name` are never answered.
    pub(crate) fn silent(mut self, name: &str) -> FakeResolver {
        self.silent.push(name.into());
        self
    }

    async fn answer<T: Clone>(
        &self,
        question: String,
        name: &str,
        known: &BTreeMap<String, Result<Vec<T>, LookupError>>,
    ) -> Result<Found<T>, LookupError> {
        self.asked.lock().expect("no test panics while it asks").push(question);
        if self.silent.iter().any(|silent| silent == name) {
            std::future::pending::<()>().await;
        }
        let records = known.get(name).cloned().unwrap_or_else(|| {
            let exists = self.mx.contains_key(name) || self.addresses.contains_key(name);
            Err(if exists {
                LookupError::NoRecords { ttl: None }
            } else {
                LookupError::NxDomain { ttl: None }
            })
        });
        records.map(|records| Found { records, ttl: Duration::from_secs(60) })
    }
}

impl Resolver for FakeResolver {
    fn mx<'a>(&'a self, domain: &'a str) -> Lookup<'a, Mx> {
        Box::pin(self.answer(format!("MX {domain}"), domain, &self.mx))
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Lookup<'a, IpAddr> {
        Box::pin(self.answer(format!("A {host}"), host, &self.addresses))
    }
}

/// Agents that know no names.
pub(crate) fn agents() -> Agents {
    agents_with(FakeResolver::default())
}

/// Agents that ask this name service.
pub(crate) fn agents_with(resolver: FakeResolver) -> Agents {
    let config = AgentsConfig { hostname: "me.test".into(), seed: 1, ..AgentsConfig::default() };
    Agents::new(config, Arc::new(resolver), Tls::native())
}

/// A transport of this kind.
pub(crate) fn transport(kind: &str) -> TransportConfig {
    TransportConfig::new(kind, Kind::of(kind))
}

/// Deadlines so short that a test can wait for them; only that of the delivery as a whole is not reached.
pub(crate) fn short() -> Deadlines {
    let short = Duration::from_millis(50);
    Deadlines {
        lookup: short,
        connect: short,
        hello: short,
        start_tls: short,
        mail: short,
        rcpt: short,
        data_init: short,
        data_xfer: short,
        data_done: short,
        rset: short,
        quit: short,
        delivery: Duration::from_secs(60),
    }
}

pub(crate) fn envelope(recipients: &[&str]) -> Envelope {
    let recipients = recipients.iter().map(|address| Recipient {
        address: Address::parse(address).expect("a mailbox"),
        orcpt: None,
        notify: None,
    });
    Envelope {
        sender: Address::parse("s@src.test").ok(),
        recipients: recipients.collect(),
        ret: None,
        envid: None,
        body: BodyType::SevenBit,
        smtputf8: false,
        arrived: Time::ZERO,
        size: 10,
        client: Client::default(),
    }
}

/// A small message.
pub(crate) const CONTENT: &str = "Subject: test\r\n\r\n.a line with a dot\r\n..\r\n.\r\nno end of line";

/// A job for all these recipients.
pub(crate) fn job(transport: TransportConfig, nexthop: &str, recipients: &[&str]) -> Job {
    Job {
        id: QueueId::from_u64(1),
        number: 1,
        transport: Arc::new(transport),
        nexthop: nexthop.into(),
        envelope: Arc::new(envelope(recipients)),
        recipients: (0..recipients.len() as u32).collect(),
        body: Body::from_bytes(CONTENT.as_bytes().to_vec().into()),
    }
}

/// Verdict, scope and status.
pub(crate) fn word(outcome: &Outcome) -> String {
    format!("{:?} {:?} {}", outcome.verdict, outcome.scope, outcome.status)
}

pub(crate) fn words(outcomes: &[Outcome]) -> Vec<String> {
    outcomes.iter().map(word).collect()
}
