//! The receiving side of SMTP and LMTP, without sockets: bytes in, replies and events out.

mod body;
mod commands;
mod event;
mod hello;
mod session;
mod settings;

pub use event::{Event, Refusal, Transaction};
pub use session::Session;
pub use settings::Settings;
