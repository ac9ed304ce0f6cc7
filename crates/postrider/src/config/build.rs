//! From values as written to typed settings: the checks that need more than one value, or that the kind
//! of a key does not cover.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use delivery::{Deadlines, Folder, Kind as TransportKind, NextHop, Reuse, TlsLevel, TransportConfig};
use ingress::Networks;
use mail::{DomainList, parse_duration, parse_size, site_of_domain};

use super::layer::{DEFAULT_ORIGIN, Values, problem_at};
use super::problem::{Problem, Problems, nearest};
use super::schema::{Kind, Place, TRANSPORT};
use super::settings::{
    Action, Control, FrontEnd, Log, Machine, MapRule, Route, Settings, Spool, Target, TlsFiles,
};
use super::value::{Value, is_yes};

mod notices;
mod programs;

/// Where mail is kept when nothing was said.
const SPOOL_DIRECTORY: &str = "./postrider-data";
/// The socket's name in the spool directory.
const SOCKET_NAME: &str = "control.sock";
/// Longest path of a Unix socket (sun_path of unix(7), less its end).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Reads values and collects what is wrong with them.
pub(super) struct Builder<'v> {
    values: &'v Values,
    machine: &'v Machine,
    problems: Vec<Problem>,
}

impl<'v> Builder<'v> {
    pub(super) fn new(values: &'v Values, machine: &'v Machine) -> Builder<'v> {
        Builder { values, machine, problems: Vec::new() }
    }

    pub(super) fn settings(mut self) -> Result<Settings, Problems> {
        let spool = self.spool();
        let transports = self.transports();
        let route = self.route(&transports);
        let smtp = self.front_end("smtp", &route);
        let settings = Settings {
            bounce: self.bounce(&smtp.config.hostname),
            smtp,
            lmtp: self.front_end("lmtp", &route),
            engine: self.engine(&route),
            control: self.control(&spool),
            log: Log { json: self.text("log", "format") == "json", level: self.text("log", "level") },
            spool,
            transports,
            route,
            values: Values::new(),
        };
        self.check_listeners(&settings);
        self.check_programs(&settings);
        if self.problems.is_empty() { Ok(settings) } else { Err(Problems(self.problems)) }
    }

    /// The value at a place; a transport's own, or the default of its key.
    fn value(&self, section: &str, name: &str) -> Value {
        let place = Place::new(section, name);
        if let Some(effective) = self.values.get(&place) {
            return effective.value.clone();
        }
        let key = place.key().expect("only known keys are asked for");
        Value::of_text(key, key.default).expect("defaults are good values")
    }

    fn text(&self, section: &str, name: &str) -> String {
        self.value(section, name).plain()
    }

    fn optional(&self, section: &str, name: &str) -> Option<String> {
        Some(self.text(section, name)).filter(|text| !text.is_empty())
    }

    fn words(&self, section: &str, name: &str) -> Vec<String> {
        match self.value(section, name) {
            Value::Words(words) => words,
            _ => Vec::new(),
        }
    }

    fn flag(&self, section: &str, name: &str) -> bool {
        is_yes(&self.text(section, name))
    }

    fn size(&self, section: &str, name: &str) -> u64 {
        parse_size(&self.text(section, name)).expect("sizes were checked when read")
    }

    /// A count in whatever width the setting has; ranges in the table keep it from being cut.
    fn count<N: TryFrom<u64>>(&self, section: &str, name: &str) -> N {
        let number: u64 = self.text(section, name).parse().expect("counts were checked when read");
        N::try_from(number).ok().expect("ranges in the table fit the settings")
    }

    fn duration(&self, section: &str, name: &str) -> Duration {
        let Some(Kind::Duration(bare)) = Place::new(section, name).key().map(|key| key.kind) else {
            unreachable!("{section}.{name} is a duration")
        };
        parse_duration(&self.text(section, name), bare).expect("durations were checked when read")
    }

    /// A duration that bounds a wait; none would end every wait before it began.
    fn deadline(&mut self, section: &str, name: &str) -> Duration {
        let deadline = self.duration(section, name);
        if deadline.is_zero() {
            let text =
                format!("\"{}\" leaves no time at all: a longer one is needed", self.text(section, name));
            self.problem(section, name, text);
        }
        deadline
    }

    /// Notes a problem where the value was written.
    fn problem(&mut self, section: &str, name: &str, text: impl std::fmt::Display) {
        self.problems.push(problem_at(self.values, &Place::new(section, name), text));
    }

    fn spool(&mut self) -> Spool {
        let directory = self.optional("spool", "directory");
        let state_directory = self.machine.state_directory.as_deref().filter(|text| !text.is_empty());
        let directory = directory.as_deref().or(state_directory);
        // systemd joins several state directories by colons; the first one is ours.
        let directory = directory.unwrap_or(SPOOL_DIRECTORY).split(':').next().unwrap_or(SPOOL_DIRECTORY);
        let segment_size = self.size("spool", "segment_size");
        if !(64 << 10..=1 << 30).contains(&segment_size) || !segment_size.is_multiple_of(4096) {
            self.problem("spool", "segment_size", "64KiB to 1GiB in steps of 4KiB are possible");
        }
        let spares_min: usize = self.count("spool", "spare_segments");
        let options = spool::Options {
            segment_size,
            spares_min,
            spares_max: spares_min.saturating_mul(4),
            cache_bytes: usize::try_from(self.size("spool", "body_memory")).unwrap_or(usize::MAX),
            free_min: self.size("spool", "free_min"),
            lazy_commit: self.duration("spool", "commit_delay"),
            ..spool::Options::default()
        };
        Spool {
            directory: PathBuf::from(directory),
            options,
            fit_segment_size: !self.is_configured("spool", "segment_size"),
            fit_free_min: !self.is_configured("spool", "free_min"),
        }
    }

    fn front_end(&mut self, section: &str, route: &Route) -> FrontEnd {
        let policy = ingress::Policy {
            relay_from: self.networks(section, "relay_from"),
            etrn_from: self.networks(section, "etrn_from"),
            local_domains: route.local_domains.clone(),
            relay_domains: route.relay_domains.clone(),
            soft_bounce: self.flag("qmgr", "soft_bounce"),
            ..ingress::Policy::default()
        };
        let config = ingress::Config {
            hostname: self.hostname(section),
            lmtp: section == "lmtp",
            message_size_limit: self.size(section, "message_size_limit"),
            recipient_limit: self.count(section, "recipient_limit"),
            hopcount_limit: self.count(section, "hopcount_limit"),
            connection_limit: self.count(section, "connection_limit"),
            client_connection_limit: self.count(section, "client_connection_limit"),
            error_limit: self.count(section, "error_limit"),
            junk_command_limit: self.count(section, "junk_command_limit"),
            command_timeout: self.deadline(section, "command_timeout"),
            session_timeout: self.deadline(section, "session_timeout"),
            policy,
            ..ingress::Config::default()
        };
        FrontEnd { listen: self.listen(section), tls: self.tls_files(section), config }
    }

    fn listen(&mut self, section: &str) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        for word in self.words(section, "listen") {
            let local = word.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
            match local.as_deref().unwrap_or(&word).parse::<SocketAddr>() {
                Ok(address) if address.port() != 0 && addresses.contains(&address) => {
                    self.problem(section, "listen", format!("{address} stands there twice"));
                }
                Ok(address) => addresses.push(address),
                Err(_) => {
                    let text = format!(
                        "\"{word}\" is no address with a port: write it as 127.0.0.1:2525 or [::1]:2525"
                    );
                    self.problem(section, "listen", text);
                }
            }
        }
        addresses
    }

    /// The configured name, else the machine's, else `localhost` when that is no name for a host.
    fn hostname(&mut self, section: &str) -> String {
        if let Some(written) = self.optional(section, "hostname") {
            if let Err(error) = site_of_domain(&written) {
                self.problem(section, "hostname", format!("\"{written}\": {error}"));
            }
            return written;
        }
        let of_machine = self.machine.hostname.clone().filter(|name| site_of_domain(name).is_ok());
        of_machine.unwrap_or_else(|| "localhost".to_owned())
    }

    fn networks(&mut self, section: &str, name: &str) -> Networks {
        Networks::parse(&self.words(section, name)).unwrap_or_else(|error| {
            self.problem(section, name, error);
            Networks::default()
        })
    }

    fn tls_files(&mut self, section: &str) -> Option<TlsFiles> {
        match (self.optional(section, "tls_certificate"), self.optional(section, "tls_key")) {
            (Some(certificate), Some(key)) => {
                Some(TlsFiles { certificate: certificate.into(), key: key.into() })
            }
            (Some(_), None) => {
                self.problem(
                    section,
                    "tls_certificate",
                    "set tls_key too: one is of no use without the other",
                );
                None
            }
            (None, Some(_)) => {
                self.problem(
                    section,
                    "tls_key",
                    "set tls_certificate too: one is of no use without the other",
                );
                None
            }
            (None, None) => None,
        }
    }

    fn route(&mut self, transports: &BTreeMap<String, TransportConfig>) -> Route {
        let relayhost = self.optional("route", "relayhost");
        if let Some(Err(error)) = relayhost.as_deref().map(NextHop::parse_list) {
            self.problem("route", "relayhost", error);
        }
        for name in ["default_transport", "relay_transport"] {
            let transport = self.text("route", name);
            if !transports.contains_key(&transport) {
                let text = no_transport(&transport, transports);
                self.problem("route", name, text);
            } else if transports[&transport].kind == TransportKind::Maildir {
                let text = format!("\"{transport}\" needs a folder: say it in map or local_transport");
                self.problem("route", name, text);
            }
        }
        let local = self.optional("route", "local_transport").and_then(|text| {
            let target = target(&text, transports);
            target.map_err(|text| self.problem("route", "local_transport", text)).ok()
        });
        Route {
            relayhost,
            relay_domains: self.domains("route", "relay_domains"),
            local_domains: self.domains("route", "local_domains"),
            map: self.map(transports),
            map_file: self.optional("route", "map_file").map(PathBuf::from),
            default_transport: self.text("route", "default_transport"),
            relay_transport: self.text("route", "relay_transport"),
            local,
        }
    }

    fn map(&mut self, transports: &BTreeMap<String, TransportConfig>) -> Vec<MapRule> {
        let Value::Rules(rules) = self.value("route", "map") else { return Vec::new() };
        let mut map: Vec<MapRule> = Vec::new();
        let mut seen = BTreeSet::new();
        for rule in rules {
            match map_rule(&rule.matches, &rule.to, transports) {
                Ok(rule) if !seen.insert(rule.subject()) => {
                    self.problem("route", "map", format!("\"{}\" stands in two rows", rule.matches));
                }
                Ok(rule) => map.push(rule),
                Err(text) => self.problem("route", "map", text),
            }
        }
        map
    }

    /// A list of domains in which `$relay_domains` and `$local_domains` stand for those lists.
    fn domains(&mut self, section: &str, name: &str) -> DomainList {
        let parents = self.flag("route", "parent_domain_matches_subdomains");
        // What is wrong with the other list is told where that one is read.
        let good = |word: &String| DomainList::parse(&[word], parents).is_ok();
        let mut expanded = Vec::new();
        for word in self.words(section, name) {
            match word.strip_prefix('$') {
                None => expanded.push(word),
                Some(list @ ("relay_domains" | "local_domains")) if list != name => {
                    expanded.extend(self.words("route", list).into_iter().filter(good));
                }
                Some(_) => {
                    let text =
                        format!("\"{word}\" cannot be expanded here: $relay_domains and $local_domains can");
                    self.problem(section, name, text);
                }
            }
        }
        // A list that names the other one in turn is left unexpanded by the second step.
        expanded.retain(|word| !word.starts_with('$'));
        DomainList::parse(&expanded, parents).unwrap_or_else(|error| {
            self.problem(section, name, error);
            DomainList::default()
        })
    }

    fn transports(&mut self) -> BTreeMap<String, TransportConfig> {
        let named = self.values.keys().filter_map(Place::transport).map(str::to_owned);
        let names: std::collections::BTreeSet<String> = named.collect();
        names.into_iter().map(|name| (name.clone(), self.transport(&name))).collect()
    }

    fn transport(&mut self, name: &str) -> TransportConfig {
        let section = &format!("{TRANSPORT}.{name}");
        if !self.values.contains_key(&Place::new(section, "kind")) {
            let origin = self.values.iter().find(|(place, _)| place.section == *section);
            let place = origin.map_or(DEFAULT_ORIGIN, |(_, effective)| effective.origin.as_str());
            self.problems
                .push(Problem::new(place, format!("[{section}] needs a kind, such as kind = \"smtp\"")));
        }
        let kind = self.text(section, "kind");
        if matches!(name, "error" | "retry" | "discard") && kind != name {
            self.problem(section, "kind", format!("[{section}] must be of kind \"{name}\""));
        }
        TransportConfig {
            tls: TlsLevel::of(&self.text(section, "tls")).expect("levels were checked when read"),
            deadlines: self.deadlines(section),
            reuse: Reuse {
                idle: self.duration(section, "connection_cache_time_limit"),
                age: self.duration(section, "connection_reuse_time_limit"),
                messages: self.count(section, "connection_reuse_count_limit"),
            },
            mx_address_limit: self.count(section, "mx_address_limit"),
            mx_session_limit: self.count(section, "mx_session_limit"),
            time_limit: self.deadline(section, "time_limit"),
            recipient_delimiter: self.text("qmgr", "recipient_delimiter"),
            maildir_create: self.flag(section, "maildir_create"),
            program: self.program(section, &kind),
            ..TransportConfig::new(name, TransportKind::of(&kind))
        }
    }

    fn deadlines(&mut self, section: &str) -> Deadlines {
        Deadlines {
            lookup: self.deadline(section, "lookup_timeout"),
            connect: self.deadline(section, "connect_timeout"),
            hello: self.deadline(section, "helo_timeout"),
            start_tls: self.deadline(section, "starttls_timeout"),
            mail: self.deadline(section, "mail_timeout"),
            rcpt: self.deadline(section, "rcpt_timeout"),
            data_init: self.deadline(section, "data_init_timeout"),
            data_xfer: self.deadline(section, "data_xfer_timeout"),
            data_done: self.deadline(section, "data_done_timeout"),
            rset: self.deadline(section, "rset_timeout"),
            quit: self.deadline(section, "quit_timeout"),
            delivery: self.deadline(section, "delivery_timeout"),
        }
    }

    /// Hands the engine every value that is a parameter of its own.
    fn engine(&mut self, route: &Route) -> qmgr::Config {
        let mut config = qmgr::Config::default();
        let mut refused = Vec::new();
        for (place, effective) in self.values {
            let Some(Kind::Engine(parameter)) = place.key().map(|key| key.kind) else { continue };
            let text = effective.value.plain();
            let set = match place.transport() {
                Some(transport) => config.set_for_transport(transport, parameter.short_name, &text),
                None => config.set(parameter.name, &text),
            };
            refused.extend(set.err().map(|error| (place.clone(), error.to_string())));
        }
        for (place, text) in refused {
            self.problem(&place.section, &place.name, text);
        }
        config.fast_flush_domains = self.domains("flush", "fast_flush_domains");
        config.local_domains = route.local_domains.clone();
        self.check_engine(&config);
        config
    }

    fn check_engine(&mut self, config: &qmgr::Config) {
        let global = config.global();
        if global.minimal_backoff_time > global.maximal_backoff_time {
            let name = self.written_later("minimal_backoff_time", "maximal_backoff_time");
            self.problem("qmgr", name, "minimal_backoff_time must not exceed maximal_backoff_time");
        }
        let lifetime = global.maximal_queue_lifetime;
        if global.delay_warning_time > lifetime && !lifetime.is_zero() {
            let name = self.written_later("delay_warning_time", "maximal_queue_lifetime");
            self.problem("qmgr", name, "delay_warning_time beyond maximal_queue_lifetime would never warn");
        }
    }

    /// The one of two keys of `[qmgr]` that was configured; the first when both or none were.
    fn written_later(&self, first: &'static str, second: &'static str) -> &'static str {
        let configured = |name| self.is_configured("qmgr", name);
        if !configured(first) && configured(second) { second } else { first }
    }

    fn is_configured(&self, section: &'static str, name: &'static str) -> bool {
        let effective = self.values.get(&Place::new(section, name));
        effective.is_some_and(|effective| effective.origin != DEFAULT_ORIGIN)
    }

    fn control(&mut self, spool: &Spool) -> Control {
        let socket = self
            .optional("control", "socket")
            .map_or_else(|| spool.directory.join(SOCKET_NAME), PathBuf::from);
        if socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            let text =
                format!("a socket's path has at most {SOCKET_PATH_BYTES_MAX} bytes: set control.socket");
            self.problem("control", "socket", text);
        }
        let written = self.text("control", "mode");
        let mode = u32::from_str_radix(&written, 8).ok().filter(|mode| *mode <= 0o777);
        if mode.is_none() {
            self.problem(
                "control",
                "mode",
                format!("\"{written}\" is no access mode: write it in octal, as 0600"),
            );
        }
        Control {
            socket,
            mode: mode.unwrap_or(0o600),
            stop_timeout: self.duration("control", "stop_timeout"),
            delete_grace: self.duration("control", "delete_grace"),
        }
    }

    fn check_listeners(&mut self, settings: &Settings) {
        let fixed = |address: &&SocketAddr| address.port() != 0;
        let twice =
            settings.lmtp.listen.iter().filter(fixed).find(|address| settings.smtp.listen.contains(address));
        if let Some(address) = twice {
            self.problem("lmtp", "listen", format!("{address} is taken by smtp.listen"));
        }
    }
}

/// One row of `route.map` or of its file.
pub(super) fn map_rule(
    matches: &str,
    to: &str,
    transports: &BTreeMap<String, TransportConfig>,
) -> Result<MapRule, String> {
    let matches = pattern(matches)?;
    let action = match to.split_once(':').unwrap_or((to, "")) {
        ("hold", reason) => Action::Hold(reason.trim().to_owned()),
        _ => Action::To(target(to, transports)?),
    };
    Ok(MapRule { matches, action })
}

/// `user@domain`, `domain`, `.domain` or `*`, with the domain as a site.
fn pattern(text: &str) -> Result<String, String> {
    let site = |domain: &str| site_of_domain(domain).map_err(|error| format!("\"{text}\": {error}"));
    match text.rsplit_once('@') {
        _ if text == "*" => Ok(text.to_owned()),
        Some((local, domain)) if !local.is_empty() => Ok(format!("{local}@{}", site(domain)?)),
        Some(_) => Err(format!("\"{text}\": write the domain without @")),
        None => match text.strip_prefix('.') {
            Some(parent) => Ok(format!(".{}", site(parent)?)),
            None => site(text),
        },
    }
}

/// `transport:nexthop`; the transport must exist.
fn target(text: &str, transports: &BTreeMap<String, TransportConfig>) -> Result<Target, String> {
    let (transport, nexthop) = text.split_once(':').ok_or_else(|| {
        format!("\"{text}\": transport:nexthop is expected, as in smtp:[192.0.2.1]:25 or discard:")
    })?;
    let nexthop = nexthop.trim().to_owned();
    let config = transports.get(transport).ok_or_else(|| no_transport(transport, transports))?;
    if matches!(config.kind, TransportKind::Smtp | TransportKind::Lmtp) && !nexthop.is_empty() {
        NextHop::parse_list(&nexthop).map_err(|error| error.to_string())?;
    }
    if config.kind == TransportKind::Maildir {
        Folder::parse(&nexthop).map_err(|error| error.to_string())?;
    }
    Ok(Target { transport: transport.to_owned(), nexthop })
}

fn no_transport(name: &str, transports: &BTreeMap<String, TransportConfig>) -> String {
    let known = || transports.keys().map(String::as_str);
    let hint = nearest(name, known()).map_or_else(
        || format!("known are {}", known().collect::<Vec<_>>().join(", ")),
        |near| format!("did you mean \"{near}\"?"),
    );
    format!("no transport is called \"{name}\": {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layer::{Layer, merge};
    use crate::config::schema::{find, keys};

    fn build(settings: &[&str]) -> Result<Settings, Vec<String>> {
        let overrides: Vec<String> = settings.iter().map(ToString::to_string).collect();
        let layer = Layer::overrides(&overrides).expect("the test's overrides read");
        let values = merge(&[Layer::defaults(), layer]);
        Settings::build(values, &Machine::default())
            .map_err(|problems| problems.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn defaults_work_without_any_file() {
        let settings = build(&[]).unwrap();
        assert_eq!(settings.spool.directory, PathBuf::from("./postrider-data"));
        assert_eq!(settings.control.socket, PathBuf::from("./postrider-data/control.sock"));
        assert_eq!(settings.control.mode, 0o600);
        assert_eq!(settings.smtp.listen, ["127.0.0.1:2525".parse::<SocketAddr>().unwrap()]);
        assert!(settings.lmtp.listen.is_empty() && settings.smtp.tls.is_none());
        assert_eq!(settings.smtp.config.message_size_limit, 50 << 20);
        assert_eq!(settings.engine.global(), qmgr::Config::default().global());
        assert_eq!(settings.engine.transport("smtp"), qmgr::Config::default().transport("smtp"));
        assert!(settings.engine.fast_flush_domains.is_empty() && settings.engine.local_domains.is_empty());
        assert_eq!(settings.transports.len(), 7);
        assert_eq!(settings.transports["relay"].kind, TransportKind::Smtp);
        assert!(keys().iter().all(|key| find(key.section, key.name).is_some()));
    }

    #[test]
    fn the_machine_says_what_the_file_does_not() {
        let settings = {
            let machine = Machine {
                state_directory: Some("/var/lib/postrider:/x".to_owned()),
                hostname: Some("mx.test".to_owned()),
            };
            Settings::build(merge(&[Layer::defaults()]), &machine).unwrap()
        };
        assert_eq!(settings.smtp.config.hostname, "mx.test");
        assert_eq!(settings.spool.directory, PathBuf::from("/var/lib/postrider"));
    }

    #[test]
    fn relay_domains_expand_and_follow_the_parent_rule() {
        let settings =
            build(&["route.relay_domains=example.com", "flush.fast_flush_domains=$relay_domains x.test"]);
        let flush = settings.unwrap().engine.fast_flush_domains;
        assert!(flush.matches("example.com") && flush.matches("a.example.com") && flush.matches("x.test"));
        let exact = ["route.relay_domains=example.com", "route.parent_domain_matches_subdomains=no"];
        assert!(!build(&exact).unwrap().route.relay_domains.matches("a.example.com"));
    }

    #[test]
    fn transports_reach_the_engine_and_delivery() {
        let settings = build(&[
            "transport.lists.kind=lmtp",
            "transport.lists.destination_concurrency_limit=7",
            "transport.lists.tls=none",
            "route.map=[{ match = \"Lists.Example.com\", to = \"lists:[127.0.0.1]:2424\" }]",
        ])
        .unwrap();
        assert_eq!(settings.transports["lists"].kind, TransportKind::Lmtp);
        assert_eq!(settings.transports["lists"].tls, TlsLevel::None);
        assert_eq!(settings.engine.transport("lists").destination_concurrency_limit, 7);
        let target = Target { transport: "lists".to_owned(), nexthop: "[127.0.0.1]:2424".to_owned() };
        let action = Action::To(target);
        assert_eq!(settings.route.map, [MapRule { matches: "lists.example.com".to_owned(), action }]);
    }

    #[test]
    fn defaults_are_those_of_the_crates_that_use_them() {
        let settings = build(&[]).unwrap();
        for (name, kind) in [("smtp", TransportKind::Smtp), ("lmtp", TransportKind::Lmtp)] {
            assert_eq!(settings.transports[name], TransportConfig::new(name, kind));
        }
        let (ours, theirs) = (&settings.spool.options, spool::Options::default());
        let plain = |options: &spool::Options| {
            let sizes = (options.segment_size, options.spares_min, options.spares_max, options.cache_bytes);
            (sizes, options.free_min, options.lazy_commit)
        };
        assert_eq!(plain(ours), plain(&theirs));
    }

    #[test]
    fn impossible_combinations_are_refused_where_they_were_written() {
        for (overrides, expected) in [
            (&["qmgr.minimal_backoff_time=2h"][..], "-o qmgr.minimal_backoff_time: minimal"),
            (&["qmgr.maximal_backoff_time=1s"], "-o qmgr.maximal_backoff_time: minimal"),
            (&["smtp.tls_certificate=/x.pem"], "set tls_key too"),
            (&["smtp.tls_key=/x.pem"], "set tls_certificate too"),
            (&["lmtp.listen=127.0.0.1:2525"], "is taken by smtp.listen"),
            (&["smtp.listen=127.0.0.1:26,127.0.0.1:26"], "127.0.0.1:26 stands there twice"),
            (&["smtp.command_timeout=0"], "-o smtp.command_timeout: \"0\" leaves no time at all"),
            (&["transport.smtp.rcpt_timeout=0s"], "-o transport.smtp.rcpt_timeout: \"0s\" leaves no time"),
            (&["route.relay_domains=-.test"], "-o route.relay_domains: \"-.test\" is not a domain"),
            (&["smtp.listen=2525"], "is no address with a port"),
            (&["smtp.relay_from=10.1.1.1/8"], "is not a network"),
            (&["transport.x.tls=none"], "[transport.x] needs a kind"),
            (&["transport.error.kind=smtp"], "must be of kind \"error\""),
            (&["route.default_transport=smpt"], "did you mean \"smtp\"?"),
            (&["route.map=[{match=\"a.test\",to=\"[127.0.0.1]\"}]"], "transport:nexthop is expected"),
            (&["route.map=[{match=\"a.test\",to=\"lmpt:x\"}]"], "did you mean \"lmtp\"?"),
            (&["route.relayhost=a b"], "a b"),
            (&["route.map=[{match=\"-.test\",to=\"lmtp:x\"}]"], "malformed domain name"),
            (&["route.map=[{match=\"a.test\",to=\"maildir:mail/${user}\"}]"], "whole path is expected"),
            (&["route.map=[{match=\"a.test\",to=\"hold\"},{match=\"a.test\",to=\"hold:x\"}]"], "in two rows"),
            (&["route.default_transport=maildir"], "needs a folder"),
            (&["transport.p.kind=pipe"], "kind = \"pipe\" needs argv"),
            (&["transport.p.kind=pipe", "transport.p.argv=cat"], "whole path is expected"),
            (&["transport.p.kind=pipe", "transport.p.argv=/p ${usr}"], "${usr} is not known here"),
            (&["transport.p.kind=pipe", "transport.p.argv=/p", "transport.p.flags=Z"], "\"Z\" is no flag"),
            (&["transport.p.kind=pipe", "transport.p.argv=/p", "transport.p.directory=x"], "whole path"),
            (
                &["transport.p.kind=pipe", "transport.p.argv=/p", "transport.p.flags=D"],
                "need destination_recipient_limit = 1",
            ),
            (&["transport.smtp.argv=/p"], "only a transport of kind = \"pipe\" has argv"),
            (&["transport.smtp.maildir_create=yes"], "only a transport of kind = \"maildir\""),
            (&["route.relay_domains=$local_domain"], "cannot be expanded"),
            (&["spool.segment_size=2000000"], "in steps of 4KiB"),
            (&["control.mode=rw"], "write it in octal"),
            (&["smtp.hostname=a b"], "malformed domain name"),
            (&["bounce.notify_classes=bounce,bonce"], "unknown class \"bonce\""),
            (&["bounce.2bounce_notice_recipient=a b@x.test"], "\"a b@x.test\""),
        ] {
            let problems = build(overrides).expect_err(expected);
            assert!(problems.len() == 1 && problems[0].contains(expected), "{overrides:?}: {problems:?}");
        }
    }
}
