//! One connection of a scripted server.

use std::collections::BTreeMap;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::script::{Act, Asked, Cut, Script, Stage, good};

/// A message whose end was reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Which connection it came over.
    pub connection: usize,
    /// The MAIL command.
    pub mail: String,
    /// The RCPT commands that were answered with 2xx.
    pub rcpt: Vec<String>,
    /// The content with the dot-stuffing undone, without the final dot.
    pub content: Vec<u8>,
}

/// What is written down.
pub(super) enum Note {
    Line(String),
    Message(Message),
    Closed,
}

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub(super) struct Wire<'n> {
    stream: Box<dyn Stream>,
    script: Script,
    cut: Cut,
    connection: usize,
    note: &'n (dyn Fn(Note) + Send + Sync),
    counts: BTreeMap<Stage, usize>,
    input: Vec<u8>,
    received: usize,
    sent: usize,
    mail: String,
    rcpt: Vec<String>,
}

/// The conversation is over.
struct Over;

impl From<io::Error> for Over {
    fn from(_: io::Error) -> Over {
        Over
    }
}

impl<'n> Wire<'n> {
    pub(super) fn new(
        stream: Box<dyn Stream>,
        script: Script,
        connection: usize,
        note: &'n (dyn Fn(Note) + Send + Sync),
    ) -> Wire<'n> {
        Wire {
            stream,
            cut: (script.cut)(connection),
            script,
            connection,
            note,
            counts: BTreeMap::new(),
            input: Vec::new(),
            received: 0,
            sent: 0,
            mail: String::new(),
            rcpt: Vec::new(),
        }
    }

    /// Talks until one side has enough.
    pub(super) async fn run(mut self) {
        // However it ends, it is over; what was said is in the notes.
        let _ = self.converse().await;
        // A close with unread input would be a reset, and take replies with it that are on their way.
        let _ = self.stream.shutdown().await;
        (self.note)(Note::Closed);
    }

    async fn converse(&mut self) -> Result<(), Over> {
        self.act(Stage::Connect, "").await?;
        loop {
            let line = self.line().await?;
            (self.note)(Note::Line(line.clone()));
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let stage = match verb.as_str() {
                "EHLO" | "HELO" | "LHLO" => Stage::Hello,
                "STARTTLS" => Stage::StartTls,
                "MAIL" => Stage::Mail,
                "RCPT" => Stage::Rcpt,
                "DATA" => Stage::Data,
                "RSET" => Stage::Rset,
                "QUIT" => Stage::Quit,
                _ => Stage::Other,
            };
            let code = self.act(stage, &line).await?;
            match (stage, code) {
                (Stage::Mail, 200..300) => {
                    self.mail = line;
                    self.rcpt.clear();
                }
                (Stage::Rcpt, 200..300) => self.rcpt.push(line),
                (Stage::Rset, _) => self.rcpt.clear(),
                (Stage::Data, 300..400) => self.content().await?,
                (Stage::StartTls, 200..300) => self.encrypt().await?,
                (Stage::Quit, _) => return Ok(()),
                _ => {}
            }
        }
    }

    async fn content(&mut self) -> Result<(), Over> {
        let mut content = Vec::new();
        loop {
            let line = self.raw_line().await?;
            if line == b".\r\n" && (content.is_empty() || content.ends_with(b"\r\n")) {
                break;
            }
            let at_start = content.is_empty() || content.ends_with(b"\r\n");
            content.extend_from_slice(line.strip_prefix(b".").filter(|_| at_start).unwrap_or(&line));
        }
        let message = Message {
            connection: self.connection,
            mail: std::mem::take(&mut self.mail),
            rcpt: std::mem::take(&mut self.rcpt),
            content,
        };
        let replies = if self.script.lmtp { message.rcpt.len() } else { 1 };
        (self.note)(Note::Message(message));
        for _ in 0..replies {
            self.act(Stage::End, "").await?;
        }
        Ok(())
    }

    async fn encrypt(&mut self) -> Result<(), Over> {
        let Some(config) = self.script.tls.clone() else { return Ok(()) };
        let (plain, _) = tokio::io::duplex(1);
        let stream = std::mem::replace(&mut self.stream, Box::new(plain));
        self.stream = Box::new(TlsAcceptor::from(config).accept(stream).await?);
        Ok(())
    }

    /// Does what the script says; the code of the reply that was sent, 0 when it was none.
    async fn act(&mut self, stage: Stage, line: &str) -> Result<u16, Over> {
        let seen = self.counts.entry(stage).or_default();
        let asked = Asked { connection: self.connection, stage, count: *seen, line };
        *seen += 1;
        let mut act = (self.script.react)(asked);
        while let Act::After(permits, then) = act {
            permits.acquire().await.map_err(|_| Over)?.forget();
            act = *then;
        }
        match act {
            Act::Good => self.say(good(stage)).await,
            Act::Reply(text) => self.say(&text).await,
            Act::ReplyAndClose(text) => {
                self.say(&text).await?;
                Err(Over)
            }
            Act::Raw(bytes) => self.send(&bytes).await.map(|()| 0),
            Act::Close => Err(Over),
            Act::Hang => std::future::pending().await,
            Act::Flood(bytes) => loop {
                self.send(bytes).await?;
            },
            Act::After(..) => Err(Over),
        }
    }

    async fn say(&mut self, text: &str) -> Result<u16, Over> {
        let wire: String = text.split('\n').map(|line| format!("{line}\r\n")).collect();
        self.send(wire.as_bytes()).await?;
        Ok(text.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0))
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Over> {
        let room = match self.cut {
            Cut::Sent(most) => most.saturating_sub(self.sent),
            _ => usize::MAX,
        };
        let now = &bytes[..bytes.len().min(room)];
        self.stream.write_all(now).await?;
        self.stream.flush().await?;
        self.sent += now.len();
        if now.len() < bytes.len() || self.cut == Cut::Sent(self.sent) { Err(Over) } else { Ok(()) }
    }

    async fn line(&mut self) -> Result<String, Over> {
        let line = self.raw_line().await?;
        Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Up to and with the next LF.
    async fn raw_line(&mut self) -> Result<Vec<u8>, Over> {
        let mut seen = 0;
        loop {
            if let Some(end) = self.input[seen..].iter().position(|&byte| byte == b'\n') {
                let rest = self.input.split_off(seen + end + 1);
                return Ok(std::mem::replace(&mut self.input, rest));
            }
            seen = self.input.len();
            let mut buffer = vec![0; 16 * 1024];
            let room = match self.cut {
                Cut::Received(most) => buffer.len().min(most.saturating_sub(self.received)),
                _ => buffer.len(),
            };
            let length = if room == 0 { 0 } else { self.stream.read(&mut buffer[..room]).await? };
            if length == 0 {
                return Err(Over);
            }
            self.received += length;
            self.input.extend_from_slice(&buffer[..length]);
        }
    }
}
