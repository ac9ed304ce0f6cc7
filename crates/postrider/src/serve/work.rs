//! Work that the engine asked for and that takes time: deliveries, reading envelopes, making reports.
//!
//! Promises: everything begun ends in exactly one [`Happened`], also when the code behind it panics. A
//! delivery that has ended never stands behind other results: until it is recorded, a crash makes a second
//! copy.
//! Refuses: to know what the results mean.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use mail::QueueId;
use qmgr::{DeliveryNumber, LoadError, ReportKind};
use spool::StoredMessage;
use tokio::task::{Id, JoinError, JoinSet};
use tracing::error;

/// What came of a piece of work.
pub(crate) enum Happened {
    /// A delivery of the recipients at these positions ended.
    Delivered { number: DeliveryNumber, id: QueueId, positions: Vec<u32>, report: delivery::Report },
    /// There was nothing to deliver: the content is damaged, and the spool has set the message aside.
    Damaged { number: DeliveryNumber, id: QueueId, reason: String },
    /// Envelopes were read.
    Loaded(Vec<LoadResult>),
    /// A report to a sender on the recipients at these positions is durable, or could not be made.
    Reported { id: QueueId, kind: ReportKind, result: Result<Vec<u32>, Arc<str>> },
    /// The code behind it failed; this is what it was to bring.
    Failed(Undertaking),
}

/// One envelope that was asked for.
pub(crate) struct LoadResult {
    pub(crate) request: LoadRequest,
    pub(crate) result: Result<StoredMessage, LoadError>,
}

/// Which part of an envelope the engine wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LoadRequest {
    pub(crate) id: QueueId,
    pub(crate) from: u32,
    pub(crate) limit: u32,
}

/// What a piece of work is about, for the case that it never comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Undertaking {
    Delivery { number: DeliveryNumber, id: QueueId },
    Load(Vec<LoadRequest>),
    Report { id: QueueId, kind: ReportKind },
}

/// All work in flight.
#[derive(Default)]
pub(crate) struct Work {
    deliveries: JoinSet<Happened>,
    others: JoinSet<Happened>,
    about: HashMap<Id, Undertaking>,
}

impl Work {
    /// Begins something that waits.
    pub(crate) fn begin(
        &mut self,
        about: Undertaking,
        work: impl Future<Output = Happened> + Send + 'static,
    ) {
        let tasks = match about {
            Undertaking::Delivery { .. } => &mut self.deliveries,
            Undertaking::Load(_) | Undertaking::Report { .. } => &mut self.others,
        };
        let id = tasks.spawn(work).id();
        self.about.insert(id, about);
    }

    /// Whether anything is in flight.
    pub(crate) fn is_busy(&self) -> bool {
        !(self.deliveries.is_empty() && self.others.is_empty())
    }

    /// The next result; nothing when nothing is in flight.
    pub(crate) async fn next(&mut self) -> Option<Happened> {
        let joined = tokio::select! {
            biased;
            Some(joined) = self.deliveries.join_next_with_id() => joined,
            Some(joined) = self.others.join_next_with_id() => joined,
            else => return None,
        };
        Some(self.ended(joined))
    }

    /// A delivery that has ended already.
    pub(crate) fn try_next_delivery(&mut self) -> Option<Happened> {
        let joined = self.deliveries.try_join_next_with_id()?;
        Some(self.ended(joined))
    }

    /// Gives up what is in flight and says of which messages deliveries were among it, one for each.
    pub(crate) fn abandon(&mut self) -> Vec<QueueId> {
        self.deliveries.abort_all();
        self.others.abort_all();
        let delivered = |(_, about)| match about {
            Undertaking::Delivery { id, .. } => Some(id),
            Undertaking::Load(_) | Undertaking::Report { .. } => None,
        };
        let mut ids: Vec<QueueId> = self.about.drain().filter_map(delivered).collect();
        ids.sort_unstable();
        ids
    }

    fn ended(&mut self, joined: Result<(Id, Happened), JoinError>) -> Happened {
        match joined {
            Ok((id, happened)) => {
                self.about.remove(&id);
                happened
            }
            Err(failure) => {
                let about = self.about.remove(&failure.id());
                error!("work for the engine failed ({about:?}): {failure}");
                Happened::Failed(about.unwrap_or(Undertaking::Load(Vec::new())))
            }
        }
    }
}
