//! What the agents are told: by the program as a whole, and by each transport.

use std::sync::Arc;
use std::time::Duration;

use smtp::client::Stage;

use crate::program::Program;

/// Idle connections when nothing else is said: mail for as many sites in turn finds each one's connection
/// again. With fewer than there are sites, each is closed just before it is wanted.
pub const IDLE_CONNECTIONS: usize = 2048;

/// What holds for every transport.
#[derive(Clone, Debug)]
pub struct AgentsConfig {
    /// Our own name: said in EHLO, and a mail loop when an MX record names it as the best host.
    pub hostname: Arc<str>,
    /// Fixes the order in which hosts of one preference are tried.
    pub seed: u64,
    /// Most idle connections that are kept in all; the oldest is closed when there are more.
    pub idle_connections_max: usize,
}

impl Default for AgentsConfig {
    fn default() -> AgentsConfig {
        AgentsConfig { hostname: "localhost".into(), seed: 0, idle_connections_max: IDLE_CONNECTIONS }
    }
}

/// How a transport delivers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// SMTP to a next hop found by MX records.
    Smtp,
    /// LMTP to a host or a Unix socket (RFC 2033).
    Lmtp,
    /// Delivered to nobody.
    Discard,
    /// Bounced with the next hop as the reason.
    Error,
    /// Deferred with the next hop as the reason.
    Retry,
    /// Into folders on this machine.
    Maildir,
    /// To a program on this machine.
    Pipe,
    /// A kind this program does not have: everything is deferred until the configuration is mended.
    Unknown(String),
}

impl Kind {
    /// The kind of this name.
    pub fn of(name: &str) -> Kind {
        match name {
            "smtp" => Kind::Smtp,
            "lmtp" => Kind::Lmtp,
            "discard" => Kind::Discard,
            "error" => Kind::Error,
            "retry" => Kind::Retry,
            "maildir" => Kind::Maildir,
            "pipe" => Kind::Pipe,
            other => Kind::Unknown(other.to_owned()),
        }
    }
}

/// Whether connections are encrypted (`smtp_tls_security_level` of postconf(5)).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub enum TlsLevel {
    /// Never.
    None,
    /// When the next hop offers it, with any certificate; in clear when it fails.
    #[default]
    May,
    /// With any certificate, or not at all.
    Encrypt,
    /// With a certificate that names the host and that a known authority signed, or not at all.
    Verify,
}

impl TlsLevel {
    /// The level of this name: `none`, `may`, `encrypt` or `verify`.
    pub fn of(name: &str) -> Option<TlsLevel> {
        match name {
            "none" => Some(TlsLevel::None),
            "may" => Some(TlsLevel::May),
            "encrypt" => Some(TlsLevel::Encrypt),
            "verify" => Some(TlsLevel::Verify),
            _ => None,
        }
    }
}

/// How long each stage may take (RFC 5321 4.5.3.2; names and defaults of postconf(5) in brackets).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadlines {
    /// One DNS question with all its retries.
    pub lookup: Duration,
    /// A TCP connection (`smtp_connect_timeout`).
    pub connect: Duration,
    /// The greeting, and the reply to EHLO (`smtp_helo_timeout`).
    pub hello: Duration,
    /// The reply to STARTTLS, and the handshake (`smtp_starttls_timeout`).
    pub start_tls: Duration,
    /// The reply to MAIL (`smtp_mail_timeout`).
    pub mail: Duration,
    /// The reply to each RCPT (`smtp_rcpt_timeout`).
    pub rcpt: Duration,
    /// The reply to DATA (`smtp_data_init_timeout`).
    pub data_init: Duration,
    /// Each piece of content that the network takes (`smtp_data_xfer_timeout`).
    pub data_xfer: Duration,
    /// Each reply to the final dot (`smtp_data_done_timeout`).
    pub data_done: Duration,
    /// The reply to RSET (`smtp_rset_timeout`).
    pub rset: Duration,
    /// The goodbye (`smtp_quit_timeout`).
    pub quit: Duration,
    /// One delivery in all, every host included (`daemon_timeout`).
    pub delivery: Duration,
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        let seconds = Duration::from_secs;
        Deadlines {
            lookup: seconds(30),
            connect: seconds(30),
            hello: seconds(300),
            start_tls: seconds(300),
            mail: seconds(300),
            rcpt: seconds(300),
            data_init: seconds(120),
            data_xfer: seconds(180),
            data_done: seconds(600),
            rset: seconds(20),
            quit: seconds(5),
            delivery: seconds(18_000),
        }
    }
}

impl Deadlines {
    pub(crate) fn of(&self, stage: Stage) -> Duration {
        match stage {
            Stage::Greeting | Stage::Hello => self.hello,
            Stage::StartTls => self.start_tls,
            Stage::Reset => self.rset,
            Stage::Mail => self.mail,
            Stage::Recipient => self.rcpt,
            Stage::Data => self.data_init,
            Stage::Content => self.data_xfer,
            Stage::Final => self.data_done,
            Stage::Idle => self.quit,
        }
    }
}

/// How long and how often a connection is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reuse {
    /// How long a connection may stay open without work (`smtp_connection_cache_time_limit`); zero
    /// switches reuse off.
    pub idle: Duration,
    /// How long after it was opened a connection may start a message (`smtp_connection_reuse_time_limit`).
    pub age: Duration,
    /// How many messages a connection may carry; 0 is no limit (`smtp_connection_reuse_count_limit`).
    pub messages: u32,
}

impl Default for Reuse {
    fn default() -> Reuse {
        Reuse { idle: Duration::from_secs(2), age: Duration::from_secs(300), messages: 0 }
    }
}

/// One transport.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransportConfig {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// How it delivers.
    pub kind: Kind,
    /// Encryption.
    pub tls: TlsLevel,
    /// Time limits.
    pub deadlines: Deadlines,
    /// Connection reuse.
    pub reuse: Reuse,
    /// Most addresses of one next hop that are tried (`smtp_mx_address_limit`); 0 is no limit.
    pub mx_address_limit: usize,
    /// Most connections that are made for one delivery (`smtp_mx_session_limit`); 0 is no limit.
    pub mx_session_limit: usize,
    /// How long a program, or the disk of a Maildir, may take for one delivery (`command_time_limit`).
    pub time_limit: Duration,
    /// The characters that part an extension from the user (`recipient_delimiter`).
    pub recipient_delimiter: String,
    /// For Maildirs: whether folders that are missing are made.
    pub maildir_create: bool,
    /// For pipes: what is run.
    pub program: Option<Program>,
}

impl TransportConfig {
    /// A transport with Postfix's defaults.
    pub fn new(name: &str, kind: Kind) -> TransportConfig {
        TransportConfig {
            name: name.into(),
            kind,
            tls: TlsLevel::default(),
            deadlines: Deadlines::default(),
            reuse: Reuse::default(),
            mx_address_limit: 5,
            mx_session_limit: 2,
            time_limit: Duration::from_secs(1000),
            recipient_delimiter: String::new(),
            maildir_create: false,
            program: None,
        }
    }

    /// Whether what it delivers is in the mailbox then, and not on its way (`flags` with `X` for programs).
    pub fn is_final_delivery(&self) -> bool {
        match self.kind {
            Kind::Maildir => true,
            Kind::Pipe => self.program.as_ref().is_some_and(|program| program.preparation.final_delivery),
            _ => false,
        }
    }

    /// The port where the next hop names none: 25 for SMTP, 24 for LMTP (RFC 2033 5).
    pub fn default_port(&self) -> u16 {
        if self.kind == Kind::Lmtp { 24 } else { 25 }
    }
}
