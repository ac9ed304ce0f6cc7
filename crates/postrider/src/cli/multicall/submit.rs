//! Handing a message to the engine's SMTP front-end: the sending session of crate `smtp` over a blocking
//! socket, each wait with a deadline.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use control::{Item, Request};
use jiff::{Timestamp, Zoned};
use mail::{Address, BodyType, Client, Envelope, Outcome, Recipient, Time, Verdict};
use smtp::client::{ContentScan, DotStuffer, Event, Session, SessionOptions, StartTls};

use super::super::failure::Failure;
use super::super::session;
use super::submission::{Message, Submission};
use crate::config::Sources;

/// Exit codes of sysexits.h.
const EX_USAGE: u8 = 64;
const EX_UNAVAILABLE: u8 = 69;
const EX_TEMPFAIL: u8 = 75;

/// Longest wait for the front-end: it answers once the message is durable.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(300);

/// Sends the message; an error unless every recipient was taken.
pub(super) fn submit(submission: &Submission, message: &Message) -> Result<(), Failure> {
    let sources = Sources::default();
    let domain = session::settings(&sources)?.smtp.config.hostname;
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
    let user = user.map_or_else(|| "nobody".to_owned(), |user| user.name);
    let envelope = envelope(submission, &user, &domain)?;
    let content = complete(submission, message, &envelope, &domain);
    let address = front_end(&sources)?;
    let outcomes = send(address, &domain, envelope.clone(), &content)?;
    let refused = envelope.recipients.iter().zip(&outcomes).filter(|(_, o)| o.verdict != Verdict::Sent);
    let refused: Vec<_> = refused.collect();
    if refused.is_empty() {
        return Ok(());
    }
    let later = refused.iter().all(|(_, outcome)| outcome.verdict == Verdict::Deferred);
    let text = refused.iter().map(|(recipient, outcome)| format!("{}: {}", recipient.address, outcome.text));
    let code = if later { EX_TEMPFAIL } else { EX_UNAVAILABLE };
    Err(Failure::Told { code, text: text.collect::<Vec<_>>().join("; ") })
}

fn envelope(submission: &Submission, user: &str, domain: &str) -> Result<Arc<Envelope>, Failure> {
    let wrong = |text: String| Failure::Told { code: EX_USAGE, text };
    let address = |text: &str| {
        let full = if text.contains('@') { text.to_owned() } else { format!("{text}@{domain}") };
        Address::parse(&full).map_err(|error| wrong(format!("\"{text}\": {error}")))
    };
    let sender = match submission.sender.as_deref() {
        Some("" | "<>") => None,
        Some(sender) => Some(address(sender.trim_start_matches('<').trim_end_matches('>'))?),
        None => Some(address(user)?),
    };
    let Submission { notify, ret, .. } = *submission;
    let recipient = |text: &String| Ok(Recipient { address: address(text)?, orcpt: None, notify });
    let recipients = submission.recipients.iter().map(recipient).collect::<Result<Vec<_>, Failure>>()?;
    if recipients.is_empty() {
        let text = match submission.recipients_from_header {
            true => "No recipient addresses found in message header",
            false => "Recipient addresses must be specified on the command line or via the -t option",
        };
        // As Postfix: the program that submits keeps its message and tries again.
        return Err(Failure::Told { code: EX_TEMPFAIL, text: text.to_owned() });
    }
    let utf8 = recipients.iter().map(|r| &r.address).chain(&sender).any(Address::needs_utf8);
    Ok(Arc::new(Envelope {
        sender,
        recipients,
        ret,
        envid: submission.envid.clone(),
        body: BodyType::SevenBit,
        smtputf8: utf8,
        arrived: Time::ZERO,
        size: 0,
        client: Client::default(),
    }))
}

/// The content with the header fields that a message must have (RFC 5322 3.6) or should have.
fn complete(submission: &Submission, message: &Message, envelope: &Envelope, domain: &str) -> Vec<u8> {
    let mut content = Vec::new();
    if !message.has("from") {
        let address =
            envelope.sender.as_ref().map_or_else(|| format!("MAILER-DAEMON@{domain}"), Address::to_string);
        let from = match submission.full_name.as_deref() {
            Some(name) => format!("From: \"{}\" <{address}>\r\n", name.replace(['"', '\\', '\r', '\n'], "")),
            None => format!("From: {address}\r\n"),
        };
        content.extend(from.into_bytes());
    }
    if !message.has("date") {
        let date = jiff::fmt::rfc2822::to_string(&Zoned::now()).unwrap_or_default();
        content.extend(format!("Date: {date}\r\n").into_bytes());
    }
    if !message.has("message-id") {
        let unique = format!("{}.{}", Timestamp::now().as_nanosecond(), std::process::id());
        content.extend(format!("Message-ID: <{unique}@{domain}>\r\n").into_bytes());
    }
    content.extend_from_slice(&message.header);
    content.extend_from_slice(b"\r\n");
    content.extend_from_slice(&message.body);
    content
}

/// Whoever submits keeps the message and tries again.
pub(super) fn later(text: &str) -> Failure {
    Failure::Told { code: EX_TEMPFAIL, text: text.to_owned() }
}

/// Where the engine really takes SMTP: it is asked, because a port of 0 in the settings says nothing.
pub(super) fn front_end(sources: &Sources) -> Result<SocketAddr, Failure> {
    let mut engine = session::engine(sources).map_err(|failure| later(&failure.lines().join("; ")))?;
    let mut listen = Vec::new();
    for item in engine.ask(&Request::Status {})? {
        if let Item::Status(status) = item? {
            listen.extend(status.listen);
        }
    }
    let mut smtp = listen.iter().filter_map(|address| address.strip_prefix("smtp ")?.parse().ok());
    smtp.next().ok_or_else(|| later("the engine does not listen for SMTP: set smtp.listen"))
}

fn send(
    address: SocketAddr,
    hostname: &str,
    envelope: Arc<Envelope>,
    content: &[u8],
) -> Result<Vec<Outcome>, Failure> {
    let broken = |error: std::io::Error| Failure::Told {
        code: EX_TEMPFAIL,
        text: format!("cannot hand the message to {address}: {error}"),
    };
    let mut stream = TcpStream::connect_timeout(&address, WAIT_MAX).map_err(broken)?;
    stream.set_read_timeout(Some(WAIT_MAX)).map_err(broken)?;
    stream.set_write_timeout(Some(WAIT_MAX)).map_err(broken)?;
    let mut scan = ContentScan::new();
    scan.read(content);
    let hostname = Arc::from(hostname);
    let options = SessionOptions { lmtp: false, hostname, start_tls: StartTls::Never, relay: None };
    let mut session = Session::new(options);
    let mut buffer = [0; 4096];
    loop {
        match session.poll_event() {
            Some(Event::Ready) => {
                let recipients = (0..).take(envelope.recipients.len()).collect();
                session.send(envelope.clone(), recipients, scan.content());
            }
            Some(Event::SendContent) => {
                write_content(&mut stream, content).map_err(broken)?;
                session.content_sent();
            }
            Some(Event::Finished(ending)) => {
                session.quit();
                // The message is decided; a goodbye that does not arrive changes nothing.
                let _ = stream.write_all(session.output());
                return Ok(ending.outcomes);
            }
            Some(Event::Failed(outcome)) => return Ok(vec![outcome; envelope.recipients.len()]),
            Some(Event::StartTls) => session.connection_lost(None),
            None => {
                stream.write_all(session.output()).map_err(broken)?;
                session.output_sent();
                match stream.read(&mut buffer).map_err(broken)? {
                    0 => session.connection_lost(None),
                    count => session.receive(&buffer[..count]),
                }
            }
        }
    }
}

fn write_content(stream: &mut TcpStream, content: &[u8]) -> std::io::Result<()> {
    let mut stuffer = DotStuffer::new();
    let mut slices = Vec::new();
    stuffer.stuff(content, &mut slices);
    let mut stuffed = slices.concat();
    stuffed.extend_from_slice(stuffer.end());
    stream.write_all(&stuffed)
}
