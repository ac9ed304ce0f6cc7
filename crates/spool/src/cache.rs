//! Fresh messages, kept in memory until their first delivery, so that it never touches the disk.
//!
//! Promises: bounded in bytes; the oldest goes first. What it holds was durable when it came in.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::FixedState;
use mail::{Envelope, QueueId};

use crate::Summary;

/// A message as it came in.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) summary: Summary,
    /// Nothing for a large body.
    pub(crate) body: Option<Bytes>,
}

impl Fresh {
    /// Bytes it stands for: the body, and a guess at the rest.
    fn weight(&self) -> usize {
        512 + 160 * self.envelope.recipients.len() + self.body.as_ref().map_or(0, Bytes::len)
    }
}

/// The cache.
#[derive(Debug)]
pub(crate) struct Cache {
    messages: HashMap<QueueId, Arc<Fresh>, FixedState>,
    /// In order of arrival; may name messages that are gone.
    order: VecDeque<QueueId>,
    bytes: usize,
    limit: usize,
}

impl Cache {
    pub(crate) fn new(limit: usize) -> Cache {
        Cache { messages: HashMap::default(), order: VecDeque::new(), bytes: 0, limit }
    }

    pub(crate) fn get(&self, id: QueueId) -> Option<Arc<Fresh>> {
        self.messages.get(&id).cloned()
    }

    pub(crate) fn insert(&mut self, id: QueueId, fresh: Arc<Fresh>) {
        let weight = fresh.weight();
        if weight > self.limit {
            return;
        }
        while self.bytes + weight > self.limit {
            let Some(oldest) = self.order.pop_front() else { break };
            self.forget(oldest);
        }
        self.bytes += weight;
        if let Some(old) = self.messages.insert(id, fresh) {
            self.bytes -= old.weight();
        }
        self.order.push_back(id);
    }

    pub(crate) fn remove(&mut self, id: QueueId) {
        self.forget(id);
        // Names of messages that went otherwise are dropped before they outnumber the present ones.
        if self.order.len() > 64 + 2 * self.messages.len() {
            let messages = &self.messages;
            self.order.retain(|id| messages.contains_key(id));
        }
    }

    fn forget(&mut self, id: QueueId) {
        if let Some(old) = self.messages.remove(&id) {
            self.bytes -= old.weight();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(size: usize) -> Arc<Fresh> {
        let envelope = Envelope {
            sender: None,
            recipients: Vec::new(),
            ret: None,
            envid: None,
            body: mail::BodyType::SevenBit,
            smtputf8: false,
            arrived: mail::Time::ZERO,
            size: size as u64,
            client: mail::Client::default(),
        };
        let body = Some(Bytes::from(vec![0; size]));
        Arc::new(Fresh { envelope: Arc::new(envelope), summary: Summary::default(), body })
    }

    #[test]
    fn the_oldest_goes_first_and_the_limit_holds() {
        let mut cache = Cache::new(2000);
        for number in 0..100 {
            cache.insert(QueueId::from_u64(number), fresh(488));
            assert!(cache.bytes <= 2000);
        }
        assert!(cache.get(QueueId::from_u64(97)).is_none());
        assert!(cache.get(QueueId::from_u64(98)).is_some());
        cache.insert(QueueId::from_u64(200), fresh(5000));
        assert!(cache.get(QueueId::from_u64(200)).is_none());
        cache.remove(QueueId::from_u64(98));
        cache.remove(QueueId::from_u64(99));
        assert_eq!(cache.bytes, 0);
    }

    #[test]
    fn names_of_the_gone_do_not_pile_up() {
        let mut cache = Cache::new(1 << 20);
        for number in 0..10_000 {
            cache.insert(QueueId::from_u64(number), fresh(10));
            cache.remove(QueueId::from_u64(number));
        }
        assert!(cache.order.len() <= 65);
    }
}
