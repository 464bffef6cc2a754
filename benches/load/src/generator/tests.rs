//! The generator against the origin over real loopback sockets, in one loop.

use super::*;
use crate::recorder::Errors;

const SHORT: Window =
    Window { warmup: Duration::from_millis(50), duration: Duration::from_millis(400) };

#[derive(Default)]
struct Edges {
    opened: u32,
    closed: u32,
}

impl Observer for Edges {
    fn window_opens(&mut self) {
        self.opened += 1;
    }

    fn window_closes(&mut self) {
        assert_eq!(self.opened, 1, "the window closes after it opened");
        self.closed += 1;
    }
}

struct Case {
    path: &'static str,
    expected: u64,
    connections: usize,
    persistence: Persistence,
    load: Load,
}

const CASE: Case = Case {
    path: "/100",
    expected: 100,
    connections: 8,
    persistence: Persistence::KeepAlive,
    load: Load::Saturate,
};

fn settings(target: SocketAddr, case: &Case) -> Settings {
    Settings {
        target,
        connections: case.connections,
        persistence: case.persistence,
        timeout: Duration::from_secs(5),
        sources: 1,
    }
}

/// Runs a case against a fresh origin; also returns how many connections the origin accepted.
fn measure(case: &Case) -> (io::Result<Outcome>, u64) {
    let mut harness = Harness::with_origin(([127, 0, 0, 1], 0).into()).expect("loopback");
    let target = harness.origin_address().expect("it has an origin");
    let protocol = http1(case);
    let mut generator = Generator::new(protocol, settings(target, case), &harness);
    generator.connect(&mut harness).expect("the origin accepts");
    let mut edges = Edges::default();
    let outcome = generator.measure(&mut harness, case.load, SHORT, &mut edges);
    if outcome.is_ok() {
        assert_eq!((edges.opened, edges.closed), (1, 1));
    }
    (outcome, harness.origin_counts().expect("it has an origin").accepted)
}

fn http1(case: &Case) -> crate::protocol::http1::Http1 {
    crate::protocol::http1::Http1::get(case.path, "x", case.persistence, Some(case.expected))
}

#[test]
fn closed_loop_keeps_its_connections() {
    let (outcome, accepted) = measure(&CASE);
    let outcome = outcome.expect("it measures");
    assert_eq!(outcome.errors, Errors::default());
    assert!(outcome.operations > 100, "{} operations", outcome.operations);
    assert_eq!(outcome.body_bytes, outcome.operations * 100);
    assert_eq!(accepted, 8);
    assert!(outcome.elapsed >= SHORT.duration);
}

#[test]
fn connection_per_request_opens_one_for_each() {
    let case = Case { persistence: Persistence::Close, ..CASE };
    let (outcome, accepted) = measure(&case);
    let outcome = outcome.expect("it measures");
    assert_eq!(outcome.errors, Errors::default());
    assert!(outcome.operations > 50, "{} operations", outcome.operations);
    assert!(accepted >= outcome.operations, "{accepted} for {}", outcome.operations);
}

#[test]
fn open_loop_offers_exactly_its_rate() {
    let case = Case { load: Load::Rate(1_000), ..CASE };
    let (outcome, _) = measure(&case);
    let outcome = outcome.expect("it measures");
    assert_eq!(outcome.errors, Errors::default());
    // 400 ms at 1,000 a second, whatever the machine does meanwhile: the schedule does not slip.
    let recorded = outcome.histogram.len();
    assert!((399..=401).contains(&recorded), "{recorded} requests of the window");
}

#[test]
fn large_bodies_are_read_to_their_end() {
    let case = Case { path: "/1m", expected: 1 << 20, ..CASE };
    let (outcome, _) = measure(&case);
    let outcome = outcome.expect("it measures");
    assert_eq!(outcome.errors, Errors::default());
    assert_eq!(outcome.body_bytes, outcome.operations << 20);
    assert!(outcome.operations > 0);
}

#[test]
fn response_that_fills_the_receive_buffer_is_complete() {
    let response =
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 100\r\n\r\n"
            .len()
            + 100;
    for buffer_bytes in [response - 1, response, response + 1, response / 2, 1] {
        let mut harness = Harness::with_origin(([127, 0, 0, 1], 0).into()).expect("loopback");
        let target = harness.origin_address().expect("it has an origin");
        let mut generator = Generator::new(http1(&CASE), settings(target, &CASE), &harness);
        generator.buffer.truncate(buffer_bytes);
        generator.once_each(&mut harness, 0..8, 8).expect("the origin answers");
        assert_eq!(generator.recorder.completed(), 8, "buffer of {buffer_bytes}");
    }
}

#[test]
fn wrong_length_and_status_are_errors() {
    let wrong_length = Case { expected: 99, load: Load::Rate(100), ..CASE };
    let outcome = measure(&wrong_length).0.expect("few errors do not stop it");
    assert!(outcome.errors.length > 0 && outcome.errors.length == outcome.errors.total());
    assert_eq!(outcome.operations, 0);
    let wrong_path = Case { path: "/nothing", load: Load::Rate(100), ..CASE };
    let outcome = measure(&wrong_path).0.expect("few errors do not stop it");
    assert!(outcome.errors.status > 0, "{:?}", outcome.errors);
    assert_eq!(outcome.operations, 0);
}

#[test]
fn a_run_of_nothing_but_errors_is_given_up() {
    let case = Case { expected: 99, ..CASE };
    let outcome = measure(&case).0.map(|outcome| outcome.errors.total());
    // A slow machine may not reach the limit in the window; then the errors are reported.
    assert!(!matches!(outcome, Ok(0 | ERRORS_MAX..)), "{outcome:?}");
}

#[test]
fn silence_is_a_time_out_and_counts_as_latency() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let target = silent.local_addr().expect("it is bound");
    let case = Case { load: Load::Rate(100), ..CASE };
    let mut harness = Harness::new().expect("epoll");
    let settings = Settings { timeout: Duration::from_millis(100), ..settings(target, &case) };
    let mut generator = Generator::new(http1(&case), settings, &harness);
    generator.connect(&mut harness).expect("the kernel accepts");
    let outcome = generator
        .measure(&mut harness, case.load, SHORT, &mut Edges::default())
        .expect("few errors do not stop it");
    assert_eq!(outcome.operations, 0);
    assert!(outcome.errors.timeout > 0, "{:?}", outcome.errors);
    assert!((39..=41).contains(&outcome.histogram.len()), "every request of the window counts");
    assert!(outcome.histogram.value_at_quantile(0.5) >= 100_000_000);
}

#[test]
fn refused_connections_end_the_run() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let target = closed.local_addr().expect("it is bound");
    drop(closed);
    let mut harness = Harness::new().expect("epoll");
    let settings = Settings { timeout: Duration::from_millis(20), ..settings(target, &CASE) };
    let mut generator = Generator::new(http1(&CASE), settings, &harness);
    let error = generator.connect(&mut harness).expect_err("nothing listens");
    assert_eq!(error.to_string(), "0 of 8 connections opened");
}
