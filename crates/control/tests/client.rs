//! The client against servers that behave and servers that do not.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use control::{
    Answer, Client, ClientError, Deadlines, HelloItem, Item, ProgressItem, Request, VERSION, encode,
    send_trigger,
};

const SHORT: Deadlines = Deadlines { connect: Duration::from_secs(5), silence: Duration::from_millis(50) };

/// A server that reads one line for each batch of answers and then writes the batch.
fn serve(socket: &Path, batches: Vec<Vec<u8>>) -> JoinHandle<Vec<String>> {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut requests = Vec::new();
        for batch in batches {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            requests.push(line.trim_end().to_owned());
            (&stream).write_all(&batch).unwrap();
        }
        // Kept open until the client goes: a server that is silent, not one that left.
        let mut rest = String::new();
        let _ = reader.read_line(&mut rest);
        requests
    })
}

fn hello(version: u32) -> Vec<u8> {
    let item = Item::Hello(HelloItem { version, program: "postrider test".to_owned() });
    [encode(&Answer::item(item)), encode(&Answer::done(0))].concat()
}

fn progress(done: u64) -> Item {
    Item::Progress(ProgressItem { done, total: None })
}

fn directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control.sock");
    (directory, socket)
}

#[test]
fn answers_are_a_stream_with_an_end() {
    let (_directory, socket) = directory();
    let stream =
        [encode(&Answer::item(progress(1))), encode(&Answer::item(progress(2))), encode(&Answer::done(7))];
    let refusal = encode(&Answer::failed(69, "stopping\nnow"));
    let server = serve(&socket, vec![hello(VERSION), stream.concat(), refusal]);
    let mut client = Client::connect(&socket, Deadlines::default()).unwrap();
    let mut answers = client.ask(&Request::Status {}).unwrap();
    let items: Vec<Item> = answers.by_ref().map(Result::unwrap).collect();
    assert_eq!(items, [progress(1), progress(2)]);
    assert_eq!(answers.total(), 7);
    let error = client.ask(&Request::Ping {}).unwrap().finish().unwrap_err();
    assert_eq!((error.exit_code(), error.to_string().as_str()), (69, "stopping now"));
    drop(client);
    assert_eq!(server.join().unwrap(), [r#"{"hello":{"version":1}}"#, r#"{"status":{}}"#, r#"{"ping":{}}"#]);
}

#[test]
fn nobody_there_means_not_running() {
    let (_directory, socket) = directory();
    let missing = Client::connect(&socket, SHORT).unwrap_err();
    assert!(matches!(missing, ClientError::NotRunning { .. }) && missing.exit_code() == 69, "{missing}");
    drop(UnixListener::bind(&socket).unwrap());
    let stale = Client::connect(&socket, SHORT).unwrap_err();
    assert_eq!(stale.exit_code(), 69, "{stale}");
    assert!(!stale.to_string().contains('\n'));
}

#[test]
fn somebody_elses_socket_means_not_permitted() {
    let (directory, socket) = directory();
    let _listener = UnixListener::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser may connect all the same; then there is nothing to see.
    if let Err(error) = UnixStream::connect(&socket) {
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
        assert_eq!(Client::connect(&socket, SHORT).unwrap_err().exit_code(), 77);
    }
    drop(directory);
}

#[test]
fn silence_and_hanging_up_are_told_apart() {
    let (_directory, socket) = directory();
    let server = serve(&socket, vec![hello(VERSION), Vec::new()]);
    let mut client = Client::connect(&socket, SHORT).unwrap();
    let error = client.ask(&Request::Ping {}).unwrap().finish().unwrap_err();
    assert!(matches!(error, ClientError::Silent { .. }) && error.exit_code() == 74, "{error}");
    drop(client);
    server.join().unwrap();

    std::fs::remove_file(&socket).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    let leaver = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let error = Client::connect(&socket, Deadlines::default()).unwrap_err();
    assert!(matches!(error, ClientError::Closed { .. }), "{error}");
    leaver.join().unwrap();
}

#[test]
fn strangers_are_recognised() {
    for answer in [hello(VERSION + 1), b"220 mail.example.com ESMTP\r\n".to_vec(), encode(&Answer::done(0))] {
        let (_directory, socket) = directory();
        let server = serve(&socket, vec![answer]);
        let error = Client::connect(&socket, Deadlines::default()).unwrap_err();
        assert!(matches!(error, ClientError::Foreign { .. }) && error.exit_code() == 76, "{error}");
        server.join().unwrap();
    }
}

#[test]
fn a_trigger_is_sent_as_it_is() {
    let (_directory, socket) = directory();
    let listener = UnixListener::bind(&socket).unwrap();
    send_trigger(&socket, b"FADI", Deadlines::default()).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut letters = String::new();
    std::io::Read::read_to_string(&mut stream, &mut letters).unwrap();
    assert_eq!(letters, "FADI");
}
