//! Listeners: accept, turn away, reload, stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use smtp::reply::print_reply;
use smtp::server::Settings;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::clients::{Clients, Crowded};
use crate::connection::{Connection, Phase};
use crate::gate::Gate;
use crate::{Config, Services, replies};

/// Pause after a failed accept: out of descriptors, only time helps.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How long connections that were cut off may take to notice.
const ABORT_WAIT: Duration = Duration::from_secs(1);

/// Why a front-end cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenError {
    /// Where.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

/// One front-end: any number of addresses with the same configuration.
#[derive(Debug)]
pub struct Ingress {
    addresses: Vec<SocketAddr>,
    config: watch::Sender<Current>,
    phase: watch::Sender<Phase>,
    clients: Arc<Clients>,
    counters: Arc<Counters>,
    /// Closed once every listener and connection is gone.
    gone: mpsc::Receiver<()>,
}

/// The configuration with what follows from it.
#[derive(Clone, Debug)]
struct Current {
    config: Arc<Config>,
    settings: Arc<Settings>,
}

/// What a front-end has done since it began.
#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    turned_away: AtomicU64,
}

/// How a front-end is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IngressStatus {
    /// Connections now.
    pub open: usize,
    /// Connections served or being served since the start.
    pub connections: u64,
    /// Connections turned away because there were too many.
    pub turned_away: u64,
}

/// What each listener and connection carries.
#[derive(Clone)]
struct Shared {
    config: watch::Receiver<Current>,
    phase: watch::Receiver<Phase>,
    clients: Arc<Clients>,
    counters: Arc<Counters>,
    services: Arc<Services>,
    gate: Arc<Gate>,
    alive: mpsc::Sender<()>,
}

impl Current {
    fn new(config: Config) -> Current {
        let settings = Arc::new(config.session_settings());
        Current { config: Arc::new(config), settings }
    }
}

impl Ingress {
    /// Binds the addresses and begins to serve. Must be called inside a tokio runtime.
    pub fn start(
        listen: &[SocketAddr],
        config: Config,
        services: Arc<Services>,
    ) -> Result<Ingress, ListenError> {
        let mut listeners = Vec::with_capacity(listen.len());
        let mut addresses = Vec::with_capacity(listen.len());
        for &address in listen {
            let bound = bind(address).and_then(|listener| Ok((listener.local_addr()?, listener)));
            let (local, listener) = bound.map_err(|source| ListenError { address, source })?;
            addresses.push(local);
            listeners.push(listener);
        }
        let (config, config_seen) = watch::channel(Current::new(config));
        let (phase, phase_seen) = watch::channel(Phase::Running);
        let (alive, gone) = mpsc::channel(1);
        let clients = Arc::new(Clients::default());
        let counters = Arc::new(Counters::default());
        let shared = Shared {
            config: config_seen,
            phase: phase_seen,
            clients: clients.clone(),
            counters: counters.clone(),
            services,
            gate: Arc::default(),
            alive,
        };
        for listener in listeners {
            tokio::spawn(listen_on(listener, shared.clone()));
        }
        Ok(Ingress { addresses, config, phase, clients, counters, gone })
    }

    /// Where it listens; with port 0 in the configuration, the port that was found.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// New connections get this configuration; those that exist keep theirs.
    pub fn reload(&self, config: Config) {
        self.config.send_replace(Current::new(config));
    }

    /// How it is.
    pub fn status(&self) -> IngressStatus {
        IngressStatus {
            open: self.clients.count(),
            connections: self.counters.connections.load(Ordering::Relaxed),
            turned_away: self.counters.turned_away.load(Ordering::Relaxed),
        }
    }

    /// Stops accepting at once, lets each session finish the message that is arriving and tells it 421;
    /// after `grace` cuts off what is left. Returns how many that were.
    pub async fn stop(mut self, grace: Duration) -> usize {
        self.phase.send_replace(Phase::Stopping);
        if timeout(grace, self.gone.recv()).await.is_ok() {
            return 0;
        }
        let left = self.clients.count();
        self.phase.send_replace(Phase::Aborting);
        // A session that waits for the spool notices when the spool answers.
        let _ = timeout(ABORT_WAIT, self.gone.recv()).await;
        left
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    // The standard library sets SO_REUSEADDR, so that a restart need not wait for old connections.
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

async fn listen_on(listener: TcpListener, mut shared: Shared) {
    let mut phase = shared.phase.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|phase| *phase > Phase::Running) => return,
        };
        match accepted {
            Ok((stream, client)) => welcome(stream, client, &mut shared),
            Err(error) => {
                warn!("cannot accept a connection: {error}");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn welcome(stream: TcpStream, client: SocketAddr, shared: &mut Shared) {
    let Current { config, settings } = shared.config.borrow_and_update().clone();
    let address = client.ip().to_canonical();
    let client_limit =
        if config.policy.relay_from.contains(address) { usize::MAX } else { config.client_connection_limit };
    let seat = match shared.clients.enter(address, config.connection_limit, client_limit) {
        Ok(seat) => seat,
        Err(crowded) => {
            shared.counters.turned_away.fetch_add(1, Ordering::Relaxed);
            return turn_away(&stream, address, crowded, &config.hostname);
        }
    };
    shared.counters.connections.fetch_add(1, Ordering::Relaxed);
    // Replies are batched already; holding them back for more helps nobody.
    if let Err(error) = stream.set_nodelay(true) {
        warn!("cannot set TCP_NODELAY: {error}");
    }
    let connection = Connection::new(
        config,
        settings,
        shared.services.clone(),
        shared.gate.clone(),
        address,
        seat,
        shared.phase.clone(),
    );
    let alive = shared.alive.clone();
    tokio::spawn(async move {
        connection.serve(stream).await;
        drop(alive);
    });
}

/// One line, as far as it goes without waiting.
fn turn_away(stream: &TcpStream, client: std::net::IpAddr, crowded: Crowded, hostname: &str) {
    let name = format!("unknown[{client}]");
    let reply = match crowded {
        Crowded::All => replies::crowded(hostname),
        Crowded::Client => replies::client_crowded(hostname, &name),
    };
    info!("NOQUEUE: reject: CONNECT from {name}: {}", reply.one_line());
    let mut line = Vec::new();
    print_reply(&reply, &mut line);
    let _ = stream.try_write(&line);
}
