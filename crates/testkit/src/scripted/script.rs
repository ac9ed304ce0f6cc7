//! What a scripted server does, as a function of what it is asked.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::sync::Semaphore;

/// Where a conversation is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Stage {
    /// A client has connected.
    Connect,
    /// EHLO, HELO or LHLO.
    Hello,
    /// STARTTLS.
    StartTls,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// The end of the content; in LMTP once for each recipient that was accepted.
    End,
    /// RSET.
    Rset,
    /// QUIT.
    Quit,
    /// Anything else.
    Other,
}

/// What the server has to react to.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Which connection, from 0 on.
    pub connection: usize,
    /// Where the conversation is.
    pub stage: Stage,
    /// How often this stage was reached in this connection before.
    pub count: usize,
    /// The command as it came, without CRLF; empty for a connection and the end of content.
    pub line: &'a str,
}

/// What the server does.
#[derive(Clone, Debug)]
pub enum Act {
    /// Says this reply; lines are separated by `\n`.
    Reply(String),
    /// Sends these bytes.
    Raw(Vec<u8>),
    /// Says what a well-behaved server says here.
    Good,
    /// Closes the connection.
    Close,
    /// Says this reply, then closes the connection.
    ReplyAndClose(String),
    /// Says nothing more and reads nothing more.
    Hang,
    /// Sends these bytes over and over until the client goes.
    Flood(&'static [u8]),
    /// Waits until the test adds a permit, then acts.
    After(Arc<Semaphore>, Box<Act>),
}

impl Act {
    /// A reply.
    pub fn reply(text: &str) -> Act {
        Act::Reply(text.to_owned())
    }
}

/// Where to cut the connection whatever is going on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// Never.
    Nowhere,
    /// When this many bytes were received.
    Received(usize),
    /// When this many bytes were sent.
    Sent(usize),
}

type React = dyn Fn(Asked<'_>) -> Act + Send + Sync;
type CutOf = dyn Fn(usize) -> Cut + Send + Sync;

/// A server's whole behaviour.
#[derive(Clone)]
pub struct Script {
    pub(super) react: Arc<React>,
    pub(super) lmtp: bool,
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) cut: Arc<CutOf>,
}

impl Script {
    /// Does what the function says.
    pub fn new(react: impl Fn(Asked<'_>) -> Act + Send + Sync + 'static) -> Script {
        Script { react: Arc::new(react), lmtp: false, tls: None, cut: Arc::new(|_| Cut::Nowhere) }
    }

    /// Behaves well.
    pub fn good() -> Script {
        Script::new(|_| Act::Good)
    }

    /// Behaves well but at one stage, where it always acts like this.
    pub fn but(stage: Stage, act: Act) -> Script {
        Script::new(move |asked| if asked.stage == stage { act.clone() } else { Act::Good })
    }

    /// Speaks LMTP.
    pub fn lmtp(mut self) -> Script {
        self.lmtp = true;
        self
    }

    /// Shakes hands like this after STARTTLS was answered with 220.
    pub fn tls(mut self, config: Arc<ServerConfig>) -> Script {
        self.tls = Some(config);
        self
    }

    /// Cuts every connection there.
    pub fn cut(self, cut: Cut) -> Script {
        self.cut_each(move |_| cut)
    }

    /// Cuts each connection, counted from 0, where the function says.
    pub fn cut_each(mut self, cut: impl Fn(usize) -> Cut + Send + Sync + 'static) -> Script {
        self.cut = Arc::new(cut);
        self
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("lmtp", &self.lmtp).finish_non_exhaustive()
    }
}

/// What a well-behaved server says.
pub fn good(stage: Stage) -> &'static str {
    match stage {
        Stage::Connect => "220 scripted.test ESMTP",
        Stage::Hello => {
            "250-scripted.test\n250-PIPELINING\n250-SIZE 100000000\n250-8BITMIME\n250-SMTPUTF8\n250 DSN"
        }
        Stage::StartTls => "220 2.0.0 go ahead",
        Stage::Mail => "250 2.1.0 ok",
        Stage::Rcpt => "250 2.1.5 ok",
        Stage::Data => "354 go ahead",
        Stage::End => "250 2.0.0 taken",
        Stage::Rset => "250 2.0.0 ok",
        Stage::Quit => "221 2.0.0 bye",
        Stage::Other => "502 5.5.2 what?",
    }
}
