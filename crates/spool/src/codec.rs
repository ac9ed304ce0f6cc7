//! Envelopes, summaries and states as bytes. The only user of bincode.
//!
//! Promises: what is encoded here decodes to the same value; decoding never panics, never allocates
//! more than the input justifies, and refuses bytes behind the value. The bytes are fixed-width and
//! little-endian, so that a reader without bincode is an afternoon's work; golden images are in
//! `testdata/spool-v1/`.
//!
//! A section is `u32 summary length | summary | rest`, so that the summary can be copied into a
//! footer without decoding anything. Both parts start with the version of their layout.
//!
//! Known: values are checked again by the vocabulary's own parsers on the way in, so a rule that
//! became stricter since would make an old record unreadable. Do not make them stricter.

mod image;

use std::sync::Arc;

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use mail::limits::ENVELOPE_BYTES_MAX;
use mail::{Envelope, Time};

use crate::{RecipientRecord, Summary};
use image::{EnvelopeImage, MessageImage, RecipientImage, StateImage, SummaryImage};

/// Earlier attempts that one record holds, for all of its recipients: some megabytes.
const EARLIER_PER_RECORD_MAX: usize = 20_000;

/// Version of the layouts in `image`.
const VERSION: u8 = 1;

const CONFIG: Configuration<LittleEndian, Fixint, Limit<ENVELOPE_BYTES_MAX>> = bincode::config::standard()
    .with_little_endian()
    .with_fixed_int_encoding()
    .with_limit::<ENVELOPE_BYTES_MAX>();

/// Why bytes are no section. The checksum was right, so this is a version from elsewhere or a bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("the record ends early or holds impossible lengths")]
    Malformed,
    #[error("{0} bytes behind the end of the value")]
    Trailing(usize),
    #[error("version {0} is not known")]
    Version(u8),
    #[error("impossible value in {0}")]
    Value(&'static str),
    #[error("over the limit of an envelope")]
    TooLarge,
}

/// An encoded section and how much of it is the summary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Section {
    pub(crate) bytes: Vec<u8>,
}

/// What a summary says, with the two facts that never change. They are zero in state records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    pub(crate) summary: Summary,
    pub(crate) arrived: Time,
    pub(crate) size: u64,
}

/// A decoded MSG or COPY.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Message {
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) summary: Summary,
    /// What had been recorded when the message was copied.
    pub(crate) recipients: Vec<RecipientRecord>,
}

/// A decoded STATE.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct State {
    pub(crate) summary: Summary,
    pub(crate) recipients: Vec<RecipientRecord>,
}

/// The summary's bytes within a section.
pub(crate) fn summary_of(section: &[u8]) -> Option<&[u8]> {
    split(section).ok().map(|(summary, _)| summary)
}

/// Encodes a MSG or COPY.
pub(crate) fn encode_message(
    envelope: &Envelope,
    summary: &Summary,
    recipients: &[RecipientRecord],
) -> Result<Section, CodecError> {
    let head = SummaryImage::new(summary, envelope.arrived, envelope.size);
    let rest = MessageImage {
        version: VERSION,
        envelope: EnvelopeImage::new(envelope),
        recipients: recipient_images(recipients),
    };
    encode(&head, &rest)
}

/// Encodes a STATE.
pub(crate) fn encode_state(summary: &Summary, recipients: &[RecipientRecord]) -> Result<Section, CodecError> {
    let head = SummaryImage::new(summary, Time::ZERO, 0);
    encode(&head, &StateImage { version: VERSION, recipients: recipient_images(recipients) })
}

/// A record of many recipients remembers fewer attempts of each.
fn recipient_images(records: &[RecipientRecord]) -> Vec<RecipientImage<'_>> {
    let kept = EARLIER_PER_RECORD_MAX / records.len().max(1);
    records.iter().map(|record| RecipientImage::new(record, kept)).collect()
}

/// Decodes a MSG or COPY.
pub(crate) fn decode_message(section: &[u8]) -> Result<Message, CodecError> {
    let (summary, rest) = split(section)?;
    let known = decode_summary(summary)?;
    let image: MessageImage<'_> = decode(rest)?;
    known_version(image.version)?;
    Ok(Message {
        envelope: Arc::new(image.envelope.envelope(known.arrived, known.size)?),
        summary: known.summary,
        recipients: recipients(&image.recipients)?,
    })
}

/// Decodes a STATE.
pub(crate) fn decode_state(section: &[u8]) -> Result<State, CodecError> {
    let (summary, rest) = split(section)?;
    let known = decode_summary(summary)?;
    let image: StateImage<'_> = decode(rest)?;
    known_version(image.version)?;
    Ok(State { summary: known.summary, recipients: recipients(&image.recipients)? })
}

/// Decodes a summary.
pub(crate) fn decode_summary(bytes: &[u8]) -> Result<Known, CodecError> {
    let image: SummaryImage<'_> = decode(bytes)?;
    known_version(image.version)?;
    image.known()
}

/// Whether the bytes, read as each kind of record in turn, are refused or mean something that is the same
/// after it was written and read again. For the fuzzer; what is over a limit is cut the first time it is
/// written, so two writings are compared.
pub fn survives_rewriting(bytes: &[u8]) -> bool {
    let message = |bytes: &[u8]| {
        let Message { envelope, summary, recipients } = decode_message(bytes).ok()?;
        encode_message(&envelope, &summary, &recipients).ok()
    };
    let state = |bytes: &[u8]| {
        let State { summary, recipients } = decode_state(bytes).ok()?;
        encode_state(&summary, &recipients).ok()
    };
    let settles = |rewrite: &dyn Fn(&[u8]) -> Option<Section>| match rewrite(bytes) {
        Some(once) => rewrite(&once.bytes).is_some_and(|twice| once == twice),
        None => true,
    };
    settles(&message) && settles(&state)
}

fn recipients(images: &[RecipientImage<'_>]) -> Result<Vec<RecipientRecord>, CodecError> {
    images.iter().map(RecipientImage::record).collect()
}

fn known_version(version: u8) -> Result<(), CodecError> {
    if version == VERSION { Ok(()) } else { Err(CodecError::Version(version)) }
}

fn split(section: &[u8]) -> Result<(&[u8], &[u8]), CodecError> {
    let (length, rest) = section.split_first_chunk::<4>().ok_or(CodecError::Malformed)?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or(CodecError::Malformed)
}

fn encode<R: bincode::Encode>(summary: &SummaryImage<'_>, rest: &R) -> Result<Section, CodecError> {
    let mut bytes = Vec::with_capacity(512);
    bytes.extend_from_slice(&[0; 4]);
    let failed = |_| CodecError::TooLarge;
    let length = bincode::encode_into_std_write(summary, &mut bytes, CONFIG).map_err(failed)?;
    let length = u32::try_from(length).map_err(|_| CodecError::TooLarge)?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bincode::encode_into_std_write(rest, &mut bytes, CONFIG).map_err(failed)?;
    if bytes.len() > ENVELOPE_BYTES_MAX {
        return Err(CodecError::TooLarge);
    }
    Ok(Section { bytes })
}

fn decode<'b, T: bincode::BorrowDecode<'b, ()>>(bytes: &'b [u8]) -> Result<T, CodecError> {
    // The version is the first byte of every layout; without it nothing else can be trusted.
    known_version(*bytes.first().ok_or(CodecError::Malformed)?)?;
    let (value, used) =
        bincode::borrow_decode_from_slice(bytes, CONFIG).map_err(|_| CodecError::Malformed)?;
    match bytes.len() - used {
        0 => Ok(value),
        rest => Err(CodecError::Trailing(rest)),
    }
}

#[cfg(test)]
mod tests;
