//! A second message hidden in the first (SMTP smuggling): behind an end of content that only a careless
//! server sees, or in one that only a careless sender passes on.
//!
//! Promises: every sequence that the published scanners try, and a few more, is sent in front of a whole
//! second transaction; neither the engine takes it for one, nor does the next hop get one.
//!
//! The sequences are those of Timo Longin's scanner (The-Login/SMTP-Smuggling-Tools, inbound and outbound
//! lists of 2024), which SEC Consult published with the attack in December 2023.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use testkit::plain::{Client, ClientError, Received, Sink};

use super::PATIENCE;
use crate::program::poll;

/// What stands where the end of the first message is pretended.
const SEQUENCES: [&[u8]; 19] = [
    // The scanner's.
    b"\n.\n",
    b"\n.\r",
    b"\r.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r.\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    // The same idea, further.
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\n.\0\r\n",
    b"\r\n.\x0b\r\n",
    b"\r\n. \r\n",
    b"\r\n.\t\r\n",
    b"\n\r.\r\n",
    b"\r\n\r.\r\n",
    b"\r\n\xe2\x80\xa8.\r\n",
    b"\x85.\x85",
];
/// Who sends the first message, and who the second.
const OPEN: &str = "smuggler@source.test";
const HIDDEN: &str = "smuggled@source.test";

/// The second transaction, whole.
fn hidden() -> Vec<u8> {
    format!("MAIL FROM:<{HIDDEN}>\r\nRCPT TO:<u@dst.test>\r\nDATA\r\nSubject: hidden\r\n\r\n").into_bytes()
}

/// Tries everything, and waits for what was taken. Returns how many times it was tried.
pub(super) fn round(server: SocketAddr, sink: &Sink) -> Result<usize> {
    let mut taken = 0;
    for sequence in SEQUENCES {
        let content = [b"Subject: open\r\n\r\ntext", sequence, &hidden()].concat();
        taken += usize::from(behind_data(server, &content).with_context(|| shown(sequence))?);
        taken += usize::from(in_a_chunk(server, &content).with_context(|| shown(sequence))?);
    }
    // In a chunk a dot on a line of its own is content: it must be stuffed before anybody else sees it.
    let content = [b"Subject: open\r\n\r\ntext\r\n.\r\n", &hidden()[..]].concat();
    ensure!(in_a_chunk(server, &content)?, "a dot in a chunk is refused");
    let open = || sink.received().iter().filter(|one| one.mail.contains(OPEN)).count();
    poll("what was taken", PATIENCE, || Ok((open() > taken).then_some(())))?;
    Ok(2 * SEQUENCES.len() + 1)
}

/// Whether anything arrived that was hidden.
pub(super) fn judge(received: &[Received]) -> Result<()> {
    for one in received {
        ensure!(
            !one.mail.contains(HIDDEN),
            "a hidden message arrived: {:?}",
            String::from_utf8_lossy(&one.content)
        );
    }
    Ok(())
}

fn shown(sequence: &[u8]) -> String {
    format!("with {:?} as the end", sequence.escape_ascii().to_string())
}

/// Whether the content was taken as one message. Its only end is the last line.
fn behind_data(server: SocketAddr, content: &[u8]) -> Result<bool> {
    let mut client = begun(server)?;
    ensure!(client.command("DATA")?.code == 354, "DATA is refused");
    client.write(content)?;
    client.write(b"\r\n.\r\n")?;
    ended(client)
}

/// The same in a chunk of BDAT.
fn in_a_chunk(server: SocketAddr, content: &[u8]) -> Result<bool> {
    let mut client = begun(server)?;
    client.write(format!("BDAT {} LAST\r\n", content.len()).as_bytes())?;
    client.write(content)?;
    ended(client)
}

fn begun(server: SocketAddr) -> Result<Client> {
    let mut client = Client::greet(server)?;
    for command in [format!("MAIL FROM:<{OPEN}>"), "RCPT TO:<u@dst.test>".to_owned()] {
        let reply = client.command(&command)?;
        ensure!(reply.code == 250, "{command}: {reply}");
    }
    Ok(client)
}

/// One answer, and nothing behind it: the reply to the next command is its own.
fn ended(mut client: Client) -> Result<bool> {
    let reply = client.reply()?;
    ensure!(matches!(reply.code, 250 | 554), "it was answered with {reply}");
    match client.command("VRFY hidden") {
        Ok(next) => ensure!(next.code == 252, "more than one message was seen: {next}"),
        // To be thrown out is a good answer, too.
        Err(ClientError::Connection(_)) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(reply.code == 250)
}
