//! Programs that hand in mail by `sendmail`.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use testkit::engine::Setup;

use crate::place::{Place, start};

/// What Symfony's mailer and others do when nobody tells them of a server.
#[test]
fn sendmail_speaks_smtp_on_standard_input() {
    let place = Place::new();
    let engine = start(&place.setup());
    let link = place.folder.path().join("sendmail");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_postrider"), &link).expect("a link");
    let sendmail = Setup::new(link, place.folder.path());
    for last in ["QUIT\r\n", ""] {
        let mut child = sendmail.command(&["-bs"]);
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut input = child.stdin.take().expect("its input");
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        let message = format!("Subject: x\r\n\r\n..hello\r\n.\r\n{last}");
        for (said, heard) in [
            ("", "220 "),
            ("HELO client.test\r\n", "250 "),
            ("MAIL FROM:<a@src.test>\r\n", "250 2.1.0"),
            ("RCPT TO:<b@dst.test>\r\n", "250 2.1.5"),
            ("DATA\r\n", "354 "),
            (message.as_str(), "250 2.0.0 Ok: queued as "),
        ] {
            input.write_all(said.as_bytes()).expect("it listens");
            let mut line = String::new();
            output.read_line(&mut line).expect("it speaks");
            assert!(line.starts_with(heard), "{said:?}: {line:?}\n{}", engine.printed());
        }
        // Over with QUIT although the input goes on, or with the end of the input.
        let kept = (!last.is_empty()).then_some(input);
        assert!(child.wait().expect("it ends").success());
        drop(kept);
    }
    let received = place.sink.wait_for(2).expect("both arrive");
    assert!(received.iter().all(|one| one.content.ends_with(b"Subject: x\r\n\r\n.hello\r\n")));
}
