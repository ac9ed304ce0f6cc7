//! Conversations with the receiving session (testdata/smtp), whole, in pieces, and at random.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mail::{EnhancedStatus, Reply};
use proptest::prelude::*;
use smtp::server::{Event, Session, Settings};

fn reply(code: u16, status: &str, text: impl Into<String>) -> Reply {
    Reply::new(code, Some(status.parse::<EnhancedStatus>().unwrap()), text)
}

/// The driver of the transcripts: its answers are in testdata/smtp/README.md.
struct Driver {
    session: Session,
    /// What happened, in the notation of the files.
    log: String,
}

impl Driver {
    fn new(settings: &Settings) -> Driver {
        Driver { session: Session::new(Arc::new(settings.clone())), log: String::new() }
    }

    fn flush(&mut self) {
        let output = std::mem::take(self.session.output());
        for line in String::from_utf8(output).unwrap().split_terminator("\r\n") {
            writeln!(self.log, "S: {line}").unwrap();
        }
    }

    /// Answers until input is wanted. False when the session is over.
    fn run(&mut self) -> bool {
        loop {
            let event = self.session.poll();
            match event {
                Event::NeedInput | Event::Close => {
                    self.flush();
                    if event == Event::Close {
                        self.log.push_str("E: close\n");
                    }
                    return event == Event::NeedInput;
                }
                Event::StartTls => {
                    self.flush();
                    self.log.push_str("E: starttls\n");
                    self.session.tls_started();
                }
                Event::Abandoned => {
                    // Replies to what came before are in the output already, the one to this is not
                    // or is; either way the transcript has the event in front of it.
                    self.log.push_str("E: abandoned\n");
                }
                Event::Refused(_) | Event::BodyPart => {}
                Event::Message => self.message(),
                question => self.answer(question),
            }
        }
    }

    fn sender(&self) -> String {
        let sender = self.session.transaction().and_then(|t| t.mail.sender.clone());
        sender.map_or(String::new(), |address| address.to_string())
    }

    fn answer(&mut self, question: Event) {
        let sender = self.sender();
        match question {
            Event::Hello => self.session.accept(),
            Event::Mail if sender == "full@src.test" => {
                self.session.refuse(reply(452, "4.3.1", "Insufficient system storage"));
            }
            Event::Mail => self.session.accept(),
            Event::Rcpt => {
                let address = self.session.candidate().unwrap().address.clone();
                match address.site().as_deref() {
                    Some("later.test") => self.session.refuse(reply(450, "4.2.0", "Mailbox busy")),
                    Some("no.test") => self.session.refuse(reply(550, "5.1.1", "No such user")),
                    Some(site) if !site.ends_with(".test") && !site.starts_with('[') => {
                        let text = format!("<{address}>: Relay access denied");
                        self.session.refuse(reply(554, "5.7.1", text));
                    }
                    _ => self.session.accept(),
                }
            }
            Event::Data if sender == "nodata@src.test" => {
                self.session.refuse(reply(451, "4.3.0", "Not now"));
            }
            Event::Data => self.session.begin_body(Vec::new()),
            Event::Etrn { site, .. } if site == "deny.test" => {
                self.session.answer(reply(459, "4.7.1", format!("{site}: service unavailable")));
            }
            Event::Etrn { site, subdomains } => {
                let text = if subdomains { format!("{site} and subdomains") } else { site };
                self.session.answer(reply(250, "2.0.0", text));
            }
            other => panic!("no question: {other:?}"),
        }
    }

    fn message(&mut self) {
        if self.sender() == "late@src.test" {
            return self.session.refuse(reply(451, "4.3.0", "Not now"));
        }
        self.flush();
        let (transaction, content) = self.session.take_message().unwrap();
        let sender = transaction.mail.sender.map_or(String::new(), |address| address.to_string());
        write!(self.log, "M: <{sender}>").unwrap();
        for recipient in &transaction.recipients {
            write!(self.log, " <{}>", recipient.address).unwrap();
        }
        writeln!(self.log, ": {}", String::from_utf8_lossy(&content).escape_debug()).unwrap();
        let full: Vec<bool> =
            transaction.recipients.iter().map(|r| r.address.local_part() == "full").collect();
        self.session.finish_each(|position| {
            if full[position] {
                reply(452, "4.2.2", "Mailbox full")
            } else {
                reply(250, "2.0.0", "Ok: queued as TEST")
            }
        });
    }

    fn feed(&mut self, bytes: &[u8]) -> bool {
        self.session.feed(bytes);
        self.run()
    }
}

struct Transcript {
    settings: Settings,
    /// Client bytes and what has to happen in consequence, in turns.
    turns: Vec<(Vec<u8>, String)>,
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (byte, used) = match tail[0] {
            b'r' => (b'\r', 1),
            b'n' => (b'\n', 1),
            b't' => (b'\t', 1),
            b'0' => (0, 1),
            b'x' => (u8::from_str_radix(std::str::from_utf8(&tail[1..3]).unwrap(), 16).unwrap(), 3),
            other => (other, 1),
        };
        bytes.push(byte);
        rest = &tail[used..];
    }
    bytes
}

fn set(settings: &mut Settings, line: &str) {
    let (name, value) = line.split_once(' ').unwrap();
    let number: usize = value.parse().unwrap();
    match name {
        "lmtp" => settings.lmtp = number > 0,
        "starttls" => settings.starttls = number > 0,
        "etrn" => settings.etrn = number > 0,
        "hard_error_limit" => settings.hard_error_limit = number as u32,
        "junk_command_limit" => settings.junk_command_limit = number as u32,
        "recipient_limit" => settings.recipient_limit = number,
        "recipient_overshoot_limit" => settings.recipient_overshoot_limit = number,
        "message_size_limit" => settings.message_size_limit = number as u64,
        "hopcount_limit" => settings.hopcount_limit = number as u32,
        _ => panic!("no such setting: {name}"),
    }
}

fn read(path: &Path) -> Transcript {
    let text = std::fs::read_to_string(path).unwrap();
    let mut transcript = Transcript {
        settings: Settings { hostname: "mx.test".into(), ..Settings::default() },
        turns: vec![],
    };
    transcript.turns.push((Vec::new(), String::new()));
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let content = line.get(3..).unwrap_or_default();
        let client = match &line[..2] {
            "C:" => [unescape(content), b"\r\n".to_vec()].concat(),
            "C>" => unescape(content),
            "se" => {
                set(&mut transcript.settings, &line[4..]);
                continue;
            }
            _ => {
                let (_, expected) = transcript.turns.last_mut().unwrap();
                writeln!(expected, "{line}").unwrap();
                continue;
            }
        };
        match transcript.turns.last_mut().unwrap() {
            (bytes, expected) if expected.is_empty() => bytes.extend(client),
            _ => transcript.turns.push((client, String::new())),
        }
    }
    transcript
}

fn transcripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/smtp");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "txt"));
    paths.sort();
    assert!(paths.len() > 10);
    paths
}

#[test]
fn transcripts_hold_in_lock_step() {
    for path in transcripts() {
        let transcript = read(&path);
        let mut driver = Driver::new(&transcript.settings);
        for (client, expected) in &transcript.turns {
            driver.log.clear();
            driver.feed(client);
            let said = String::from_utf8_lossy(client);
            assert_eq!(&driver.log, expected, "{}: after {said:?}", path.display());
        }
    }
}

/// Replies only: in one piece, events about content come before replies that were held back.
fn replies(settings: &Settings, pieces: &[&[u8]]) -> String {
    let mut driver = Driver::new(settings);
    driver.run();
    for piece in pieces {
        if !driver.feed(piece) {
            break;
        }
    }
    driver.log.lines().filter(|line| !line.starts_with("E: abandoned")).collect::<Vec<_>>().join("\n")
}

#[test]
fn pieces_do_not_matter() {
    for path in transcripts() {
        let transcript = read(&path);
        if transcript.settings.starttls {
            continue; // what follows STARTTLS in the same piece is forgotten on purpose
        }
        let input: Vec<u8> = transcript.turns.iter().flat_map(|(client, _)| client.clone()).collect();
        let whole = replies(&transcript.settings, &[&input]);
        let lock_step: String = transcript.turns.iter().map(|(_, expected)| expected.as_str()).collect();
        let lock_step: Vec<&str> = lock_step.lines().filter(|l| !l.starts_with("E: abandoned")).collect();
        assert_eq!(whole, lock_step.join("\n"), "{}", path.display());
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(replies(&transcript.settings, &bytes), whole, "{}: byte by byte", path.display());
        for cut in 0..input.len() {
            let (front, back) = input.split_at(cut);
            let got = replies(&transcript.settings, &[front, back]);
            assert_eq!(got, whole, "{}: cut at {cut}", path.display());
        }
    }
}

#[test]
fn a_command_line_has_a_limit() {
    let limit = mail::limits::COMMAND_LINE_BYTES_MAX;
    let settings = Settings::default();
    let noop = |bytes: usize| format!("NOOP {}\r\n", "x".repeat(bytes - 7)).into_bytes();
    for pieces in [1, 100, limit, 2 * limit] {
        for (bytes, code) in [(limit, "250 2.0.0"), (limit + 1, "500 5.5.2"), (3 * limit, "500 5.5.2")] {
            let input = [noop(bytes), b"NOOP\r\n".to_vec()].concat();
            let got = replies(&settings, &input.chunks(pieces).collect::<Vec<_>>());
            let lines: Vec<&str> = got.lines().skip(1).collect();
            assert_eq!(lines.len(), 2, "{bytes} in {pieces}: {got}");
            assert!(lines[0].starts_with(&format!("S: {code}")), "{bytes} in {pieces}: {got}");
            assert!(lines[1].starts_with("S: 250"), "{bytes} in {pieces}: {got}");
        }
    }
}

#[test]
fn an_endless_line_costs_no_memory() {
    let mut driver = Driver::new(&Settings::default());
    for _ in 0..1000 {
        assert!(driver.feed(&[b'x'; 4096]));
        assert!(driver.session.input().capacity() <= 64 * 1024);
    }
}

#[test]
fn stopping_waits_for_the_message_that_is_arriving() {
    let mut driver = Driver::new(&Settings::default());
    driver.feed(b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<u@dst.test>\r\nDATA\r\nx");
    driver.session.stop(reply(421, "4.3.2", "Shutting down"));
    assert!(driver.run());
    driver.log.clear();
    assert!(!driver.feed(b"\r\n.\r\nMAIL FROM:<>\r\n"));
    let replies: Vec<&str> = driver.log.lines().filter(|line| line.starts_with("S:")).collect();
    assert_eq!(replies, ["S: 250 2.0.0 Ok: queued as TEST", "S: 421 4.3.2 Shutting down"]);

    let mut idle = Driver::new(&Settings::default());
    assert!(idle.run());
    idle.session.stop(reply(421, "4.3.2", "Shutting down"));
    assert!(!idle.run());
    assert!(idle.log.ends_with("S: 421 4.3.2 Shutting down\nE: close\n"));
}

#[test]
fn a_body_that_fails_here_is_still_read_to_its_end() {
    let mut driver = Driver::new(&Settings::default());
    driver.feed(b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<u@dst.test>\r\nDATA\r\nNOOP\r\n");
    driver.session.fail_body(reply(452, "4.3.1", "Insufficient system storage"));
    driver.log.clear();
    assert!(driver.feed(b"NOOP\r\n.\r\nNOOP\r\n"));
    assert_eq!(driver.log, "S: 452 4.3.1 Insufficient system storage\nS: 250 2.0.0 Ok\n");
}

#[test]
fn a_message_without_end_ends_the_session() {
    let settings = Settings { message_size_limit: 1000, endless_bytes_min: 1 << 20, ..Settings::default() };
    let hello = b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<u@dst.test>\r\n".as_slice();
    let content = [b"DATA\r\n".to_vec(), vec![b'x'; 1 << 20], vec![b'y'; 3000]].concat();
    for (input, code) in [
        (content.as_slice(), "S: 552 5.3.4"),
        (b"BDAT 2000000\r\nx", "S: 552 5.3.4"),
        (b"RSET\r\nBDAT 2000000\r\nx", "S: 503 5.5.1"),
    ] {
        for pieces in [1000, usize::MAX] {
            let input: Vec<&[u8]> = [hello].into_iter().chain(input.chunks(pieces)).collect();
            let said = replies(&settings, &input);
            let last: Vec<&str> = said.lines().rev().take(3).collect();
            assert_eq!(last[0], "E: close", "{said}");
            assert!(last[1].starts_with("S: 421 4.3.4") && last[2].starts_with(code), "{said}");
        }
    }
}

#[test]
fn much_content_is_offered_in_parts() {
    let settings = Settings { body_part: 10, ..Settings::default() };
    let mut session = Session::new(Arc::new(settings));
    session.feed(b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<u@dst.test>\r\nDATA\r\n0123456789abc");
    let mut parts = Vec::new();
    loop {
        match session.poll() {
            Event::Hello | Event::Mail | Event::Rcpt => session.accept(),
            Event::Data => session.begin_body(b"front\r\n".to_vec()),
            Event::BodyPart => parts.push(session.take_body_part()),
            Event::NeedInput if parts.is_empty() => panic!("no part was offered"),
            Event::NeedInput => session.feed(b"\r\n.\r\n"),
            Event::Message => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(parts, [b"front\r\n0123456789abc"]);
    assert_eq!(session.take_message().unwrap().1, b"\r\n");
}

fn fragment() -> impl Strategy<Value = String> {
    let known = [
        "EHLO x\r\n",
        "MAIL FROM:<s@src.test>\r\n",
        "RCPT TO:<u@dst.test>\r\n",
        "RCPT TO:<u@no.test>\r\n",
        "DATA\r\n",
        "x\r\n.\r\n",
        ".\r\n",
        "\r\n",
        "\n",
        "\r",
        "BDAT 3\r\nabc",
        "BDAT 4 LAST\r\nab\r\n",
        "BDAT 9\r\n",
        "RSET\r\n",
        "NOOP\r\n",
        "QUIT\r\n",
        "STARTTLS\r\n",
        "ETRN a.test\r\n",
    ];
    prop_oneof![4 => prop::sample::select(known.to_vec()).prop_map(String::from), 1 => "[ -~\\r\\n\0é]{0,8}"]
}

proptest! {
    #[test]
    fn any_conversation_is_the_same_in_any_pieces(
        parts in prop::collection::vec(fragment(), 0..30), pieces in 1usize..20, lmtp: bool,
    ) {
        let settings = Settings { lmtp, etrn: true, message_size_limit: 40, ..Settings::default() };
        let input = parts.concat();
        let input = if lmtp { input.replace("EHLO", "LHLO") } else { input };
        let whole = replies(&settings, &[input.as_bytes()]);
        let split: Vec<&[u8]> = input.as_bytes().chunks(pieces).collect();
        prop_assert_eq!(replies(&settings, &split), whole);
    }
}
