//! The ends of a session that are not about mail: greetings, help, TLS.

use super::session::{Session, State, reply};

impl Session {
    /// A greeting ends whatever was going on (RFC 5321 4.1.4).
    pub(super) fn hello(&mut self, name: String, extended: bool) {
        self.end_transaction();
        self.helo = Some(name);
        self.extended = extended;
        self.state = State::Hello;
        self.count_junk();
    }

    pub(super) fn write_hello(&mut self) {
        let settings = self.settings.clone();
        if !self.extended {
            self.output.extend_from_slice(format!("250 {}\r\n", settings.hostname).as_bytes());
            return;
        }
        let mut line = settings.hostname.clone();
        for keyword in settings.extensions(self.tls).lines() {
            self.output.extend_from_slice(format!("250-{line}\r\n").as_bytes());
            line = keyword.to_string();
        }
        self.output.extend_from_slice(format!("250 {line}\r\n").as_bytes());
    }

    pub(super) fn write_help(&mut self) {
        let mut help = reply(214, 0, 0, "Postrider speaks RFC 5321. Commands:");
        let hello = if self.settings.lmtp { "LHLO" } else { "HELO EHLO" };
        help.lines.push(format!("{hello} MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT"));
        let table = self.settings.extensions(self.tls);
        if table.starttls {
            help.lines.push("STARTTLS".into());
        }
        if table.etrn {
            help.lines.push("ETRN".into());
        }
        self.write(&help);
    }

    /// Says yes and forgets what was said in clear, what is still in the buffer too: it may have been
    /// put there by somebody in between (RFC 3207 6).
    pub(super) fn start_tls(&mut self) {
        self.end_transaction();
        self.helo = None;
        self.extended = false;
        self.input.clear();
        self.taken = 0;
        self.write(&reply(220, 0, 0, "Ready to start TLS"));
        self.state = State::StartTls;
    }
}
