//! Opening a connection: TCP or a Unix socket, greeting, EHLO, TLS.

use std::sync::Arc;

use mail::{EnhancedStatus, Outcome, Relay, Scope};
use rustls_pki_types::ServerName;
use smtp::client::{Event, Session, SessionOptions, StartTls};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};

use crate::config::{Kind, TlsLevel, TransportConfig};
use crate::connection::{Connection, Wire, said};
use crate::targets::{Target, TargetAddress};
use crate::tls::Tls;

/// Why there is no session with a target.
pub(crate) enum OpenError {
    /// Nobody there: no session was used up.
    Unreachable(Outcome),
    /// Somebody there, but no session came about.
    Refused(Outcome),
    /// The TLS handshake failed.
    Tls(Outcome),
}

impl OpenError {
    pub(crate) fn into_outcome(self) -> Outcome {
        match self {
            OpenError::Unreachable(outcome) | OpenError::Refused(outcome) | OpenError::Tls(outcome) => {
                outcome
            }
        }
    }
}

/// Opens connections of one transport.
pub(crate) struct Opener<'a> {
    pub(crate) transport: &'a TransportConfig,
    pub(crate) hostname: &'a Arc<str>,
    pub(crate) tls: &'a Tls,
    /// Nothing may last beyond it.
    pub(crate) limit: Instant,
}

impl Opener<'_> {
    /// A session that is ready for a message. When TLS is only wished for and fails, it is opened again in
    /// clear.
    pub(crate) async fn open(&self, target: &Target) -> Result<Connection, OpenError> {
        let wish = match (self.transport.tls, &target.address) {
            (TlsLevel::None, _) | (TlsLevel::May, TargetAddress::Unix(_)) => StartTls::Never,
            (TlsLevel::May, _) => StartTls::WhenOffered,
            (TlsLevel::Encrypt | TlsLevel::Verify, _) => StartTls::Required,
        };
        match self.attempt(target, wish).await {
            Err(OpenError::Tls(outcome)) if wish == StartTls::WhenOffered => {
                tracing::info!(relay = %target.relay(), "TLS failed, going on in clear: {}", outcome.text);
                self.attempt(target, StartTls::Never).await
            }
            opened => opened,
        }
    }

    async fn attempt(&self, target: &Target, start_tls: StartTls) -> Result<Connection, OpenError> {
        let relay = Arc::new(target.relay());
        let wire = self.connect(target, &relay).await?;
        let session = Session::new(SessionOptions {
            lmtp: self.transport.kind == Kind::Lmtp,
            hostname: Arc::clone(self.hostname),
            start_tls,
            relay: Some(relay),
        });
        let mut connection = Connection::new(wire, session, self.transport.deadlines);
        loop {
            match connection.next_event(self.limit).await {
                Event::Ready => return Ok(connection),
                Event::StartTls => connection = self.encrypt(connection, target).await?,
                Event::Failed(outcome) => return Err(OpenError::Refused(outcome)),
                // No message was handed over yet.
                Event::SendContent | Event::Finished(_) => {}
            }
        }
    }

    async fn connect(&self, target: &Target, relay: &Arc<Relay>) -> Result<Box<dyn Wire>, OpenError> {
        let until = (Instant::now() + self.transport.deadlines.connect).min(self.limit);
        let connect = async {
            let wire: Box<dyn Wire> = match &target.address {
                TargetAddress::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    // Commands are written in whole groups; waiting for more only costs time.
                    stream.set_nodelay(true)?;
                    Box::new(stream)
                }
                TargetAddress::Unix(path) => Box::new(UnixStream::connect(path).await?),
            };
            Ok::<_, std::io::Error>(wire)
        };
        let why = match timeout_at(until, connect).await {
            Ok(Ok(wire)) => return Ok(wire),
            Ok(Err(error)) => said(&error),
            Err(_) => "connection timed out".to_owned(),
        };
        let text = format!("connect to {relay}: {why}");
        // Nobody answered, so there is no relay to name (`relay=none` of the log).
        Err(OpenError::Unreachable(failed(NO_ANSWER, text, None)))
    }

    async fn encrypt(&self, connection: Connection, target: &Target) -> Result<Connection, OpenError> {
        let (wire, mut session) = connection.into_parts();
        let relay = session.relay().cloned();
        let broken = |why: String| {
            let text = format!("TLS handshake with {} failed: {why}", target.relay());
            OpenError::Tls(failed(TLS_FAILED, text, relay.as_ref()))
        };
        let connector = self.tls.connector(self.transport.tls).map_err(|error| broken(error.to_string()))?;
        let name = ServerName::try_from(target.host.clone()).map_err(|error| broken(error.to_string()))?;
        let until = (Instant::now() + self.transport.deadlines.start_tls).min(self.limit);
        match timeout_at(until, connector.connect(name, wire)).await {
            Ok(Ok(stream)) => {
                session.tls_established();
                Ok(Connection::new(Box::new(stream), session, self.transport.deadlines))
            }
            Ok(Err(error)) => Err(broken(said(&error))),
            Err(_) => Err(broken("timed out".into())),
        }
    }
}

/// No answer from host (RFC 3463 3.5).
const NO_ANSWER: EnhancedStatus = EnhancedStatus::new(4, 4, 1);
/// Cryptographic failure (RFC 3463 3.8).
const TLS_FAILED: EnhancedStatus = EnhancedStatus::new(4, 7, 5);

fn failed(status: EnhancedStatus, text: String, relay: Option<&Arc<Relay>>) -> Outcome {
    Outcome::deferred(Scope::Site, status, text).at(relay.cloned())
}
