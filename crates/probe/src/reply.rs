//! Replies of a next hop: the same in any pieces, within their limits, and what was read prints and reads
//! back. The first byte chooses the size of the pieces.

use mail::Reply;
use mail::limits::{REPLY_LINE_BYTES_MAX, REPLY_LINES_MAX};
use smtp::reply::{ReplyError, ReplyReader, print_reply};

fn read(input: &[u8], pieces: usize) -> (Vec<Reply>, Option<ReplyError>) {
    let mut reader = ReplyReader::new();
    let mut replies = Vec::new();
    for mut piece in input.chunks(pieces) {
        loop {
            match reader.read(&mut piece) {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(error) => return (replies, Some(error)),
            }
        }
    }
    (replies, None)
}

/// See the module head.
pub fn reply(input: &[u8]) {
    let Some((&pieces, input)) = input.split_first() else { return };
    let (replies, error) = read(input, usize::from(pieces).max(1));
    assert_eq!((&replies, &error), (&read(input, usize::MAX).0, &read(input, usize::MAX).1));
    for reply in &replies {
        assert!((200..600).contains(&reply.code) && reply.lines.len() <= REPLY_LINES_MAX);
        // A byte that is no UTF-8 becomes a character of three bytes.
        assert!(reply.lines.iter().all(|line| line.len() <= 3 * REPLY_LINE_BYTES_MAX));
        assert!(!reply.lines.iter().any(|line| line.contains(char::is_control)));
        let mut wire = Vec::new();
        print_reply(reply, &mut wire);
        assert_eq!(wire.iter().filter(|&&byte| byte == b'\n').count(), reply.lines.len());
    }
}
