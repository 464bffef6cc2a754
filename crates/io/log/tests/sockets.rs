//! Syslog sockets, with a real peer each: reading, stalled, gone, and back.

mod stage;

use stage::{Stage, line, number, push};
use std::io::Read;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};
use tidegate_access_log::{Facility, Framing, Severity, Target};
use tidegate_log::{Cause, Log, Pushed, Settings};
use tidegate_testkit::{PATIENCE, TempDir};

/// A datagram as text.
fn receive(read: impl FnOnce(&mut [u8]) -> std::io::Result<usize>) -> String {
    let mut bytes = vec![0; 70_000];
    let length = read(&mut bytes).expect("a datagram comes");
    bytes.truncate(length);
    String::from_utf8(bytes).expect("it is text")
}

/// The line behind an old header without a host, as `/dev/log` gets it.
fn behind_header(message: &str) -> &str {
    let rest = message.strip_prefix("<134>").unwrap_or_else(|| panic!("{message}"));
    let (date, rest) = rest.split_at(15);
    assert_eq!(date.matches(':').count(), 2, "{message}");
    let start = format!(" tidegate[{}]: ", std::process::id());
    rest.strip_prefix(start.as_str()).unwrap_or_else(|| panic!("{message}"))
}

fn unix_socket(directory: &TempDir) -> (UnixDatagram, String) {
    let path = directory.file("log.sock");
    let socket = UnixDatagram::bind(&path).expect("it can be bound");
    socket.set_read_timeout(Some(PATIENCE)).expect("it can be set");
    (socket, format!("unix://{}", path.display()))
}

#[test]
fn a_syslog_socket_gets_each_line_with_its_header() {
    let directory = TempDir::new();
    let (socket, target) = unix_socket(&directory);
    let mut stage = Stage::new(1);
    let log = stage.open(&target);
    stage.push(&log, 0..5000);
    for expected in 0..5000 {
        let message = receive(|bytes| socket.recv(bytes));
        assert_eq!(number(behind_header(&message)), expected);
    }
    stage.flush();
    assert_eq!((log.counts().lines, log.counts().dropped.total()), (5000, 0));
}

#[test]
fn a_socket_at_the_path_of_a_file_is_a_socket() {
    let directory = TempDir::new();
    let (socket, target) = unix_socket(&directory);
    let mut stage = Stage::new(1);
    let log = stage.open(target.strip_prefix("unix://").expect("it is a path"));
    stage.push(&log, 3..4);
    // A path is taken for a file's, which has no header.
    assert_eq!(number(&receive(|bytes| socket.recv(bytes))), 3);
}

#[test]
fn a_syslog_socket_that_is_made_anew_gets_what_waited() {
    let directory = TempDir::new();
    let path = directory.file("log.sock");
    let mut stage = Stage::new(1);
    // It is not there yet.
    let log = stage.open(&format!("unix://{}", path.display()));
    stage.push(&log, 0..10);
    for round in 0..2 {
        let (socket, _) = unix_socket(&directory);
        stage.flush();
        for expected in 0..10 {
            let message = receive(|bytes| socket.recv(bytes));
            assert_eq!(number(behind_header(&message)), round * 10 + expected);
        }
        drop(socket);
        std::fs::remove_file(&path).expect("it can be removed");
        stage.push(&log, (round + 1) * 10..(round + 2) * 10);
        stage.wait_until(|| stage.events().len() == (round + 1) * 2 + 1);
    }
    let expected = ["failed unavailable", "restored"].repeat(3);
    assert_eq!(stage.events(), expected[..5]);
    assert_eq!(log.counts().reconnects, 2);
    assert!(!stage.logs.stop(Duration::from_millis(20)));
    assert_eq!((log.counts().lines, log.counts().dropped_by(Cause::Closed)), (20, 10));
}

/// Pushes until lines are lost by this cause; how many were pushed.
fn push_until_dropped(stage: &mut Stage, log: &Log, cause: Cause) -> usize {
    let (mut pushed, started) = (0, Instant::now());
    while log.counts().dropped_by(cause) < 100 {
        assert!(started.elapsed() < PATIENCE, "{:?}", log.counts());
        stage.push(log, pushed..pushed + 1000);
        pushed += 1000;
        let _ = stage.logs.flush(Duration::ZERO);
    }
    pushed
}

#[test]
fn a_socket_that_nobody_reads_costs_lines_and_no_time() {
    let directory = TempDir::new();
    let (socket, target) = unix_socket(&directory);
    let mut stage = Stage::new(1);
    let log = stage.open(&target);
    let pushed = push_until_dropped(&mut stage, &log, Cause::Slow);
    // Another log is not held up by it.
    let (file, other) = (directory.file("other.log"), directory.file("other.log"));
    let other = stage.open(other.to_str().expect("the path is text"));
    stage.push(&other, 0..1);
    stage.wait_until(|| other.counts().lines == 1);
    assert!(file.exists());
    assert!(!stage.logs.stop(Duration::from_millis(50)));
    let counts = log.counts();
    assert_eq!(counts.lines + counts.dropped.total(), pushed as u64);
    socket.set_nonblocking(true).expect("it can be set");
    let mut received = 0;
    while socket.recv(&mut [0; 1000]).is_ok() {
        received += 1;
    }
    assert_eq!(counts.lines, received);
}

#[test]
fn lost_lines_are_told_to_syslog_when_it_reads_again() {
    let directory = TempDir::new();
    let (socket, target) = unix_socket(&directory);
    let mut stage = Stage::new(1);
    let log = stage.open(&target);
    let pushed = push_until_dropped(&mut stage, &log, Cause::Slow);
    let (mut lines, mut told) = (0, 0);
    while lines + told < pushed {
        let message = receive(|bytes| socket.recv(bytes));
        match message.split_once("]: tidegate: ") {
            Some((_, notice)) => {
                assert!(message.starts_with("<132>"), "a warning: {message}");
                let count = notice.strip_suffix(" lines lost (slow)").expect("it says why");
                told += count.parse::<usize>().expect("it says how many");
            }
            None => {
                number(behind_header(&message));
                lines += 1;
            }
        }
    }
    // What is received may be counted a moment later.
    stage.flush();
    let counts = log.counts();
    assert_eq!((counts.lines, counts.dropped_by(Cause::Slow)), (lines as u64, told as u64));
}

#[test]
fn udp_carries_the_new_header_and_the_severity() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("it can be bound");
    socket.set_read_timeout(Some(PATIENCE)).expect("it can be set");
    let address = socket.local_addr().expect("it has one");
    let mut stage = Stage::new(1);
    let settings = Settings {
        framing: Framing::Rfc5424,
        facility: Facility::from_name("local4").expect("there is one"),
        host: Some("proxy-1".to_owned()),
        utc_offset_seconds: 3600,
        ..Settings::new(Target::parse(&format!("udp://{address}")).expect("it is a target"))
    };
    let log = stage.logs.open(&settings).expect("it opens");
    stage.writers[0].push_line(log.id(), Severity::Error, line(1).as_bytes());
    let message = receive(|bytes| socket.recv(bytes));
    let rest = message.strip_prefix("<163>1 ").expect("local4 and an error");
    let (date, rest) = rest.split_once(' ').expect("there is a date");
    assert!(date.len() == 32 && date.ends_with("+01:00"), "{date}");
    let header = format!("proxy-1 tidegate {} - - ", std::process::id());
    assert_eq!(rest.strip_prefix(header.as_str()).map(number), Some(1));
}

#[test]
fn the_longest_line_is_one_datagram() {
    let directory = TempDir::new();
    let (socket, target) = unix_socket(&directory);
    let mut stage = Stage::new(1);
    let log = stage.open(&target);
    let long = "y".repeat(tidegate_access_log::LINE_BYTES_MAX);
    stage.writers[0].push_line(log.id(), Severity::Info, long.as_bytes());
    stage.push(&log, 1..2);
    assert_eq!(behind_header(&receive(|bytes| socket.recv(bytes))), long);
    assert_eq!(number(behind_header(&receive(|bytes| socket.recv(bytes)))), 1);
}

#[test]
fn udp_without_a_peer_counts_what_is_reported_back() {
    // A socket that is connected to another takes nothing from us, and keeps the port from everybody else.
    let reserved = UdpSocket::bind("127.0.0.1:0").expect("it can be bound");
    reserved.connect("127.0.0.1:9").expect("nothing is sent for it");
    let mut stage = Stage::new(1);
    let log = stage.open(&format!("udp://{}", reserved.local_addr().expect("it has one")));
    for round in 0..20 {
        stage.push(&log, round..round + 1);
        stage.flush();
    }
    let counts = log.counts();
    assert_eq!(counts.lines + counts.dropped_by(Cause::Unavailable), 20);
    assert!(counts.dropped_by(Cause::Unavailable) > 0, "{counts:?}");
}

fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("it can be bound");
    let target = format!("tcp://{}", listener.local_addr().expect("it has one"));
    (listener, target)
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().expect("somebody connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("it can be set");
    stream
}

/// The next message of a stream with octet counts; `None` at its end, which must be between messages.
fn next_message(stream: &mut impl Read) -> Option<String> {
    let mut count = String::new();
    loop {
        let mut byte = [0];
        match stream.read(&mut byte).expect("bytes come") {
            0 if count.is_empty() => return None,
            0 => panic!("the stream ends in a count"),
            _ if byte[0] == b' ' => break,
            _ => count.push(byte[0].into()),
        }
    }
    let mut message = vec![0; count.parse().unwrap_or_else(|_| panic!("not a count: {count:?}"))];
    stream.read_exact(&mut message).expect("the message is whole");
    Some(String::from_utf8(message).expect("it is text"))
}

#[test]
fn tcp_counts_octets_and_resumes_partial_writes() {
    let (listener, target) = listener();
    let mut stage = Stage::new(1);
    let log = stage.open(&target);
    let stream = accept(&listener);
    // Nobody reads: what is written ends somewhere within a message.
    let pushed = push_until_dropped(&mut stage, &log, Cause::Slow);
    let mut reader = std::io::BufReader::new(stream);
    let (mut lines, mut told, mut last) = (0, 0, None);
    while lines + told < pushed {
        let message = next_message(&mut reader).expect("the connection lasts");
        match message.split_once("]: tidegate: ") {
            Some((_, notice)) => {
                let count = notice.split(' ').next().and_then(|count| count.parse::<usize>().ok());
                told += count.expect("it says how many");
            }
            None => {
                let number = Some(number(behind_header(&message)));
                assert!(number > last, "in order");
                last = number;
                lines += 1;
            }
        }
    }
    // What is received may be counted a moment later.
    stage.flush();
    assert_eq!(log.counts().lines, lines as u64);
    assert_eq!(log.counts().dropped.total(), told as u64);
    assert_eq!(log.counts().reconnects, 0);
    assert!(stage.logs.stop(PATIENCE));
    assert_eq!(next_message(&mut reader), None);
}

#[test]
fn tcp_connects_again_and_begins_with_a_whole_message() {
    let (listener, target) = listener();
    let mut stage = Stage::new(1);
    let log = stage.open(&target);
    let mut stream = accept(&listener);
    push_until_dropped(&mut stage, &log, Cause::Slow);
    // It is cut within a message: not all of it was read.
    stream.read_exact(&mut [0; 1001]).expect("bytes come");
    drop(stream);
    let mut reader = std::io::BufReader::new(accept(&listener));
    let first = next_message(&mut reader).expect("there is a message");
    let first = number(behind_header(&first));
    let second = next_message(&mut reader).expect("there is a message");
    assert_eq!(number(behind_header(&second)), first + 1);
    stage.wait_until(|| log.counts().reconnects == 1);
    let events = stage.events();
    assert!(events.iter().any(|event| event == "failed unavailable"), "{events:?}");
    assert!(events.iter().any(|event| event == "restored"), "{events:?}");
}

#[test]
fn tcp_notices_that_an_idle_peer_went() {
    let (listener, target) = listener();
    let mut stage = Stage::new(1);
    let log = stage.open(&target);
    for round in 0..3 {
        stage.push(&log, round..round + 1);
        let mut stream = accept(&listener);
        let message = next_message(&mut stream).expect("there is a message");
        assert_eq!(number(behind_header(&message)), round);
        drop(stream);
        // The line that comes next is not written into the connection that is closed.
        stage.wait_until(|| {
            stage.events().iter().filter(|event| *event != "restored").count() > round
        });
    }
    assert_eq!((log.counts().lines, log.counts().dropped.total()), (3, 0));
}

#[test]
fn a_stalled_peer_does_not_hold_up_the_end() {
    let (listener, target) = listener();
    let mut stage = Stage::new(1);
    let log = stage.open(&target);
    let _stream = accept(&listener);
    let pushed = push_until_dropped(&mut stage, &log, Cause::Slow);
    let started = Instant::now();
    assert!(!stage.logs.flush(Duration::from_millis(50)));
    assert!(!stage.logs.stop(Duration::from_millis(50)));
    assert!(started.elapsed() < PATIENCE / 2);
    let counts = log.counts();
    assert_eq!(counts.lines + counts.dropped.total(), pushed as u64);
    assert!(counts.dropped_by(Cause::Closed) > 0);
}

#[test]
fn a_thread_that_ended_costs_lines_and_no_time() {
    let directory = TempDir::new();
    let mut stage = Stage::new(1);
    let log = stage.open(directory.file("a.log").to_str().expect("the path is text"));
    stage.push(&log, 0..10);
    assert!(stage.logs.stop(PATIENCE));
    assert_eq!(log.counts().lines, 10);
    let dropped = (0..100_000)
        .filter(|number| push(&mut stage.writers[0], log.id(), *number) == Pushed::Dropped)
        .count();
    assert!(dropped > 0);
}
