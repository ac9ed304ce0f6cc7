//! Delivery agents: what takes recipients of one message to one next hop and says what became of each.
//!
//! Promises: [`Agents::deliver`] gives one outcome for each recipient, in order; it never fails, never
//! hangs longer than its deadlines, and touches no message but its own. Connections are reused for
//! several messages, never for two at once.
//!
//! Refuses: to decide when to try again, how many deliveries run at a time, or where a recipient goes.

mod agents;
mod config;
mod connect;
mod connection;
mod content;
mod copy;
mod exit;
mod folder;
mod hickory;
mod idle;
mod local;
mod lookup_cache;
mod maildir;
mod nexthop;
mod pipe;
mod program;
mod relay;
mod resolver;
mod targets;
mod tls;
mod words;

pub use agents::{Agents, Job, Report, Timing};
pub use config::{AgentsConfig, Deadlines, IDLE_CONNECTIONS, Kind, Reuse, TlsLevel, TransportConfig};
pub use copy::{Preparation, UnknownFlag};
pub use folder::Folder;
pub use hickory::{SystemResolver, SystemResolverError, Unavailable};
pub use lookup_cache::{LOOKUPS_CACHED_MAX, LookupCache};
pub use nexthop::{NextHop, NextHopError, Place};
pub use program::{Program, ProgramError};
pub use resolver::{Found, Lookup, LookupError, Mx, Resolver};
pub use tls::{Tls, TlsError};
pub use words::TemplateError;
