//! Each command: whether it may stand here, and what it does.

use mail::{Address, Recipient, Reply, site_of_domain};

use super::event::Transaction;
use super::session::{Session, State, reply};
use crate::command::{Command, CommandError, EtrnNode, MailFrom, Verb};
use crate::data::ContentFault;

impl Session {
    pub(super) fn command(
        &mut self,
        verb: Option<Verb>,
        command: Result<Command, CommandError>,
        foreign: bool,
    ) {
        if foreign {
            let text = format!("{} Error: this is not HTTP", self.settings.hostname);
            self.state = State::Closed;
            return self.refused(None, reply(421, 7, 0, text));
        }
        let early = verb.and_then(|verb| self.out_of_order(verb));
        match (early, command) {
            (Some(reply), Ok(Command::Bdat { bytes, .. })) => self.skip_bytes(bytes, reply),
            (None, Ok(command)) => self.carry_out(command),
            (early, Err(error)) => {
                self.refused(verb, early.unwrap_or_else(|| error.reply()));
                if verb == Some(Verb::Bdat) {
                    let text =
                        format!("{} Error: the length of the chunk is unknown", self.settings.hostname);
                    self.close(&reply(421, 5, 4, text));
                }
            }
            (Some(reply), Ok(_)) => self.refused(verb, reply),
        }
    }

    /// Why this command may not stand here (RFC 5321 4.1.4).
    fn out_of_order(&self, verb: Verb) -> Option<Reply> {
        let lmtp = self.settings.lmtp;
        let chunks = self.body.has_begun();
        let recipients = self.transaction.as_ref().map(|transaction| transaction.recipients.len());
        let (code, subject, detail, text) = match verb {
            Verb::Helo | Verb::Ehlo if lmtp => (500, 5, 1, "Error: this is LMTP, send LHLO"),
            Verb::Lhlo if !lmtp => (500, 5, 1, "Error: this is SMTP, send EHLO"),
            Verb::Mail | Verb::Rcpt | Verb::Data | Verb::Bdat | Verb::Etrn if self.helo.is_none() => {
                (503, 5, 1, if lmtp { "Error: send LHLO first" } else { "Error: send HELO/EHLO first" })
            }
            Verb::Mail if recipients.is_some() => (503, 5, 1, "Error: nested MAIL command"),
            Verb::Etrn if recipients.is_some() => (503, 5, 1, "Error: MAIL transaction in progress"),
            Verb::Rcpt | Verb::Data if chunks => (503, 5, 1, "Error: BDAT in progress"),
            Verb::Rcpt if recipients.is_none() => (503, 5, 1, "Error: need MAIL command"),
            Verb::Data | Verb::Bdat if recipients.is_none_or(|count| count == 0) => {
                if self.recipient_refused && !lmtp {
                    (554, 5, 1, "Error: no valid recipients")
                } else {
                    (503, 5, 1, "Error: need RCPT command")
                }
            }
            Verb::StartTls if self.tls => (554, 5, 1, "Error: TLS already active"),
            Verb::StartTls if !self.settings.starttls => (502, 5, 1, "Error: command not implemented"),
            Verb::Etrn if !self.settings.etrn || lmtp => (502, 5, 1, "Error: command not implemented"),
            Verb::Auth => (503, 5, 1, "Error: authentication not enabled"),
            Verb::Expn => (502, 5, 1, "Error: command not implemented"),
            _ => return None,
        };
        Some(reply(code, subject, detail, text))
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Helo(name) => self.hello(name, false),
            Command::Ehlo(name) | Command::Lhlo(name) => self.hello(name, true),
            Command::Mail(mail) => self.mail(mail),
            Command::Rcpt(recipient) => self.rcpt(recipient),
            Command::Data => self.state = State::Data,
            Command::Bdat { bytes, last } => self.chunk(bytes, last),
            Command::Rset => {
                self.end_transaction();
                self.output.extend_from_slice(b"250 2.0.0 Ok\r\n");
                self.count_junk();
            }
            Command::Noop(_) => {
                self.output.extend_from_slice(b"250 2.0.0 Ok\r\n");
                self.count_junk();
            }
            Command::Vrfy(_) => {
                self.write(&reply(252, 0, 0, "Send some mail, and it will be tried"));
                self.count_junk();
            }
            Command::Help(_) => {
                self.write_help();
                self.count_junk();
            }
            Command::Etrn(node) => {
                self.etrn(node);
                self.count_junk();
            }
            Command::StartTls => self.start_tls(),
            Command::Quit => {
                self.quit = true;
                self.end_transaction();
                self.close(&reply(221, 0, 0, "Bye"));
            }
            Command::Expn(_) | Command::Auth(_) => {}
        }
    }

    fn etrn(&mut self, node: EtrnNode) {
        let (name, subdomains) = match node {
            EtrnNode::Domain(name) => (name, false),
            EtrnNode::Subdomains(name) => (name, true),
            EtrnNode::Queue(_) => {
                return self.refused(Some(Verb::Etrn), reply(501, 5, 4, "Error: queues have no names here"));
            }
        };
        match site_of_domain(&name) {
            // An address has nothing below it.
            Ok(site) if !(subdomains && site.starts_with('[')) => {
                self.etrn = (site, subdomains);
                self.state = State::Etrn;
            }
            _ => {
                self.refused(Some(Verb::Etrn), reply(501, 5, 4, "Error: invalid parameter syntax"));
            }
        }
    }

    fn mail(&mut self, mail: MailFrom) {
        let limit = self.settings.message_size_limit;
        let refusal = if limit > 0 && mail.size.is_some_and(|size| size > limit) {
            Some(ContentFault::TooLarge.reply())
        } else if !mail.smtputf8 && mail.sender.as_ref().is_some_and(Address::needs_utf8) {
            Some(reply(553, 6, 7, "Error: this address needs SMTPUTF8"))
        } else {
            None
        };
        self.transaction = Some(Transaction { mail, recipients: Vec::new() });
        self.state = State::Mail;
        if let Some(reply) = refusal {
            self.refuse(reply);
        }
    }

    fn rcpt(&mut self, recipient: Recipient) {
        let Some(transaction) = &self.transaction else { return };
        let count = transaction.recipients.len();
        let original_utf8 = recipient.orcpt.as_ref().is_some_and(|orcpt| !orcpt.address.is_ascii());
        let utf8 = transaction.mail.smtputf8;
        self.candidate = Some(recipient);
        if count >= self.settings.recipient_limit {
            self.overshoot += 1;
            self.refused(Some(Verb::Rcpt), reply(452, 5, 3, "Error: too many recipients"));
            if self.overshoot > self.settings.recipient_overshoot_limit {
                self.count_error();
            }
        } else if !utf8
            && (original_utf8 || self.candidate.as_ref().is_some_and(|one| one.address.needs_utf8()))
        {
            self.recipient_refused = true;
            self.refused(Some(Verb::Rcpt), reply(553, 6, 7, "Error: this address needs SMTPUTF8"));
        } else {
            self.state = State::Rcpt;
        }
    }
}

/// Words of HTTP at the start of a line: a browser was talked into talking to us.
pub(super) fn is_other_protocol(line: &[u8]) -> bool {
    let word = line.split(|&b| b == b' ').next().unwrap_or_default();
    [b"GET".as_slice(), b"POST", b"PUT", b"CONNECT", b"OPTIONS"].contains(&word)
}
