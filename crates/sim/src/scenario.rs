//! A scenario as data: what there is in the world, who does what when.
//!
//! Promises: everything is resolved and checked; names of sites are spelled as the engine spells them,
//! labels of messages are unique, every label and transport an operator names exists.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mail::Time;

/// A whole scenario, ready to [`run`](crate::run()).
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it shows, for people.
    pub title: String,
    /// Parameters of the engine, transports included.
    pub config: qmgr::Config,
    /// Limits of the world.
    pub world: World,
    /// How next hops behave, by site. A site that is not listed answers [`Answer::Ok`] at once over `smtp`.
    pub sites: BTreeMap<Arc<str>, Site>,
    /// In file order.
    pub messages: Vec<Message>,
    /// In file order.
    pub actions: Vec<Action>,
}

/// Limits of the world.
#[derive(Clone, Debug)]
pub struct World {
    /// Before this instant no agent is free.
    pub agents_from: Time,
    /// Nothing happens after this instant.
    pub until: Time,
    /// For jitter; [`Options`](crate::Options) may give another.
    pub seed: u64,
}

/// How a next hop behaves.
#[derive(Clone, Debug)]
pub struct Site {
    /// Over which transport it is reached.
    pub transport: Arc<str>,
    /// Length of one delivery.
    pub takes: Duration,
    /// One per delivery, the last repeats; never empty.
    pub answers: Vec<Answer>,
    /// The resolver knows where the site is.
    pub resolves: bool,
}

/// How one delivery ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Every recipient is taken.
    Ok,
    /// Every recipient is deferred (4xx to RCPT or DATA); the site is fine.
    Rdefer,
    /// The site cannot be reached.
    Site,
    /// Every recipient is refused for good.
    Bounce,
    /// The agent vanishes without a report.
    Die,
    /// The agent cannot be started.
    Transport,
    /// It never ends.
    Hang,
}

impl Answer {
    /// The words of scenario files, in the order of the variants.
    pub const NAMES: [&'static str; 7] = ["ok", "rdefer", "site", "bounce", "die", "transport", "hang"];

    const ALL: [Answer; 7] = [
        Answer::Ok,
        Answer::Rdefer,
        Answer::Site,
        Answer::Bounce,
        Answer::Die,
        Answer::Transport,
        Answer::Hang,
    ];

    /// The word of scenario files.
    pub const fn name(self) -> &'static str {
        Answer::NAMES[self as usize]
    }

    /// Reads one of [`Answer::NAMES`].
    pub fn named(name: &str) -> Option<Answer> {
        Answer::ALL.into_iter().find(|answer| answer.name() == name)
    }
}

/// One message.
#[derive(Clone, Debug)]
pub struct Message {
    /// Label in the trace.
    pub name: Arc<str>,
    /// How it comes into the world.
    pub appears: Appears,
    /// Since when it counts as waiting for the scheduler; at its appearance when nothing is said.
    pub entered: Option<Time>,
    /// When it was accepted, for lifetime and backoff; at its appearance when nothing is said.
    pub arrived: Option<Time>,
    /// Empty: the null sender.
    pub sender: Arc<str>,
    /// In the order of the envelope; at least one.
    pub recipients: Vec<Recipient>,
    /// Its record is damaged: it can be seen but not read.
    pub damaged: bool,
}

/// How a message comes into the world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Appears {
    /// Accepted at this instant.
    At(Time),
    /// Accepted just before the n-th selection (from 1).
    BeforeSelection(u64),
    /// Found in this queue when the engine starts; a deferred one is due at the given time.
    Found(qmgr::Queue, Time),
}

/// One recipient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipient {
    /// As in the envelope.
    pub address: Arc<str>,
    /// The site of the address.
    pub site: Arc<str>,
}

/// Something an operator, or fate, does.
#[derive(Clone, Debug)]
pub struct Action {
    /// When.
    pub at: Time,
    /// What.
    pub what: Act,
}

/// What can be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Act {
    /// `trigger LETTERS`: one buffer of trigger bytes.
    Trigger(Vec<u8>),
    /// `flush SITE`, as an ETRN client would ask it.
    Flush(Arc<str>),
    /// `flush-message A`.
    FlushMessage(Arc<str>),
    /// `flush-refresh`.
    FlushRefresh,
    /// `flush-purge`.
    FlushPurge,
    /// `hold A`.
    Hold(Arc<str>),
    /// `release A`.
    Release(Arc<str>),
    /// `requeue A`.
    Requeue(Arc<str>),
    /// `delete A`.
    Delete(Arc<str>),
    /// `expire A`.
    Expire(Arc<str>),
    /// `expire-release A`.
    ExpireRelease(Arc<str>),
    /// `restart`: a clean stop and a start; learned state survives, deliveries are handed back.
    Restart,
    /// `crash`: the engine is gone with all it had in memory and starts from what was saved.
    Crash,
    /// `damage A`: from now on the record of the message cannot be read.
    Damage(Arc<str>),
    /// `set-answers SITE ok …`: from now on, from the first of these.
    SetAnswers(Arc<str>, Vec<Answer>),
    /// `set-limit NAME VALUE`: a parameter of `[qmgr]`, or of a transport as `TRANSPORT_NAME`.
    SetLimit(String, String),
    /// `set-reports ok|fail`: whether a report to a sender can be submitted.
    SetReports(bool),
}

impl fmt::Display for Act {
    /// The words of the scenario file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Act::Trigger(letters) => write!(f, "trigger {}", String::from_utf8_lossy(letters)),
            Act::Flush(site) => write!(f, "flush {site}"),
            Act::FlushMessage(label) => write!(f, "flush-message {label}"),
            Act::FlushRefresh => f.write_str("flush-refresh"),
            Act::FlushPurge => f.write_str("flush-purge"),
            Act::Hold(label) => write!(f, "hold {label}"),
            Act::Release(label) => write!(f, "release {label}"),
            Act::Requeue(label) => write!(f, "requeue {label}"),
            Act::Delete(label) => write!(f, "delete {label}"),
            Act::Expire(label) => write!(f, "expire {label}"),
            Act::ExpireRelease(label) => write!(f, "expire-release {label}"),
            Act::Restart => f.write_str("restart"),
            Act::Crash => f.write_str("crash"),
            Act::Damage(label) => write!(f, "damage {label}"),
            Act::SetAnswers(site, answers) => {
                write!(f, "set-answers {site}")?;
                answers.iter().try_for_each(|answer| write!(f, " {}", answer.name()))
            }
            Act::SetLimit(name, value) => write!(f, "set-limit {name} {value}"),
            Act::SetReports(true) => f.write_str("set-reports ok"),
            Act::SetReports(false) => f.write_str("set-reports fail"),
        }
    }
}
