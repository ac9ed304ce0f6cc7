//! `postrider source`: a load generator that speaks SMTP or LMTP to any server.
//!
//! Promises: every message is counted as accepted or not, by the reply to each of its recipients; Ctrl-C ends
//! the messages under way and prints what was done; exit 0 only when all recipients of all messages were
//! accepted. Runs on the delivery agents, so that what it measures is what Postrider sends.
//!
//! Refuses: making mail that looks like mail of people. Every message says that it is a test.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use delivery::{
    Agents, AgentsConfig, Job, Kind, Reuse, SystemResolver, Tls, TlsLevel, TransportConfig, Unavailable,
};
use indicatif::{ProgressBar, ProgressStyle};
use mail::{Address, BodyType, Client, Envelope, Outcome, QueueId, Recipient, Scope, Time, Verdict};
use spool::Body;

/// Most acknowledgement times that are kept for the percentiles, in each connection.
const TIMES_MAX: usize = 1_000_000;
/// Most different refusals that are printed.
const REFUSALS_SHOWN: usize = 5;
/// Longest line of the content, CRLF left out.
const LINE_BYTES: usize = 72;

/// Sends test messages as fast as the server takes them.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  postrider source --messages 1000 --connections 10
  postrider source --to mx.example.com:25 --rate 5 --rcpt 'user%d@example.com' --recipients 3
  postrider source --lmtp --to unix:/run/lmtp.sock --json")]
pub(crate) struct SourceArgs {
    /// Where to: host:port, address:port or unix:/path
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:2525")]
    to: String,
    /// How many messages
    #[arg(long, value_name = "N", default_value_t = 100)]
    messages: u64,
    /// How many connections at a time
    #[arg(long, value_name = "C", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Bytes of each message, its header included; as in 4KiB
    #[arg(long, value_name = "BYTES", default_value = "4KiB", value_parser = mail::parse_size)]
    size: u64,
    /// Sender; '' is the null sender
    #[arg(long, value_name = "ADDRESS", default_value = "source@source.test")]
    from: String,
    /// Recipient; %d becomes a number that counts up
    #[arg(long, value_name = "ADDRESS", default_value = "user%d@example.test")]
    rcpt: String,
    /// Recipients of each message
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    recipients: u32,
    /// Messages of each connection; 0: no limit
    #[arg(long, value_name = "N", default_value_t = 0)]
    per_connection: u32,
    /// At most this many messages a second
    #[arg(long, value_name = "R")]
    rate: Option<f64>,
    /// Speak LMTP
    #[arg(long)]
    lmtp: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
    /// Print nothing but errors
    #[arg(long)]
    quiet: bool,
}

/// Runs the command; the exit code.
pub(crate) fn run(args: SourceArgs) -> u8 {
    let plan = match Plan::new(&args) {
        Ok(plan) => Arc::new(plan),
        Err(why) => {
            eprintln!("postrider source: {why}");
            return 2;
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("postrider source: no threads: {error}");
            return 71;
        }
    };
    let tally = runtime.block_on(send_all(Arc::clone(&plan), Arc::new(bar(&args))));
    report(&args, &tally)
}

/// What is to be sent, checked.
struct Plan {
    nexthop: Arc<str>,
    transport: Arc<TransportConfig>,
    sender: Option<Address>,
    rcpt: String,
    recipients: u32,
    messages: u64,
    connections: u32,
    size: usize,
    interval: Duration,
}

impl Plan {
    fn new(args: &SourceArgs) -> Result<Plan, String> {
        let nexthop = if args.to.starts_with("unix:") || args.to.starts_with('[') {
            args.to.clone()
        } else {
            // A host is meant, not a domain with MX records.
            match args.to.rsplit_once(':') {
                Some((host, port)) => format!("[{host}]:{port}"),
                None => format!("[{}]", args.to),
            }
        };
        delivery::NextHop::parse_list(&nexthop)
            .map_err(|error| format!("--to {}: {}", args.to, error.why))?;
        let sender = match args.from.as_str() {
            "" => None,
            text => Some(Address::parse(text).map_err(|error| format!("--from {text}: {error}"))?),
        };
        numbered(&args.rcpt, 0, 0, 1).map_err(|error| format!("--rcpt {}: {error}", args.rcpt))?;
        let interval = match args.rate {
            None => Duration::ZERO,
            Some(rate) if rate > 0.0 && rate.is_finite() => Duration::from_secs_f64(1.0 / rate),
            Some(rate) => return Err(format!("--rate {rate}: a number over 0 is expected")),
        };
        let mut transport = TransportConfig::new("source", if args.lmtp { Kind::Lmtp } else { Kind::Smtp });
        transport.tls = TlsLevel::None;
        let hours = Duration::from_secs(24 * 3600);
        transport.reuse = Reuse { idle: hours, age: hours, messages: args.per_connection };
        Ok(Plan {
            nexthop: nexthop.into(),
            transport: Arc::new(transport),
            sender,
            rcpt: args.rcpt.clone(),
            recipients: args.recipients,
            messages: args.messages,
            connections: args.connections,
            size: usize::try_from(args.size).map_err(|_| "--size: too large".to_owned())?,
            interval,
        })
    }

    fn job(&self, number: u64) -> Job {
        let address = |nth| numbered(&self.rcpt, number, nth, self.recipients).expect("one was read before");
        let recipients =
            (0..self.recipients).map(|nth| Recipient { address: address(nth), orcpt: None, notify: None });
        let body = Body::from_bytes(content(number, self.size).into());
        let envelope = Envelope {
            sender: self.sender.clone(),
            recipients: recipients.collect(),
            ret: None,
            envid: None,
            body: BodyType::SevenBit,
            smtputf8: false,
            arrived: Time::ZERO,
            size: body.len(),
            client: Client::default(),
        };
        Job {
            id: QueueId::from_u64(number),
            number,
            transport: Arc::clone(&self.transport),
            nexthop: Arc::clone(&self.nexthop),
            envelope: Arc::new(envelope),
            recipients: (0..self.recipients).collect(),
            body,
        }
    }
}

/// The address of one recipient: `%d` becomes a number that no other recipient of the run has; without
/// `%d`, several recipients of one message are told apart by a number in front.
fn numbered(pattern: &str, message: u64, nth: u32, recipients: u32) -> Result<Address, mail::AddressError> {
    let number = message * u64::from(recipients) + u64::from(nth);
    if pattern.contains("%d") {
        Address::parse(&pattern.replace("%d", &number.to_string()))
    } else if recipients > 1 {
        Address::parse(&format!("{nth}{pattern}"))
    } else {
        Address::parse(pattern)
    }
}

/// A message of exactly `size` bytes, or of its header when that is longer. It ends with a line end unless
/// one byte is all that follows the header.
fn content(number: u64, size: usize) -> Vec<u8> {
    let header = format!("Subject: test message {number}\r\nX-Source: postrider source\r\n\r\n");
    let mut content = Vec::with_capacity(size.max(header.len()));
    content.extend_from_slice(header.as_bytes());
    while content.len() < size {
        let whole = LINE_BYTES + 2;
        let line = match size - content.len() {
            // A single byte left over would have no room for a line end.
            left if left == whole + 1 => whole - 1,
            left => left.min(whole),
        };
        let end: &[u8] = if line == 1 { b"" } else { b"\r\n" };
        content.resize(content.len() + line - end.len(), b'x');
        content.extend_from_slice(end);
    }
    content
}

/// What came of it.
#[derive(Default)]
struct Tally {
    messages: u64,
    accepted: u64,
    recipients_accepted: u64,
    recipients_deferred: u64,
    recipients_refused: u64,
    connections: u64,
    unreachable: u64,
    times: Vec<u32>,
    refusals: BTreeMap<String, u64>,
    seconds: f64,
    wanted: u64,
}

impl Tally {
    fn count(&mut self, report: &delivery::Report) {
        self.messages += 1;
        self.connections += u64::from(report.reused == 0 && !report.timing.transmission.is_zero());
        let all_sent = report.outcomes.iter().all(|outcome| outcome.verdict == Verdict::Sent);
        if all_sent {
            self.accepted += 1;
            if self.times.len() < TIMES_MAX {
                let micros = report.timing.transmission.as_micros();
                self.times.push(u32::try_from(micros).unwrap_or(u32::MAX));
            }
        }
        for outcome in &report.outcomes {
            match outcome.verdict {
                Verdict::Sent => self.recipients_accepted += 1,
                Verdict::Deferred => self.refused(outcome, |tally| &mut tally.recipients_deferred),
                Verdict::Bounced => self.refused(outcome, |tally| &mut tally.recipients_refused),
            }
        }
    }

    fn refused(&mut self, outcome: &Outcome, counter: impl Fn(&mut Tally) -> &mut u64) {
        *counter(self) += 1;
        self.unreachable += u64::from(outcome.scope == Scope::Site);
        if self.refusals.len() < REFUSALS_SHOWN || self.refusals.contains_key(&*outcome.text) {
            *self.refusals.entry(outcome.text.to_string()).or_default() += 1;
        }
    }

    fn add(&mut self, other: Tally) {
        self.messages += other.messages;
        self.accepted += other.accepted;
        self.recipients_accepted += other.recipients_accepted;
        self.recipients_deferred += other.recipients_deferred;
        self.recipients_refused += other.recipients_refused;
        self.connections += other.connections;
        self.unreachable += other.unreachable;
        self.times.extend(other.times);
        for (text, count) in other.refusals {
            if self.refusals.len() < REFUSALS_SHOWN || self.refusals.contains_key(&text) {
                *self.refusals.entry(text).or_default() += count;
            }
        }
    }

    fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.accepted as f64 / self.seconds } else { 0.0 }
    }

    /// Milliseconds within which this share of the accepted messages was acknowledged; times are sorted.
    fn percentile(&self, share: f64) -> f64 {
        let place = ((self.times.len() as f64 * share).ceil() as usize).max(1) - 1;
        self.times.get(place).map_or(0.0, |&micros| f64::from(micros) / 1000.0)
    }
}

async fn send_all(plan: Arc<Plan>, bar: Arc<ProgressBar>) -> Tally {
    let config = AgentsConfig {
        hostname: "source.test".into(),
        seed: 0,
        idle_connections_max: plan.connections as usize,
    };
    let agents = match SystemResolver::new() {
        Ok(resolver) => Agents::new(config, Arc::new(resolver), Tls::native()),
        Err(error) => Agents::new(config, Arc::new(Unavailable { reason: error.to_string() }), Tls::native()),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let next = Arc::new(AtomicU64::new(0));
    let total = Arc::new(Mutex::new(Tally::default()));
    let started = Instant::now();
    let workers: Vec<_> = (0..plan.connections)
        .map(|_| {
            let worker = Worker {
                plan: Arc::clone(&plan),
                agents: agents.clone(),
                stop: Arc::clone(&stop),
                next: Arc::clone(&next),
                bar: Arc::clone(&bar),
                started,
            };
            let total = Arc::clone(&total);
            tokio::spawn(async move {
                let tally = worker.send().await;
                total.lock().unwrap_or_else(PoisonError::into_inner).add(tally);
            })
        })
        .collect();
    let all_sent = async {
        for worker in workers {
            // A worker that panicked shows in the count.
            let _ = worker.await;
        }
    };
    tokio::pin!(all_sent);
    tokio::select! {
        () = &mut all_sent => {}
        Ok(()) = tokio::signal::ctrl_c() => {
            stop.store(true, Ordering::Relaxed);
            // The messages under way are ended; whoever insists gets what there is.
            tokio::select! {
                () = &mut all_sent => {}
                Ok(()) = tokio::signal::ctrl_c() => {}
            }
        }
    }
    let mut tally = std::mem::take(&mut *total.lock().unwrap_or_else(PoisonError::into_inner));
    tally.seconds = started.elapsed().as_secs_f64();
    tally.wanted = plan.messages;
    tally.times.sort_unstable();
    agents.close().await;
    bar.finish_and_clear();
    tally
}

/// One of the senders that run at the same time.
struct Worker {
    plan: Arc<Plan>,
    agents: Agents,
    stop: Arc<AtomicBool>,
    next: Arc<AtomicU64>,
    bar: Arc<ProgressBar>,
    started: Instant,
}

impl Worker {
    async fn send(self) -> Tally {
        let mut tally = Tally::default();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.plan.messages || self.stop.load(Ordering::Relaxed) {
                return tally;
            }
            if !self.plan.interval.is_zero() {
                let due = self.started + self.plan.interval.mul_f64(number as f64);
                tokio::time::sleep_until(due.into()).await;
                if self.stop.load(Ordering::Relaxed) {
                    return tally;
                }
            }
            tally.count(&self.agents.deliver(self.plan.job(number)).await);
            self.bar.inc(1);
        }
    }
}

fn bar(args: &SourceArgs) -> ProgressBar {
    if args.quiet || args.json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} {per_sec} {eta} left");
    ProgressBar::new(args.messages).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Prints the result; the exit code.
fn report(args: &SourceArgs, tally: &Tally) -> u8 {
    let text = if args.json {
        let line = serde_json::json!({
            "messages": tally.messages,
            "accepted": tally.accepted,
            "recipients_accepted": tally.recipients_accepted,
            "recipients_deferred": tally.recipients_deferred,
            "recipients_refused": tally.recipients_refused,
            "connections": tally.connections,
            "seconds": round(tally.seconds),
            "rate": round(tally.rate()),
            "acknowledged_p50_ms": round(tally.percentile(0.5)),
            "acknowledged_p99_ms": round(tally.percentile(0.99)),
        });
        format!("{line}\n")
    } else {
        plain(tally)
    };
    if !args.quiet || args.json {
        // A reader that went away has seen enough.
        let _ = std::io::stdout().write_all(text.as_bytes());
    }
    for (refusal, count) in &tally.refusals {
        eprintln!("postrider source: {count} recipients: {refusal}");
    }
    match () {
        () if tally.accepted == tally.wanted => 0,
        () if tally.recipients_accepted == 0 && tally.unreachable > 0 => 69,
        () => 1,
    }
}

fn plain(tally: &Tally) -> String {
    format!(
        "{} of {} messages accepted over {} connections in {:.1} s: {:.0} messages/s\n\
         acknowledged within {:.1} ms (half), {:.1} ms (99 %)\n\
         recipients: {} accepted, {} deferred, {} refused\n",
        tally.accepted,
        tally.wanted,
        tally.connections,
        tally.seconds,
        tally.rate(),
        tally.percentile(0.5),
        tally.percentile(0.99),
        tally.recipients_accepted,
        tally.recipients_deferred,
        tally.recipients_refused,
    )
}

/// To three decimals, as far as anybody reads.
fn round(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use testkit::scripted::{Act, Script, ScriptedServer, Stage};

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        source: SourceArgs,
    }

    fn args(line: &str) -> SourceArgs {
        Program::parse_from(line.split_whitespace()).source
    }

    async fn sent(script: Script, options: &str) -> (Tally, ScriptedServer) {
        let server = ScriptedServer::start(script).await;
        let line = format!("source --to {} --quiet {options}", server.address());
        let plan = Plan::new(&args(&line)).unwrap();
        let tally = send_all(Arc::new(plan), Arc::new(ProgressBar::hidden())).await;
        (tally, server)
    }

    #[tokio::test]
    async fn all_messages_arrive_and_are_counted() {
        let options = "--messages 20 --connections 3 --recipients 2 --size 1000 --rcpt u%d@b.test";
        let (tally, server) = sent(Script::good(), options).await;
        assert_eq!((tally.messages, tally.accepted, tally.recipients_accepted), (20, 20, 40));
        assert_eq!(tally.times.len(), 20);
        let heard = server.heard();
        assert!(heard.connections() <= 3 && tally.connections == heard.connections() as u64);
        let mut to: Vec<String> = heard.messages.iter().flat_map(|message| message.rcpt.clone()).collect();
        to.sort();
        to.dedup();
        assert_eq!(to.len(), 40, "every recipient has a number of its own");
        assert!(heard.messages.iter().all(|message| matches!(message.content.len(), 1000..=1002)));
        assert_eq!(report(&args("source --quiet"), &tally), 0);
    }

    #[tokio::test]
    async fn refusals_are_counted_and_show_in_the_exit_code() {
        let script = Script::new(|asked| match (asked.stage, asked.count) {
            (Stage::Rcpt, 1) => Act::reply("550 5.1.1 no"),
            // The second end is that of the empty message for nobody.
            (Stage::End, 2) => Act::reply("452 4.3.1 full"),
            _ => Act::Good,
        });
        let (tally, _server) = sent(script, "--messages 4 --per-connection 4").await;
        assert_eq!((tally.messages, tally.accepted), (4, 2));
        assert_eq!((tally.recipients_deferred, tally.recipients_refused), (1, 1));
        assert_eq!(tally.refusals.len(), 2);
        assert_eq!(report(&args("source --quiet"), &tally), 1);

        let (tally, _server) = sent(Script::but(Stage::Connect, Act::Close), "--messages 2").await;
        assert_eq!(report(&args("source --quiet"), &tally), 69);
    }

    #[tokio::test]
    async fn connections_carry_as_many_messages_as_told() {
        let (tally, server) = sent(Script::good().lmtp(), "--messages 6 --per-connection 2 --lmtp").await;
        assert_eq!((tally.accepted, server.heard().connections()), (6, 3));
        assert!(server.heard().lines[0][0].starts_with("LHLO"));
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (line, word) in [
            ("source --to a:b:c:d", "--to"),
            ("source --from x", "--from"),
            ("source --rcpt x", "--rcpt"),
            ("source --rate 0", "--rate"),
        ] {
            let Err(why) = Plan::new(&args(line)) else { panic!("{line} is taken") };
            assert!(why.starts_with(word) && !why.contains('\n'), "{why}");
        }
        assert!(Plan::new(&args("source --to localhost:25 --from= --rcpt a@b.test --recipients 3")).is_ok());
    }

    #[test]
    fn content_has_the_size_that_was_asked_for() {
        let header = content(7, 0).len();
        for size in (0..400).chain([4096, 100_000]) {
            let content = content(7, size);
            assert_eq!(content.len(), size.max(header));
            assert!(content.split(|&byte| byte == b'\n').all(|line| line.len() <= LINE_BYTES + 1), "{size}");
            // Messages of 500 bytes ended with a bare CR once, and servers refused them.
            let text = String::from_utf8(content).unwrap().replace("\r\n", "\n");
            assert!(!text.contains('\r') && (text.ends_with('\n') || size == header + 1), "{size}");
        }
    }
}
