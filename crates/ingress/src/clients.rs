//! How many connections there are, in all and from each client.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

/// The connections of one listener group.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    all: AtomicUsize,
    each: DashMap<IpAddr, usize>,
}

/// Why a connection is turned away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Crowded {
    /// Too many in all.
    All,
    /// Too many from this client.
    Client,
}

/// One connection; dropped, it is no longer counted.
#[derive(Debug)]
pub(crate) struct Seat {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Clients {
    /// Counts a connection in, unless one of the limits is reached. Clients in one IPv6 network of 64
    /// bits count as one, since each of them has as many addresses as it likes.
    pub(crate) fn enter(
        self: &Arc<Clients>,
        address: IpAddr,
        limit: usize,
        client_limit: usize,
    ) -> Result<Seat, Crowded> {
        let client = identity(address);
        if self.all.fetch_add(1, Ordering::Relaxed) >= limit {
            self.all.fetch_sub(1, Ordering::Relaxed);
            return Err(Crowded::All);
        }
        let mut count = self.each.entry(client).or_insert(0);
        if *count >= client_limit {
            drop(count);
            self.all.fetch_sub(1, Ordering::Relaxed);
            return Err(Crowded::Client);
        }
        *count += 1;
        drop(count);
        Ok(Seat { clients: self.clone(), client })
    }

    /// Connections in all.
    pub(crate) fn count(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }
}

impl Seat {
    /// Whether four fifths of the places are taken.
    pub(crate) fn is_in_a_crowd(&self, limit: usize) -> bool {
        self.clients.count() >= limit - limit / 5
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.clients.all.fetch_sub(1, Ordering::Relaxed);
        if let Entry::Occupied(mut entry) = self.clients.each.entry(self.client) {
            if *entry.get() > 1 {
                *entry.get_mut() -= 1;
            } else {
                entry.remove();
            }
        }
    }
}

fn identity(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & (u128::MAX << 64)).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_hold_and_seats_come_free() {
        let clients = Arc::new(Clients::default());
        let enter = |address: &str| clients.enter(address.parse().unwrap(), 3, 2);
        let one = enter("192.0.2.1").unwrap();
        let _two = enter("::ffff:192.0.2.1").unwrap();
        assert_eq!(enter("192.0.2.1").unwrap_err(), Crowded::Client);
        let _three = enter("2001:db8::1").unwrap();
        assert_eq!(enter("192.0.2.9").unwrap_err(), Crowded::All);
        drop(one);
        let _four = enter("2001:db8::2").unwrap();
        assert_eq!(clients.count(), 3);
        assert!(_four.is_in_a_crowd(3) && !_four.is_in_a_crowd(4));
        drop((_two, _three, _four));
        assert_eq!((clients.count(), clients.each.len()), (0, 0));
    }
}
