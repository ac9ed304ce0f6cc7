//! SMTP and LMTP without sockets (RFC 5321, RFC 2033): commands, replies, extensions, sessions.
//!
//! Promises: no I/O, no clock, no threads; bytes in, bytes and events out. Nothing panics on input and
//! memory is bounded whatever the other side sends.
//!
//! Refuses: to know what a queue, a route or a file is.

pub mod client;
pub mod command;
pub mod data;
pub mod extension;
pub mod path;
pub mod reply;
pub mod server;
