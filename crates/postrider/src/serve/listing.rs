//! Walking the queue for an operator, in pages, so that mail never waits for a listing.
//!
//! Promises: each page is one short question to the engine; envelopes are read outside its task; a
//! message that ends meanwhile is left out, one that arrives meanwhile may be in or out. Damage that is
//! found by looking is shown as such, and told to the engine at once.
//! Refuses: holding more than three pages in memory: one that is read, one that waits, one that is sent.

use std::sync::Arc;

use control::{MessageItem, QueueName, RecipientItem, RecipientStatus, Selector};
use mail::{QueueId, Time, Verdict};
use qmgr::{MessageView, Queue};
use spool::{ReadError, Spool, StoredMessage};
use tokio::sync::mpsc;

use super::engine_task::{EngineHandle, Stopped, now};
use super::routes::Routes;

/// Messages of one page.
pub(crate) const PAGE: usize = 256;

/// The messages that a selector takes, a page at a time, in the order of their ids.
pub(crate) struct Walk {
    selector: Selector,
    start: Start,
    cursor: Option<QueueId>,
    left: u64,
    finished: bool,
}

/// Where candidates come from: the narrowest index that the selector allows.
enum Start {
    Ids(Vec<QueueId>),
    Site(Arc<str>),
    Everything,
}

impl Walk {
    /// A walk that has not begun.
    pub(crate) fn new(selector: Selector) -> Walk {
        let start = match &selector.site {
            _ if !selector.ids.is_empty() => {
                let mut ids: Vec<QueueId> = selector.ids.iter().filter_map(|id| id.parse().ok()).collect();
                ids.sort_unstable();
                ids.dedup();
                Start::Ids(ids)
            }
            Some(site) => {
                Start::Site(mail::site_of_domain(site).map_or_else(|_| site.as_str().into(), Arc::from))
            }
            None => Start::Everything,
        };
        let left = selector.limit.unwrap_or(u64::MAX);
        Walk { selector, start, cursor: None, left, finished: false }
    }

    /// The next messages; an empty page is possible, nothing is the end.
    pub(crate) async fn next_page(
        &mut self,
        engine: &EngineHandle,
        spool: &Arc<Spool>,
        routes: &Arc<Routes>,
    ) -> Result<Option<Vec<MessageItem>>, Stopped> {
        if self.finished || self.left == 0 {
            return Ok(None);
        }
        let views = self.candidates(engine).await?;
        let now = now();
        let views: Vec<MessageView> = views.into_iter().filter(|view| self.may_take(view, now)).collect();
        let (spool, routes) = (spool.clone(), routes.clone());
        let look = move || {
            let shown = |view: &MessageView| Some((view.queue, item(view, &spool, &routes)?));
            views.iter().filter_map(shown).collect::<Vec<_>>()
        };
        let items = tokio::task::spawn_blocking(look).await.unwrap_or_default();
        let damaged = items.iter().filter(|(queue, item)| is_news(*queue, item));
        let damaged: Vec<QueueId> = damaged.filter_map(|(_, item)| item.queue_id.parse().ok()).collect();
        tell_engine(engine, damaged).await?;
        let mut taken: Vec<MessageItem> =
            items.into_iter().map(|(_, item)| item).filter(|item| self.selector.matches(item, now)).collect();
        taken.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= taken.len() as u64;
        Ok(Some(taken))
    }

    /// All pages, then nothing. The next one is read while one is sent: a large queue takes as long as
    /// the slower of the two and not both. Ends early when nobody takes them any more.
    pub(crate) fn ahead(
        mut self,
        engine: EngineHandle,
        spool: Arc<Spool>,
        routes: Arc<Routes>,
    ) -> mpsc::Receiver<Result<Option<Vec<MessageItem>>, Stopped>> {
        let (pages, taken) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let page = self.next_page(&engine, &spool, &routes).await;
                let last = !matches!(page, Ok(Some(_)));
                if pages.send(page).await.is_err() || last {
                    return;
                }
            }
        });
        taken
    }

    async fn candidates(&mut self, engine: &EngineHandle) -> Result<Vec<MessageView>, Stopped> {
        let cursor = self.cursor;
        let views = match &self.start {
            Start::Ids(ids) => {
                let from = cursor.map_or(0, |cursor| ids.partition_point(|id| *id <= cursor));
                let page: Vec<QueueId> = ids.iter().skip(from).take(PAGE).copied().collect();
                self.cursor = page.last().copied();
                self.finished = page.len() < PAGE;
                return engine
                    .ask(move |engine, _| page.iter().filter_map(|id| engine.message(*id)).collect())
                    .await;
            }
            Start::Site(site) => {
                let site = site.clone();
                let page = engine.ask(move |engine, _| {
                    let ids = engine.recorded_messages(&site, cursor, PAGE);
                    let views = ids.iter().filter_map(|id| engine.message(*id)).collect::<Vec<_>>();
                    (ids.last().copied(), ids.len(), views)
                });
                let (last, count, views) = page.await?;
                self.cursor = last;
                self.finished = count < PAGE;
                return Ok(views);
            }
            Start::Everything => engine.ask(move |engine, _| engine.messages_after(cursor, PAGE)).await?,
        };
        self.cursor = views.last().map(|view| view.id);
        self.finished = views.len() < PAGE;
        Ok(views)
    }

    /// What can be told without reading the envelope.
    fn may_take(&self, view: &MessageView, now: Time) -> bool {
        let Selector { queues, older_than, newer_than, min_attempts, .. } = &self.selector;
        let age = u64::try_from(now.since(view.arrived).as_millis()).unwrap_or(u64::MAX);
        (queues.is_empty() || queues.contains(&queue_name(view.queue)))
            && older_than.is_none_or(|least| age >= least)
            && newer_than.is_none_or(|most| age < most)
            && min_attempts.is_none_or(|least| view.attempts >= least)
    }
}

/// Whether a message turned out to be damaged that the engine believes to be well.
pub(crate) fn is_news(queue: Queue, item: &MessageItem) -> bool {
    queue != Queue::Corrupt && item.queue_name == QueueName::Corrupt
}

/// Has the engine read these messages: that is how it finds them in corrupt, and has it told.
pub(crate) async fn tell_engine(engine: &EngineHandle, damaged: Vec<QueueId>) -> Result<(), Stopped> {
    if damaged.is_empty() {
        return Ok(());
    }
    engine.ask(move |engine, now| drop(engine.requeue(now, &damaged))).await
}

/// A message as listings show it; nothing when it has ended meanwhile. Blocks on the disk.
pub(crate) fn item(view: &MessageView, spool: &Spool, routes: &Routes) -> Option<MessageItem> {
    let (stored, damage) = match spool.read(view.id) {
        Ok(stored) => (Some(stored), None),
        Err(ReadError::Gone) if view.queue != Queue::Corrupt => return None,
        Err(ReadError::Corrupt { reason }) => {
            (spool.salvaged(view.id).ok().and_then(|salvaged| salvaged.message), Some(reason))
        }
        Err(_) => (None, None),
    };
    let is_corrupt = view.queue == Queue::Corrupt || damage.is_some();
    let sender = stored.as_ref().and_then(|stored| stored.envelope.sender.as_ref());
    Some(MessageItem {
        queue_name: if is_corrupt { QueueName::Corrupt } else { queue_name(view.queue) },
        queue_id: view.id.to_string(),
        arrival_time: view.arrived.as_secs(),
        message_size: view.size,
        forced_expire: view.flags.force_expire,
        sender: sender.map(|sender| sender.to_string()).unwrap_or_default(),
        recipients: stored.as_ref().map(|stored| recipients(stored, routes)).unwrap_or_default(),
        next_attempt: view.due.filter(|_| !is_corrupt).map(Time::as_secs),
        attempts: view.attempts,
        reason: is_corrupt.then(|| {
            damage
                .or_else(|| view.reason.as_deref().map(str::to_owned))
                .unwrap_or_else(|| "damaged".to_owned())
        }),
    })
}

fn recipients(stored: &StoredMessage, routes: &Routes) -> Vec<RecipientItem> {
    let item = |(position, recipient): (u32, &mail::Recipient)| {
        let record = stored.recipients.get(&position);
        let status = match record.map(|record| record.verdict) {
            None => RecipientStatus::Pending,
            Some(Verdict::Sent) => RecipientStatus::Sent,
            Some(Verdict::Deferred) => RecipientStatus::Deferred,
            Some(Verdict::Bounced) => RecipientStatus::Bounced,
        };
        let route = routes.resolve(&recipient.address);
        let site = recipient.address.site().unwrap_or_default();
        RecipientItem {
            address: recipient.address.to_string(),
            delay_reason: record
                .filter(|record| record.verdict == Verdict::Deferred)
                .map(|record| record.text.to_string()),
            nexthop: (*route.nexthop != *site).then(|| route.nexthop.to_string()),
            site,
            transport: route.transport.to_string(),
            status,
        }
    };
    (0..).zip(&stored.envelope.recipients).map(item).collect()
}

/// The queues of these names; all when none is named.
pub(crate) fn queues(names: &[QueueName]) -> Vec<Queue> {
    let named = |queue: &Queue| names.is_empty() || names.contains(&queue_name(*queue));
    Queue::ALL.into_iter().filter(named).collect()
}

fn queue_name(queue: Queue) -> QueueName {
    match queue {
        Queue::Incoming => QueueName::Incoming,
        Queue::Active => QueueName::Active,
        Queue::Deferred => QueueName::Deferred,
        Queue::Hold => QueueName::Hold,
        Queue::Corrupt => QueueName::Corrupt,
    }
}
