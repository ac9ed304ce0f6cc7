//! Who waits for whom, counted: the unfinished recipients of every message by site.
//!
//! Promises: a page is a walk over stubs and costs a few nanoseconds a message, so that a million messages
//! hold nothing up; no text is copied before the end. Refuses: ages and tables, which are the asker's.

use std::sync::Arc;

use flush::SiteId;
use mail::{QueueId, Time};

use crate::engine::Engine;
use crate::event::Queue;

/// A walk over the queue for [`Engine::shape_page`].
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// The queues that count.
    queues: Vec<Queue>,
    after: Option<QueueId>,
    /// See [`flush::Record::numbering`].
    numbering: Option<u64>,
    /// What was found since the caller last took it.
    pub waiting: Vec<Waiting>,
    /// Messages whose recipients at each site only their envelopes tell.
    pub unclear: Vec<QueueId>,
}

/// One unfinished recipient.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// The number of the site; [`Engine::shape_names`] has its name.
    pub site: u32,
    /// When the message was accepted.
    pub arrived: Time,
}

/// Where a walk is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShapePage {
    /// There is more.
    More,
    /// That was all.
    Last,
    /// Sites have got other numbers: what was found so far is void, and the walk begins anew.
    Anew,
}

impl Shape {
    /// A walk over these queues.
    pub fn new(queues: Vec<Queue>) -> Shape {
        Shape { queues, ..Shape::default() }
    }
}

impl Engine {
    /// Looks at the next messages of a walk, `limit` at most. Messages that come or go meanwhile may be
    /// counted or not.
    pub fn shape_page(&self, shape: &mut Shape, limit: usize) -> ShapePage {
        let numbering = self.record.numbering();
        if shape.numbering.replace(numbering).is_some_and(|before| before != numbering) {
            *shape = Shape::new(std::mem::take(&mut shape.queues));
            return ShapePage::Anew;
        }
        let mut seen = 0;
        let counts = Queue::ALL.map(|queue| shape.queues.contains(&queue));
        // Not a loop: through this iterator it takes twice as long.
        self.stubs.after(shape.after).take(limit).for_each(|(id, stub)| {
            seen += 1;
            shape.after = Some(id);
            if !counts[stub.queue as usize] {
                return;
            }
            if stub.queue == Queue::Corrupt || stub.sites.as_slice().len() != stub.unfinished as usize {
                return shape.unclear.push(id);
            }
            // Each of its sites has one at least, so that it is one.
            let waiting = |site: &SiteId| Waiting { site: site.index() as u32, arrived: stub.arrived };
            shape.waiting.extend(stub.sites.as_slice().iter().map(waiting));
        });
        if seen < limit { ShapePage::Last } else { ShapePage::More }
    }

    /// The names of the sites that something waits for, by number.
    pub fn shape_names(&self) -> Vec<(u32, Arc<str>)> {
        let named = |site: SiteId, name: &Arc<str>| (site.index() as u32, name.clone());
        self.record.numbered().map(|(site, name)| named(site, name)).collect()
    }
}
