//! An SMTP client and an SMTP server of the plainest kind, on blocking sockets.
//!
//! Promises: they share no code with Postrider, so that a mistake in its codec cannot hide itself from
//! the tests that drive the whole program; what goes over the wire is what the test wrote.
//!
//! Refuses: being complete or lenient. Pipelining, extensions beyond a bare list and TLS are left out.

mod client;
mod sink;

pub use client::{Client, ClientError, PlainReply, dot_stuffed};
pub use sink::{Received, Refusal, Sink};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_sends_the_sink_receives() {
        let sink = Sink::start().expect("a port");
        let mut client = Client::greet(sink.address()).expect("a greeting");
        let contents: [&[u8]; 5] = [b"", b".", b"..\r\n.\r\n", b"a\nb\r.\rc\n.\nd", &[0xff; 3000]];
        for content in contents {
            client.send("a@x.test", &["b@y.test", "c@y.test"], content).expect("taken");
        }
        for (received, content) in sink.wait_for(contents.len()).expect("all of them").iter().zip(contents) {
            let mut whole = content.to_vec();
            if !whole.is_empty() && !whole.ends_with(b"\r\n") {
                whole.extend(b"\r\n");
            }
            assert_eq!(received.content, whole);
            assert_eq!(received.recipients, ["<b@y.test>", "<c@y.test>"]);
            assert_eq!(received.connection, 1);
        }
    }

    #[test]
    fn the_sink_refuses_as_told_and_its_port_can_be_taken_again() {
        let sink = Sink::start().expect("a port");
        sink.refuse(vec![Refusal { at: "RCPT TO:<b@".into(), reply: "450 4.2.1 later".into() }]);
        let mut client = Client::greet(sink.address()).expect("a greeting");
        let refused = client.send("a@x.test", &["b@y.test"], b"x\r\n");
        assert!(matches!(refused, Err(ClientError::Refused { reply, .. }) if reply.code == 450));
        client.command("RSET").expect("a reply");
        client.send("a@x.test", &["c@y.test"], b"x\r\n").expect("taken");
        let address = sink.address();
        assert_eq!(sink.stop().len(), 1);
        assert!(client.command("NOOP").is_err(), "its connections are closed");
        Sink::start_on(address).expect("the same port");
    }
}
