//! What a listener group is told: names, limits, policy. Replaced as a whole by a reload.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mail::{Address, DomainList, Envelope};
use smtp::server::Settings;

use crate::{Errors, Networks};

/// Everything that a reload can change. A session keeps the one it began with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our name in greetings and `Received:` lines.
    pub hostname: String,
    /// LMTP, not SMTP.
    pub lmtp: bool,
    /// Largest message taken, in bytes of content; 0 means no limit.
    pub message_size_limit: u64,
    /// Recipients of one message.
    pub recipient_limit: usize,
    /// Most `Received:` lines of a message; one with more is taken to loop.
    pub hopcount_limit: u32,
    /// Connections at a time.
    pub connection_limit: usize,
    /// Connections of one client at a time; `relay_from` is exempt.
    pub client_connection_limit: usize,
    /// Errors of a client after which it is dropped.
    pub error_limit: u32,
    /// Commands without mail after which each one counts as an error.
    pub junk_command_limit: u32,
    /// How long a client may take for one command line, for taking in our replies, and for the first
    /// bytes of content; content as a whole gets this and a second for every [`DATA_RATE_MIN`] bytes.
    pub command_timeout: Duration,
    /// What `command_timeout` becomes for commands while most of `connection_limit` is in use, so that
    /// silent clients cannot keep the others out (Postfix: `stress`).
    pub stress_timeout: Duration,
    /// Age beyond which a session ends with its current message.
    pub session_timeout: Duration,
    /// The certificate for STARTTLS; nothing means that STARTTLS is not offered.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Who may do what.
    pub policy: Policy,
    /// Who is told of sessions that go wrong.
    pub errors: Errors,
}

/// Bytes of content that a client must send in a second on average, beyond `command_timeout`
/// (Postfix: `smtpd_min_data_rate`). One byte a second is an attack, not a slow line.
pub const DATA_RATE_MIN: u64 = 500;

/// Who may do what.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Clients that may send to any destination.
    pub relay_from: Networks,
    /// Clients that may use ETRN.
    pub etrn_from: Networks,
    /// Destinations that anybody may send to.
    pub local_domains: DomainList,
    /// Destinations that anybody may send to.
    pub relay_domains: DomainList,
    /// Which messages start on hold.
    pub hold: Hold,
    /// Destinations that are not permitted are refused for now only: whoever is unsure of the lists above
    /// loses no mail by a mistake in them.
    pub soft_bounce: bool,
}

/// A rule that puts new messages on hold; the default holds none.
#[derive(Clone, Default)]
pub struct Hold(Option<Arc<HoldRule>>);

type HoldRule = dyn Fn(&Envelope) -> Option<Arc<str>> + Send + Sync;

impl Hold {
    /// Holds the messages for which the rule gives a reason, which goes into the log. It runs once a
    /// message and must not block.
    pub fn when(rule: impl Fn(&Envelope) -> Option<Arc<str>> + Send + Sync + 'static) -> Hold {
        Hold(Some(Arc::new(rule)))
    }

    pub(crate) fn reason(&self, envelope: &Envelope) -> Option<Arc<str>> {
        self.0.as_ref().and_then(|rule| rule(envelope))
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Hold(rule)" } else { "Hold(none)" })
    }
}

impl Policy {
    /// Whether this client may send to this recipient. `<postmaster>` is for us (RFC 5321 4.5.1).
    pub(crate) fn permits(&self, client: IpAddr, recipient: &Address) -> bool {
        if self.relay_from.contains(client) {
            return true;
        }
        match recipient.site() {
            Some(site) => self.local_domains.matches(&site) || self.relay_domains.matches(&site),
            None => true,
        }
    }
}

impl Default for Config {
    /// The defaults of the configuration file, and a policy that lets nobody do anything.
    fn default() -> Config {
        Config {
            hostname: "localhost".into(),
            lmtp: false,
            message_size_limit: 50 << 20,
            recipient_limit: 1000,
            hopcount_limit: 50,
            connection_limit: 1000,
            client_connection_limit: 50,
            error_limit: 20,
            junk_command_limit: 100,
            command_timeout: Duration::from_secs(300),
            stress_timeout: Duration::from_secs(10),
            session_timeout: Duration::from_secs(3600),
            tls: None,
            policy: Policy::default(),
            errors: Errors::default(),
        }
    }
}

impl Config {
    /// What the session machine has to know of it.
    pub(crate) fn session_settings(&self) -> Settings {
        Settings {
            hostname: self.hostname.clone(),
            lmtp: self.lmtp,
            message_size_limit: self.message_size_limit,
            recipient_limit: self.recipient_limit.min(mail::limits::RECIPIENTS_MAX as usize),
            hopcount_limit: self.hopcount_limit,
            hard_error_limit: self.error_limit,
            junk_command_limit: self.junk_command_limit,
            starttls: self.tls.is_some(),
            etrn: !self.lmtp,
            body_part: crate::intake::PART_BYTES,
            ..Settings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_reach_our_own_domains_only() {
        let policy = Policy {
            relay_from: Networks::parse(&["127.0.0.0/8"]).unwrap(),
            local_domains: DomainList::parse(&["here.test"], false).unwrap(),
            relay_domains: DomainList::parse(&["bücher.example"], true).unwrap(),
            ..Policy::default()
        };
        let (friend, stranger) = ("127.0.0.1".parse().unwrap(), "192.0.2.1".parse().unwrap());
        for (recipient, permitted) in [
            ("u@here.test", true),
            ("u@HERE.TEST", true),
            ("u@sub.here.test", false),
            ("u@a.bücher.example", true),
            ("postmaster", true),
            ("u@elsewhere.test", false),
            ("\"u@here.test\"@elsewhere.test", false),
            ("u%here.test@elsewhere.test", false),
            ("u@[192.0.2.9]", false),
        ] {
            let address = Address::parse(recipient).unwrap();
            assert_eq!(policy.permits(stranger, &address), permitted, "{recipient}");
            assert!(policy.permits(friend, &address));
        }
    }
}
