//! The receiving session: any bytes in any pieces give the same replies, and memory stays bounded.
//! The first byte chooses the protocol and the size of the pieces.

use std::sync::Arc;

use mail::Reply;
use smtp::server::{Event, Session, Settings};

/// More room than this for input has no reason: pieces are small and lines are bounded.
const INPUT_ROOM_MAX: usize = 64 * 1024;

fn converse(settings: &Arc<Settings>, pieces: std::slice::Chunks<'_, u8>) -> Vec<u8> {
    let mut session = Session::new(settings.clone());
    let mut said = Vec::new();
    for piece in pieces {
        session.feed(piece);
        loop {
            match session.poll() {
                Event::NeedInput => break,
                Event::Close => {
                    said.append(session.output());
                    return said;
                }
                Event::Hello | Event::Mail => session.accept(),
                Event::Rcpt => {
                    let refused = session.candidate().is_some_and(|one| one.address.as_str().len() % 3 == 0);
                    if refused {
                        session.refuse(Reply::new(550, "5.1.1".parse().ok(), "no"));
                    } else {
                        session.accept();
                    }
                }
                Event::Data => session.begin_body(Vec::new()),
                Event::BodyPart => drop(session.take_body_part()),
                Event::Message => session.finish(&Reply::new(250, None, "Ok")),
                Event::StartTls => session.tls_started(),
                Event::Etrn { site, .. } => session.answer(Reply::new(250, None, site)),
                Event::Abandoned | Event::Refused(_) => {}
            }
        }
        assert!(session.input().capacity() <= INPUT_ROOM_MAX);
        said.append(session.output());
    }
    said
}

/// See the module head.
pub fn server(input: &[u8]) {
    let Some((&choice, input)) = input.split_first() else { return };
    let lmtp = choice & 1 == 1;
    let settings = Arc::new(Settings { lmtp, etrn: true, message_size_limit: 200, ..Settings::default() });
    let pieces = usize::from(choice >> 1).max(1);
    let in_pieces = converse(&settings, input.chunks(pieces));
    let byte_by_byte = converse(&settings, input.chunks(1));
    assert_eq!(String::from_utf8_lossy(&in_pieces), String::from_utf8_lossy(&byte_by_byte));
}
