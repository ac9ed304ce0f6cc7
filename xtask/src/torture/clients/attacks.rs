//! What hostile clients do over and over.
//!
//! Refuses: waiting for good manners. Each ends when it is thrown out, when it has done what it can, or soon
//! after it is told that the round is over.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use mail::Rng;

/// How long a hostile client waits for anything.
const WAIT: Duration = Duration::from_millis(500);
/// The most it reads of what it is told.
const ANSWERS_MAX: u64 = 1 << 20;

/// One of them; `Err` and `Ok` are the same to it.
pub(crate) type Attack = fn(SocketAddr, &mut Rng, &AtomicBool) -> std::io::Result<()>;

/// All of them.
pub(super) const ALL: [Attack; 7] =
    [drip, endless_line, endless_recipients, garbage, garbage_for_tls, half_a_handshake, reset];

/// What a client that is welcome says first.
const HELLO: &[u8] = b"EHLO a.test\r\n";

fn connect(server: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    Ok(stream)
}

/// Reads what is said until there is no more of it.
fn listen(stream: TcpStream) -> std::io::Result<()> {
    let mut answers = Vec::new();
    stream.take(ANSWERS_MAX).read_to_end(&mut answers)?;
    Ok(())
}

/// A command, one byte at a time.
fn drip(server: SocketAddr, _: &mut Rng, done: &AtomicBool) -> std::io::Result<()> {
    let mut stream = connect(server)?;
    for byte in b"EHLO one.byte.a.second.test\r\n".iter().cycle() {
        if done.load(Ordering::Relaxed) {
            break;
        }
        stream.write_all(&[*byte])?;
        // Slowness is the attack; in small steps, so that the end of the round is noticed.
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// One line that never ends, as a command, a parameter or as content.
fn endless_line(server: SocketAddr, rng: &mut Rng, done: &AtomicBool) -> std::io::Result<()> {
    let mut stream = connect(server)?;
    let beginnings: [&[u8]; 5] = [
        b"",
        b"EHLO a.test\r\nMAIL FROM:<",
        b"EHLO a.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nRCPT TO:<",
        b"EHLO a.test\r\nMAIL FROM:<a@b.test> BODY=",
        b"EHLO a.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n",
    ];
    stream.write_all(beginnings[rng.below(beginnings.len() as u64) as usize])?;
    for _ in 0..256 {
        if done.load(Ordering::Relaxed) {
            break;
        }
        stream.write_all(&[b'a'; 64 << 10])?;
    }
    Ok(())
}

/// One transaction with ever more recipients, each of another site; answers are not read.
fn endless_recipients(server: SocketAddr, rng: &mut Rng, done: &AtomicBool) -> std::io::Result<()> {
    let mut stream = connect(server)?;
    stream.write_all(HELLO)?;
    stream.write_all(b"MAIL FROM:<a@b.test>\r\n")?;
    while !done.load(Ordering::Relaxed) {
        let recipient = |_| format!("RCPT TO:<u@s{}.test>\r\n", rng.next_u64());
        let commands: String = (0..200).map(recipient).collect();
        stream.write_all(commands.as_bytes())?;
    }
    Ok(())
}

/// Random bytes, all at once, with line ends and a few words that mean something.
pub(crate) fn garbage(server: SocketAddr, rng: &mut Rng, _: &AtomicBool) -> std::io::Result<()> {
    let words: [&[u8]; 8] =
        [b"\r\n", b"\n", b".\r\n", b"MAIL FROM:<", b"RCPT TO:<", b"DATA\r\n", b"STARTTLS\r\n", b"BDAT 9\r\n"];
    let mut bytes = Vec::new();
    while bytes.len() < 16 << 10 {
        if rng.chance(1, 4) {
            bytes.extend_from_slice(words[rng.below(words.len() as u64) as usize]);
        } else {
            bytes.push(rng.next_u64() as u8);
        }
    }
    let mut stream = connect(server)?;
    stream.write_all(&bytes)?;
    listen(stream)
}

/// Garbage where a handshake is expected: noise, records that are none, of a length they do not have, of a
/// kind that does not belong there, or commands in plain that must not be taken for encrypted ones.
fn garbage_for_tls(server: SocketAddr, rng: &mut Rng, _: &AtomicBool) -> std::io::Result<()> {
    let mut stream = connect(server)?;
    stream.write_all(HELLO)?;
    stream.write_all(b"STARTTLS\r\n")?;
    let mut noise: Vec<u8> = (0..rng.below(32 << 10)).map(|_| rng.next_u64() as u8).collect();
    match rng.below(5) {
        0 => {}
        // A handshake record, as long as a record may be, and longer than it is.
        1 => noise.splice(..0, [22, 3, 1, 0x40, 0]).for_each(drop),
        // Application data and an alert before any handshake.
        2 => noise.splice(..0, [23, 3, 3, 0x10, 0]).for_each(drop),
        3 => noise.splice(..0, [21, 3, 3, 0, 2, 1, 0]).for_each(drop),
        _ => {
            noise = b"MAIL FROM:<smuggled@source.test>\r\nRCPT TO:<u@dst.test>\r\nDATA\r\n\r\n.\r\n".to_vec()
        }
    }
    stream.write_all(&noise)?;
    listen(stream)
}

/// A handshake that begins well and goes on one byte at a time, or not at all.
fn half_a_handshake(server: SocketAddr, rng: &mut Rng, done: &AtomicBool) -> std::io::Result<()> {
    let mut stream = connect(server)?;
    stream.write_all(HELLO)?;
    stream.write_all(b"STARTTLS\r\n")?;
    // The head of a record of 512 bytes, and of the ClientHello in it.
    stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3])?;
    for _ in 0..rng.below(64) {
        if done.load(Ordering::Relaxed) {
            break;
        }
        stream.write_all(&[rng.next_u64() as u8])?;
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A transaction that is torn off somewhere, with answers left unread: the kernel resets it.
pub(crate) fn reset(server: SocketAddr, rng: &mut Rng, _: &AtomicBool) -> std::io::Result<()> {
    let conversation =
        b"EHLO a.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nSubject: torn\r\n\r\ntext";
    let mut stream = connect(server)?;
    let length = rng.below(conversation.len() as u64) as usize;
    stream.write_all(&conversation[..length])?;
    // One byte of the answer proves that more is on its way.
    stream.read_exact(&mut [0])
}
