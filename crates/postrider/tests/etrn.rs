//! The steps of `docs/etrn.md`, taken by a test: a site that was offline asks for its mail.

#![allow(clippy::unwrap_used, reason = "a step that cannot be taken has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tempfile::TempDir;
use testkit::engine::{Engine, PATIENCE, Setup};
use testkit::plain::{Client, Received, Refusal, Sink};

const PROGRAM: &str = env!("CARGO_BIN_EXE_postrider");

/// Sites that are offline at first: `example.com` with its subdomains, whose mail may be asked for, and
/// `other.net`.
struct Place {
    folder: TempDir,
    setup: Setup,
    example: Sink,
    below: Sink,
    other: Sink,
}

/// A site that is up but closes every connection: ports that are really closed would be taken by other
/// tests meanwhile.
fn go_offline(sink: &Sink) {
    sink.refuse(vec![Refusal { at: "EHLO".to_owned(), reply: "421 4.3.2 not now".to_owned() }]);
}

fn come_back(sink: &Sink) {
    sink.refuse(Vec::new());
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let [example, below, other] = [(); 3].map(|()| Sink::start().unwrap());
        [&example, &below, &other].into_iter().for_each(go_offline);
        let to =
            |what: &str, sink: &Sink| format!(r#"{{match = "{what}", to = "smtp:{}"}}"#, sink.next_hop());
        let [one, two, three] =
            [to("example.com", &example), to(".example.com", &below), to("other.net", &other)];
        let map = format!("[{one}, {two}, {three}]");
        let setup = Setup::new(PROGRAM, folder.path())
            .with("route.map", &map)
            .with("route.relay_domains", r#"["example.com"]"#);
        Place { folder, setup, example, below, other }
    }

    fn log(&self, site: &str) -> PathBuf {
        self.setup.spool().join("flush").join(format!("@{site}"))
    }

    /// The program under a name of Postfix's: exit code, standard error.
    fn postfix(&self, name: &str, arguments: &[&str]) -> (Option<i32>, String) {
        let link = self.folder.path().join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(PROGRAM, &link).unwrap();
        }
        let output = Setup::new(link, self.folder.path()).command(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }
}

/// Sends one message and waits until it is deferred; its queue id.
fn send(engine: &mut Engine, to: &[&str]) -> String {
    let reply =
        Client::greet(engine.smtp()).unwrap().send("a@src.test", to, b"Subject: hello\r\n\r\nhello\r\n");
    let reply = reply.unwrap().to_string();
    let id = reply.rsplit(' ').next().unwrap().to_owned();
    for one in to {
        let part = format!("{id}: to=<{one}>");
        let deferred = |line: &str| line.contains(&part) && line.contains("status=deferred");
        engine.wait_for_line(&format!("defer {part}"), deferred).unwrap();
    }
    id
}

fn etrn(engine: &Engine, argument: &str) -> String {
    Client::greet(engine.smtp()).unwrap().command(&format!("ETRN {argument}")).unwrap().to_string()
}

/// Asks the engine for something until the file says this.
fn wait_for_file(engine: &Engine, path: &Path, wanted: Option<&str>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = fs::read_to_string(path).ok();
        if found.as_deref() == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{}: {found:?}, not {wanted:?}", path.display());
        engine.ask(&["flush", "--status"]).unwrap();
    }
}

fn recipients(received: &[Received]) -> Vec<String> {
    let mut all: Vec<String> = received.iter().flat_map(|one| one.recipients.clone()).collect();
    all.sort_unstable();
    all
}

fn text(engine: &Engine, arguments: &[&str]) -> (Option<i32>, String) {
    let output = engine.ask(arguments).unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_site_that_comes_back_gets_exactly_its_mail() {
    let place = Place::new();
    let mut engine = place.setup.start().unwrap();
    let first = send(&mut engine, &["u@example.com"]);
    let both = send(&mut engine, &["v@Example.COM", "v@other.net"]);
    let sub = send(&mut engine, &["w@sub.example.com"]);
    send(&mut engine, &["x@other.net"]);

    // The log that an operator can look at.
    wait_for_file(&engine, &place.log("example.com"), Some(&format!("{first}\n{both}\n")));
    wait_for_file(&engine, &place.log("sub.example.com"), Some(&format!("{sub}\n")));
    assert!(!place.log("other.net").exists(), "other.net is not eligible");
    let (code, status) = text(&engine, &["flush", "--status"]);
    assert_eq!(code, Some(0));
    assert!(status.contains("example.com: 2 messages waiting, never flushed"), "{status}");
    assert!(status.contains("other.net: 2 messages waiting, not in fast_flush_domains"), "{status}");

    // A site with waiting mail.
    let sinks = [&place.example, &place.below, &place.other];
    sinks.into_iter().for_each(come_back);
    let [example, below, other] = sinks;
    assert_eq!(etrn(&engine, "EXAMPLE.com"), "253 2.0.0 OK, 2 pending messages for node example.com started");
    let received = example.wait_for(2).expect("both messages arrive");
    assert_eq!(recipients(&received), ["<u@example.com>", "<v@Example.COM>"]);
    let delivered =
        |line: &str| line.contains(&format!("{both}: to=<v@Example.COM>")) && line.contains("status=sent");
    engine.wait_for_line("deliver to example.com", delivered).unwrap();
    assert_eq!((below.count(), other.count()), (0, 0), "nobody asked for their mail");
    wait_for_file(&engine, &place.log("example.com"), Some(""));

    // Its subdomains.
    assert_eq!(
        etrn(&engine, "@example.com"),
        "253 2.0.0 OK, 1 pending messages for node example.com started"
    );
    assert_eq!(recipients(&below.wait_for(1).unwrap()), ["<w@sub.example.com>"]);

    // An eligible site with none; a site that is not eligible; what is no site.
    let none = etrn(&engine, "empty.example.com");
    assert_eq!(none, "251 2.0.0 OK, no messages waiting for node empty.example.com");
    assert_eq!(etrn(&engine, "other.net"), "459 4.7.1 other.net: service unavailable");
    assert_eq!(etrn(&engine, "-x"), "501 5.5.4 Error: invalid parameter syntax");
    assert_eq!(other.count(), 0);

    // An operator may ask for any site.
    assert_eq!(
        text(&engine, &["flush", "other.net"]),
        (Some(0), "other.net: 2 messages released\n".to_owned())
    );
    assert_eq!(recipients(&other.wait_for(2).unwrap()), ["<v@other.net>", "<x@other.net>"]);
    assert_eq!(sinks.map(|sink| sink.count()), [2, 1, 2], "each message once");
}

#[test]
fn replies_in_the_order_of_the_rules() {
    let place = Place::new();
    let engine = place.setup.start().unwrap();
    let (mut client, _) = Client::connect(engine.smtp()).unwrap();
    let mut say = |line: &str| client.command(line).unwrap().to_string();
    assert_eq!(say("ETRN example.com"), "503 5.5.1 Error: send HELO/EHLO first");
    let hello = say("EHLO client.test");
    assert!(hello.contains("ETRN"), "{hello}");
    assert_eq!(say("ETRN"), "500 5.5.4 Syntax: ETRN domain");
    assert_eq!(say("ETRN example.com other.net"), "500 5.5.4 Syntax: ETRN domain");
    assert_eq!(say("ETRN #queue"), "501 5.5.4 Error: queues have no names here");
    assert_eq!(say("ETRN .."), "501 5.5.4 Error: invalid parameter syntax");
    say("MAIL FROM:<a@src.test>");
    assert_eq!(say("ETRN example.com"), "503 5.5.1 Error: MAIL transaction in progress");
    say("RSET");
    assert_eq!(say("ETRN example.com"), "251 2.0.0 OK, no messages waiting for node example.com");
}

#[test]
fn a_client_learns_nothing_that_is_not_for_it() {
    let place = Place::new();
    let setup = place.setup.clone().with("smtp.etrn_from", r#"["192.0.2.0/24"]"#);
    let mut engine = setup.start().unwrap();
    send(&mut engine, &["u@example.com"]);
    let example = &place.example;
    come_back(example);
    assert_eq!(etrn(&engine, "example.com"), "459 4.7.1 example.com: service unavailable");
    assert_eq!(etrn(&engine, "other.net"), "459 4.7.1 other.net: service unavailable");
    engine.stop().unwrap();
    assert_eq!(example.count(), 0);
    go_offline(example);

    // With deliver-all a site that is not eligible sets everything going and hears no number.
    let mut engine =
        place.setup.clone().with("flush.flush_ineligible_site", r#""deliver-all""#).start().unwrap();
    send(&mut engine, &["u@other.net"]);
    let sinks = [example, &place.other];
    sinks.into_iter().for_each(come_back);
    assert_eq!(etrn(&engine, "third.test"), "250 2.0.0 Queuing started");
    assert!(sinks.iter().all(|sink| sink.wait_for(1).is_some()));
}

#[test]
fn the_log_is_right_again_after_a_crash() {
    let place = Place::new();
    let mut engine = place.setup.start().unwrap();
    let first = send(&mut engine, &["u@example.com"]);
    let second = send(&mut engine, &["v@example.com"]);
    wait_for_file(&engine, &place.log("example.com"), Some(&format!("{first}\n{second}\n")));
    engine.kill().unwrap();
    // What a crash, or a hand, may leave behind.
    fs::write(place.log("example.com"), "rubbish").unwrap();
    fs::write(place.log("stale.example.com"), format!("{first}\n")).unwrap();
    fs::write(place.log("other.net"), format!("{first}\n")).unwrap();

    let engine = place.setup.start().unwrap();
    wait_for_file(&engine, &place.log("example.com"), Some(&format!("{first}\n{second}\n")));
    wait_for_file(&engine, &place.log("stale.example.com"), Some(""));
    wait_for_file(&engine, &place.log("other.net"), None);
    assert_eq!(text(&engine, &["queue", "delete", &first, "--yes"]).0, Some(0));
    wait_for_file(&engine, &place.log("example.com"), Some(&format!("{first}\n{second}\n-{first}\n")));
    let example = &place.example;
    come_back(example);
    assert_eq!(etrn(&engine, "example.com"), "253 2.0.0 OK, 1 pending messages for node example.com started");
    assert_eq!(recipients(&example.wait_for(1).unwrap()), ["<v@example.com>"]);
}

#[test]
fn held_mail_that_was_asked_for_goes_when_it_is_released() {
    let place = Place::new();
    let mut engine = place.setup.start().unwrap();
    let id = send(&mut engine, &["u@example.com"]);
    assert_eq!(text(&engine, &["queue", "hold", &id]).0, Some(0));
    let example = &place.example;
    come_back(example);
    let (code, said) = text(&engine, &["flush", "example.com"]);
    assert_eq!((code, said.as_str()), (Some(0), "example.com: 0 messages released, 1 left on hold\n"));
    let everything = text(&engine, &["flush", "--all"]);
    assert_eq!(everything, (Some(0), "everything: 0 messages released, 1 left on hold\n".to_owned()));
    let unknown = text(&engine, &["flush", "--message", "0D5QJK2B7X1ZC"]);
    assert_eq!(unknown, (Some(1), "0D5QJK2B7X1ZC: no such message that could be tried\n".to_owned()));
    assert_eq!(example.count(), 0);
    assert_eq!(text(&engine, &["queue", "release", &id]).0, Some(0));
    assert_eq!(recipients(&example.wait_for(1).unwrap()), ["<u@example.com>"]);
}

#[test]
fn other_words_for_the_same() {
    let place = Place::new();
    let down = place.postfix("postqueue", &["-s", "example.com"]);
    assert_eq!(down.0, Some(69), "{}", down.1);
    assert_eq!(place.postfix("sendmail", &["-q"]).0, Some(69));
    let mut engine = place.setup.start().unwrap();
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(send(&mut engine, &[&format!("u{n}@example.com")]));
        engine.ask(&["queue", "hold", &ids[n]]).unwrap();
    }
    let example = &place.example;
    come_back(example);
    let one = |n: usize, name: &str, arguments: &[&str]| {
        engine.ask(&["queue", "release", &ids[n]]).unwrap();
        assert_eq!(place.postfix(name, arguments), (Some(0), String::new()), "{name} {arguments:?}");
        let received = example.wait_for(n + 1).unwrap_or_else(|| panic!("{name} {arguments:?}"));
        assert_eq!(received[n].recipients, [format!("<u{n}@example.com>")]);
    };
    one(0, "postqueue", &["-s", "example.com"]);
    one(1, "postqueue", &["-i", &ids[1]]);
    one(2, "postqueue", &["-f"]);
    one(3, "sendmail", &["-q"]);
    one(4, "sendmail", &["-qRexample.com"]);
    one(5, "sendmail", &[&format!("-qI{}", ids[5])]);
    for (name, arguments, code, said) in [
        (
            "postqueue",
            ["-s", "other.net"].as_slice(),
            69,
            "Flush service is not configured for destination \"other.net\"",
        ),
        ("postqueue", &["-s", ".."], 69, ".."),
        ("postqueue", &["-i", "no id"], 69, "no id"),
        ("postqueue", &["-i", "0D5QJK2B7X1ZC"], 0, ""),
        ("postqueue", &[], 69, "usage"),
        ("sendmail", &["-q10m"], 0, ""),
        ("sendmail", &["-qSsmtp"], 75, "not implemented"),
        ("sendmail", &["-qRother.net"], 69, "Flush service is not configured"),
    ] {
        let found = place.postfix(name, arguments);
        assert!(found.0 == Some(code) && found.1.contains(said), "{name} {arguments:?}: {found:?}");
    }
}

#[test]
fn an_operator_can_have_a_message_noted() {
    let place = Place::new();
    let mut engine = place.setup.start().unwrap();
    let id = send(&mut engine, &["u@example.com"]);
    let noted = |id: &str, site: &str| text(&engine, &["flush", "--add", id, site]);
    assert_eq!(noted(&id, "example.com"), (Some(0), format!("example.com {id}: on record\n")));
    assert_eq!(noted(&id, "b.example.com").0, Some(74), "it does not wait there");
    assert_eq!(noted(&id, "other.net").0, Some(77), "not eligible");
    assert_eq!(noted("17", "example.com").0, Some(2));
}

#[test]
fn refresh_and_purge_say_what_they_did() {
    let place = Place::new();
    let mut engine = place.setup.start().unwrap();
    let id = send(&mut engine, &["u@example.com"]);
    assert_eq!(
        text(&engine, &["flush", "--refresh"]),
        (Some(1), "refresh: nothing has waited for fast_flush_refresh_time\n".to_owned())
    );
    let example = &place.example;
    come_back(example);
    // A refresh revives nothing: one message in front finds out that the site is back.
    assert_eq!(text(&engine, &["flush", "--message", &id]).0, Some(0));
    example.wait_for(1).unwrap();
    assert_eq!(text(&engine, &["flush", "--purge"]).0, Some(1));
    assert_eq!(text(&engine, &["trigger", "W"]).0, Some(0));
}
