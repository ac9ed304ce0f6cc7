//! The vocabulary of the queue engine.
//!
//! Promises: plain values, no I/O, no clock, no randomness that was not seeded by the caller, no
//! async. Everything that two crates have to agree on (ids, addresses, envelopes, replies, outcomes,
//! time, named limits) is here and nowhere else.
//!
//! Refuses: serialisation. Storage, the control protocol and the configuration each have structs of
//! their own and convert at their edge.

mod address;
mod ascending;
mod domain;
mod envelope;
mod id;
mod notify;
mod outcome;
mod reply;
mod rng;
mod time;
mod units;

pub mod limits;

pub use address::{Address, AddressError};
pub use ascending::{AscendingMap, Pairs as AscendingPairs};
pub use domain::{DomainList, DomainListError, SiteError, site_of_domain};
pub use envelope::{BodyType, Client, Envelope, Protocol, Recipient};
pub use id::{IdSource, ParseIdError, QueueId};
pub use notify::{Notify, Orcpt, ParameterError, Ret, decode_xtext, encode_xtext};
pub use outcome::{Outcome, Relay, Scope, Verdict};
pub use reply::{EnhancedStatus, Reply, Severity};
pub use rng::Rng;
pub use time::Time;
pub use units::{UnitError, format_duration, parse_duration, parse_size};
