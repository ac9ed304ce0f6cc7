//! One connection with its session: every wait on the network is here, and each has its deadline.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use mail::{EnhancedStatus, Envelope, Outcome, Scope};
use smtp::client::{DotStuffer, Ending, Event, Session};
use spool::Body;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::Deadlines;
use crate::content::{self, PIECE_BYTES};

/// What a session runs over: TCP, TLS on it, or a Unix socket.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Replies are short; a group of a hundred fits.
const INPUT_BYTES: usize = 4096;

/// How long a next hop that stopped reading is listened to for the reason.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// See the module head.
pub(crate) struct Connection {
    wire: Box<dyn Wire>,
    pub(crate) session: Session,
    deadlines: Deadlines,
    input: Vec<u8>,
    pub(crate) opened: Instant,
}

impl Connection {
    pub(crate) fn new(wire: Box<dyn Wire>, session: Session, deadlines: Deadlines) -> Connection {
        Connection { wire, session, deadlines, input: vec![0; INPUT_BYTES], opened: Instant::now() }
    }

    /// Takes the connection apart, so that TLS can be put between the wire and the session.
    pub(crate) fn into_parts(self) -> (Box<dyn Wire>, Session) {
        (self.wire, self.session)
    }

    /// Talks until the session wants something; no stage lasts longer than its deadline, and nothing
    /// lasts beyond `limit`.
    pub(crate) async fn next_event(&mut self, limit: Instant) -> Event {
        let mut since = Instant::now();
        let mut replies = self.session.replies();
        loop {
            if let Some(event) = self.session.poll_event() {
                return event;
            }
            if self.session.replies() != replies {
                replies = self.session.replies();
                since = Instant::now();
            }
            let until = (since + self.deadlines.of(self.session.stage())).min(limit);
            if !self.session.output().is_empty() {
                match timeout_at(until, write_out(&mut self.wire, self.session.output())).await {
                    Ok(Ok(())) => {
                        self.session.output_sent();
                        since = Instant::now();
                    }
                    Ok(Err(error)) => return self.broken(&error).await,
                    Err(_) => return self.ended(Session::timed_out),
                }
                continue;
            }
            match timeout_at(until, self.wire.read(&mut self.input)).await {
                Ok(Ok(0)) => return self.ended(|session| session.connection_lost(None)),
                Ok(Ok(length)) => self.session.receive(&self.input[..length]),
                Ok(Err(error)) => return self.ended(|session| session.connection_lost(Some(said(&error)))),
                Err(_) => return self.ended(Session::timed_out),
            }
        }
    }

    /// The event that the end of the connection brings about.
    fn ended(&mut self, tell: impl FnOnce(&mut Session)) -> Event {
        tell(&mut self.session);
        self.session.poll_event().unwrap_or_else(|| {
            let broken = EnhancedStatus::new(4, 4, 2);
            Event::Failed(Outcome::deferred(Scope::Site, broken, "the connection was closed"))
        })
    }

    /// Writing failed. A next hop that closes may have said why before; that is worth more than the error.
    async fn broken(&mut self, error: &io::Error) -> Event {
        let until = Instant::now() + LAST_WORDS;
        while let Ok(Ok(length @ 1..)) = timeout_at(until, self.wire.read(&mut self.input)).await {
            self.session.receive(&self.input[..length]);
            if let Some(event) = self.session.poll_event() {
                return event;
            }
        }
        self.ended(|session| session.connection_lost(Some(said(error))))
    }

    /// Sends one message and waits for everybody's outcome.
    pub(crate) async fn send(
        &mut self,
        envelope: &Arc<Envelope>,
        recipients: &[u32],
        body: &Body,
        limit: Instant,
    ) -> Ending {
        let everybody =
            |outcome: Outcome| Ending { outcomes: vec![outcome; recipients.len()], doubtful: 0, dsn: false };
        let patience = self.deadlines.data_xfer;
        let content = match content::facts(envelope, body, self.session.extensions(), patience).await {
            Ok(content) => content,
            Err(error) => return everybody(unreadable(&error)),
        };
        self.session.send(Arc::clone(envelope), recipients.to_vec(), content);
        let mut event = self.next_event(limit).await;
        loop {
            event = match event {
                Event::SendContent => match self.send_content(body, limit).await {
                    Some(event) => event,
                    None => self.next_event(limit).await,
                },
                Event::Finished(ending) => return ending,
                Event::Failed(outcome) => return everybody(outcome),
                Event::Ready | Event::StartTls => self.next_event(limit).await,
            };
        }
    }

    /// Sends the content with its end. An event is returned when that failed.
    async fn send_content(&mut self, body: &Body, limit: Instant) -> Option<Event> {
        let mut stuffer = DotStuffer::new();
        let mut slices = Vec::new();
        if let Some(bytes) = body.as_memory() {
            stuffer.stuff(bytes, &mut slices);
            return self.send_end(&stuffer, slices, limit).await;
        }
        let patience = self.deadlines.data_xfer;
        let mut offset = 0;
        let mut piece = match content::read_piece(body, offset, Vec::new(), patience).await {
            Ok(piece) => piece,
            Err(error) => return Some(self.aborted(&error)),
        };
        let mut spare = Vec::new();
        loop {
            offset += piece.len() as u64;
            let mut slices = Vec::new();
            stuffer.stuff(&piece, &mut slices);
            if piece.len() < PIECE_BYTES {
                return self.send_end(&stuffer, slices, limit).await;
            }
            let next = content::read_piece(body, offset, spare, patience);
            let (sent, read) = tokio::join!(self.write_slices(slices, limit), next);
            if let Err(lost) = sent {
                return Some(self.lost_content(lost).await);
            }
            match read {
                Ok(next) => spare = std::mem::replace(&mut piece, next),
                Err(error) => return Some(self.aborted(&error)),
            }
        }
    }

    /// Sends the last slices of the content and the final dot with as few writes as possible.
    async fn send_end(
        &mut self,
        stuffer: &DotStuffer,
        mut slices: Vec<&[u8]>,
        limit: Instant,
    ) -> Option<Event> {
        slices.push(stuffer.end());
        if let Err(lost) = self.write_slices(slices, limit).await {
            return Some(self.lost_content(lost).await);
        }
        // Under TLS the last record may still be in a buffer of ours; whether it got out is not known
        // when flushing fails, and the session is told so by the order of these calls.
        self.session.content_sent();
        let until = (Instant::now() + self.deadlines.data_xfer).min(limit);
        match timeout_at(until, self.wire.flush()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(self.broken(&error).await),
            Err(_) => Some(self.ended(Session::timed_out)),
        }
    }

    async fn write_slices(&mut self, slices: Vec<&[u8]>, limit: Instant) -> Result<(), Option<io::Error>> {
        let mut slices: Vec<IoSlice<'_>> = slices.into_iter().map(IoSlice::new).collect();
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            let until = (Instant::now() + self.deadlines.data_xfer).min(limit);
            match timeout_at(until, self.wire.write_vectored(rest)).await {
                Ok(Ok(0)) => return Err(Some(io::ErrorKind::WriteZero.into())),
                Ok(Ok(written)) => IoSlice::advance_slices(&mut rest, written),
                Ok(Err(error)) => return Err(Some(error)),
                Err(_) => return Err(None),
            }
        }
        Ok(())
    }

    async fn lost_content(&mut self, lost: Option<io::Error>) -> Event {
        match lost {
            Some(error) => self.broken(&error).await,
            None => self.ended(Session::timed_out),
        }
    }

    fn aborted(&mut self, error: &io::Error) -> Event {
        let outcome = unreadable(error);
        self.ended(|session| session.abort(&outcome))
    }

    /// Whether an idle connection still stands: nothing arrived, and the end did not arrive either.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut input = ReadBuf::new(&mut self.input);
        let mut context = Context::from_waker(Waker::noop());
        let read = Pin::new(&mut self.wire).poll_read(&mut context, &mut input);
        self.session.is_reusable() && read.is_pending()
    }

    /// Says goodbye and closes.
    pub(crate) async fn close(mut self) {
        self.session.quit();
        let goodbye = async {
            write_out(&mut self.wire, self.session.output()).await?;
            self.wire.shutdown().await
        };
        // Nobody is interested in how a goodbye was taken.
        let _ = timeout(self.deadlines.quit, goodbye).await;
    }
}

async fn write_out(wire: &mut Box<dyn Wire>, output: &[u8]) -> io::Result<()> {
    wire.write_all(output).await?;
    wire.flush().await
}

/// What an error says to people: without the number that the standard library puts behind it.
pub(crate) fn said(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// The message cannot be read from our own storage, which says nothing of the next hop.
fn unreadable(error: &io::Error) -> Outcome {
    // Other or undefined mail system status (RFC 3463 3.4).
    let status = EnhancedStatus::new(4, 3, 0);
    Outcome::deferred(Scope::Message, status, format!("the message cannot be read: {error}"))
}
