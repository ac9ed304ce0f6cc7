//! The server: takes every message and remembers it, or refuses as told.
//!
//! Promises: a message is remembered, with the instants of its transaction, before its final `250` is
//! written; refusals can be changed while it runs; [`Sink::stop`] closes the port and every
//! connection, and a new sink may take the same port afterwards.
//!
//! Refuses: pipelined input is answered line by line all the same; addresses are not parsed.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use crate::engine::PATIENCE;

/// One transaction that ended with `250`.
#[derive(Clone, Debug)]
pub struct Received {
    /// The argument of MAIL.
    pub mail: String,
    /// The arguments of the accepted RCPT commands.
    pub recipients: Vec<String>,
    /// The content with its dots unstuffed.
    pub content: Vec<u8>,
    /// Which connection it came over, from 1.
    pub connection: usize,
    /// When MAIL was read.
    pub started: Instant,
    /// When the final dot was read.
    pub ended: Instant,
}

/// What to say instead of yes, at which command; recipients can be told apart by a part of their name.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// A part of the command line: `MAIL`, `RCPT TO:<a@`, `DATA`, or `.` for the final dot.
    pub at: String,
    /// The whole reply, without its line end. A reply with `421` closes the connection.
    pub reply: String,
}

/// A running server.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    received: Vec<Received>,
    refusals: Vec<Refusal>,
    connections: Vec<TcpStream>,
    stopped: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink {
    /// Listens on a port the system chooses.
    pub fn start() -> io::Result<Sink> {
        Sink::start_on(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Listens on `address`: the port of a sink that was stopped, or one that was found closed.
    pub fn start_on(address: SocketAddr) -> io::Result<Sink> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(listener, &accepting));
        Ok(Sink { address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as a next hop without MX lookup: `[127.0.0.1]:PORT`.
    pub fn next_hop(&self) -> String {
        format!("[{}]:{}", self.address.ip(), self.address.port())
    }

    /// Replaces what is refused from now on.
    pub fn refuse(&self, refusals: Vec<Refusal>) {
        self.shared.lock().refusals = refusals;
    }

    /// Everything received so far, in order.
    pub fn received(&self) -> Vec<Received> {
        self.shared.lock().received.clone()
    }

    /// How many messages were received so far.
    pub fn count(&self) -> usize {
        self.shared.lock().received.len()
    }

    /// Waits until `count` messages are there; all of them, or `None` when that takes too long.
    pub fn wait_for(&self, count: usize) -> Option<Vec<Received>> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.lock();
        while state.received.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(state.received.clone())
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections.len()
    }

    /// Closes the port and every connection; what was received stays readable in the answer.
    pub fn stop(self) -> Vec<Received> {
        self.received()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.stopped = true;
        for connection in &state.connections {
            // Closed by the other side already: as wanted.
            let _ = connection.shutdown(Shutdown::Both);
        }
        drop(state);
        // The listener sleeps in accept; one more connection wakes it so that it sees the end.
        let _ = TcpStream::connect(self.address);
        let mut state = self.shared.lock();
        let deadline = Instant::now() + PATIENCE;
        while state.stopped && Instant::now() < deadline {
            state =
                self.shared.changed.wait_timeout(state, PATIENCE).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn accept(listener: TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        let mut state = shared.lock();
        if state.stopped {
            break;
        }
        let Ok(stream) = stream else { continue };
        let Ok(copy) = stream.try_clone() else { continue };
        state.connections.push(copy);
        let number = state.connections.len();
        drop(state);
        let shared = Arc::clone(shared);
        // A connection that breaks off is the client's affair and shows in what was received.
        thread::spawn(move || drop(Session { shared, number }.run(stream)));
    }
    // The port is free before anybody is told so.
    drop(listener);
    shared.lock().stopped = false;
    shared.changed.notify_all();
}

struct Session {
    shared: Arc<Shared>,
    number: usize,
}

struct Transaction {
    mail: String,
    recipients: Vec<String>,
    started: Instant,
}

impl Session {
    fn run(&self, mut output: TcpStream) -> io::Result<()> {
        output.set_nodelay(true)?;
        let mut input = BufReader::new(output.try_clone()?);
        output.write_all(b"220 sink.test ESMTP\r\n")?;
        let mut open: Option<Transaction> = None;
        loop {
            let Some(line) = read_line(&mut input)? else { return Ok(()) };
            let (verb, argument) = split_command(&line);
            let refusal = self.refusal(&line);
            let reply = match (verb.as_str(), refusal) {
                (_, Some(reply)) => reply,
                ("EHLO", _) => "250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8".to_owned(),
                ("MAIL", _) => {
                    let started = Instant::now();
                    open = Some(Transaction { mail: argument, recipients: Vec::new(), started });
                    "250 2.1.0 ok".to_owned()
                }
                ("RCPT", _) => match open.as_mut() {
                    Some(open) => {
                        open.recipients.push(argument);
                        "250 2.1.5 ok".to_owned()
                    }
                    None => "503 5.5.1 no MAIL".to_owned(),
                },
                ("DATA", _) => match open.take() {
                    Some(open) if !open.recipients.is_empty() => {
                        output.write_all(b"354 go on\r\n")?;
                        self.content(&mut input, open)?
                    }
                    _ => "554 5.5.1 no recipients".to_owned(),
                },
                ("QUIT", _) => return output.write_all(b"221 2.0.0 bye\r\n"),
                ("RSET", _) => {
                    open = None;
                    "250 2.0.0 ok".to_owned()
                }
                ("HELO" | "NOOP", _) => "250 2.0.0 ok".to_owned(),
                _ => "502 5.5.1 not known here".to_owned(),
            };
            output.write_all(format!("{reply}\r\n").as_bytes())?;
            if reply.starts_with("421") {
                return Ok(());
            }
        }
    }

    /// Reads the content, remembers the message and says what to reply.
    fn content(&self, input: &mut impl BufRead, open: Transaction) -> io::Result<String> {
        let mut content = Vec::new();
        loop {
            let begin = content.len();
            if input.read_until(b'\n', &mut content)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // Only CRLF ends a line, and only a line of its own can be the final dot.
            if begin > 0 && !content[..begin].ends_with(b"\r\n") {
                continue;
            }
            if content[begin..] == *b".\r\n" {
                content.truncate(begin);
                break;
            }
            if content[begin] == b'.' {
                content.remove(begin);
            }
        }
        let ended = Instant::now();
        if let Some(reply) = self.refusal(".") {
            return Ok(reply);
        }
        let Transaction { mail, recipients, started } = open;
        let connection = self.number;
        let mut state = self.shared.lock();
        state.received.push(Received { mail, recipients, content, connection, started, ended });
        self.shared.changed.notify_all();
        Ok("250 2.0.0 taken".to_owned())
    }

    fn refusal(&self, line: &str) -> Option<String> {
        let state = self.shared.lock();
        let matching = |refusal: &&Refusal| match refusal.at.as_str() {
            "." => line == ".",
            at => line.to_ascii_uppercase().contains(&at.to_ascii_uppercase()),
        };
        state.refusals.iter().find(matching).map(|refusal| refusal.reply.clone())
    }
}

fn read_line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if input.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()))
}

/// `MAIL FROM:<a@b> SIZE=1` becomes `MAIL` and `<a@b> SIZE=1`.
fn split_command(line: &str) -> (String, String) {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let argument = rest.split_once(':').map_or(rest, |(_, argument)| argument);
    (verb.to_ascii_uppercase(), argument.to_owned())
}
