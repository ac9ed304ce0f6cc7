//! The operator's protocol: what is read as a request or an answer is written and read back as the same, on
//! one line; lines do not depend on the pieces in which they arrive. The first byte chooses the size of the
//! pieces.

use control::{ANSWER_LINE_BYTES_MAX, LineBuffer, classify, decode_answer, decode_request, encode};

/// Long enough for whatever the fuzzer makes, short enough for it to reach.
const LINE_BYTES_MAX: usize = 512;

/// See the module head.
pub fn control(input: &[u8]) {
    let Some((&pieces, input)) = input.split_first() else { return };
    classify(input);
    let (lines, too_long) = lines_of(input, usize::from(pieces).max(1));
    assert_eq!((&lines, too_long), (&lines_of(input, 1).0, lines_of(input, 1).1));
    for line in &lines {
        if let Ok(request) = decode_request(line) {
            let again = one_line(encode(&request));
            assert_eq!(decode_request(&again), Ok(request));
        }
        if let Ok(answer) = decode_answer(line) {
            let again = one_line(encode(&answer));
            assert!(again.len() <= ANSWER_LINE_BYTES_MAX);
            assert_eq!(decode_answer(&again), Ok(answer));
        }
    }
}

fn one_line(line: Vec<u8>) -> Vec<u8> {
    assert_eq!(line.iter().position(|&byte| byte == b'\n'), Some(line.len() - 1));
    line
}

/// The lines of the input, and whether one was too long.
fn lines_of(input: &[u8], pieces: usize) -> (Vec<Vec<u8>>, bool) {
    let mut buffer = LineBuffer::new(LINE_BYTES_MAX);
    let mut lines = Vec::new();
    for piece in input.chunks(pieces) {
        buffer.push(piece);
        loop {
            match buffer.next_line() {
                Ok(Some(line)) => lines.push(line.to_vec()),
                Ok(None) => break,
                Err(_) => return (lines, true),
            }
        }
    }
    (lines, false)
}
