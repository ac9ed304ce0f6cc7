//! A name server that lies, over UDP and TCP, until it is told to tell the truth.
//!
//! Promises: what it says depends on the site and the question only. Refuses: being a name server; it reads
//! one question of a query and nothing else.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};

/// The types of records.
const A: u16 = 1;
const CNAME: u16 = 5;
const MX: u16 = 15;
const AAAA: u16 = 28;
/// Flags of an answer: it is one, recursion was wanted and is there; it is cut off.
const ANSWER: u16 = 0x8180;
const CUT_OFF: u16 = 0x0200;
/// Records of an answer that is too long.
const FLOOD: usize = 1500;
/// Seconds for which anything may be believed.
const TTL: u32 = 1;
/// For a client over TCP that says nothing.
const PATIENCE: Duration = Duration::from_secs(5);

/// It answers until it is dropped.
pub(super) struct NameServer {
    place: SocketAddr,
    honest: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Everything that is asked is about one of these.
struct Question {
    id: [u8; 2],
    /// As it stood in the query, to be repeated.
    bytes: Vec<u8>,
    name: String,
    kind: u16,
}

/// Where mail goes if the truth is told.
#[derive(Clone, Copy)]
struct Truth {
    address: Ipv4Addr,
}

impl NameServer {
    /// Listens on port 53 of this address. Mail of an honest site goes to the same address.
    pub(super) fn start(address: Ipv4Addr) -> Result<NameServer> {
        let place = SocketAddr::new(IpAddr::V4(address), 53);
        let udp = UdpSocket::bind(place).with_context(|| format!("{place}: this needs root"))?;
        let tcp = TcpListener::bind(place)?;
        let [honest, over] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let truth = Truth { address };
        let (told, ended) = (Arc::clone(&honest), Arc::clone(&over));
        let first = thread::spawn(move || over_udp(&udp, truth, &told, &ended));
        let (told, ended) = (Arc::clone(&honest), Arc::clone(&over));
        let second = thread::spawn(move || over_tcp(&tcp, truth, &told, &ended));
        Ok(NameServer { place, honest, over, threads: vec![first, second] })
    }

    /// From now on only the truth.
    pub(super) fn come_clean(&self) {
        self.honest.store(true, Ordering::Relaxed);
    }
}

/// The next round finds the port free.
impl Drop for NameServer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Both threads wait for somebody to ask. Should that fail, they are left to themselves.
        let asked = UdpSocket::bind((self.place.ip(), 0)).and_then(|socket| socket.send_to(&[], self.place));
        let connected = TcpStream::connect(self.place);
        if asked.is_ok() && connected.is_ok() {
            // They have nothing to say any more.
            self.threads.drain(..).for_each(|thread| drop(thread.join()));
        }
    }
}

fn over_udp(socket: &UdpSocket, truth: Truth, honest: &AtomicBool, over: &AtomicBool) {
    let mut query = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut query) {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let Some(question) = Question::read(&query[..length]) else { continue };
        let said = match question.site() {
            _ if honest.load(Ordering::Relaxed) => Some(truth.told(&question)),
            // Those go on over TCP.
            "cut.test" | "flood.test" => Some(question.answer(ANSWER | CUT_OFF, &[])),
            site => lie(site, &question, truth),
        };
        if let Some(said) = said {
            // Who asked may be gone.
            let _ = socket.send_to(&said, from);
        }
    }
}

fn over_tcp(listener: &TcpListener, truth: Truth, honest: &AtomicBool, over: &AtomicBool) {
    for stream in listener.incoming().flatten() {
        if over.load(Ordering::Relaxed) {
            return;
        }
        // Who hangs up has his answer, or will ask again.
        let _ = over_one(stream, truth, honest.load(Ordering::Relaxed));
    }
}

fn over_one(mut stream: TcpStream, truth: Truth, honest: bool) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut query)?;
    let Some(question) = Question::read(&query) else { return Ok(()) };
    let said = match question.site() {
        _ if honest => truth.told(&question),
        "flood.test" if question.kind == MX => {
            let records: Vec<Vec<u8>> = (0..FLOOD)
                .map(|n| record(&question.name, MX, &mx(n as u16, &format!("h{n}.flood.test"))))
                .collect();
            question.answer(ANSWER, &records)
        }
        "flood.test" => question.answer(ANSWER | 2, &[]),
        // More is announced than comes.
        _ => return stream.write_all(&[0x7F, 0xFF, question.id[0], question.id[1], 0x81]),
    };
    stream.write_all(&(said.len() as u16).to_be_bytes())?;
    stream.write_all(&said)
}

impl Truth {
    fn told(self, question: &Question) -> Vec<u8> {
        let own = question.name == question.site();
        match question.kind {
            MX if own => question.one(MX, &mx(10, &format!("mx.{}", question.name))),
            A if !own => question.one(A, &self.address.octets()),
            _ => question.answer(ANSWER, &[]),
        }
    }
}

/// What is said about a site; nothing, too, is a lie.
fn lie(site: &str, question: &Question, truth: Truth) -> Option<Vec<u8>> {
    let Question { name, kind, .. } = question;
    let host = format!("mx.{site}");
    let address = |four: [u8; 4], six: [u8; 16]| match *kind {
        MX => question.one(MX, &mx(10, &host)),
        A => question.one(A, &four),
        _ => question.one(AAAA, &six),
    };
    Some(match site {
        "silent.test" => return None,
        "servfail.test" => question.answer(ANSWER | 2, &[]),
        "refused.test" => question.answer(ANSWER | 5, &[]),
        "noise.test" => [&question.id[..], &[0xC0; 40]].concat(),
        // The answer to another query.
        "forged.test" => {
            let mut said = truth.told(question);
            said[0] ^= 0xFF;
            said
        }
        // The answer to another question, in the right query, and as if it had been asked.
        "other.test" => match *kind {
            MX => question.answer(ANSWER, &[record("honest.test", MX, &mx(10, "mx.honest.test"))]),
            _ => question.answer(ANSWER, &[record("mx.honest.test", A, &truth.address.octets())]),
        },
        "asked.test" => Question { bytes: asked("honest.test", MX), ..question.clone() }
            .answer(ANSWER, &[record("honest.test", MX, &mx(10, "mx.honest.test"))]),
        // Ever another name, and one name after the other in a circle.
        "endless.test" => question.one(CNAME, &labels(&format!("c{}.{site}", 1 + number(name)))),
        "round.test" => question.one(CNAME, &labels(&format!("c{}.{site}", (1 + number(name)) % 3))),
        // There are two hosts, one with another name's address; nobody knows the other.
        "unsure.test" => match *kind {
            MX => question
                .answer(ANSWER, &["a.", "b."].map(|n| record(name, MX, &mx(10, &format!("{n}{site}"))))),
            _ if name.starts_with("a.") => question.answer(ANSWER | 2, &[]),
            _ => question.answer(ANSWER, &[record("mx.honest.test", A, &truth.address.octets())]),
        },
        "myself.test" => question.one(MX, &mx(10, "engine.test")),
        "zero.test" => address([0; 4], [0; 16]),
        "crowd.test" => address([224, 0, 0, 1], [0xFF, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        "all.test" => address([255; 4], [0xFF; 16]),
        _ => truth.told(question),
    })
}

/// The number behind the first letter of a name, or 0.
fn number(name: &str) -> u64 {
    let first = name.split('.').next().unwrap_or_default();
    first.strip_prefix('c').and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

impl Clone for Question {
    fn clone(&self) -> Question {
        Question { id: self.id, bytes: self.bytes.clone(), name: self.name.clone(), kind: self.kind }
    }
}

impl Question {
    fn read(query: &[u8]) -> Option<Question> {
        let id = *query.first_chunk()?;
        let mut rest = query.get(12..)?;
        let mut name = Vec::new();
        while let [length @ 1..=63, behind @ ..] = rest {
            let (label, behind) = behind.split_at_checked(usize::from(*length))?;
            name.push(String::from_utf8_lossy(label).to_ascii_lowercase());
            rest = behind;
        }
        let [0, high, low, _, _, behind @ ..] = rest else { return None };
        let bytes = query[12..query.len() - behind.len()].to_vec();
        Some(Question { id, bytes, name: name.join("."), kind: u16::from_be_bytes([*high, *low]) })
    }

    /// The last two labels of the name.
    fn site(&self) -> &str {
        self.name.rmatch_indices('.').nth(1).map_or(&self.name, |(dot, _)| &self.name[dot + 1..])
    }

    fn one(&self, kind: u16, data: &[u8]) -> Vec<u8> {
        self.answer(ANSWER, &[record(&self.name, kind, data)])
    }

    fn answer(&self, flags: u16, records: &[Vec<u8>]) -> Vec<u8> {
        let mut said = self.id.to_vec();
        for number in [flags, 1, records.len() as u16, 0, 0] {
            said.extend(number.to_be_bytes());
        }
        said.extend(&self.bytes);
        said.extend(records.concat());
        said
    }
}

/// A question as it stands in a query.
fn asked(name: &str, kind: u16) -> Vec<u8> {
    let [high, low] = kind.to_be_bytes();
    [&labels(name)[..], &[high, low, 0, 1]].concat()
}

fn record(name: &str, kind: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = asked(name, kind);
    bytes.extend(TTL.to_be_bytes());
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    bytes
}

fn mx(preference: u16, host: &str) -> Vec<u8> {
    [&preference.to_be_bytes()[..], &labels(host)].concat()
}

fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}
