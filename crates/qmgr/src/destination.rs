//! Destinations: the in-memory queue of one transport for one nexthop, what operators call a site.
//!
//! States: ready may become anything, throttled and suspended may only become ready again. A throttled
//! destination has no waiting entries, ever.
//!
//! Promises: the peers that wait here stand in the order of the scheduler, so that the first one is found
//! without a walk.

use std::collections::BTreeSet;
use std::sync::Arc;

use mail::{EnhancedStatus, QueueId, Time};
use slotmap::new_key_type;
use smol_str::SmolStr;

use crate::feedback::Window;
use crate::few::FrontMap;
use crate::peer::PeerKey;

new_key_type! {
    /// Names a destination in memory.
    pub(crate) struct DestinationKey;
}

/// Why something is left alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cause {
    pub(crate) status: EnhancedStatus,
    pub(crate) text: Arc<str>,
}

impl Cause {
    /// `STATUS TEXT`.
    pub(crate) fn line(&self) -> Arc<str> {
        format!("{} {}", self.status, self.text).into()
    }

    /// The reason given to recipients that were not even tried.
    pub(crate) fn suspended_text(&self) -> Arc<str> {
        format!("delivery temporarily suspended: {}", self.text).into()
    }
}

/// What may be delivered.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum State {
    Ready(Window),
    Throttled {
        since: Time,
        cause: Cause,
    },
    /// A rate delay: the window as it was, because failures count across delays.
    Suspended(Window),
}

/// One destination.
#[derive(Debug)]
#[repr(C)] // What every selection looks at comes first, in few cache lines.
pub(crate) struct Destination {
    pub(crate) state: State,
    pub(crate) transport: usize,
    /// Entries.
    pub(crate) todo: u32,
    pub(crate) busy: u32,
    /// The peers with entries to do, in the order of selection.
    pub(crate) peers: FrontMap<Ready, PeerKey>,
    /// Its place in the transport's set of what can be selected.
    pub(crate) ready: Option<Ready>,
    pub(crate) last_done: Option<Time>,
    /// Deliveries that began since the last one ended.
    pub(crate) unanswered: u32,
    /// Connection reuse, as told to agents.
    pub(crate) load: bool,
    pub(crate) store: bool,
    pub(crate) name: Arc<str>,
    pub(crate) nexthop: SmolStr,
    /// When the state ends by itself, or the destination is forgotten.
    pub(crate) timer: Option<Time>,
    pub(crate) clog_warned: Option<Time>,
    /// Deferred messages to wake when it recovers. Some may have found another way meanwhile.
    pub(crate) waiting: BTreeSet<QueueId>,
    /// The message that probed it last.
    pub(crate) prober: Option<QueueId>,
    /// It was dead, and nothing has been delivered since.
    pub(crate) probing: bool,
    /// It was dead, and mail that waited for it is being woken.
    pub(crate) recovering: bool,
}

/// What can be selected, in the order of selection: the place of the job in the scheduler's list, and the
/// place of the peer in the job. No two peers of a transport share both.
pub(crate) type Ready = (u64, u64);

impl Destination {
    pub(crate) fn new(transport: usize, name: Arc<str>, nexthop: SmolStr, window: u32) -> Destination {
        Destination {
            transport,
            name,
            nexthop,
            state: State::Ready(Window::new(window)),
            timer: None,
            todo: 0,
            busy: 0,
            peers: FrontMap::new(),
            ready: None,
            last_done: None,
            load: false,
            store: false,
            clog_warned: None,
            waiting: BTreeSet::new(),
            prober: None,
            probing: false,
            recovering: false,
            unanswered: 0,
        }
    }

    /// The window, 0 when nothing may be delivered.
    pub(crate) fn window(&self) -> u32 {
        if let State::Ready(window) = &self.state { window.size } else { 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.todo == 0 && self.busy == 0
    }

    pub(crate) fn throttled(&self) -> Option<&Cause> {
        if let State::Throttled { cause, .. } = &self.state { Some(cause) } else { None }
    }
}
