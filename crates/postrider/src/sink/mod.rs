//! `postrider sink`: an SMTP or LMTP server that takes everything and keeps nothing, or refuses, delays
//! and drops as told.
//!
//! Promises: it speaks with the same session machine as the engine's front-end; what it counts is what it
//! answered with 250. Chances come from a seeded generator, so that a run can be repeated.
//! Refuses: durability. Mail that it takes is gone, unless `--dump` keeps it.

mod conversation;
mod options;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use mail::{Reply, Rng};
use serde_json::json;
use smtp::server::Settings;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use conversation::Conversation;
pub(crate) use options::SinkArgs;
use options::{Refusal, Stage};

/// Where the sink listens unless told otherwise.
const LISTEN_SMTP: &str = "127.0.0.1:2526";
const LISTEN_LMTP: &str = "127.0.0.1:2424";
/// How often the live counter moves.
const COUNTER_STEP: Duration = Duration::from_millis(100);
/// Pause after a failed accept.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How long clients may take to say QUIT when there is enough.
const PARTING_MAX: Duration = Duration::from_secs(1);
/// Room for one read.
const READ_ROOM: usize = 64 * 1024;
/// Exit codes of sysexits.h.
const EXIT_OK: u8 = 0;
const EXIT_IO: u8 = 74;

/// What all connections share.
struct Sink {
    args: SinkArgs,
    settings: Arc<Settings>,
    rng: Mutex<Rng>,
    counts: Counts,
    enough: Notify,
}

/// What has happened so far.
#[derive(Default)]
struct Counts {
    connections: Count,
    messages: Count,
    /// Messages whose answer was sent.
    answered: Count,
    recipients: Count,
    bytes: Count,
    refused: Count,
    dropped: Count,
}

#[derive(Default)]
struct Count(AtomicU64);

impl Count {
    /// Adds, and says how many there are now.
    fn add(&self, more: u64) -> u64 {
        self.0.fetch_add(more, Ordering::Relaxed) + more
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds one unless there are so many already, and says which one it is.
    fn add_within(&self, limit: Option<u64>) -> Option<u64> {
        let more = |count: u64| limit.is_none_or(|limit| count < limit).then_some(count + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|before| before + 1)
    }
}

/// Runs until Ctrl-C, SIGTERM or `--count`. The exit code.
pub(crate) fn run(args: SinkArgs) -> u8 {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot start: {error}")),
    };
    match runtime.block_on(serve(args)) {
        Ok(()) => EXIT_OK,
        Err(text) => failed(&text),
    }
}

fn failed(text: &str) -> u8 {
    eprintln!("postrider sink: {text}");
    EXIT_IO
}

async fn serve(args: SinkArgs) -> Result<(), String> {
    let default = if args.lmtp { LISTEN_LMTP } else { LISTEN_SMTP };
    let address =
        args.listen.unwrap_or_else(|| default.parse().expect("the default is an address with a port"));
    let listener =
        TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let local = listener.local_addr().map_err(|error| error.to_string())?;
    if let Some(folder) = &args.dump {
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    }
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    announce(&args, local);
    let sink = Arc::new(Sink::new(args));
    let began = Instant::now();
    let counter = counter(&sink, began);
    tokio::select! {
        () = sink.clone().take_mail(listener) => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    if let Some((bar, task)) = counter {
        task.abort();
        bar.finish_and_clear();
    }
    sink.summary(began.elapsed());
    Ok(())
}

fn announce(args: &SinkArgs, address: SocketAddr) {
    let protocol = if args.lmtp { "LMTP" } else { "SMTP" };
    if args.json {
        say(&json!({ "event": "listening", "protocol": protocol, "address": address.to_string() })
            .to_string());
    } else if !args.quiet {
        say(&format!("listening on {address} ({protocol}); Ctrl-C ends it"));
    }
}

/// A reader that has left is no reason to stop.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn counter(sink: &Arc<Sink>, began: Instant) -> Option<(ProgressBar, tokio::task::JoinHandle<()>)> {
    if sink.args.quiet || sink.args.json || !io::stderr().is_terminal() {
        return None;
    }
    let style =
        ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar = ProgressBar::new_spinner().with_style(style);
    let (sink, moving) = (sink.clone(), bar.clone());
    let task = tokio::spawn(async move {
        let mut step = tokio::time::interval(COUNTER_STEP);
        loop {
            step.tick().await;
            moving.set_message(sink.counts.line(began.elapsed()));
            moving.tick();
        }
    });
    Some((bar, task))
}

impl Counts {
    fn line(&self, elapsed: Duration) -> String {
        let messages = self.messages.now();
        let rate = messages as f64 / elapsed.as_secs_f64().max(0.001);
        format!(
            "{messages} messages, {} recipients, {} bytes, {} refused, {} dropped, {} connections, \
             {:.1} s, {rate:.0}/s",
            self.recipients.now(),
            self.bytes.now(),
            self.refused.now(),
            self.dropped.now(),
            self.connections.now(),
            elapsed.as_secs_f64(),
        )
    }
}

impl Sink {
    fn new(args: SinkArgs) -> Sink {
        let settings = Settings {
            hostname: "sink.postrider".into(),
            lmtp: args.lmtp,
            message_size_limit: 0,
            recipient_limit: usize::MAX,
            hopcount_limit: u32::MAX,
            // Whoever is refused all the time is being tested, not attacking.
            hard_error_limit: u32::MAX,
            junk_command_limit: u32::MAX,
            body_part: if args.dump.is_some() { usize::MAX } else { READ_ROOM },
            ..Settings::default()
        };
        let rng = Mutex::new(Rng::new(args.seed));
        Sink { settings: Arc::new(settings), rng, counts: Counts::default(), enough: Notify::new(), args }
    }

    fn summary(&self, elapsed: Duration) {
        if !self.args.json {
            return say(&self.counts.line(elapsed));
        }
        let summary = json!({
            "event": "summary",
            "messages": self.counts.messages.now(),
            "recipients": self.counts.recipients.now(),
            "bytes": self.counts.bytes.now(),
            "refused": self.counts.refused.now(),
            "dropped": self.counts.dropped.now(),
            "connections": self.counts.connections.now(),
            "seconds": elapsed.as_secs_f64(),
        });
        say(&summary.to_string());
    }

    /// Whether as many messages were taken as wanted.
    fn has_enough(&self) -> bool {
        self.args.count.is_some_and(|limit| self.counts.messages.now() >= limit)
    }

    fn happens(&self, percent: u64) -> bool {
        percent >= 100 || self.rng.lock().unwrap_or_else(PoisonError::into_inner).chance(percent, 100)
    }

    /// The refusal that is due at this stage.
    fn refusal(&self, stage: Stage) -> Option<Reply> {
        let due = |refusal: &&Refusal| refusal.stage == stage && self.happens(refusal.percent);
        let refusal = self.args.refuse.iter().find(due)?;
        self.counts.refused.add(1);
        Some(refusal.reply.clone())
    }

    /// Waits and decides whether to drop the connection.
    async fn reaches(&self, stage: Stage) -> io::Result<()> {
        if self.args.delay.stage == stage && !self.args.delay.length.is_zero() {
            tokio::time::sleep(self.args.delay.length).await;
        }
        if self.args.drop.iter().any(|one| one.stage == stage && self.happens(one.percent)) {
            self.counts.dropped.add(1);
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }

    /// Serves until there is enough, and until those who are connected then have said QUIT.
    async fn take_mail(self: Arc<Sink>, listener: TcpListener) {
        let (alive, mut gone) = mpsc::channel::<()>(1);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => drop(tokio::spawn(self.clone().client(stream, alive.clone()))),
                    // Out of descriptors: only time helps.
                    Err(_) => sleep(ACCEPT_RETRY).await,
                },
                () = self.enough.notified() => break,
            }
        }
        drop(alive);
        let _ = timeout(PARTING_MAX, gone.recv()).await;
    }

    /// Messages have been answered; they may have been the last.
    fn answered(&self, messages: u64) {
        let answered = self.counts.answered.add(messages);
        if self.args.count.is_some_and(|limit| answered >= limit) {
            self.enough.notify_one();
        }
    }

    async fn client(self: Arc<Sink>, stream: TcpStream, _alive: mpsc::Sender<()>) {
        self.counts.connections.add(1);
        // Errors end this connection and nothing else; the client sees them, too.
        let _ = stream.set_nodelay(true);
        let _ = Conversation::new(&self, stream).run().await;
    }
}
