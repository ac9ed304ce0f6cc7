//! Content behind DATA: the same in any pieces, and never ended by anything but CRLF dot CRLF.
//! The first byte chooses the size of the pieces.

use smtp::data::{ContentFault, ContentLimits, ContentReader};

type Read = (Option<ContentFault>, Option<usize>, Vec<u8>);

fn read(input: &[u8], pieces: usize) -> Read {
    let mut reader = ContentReader::dotted(ContentLimits { bytes: 4096, hops: 2 });
    let mut content = Vec::new();
    let mut at = 0;
    for piece in input.chunks(pieces) {
        let progress = reader.read(piece, &mut content);
        at += progress.consumed;
        if progress.ended {
            return (reader.fault(), Some(at), content);
        }
    }
    (reader.fault(), None, content)
}

/// See the module head.
pub fn data(input: &[u8]) {
    let Some((&pieces, input)) = input.split_first() else { return };
    let (fault, end, content) = read(input, usize::MAX);
    let (fault_in_pieces, end_in_pieces, content_in_pieces) = read(input, usize::from(pieces).max(1));
    assert_eq!((fault, end), (fault_in_pieces, end_in_pieces));
    if fault.is_none() {
        assert_eq!(content, content_in_pieces);
    }
    if let Some(end) = end {
        assert!(&input[..end] == b".\r\n" || input[..end].ends_with(b"\r\n.\r\n"));
    }
}
