//! Owns requests over HTTP/2 that a second server answers because the first is slow: the time of one try, and second tries beside one.
//!
//! Leaves what is repeated at all to `http_repeats`. Invariant: a try that is given up ends its stream at the server and no other.

#[path = "support/http.rs"]
mod http;
#[path = "support/http2.rs"]
mod http2;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{on_one_and_two_shards, wait_nothing_in_flight};
use http2::{client, start_http2};
use tidegate_testkit::http2::{code, flag, kind, request};
use tidegate_testkit::{Http2Client, Http2Origin, Tidegate, hpack};

const H2: &str = "backends.app.protocol = \"h2\"\n";

/// A server that answers nothing but what asks for `/now`.
struct Slow {
    origin: Http2Origin,
    /// Streams that were cancelled.
    cancelled: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

impl Slow {
    fn start() -> Slow {
        let (cancelled, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (ended, begun) = (cancelled.clone(), asked.clone());
        let origin = Http2Origin::start(move |connection| {
            connection.begin(&[])?;
            while let Some(frame) = connection.read_frame()? {
                match frame.kind {
                    kind::HEADERS => {
                        let fields = hpack::read_block(&frame.payload);
                        begun.fetch_add(1, Ordering::SeqCst);
                        if fields.contains(&(":path".to_owned(), "/now".to_owned())) {
                            connection.respond(frame.stream, "200", "now")?;
                        }
                    }
                    kind::RST_STREAM => {
                        assert_eq!(frame.number(0), code::CANCEL);
                        ended.fetch_add(1, Ordering::SeqCst);
                    }
                    kind::SETTINGS if frame.flags & flag::ACK == 0 => {
                        connection.send_frame(kind::SETTINGS, flag::ACK, 0, &[])?;
                    }
                    _ => {}
                }
            }
            Ok(())
        });
        Slow { origin, cancelled, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Waits until everything that it was asked has been taken back.
    #[track_caller]
    fn wait_cancelled(&self, tidegate: &Tidegate) {
        tidegate.wait_metrics("all tries are taken back", |_| {
            self.cancelled.load(Ordering::SeqCst) == self.asked()
        });
    }
}

fn good() -> Http2Origin {
    Http2Origin::answering(&[], |connection, request| {
        let path = request.field(":path").unwrap_or_default().to_owned();
        connection.respond(request.stream, "200", &path)
    })
}

/// Asks for as many things at once; each is to be answered by itself.
#[track_caller]
fn ask(client: &mut Http2Client, first: u32, count: u32) {
    let streams = (0..count).map(|place| first + 2 * place);
    for stream in streams.clone() {
        client.get(stream, &format!("/{stream}"));
    }
    for stream in streams {
        let answer = client.answer(stream);
        let expected = format!("/{stream}");
        assert_eq!((answer.status, &*answer.body), (200, expected.as_bytes()), "{answer:?}");
    }
}

/// Of two POSTs the one that the slow server gets fails, and both are sent to one server.
#[track_caller]
fn posts_are_sent_once(client: &mut Http2Client, first: u32, slow: &Slow, good: &Http2Origin) {
    let (asked, answered) = (slow.asked(), good.requests().len());
    let mut statuses = Vec::new();
    for stream in [first, first + 2] {
        client.send_headers(stream, &request("POST", "/post"), true);
        statuses.push(client.answer(stream).status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 504]);
    assert_eq!((slow.asked(), good.requests().len()), (asked + 1, answered + 1));
}

#[test]
fn a_server_that_is_slow_to_answer_is_left_for_another_one() {
    on_one_and_two_shards(|shards| {
        let (slow, good) = (Slow::start(), good());
        let more = format!(
            "{H2}backends.app.timeouts = {{ per_try = \"100ms\", server = \"500ms\" }}\n\
             backends.app.retry_budget = {{ percent = 100, min_per_second = 1000 }}\n"
        );
        let tidegate = start_http2(shards, [slow.origin.address(), good.address()], &more);
        let mut client = client(&tidegate);
        ask(&mut client, 1, 20);
        slow.wait_cancelled(&tidegate);
        let tried = slow.asked();
        assert!(tried > 0, "the slow one was asked");
        let metrics = tidegate.metrics();
        let count = |name: &str| metrics.count(name, &[]);
        assert_eq!(count("tidegate_backend_retries_total"), tried as u64);
        assert_eq!(count("tidegate_backend_redispatches_total"), tried as u64);
        // A try that took too long ends its stream; the connection and what is quick on it go on.
        assert_eq!(slow.origin.connections(), 1);
        posts_are_sent_once(&mut client, 101, &slow, &good);
        wait_nothing_in_flight(&tidegate);
        assert_eq!(tidegate.metrics().count("tidegate_server_http2_streams_open", &[]), 0);
    });
}

#[test]
fn a_second_try_answers_for_a_server_that_is_slow() {
    on_one_and_two_shards(|shards| {
        let (slow, good) = (Slow::start(), good());
        let more = format!(
            "{H2}backends.app.hedge_after = \"50ms\"\nbackends.app.timeouts.server = \"500ms\"\n\
             backends.app.retry_budget = {{ percent = 100, min_per_second = 1000 }}\n"
        );
        let tidegate = start_http2(shards, [slow.origin.address(), good.address()], &more);
        let mut client = client(&tidegate);
        ask(&mut client, 1, 20);
        slow.wait_cancelled(&tidegate);
        let begun = slow.asked() as u64;
        assert!(begun > 0, "the slow one was asked");
        wait_nothing_in_flight(&tidegate);
        let metrics = tidegate.metrics();
        let count = |name: &str| metrics.count(name, &[]);
        assert_eq!(count("tidegate_backend_hedges_total"), begun);
        assert_eq!(count("tidegate_backend_hedges_won_total"), begun);
        assert_eq!(count("tidegate_backend_retries_total"), 0, "they are no retries");
        assert_eq!(slow.origin.connections(), 1);
        assert_eq!(count("tidegate_server_http2_streams_open"), 0);
        posts_are_sent_once(&mut client, 101, &slow, &good);
    });
}

#[test]
fn the_first_try_may_still_win() {
    // Both answer after the second one was sent; the one that was asked first is the quicker one.
    let late = |delay: u64, body: &'static str| {
        Http2Origin::answering(&[], move |connection, request| {
            http::take_time(Duration::from_millis(delay));
            connection.respond(request.stream, "200", body)
        })
    };
    let (first, second) = (late(200, "first"), late(800, "second"));
    let more = format!(
        "{H2}backends.app.hedge_after = \"50ms\"\nbackends.app.retries = 0\n\
         backends.app.balance = \"first\"\n"
    );
    let tidegate = start_http2(1, [first.address(), second.address()], &more);
    let mut client = client(&tidegate);
    client.get(1, "/");
    assert_eq!(client.answer(1).body, b"first");
    assert_eq!((first.requests().len(), second.requests().len()), (1, 1));
    let metrics = tidegate.metrics();
    assert_eq!(metrics.count("tidegate_backend_hedges_total", &[]), 1);
    assert_eq!(metrics.count("tidegate_backend_hedges_won_total", &[]), 0);
    wait_nothing_in_flight(&tidegate);
}
