//! The operator's door: a Unix socket that carries the lines of crate `control`.
//!
//! Promises: the socket has its mode before anybody can connect; one client's nonsense, slowness or
//! disappearance costs that client only; every wait has a deadline; a bounded number of clients at once; a
//! request that takes long is heard of now and then, so that its client can tell work from silence.
//! Refuses: deciding anything. Requests go to [`Operator`].

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use control::{Answer, Item, LineBuffer, Opening, ProgressItem, REQUEST_LINE_BYTES_MAX, TRIGGER_BYTES_MAX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use super::engine_task::Stop;
use super::operator::Operator;

/// Clients served at once; more wait in the socket's backlog.
const CLIENTS_MAX: usize = 64;
/// How long a client may be silent between requests.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// How long a client may leave an answer unread. A pager may well stand still for an hour.
const UNREAD_MAX: Duration = Duration::from_secs(3600);
/// Bytes of answer collected before they are written.
const ANSWER_BATCH_BYTES: usize = 64 * 1024;
/// How long an answer may be silent; a client waits many times as long.
const QUIET_MAX: Duration = Duration::from_secs(5);

/// Binds the socket. A stale one of an engine that died is replaced; that no other engine lives has been
/// made sure by the lock of the spool.
pub(crate) fn bind(path: &Path, mode: u32) -> io::Result<UnixListener> {
    // Bound under another name first: under its own name it never exists with a wider mode.
    let staging = path.with_extension("new");
    for stale in [&staging, path] {
        match std::fs::remove_file(stale) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let listener = UnixListener::bind(&staging)?;
    std::fs::set_permissions(&staging, std::fs::Permissions::from_mode(mode))?;
    std::fs::rename(&staging, path)?;
    Ok(listener)
}

/// Serves clients until told to stop.
pub(crate) async fn serve(listener: UnixListener, operator: Arc<Operator>, mut stop: watch::Receiver<Stop>) {
    let places = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(Option::is_some) => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let operator = operator.clone();
                tokio::spawn(async move {
                    if let Err(error) = client(stream, &operator).await {
                        debug!("control client left: {error}");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                // Out of descriptors: waiting is all that can be done, and serving others goes on.
                warn!("cannot accept on the control socket: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn client(stream: UnixStream, operator: &Operator) -> io::Result<()> {
    let who = stream.peer_cred().map_or_else(|_| "unknown".to_owned(), |peer| format!("uid={}", peer.uid()));
    let (mut input, output) = stream.into_split();
    let mut answers = AnswerStream::new(output);
    let mut lines = LineBuffer::new(REQUEST_LINE_BYTES_MAX);
    let mut first = [0; 4096];
    let count = read(&mut input, &mut first).await?;
    match control::classify(&first[..count]) {
        Opening::Unknown => return Ok(()),
        Opening::Trigger => return trigger(&mut input, first[..count].to_vec(), operator, &who).await,
        Opening::Nonsense => {
            return answers.end(Answer::failed(64, "not a request: a line of JSON is expected")).await;
        }
        Opening::Requests => lines.push(&first[..count]),
    }
    loop {
        match lines.next_line() {
            Err(error) => return answers.end(Answer::failed(64, error.to_string())).await,
            Ok(Some(line)) => match control::decode_request(line) {
                Ok(request) => {
                    let lifeline = answers.lifeline();
                    let mut answering = pin!(operator.answer(request, &who, &mut answers));
                    loop {
                        match timeout(QUIET_MAX, &mut answering).await {
                            Ok(answered) => break answered?,
                            Err(_) => lifeline.stay_alive(QUIET_MAX).await?,
                        }
                    }
                }
                Err(error) => answers.end(Answer::failed(64, error.to_string())).await?,
            },
            Ok(None) => {
                let count = read(&mut input, &mut first).await?;
                if count == 0 {
                    return Ok(());
                }
                lines.push(&first[..count]);
            }
        }
    }
}

/// A trigger buffer ends with a line break, the connection's end, or its limit.
async fn trigger(
    input: &mut OwnedReadHalf,
    mut letters: Vec<u8>,
    operator: &Operator,
    who: &str,
) -> io::Result<()> {
    let mut more = [0; TRIGGER_BYTES_MAX];
    while letters.len() < TRIGGER_BYTES_MAX && !letters.contains(&b'\n') {
        match read(input, &mut more).await? {
            0 => break,
            count => letters.extend_from_slice(&more[..count]),
        }
    }
    letters.truncate(TRIGGER_BYTES_MAX);
    operator.trigger(&letters, who).await;
    Ok(())
}

async fn read(input: &mut OwnedReadHalf, buffer: &mut [u8]) -> io::Result<usize> {
    timeout(IDLE_MAX, input.read(buffer)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Writes an answer as it is found: the first item at once, the rest in batches.
pub(crate) struct AnswerStream {
    lines: Arc<Mutex<Lines>>,
}

/// The same stream in the hands of whoever waits for the answer.
struct Lifeline {
    lines: Arc<Mutex<Lines>>,
}

struct Lines {
    output: OwnedWriteHalf,
    pending: Vec<u8>,
    fresh: bool,
    /// Items of the current answer.
    items: u64,
    /// When the client heard something last.
    spoken: Instant,
}

impl AnswerStream {
    fn new(output: OwnedWriteHalf) -> AnswerStream {
        let (pending, spoken) = (Vec::new(), Instant::now());
        AnswerStream { lines: Arc::new(Mutex::new(Lines { output, pending, fresh: true, items: 0, spoken })) }
    }

    fn lifeline(&self) -> Lifeline {
        Lifeline { lines: self.lines.clone() }
    }

    /// One result. An error means that the client is gone.
    pub(crate) async fn item(&mut self, item: Item) -> io::Result<()> {
        let mut lines = self.lines.lock().await;
        lines.items += 1;
        lines.pending.extend(control::encode(&Answer::item(item)));
        if lines.fresh || lines.pending.len() >= ANSWER_BATCH_BYTES {
            lines.fresh = false;
            lines.flush().await?;
        }
        Ok(())
    }

    /// The end of the answer.
    pub(crate) async fn end(&mut self, answer: Answer) -> io::Result<()> {
        let mut lines = self.lines.lock().await;
        lines.pending.extend(control::encode(&answer));
        (lines.fresh, lines.items) = (true, 0);
        lines.flush().await
    }
}

impl Lifeline {
    /// Tells a client that has heard nothing for so long what there is, or at least that work goes on.
    async fn stay_alive(&self, quiet: Duration) -> io::Result<()> {
        // Whoever has it is writing.
        let Ok(mut lines) = self.lines.try_lock() else { return Ok(()) };
        if lines.spoken.elapsed() < quiet {
            return Ok(());
        }
        if lines.pending.is_empty() {
            let progress = Item::Progress(ProgressItem { done: lines.items, total: None });
            lines.pending.extend(control::encode(&Answer::item(progress)));
        }
        lines.flush().await
    }
}

impl Lines {
    async fn flush(&mut self) -> io::Result<()> {
        let written = timeout(UNREAD_MAX, self.output.write_all(&self.pending)).await;
        self.pending.clear();
        self.spoken = Instant::now();
        written.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What has been written so far, line by line.
    async fn heard(client: &mut UnixStream, lines: usize) -> Vec<Answer> {
        let mut text = Vec::new();
        while text.iter().filter(|byte| **byte == b'\n').count() < lines {
            assert!(client.read_buf(&mut text).await.unwrap() > 0, "closed");
        }
        text.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| control::decode_answer(line).unwrap())
            .collect()
    }

    #[tokio::test]
    async fn a_long_answer_is_not_silent() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let mut answers = AnswerStream::new(server.into_split().1);
        let lifeline = answers.lifeline();
        let found = |done| Item::Progress(ProgressItem { done, total: Some(9) });
        answers.item(found(1)).await.unwrap();
        assert_eq!(heard(&mut client, 1).await, [Answer::item(found(1))]);
        // The second one is kept back for a batch. A listing that found little once looked dead.
        answers.item(found(2)).await.unwrap();
        lifeline.stay_alive(Duration::from_secs(3600)).await.unwrap();
        lifeline.stay_alive(Duration::ZERO).await.unwrap();
        lifeline.stay_alive(Duration::ZERO).await.unwrap();
        let at_work = Item::Progress(ProgressItem { done: 2, total: None });
        assert_eq!(heard(&mut client, 2).await, [Answer::item(found(2)), Answer::item(at_work)]);
        answers.end(Answer::done(2)).await.unwrap();
        assert_eq!(heard(&mut client, 1).await, [Answer::done(2)]);
    }
}
