//! The opening of a session: greeting, EHLO, HELO where EHLO is not known, STARTTLS.

use mail::{EnhancedStatus, Outcome, Reply, Scope};

use super::failure::{Loss, decided};
use super::session::{Awaited, Event, Session, StartTls, State};
use crate::command::Command;
use crate::extension::Extensions;

/// Security features not supported (RFC 3463 3.8).
const TLS_NOT_OFFERED: EnhancedStatus = EnhancedStatus::new(4, 7, 4);

impl Session {
    pub(super) fn hello(&mut self) {
        let name = self.options.hostname.to_string();
        let command = if self.options.lmtp { Command::Lhlo(name) } else { Command::Ehlo(name) };
        self.command(&command, Awaited::Ehlo);
    }

    pub(super) fn take_opening(&mut self, awaited: Awaited, reply: Reply) {
        match (awaited, reply.code) {
            (_, 300..=399) => return self.lose(&Loss::OutOfPlace(reply)),
            (_, 200..=299) => {}
            // RFC 5321 3.2 for servers that know no EHLO; LMTP has nothing to fall back to.
            (Awaited::Ehlo, 500..) if !self.options.lmtp => {}
            (Awaited::Ehlo | Awaited::Helo, 500..) => {
                // Other hosts of the site may think otherwise, so the scope is the site.
                let command = if self.options.lmtp { "LHLO" } else { "HELO" };
                return self.fail(decided(reply, command, Scope::Site, self.options.relay.as_ref()));
            }
            (Awaited::StartTls, _) if self.options.start_tls == StartTls::WhenOffered => {}
            _ => return self.lose(&Loss::Refused(reply)),
        }
        self.awaited.clear();
        let good = reply.code < 300;
        match awaited {
            Awaited::Greeting => self.hello(),
            Awaited::Ehlo if !good => {
                let name = self.options.hostname.to_string();
                self.command(&Command::Helo(name), Awaited::Helo);
            }
            Awaited::StartTls if good => {
                self.state = State::Handshake;
                self.events.push_back(Event::StartTls);
            }
            Awaited::StartTls => self.ready(),
            _ => {
                let lines = if awaited == Awaited::Ehlo { &reply.lines[..] } else { &[] };
                self.extensions = Extensions::read(lines.iter().skip(1).map(String::as_str));
                self.after_hello();
            }
        }
    }

    pub(super) fn after_hello(&mut self) {
        match self.options.start_tls {
            _ if self.tls => self.ready(),
            StartTls::Never => self.ready(),
            StartTls::WhenOffered if !self.extensions.starttls => self.ready(),
            StartTls::Required if !self.extensions.starttls => {
                let relay = self.options.relay.as_ref();
                let host = relay.map_or_else(|| "the next hop".to_owned(), |relay| relay.to_string());
                let text = format!("TLS is required, but was not offered by {host}");
                self.fail(Outcome::deferred(Scope::Site, TLS_NOT_OFFERED, text).at(relay.cloned()));
            }
            StartTls::WhenOffered | StartTls::Required => self.command(&Command::StartTls, Awaited::StartTls),
        }
    }

    pub(super) fn ready(&mut self) {
        self.state = State::Idle;
        self.events.push_back(Event::Ready);
    }

    pub(super) fn fail(&mut self, outcome: Outcome) {
        self.abandon();
        self.events.push_back(Event::Failed(outcome));
    }
}
