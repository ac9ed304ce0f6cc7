//! The settings as the program uses them: plain typed values, checked as a whole.
//!
//! Promises: whoever holds a [`Settings`] need not check anything any more. Refuses: to touch files or
//! the network (whether a certificate can be read is found out by whoever reads it).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use delivery::TransportConfig;
use dsn::NotifyClasses;
use mail::{Address, DomainList};

use super::layer::{Values, problem_at};
use super::problem::{Problem, Problems};
use super::schema::Place;

/// Everything the program can be told.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where mail is kept.
    pub(crate) spool: Spool,
    /// The SMTP front-end.
    pub(crate) smtp: FrontEnd,
    /// The LMTP front-end.
    pub(crate) lmtp: FrontEnd,
    /// Where mail goes.
    pub(crate) route: Route,
    /// How mail goes there, by name; the built-in ones are always present.
    pub(crate) transports: BTreeMap<String, TransportConfig>,
    /// The parameters of the engine, those of single transports and `[flush]` included.
    pub(crate) engine: qmgr::Config,
    /// Who is told what.
    pub(crate) bounce: Bounce,
    /// The operator's socket.
    pub(crate) control: Control,
    /// What is written about it all.
    pub(crate) log: Log,
    /// Every value as written, with its origin.
    pub(crate) values: Values,
}

/// `[spool]`.
#[derive(Clone, Debug)]
pub(crate) struct Spool {
    /// The directory, never empty.
    pub(crate) directory: PathBuf,
    /// How the log is kept; clock and seed are the machine's.
    pub(crate) options: spool::Options,
    /// Nobody set `segment_size`: a small disk gets smaller segments.
    pub(crate) fit_segment_size: bool,
    /// Nobody set `free_min`: of a small disk less is kept free.
    pub(crate) fit_free_min: bool,
}

/// `[smtp]` or `[lmtp]`.
#[derive(Clone, Debug)]
pub(crate) struct FrontEnd {
    /// Where to listen; empty: switched off.
    pub(crate) listen: Vec<SocketAddr>,
    /// Certificate and key, when STARTTLS is on. Whoever opens the listener reads them into `config.tls`.
    pub(crate) tls: Option<TlsFiles>,
    /// Everything else.
    pub(crate) config: ingress::Config,
}

/// What the settings take from the machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    /// What `$STATE_DIRECTORY` says.
    pub(crate) state_directory: Option<String>,
    /// The machine's name.
    pub(crate) hostname: Option<String>,
}

/// Where a certificate is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TlsFiles {
    /// The chain, PEM.
    pub(crate) certificate: PathBuf,
    /// The private key, PEM.
    pub(crate) key: PathBuf,
}

/// `[route]`.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// Next hop of what nothing else routes.
    pub(crate) relayhost: Option<String>,
    /// Domains relayed for anybody.
    pub(crate) relay_domains: DomainList,
    /// Domains delivered here.
    pub(crate) local_domains: DomainList,
    /// Rows in file order.
    pub(crate) map: Vec<MapRule>,
    /// A file with more rows, when there is one. It is read by whoever resolves.
    pub(crate) map_file: Option<PathBuf>,
    /// Transport of what nothing else routes.
    pub(crate) default_transport: String,
    /// Transport for `relay_domains`.
    pub(crate) relay_transport: String,
    /// Where `local_domains` go, when that was said.
    pub(crate) local: Option<Target>,
}

/// One row of `route.map`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct MapRule {
    /// `user@domain`, `domain`, `.domain` or `*`, domains as sites.
    pub(crate) matches: String,
    /// What becomes of its mail.
    pub(crate) action: Action,
}

/// What a row of `route.map` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Where it goes.
    To(Target),
    /// It is put on hold when it is accepted, for this reason; where it goes after that is said by other
    /// rows.
    Hold(String),
}

/// A transport and its next hop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    /// The name of a transport that exists.
    pub(crate) transport: String,
    /// What it is given; empty: the recipient's domain. For `error` and `retry` a status and text.
    pub(crate) nexthop: String,
}

/// `[bounce]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Bounce {
    /// What postmasters want to hear of.
    pub(crate) notify_classes: NotifyClasses,
    /// Who gets copies of failure reports.
    pub(crate) bounce_notice_recipient: Address,
    /// Who gets reports about mail from the null sender.
    pub(crate) second_bounce_notice_recipient: Address,
    /// Who gets copies of delay reports.
    pub(crate) delay_notice_recipient: Address,
    /// Who is told of everything else.
    pub(crate) error_notice_recipient: Address,
    /// Bytes of a message that a report returns at most.
    pub(crate) bounce_size_limit: u64,
    /// The texts, when they are not the built-in ones.
    pub(crate) bounce_template_file: Option<PathBuf>,
}

/// `[control]`.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    /// The socket's path.
    pub(crate) socket: PathBuf,
    /// Its access mode.
    pub(crate) mode: u32,
    /// How long a stop waits.
    pub(crate) stop_timeout: Duration,
    /// How long deleted mail can be taken back.
    pub(crate) delete_grace: Duration,
}

/// `[log]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Log {
    /// JSON instead of text.
    pub(crate) json: bool,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub(crate) level: String,
}

impl MapRule {
    /// The same for two rows about the same mail that both say where it goes, or both that it is held.
    pub(crate) fn subject(&self) -> (String, bool) {
        (self.matches.to_lowercase(), matches!(self.action, Action::Hold(_)))
    }
}

impl Settings {
    /// Builds and checks the settings.
    pub(crate) fn build(values: Values, machine: &Machine) -> Result<Settings, Problems> {
        let settings = super::build::Builder::new(&values, machine).settings()?;
        Ok(Settings { values, ..settings })
    }

    /// A problem that shows only when a value is used, told where the value was written.
    pub(crate) fn problem(&self, place: &str, text: &str) -> Problem {
        problem_at(&self.values, &Place::parse(place), text)
    }

    /// The value at a place, as written.
    #[cfg(test)]
    pub(crate) fn at(&self, place: &str) -> Option<&super::layer::Effective> {
        self.values.get(&Place::parse(place))
    }
}
