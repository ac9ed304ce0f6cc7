//! The sending session against transcripts, and against next hops that say anything at all.

use std::sync::Arc;

use mail::{
    Address, BodyType, Client, Envelope, Notify, Orcpt, Outcome, Recipient, Relay, Ret, Scope, Time, Verdict,
};
use proptest::prelude::*;

use super::*;

const HELLO: &str =
    "S: 220 mx ready\nC: EHLO me.test\nS: 250-mx\nS: 250-SIZE 1000\nS: 250-8BITMIME\nS: 250-DSN\n";

fn options() -> SessionOptions {
    let relay = Relay { host: "mx.test".into(), address: Some("192.0.2.1".into()), port: 25 };
    SessionOptions {
        lmtp: false,
        hostname: "me.test".into(),
        start_tls: StartTls::Never,
        relay: Some(Arc::new(relay)),
    }
}

fn lmtp() -> SessionOptions {
    SessionOptions { lmtp: true, ..options() }
}

fn envelope(recipients: &[&str]) -> Arc<Envelope> {
    let recipients = recipients.iter().map(|address| Recipient {
        address: Address::parse(address).unwrap(),
        orcpt: None,
        notify: None,
    });
    Arc::new(Envelope {
        sender: Some(Address::parse("s@src.test").unwrap()),
        recipients: recipients.collect(),
        ret: None,
        envid: None,
        body: BodyType::SevenBit,
        smtputf8: false,
        arrived: Time::ZERO,
        size: 10,
        client: Client::default(),
    })
}

/// A session that has played a part of a transcript: `S:` lines are received, `C:` lines are what must have
/// been sent, `C+` the end of what is sent together. `<content>` stands for the content and its end.
struct Play {
    session: Session,
    events: Vec<Event>,
}

impl Play {
    fn new(options: SessionOptions) -> Play {
        Play { session: Session::new(options), events: Vec::new() }
    }

    fn play(&mut self, transcript: &str) -> &mut Play {
        let mut wanted = String::new();
        for line in transcript.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if line == "<content>" {
                assert_eq!(self.events.pop(), Some(Event::SendContent), "before the content");
                self.session.content_sent();
            } else if let Some(sent) = line.strip_prefix("C:") {
                wanted += &format!("{}\r\n", sent.trim());
            } else {
                let said = line.strip_prefix("S:").expect("a line of the server").trim();
                self.sent(&std::mem::take(&mut wanted));
                self.session.receive(format!("{said}\r\n").as_bytes());
                self.collect();
            }
        }
        self.sent(&wanted);
        self
    }

    fn sent(&mut self, wanted: &str) {
        if !wanted.is_empty() {
            assert_eq!(String::from_utf8_lossy(self.session.output()), wanted);
            self.session.output_sent();
        }
    }

    fn collect(&mut self) {
        while let Some(event) = self.session.poll_event() {
            self.events.push(event);
        }
    }

    fn open(options: SessionOptions, hello: &str) -> Play {
        let mut play = Play::new(options);
        play.play(hello);
        assert_eq!(std::mem::take(&mut play.events), [Event::Ready]);
        play
    }

    fn send(&mut self, envelope: &Arc<Envelope>) -> &mut Play {
        let all = (0..envelope.recipients.len() as u32).collect();
        self.session.send(Arc::clone(envelope), all, Content { size: 10, ..Content::default() });
        self.collect();
        self
    }

    fn ending(&mut self) -> Ending {
        self.collect();
        match std::mem::take(&mut self.events).pop() {
            Some(Event::Finished(ending)) => ending,
            other => panic!("no ending but {other:?}, output {:?}", self.session.output()),
        }
    }

    /// The outcomes as short words: verdict, scope, status.
    fn outcomes(&mut self) -> Vec<String> {
        self.ending().outcomes.iter().map(word).collect()
    }
}

fn word(outcome: &Outcome) -> String {
    format!("{:?} {:?} {}", outcome.verdict, outcome.scope, outcome.status)
}

#[test]
fn a_pipelined_group_goes_out_as_one() {
    let hello = format!("{HELLO}S: 250 PIPELINING\n");
    let mut play = Play::open(options(), &hello);
    play.send(&envelope(&["a@b.test", "c@d.test", "e@f.test"])).play(
        "C: MAIL FROM:<s@src.test> SIZE=10
         C: RCPT TO:<a@b.test>
         C: RCPT TO:<c@d.test>
         C: RCPT TO:<e@f.test>
         C: DATA
         S: 250 ok
         S: 250 ok
         S: 550 5.1.1 unknown
         S: 450 4.2.1 busy
         S: 354 go on
         <content>
         S: 250 2.0.0 queued as X",
    );
    let ending = play.ending();
    assert_eq!(ending.outcomes[0].text.as_ref(), "250 2.0.0 queued as X");
    assert_eq!(ending.outcomes[1].text.as_ref(), "550 5.1.1 unknown (in reply to RCPT TO)");
    let words: Vec<String> = ending.outcomes.iter().map(word).collect();
    assert_eq!(words, ["Sent Recipient 2.0.0", "Bounced Recipient 5.1.1", "Deferred Recipient 4.2.1"]);
    assert!(ending.dsn && ending.doubtful == 0 && play.session.is_reusable());

    // The next message needs no RSET.
    play.send(&envelope(&["a@b.test"]))
        .play("C: MAIL FROM:<s@src.test> SIZE=10\nC: RCPT TO:<a@b.test>\nC: DATA");
}

#[test]
fn without_pipelining_one_command_at_a_time_and_no_data_for_nobody() {
    let mut play =
        Play::open(options(), "S: 220 mx\nC: EHLO me.test\nS: 500 what?\nC: HELO me.test\nS: 250 hi\n");
    play.send(&envelope(&["a@b.test", "c@d.test"])).play(
        "C: MAIL FROM:<s@src.test>
         S: 250 ok
         C: RCPT TO:<a@b.test>
         S: 550 no
         C: RCPT TO:<c@d.test>
         S: 552 too many",
    );
    assert_eq!(play.outcomes(), ["Bounced Recipient 5.0.0", "Deferred Recipient 4.0.0"]);
    // The transaction is still open at the other end.
    play.send(&envelope(&["a@b.test"]))
        .play("C: RSET\nS: 250 ok\nC: MAIL FROM:<s@src.test>\nS: 550 5.7.1 no");
    assert_eq!(play.outcomes(), ["Bounced Message 5.7.1"]);
    assert!(play.session.is_reusable());
}

#[test]
fn a_354_for_nobody_gets_an_empty_message() {
    let mut play = Play::open(options(), &format!("{HELLO}S: 250 PIPELINING\n"));
    play.send(&envelope(&["a@b.test"])).play(
        "S: 250 ok
         S: 550 5.1.1 no",
    );
    play.session.output_sent();
    play.play("S: 354 go on\nC: .\nS: 554 5.5.1 no valid recipients");
    assert_eq!(play.outcomes(), ["Bounced Recipient 5.1.1"]);
    assert!(play.session.is_reusable());

    let mut play = Play::open(lmtp(), "S: 220 mx\nC: LHLO me.test\nS: 250-mx\nS: 250 PIPELINING");
    play.send(&envelope(&["a@b.test"])).play("S: 250 ok\nS: 550 5.1.1 no\nS: 354 go on");
    assert_eq!(play.outcomes(), ["Bounced Recipient 5.1.1"]);
    assert!(!play.session.is_reusable(), "nobody knows how many replies follow");
}

#[test]
fn lmtp_answers_for_each_recipient() {
    let mut play = Play::open(lmtp(), "S: 220 mx\nC: LHLO me.test\nS: 250-mx\nS: 250 PIPELINING");
    let three = envelope(&["a@b.test", "c@d.test", "e@f.test"]);
    play.send(&three).play(
        "S: 250 ok
         S: 250 ok
         S: 550 5.1.1 no
         S: 250 ok
         S: 354 go on
         <content>
         S: 250 2.0.0 stored
         S: 452 4.2.2 full",
    );
    let words = ["Sent Recipient 2.0.0", "Bounced Recipient 5.1.1", "Deferred Recipient 4.2.2"];
    assert_eq!(play.outcomes(), words);
    assert!(play.session.is_reusable());

    play.session.output_sent();
    play.send(&three)
        .play("S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n<content>\nS: 250 2.0.0 stored");
    play.session.connection_lost(None);
    let ending = play.ending();
    assert_eq!(ending.doubtful, 2);
    assert_eq!(word(&ending.outcomes[0]), "Sent Recipient 2.0.0");
    assert_eq!(word(&ending.outcomes[1]), "Deferred Message 4.4.2");
    assert!(!play.session.is_reusable() && !play.session.was_stale());
}

#[test]
fn lmtp_never_falls_back_to_helo() {
    let mut play = Play::new(lmtp());
    play.play("S: 220 mx\nC: LHLO me.test\nS: 500 what?");
    let Some(Event::Failed(outcome)) = play.events.pop() else { panic!("opened") };
    assert_eq!(word(&outcome), "Bounced Site 5.0.0");
}

#[test]
fn refusals_of_the_session_are_the_sites() {
    for (transcript, expected, text) in [
        ("S: 554 5.7.1 go away", "Deferred Site 4.7.1", "554 5.7.1 go away"),
        ("S: 421 busy", "Deferred Site 4.3.0", "421 busy"),
        ("S: 354 huh", "Deferred Site 4.5.0", "354 huh"),
        ("S: http/1.1", "Deferred Site 4.5.0", "no SMTP reply"),
        ("S: 220 mx\nC: EHLO me.test\nS: 450 later", "Deferred Site 4.3.0", "450 later"),
        ("S: 220 mx\nC: EHLO me.test\nS: 500 a\nC: HELO me.test\nS: 550 no", "Bounced Site 5.0.0", "550 no"),
    ] {
        let mut play = Play::new(options());
        play.play(transcript);
        let Some(Event::Failed(outcome)) = play.events.pop() else { panic!("opened by {transcript}") };
        assert_eq!(word(&outcome), expected, "{transcript}");
        assert!(outcome.text.contains(text), "{}", outcome.text);
        play.session.receive(b"220 again\r\n");
        assert!(play.session.poll_event().is_none() && play.session.output().is_empty());
    }
}

#[test]
fn a_lost_connection_is_told_apart_by_what_was_accepted() {
    let start = format!("{HELLO}S: 250 X\n");
    let two = envelope(&["a@b.test", "c@d.test"]);
    for (transcript, scopes) in [
        ("", ["Deferred Site 4.4.2", "Deferred Site 4.4.2"]),
        ("S: 250 ok", ["Deferred Site 4.4.2", "Deferred Site 4.4.2"]),
        ("S: 250 ok\nS: 550 no", ["Bounced Recipient 5.0.0", "Deferred Site 4.4.2"]),
        ("S: 250 ok\nS: 250 ok", ["Deferred Message 4.4.2", "Deferred Message 4.4.2"]),
        ("S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go", ["Deferred Message 4.4.2", "Deferred Message 4.4.2"]),
    ] {
        let mut play = Play::open(options(), &start);
        play.send(&two).play(transcript);
        play.events.retain(|event| *event != Event::SendContent);
        play.session.connection_lost(Some("reset".into()));
        let ending = play.ending();
        assert_eq!(ending.outcomes.iter().map(word).collect::<Vec<_>>(), scopes, "{transcript}");
        assert_eq!(ending.doubtful, 0);
        assert!(!play.session.was_stale(), "a first message is never stale");
    }
    let mut play = Play::open(options(), &start);
    play.send(&two).play("S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n<content>");
    assert_eq!(play.session.stage(), Stage::Final);
    play.session.timed_out();
    let ending = play.ending();
    assert_eq!((ending.doubtful, word(&ending.outcomes[1])), (2, "Deferred Site 4.4.2".into()));
}

#[test]
fn what_is_void_is_not_asked_for() {
    let one = envelope(&["a@b.test"]);
    for (burst, expected) in [
        ("354 go\r\n421 4.3.2 bye\r\n", "Deferred Message 4.3.2"),
        ("354 go\r\n552 5.3.4 too big\r\n", "Bounced Message 5.3.4"),
        ("354 go\r\n250 ok\r\n", "Deferred Message 4.5.0"),
        ("354 go\r\nnonsense\r\n", "Deferred Message 4.5.0"),
    ] {
        let mut play = Play::open(options(), &format!("{HELLO}S: 250 X\n"));
        play.send(&one).play("S: 250 ok\nS: 250 ok");
        play.session.receive(burst.as_bytes());
        play.collect();
        assert_eq!(play.events.len(), 1, "content must not go out for whoever is decided: {burst}");
        assert_eq!(play.outcomes(), [expected]);
        assert!(!play.session.is_reusable());
    }
    let mut play = Play::new(options());
    play.play("S: 220 mx\nC: EHLO me.test");
    play.session.receive(b"250 mx\r\n421 bye\r\n");
    play.collect();
    assert!(matches!(play.events[..], [Event::Failed(_)]), "{:?}", play.events);
}

/// Found by the fuzzer: a server said goodbye in the same packet as the final reply, the goodbye made the
/// session forget the ending that nobody had asked for yet, and a message that was accepted was deferred.
#[test]
fn a_goodbye_right_behind_the_final_reply_does_not_undo_it() {
    let mut play = Play::open(options(), &format!("{HELLO}S: 250 X\n"));
    play.send(&envelope(&["a@b.test"])).play("S: 250 ok\nS: 250 ok\nS: 354 go\n<content>");
    play.session.receive(b"250 2.0.0 taken\r\n421 4.3.2 bye\r\n");
    assert_eq!(play.outcomes(), ["Sent Recipient 2.0.0"]);
    assert!(!play.session.is_reusable());
}

#[test]
fn a_connection_that_was_closed_while_idle_is_stale() {
    let start = format!("{HELLO}S: 250 X\n");
    let one = envelope(&["a@b.test"]);
    let sent = "S: 250 ok\nS: 250 ok\nS: 354 go\n<content>\nS: 250 ok";
    for broken in ["", "S: 421 4.4.2 idle for too long"] {
        let mut play = Play::open(options(), &start);
        play.send(&one).play(sent);
        assert_eq!(play.outcomes(), ["Sent Recipient 2.0.0"]);
        play.send(&one).play(broken);
        play.session.connection_lost(None);
        assert_eq!(word(&play.ending().outcomes[0]).split(' ').nth(1), Some("Site"));
        assert!(play.session.was_stale());
    }
    let mut play = Play::open(options(), &start);
    play.send(&one).play(sent);
    play.session.receive(b"421 4.4.2 bye\r\n");
    assert!(!play.session.is_reusable());
}

#[test]
fn extensions_decide_what_can_be_sent() {
    let mut message = Envelope::clone(&envelope(&["a@b.test", "jörg@b.test"]));
    message.smtputf8 = true;
    message.body = BodyType::EightBitMime;
    message.ret = Some(Ret::Headers);
    message.envid = Some("a b".into());
    message.recipients[0].notify = Some(Notify { failure: true, ..Notify::NEVER });
    message.recipients[0].orcpt = Some(Orcpt { kind: "utf-8".into(), address: "jörg@x.test".into() });
    let message = Arc::new(message);
    let everything =
        "S: 220 mx\nC: EHLO me.test\nS: 250-mx\nS: 250-SMTPUTF8\nS: 250-8BITMIME\nS: 250-DSN\nS: 250 SIZE 0";
    Play::open(options(), everything).send(&message).play(
        "C: MAIL FROM:<s@src.test> SIZE=10 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+20b
         S: 250 ok
         C: RCPT TO:<a@b.test> NOTIFY=FAILURE ORCPT=utf-8;jörg@x.test
         S: 250 ok
         C: RCPT TO:<jörg@b.test>",
    );

    let mut play = Play::open(
        options(),
        HELLO.replace("8BITMIME", "X").as_str().trim_end().replace("250-DSN", "250 DSN").as_str(),
    );
    play.send(&message).play(
        "C: MAIL FROM:<s@src.test> SIZE=10 RET=HDRS ENVID=a+20b
         S: 250 ok
         C: RCPT TO:<a@b.test> NOTIFY=FAILURE ORCPT=utf-8;j\\x{F6}rg@x.test
         S: 250 ok
         C: DATA
         S: 354 go
         <content>
         S: 250 ok",
    );
    assert_eq!(play.outcomes(), ["Sent Recipient 2.0.0", "Bounced Recipient 5.6.7"]);

    for (content, status) in [
        (Content { size: 1001, ..Content::default() }, "5.3.4"),
        (Content { size: 1, eight_bit: true, utf8_header: false }, "5.6.3"),
        (Content { size: 1, eight_bit: false, utf8_header: true }, "5.6.7"),
    ] {
        play.session.send(Arc::clone(&message), vec![0, 1], content);
        play.session.output_sent();
        assert_eq!(
            play.outcomes(),
            [format!("Bounced Message {status}"), format!("Bounced Message {status}")]
        );
        assert!(play.session.is_reusable());
    }

    // Content of eight bits whose client said nothing of it goes as it came.
    let undeclared = envelope(&["a@b.test"]);
    play.session.send(undeclared, vec![0], Content { size: 10, eight_bit: true, utf8_header: false });
    play.play(
        "C: MAIL FROM:<s@src.test> SIZE=10
         S: 250 ok",
    );
}

#[test]
fn tls_starts_over_and_believes_nothing_said_in_clear() {
    let wish = |start_tls| SessionOptions { start_tls, ..options() };
    let offer = "S: 220 mx\nC: EHLO me.test\nS: 250-mx\nS: 250-PIPELINING\nS: 250 STARTTLS\nC: STARTTLS\n";
    let mut play = Play::new(wish(StartTls::WhenOffered));
    play.play(offer).play("S: 220 go");
    assert_eq!(play.events.pop(), Some(Event::StartTls));
    assert_eq!(play.session.stage(), Stage::StartTls);
    play.session.tls_established();
    play.play("C: EHLO me.test\nS: 250 mx");
    assert_eq!(play.events.pop(), Some(Event::Ready));
    assert!(play.session.is_tls() && !play.session.extensions().pipelining);

    let mut play = Play::new(wish(StartTls::Required));
    play.play(offer);
    play.session.receive(b"220 go\r\n250 injected\r\n");
    play.collect();
    assert!(matches!(play.events[..], [Event::Failed(_)]), "no handshake is asked for");

    let mut play = Play::new(wish(StartTls::WhenOffered));
    play.play(offer).play("S: 454 4.7.0 not now");
    assert_eq!(play.events.pop(), Some(Event::Ready));

    let mut play = Play::new(wish(StartTls::Required));
    play.play(offer).play("S: 454 4.7.0 not now");
    let Some(Event::Failed(outcome)) = play.events.pop() else { panic!("opened") };
    assert_eq!(word(&outcome), "Deferred Site 4.7.0");

    let mut play = Play::new(wish(StartTls::Required));
    play.play(HELLO).play("S: 250 X");
    let Some(Event::Failed(outcome)) = play.events.pop() else { panic!("opened") };
    assert_eq!(word(&outcome), "Deferred Site 4.7.4");
}

#[test]
fn many_recipients_go_out_in_bounded_groups() {
    let addresses: Vec<String> = (0..2000).map(|n| format!("user{n}@b.test")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut play = Play::open(options(), &format!("{HELLO}S: 250 PIPELINING\n"));
    play.send(&envelope(&addresses));
    let mut groups = 0;
    while play.events.is_empty() {
        let sent = String::from_utf8_lossy(play.session.output()).into_owned();
        assert!(sent.len() <= PIPELINED_BYTES_MAX + 512, "{}", sent.len());
        play.session.output_sent();
        for line in sent.lines() {
            let reply: &[u8] = if line == "DATA" { b"354 go\r\n" } else { b"250 ok\r\n" };
            play.session.receive(reply);
        }
        play.collect();
        groups += 1;
    }
    assert!(groups < 12, "{groups} groups");
    play.play("<content>\nS: 250 ok");
    assert!(play.ending().outcomes.iter().all(|outcome| outcome.verdict == Verdict::Sent));
}

fn class_of(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Sent => 2,
        Verdict::Deferred => 4,
        Verdict::Bounced => 5,
    }
}

/// What a hostile next hop does next.
#[derive(Clone, Debug)]
enum Act {
    Say(u16),
    Raw(Vec<u8>),
    Close,
    Hang,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => prop::sample::select(vec![220u16, 250, 250, 250, 250, 354, 354, 421, 450, 550, 200, 300, 399])
            .prop_map(Act::Say),
        1 => proptest::collection::vec(any::<u8>(), 0..20).prop_map(Act::Raw),
        1 => Just(Act::Close),
        1 => Just(Act::Hang),
    ]
}

proptest! {
    #[test]
    fn every_recipient_gets_exactly_one_outcome_whatever_happens(
        acts in proptest::collection::vec(act(), 0..40),
        recipients in 1usize..6,
        lmtp: bool,
        pipelining: bool,
        content_after in 0usize..3,
    ) {
        let mut session = Session::new(SessionOptions { lmtp, ..options() });
        session.receive(b"220 mx\r\n");
        session.receive(if pipelining { b"250-mx\r\n250 PIPELINING\r\n" } else { b"250 mx\r\n" });
        prop_assert_eq!(session.poll_event(), Some(Event::Ready));
        let addresses: Vec<String> = (0..recipients).map(|n| format!("u{n}@b.test")).collect();
        let message = envelope(&addresses.iter().map(String::as_str).collect::<Vec<_>>());
        let all: Vec<u32> = (0..recipients as u32).collect();
        session.send(message, all, Content::default());
        let mut endings = Vec::new();
        let mut content_due = None;
        for act in acts.into_iter().chain([Act::Close]) {
            session.output_sent();
            match act {
                Act::Say(code) => session.receive(format!("{code} x\r\n").as_bytes()),
                Act::Raw(bytes) => session.receive(&bytes),
                Act::Close => session.connection_lost(None),
                Act::Hang => session.timed_out(),
            }
            if content_due == Some(0) {
                session.content_sent();
            }
            content_due = content_due.and_then(|due: usize| due.checked_sub(1));
            while let Some(event) = session.poll_event() {
                match event {
                    Event::SendContent => content_due = Some(content_after),
                    Event::Finished(ending) => endings.push(ending),
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
        prop_assert_eq!(endings.len(), 1);
        prop_assert_eq!(endings[0].outcomes.len(), recipients);
        prop_assert!(endings[0].doubtful as usize <= recipients);
        for outcome in &endings[0].outcomes {
            prop_assert_eq!(outcome.status.class(), class_of(outcome.verdict));
            prop_assert!(outcome.verdict != Verdict::Sent || outcome.scope == Scope::Recipient);
        }
    }

    #[test]
    fn any_opening_ends_or_waits(bytes: Vec<u8>, cut in 1usize..9) {
        let mut session = Session::new(SessionOptions { start_tls: StartTls::WhenOffered, ..options() });
        bytes.chunks(cut).for_each(|piece| session.receive(piece));
        session.timed_out();
        let _ = session.poll_event();
        prop_assert!(!session.is_reusable() || session.stage() == Stage::Idle);
    }
}
