//! One message from the inside, and the verification of all of them.
//!
//! Promises: content is passed on byte for byte, in bounded pieces; the disk is read outside the
//! runtime's threads. Of a damaged message what is left is shown, as it was found.
//! Refuses: interpreting content beyond finding the empty line behind the header section.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use control::{
    AttemptItem, CONTENT_BYTES_MAX, ContentItem, DamageItem, EnvelopeItem, Item, Parts, ProgressItem,
    RecordItem, VerifyItem,
};
use mail::{BodyType, QueueId};
use qmgr::MessageView;
use spool::{Body, ReadError, Spool, StoredMessage};
use tokio::sync::mpsc;

use super::control_socket::AnswerStream;
use super::engine_task::EngineHandle;
use super::listing;
use super::operator::Refusal;
use super::routes::Routes;

/// Progress reports that may wait for a slow reader.
const PROGRESS_WAITING_MAX: usize = 4;

/// Writes a message's line and the parts asked for.
pub(crate) async fn message(
    view: MessageView,
    parts: Parts,
    engine: &EngineHandle,
    spool: &Arc<Spool>,
    routes: &Arc<Routes>,
    answers: &mut AnswerStream,
) -> Result<(), Refusal> {
    let (id, queue) = (view.id, view.queue);
    let (reader, resolver) = (spool.clone(), routes.clone());
    let read = move || (listing::item(&view, &reader, &resolver), read(&reader, id));
    let (item, stored) = blocking(read).await?;
    let item = item.ok_or_else(|| Refusal::Told(1, format!("{id}: no such message")))?;
    if listing::is_news(queue, &item) {
        listing::tell_engine(engine, vec![id]).await?;
    }
    answers.item(Item::Message(item)).await?;
    match stored {
        Ok(stored) if parts.envelope => {
            answers.item(Item::Envelope(envelope(id, &stored))).await?;
        }
        Err(error @ ReadError::Io(_)) => return Err(Refusal::Told(74, format!("{id}: {error}"))),
        _ => {}
    }
    if parts.headers || parts.body {
        let reader = spool.clone();
        let body = blocking(move || body(&reader, id)).await?;
        let body = body.map_err(|error| Refusal::Told(74, format!("{id}: {error}")))?;
        content(body, parts, answers).await?;
    }
    Ok(())
}

/// The message, or what is left of its envelope.
fn read(spool: &Spool, id: QueueId) -> Result<StoredMessage, ReadError> {
    match spool.read(id) {
        Err(damaged @ ReadError::Corrupt { .. }) => spool.salvaged(id)?.message.ok_or(damaged),
        read => read,
    }
}

/// The content, or what is left of it: as it was found, wrong as it may be.
fn body(spool: &Spool, id: QueueId) -> Result<Body, ReadError> {
    match spool.body(id) {
        Err(ReadError::Corrupt { .. }) => Ok(spool.salvaged(id)?.body),
        read => read,
    }
}

async fn content(body: Body, parts: Parts, answers: &mut AnswerStream) -> Result<(), Refusal> {
    let whole = body.clone();
    let (headers, rest) = blocking(move || sections(&whole)).await?.map_err(disk)?;
    for (wanted, is_headers, range) in [(parts.headers, true, headers), (parts.body, false, rest)] {
        let mut place = range.start;
        while wanted && place < range.end {
            let length = (range.end - place).min(CONTENT_BYTES_MAX as u64) as usize;
            let piece = body.clone();
            let bytes = blocking(move || {
                let mut bytes = vec![0; length];
                piece.read_at(place, &mut bytes).map(|_| bytes)
            })
            .await?
            .map_err(disk)?;
            place += length as u64;
            answers.item(Item::Content(ContentItem { headers: is_headers, bytes })).await?;
        }
    }
    Ok(())
}

/// The header section with its last line break, and what follows the empty line. Content without an
/// empty line is all headers (RFC 5322 2.1).
fn sections(body: &Body) -> io::Result<(Range<u64>, Range<u64>)> {
    const PIECE: usize = 64 * 1024;
    let mut window = vec![0; PIECE];
    let mut offset = 0;
    loop {
        let count = body.read_at(offset, &mut window)?;
        let read = &window[..count];
        if offset == 0 && read.starts_with(b"\r\n") {
            return Ok((0..0, 2..body.len()));
        }
        if let Some(place) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let end = offset + place as u64;
            return Ok((0..end + 2, end + 4..body.len()));
        }
        if count < PIECE {
            return Ok((0..body.len(), body.len()..body.len()));
        }
        // The empty line may lie across two pieces.
        offset += (count - 3) as u64;
    }
}

fn envelope(id: QueueId, stored: &StoredMessage) -> EnvelopeItem {
    let envelope = &stored.envelope;
    let protocol = &envelope.client.protocol;
    let record = |(position, recipient): (u32, &mail::Recipient)| {
        let last = stored.recipients.get(&position);
        RecordItem {
            address: recipient.address.to_string(),
            orcpt: recipient.orcpt.as_ref().map(ToString::to_string),
            notify: recipient.notify.map(|notify| notify.to_string()),
            dsn: last.map(|last| last.status.to_string()),
            text: last.map(|last| last.text.to_string()),
            relay: last.and_then(|last| last.relay.as_ref()).map(ToString::to_string),
            at: last.map(|last| last.time.as_secs()),
            attempts: last.map_or(0, |last| last.attempts),
            reported: last.is_some_and(|last| last.reported),
            earlier: last.map(|last| last.earlier.iter().map(attempt).collect()).unwrap_or_default(),
        }
    };
    let from_client = envelope.client.address.is_some();
    EnvelopeItem {
        queue_id: id.to_string(),
        client: envelope.client.address.map(|address| format!("[{address}]")),
        helo: from_client.then(|| envelope.client.helo.clone()),
        protocol: from_client.then(|| protocol.word().to_owned()),
        body: Some(if envelope.body == BodyType::EightBitMime { "8BITMIME" } else { "7BIT" }.to_owned()),
        smtputf8: envelope.smtputf8,
        envid: envelope.envid.clone(),
        ret: envelope.ret.map(|ret| ret.to_string()),
        recipients: (0..).zip(&envelope.recipients).map(record).collect(),
    }
}

fn attempt(attempt: &spool::Attempt) -> AttemptItem {
    AttemptItem {
        at: attempt.time.as_secs(),
        dsn: attempt.status.to_string(),
        text: attempt.text.to_string(),
        relay: attempt.relay.as_ref().map(ToString::to_string),
    }
}

/// Reads the whole spool, tells how far it is, and gives back the damaged messages.
pub(crate) async fn verify(
    spool: &Arc<Spool>,
    repair: bool,
    answers: &mut AnswerStream,
) -> Result<Vec<QueueId>, Refusal> {
    let (progress, mut told) = mpsc::channel(PROGRESS_WAITING_MAX);
    let reader = spool.clone();
    let work = tokio::task::spawn_blocking(move || {
        // A reader that does not keep up misses steps, nothing else.
        reader.verify(repair, &mut |step| {
            let _ = progress.try_send(step);
        })
    });
    while let Some(step) = told.recv().await {
        answers.item(Item::Progress(ProgressItem { done: step.done, total: Some(step.total) })).await?;
    }
    let report = work.await.map_err(|failure| Refusal::Told(70, format!("internal error: {failure}")))?;
    let place = |id: QueueId| format!("message {id}");
    for damage in &report.damaged {
        let item = DamageItem {
            queue_id: Some(damage.id.to_string()),
            place: place(damage.id),
            reason: damage.reason.clone(),
            repaired: repair,
        };
        answers.item(Item::Damage(item)).await?;
    }
    for (id, reason) in &report.unreadable {
        let queue_id = Some(id.to_string());
        let item = DamageItem { queue_id, place: place(*id), reason: reason.clone(), repaired: false };
        answers.item(Item::Damage(item)).await?;
    }
    let damaged = report.damaged.len() as u64;
    let sums = VerifyItem {
        segments: spool.health().segments,
        records: report.messages,
        bytes: report.bytes,
        messages: report.messages,
        damaged: damaged + report.unreadable.len() as u64,
        repaired: if repair { damaged } else { 0 },
    };
    answers.item(Item::Verify(sums)).await?;
    Ok(report.damaged.iter().map(|damage| damage.id).collect())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|failure| Refusal::Told(70, format!("internal error: {failure}")))
}

fn disk(error: io::Error) -> Refusal {
    Refusal::Told(74, format!("cannot read the message: {error}"))
}
