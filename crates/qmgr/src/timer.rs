//! Timers: everything that ends by itself, except the waiting of deferred messages and what each message in
//! memory has (`Engine::appointments`).

use crate::destination::DestinationKey;
use crate::message::MessageKey;

/// What a timer is for. A destination has one at a time; its state says what it means.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Timer {
    /// A dead transport may be tried again.
    TransportDead(usize),
    /// The rate delay of a transport is over.
    TransportRate(usize),
    /// Death, rate delay, or memory of a destination ends.
    Destination(DestinationKey),
    /// Mail that waits for room may have waited long enough.
    Overtime,
    /// Failed recipients are reported before the run ends.
    BounceReport(MessageKey),
}
