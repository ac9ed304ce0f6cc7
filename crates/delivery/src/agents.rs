//! The one way in: a job goes in, a report comes out.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use mail::{EnhancedStatus, Envelope, Outcome, QueueId, Rng, Scope};
use spool::Body;

use crate::config::{AgentsConfig, Kind, TransportConfig};
use crate::idle::IdleConnections;
use crate::local;
use crate::maildir;
use crate::nexthop::NextHop;
use crate::pipe;
use crate::relay::Relays;
use crate::resolver::Resolver;
use crate::tls::Tls;

/// Some recipients of one message, for one next hop.
#[derive(Clone, Debug)]
pub struct Job {
    /// The message.
    pub id: QueueId,
    /// The caller's number of this delivery, for logs.
    pub number: u64,
    /// How to deliver.
    pub transport: Arc<TransportConfig>,
    /// Where to, as [`NextHop::parse_list`] reads it; for error and retry the reason, for Maildirs the
    /// folder as [`Folder::parse`](crate::Folder::parse) reads it.
    pub nexthop: Arc<str>,
    /// The envelope of the message.
    pub envelope: Arc<Envelope>,
    /// Positions of the recipients in the envelope.
    pub recipients: Vec<u32>,
    /// The content.
    pub body: Body,
}

/// How long a delivery took: the last two of `delays=a/b/c/d` in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timing {
    /// DNS, connection, EHLO and TLS; zero on a connection that was open.
    pub setup: Duration,
    /// MAIL to the final reply.
    pub transmission: Duration,
}

/// What became of a job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// One for each recipient of the job, in its order.
    pub outcomes: Vec<Outcome>,
    /// How long it took.
    pub timing: Timing,
    /// How many messages the connection had carried before; 0 on a fresh one.
    pub reused: u32,
    /// How many of the deferred recipients may have the message all the same.
    pub doubtful: u32,
    /// Whether every host that was spoken to offers DSN, so that success reports are its duty
    /// (RFC 3461 5.2.2). False for transports without hosts.
    pub dsn: bool,
}

impl Report {
    fn of_everybody(job: &Job, outcome: Outcome) -> Report {
        Report::each(vec![outcome; job.recipients.len()], Duration::ZERO)
    }

    /// What a transport of this machine says of each recipient, and how long it took.
    pub(crate) fn each(outcomes: Vec<Outcome>, transmission: Duration) -> Report {
        Report {
            outcomes,
            timing: Timing { setup: Duration::ZERO, transmission },
            reused: 0,
            doubtful: 0,
            dsn: false,
        }
    }
}

/// The agents of all transports. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Agents {
    relays: Arc<Relays>,
}

impl Agents {
    /// Agents that ask `resolver` for hosts and use `tls` where it is wanted. Nothing is opened yet.
    pub fn new(config: AgentsConfig, resolver: Arc<dyn Resolver>, tls: Tls) -> Agents {
        let rng = Mutex::new(Rng::new(config.seed));
        let idle = Arc::new(IdleConnections::new(config.idle_connections_max));
        let hostname = RwLock::new(config.hostname);
        Agents { relays: Arc::new(Relays { hostname, resolver, tls, idle, rng }) }
    }

    /// Deliveries that begin from now on give this name; connections that are open have given theirs.
    pub fn set_hostname(&self, hostname: &str) {
        let mut current = self.relays.hostname.write().unwrap_or_else(PoisonError::into_inner);
        if **current != *hostname {
            *current = hostname.into();
        }
    }

    /// Delivers, and says what became of every recipient. Has to run inside a tokio runtime. When the
    /// future is dropped, the connection is closed, and recipients may have the message all the same.
    pub async fn deliver(&self, job: Job) -> Report {
        let known = job.envelope.recipients.len();
        if job.recipients.iter().any(|&position| position as usize >= known) {
            return Report::of_everybody(
                &job,
                broken("the job names a recipient that does not exist".into()),
            );
        }
        match &job.transport.kind {
            Kind::Discard => Report::of_everybody(&job, local::discard(&job.nexthop)),
            Kind::Error => Report::of_everybody(&job, local::error(&job.nexthop)),
            Kind::Retry => Report::of_everybody(&job, local::retry(&job.nexthop)),
            Kind::Maildir => Box::pin(maildir::deliver(&job, &self.relays.hostname())).await,
            Kind::Pipe => Box::pin(pipe::deliver(&job, &self.relays.hostname())).await,
            Kind::Unknown(kind) => {
                let text = format!("transport {} is of the unknown kind {kind:?}", job.transport.name);
                Report::of_everybody(&job, broken(text))
            }
            Kind::Smtp | Kind::Lmtp => match NextHop::parse_list(&job.nexthop) {
                Ok(hops) => Box::pin(self.relays.deliver(&job, &hops)).await,
                Err(error) => Report::of_everybody(&job, broken(error.to_string())),
            },
        }
    }

    /// How many connections wait for a next message.
    pub fn idle_connections(&self) -> usize {
        self.relays.idle.len()
    }

    /// Says goodbye on every idle connection, within the goodbye's deadline.
    pub async fn close(&self) {
        self.relays.idle.close_all().await;
    }
}

impl std::fmt::Debug for Agents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agents").field("idle_connections", &self.idle_connections()).finish_non_exhaustive()
    }
}

/// Our own side is at fault: system incorrectly configured (RFC 3463 3.4).
pub(crate) fn broken(text: String) -> Outcome {
    Outcome::deferred(Scope::Transport, EnhancedStatus::new(4, 3, 5), text)
}
