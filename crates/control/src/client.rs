//! The client: blocking, with a deadline for each wait, answers as an iterator.
//!
//! Known to be weak: the deadline bounds each silence, not the whole request, because a listing of a
//! large queue is allowed to take long as long as something arrives.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::codec::{ANSWER_LINE_BYTES_MAX, LineBuffer, decode_answer, encode};
use crate::{Answer, Item, Request, VERSION};

/// How long the client waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadlines {
    /// For the connection.
    pub connect: Duration,
    /// For the engine to take or to send the next bytes.
    pub silence: Duration,
}

impl Default for Deadlines {
    /// 5 s to connect, 60 s of silence.
    fn default() -> Deadlines {
        Deadlines { connect: Duration::from_secs(5), silence: Duration::from_secs(60) }
    }
}

/// Why there is no answer, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket is missing, or nobody listens on it.
    #[error(
        "the engine is not running: nobody answers on {}; start it with `postrider serve`, \
         or name the right socket with -o control.socket=PATH", .socket.display()
    )]
    NotRunning {
        /// The socket tried.
        socket: PathBuf,
    },
    /// The socket belongs to somebody else.
    #[error(
        "not permitted to use {}: run this as root or as the user who runs the engine", .socket.display()
    )]
    NotPermitted {
        /// The socket tried.
        socket: PathBuf,
    },
    /// The engine is there but silent.
    #[error(
        "no answer on {} within {} s: the engine is overloaded or stuck; look at its log and try again",
        .socket.display(), .waited.as_secs()
    )]
    Silent {
        /// The socket.
        socket: PathBuf,
        /// The deadline that passed.
        waited: Duration,
    },
    /// The connection ended in the middle of an answer.
    #[error(
        "the engine closed {} in the middle of its answer: look at its log and try again", .socket.display()
    )]
    Closed {
        /// The socket.
        socket: PathBuf,
    },
    /// The system refused something else.
    #[error("talking to the engine on {} failed: {error}", .socket.display())]
    Io {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Whoever listens there speaks something else.
    #[error(
        "whoever listens on {} does not speak the protocol of this program ({text}): \
         use the postrider that belongs to the running engine", .socket.display()
    )]
    Foreign {
        /// The socket.
        socket: PathBuf,
        /// What was wrong.
        text: String,
    },
    /// The engine refused or broke off.
    #[error("{text}")]
    Failed {
        /// The exit code it asks for.
        code: u8,
        /// One line of explanation.
        text: String,
    },
}

impl ClientError {
    /// The exit code of sysexits.h that fits.
    pub fn exit_code(&self) -> u8 {
        match self {
            ClientError::NotRunning { .. } => 69,
            ClientError::NotPermitted { .. } => 77,
            ClientError::Silent { .. } | ClientError::Closed { .. } | ClientError::Io { .. } => 74,
            ClientError::Foreign { .. } => 76,
            ClientError::Failed { code, .. } => *code,
        }
    }
}

/// A connection to a running engine.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    socket: PathBuf,
    lines: LineBuffer,
    /// Where the system puts what it has read, before it becomes lines.
    chunk: Box<[u8]>,
    silence: Duration,
}

/// Bytes asked of the system at once.
const CHUNK_BYTES: usize = 64 * 1024;

impl Client {
    /// Connects and agrees on the version.
    pub fn connect(socket: &Path, deadlines: Deadlines) -> Result<Client, ClientError> {
        let stream = open(socket, deadlines)?;
        let mut client = Client {
            stream,
            socket: socket.to_owned(),
            lines: LineBuffer::new(ANSWER_LINE_BYTES_MAX),
            chunk: vec![0; CHUNK_BYTES].into_boxed_slice(),
            silence: deadlines.silence,
        };
        let mut answers = client.ask(&Request::Hello { version: VERSION })?;
        let hello = answers.next().transpose()?;
        answers.finish()?;
        match hello {
            Some(Item::Hello(hello)) if hello.version == VERSION => Ok(client),
            Some(Item::Hello(hello)) => {
                let text = format!("version {} instead of {VERSION}", hello.version);
                Err(ClientError::Foreign { socket: client.socket, text })
            }
            _ => Err(ClientError::Foreign { socket: client.socket, text: "no greeting".to_owned() }),
        }
    }

    /// Sends a request. The answers must be read to their end before the next one.
    pub fn ask(&mut self, request: &Request) -> Result<Answers<'_>, ClientError> {
        if let Err(error) = self.stream.write_all(&encode(request)) {
            return Err(self.broken(error));
        }
        Ok(Answers { client: self, count: 0, ended: false })
    }

    fn next_answer(&mut self) -> Result<Answer, ClientError> {
        loop {
            match self.lines.next_line() {
                Ok(Some(line)) => {
                    return decode_answer(line).map_err(|error| ClientError::Foreign {
                        socket: self.socket.clone(),
                        text: error.to_string(),
                    });
                }
                Ok(None) => {}
                Err(error) => {
                    let text = error.to_string();
                    return Err(ClientError::Foreign { socket: self.socket.clone(), text });
                }
            }
            match self.stream.read(&mut self.chunk) {
                Ok(0) => return Err(ClientError::Closed { socket: self.socket.clone() }),
                Ok(read) => self.lines.push(&self.chunk[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    fn broken(&self, error: std::io::Error) -> ClientError {
        let socket = self.socket.clone();
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                ClientError::Silent { socket, waited: self.silence }
            }
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => ClientError::Closed { socket },
            _ => ClientError::Io { socket, error },
        }
    }
}

/// The items of one answer; ends after `done`, or with one error.
#[derive(Debug)]
pub struct Answers<'c> {
    client: &'c mut Client,
    count: u64,
    ended: bool,
}

impl Answers<'_> {
    /// Reads to the end and gives the count of `done`. Items that are left are dropped.
    pub fn finish(mut self) -> Result<u64, ClientError> {
        for item in self.by_ref() {
            item?;
        }
        Ok(self.count)
    }

    /// The count of `done`; zero before the end.
    pub fn total(&self) -> u64 {
        self.count
    }
}

impl Iterator for Answers<'_> {
    type Item = Result<Item, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.client.next_answer() {
            Ok(Answer::Item(item)) => Some(Ok(*item)),
            Ok(Answer::Done(done)) => {
                self.ended = true;
                self.count = done.count;
                None
            }
            Ok(Answer::Failed(failed)) => {
                self.ended = true;
                Some(Err(ClientError::Failed { code: failed.code, text: failed.text }))
            }
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
        }
    }
}

/// Sends a raw trigger buffer: no answer is expected, none is waited for.
pub fn send_trigger(socket: &Path, letters: &[u8], deadlines: Deadlines) -> Result<(), ClientError> {
    let mut stream = open(socket, deadlines)?;
    stream.write_all(letters).map_err(|error| ClientError::Io { socket: socket.to_owned(), error })
}

/// Connects in a thread of its own, because a Unix socket whose backlog is full blocks without end and
/// the standard library has no deadline for it. The thread ends with the process.
fn open(socket: &Path, deadlines: Deadlines) -> Result<UnixStream, ClientError> {
    let (sender, receiver) = mpsc::channel();
    let path = socket.to_owned();
    thread::spawn(move || sender.send(UnixStream::connect(path)));
    let socket = socket.to_owned();
    let Ok(connected) = receiver.recv_timeout(deadlines.connect) else {
        return Err(ClientError::Silent { socket, waited: deadlines.connect });
    };
    let limited = connected.and_then(|stream| {
        stream.set_read_timeout(Some(deadlines.silence))?;
        stream.set_write_timeout(Some(deadlines.silence))?;
        Ok(stream)
    });
    limited.map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::NotADirectory => {
            ClientError::NotRunning { socket }
        }
        ErrorKind::PermissionDenied => ClientError::NotPermitted { socket },
        _ => ClientError::Io { socket, error },
    })
}
