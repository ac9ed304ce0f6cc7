//! The server: a listener on a port of its own, or on a Unix socket, until it is dropped.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::script::Script;
use super::wire::{Message, Note, Stream, Wire};

/// How long a test waits for something that has to happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a server heard.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Heard {
    /// The commands of each connection, content left out.
    pub lines: Vec<Vec<String>>,
    /// The messages that came whole.
    pub messages: Vec<Message>,
    /// How many connections are over.
    pub closed: usize,
}

impl Heard {
    /// How many clients connected.
    pub fn connections(&self) -> usize {
        self.lines.len()
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Replies have to go out one by one where the script says so.
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Listener::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

/// See the module head of [`super`].
#[derive(Debug)]
pub struct ScriptedServer {
    address: Option<SocketAddr>,
    heard: Arc<watch::Sender<Heard>>,
    script: Arc<Mutex<Script>>,
    accepting: JoinHandle<()>,
}

impl ScriptedServer {
    /// Listens on a free port of 127.0.0.1.
    pub async fn start(script: Script) -> ScriptedServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().ok();
        ScriptedServer::accept(script, address, Listener::Tcp(listener))
    }

    /// Listens on a Unix socket.
    pub fn start_unix(path: &Path, script: Script) -> ScriptedServer {
        let listener = UnixListener::bind(path).expect("a path to bind to");
        ScriptedServer::accept(script, None, Listener::Unix(listener))
    }

    fn accept(script: Script, address: Option<SocketAddr>, listener: Listener) -> ScriptedServer {
        let heard = Arc::new(watch::Sender::new(Heard::default()));
        let script = Arc::new(Mutex::new(script));
        let (to, how) = (Arc::clone(&heard), Arc::clone(&script));
        let accepting = tokio::spawn(async move {
            while let Ok(stream) = listener.accept().await {
                let script = how.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let connection = to.borrow().connections();
                to.send_modify(|heard| heard.lines.push(Vec::new()));
                let to = Arc::clone(&to);
                tokio::spawn(async move {
                    let note = move |note| to.send_modify(|heard| write_down(heard, connection, note));
                    Wire::new(stream, script, connection, &note).run().await;
                });
            }
        });
        ScriptedServer { address, heard, script, accepting }
    }

    /// Where it listens; a server on a Unix socket has no port and panics.
    pub fn address(&self) -> SocketAddr {
        self.address.expect("the server listens on a port")
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address().port()
    }

    /// As a next hop of its own: `[127.0.0.1]:port`.
    pub fn nexthop(&self) -> String {
        format!("[127.0.0.1]:{}", self.port())
    }

    /// Connections from now on follow this script.
    pub fn follow(&self, script: Script) {
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = script;
    }

    /// What it heard so far.
    pub fn heard(&self) -> Heard {
        self.heard.borrow().clone()
    }

    /// What it heard once that is so. Panics when it does not become so in time.
    pub async fn wait_until(&self, so: impl FnMut(&Heard) -> bool) -> Heard {
        let mut heard = self.heard.subscribe();
        let found = tokio::time::timeout(PATIENCE, heard.wait_for(so)).await;
        match found {
            Ok(Ok(heard)) => heard.clone(),
            _ => panic!("the server never heard that, only {:?}", self.heard()),
        }
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn write_down(heard: &mut Heard, connection: usize, note: Note) {
    match note {
        Note::Line(line) => heard.lines[connection].push(line),
        Note::Message(message) => heard.messages.push(message),
        Note::Closed => heard.closed += 1,
    }
}
