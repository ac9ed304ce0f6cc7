//! The lines that tools for Postfix's log read.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::common::{open_config, start, strict_config};

/// Keeps the messages of level info and above that come from the front-end.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO && metadata.target().starts_with("ingress")
    }
    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0.lock().unwrap().push(format!("{value:?}"));
        }
    }
}

#[tokio::test]
async fn refusals_are_logged_in_one_line_each() {
    let log = Log::default();
    let _here = tracing::subscriber::set_default(log.clone());
    let world = start(strict_config());
    let mut client = world.client().await;
    client.ask("BOGUS", "500 ").await;
    client.ask("MAIL FROM:<s@src.test> SIZE=999999999", "552 ").await;
    client.ask("MAIL FROM:<>", "250 ").await;
    client.ask("RCPT TO:<u@elsewhere.test>", "554 ").await;
    client.ask("RCPT TO:<u@here.test>", "250 ").await;
    client.ask("DATA", "354 ").await;
    client.ask("x\n\r\n.", "554 5.6.0").await;
    client.ask("QUIT", "221 ").await;
    client.expect_end().await;
    let lines = log.0.lock().unwrap().clone();
    let expected = [
        "NOQUEUE: reject: MAIL from unknown[127.0.0.1]: 552 5.3.4 Error: message size exceeds fixed limit; \
         from=<s@src.test> proto=ESMTP helo=<client.test>",
        "NOQUEUE: reject: RCPT from unknown[127.0.0.1]: 554 5.7.1 <u@elsewhere.test>: Relay access denied; \
         from=<> to=<u@elsewhere.test> proto=ESMTP helo=<client.test>",
        "NOQUEUE: reject: DATA from unknown[127.0.0.1]: 554 5.6.0 Error: bare <LF> in the message, lines end \
         with <CR><LF>; from=<> proto=ESMTP helo=<client.test>",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn accepted_mail_is_no_news_here() {
    let log = Log::default();
    let _here = tracing::subscriber::set_default(log.clone());
    let mut world = start(open_config());
    let mut client = world.client().await;
    client.ask("MAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nBDAT 0 LAST", "250 ").await;
    client.expect("250 ").await;
    client.expect("250 ").await;
    world.next_accepted().await;
    assert!(log.0.lock().unwrap().is_empty(), "the engine logs it, with its size and recipients");
}
