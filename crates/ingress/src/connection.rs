//! Drives one session over one connection.
//!
//! Promises: one read and one write for each group of pipelined commands; every wait has a deadline,
//! counted for whole commands and whole messages, so that a byte now and then does not extend it; what
//! a client is refused is logged in one line.
//! Refuses: questions of protocol, which are the session's, and of storage, which are the intake's.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mail::Address;
use smtp::command::Verb;
use smtp::server::{Event, Refusal, Session, Settings};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, info, warn};

use crate::clients::Seat;
use crate::config::DATA_RATE_MIN;
use crate::gate::Gate;
use crate::intake::{Intake, Origin};
use crate::received::Received;
use crate::replies::{self, reply};
use crate::stream::Stream;
use crate::transcript::Transcript;
use crate::{Config, EtrnAnswer, EtrnRequest, Services};

/// Room for commands in one read.
const COMMANDS_ROOM: usize = 4 * 1024;
/// Room for content in one read.
const CONTENT_ROOM: usize = 32 * 1024;
/// Replies are sent at the latest when there are so many bytes of them.
const OUTPUT_BYTES_MAX: usize = 32 * 1024;
/// How long a handshake may take.
const TLS_WAIT_MAX: Duration = Duration::from_secs(60);
/// How long whoever flushes may take to answer.
const ETRN_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long and how much is read behind the last reply. Closing with unread input resets the
/// connection, and the client may never see why.
const LINGER_MAX: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// What the listener wants of its connections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Phase {
    Running,
    /// End with the current message.
    Stopping,
    /// End now.
    Aborting,
}

/// Why a connection ended without a goodbye.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("lost connection")]
    Gone,
    #[error("lost connection: {0}")]
    Io(#[from] io::Error),
    #[error("timeout")]
    Timeout,
    #[error("TLS handshake failed: {0}")]
    Handshake(io::Error),
    #[error("cut off")]
    Aborted,
}

/// What to do with the stream.
enum Next {
    StartTls,
    Close,
}

/// One connection.
pub(crate) struct Connection {
    session: Session,
    config: Arc<Config>,
    services: Arc<Services>,
    gate: Arc<Gate>,
    client: IpAddr,
    seat: Seat,
    phase: watch::Receiver<Phase>,
    intake: Option<Intake>,
    began: Instant,
    /// Since when the client owes the current command or content.
    waiting_since: Instant,
    /// Bytes of the current content.
    content_bytes: Option<u64>,
    transcript: Transcript,
}

impl Connection {
    pub(crate) fn new(
        config: Arc<Config>,
        settings: Arc<Settings>,
        services: Arc<Services>,
        gate: Arc<Gate>,
        client: IpAddr,
        seat: Seat,
        phase: watch::Receiver<Phase>,
    ) -> Connection {
        let now = Instant::now();
        let transcript = config.errors.begin();
        Connection {
            session: Session::new(settings),
            config,
            services,
            gate,
            client: client.to_canonical(),
            seat,
            phase,
            intake: None,
            began: now,
            waiting_since: now,
            content_bytes: None,
            transcript,
        }
    }

    /// Serves the client to the end.
    pub(crate) async fn serve(mut self, stream: TcpStream) {
        debug!("connect from {}", self.client_name());
        let mut stream = Stream::Clear(stream);
        let end = loop {
            match self.converse(&mut stream).await {
                Ok(Next::StartTls) => match self.shake_hands(stream).await {
                    Ok(tls) => stream = tls,
                    Err(lost) => break Err(lost),
                },
                Ok(Next::Close) => break self.part(stream).await,
                Err(lost) => break Err(lost),
            }
        };
        if let Err(lost) = end {
            debug!("{lost} after {} from {}", self.stage(), self.client_name());
            if self.session.is_inside_body() {
                self.transcript.lost_in_content(&format!("{lost} after DATA"));
            }
        }
        self.abandon();
        debug!("disconnect from {}", self.client_name());
        self.transcript.end(self.client);
    }

    async fn converse(&mut self, stream: &mut Stream) -> Result<Next, Lost> {
        loop {
            if self.session.output().len() >= OUTPUT_BYTES_MAX {
                self.send(stream).await?;
            }
            match self.session.poll() {
                Event::NeedInput => {
                    self.spill().await;
                    self.send(stream).await?;
                    self.receive(stream).await?;
                }
                Event::Hello => self.session.accept(),
                Event::Mail => self.mail(),
                Event::Rcpt => self.rcpt(),
                Event::Data => self.data(),
                Event::BodyPart => self.spill().await,
                Event::Message => self.message().await,
                Event::Etrn { site, subdomains } => self.etrn(site, subdomains).await,
                Event::Abandoned => self.abandon(),
                Event::Refused(refusal) => self.log(&refusal),
                Event::StartTls => {
                    self.send(stream).await?;
                    return Ok(Next::StartTls);
                }
                Event::Close => {
                    self.abandon();
                    self.send(stream).await?;
                    return Ok(Next::Close);
                }
            }
        }
    }

    async fn send(&mut self, stream: &mut Stream) -> Result<(), Lost> {
        let output = self.session.output();
        if output.is_empty() {
            return Ok(());
        }
        self.transcript.sent(output);
        let sent = timeout(self.config.command_timeout, stream.write(output)).await;
        output.clear();
        // Whoever has been answered owes the next command from now on.
        self.waiting_since = Instant::now();
        self.content_bytes = None;
        Ok(sent.map_err(|_| Lost::Timeout)??)
    }

    async fn receive(&mut self, stream: &mut Stream) -> Result<(), Lost> {
        let inside = self.session.is_inside_body();
        if self.is_too_old() {
            self.session.close(&replies::session_too_long(&self.config.hostname));
            return Ok(());
        }
        let deadline = self.deadline(inside);
        let buffer = self.session.input();
        buffer.reserve(if inside { CONTENT_ROOM } else { COMMANDS_ROOM });
        let read = tokio::select! {
            read = timeout_at(deadline, stream.read(buffer)) => read,
            changed = self.phase.changed() => {
                let phase = if changed.is_ok() { *self.phase.borrow_and_update() } else { Phase::Aborting };
                return self.enter(phase);
            }
        };
        match read {
            Ok(Ok(0)) => Err(Lost::Gone),
            Ok(Ok(count)) => {
                if !inside {
                    let from = buffer.len().saturating_sub(count);
                    self.transcript.received(&buffer[from..]);
                }
                self.content_bytes = self.content_bytes.map(|bytes| bytes + count as u64);
                Ok(())
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => {
                self.session.close(&replies::timed_out(&self.config.hostname));
                Ok(())
            }
        }
    }

    /// Until when the client has to finish the command or the content that it owes.
    fn deadline(&mut self, inside_body: bool) -> Instant {
        let config = &self.config;
        let allowed = if inside_body {
            let content = *self.content_bytes.get_or_insert(0);
            config.command_timeout + Duration::from_secs(content / DATA_RATE_MIN)
        } else if self.seat.is_in_a_crowd(config.connection_limit) {
            config.command_timeout.min(config.stress_timeout)
        } else {
            config.command_timeout
        };
        self.waiting_since + allowed
    }

    fn enter(&mut self, phase: Phase) -> Result<(), Lost> {
        match phase {
            Phase::Running => Ok(()),
            Phase::Stopping => {
                self.session.stop(replies::shutting_down(&self.config.hostname));
                Ok(())
            }
            Phase::Aborting => Err(Lost::Aborted),
        }
    }

    /// Over its time between messages, or far over it anywhere but in the content, which has a time of
    /// its own.
    fn is_too_old(&self) -> bool {
        let age = self.began.elapsed();
        let limit = self.config.session_timeout;
        !self.session.is_inside_body()
            && (age > limit && self.session.transaction().is_none() || age > limit * 2)
    }

    fn mail(&mut self) {
        let size = self.session.transaction().and_then(|transaction| transaction.mail.size).unwrap_or(0);
        match self.gate.refusal(&self.services.spool, size) {
            None => self.session.accept(),
            Some(reply) => self.session.refuse(reply),
        }
    }

    fn rcpt(&mut self) {
        let Some(recipient) = self.session.candidate() else { return };
        if self.config.policy.permits(self.client, &recipient.address) {
            self.session.accept();
        } else {
            let text = format!("<{}>: Relay access denied", recipient.address);
            let code = if self.config.policy.soft_bounce { 454 } else { 554 };
            self.session.refuse(reply(code, 7, 1, text));
        }
    }

    fn data(&mut self) {
        let now = (self.services.clock)();
        let Some(transaction) = self.session.transaction() else { return };
        let intake = Intake::new(&self.services, now, transaction.mail.size);
        let recipient = match transaction.recipients.as_slice() {
            [only] => Some(&only.address),
            _ => None,
        };
        let received = Received {
            helo: self.session.helo(),
            client: self.client,
            hostname: &self.config.hostname,
            protocol: self.session.protocol(),
            id: intake.id,
            recipient,
            date: &(self.services.date)(now),
        };
        let buffer = intake.buffer(&received);
        self.intake = Some(intake);
        self.session.begin_body(buffer);
    }

    /// Moves content out of memory when there is too much of it.
    async fn spill(&mut self) {
        let Some(intake) = &mut self.intake else { return };
        if intake.can_hold(self.session.body_part()) {
            return;
        }
        let part = self.session.take_body_part();
        if let Err(error) = intake.write(part).await {
            warn!("{}: cannot store the body: {error}", intake.id);
            self.session.fail_body(replies::not_stored(&error));
            self.abandon();
        }
    }

    async fn message(&mut self) {
        let origin = Origin {
            client: self.client,
            helo: self.session.helo().to_owned(),
            protocol: self.session.protocol(),
        };
        let (Some(intake), Some((transaction, rest))) = (self.intake.take(), self.session.take_message())
        else {
            return self.session.refuse(reply(451, 3, 0, "Error: the message got lost on its way in"));
        };
        let id = intake.id;
        let policy = &self.config.policy;
        let stored =
            intake.complete(&self.services, policy, &self.config.hostname, origin, transaction, rest).await;
        match stored {
            Ok(()) => {
                debug!("{id}: client={}", self.client_name());
                self.session.finish(&reply(250, 0, 0, format!("Ok: queued as {id}")));
            }
            Err(reply) => {
                warn!("{id}: not taken: {}", reply.one_line());
                self.session.refuse(reply);
            }
        }
    }

    async fn etrn(&mut self, site: String, subdomains: bool) {
        let answer = if self.config.policy.etrn_from.contains(self.client) {
            let (answer, answered) = oneshot::channel();
            let request = EtrnRequest { site: site.clone(), subdomains, client: self.client, answer };
            match self.services.etrn.try_send(request) {
                Ok(()) => timeout(ETRN_WAIT_MAX, answered).await.ok().and_then(Result::ok),
                Err(_) => None,
            }
        } else {
            Some(EtrnAnswer::Denied)
        };
        self.session.answer(answer.unwrap_or(EtrnAnswer::Unavailable).reply(&site));
    }

    fn abandon(&mut self) {
        if let Some(intake) = self.intake.take() {
            intake.discard();
        }
    }

    async fn shake_hands(&mut self, stream: Stream) -> Result<Stream, Lost> {
        let config = self.config.tls.clone().ok_or(Lost::Aborted)?;
        let shaken = timeout(TLS_WAIT_MAX, stream.start_tls(config)).await;
        let stream = shaken.map_err(|_| Lost::Timeout)?.map_err(Lost::Handshake)?;
        self.session.tls_started();
        self.waiting_since = Instant::now();
        Ok(stream)
    }

    /// Closes. A client that did not ask for it gets the time to read why.
    async fn part(&mut self, mut stream: Stream) -> Result<(), Lost> {
        timeout(LINGER_MAX, stream.close()).await.map_err(|_| Lost::Timeout)??;
        if self.session.has_quit() {
            return Ok(());
        }
        let mut buffer = Vec::with_capacity(COMMANDS_ROOM);
        let drain = async {
            let mut left = LINGER_BYTES_MAX;
            while left > 0 {
                buffer.clear();
                match stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(count) => left = left.saturating_sub(count),
                }
            }
        };
        let _ = timeout(LINGER_MAX, drain).await;
        Ok(())
    }

    /// As Postfix writes it, so that what reads its logs reads these.
    fn log(&mut self, refusal: &Refusal) {
        self.transcript.refused(refusal);
        let verb = refusal.verb.map_or("UNKNOWN", Verb::name);
        let text = refusal.reply.one_line();
        if matches!(refusal.reply.code, 500..=503 | 555) {
            debug!("improper command {verb} from {}: {text}", self.client_name());
            return;
        }
        let (client, helo, proto) = (self.client_name(), self.session.helo(), self.session.protocol().word());
        let (from, to) = (refusal.sender.as_deref(), refusal.recipient.as_ref().map(Address::as_str));
        let mut line = format!("NOQUEUE: reject: {verb} from {client}: {text};");
        if let Some(from) = from {
            line.push_str(&format!(" from=<{from}>"));
        }
        if let Some(to) = to {
            line.push_str(&format!(" to=<{to}>"));
        }
        info!(
            target: "ingress::mail", event = "reject", verb, client, from, to, proto, helo, reason = text,
            "{line} proto={proto} helo=<{helo}>"
        );
    }

    fn client_name(&self) -> String {
        format!("unknown[{}]", self.client)
    }

    fn stage(&self) -> &'static str {
        match self.session.transaction() {
            _ if self.session.is_inside_body() => "DATA",
            Some(transaction) if transaction.recipients.is_empty() => "MAIL",
            Some(_) => "RCPT",
            None if self.session.helo().is_empty() => "CONNECT",
            None => "HELO",
        }
    }
}
