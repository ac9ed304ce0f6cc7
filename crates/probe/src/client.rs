//! The sending session against any next hop at all: every recipient gets exactly one outcome, whose class
//! agrees with its verdict, and what is sent stays bounded. The first byte chooses the protocol and the size
//! of the pieces.

use std::sync::Arc;

use mail::{Address, BodyType, Client, Envelope, Recipient, Time, Verdict};
use smtp::client::{Content, Event, PIPELINED_BYTES_MAX, Session, SessionOptions, StartTls};

const RECIPIENTS: u32 = 3;

fn envelope() -> Arc<Envelope> {
    let recipients = (0..RECIPIENTS).map(|number| Recipient {
        address: Address::parse(&format!("u{number}@b.test")).expect("a mailbox"),
        orcpt: None,
        notify: None,
    });
    Arc::new(Envelope {
        sender: None,
        recipients: recipients.collect(),
        ret: None,
        envid: None,
        body: BodyType::EightBitMime,
        smtputf8: false,
        arrived: Time::ZERO,
        size: 1,
        client: Client::default(),
    })
}

/// See the module head.
pub fn client(input: &[u8]) {
    let Some((&choice, input)) = input.split_first() else { return };
    let options = SessionOptions {
        lmtp: choice & 1 == 1,
        hostname: "me.test".into(),
        start_tls: if choice & 2 == 2 { StartTls::WhenOffered } else { StartTls::Never },
        relay: None,
    };
    let mut session = Session::new(options);
    let envelope = envelope();
    let (mut sent, mut ended) = (0, 0);
    let pieces = input.chunks(usize::from(choice >> 2).max(1)).map(Some);
    for piece in pieces.chain([None]) {
        match piece {
            Some(piece) => session.receive(piece),
            None => session.connection_lost(None),
        }
        while let Some(event) = session.poll_event() {
            match event {
                Event::StartTls => session.tls_established(),
                Event::Ready => {}
                Event::SendContent => session.content_sent(),
                Event::Finished(ending) => {
                    ended += 1;
                    assert_eq!(ending.outcomes.len(), RECIPIENTS as usize);
                    assert!(ending.doubtful <= RECIPIENTS);
                    for outcome in ending.outcomes {
                        let class = match outcome.verdict {
                            Verdict::Sent => 2,
                            Verdict::Deferred => 4,
                            Verdict::Bounced => 5,
                        };
                        assert_eq!(outcome.status.class(), class);
                    }
                }
                Event::Failed(_) => assert_eq!(sent, 0),
            }
        }
        if session.is_reusable() && sent == ended {
            let content = Content { size: 1, eight_bit: true, utf8_header: false };
            session.send(Arc::clone(&envelope), (0..RECIPIENTS).collect(), content);
            sent += 1;
        }
        assert!(session.output().len() <= 2 * PIPELINED_BYTES_MAX);
        session.output_sent();
    }
    while let Some(event) = session.poll_event() {
        ended += u32::from(matches!(event, Event::Finished(_)));
    }
    assert_eq!(sent, ended);
}
