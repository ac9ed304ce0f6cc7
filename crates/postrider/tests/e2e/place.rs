//! A folder, a next hop and a setup for one test.

use std::process::Output;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use testkit::engine::{Engine, PATIENCE, Setup};
use testkit::plain::{PlainReply, Sink};

/// Where one test happens; gone when it ends.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
    pub(crate) sink: Sink,
}

impl Place {
    pub(crate) fn new() -> Place {
        let folder = tempfile::tempdir().expect("a folder for the test");
        Place { folder, sink: Sink::start().expect("a port for the sink") }
    }

    /// An engine that hands everything to the sink and retries within a second or two. Its log is in
    /// small pieces, so that starting one costs little.
    pub(crate) fn setup(&self) -> Setup {
        Setup::new(env!("CARGO_BIN_EXE_postrider"), self.folder.path())
            .with("route.relayhost", &format!("{:?}", self.sink.next_hop()))
            .with("spool.segment_size", "\"1MiB\"")
            .with("qmgr.minimal_backoff_time", "\"1s\"")
            .with("qmgr.maximal_backoff_time", "\"2s\"")
    }

    /// The same, but nothing is retried by itself while a test looks at it.
    pub(crate) fn patient_setup(&self) -> Setup {
        self.setup().with("qmgr.minimal_backoff_time", "\"1h\"").with("qmgr.maximal_backoff_time", "\"2h\"")
    }
}

/// Starts, or fails the test with everything the engine printed.
pub(crate) fn start(setup: &Setup) -> Engine {
    setup.start().unwrap_or_else(|error| panic!("{error}"))
}

/// Starts, and returns when the engine answers an operator: then it takes signals as well.
pub(crate) fn start_completely(setup: &Setup) -> Engine {
    let engine = start(setup);
    wait_for_list(&engine, |_| true);
    engine
}

/// Runs a command and expects it to exit with `code`; its standard output.
pub(crate) fn ask(engine: &Engine, arguments: &[&str], code: i32) -> String {
    let output = engine.ask(arguments).unwrap_or_else(|error| panic!("{error}"));
    expect_code(&output, arguments, code);
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Fails the test unless the command ended with `code`.
pub(crate) fn expect_code(output: &Output, arguments: &[&str], code: i32) {
    let error = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}{printed}");
}

/// The queue as JSON, one value a message.
pub(crate) fn listed(engine: &Engine, selector: &[&str]) -> Vec<serde_json::Value> {
    let arguments = [&["queue", "list", "--json"], selector].concat();
    let output = engine.ask(&arguments).unwrap_or_else(|error| panic!("{error}"));
    assert!(matches!(output.status.code(), Some(0 | 1)), "{arguments:?}: {output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect()
}

/// Waits until the queue, as listed, is as `wanted`; what it was at last.
pub(crate) fn wait_for_list(
    engine: &Engine,
    wanted: impl Fn(&[serde_json::Value]) -> bool,
) -> Vec<serde_json::Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let list = listed(engine, &[]);
        if wanted(&list) {
            return list;
        }
        assert!(Instant::now() < deadline, "the queue stayed {list:#?}\n{}", engine.printed());
        // There is no event for "a list would now show it"; the deadline above bounds the asking.
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Waits until nothing is queued.
pub(crate) fn wait_until_empty(engine: &Engine) {
    wait_for_list(engine, <[_]>::is_empty);
}

/// The queue id in the reply to the final dot.
pub(crate) fn queue_id(reply: &PlainReply) -> String {
    let text = reply.lines.last().expect("a line");
    assert!(text.starts_with("2.0.0 Ok: queued as "), "{reply}");
    text.rsplit(' ').next().expect("a word").to_owned()
}
