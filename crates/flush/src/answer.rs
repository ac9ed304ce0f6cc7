//! What a request is answered with: a status as in flush(8), and the truth about what it did.
//!
//! Promises: `ok` never hides that nothing happened; the counts say it.

use std::fmt;
use std::ops::AddAssign;

/// The four statuses of flush(8).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Status {
    /// Done, or begun where the request says so.
    Ok,
    /// The site is not eligible, or the requester may not ask.
    Deny,
    /// The request is malformed.
    Bad,
    /// It could not be done now.
    Fail,
}

impl Status {
    /// The number that flush(8) puts on the wire.
    pub const fn wire_number(self) -> i32 {
        match self {
            Status::Fail => -1,
            Status::Ok => 0,
            Status::Bad => 3,
            Status::Deny => 4,
        }
    }

    /// The word for traces, logs and the control protocol.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Deny => "deny",
            Status::Bad => "bad",
            Status::Fail => "fail",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How many messages a request concerned, by what became of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Released {
    /// Waiting ones that will be tried now.
    pub released: u64,
    /// Those that were being tried already.
    pub already_active: u64,
    /// Those on hold: they stay known and are tried when an operator releases them.
    pub on_hold: u64,
}

impl Released {
    /// All messages concerned.
    pub const fn total(self) -> u64 {
        self.released.saturating_add(self.already_active).saturating_add(self.on_hold)
    }
}

impl AddAssign for Released {
    fn add_assign(&mut self, other: Released) {
        self.released = self.released.saturating_add(other.released);
        self.already_active = self.already_active.saturating_add(other.already_active);
        self.on_hold = self.on_hold.saturating_add(other.on_hold);
    }
}

/// The answer to one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Answer {
    /// Whether it was done.
    pub status: Status,
    /// To how many messages; zeros unless the status is [`Status::Ok`].
    pub released: Released,
}

impl Answer {
    /// Done, with what it did.
    pub const fn ok(released: Released) -> Answer {
        Answer { status: Status::Ok, released }
    }

    /// Not done.
    pub const fn refused(status: Status) -> Answer {
        Answer { status, released: Released { released: 0, already_active: 0, on_hold: 0 } }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Released { released, already_active, on_hold } = self.released;
        match self.status {
            Status::Ok => write!(f, "ok released={released} active={already_active} hold={on_hold}"),
            status => f.write_str(status.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_print_their_counts_only_when_something_was_done() {
        let mut counts = Released { released: 2, already_active: 1, on_hold: 0 };
        counts += Released { released: u64::MAX, already_active: 0, on_hold: 4 };
        assert_eq!(counts.total(), u64::MAX, "counts saturate");
        counts.released = 3;
        assert_eq!(Answer::ok(counts).to_string(), "ok released=3 active=1 hold=4");
        assert_eq!(Answer::refused(Status::Deny).to_string(), "deny");
        let numbers = [Status::Fail, Status::Ok, Status::Bad, Status::Deny].map(Status::wire_number);
        assert_eq!(numbers, [-1, 0, 3, 4]);
    }
}
