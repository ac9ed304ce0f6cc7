//! What became of one recipient in one attempt, and whose fault it was. Retry and feedback look at
//! the verdict and the scope only; the reply and its text are for people.

use std::sync::Arc;

use crate::{EnhancedStatus, Reply, Severity};

/// What one attempt decided for a recipient.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Verdict {
    /// The next hop has it.
    Sent,
    /// Not now; try again.
    Deferred,
    /// Never; tell the sender.
    Bounced,
}

/// How far a failure reaches. A success has the scope `Recipient`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Scope {
    /// This recipient only (a reply to RCPT).
    Recipient,
    /// This message only (a reply to MAIL or DATA, a missing extension).
    Message,
    /// The destination: it could not be reached, did not greet, or the session broke before it worked.
    Site,
    /// Our own side: the agent could not run.
    Transport,
}

/// Who answered: `relay=host[address]:port` of the log.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Relay {
    /// Host name, as looked up or configured.
    pub host: String,
    /// The network address, when one was connected to.
    pub address: Option<String>,
    /// TCP port.
    pub port: u16,
}

impl std::fmt::Display for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.address {
            Some(address) => write!(f, "{}[{}]:{}", self.host, address, self.port),
            None => f.write_str(&self.host),
        }
    }
}

/// The outcome of one recipient in one attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What was decided.
    pub verdict: Verdict,
    /// How far it reaches.
    pub scope: Scope,
    /// The enhanced status; its class always agrees with the verdict (2 sent, 4 deferred, 5 bounced).
    pub status: EnhancedStatus,
    /// What the next hop said, when it said something; the text that goes into logs and reports otherwise.
    pub text: Arc<str>,
    /// The reply behind the text, when a next hop gave one.
    pub reply: Option<Arc<Reply>>,
    /// Who answered, when somebody was reached.
    pub relay: Option<Arc<Relay>>,
}

impl Outcome {
    /// Delivered.
    pub fn sent(text: impl Into<Arc<str>>) -> Outcome {
        Outcome::local(Verdict::Sent, Scope::Recipient, EnhancedStatus::new(2, 0, 0), text)
    }

    /// Not now, for a reason of ours or of the network.
    pub fn deferred(scope: Scope, status: EnhancedStatus, text: impl Into<Arc<str>>) -> Outcome {
        Outcome::local(Verdict::Deferred, scope, status.with_class(4), text)
    }

    /// Never.
    pub fn bounced(scope: Scope, status: EnhancedStatus, text: impl Into<Arc<str>>) -> Outcome {
        Outcome::local(Verdict::Bounced, scope, status.with_class(5), text)
    }

    /// What a reply to RCPT, MAIL, DATA or the final dot decides. A reply without an enhanced
    /// status gets x.0.0; one whose class contradicts its code keeps subject and detail (RFC 3463).
    pub fn from_reply(reply: Reply, scope: Scope, relay: Option<Arc<Relay>>) -> Outcome {
        let (verdict, class) = match reply.severity() {
            Severity::Positive => (Verdict::Sent, 2),
            Severity::Transient => (Verdict::Deferred, 4),
            Severity::Permanent => (Verdict::Bounced, 5),
        };
        let status = reply.status.map_or(EnhancedStatus::new(class, 0, 0), |status| status.with_class(class));
        let text = Arc::from(reply.one_line());
        Outcome { verdict, scope, status, text, reply: Some(Arc::new(reply)), relay }
    }

    /// The same outcome with the next hop that gave it.
    pub fn at(mut self, relay: Option<Arc<Relay>>) -> Outcome {
        self.relay = relay;
        self
    }

    fn local(verdict: Verdict, scope: Scope, status: EnhancedStatus, text: impl Into<Arc<str>>) -> Outcome {
        Outcome { verdict, scope, status, text: text.into(), reply: None, relay: None }
    }
}
