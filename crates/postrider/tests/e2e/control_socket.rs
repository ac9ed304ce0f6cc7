//! Nonsense on the operator's socket gets one line; the engine goes on.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use testkit::engine::PATIENCE;
use testkit::plain::Client;

use crate::place::{Place, listed, start, wait_until_empty};

#[test]
fn nonsense_is_answered_with_one_error() {
    let place = Place::new();
    let engine = start(&place.setup());
    let socket = place.folder.path().join("control.sock");
    let mode = std::fs::metadata(&socket).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "only its owner may use it");
    for nonsense in ["what?\n", "{\"unknown\":1}\n", "{\"list\":\n", "{}\n"] {
        let mut stream = UnixStream::connect(&socket).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        stream.write_all(nonsense.as_bytes()).expect("written");
        stream.shutdown(std::net::Shutdown::Write).expect("ended");
        let lines: Vec<String> = BufReader::new(stream).lines().map_while(Result::ok).collect();
        assert_eq!(lines.len(), 1, "{nonsense:?}: {lines:?}");
        assert!(lines[0].contains("failed"), "{nonsense:?}: {lines:?}");
    }
    // A line without an end is cut off at a limit; whoever writes it may see the connection close.
    let mut stream = UnixStream::connect(&socket).expect("a connection");
    let flood = vec![b'{'; 1 << 20];
    while stream.write_all(&flood).is_ok() {}
    assert_eq!(listed(&engine, &[]).len(), 0, "others are served");
    let mut client = Client::greet(engine.smtp()).expect("a greeting");
    client.send("s@src.test", &["a@x.test"], b"x\r\n").expect("accepted");
    wait_until_empty(&engine);
    assert_eq!(place.sink.count(), 1);
}
