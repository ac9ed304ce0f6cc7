//! The replies that a listener gives on its own account.

use mail::{EnhancedStatus, Reply};
use spool::AcceptError;

/// A reply with an enhanced status whose class follows from the code.
pub(crate) fn reply(code: u16, subject: u16, detail: u16, text: impl Into<String>) -> Reply {
    let class = if code < 400 { 2 } else { (code / 100) as u8 };
    Reply::new(code, Some(EnhancedStatus::new(class, subject, detail)), text)
}

pub(crate) fn shutting_down(hostname: &str) -> Reply {
    reply(421, 3, 2, format!("{hostname} Service shutting down and closing transmission channel"))
}

pub(crate) fn timed_out(hostname: &str) -> Reply {
    reply(421, 4, 2, format!("{hostname} Error: timeout exceeded"))
}

pub(crate) fn session_too_long(hostname: &str) -> Reply {
    reply(421, 4, 2, format!("{hostname} Session has lasted long enough, please connect again"))
}

pub(crate) fn crowded(hostname: &str) -> Reply {
    reply(421, 3, 2, format!("{hostname} Error: too many connections, try again later"))
}

pub(crate) fn client_crowded(hostname: &str, client: &str) -> Reply {
    reply(421, 7, 0, format!("{hostname} Error: too many connections from {client}"))
}

pub(crate) fn engine_busy() -> Reply {
    reply(451, 3, 2, "Error: the queue is busy, try again later")
}

pub(crate) fn not_accepting() -> Reply {
    reply(452, 3, 1, "Error: insufficient system storage")
}

pub(crate) fn disk_fails() -> Reply {
    reply(451, 3, 0, "Error: queue file write error")
}

/// What a client hears of a failure of the spool: nothing about disks.
pub(crate) fn not_stored(error: &AcceptError) -> Reply {
    match error {
        AcceptError::DiskFull => not_accepting(),
        AcceptError::TooLarge => reply(552, 3, 4, "Error: too many recipients for one message"),
        AcceptError::Io(_) => disk_fails(),
        AcceptError::Closed => reply(451, 3, 2, "Error: the queue is being closed"),
    }
}
