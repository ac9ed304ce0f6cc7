//! One message on its way from the session to the spool.
//!
//! Promises: the memory that a body takes is accounted for and bounded; a body that gets no more of it,
//! or is over what the log takes, goes on into a file. The place in the engine's channel is reserved
//! before the message is made durable and filled by the spool's own thread right after, so that whatever
//! becomes of the session, a durable message reaches the engine.

use std::collections::{BTreeSet, HashSet};
use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mail::{Address, Client, Envelope, Protocol, QueueId, Recipient, Reply, Time};
use smtp::server::Transaction;
use spool::{AcceptError, BODY_IN_LOG_MAX, LargeWriter, NewBody, NewMessage, Queue, Spool, Summary};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::memory::Share;
use crate::received::Received;
use crate::replies;
use crate::{Accepted, Policy, Services};

/// Content is taken out of the session in pieces of this size, once it goes into a file.
pub(crate) const PART_BYTES: usize = BODY_IN_LOG_MAX;
/// How long the engine may take to make room for one more message.
const ENGINE_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a commit may take. It ends by itself in far less; the bound is for a disk that hangs.
const COMMIT_WAIT_MAX: Duration = Duration::from_secs(300);
/// Recipients of a message among which repetitions are found.
const REPETITIONS_SEEN: usize = 1000;
/// Room for the `Received:` line.
const RECEIVED_ROOM: usize = 512;
/// Room for content before its size is known: most mail fits, and more room is made as it comes.
const CONTENT_ROOM: usize = 8 * 1024;
/// Most room that is made because SIZE said so.
const CONTENT_ROOM_MAX: usize = 64 * 1024;

/// A message that is arriving.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) id: QueueId,
    spool: Arc<Spool>,
    share: Share,
    file: Option<LargeWriter>,
    written: u64,
    expected: Option<u64>,
}

/// Who sends, as the envelope keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) client: IpAddr,
    pub(crate) helo: String,
    pub(crate) protocol: Protocol,
}

impl Intake {
    pub(crate) fn new(services: &Services, now: Time, expected: Option<u64>) -> Intake {
        Intake {
            id: services.spool.next_id(now),
            spool: services.spool.clone(),
            share: Share::none_of(&services.memory),
            file: None,
            written: 0,
            expected,
        }
    }

    /// A buffer for the content, which begins with this line.
    pub(crate) fn buffer(&self, received: &Received<'_>) -> Vec<u8> {
        let expected = self.expected.map_or(CONTENT_ROOM, |size| usize::try_from(size).unwrap_or(usize::MAX));
        let mut buffer = Vec::with_capacity(RECEIVED_ROOM + expected.min(CONTENT_ROOM_MAX));
        // Writing to memory cannot fail.
        let _ = write!(buffer, "{received}");
        buffer
    }

    /// Whether this much content can wait in memory.
    pub(crate) fn can_hold(&mut self, content: &Vec<u8>) -> bool {
        content.len() < PART_BYTES && self.share.grow(content.capacity())
    }

    /// Writes a part of the content to the message's file.
    pub(crate) async fn write(&mut self, part: Vec<u8>) -> Result<(), AcceptError> {
        let (spool, id, expected) = (self.spool.clone(), self.id, self.expected);
        let file = self.file.take();
        self.written += part.len() as u64;
        let written = spawn_blocking(move || {
            let mut file = match file {
                Some(file) => file,
                None => spool.begin_large(id, expected)?,
            };
            file.write(&part)?;
            Ok(file)
        });
        self.file = Some(joined(written.await)?);
        self.share.release();
        Ok(())
    }

    /// Drops what has arrived.
    pub(crate) fn discard(mut self) {
        if let Some(file) = self.file.take() {
            // Removing a file blocks.
            spawn_blocking(move || drop(file));
        }
    }

    /// Makes the message durable and hands it to the engine. The reply says how it went.
    pub(crate) async fn complete(
        mut self,
        services: &Services,
        policy: &Policy,
        hostname: &str,
        origin: Origin,
        transaction: Transaction,
        rest: Vec<u8>,
    ) -> Result<(), Reply> {
        let id = self.id;
        let place = match timeout(ENGINE_WAIT_MAX, services.accepted.clone().reserve_owned()).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) | Err(_) => {
                self.discard();
                return Err(replies::engine_busy());
            }
        };
        let size = self.written + rest.len() as u64;
        let body = self.finish_body(rest).await.map_err(|error| replies::not_stored(&error))?;
        let now = (services.clock)();
        let envelope = Arc::new(envelope(transaction, origin, now, size));
        let hold = policy.hold.reason(&envelope);
        let queue = if hold.is_some() { Queue::Hold } else { Queue::Incoming };
        let summary = summary(&envelope, queue, hostname);
        let accepted = Accepted { id, envelope: envelope.clone(), summary: summary.clone() };
        let (wake, committed) = oneshot::channel();
        let share = self.share;
        let done = move |result: Result<(), AcceptError>| {
            if result.is_ok() {
                place.send(accepted);
            }
            drop(share);
            // Nobody listens when the client went away meanwhile; the message is on its way all the same.
            let _ = wake.send(result);
        };
        self.spool.accept(NewMessage { id, envelope, summary, body }, Box::new(done));
        if let Some(reason) = hold {
            tracing::info!(target: "mail", event = "held", %id, %reason, "{id}: hold: {reason}");
        }
        match timeout(COMMIT_WAIT_MAX, committed).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(replies::not_stored(&error)),
            Ok(Err(_)) => Err(replies::not_stored(&AcceptError::Closed)),
            Err(_) => Err(replies::not_stored(&AcceptError::Io("the commit takes too long".into()))),
        }
    }

    async fn finish_body(&mut self, mut rest: Vec<u8>) -> Result<NewBody, AcceptError> {
        if self.file.is_none() && rest.len() <= BODY_IN_LOG_MAX {
            // The spool keeps it in memory until its first delivery, and counts its length only.
            rest.shrink_to_fit();
            return Ok(NewBody::Inline(Bytes::from(rest)));
        }
        self.write(rest).await?;
        let file = self.file.take().ok_or(AcceptError::Closed)?;
        joined(spawn_blocking(move || file.finish()).await).map(NewBody::Large)
    }
}

/// A blocking task that panicked or was cut off by the runtime's end counts as a failed disk.
fn joined<T>(result: Result<Result<T, AcceptError>, tokio::task::JoinError>) -> Result<T, AcceptError> {
    result.unwrap_or_else(|error| Err(AcceptError::Io(error.to_string())))
}

fn envelope(transaction: Transaction, origin: Origin, now: Time, size: u64) -> Envelope {
    let mail = transaction.mail;
    Envelope {
        sender: mail.sender,
        recipients: without_repetitions(transaction.recipients),
        ret: mail.ret,
        envid: mail.envid,
        body: mail.body.unwrap_or_default(),
        smtputf8: mail.smtputf8,
        arrived: now,
        size,
        client: Client { address: Some(origin.client), helo: origin.helo, protocol: origin.protocol },
    }
}

/// Drops recipients that say the same as one before.
fn without_repetitions(mut recipients: Vec<Recipient>) -> Vec<Recipient> {
    if recipients.len() < 2 {
        return recipients;
    }
    let mut seen = HashSet::new();
    let fresh: Vec<bool> = recipients
        .iter()
        .map(|one| {
            let key = (&one.address, &one.notify, &one.orcpt);
            if seen.len() < REPETITIONS_SEEN { seen.insert(key) } else { !seen.contains(&key) }
        })
        .collect();
    let mut fresh = fresh.into_iter();
    recipients.retain(|_| fresh.next().unwrap_or(true));
    recipients
}

fn summary(envelope: &Envelope, queue: Queue, hostname: &str) -> Summary {
    let count = u32::try_from(envelope.recipients.len()).unwrap_or(u32::MAX);
    Summary {
        queue,
        due: envelope.arrived,
        attempts: 0,
        null_sender: envelope.sender.is_none(),
        recipients: count,
        unfinished: count,
        sites: sites(&envelope.recipients, hostname),
        flags: spool::Flags::default(),
    }
}

/// The distinct sites. `<postmaster>` alone is at our own.
fn sites(recipients: &[Recipient], hostname: &str) -> Vec<String> {
    let mut sites = BTreeSet::new();
    let mut last_domain = None;
    for recipient in recipients {
        let domain = recipient.address.domain().unwrap_or(hostname);
        if last_domain != Some(domain) {
            sites.insert(site(&recipient.address, hostname));
            last_domain = Some(domain);
        }
    }
    sites.into_iter().collect()
}

fn site(address: &Address, hostname: &str) -> String {
    address
        .site()
        .unwrap_or_else(|| mail::site_of_domain(hostname).unwrap_or_else(|_| hostname.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipient(address: &str) -> Recipient {
        Recipient { address: address.parse().unwrap(), orcpt: None, notify: None }
    }

    #[test]
    fn repetitions_go_and_the_order_stays() {
        let mut never = recipient("b@x.test");
        never.notify = Some(mail::Notify::NEVER);
        let list = vec![
            recipient("b@x.test"),
            recipient("a@x.test"),
            recipient("b@x.test"),
            never.clone(),
            recipient("B@x.test"),
            never.clone(),
        ];
        let kept = without_repetitions(list);
        assert_eq!(kept, [recipient("b@x.test"), recipient("a@x.test"), never, recipient("B@x.test")]);
        let many: Vec<Recipient> =
            (0..REPETITIONS_SEEN + 5).map(|n| recipient(&format!("u{n}@x.test"))).collect();
        let twice = [many.clone(), many].concat();
        assert_eq!(without_repetitions(twice).len(), REPETITIONS_SEEN + 5 + 5, "beyond the memory they stay");
    }

    #[test]
    fn sites_are_distinct_and_postmaster_is_ours() {
        let list = [
            recipient("a@X.test"),
            recipient("b@x.test"),
            recipient("Postmaster"),
            recipient("c@bücher.example"),
        ];
        assert_eq!(sites(&list, "MX.test"), ["mx.test", "x.test", "xn--bcher-kva.example"]);
    }
}
