//! What sessions work with: the spool, the way to the engine, the clock.

use std::net::IpAddr;
use std::sync::Arc;

use mail::{Envelope, QueueId, Reply, Time};
use spool::{Spool, Summary};
use tokio::sync::{mpsc, oneshot};

use crate::Memory;
use crate::replies;

/// Shared by all sessions of all listeners.
#[derive(Clone, Debug)]
pub struct Services {
    /// Where accepted mail goes.
    pub spool: Arc<Spool>,
    /// The way to the engine. A place in it is reserved before a message is made durable, so that no
    /// durable message can fail to get there.
    pub accepted: mpsc::Sender<Accepted>,
    /// The way of ETRN to whoever flushes.
    pub etrn: mpsc::Sender<EtrnRequest>,
    /// Memory for bodies that are arriving.
    pub memory: Arc<Memory>,
    /// The clock.
    pub clock: fn() -> Time,
    /// A time as RFC 5322 3.3 writes it, for `Received:`.
    pub date: fn(Time) -> String,
}

/// A message that has just become durable.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Its name.
    pub id: QueueId,
    /// Everything but the content.
    pub envelope: Arc<Envelope>,
    /// The summary it was written with.
    pub summary: Summary,
}

/// A client asks for the mail of a site (RFC 1985). Whoever receives it collapses repetitions.
#[derive(Debug)]
pub struct EtrnRequest {
    /// The site, as [`mail::site_of_domain`] spells it.
    pub site: String,
    /// Its subdomains are meant too.
    pub subdomains: bool,
    /// Who asks.
    pub client: IpAddr,
    /// Where the answer goes.
    pub answer: oneshot::Sender<EtrnAnswer>,
}

/// What became of an [`EtrnRequest`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EtrnAnswer {
    /// Delivery has begun; how much there is was not counted.
    Started,
    /// Delivery of so many messages has begun.
    StartedCount(u64),
    /// There is nothing for that site.
    NothingQueued,
    /// The site is not eligible.
    Denied,
    /// It could not be done now.
    Unavailable,
    /// The name is no site.
    Bad,
}

impl EtrnAnswer {
    /// The reply to the client (RFC 1985 5.3).
    pub(crate) fn reply(self, site: &str) -> Reply {
        match self {
            EtrnAnswer::Started => replies::reply(250, 0, 0, "Queuing started"),
            EtrnAnswer::StartedCount(count) => {
                replies::reply(253, 0, 0, format!("OK, {count} pending messages for node {site} started"))
            }
            EtrnAnswer::NothingQueued => {
                replies::reply(251, 0, 0, format!("OK, no messages waiting for node {site}"))
            }
            EtrnAnswer::Denied => replies::reply(459, 7, 1, format!("{site}: service unavailable")),
            EtrnAnswer::Unavailable => replies::reply(458, 3, 0, "Unable to queue messages"),
            EtrnAnswer::Bad => replies::reply(501, 5, 4, "Error: invalid parameter syntax"),
        }
    }
}
