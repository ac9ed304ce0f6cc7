//! Start, run, stop.
//!
//! Promises: nothing is listened on before the spool is open; mail is taken while the engine still learns
//! what was in it. A stop ends in the reverse order, each step within a bound.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use delivery::{
    Agents, AgentsConfig, IDLE_CONNECTIONS, LookupCache, Resolver as NameService, SystemResolver, Tls,
    Unavailable,
};
use ingress::{Ingress, Memory, Services, SessionErrors};
use qmgr::Engine;
use spool::{Inventory, OpenError, Spool};
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::deleted::Deleted;
use super::deliveries::Deliveries;
use super::effects::Effects;
use super::engine_task::{ACCEPTED_WAITING_MAX, EngineTask, Stop, now};
use super::flush_logs::FlushLogs;
use super::last_stop::LastStop;
use super::operator::{Facts, Operator};
use super::reload::{Reload, front_ends, one_line, transports};
use super::reports::{ReportSettings, Reports};
use super::routes::Routes;
use super::stored::{Piece, Teller};
use super::{control_socket, etrn, flush_logs, health, learned, logging, open, session_errors};
use crate::config::{FrontEnd, Loaded, Settings, Sources};

/// Memory for bodies that are arriving, all sessions together.
const ARRIVING_BYTES_MAX: usize = 256 << 20;
/// Open files that are asked for: connections on both sides, and the spool's.
const OPEN_FILES: u64 = 65_536;
/// How long the goodbyes to next hops may take.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

/// Why the engine does not start: an exit code of sysexits.h and one line.
struct Failure(u8, String);

/// Runs the engine until it is told to stop. Returns the exit code.
pub(crate) fn run(loaded: Loaded, sources: Sources) -> u8 {
    close_inherited_files();
    let settings = loaded.settings;
    let format = if settings.log.json { logging::Format::Json } else { logging::Format::Text };
    logging::start(format, &settings.log.level, &settings.smtp.config.hostname);
    if let Some(file) = &loaded.file {
        info!("configuration: {}", file.display());
    }
    raise_open_files();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("postrider: cannot start threads: {error}");
            return 71;
        }
    };
    match runtime.block_on(serve(settings, sources)) {
        Ok(()) => 0,
        Err(Failure(code, text)) => {
            eprintln!("postrider: {text}");
            code
        }
    }
}

async fn serve(settings: Settings, sources: Sources) -> Result<(), Failure> {
    let directory = settings.spool.directory.clone();
    let mut engine = Engine::new(settings.engine.clone(), settings.spool.options.seed);
    engine.handle_learned(now(), learned::read(&directory));
    let options = open::options(&settings.spool);
    // Taken first: a signal must not end a start that takes long without a word.
    let mut signals = Signals::take()?;
    let opening = tokio::task::spawn_blocking({
        let directory = directory.clone();
        move || open::open(&directory, options)
    });
    let opened = tokio::select! {
        opened = opening => opened,
        () = signals.told_to_stop() => {
            // Nothing but reading and repairs has happened, and the next start does them again.
            info!("stopped while the spool was being opened");
            std::process::exit(0);
        }
    };
    let (spool, inventory) = opened
        .map_err(|failure| Failure(70, format!("internal error while opening the spool: {failure}")))?
        .map_err(|error| open_failure(&directory, &error))?;
    let control = control_socket::bind(&settings.control.socket, settings.control.mode).map_err(|error| {
        Failure(74, format!("control socket {}: {error}", settings.control.socket.display()))
    })?;
    let deleted = Arc::new(Deleted::new(spool.clone(), settings.control.delete_grace));
    // It ends with the runtime; a closed spool ignores it.
    tokio::spawn(deleted.clone().forget_in_time());
    let opened = Opened { spool: spool.clone(), inventory, deleted };
    let served = match start(settings, sources, engine, opened, control) {
        Ok(running) => {
            running.until_stopped(signals).await;
            Ok(())
        }
        Err(failure) => Err(failure),
    };
    // Whatever happened before, what is durable stays so and the next start finds a clean end.
    let closing = tokio::task::spawn_blocking(move || spool.close());
    if closing.await.is_err() {
        error!("the spool was not closed cleanly; nothing is lost, the next start reads more of it");
    }
    served
}

fn open_failure(directory: &Path, error: &OpenError) -> Failure {
    let code = match error {
        OpenError::InUse { .. } => 75,
        OpenError::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => 77,
        OpenError::Io { .. } => 74,
        OpenError::Options(_) => 78,
        _ => 65,
    };
    let hint = match error {
        OpenError::Io { .. } => "; see whether spool.directory is right, and may and can be written",
        _ => "",
    };
    Failure(code, format!("spool {}: {error}{hint}", directory.display()))
}

/// Everything that runs once the spool is open.
struct Running {
    smtp: Ingress,
    lmtp: Ingress,
    reload: Reload,
    engine: JoinHandle<Engine>,
    stop: watch::Sender<Stop>,
    /// What needs no goodbye.
    background: Vec<JoinHandle<()>>,
    flush_logs: flush_logs::Writer,
    deleted: Arc<Deleted>,
}

/// The spool, and what was in it.
struct Opened {
    spool: Arc<Spool>,
    inventory: Inventory,
    deleted: Arc<Deleted>,
}

impl Opened {
    /// Begins to tell the engine what was in the spool.
    fn tell(self, settings: &Settings, flush_logs: FlushLogs) -> mpsc::Receiver<Piece> {
        let Opened { spool, inventory, deleted } = self;
        let directory = settings.spool.directory.clone();
        Teller { directory, spool, inventory, deleted, flush_logs }.start()
    }
}

/// Starts everything, listeners last.
fn start(
    settings: Settings,
    sources: Sources,
    engine: Engine,
    opened: Opened,
    control: UnixListener,
) -> Result<Running, Failure> {
    let (spool, deleted) = (opened.spool.clone(), opened.deleted.clone());
    let routes = Arc::new(Routes::start(&settings));
    let transports = Arc::new(ArcSwap::from_pointee(transports(&settings)));
    let report_settings = report_settings(&settings)?;
    let agents = agents(&settings);
    let (accepted, arriving) = mpsc::channel(ACCEPTED_WAITING_MAX);
    let (etrn, etrn_requests) = mpsc::channel(etrn::REQUESTS_WAITING_MAX);
    let (stop, stopping) = watch::channel(None);

    let reports = Reports {
        spool: spool.clone(),
        accepted: accepted.clone(),
        settings: report_settings.clone(),
        last_stop: LastStop { routes: routes.clone(), transports: transports.clone() },
        telling: Arc::default(),
    };
    let deliveries =
        Deliveries { spool: spool.clone(), agents: agents.clone(), transports: transports.clone() };
    let (logs, flush_logs) = flush_logs::start(&settings.spool.directory);
    let watched = reports.clone();
    let (errors, session_errors) = session_errors::start(reports.clone());
    let told = opened.tell(&settings, logs.clone());
    let effects = Effects::new(spool.clone(), routes.clone(), deliveries, reports, logs, deleted.clone());
    let (task, handle) = EngineTask::new(engine, effects, arriving, told, stopping.clone());
    let memory = Memory::new(ARRIVING_BYTES_MAX);
    let services =
        Services { spool: spool.clone(), accepted, etrn, memory, clock: now, date: dsn::rfc5322_date };
    let services = Arc::new(services);
    let [smtp, lmtp] = listeners(&settings, &routes, &errors, &services)?;

    let facts = Facts {
        started: now(),
        spool_directory: settings.spool.directory.display().to_string(),
        listen: addresses(&smtp, &lmtp),
    };
    greet(&settings, &facts.listen, engine_summary(&spool));
    let health = tokio::spawn(health::watch(spool.clone(), watched));
    let operator = Arc::new(Operator {
        engine: handle.clone(),
        spool,
        routes: routes.clone(),
        deleted: deleted.clone(),
        facts,
    });
    let control = tokio::spawn(control_socket::serve(control, operator, stopping));
    let etrn = tokio::spawn(etrn::serve(handle.clone(), etrn_requests));
    let table = tokio::spawn(routes.clone().watch_table());
    let engine = tokio::spawn(task.run());
    let reports = report_settings;
    let reload = Reload { sources, settings, engine: handle, routes, agents, transports, reports, errors };
    Ok(Running {
        smtp,
        lmtp,
        reload,
        engine,
        stop,
        background: vec![health, control, etrn, table, session_errors],
        flush_logs,
        deleted,
    })
}

impl Running {
    /// Serves until a signal says to stop, then ends everything in the reverse order, each step within a
    /// bound.
    async fn until_stopped(mut self, mut signals: Signals) {
        reload_until_told_to_stop(&mut signals, &mut self.reload, &self.smtp, &self.lmtp).await;
        info!("stopping: no more mail is taken; a second signal stops at once");
        tokio::spawn(stop_at_once_when_told_again(signals));
        let settings = &self.reload.settings;
        let grace = settings.control.stop_timeout;
        let (smtp, lmtp) = tokio::join!(self.smtp.stop(grace), self.lmtp.stop(grace));
        let cut_off = smtp + lmtp;
        if cut_off > 0 {
            warn!("{cut_off} sessions were cut off");
        }
        self.stop.send_replace(Some(grace));
        match self.engine.await {
            Ok(engine) => learned::write(&settings.spool.directory, engine.learned(now())),
            Err(failure) => error!("the engine failed: {failure}"),
        }
        let _ = tokio::time::timeout(GOODBYE_MAX, self.reload.agents.close()).await;
        let deleted = self.deleted;
        // It has a bound of its own, and what is not marked by then is there again after the next start.
        let _ = tokio::task::spawn_blocking(move || deleted.settle()).await;
        // Not for a disk that hangs: the next start writes the logs anew.
        let _ = tokio::time::timeout(GOODBYE_MAX, self.flush_logs.finish()).await;
        self.background.iter().for_each(JoinHandle::abort);
        // Whoever looks for the engine now is told that it is not running.
        let _ = std::fs::remove_file(&settings.control.socket);
        info!("stopped");
    }
}

fn report_settings(settings: &Settings) -> Result<Arc<ArcSwap<ReportSettings>>, Failure> {
    let read = ReportSettings::read(settings).map_err(|problem| Failure(78, problem.to_string()))?;
    Ok(Arc::new(ArcSwap::from_pointee(read)))
}

fn agents(settings: &Settings) -> Arc<Agents> {
    let config = AgentsConfig {
        hostname: settings.smtp.config.hostname.as_str().into(),
        seed: settings.spool.options.seed,
        idle_connections_max: IDLE_CONNECTIONS.min(open_files() / 4),
    };
    let names: Arc<dyn NameService> = match SystemResolver::new() {
        Ok(resolver) => Arc::new(LookupCache::new(resolver)),
        Err(error) => {
            warn!("{error}: mail to domains waits, mail to addresses goes out");
            Arc::new(Unavailable { reason: error.to_string() })
        }
    };
    Arc::new(Agents::new(config, names, Tls::native()))
}

/// The front-ends for SMTP and LMTP.
fn listeners(
    settings: &Settings,
    routes: &Arc<Routes>,
    errors: &mpsc::Sender<SessionErrors>,
    services: &Arc<Services>,
) -> Result<[Ingress; 2], Failure> {
    let configs =
        front_ends(settings, routes, errors).map_err(|problems| Failure(78, one_line(&problems)))?;
    let [smtp, lmtp] = configs;
    Ok([listen(&settings.smtp, smtp, services)?, listen(&settings.lmtp, lmtp, services)?])
}

fn listen(
    settings: &FrontEnd,
    config: ingress::Config,
    services: &Arc<Services>,
) -> Result<Ingress, Failure> {
    let section = if config.lmtp { "lmtp" } else { "smtp" };
    Ingress::start(&settings.listen, config, services.clone()).map_err(|error| {
        let (code, hint) = match error.source.kind() {
            ErrorKind::PermissionDenied => {
                (77, "ports below 1024 are for root, or need CAP_NET_BIND_SERVICE")
            }
            ErrorKind::AddrInUse => (69, "stop the program that is there"),
            ErrorKind::AddrNotAvailable => (69, "this machine has no such address"),
            _ => (69, "see whether the address is right"),
        };
        Failure(code, format!("{error}: {hint}, or change {section}.listen"))
    })
}

fn addresses(smtp: &Ingress, lmtp: &Ingress) -> Vec<String> {
    let named = |word: &'static str, ingress: &Ingress| {
        ingress.addresses().iter().map(|address| format!("{word} {address}")).collect::<Vec<_>>()
    };
    [named("smtp", smtp), named("lmtp", lmtp)].concat()
}

fn engine_summary(spool: &Spool) -> String {
    let messages = spool.health().messages;
    format!("{messages} message{}", if messages == 1 { "" } else { "s" })
}

/// What a person who started it wants to know, on standard output; the log says the same.
fn greet(settings: &Settings, listen: &[String], messages: String) {
    let mut lines = vec![super::PROGRAM.to_owned()];
    for address in listen {
        info!("listening on {address}");
        lines.push(format!("listening on {address}"));
    }
    lines.push(format!("spool {} ({messages})", settings.spool.directory.display()));
    lines.push(format!("control socket {}", settings.control.socket.display()));
    if let Some(smtp) = listen.iter().find_map(|address| address.strip_prefix("smtp ")) {
        // As it was called just now, so that the line works where it is read.
        let program = std::env::args().next().unwrap_or_else(|| "postrider".to_owned());
        lines.push(format!(
            "send a first message: {program} source --messages 1 --to {smtp} --rcpt you@example.com"
        ));
    }
    lines.push("stop with Ctrl-C\n".to_owned());
    // Whoever started it may not listen; that is no reason not to run.
    let _ = std::io::stdout().write_all(lines.join("\n").as_bytes());
}

/// The signals that mean something here. Taken before anybody is told that the engine runs.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn take() -> Result<Signals, Failure> {
        let take = |kind| signal(kind).map_err(|error| Failure(71, format!("cannot take signals: {error}")));
        Ok(Signals {
            hangup: take(SignalKind::hangup())?,
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
        })
    }

    async fn told_to_stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Reloads whenever it is told to, until it is told to stop.
async fn reload_until_told_to_stop(
    signals: &mut Signals,
    reload: &mut Reload,
    smtp: &Ingress,
    lmtp: &Ingress,
) {
    loop {
        tokio::select! {
            _ = signals.hangup.recv() => reload.reload(smtp, lmtp).await,
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
        }
    }
}

/// Whoever asks twice does not want to wait. Nothing is lost: it is a crash, and the next start says
/// which messages were in delivery.
async fn stop_at_once_when_told_again(mut signals: Signals) {
    signals.told_to_stop().await;
    warn!("stopped at once, as told twice");
    std::process::exit(1);
}

/// Closes what was open when the program was started: it is none of its business, and would go on to every
/// program that mail is piped to. What is opened later is never passed on.
fn close_inherited_files() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let inherited: Vec<i32> = numbers.filter(|number| *number > 2).collect();
    for number in inherited {
        // One of them was that of the listing itself, and is closed already.
        let _ = nix::unistd::close(number);
    }
}

/// How many files may be open; more than anybody wants where the system does not say.
fn open_files() -> usize {
    use nix::sys::resource::{Resource, getrlimit};
    let soft = getrlimit(Resource::RLIMIT_NOFILE).map_or(OPEN_FILES, |(soft, _)| soft);
    usize::try_from(soft).unwrap_or(usize::MAX)
}

/// Each connection is an open file; the usual limit of 1024 is for programs with few of them.
fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let wanted = OPEN_FILES.min(hard);
    if soft < wanted
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
    {
        warn!("the limit of open files stays at {soft}: {error}");
    }
}
