//! Listeners that drive SMTP and LMTP server sessions into the spool.
//!
//! Promises: `250` for a message is sent only after the spool made it durable, and a durable message
//! reaches the engine whatever becomes of the session. Memory, connections and times are bounded.
//!
//! Refuses: scheduling, routing, retrying. Who may send what where is decided by [`Policy`] and
//! nothing else.

mod clients;
mod config;
mod connection;
mod gate;
mod intake;
mod listener;
mod memory;
mod network;
mod received;
mod replies;
mod services;
mod stream;
mod transcript;

pub use config::{Config, DATA_RATE_MIN, Hold, Policy};
pub use listener::{Ingress, IngressStatus, ListenError};
pub use memory::Memory;
pub use network::{Network, NetworkError, Networks};
pub use received::Received;
pub use services::{Accepted, EtrnAnswer, EtrnRequest, Services};
pub use transcript::{ErrorKinds, Errors, LINES_MAX, SessionErrors};
