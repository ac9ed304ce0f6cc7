//! One delivery over SMTP or LMTP: a connection that is still open, else the hosts of the next hop one
//! after another, until every recipient is decided by somebody who could decide.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use mail::{EnhancedStatus, Outcome, Rng, Scope};
use smtp::client::Ending;
use tokio::time::Instant;

use crate::agents::{Job, Report, Timing};
use crate::connect::{OpenError, Opener};
use crate::connection::Connection;
use crate::idle::{IdleConnections, Key};
use crate::nexthop::NextHop;
use crate::resolver::Resolver;
use crate::targets::{Search, Target};
use crate::tls::Tls;

/// What deliveries share.
pub(crate) struct Relays {
    /// Our own name; a reload changes it.
    pub(crate) hostname: RwLock<Arc<str>>,
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) tls: Tls,
    pub(crate) idle: Arc<IdleConnections>,
    pub(crate) rng: Mutex<Rng>,
}

/// The recipients of a job and what is known of them.
struct Ledger<'a> {
    job: &'a Job,
    outcomes: Vec<Option<Outcome>>,
    /// Indexes of those that another host may still be asked for.
    open: Vec<usize>,
    timing: Timing,
    reused: u32,
    doubtful: u32,
    dsn: bool,
}

impl<'a> Ledger<'a> {
    fn new(job: &'a Job) -> Ledger<'a> {
        Ledger {
            job,
            outcomes: vec![None; job.recipients.len()],
            open: (0..job.recipients.len()).collect(),
            timing: Timing::default(),
            reused: 0,
            doubtful: 0,
            dsn: true,
        }
    }

    fn positions(&self) -> Vec<u32> {
        self.open.iter().map(|&index| self.job.recipients[index]).collect()
    }

    /// Nobody was reached; the next host may do better.
    fn failed(&mut self, outcome: &Outcome) {
        for &index in &self.open {
            self.outcomes[index] = Some(outcome.clone());
        }
    }

    /// A host has spoken. Recipients whose trouble is the host's stay open, unless it may have the message.
    fn ended(&mut self, ending: Ending) {
        let Ending { outcomes, doubtful, dsn } = ending;
        let open = std::mem::take(&mut self.open);
        for (index, outcome) in open.into_iter().zip(outcomes) {
            if outcome.scope == Scope::Site && doubtful == 0 {
                self.open.push(index);
            }
            self.outcomes[index] = Some(outcome);
        }
        self.dsn &= dsn;
        self.doubtful += doubtful;
        if doubtful > 0 {
            tracing::warn!(
                id = %self.job.id, attempt = self.job.number, recipients = doubtful,
                "{}: no reply to the end of data for {doubtful} recipients: they may get the message twice",
                self.job.id
            );
        }
    }

    fn report(self) -> Report {
        let unanswered =
            || Outcome::deferred(Scope::Site, EnhancedStatus::new(4, 4, 1), "no host could be tried");
        Report {
            outcomes: self.outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(unanswered)).collect(),
            timing: self.timing,
            reused: self.reused,
            doubtful: self.doubtful,
            dsn: self.dsn,
        }
    }
}

impl Relays {
    /// Our own name as of now.
    pub(crate) fn hostname(&self) -> Arc<str> {
        self.hostname.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) async fn deliver(&self, job: &Job, hops: &[NextHop]) -> Report {
        let started = Instant::now();
        let limit = started + job.transport.deadlines.delivery;
        let mut ledger = Ledger::new(job);
        let key = Key {
            transport: Arc::clone(&job.transport.name),
            nexthop: Arc::clone(&job.nexthop),
            tls: job.transport.tls,
        };
        if let Some(connection) = self.idle.take(&key) {
            let uses = connection.session.uses();
            // A connection that turns out to be closed costs nothing but the time to find out.
            if !self.send(connection, &key, &mut ledger, limit).await {
                ledger.reused = uses;
            }
        }
        if ledger.open.is_empty() {
            return ledger.report();
        }
        let hostname = self.hostname();
        let search = Search {
            resolver: &*self.resolver,
            rng: &self.rng,
            hostname: &hostname,
            transport: &job.transport,
            is_recipient_domain: is_recipient_domain(job),
        };
        match search.targets(hops).await {
            Ok(targets) => self.try_targets(&targets, &key, &mut ledger, started, limit).await,
            Err(outcome) => ledger.failed(&outcome),
        }
        ledger.report()
    }

    async fn try_targets(
        &self,
        targets: &[Target],
        key: &Key,
        ledger: &mut Ledger<'_>,
        started: Instant,
        limit: Instant,
    ) {
        let transport = &ledger.job.transport;
        let hostname = self.hostname();
        let opener = Opener { transport, hostname: &hostname, tls: &self.tls, limit };
        let most = if transport.mx_session_limit == 0 { usize::MAX } else { transport.mx_session_limit };
        let mut sessions = 0;
        for target in targets {
            if ledger.open.is_empty() || sessions >= most || Instant::now() >= limit {
                return;
            }
            let opened = opener.open(target).await;
            let spent: Duration = started.elapsed();
            ledger.timing.setup = spent.saturating_sub(ledger.timing.transmission);
            match opened {
                Ok(connection) => {
                    sessions += 1;
                    self.send(connection, key, ledger, limit).await;
                }
                Err(error) => {
                    sessions += usize::from(!matches!(error, OpenError::Unreachable(_)));
                    let outcome = error.into_outcome();
                    tracing::debug!(id = %ledger.job.id, "{}: {}", ledger.job.id, outcome.text);
                    ledger.failed(&outcome);
                }
            }
        }
    }

    /// Sends to everybody who is open. True when the connection was stale and nothing happened.
    async fn send(
        &self,
        mut connection: Connection,
        key: &Key,
        ledger: &mut Ledger<'_>,
        limit: Instant,
    ) -> bool {
        let started = Instant::now();
        let job = ledger.job;
        let ending = connection.send(&job.envelope, &ledger.positions(), &job.body, limit).await;
        ledger.timing.transmission += started.elapsed();
        if connection.session.was_stale() {
            return true;
        }
        ledger.ended(ending);
        self.idle.park(key.clone(), connection, &job.transport.reuse);
        false
    }
}

/// Whether the next hop is simply the domain of the recipients.
fn is_recipient_domain(job: &Job) -> bool {
    let first = job.recipients.first().and_then(|&position| job.envelope.recipients.get(position as usize));
    first.and_then(|recipient| recipient.address.site()).is_some_and(|site| *site == *job.nexthop)
}
