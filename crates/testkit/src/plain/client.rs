//! The client: one line out, one reply in.
//!
//! Promises: every read and write ends within [`PATIENCE`]. Refuses: judging replies; a test does.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use crate::engine::PATIENCE;

/// Why a conversation ended early.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection failed or was closed.
    #[error("the connection: {0}")]
    Connection(#[from] io::Error),
    /// The server said something that is no reply.
    #[error("not a reply: {0:?}")]
    Garbage(String),
    /// The server refused a step of [`Client::send`].
    #[error("refused at {stage}: {reply}")]
    Refused {
        /// The command that was refused.
        stage: String,
        /// What the server said.
        reply: PlainReply,
    },
}

/// A reply, all its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainReply {
    /// The three digits.
    pub code: u16,
    /// The texts behind them.
    pub lines: Vec<String>,
}

impl std::fmt::Display for PlainReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.code, self.lines.join(" / "))
    }
}

/// A connection to a server.
#[derive(Debug)]
pub struct Client {
    input: BufReader<TcpStream>,
}

impl Client {
    /// Connects, reads the greeting and says EHLO.
    pub fn greet(server: SocketAddr) -> Result<Client, ClientError> {
        let (mut client, greeting) = Client::connect(server)?;
        expect(&greeting, 220, "the greeting")?;
        let hello = client.command("EHLO client.test")?;
        expect(&hello, 250, "EHLO")?;
        Ok(client)
    }

    /// Connects and reads the greeting.
    pub fn connect(server: SocketAddr) -> Result<(Client, PlainReply), ClientError> {
        let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut client = Client { input: BufReader::new(stream) };
        let greeting = client.reply()?;
        Ok((client, greeting))
    }

    /// Sends one line and reads one reply.
    pub fn command(&mut self, line: &str) -> Result<PlainReply, ClientError> {
        self.write(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// Sends these bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        Ok(self.input.get_mut().write_all(bytes)?)
    }

    /// Reads one reply.
    pub fn reply(&mut self) -> Result<PlainReply, ClientError> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.input.read_line(&mut line)? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            let text = line.trim_end();
            let parsed = text.get(..3).and_then(|digits| digits.parse().ok());
            let code = parsed.ok_or_else(|| ClientError::Garbage(line.clone()))?;
            lines.push(text.get(4..).unwrap_or_default().to_owned());
            if text.as_bytes().get(3) != Some(&b'-') {
                return Ok(PlainReply { code, lines });
            }
        }
    }

    /// One whole transaction; the reply to the final dot, which is always positive.
    pub fn send(&mut self, from: &str, to: &[&str], content: &[u8]) -> Result<PlainReply, ClientError> {
        let mail = format!("MAIL FROM:<{from}>");
        expect(&self.command(&mail)?, 250, &mail)?;
        for one in to {
            let rcpt = format!("RCPT TO:<{one}>");
            expect(&self.command(&rcpt)?, 250, &rcpt)?;
        }
        expect(&self.command("DATA")?, 354, "DATA")?;
        self.write(&dot_stuffed(content))?;
        let reply = self.reply()?;
        expect(&reply, 250, "the final dot")?;
        Ok(reply)
    }
}

fn expect(reply: &PlainReply, code: u16, stage: &str) -> Result<(), ClientError> {
    if reply.code == code {
        return Ok(());
    }
    Err(ClientError::Refused { stage: stage.to_owned(), reply: reply.clone() })
}

/// Content as it travels after DATA: dots doubled at the beginning of lines, the final dot behind it
/// (RFC 5321 4.5.2). Content that does not end with CRLF gets one.
pub fn dot_stuffed(content: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(content.len() + 5);
    let mut line_begins = true;
    for &byte in content {
        if line_begins && byte == b'.' {
            stuffed.push(b'.');
        }
        stuffed.push(byte);
        line_begins = stuffed.ends_with(b"\r\n");
    }
    if !line_begins {
        stuffed.extend(b"\r\n");
    }
    stuffed.extend(b".\r\n");
    stuffed
}
