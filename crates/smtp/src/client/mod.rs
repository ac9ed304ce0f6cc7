//! The sending side of SMTP and LMTP (RFC 5321, RFC 2033), without sockets.
//!
//! [`Session`] speaks the protocol and decides every recipient; [`DotStuffer`] prepares content; the
//! caller owns the connection, the clock and the content, and holds the deadline of each [`Stage`].

mod content;
mod envelope;
mod failure;
mod opening;
mod session;
#[cfg(test)]
mod tests;
mod transmission;

pub use content::{Content, ContentScan, DotStuffer};
pub use envelope::Ending;
pub use session::{Event, PIPELINED_BYTES_MAX, Session, SessionOptions, Stage, StartTls};
