//! Connections that wait for their next message.
//!
//! Promises: a connection is in here or with one delivery, never both; none stays longer than its time;
//! there are never more than the limit. Neither keeping one nor taking one looks at all the others. A task
//! sweeps while there is something to sweep, and only then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::config::{Reuse, TlsLevel};
use crate::connection::Connection;

/// Messages with the same key may share a connection.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Key {
    pub(crate) transport: Arc<str>,
    pub(crate) nexthop: Arc<str>,
    pub(crate) tls: TlsLevel,
}

struct Parked {
    connection: Connection,
    place: Place,
}

/// When a connection expires, and a number that no other has.
type Place = (Instant, u64);

#[derive(Default)]
struct State {
    parked: BTreeMap<Key, Vec<Parked>>,
    /// Every parked connection, the first to expire first.
    expiring: BTreeMap<Place, Key>,
    numbers: u64,
    sweeping: bool,
}

/// See the module head.
pub(crate) struct IdleConnections {
    state: Mutex<State>,
    limit: usize,
    /// Something expires before the sweep would look again.
    sooner: Notify,
}

impl IdleConnections {
    pub(crate) fn new(limit: usize) -> IdleConnections {
        IdleConnections { state: Mutex::default(), limit, sooner: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.state().expiring.len()
    }

    /// A connection for a message, the one used last first. Those that the other side closed are dropped
    /// on the way.
    pub(crate) fn take(&self, key: &Key) -> Option<Connection> {
        loop {
            let mut parked = self.state().pop(key)?;
            if parked.place.0 > Instant::now() && parked.connection.is_quiet() {
                return Some(parked.connection);
            }
            tokio::spawn(parked.connection.close());
        }
    }

    /// Keeps a connection whose message is done, or closes it when it may not be used again.
    pub(crate) fn park(self: &Arc<IdleConnections>, key: Key, connection: Connection, reuse: &Reuse) {
        if !connection.session.is_reusable() {
            return;
        }
        let now = Instant::now();
        let expires = (now + reuse.idle).min(connection.opened + reuse.age);
        let used_up = reuse.messages > 0 && connection.session.uses() >= reuse.messages;
        if used_up || expires <= now || self.limit == 0 {
            tokio::spawn(connection.close());
            return;
        }
        let (sweep, surplus) = {
            let mut state = self.state();
            if state.earliest().is_some_and(|earliest| expires < earliest) {
                self.sooner.notify_one();
            }
            state.push(key, connection, expires);
            let surplus = if state.expiring.len() > self.limit { state.pop_oldest() } else { None };
            (!std::mem::replace(&mut state.sweeping, true), surplus)
        };
        if let Some(surplus) = surplus {
            tokio::spawn(surplus.connection.close());
        }
        if sweep {
            tokio::spawn(Arc::clone(self).sweep());
        }
    }

    /// Says goodbye to all.
    pub(crate) async fn close_all(&self) {
        let all = {
            let mut state = self.state();
            state.expiring.clear();
            std::mem::take(&mut state.parked)
        };
        let parked = all.into_values().flatten();
        let goodbyes: Vec<_> = parked.map(|parked| tokio::spawn(parked.connection.close())).collect();
        for goodbye in goodbyes {
            // A goodbye that panicked is as good as any other.
            let _ = goodbye.await;
        }
    }

    async fn sweep(self: Arc<IdleConnections>) {
        loop {
            let next = {
                let mut state = self.state();
                match state.earliest() {
                    Some(next) => next,
                    None => {
                        state.sweeping = false;
                        return;
                    }
                }
            };
            tokio::select! {
                () = sleep_until(next) => {}
                () = self.sooner.notified() => continue,
            }
            let expired = self.state().pop_expired(Instant::now());
            for parked in expired {
                tokio::spawn(parked.connection.close());
            }
        }
    }
}

impl State {
    fn push(&mut self, key: Key, connection: Connection, expires: Instant) {
        self.numbers += 1;
        let place = (expires, self.numbers);
        self.expiring.insert(place, key.clone());
        self.parked.entry(key).or_default().push(Parked { connection, place });
    }

    fn pop(&mut self, key: &Key) -> Option<Parked> {
        let stack = self.parked.get_mut(key)?;
        let parked = stack.pop();
        if stack.is_empty() {
            self.parked.remove(key);
        }
        let parked = parked?;
        self.expiring.remove(&parked.place);
        Some(parked)
    }

    fn earliest(&self) -> Option<Instant> {
        self.expiring.first_key_value().map(|(place, _)| place.0)
    }

    fn pop_oldest(&mut self) -> Option<Parked> {
        let (place, key) = self.expiring.pop_first()?;
        let stack = self.parked.get_mut(&key)?;
        let parked = stack.iter().position(|parked| parked.place == place).map(|at| stack.remove(at));
        if stack.is_empty() {
            self.parked.remove(&key);
        }
        parked
    }

    fn pop_expired(&mut self, now: Instant) -> Vec<Parked> {
        let mut popped = Vec::new();
        while self.earliest().is_some_and(|earliest| earliest <= now) {
            popped.extend(self.pop_oldest());
        }
        popped
    }
}
