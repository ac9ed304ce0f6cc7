//! One connection to a sink.

use std::io;
use std::path::Path;
use std::time::Duration;

use mail::{EnhancedStatus, Reply};
use serde_json::json;
use smtp::server::{Event, Session, Transaction};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::options::Stage;
use super::{READ_ROOM, Sink, say};

/// How long a client may be silent, or leave replies unread.
const SILENCE_MAX: Duration = Duration::from_secs(300);

/// One connection.
pub(super) struct Conversation<'s> {
    sink: &'s Sink,
    session: Session,
    stream: TcpStream,
    /// Messages taken whose answer has not been sent.
    unanswered: u64,
}

impl<'s> Conversation<'s> {
    pub(super) fn new(sink: &'s Sink, stream: TcpStream) -> Conversation<'s> {
        Conversation { sink, session: Session::new(sink.settings.clone()), stream, unanswered: 0 }
    }

    /// Goes on until one of the two sides ends it.
    pub(super) async fn run(mut self) -> io::Result<()> {
        self.sink.reaches(Stage::Connect).await?;
        if let Some(reply) = self.sink.refusal(Stage::Connect) {
            self.session.output().clear();
            self.session.close(&reply);
        }
        loop {
            let stage = match self.session.poll() {
                Event::Hello => Stage::Helo,
                Event::Mail => Stage::Mail,
                Event::Rcpt => Stage::Rcpt,
                Event::Data => Stage::Data,
                Event::Message => Stage::Message,
                event => match self.go_on(event).await? {
                    true => continue,
                    false => return Ok(()),
                },
            };
            if stage == Stage::Mail && self.sink.has_enough() {
                self.session.close(&enough(421));
                continue;
            }
            self.sink.reaches(stage).await?;
            if stage == Stage::Message {
                self.message().await?;
                continue;
            }
            match self.sink.refusal(stage) {
                Some(reply) if reply.code == 421 => self.session.close(&reply),
                Some(reply) => self.session.refuse(reply),
                None if stage == Stage::Data => self.session.begin_body(Vec::new()),
                None => self.session.accept(),
            }
        }
    }

    /// Everything that is no question. False at the end.
    async fn go_on(&mut self, event: Event) -> io::Result<bool> {
        match event {
            Event::NeedInput => {
                self.flush().await?;
                let input = self.session.input();
                input.reserve(READ_ROOM);
                Ok(timeout(SILENCE_MAX, self.stream.read_buf(input)).await?? > 0)
            }
            Event::Close => {
                self.flush().await?;
                self.stream.shutdown().await?;
                Ok(false)
            }
            Event::BodyPart => {
                self.sink.counts.bytes.add(self.session.take_body_part().len() as u64);
                Ok(true)
            }
            Event::Etrn { .. } => {
                self.session.answer(Reply::new(458, None, "Nothing is queued in a sink"));
                Ok(true)
            }
            _ => Ok(true),
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        let output = self.session.output();
        if !output.is_empty() {
            let written = timeout(SILENCE_MAX, self.stream.write_all(output)).await;
            output.clear();
            written??;
            self.sink.answered(std::mem::take(&mut self.unanswered));
        }
        Ok(())
    }

    async fn message(&mut self) -> io::Result<()> {
        let Some((transaction, content)) = self.session.take_message() else { return Ok(()) };
        let lmtp = self.sink.args.lmtp;
        let count = transaction.recipients.len();
        let asked = if lmtp { count } else { 1 };
        let refusals: Vec<Option<Reply>> = (0..asked).map(|_| self.sink.refusal(Stage::Message)).collect();
        let taken = refusals.iter().filter(|refusal| refusal.is_none()).count();
        let mut number = 0;
        if taken > 0 {
            let counts = &self.sink.counts;
            let Some(place) = counts.messages.add_within(self.sink.args.count) else {
                self.session.finish(&enough(451));
                return Ok(());
            };
            number = place;
            counts.recipients.add(if lmtp { taken } else { count } as u64);
            counts.bytes.add(content.len() as u64);
            self.keep(number, &transaction, content).await?;
            self.unanswered += 1;
        }
        let taken_reply = Reply::new(250, Some(EnhancedStatus::new(2, 0, 0)), format!("Ok: {number}"));
        self.session.finish_each(|position| {
            refusals.get(position).cloned().flatten().unwrap_or_else(|| taken_reply.clone())
        });
        Ok(())
    }

    async fn keep(&self, number: u64, transaction: &Transaction, content: Vec<u8>) -> io::Result<()> {
        let args = &self.sink.args;
        if !args.json && args.dump.is_none() {
            return Ok(());
        }
        let envelope = envelope_json(number, transaction);
        if let Some(folder) = args.dump.clone() {
            let envelope = envelope.clone();
            tokio::task::spawn_blocking(move || dump(&folder, number, &envelope, &content)).await??;
        }
        if args.json {
            say(&envelope);
        }
        Ok(())
    }
}

/// The reply to whoever comes behind the last message that was wanted.
fn enough(code: u16) -> Reply {
    Reply::new(code, Some(EnhancedStatus::new(4, 3, 2)), "The sink has taken enough")
}

fn envelope_json(number: u64, transaction: &Transaction) -> String {
    let recipients: Vec<&str> = transaction.recipients.iter().map(|one| one.address.as_str()).collect();
    let envelope = json!({
        "event": "message",
        "number": number,
        "from": transaction.mail.sender_text(),
        "to": recipients,
        "mail": transaction.mail.to_string(),
    });
    envelope.to_string()
}

fn dump(folder: &Path, number: u64, envelope: &str, content: &[u8]) -> io::Result<()> {
    std::fs::write(folder.join(format!("{number:06}.json")), format!("{envelope}\n"))?;
    std::fs::write(folder.join(format!("{number:06}.eml")), content)
}
