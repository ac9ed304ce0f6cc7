//! Content on its way from the spool to a session: read in bounded pieces, away from the async threads.

use std::io;
use std::time::Duration;

use mail::{BodyType, Envelope};
use smtp::client::{Content, ContentScan};
use smtp::extension::Extensions;
use spool::Body;
use tokio::time::timeout;

/// How much of a body that is not in memory is read, sent and held at a time.
pub(crate) const PIECE_BYTES: usize = 64 * 1024;

/// Reads the piece at `offset` into `buffer`; empty at the end. A disk that takes longer than `patience`
/// is an error like any other.
pub(crate) async fn read_piece(
    body: &Body,
    offset: u64,
    mut buffer: Vec<u8>,
    patience: Duration,
) -> io::Result<Vec<u8>> {
    let body = body.clone();
    let read = tokio::task::spawn_blocking(move || {
        buffer.resize(PIECE_BYTES, 0);
        let length = body.read_at(offset, &mut buffer)?;
        buffer.truncate(length);
        Ok(buffer)
    });
    match timeout(patience, read).await {
        Ok(read) => read.unwrap_or_else(|error| Err(io::Error::other(error))),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// What the next hop has to be told of the content. It is only looked through when the next hop lacks what
/// the envelope says it needs: then the truth may be that it does not need it.
pub(crate) async fn facts(
    envelope: &Envelope,
    body: &Body,
    offered: &Extensions,
    patience: Duration,
) -> io::Result<Content> {
    let doubt_8bit = envelope.body == BodyType::EightBitMime && !offered.eight_bit_mime;
    let doubt_utf8 = envelope.smtputf8 && !offered.smtputf8;
    if !doubt_8bit && !doubt_utf8 {
        return Ok(Content { size: body.len(), ..Content::default() });
    }
    let mut scan = ContentScan::new();
    if let Some(bytes) = body.as_memory() {
        scan.read(bytes);
        return Ok(scan.content());
    }
    let mut buffer = Vec::new();
    loop {
        buffer = read_piece(body, scan.content().size, buffer, patience).await?;
        if buffer.is_empty() {
            return Ok(scan.content());
        }
        scan.read(&buffer);
    }
}
