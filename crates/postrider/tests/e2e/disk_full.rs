//! A full disk refuses new mail and loses nothing; mail is taken again when there is room.
//!
//! The spool is on a small memory file system that only the engine's own mount namespace has, so that
//! nothing has to be unmounted afterwards; an ordinary user gets the right to mount there by a user
//! namespace. The test reaches the file system through the engine's process. Where a container forbids
//! mounting, the reserve of free space is what runs out; that shows the refusal, but not the recovery.

use std::fs;
use std::path::PathBuf;

use testkit::engine::{Engine, Setup, runs_as_root};
use testkit::plain::{Client, ClientError, PlainReply};

use crate::place::{Place, ask, start, wait_until_empty};

/// The size of the file system; enough for a few segments.
const ROOM: &str = "size=24m";
/// More than what can be accepted in that room, in messages of 100 KiB.
const MESSAGES_MAX: usize = 1000;

/// A program that runs another in a mount namespace of its own.
fn namespace() -> Vec<&'static str> {
    let mut wrapper = vec!["unshare", "--mount"];
    if !runs_as_root() {
        wrapper.extend(["--user", "--map-root-user"]);
    }
    wrapper.extend(["sh", "-c"]);
    wrapper
}

/// Whether this machine lets us mount anything at all.
fn may_mount() -> bool {
    let words = namespace();
    let mut command = std::process::Command::new(words[0]);
    let tried = command.args(&words[1..]).arg("mount -t tmpfs none /mnt").output();
    tried.is_ok_and(|output| output.status.success())
}

fn on_a_small_disk(setup: Setup) -> Setup {
    let mount = format!(
        "mkdir -p '{0}' && mount -t tmpfs -o {ROOM} none '{0}' && exec \"$@\"",
        setup.spool().display()
    );
    let mut wrapper = namespace();
    wrapper.extend([mount.as_str(), "sh"]);
    setup.run_by(&wrapper)
}

/// The engine's own view of its spool.
fn inside(engine: &Engine) -> PathBuf {
    let spool = engine.setup().spool();
    PathBuf::from(format!("/proc/{}/root", engine.process())).join(spool.strip_prefix("/").expect("absolute"))
}

/// Fills the file system to the last byte.
fn ballast(engine: &Engine) -> PathBuf {
    let file = inside(engine).join("ballast");
    let whole = vec![0u8; 64 << 20];
    let error = fs::write(&file, whole).expect_err("the file system is smaller than that");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    file
}

/// The reply that ended a transaction.
fn refusal(error: ClientError, engine: &Engine) -> PlainReply {
    match error {
        ClientError::Refused { reply, .. } => reply,
        other => panic!("{other}\n{}", engine.printed()),
    }
}

#[test]
fn below_the_reserve_of_free_space_mail_is_refused() {
    let place = Place::new();
    let mut engine = start(&place.setup().with("spool.free_min", "\"1000000GiB\""));
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    let error = client.send("s@src.test", &["a@x.test"], b"Subject: x\r\n\r\n").expect_err("no room");
    let reply = refusal(error, &engine);
    assert!(reply.code == 452 && reply.lines[0].starts_with("4.3.1"), "{reply}");
    // Clients were refused once while the log was silent and the status said that all was well.
    let loud = |line: &str| line.contains("error: the spool takes no new mail: the spool's disk is full");
    engine.wait_for_line("say loudly that it takes no mail", loud).unwrap_or_else(|error| panic!("{error}"));
    assert!(ask(&engine, &["status"], 0).contains("accepting: no: the spool's disk is full"));
}

/// Where nobody sets sizes, a disk smaller than a few of the usual segments took no mail at all.
#[test]
fn a_small_disk_takes_mail_with_the_usual_settings() {
    if !may_mount() {
        return;
    }
    let place = Place::new();
    let next_hop = format!("{:?}", place.sink.next_hop());
    let setup = Setup::new(env!("CARGO_BIN_EXE_postrider"), place.folder.path());
    let engine = start(&on_a_small_disk(setup.with("route.relayhost", &next_hop)));
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    let sent = client.send("s@src.test", &["a@x.test"], b"Subject: x\r\n\r\n");
    assert!(sent.is_ok(), "{sent:?}\n{}", engine.printed());
    wait_until_empty(&engine);
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    if !may_mount() {
        return below_the_reserve_of_free_space_mail_is_refused();
    }
    let place = Place::new();
    let setup = place.setup().with("spool.free_min", "\"1MiB\"");
    let engine = start(&on_a_small_disk(setup));
    let ballast = ballast(&engine);
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    let content = [b"Subject: x\r\n\r\n".to_vec(), b"0123456789abcdef\r\n".repeat(6000)].concat();
    let mut accepted = 0;
    let refused = loop {
        assert!(accepted < MESSAGES_MAX, "the full disk was not noticed");
        match client.send("s@src.test", &["a@x.test"], &content) {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
    };
    let reply = refusal(refused, &engine);
    assert!(reply.code == 452 && reply.lines[0].starts_with("4.3.1"), "{reply}");
    assert!(place.sink.wait_for(accepted).is_some(), "what was accepted is delivered\n{}", engine.printed());

    fs::remove_file(ballast).expect("room again");
    let mut taken = false;
    for _ in 0..MESSAGES_MAX {
        // It finds out by itself; each attempt is a conversation, so this is no busy loop.
        let mut client = Client::greet(engine.smtp()).expect("a greeting");
        taken = client.send("s@src.test", &["a@x.test"], b"Subject: again\r\n\r\n").is_ok();
        if taken {
            break;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
    assert!(taken, "mail is taken again\n{}", engine.printed());
    wait_until_empty(&engine);
    assert_eq!(place.sink.count(), accepted + 1);
}
