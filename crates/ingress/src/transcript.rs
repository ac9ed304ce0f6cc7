//! What was said in a session, for a postmaster who wants to know of sessions that go wrong
//! (`notify_classes` of postconf(5)).
//!
//! Promises: nothing is kept unless somebody wants to know; never more than [`LINES_MAX`] lines of bounded
//! length, the first and the last ones; content of messages is never among them.
//! Refuses: deciding who is told.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use smtp::command::Verb;
use smtp::server::Refusal;

/// Most lines that are kept of one session.
pub const LINES_MAX: usize = 400;
/// So many of them are the first ones.
const FIRST_LINES: usize = 50;
/// Bytes of a line that are kept.
const LINE_BYTES_MAX: usize = 500;

/// What went wrong in a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ErrorKinds {
    /// A command that is malformed, unknown or out of place.
    pub protocol: bool,
    /// A request that was refused by rule.
    pub policy: bool,
    /// Content that was refused, or a client that left in the middle of it.
    pub data: bool,
}

impl ErrorKinds {
    fn any(self) -> bool {
        self.protocol || self.policy || self.data
    }

    /// Those that both have.
    pub fn and(self, other: ErrorKinds) -> ErrorKinds {
        ErrorKinds {
            protocol: self.protocol && other.protocol,
            policy: self.policy && other.policy,
            data: self.data && other.data,
        }
    }
}

/// A session in which something went wrong that somebody wants to know of.
#[derive(Clone, Debug)]
pub struct SessionErrors {
    /// What, of what is wanted.
    pub kinds: ErrorKinds,
    /// Who.
    pub client: IpAddr,
    /// What was said: `In:` by the client, `Out:` by us.
    pub lines: Vec<String>,
}

/// Whom to tell of sessions that go wrong; the default is nobody.
#[derive(Clone, Default)]
pub struct Errors {
    wanted: ErrorKinds,
    tell: Option<Arc<Tell>>,
}

type Tell = dyn Fn(SessionErrors) + Send + Sync;

impl Errors {
    /// Tells of these kinds. `tell` runs at the end of a session and must not block.
    pub fn told(wanted: ErrorKinds, tell: impl Fn(SessionErrors) + Send + Sync + 'static) -> Errors {
        Errors { wanted, tell: Some(Arc::new(tell)) }
    }

    /// A transcript for one session.
    pub(crate) fn begin(&self) -> Transcript {
        let is_wanted = self.tell.is_some() && self.wanted.any();
        Transcript { errors: self.clone(), is_wanted, ..Transcript::default() }
    }
}

impl fmt::Debug for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errors({:?})", self.wanted)
    }
}

/// The transcript of one session.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    errors: Errors,
    is_wanted: bool,
    seen: ErrorKinds,
    lines: Vec<String>,
    left_out: usize,
    /// The beginning of a command whose end has not come.
    partial: Vec<u8>,
}

impl Transcript {
    /// What the client sent while it owed commands. What follows a command for content is none of ours.
    pub(crate) fn received(&mut self, bytes: &[u8]) {
        if !self.is_wanted {
            return;
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_BYTES_MAX.saturating_sub(self.partial.len());
            self.partial.extend_from_slice(&piece[..piece.len().min(room)]);
            if !piece.ends_with(b"\n") {
                return;
            }
            let line = std::mem::take(&mut self.partial);
            self.push("In: ", &line);
            if matches!(Verb::of(line.trim_ascii_end()), Some(Verb::Data | Verb::Bdat)) {
                return;
            }
        }
    }

    /// What is sent to the client.
    pub(crate) fn sent(&mut self, bytes: &[u8]) {
        if self.is_wanted {
            bytes
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
                .for_each(|line| self.push("Out:", line));
        }
    }

    fn push(&mut self, who: &str, line: &[u8]) {
        let line = line[..line.len().min(LINE_BYTES_MAX)].trim_ascii_end();
        if self.lines.len() >= LINES_MAX {
            self.lines.remove(FIRST_LINES);
            self.left_out += 1;
        }
        self.lines.push(format!(" {who} {}", String::from_utf8_lossy(line)));
    }

    /// A command or a message was refused.
    pub(crate) fn refused(&mut self, refusal: &Refusal) {
        let code = refusal.reply.code;
        match refusal.verb {
            Some(Verb::Data | Verb::Bdat) if code >= 550 => self.seen.data = true,
            None => self.seen.protocol = true,
            _ if matches!(code, 500..=503 | 555) => self.seen.protocol = true,
            _ if code >= 500 => self.seen.policy = true,
            _ => {}
        }
    }

    /// The client left before the end of a message.
    pub(crate) fn lost_in_content(&mut self, how: &str) {
        self.seen.data = true;
        if self.is_wanted {
            self.lines.push(format!(" {how}"));
        }
    }

    /// The session is over: tells of it, if there is something to tell.
    pub(crate) fn end(mut self, client: IpAddr) {
        let kinds = self.seen.and(self.errors.wanted);
        let Some(tell) = self.errors.tell.as_ref().filter(|_| kinds.any()) else { return };
        if self.left_out > 0 {
            self.lines.insert(FIRST_LINES, format!(" [{} lines left out]", self.left_out));
        }
        tell(SessionErrors { kinds, client, lines: self.lines });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use mail::Reply;

    fn refusal(verb: Option<Verb>, code: u16) -> Refusal {
        Refusal { verb, sender: None, recipient: None, reply: Reply::new(code, None, "no") }
    }

    fn told(wanted: ErrorKinds, session: impl FnOnce(&mut Transcript)) -> Vec<SessionErrors> {
        let told = Arc::new(Mutex::new(Vec::new()));
        let seen = told.clone();
        let errors = Errors::told(wanted, move |errors| seen.lock().unwrap().push(errors));
        let mut transcript = errors.begin();
        session(&mut transcript);
        transcript.end("192.0.2.1".parse().unwrap());
        let told = told.lock().unwrap();
        told.clone()
    }

    const ALL: ErrorKinds = ErrorKinds { protocol: true, policy: true, data: true };

    #[test]
    fn each_refusal_has_its_kind() {
        let kinds = |verb, code| {
            let told = told(ALL, |transcript| transcript.refused(&refusal(verb, code)));
            told.first().map(|errors| (errors.kinds.protocol, errors.kinds.policy, errors.kinds.data))
        };
        assert_eq!(kinds(Some(Verb::Mail), 503), Some((true, false, false)));
        assert_eq!(kinds(None, 500), Some((true, false, false)));
        assert_eq!(kinds(Some(Verb::Rcpt), 554), Some((false, true, false)));
        assert_eq!(kinds(Some(Verb::Data), 552), Some((false, false, true)));
        assert_eq!(kinds(Some(Verb::Rcpt), 452), None);
        let policy = ErrorKinds { policy: true, ..ErrorKinds::default() };
        assert!(told(policy, |transcript| transcript.refused(&refusal(None, 500))).is_empty());
    }

    #[test]
    fn what_was_said_is_bounded_and_without_content() {
        let told = told(ALL, |transcript| {
            transcript.received(b"EHLO x.te");
            transcript.received(b"st\r\nMAIL FROM:<a@b>\r\nDATA\r\nsecret\r\n");
            transcript.sent(b"250-one\r\n250 two\r\n");
            for n in 0..LINES_MAX {
                transcript.received(format!("NOOP {n} {}\r\n", "x".repeat(2000)).as_bytes());
            }
            transcript.refused(&refusal(None, 500));
        });
        let lines = &told[0].lines;
        assert_eq!(lines[..4], [" In:  EHLO x.test", " In:  MAIL FROM:<a@b>", " In:  DATA", " Out: 250-one"]);
        assert!(lines.len() == LINES_MAX + 1 && lines[FIRST_LINES] == " [5 lines left out]");
        assert!(lines.iter().all(|line| line.len() <= LINE_BYTES_MAX + 6 && !line.contains("secret")));
    }
}
