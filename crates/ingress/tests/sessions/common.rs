//! A front-end over a real spool, and a client that says exactly what it is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ingress::{Accepted, Config, EtrnRequest, Ingress, Memory, Networks, Policy, Services};
use mail::{DomainList, Time};
use spool::disk::{Disk, RealDisk};
use spool::{Options, Spool};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longest wait for anything. Reached only when a test fails.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// A front-end with everything behind it but the engine, whose place the test takes.
pub(crate) struct World {
    pub(crate) ingress: Option<Ingress>,
    pub(crate) address: SocketAddr,
    pub(crate) accepted: mpsc::Receiver<Accepted>,
    pub(crate) etrn: mpsc::Receiver<EtrnRequest>,
    pub(crate) spool: Arc<Spool>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) config: Config,
    _folder: Option<tempfile::TempDir>,
}

/// A configuration in which this machine may do everything.
pub(crate) fn open_config() -> Config {
    let here = Networks::parse(&["127.0.0.0/8"]).unwrap();
    Config {
        hostname: "mx.test".into(),
        policy: Policy { relay_from: here.clone(), etrn_from: here, ..Policy::default() },
        ..Config::default()
    }
}

/// A configuration for strangers, who may send to `here.test` only.
pub(crate) fn strict_config() -> Config {
    let local_domains = DomainList::parse(&["here.test"], false).unwrap();
    Config {
        hostname: "mx.test".into(),
        policy: Policy { local_domains, ..Policy::default() },
        ..Config::default()
    }
}

pub(crate) fn start(config: Config) -> World {
    start_with(config, 64 << 20)
}

pub(crate) fn start_with(config: Config, memory: usize) -> World {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(folder.path().join("spool"));
    World { _folder: Some(folder), ..start_on(Arc::new(disk), config, memory) }
}

pub(crate) fn start_on(disk: Arc<dyn Disk>, config: Config, memory: usize) -> World {
    let options = Options {
        segment_size: 4 << 20,
        spares_min: 2,
        free_min: 0,
        retry_delay: Duration::from_millis(5),
        ..Options::default()
    };
    let spool = Arc::new(Spool::open(disk, options, &mut |_| {}, &mut |_| {}).unwrap());
    let (to_engine, accepted) = mpsc::channel(100);
    let (to_flush, etrn) = mpsc::channel(10);
    let memory = Memory::new(memory);
    let services = Services {
        spool: spool.clone(),
        accepted: to_engine,
        etrn: to_flush,
        memory: memory.clone(),
        clock: || Time::from_millis(1_795_316_400_000),
        date: |_| "Sun, 22 Nov 2026 03:00:00 +0000".into(),
    };
    let listen = ["127.0.0.1:0".parse().unwrap()];
    let ingress = Ingress::start(&listen, config.clone(), Arc::new(services)).unwrap();
    let address = ingress.addresses()[0];
    World { ingress: Some(ingress), address, accepted, etrn, spool, memory, config, _folder: None }
}

impl World {
    pub(crate) async fn connect(&self) -> Client<TcpStream> {
        Client { stream: TcpStream::connect(self.address).await.unwrap(), read: Vec::new() }
    }

    /// A client that has been greeted and has said EHLO (LHLO).
    pub(crate) async fn client(&self) -> Client<TcpStream> {
        let mut client = self.connect().await;
        client.expect("220 ").await;
        client.say(if self.config.lmtp { "LHLO client.test" } else { "EHLO client.test" }).await;
        client.expect("250 ").await;
        client
    }

    pub(crate) async fn next_accepted(&mut self) -> Accepted {
        timeout(WAIT_MAX, self.accepted.recv()).await.unwrap().unwrap()
    }

    /// The content of a message as stored.
    pub(crate) async fn content(&self, accepted: &Accepted) -> Vec<u8> {
        let (spool, id) = (self.spool.clone(), accepted.id);
        tokio::task::spawn_blocking(move || {
            let body = spool.body(id).unwrap();
            let mut content = vec![0; usize::try_from(body.len()).unwrap()];
            let mut at = 0;
            while at < content.len() {
                at += body.read_at(at as u64, &mut content[at..]).unwrap();
            }
            content
        })
        .await
        .unwrap()
    }
}

/// A client.
pub(crate) struct Client<S> {
    pub(crate) stream: S,
    read: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn over(stream: S) -> Client<S> {
        Client { stream, read: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn say(&mut self, line: &str) {
        self.send(format!("{line}\r\n").as_bytes()).await;
    }

    /// One line of a reply; nothing when the server has closed.
    pub(crate) async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.windows(2).position(|two| two == b"\r\n") {
                let line = self.read.drain(..end + 2).collect::<Vec<u8>>();
                return Some(String::from_utf8(line[..end].to_vec()).unwrap());
            }
            let count = timeout(WAIT_MAX, self.stream.read_buf(&mut self.read)).await.unwrap();
            if count.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Reads lines of a reply up to its last and checks how that one begins.
    #[track_caller]
    pub(crate) fn expect<'a>(&'a mut self, front: &'a str) -> impl Future<Output = String> + 'a {
        let place = std::panic::Location::caller();
        async move {
            loop {
                let line = self.line().await.unwrap_or_else(|| panic!("{place}: closed instead of {front}"));
                if line.as_bytes().get(3) != Some(&b'-') {
                    assert!(line.starts_with(front), "{place}: {line:?} instead of {front:?}");
                    return line;
                }
            }
        }
    }

    /// Says a line and checks the reply.
    pub(crate) async fn ask(&mut self, line: &str, front: &str) -> String {
        self.say(line).await;
        self.expect(front).await
    }

    pub(crate) async fn expect_end(&mut self) {
        assert_eq!(self.line().await, None);
    }
}
